"""/calendar_events: what the calendars hold. The most read of all routes, so a row costs as little Python as can be."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response
from orjson import Fragment
from sqlalchemy import Select, exists, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.api import activity, schemas
from attendee.api.bots import SHOWN as SHOWN_OF_BOTS
from attendee.api.bots import rendered as rendered_bot
from attendee.api.filters import TextParameter, TimeParameter, equals, read_time
from attendee.api.pagination import (
    AskedPage,
    CursorParameter,
    Listing,
    PageSizeParameter,
    asked_page,
    read_asked_page,
)
from attendee.api.problems import JsonAnswer, declared
from attendee.api.service import Reading
from attendee.clock import written
from attendee.errors import NotFound
from attendee.model import ProjectId
from attendee.store import bots, tables
from attendee.store.pages import Ordering, read_page

router = APIRouter(prefix="/api/v1/calendar_events", tags=["calendar events"])

_table = tables.events
_LISTING = Listing(
    "calendar_events",
    {
        sign + column.name: Ordering(column, _table.c.id, descending=sign == "-")
        for column in (_table.c.updated_at, _table.c.start_time, _table.c.end_time, _table.c.created_at)
        for sign in ("", "-")
    },
    "-updated_at",
    100,
)
# In the order in which `rendered` takes them apart.
SHOWN: Select[Any] = select(
    _table.c.id,
    _table.c.calendar_id,
    _table.c.platform_uuid,
    _table.c.meeting_url,
    _table.c.name,
    _table.c.start_time,
    _table.c.end_time,
    _table.c.start_date,
    _table.c.end_date,
    _table.c.is_deleted,
    _table.c.attendees,
    _table.c.ical_uid,
    _table.c.raw,
    _table.c.created_at,
    _table.c.updated_at,
    # Most events have no bots, and then the query for those is saved.
    exists().where(tables.bots.c.event_id == _table.c.id).label("has_bots"),
)


async def _asked(
    request: Request,
    cursor: CursorParameter = None,
    page_size: PageSizeParameter = None,
    ordering: Annotated[str | None, Query(json_schema_extra={"enum": [*_LISTING.orderings, ""]})] = None,
) -> AskedPage:
    return read_asked_page(_LISTING, request, cursor=cursor, page_size=page_size, ordering=ordering)


@router.get("", response_model=schemas.CalendarEventPage, responses=declared(400, 404))
async def list_calendar_events(
    reader: Reading,
    *,
    page: Annotated[AskedPage, Depends(_asked)],
    calendar_id: TextParameter = None,
    calendar_deduplication_key: TextParameter = None,
    updated_after: TimeParameter = None,
    updated_at_gte: TimeParameter = None,
    event_id: TextParameter = None,
    start_time_gte: TimeParameter = None,
    end_time_lte: TimeParameter = None,
) -> Response:
    """The project's events, cancelled ones too, newest change first unless ordered otherwise. All bounds are inclusive.

    Ask again with the largest `updated_at` that you have seen as `updated_after`, and you miss no change.
    """
    query = _query(reader.project_id)
    if calendar_id:
        query = query.where(equals(_table.c.calendar_id, calendar_id))
    if calendar_deduplication_key:
        calendars = tables.calendars.c
        with_key = (
            select(calendars.id)
            .where(
                calendars.project_id == reader.project_id,
                equals(calendars.deduplication_key, calendar_deduplication_key),
            )
            .scalar_subquery()
        )
        query = query.where(_table.c.calendar_id == with_key)
    for name, text in (("updated_after", updated_after), ("updated_at_gte", updated_at_gte)):
        if text:
            query = query.where(_table.c.updated_at >= read_time(name, text))
    if event_id:
        query = query.where(equals(_table.c.id, event_id))
    if start_time_gte:
        query = query.where(_table.c.start_time >= read_time("start_time_gte", start_time_gte))
    if end_time_lte:
        query = query.where(_table.c.end_time <= read_time("end_time_lte", end_time_lte))
    found = await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)
    bots_of = await bots_of_events(reader.tx, [row.id for row in found.rows if row.has_bots])
    return page.answer(found, [rendered(row, bots_of.get(row.id, ())) for row in found.rows])


@router.get("/{event_id}", response_model=schemas.CalendarEvent, responses=declared(404))
async def read_calendar_event(reader: Reading, event_id: str) -> Response:
    row = (await reader.tx.execute(_query(reader.project_id).where(_table.c.id == event_id))).one_or_none()
    if row is None:
        raise NotFound("Calendar event")
    bots_of = await bots_of_events(reader.tx, [row.id] if row.has_bots else [])
    return JsonAnswer(rendered(row, bots_of.get(row.id, ())))


@router.get("/{event_id}/activity", response_model=schemas.ActivityPage, responses=declared(400, 404))
async def read_calendar_event_activity(
    reader: Reading, event_id: str, page: Annotated[AskedPage, Depends(asked_page(activity.LISTING))]
) -> Response:
    """What happened to the event and to its bots, oldest first."""
    of_project = (_table.c.id == event_id, _table.c.project_id == reader.project_id)
    if await reader.tx.scalar(select(_table.c.id).where(*of_project)) is None:
        raise NotFound("Calendar event")
    found = await activity.read_history(reader, page, column=tables.activity.c.event_id, id=event_id)
    return page.answer(found, [activity.rendered(row) for row in found.rows])


def _query(project_id: ProjectId) -> Select[Any]:
    return SHOWN.where(_table.c.project_id == project_id)


async def bots_of_events(tx: AsyncConnection, event_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """The bots of each event as an answer shows them, oldest first; events without any are left out."""
    bots_of: dict[str, list[dict[str, Any]]] = {}
    if not event_ids:
        return bots_of
    columns = tables.bots.c
    query: Select[Any] = (
        select(*SHOWN_OF_BOTS).where(columns.event_id.in_(event_ids)).order_by(columns.created_at, columns.id)
    )
    rows = (await tx.execute(query)).all()
    steps = await bots.events_of(tx, [row.id for row in rows])
    for row in rows:
        bots_of.setdefault(row.event_id, []).append(rendered_bot(row, steps.get(row.id, ())))
    return bots_of


def rendered(row: Sequence[Any], bots_of_event: Sequence[dict[str, Any]]) -> dict[str, Any]:
    (
        event_id,
        calendar_id,
        platform_uuid,
        meeting_url,
        name,
        start_time,
        end_time,
        start_date,
        end_date,
        is_deleted,
        attendees,
        ical_uid,
        raw,
        created_at,
        updated_at,
        _,
    ) = row
    return {
        "id": event_id,
        "calendar_id": calendar_id,
        "platform_uuid": platform_uuid,
        "meeting_url": meeting_url,
        "name": name,
        "start_time": written(start_time),
        "end_time": written(end_time),
        "all_day": start_date is not None,
        "start_date": start_date,
        "end_date": end_date,
        "is_deleted": is_deleted,
        "attendees": Fragment(attendees),
        "ical_uid": ical_uid,
        "raw": Fragment(raw),
        "bots": bots_of_event,
        "created_at": written(created_at),
        "updated_at": written(updated_at),
    }
