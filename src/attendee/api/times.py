"""Instants as clients may write them."""

import re
from datetime import UTC, datetime

# "+01:00" in a query string that nobody encoded arrives as " 01:00".
_LOST_PLUS = re.compile(r"(\d{4}-?\d{2}-?\d{2}[T ][\d:.,]+) (\d{2}(?::?\d{2})?)", re.ASCII)

_FIRST = datetime.min.replace(tzinfo=UTC)
_LAST = datetime.max.replace(tzinfo=UTC)

EXPECTED = "a time in ISO 8601, such as 2026-11-23T09:30:00Z"


def parse_time(text: str) -> datetime:
    """The instant in UTC; without a zone it is UTC, a date alone is its midnight. Raises ValueError.

    Near the years 1 and 9999 an offset can lead out of the calendar: that is the calendar's first or last instant.
    """
    text = text.strip().upper()
    lost_plus = _LOST_PLUS.fullmatch(text)
    if lost_plus is not None:
        text = f"{lost_plus[1]}+{lost_plus[2]}"
    message = f"Must be {EXPECTED}."
    if not text.isascii():
        raise ValueError(message)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(message) from None
    if at.tzinfo is None:
        return at.replace(tzinfo=UTC)
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return _FIRST if at.year == _FIRST.year else _LAST
