"""Bots that fall due. No runner is configured, so a bot whose time has come ends, and says why."""

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.clock import Clock
from attendee.errors import ClaimLost
from attendee.model import ActivityKind, BotEventType, BotState
from attendee.store import activity, bots, claims, tables
from attendee.store.activity import Entry
from attendee.store.bots import Bot
from attendee.store.database import Database
from attendee.webhooks import outbox

_NO_RUNNER = "No bot runner is configured (ATTENDEE_BOT_RUNNER is none), so nothing could be sent to the meeting."
_NO_LINK = "The event had no meeting link when the bot was to join."


@dataclass(frozen=True, slots=True)
class Launcher:
    """Takes bots whose time has come."""

    database: Database
    clock: Clock

    async def launch(self, claimed: Bot) -> None:
        """Ends a claimed bot and settles the claim. Raises ClaimLost."""
        async with self.database.transaction() as tx:
            bot = await _lock(tx, claimed)
            sub_type, why = ("bot_not_launched", _NO_RUNNER) if bot.meeting_url else ("no_meeting_url", _NO_LINK)
            await self._end(tx, bot, claimed, sub_type=sub_type, why=why)

    async def _end(self, tx: AsyncConnection, bot: Bot, claimed: Bot, *, sub_type: str, why: str) -> None:
        now = self.clock()
        if bot.wakes != claimed.wakes:
            # It was moved while it was claimed: it is due at its new time.
            await _settle(tx, claimed, state=bot.state)
            return
        await _settle(tx, claimed, state=BotState.FATAL_ERROR)
        ended = await bots.change(tx, bot.id, values={"state": BotState.FATAL_ERROR.value}, now=now)
        metadata = {"reason": why}
        step = BotEventType.FATAL_ERROR
        await bots.record_event(tx, bot.id, type=step, sub_type=sub_type, metadata=metadata, now=now)
        await outbox.record_bot_state_change(
            tx,
            ended,
            old_state=bot.state,
            event_type=step,
            event_sub_type=sub_type,
            event_metadata=metadata,
            now=now,
        )
        detail = {
            "from": bot.state.value,
            "to": ended.state.value,
            "event": step.value,
            "sub_type": sub_type,
        } | metadata
        entry = Entry(ActivityKind.BOT_STATE_CHANGED, detail, bot.event_id, bot.id)
        await activity.record(tx, [entry], project_id=bot.project_id, calendar_id=None, now=now)


async def _lock(tx: AsyncConnection, claimed: Bot) -> Bot:
    row = (
        await tx.execute(select(tables.bots).where(tables.bots.c.id == claimed.id).with_for_update(key_share=True))
    ).one_or_none()
    if row is None or row.claim_id != claimed.claim_id:
        raise ClaimLost(claimed.id)
    return Bot.from_row(row)


async def _settle(tx: AsyncConnection, claimed: Bot, *, state: BotState) -> None:
    assert claimed.claim_id is not None, "only a claimed bot is settled"
    await claims.settle(
        tx,
        tables.bots,
        row_id=claimed.id,
        claim_id=claimed.claim_id,
        wakes=claimed.wakes,
        next_due_at=None,
        succeeded=True,
        values={"state": state.value},
    )
