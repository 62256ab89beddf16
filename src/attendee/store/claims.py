"""Due work: rows are their own queue. A claim is a lease, not a lock: it outlives no dead worker.

`claim_due` counts the attempt when it claims, so that a row that kills its worker can't loop unseen; `settle` takes
effect in the transaction of the work's own effects and only for the holder of the claim; `wake` makes a row due now,
and a wake during the work is not lost to the settling of it.
"""

import secrets
from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Integer,
    Row,
    Select,
    String,
    Table,
    Update,
    bindparam,
    case,
    func,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import ClaimLost
from attendee.store.columns import UtcDateTime
from attendee.store.database import wake_after_commit

# Long enough for one request to a slow platform, short enough that a dead worker's rows are taken over soon.
LEASE = timedelta(seconds=60)


async def claim_due(
    tx: AsyncConnection,
    table: Table,
    *,
    now: datetime,
    limit: int,
    excluding: Mapping[tuple[str, ...], Collection[tuple[str, ...]]] | None = None,
    among: ColumnElement[bool] | None = None,
) -> list[Row[Any]]:
    """The rows that are due, at most `limit`, longest due first, now claimed for `LEASE`.

    `excluding` names for some columns the values whose rows are left to be claimed later: those who have their share of
    what is in flight already. `among` leaves rows to other workers for good; it must be the same object at each call.
    """
    excluded = {columns: list(values) for columns, values in (excluding or {}).items() if values}
    claimed = await tx.execute(
        _claiming(table, tuple(excluded), among),
        {
            "b_now": now,
            "b_limit": limit,
            "b_claim_id": secrets.token_hex(8),
            "b_claimed_until": now + LEASE,
            **{_excluded(columns): values for columns, values in excluded.items()},
        },
    )
    return list(claimed.all())


@cache
def _claiming(table: Table, excluded: tuple[tuple[str, ...], ...], among: ColumnElement[bool] | None) -> Update:
    """The statement of a claim. Built once: a claim is what workers ask for all day."""
    now = bindparam("b_now", type_=UtcDateTime)
    due = select(table.c.id).where(
        table.c.due_at <= now, or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now)
    )
    if among is not None:
        due = due.where(among)
    for columns in excluded:
        values: BindParameter[Any] = bindparam(_excluded(columns), expanding=True)
        due = due.where(tuple_(*(table.c[column] for column in columns)).not_in(values))
    in_line = due.order_by(table.c.due_at, table.c.id).limit(bindparam("b_limit", type_=Integer))
    chosen = in_line.with_for_update(skip_locked=True).cte("due")
    return (
        update(table)
        .where(table.c.id == chosen.c.id)
        .values(
            claim_id=bindparam("b_claim_id", type_=String),
            claimed_until=bindparam("b_claimed_until", type_=UtcDateTime),
            attempts=table.c.attempts + 1,
        )
        .returning(*table.c)
    )


def _excluded(columns: tuple[str, ...]) -> str:
    return "b_not_" + "_".join(columns)


async def claim_alone(tx: AsyncConnection, table: Table) -> None:
    """Lets nobody else who asks for this claim rows of the table until the caller commits: what is counted holds.

    SQLite has one writer at a time as it is.
    """
    if tx.dialect.name == "postgresql":
        await tx.execute(select(func.pg_advisory_xact_lock(func.hashtext(table.name))))


async def renew(tx: AsyncConnection, table: Table, *, row_id: str, claim_id: str, now: datetime) -> None:
    """Another `LEASE` from now on for long work. Raises ClaimLost."""
    done = await tx.execute(
        update(table).where(table.c.id == row_id, table.c.claim_id == claim_id).values(claimed_until=now + LEASE)
    )
    if done.rowcount == 0:
        raise ClaimLost(row_id)


# How often a row had been woken when it was claimed: for what `settle` is given to compute.
WAKES: BindParameter[int] = bindparam("b_wakes", type_=Integer)


