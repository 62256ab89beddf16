"""Sealed secrets as a whole: whether the keys at hand open them, and their move to a new key while all runs on."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, LargeBinary, Row, Table, func, literal, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.store.columns import KEY_ID_BYTES, KeyRing, Sealed, SealedText, WrongKey
from attendee.store.database import Database
from attendee.store.tables import metadata

# Every sealed column there is, by its table: whoever adds one has nothing to remember.
SEALED: dict[Table, tuple[str, ...]] = {
    table: names
    for table in metadata.sorted_tables
    if (names := tuple(column.name for column in table.columns if isinstance(column.type, SealedText)))
}
# A few milliseconds of work: nobody who wants one of these rows waits longer.
_BATCH = 100
# Ids are random, so the ends of their order are as good a sample as any, and a rotation that was not finished shows.
_SAMPLE = 500
# Rows that others hold are free again in so long, most of them.
_AGAIN_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rotation is: secrets sealed anew so far, those still to do, and those that no key opens."""

    resealed: int
    left: int
    unopened: int


async def check_keys(tx: AsyncConnection, key_ring: KeyRing) -> None:
    """Raises WrongKey if secrets are stored, as far as a sample shows, whose key is not in the ring."""
    for table, names in SEALED.items():
        for order in (table.c.id, table.c.id.desc()):
            rows = await tx.execute(select(*(table.c[name] for name in names)).order_by(order).limit(_SAMPLE))
            for row in rows:
                for name, sealed in zip(names, row, strict=True):
                    if sealed is not None and not key_ring.knows(sealed):
                        message = f"{table.name}.{name} was encrypted with a key that is not at hand."
                        raise WrongKey(message)


async def reseal_all(database: Database, key_ring: KeyRing) -> AsyncGenerator[Progress]:
    """Seals every secret anew that another key than the first has sealed; tells of its progress after each batch.

    Each batch is a transaction of its own, so whoever is interrupted goes on where they were. Rows are locked while
    they are sealed anew, so what others write meanwhile is never overwritten; a row that another holds is left for
    later, so that nobody ever waits in a circle. What no key opens stays as it is. Once nothing is left, it ends.
    """
    resealed = 0
    while True:
        left, unopened = await _count_old(database, key_ring), 0
        for table, names in SEALED.items():
            after = ""
            while True:
                async with database.transaction() as tx:
                    rows = await _locked(tx, table, names, key_ring, after=after)
                    for row in rows:
                        anew, closed = _resealed(row, table, names, key_ring)
                        if anew:
                            await tx.execute(update(table).where(table.c.id == row.id).values(**anew))
                        resealed, left, unopened = resealed + len(anew), left - len(anew) - closed, unopened + closed
                if not rows:
                    break
                after = rows[-1].id
                yield Progress(resealed, max(left, 0), unopened)
        left = await _count_old(database, key_ring) - unopened
        yield Progress(resealed, max(left, 0), unopened)
        if left <= 0:
            return
        await asyncio.sleep(_AGAIN_SECONDS)


async def _locked(
    tx: AsyncConnection, table: Table, names: Sequence[str], key_ring: KeyRing, *, after: str
) -> Sequence[Row[Any]]:
    query = (
        select(table.c.id, *(table.c[name] for name in names))
        .where(table.c.id > after, or_(*(_is_old(table.c[name], key_ring) for name in names)))
        .order_by(table.c.id)
        .limit(_BATCH)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return (await tx.execute(query)).all()


def _resealed(row: Row[Any], table: Table, names: Sequence[str], key_ring: KeyRing) -> tuple[dict[str, Sealed], int]:
    """The secrets of the row, sealed with the first key, and how many don't open."""
    anew, closed = dict[str, Sealed](), 0
    for name in names:
        sealed: Sealed | None = getattr(row, name)
        if sealed is None or key_ring.is_current(sealed):
            continue
        place = {"table": table.name, "column": name, "row_id": row.id}
        try:
            anew[name] = key_ring.seal(key_ring.open(sealed, **place), **place)
        except WrongKey:
            closed += 1
    return anew, closed


async def _count_old(database: Database, key_ring: KeyRing) -> int:
    async with database.reading() as tx:
        counts = [
            await tx.scalar(select(func.count()).select_from(table).where(_is_old(table.c[name], key_ring))) or 0
            for table, names in SEALED.items()
            for name in names
        ]
    return sum(counts)


def _is_old(column: ColumnElement[Any], key_ring: KeyRing) -> ColumnElement[bool]:
    key_id = func.substr(column, 1, KEY_ID_BYTES, type_=LargeBinary)
    return key_id != literal(key_ring.sealing_id, LargeBinary)
