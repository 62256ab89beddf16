"""`events.list` as Google does it: parameters, pages, sync tokens, and what belongs into a window or a delta."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.datastructures import QueryParams

from attendee.sandbox.entries import Details, Entry, EntryState, Slot, as_instant, at_slot, occurrence
from attendee.sandbox.google_errors import GoogleRefuses
from attendee.sandbox.google_items import (
    EVENT_TYPES,
    MEMORY,
    View,
    cancelled_instance_item,
    instance_item,
    parse_instance_id,
    single_item,
)

DEFAULT_PAGE, LARGEST_PAGE = 250, 2500
NOT_WITH_SYNC_TOKEN = (
    "iCalUID",
    "orderBy",
    "privateExtendedProperty",
    "q",
    "sharedExtendedProperty",
    "timeMin",
    "timeMax",
    "updatedMin",
)
# Pages of a listing come from what it was when its first page was asked for; the oldest listings are forgotten.
REMEMBERED_WALKS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """The parameters of one `events.list`, parsed."""

    expanded: bool
    show_deleted: bool
    time_min: datetime | None
    time_max: datetime | None
    updated_min: datetime | None
    page_size: int
    order_by: str | None
    event_types: frozenset[str]
    uid: str | None
    text: str | None
    zone: ZoneInfo | None
    max_attendees: int | None

    @property
    def kind(self) -> str:
        """What a sync token of this listing may be used with again."""
        return f"{'x' if self.expanded else 'm'}{','.join(sorted(self.event_types))}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a sync token says: seen up to this change, of that generation and kind of listing."""

    change: int
    generation: int
    kind: str

    def token(self) -> str:
        """The opaque form."""
        return "C" + base64.urlsafe_b64encode(f"{self.change}.{self.generation}.{self.kind}".encode()).decode()


@dataclass(slots=True)
class Walk:
    """A listing on its way: its items, and which request it belongs to."""

    request: tuple[tuple[str, str], ...]
    items: list[Any]
    cursor: Cursor


@dataclass(slots=True)
class Walks:
    """The listings whose further pages may still be asked for, again if need be."""

    known: OrderedDict[str, Walk] = field(default_factory=OrderedDict)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def keep(self, walk: Walk) -> str:
        """The id under which later pages find the listing."""
        if len(self.known) >= REMEMBERED_WALKS:
            self.known.popitem(last=False)
        walk_id = f"w{next(self.ids)}"
        self.known[walk_id] = walk
        return walk_id

    def find(self, token: str, request: tuple[tuple[str, str], ...]) -> tuple[str, Walk, int]:
        """The listing that a page token continues, and where. Raises GoogleRefuses if the other parameters changed."""
        walk_id, _, position = _decoded(token).partition(".")
        walk = self.known.get(walk_id)
        if walk is None or not position.isdigit():
            raise GoogleRefuses("badRequest", "Invalid page token value.")
        if walk.request != request:
            raise GoogleRefuses("badRequest", "The page token does not belong to a request with these parameters.")
        return walk_id, walk, int(position)


def page_token(walk_id: str, position: int) -> str:
    """The opaque form of a place in a listing."""
    return base64.urlsafe_b64encode(f"{walk_id}.{position}".encode()).decode()


@lru_cache(maxsize=16_384)
def parse_cursor(token: str) -> Cursor:
    """What the sync token says. Raises GoogleRefuses (410) for one that was never given out."""
    change, _, rest = _decoded(token.removeprefix("C")).partition(".")
    generation, _, kind = rest.partition(".")
    if not (change.isdigit() and generation.isdigit()):
        raise GoogleRefuses("fullSyncRequired")
    return Cursor(int(change), int(generation), kind)


