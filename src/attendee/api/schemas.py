"""The shapes of what comes in and goes out. Those that come in check it; those that go out are documentation only."""

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    StrictBool,
    StringConstraints,
    WithJsonSchema,
)

from attendee.api.times import parse_time
from attendee.model import (
    ActivityKind,
    BotEventType,
    BotState,
    CalendarState,
    DeliveryState,
    DisconnectCode,
    PauseReason,
    Platform,
    RecordingState,
    TranscriptionState,
    Trigger,
)
from attendee.store.subscriptions import MOST_A_BOT

# A unique index of PostgreSQL takes no value beyond some 2,700 bytes.
INDEXED_BYTES = 2_000
_METADATA_CHARACTERS = 1_000

_Value = TypeVar("_Value")


def _refuse_null(value: Any) -> Any:
    if value is None:
        raise ValueError("This field may not be null.")
    return value


def _refuse_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("This field may not be blank.")
    return text


def _refuse_unindexable(text: str) -> str:
    if len(text.encode()) > INDEXED_BYTES:
        message = f"May have at most {INDEXED_BYTES:,} bytes in UTF-8."
        raise ValueError(message)
    return text


def _refuse_large_metadata(metadata: dict[str, str]) -> dict[str, str]:
    if not metadata:
        raise ValueError("Must have at least one key.")
    if len(orjson.dumps(metadata).decode()) > _METADATA_CHARACTERS:
        message = f"May have at most {_METADATA_CHARACTERS:,} characters as JSON."
        raise ValueError(message)
    return metadata


def _refuse_beyond_basic_plane(text: str) -> str:
    if any(ord(character) > 0xFFFF for character in text):
        raise ValueError("May not contain characters above U+FFFF, such as emoji.")
    return text


def _instant(value: Any) -> datetime:
    if not isinstance(value, str):
        raise ValueError("Must be a string.")  # noqa: TRY004  # Pydantic takes a ValueError as an answer, not a TypeError
    return parse_time(value)


def _without_null(schema: dict[str, Any]) -> None:
    value, _null = schema.pop("anyOf")
    schema.update(value)


# May be left out, but not null: None only says that it was left out. (`SkipJsonSchema` would keep null out of the
# document too, but then every message about the value names the branch of the union that it is from.)
NotNull = Annotated[_Value | None, BeforeValidator(_refuse_null), Field(json_schema_extra=_without_null)]
NotBlank = Annotated[str, StringConstraints(min_length=1), AfterValidator(_refuse_blank)]
Trimmed = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)]
DeduplicationKey = Annotated[NotBlank, AfterValidator(_refuse_unindexable)]
BotName = Annotated[NotBlank, AfterValidator(_refuse_beyond_basic_plane)]
WebhookUrl = Annotated[Trimmed, AfterValidator(_refuse_unindexable), Field(json_schema_extra={"format": "uri"})]
Triggers = Annotated[list[Trigger], Field(min_length=1, max_length=2 * len(Trigger))]
Instant = Annotated[datetime, PlainValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})]
CalendarMetadata = Annotated[
    dict[str, str],
    AfterValidator(_refuse_large_metadata),
    Field(json_schema_extra={"minProperties": 1}, description="At most 1,000 characters as JSON."),
]
Settings = dict[str, Any] | None


