"""Upkeep, done one batch at a time as a worker does it."""

from datetime import timedelta

from attendee.retention import Keeper, Kept
from attendee.store import claims, tables, upkeep
from attendee.store.upkeep import Upkeep
from tests.installation import Installation

KEPT = Kept(
    events=timedelta(days=90),
    bots=timedelta(days=90),
    deliveries=timedelta(days=30),
    activity=timedelta(days=90),
    syncs=timedelta(days=30),
)


def keeper(here: Installation) -> Keeper:
    return Keeper(here.database, here.key_ring, here.clock, KEPT)


async def tidy(here: Installation, *, kept: Keeper | None = None) -> int:
    """All upkeep that is due, until no round goes on; how many batches it took."""
    batches = 0
    async with here.database.transaction() as tx:
        await upkeep.begin(tx, now=here.clock())
        for kind in upkeep.UpkeepKind:
            await claims.wake(tx, tables.upkeep, kind.value, now=here.clock())
    while True:
        async with here.database.transaction() as tx:
            rows = await claims.claim_due(tx, tables.upkeep, now=here.clock(), limit=100)
        if not rows and not await _goes_on(here):
            return batches
        for row in rows:
            await (kept or keeper(here)).keep(Upkeep.from_row(row))
            batches += 1
        here.clock.advance(timedelta(seconds=1))


async def _goes_on(here: Installation) -> bool:
    soon = here.clock() + timedelta(seconds=2)
    return bool(await here.rows(tables.upkeep, tables.upkeep.c.due_at <= soon))
