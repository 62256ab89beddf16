"""Calendars and projects that are deleted: gone at once for everybody, and soon without a trace.

What a platform or a runner must still be told is kept, sealed, until it has been: a day at most.
"""

from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.bots import following
from attendee.model import Credentials, ProjectId
from attendee.store import calendars, channels, launches, projects, sync_state, upkeep
from attendee.store.calendars import Calendar
from attendee.store.columns import KeyRing
from attendee.store.tables import bots
from attendee.store.tables import calendars as calendar_rows

_CALENDARS = 10


async def remove_calendar(tx: AsyncConnection, calendar: Calendar, *, key_ring: KeyRing, now: datetime) -> None:
    """Deletes a locked calendar with its events, the bots that wait for them and all that was told of it.

    The platform is told that nobody listens any more; what that takes stays sealed until it is done. Bots that have got
    to their meetings stay. Raises WrongKey.
    """
    credentials = Credentials(
        calendar.client_id,
        sync_state.open_secret(key_ring, calendar, "client_secret", calendar.client_secret),
        sync_state.open_secret(key_ring, calendar, "refresh_token", calendar.refresh_token),
    )
    await channels.stop_all(tx, calendar, channels.StopWith(None, credentials), key_ring=key_ring, now=now)
    # Their history goes with the calendar's.
    await following.delete_waiting(tx, calendar.id, reason="calendar_deleted", now=now)
    await calendars.remove(tx, calendar)


async def remove_more(tx: AsyncConnection, project_id: ProjectId, *, key_ring: KeyRing, now: datetime) -> int:
    """A batch of what a deleted project holds, then the project itself; how many rows have gone.

    None go while platforms and runners are being told: their secrets are the project's. Raises WrongKey.
    """
    rows = (
        await tx.execute(
            select(calendar_rows)
            .where(calendar_rows.c.project_id == project_id)
            .limit(_CALENDARS)
            .with_for_update(key_share=True)
        )
    ).all()
    for row in rows:
        await remove_calendar(tx, Calendar.from_row(row), key_ring=key_ring, now=now)
    if rows:
        return len(rows)
    launched = select(bots.c.launch_id).where(bots.c.project_id == project_id, bots.c.launch_id.is_not(None))
    await launches.call_off(tx, (await tx.execute(launched)).scalars().all(), now=now)
    removed = await upkeep.remove_some_of_project(tx, project_id)
    return removed or await projects.forget(tx, project_id, now=now)
