"""What was measured, and the one table that shows it beside its floor and its target."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """The median of several runs, with the smallest and the largest of them."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Figure":
        return cls(statistics.median(values), min(values), max(values))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that `share` of all values do not exceed; the largest for a share of 1."""
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


@dataclass(frozen=True, slots=True)
class AtMost:
    """A target that is met by what is no larger; with `of_floor` the limit is a multiple of the floor."""

    limit: float
    of_floor: bool = False


@dataclass(frozen=True, slots=True)
class AtLeast:
    """A target that is met by what is no smaller."""

    limit: float


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table. Without a target it is there to be read, not judged.

    `wall_seconds` and `cpu_seconds` are those of our processes while this was measured, None where they mean nothing.
    """

    what: str
    database: str
    unit: str
    ours: Figure
    floor: float | None = None
    target: AtMost | AtLeast | None = None
    wall_seconds: float | None = None
    cpu_seconds: float | None = None

    @property
    def ratio(self) -> float | None:
        return self.ours.median / self.floor if self.floor else None

    @property
    def is_met(self) -> bool | None:
        match self.target:
            case AtMost(limit, of_floor=True):
                return self.ratio is not None and self.ratio <= limit
            case AtMost(limit):
                return self.ours.median <= limit
            case AtLeast(limit):
                return self.ours.median >= limit
        return None

    def as_json(self) -> dict[str, Any]:
        return {
            "what": self.what,
            "database": self.database,
            "unit": self.unit,
            "median": self.ours.median,
            "least": self.ours.least,
            "most": self.ours.most,
            "floor": self.floor,
            "ratio": self.ratio,
            "target": _written_target(self),
            "is_met": self.is_met,
            "wall_seconds": self.wall_seconds,
            "cpu_seconds": self.cpu_seconds,
        }


@dataclass(frozen=True, slots=True)
class Curve:
    """One figure against another. `name` is that of its picture; `points` are those of each series, in order."""

    name: str
    title: str
    along: str
    unit: str
    points: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, series: str, at: float, value: float) -> None:
        self.points.setdefault(series, []).append((at, value))


def print_table(console: Console, results: Sequence[Result]) -> None:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("budget", "on"):
        table.add_column(name, no_wrap=name == "on")
    for name in ("ours", "spread", "floor", "ratio", "target", "met", "wall s", "CPU s"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in results:
        table.add_row(
            one.what,
            one.database,
            f"{number(one.ours.median)} {one.unit}",
            f"{number(one.ours.least)}-{number(one.ours.most)}",
            number(one.floor),
            number(one.ratio),
            _written_target(one) or "",
            {None: "", True: "[green]yes[/]", False: "[bold red]NO[/]"}[one.is_met],
            number(one.wall_seconds),
            number(one.cpu_seconds),
        )
    console.print(table)


def print_curves(console: Console, curves: Sequence[Curve]) -> None:
    for curve in curves:
        console.print(f"{curve.title}, {curve.unit} by {curve.along}", highlight=False)
        for series, points in curve.points.items():
            told = ", ".join(f"{at:,.0f}: {number(value)}" for at, value in points)
            console.print(f"  {series}: {told}", highlight=False)


def _written_target(one: Result) -> str | None:
    match one.target:
        case AtMost(limit, of_floor=True):
            return f"≤ {number(limit)} × floor"
        case AtMost(limit):
            return f"≤ {number(limit)} {one.unit}"
        case AtLeast(limit):
            return f"≥ {number(limit)} {one.unit}"
    return None


def number(value: float | None) -> str:
    """Three digits that matter."""
    if value is None:
        return ""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - math.floor(math.log10(abs(value))))}f}"
