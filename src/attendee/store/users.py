"""Those who sign in to the dashboard, and what they may do in which project."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import Invalid, NotAllowed, NotFound
from attendee.model import ProjectId, Role, UserId, new_id
from attendee.store import sessions
from attendee.store.account_tables import memberships, one_time_links, users
from attendee.store.projects import STANDING, Project
from attendee.store.tables import projects

# Whether a mailbox exists only its mail server knows; this keeps out what can be none.
_EMAIL = re.compile(r"[^@\s\x00-\x1f\x7f<>\"(),:;\\\[\]]{1,64}@[^@\s\x00-\x1f\x7f<>\"(),:;\\\[\]]+\.[^@\s.]+")
_EMAIL_CHARACTERS = 254
_LAST_OWNER = "This is the only owner who can sign in; make another one first."


@dataclass(frozen=True, slots=True)
class User:
    """A person. Without a password they have not opened their link yet; disabled they can't sign in."""

    id: UserId
    email: str
    password_hash: str | None
    is_owner: bool
    created_at: datetime
    disabled_at: datetime | None

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        return cls(**row._mapping)

    def __repr__(self) -> str:
        return f"User({self.id}, {self.email})"


@dataclass(frozen=True, slots=True)
class Member:
    """A user and their role in one project."""

    user: User
    role: Role


def read_email(text: str) -> str:
    """The address as it is kept. Raises Invalid."""
    email = text.strip().lower()
    if len(email) > _EMAIL_CHARACTERS or not _EMAIL.fullmatch(email):
        raise Invalid("email", "This is no e-mail address; ada@example.com is one.")
    return email


async def create(tx: AsyncConnection, email: str, *, is_owner: bool, now: datetime) -> User:
    """A user without a password, who needs a link to choose one. Raises Invalid for an e-mail that won't do."""
    user = User(UserId(new_id("user_")), read_email(email), None, is_owner, created_at=now, disabled_at=None)
    try:
        async with tx.begin_nested():
            await tx.execute(
                insert(users).values(id=user.id, email=user.email, is_owner=user.is_owner, created_at=user.created_at)
            )
    except IntegrityError:
        raise Invalid("email", f"There is a user with the e-mail {user.email} already.") from None
    return user


async def exist(tx: AsyncConnection) -> bool:
    return await tx.scalar(select(users.c.id).limit(1)) is not None


async def all_users(tx: AsyncConnection) -> Sequence[User]:
    """Every user, by e-mail."""
    return [User.from_row(row) for row in await tx.execute(select(users).order_by(users.c.email))]


async def find_by_email(tx: AsyncConnection, email: str) -> User | None:
    row = (await tx.execute(select(users).where(users.c.email == email))).one_or_none()
    return None if row is None else User.from_row(row)


async def get_by_email(tx: AsyncConnection, email: str) -> User:
    """The user. Raises Invalid for what is no e-mail, and NotFound."""
    user = await find_by_email(tx, read_email(email))
    if user is None:
        raise NotFound("User")
    return user


async def get(tx: AsyncConnection, user_id: str) -> User:
    """The user. Raises NotFound."""
    row = (await tx.execute(select(users).where(users.c.id == user_id))).one_or_none()
    if row is None:
        raise NotFound("User")
    return User.from_row(row)


async def set_password(tx: AsyncConnection, user_id: UserId, password_hash: str) -> None:
    """Replaces the password, ends every session and makes every link that could set another worthless."""
    await tx.execute(update(users).where(users.c.id == user_id).values(password_hash=password_hash))
    await tx.execute(delete(one_time_links).where(one_time_links.c.user_id == user_id))
    await sessions.end_all(tx, user_id)


async def disable(tx: AsyncConnection, user: User, *, now: datetime) -> None:
    """Lets the user in no more, at once. Raises NotAllowed for the last owner."""
    if user.is_owner:
        others = select(users.c.id).where(
            users.c.is_owner, users.c.id != user.id, users.c.disabled_at.is_(None), users.c.password_hash.is_not(None)
        )
        # Locked, so that two owners can't disable each other at the same time.
        if (await tx.execute(others.with_for_update())).first() is None:
            raise NotAllowed(_LAST_OWNER)
    await tx.execute(update(users).where(users.c.id == user.id).values(disabled_at=now))
    await tx.execute(delete(one_time_links).where(one_time_links.c.user_id == user.id))
    await sessions.end_all(tx, user.id)


async def enable(tx: AsyncConnection, user: User) -> None:
    await tx.execute(update(users).where(users.c.id == user.id).values(disabled_at=None))


async def role_in(tx: AsyncConnection, user: User, project_id: str) -> Role | None:
    """What the user may do in the project; None if they may not even know of it."""
    if user.is_owner:
        known = await tx.scalar(STANDING.where(projects.c.id == project_id))
        return None if known is None else Role.OWNER
    role = await tx.scalar(
        select(memberships.c.role).where(memberships.c.user_id == user.id, memberships.c.project_id == project_id)
    )
    return None if role is None else Role(role)


async def projects_of(tx: AsyncConnection, user: User) -> Sequence[Project]:
    """The projects that the user may see, by name."""
    query = STANDING.order_by(func.lower(projects.c.name), projects.c.id)
    if not user.is_owner:
        query = query.join(memberships, memberships.c.project_id == projects.c.id).where(
            memberships.c.user_id == user.id
        )
    return [Project.from_row(row) for row in await tx.execute(query)]


async def members_of(tx: AsyncConnection, project_id: ProjectId) -> Sequence[Member]:
    """The members of a project, by e-mail; owners are not among them."""
    rows = await tx.execute(
        select(users, memberships.c.role)
        .join(memberships, memberships.c.user_id == users.c.id)
        .where(memberships.c.project_id == project_id)
        .order_by(users.c.email)
    )
    return [Member(User(*row[:-1]), Role(row[-1])) for row in rows]


async def put_member(tx: AsyncConnection, user: User, *, project_id: ProjectId, role: Role, now: datetime) -> None:
    """Makes the user a member with this role, whatever they were before. Raises NotAllowed for an owner."""
    if user.is_owner:
        raise NotAllowed(f"{user.email} is an owner, who may do everything in every project already.")
    await remove_member(tx, user.id, project_id=project_id)
    await tx.execute(
        insert(memberships).values(user_id=user.id, project_id=project_id, role=role.value, created_at=now)
    )


async def remove_member(tx: AsyncConnection, user_id: str, *, project_id: ProjectId) -> None:
    await tx.execute(
        delete(memberships).where(memberships.c.user_id == user_id, memberships.c.project_id == project_id)
    )
