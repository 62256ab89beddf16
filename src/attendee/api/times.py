"""Instants as clients may write them."""

import re
from datetime import UTC, datetime

# "+01:00" in a query string that nobody encoded arrives as " 01:00".
_LOST_PLUS = re.compile(r"(\d{4}-?\d{2}-?\d{2}[T ][\d:.,]+) (\d{2}(?::?\d{2})?)", re.ASCII)

EXPECTED = "a time in ISO 8601, such as 2026-11-23T09:30:00Z"


def parse_time(text: str) -> datetime:
    """The instant in UTC; without a zone it is UTC, a date alone is its midnight. Raises ValueError."""
    text = text.strip().upper()
    lost_plus = _LOST_PLUS.fullmatch(text)
    if lost_plus is not None:
        text = f"{lost_plus[1]}+{lost_plus[2]}"
    message = f"Must be {EXPECTED}."
    if not text.isascii():
        raise ValueError(message)
    try:
        at = datetime.fromisoformat(text)
        # Near the years 1 and 9999 an offset leads out of the calendar.
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError(message) from None