async def settle(
    tx: AsyncConnection,
    table: Table,
    *,
    row_id: str,
    claim_id: str,
    wakes: int,
    next_due_at: datetime | None,
    succeeded: bool,
    hold_until: datetime | None = None,
    woken_due_at: ColumnElement[Any] | None = None,
    values: Mapping[str, Any] | None = None,
    computed: Mapping[str, ColumnElement[Any]] | None = None,
    parameters: Mapping[str, Any] | None = None,
) -> None:
    """Ends a claim: the row is due again at `next_due_at`, or if it was woken since it was claimed, when that asked.

    `woken_due_at` is another word for the latter, where wakes may come in storms.

    Until `hold_until` nothing claims it, however often it is woken. `values` are stored with it, and what is computed
    in the database. `woken_due_at` and `computed` must be the same objects at each call; what they are bound to besides
    `WAKES` is in `parameters`. Raises ClaimLost, which rolls the work back.
    """
    values = values or {}
    done = await tx.execute(
        _settling(table, tuple(values), tuple((computed or {}).items()), woken_due_at, succeeded=succeeded),
        {
            "b_id": row_id,
            "b_claim_id": claim_id,
            "b_wakes": wakes,
            "b_due_at": next_due_at,
            "b_hold_until": hold_until,
            **{_stored(name): value for name, value in values.items()},
            **(parameters or {}),
        },
    )
    if done.rowcount == 0:
        raise ClaimLost(row_id)


@cache
def _settling(
    table: Table,
    names: tuple[str, ...],
    computed: tuple[tuple[str, ColumnElement[Any]], ...],
    woken_due_at: ColumnElement[Any] | None,
    *,
    succeeded: bool,
) -> Update:
    """The statement that settles with values in these columns. Built once, as that of a claim."""
    columns = table.c
    woken = columns.due_at if woken_due_at is None else woken_due_at
    return (
        update(table)
        .where(columns.id == bindparam("b_id"), columns.claim_id == bindparam("b_claim_id"))
        .values(
            claim_id=None,
            claimed_until=bindparam("b_hold_until", type_=UtcDateTime),
            due_at=case((columns.wakes == WAKES, bindparam("b_due_at", type_=UtcDateTime)), else_=woken),
            attempts=0 if succeeded else columns.attempts,
            **{name: bindparam(_stored(name), type_=columns[name].type) for name in names},
            **dict(computed),
        )
    )


def _stored(column: str) -> str:
    return "b_new_" + column


async def wake(tx: AsyncConnection, table: Table, row_id: str, *, now: datetime) -> None:
    """Makes a row due now; one that is being worked on is due once more after that."""
    await tx.execute(update(table).where(table.c.id == row_id).values(due_at=now, wakes=table.c.wakes + 1))
    wake_after_commit(tx, table.name)


async def first_due_at(tx: AsyncConnection, table: Table) -> datetime | None:
    """Before this instant there is nothing to claim; None if there never is. It costs less than a claim."""
    first: datetime | None = await tx.scalar(_first_due_at(table))
    return first


@cache
def _first_due_at(table: Table) -> Select[tuple[datetime]]:
    return select(func.min(table.c.due_at))


async def next_due_at(tx: AsyncConnection, table: Table, *, after: datetime) -> datetime | None:
    """When a row that can't be claimed now first can be: it falls due, or its claim or pause ends; else None."""
    times = (await tx.execute(_next_due_at(table), {"b_after": after})).one()
    return min((time for time in times if time is not None), default=None)


@cache
def _next_due_at(table: Table) -> Select[tuple[datetime | None, datetime | None]]:
    after = bindparam("b_after", type_=UtcDateTime)
    falls_due = select(func.min(table.c.due_at)).where(table.c.due_at > after).scalar_subquery()
    is_let_go = select(func.min(table.c.claimed_until)).where(table.c.claimed_until > after).scalar_subquery()
    return select(falls_due, is_let_go)
