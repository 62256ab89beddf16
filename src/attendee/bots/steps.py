"""One step of a bot's life, stored in the caller's transaction: its state, its step, its webhook and its history."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import metrics
from attendee.bots.lifecycle import Life, moved
from attendee.model import ActivityKind, BotEventType, BotState
from attendee.store import activity, bots
from attendee.store.activity import Entry
from attendee.store.bots import Bot
from attendee.store.database import call_after_commit
from attendee.webhooks import outbox


def life_of(bot: Bot) -> Life:
    return Life(bot.state, bot.joined_as, bot.recording_state, bot.transcription_state)


async def step(
    tx: AsyncConnection,
    bot: Bot,
    event: BotEventType,
    life: Life,
    *,
    due_at: datetime | None,
    now: datetime,
    happened_at: datetime | None = None,
    sub_type: str | None = None,
    metadata: dict[str, Any] | None = None,
    values: Mapping[str, Any] | None = None,
) -> Bot:
    """Takes a locked bot to another point of its life, where it falls due at `due_at`. `values` are stored with it.

    `happened_at` is when it happened by the runner's word; None is now.
    """
    changed = {
        "state": life.state.value,
        "joined_as": life.joined_as,
        "recording_state": life.recording.value,
        "transcription_state": life.transcription.value,
        "due_at": due_at,
        **(values or {}),
    }
    after = await bots.change(tx, bot.id, values=changed, now=now)
    await bots.record_event(tx, bot.id, type=event, sub_type=sub_type, metadata=metadata, now=happened_at or now)
    if after.state is not bot.state:
        call_after_commit(tx, metrics.bot_states.labels(after.state.value).inc)
        await outbox.record_bot_state_change(
            tx,
            after,
            old_state=bot.state,
            event_type=event,
            event_sub_type=sub_type,
            event_metadata=metadata,
            now=now,
        )
    detail = {"from": bot.state.value, "to": after.state.value, "event": event.value, "sub_type": sub_type}
    entry = Entry(ActivityKind.BOT_STATE_CHANGED, detail | (metadata or {}), bot.event_id, bot.id)
    await activity.record(tx, [entry], project_id=bot.project_id, calendar_id=bot.calendar_id, now=now)
    return after


async def end(tx: AsyncConnection, bot: Bot, *, sub_type: str, reason: str, now: datetime) -> Bot:
    """Ends a locked bot that can't go on, with the reason in plain words; its launch is the caller's to end."""
    return await step(
        tx,
        bot,
        BotEventType.FATAL_ERROR,
        moved(life_of(bot), BotState.FATAL_ERROR),
        due_at=None,
        now=now,
        sub_type=sub_type,
        metadata={"reason": reason},
        values={"launch_id": None},
    )
