"""Small charts: a day in bars, one an hour, as inline SVG that needs neither script nor style of its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, Table, cast, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection

HOURS = 24
_HOUR = timedelta(hours=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS_AN_HOUR = 3_600_000_000


@dataclass(frozen=True, slots=True)
class Bar:
    """An hour, with heights in hundredths of the chart's."""

    since: datetime
    ok: int
    failed: int
    ok_height: float
    failed_height: float


@dataclass(frozen=True, slots=True)
class Chart:
    bars: Sequence[Bar]

    @property
    def ok(self) -> int:
        return sum(bar.ok for bar in self.bars)

    @property
    def failed(self) -> int:
        return sum(bar.failed for bar in self.bars)


async def read_day(
    tx: AsyncConnection, table: Table, *, at: str, state: str, failures: set[str], project_id: str, now: datetime
) -> Chart:
    """What happened in a project in each of the last 24 hours, by rows of the table; those in `failures` failed."""
    began_at = _whole_hour(now) - (HOURS - 1) * _HOUR
    hour = _hour_of(table.c[at], is_sqlite=tx.dialect.name == "sqlite").label("hour")
    query: Select[Any] = (
        select(hour, table.c[state], func.count())
        .where(table.c.project_id == project_id, table.c[at] >= began_at)
        .group_by(hour, table.c[state])
    )
    counts: dict[int, list[int]] = {}
    for number, name, count in await tx.execute(query):
        counts.setdefault(int(number), [0, 0])[name in failures] += count
    return _drawn(counts, began_at)


def _drawn(counts: Mapping[int, Sequence[int]], began_at: datetime) -> Chart:
    first = (began_at - _EPOCH) // _HOUR
    by_hour = [counts.get(first + number, (0, 0)) for number in range(HOURS)]
    most = max(1, *(sum(one) for one in by_hour))
    return Chart(
        [
            Bar(began_at + number * _HOUR, ok, failed, round(100 * ok / most, 1), round(100 * failed / most, 1))
            for number, (ok, failed) in enumerate(by_hour)
        ]
    )


def _hour_of(column: Any, *, is_sqlite: bool) -> ColumnElement[int]:
    """The number of the hour since 1970."""
    if is_sqlite:
        return type_coerce(column, BigInteger) // _MICROSECONDS_AN_HOUR
    return cast(func.floor(func.extract("epoch", column) / 3_600), BigInteger)


def _whole_hour(at: datetime) -> datetime:
    return at.replace(minute=0, second=0, microsecond=0)
