"""Bots that wait follow their events, in the transaction that stores what became of the events."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.bots.follow import Delete, Follow, Keep, Meeting, follow
from attendee.bots.lifecycle import WAITING
from attendee.bots.schedule import LaunchTimes
from attendee.clock import written, written_or_none
from attendee.model import ActivityKind, CalendarId, EventId, Touched
from attendee.store import bots, launches
from attendee.store.activity import Entry
from attendee.store.bots import Bot


async def follow_events(
    tx: AsyncConnection, calendar_id: CalendarId, touched: Sequence[Touched], *, times: LaunchTimes, now: datetime
) -> list[Entry]:
    """Moves, re-links and deletes the waiting bots of the touched events; what is to be said of it in their history."""
    meetings: dict[EventId, Meeting | None] = {
        one.id: None if one.after is None else Meeting(one.after.start_at, one.after.meeting_url)
        for one in touched
        if one.before is not None
    }
    if not meetings:
        return []
    waiting = await bots.waiting_for_events(tx, calendar_id=calendar_id, event_ids=list(meetings), states=WAITING)
    return await _carry_out(tx, waiting, meetings, reason="event_deleted", times=times, now=now)


async def delete_waiting(tx: AsyncConnection, calendar_id: CalendarId, *, reason: str, now: datetime) -> list[Entry]:
    """Deletes every waiting bot of a calendar that is lost; what is to be said of it."""
    waiting = await bots.waiting_for_events(tx, calendar_id=calendar_id, event_ids=None, states=WAITING)
    return [await delete(tx, bot, reason=reason, now=now) for bot in waiting]


async def delete(tx: AsyncConnection, bot: Bot, *, reason: str, by: str | None = None, now: datetime) -> Entry:
    """Deletes a locked bot that waits, and lets its launch be called off; what is to be said of it."""
    await bots.remove(tx, bot.id)
    if bot.launch_id is not None:
        await launches.call_off(tx, [bot.launch_id], now=now)
    detail = {"reason": reason} if by is None else {"reason": reason, "by": by}
    return Entry(ActivityKind.BOT_DELETED, detail, bot.event_id, bot.id)


async def call_off_launch(tx: AsyncConnection, bot: Bot, *, now: datetime) -> None:
    """Lets the launch of a locked bot that waits be called off: what the runner was told no longer holds.

    From now on nothing of that launch is taken in; the bot waits anew once the runner has confirmed.
    """
    if bot.launch_id is not None:
        await launches.call_off(tx, [bot.launch_id], now=now)
        await bots.change(tx, bot.id, values={"report_token_hash": None}, now=now)


def due_at(bot: Bot, *, times: LaunchTimes) -> datetime:
    """When a bot that waits, and of which the runner knows nothing, falls due."""
    assert bot.join_at is not None, "a bot that waits has a time"
    has_link, has_event = bot.meeting_url is not None, bot.event_id is not None
    return times.first_due(bot.id, join_at=bot.join_at, has_link=has_link, has_event=has_event)


async def _carry_out(
    tx: AsyncConnection,
    waiting: Sequence[Bot],
    meetings: Mapping[EventId, Meeting | None],
    *,
    reason: str,
    times: LaunchTimes,
    now: datetime,
) -> list[Entry]:
    entries: list[Entry] = []
    for bot in waiting:
        assert bot.event_id is not None, "it was found by its event"
        assert bot.join_at is not None, "a bot that waits has a time"
        match follow(
            Meeting(bot.join_at, bot.meeting_url), meetings[bot.event_id], is_launched=bot.launch_id is not None
        ):
            case Keep():
                pass
            case Delete():
                entries.append(await delete(tx, bot, reason=reason, now=now))
            case Follow(join_at, meeting_url, calls_off):
                values = {
                    "join_at": join_at,
                    "meeting_url": meeting_url,
                    # The calendar has just been asked: what is near needs no other look.
                    "asked_at": now,
                }
                if not calls_off:
                    values["due_at"] = due_at(replace(bot, join_at=join_at, meeting_url=meeting_url), times=times)
                await bots.change(tx, bot.id, values=values, now=now)
                if calls_off:
                    await call_off_launch(tx, bot, now=now)
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
