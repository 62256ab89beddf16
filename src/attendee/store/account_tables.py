"""The tables of those who sign in to the dashboard."""

from sqlalchemy import Boolean, CheckConstraint, Column, ForeignKey, Integer, String, Table, Text

from attendee.model import LinkPurpose, Role
from attendee.store.columns import UtcDateTime, one_of
from attendee.store.tables import metadata, projects

users = Table(
    "users",
    metadata,
    Column("id", String, primary_key=True),
    # In lower case, so that nobody is two people.
    Column("email", String, nullable=False, unique=True),
    # Null until the person has opened their link and chosen a password.
    Column("password_hash", Text),
    Column("is_owner", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("disabled_at", UtcDateTime),
)

memberships = Table(
    "memberships",
    metadata,
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), primary_key=True),
    Column("project_id", ForeignKey(projects.c.id, ondelete="CASCADE"), primary_key=True, index=True),
    Column("role", String, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Owners need no membership.
    CheckConstraint(f"role IN ('{Role.ADMIN}', '{Role.VIEWER}')", name="role_known"),
)

sessions = Table(
    "sessions",
    metadata,
    # The SHA-256 of 256 random bits, which only the browser has.
    Column("token_hash", String, primary_key=True),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), nullable=False, index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("last_used_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
)

one_time_links = Table(
    "one_time_links",
    metadata,
    Column("token_hash", String, primary_key=True),
    Column("purpose", String, nullable=False),
    Column("user_id", ForeignKey(users.c.id, ondelete="CASCADE"), index=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime, nullable=False),
    one_of("purpose", LinkPurpose),
    CheckConstraint("(purpose = 'first_owner') = (user_id IS NULL)", name="user_known"),
)

# How often somebody has failed to sign in: under an e-mail address, and from a network address.
sign_in_failures = Table(
    "sign_in_failures",
    metadata,
    Column("counted", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("since", UtcDateTime, nullable=False, index=True),
)
