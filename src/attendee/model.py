"""The words of the field as types: ids, states, and the values that cross the borders between packages."""

import os
import string
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import NewType, TypedDict

ProjectId = NewType("ProjectId", str)
KeyId = NewType("KeyId", str)
CalendarId = NewType("CalendarId", str)
EventId = NewType("EventId", str)
BotId = NewType("BotId", str)
ChannelId = NewType("ChannelId", str)
SubscriptionId = NewType("SubscriptionId", str)
DeliveryId = NewType("DeliveryId", str)
LaunchId = NewType("LaunchId", str)
UserId = NewType("UserId", str)

_ALPHABET = (string.ascii_letters + string.digits).encode()
_LENGTH = 16
# Each byte stands for a letter, each letter for four bytes; what is left over would make some more likely than others.
_LETTERS = bytes(_ALPHABET[byte % len(_ALPHABET)] for byte in range(256))
_LEFT_OVER = bytes(range(256 - 256 % len(_ALPHABET), 256))


def new_id(prefix: str) -> str:
    """A fresh id: the prefix (with its underscore) and 16 random letters and digits (95 bits)."""
    letters = b""
    while len(letters) < _LENGTH:
        letters += os.urandom(2 * _LENGTH).translate(_LETTERS, _LEFT_OVER)
    return prefix + letters[:_LENGTH].decode()


class Platform(StrEnum):
    GOOGLE = "google"
    MICROSOFT = "microsoft"


class CalendarState(StrEnum):
    CONNECTED = "connected"
    DISCONNECTED = "disconnected"


class ChannelState(StrEnum):
    """A push channel is wanted until the platform has opened it, and stopping until it has ended it."""

    WANTED = "wanted"
    LIVE = "live"
    STOPPING = "stopping"


class DisconnectCode(StrEnum):
    """Why a calendar is disconnected: one word that a program can act on."""

    CONSENT_REVOKED = "consent_revoked"
    REAUTH_REQUIRED = "reauth_required"
    SCOPE_MISSING = "scope_missing"
    ACCOUNT_GONE = "account_gone"
    MAILBOX_UNAVAILABLE = "mailbox_unavailable"
    CALENDAR_NOT_FOUND = "calendar_not_found"
    BLOCKED_BY_ADMIN = "blocked_by_admin"
    CLIENT_INVALID = "client_invalid"


class BotState(StrEnum):
    READY = "ready"
    SCHEDULED = "scheduled"
    STAGED = "staged"
    JOINING = "joining"
    WAITING_ROOM = "waiting_room"
    JOINED_NOT_RECORDING = "joined_not_recording"
    JOINED_RECORDING = "joined_recording"
    JOINED_RECORDING_PAUSED = "joined_recording_paused"
    JOINED_RECORDING_PERMISSION_DENIED = "joined_recording_permission_denied"
    JOINING_BREAKOUT_ROOM = "joining_breakout_room"
    LEAVING_BREAKOUT_ROOM = "leaving_breakout_room"
    LEAVING = "leaving"
    POST_PROCESSING = "post_processing"
    ENDED = "ended"
    FATAL_ERROR = "fatal_error"
    DATA_DELETED = "data_deleted"


FINISHED_BOT_STATES = frozenset({BotState.ENDED, BotState.FATAL_ERROR, BotState.DATA_DELETED})


class BotEventType(StrEnum):
    STAGED = "staged"
    UNSTAGED = "unstaged"
    JOIN_REQUESTED = "join_requested"
    PUT_IN_WAITING_ROOM = "put_in_waiting_room"
    JOINED_MEETING = "joined_meeting"
    RECORDING_PERMISSION_GRANTED = "recording_permission_granted"
    RECORDING_PERMISSION_DENIED = "recording_permission_denied"
    RECORDING_PAUSED = "recording_paused"
    RECORDING_RESUMED = "recording_resumed"
    LEAVE_REQUESTED = "leave_requested"
    LEFT_MEETING = "left_meeting"
    MEETING_ENDED = "meeting_ended"
    POST_PROCESSING_COMPLETED = "post_processing_completed"
    COULD_NOT_JOIN_MEETING = "could_not_join_meeting"
    FATAL_ERROR = "fatal_error"
    DATA_DELETED = "data_deleted"
    BEGAN_JOINING_BREAKOUT_ROOM = "began_joining_breakout_room"
    JOINED_BREAKOUT_ROOM = "joined_breakout_room"
    BEGAN_LEAVING_BREAKOUT_ROOM = "began_leaving_breakout_room"
    LEFT_BREAKOUT_ROOM = "left_breakout_room"


class RecordingState(StrEnum):
    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    PAUSED = "paused"
    COMPLETE = "complete"
    FAILED = "failed"


class TranscriptionState(StrEnum):
    NOT_STARTED = "not_started"
    IN_PROGRESS = "in_progress"
    COMPLETE = "complete"
    FAILED = "failed"


class LaunchState(StrEnum):
    """A launch is wanted until the runner has taken it, and calling off until the runner has confirmed that."""

    WANTED = "wanted"
    TAKEN = "taken"
    CALLING_OFF = "calling_off"


