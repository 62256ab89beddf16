"""What the runner is told of bots: stage, call off, leave, and a look at those that can't tell by themselves.

Launches are due work of their own: what is to be told is stored where it is decided, carried out here, and told again
until the runner has answered, whoever crashes in between.
"""

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

import orjson
import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.backoff import grown
from attendee.bots import reports, steps
from attendee.bots.following import due_at
from attendee.bots.launch import NO_SHOW_AFTER
from attendee.bots.lifecycle import WAITING, moved
from attendee.bots.reports import Impossible
from attendee.bots.runners.port import Done, Order, Placed, Refused, Runner, Seen, Taken, Trouble, WatchedRunner
from attendee.bots.schedule import LaunchTimes
from attendee.clock import Clock
from attendee.errors import ClaimLost
from attendee.model import FINISHED_BOT_STATES, BotEventType, BotState, LaunchState
from attendee.store import bots, launches
from attendee.store.bots import Bot
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.launches import Launch

# Less than a claim lasts, so that nobody else asks meanwhile.
_CALL_SECONDS = 45
_FIRST_RETRY = timedelta(seconds=1)
# A bot that is to join is tried often to the end; the rest can wait.
_LONGEST_STAGE_RETRY = timedelta(seconds=15)
_LONGEST_RETRY = timedelta(minutes=5)