def parse_query(parameters: QueryParams) -> Query:
    """The parameters, checked as Google checks them. Raises GoogleRefuses."""
    if "syncToken" in parameters:
        forbidden = [name for name in NOT_WITH_SYNC_TOKEN if name in parameters]
        if forbidden:
            raise GoogleRefuses("badRequest", f"Sync token cannot be used together with {', '.join(forbidden)}.")
        if parameters.get("showDeleted") == "false":
            raise GoogleRefuses("badRequest", "showDeleted cannot be false when a sync token is used.")
    query = Query(
        expanded=parameters.get("singleEvents") == "true",
        show_deleted=parameters.get("showDeleted") == "true",
        time_min=_instant(parameters, "timeMin"),
        time_max=_instant(parameters, "timeMax"),
        updated_min=_instant(parameters, "updatedMin"),
        page_size=min(positive_number(parameters, "maxResults") or DEFAULT_PAGE, LARGEST_PAGE),
        order_by=parameters.get("orderBy"),
        event_types=frozenset(parameters.getlist("eventTypes")),
        uid=parameters.get("iCalUID"),
        text=parameters.get("q"),
        zone=_zone(parameters),
        max_attendees=positive_number(parameters, "maxAttendees"),
    )
    if query.time_min and query.time_max and query.time_min >= query.time_max:
        raise GoogleRefuses("timeRangeEmpty")
    if query.order_by not in (None, "startTime", "updated") or not query.event_types <= set(EVENT_TYPES.values()):
        raise GoogleRefuses("badRequest", "Invalid parameter value.")
    if query.order_by == "startTime" and not query.expanded:
        raise GoogleRefuses("badRequest", "The requested ordering is not available for the particular query.")
    return query


def full_listing(view: View, query: Query, *, now: datetime) -> list[Any]:
    """Every item that the window, the filters and the order give."""
    if query.updated_min is not None and now - query.updated_min > MEMORY:
        raise GoogleRefuses("updatedMinTooLongAgo")
    rows: list[tuple[datetime, datetime, Any]] = []
    for entry in sorted(view.calendar.entries.values(), key=lambda one: one.number):
        if not isinstance(entry, Entry):
            rows.append((entry.updated_at, entry.updated_at, entry.item))
        elif _is_asked_for(entry, query, now=now):
            rows.extend(_rows(view, entry, query))
    if query.order_by == "startTime":
        rows.sort(key=lambda row: row[0])
    elif query.order_by == "updated":
        rows.sort(key=lambda row: row[1])
    return [item for _, _, item in rows]


def delta(view: View, query: Query, since: Cursor) -> list[Any]:
    """Every item that changed since the cursor, wherever it lies: a changed series brings all its instances."""
    items: list[Any] = []
    for entry in view.calendar.entries.values():
        if not isinstance(entry, Entry):
            if entry.change > since.change:
                items.append(entry.item)
        elif not query.event_types or EVENT_TYPES[entry.details.kind] in query.event_types:
            items.extend(_changed_items(view, entry, expanded=query.expanded, since=since.change))
    return items


def find_event(view: View, event_id: str, *, now: datetime) -> Any:
    """The item with this id, cancelled ones for as long as Google remembers. Raises GoogleRefuses (404)."""
    calendar = view.calendar
    entry = calendar.entries.get(event_id)
    if entry is not None and not isinstance(entry, Entry):
        return entry.item
    if entry is not None:
        if entry.state is not EntryState.LIVE and now - entry.updated_at > MEMORY:
            raise GoogleRefuses("notFound")
        return single_item(view, entry)
    named = parse_instance_id(event_id)
    series = calendar.entries.get(named[0]) if named else None
    if named is None or not isinstance(series, Entry) or series.rule is None:
        raise GoogleRefuses("notFound")
    if series.state is not EntryState.LIVE and now - series.updated_at > MEMORY:
        raise GoogleRefuses("notFound")
    if named[1] in series.former:
        return cancelled_instance_item(view, series, named[1], change=series.former[named[1]])
    try:
        return instance_item(view, series, calendar.occurrence(series.id, named[1]))
    except KeyError:
        raise GoogleRefuses("notFound") from None


def instances(view: View, entry: Entry, query: Query) -> list[Any]:
    """The instances of one series in the window."""
    return [item for _, _, item in _instance_rows(view, entry, query)]


def _is_asked_for(entry: Entry, query: Query, *, now: datetime) -> bool:
    if query.event_types and EVENT_TYPES[entry.details.kind] not in query.event_types:
        return False
    if query.uid is not None and query.uid != f"{entry.uid}@google.com":
        return False
    if query.text is not None and query.text.lower() not in str(entry.details.title).lower():
        return False
    if entry.state is EntryState.LIVE:
        return True
    return (query.show_deleted or query.updated_min is not None) and now - entry.updated_at <= MEMORY


