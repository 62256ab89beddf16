"""Bots that are launched."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "launches",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("bot_id", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("report_token", columns.SealedText(), nullable=False),
        sa.Column("reference", columns.Json(), nullable=True),
        sa.Column("host", sa.String(), nullable=True),
        sa.Column("is_leave_wanted", sa.Boolean(), nullable=False),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("give_up_at", columns.UtcDateTime(), nullable=True),
        sa.Column("created_at", columns.UtcDateTime(), nullable=False),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(state = 'calling_off') = (give_up_at IS NOT NULL)", name=op.f("ck_launches_calling_off_ends")
        ),
        sa.CheckConstraint("state IN ('wanted', 'taken', 'calling_off')", name=op.f("ck_launches_state_known")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_launches_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_launches")),
    )
    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_launches_bot_id"), ["bot_id"], unique=False)
        batch_op.create_index(
            "ix_launches_claimed",
            ["claimed_until", "id"],
            unique=False,
            postgresql_where=sa.text("claimed_until IS NOT NULL"),
            sqlite_where=sa.text("claimed_until IS NOT NULL"),
        )
        batch_op.create_index(
            "ix_launches_due",
            ["due_at", "id"],
            unique=False,
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.create_index(batch_op.f("ix_launches_project_id"), ["project_id"], unique=False)

    op.create_table(
        "bot_reports",
        sa.Column("bot_id", sa.String(), nullable=False),
        sa.Column("report_id", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["bot_id"], ["bots.id"], name=op.f("fk_bot_reports_bot_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("bot_id", "report_id", name=op.f("pk_bot_reports")),
    )
    with op.batch_alter_table("bots", schema=None) as batch_op:
        batch_op.add_column(sa.Column("joined_as", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("launch_id", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("report_token_hash", sa.String(), nullable=True))
        batch_op.add_column(sa.Column("reported_at", columns.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("asked_at", columns.UtcDateTime(), nullable=True))
        batch_op.add_column(sa.Column("remote_id", sa.String(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("bots", schema=None) as batch_op:
        batch_op.drop_column("remote_id")
        batch_op.drop_column("asked_at")
        batch_op.drop_column("reported_at")
        batch_op.drop_column("report_token_hash")
        batch_op.drop_column("launch_id")
        batch_op.drop_column("joined_as")

    op.drop_table("bot_reports")
    with op.batch_alter_table("launches", schema=None) as batch_op:
        batch_op.drop_index(batch_op.f("ix_launches_project_id"))
        batch_op.drop_index(
            "ix_launches_due",
            postgresql_where=sa.text("due_at IS NOT NULL"),
            sqlite_where=sa.text("due_at IS NOT NULL"),
        )
        batch_op.drop_index(
            "ix_launches_claimed",
            postgresql_where=sa.text("claimed_until IS NOT NULL"),
            sqlite_where=sa.text("claimed_until IS NOT NULL"),
        )
        batch_op.drop_index(batch_op.f("ix_launches_bot_id"))

    op.drop_table("launches")
