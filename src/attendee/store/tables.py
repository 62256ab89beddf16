"""Every table and every rule that the database itself enforces.

Rows that fall due are the queue (`claims.py`): calendars, channels, bots and deliveries share the columns of
`_due_work`. Times are aware UTC; secrets are sealed; JSON is text.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    not_,
)

from attendee.model import (
    FINISHED_BOT_STATES,
    ActivityKind,
    BotState,
    CalendarState,
    ChannelState,
    DeliveryState,
    LaunchState,
    Platform,
    SyncOutcome,
    SyncReason,
)
from attendee.store.columns import Json, SealedText, UtcDateTime, one_of

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite gives row numbers to INTEGER keys only.
_NUMBER = BigInteger().with_variant(Integer, "sqlite")


def _due_work() -> tuple[Column[Any], ...]:
    """The columns of a claim. Nothing is due while `due_at` is null; `claimed_until` without a claim is a pause."""
    return (
        Column("due_at", UtcDateTime),
        Column("claim_id", String),
        Column("claimed_until", UtcDateTime),
        Column("attempts", Integer, nullable=False, server_default="0"),
        Column("wakes", Integer, nullable=False, server_default="0"),
    )


def _index_due_work(table: Table) -> None:
    for name, column in (("due", table.c.due_at), ("claimed", table.c.claimed_until)):
        kept = column.is_not(None)
        Index(f"ix_{table.name}_{name}", column, table.c.id, postgresql_where=kept, sqlite_where=kept)


projects = Table(
    "projects",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    # Set when it is deleted: nobody sees it from then on, and what it holds is removed bit by bit.
    Column("deleted_at", UtcDateTime),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("name", String, nullable=False),
    # The SHA-256 of a key of 256 random bits: it needs no salt and can be looked up.
    Column("key_hash", String, nullable=False, unique=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime),
    Column("disabled_at", UtcDateTime),
)

# How many POSTs of a project were let through in a minute, in all processes together (`limits.py`).
post_counts = Table(
    "post_counts",
    metadata,
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), primary_key=True),
    Column("minute", UtcDateTime, primary_key=True),
    Column("taken", Integer, nullable=False),
)

signing_secrets = Table(
    "signing_secrets",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("secret", SealedText, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Set when another takes its place: until then both sign.
    Column("ends_at", UtcDateTime),
)

calendars = Table(
    "calendars",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("platform", String, nullable=False),
    Column("platform_uuid", String),
    Column("deduplication_key", String),
    Column("metadata", Json),
    Column("client_id", String, nullable=False),
    Column("client_secret", SealedText, nullable=False),
    Column("refresh_token", SealedText, nullable=False),
    # Raised by every PATCH: what a sync with older credentials has learned is thrown away.
    Column("credentials_version", Integer, nullable=False, server_default="1"),
    Column("access_token", SealedText),
    Column("access_token_expires_at", UtcDateTime),
    Column("state", String, nullable=False),
    Column("connection_failure_data", Json),
    Column("cursor", Text),
    # What the last full listing covered; changes beyond it are not believed to be in the window.
    Column("listed_from", UtcDateTime),
    Column("listed_until", UtcDateTime),
    Column("next_listing_at", UtcDateTime),
    # The largest updated_at that an event of this calendar has: the next is larger, also when the clock steps back.
    Column("events_stamped_at", UtcDateTime),
    Column("last_attempted_sync_at", UtcDateTime),
    Column("last_successful_sync_at", UtcDateTime),
    Column("last_error", Text),
    # Whether that error is of the OAuth client, and so of all its calendars; nothing without an error.
    Column("is_operators_fault", Boolean, nullable=False, server_default=false()),
    # The end of the live push channel; until then changes are told, and polling is only a safety net.
    Column("push_until", UtcDateTime),
    # How often it was looked in vain since the last push, which can arrive before its change can be read.
    Column("looks_after_push", Integer),
    # Why the next sync was asked for, if it was.
    Column("asked_for", String),
    # How many syncs have found nothing since the last one that the history tells of.
    Column("quiet_syncs", Integer, nullable=False, server_default="0"),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    *_due_work(),
    UniqueConstraint("project_id", "deduplication_key"),
    Index("ix_calendars_client", "project_id", "platform", "client_id", "due_at"),
    Index("ix_calendars_project_id_created_at_id", "project_id", "created_at", "id"),
    one_of("platform", Platform),
    one_of("state", CalendarState),
    CheckConstraint("(state = 'disconnected') = (connection_failure_data IS NOT NULL)", name="failure_told"),
    CheckConstraint("(access_token IS NULL) = (access_token_expires_at IS NULL)", name="access_token_whole"),
    CheckConstraint("(listed_from IS NULL) = (listed_until IS NULL)", name="listing_whole"),
)
_index_due_work(calendars)
# Of a project's many calendars the few that somebody should look at.
_in_trouble = calendars.c.last_error.is_not(None)
Index(
    "ix_calendars_in_trouble",
    calendars.c.project_id,
    calendars.c.created_at,
    calendars.c.id,
    sqlite_where=_in_trouble,
    postgresql_where=_in_trouble,
)

# The syncs that found a change, listed the window, failed or were asked for. Quiet ones are only counted.
syncs = Table(
    "syncs",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="CASCADE"), nullable=False),
    Column("reason", String, nullable=False),
    Column("outcome", String, nullable=False),
    Column("listed", Boolean, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    Column("requests", Integer, nullable=False),
    Column("created", Integer, nullable=False),
    Column("updated", Integer, nullable=False),
    Column("deleted", Integer, nullable=False),
    # How many quiet syncs lie between the row before and this one.
    Column("quiet_before", Integer, nullable=False),
    Column("error", Text),
    Index("ix_syncs_calendar_id_started_at_number", "calendar_id", "started_at", "number"),
    Index("ix_syncs_project_id_started_at", "project_id", "started_at"),
    Index("ix_syncs_project_id_outcome_started_at", "project_id", "outcome", "started_at"),
    one_of("reason", SyncReason),
    one_of("outcome", SyncOutcome),
    CheckConstraint("(outcome IN ('failed', 'disconnected')) = (error IS NOT NULL)", name="failure_told"),
)

# An event of the platform that could not be stored as it is, and why.
set_aside_events = Table(
    "set_aside_events",
    metadata,
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="CASCADE"), primary_key=True),
    Column("platform_uuid", String, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
)

# The calendars that the user has at the platform, in its order, as a worker last read them.
platform_calendars = Table(
    "platform_calendars",
    metadata,
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="CASCADE"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("platform_uuid", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("is_primary", Boolean, nullable=False),
)

# What a platform tells of changes through. It outlives its calendar until it is stopped, with what that takes.
channels = Table(
    "channels",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("platform", String, nullable=False),
    Column("client_id", String, nullable=False),
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="SET NULL"), index=True),
    Column("state", String, nullable=False),
    Column("platform_channel_id", String, unique=True),
    Column("resource_id", Text),
    Column("secret", SealedText),
    Column("expires_at", UtcDateTime),
    # To stop it with, once the calendar's own are gone or no longer valid.
    Column("credentials", SealedText),
    Column("last_error", Text),
    Column("give_up_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    *_due_work(),
    one_of("state", ChannelState),
    CheckConstraint(
        "state <> 'live' OR (platform_channel_id IS NOT NULL AND secret IS NOT NULL AND expires_at IS NOT NULL)",
        name="live_whole",
    ),
    CheckConstraint("(state = 'stopping') = (give_up_at IS NOT NULL)", name="stopping_ends"),
)
_current = channels.c.state != ChannelState.STOPPING.value
Index(
    "uq_channels_current",
    channels.c.calendar_id,
    unique=True,
    sqlite_where=_current,
    postgresql_where=_current,
)
_index_due_work(channels)

events = Table(
    "events",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="CASCADE"), nullable=False),
    Column("platform_uuid", String, nullable=False),
    Column("fingerprint", String, nullable=False),
    Column("name", Text, nullable=False),
    Column("meeting_url", Text),
    Column("start_time", UtcDateTime, nullable=False),
    Column("end_time", UtcDateTime, nullable=False),
    Column("start_date", Date),
    Column("end_date", Date),
    Column("is_deleted", Boolean, nullable=False),
    # Both are JSON text that goes into answers as it is, without being parsed.
    Column("attendees", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("ical_uid", Text),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    UniqueConstraint("calendar_id", "platform_uuid"),
    Index("ix_events_calendar_id_updated_at_id", "calendar_id", "updated_at", "id"),
    Index("ix_events_calendar_id_start_time_id", "calendar_id", "start_time", "id"),
    Index("ix_events_project_id_updated_at_id", "project_id", "updated_at", "id"),
    Index("ix_events_project_id_start_time_id", "project_id", "start_time", "id"),
    CheckConstraint("(start_date IS NULL) = (end_date IS NULL)", name="all_day_whole"),
    CheckConstraint("start_time <= end_time", name="in_order"),
)

bots = Table(
    "bots",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("event_id", ForeignKey(events.c.id, ondelete="SET NULL"), index=True),
    # The event's calendar, which is looked at more often while a bot of its is about to start.
    Column("calendar_id", ForeignKey(calendars.c.id, ondelete="SET NULL")),
    Column("name", Text, nullable=False),
    Column("meeting_url", Text),
    Column("join_at", UtcDateTime),
    Column("state", String, nullable=False),
    Column("deduplication_key", String),
    Column("metadata", Json),
    # The settings objects of the request, kept as they are for the runner.
    Column("settings", Json, nullable=False),
    Column("recording_state", String, nullable=False),
    Column("transcription_state", String, nullable=False),
    # How it was in the meeting before it went to or from a breakout room.
    Column("joined_as", String),
    # What the runner has been told of it, as long as that stands, and the SHA-256 of the token that its reports carry.
    Column("launch_id", String),
    Column("report_token_hash", String),
    Column("reported_at", UtcDateTime),
    # When its calendar was asked once more, just before the launch.
    Column("asked_at", UtcDateTime),
    # Its name at the other server, with the runner `remote`.
    Column("remote_id", String),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    *_due_work(),
    Index("ix_bots_project_id_created_at_id", "project_id", "created_at", "id"),
    Index("ix_bots_calendar_id_due_at", "calendar_id", "due_at"),
    one_of("state", BotState),
)
_index_due_work(bots)
_scheduled = bots.c.state == BotState.SCHEDULED.value
Index(
    "ix_bots_scheduled",
    bots.c.project_id,
    bots.c.join_at,
    bots.c.id,
    sqlite_where=_scheduled,
    postgresql_where=_scheduled,
)
_unfinished = not_(bots.c.state.in_(sorted(state.value for state in FINISHED_BOT_STATES)))
# Counted against the project's quota, and by state at every scrape of the metrics.
Index("ix_bots_unfinished", bots.c.project_id, bots.c.state, sqlite_where=_unfinished, postgresql_where=_unfinished)
_live_bot = and_(bots.c.deduplication_key.is_not(None), _unfinished)
Index(
    "uq_bots_live_deduplication_key",
    bots.c.project_id,
    bots.c.deduplication_key,
    unique=True,
    sqlite_where=_live_bot,
    postgresql_where=_live_bot,
)

_failed = bots.c.state == BotState.FATAL_ERROR.value
Index("ix_bots_failed", bots.c.project_id, bots.c.updated_at, bots.c.id, sqlite_where=_failed, postgresql_where=_failed)

bot_events = Table(
    "bot_events",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("bot_id", ForeignKey(bots.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("type", String, nullable=False),
    Column("sub_type", String),
    Column("metadata", Json),
    Column("created_at", UtcDateTime, nullable=False),
)

# The reports that a bot has made, by the ids it gave them: each is taken in once.
bot_reports = Table(
    "bot_reports",
    metadata,
    Column("bot_id", ForeignKey(bots.c.id, ondelete="CASCADE"), primary_key=True),
    Column("report_id", String, primary_key=True),
)

# What a runner is to be told of a bot. It outlives its bot until the runner has confirmed that the launch is off.
launches = Table(
    "launches",
    metadata,
    # It is the idempotency key too.
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("bot_id", String, nullable=False, index=True),
    Column("state", String, nullable=False),
    # The order, as JSON without its token: the same on every try.
    Column("body", Text, nullable=False),
    Column("report_token", SealedText, nullable=False),
    # By what the runner knows the bot: a process, or the bot's id at another server.
    Column("reference", Json),
    # The machine whose processes these are; null where every worker reaches the runner.
    Column("host", String),
    Column("is_leave_wanted", Boolean, nullable=False),
    Column("last_error", Text),
    Column("give_up_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    *_due_work(),
    one_of("state", LaunchState),
    CheckConstraint("(state = 'calling_off') = (give_up_at IS NOT NULL)", name="calling_off_ends"),
)
_index_due_work(launches)

# With a bot, the subscription hears of that bot only, instead of the project's subscriptions.
webhook_subscriptions = Table(
    "webhook_subscriptions",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("bot_id", ForeignKey(bots.c.id, ondelete="CASCADE"), index=True),
    Column("url", Text, nullable=False),
    Column("triggers", Json, nullable=False),
    Column("is_active", Boolean, nullable=False),
    # The first attempt that failed since one arrived.
    Column("failing_since", UtcDateTime),
    # Why and when it was paused by us, and not by its owner.
    Column("pause_reason", String),
    Column("paused_at", UtcDateTime),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
)
_of_project = webhook_subscriptions.c.bot_id.is_(None)
Index(
    "uq_webhook_subscriptions_project_url",
    webhook_subscriptions.c.project_id,
    webhook_subscriptions.c.url,
    unique=True,
    sqlite_where=_of_project,
    postgresql_where=_of_project,
)

# The record of what was sent outlives its subscription, its calendar and its bot.
deliveries = Table(
    "deliveries",
    metadata,
    Column("id", String, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False),
    Column("subscription_id", ForeignKey(webhook_subscriptions.c.id, ondelete="SET NULL")),
    Column("url", Text, nullable=False),
    # Of the url, with its port: who shares one shares how many of its deliveries are in flight.
    Column("host", String, nullable=False, server_default=""),
    Column("trigger", String, nullable=False),
    Column("calendar_id", String),
    Column("bot_id", String),
    Column("idempotency_key", String, nullable=False, unique=True),
    # The body as it is signed and sent, in canonical JSON; never changed once it has been tried.
    Column("body", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    # When the push of a platform that it tells of made its calendar due; null if none did.
    Column("heard_at", UtcDateTime),
    *_due_work(),
    Index("ix_deliveries_subscription_id_created_at_id", "subscription_id", "created_at", "id"),
    Index("ix_deliveries_project_id_created_at_id", "project_id", "created_at", "id"),
    Index("ix_deliveries_project_id_state_created_at_id", "project_id", "state", "created_at", "id"),
    Index("ix_deliveries_project_id_trigger_created_at_id", "project_id", "trigger", "created_at", "id"),
    Index("ix_deliveries_calendar_id_created_at", "calendar_id", "created_at"),
    Index("ix_deliveries_bot_id", "bot_id"),
    one_of("state", DeliveryState),
    CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name="finished_told"),
    CheckConstraint("state = 'pending' OR due_at IS NULL", name="finished_not_due"),
)
_index_due_work(deliveries)
# Finds the delivery of a calendar that a further update can be folded into.
_untried = and_(deliveries.c.state == DeliveryState.PENDING.value, deliveries.c.attempts == 0)
Index(
    "ix_deliveries_untried",
    deliveries.c.subscription_id,
    deliveries.c.calendar_id,
    sqlite_where=_untried,
    postgresql_where=_untried,
)

delivery_attempts = Table(
    "delivery_attempts",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("delivery_id", ForeignKey(deliveries.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("started_at", UtcDateTime, nullable=False),
    Column("milliseconds", Integer, nullable=False),
    # Null where no answer came; then the error says why.
    Column("status", Integer),
    Column("answer", Text),
    Column("error", Text),
    CheckConstraint("(status IS NULL) = (error IS NOT NULL)", name="answered_or_not"),
)

# Append-only: what happened to which event and bot, when and why, written in the transaction that did it.
activity = Table(
    "activity",
    metadata,
    Column("number", _NUMBER, primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("calendar_id", String, index=True),
    Column("event_id", String, index=True),
    Column("bot_id", String, index=True),
    Column("kind", String, nullable=False),
    Column("detail", Json, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    one_of("kind", ActivityKind),
)

# What keeps the tables small, each kind due work of its own; `position` is how far a walk has come.
upkeep = Table(
    "upkeep",
    metadata,
    Column("id", String, primary_key=True),
    Column("position", String),
    *_due_work(),
)
_index_due_work(upkeep)
