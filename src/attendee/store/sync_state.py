"""The sync's hold on a calendar: its lock, its tokens, its cursor, and how a sync ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    String,
    Text,
    Update,
    and_,
    bindparam,
    case,
    func,
    null,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import ClaimLost
from attendee.model import BotState, CalendarId, CalendarState, DisconnectCode, Window
from attendee.store import claims
from attendee.store.bulk import BulkUpdate
from attendee.store.calendars import Calendar
from attendee.store.columns import KeyRing, Sealed, UtcDateTime
from attendee.store.database import wake_after_commit
from attendee.store.tables import bots, calendars

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
class NextTurn:
    """When a calendar is looked at again, and how often that was in vain since the last push (None: not told of one).

    A push that came during the sync is served no sooner than `woken_not_before`.
    """

    due_at: datetime
    looks_after_push: int | None
    woken_not_before: datetime


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
    next_turn: NextTurn,
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
    await _settle(
        tx,
        calendar,
        next_due_at=next_turn.due_at,
        succeeded=True,
        values=values,
        woken_due_at=_GATHERED,
        computed=_LOOKS_UNLESS_WOKEN,
        parameters={"b_looks": next_turn.looks_after_push, "b_woken_not_before": next_turn.woken_not_before},
    )


async def settle_failure(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    error: str,
    is_operators_fault: bool,
    next_due_at: datetime,
    hold_until: datetime | None,
    now: datetime,
) -> None:
    """Ends a sync that failed for a while: tried again at `next_due_at`. Raises ClaimLost."""
    values: dict[str, Any] = {
        "last_attempted_sync_at": now,
        "last_error": error,
        "is_operators_fault": is_operators_fault,
    }
    await _settle(tx, calendar, next_due_at=next_due_at, succeeded=False, values=values, hold_until=hold_until)


async def settle_disconnection(
    tx: AsyncConnection, calendar: Calendar, *, failure: dict[str, Any], now: datetime
) -> None:
    """Ends a sync with the platform's word that access is lost: nothing is due now. Raises ClaimLost.

    A sync that somebody asked for meanwhile still takes place; a push that came meanwhile no longer matters.
    """
    values = {
        "state": CalendarState.DISCONNECTED.value,
        "connection_failure_data": failure,
        "access_token": None,
        "access_token_expires_at": None,
        "last_attempted_sync_at": now,
        "last_error": failure["error"],
        "is_operators_fault": failure["code"] == DisconnectCode.CLIENT_INVALID,
        "updated_at": now,
    }
    await _settle(tx, calendar, next_due_at=None, succeeded=True, values=values, woken_due_at=_DUE_IF_ASKED_FOR)


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
    next_turn: NextTurn
    ended_at: datetime


async def settle_quiet(tx: AsyncConnection, quiet: Sequence[QuietSync]) -> None:
    """Ends many quiet syncs in one statement. Those whose claim was lost are left alone.

    Where the credentials were replaced meanwhile only the claim ends: the cursor may be of another account.
    """
    await _SETTLE_QUIET.store(
        tx,
        [
            (
                one.calendar.id,
                one.calendar.claim_id,
                one.calendar.credentials_version,
                one.calendar.wakes,
                one.next_turn.due_at,
                one.next_turn.looks_after_push,
                one.next_turn.woken_not_before,
                one.cursor,
                one.ended_at,
            )
            # In one order, so that two transactions of many calendars don't wait for each other.
            for one in sorted(quiet, key=lambda one: one.calendar.id)
        ],
    )


async def next_joins(
    tx: AsyncConnection, calendar_ids: Collection[CalendarId], *, until: datetime
) -> dict[CalendarId, datetime]:
    """When the next scheduled bot of each calendar joins, for those that have one before `until`."""
    rows = await tx.execute(_NEXT_JOINS, {"calendar_ids": list(calendar_ids), "until": until})
    return dict(rows.all())


async def turn_no_later(tx: AsyncConnection, calendar_id: CalendarId, at: datetime, *, now: datetime) -> None:
    """Lets a calendar that is polled be looked at by then; one that is told of changes is left alone."""
    columns = calendars.c
    await tx.execute(
        update(calendars)
        .where(
            columns.id == calendar_id,
            columns.due_at > at,
            or_(columns.push_until.is_(None), columns.push_until <= now),
        )
        .values(due_at=at)
    )


async def ask_before_launch(
    tx: AsyncConnection, calendar_id: CalendarId, *, unless_since: datetime, now: datetime
) -> None:
    """Lets a calendar be looked at now, since one of its bots is about to start, unless it was since `unless_since`."""
    columns = calendars.c
    await tx.execute(
        update(calendars)
        .where(
            columns.id == calendar_id,
            columns.state == CalendarState.CONNECTED.value,
            or_(columns.last_attempted_sync_at.is_(None), columns.last_attempted_sync_at < unless_since),
        )
        .values(due_at=now, wakes=columns.wakes + 1)
    )
    wake_after_commit(tx, calendars.name)


async def pause_client(
    tx: AsyncConnection, calendar: Calendar, *, until: datetime, step: timedelta, now: datetime
) -> None:
    """Lets all calendars of an OAuth client rest until then, woken or not, but for those that are being synced.

    Those that are due before leave the front of the queue, where claims of others would have to step over them, and
    come back one `step` after the other, so that the client is not over its quota again in the first second.
    """
    columns = calendars.c
    resting = (
        select(columns.id)
        .where(
            columns.project_id == calendar.project_id,
            columns.platform == calendar.platform.value,
            columns.client_id == calendar.client_id,
            columns.due_at >= until,
            columns.claim_id.is_(None),
            # Once a pause: the refusals of the other requests under way find them resting.
            or_(columns.claimed_until.is_(None), columns.claimed_until <= now),
        )
        .with_for_update(skip_locked=True)
    )
    await tx.execute(update(calendars).where(columns.id.in_(resting)).values(claimed_until=until))
    due = await tx.execute(
        select(columns.id)
        .where(
            columns.project_id == calendar.project_id,
            columns.platform == calendar.platform.value,
            columns.client_id == calendar.client_id,
            columns.due_at < until,
            columns.claim_id.is_(None),
            or_(columns.claimed_until.is_(None), columns.claimed_until < until),
        )
        .order_by(columns.due_at)
        .with_for_update(skip_locked=True)
    )
    await _REST.store(tx, [(id, until + number * step, until) for number, id in enumerate(due.scalars())])


async def _settle(
    tx: AsyncConnection,
    calendar: Calendar,
    *,
    next_due_at: datetime | None,
    succeeded: bool,
    values: dict[str, Any],
    hold_until: datetime | None = None,
    woken_due_at: ColumnElement[Any] | None = None,
    computed: Mapping[str, ColumnElement[Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
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
        woken_due_at=woken_due_at,
        values=values,
        computed={**_ASKED_FOR_MEANWHILE, **(computed or {})},
        parameters=parameters,
    )


def _gathered(earliest: ColumnElement[Any]) -> ColumnElement[Any]:
    """When a calendar that was woken meanwhile is due: a push may wait for its likes, whatever else woke it may not."""
    waits = and_(calendars.c.looks_after_push == 0, calendars.c.due_at < earliest)
    return case((waits, earliest), else_=calendars.c.due_at)


_GATHERED = _gathered(bindparam("b_woken_not_before", type_=UtcDateTime))
_DUE_IF_ASKED_FOR: ColumnElement[Any] = case(
    (calendars.c.asked_for.is_not(None), calendars.c.due_at),
    else_=null(),
)
_IS_UNWOKEN = calendars.c.wakes == claims.WAKES
# What was asked for meanwhile is asked of the next sync.
_ASKED_FOR_MEANWHILE: dict[str, ColumnElement[Any]] = {
    "asked_for": case((_IS_UNWOKEN, null()), else_=calendars.c.asked_for)
}
# A push that came meanwhile has set its own.
_LOOKS_UNLESS_WOKEN: dict[str, ColumnElement[Any]] = {
    "looks_after_push": case((_IS_UNWOKEN, bindparam("b_looks", type_=Integer)), else_=calendars.c.looks_after_push)
}


def _settling_quiet(quiet: Mapping[str, ColumnElement[Any]]) -> Update:
    columns = calendars.c
    same_credentials = columns.credentials_version == quiet["b_version"]
    is_unwoken = columns.wakes == quiet["b_wakes"]
    return (
        update(calendars)
        .where(columns.id == quiet["b_id"], columns.claim_id == quiet["b_claim_id"])
        .values(
            claim_id=None,
            claimed_until=None,
            attempts=0,
            due_at=case((is_unwoken, quiet["b_due_at"]), else_=_gathered(quiet["b_woken_not_before"])),
            cursor=case((same_credentials, quiet["b_cursor"]), else_=columns.cursor),
            last_attempted_sync_at=quiet["b_ended_at"],
            last_successful_sync_at=quiet["b_ended_at"],
            last_error=None,
            quiet_syncs=columns.quiet_syncs + 1,
            looks_after_push=case((is_unwoken, quiet["b_looks"]), else_=columns.looks_after_push),
        )
    )


# Built once: quiet syncs are what this service does all day.
_SETTLE_QUIET = BulkUpdate(
    {
        "b_id": String(),
        "b_claim_id": String(),
        "b_version": Integer(),
        "b_wakes": Integer(),
        "b_due_at": UtcDateTime(),
        "b_looks": Integer(),
        "b_woken_not_before": UtcDateTime(),
        "b_cursor": Text(),
        "b_ended_at": UtcDateTime(),
    },
    _settling_quiet,
)
_REST = BulkUpdate(
    {"b_id": String(), "b_due_at": UtcDateTime(), "b_until": UtcDateTime()},
    lambda rest: (
        update(calendars)
        .where(calendars.c.id == rest["b_id"])
        .values(due_at=rest["b_due_at"], claimed_until=rest["b_until"])
    ),
)
_NEXT_JOINS: Select[Any] = (
    select(bots.c.calendar_id, func.min(bots.c.join_at))
    .where(
        bots.c.calendar_id.in_(bindparam("calendar_ids", expanding=True)),
        bots.c.state == BotState.SCHEDULED.value,
        bots.c.due_at <= bindparam("until", type_=UtcDateTime),
    )
    .group_by(bots.c.calendar_id)
)
