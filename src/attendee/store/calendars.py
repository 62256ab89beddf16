"""Calendars as their owners see them: made, read, given new credentials, asked to sync, deleted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import ColumnElement, Row, case, delete, insert, null, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import Invalid, NotFound
from attendee.model import FINISHED_BOT_STATES, CalendarId, CalendarState, Platform, ProjectId, SyncReason, new_id
from attendee.store import claims, tables
from attendee.store.columns import KeyRing, Sealed
from attendee.store.database import wake_after_commit
from attendee.store.limits import check_room

_DUPLICATE_KEY = "A calendar with this deduplication key exists in the project already."

# Looked up and not made: every claim reads as many calendars as it finds.
_PLATFORMS = {platform.value: platform for platform in Platform}
_STATES = {state.value: state for state in CalendarState}
_REASONS: dict[str | None, SyncReason | None] = {None: None, **{reason.value: reason for reason in SyncReason}}


# Not frozen: that would make each several times as dear to build, and every sync begins with one.
@dataclass(slots=True)
class Calendar:
    """One connection to one calendar at a platform, as stored. Nobody changes one: `replace` makes another."""

    id: CalendarId
    project_id: ProjectId
    platform: Platform
    platform_uuid: str | None
    deduplication_key: str | None
    metadata: dict[str, str] | None
    client_id: str
    client_secret: Sealed
    refresh_token: Sealed
    credentials_version: int
    access_token: Sealed | None
    access_token_expires_at: datetime | None
    state: CalendarState
    connection_failure_data: dict[str, Any] | None
    cursor: str | None
    listed_from: datetime | None
    listed_until: datetime | None
    next_listing_at: datetime | None
    events_stamped_at: datetime | None
    last_attempted_sync_at: datetime | None
    last_successful_sync_at: datetime | None
    last_error: str | None
    is_operators_fault: bool
    push_until: datetime | None
    looks_after_push: int | None
    asked_for: SyncReason | None
    quiet_syncs: int
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        """From a row of the table with all its columns, which are in the same order as the attributes here."""
        values: Sequence[Any] = row
        calendar = cls(*values)
        calendar.platform = _PLATFORMS[row.platform]
        calendar.state = _STATES[row.state]
        calendar.asked_for = _REASONS[row.asked_for]
        return calendar


@dataclass(frozen=True, slots=True)
class NewCalendar:
    """What `POST /calendars` brings, its secrets still open."""

    platform: Platform
    client_id: str
    client_secret: str
    refresh_token: str
    platform_uuid: str | None
    metadata: dict[str, str] | None
    deduplication_key: str | None


async def create(
    tx: AsyncConnection,
    new: NewCalendar,
    *,
    project_id: ProjectId,
    key_ring: KeyRing,
    most: int | None = None,
    now: datetime,
) -> Calendar:
    """Stores a calendar whose first sync is due at once; `most` is how many the project may have.

    Raises Invalid for a deduplication key that is taken, NotAllowed when the project has its fill.
    """
    present = select(tables.calendars.c.id).where(tables.calendars.c.project_id == project_id)
    await check_room(tx, present, project_id=project_id, most=most, what="calendars")
    calendar_id = new_id("cal_")
    try:
        async with tx.begin_nested():
            stored = await tx.execute(
                insert(tables.calendars)
                .values(
                    id=calendar_id,
                    project_id=project_id,
                    platform=new.platform.value,
                    platform_uuid=new.platform_uuid,
                    deduplication_key=new.deduplication_key,
                    metadata=new.metadata,
                    client_id=new.client_id,
                    client_secret=_seal(key_ring, "client_secret", calendar_id, new.client_secret),
                    refresh_token=_seal(key_ring, "refresh_token", calendar_id, new.refresh_token),
                    state=CalendarState.CONNECTED.value,
                    created_at=now,
                    updated_at=now,
                    due_at=now,
                )
                .returning(*tables.calendars.c)
            )
            row = stored.one()
    except IntegrityError:
        raise Invalid("deduplication_key", _DUPLICATE_KEY) from None
    wake_after_commit(tx, tables.calendars.name)
    return Calendar.from_row(row)


async def get(tx: AsyncConnection, calendar_id: str, *, project_id: ProjectId, for_update: bool = False) -> Calendar:
    """The calendar. Raises NotFound, for another project's too.

    `for_update` locks the row first, which keeps syncs of the calendar from storing anything until the caller commits.
    """
    query = select(tables.calendars).where(
        tables.calendars.c.id == calendar_id, tables.calendars.c.project_id == project_id
    )
    if for_update:
        query = query.with_for_update(key_share=True)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Calendar")
    return Calendar.from_row(row)


async def find(tx: AsyncConnection, calendar_id: CalendarId | None) -> Calendar | None:
    """The calendar of whatever project; None if it was deleted."""
    row = (await tx.execute(select(tables.calendars).where(tables.calendars.c.id == calendar_id))).one_or_none()
    return None if row is None else Calendar.from_row(row)


async def update_credentials(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    client_secret: str | None,
    refresh_token: str | None,
    metadata: dict[str, str] | None,
    key_ring: KeyRing,
    now: datetime,
) -> Calendar:
    """Replaces what is not None, forgets the access token and lets the calendar sync at once, with a fresh start.

    The version of the credentials is raised whatever was changed: a sync under way with the old ones stores nothing.
    """
    values: dict[str, Any] = {
        "credentials_version": tables.calendars.c.credentials_version + 1,
        "access_token": None,
        "access_token_expires_at": None,
        "attempts": 0,
        "asked_for": SyncReason.CREDENTIALS.value,
        # Ends a pause that the former credentials had earned; a claim that is held stays held.
        "claimed_until": _unless_claimed(),
        "updated_at": now,
    }
    if client_secret is not None:
        values["client_secret"] = _seal(key_ring, "client_secret", calendar.id, client_secret)
    if refresh_token is not None:
        values["refresh_token"] = _seal(key_ring, "refresh_token", calendar.id, refresh_token)
        # The token may be another account's, to which the cursor means nothing: the window is listed anew.
        values["cursor"] = None
    if metadata is not None:
        values["metadata"] = metadata
    await tx.execute(update(tables.calendars).where(tables.calendars.c.id == calendar.id).values(**values))
    await claims.wake(tx, tables.calendars, calendar.id, now=now)
    return await get(tx, calendar.id, project_id=calendar.project_id)


async def ask_sync(tx: AsyncConnection, calendar: Calendar, *, now: datetime) -> Calendar:
    """Makes a sync due now; on a disconnected calendar one attempt to bring it back."""
    await tx.execute(
        update(tables.calendars).where(tables.calendars.c.id == calendar.id).values(asked_for=SyncReason.ASKED.value)
    )
    await claims.wake(tx, tables.calendars, calendar.id, now=now)
    return await get(tx, calendar.id, project_id=calendar.project_id)


def next_sync_at(*, due_at: datetime | None, claim_id: str | None, claimed_until: datetime | None) -> datetime | None:
    """When the calendar is looked at next: no sooner than a pause that the platform has asked for is over."""
    if due_at is not None and claim_id is None and claimed_until is not None:
        return max(due_at, claimed_until)
    return due_at


def failures(*, attempts: int, claim_id: str | None) -> int:
    """How many syncs in a row have failed: the attempt that is under way has not failed yet."""
    return max(0, attempts - (claim_id is not None))


async def remove(tx: AsyncConnection, calendar: Calendar) -> None:
    """Deletes the calendar, its events and what was told of them; the bots that are left stay, without an event.

    Those that have finished lose the link, which was the event's.
    """
    finished = sorted(state.value for state in FINISHED_BOT_STATES)
    of_calendar = tables.bots.c.calendar_id == calendar.id
    await tx.execute(update(tables.bots).where(of_calendar, tables.bots.c.state.in_(finished)).values(meeting_url=None))
    await tx.execute(delete(tables.activity).where(tables.activity.c.calendar_id == calendar.id))
    await tx.execute(delete(tables.deliveries).where(tables.deliveries.c.calendar_id == calendar.id))
    await tx.execute(delete(tables.calendars).where(tables.calendars.c.id == calendar.id))


def _seal(key_ring: KeyRing, column: str, calendar_id: str, secret: str) -> Sealed:
    return key_ring.seal(secret, table=tables.calendars.name, column=column, row_id=calendar_id)


def _unless_claimed() -> ColumnElement[Any]:
    return case((tables.calendars.c.claim_id.is_(None), null()), else_=tables.calendars.c.claimed_until)
