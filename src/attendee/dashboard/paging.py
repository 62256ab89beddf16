"""Lists in pages, by keyset as in the API: the address holds the filters and a position."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from sqlalchemy import Row, Select

from attendee.dashboard.visits import Refused, Visit
from attendee.store.cursors import read_cursor, written_cursor
from attendee.store.pages import Ordering, Position, read_page

_ONLY = "only"
# The position itself, what was said after a form, and what a stream asks with: the next page has nothing of them.
_NOT_KEPT = {"at", "done", "version"}


@dataclass(frozen=True, slots=True)
class Listing:
    """`kind` keeps the positions of one list out of another."""

    kind: str
    ordering: Ordering
    size: int = 25


@dataclass(frozen=True, slots=True)
class Found:
    """A page's rows, and the addresses of the pages around it."""

    rows: Sequence[Row[Any]]
    next: str | None
    previous: str | None


async def read(visit: Visit, query: Select[Any], listing: Listing) -> Found:
    """The page of the query's rows that the address asks for. Raises Refused for a position that is none."""
    position = _asked_position(visit, listing)
    page = await read_page(visit.tx, query, ordering=listing.ordering, position=position, size=listing.size)
    return Found(page.rows, _address(visit, listing, page.next), _address(visit, listing, page.previous))


def _asked_position(visit: Visit, listing: Listing) -> Position | None:
    cursor = visit.asked("at")
    if not cursor:
        return None
    try:
        _, position = read_cursor(cursor, kind=listing.kind, orderings={_ONLY: listing.ordering})
    except ValueError:
        raise Refused(404, "There is no such page of this list; begin at its first.") from None
    return position


def _address(visit: Visit, listing: Listing, position: Position | None) -> str | None:
    if position is None:
        return None
    asked = visit.request.query_params.multi_items()
    kept = [(name, value) for name, value in asked if name not in _NOT_KEPT]
    cursor = written_cursor(position, kind=listing.kind, ordering=_ONLY)
    return f"{visit.request.url.path}?{urlencode([*kept, ('at', cursor)])}"
