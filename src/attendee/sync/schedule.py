"""When a calendar is looked at again: pure arithmetic over instants."""

import hashlib
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from attendee.backoff import grown

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_RETRY = timedelta(seconds=5)
_LONGEST_RETRY = timedelta(hours=1)
# A listing at least every 24 h; an hour is left for the spread of polls and for a retry.
_LONGEST_BETWEEN_LISTINGS = timedelta(hours=23)
_SHORTEST_BETWEEN_LISTINGS = timedelta(hours=19)
# Soon after a listing that had to leave questions open.
_LISTING_AGAIN = timedelta(minutes=1)


# A push can arrive before its change can be read: looked at again so long after the first look, and the second.
_LOOKS_AGAIN = (timedelta(seconds=5), timedelta(seconds=25))
_NEAR = timedelta(minutes=15)
_SOON = timedelta(hours=2)


@dataclass(frozen=True, slots=True)
class Intervals:
    """How often a calendar is looked at: `polled` without a live push channel, `pushed` with one.

    A polled one is looked at every `near` while one of its bots joins within 15 minutes, every `soon` within 2 hours.
    Two looks that pushes ask for are `debounce` apart.
    """

    polled: timedelta
    pushed: timedelta
    near: timedelta
    soon: timedelta
    debounce: timedelta


def next_look(looks: int | None, *, now: datetime) -> tuple[datetime, int] | None:
    """When to look again after a push whose change was not to be seen, and how often that will have been; else None."""
    if looks is None or looks >= len(_LOOKS_AGAIN):
        return None
    return now + _LOOKS_AGAIN[looks], looks + 1


def poll_for_bot(join_at: datetime, *, intervals: Intervals, now: datetime) -> datetime | None:
    """When a polled calendar is looked at again for the sake of a bot that joins then; None if that is far off."""
    left = join_at - now
    if left <= _NEAR:
        return now + intervals.near
    if left <= _SOON:
        return min(now + intervals.soon, join_at - _NEAR)
    return None


def joins_that_matter(*, now: datetime) -> datetime:
    """Bots that join after this instant don't make their calendars be looked at more often yet."""
    return now + _SOON


def next_poll(calendar_id: str, *, interval: timedelta, now: datetime) -> datetime:
    """The calendar's next turn, at most one interval ahead.

    Each calendar has its own place in the interval, by its id: however many were created in one minute, they are
    spread evenly from the second sync on and stay so.
    """
    digest = hashlib.blake2b(calendar_id.encode(), digest_size=8).digest()
    phase = interval * (int.from_bytes(digest) / 2**64)
    since = (now - _EPOCH - phase) % interval
    return now + interval - since


def next_listing(*, unasked: int, now: datetime) -> datetime:
    """When the whole window is listed again; soon, if this listing left `unasked` events open."""
    if unasked:
        return now + _LISTING_AGAIN
    spread = _LONGEST_BETWEEN_LISTINGS - _SHORTEST_BETWEEN_LISTINGS
    return now + _SHORTEST_BETWEEN_LISTINGS + spread * random.random()  # noqa: S311  # spreads load, guards nothing


def retry_delay(failures: int) -> timedelta:
    """How long to wait after so many failures in a row: seconds at first, growing to an hour, jittered."""
    return grown(_FIRST_RETRY, tries=failures, longest=_LONGEST_RETRY)
