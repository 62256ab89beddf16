"""/calendars: connect, read, reconnect, ask for a sync, delete."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from sqlalchemy import Row, Select, and_, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.api import schemas
from attendee.api.bodies import body_of, documented
from attendee.api.filters import TextParameter, equals
from attendee.api.pagination import AskedPage, Listing, asked_page
from attendee.api.problems import JsonAnswer, declared
from attendee.api.service import Authenticated, Reading
from attendee.clock import written, written_or_none
from attendee.errors import NotFound
from attendee.model import ChannelState, ProjectId
from attendee.removal import remove_calendar
from attendee.store import calendars, platform_calendars
from attendee.store.pages import Ordering, read_page
from attendee.store.tables import calendars as table
from attendee.store.tables import channels, set_aside_events

router = APIRouter(prefix="/api/v1/calendars", tags=["calendars"])

_LISTING = Listing(
    "calendars", {"-created_at": Ordering(table.c.created_at, table.c.id, descending=True)}, "-created_at", 25
)


@router.post(
    "",
    status_code=201,
    response_model=schemas.Calendar,
    responses=declared(400, 429),
    openapi_extra=documented(schemas.NewCalendar),
)
async def create_calendar(
    caller: Authenticated, body: Annotated[schemas.NewCalendar, Depends(body_of(schemas.NewCalendar))]
) -> Response:
    """Connects a calendar. Its first sync starts at once."""
    now = caller.service.clock()
    new = calendars.NewCalendar(
        platform=body.platform,
        client_id=body.client_id,
        client_secret=body.client_secret,
        refresh_token=body.refresh_token,
        platform_uuid=body.platform_uuid,
        metadata=body.metadata,
        deduplication_key=body.deduplication_key,
    )
    async with caller.service.database.transaction() as tx:
        calendar = await calendars.create(
            tx,
            new,
            project_id=caller.project_id,
            key_ring=caller.service.key_ring,
            most=caller.service.limits.calendars,
            now=now,
        )
        answer = await shown(tx, calendar.id, project_id=caller.project_id, now=now)
    return JsonAnswer(answer, 201)


@router.get("", response_model=schemas.CalendarPage, responses=declared(400, 404))
async def list_calendars(
    reader: Reading,
    page: Annotated[AskedPage, Depends(asked_page(_LISTING))],
    deduplication_key: TextParameter = None,
) -> Response:
    """The project's calendars, newest first."""
    query = _query(reader.project_id, now=reader.service.clock())
    if deduplication_key:
        query = query.where(equals(table.c.deduplication_key, deduplication_key))
    found = await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)
    return page.answer(found, [_rendered(row) for row in found.rows])


@router.get("/{calendar_id}", response_model=schemas.Calendar, responses=declared(404))
async def read_calendar(reader: Reading, calendar_id: str) -> Response:
    answer = await shown(reader.tx, calendar_id, project_id=reader.project_id, now=reader.service.clock())
    return JsonAnswer(answer)


@router.patch(
    "/{calendar_id}",
    response_model=schemas.Calendar,
    responses=declared(400, 404),
    openapi_extra=documented(schemas.CalendarChange),
)
async def change_calendar(
    caller: Authenticated,
    calendar_id: str,
    body: Annotated[schemas.CalendarChange, Depends(body_of(schemas.CalendarChange))],
) -> Response:
    """Gives the calendar new credentials or metadata, and syncs it at once; so a disconnected one is reconnected."""
    now = caller.service.clock()
    async with caller.service.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=caller.project_id, for_update=True)
        await calendars.update_credentials(
            tx,
            calendar,
            client_secret=body.client_secret,
            refresh_token=body.refresh_token,
            metadata=body.metadata,
            key_ring=caller.service.key_ring,
            now=now,
        )
        answer = await shown(tx, calendar_id, project_id=caller.project_id, now=now)
    return JsonAnswer(answer)


@router.delete("/{calendar_id}", response_class=Response, responses=declared(404))
async def delete_calendar(caller: Authenticated, calendar_id: str) -> Response:
    """Deletes the calendar with its events and the bots that wait for them."""
    async with caller.service.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=caller.project_id, for_update=True)
        service = caller.service
        await remove_calendar(tx, calendar, key_ring=service.key_ring, now=service.clock())
    return Response()


