"""Calendars: the list with its search, and one calendar with its week, its syncs and what is wrong with it."""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, Text, and_, func, literal_column, or_, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from attendee.dashboard import cures, paging, week
from attendee.dashboard.bots import standing_of
from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import Refused, Visit
from attendee.errors import NotFound
from attendee.model import BotState, CalendarState, ChannelState
from attendee.store import calendars
from attendee.store.pages import Ordering
from attendee.store.tables import bots, channels, events, set_aside_events, syncs
from attendee.store.tables import calendars as table

_LISTING = paging.Listing("calendars", Ordering(table.c.created_at, table.c.id, descending=True))
_HISTORY = paging.Listing("syncs", Ordering(syncs.c.started_at, syncs.c.number, descending=True), size=15)
# Parts of keys and metadata are looked for in so many calendars, the newest; whole keys and ids in all of them.
SEARCHED = 20_000
_OFTEN = 5
# What a week can hold before it is a wall.
_MOST_EVENTS = 500

# Written into the statement, so that the index of calendars in trouble fits.
IN_TROUBLE = table.c.last_error.is_not(None)
_SHOWN = (
    table.c.id,
    table.c.platform,
    table.c.platform_uuid,
    table.c.client_id,
    table.c.deduplication_key,
    table.c.metadata,
    table.c.state,
    table.c.connection_failure_data,
    table.c.last_attempted_sync_at,
    table.c.last_successful_sync_at,
    table.c.last_error,
    table.c.quiet_syncs,
    table.c.listed_from,
    table.c.listed_until,
    table.c.push_until,
    table.c.created_at,
    table.c.updated_at,
    table.c.due_at,
    table.c.claim_id,
    table.c.claimed_until,
    table.c.attempts,
)
_IN_WEEK = (
    events.c.id,
    events.c.name,
    events.c.start_time,
    events.c.end_time,
    events.c.start_date,
    events.c.end_date,
    events.c.is_deleted,
    events.c.meeting_url,
)


@dataclass(frozen=True, slots=True)
class Standing:
    """A calendar as a person sees it."""

    row: Row[Any]
    now: datetime

    @property
    def name(self) -> str:
        """What its owner calls it, as far as we know."""
        return str(self.row.deduplication_key or self.row.id)

    @property
    def is_connected(self) -> bool:
        return str(self.row.state) == CalendarState.CONNECTED

    @property
    def is_syncing(self) -> bool:
        return self.row.claim_id is not None

    @property
    def is_told(self) -> bool:
        return self.row.push_until is not None and self.row.push_until > self.now

    @property
    def failures(self) -> int:
        """How often in a row the sync has failed; the attempt under way has not failed yet."""
        return calendars.failures(attempts=self.row.attempts, claim_id=self.row.claim_id)

    @property
    def next_sync_at(self) -> datetime | None:
        return calendars.next_sync_at(
            due_at=self.row.due_at, claim_id=self.row.claim_id, claimed_until=self.row.claimed_until
        )

    @property
    def is_waiting(self) -> bool:
        """Whether its first sync is still to come."""
        return self.row.last_attempted_sync_at is None

    @property
    def state(self) -> str:
        """One word for the list."""
        if not self.is_connected:
            return "disconnected"
        if self.is_waiting:
            return "waiting"
        return "troubled" if self.row.last_error is not None else "connected"


async def show_calendars(visit: Visit) -> Response:
    sought, wanted = visit.asked("q"), visit.asked("state")
    query = select(*_SHOWN).where(table.c.project_id == visit.project.id)
    if wanted in {"disconnected", "troubled"}:
        query = query.where(IN_TROUBLE)
        is_connected = table.c.state == CalendarState.CONNECTED.value
        query = query.where(is_connected if wanted == "troubled" else ~is_connected)
    if sought:
        query = await _searched(visit.tx, query, sought, project_id=visit.project.id)
    found = await paging.read(visit, query, _LISTING)
    return page(
        visit,
        "calendars.html",
        calendars=[Standing(row, visit.now) for row in found.rows],
        found=found,
        sought=sought,
        wanted=wanted,
        searched=SEARCHED,
    )


async def show_calendar(visit: Visit) -> Response:
    standing = await _standing(visit)
    monday, shown = await _week(visit, standing.row.id)
    history = await paging.read(visit, select(syncs).where(syncs.c.calendar_id == standing.row.id), _HISTORY)
    set_aside = (
        await visit.tx.execute(
            select(set_aside_events).where(set_aside_events.c.calendar_id == standing.row.id).limit(20)
        )
    ).all()
    push_error = await visit.tx.scalar(
        select(channels.c.last_error).where(
            channels.c.calendar_id == standing.row.id, channels.c.state != ChannelState.STOPPING.value
        )
    )
    return page(
        visit,
        "calendar.html",
        calendar=standing,
        cure=_cure(standing),
        push_error=push_error,
        no_push=cures.NO_PUSH,
        passing=cures.PASSING_OFTEN if standing.failures >= _OFTEN else cures.PASSING,
        set_aside=set_aside,
        week=shown,
        today=visit.now.astimezone(visit.zone).date(),
        monday=monday,
        week_before=monday - timedelta(days=week.DAYS),
        week_after=monday + timedelta(days=week.DAYS),
        history=history,
        keep_syncs_days=visit.dashboard.keep_syncs_days,
    )


