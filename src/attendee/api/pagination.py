"""Pages over HTTP: opaque cursors, `page_size`, and links to the pages before and after.

A cursor holds a position and the ordering it was made for; filters come from the URL.
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query, Request
from fastapi.responses import Response

from attendee.api.problems import BadParameter, InvalidCursor, JsonAnswer
from attendee.store.cursors import read_cursor, written_cursor
from attendee.store.pages import Ordering, Page, Position

LARGEST_PAGE = 500

CursorParameter = Annotated[str | None, Query(description="From `next` or `previous` of another page.")]
PageSizeParameter = Annotated[
    str | None,
    Query(
        description="How many results a page has. An empty one says nothing.",
        json_schema_extra={
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": LARGEST_PAGE},
                {"type": "string", "maxLength": 0},
            ]
        },
    ),
]


@dataclass(frozen=True, slots=True)
class Listing:
    """What can be paged through: `kind` keeps the cursors of one listing out of another."""

    kind: str
    orderings: Mapping[str, Ordering]
    ordering: str
    size: int


@dataclass(frozen=True, slots=True)
class AskedPage:
    """The page that a request asks for."""

    listing: Listing
    ordering_name: str
    position: Position | None
    size: int
    request: Request

    @property
    def ordering(self) -> Ordering:
        return self.listing.orderings[self.ordering_name]

    def answer(self, page: Page, results: Sequence[Any]) -> Response:
        return JsonAnswer({"next": self._link(page.next), "previous": self._link(page.previous), "results": results})

    def _link(self, position: Position | None) -> str | None:
        if position is None:
            return None
        cursor = written_cursor(position, kind=self.listing.kind, ordering=self.ordering_name)
        return str(self.request.url.include_query_params(cursor=cursor))


def asked_page(listing: Listing) -> Callable[..., Awaitable[AskedPage]]:
    """A dependency that reads `cursor` and `page_size`. It raises BadParameter and InvalidCursor."""

    async def asked(request: Request, cursor: CursorParameter = None, page_size: PageSizeParameter = None) -> AskedPage:
        return read_asked_page(listing, request, cursor=cursor, page_size=page_size, ordering=None)

    return asked


def read_asked_page(
    listing: Listing, request: Request, *, cursor: str | None, page_size: str | None, ordering: str | None
) -> AskedPage:
    """The page asked for; the ordering that a cursor was made for goes before the one asked for.

    Raises BadParameter and InvalidCursor.
    """
    if ordering and ordering not in listing.orderings:
        allowed = ", ".join(listing.orderings)
        message = f"ordering must be one of: {allowed}."
        raise BadParameter(message)
    name, position = ordering or listing.ordering, None
    size = _size(page_size) if page_size else listing.size
    if cursor:
        try:
            name, position = read_cursor(cursor, kind=listing.kind, orderings=listing.orderings)
        except ValueError:
            raise InvalidCursor from None
    return AskedPage(listing, name, position, size, request)


def _size(text: str) -> int:
    size = int(text) if re.fullmatch(r"[0-9]{1,6}", text) else 0
    if not 1 <= size <= LARGEST_PAGE:
        message = f"page_size must be a whole number from 1 to {LARGEST_PAGE}."
        raise BadParameter(message)
    return size