@router.post("/{calendar_id}/sync", status_code=202, response_model=schemas.Calendar, responses=declared(404, 429))
async def sync_calendar(caller: Authenticated, calendar_id: str) -> Response:
    """Asks for a sync now; on a disconnected calendar, for one attempt."""
    now = caller.service.clock()
    async with caller.service.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=caller.project_id, for_update=True)
        await calendars.ask_sync(tx, calendar, now=now)
        answer = await shown(tx, calendar_id, project_id=caller.project_id, now=now)
    return JsonAnswer(answer, 202)


@router.get("/{calendar_id}/platform_calendars", response_model=schemas.PlatformCalendars, responses=declared(404))
async def list_platform_calendars(reader: Reading, calendar_id: str) -> Response:
    """All calendars that the user has at the platform, as last read there: with the first sync, and then once a day.

    One of their `platform_uuid` may be that of a new calendar. The list stays empty where the user's consent doesn't
    cover it.
    """
    calendar = await calendars.get(reader.tx, calendar_id, project_id=reader.project_id)
    found = await platform_calendars.of_calendar(reader.tx, calendar.id)
    results = [{"platform_uuid": one.platform_uuid, "name": one.name, "primary": one.is_primary} for one in found]
    return JsonAnswer({"results": results})


def _query(project_id: ProjectId, *, now: datetime) -> Select[Any]:
    """What an answer shows of the project's calendars, and no secret of theirs."""
    push_error = (
        select(channels.c.last_error)
        .where(channels.c.calendar_id == table.c.id, channels.c.state != ChannelState.STOPPING.value)
        .scalar_subquery()
    )
    set_aside = select(func.count()).where(set_aside_events.c.calendar_id == table.c.id).scalar_subquery()
    return select(
        table.c.id,
        table.c.platform,
        table.c.client_id,
        table.c.platform_uuid,
        table.c.state,
        table.c.metadata,
        table.c.deduplication_key,
        table.c.connection_failure_data,
        table.c.created_at,
        table.c.updated_at,
        table.c.last_successful_sync_at,
        table.c.last_attempted_sync_at,
        table.c.last_error,
        table.c.due_at,
        table.c.claim_id,
        table.c.claimed_until,
        table.c.attempts,
        and_(table.c.push_until.is_not(None), table.c.push_until > now).label("is_told"),
        push_error.label("push_error"),
        set_aside.label("set_aside"),
    ).where(table.c.project_id == project_id)


async def shown(tx: AsyncConnection, calendar_id: str, *, project_id: ProjectId, now: datetime) -> dict[str, Any]:
    """The calendar as an answer. Raises NotFound."""
    query = _query(project_id, now=now).where(equals(table.c.id, calendar_id))
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Calendar")
    return _rendered(row)


def _rendered(row: Row[Any]) -> dict[str, Any]:
    next_sync_at = calendars.next_sync_at(due_at=row.due_at, claim_id=row.claim_id, claimed_until=row.claimed_until)
    return {
        "id": row.id,
        "platform": row.platform,
        "client_id": row.client_id,
        "platform_uuid": row.platform_uuid,
        "state": row.state,
        "metadata": row.metadata,
        "deduplication_key": row.deduplication_key,
        "connection_failure_data": row.connection_failure_data,
        "created_at": written(row.created_at),
        "updated_at": written(row.updated_at),
        "last_successful_sync_at": written_or_none(row.last_successful_sync_at),
        "last_attempted_sync_at": written_or_none(row.last_attempted_sync_at),
        "sync": {
            "mode": "push" if row.is_told else "poll",
            "next_sync_at": written_or_none(next_sync_at),
            "consecutive_failures": calendars.failures(attempts=row.attempts, claim_id=row.claim_id),
            "last_error": row.last_error,
            # Why there is no push channel; the calendar is polled, nothing is lost.
            "push_error": row.push_error,
            "set_aside": row.set_aside,
        },
    }
