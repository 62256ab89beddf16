"""Events as the sync sees them: what is known of a calendar, and what has changed, in few statements."""

from collections.abc import Collection, Sequence
from datetime import datetime

import orjson
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, EventId, KnownEvent, ProjectId, SetAside, Touched
from attendee.store.bulk import Bulk
from attendee.store.tables import events, set_aside_events

# Both databases limit how many values one statement may carry.
_IDS_A_STATEMENT = 1000


# These are built once, because every sync that finds something asks them.
_KNOWN = select(
    events.c.id,
    events.c.platform_uuid,
    events.c.fingerprint,
    events.c.is_deleted,
    events.c.start_time,
    events.c.end_time,
    events.c.meeting_url,
).where(events.c.calendar_id == bindparam("of_calendar"))
_KNOWN_OF = _KNOWN.where(events.c.platform_uuid.in_(bindparam("some", expanding=True)))
_ALL_GOOD = delete(set_aside_events).where(set_aside_events.c.calendar_id == bindparam("of_calendar"))
_GOOD = _ALL_GOOD.where(set_aside_events.c.platform_uuid == bindparam("over_uuid"))
# Of an event that is there already, what changes when it does.
_CHANGING = (
    "fingerprint",
    "name",
    "meeting_url",
    "start_time",
    "end_time",
    "start_date",
    "end_date",
    "is_deleted",
    "attendees",
    "raw",
    "ical_uid",
    "updated_at",
)
_WHOLE = Bulk(
    events, ("id", "project_id", "calendar_id", "platform_uuid", "created_at", *_CHANGING), replacing=_CHANGING
)


async def known(
    tx: AsyncConnection, calendar_id: CalendarId, *, platform_uuids: Collection[str] | None
) -> dict[str, KnownEvent]:
    """The stored events of a calendar by the platform's ids: those named, or all of them for None."""
    of_calendar = {"of_calendar": calendar_id}
    if platform_uuids is None:
        rows = (await tx.execute(_KNOWN, of_calendar)).all()
    else:
        rows = []
        wanted = list(platform_uuids)
        for start in range(0, len(wanted), _IDS_A_STATEMENT):
            some = wanted[start : start + _IDS_A_STATEMENT]
            rows += (await tx.execute(_KNOWN_OF, of_calendar | {"some": some})).all()
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
    await _WHOLE.store(
        tx,
        [
            (
                one.id,
                project_id,
                calendar_id,
                one.after.platform_uuid,
                stamp,
                one.after.fingerprint,
                one.after.name,
                one.after.meeting_url,
                one.after.start_at,
                one.after.end_at,
                one.after.start_on,
                one.after.end_on,
                False,
                orjson.dumps(one.after.attendees).decode(),
                one.after.raw,
                one.after.ical_uid,
                stamp,
            )
            for one in touched
            if one.after is not None
        ],
    )
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
        await tx.execute(_ALL_GOOD, {"of_calendar": calendar_id})
    else:
        uuids = {*come_good, *(one.platform_uuid for one in set_aside)}
        if uuids:
            await tx.execute(_GOOD, [{"of_calendar": calendar_id, "over_uuid": uuid} for uuid in uuids])
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
