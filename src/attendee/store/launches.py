"""Launches as rows: what a runner is to be told of a bot, from the first try until nothing is left to tell."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import ClaimLost
from attendee.model import BotId, LaunchId, LaunchState, ProjectId
from attendee.store import claims
from attendee.store.columns import KeyRing, Sealed
from attendee.store.database import wake_after_commit
from attendee.store.tables import launches

# A runner that can't be told is given up on after so long; by then its bot has long found nobody to report to.
_CALL_OFF_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Launch:
    """One launch of a bot, as stored. `body` is the order without its token; `host` is the machine that it runs on."""

    id: LaunchId
    project_id: ProjectId
    bot_id: BotId
    state: LaunchState
    body: str
    report_token: Sealed
    reference: dict[str, Any] | None
    host: str | None
    is_leave_wanted: bool
    last_error: str | None
    give_up_at: datetime | None
    created_at: datetime
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        values = dict(row._mapping)
        values["state"] = LaunchState(values["state"])
        return cls(**values)


async def create(
    tx: AsyncConnection,
    launch_id: LaunchId,
    *,
    project_id: ProjectId,
    bot_id: BotId,
    body: str,
    report_token: str,
    key_ring: KeyRing,
    now: datetime,
) -> None:
    """A launch that the runner is to be told of now."""
    await tx.execute(
        insert(launches).values(
            id=launch_id,
            project_id=project_id,
            bot_id=bot_id,
            state=LaunchState.WANTED.value,
            body=body,
            report_token=key_ring.seal(report_token, table=launches.name, column="report_token", row_id=launch_id),
            is_leave_wanted=False,
            created_at=now,
            due_at=now,
        )
    )
    wake_after_commit(tx, launches.name)


def open_token(key_ring: KeyRing, launch: Launch) -> str:
    """What the bot's reports carry. Raises WrongKey."""
    return key_ring.open(launch.report_token, table=launches.name, column="report_token", row_id=launch.id)


async def find(tx: AsyncConnection, launch_id: str) -> Launch | None:
    row = (await tx.execute(select(launches).where(launches.c.id == launch_id))).one_or_none()
    return None if row is None else Launch.from_row(row)


async def lock(tx: AsyncConnection, launch: Launch) -> Launch:
    """The launch as it is now, locked. The caller has locked its bot before. Raises ClaimLost."""
    row = (await tx.execute(select(launches).where(launches.c.id == launch.id).with_for_update())).one_or_none()
    if row is None or row.claim_id != launch.claim_id:
        raise ClaimLost(launch.id)
    return Launch.from_row(row)


async def call_off(tx: AsyncConnection, launch_ids: Collection[LaunchId], *, now: datetime) -> None:
    """Lets the runner be told that these launches are off, soon and for a day at most."""
    if not launch_ids:
        return
    await tx.execute(
        update(launches)
        .where(launches.c.id.in_(launch_ids), launches.c.state != LaunchState.CALLING_OFF.value)
        .values(
            state=LaunchState.CALLING_OFF.value,
            give_up_at=now + _CALL_OFF_WITHIN,
            due_at=now,
            wakes=launches.c.wakes + 1,
            attempts=0,
        )
    )
    wake_after_commit(tx, launches.name)


async def ask_leave(tx: AsyncConnection, launch_id: LaunchId, *, now: datetime) -> None:
    """Lets the runner be told that the bot is to leave its meeting, once it has taken it."""
    await tx.execute(update(launches).where(launches.c.id == launch_id).values(is_leave_wanted=True))
    await claims.wake(tx, launches, launch_id, now=now)


async def look_now(tx: AsyncConnection, launch_id: LaunchId, *, now: datetime) -> None:
    """Lets a bot be looked at now, since another server's webhook told of it: it need not be looked at often.

    The caller has locked the bot.
    """
    query = select(launches.c.reference).where(launches.c.id == launch_id).with_for_update()
    reference = await tx.scalar(query)
    if reference is not None:
        told = reference | {"is_told": True}
        await tx.execute(update(launches).where(launches.c.id == launch_id).values(reference=told))
    await claims.wake(tx, launches, launch_id, now=now)


async def bind(tx: AsyncConnection, launch: Launch, *, host: str) -> bool:
    """Lets the launch be carried out on this machine alone; False if it is another's already. Raises ClaimLost."""
    current = await lock(tx, launch)
    if current.host is None:
        await tx.execute(update(launches).where(launches.c.id == launch.id).values(host=host))
    return current.host in {None, host}


async def settle(
    tx: AsyncConnection,
    launch: Launch,
    *,
    next_due_at: datetime | None,
    succeeded: bool,
    error: str | None = None,
    values: dict[str, Any] | None = None,
) -> None:
    """Ends a claim with what came of it. Raises ClaimLost."""
    await claims.settle(
        tx,
        launches,
        row_id=launch.id,
        claim_id=launch.claim_id or "",
        wakes=launch.wakes,
        next_due_at=next_due_at,
        succeeded=succeeded,
        values={"last_error": error, **(values or {})},
    )


async def forget(tx: AsyncConnection, launch_id: LaunchId) -> None:
    """Drops a launch of which the runner needs to hear nothing more."""
    await tx.execute(delete(launches).where(launches.c.id == launch_id))


def reachable_from(host: str | None) -> ColumnElement[bool]:
    """The launches that a worker on this machine can carry out, where the runner is bound to machines; else all."""
    return or_(launches.c.host.is_(None), launches.c.host == host)


async def projects_in_flight(tx: AsyncConnection, now: datetime) -> dict[tuple[str, ...], int]:
    """How many launches of each project are being told to the runner now, by workers anywhere."""
    rows = await tx.execute(
        select(launches.c.project_id, func.count())
        .where(launches.c.claimed_until > now, launches.c.claim_id.is_not(None))
        .group_by(launches.c.project_id)
    )
    return {(project_id,): count for project_id, count in rows}
