"""The first schema."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0001"
down_revision: str | None = None
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "projects",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "activity",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("calendar_id", sa.String(), nullable=True),
        sa.Column("event_id", sa.String(), nullable=True),
        sa.Column("bot_id", sa.String(), nullable=True),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("detail", columns.Json(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.CheckConstraint(
            "kind IN ('event_created', 'event_updated', 'event_deleted', 'event_restored', 'bot_created', 'bot_updated', 'bot_moved', 'bot_relinked', 'bot_deleted', 'bot_state_changed')",
            name=op.f("ck_activity_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_activity_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_activity")),
    )
    op.create_index(op.f("ix_activity_bot_id"), "activity", ["bot_id"], unique=False)
    op.create_index(op.f("ix_activity_calendar_id"), "activity", ["calendar_id"], unique=False)
    op.create_index(op.f("ix_activity_event_id"), "activity", ["event_id"], unique=False)
    op.create_index(op.f("ix_activity_project_id"), "activity", ["project_id"], unique=False)
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("key_hash", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", columns.UtcDateTime(), nullable=True),
        sa.Column("disabled_at", columns.UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("key_hash", name=op.f("uq_api_keys_key_hash")),
    )
    op.create_index(op.f("ix_api_keys_project_id"), "api_keys", ["project_id"], unique=False)
    op.create_table(
        "calendars",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("platform_uuid", sa.String(), nullable=True),
        sa.Column("deduplication_key", sa.String(), nullable=True),
        sa.Column("metadata", columns.Json(), nullable=True),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("client_secret", columns.SealedText(), nullable=False),
        sa.Column("refresh_token", columns.SealedText(), nullable=False),
        sa.Column("credentials_version", sa.Integer(), server_default="1", nullable=False),
        sa.Column("access_token", columns.SealedText(), nullable=True),
        sa.Column("access_token_expires_at", columns.UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("connection_failure_data", columns.Json(), nullable=True),
        sa.Column("cursor", sa.Text(), nullable=True),
        sa.Column("listed_from", columns.UtcDateTime(), nullable=True),
        sa.Column("listed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("next_listing_at", columns.UtcDateTime(), nullable=True),
        sa.Column("events_stamped_at", columns.UtcDateTime(), nullable=True),
        sa.Column("last_attempted_sync_at", columns.UtcDateTime(), nullable=True),
        sa.Column("last_successful_sync_at", columns.UtcDateTime(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("push_until", columns.UtcDateTime(), nullable=True),
        sa.Column("looks_after_push", sa.Integer(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("updated_at", columns.UtcDateTime(), nullable=False),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(state = 'disconnected') = (connection_failure_data IS NOT NULL)", name=op.f("ck_calendars_failure_told")
        ),
        sa.CheckConstraint("platform IN ('google', 'microsoft')", name=op.f("ck_calendars_platform_known")),
        sa.CheckConstraint("state IN ('connected', 'disconnected')", name=op.f("ck_calendars_state_known")),
        sa.CheckConstraint(
            "(access_token IS NULL) = (access_token_expires_at IS NULL)", name=op.f("ck_calendars_access_token_whole")
        ),
        sa.CheckConstraint("(listed_from IS NULL) = (listed_until IS NULL)", name=op.f("ck_calendars_listing_whole")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_calendars_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calendars")),
        sa.UniqueConstraint("project_id", "deduplication_key", name=op.f("uq_calendars_project_id_deduplication_key")),
    )
    op.create_index(
        "ix_calendars_claimed",
        "calendars",
        ["claimed_until", "id"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index("ix_calendars_client", "calendars", ["project_id", "platform", "client_id", "due_at"], unique=False)
    op.create_index(
        "ix_calendars_due",
        "calendars",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(
        "ix_calendars_project_id_created_at_id", "calendars", ["project_id", "created_at", "id"], unique=False
    )
    op.create_table(
        "signing_secrets",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("secret", columns.SealedText(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_signing_secrets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_signing_secrets")),
    )
    op.create_index(op.f("ix_signing_secrets_project_id"), "signing_secrets", ["project_id"], unique=False)
    op.create_table(
        "channels",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("client_id", sa.String(), nullable=False),
        sa.Column("calendar_id", sa.String(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("platform_channel_id", sa.String(), nullable=True),
        sa.Column("resource_id", sa.Text(), nullable=True),
        sa.Column("secret", columns.SealedText(), nullable=True),
        sa.Column("expires_at", columns.UtcDateTime(), nullable=True),
        sa.Column("credentials", columns.SealedText(), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("give_up_at", columns.UtcDateTime(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("(state = 'stopping') = (give_up_at IS NOT NULL)", name=op.f("ck_channels_stopping_ends")),
        sa.CheckConstraint(
            "state <> 'live' OR (platform_channel_id IS NOT NULL AND secret IS NOT NULL AND expires_at IS NOT NULL)",
            name=op.f("ck_channels_live_whole"),
        ),
        sa.CheckConstraint("state IN ('wanted', 'live', 'stopping')", name=op.f("ck_channels_state_known")),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_channels_calendar_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_channels_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channels")),
        sa.UniqueConstraint("platform_channel_id", name=op.f("uq_channels_platform_channel_id")),
    )
    op.create_index(op.f("ix_channels_calendar_id"), "channels", ["calendar_id"], unique=False)
    op.create_index(
        "ix_channels_claimed",
        "channels",
        ["claimed_until", "id"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_channels_due",
        "channels",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_channels_project_id"), "channels", ["project_id"], unique=False)
    op.create_index(
        "uq_channels_current",
        "channels",
        ["calendar_id"],
        unique=True,
        sqlite_where=sa.text("state != 'stopping'"),
        postgresql_where=sa.text("state != 'stopping'"),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("calendar_id", sa.String(), nullable=False),
        sa.Column("platform_uuid", sa.String(), nullable=False),
        sa.Column("fingerprint", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("meeting_url", sa.Text(), nullable=True),
        sa.Column("start_time", columns.UtcDateTime(), nullable=False),
        sa.Column("end_time", columns.UtcDateTime(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=True),
        sa.Column("end_date", sa.Date(), nullable=True),
        sa.Column("is_deleted", sa.Boolean(), nullable=False),
        sa.Column("attendees", sa.Text(), nullable=False),
        sa.Column("raw", sa.Text(), nullable=False),
        sa.Column("ical_uid", sa.Text(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("updated_at", columns.UtcDateTime(), nullable=False),
        sa.CheckConstraint("(start_date IS NULL) = (end_date IS NULL)", name=op.f("ck_events_all_day_whole")),
        sa.CheckConstraint("start_time <= end_time", name=op.f("ck_events_in_order")),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_events_calendar_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_events_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sa.UniqueConstraint("calendar_id", "platform_uuid", name=op.f("uq_events_calendar_id_platform_uuid")),
    )
    op.create_index("ix_events_calendar_id_start_time_id", "events", ["calendar_id", "start_time", "id"], unique=False)
    op.create_index("ix_events_calendar_id_updated_at_id", "events", ["calendar_id", "updated_at", "id"], unique=False)
    op.create_index("ix_events_project_id_start_time_id", "events", ["project_id", "start_time", "id"], unique=False)
    op.create_index("ix_events_project_id_updated_at_id", "events", ["project_id", "updated_at", "id"], unique=False)
    op.create_table(
        "platform_calendars",
        sa.Column("calendar_id", sa.String(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("platform_uuid", sa.String(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_platform_calendars_calendar_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("calendar_id", "position", name=op.f("pk_platform_calendars")),
    )
    op.create_table(
        "set_aside_events",
        sa.Column("calendar_id", sa.String(), nullable=False),
        sa.Column("platform_uuid", sa.String(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_set_aside_events_calendar_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("calendar_id", "platform_uuid", name=op.f("pk_set_aside_events")),
    )
    op.create_table(
        "bots",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=True),
        sa.Column("calendar_id", sa.String(), nullable=True),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("meeting_url", sa.Text(), nullable=True),
        sa.Column("join_at", columns.UtcDateTime(), nullable=True),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("deduplication_key", sa.String(), nullable=True),
        sa.Column("metadata", columns.Json(), nullable=True),
        sa.Column("settings", columns.Json(), nullable=False),
        sa.Column("recording_state", sa.String(), nullable=False),
        sa.Column("transcription_state", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("updated_at", columns.UtcDateTime(), nullable=False),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "state IN ('ready', 'scheduled', 'staged', 'joining', 'waiting_room', 'joined_not_recording', 'joined_recording', 'joined_recording_paused', 'joined_recording_permission_denied', 'joining_breakout_room', 'leaving_breakout_room', 'leaving', 'post_processing', 'ended', 'fatal_error', 'data_deleted')",
            name=op.f("ck_bots_state_known"),
        ),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_bots_calendar_id"), ondelete="SET NULL"
        ),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"], name=op.f("fk_bots_event_id"), ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_bots_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bots")),
    )
    op.create_index("ix_bots_calendar_id_due_at", "bots", ["calendar_id", "due_at"], unique=False)
    op.create_index(
        "ix_bots_claimed",
        "bots",
        ["claimed_until", "id"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_bots_due",
        "bots",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_bots_event_id"), "bots", ["event_id"], unique=False)
    op.create_index("ix_bots_project_id_created_at_id", "bots", ["project_id", "created_at", "id"], unique=False)
    op.create_index(
        "uq_bots_live_deduplication_key",
        "bots",
        ["project_id", "deduplication_key"],
        unique=True,
        sqlite_where=sa.text(
            "deduplication_key IS NOT NULL AND (state NOT IN ('data_deleted', 'ended', 'fatal_error'))"
        ),
        postgresql_where=sa.text(
            "deduplication_key IS NOT NULL AND (state NOT IN ('data_deleted', 'ended', 'fatal_error'))"
        ),
    )
    op.create_table(
        "bot_events",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("bot_id", sa.String(), nullable=False),
        sa.Column("type", sa.String(), nullable=False),
        sa.Column("sub_type", sa.String(), nullable=True),
        sa.Column("metadata", columns.Json(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.id"], name=op.f("fk_bot_events_bot_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_bot_events")),
    )
    op.create_index(op.f("ix_bot_events_bot_id"), "bot_events", ["bot_id"], unique=False)
    op.create_table(
        "webhook_subscriptions",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("bot_id", sa.String(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("triggers", columns.Json(), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("updated_at", columns.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["bot_id"], ["bots.id"], name=op.f("fk_webhook_subscriptions_bot_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_webhook_subscriptions_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_subscriptions")),
    )
    op.create_index(op.f("ix_webhook_subscriptions_bot_id"), "webhook_subscriptions", ["bot_id"], unique=False)
    op.create_index(
        "uq_webhook_subscriptions_project_url",
        "webhook_subscriptions",
        ["project_id", "url"],
        unique=True,
        sqlite_where=sa.text("bot_id IS NULL"),
        postgresql_where=sa.text("bot_id IS NULL"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("subscription_id", sa.String(), nullable=True),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("calendar_id", sa.String(), nullable=True),
        sa.Column("bot_id", sa.String(), nullable=True),
        sa.Column("idempotency_key", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("finished_at", columns.UtcDateTime(), nullable=True),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint("(state = 'pending') = (finished_at IS NULL)", name=op.f("ck_deliveries_finished_told")),
        sa.CheckConstraint("state = 'pending' OR due_at IS NULL", name=op.f("ck_deliveries_finished_not_due")),
        sa.CheckConstraint("state IN ('pending', 'delivered', 'failed')", name=op.f("ck_deliveries_state_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_deliveries_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["webhook_subscriptions.id"],
            name=op.f("fk_deliveries_subscription_id"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_deliveries_idempotency_key")),
    )
    op.create_index(
        "ix_deliveries_claimed",
        "deliveries",
        ["claimed_until", "id"],
        unique=False,
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_at", "id"],
        unique=False,
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.create_index(op.f("ix_deliveries_project_id"), "deliveries", ["project_id"], unique=False)
    op.create_index(
        "ix_deliveries_subscription_id_created_at_id",
        "deliveries",
        ["subscription_id", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_deliveries_untried",
        "deliveries",
        ["subscription_id", "calendar_id"],
        unique=False,
        sqlite_where=sa.text("state = 'pending' AND attempts = 0"),
        postgresql_where=sa.text("state = 'pending' AND attempts = 0"),
    )
    op.create_table(
        "delivery_attempts",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("delivery_id", sa.String(), nullable=False),
        sa.Column("started_at", columns.UtcDateTime(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("answer", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint("(status IS NULL) = (error IS NOT NULL)", name=op.f("ck_delivery_attempts_answered_or_not")),
        sa.ForeignKeyConstraint(
            ["delivery_id"], ["deliveries.id"], name=op.f("fk_delivery_attempts_delivery_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_delivery_attempts")),
    )
    op.create_index(op.f("ix_delivery_attempts_delivery_id"), "delivery_attempts", ["delivery_id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_delivery_attempts_delivery_id"), table_name="delivery_attempts")
    op.drop_table("delivery_attempts")
    op.drop_index(
        "ix_deliveries_untried",
        table_name="deliveries",
        sqlite_where=sa.text("state = 'pending' AND attempts = 0"),
        postgresql_where=sa.text("state = 'pending' AND attempts = 0"),
    )
    op.drop_index("ix_deliveries_subscription_id_created_at_id", table_name="deliveries")
    op.drop_index(op.f("ix_deliveries_project_id"), table_name="deliveries")
    op.drop_index(
        "ix_deliveries_due",
        table_name="deliveries",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_deliveries_claimed",
        table_name="deliveries",
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.drop_table("deliveries")
    op.drop_index(
        "uq_webhook_subscriptions_project_url",
        table_name="webhook_subscriptions",
        sqlite_where=sa.text("bot_id IS NULL"),
        postgresql_where=sa.text("bot_id IS NULL"),
    )
    op.drop_index(op.f("ix_webhook_subscriptions_bot_id"), table_name="webhook_subscriptions")
    op.drop_table("webhook_subscriptions")
    op.drop_index(op.f("ix_bot_events_bot_id"), table_name="bot_events")
    op.drop_table("bot_events")
    op.drop_index(
        "uq_bots_live_deduplication_key",
        table_name="bots",
        sqlite_where=sa.text(
            "deduplication_key IS NOT NULL AND (state NOT IN ('data_deleted', 'ended', 'fatal_error'))"
        ),
        postgresql_where=sa.text(
            "deduplication_key IS NOT NULL AND (state NOT IN ('data_deleted', 'ended', 'fatal_error'))"
        ),
    )
    op.drop_index("ix_bots_project_id_created_at_id", table_name="bots")
    op.drop_index(op.f("ix_bots_event_id"), table_name="bots")
    op.drop_index(
        "ix_bots_due",
        table_name="bots",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_bots_claimed",
        table_name="bots",
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.drop_index("ix_bots_calendar_id_due_at", table_name="bots")
    op.drop_table("bots")
    op.drop_table("set_aside_events")
    op.drop_table("platform_calendars")
    op.drop_index("ix_events_project_id_updated_at_id", table_name="events")
    op.drop_index("ix_events_project_id_start_time_id", table_name="events")
    op.drop_index("ix_events_calendar_id_updated_at_id", table_name="events")
    op.drop_index("ix_events_calendar_id_start_time_id", table_name="events")
    op.drop_table("events")
    op.drop_index(
        "uq_channels_current",
        table_name="channels",
        sqlite_where=sa.text("state != 'stopping'"),
        postgresql_where=sa.text("state != 'stopping'"),
    )
    op.drop_index(op.f("ix_channels_project_id"), table_name="channels")
    op.drop_index(
        "ix_channels_due",
        table_name="channels",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index(
        "ix_channels_claimed",
        table_name="channels",
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.drop_index(op.f("ix_channels_calendar_id"), table_name="channels")
    op.drop_table("channels")
    op.drop_index(op.f("ix_signing_secrets_project_id"), table_name="signing_secrets")
    op.drop_table("signing_secrets")
    op.drop_index("ix_calendars_project_id_created_at_id", table_name="calendars")
    op.drop_index(
        "ix_calendars_due",
        table_name="calendars",
        postgresql_where=sa.text("due_at IS NOT NULL"),
        sqlite_where=sa.text("due_at IS NOT NULL"),
    )
    op.drop_index("ix_calendars_client", table_name="calendars")
    op.drop_index(
        "ix_calendars_claimed",
        table_name="calendars",
        postgresql_where=sa.text("claimed_until IS NOT NULL"),
        sqlite_where=sa.text("claimed_until IS NOT NULL"),
    )
    op.drop_table("calendars")
    op.drop_index(op.f("ix_api_keys_project_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_index(op.f("ix_activity_project_id"), table_name="activity")
    op.drop_index(op.f("ix_activity_event_id"), table_name="activity")
    op.drop_index(op.f("ix_activity_calendar_id"), table_name="activity")
    op.drop_index(op.f("ix_activity_bot_id"), table_name="activity")
    op.drop_table("activity")
    op.drop_table("projects")
