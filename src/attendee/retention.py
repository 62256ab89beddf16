"""Upkeep as due work: old rows go in small batches, spread over time, by one worker at a time."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import metrics
from attendee.clock import Clock
from attendee.removal import remove_more
from attendee.store import projects, upkeep
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.upkeep import Batch, Upkeep, UpkeepKind

_BETWEEN_BATCHES = timedelta(seconds=1)
_BETWEEN_ROUNDS = timedelta(hours=1)
# Until what is waited for, a channel or a launch that is to end, is looked at again.
_BETWEEN_LOOKS = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Kept:
    """How long what is over is kept."""

    events: timedelta
    bots: timedelta
    deliveries: timedelta
    activity: timedelta
    syncs: timedelta


@dataclass(frozen=True, slots=True)
class Keeper:
    """Carries out upkeep."""

    database: Database
    key_ring: KeyRing
    clock: Clock
    kept: Kept

    async def keep(self, claimed: Upkeep) -> None:
        """One batch of a claimed kind, and when it is due again. Raises ClaimLost."""
        now = self.clock()
        async with self.database.transaction() as tx:
            if claimed.id is UpkeepKind.PROJECTS:
                batch, pause = await self._remove_projects(tx, now=now)
            else:
                batch = await self._purge(claimed)(tx, now)
                pause = _BETWEEN_ROUNDS if batch.position is None else _BETWEEN_BATCHES
            await upkeep.settle(tx, claimed, position=batch.position, next_due_at=now + pause)
        metrics.purged.labels(claimed.id.value).inc(batch.removed)
        if self.database.is_sqlite and batch.removed:
            await self.database.empty_log()

    def _purge(self, claimed: Upkeep) -> Callable[[AsyncConnection, datetime], Awaitable[Batch]]:
        kept, position = self.kept, claimed.position
        match claimed.id:
            case UpkeepKind.BOTS:
                return lambda tx, now: upkeep.purge_bots(tx, position, before=now - kept.bots)
            case UpkeepKind.EVENTS:
                return lambda tx, now: upkeep.purge_events(tx, position, before=now - kept.events)
            case UpkeepKind.DELIVERIES:
                return lambda tx, now: upkeep.purge_deliveries(tx, position, before=now - kept.deliveries)
            case UpkeepKind.ACTIVITY:
                return lambda tx, now: upkeep.purge_activity(tx, before=now - kept.activity)
            case UpkeepKind.SYNCS:
                return lambda tx, now: upkeep.purge_syncs(tx, before=now - kept.syncs)
            case _:
                return lambda tx, now: upkeep.purge_leftovers(tx, now=now)

    async def _remove_projects(self, tx: AsyncConnection, *, now: datetime) -> tuple[Batch, timedelta]:
        """A batch of the first deleted project of which something can go now."""
        deleted = await projects.deleted(tx)
        for project_id in deleted:
            removed = await remove_more(tx, project_id, key_ring=self.key_ring, now=now)
            if removed:
                return Batch(removed, None), timedelta(0)
        return Batch(0, None), _BETWEEN_LOOKS if deleted else _BETWEEN_ROUNDS
