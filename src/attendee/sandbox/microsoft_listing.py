"""`calendarView` and its delta as Graph does them: windows, pages, links, and what belongs into each."""

from __future__ import annotations

import base64
import binascii
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any, TypeAlias

import orjson
from starlette.datastructures import QueryParams

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import (
    Details,
    Entry,
    EntryState,
    OddEntry,
    Slot,
    as_instant,
    occurrence,
)
from attendee.sandbox.microsoft_errors import GraphRefuses
from attendee.sandbox.microsoft_items import View, event_item, minimal_occurrence, removed_item

DEFAULT_PAGE, LARGEST_PAGE = 10, 1000
# Graph does not say how large a delta's pages are where nobody asks for a size.
DEFAULT_DELTA_PAGE = 50
LONGEST_WINDOW = timedelta(days=1825)
NOT_IN_DELTAS = ("$expand", "$filter", "$orderby", "$search")
ALWAYS_SENT = ("@odata.type", "@odata.etag", "id")
# Pages of a delta come from what it was when its first page was asked for; the oldest walks are forgotten.
REMEMBERED_WALKS = 512
PROPERTY_NAMES = """
    allowNewTimeProposals attendees body bodyPreview cancelledOccurrences categories changeKey createdDateTime end
    exceptionOccurrences hasAttachments hideAttendees iCalUId id importance isAllDay isCancelled isDraft
    isOnlineMeeting isOrganizer isReminderOn lastModifiedDateTime location locations onlineMeeting
    onlineMeetingProvider onlineMeetingUrl organizer originalEndTimeZone originalStart originalStartTimeZone
    recurrence reminderMinutesBeforeStart responseRequested responseStatus sensitivity seriesMasterId showAs start
    subject transactionId type webLink
"""
PROPERTIES = frozenset(PROPERTY_NAMES.split())
# A calendarView leaves these out of what was selected, says the documentation.
NOT_SELECTABLE_IN_VIEWS = frozenset({"createdDateTime", "lastModifiedDateTime"})


@dataclass(frozen=True, slots=True)
class Row:
    """A single event or one occurrence that stands in a window."""

    entry: Entry
    slot: Slot | None
    details: Details
    change: int
    updated_at: datetime

    def item(self, view: View) -> dict[str, Any]:
        """All of it."""
        return event_item(
            view, self.entry, self.details, slot=self.slot, change=self.change, updated_at=self.updated_at
        )


Found: TypeAlias = Row | OddEntry


@dataclass(frozen=True, slots=True)
class TimeRange:
    """From when until when."""

    start: datetime
    end: datetime

    def overlaps(self, details: Details, *, zone: str) -> bool:
        """Whether any of the event lies inside."""
        return as_instant(details.ends, zone=zone) > self.start and as_instant(details.starts, zone=zone) < self.end


@dataclass(frozen=True, slots=True)
class Cursor:
    """What a delta link says: seen up to this change, of that calendar, window, generation and selection."""

    calendar_id: str
    change: int
    generation: int
    range: TimeRange
    select: frozenset[str] | None

    def token(self) -> str:
        """The opaque form."""
        times = [self.range.start.isoformat(), self.range.end.isoformat()]
        select = None if self.select is None else sorted(self.select)
        content = orjson.dumps([self.calendar_id, self.change, self.generation, *times, select])
        return base64.urlsafe_b64encode(content).decode()


@dataclass(frozen=True, slots=True)
class Walk:
    """A delta on its way: its items, and where its end leads."""

    items: list[Any]
    cursor: Cursor


