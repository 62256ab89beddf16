"""A calendar's next turn: told of changes or polled, looked at again after a push, more often before a bot joins."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import SyncReason
from attendee.store import sync_state
from attendee.store.calendars import Calendar
from attendee.store.sync_state import NextTurn, QuietSync
from attendee.sync.schedule import Intervals, joins_that_matter, next_look, next_poll, poll_for_bot


def planned(
    calendar: Calendar, *, intervals: Intervals, next_listing_at: datetime | None, found: bool, now: datetime
) -> NextTurn:
    """The turn after a good sync, its bots aside. `found` says that it brought a change."""
    interval = intervals.pushed if is_told(calendar, now=now) else intervals.polled
    due_at = next_poll(calendar.id, interval=interval, now=now)
    if next_listing_at is not None:
        due_at = min(due_at, next_listing_at)
    look = None if found else next_look(calendar.looks_after_push, now=now)
    woken_not_before = now + intervals.debounce
    if look is None:
        return NextTurn(due_at, None, woken_not_before)
    look_at, looks = look
    return NextTurn(min(due_at, look_at), looks, woken_not_before)


def is_told(calendar: Calendar, *, now: datetime) -> bool:
    """Whether the platform tells of the calendar's changes now."""
    return calendar.push_until is not None and calendar.push_until > now


async def sooner_for_bots(
    tx: AsyncConnection, calendar: Calendar, turn: NextTurn, *, intervals: Intervals, now: datetime
) -> NextTurn:
    """The turn, sooner if the calendar is polled and one of its bots is about to join."""
    if is_told(calendar, now=now):
        return turn
    joins = await sync_state.next_joins(tx, [calendar.id], until=joins_that_matter(now=now))
    return _sooner(turn, joins.get(calendar.id), intervals=intervals, now=now)


async def settle_quiet(tx: AsyncConnection, quiet: Sequence[QuietSync], *, intervals: Intervals) -> None:
    """Ends many quiet syncs, each with its next turn."""
    polled = [one.calendar.id for one in quiet if not is_told(one.calendar, now=one.ended_at)]
    joins = {}
    if polled:
        until = joins_that_matter(now=max(one.ended_at for one in quiet))
        joins = await sync_state.next_joins(tx, polled, until=until)
    await sync_state.settle_quiet(
        tx,
        [
            replace(
                one,
                next_turn=_sooner(one.next_turn, joins.get(one.calendar.id), intervals=intervals, now=one.ended_at),
            )
            if one.calendar.id in joins
            else one
            for one in quiet
        ],
    )


def _sooner(turn: NextTurn, join_at: datetime | None, *, intervals: Intervals, now: datetime) -> NextTurn:
    due_at = None if join_at is None else poll_for_bot(join_at, intervals=intervals, now=now)
    return turn if due_at is None or due_at >= turn.due_at else replace(turn, due_at=due_at)


def reason(claimed: Calendar, *, now: datetime) -> SyncReason:
    """Why the sync of a claimed calendar takes place."""
    if claimed.last_attempted_sync_at is None:
        return SyncReason.FIRST
    if claimed.asked_for is not None:
        return claimed.asked_for
    if claimed.attempts > 1:
        return SyncReason.RETRY
    if claimed.looks_after_push is not None:
        return SyncReason.PUSH
    if claimed.next_listing_at is None or claimed.next_listing_at <= now:
        return SyncReason.LISTING
    return SyncReason.POLL