def _rows(view: View, entry: Entry, query: Query) -> Iterator[tuple[datetime, datetime, Any]]:
    if entry.rule is not None and query.expanded:
        yield from _instance_rows(view, entry, query)
        return
    is_recent = query.updated_min is None or entry.updated_at >= query.updated_min
    if is_recent and (entry.rule is not None or _overlaps(view, entry.details, query)):
        yield as_instant(entry.details.starts, zone=view.calendar.zone), entry.updated_at, single_item(view, entry)
    if entry.rule is not None:
        for slot, override in entry.overrides.items():  # Exceptions stand beside their master, cancelled ones always.
            if query.updated_min is None or override.updated_at >= query.updated_min:
                item = instance_item(view, entry, occurrence(entry, slot))
                yield as_instant(slot, zone=view.calendar.zone), override.updated_at, item


def _instance_rows(view: View, entry: Entry, query: Query) -> Iterator[tuple[datetime, datetime, Any]]:
    zone, length = view.calendar.zone, entry.details.length
    slots = view.calendar.slots(entry, end=query.time_max)
    for slot in [*slots, *(entry.overrides.keys() - set(slots))]:
        starts = as_instant(slot, zone=zone)
        if query.time_min is not None and slot not in entry.overrides and starts + length <= query.time_min:
            continue  # Most of a long series lies in the past; its details need not be made to know that.
        found = occurrence(entry, slot)
        is_gone = found.details is None or entry.state is not EntryState.LIVE
        if is_gone and not query.show_deleted and query.updated_min is None:
            continue
        if query.updated_min is not None and found.updated_at < query.updated_min:
            continue
        details = found.details or at_slot(entry.details, slot)
        if _overlaps(view, details, query):
            item = instance_item(view, entry, found)
            yield as_instant(details.starts, zone=zone), found.updated_at, item
    if query.show_deleted:
        for slot, change in entry.former.items():
            if _overlaps(view, at_slot(entry.details, _like(slot, entry)), query):
                item = cancelled_instance_item(view, entry, slot, change=change)
                yield as_instant(slot, zone=zone), entry.updated_at, item


def _changed_items(view: View, entry: Entry, *, expanded: bool, since: int) -> Iterator[Any]:
    if entry.change > since:
        if entry.rule is not None and expanded:
            for found in view.calendar.occurrences(entry):
                yield instance_item(view, entry, found)
        else:
            yield single_item(view, entry)
    for slot, override in entry.overrides.items():
        # Laid out, a series that changed as a whole has brought its exceptions already.
        if override.change > since and not (expanded and entry.change > since):
            yield instance_item(view, entry, occurrence(entry, slot))
    if expanded:
        for slot, change in entry.former.items():
            if change > since:
                yield cancelled_instance_item(view, entry, slot, change=change)


def _overlaps(view: View, details: Details, query: Query) -> bool:
    zone = view.calendar.zone
    if query.time_min is not None and as_instant(details.ends, zone=zone) <= query.time_min:
        return False
    return query.time_max is None or as_instant(details.starts, zone=zone) < query.time_max


def _like(slot: Slot, entry: Entry) -> Slot:
    """The slot as a date or datetime, as the series is now: it may have been all-day when it had that slot."""
    if isinstance(entry.details.starts, datetime):
        return as_instant(slot, zone=entry.details.zone)
    return slot.date() if isinstance(slot, datetime) else slot


def _instant(parameters: QueryParams, name: str) -> datetime | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise GoogleRefuses("badRequest", f"Invalid value for {name}: {text}") from None
    if moment.tzinfo is None or len(text) <= len("2026-12-01"):
        raise GoogleRefuses("badRequest", f"{name} needs an offset: {text}")
    return moment.astimezone(UTC).replace(microsecond=0)


def positive_number(parameters: QueryParams, name: str) -> int | None:
    """The parameter, or None where it is not sent. Raises GoogleRefuses."""
    text = parameters.get(name)
    if text is None:
        return None
    if not text.isdigit() or int(text) == 0:
        raise GoogleRefuses("badRequest", f"Invalid value for {name}: {text}")
    return int(text)


def _zone(parameters: QueryParams) -> ZoneInfo | None:
    name = parameters.get("timeZone")
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError):
        raise GoogleRefuses("badRequest", f"Invalid value for timeZone: {name}") from None


def _decoded(token: str) -> str:
    try:
        return base64.urlsafe_b64decode(token.encode()).decode()
    except (binascii.Error, ValueError):
        return ""
