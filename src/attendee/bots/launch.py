"""Bots that fall due: their calendars asked once more, launched, and given up when nothing is heard of them.

A launch is stored before the runner is told of it (`staging.py`), so that whoever takes over after a crash tells it the
same again.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.bots import steps
from attendee.bots.lifecycle import WAITING
from attendee.bots.schedule import ASKED_BEFORE, LaunchTimes
from attendee.clock import Clock, written
from attendee.errors import ClaimLost
from attendee.model import BotState, LaunchId, LaunchState, new_id
from attendee.store import bots, claims, events, launches, sync_state, tables
from attendee.store.bots import Bot
from attendee.store.columns import KeyRing, token_hash
from attendee.store.database import Database

NO_RUNNER = "No bot runner is configured (ATTENDEE_BOT_RUNNER is none), so nothing could be sent to the meeting."
_NO_LINK = "The event had no meeting link when the bot was to join."
_OVER = "The meeting was over before the bot could be launched."
_NOT_TAKEN = "The runner did not take the bot before the meeting was over."
_NOT_CALLED_OFF = "The runner did not confirm that the bot's former launch is off before the meeting was over."
_LEFT_BEFORE = "The bot was asked to leave before it was launched."
_NO_SHOW = "The runner took the bot, but nothing was heard of it within 10 minutes after it was to join."
_SILENT = "Nothing was heard of the bot for longer than a bot may be silent."

# A meeting that has no event, and so no known end, is held to last so long.
_USUAL_MEETING = timedelta(hours=1)
# A runner's bot that does not report within this time after it was to join has not come up.
NO_SHOW_AFTER = timedelta(minutes=10)
# An answer of the calendar that is older says nothing of the last minute.
_ASKED_LATELY = timedelta(minutes=1)
# Closer to its meeting than this, a bot does not wait for what its calendar says.
_TOO_LATE_TO_ASK = timedelta(seconds=20)
# A bot whose time is found to be up this late was not given up in time because nobody worked, and perhaps listened.
_FOUND_LATE = timedelta(seconds=1)
# Late so often in a row, it is we who are slow and not the bot that went unheard; one may be a claim whose worker died.
_MOST_RESPITES = 2
_TOKEN_BYTES = 32


@dataclass(frozen=True, slots=True)
class Orders:
    """How a bot is described to its runner. `service_of` names the service of a meeting link."""

    report_url: str
    service_of: Callable[[str], str | None]

    def body(self, bot: Bot, *, now: datetime) -> str:
        """The order as JSON, without the token of its reports."""
        assert bot.meeting_url is not None, "only a bot that knows where to go is ordered"
        return orjson.dumps(
            {
                "bot_id": bot.id,
                "bot_name": bot.name,
                "meeting_url": bot.meeting_url,
                "meeting_service": self.service_of(bot.meeting_url),
                "join_at": written(bot.join_at or now),
                "metadata": bot.metadata,
                "settings": bot.settings,
                "report_url": f"{self.report_url}/runner/v1/bots/{bot.id}/events",
            }
        ).decode()


@dataclass(frozen=True, slots=True)
class Launcher:
    """Takes bots that are due. `orders` is None where no runner is configured.

    `heartbeat` is how long a bot that we could not hear has to be heard again.
    """

    database: Database
    key_ring: KeyRing
    clock: Clock
    times: LaunchTimes
    orders: Orders | None
    heartbeat: timedelta

    async def launch(self, claimed: Bot) -> None:
        """Does what a claimed bot is due for and settles the claim. Raises ClaimLost."""
        async with self.database.transaction() as tx:
            now = self.clock()
            if self._is_to_be_asked_for(claimed, now=now) and claimed.calendar_id is not None:
                # The calendar's row before the bot's, as everywhere.
                await sync_state.ask_before_launch(tx, claimed.calendar_id, unless_since=now - ASKED_BEFORE, now=now)
            bot = await bots.lock(tx, claimed.id)
            if bot is None or bot.claim_id != claimed.claim_id:
                raise ClaimLost(claimed.id)
            if bot.wakes != claimed.wakes:
                # It was moved, or has reported, while it was claimed: it is due when that says.
                await _settle(tx, claimed, due_at=None)
            elif bot.launch_id is not None:
                await self._give_up(tx, bot, claimed, bot.launch_id, now=now)
            elif bot.state in WAITING or bot.state is BotState.JOINING:
                await self._begin(tx, bot, claimed, now=now)
            elif bot.state is BotState.LEAVING:
                await self._end(tx, bot, claimed, sub_type="bot_not_launched", reason=_LEFT_BEFORE, now=now)
            else:
                await _settle(tx, claimed, due_at=None)

    async def _begin(self, tx: AsyncConnection, bot: Bot, claimed: Bot, *, now: datetime) -> None:
        over_at = await _over_at(tx, bot)
        if bot.meeting_url is None:
            if bot.join_at is not None and bot.join_at > now:
                await _settle(tx, claimed, due_at=bot.join_at)
            else:
                await self._end(tx, bot, claimed, sub_type="no_meeting_url", reason=_NO_LINK, now=now)
        elif self.orders is None:
            await self._end(tx, bot, claimed, sub_type="bot_not_launched", reason=NO_RUNNER, now=now)
        elif over_at <= now:
            await self._end(tx, bot, claimed, sub_type="bot_not_launched", reason=_OVER, now=now)
        elif self._is_to_be_asked_for(bot, now=now) and bot.join_at is not None:
            launch_at = max(self.times.launch_at(bot.id, bot.join_at), now + ASKED_BEFORE)
            await _settle(tx, claimed, due_at=launch_at, values={"asked_at": now})
        else:
            launch_id, token = LaunchId(new_id("launch_")), secrets.token_urlsafe(_TOKEN_BYTES)
            await launches.create(
                tx,
                launch_id,
                project_id=bot.project_id,
                bot_id=bot.id,
                body=self.orders.body(bot, now=now),
                report_token=token,
                key_ring=self.key_ring,
                now=now,
            )
            launched = {"launch_id": launch_id, "report_token_hash": token_hash(token)}
            await _settle(tx, claimed, due_at=over_at, values=launched)

    def _is_to_be_asked_for(self, bot: Bot, *, now: datetime) -> bool:
        """Whether the bot's calendar is to be asked before anything else, and there is time for that."""
        return (
            self.orders is not None
            and bot.state is BotState.SCHEDULED
            and bot.launch_id is None
            and bot.event_id is not None
            and bot.meeting_url is not None
            and bot.join_at is not None
            and bot.join_at - now > _TOO_LATE_TO_ASK
            and (bot.asked_at is None or bot.asked_at <= now - _ASKED_LATELY)
        )

    async def _give_up(
        self, tx: AsyncConnection, bot: Bot, claimed: Bot, launch_id: LaunchId, *, now: datetime
    ) -> None:
        """Ends a bot of whose launch nothing has come, unless its meeting has been prolonged meanwhile."""
        launch = await launches.find(tx, launch_id)
        is_taken = launch is not None and launch.state is LaunchState.TAKEN
        is_late = claimed.due_at is not None and now - claimed.due_at > _FOUND_LATE
        if is_taken and is_late and claimed.attempts <= _MOST_RESPITES:
            # Everything of ours was down: what the bot has said meanwhile it says again.
            await _settle(tx, claimed, due_at=now + self.heartbeat, succeeded=False)
            return
        if bot.reported_at is not None:
            sub_type, reason = "heartbeat_timeout", _SILENT
        elif is_taken:
            sub_type, reason = "bot_not_launched", _NO_SHOW
        else:
            over_at = await _over_at(tx, bot)
            if over_at > now:
                await _settle(tx, claimed, due_at=over_at)
                return
            is_being_called_off = launch is not None and launch.state is LaunchState.CALLING_OFF
            sub_type, reason = "bot_not_launched", _NOT_CALLED_OFF if is_being_called_off else _NOT_TAKEN
            if launch is not None and launch.last_error is not None:
                reason = f"{reason} Its last answer: {launch.last_error}"
        await self._end(tx, bot, claimed, sub_type=sub_type, reason=reason, now=now)
        # Taken or not, for all we know: a bot that nobody expects must not turn up.
        await launches.call_off(tx, [launch_id], now=now)

    async def _end(
        self, tx: AsyncConnection, bot: Bot, claimed: Bot, *, sub_type: str, reason: str, now: datetime
    ) -> None:
        await _settle(tx, claimed, due_at=None)
        await steps.end(tx, bot, sub_type=sub_type, reason=reason, now=now)


async def _over_at(tx: AsyncConnection, bot: Bot) -> datetime:
    """When the bot's meeting is over: at its event's end, or when a usual one would be."""
    if bot.event_id is not None:
        end_at = await events.find_end(tx, bot.event_id)
        if end_at is not None:
            return end_at
    return (bot.join_at or bot.created_at) + _USUAL_MEETING


async def _settle(
    tx: AsyncConnection,
    claimed: Bot,
    *,
    due_at: datetime | None,
    succeeded: bool = True,
    values: dict[str, Any] | None = None,
) -> None:
    assert claimed.claim_id is not None, "only a claimed bot is settled"
    await claims.settle(
        tx,
        tables.bots,
        row_id=claimed.id,
        claim_id=claimed.claim_id,
        wakes=claimed.wakes,
        next_due_at=due_at,
        succeeded=succeeded,
        values=values,
    )
