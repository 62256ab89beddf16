"""What a runner's bot reports: taken in once, refused where it is impossible, passed on where it is for others."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.bots import lifecycle, steps
from attendee.errors import DomainError
from attendee.model import FINISHED_BOT_STATES, BotEventType, BotState, Trigger
from attendee.store import bots, launches
from attendee.store.bots import Bot
from attendee.webhooks import outbox


class Passed(StrEnum):
    """Reports that are for the application: passed on as webhooks, without any effect on the bot."""

    TRANSCRIPT = "transcript"
    CHAT_MESSAGE = "chat_message"
    PARTICIPANT_EVENT = "participant_event"
    LOG = "log"


HEARTBEAT = "heartbeat"
_SPEECH = {"speech_start", "speech_stop"}


@dataclass(frozen=True, slots=True)
class Report:
    """A step that a bot has taken. `id` is the bot's own for it; `happened_at` None is now."""

    id: str
    type: BotEventType
    sub_type: str | None = None
    happened_at: datetime | None = None
    metadata: dict[str, Any] | None = None


class Impossible(DomainError):
    """The bot can't have taken that step from the state that it is in."""

    def __init__(self, state: BotState, event: BotEventType) -> None:
        super().__init__(f"A bot that is {state} can't report {event}.")
        self.state = state


async def take_in(tx: AsyncConnection, bot: Bot, report: Report, *, heartbeat: timedelta, now: datetime) -> Bot:
    """The locked bot after the report, which is taken in once. Raises Impossible."""
    if not await bots.record_report(tx, bot.id, report.id):
        return bot
    if bot.state is BotState.SCHEDULED and bot.launch_id is not None:
        # A quick bot: the runner has it, though its answer has not been stored yet.
        staged = lifecycle.moved(steps.life_of(bot), BotState.STAGED)
        bot = await steps.step(tx, bot, BotEventType.STAGED, staged, due_at=bot.due_at, now=now)
    life = steps.life_of(bot)
    after = lifecycle.after(life, report.type)
    if after is None:
        raise Impossible(bot.state, report.type)
    if after == life:
        await hear(tx, bot, heartbeat=heartbeat, now=now)
        return bot
    is_finished = after.state in FINISHED_BOT_STATES
    # A bot's clock may be ahead of ours, but nothing has happened that is still to come.
    happened_at = None if report.happened_at is None else min(report.happened_at, now)
    if is_finished and bot.launch_id is not None:
        await launches.forget(tx, bot.launch_id)
    return await steps.step(
        tx,
        bot,
        report.type,
        after,
        due_at=_given_up_at(after.state, heartbeat=heartbeat, now=now),
        now=now,
        happened_at=happened_at,
        sub_type=report.sub_type,
        metadata=report.metadata,
        values={"reported_at": now, "attempts": 0} | ({"launch_id": None} if is_finished else {}),
    )


async def hear(tx: AsyncConnection, bot: Bot, *, heartbeat: timedelta, now: datetime) -> None:
    """A locked bot is alive. One that has not said yet that it joins has until then all the same."""
    given_up_at = _given_up_at(bot.state, heartbeat=heartbeat, now=now)
    if given_up_at is not None:
        await bots.hear(tx, bot.id, due_at=given_up_at, now=now)


async def pass_on(
    tx: AsyncConnection,
    bot: Bot,
    kind: Passed,
    data: Mapping[str, Any],
    *,
    report_id: str,
    heartbeat: timedelta,
    now: datetime,
) -> None:
    """Tells the application what a locked bot has heard or seen in its meeting, once for each `report_id`."""
    if await bots.record_report(tx, bot.id, report_id):
        await hear(tx, bot, heartbeat=heartbeat, now=now)
        await outbox.record_from_bot(tx, bot, _trigger(kind, data), data, now=now)


def _trigger(kind: Passed, data: Mapping[str, Any]) -> Trigger:
    match kind:
        case Passed.TRANSCRIPT:
            return Trigger.TRANSCRIPT_UPDATE
        case Passed.CHAT_MESSAGE:
            return Trigger.CHAT_MESSAGES_UPDATE
        case Passed.PARTICIPANT_EVENT if data.get("event_type") in _SPEECH:
            return Trigger.PARTICIPANT_EVENTS_SPEECH_START_STOP
        case Passed.PARTICIPANT_EVENT:
            return Trigger.PARTICIPANT_EVENTS_JOIN_LEAVE
        case Passed.LOG:
            return Trigger.BOT_LOGS_UPDATE


def _given_up_at(state: BotState, *, heartbeat: timedelta, now: datetime) -> datetime | None:
    silence = lifecycle.longest_silence(state, heartbeat=heartbeat)
    return None if silence is None else now + silence
