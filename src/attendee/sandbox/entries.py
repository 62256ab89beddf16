"""What stands in a calendar, without any platform's shapes: single events, series, and what differs in one occurrence.

A *slot* is the start that the rule of a series gives to an occurrence: UTC for timed events, a date for all-day ones.
It stays the same when the occurrence is moved, and is therefore the name of the occurrence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import count
from typing import TypeAlias
from zoneinfo import ZoneInfo

Slot: TypeAlias = datetime | date


class Response(StrEnum):
    """A guest's answer to an invitation."""

    NEEDS_ACTION = "needs_action"
    DECLINED = "declined"
    TENTATIVE = "tentative"
    ACCEPTED = "accepted"


class Kind(StrEnum):
    """What sort of entry it is; platforms without a word for it deliver an ordinary event."""

    DEFAULT = "default"
    BIRTHDAY = "birthday"
    FOCUS_TIME = "focus_time"
    FROM_MAIL = "from_mail"
    OUT_OF_OFFICE = "out_of_office"
    WORKING_LOCATION = "working_location"


class Visibility(StrEnum):
    """Who may see the details of an event in a shared calendar."""

    DEFAULT = "default"
    PUBLIC = "public"
    PRIVATE = "private"
    CONFIDENTIAL = "confidential"


class EntryState(StrEnum):
    """CANCELLED keeps its details; of a DELETED entry only the id is left."""

    LIVE = "live"
    CANCELLED = "cancelled"
    DELETED = "deleted"


class Frequency(StrEnum):
    """How often a series comes round."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guest:
    """Somebody invited, the organizer included where the organizer is a guest too."""

    email: str
    name: str | None = None
    response: Response = Response.NEEDS_ACTION
    optional: bool = False
    room: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Conference:
    """An online meeting in the platform's own fields. A pending one has been asked for and has no address yet.

    `service` is `meet`, `teams`, or the name of an add-on such as `Zoom Meeting`.
    """

    service: str
    url: str
    code: str | None = None
    passcode: str | None = None
    phone: str | None = None
    pending: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Details:
    """Everything a person can write into an event. `ends` is exclusive; all-day events have dates, others datetimes."""

    starts: Slot
    ends: Slot
    title: str | None = None
    zone: str = "UTC"
    location: str | None = None
    description: str | None = None
    conference: Conference | None = None
    organizer: Guest | None = None
    guests: tuple[Guest, ...] = ()
    kind: Kind = Kind.DEFAULT
    visibility: Visibility = Visibility.DEFAULT
    free: bool = False
    tentative: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.starts, datetime) != isinstance(self.ends, datetime):
            raise ValueError("an event is either all-day at both ends or timed at both")
        for moment in (self.starts, self.ends):
            if isinstance(moment, datetime) and moment.tzinfo is None:
                raise ValueError(f"{moment} has no time zone")
        ZoneInfo(self.zone)  # An unknown zone is the caller's mistake: it is refused here, not while a listing is made.
        if as_instant(self.ends, zone=self.zone) < as_instant(self.starts, zone=self.zone):
            raise ValueError("an event ends after it starts")

    @property
    def is_all_day(self) -> bool:
        """True when start and end are dates."""
        return not isinstance(self.starts, datetime)

    @property
    def length(self) -> timedelta:
        """How long it lasts; whole days for all-day events."""
        if isinstance(self.starts, datetime) and isinstance(self.ends, datetime):
            return self.ends - self.starts
        return timedelta(days=self.ends.toordinal() - self.starts.toordinal())


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When a series comes round. `weekdays` count from Monday = 0; `until` is the last slot that belongs to it."""

    frequency: Frequency
    interval: int = 1
    weekdays: tuple[int, ...] = ()
    until: Slot | None = None
    count: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Override:
    """An occurrence that differs from its series; without details it is cancelled."""

    details: Details | None
    change: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A single event or, with a rule, a series. `change` is the calendar's counter when it last changed as a whole.

    `former` are slots that the series had before its times changed, each with the change that took it away.
    """

    id: str
    uid: str
    number: int
    details: Details
    change: int
    created_at: datetime
    updated_at: datetime
    rule: Rule | None = None
    overrides: Mapping[Slot, Override] = field(default_factory=dict)
    former: Mapping[Slot, int] = field(default_factory=dict)
    state: EntryState = EntryState.LIVE
    sequence: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class OddEntry:
    """A JSON value that is delivered as it is, however odd."""

    id: str
    item: object
    number: int
    change: int
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One occurrence of a series as it stands: `details` is None where it is cancelled."""

    slot: Slot
    details: Details | None
    change: int
    updated_at: datetime