class Trigger(StrEnum):
    """What a webhook subscription can ask for."""

    CALENDAR_EVENTS_UPDATE = "calendar.events_update"
    CALENDAR_STATE_CHANGE = "calendar.state_change"
    BOT_STATE_CHANGE = "bot.state_change"
    TRANSCRIPT_UPDATE = "transcript.update"
    CHAT_MESSAGES_UPDATE = "chat_messages.update"
    PARTICIPANT_EVENTS_JOIN_LEAVE = "participant_events.join_leave"
    PARTICIPANT_EVENTS_SPEECH_START_STOP = "participant_events.speech_start_stop"
    BOT_LOGS_UPDATE = "bot_logs.update"
    ASYNC_TRANSCRIPTION_STATE_CHANGE = "async_transcription.state_change"
    ZOOM_OAUTH_CONNECTION_STATE_CHANGE = "zoom_oauth_connection.state_change"


class DeliveryState(StrEnum):
    PENDING = "pending"
    DELIVERED = "delivered"
    FAILED = "failed"


class PauseReason(StrEnum):
    """Why a subscription was paused by us, and not by its owner."""

    GONE = "gone"
    FAILING = "failing"


class ActivityKind(StrEnum):
    """What the history of an event or a bot can say happened."""

    EVENT_CREATED = "event_created"
    EVENT_UPDATED = "event_updated"
    EVENT_DELETED = "event_deleted"
    EVENT_RESTORED = "event_restored"
    BOT_CREATED = "bot_created"
    BOT_UPDATED = "bot_updated"
    BOT_MOVED = "bot_moved"
    BOT_RELINKED = "bot_relinked"
    BOT_DELETED = "bot_deleted"
    BOT_STATE_CHANGED = "bot_state_changed"


class SyncReason(StrEnum):
    """Why a calendar was synced."""

    FIRST = "first"
    ASKED = "asked"
    CREDENTIALS = "credentials"
    RETRY = "retry"
    PUSH = "push"
    LISTING = "listing"
    POLL = "poll"


class SyncOutcome(StrEnum):
    CHANGED = "changed"
    UNCHANGED = "unchanged"
    FAILED = "failed"
    DISCONNECTED = "disconnected"


class Role(StrEnum):
    """What a person may do in a project: the owner in all of them, the others in those that they are members of."""

    OWNER = "owner"
    ADMIN = "admin"
    VIEWER = "viewer"


class LinkPurpose(StrEnum):
    """What a one-time link is for."""

    FIRST_OWNER = "first_owner"
    PASSWORD = "password"  # noqa: S105  # the word, not one


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time: everything that overlaps it belongs to it. `until` is exclusive."""

    start_at: datetime
    until: datetime

    def overlaps(self, start_at: datetime, end_at: datetime) -> bool:
        """The platforms' own rule (Google's timeMin and timeMax): it ends after the start and starts before the end.

        An event without length exactly at the start counts, since it is running at that instant.
        """
        return start_at < self.until and (end_at > self.start_at or start_at == end_at == self.start_at)


class Attendee(TypedDict):
    """As it is stored and shown. Not a class with slots, which costs ten times as much to write as JSON."""

    email: str
    name: str | None


# Not frozen, which would make each several times as dear to build. Nobody changes one.
@dataclass(slots=True)
class RemoteEvent:
    """One event (never a series) as the platform has it now, in our words.

    `start_at` and `end_at` are aware and in UTC; an all-day event has its dates in `start_on` and `end_on` (exclusive)
    and begins and ends at UTC midnight of them. `raw` is the platform's own object as JSON, its long texts cut;
    `fingerprint` is a digest over all of this but for what no client should be told of (etags, reminders).
    """

    platform_uuid: str
    name: str
    start_at: datetime
    end_at: datetime
    start_on: date | None
    end_on: date | None
    meeting_url: str | None
    attendees: tuple[Attendee, ...]
    ical_uid: str | None
    raw: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The platform says that this event is gone; nothing else of what it says is believed."""

    platform_uuid: str


@dataclass(frozen=True, slots=True)
class SetAside:
    """An event that can't be stored as it is, and why, in plain words. It stops no other."""

    platform_uuid: str
    reason: str


RemoteItem = RemoteEvent | Cancelled | SetAside


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """As much of a stored event as it takes to see that it has changed."""

    id: EventId
    platform_uuid: str
    fingerprint: str
    is_deleted: bool
    start_at: datetime
    end_at: datetime
    meeting_url: str | None


@dataclass(frozen=True, slots=True)
class PlatformCalendar:
    """One of the calendars that a user has at the platform, by the platform's id and in the user's own words."""

    platform_uuid: str
    name: str
    is_primary: bool


@dataclass(frozen=True, slots=True)
class Touched:
    """An event that a sync changes: before (None: it is new) and after (None: it is gone)."""

    id: EventId
    before: KnownEvent | None
    after: RemoteEvent | None


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the user's OAuth consent left with us. Never printed."""

    client_id: str
    client_secret: str
    refresh_token: str

    def __repr__(self) -> str:
        return f"Credentials(client_id={self.client_id!r}, ***)"
