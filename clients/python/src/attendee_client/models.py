"""What the service answers with, as frozen dataclasses. Fields that this version does not know are left out.

States, codes and triggers stay strings: a newer service may know more of them than this client.
"""

import types
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import UTC, date, datetime
from functools import cache
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from attendee_client.errors import UnexpectedAnswer

_Model = TypeVar("_Model")
_Model_co = TypeVar("_Model_co", covariant=True)


@dataclass(frozen=True, slots=True)
class ConnectionFailure:
    """Why a calendar is disconnected: `code` is for programs, `error` for their developers."""

    error: str
    code: str
    timestamp: datetime


@dataclass(frozen=True, slots=True)
class CalendarSync:
    mode: str
    next_sync_at: datetime | None
    consecutive_failures: int
    last_error: str | None
    push_error: str | None
    set_aside: int


@dataclass(frozen=True, slots=True)
class Calendar:
    id: str
    platform: str
    client_id: str
    platform_uuid: str | None
    state: str
    metadata: Mapping[str, str] | None
    deduplication_key: str | None
    connection_failure_data: ConnectionFailure | None
    created_at: datetime
    updated_at: datetime
    last_successful_sync_at: datetime | None
    last_attempted_sync_at: datetime | None
    sync: CalendarSync


@dataclass(frozen=True, slots=True)
class PlatformCalendar:
    platform_uuid: str
    name: str
    primary: bool


@dataclass(frozen=True, slots=True)
class BotStep:
    type: str
    sub_type: str | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Bot:
    id: str
    bot_name: str
    state: str
    meeting_url: str | None
    join_at: datetime | None
    calendar_event_id: str | None
    deduplication_key: str | None
    metadata: Mapping[str, Any] | None
    events: tuple[BotStep, ...]
    recording_state: str
    transcription_state: str
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Attendee:
    email: str
    name: str | None


@dataclass(frozen=True, slots=True)
class CalendarEvent:
    """`raw` is the platform's own object."""

    id: str
    calendar_id: str
    platform_uuid: str
    name: str
    meeting_url: str | None
    start_time: datetime
    end_time: datetime
    all_day: bool
    start_date: date | None
    end_date: date | None
    is_deleted: bool
    attendees: tuple[Attendee, ...]
    ical_uid: str | None
    raw: Mapping[str, Any]
    bots: tuple[Bot, ...]
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ActivityEntry:
    kind: str
    calendar_id: str | None
    calendar_event_id: str | None
    bot_id: str | None
    detail: Mapping[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Webhook:
    """`secret` is in the answer to the creation alone."""

    id: str
    url: str
    triggers: tuple[str, ...]
    is_active: bool
    created_at: datetime
    updated_at: datetime
    secret: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    started_at: datetime
    milliseconds: int
    status: int | None
    answer: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    webhook_id: str | None
    url: str
    trigger: str
    calendar_id: str | None
    bot_id: str | None
    idempotency_key: str
    state: str
    body: Mapping[str, Any]
    attempts: tuple[DeliveryAttempt, ...]
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


# Without slots: a frozen class with them can not be made as `Page[Bot](...)`.
@dataclass(frozen=True)
class Page(Generic[_Model_co]):
    results: tuple[_Model_co, ...]
    next: str | None


def latest_change(events: Iterable[CalendarEvent], *, before: datetime | None) -> datetime | None:
    """Where to go on: the largest `updated_at` that has been seen of a calendar, with these events and `before` them.

    Keep it beside the calendar and ask `api.changed_events` with it. Never take your own clock instead: clocks differ,
    and what changes while you ask would be missed.
    """
    return max((*(event.updated_at for event in events), *(() if before is None else (before,))), default=None)


def written(moment: datetime) -> str:
    """The instant as the service writes it: in UTC, to the microsecond. Raises ValueError for one without a zone."""
    if moment.tzinfo is None:
        message = f"{moment!r} has no time zone; datetime.now(UTC) has one"
        raise ValueError(message)
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"


def read(kind: type[_Model], value: Any) -> _Model:
    """A part of an answer as what it is. Raises UnexpectedAnswer."""
    try:
        model: _Model = _read(kind, value)
    except (AttributeError, KeyError, TypeError, ValueError) as trouble:
        message = f"this is no {kind.__name__} of attendee's: {type(trouble).__name__} {trouble}"
        raise UnexpectedAnswer(message) from trouble
    return model


def _read(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        given = [one.name for one in fields(kind) if one.name in value or one.default is MISSING]
        return kind(**{name: _read(hints[name], value[name]) for name in given})
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        # Always `something | None`.
        return None if value is None else _read(arguments[0], value)
    if origin is tuple:
        return tuple(_read(arguments[0], one) for one in value)
    if kind is datetime:
        return datetime.fromisoformat(value)
    if kind is date:
        return date.fromisoformat(value)
    expected = Mapping if origin is not None else kind
    if not isinstance(value, expected):
        message = f"{value!r} is not of {expected.__name__}"
        raise TypeError(message)
    return value


@cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)
