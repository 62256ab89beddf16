"""The calendars that a user has at the platform, so that an application can offer them as a choice."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, PlatformCalendar
from attendee.store.bulk import Bulk
from attendee.store.tables import platform_calendars as table

_FORGET = delete(table).where(table.c.calendar_id == bindparam("of_calendar"))
_FOUND = Bulk(table, ("calendar_id", "position", "platform_uuid", "name", "is_primary"))


async def record(tx: AsyncConnection, found: Sequence[PlatformCalendar], *, calendar_id: CalendarId) -> None:
    """Stores them in place of those that were read before, in the platform's order."""
    await tx.execute(_FORGET, {"of_calendar": calendar_id})
    await _FOUND.store(
        tx,
        [(calendar_id, position, one.platform_uuid, one.name, one.is_primary) for position, one in enumerate(found)],
    )


async def of_calendar(tx: AsyncConnection, calendar_id: CalendarId) -> Sequence[PlatformCalendar]:
    """Those that were read last, in the platform's order; none before the first full listing."""
    rows = await tx.execute(
        select(table.c.platform_uuid, table.c.name, table.c.is_primary)
        .where(table.c.calendar_id == calendar_id)
        .order_by(table.c.position)
    )
    return [PlatformCalendar(*row) for row in rows]