@dataclass(slots=True)
class Walks:
    """The deltas whose further pages may still be asked for, again if need be."""

    known: OrderedDict[str, Walk] = field(default_factory=OrderedDict)
    ids: Iterator[int] = field(default_factory=lambda: count(1))

    def keep(self, walk: Walk) -> str:
        """The id under which later pages find the walk."""
        if len(self.known) >= REMEMBERED_WALKS:
            self.known.popitem(last=False)
        walk_id = f"w{next(self.ids)}"
        self.known[walk_id] = walk
        return walk_id

    def find(self, token: str, calendar: Calendar) -> tuple[str, Walk, int]:
        """The walk that a skip token continues, and where. Raises GraphRefuses (400 or 410)."""
        walk_id, _, position = _decoded(token).decode(errors="replace").partition(".")
        if not position.isdigit():
            raise GraphRefuses("badSyncRequest")
        walk = self.known.get(walk_id)
        if walk is None or walk.cursor.generation != calendar.cursor_generation:
            raise GraphRefuses("SyncStateNotFound")
        if walk.cursor.calendar_id != calendar.id:
            raise GraphRefuses("badSyncRequest")
        return walk_id, walk, int(position)


def skip_token(walk_id: str, position: int) -> str:
    """The opaque form of a place in a walk."""
    return base64.urlsafe_b64encode(f"{walk_id}.{position}".encode()).decode()


@lru_cache(maxsize=16_384)
def parse_cursor(token: str) -> Cursor:
    """What the delta token says. Raises GraphRefuses (400) for one that was never given out."""
    try:
        calendar_id, change, generation, start, end, select = orjson.loads(_decoded(token))
        window = TimeRange(datetime.fromisoformat(start), datetime.fromisoformat(end))
        return Cursor(calendar_id, change, generation, window, None if select is None else frozenset(select))
    except (ValueError, TypeError):
        raise GraphRefuses("badSyncRequest") from None


def parse_range(parameters: QueryParams) -> TimeRange:
    """The window that a request names. Raises GraphRefuses."""
    window = TimeRange(_instant(parameters, "startDateTime"), _instant(parameters, "endDateTime"))
    if window.end < window.start:
        raise GraphRefuses("ErrorInvalidParameter", "The end of the time window lies before its start.")
    if window.end - window.start > LONGEST_WINDOW:
        raise GraphRefuses("ErrorInvalidRequest")
    return window


def parse_select(parameters: QueryParams) -> frozenset[str] | None:
    """The properties that are wanted, None for all. Raises GraphRefuses for one that v1.0 does not have."""
    return _selected(parameters["$select"]) if "$select" in parameters else None


def page_size(parameters: QueryParams, *, preferred: int | None) -> int:
    """`$top`, else what the header prefers, else 10. Raises GraphRefuses."""
    top = _number(parameters, "$top", usual=preferred or DEFAULT_PAGE)
    if not 1 <= top <= LARGEST_PAGE:
        raise GraphRefuses("BadRequest", f"The limit of '{LARGEST_PAGE}' for Top query has been exceeded.")
    return top


def skipped(parameters: QueryParams) -> int:
    """`$skip`. Raises GraphRefuses."""
    return _number(parameters, "$skip", usual=0)


def sort_rows(rows: list[Found], order: str | None) -> list[Found]:
    """The rows in the order that was asked for. Raises GraphRefuses for one that is not spoken here."""
    if order is None:
        return rows
    path, _, direction = order.partition(" ")
    if path != "start/dateTime" or direction not in ("", "asc", "desc"):
        raise GraphRefuses("BadRequest", f"Could not order by '{order}'.")
    return sorted(rows, key=_moment, reverse=direction == "desc")


def standing(calendar: Calendar, window: TimeRange) -> list[Found]:
    """Single events, occurrences and exceptions in the window: no masters, nothing deleted."""
    rows: list[Found] = []
    for entry in calendar.entries.values():
        if isinstance(entry, OddEntry):
            rows.append(entry)
        elif entry.state is not EntryState.DELETED:
            rows.extend(entry_rows(calendar, entry, window))
    return rows


def entry_rows(calendar: Calendar, entry: Entry, window: TimeRange) -> Iterator[Row]:
    """What stands in the window of one entry."""
    zone = calendar.zone
    if entry.rule is None:
        if window.overlaps(entry.details, zone=zone):
            yield Row(entry, None, entry.details, entry.change, entry.updated_at)
        return
    slots = calendar.slots(entry, end=window.end)
    for slot in [*slots, *(entry.overrides.keys() - set(slots))]:
        # Most of a long series lies in the past; its details need not be made to know that.
        if slot not in entry.overrides and as_instant(slot, zone=zone) + entry.details.length <= window.start:
            continue
        found = occurrence(entry, slot)
        if found.details is not None and window.overlaps(found.details, zone=zone):
            yield Row(entry, slot, found.details, found.change, found.updated_at)


