"""Instants: asked for only here (everything else takes `now`, or a `Clock`), and written as every client reads them."""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

Clock = Callable[[], datetime]


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)


# Of the four instants of an event, most are those of many others: a page of a hundred asks for few that are new.
@lru_cache(maxsize=4096)
def written(at: datetime) -> str:
    """An instant, which must be in UTC, as the contract writes it: with microseconds and Z."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def written_or_none(at: datetime | None) -> str | None:
    return None if at is None else written(at)
