"""Events as the sync sees them: what is known of a calendar, and what has changed, in few statements."""

from collections.abc import Collection, Sequence
from datetime import datetime

import orjson
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, EventId, KnownEvent, ProjectId, SetAside, Touched
from attendee.store.tables import events, set_aside_events

# Both databases limit how many values one statement may carry.
_IDS_A_STATEMENT = 1000


_KNOWN_COLUMNS = (
    events.c.id,
    events.c.platform_uuid,
    events.c.fingerprint,
    events.c.is_deleted,
    events.c.start_time,
    events.c.end_time,
    events.c.meeting_url,
)


async def known(
    tx: AsyncConnection, calendar_id: CalendarId, *, platform_uuids: Collection[str] | None
) -> dict[str, KnownEvent]:
    """The stored events of a calendar by the platform's ids: those named, or all of them for None."""
    query = select(*_KNOWN_COLUMNS).where(events.c.calendar_id == calendar_id)
    if platform_uuids is None:
        rows = (await tx.execute(query)).all()
    else:
        rows = []
        wanted = list(platform_uuids)
        for start in range(0, len(wanted), _IDS_A_STATEMENT):
            some = wanted[start : start + _IDS_A_STATEMENT]
            rows += (await tx.execute(query.where(events.c.platform_uuid.in_(some)))).all()
    return {row.platform_uuid: KnownEvent(*row) for row in rows}


async def find_end(tx: AsyncConnection, event_id: EventId) -> datetime | None:
    """When the event ends; None if there is no such event."""
    end_at: datetime | None = await tx.scalar(select(events.c.end_time).where(events.c.id == event_id))
    return end_at


async def record(
    tx: AsyncConnection,
    touched: Sequence[Touched],
    *,
    project_id: ProjectId,
    calendar_id: CalendarId,
    stamp: datetime,
) -> None:
    """Stores what became of the touched events, every one of them stamped `updated_at = stamp`.

    A cancellation changes `is_deleted` and nothing else: the platform's minimal forms overwrite nothing.
    """
    whole = [
        {
            "id": one.id,
            "project_id": project_id,
            "calendar_id": calendar_id,
            "platform_uuid": one.after.platform_uuid,
            "fingerprint": one.after.fingerprint,
            "name": one.after.name,
            "meeting_url": one.after.meeting_url,
            "start_time": one.after.start_at,
            "end_time": one.after.end_at,
            "start_date": one.after.start_on,
            "end_date": one.after.end_on,
            "is_deleted": False,
            "attendees": orjson.dumps(one.after.attendees).decode(),
            "raw": one.after.raw,
            "ical_uid": one.after.ical_uid,
            "created_at": stamp,
            "updated_at": stamp,
        }
        for one in touched
        if one.after is not None
    ]
    if whole:
        insert_here = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
        statement = insert_here(events)
        kept = {"id", "project_id", "calendar_id", "platform_uuid", "created_at"}
        replaced = {name: statement.excluded[name] for name in whole[0] if name not in kept}
        await tx.execute(statement.on_conflict_do_update(index_elements=[events.c.id], set_=replaced), whole)
    gone = [{"gone_id": one.id} for one in touched if one.after is None]
    if gone:
        await tx.execute(
            update(events).where(events.c.id == bindparam("gone_id")).values(is_deleted=True, updated_at=stamp), gone
        )


async def record_set_aside(
    tx: AsyncConnection,
    set_aside: Sequence[SetAside],
    *,
    calendar_id: CalendarId,
    come_good: Collection[str] | None,
    now: datetime,
) -> None:
    """Remembers what can't be stored and why. `come_good` are the ids that are no longer so, None for all others."""
    if come_good is None:
        await tx.execute(delete(set_aside_events).where(set_aside_events.c.calendar_id == calendar_id))
    else:
        over = [{"over_uuid": uuid} for uuid in {*come_good, *(one.platform_uuid for one in set_aside)}]
        if over:
            await tx.execute(
                delete(set_aside_events).where(
                    set_aside_events.c.calendar_id == calendar_id,
                    set_aside_events.c.platform_uuid == bindparam("over_uuid"),
                ),
                over,
            )
    rows = {
        one.platform_uuid: {
            "calendar_id": calendar_id,
            "platform_uuid": one.platform_uuid,
            "reason": one.reason,
            "created_at": now,
        }
        for one in set_aside
    }
    if rows:
        await tx.execute(insert(set_aside_events), list(rows.values()))
