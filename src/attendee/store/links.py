"""One-time links: whoever opens one may choose a password, once and not for long."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import LinkPurpose, UserId
from attendee.store import users
from attendee.store.account_tables import one_time_links
from attendee.store.columns import token_hash

# Long enough for an invitation that arrives before a weekend.
LASTS = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Link:
    """What an open link is good for; `user_id` is None for the first owner, who is nobody yet."""

    purpose: LinkPurpose
    user_id: UserId | None


async def for_first_owner(tx: AsyncConnection, *, now: datetime) -> str | None:
    """The secret of a link that makes whoever opens it the owner; None when there is a user already."""
    if await users.exist(tx):
        return None
    return await _add(tx, LinkPurpose.FIRST_OWNER, None, now=now)


async def for_password(tx: AsyncConnection, user_id: UserId, *, now: datetime) -> str:
    """The secret of a link with which the user chooses a password. Older links of theirs are worthless from now on."""
    await tx.execute(delete(one_time_links).where(one_time_links.c.user_id == user_id))
    return await _add(tx, LinkPurpose.PASSWORD, user_id, now=now)


async def find(tx: AsyncConnection, secret: str, *, now: datetime) -> Link | None:
    """What the link is good for; None if it is unknown, used or too old."""
    row = (
        await tx.execute(
            select(one_time_links.c.purpose, one_time_links.c.user_id).where(
                one_time_links.c.token_hash == token_hash(secret), one_time_links.c.expires_at > now
            )
        )
    ).one_or_none()
    if row is None:
        return None
    return Link(LinkPurpose(row.purpose), None if row.user_id is None else UserId(row.user_id))


async def use(tx: AsyncConnection, secret: str, *, now: datetime) -> Link | None:
    """Takes the link away; None if somebody has been faster, or it is too old.

    One link to ownership takes all of them with it, in one statement: two people can't both be the first.
    """
    link = await find(tx, secret, now=now)
    if link is None:
        return None
    gone = await tx.execute(
        delete(one_time_links)
        .where(
            one_time_links.c.purpose == link.purpose.value,
            one_time_links.c.user_id.is_(None) if link.user_id is None else one_time_links.c.user_id == link.user_id,
        )
        .returning(one_time_links.c.token_hash)
    )
    was_taken = token_hash(secret) not in gone.scalars().all()
    return None if was_taken or (link.user_id is None and await users.exist(tx)) else link


async def _add(tx: AsyncConnection, purpose: LinkPurpose, user_id: UserId | None, *, now: datetime) -> str:
    secret = secrets.token_urlsafe(32)
    await tx.execute(delete(one_time_links).where(one_time_links.c.expires_at <= now))
    await tx.execute(
        insert(one_time_links).values(
            token_hash=token_hash(secret),
            purpose=purpose.value,
            user_id=user_id,
            created_at=now,
            expires_at=now + LASTS,
        )
    )
    return secret
