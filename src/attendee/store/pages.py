"""Pages by keyset: a page begins after a position, never after a count, so rows that come and go move nothing.

A position is the value of the column that orders the rows, and the row's id, which breaks ties. "Previous" reads in
the opposite order from its position and turns the rows round.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Integer, Row, Select, literal, literal_column, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, slots=True)
class Ordering:
    """By `column`, ties broken by `tie_breaker`, which is unique. Both are among the columns of the query."""

    column: Column[Any]
    tie_breaker: Column[Any]
    descending: bool


@dataclass(frozen=True, slots=True)
class Position:
    """A place between two rows: just after the row with these values, or just before it if `backwards`.

    With `inclusive` the row itself, should it still be there, is on the page: so a page that has become empty finds
    its way back.
    """

    value: datetime
    tie_breaker: str | int
    backwards: bool = False
    inclusive: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """The rows in their order, and where the pages around them begin; None where there is none."""

    rows: Sequence[Row[Any]]
    next: Position | None
    previous: Position | None


async def read_page(
    tx: AsyncConnection, query: Select[Any], *, ordering: Ordering, position: Position | None, size: int
) -> Page:
    """The page of the query's rows that begins at the position, or the first one for None."""
    backwards = position is not None and position.backwards
    descending = ordering.descending != backwards
    if position is not None:
        query = query.where(_beyond(ordering, position, descending=descending))
    columns = (ordering.column, ordering.tie_breaker)
    # Written into the statement, because PostgreSQL plans a page of unknown size as if it were a tenth of the table.
    one_more: ColumnElement[int] = literal_column(str(int(size) + 1), Integer)
    query = query.order_by(*(column.desc() if descending else column.asc() for column in columns)).limit(one_more)
    found = (await tx.execute(query)).all()
    rows = found[:size]
    is_more = len(found) > size
    if position is None:
        return Page(rows, _at(rows[-1], ordering) if is_more else None, None)
    if not rows:
        back = Position(position.value, position.tie_breaker, not backwards, inclusive=not position.inclusive)
        return Page(rows, back, None) if backwards else Page(rows, None, back)
    if backwards:
        rows = rows[::-1]
        before = _at(rows[0], ordering, backwards=True) if is_more else None
        return Page(rows, _at(rows[-1], ordering), before)
    after = _at(rows[-1], ordering) if is_more else None
    return Page(rows, after, _at(rows[0], ordering, backwards=True))


def _beyond(ordering: Ordering, position: Position, *, descending: bool) -> Any:
    # Compared as one pair, so that one range of the index answers it.
    place = tuple_(ordering.column, ordering.tie_breaker)
    mark = tuple_(
        literal(position.value, ordering.column.type), literal(position.tie_breaker, ordering.tie_breaker.type)
    )
    if position.inclusive:
        return place <= mark if descending else place >= mark
    return place < mark if descending else place > mark


def _at(row: Row[Any], ordering: Ordering, *, backwards: bool = False) -> Position:
    values = row._mapping
    return Position(values[ordering.column], values[ordering.tie_breaker], backwards)