def as_instant(moment: Slot, *, zone: str) -> datetime:
    """The moment in UTC; a date is midnight in `zone`."""
    if isinstance(moment, datetime):
        return moment.astimezone(UTC)
    return datetime.combine(moment, time.min, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def parse_moment(text: str, *, zone: str) -> Slot:
    """A date, or an aware datetime in UTC; a time without offset is read in `zone`. Raises ValueError."""
    if len(text) == len("2026-12-01"):
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).astimezone(UTC)


def as_slot(moment: Slot) -> Slot:
    """The moment as a slot: in UTC where it has a time."""
    return moment.astimezone(UTC) if isinstance(moment, datetime) else moment


def slots(details: Details, rule: Rule) -> Iterator[Slot]:
    """The slots of a series in order, without end where the rule has none; wall-clock time outlasts summer time."""
    zone = ZoneInfo(details.zone)
    starts = details.starts
    local = starts.astimezone(zone) if isinstance(starts, datetime) else None
    first_day = local.date() if local else starts
    for number, day in enumerate(_days(first_day, rule), start=1):
        slot: Slot = datetime.combine(day, local.timetz()).astimezone(UTC) if local else day
        if rule.until is not None and _is_after(slot, rule.until, zone=details.zone):
            return
        yield slot
        if number == rule.count:
            return


def slots_through(entry: Entry, end: datetime, *, beyond: int) -> list[Slot]:
    """The slots of a series before `end`, and as many as `beyond` after it."""
    if entry.rule is None:
        return []
    found: list[Slot] = []
    later = 0
    for slot in slots(entry.details, entry.rule):
        if as_instant(slot, zone=entry.details.zone) >= end:
            later += 1
            if later > beyond:
                break
        found.append(slot)
    return found


def occurrence(entry: Entry, slot: Slot) -> Occurrence:
    """The occurrence in that slot, with its own details where it has some, else those of the series at that time."""
    override = entry.overrides.get(slot)
    if override is not None:
        change = max(override.change, entry.change)
        return Occurrence(slot=slot, details=override.details, change=change, updated_at=override.updated_at)
    return Occurrence(slot=slot, details=at_slot(entry.details, slot), change=entry.change, updated_at=entry.updated_at)


def at_slot(details: Details, slot: Slot) -> Details:
    """The details of a series at one slot, as long as the first occurrence lasts."""
    return replace(details, starts=slot, ends=slot + details.length)


def _days(first: date, rule: Rule) -> Iterator[date]:
    match rule.frequency:
        case Frequency.DAILY:
            for step in count():
                day = first + timedelta(days=step * rule.interval)
                if not rule.weekdays or day.weekday() in rule.weekdays:
                    yield day
        case Frequency.WEEKLY:
            monday = first - timedelta(days=first.weekday())
            weekdays = sorted(set(rule.weekdays)) or [first.weekday()]
            for step in count():
                week = monday + timedelta(weeks=step * rule.interval)
                yield from (day for weekday in weekdays if (day := week + timedelta(days=weekday)) >= first)
        case Frequency.MONTHLY:
            for step in count(first.month - 1, rule.interval):
                year, month = first.year + step // 12, step % 12 + 1
                try:
                    yield first.replace(year=year, month=month)
                except ValueError:  # Months without that day are left out, as RFC 5545 has it.
                    continue


def _is_after(slot: Slot, until: Slot, *, zone: str) -> bool:
    return as_instant(slot, zone=zone) > as_instant(until, zone=zone)
