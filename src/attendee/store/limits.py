"""How much one project may have, and how fast it may ask for more: counted in the database, for all processes alike."""

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, delete, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import DomainError, NotAllowed
from attendee.model import ProjectId
from attendee.store.database import Database
from attendee.store.tables import post_counts, projects

_MINUTE = timedelta(minutes=1)
# A process takes so much of a minute's allowance at once, and then counts by itself: one write for many requests.
_SHARES = 100


WEBHOOKS = 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What one project may have at once, and how often it may POST. None: as much as it likes."""

    posts_per_minute: int = 3000
    calendars: int | None = None
    webhooks: int = WEBHOOKS
    bots: int | None = None


class TooManyPosts(DomainError):
    """The project's allowance for this minute is used up."""

    def __init__(self, most: int, retry_after: timedelta) -> None:
        super().__init__(
            f"Too many requests: a project may send {most:,} POSTs a minute. Try again when Retry-After is over."
        )
        self.retry_after = retry_after


@dataclass(slots=True)
class _Share:
    """What this process may still let through in this minute. While it gets more, others wait for it."""

    minute: datetime | None = None
    left: int = 0
    is_last: bool = False
    getting_more: asyncio.Lock = field(default_factory=asyncio.Lock)


class Posts:
    """Counts the POSTs of every project in whole minutes.

    No more than the limit gets through, however many processes there are; what a process has taken and does not use
    in a minute, a hundredth of the limit at most, is lost to the others.
    """

    def __init__(self, database: Database, most: int) -> None:
        self._database = database
        self._most = most
        self._at_once = max(1, most // _SHARES)
        self._shares: defaultdict[ProjectId, _Share] = defaultdict(_Share)

    async def count(self, project_id: ProjectId, *, now: datetime) -> None:
        """Lets one more POST through. Raises TooManyPosts."""
        share, minute = self._shares[project_id], now.replace(second=0, microsecond=0)
        async with share.getting_more:
            if share.minute != minute:
                share.minute, share.left, share.is_last = minute, 0, False
            if share.left == 0 and not share.is_last:
                async with self._database.transaction() as tx:
                    share.left = await _take(tx, project_id, minute, wanted=self._at_once, most=self._most)
                share.is_last = share.left < self._at_once
            if share.left == 0:
                raise TooManyPosts(self._most, minute + _MINUTE - now)
            share.left -= 1


async def _take(tx: AsyncConnection, project_id: ProjectId, minute: datetime, *, wanted: int, most: int) -> int:
    """How many of the wanted are left of this minute's allowance, and now the caller's."""
    table = post_counts
    insert_here = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    taken = await tx.scalar(
        insert_here(table)
        .values(project_id=project_id, minute=minute, taken=wanted)
        .on_conflict_do_update(
            index_elements=[table.c.project_id, table.c.minute],
            set_={"taken": table.c.taken + wanted},
            where=table.c.taken < most,
        )
        .returning(table.c.taken)
    )
    if taken == wanted:
        # The first of this minute clears up. The minute before stays: another machine's clock may be in it still.
        await tx.execute(delete(table).where(table.c.project_id == project_id, table.c.minute < minute - _MINUTE))
    return 0 if taken is None else wanted - max(0, taken - most)


async def check_room(
    tx: AsyncConnection, present: Select[Any], *, project_id: ProjectId, most: int | None, what: str
) -> None:
    """Raises NotAllowed if the project has its fill of what `present` finds, which is named by `what` ("webhooks").

    The project is locked until the caller commits, so that two requests at once can't both be the last.
    """
    if most is None:
        return
    await tx.execute(select(projects.c.id).where(projects.c.id == project_id).with_for_update(key_share=True))
    counted = await tx.scalar(select(func.count()).select_from(present.limit(most).subquery()))
    if counted is not None and counted >= most:
        message = f"A project has at most {most:,} {what}, and this one has as many; delete one first."
        raise NotAllowed(message)
