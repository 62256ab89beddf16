"""Curves as SVG pictures, written by hand: no plotting library for five lines and two axes.

The colours are readable on white and on black, since a page may be either.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from xml.sax.saxutils import escape

from bench.results import Curve, number

_WIDTH, _HEIGHT = 640, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 72, 32, 44, 52
_COLOURS = ("#2f81f7", "#d9730d")
_INK = "#8b949e"
# An axis that spans more than this is logarithmic.
_WIDE = 30


def drawn(curve: Curve) -> str:
    """The picture of a curve. What it shows is told in its title too, for those who can't see it."""
    along = sorted({at for points in curve.points.values() for at, _ in points})
    highest = max(value for points in curve.points.values() for _, value in points)
    lowest = min(value for points in curve.points.values() for _, value in points)
    ticks = _ticks(along)
    is_wide = lowest > 0 and highest / lowest > _WIDE
    levels = _decades(lowest, highest) if is_wide else _steps(highest)
    position_x = _Scale(along[0], along[-1], _LEFT, _WIDTH - _RIGHT, is_log=_grows(along))
    position_y = _Scale(levels[0], levels[-1], _HEIGHT - _BOTTOM, _TOP, is_log=is_wide)
    text = f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}"'
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" {text}>',
        f"<title>{escape(_told(curve))}</title>",
        f'<text x="{_LEFT}" y="20" font-size="14" font-weight="600">{escape(curve.title)}, {escape(curve.unit)}</text>',
    ]
    for level in levels:
        y = position_y(level)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="{_INK}" stroke-opacity=".3"/>',
            f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{number(level)}</text>',
        ]
    parts += [
        f'<text x="{position_x(tick):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{tick:,.0f}</text>'
        for tick in ticks
    ]
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 12}" text-anchor="middle">{escape(curve.along)}</text>')
    for place, (colour, (series, points)) in enumerate(zip(_COLOURS, curve.points.items(), strict=False)):
        path = "L".join(f"{position_x(at):.1f} {position_y(value):.1f}" for at, value in points)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [
            f'<circle cx="{position_x(at):.1f}" cy="{position_y(value):.1f}" r="3" fill="{colour}"/>'
            for at, value in points
        ]
        x = _WIDTH - _RIGHT - 90 * (len(curve.points) - place)
        parts.append(f'<text x="{x + 10}" y="20" fill="{colour}">{escape(series)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _told(curve: Curve) -> str:
    series = (
        f"{name} from {number(points[0][1])} to {number(points[-1][1])} {curve.unit}"
        for name, points in curve.points.items()
    )
    return f"{curve.title} by {curve.along}: {', '.join(series)}."


def _grows(along: Sequence[float]) -> bool:
    """Whether each place is a multiple of the one before, so that only a logarithmic axis keeps them apart."""
    return along[0] > 0 and all(after >= 2 * before for before, after in pairwise(along))


def _ticks(along: Sequence[float]) -> Sequence[float]:
    """The measured places, or a few of many."""
    return along if len(along) <= 8 else [along[0], *along[len(along) // 5 :: len(along) // 5]]


def _steps(highest: float) -> list[float]:
    """Round levels from nothing to above the highest value."""
    if highest <= 0:
        return [0, 1]
    power = 10 ** math.floor(math.log10(highest))
    step = next(power * part for part in (0.2, 0.5, 1, 2) if power * part * 5 >= highest)
    return [step * count for count in range(math.ceil(highest / step) + 1)]


def _decades(lowest: float, highest: float) -> list[float]:
    return [10.0**power for power in range(math.floor(math.log10(lowest)), math.ceil(math.log10(highest)) + 1)]


class _Scale:
    """Where on the picture a value is."""

    def __init__(self, low: float, high: float, start: float, end: float, *, is_log: bool) -> None:
        self._of = math.log10 if is_log else float
        self._low, self._high, self._start, self._end = self._of(low), self._of(high), start, end

    def __call__(self, value: float) -> float:
        share = (self._of(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)