class _Input(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NewCalendar(_Input):
    platform: Platform
    client_id: Trimmed
    client_secret: Trimmed
    refresh_token: Trimmed
    platform_uuid: Trimmed | None = Field(None, description="The platform's id of it; null is the primary calendar.")
    metadata: CalendarMetadata | None = None
    deduplication_key: DeduplicationKey | None = None


class CalendarChange(_Input):
    client_secret: NotNull[Trimmed] = None
    refresh_token: NotNull[Trimmed] = None
    metadata: NotNull[CalendarMetadata] = None


class WebhookOfBot(_Input):
    url: WebhookUrl
    triggers: Triggers


class NewWebhook(_Input):
    url: WebhookUrl
    triggers: Triggers


class WebhookChange(_Input):
    url: NotNull[WebhookUrl] = None
    triggers: NotNull[Triggers] = None
    is_active: NotNull[StrictBool] = None


class RedeliveryOfFailed(_Input):
    since: Instant = Field(description="What was made earlier is left as it is.")


class NewBot(_Input):
    bot_name: BotName
    meeting_url: str | None = Field(None, description="Needed unless there is a calendar_event_id.")
    join_at: Instant | None = Field(None, description="Without it the bot joins now.")
    calendar_event_id: str | None = Field(None, description="The bot follows this event; refuses the two above.")
    metadata: Settings = None
    deduplication_key: DeduplicationKey | None = None
    webhooks: Annotated[list[WebhookOfBot], Field(max_length=MOST_A_BOT)] | None = Field(
        None, description="Used for this bot instead of the project's."
    )
    recording_settings: Settings = None
    transcription_settings: Settings = None
    automatic_leave_settings: Settings = None
    bot_image: Settings = None
    bot_chat_message: Settings = None
    zoom_settings: Settings = None
    google_meet_settings: Settings = None
    teams_settings: Settings = None
    rtmp_settings: Settings = None
    websocket_settings: Settings = None
    callback_settings: Settings = None
    debug_settings: Settings = None
    external_media_storage_settings: Settings = None
    voice_agent_settings: Settings = None
    kubernetes_settings: Settings = None

    def settings(self) -> dict[str, Any]:
        """The settings objects that were given, kept as they are for the runner."""
        given = {name: getattr(self, name) for name in _SETTINGS}
        return {name: value for name, value in given.items() if value is not None}


_SETTINGS = (
    "recording_settings",
    "transcription_settings",
    "automatic_leave_settings",
    "bot_image",
    "bot_chat_message",
    "zoom_settings",
    "google_meet_settings",
    "teams_settings",
    "rtmp_settings",
    "websocket_settings",
    "callback_settings",
    "debug_settings",
    "external_media_storage_settings",
    "voice_agent_settings",
    "kubernetes_settings",
)


class BotChange(BaseModel):
    """What is not among these fields is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    join_at: NotNull[Instant] = None
    meeting_url: NotNull[str] = None
    bot_name: NotNull[BotName] = None
    bot_image: Settings = None
    metadata: Settings = None
    recording_settings: Settings = None


class BotReport(BaseModel):
    """What a runner's bot says. What is not among these fields is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Annotated[NotBlank, AfterValidator(_refuse_unindexable)] | None = Field(
        None, description="The bot's own for this report, which is taken in once. Only a heartbeat needs none."
    )
    type: str = Field(description="A step of the bot's life, `heartbeat`, or what is passed on as a webhook.")
    sub_type: str | None = None
    created_at: Instant | None = Field(None, description="When it happened; left out, it is now.")
    metadata: dict[str, Any] | None = None
    data: dict[str, Any] | None = Field(
        None, description="Of `transcript`, `chat_message`, `participant_event` and `log`: passed on as it is."
    )


