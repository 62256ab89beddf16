"""Accounts of the dashboard, and the history of syncs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "sign_in_failures",
        sa.Column("counted", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("since", columns.UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("counted", name=op.f("pk_sign_in_failures")),
    )
    op.create_index(op.f("ix_sign_in_failures_since"), "sign_in_failures", ["since"], unique=False)

    op.create_table(
        "users",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("email", sa.String(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=True),
        sa.Column("is_owner", sa.Boolean(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("disabled_at", columns.UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("email", name=op.f("uq_users_email")),
    )
    op.create_table(
        "memberships",
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.CheckConstraint("role IN ('admin', 'viewer')", name=op.f("ck_memberships_role_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_memberships_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_memberships_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("user_id", "project_id", name=op.f("pk_memberships")),
    )
    op.create_index(op.f("ix_memberships_project_id"), "memberships", ["project_id"], unique=False)

    op.create_table(
        "one_time_links",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("purpose", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("expires_at", columns.UtcDateTime(), nullable=False),
        sa.CheckConstraint("(purpose = 'first_owner') = (user_id IS NULL)", name=op.f("ck_one_time_links_user_known")),
        sa.CheckConstraint("purpose IN ('first_owner', 'password')", name=op.f("ck_one_time_links_purpose_known")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_one_time_links_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_one_time_links")),
    )
    op.create_index(op.f("ix_one_time_links_user_id"), "one_time_links", ["user_id"], unique=False)

    op.create_table(
        "sessions",
        sa.Column("token_hash", sa.String(), nullable=False),
        sa.Column("user_id", sa.String(), nullable=False),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("last_used_at", columns.UtcDateTime(), nullable=False),
        sa.Column("expires_at", columns.UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("token_hash", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)

    op.create_table(
        "syncs",
        sa.Column("number", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("calendar_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("listed", sa.Boolean(), nullable=False),
        sa.Column("started_at", columns.UtcDateTime(), nullable=False),
        sa.Column("milliseconds", sa.Integer(), nullable=False),
        sa.Column("requests", sa.Integer(), nullable=False),
        sa.Column("created", sa.Integer(), nullable=False),
        sa.Column("updated", sa.Integer(), nullable=False),
        sa.Column("deleted", sa.Integer(), nullable=False),
        sa.Column("quiet_before", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "(outcome IN ('failed', 'disconnected')) = (error IS NOT NULL)", name=op.f("ck_syncs_failure_told")
        ),
        sa.CheckConstraint(
            "outcome IN ('changed', 'unchanged', 'failed', 'disconnected')", name=op.f("ck_syncs_outcome_known")
        ),
        sa.CheckConstraint(
            "reason IN ('first', 'asked', 'credentials', 'retry', 'push', 'listing', 'poll')",
            name=op.f("ck_syncs_reason_known"),
        ),
        sa.ForeignKeyConstraint(
            ["calendar_id"], ["calendars.id"], name=op.f("fk_syncs_calendar_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_syncs_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_syncs")),
    )
    op.create_index(
        "ix_syncs_calendar_id_started_at_number", "syncs", ["calendar_id", "started_at", "number"], unique=False
    )
    op.create_index("ix_syncs_project_id_started_at", "syncs", ["project_id", "started_at"], unique=False)
    op.create_index(
        "ix_syncs_project_id_outcome_started_at", "syncs", ["project_id", "outcome", "started_at"], unique=False
    )

    op.create_index(
        "ix_bots_scheduled",
        "bots",
        ["project_id", "join_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'scheduled'"),
        postgresql_where=sa.text("state = 'scheduled'"),
    )

    op.create_index(
        "ix_bots_failed",
        "bots",
        ["project_id", "updated_at", "id"],
        unique=False,
        sqlite_where=sa.text("state = 'fatal_error'"),
        postgresql_where=sa.text("state = 'fatal_error'"),
    )
    op.add_column("calendars", sa.Column("asked_for", sa.String(), nullable=True))
    op.add_column("calendars", sa.Column("quiet_syncs", sa.Integer(), server_default="0", nullable=False))
    op.create_index(
        "ix_calendars_in_trouble",
        "calendars",
        ["project_id", "created_at", "id"],
        unique=False,
        sqlite_where=sa.text("last_error IS NOT NULL"),
        postgresql_where=sa.text("last_error IS NOT NULL"),
    )

    op.drop_index(op.f("ix_deliveries_project_id"), "deliveries")
    op.create_index("ix_deliveries_bot_id", "deliveries", ["bot_id"], unique=False)
    op.create_index("ix_deliveries_calendar_id_created_at", "deliveries", ["calendar_id", "created_at"], unique=False)
    op.create_index(
        "ix_deliveries_project_id_created_at_id", "deliveries", ["project_id", "created_at", "id"], unique=False
    )
    op.create_index(
        "ix_deliveries_project_id_state_created_at_id",
        "deliveries",
        ["project_id", "state", "created_at", "id"],
        unique=False,
    )
    op.create_index(
        "ix_deliveries_project_id_trigger_created_at_id",
        "deliveries",
        ["project_id", "trigger", "created_at", "id"],
        unique=False,
    )

    op.add_column("signing_secrets", sa.Column("ends_at", columns.UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("signing_secrets", "ends_at")

    op.drop_index("ix_deliveries_project_id_trigger_created_at_id", "deliveries")
    op.drop_index("ix_deliveries_project_id_state_created_at_id", "deliveries")
    op.drop_index("ix_deliveries_project_id_created_at_id", "deliveries")
    op.drop_index("ix_deliveries_calendar_id_created_at", "deliveries")
    op.drop_index("ix_deliveries_bot_id", "deliveries")
    op.create_index(op.f("ix_deliveries_project_id"), "deliveries", ["project_id"], unique=False)

    op.drop_index(
        "ix_calendars_in_trouble",
        "calendars",
        sqlite_where=sa.text("last_error IS NOT NULL"),
        postgresql_where=sa.text("last_error IS NOT NULL"),
    )
    op.drop_column("calendars", "quiet_syncs")
    op.drop_column("calendars", "asked_for")

    op.drop_index(
        "ix_bots_failed",
        "bots",
        sqlite_where=sa.text("state = 'fatal_error'"),
        postgresql_where=sa.text("state = 'fatal_error'"),
    )
    op.drop_index(
        "ix_bots_scheduled",
        "bots",
        sqlite_where=sa.text("state = 'scheduled'"),
        postgresql_where=sa.text("state = 'scheduled'"),
    )

    op.drop_index("ix_syncs_project_id_started_at", "syncs")
    op.drop_index("ix_syncs_project_id_outcome_started_at", "syncs")
    op.drop_index("ix_syncs_calendar_id_started_at_number", "syncs")

    op.drop_table("syncs")
    op.drop_index(op.f("ix_sessions_user_id"), "sessions")

    op.drop_table("sessions")
    op.drop_index(op.f("ix_one_time_links_user_id"), "one_time_links")

    op.drop_table("one_time_links")
    op.drop_index(op.f("ix_memberships_project_id"), "memberships")

    op.drop_table("memberships")
    op.drop_table("users")
    op.drop_index(op.f("ix_sign_in_failures_since"), "sign_in_failures")

    op.drop_table("sign_in_failures")
