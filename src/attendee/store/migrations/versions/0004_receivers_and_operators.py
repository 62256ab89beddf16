"""How receivers do, which deliveries share one, and which failures are the operator's."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import sqlalchemy as sa
from alembic import op

from attendee.store import columns

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("calendars", sa.Column("is_operators_fault", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("webhook_subscriptions", sa.Column("failing_since", columns.UtcDateTime(), nullable=True))
    op.add_column("webhook_subscriptions", sa.Column("pause_reason", sa.String(), nullable=True))
    op.add_column("webhook_subscriptions", sa.Column("paused_at", columns.UtcDateTime(), nullable=True))
    op.add_column("deliveries", sa.Column("host", sa.String(), nullable=False, server_default=""))
    deliveries = sa.table("deliveries", sa.column("url"), sa.column("host"))
    connection = op.get_bind()
    for url in connection.scalars(sa.select(deliveries.c.url).distinct()).all():
        connection.execute(deliveries.update().where(deliveries.c.url == url).values(host=_host(url)))


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def downgrade() -> None:
    op.drop_column("deliveries", "host")
    op.drop_column("webhook_subscriptions", "paused_at")
    op.drop_column("webhook_subscriptions", "pause_reason")
    op.drop_column("webhook_subscriptions", "failing_since")
    op.drop_column("calendars", "is_operators_fault")
