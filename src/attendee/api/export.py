"""/calendars/{id}/export: all that is kept of one calendar, and no secret, sent piece by piece."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import Any

import orjson
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from sqlalchemy import Column, Row, Select, select

from attendee.api import activity, calendar_events, calendars, schemas
from attendee.api.problems import declared
from attendee.api.service import Authenticated, Caller
from attendee.clock import written, written_or_none
from attendee.store.tables import activity as activity_table
from attendee.store.tables import deliveries, events, platform_calendars, set_aside_events, syncs

router = APIRouter(prefix="/api/v1/calendars", tags=["calendars"])

# So much is in memory at a time, and so long a transaction lasts.
_ROWS = 100

_Rendered = Callable[[Any, list[Row[Any]]], Awaitable[Iterable[Any]]]


@router.get("/{calendar_id}/export", response_model=schemas.CalendarExport, responses=declared(404))
async def export_calendar(caller: Authenticated, calendar_id: str) -> StreamingResponse:
    """Everything that is kept of the calendar as one JSON document: events with their bots, histories, deliveries.

    It is sent while it is read, so what changes meanwhile may be in it or not.
    """
    now = caller.service.clock()
    async with caller.service.database.reading() as tx:
        calendar = await calendars.shown(tx, calendar_id, project_id=caller.project_id, now=now)
    head = {"exported_at": written(now), "calendar": calendar}
    return StreamingResponse(_document(caller, calendar["id"], head), media_type="application/json")


async def _document(caller: Caller, calendar_id: str, head: dict[str, Any]) -> AsyncIterator[bytes]:
    yield orjson.dumps(head)[:-1]
    for name, query, key, rendered in _sections(calendar_id):
        yield b',"%s":[' % name.encode()
        separator = b""
        async for one in _read(caller, query, key, rendered):
            yield separator + one
            separator = b","
        yield b"]"
    yield b"}"


async def _read(caller: Caller, query: Select[Any], key: Column[Any], rendered: _Rendered) -> AsyncIterator[bytes]:
    """The rows in the order of the key, each as JSON."""
    after: Any = None
    while True:
        page = query.order_by(key).limit(_ROWS)
        async with caller.service.database.reading() as tx:
            rows = list((await tx.execute(page if after is None else page.where(key > after))).all())
            pieces = await rendered(tx, rows)
        for piece in pieces:
            yield orjson.dumps(piece)
        if len(rows) < _ROWS:
            return
        after = rows[-1]._mapping[key]


def _sections(calendar_id: str) -> list[tuple[str, Select[Any], Column[Any], _Rendered]]:
    entry = activity_table.c
    return [
        (
            "platform_calendars",
            select(platform_calendars).where(platform_calendars.c.calendar_id == calendar_id),
            platform_calendars.c.position,
            _each(_platform_calendar),
        ),
        (
            "set_aside_events",
            select(set_aside_events).where(set_aside_events.c.calendar_id == calendar_id),
            set_aside_events.c.platform_uuid,
            _each(_set_aside),
        ),
        ("events", calendar_events.SHOWN.where(events.c.calendar_id == calendar_id), events.c.id, _events),
        (
            "activity",
            select(activity_table).where(entry.calendar_id == calendar_id),
            entry.number,
            _each(activity.rendered),
        ),
        ("syncs", select(syncs).where(syncs.c.calendar_id == calendar_id), syncs.c.number, _each(_sync)),
        (
            "deliveries",
            select(deliveries).where(deliveries.c.calendar_id == calendar_id),
            deliveries.c.id,
            _each(_delivery),
        ),
    ]


def _each(rendered: Callable[[Row[Any]], dict[str, Any]]) -> _Rendered:
    async def all_of(_tx: Any, rows: list[Row[Any]]) -> Iterable[Any]:
        return [rendered(row) for row in rows]

    return all_of


async def _events(tx: Any, rows: list[Row[Any]]) -> Iterable[Any]:
    bots_of = await calendar_events.bots_of_events(tx, [row.id for row in rows if row.has_bots])
    return [calendar_events.rendered(row, bots_of.get(row.id, ())) for row in rows]


def _platform_calendar(row: Row[Any]) -> dict[str, Any]:
    return {"platform_uuid": row.platform_uuid, "name": row.name, "primary": row.is_primary}


def _set_aside(row: Row[Any]) -> dict[str, Any]:
    return {"platform_uuid": row.platform_uuid, "reason": row.reason, "created_at": written(row.created_at)}


def _sync(row: Row[Any]) -> dict[str, Any]:
    return {
        "reason": row.reason,
        "outcome": row.outcome,
        "started_at": written(row.started_at),
        "milliseconds": row.milliseconds,
        "created": row.created,
        "updated": row.updated,
        "deleted": row.deleted,
        "error": row.error,
    }


def _delivery(row: Row[Any]) -> dict[str, Any]:
    return {
        "id": row.id,
        "url": row.url,
        "trigger": row.trigger,
        "state": row.state,
        "created_at": written(row.created_at),
        "finished_at": written_or_none(row.finished_at),
        "body": orjson.Fragment(row.body),
    }
