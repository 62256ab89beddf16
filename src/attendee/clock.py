"""The only place that asks what time it is; everything else takes `now`, or a `Clock` as an argument."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]


def now() -> datetime:
    """The current instant, aware, in UTC."""
    return datetime.now(UTC)
