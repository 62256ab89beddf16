"""Calendars by the thousand, as if they had been connected and synced long ago."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, insert, or_, select, update

from attendee import clock
from attendee.model import CalendarState, Platform, ProjectId, new_id
from attendee.store import projects
from attendee.store.columns import KeyRing
from attendee.store.database import Database, wake_after_commit
from attendee.store.tables import calendars

# A single customer with a single OAuth client, as most installations have.
CLIENT_ID = "bench.apps.googleusercontent.com"
_ROWS_A_STATEMENT = 1_000


async def add_project(database: Database, key_ring: KeyRing) -> ProjectId:
    async with database.transaction() as tx:
        return (await projects.create(tx, "bench", key_ring=key_ring, now=clock.now())).id


async def add_key(database: Database, project_id: ProjectId) -> str:
    """A key to the project's API."""
    async with database.transaction() as tx:
        return (await projects.create_key(tx, project_id, name="bench", now=clock.now()))[1]


async def add_calendars(
    database: Database,
    key_ring: KeyRing,
    *,
    project_id: ProjectId,
    count: int,
    are_synced: bool = True,
    first_number: int = 0,
) -> None:
    """So many calendars, none of them due for a day. Those that are not `are_synced` begin with a full listing.

    Numbers are what tells them apart: they are in their deduplication keys.
    """
    now = clock.now()
    synced: dict[str, Any] = {
        "cursor": "CPDAlvWDx70CEPDAlvWDx70CGAU=",
        "listed_from": now - timedelta(days=1),
        "listed_until": now + timedelta(days=29),
        "next_listing_at": now + timedelta(hours=20),
        "last_attempted_sync_at": now,
        "last_successful_sync_at": now,
    }
    rows = []
    for number in range(first_number, first_number + count):
        calendar_id = new_id("cal_")

        def seal(column: str, secret: str, row_id: str = calendar_id) -> bytes:
            return key_ring.seal(secret, table=calendars.name, column=column, row_id=row_id)

        rows.append(
            {
                "id": calendar_id,
                "project_id": project_id,
                "platform": Platform.GOOGLE.value,
                "deduplication_key": f"user-{number}",
                "metadata": {"user": str(number)},
                "client_id": CLIENT_ID,
                "client_secret": seal("client_secret", "GOCSPX-" + "s" * 28),
                "refresh_token": seal("refresh_token", "1//0" + "r" * 100),
                "access_token": seal("access_token", "ya29." + "a" * 200),
                "access_token_expires_at": now + timedelta(hours=12),
                "state": CalendarState.CONNECTED.value,
                "created_at": now,
                "updated_at": now,
                "due_at": now + timedelta(days=1),
            }
            | (synced if are_synced else {})
        )
    async with database.transaction() as tx:
        for first in range(0, count, _ROWS_A_STATEMENT):
            await tx.execute(insert(calendars), rows[first : first + _ROWS_A_STATEMENT])


async def make_all_due(database: Database, *, at_most: int | None = None) -> None:
    """Makes all calendars due, or as many as `at_most`."""
    some = select(calendars.c.id).order_by(calendars.c.id).limit(at_most)
    async with database.transaction() as tx:
        made_due = update(calendars).values(due_at=clock.now())
        await tx.execute(made_due if at_most is None else made_due.where(calendars.c.id.in_(some)))
        wake_after_commit(tx, calendars.name)


async def are_settled(database: Database) -> bool:
    """Whether no calendar is due or claimed."""
    async with database.reading() as tx:
        open_ones = select(func.count()).where(
            or_(calendars.c.due_at <= clock.now(), calendars.c.claim_id.is_not(None))
        )
        return not await tx.scalar(open_ones)
