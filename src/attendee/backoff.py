"""Waits between tries: longer each time up to a limit, and never of many at the same moment."""

import random
from datetime import timedelta

_JITTER = 0.2
# Beyond any limit: a larger power would only overflow.
_MOST_DOUBLINGS = 20


def grown(first: timedelta, *, tries: int, longest: timedelta) -> timedelta:
    """How long to wait after so many tries in a row, jittered: `first` after one, doubled by each other."""
    return jittered(min(first * 2 ** min(tries - 1, _MOST_DOUBLINGS), longest))


def jittered(wait: timedelta) -> timedelta:
    """The wait, up to a fifth longer or shorter."""
    return wait * (1 + _JITTER * (2 * random.random() - 1))  # noqa: S311  # spreads load, guards nothing
