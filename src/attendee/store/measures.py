"""What the whole database says of itself, cheap enough to be asked every few seconds with a million calendars."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BindParameter, Select, Table, bindparam, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import FINISHED_BOT_STATES, BotState
from attendee.store.tables import bots, calendars, channels, deliveries, launches, upkeep

# Whether there are ten thousand or a million is no news to anybody, and costs a hundred times as much.
MOST_COUNTED = 10_000

DUE_WORK: tuple[Table, ...] = (calendars, channels, bots, launches, deliveries, upkeep)
_UNFINISHED = sorted(state.value for state in BotState if state not in FINISHED_BOT_STATES)


@dataclass(frozen=True, slots=True)
class Due:
    """What nobody works on though it is due: how much, up to `MOST_COUNTED`, and for how long the oldest has been."""

    count: int
    age: timedelta


async def due(tx: AsyncConnection, table: Table, *, now: datetime) -> Due:
    is_due = (table.c.due_at <= now, or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now))
    count = await _counted(tx, select(table.c.id).where(*is_due))
    oldest: datetime | None = None
    if count:
        oldest = await tx.scalar(select(table.c.due_at).where(*is_due).order_by(table.c.due_at, table.c.id).limit(1))
    return Due(count, timedelta(0) if oldest is None else now - oldest)


async def unfinished_bots(tx: AsyncConnection) -> Mapping[str, int]:
    """How many bots are in each state that is not an end; none are left out."""
    states = sorted(state.value for state in FINISHED_BOT_STATES)
    # Written into the statement, so that the index of those that have not finished answers it.
    finished: BindParameter[Any] = bindparam("finished", states, expanding=True, literal_execute=True)
    counted = await tx.execute(
        select(bots.c.state, func.count().label("count")).where(bots.c.state.not_in(finished)).group_by(bots.c.state)
    )
    return dict.fromkeys(_UNFINISHED, 0) | {row.state: row._mapping["count"] for row in counted}


async def calendars_in_trouble(tx: AsyncConnection) -> int:
    return await _counted(tx, select(calendars.c.id).where(calendars.c.last_error.is_not(None)))


async def _counted(tx: AsyncConnection, query: Select[tuple[str]]) -> int:
    some = query.limit(MOST_COUNTED).subquery()
    return await tx.scalar(select(func.count()).select_from(some)) or 0
