"""What keeps the tables small: rows of due work, one for each kind of upkeep, and one small batch of each at a time.

Nothing here is a change that anybody could see: what is purged is older than anyone was promised.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Self

from sqlalchemy import Column, ColumnElement, Row, Select, Table, and_, delete, exists, not_, or_, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import FINISHED_BOT_STATES, DeliveryState, ProjectId
from attendee.store import claims
from attendee.store.account_tables import one_time_links, sessions
from attendee.store.tables import (
    activity,
    bots,
    calendars,
    deliveries,
    events,
    launches,
    projects,
    signing_secrets,
    syncs,
    upkeep,
)

# Few enough that a batch takes milliseconds and holds up nobody.
_ROWS = 500
_CALENDARS = 1_000
# Who carries out a launch that is called off gives up by itself; one that is still here has nobody to do it.
_ABANDONED_AFTER = timedelta(hours=1)
_FINISHED = sorted(state.value for state in FINISHED_BOT_STATES)


class UpkeepKind(StrEnum):
    """In the order in which they help one another: an event goes after its bots."""

    BOTS = "bots"
    EVENTS = "events"
    DELIVERIES = "deliveries"
    ACTIVITY = "activity"
    SYNCS = "syncs"
    LEFTOVERS = "leftovers"
    PROJECTS = "projects"


@dataclass(frozen=True, slots=True)
class Upkeep:
    """One kind of upkeep, as stored. `position` is how far its walk has come; None is its beginning."""

    id: UpkeepKind
    position: str | None
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        return cls(**{**row._mapping, "id": UpkeepKind(row.id)})


@dataclass(frozen=True, slots=True)
class Batch:
    """How many rows have gone, and where the next batch begins: None if the round is over."""

    removed: int
    position: str | None


async def begin(tx: AsyncConnection, *, now: datetime) -> None:
    """Makes upkeep due that has never been."""
    insert_here = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    rows = [{"id": kind.value, "due_at": now} for kind in UpkeepKind]
    await tx.execute(insert_here(upkeep).values(rows).on_conflict_do_nothing())


async def settle(tx: AsyncConnection, claimed: Upkeep, *, position: str | None, next_due_at: datetime) -> None:
    """Ends a claim. Raises ClaimLost."""
    await claims.settle(
        tx,
        upkeep,
        row_id=claimed.id,
        claim_id=claimed.claim_id or "",
        wakes=claimed.wakes,
        next_due_at=next_due_at,
        succeeded=True,
        values={"position": position},
    )


async def purge_events(tx: AsyncConnection, position: str | None, *, before: datetime) -> Batch:
    """Events that had ended, and were last changed, before then; those with bots stay until these are gone.

    It walks the calendars, whose events have an index by their start: one by their end would make every sync dearer.
    """
    next_ids = _next_ids(calendars, position, limit=_CALENDARS)
    is_old = and_(
        events.c.calendar_id.in_(next_ids),
        events.c.start_time < before,
        events.c.end_time < before,
        events.c.updated_at < before,
        not_(exists().where(bots.c.event_id == events.c.id)),
    )
    old = await _locked(tx, events.c.id, is_old)
    await _delete(tx, activity.c.event_id, old)
    await _delete(tx, events.c.id, old)
    return await _walked(tx, next_ids, position, removed=len(old), limit=_CALENDARS)


async def purge_bots(tx: AsyncConnection, position: str | None, *, before: datetime) -> Batch:
    """Bots that had finished before then, and their histories. It walks the projects."""
    next_ids = _next_ids(projects, position, limit=1)
    is_old = and_(
        bots.c.project_id.in_(next_ids),
        bots.c.created_at < before,
        bots.c.updated_at < before,
        bots.c.state.in_(_FINISHED),
    )
    old = await _locked(tx, bots.c.id, is_old)
    await _delete(tx, activity.c.bot_id, old)
    await _delete(tx, bots.c.id, old)
    return await _walked(tx, next_ids, position, removed=len(old), limit=1)


async def purge_deliveries(tx: AsyncConnection, position: str | None, *, before: datetime) -> Batch:
    """Deliveries made before then that are finished, or held for a paused subscription. It walks the projects."""
    next_ids = _next_ids(projects, position, limit=1)
    is_old = and_(
        deliveries.c.project_id.in_(next_ids),
        deliveries.c.created_at < before,
        deliveries.c.claim_id.is_(None),
        or_(deliveries.c.state != DeliveryState.PENDING.value, deliveries.c.due_at.is_(None)),
    )
    old = await _locked(tx, deliveries.c.id, is_old)
    await _delete(tx, deliveries.c.id, old)
    return await _walked(tx, next_ids, position, removed=len(old), limit=1)


async def purge_activity(tx: AsyncConnection, *, before: datetime) -> Batch:
    return await _purge_head(tx, activity, activity.c.created_at, before=before)


async def purge_syncs(tx: AsyncConnection, *, before: datetime) -> Batch:
    return await _purge_head(tx, syncs, syncs.c.started_at, before=before)


async def purge_leftovers(tx: AsyncConnection, *, now: datetime) -> Batch:
    """What nobody is left to end: launches of machines that never came back, secrets, sessions and links past use."""
    removed = 0
    for table, is_over in (
        (launches, launches.c.give_up_at < now - _ABANDONED_AFTER),
        (signing_secrets, signing_secrets.c.ends_at <= now),
        (sessions, sessions.c.expires_at <= now),
        (one_time_links, one_time_links.c.expires_at <= now),
    ):
        removed += (await tx.execute(delete(table).where(is_over))).rowcount
    return Batch(removed, None)


async def _purge_head(tx: AsyncConnection, table: Table, column: Column[Any], *, before: datetime) -> Batch:
    """The old rows among the first ones: they are numbered as they come, so an index by time would only cost."""
    head = (await tx.execute(select(table.c.number, column).order_by(table.c.number).limit(_ROWS))).all()
    old = [number for number, at in head if at < before]
    await _delete(tx, table.c.number, old)
    return Batch(len(old), "" if len(old) == _ROWS else None)


async def remove_some_of_project(tx: AsyncConnection, project_id: ProjectId) -> int:
    """A batch of what a deleted project has left beside its calendars: bots, then histories; how many rows have gone.

    Whatever a runner has been told of the bots is to be called off before.
    """
    for column in (bots.c.id, activity.c.number, deliveries.c.id):
        ids = await _locked(tx, column, column.table.c.project_id == project_id)
        await _delete(tx, column, ids)
        if ids:
            return len(ids)
    return 0


def _next_ids(table: Table, position: str | None, *, limit: int) -> Select[str]:
    query = select(table.c.id).order_by(table.c.id).limit(limit)
    return query if position is None else query.where(table.c.id > position)


async def _locked(tx: AsyncConnection, column: Column[Any], condition: ColumnElement[bool]) -> list[Any]:
    """A batch of rows, by their ids; those that somebody else is at are left for another round."""
    query = select(column).where(condition).limit(_ROWS).with_for_update(skip_locked=True, of=column.table)
    return list((await tx.execute(query)).scalars())


async def _delete(tx: AsyncConnection, column: Column[Any], values: Collection[Any]) -> None:
    if values:
        await tx.execute(delete(column.table).where(column.in_(values)))


async def _walked(
    tx: AsyncConnection, next_ids: Select[str], position: str | None, *, removed: int, limit: int
) -> Batch:
    if removed == _ROWS:
        # There may be more where these were.
        return Batch(removed, position or "")
    ids = (await tx.execute(next_ids)).scalars().all()
    return Batch(removed, ids[-1] if len(ids) == limit else None)