class RemoteWebhook(BaseModel):
    """A webhook of another server with the bots API. What is not among these fields is ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    idempotency_key: Annotated[NotBlank, AfterValidator(_refuse_unindexable)]
    trigger: str = Field(description="What is not known here changes nothing.")
    data: dict[str, Any] | None = None


class Reported(BaseModel):
    state: BotState


INPUTS = (
    NewCalendar,
    CalendarChange,
    NewBot,
    BotChange,
    NewWebhook,
    WebhookChange,
    RedeliveryOfFailed,
    BotReport,
    RemoteWebhook,
)


class ConnectionFailure(BaseModel):
    error: str
    timestamp: datetime
    code: DisconnectCode


class CalendarSync(BaseModel):
    mode: Literal["push", "poll"]
    next_sync_at: datetime | None
    consecutive_failures: int
    last_error: str | None
    push_error: str | None = Field(description="Why the platform opens no push channel; the calendar is polled.")
    set_aside: int = Field(description="How many events can't be stored as they are.")


class Calendar(BaseModel):
    id: str
    platform: Platform
    client_id: str
    platform_uuid: str | None
    state: CalendarState
    metadata: dict[str, str] | None
    deduplication_key: str | None
    connection_failure_data: ConnectionFailure | None
    created_at: datetime
    updated_at: datetime
    last_successful_sync_at: datetime | None
    last_attempted_sync_at: datetime | None
    sync: CalendarSync


class PlatformCalendar(BaseModel):
    platform_uuid: str
    name: str
    primary: bool


class PlatformCalendars(BaseModel):
    results: list[PlatformCalendar]


class BotStep(BaseModel):
    type: BotEventType
    sub_type: str | None
    created_at: datetime


class Bot(BaseModel):
    id: str
    metadata: dict[str, Any] | None
    meeting_url: str | None
    state: BotState
    events: list[BotStep]
    transcription_state: TranscriptionState
    recording_state: RecordingState
    join_at: datetime | None
    deduplication_key: str | None
    bot_name: str
    calendar_event_id: str | None
    remote_id: str | None = Field(description="The bot's id at the other server, with the runner `remote`.")
    created_at: datetime
    updated_at: datetime


class Attendee(BaseModel):
    email: str
    name: str | None


class CalendarEvent(BaseModel):
    id: str
    calendar_id: str
    platform_uuid: str
    meeting_url: str | None
    name: str
    start_time: datetime
    end_time: datetime
    all_day: bool
    start_date: date | None
    end_date: date | None
    is_deleted: bool
    attendees: list[Attendee]
    ical_uid: str | None
    raw: dict[str, Any] = Field(description="The platform's own object.")
    bots: list[Bot]
    created_at: datetime
    updated_at: datetime


class ActivityEntry(BaseModel):
    kind: ActivityKind
    calendar_id: str | None
    calendar_event_id: str | None
    bot_id: str | None
    detail: dict[str, Any]
    created_at: datetime


class CalendarExport(BaseModel):
    exported_at: datetime
    calendar: Calendar
    platform_calendars: list[PlatformCalendar]
    set_aside_events: list[dict[str, Any]] = Field(description="What can't be stored as it is, and why.")
    events: list[CalendarEvent]
    activity: list[ActivityEntry]
    syncs: list[dict[str, Any]]
    deliveries: list[dict[str, Any]] = Field(description="The webhooks that told of the calendar.")


class Webhook(BaseModel):
    id: str
    url: str
    triggers: list[Trigger]
    is_active: bool
    failing_since: datetime | None = Field(description="The first attempt that failed since one arrived.")
    pause_reason: PauseReason | None = Field(
        description="Why it was paused by the service: its receiver answered 410 (gone), or took nothing for five days "
        "(failing). `is_active: true` resumes it, and what waits is sent."
    )
    created_at: datetime
    updated_at: datetime


class WebhookWithSecret(Webhook):
    secret: str = Field(description="The project's signing secret in base64; it is not shown again.")


class Redelivered(BaseModel):
    redelivered: int


class DeliveryAttempt(BaseModel):
    started_at: datetime
    milliseconds: int
    status: int | None
    answer: str | None = Field(description="The first 500 characters of the answer.")
    error: str | None = Field(description="Why no answer came.")


class Delivery(BaseModel):
    id: str
    webhook_id: str | None
    url: str
    trigger: Trigger
    calendar_id: str | None
    bot_id: str | None
    idempotency_key: str
    state: DeliveryState
    body: dict[str, Any]
    attempts: list[DeliveryAttempt]
    next_attempt_at: datetime | None
    created_at: datetime
    finished_at: datetime | None


_Result = TypeVar("_Result")


class Page(BaseModel, Generic[_Result]):
    next: str | None = Field(description="The address of the next page.")
    previous: str | None = Field(description="The address of the page before.")
    results: list[_Result]


class CalendarPage(Page[Calendar]):
    pass


class CalendarEventPage(Page[CalendarEvent]):
    pass


class BotPage(Page[Bot]):
    pass


class ActivityPage(Page[ActivityEntry]):
    pass


class WebhookPage(Page[Webhook]):
    pass


class DeliveryPage(Page[Delivery]):
    pass


class Health(BaseModel):
    status: Literal["ok"]


class Readiness(BaseModel):
    installation: str = Field(description="Tells one installation from another.")
    status: Literal["ready", "not ready"]
    problem: str | None = Field(description="What is in the way, in plain words.")