def first_round(view: View, window: TimeRange) -> list[Any]:
    """The items of a delta without token: the whole window, masters included."""
    items: list[Any] = []
    for entry in view.calendar.entries.values():
        if isinstance(entry, OddEntry):
            items.append(entry.item)
        elif entry.state is not EntryState.DELETED:
            items.extend(_delta_items(view, entry, list(entry_rows(view.calendar, entry, window))))
    return items


def later_round(view: View, since: Cursor) -> list[Any]:
    """What changed since the cursor, wherever it lies: what isn't in the window is `@removed`."""
    items: list[Any] = []
    for entry in view.calendar.entries.values():
        if isinstance(entry, OddEntry):
            if entry.change > since.change:
                items.append(entry.item)
        elif _newest(entry) > since.change:
            items.extend(_changed_items(view, entry, since))
    return items


def selected(item: Any, select: frozenset[str] | None) -> Any:
    """The event with nothing but what was selected, and what always comes; odd ones stay as they are."""
    if select is None or not isinstance(item, dict) or "@removed" in item:
        return item
    return {name: value for name, value in item.items() if name in select or name in ALWAYS_SENT}


def _changed_items(view: View, entry: Entry, since: Cursor) -> Iterator[dict[str, Any]]:
    rows = [] if entry.state is EntryState.DELETED else list(entry_rows(view.calendar, entry, since.range))
    if not rows:
        # Also for what was never in the window: readers get ids that they have not seen.
        yield removed_item(view.id_of(entry))
        return
    # Any change of a series brings it whole. An occurrence that was deleted is merely not among the others.
    yield from _delta_items(view, entry, rows)
    standing_slots = {row.slot for row in rows}
    for slot, override in entry.overrides.items():
        if override.change > since.change and override.details is not None and slot not in standing_slots:
            yield removed_item(view.id_of(entry, slot))


def _delta_items(view: View, entry: Entry, rows: list[Row]) -> Iterator[dict[str, Any]]:
    kind = {"@odata.type": "#microsoft.graph.event"}
    if entry.rule is not None and rows:
        yield kind | event_item(view, entry, entry.details, change=entry.change, updated_at=entry.updated_at)
    for row in rows:
        if row.slot is None or row.slot in entry.overrides:
            yield kind | row.item(view)
        else:
            yield minimal_occurrence(view, entry, row.details, slot=row.slot)


def _newest(entry: Entry) -> int:
    return max((entry.change, *(override.change for override in entry.overrides.values())))


def _moment(row: Found) -> datetime:
    return as_instant(row.details.starts, zone=row.details.zone) if isinstance(row, Row) else row.updated_at


@lru_cache(maxsize=256)
def _selected(text: str) -> frozenset[str]:
    names = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = names - PROPERTIES
    if unknown:
        message = f"Could not find a property named '{min(unknown)}' on type 'microsoft.graph.event'."
        raise GraphRefuses("RequestBroker--ParseUri", message)
    return names


def _instant(parameters: QueryParams, name: str) -> datetime:
    if name not in parameters:
        raise GraphRefuses("ErrorInvalidParameter")
    text = parameters[name]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        message = f"The value '{text}' of parameter '{name}' is invalid."  # An offset whose `+` came as a blank, say.
        raise GraphRefuses("ErrorInvalidParameter", message) from None
    # Without an offset it is UTC, whatever zone the header prefers.
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def _number(parameters: QueryParams, name: str, *, usual: int) -> int:
    text = parameters.get(name)
    if text is None:
        return usual
    if not text.isdigit():
        raise GraphRefuses("BadRequest", f"Invalid value '{text}' for {name} query option found.")
    return int(text)


def _decoded(token: str) -> bytes:
    try:
        return base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return b""