_Outcome = TypeVar("_Outcome")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Stager:
    """Carries out launches. `heartbeat` is how long a bot in a meeting may be silent."""

    database: Database
    key_ring: KeyRing
    clock: Clock
    runner: Runner
    times: LaunchTimes
    heartbeat: timedelta

    async def carry_out(self, claimed: Launch) -> None:
        """Tells the runner what is due of a claimed launch and settles the claim. Raises ClaimLost."""
        placed = Placed(claimed.id, claimed.project_id, claimed.bot_id, claimed.reference)
        match claimed.state:
            case LaunchState.CALLING_OFF:
                await self._call_off(claimed, placed)
            case LaunchState.WANTED:
                await self._stage(claimed)
            case LaunchState.TAKEN if claimed.is_leave_wanted:
                await self._leave(claimed, placed)
            case LaunchState.TAKEN:
                await self._look(claimed, placed)

    async def _stage(self, claimed: Launch) -> None:
        if self.runner.host is not None:
            async with self.database.transaction() as tx:
                if not await launches.bind(tx, claimed, host=self.runner.host):
                    raise ClaimLost(claimed.id)
        body = orjson.loads(claimed.body) | {"report_token": launches.open_token(self.key_ring, claimed)}
        order = Order(claimed.id, claimed.project_id, claimed.bot_id, body, is_retry=claimed.attempts > 1)
        outcome = await _answer(self.runner.stage(order))
        async with self.database.transaction() as tx:
            bot = await self._bot_of(tx, claimed)
            launch = await launches.lock(tx, claimed)
            now = self.clock()
            match outcome:
                case Taken(reference, remote_id):
                    await self._taken(tx, launch, claimed, bot, reference, remote_id=remote_id, now=now)
                case Refused(reason):
                    log.warning("bot_refused", bot_id=claimed.bot_id, reason=reason)
                    await launches.forget(tx, claimed.id)
                    if bot is not None and launch.state is LaunchState.CALLING_OFF:
                        await self._wait_anew(tx, bot, now=now)
                    elif bot is not None:
                        told = f"The runner refused the bot: {reason}"
                        await steps.end(tx, bot, sub_type="bot_not_launched", reason=told, now=now)
                case Trouble() as trouble:
                    await self._try_again(tx, claimed, trouble, longest=_LONGEST_STAGE_RETRY, now=now)

    async def _taken(
        self,
        tx: AsyncConnection,
        launch: Launch,
        claimed: Launch,
        bot: Bot | None,
        reference: dict[str, Any] | None,
        *,
        remote_id: str | None,
        now: datetime,
    ) -> None:
        values: dict[str, Any] = {"reference": reference}
        look_at = None
        if launch.state is LaunchState.WANTED:
            values["state"] = LaunchState.TAKEN.value
            look_at = self._next_look(now)
        await launches.settle(tx, claimed, next_due_at=look_at, succeeded=True, values=values)
        if bot is None or launch.state is not LaunchState.WANTED:
            return
        # What the bot has reported before the runner had answered stands.
        deadline = bot.due_at if bot.reported_at is not None else max(bot.join_at or now, now) + NO_SHOW_AFTER
        known_by = {"remote_id": remote_id}
        if bot.state is BotState.SCHEDULED:
            life = moved(steps.life_of(bot), BotState.STAGED)
            await steps.step(tx, bot, BotEventType.STAGED, life, due_at=deadline, now=now, values=known_by)
        else:
            await bots.change(tx, bot.id, values={"due_at": deadline, **known_by}, now=now)

    async def _call_off(self, claimed: Launch, placed: Placed) -> None:
        outcome = await _answer(self.runner.call_off(placed))
        async with self.database.transaction() as tx:
            bot = await self._bot_of(tx, claimed)
            launch = await launches.lock(tx, claimed)
            now = self.clock()
            if isinstance(outcome, Trouble) and launch.give_up_at is not None and launch.give_up_at > now:
                await self._try_again(tx, claimed, outcome, longest=_LONGEST_RETRY, now=now)
                return
            if isinstance(outcome, Trouble):
                log.warning("bot_not_called_off", bot_id=claimed.bot_id, error=outcome.error)
            await launches.forget(tx, claimed.id)
            if bot is not None:
                await self._wait_anew(tx, bot, now=now)

    async def _wait_anew(self, tx: AsyncConnection, bot: Bot, *, now: datetime) -> None:
        """The runner knows nothing more of a locked bot: it waits for its time, which may have come."""
        if bot.state not in WAITING or bot.join_at is None:
            return
        is_near = bot.meeting_url is not None and self.times.is_near(bot.join_at, now=now)
        again_at = now if is_near else due_at(bot, times=self.times)
        forgotten = {"launch_id": None, "report_token_hash": None, "remote_id": None}
        if bot.state is BotState.SCHEDULED:
            await bots.change(tx, bot.id, values={"due_at": again_at, **forgotten}, now=now)
        else:
            life = moved(steps.life_of(bot), BotState.SCHEDULED)
            await steps.step(tx, bot, BotEventType.UNSTAGED, life, due_at=again_at, now=now, values=forgotten)

    async def _leave(self, claimed: Launch, placed: Placed) -> None:
        outcome = await _answer(self.runner.leave(placed))
        async with self.database.transaction() as tx:
            now = self.clock()
            match outcome:
                case Done():
                    left = {"is_leave_wanted": False}
                    await launches.settle(tx, claimed, next_due_at=self._next_look(now), succeeded=True, values=left)
                case Trouble() as trouble:
                    await self._try_again(tx, claimed, trouble, longest=_LONGEST_STAGE_RETRY, now=now)

    async def _look(self, claimed: Launch, placed: Placed) -> None:
        outcome: Seen | Trouble = Seen(placed.reference)
        if isinstance(self.runner, WatchedRunner):
            outcome = await _answer(self.runner.look(placed))
        async with self.database.transaction() as tx:
            bot = await self._bot_of(tx, claimed)
            await launches.lock(tx, claimed)
            now = self.clock()
            if isinstance(outcome, Trouble):
                await self._try_again(tx, claimed, outcome, longest=_LONGEST_STAGE_RETRY, now=now)
                return
            values = {"reference": outcome.reference}
            look_at = self._next_look(now) if outcome.look_in is None else now + outcome.look_in
            await launches.settle(tx, claimed, next_due_at=look_at, succeeded=True, values=values)
            if bot is None:
                return
            for report in outcome.reports:
                bot = await self._take_in(tx, bot, report, now=now)
            if outcome.is_alive:
                await reports.hear(tx, bot, heartbeat=self.heartbeat, now=now)
            if outcome.gone is not None and bot.state not in FINISHED_BOT_STATES:
                sub_type, reason = outcome.gone
                await launches.forget(tx, claimed.id)
                await steps.end(tx, bot, sub_type=sub_type, reason=reason, now=now)

    async def _take_in(self, tx: AsyncConnection, bot: Bot, report: reports.Report, *, now: datetime) -> Bot:
        try:
            async with tx.begin_nested():
                return await reports.take_in(tx, bot, report, heartbeat=self.heartbeat, now=now)
        except Impossible as impossible:
            log.warning("impossible_report", bot_id=bot.id, error=str(impossible))
            return bot

    async def _bot_of(self, tx: AsyncConnection, launch: Launch) -> Bot | None:
        """The launch's bot, locked; None if it is gone or no longer goes by this launch."""
        bot = await bots.lock(tx, launch.bot_id)
        return bot if bot is not None and bot.launch_id == launch.id else None

    async def _try_again(
        self, tx: AsyncConnection, claimed: Launch, trouble: Trouble, *, longest: timedelta, now: datetime
    ) -> None:
        log.warning("runner_trouble", bot_id=claimed.bot_id, error=trouble.error)
        wait = retry_delay(claimed.attempts, longest=longest)
        if trouble.retry_after is not None:
            wait = max(wait, min(trouble.retry_after, _LONGEST_RETRY))
        if trouble.again_in is not None:
            wait = trouble.again_in
        await launches.settle(tx, claimed, next_due_at=now + wait, succeeded=False, error=trouble.error)

    def _next_look(self, now: datetime) -> datetime | None:
        return now + self.runner.look_every if isinstance(self.runner, WatchedRunner) else None


async def _answer(call: Awaitable[_Outcome]) -> _Outcome | Trouble:
    try:
        async with asyncio.timeout(_CALL_SECONDS):
            return await call
    except TimeoutError:
        return Trouble(f"No answer within {_CALL_SECONDS} seconds.")


def retry_delay(attempts: int, *, longest: timedelta) -> timedelta:
    """How long to wait after so many tries in a row, jittered."""
    return grown(_FIRST_RETRY, tries=attempts, longest=longest)
