"""The sync's hold on a calendar: its lock, its tokens, its cursor, and how a sync ended."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Text, bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import ClaimLost
from attendee.model import CalendarState, Window
from attendee.store import claims
from attendee.store.calendars import Calendar
from attendee.store.columns import KeyRing, Sealed, UtcDateTime
from attendee.store.tables import calendars

_MICROSECOND = timedelta(microseconds=1)


class CredentialsReplaced(Exception):
    """New credentials came while the sync was under way: what it learned with the old ones is thrown away."""


def open_secret(key_ring: KeyRing, calendar: Calendar, column: str, sealed: Sealed) -> str:
    """The secret in one of the calendar's sealed columns. Raises WrongKey."""
    return key_ring.open(sealed, table=calendars.name, column=column, row_id=calendar.id)


async def lock(tx: AsyncConnection, calendar: Calendar) -> Calendar:
    """The calendar as it is now, locked; the caller is the only one who stores anything of it until the commit.

    Raises ClaimLost when the claim is no longer ours, and CredentialsReplaced.
    """
    row = (
        await tx.execute(select(calendars).where(calendars.c.id == calendar.id).with_for_update(key_share=True))
    ).one_or_none()
    if row is None or row.claim_id != calendar.claim_id:
        raise ClaimLost(calendar.id)
    if row.credentials_version != calendar.credentials_version:
        raise CredentialsReplaced(calendar.id)
    return Calendar.from_row(row)


def next_stamp(locked: Calendar, *, now: datetime) -> datetime:
    """The `updated_at` for what this transaction changes: now, but always later than any that the calendar has."""
    if locked.events_stamped_at is None:
        return now
    return max(now, locked.events_stamped_at + _MICROSECOND)


async def save_tokens(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    access_token: str,
    expires_at: datetime,
    refresh_token: str | None,
    key_ring: KeyRing,
) -> Calendar:
    """Keeps fresh tokens, sealed. Raises ClaimLost and CredentialsReplaced: then they are another's to refresh."""
    locked = await lock(tx, calendar)
    values: dict[str, Any] = {
        "access_token": key_ring.seal(access_token, table=calendars.name, column="access_token", row_id=calendar.id),
        "access_token_expires_at": expires_at,
    }
    if refresh_token is not None:
        values["refresh_token"] = key_ring.seal(
            refresh_token, table=calendars.name, column="refresh_token", row_id=calendar.id
        )
    await tx.execute(update(calendars).where(calendars.c.id == calendar.id).values(**values))
    return replace(locked, **values, wakes=calendar.wakes)


@dataclass(frozen=True, slots=True)
class Listing:
    """A full listing that has just been stored."""

    window: Window
    next_at: datetime


async def settle_success(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    cursor: str | None,
    listing: Listing | None,
    stamp: datetime | None,
    next_due_at: datetime,
    now: datetime,
) -> None:
    """Ends a good sync: the cursor with the events it belongs to, and the calendar connected. Raises ClaimLost."""
    values: dict[str, Any] = {
        "cursor": cursor,
        "state": CalendarState.CONNECTED.value,
        "connection_failure_data": None,
        "last_attempted_sync_at": now,
        "last_successful_sync_at": now,
        "last_error": None,
    }
    if calendar.state is not CalendarState.CONNECTED:
        values["updated_at"] = now
    if listing is not None:
        values |= {
            "listed_from": listing.window.start_at,
            "listed_until": listing.window.until,
            "next_listing_at": listing.next_at,
        }
    if stamp is not None:
        values["events_stamped_at"] = stamp
    await _settle(tx, calendar, next_due_at=next_due_at, succeeded=True, values=values)


async def settle_failure(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    error: str,
    next_due_at: datetime,
    hold_until: datetime | None,
    now: datetime,
) -> None:
    """Ends a sync that failed for a while: tried again at `next_due_at`. Raises ClaimLost."""
    values: dict[str, Any] = {"last_attempted_sync_at": now, "last_error": error}
    await _settle(tx, calendar, next_due_at=next_due_at, succeeded=False, values=values, hold_until=hold_until)


async def settle_disconnection(
    tx: AsyncConnection, calendar: Calendar, *, failure: dict[str, Any], now: datetime
) -> None:
    """Ends a sync with the platform's word that access is lost: nothing is due now. Raises ClaimLost."""
    values = {
        "state": CalendarState.DISCONNECTED.value,
        "connection_failure_data": failure,
        "access_token": None,
        "access_token_expires_at": None,
        "last_attempted_sync_at": now,
        "last_error": failure["error"],
        "updated_at": now,
    }
    await _settle(tx, calendar, next_due_at=None, succeeded=True, values=values)


async def let_go(tx: AsyncConnection, calendar: Calendar, *, now: datetime) -> None:
    """Gives a claim back unused, due at once, its attempt not counted. Nothing happens if it is no longer ours."""
    await tx.execute(
        update(calendars)
        .where(calendars.c.id == calendar.id, calendars.c.claim_id == calendar.claim_id)
        .values(
            claim_id=None,
            claimed_until=None,
            due_at=now,
            attempts=case((calendars.c.attempts > 0, calendars.c.attempts - 1), else_=0),
        )
    )


@dataclass(frozen=True, slots=True)
class QuietSync:
    """A sync that found nothing changed."""

    calendar: Calendar
    cursor: str | None
    next_due_at: datetime
    ended_at: datetime


async def settle_quiet(tx: AsyncConnection, quiet: Sequence[QuietSync]) -> None:
    """Ends many quiet syncs in one statement. Those whose claim was lost are left alone.

    Where the credentials were replaced meanwhile only the claim ends: the cursor may be of another account.
    """
    columns = calendars.c
    same_credentials = columns.credentials_version == bindparam("b_version")
    kept = case((columns.wakes == bindparam("b_wakes"), bindparam("b_due_at", type_=UtcDateTime)), else_=columns.due_at)
    statement = (
        update(calendars)
        .where(columns.id == bindparam("b_id"), columns.claim_id == bindparam("b_claim_id"))
        .values(
            claim_id=None,
            claimed_until=None,
            attempts=0,
            due_at=kept,
            cursor=case((same_credentials, bindparam("b_cursor", type_=Text)), else_=columns.cursor),
            last_attempted_sync_at=bindparam("b_ended_at", type_=UtcDateTime),
            last_successful_sync_at=bindparam("b_ended_at", type_=UtcDateTime),
            last_error=None,
        )
    )
    await tx.execute(
        statement,
        [
            {
                "b_id": one.calendar.id,
                "b_claim_id": one.calendar.claim_id,
                "b_version": one.calendar.credentials_version,
                "b_wakes": one.calendar.wakes,
                "b_due_at": one.next_due_at,
                "b_cursor": one.cursor,
                "b_ended_at": one.ended_at,
            }
            for one in quiet
        ],
    )


async def _settle(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    next_due_at: datetime | None,
    succeeded: bool,
    values: dict[str, Any],
    hold_until: datetime | None = None,
) -> None:
    assert calendar.claim_id is not None, "only a claimed calendar is settled"
    await claims.settle(
        tx,
        calendars,
        row_id=calendar.id,
        claim_id=calendar.claim_id,
        wakes=calendar.wakes,
        next_due_at=next_due_at,
        succeeded=succeeded,
        hold_until=hold_until,
        values=values,
    )
