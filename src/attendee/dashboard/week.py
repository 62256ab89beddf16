"""A week of events laid out as blocks, in the viewer's zone. Pure.

Blocks stand where the clock on the wall stands, as in every calendar: in the week in which the clocks change, an hour
is empty or has twice as much in it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

DAYS = 7
_QUARTERS_A_DAY = 96
_QUARTER_MINUTES = 15
_LONGEST_BLOCK = timedelta(hours=24)
# Side by side; what overlaps with even more shares the last place.
_MOST_LANES = 6
# Divides into each number of lanes.
_GRID_COLUMNS = 60
# Shown even when nothing happens then.
_USUAL_HOURS = (8, 18)


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as the layout needs it; `event` is whatever the page shows of it."""

    event: Any
    start_at: datetime
    end_at: datetime
    start_on: date | None
    end_on: date | None


@dataclass(frozen=True, slots=True)
class Block:
    """One event on one day: from which quarter of an hour, how many of them, and in which of how many lanes."""

    event: Any
    start_at: datetime
    end_at: datetime
    quarter: int
    quarters: int
    lane: int = 0
    lanes: int = 1

    @property
    def place(self) -> str:
        """The classes that put it there."""
        slim = " slim" if self.lanes > 1 else ""
        return f"at-{self.quarter} for-{self.quarters} lane-{self.lane}-{self.lanes}{slim}"


@dataclass(frozen=True, slots=True)
class Day:
    on: date
    all_day: Sequence[Any]
    blocks: Sequence[Block]

    @property
    def is_empty(self) -> bool:
        return not self.all_day and not self.blocks


@dataclass(frozen=True, slots=True)
class Week:
    """Seven days from a Monday on, and the hours of the day that are shown."""

    days: Sequence[Day]
    hours: range

    @property
    def is_empty(self) -> bool:
        return all(day.is_empty for day in self.days)


def monday_of(day: date) -> date:
    return day - timedelta(days=day.weekday())


def bounds(monday: date, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """The instants between which the week lies."""
    return _midnight(monday, zone), _midnight(monday + timedelta(days=DAYS), zone)


def lay_out(entries: Iterable[Entry], *, monday: date, zone: ZoneInfo) -> Week:
    """The week that begins on that day."""
    known = sorted(entries, key=lambda one: (one.start_at, one.end_at))
    days = [monday + timedelta(days=number) for number in range(DAYS)]
    pieces = {day: [piece for one in known if (piece := _piece(one, day, zone)) is not None] for day in days}
    hours = _hours([piece for of_day in pieces.values() for piece in of_day])
    first = hours.start * 4
    return Week(
        [
            Day(day, [one.event for one in known if _is_all_day_on(one, day, zone)], _in_lanes(pieces[day], first))
            for day in days
        ],
        hours,
    )


def _is_long(one: Entry) -> bool:
    return one.end_at - one.start_at >= _LONGEST_BLOCK


def _is_all_day_on(one: Entry, day: date, zone: ZoneInfo) -> bool:
    if one.start_on is not None and one.end_on is not None:
        return one.start_on <= day < max(one.end_on, one.start_on + timedelta(days=1))
    return (
        _is_long(one) and one.start_at < _midnight(day + timedelta(days=1), zone) and one.end_at > _midnight(day, zone)
    )


def _piece(one: Entry, day: date, zone: ZoneInfo) -> Block | None:
    """The part of a timed event that lies on the day, counted in quarters since midnight; None if there is none."""
    begins, ends = _midnight(day, zone), _midnight(day + timedelta(days=1), zone)
    is_on_day = one.start_at < ends and (one.end_at > begins or one.start_at == one.end_at == begins)
    if one.start_on is not None or _is_long(one) or not is_on_day:
        return None
    first = 0 if one.start_at < begins else _minute(one.start_at, zone) // _QUARTER_MINUTES
    last = _QUARTERS_A_DAY if one.end_at >= ends else -(-_minute(one.end_at, zone) // _QUARTER_MINUTES)
    # Two at least, or nobody could read it; in the night in which the clocks go back it may end "before" it began.
    quarters = min(max(2, last - first), _QUARTERS_A_DAY - first)
    return Block(one.event, one.start_at, one.end_at, first, quarters)


def _hours(pieces: Sequence[Block]) -> range:
    first, last = _USUAL_HOURS
    for piece in pieces:
        first = min(first, piece.quarter // 4)
        last = max(last, -(-(piece.quarter + piece.quarters) // 4))
    return range(first, last)


def _in_lanes(pieces: Sequence[Block], first: int) -> list[Block]:
    """The blocks of a day, those that overlap side by side."""
    placed: list[Block] = []
    cluster: list[tuple[Block, int]] = []
    ends: list[int] = []
    for piece in sorted(pieces, key=lambda one: (one.quarter, -one.quarters)):
        if cluster and piece.quarter >= max(ends):
            placed += _placed(cluster, len(ends), first)
            cluster, ends = [], []
        lane = next((number for number, end in enumerate(ends) if end <= piece.quarter), None)
        if lane is None and len(ends) < _MOST_LANES:
            lane = len(ends)
            ends.append(0)
        lane = _MOST_LANES - 1 if lane is None else lane
        ends[lane] = max(ends[lane], piece.quarter + piece.quarters)
        cluster.append((piece, lane))
    return placed + _placed(cluster, len(ends), first)


def _placed(cluster: Sequence[tuple[Block, int]], lanes: int, first: int) -> list[Block]:
    return [
        Block(piece.event, piece.start_at, piece.end_at, piece.quarter - first, piece.quarters, lane, lanes)
        for piece, lane in cluster
    ]


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time.min, tzinfo=zone)


def _minute(at: datetime, zone: ZoneInfo) -> int:
    local = at.astimezone(zone)
    return local.hour * 60 + local.minute


def stylesheet() -> str:
    """The rules behind `Block.place`: pages may not say such things themselves, since nothing inline is allowed."""
    rules = [f".at-{number}{{grid-row-start:{number + 1}}}" for number in range(_QUARTERS_A_DAY)]
    rules += [f".for-{count}{{grid-row-end:span {count}}}" for count in range(1, _QUARTERS_A_DAY + 1)]
    for lanes in range(1, _MOST_LANES + 1):
        width = _GRID_COLUMNS // lanes
        rules += [f".lane-{lane}-{lanes}{{grid-column:{lane * width + 1}/span {width}}}" for lane in range(lanes)]
    return "\n".join(rules) + "\n"
