"""Bots that wait follow their events, in the transaction that stores what became of the events."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.bots.follow import Delete, Follow, Keep, Meeting, follow
from attendee.clock import written, written_or_none
from attendee.model import ActivityKind, EventId, Touched
from attendee.store import bots
from attendee.store.activity import Entry
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar


async def follow_events(
    tx: AsyncConnection, calendar: Calendar, touched: Sequence[Touched], *, now: datetime
) -> list[Entry]:
    """Moves, re-links and deletes the waiting bots of the touched events; what is to be said of it in their history."""
    meetings: dict[EventId, Meeting | None] = {
        one.id: None if one.after is None else Meeting(one.after.start_at, one.after.meeting_url)
        for one in touched
        if one.before is not None
    }
    if not meetings:
        return []
    waiting = await bots.waiting_for_events(tx, calendar_id=calendar.id, event_ids=list(meetings))
    return await _carry_out(tx, waiting, meetings, reason="event_deleted", now=now)


async def delete_waiting(tx: AsyncConnection, calendar: Calendar, *, now: datetime) -> list[Entry]:
    """Deletes every waiting bot of a calendar that has become disconnected; what is to be said of it."""
    waiting = await bots.waiting_for_events(tx, calendar_id=calendar.id, event_ids=None)
    return await _carry_out(tx, waiting, {}, reason="calendar_disconnected", now=now)


async def _carry_out(
    tx: AsyncConnection,
    waiting: Sequence[Bot],
    meetings: Mapping[EventId, Meeting | None],
    *,
    reason: str,
    now: datetime,
) -> list[Entry]:
    entries: list[Entry] = []
    for bot in waiting:
        assert bot.event_id is not None, "it was found by its event"
        assert bot.join_at is not None, "a scheduled bot has a time"
        match follow(Meeting(bot.join_at, bot.meeting_url), meetings.get(bot.event_id)):
            case Keep():
                pass
            case Delete():
                await bots.remove(tx, bot.id)
                entries.append(Entry(ActivityKind.BOT_DELETED, {"reason": reason}, bot.event_id, bot.id))
            case Follow(join_at, meeting_url):
                await bots.change(tx, bot.id, values={"join_at": join_at, "meeting_url": meeting_url}, now=now)
                entries += _told(bot, join_at=join_at, meeting_url=meeting_url)
    return entries


def _told(bot: Bot, *, join_at: datetime, meeting_url: str | None) -> list[Entry]:
    entries: list[Entry] = []
    if bot.join_at != join_at:
        moved = {"from": written_or_none(bot.join_at), "to": written(join_at)}
        entries.append(Entry(ActivityKind.BOT_MOVED, moved, bot.event_id, bot.id))
    if bot.meeting_url != meeting_url:
        links = {"from": bot.meeting_url, "to": meeting_url}
        entries.append(Entry(ActivityKind.BOT_RELINKED, links, bot.event_id, bot.id))
    return entries
