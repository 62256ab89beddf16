"""Upkeep: what is old is purged, what is deleted is removed bit by bit."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "upkeep",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("position", sa.String(), nullable=True),
        sa.Column("due_at", columns.UtcDateTime(), nullable=True),
        sa.Column("claim_id", sa.String(), nullable=True),
        sa.Column("claimed_until", columns.UtcDateTime(), nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("wakes", sa.Integer(), server_default="0", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_upkeep")),
    )
    for name, column in (("due", "due_at"), ("claimed", "claimed_until")):
        kept = sa.text(f"{column} IS NOT NULL")
        op.create_index(f"ix_upkeep_{name}", "upkeep", [column, "id"], postgresql_where=kept, sqlite_where=kept)
    op.add_column("projects", sa.Column("deleted_at", columns.UtcDateTime(), nullable=True))
    op.add_column("deliveries", sa.Column("heard_at", columns.UtcDateTime(), nullable=True))


def downgrade() -> None:
    op.drop_column("deliveries", "heard_at")
    op.drop_column("projects", "deleted_at")
    op.drop_table("upkeep")
