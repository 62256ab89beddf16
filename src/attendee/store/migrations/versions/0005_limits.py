"""What limits are counted with."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

_UNFINISHED = sa.text("state NOT IN ('data_deleted', 'ended', 'fatal_error')")


def upgrade() -> None:
    op.create_table(
        "post_counts",
        sa.Column("project_id", sa.String(), nullable=False),
        sa.Column("minute", columns.UtcDateTime(), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_post_counts_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "minute", name=op.f("pk_post_counts")),
    )
    op.create_index(
        "ix_bots_unfinished", "bots", ["project_id", "state"], sqlite_where=_UNFINISHED, postgresql_where=_UNFINISHED
    )


def downgrade() -> None:
    op.drop_index("ix_bots_unfinished", "bots")
    op.drop_table("post_counts")