async def sync_now(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        calendar = await calendars.get(tx, visit.part("calendar_id"), project_id=visit.project.id, for_update=True)
        await calendars.ask_sync(tx, calendar, now=visit.now)
    return redirect(f"{visit.address}/calendars/{calendar.id}", done="asked")


async def _searched(tx: AsyncConnection, query: Select[Any], sought: str, *, project_id: str) -> Select[Any]:
    """The query for what is sought: a calendar's id or key, or else a part of its key or metadata."""
    of_project = table.c.project_id == project_id
    whole = or_(table.c.id == sought, table.c.deduplication_key == sought)
    exact = (await tx.execute(select(table.c.id).where(of_project, whole))).scalars().all()
    if exact:
        return query.where(table.c.id.in_(exact))
    newest = (
        select(table.c.id, table.c.deduplication_key, type_coerce(table.c.metadata, Text).label("metadata"))
        .where(of_project)
        .order_by(table.c.created_at.desc(), table.c.id.desc())
        .limit(SEARCHED)
        .subquery()
    )
    parts = or_(
        newest.c.deduplication_key.icontains(sought, autoescape=True),
        newest.c.metadata.icontains(sought, autoescape=True),
    )
    return query.where(table.c.id.in_(select(newest.c.id).where(parts)))


async def _standing(visit: Visit) -> Standing:
    query: Select[Any] = select(*_SHOWN).where(
        table.c.id == visit.part("calendar_id"), table.c.project_id == visit.project.id
    )
    row = (await visit.tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Calendar")
    return Standing(row, visit.now)


async def _week(visit: Visit, calendar_id: str) -> tuple[date, week.Week]:
    monday = week.monday_of(_asked_day(visit))
    begins, ends = week.bounds(monday, visit.zone)
    # A day more on both sides for all-day events, which have a place on the calendar and none in time.
    day = timedelta(days=1)
    query: Select[Any] = (
        select(*_IN_WEEK)
        .where(
            events.c.calendar_id == calendar_id,
            events.c.start_time < ends + day,
            events.c.end_time > begins - day,
        )
        .order_by(events.c.start_time, events.c.id)
        .limit(_MOST_EVENTS)
    )
    rows = (await visit.tx.execute(query)).all()
    states = await _bots_of(visit.tx, [row.id for row in rows])
    entries = [
        week.Entry(
            {"row": row, "standing": standing_of(row, states.get(row.id, ())), "bots": len(states.get(row.id, ()))},
            row.start_time,
            row.end_time,
            row.start_date,
            row.end_date,
        )
        for row in rows
    ]
    return monday, week.lay_out(entries, monday=monday, zone=visit.zone)


async def _bots_of(tx: AsyncConnection, event_ids: list[str]) -> dict[str, list[BotState]]:
    states: dict[str, list[BotState]] = {}
    if event_ids:
        for event_id, state in await tx.execute(
            select(bots.c.event_id, bots.c.state).where(bots.c.event_id.in_(event_ids))
        ):
            states.setdefault(event_id, []).append(BotState(state))
    return states


def _asked_day(visit: Visit) -> date:
    text = visit.asked("week")
    if not text:
        return visit.now.astimezone(visit.zone).date()
    try:
        day = date.fromisoformat(text)
    except ValueError:
        day = None
    # Far enough from both ends of the calendar that a week can be counted from it.
    if day is None or not 1971 <= day.year <= 9998:
        raise Refused(404, "There is no such week; 2026-11-23 is how its day is written.")
    return day


def _cure(standing: Standing) -> cures.Cure | None:
    if standing.is_connected:
        return None
    return cures.CURES.get(standing.row.connection_failure_data.get("code", ""), cures.UNKNOWN)


async def count(tx: AsyncConnection, project_id: str) -> tuple[int, int, int]:
    """How many calendars a project has; how many of them are disconnected, and how many have failed lately."""
    of_project = table.c.project_id == project_id
    total = await tx.scalar(select(func.count()).select_from(table).where(of_project))
    is_connected = table.c.state == literal_column(f"'{CalendarState.CONNECTED}'")
    disconnected, troubled = (
        await tx.execute(
            select(
                func.count().filter(~is_connected),
                func.count().filter(is_connected),
            )
            .select_from(table)
            .where(and_(of_project, IN_TROUBLE))
        )
    ).one()
    return total or 0, disconnected, troubled


async def faulty_clients(visit: Visit, *, limit: int) -> list[Row[Any]]:
    """The OAuth clients that fail for their calendars, each with how many and the latest error: one fault, not many."""
    query = (
        select(
            table.c.platform,
            table.c.client_id,
            func.count().label("calendars"),
            func.max(table.c.last_error).label("error"),
        )
        .where(table.c.project_id == visit.project.id, IN_TROUBLE, table.c.is_operators_fault)
        .group_by(table.c.platform, table.c.client_id)
        .order_by(func.count().desc(), table.c.client_id)
        .limit(limit)
    )
    return list((await visit.tx.execute(query)).all())


async def in_trouble(visit: Visit, *, limit: int) -> list[Standing]:
    """The calendars that somebody should look at for their own sake, disconnected ones first."""
    query: Select[Any] = (
        select(*_SHOWN)
        .where(table.c.project_id == visit.project.id, IN_TROUBLE, ~table.c.is_operators_fault)
        # By the alphabet, "disconnected" comes after "connected".
        .order_by(table.c.state.desc(), table.c.created_at.desc(), table.c.id.desc())
        .limit(limit)
    )
    return [Standing(row, visit.now) for row in await visit.tx.execute(query)]
