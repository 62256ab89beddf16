"""Who is signed in, and how often somebody has failed to."""

import secrets
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import ColumnElement, case, delete, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import UserId
from attendee.store.account_tables import sessions, sign_in_failures
from attendee.store.columns import UtcDateTime, token_hash

# A browser that is not used for a week, or a month old, has to sign in again.
LASTS = timedelta(days=30)
_IDLE = timedelta(days=7)
# One write an hour instead of one a page.
_USE_RECORDED_EVERY = timedelta(hours=1)

FAILURES_WITHIN = timedelta(minutes=15)
# Enough for whoever mistypes, too few to guess with. Many people may share the address of one office.
_MOST_FOR_EMAIL = 10
_MOST_FROM_ADDRESS = 100


async def begin(tx: AsyncConnection, user_id: UserId, *, now: datetime) -> str:
    """A new session; what is given back is the secret that only the browser keeps."""
    token = secrets.token_urlsafe(32)
    await tx.execute(delete(sessions).where(_is_over(now)))
    await tx.execute(
        insert(sessions).values(
            token_hash=token_hash(token), user_id=user_id, created_at=now, last_used_at=now, expires_at=now + LASTS
        )
    )
    return token


async def find_user_id(tx: AsyncConnection, token: str, *, now: datetime) -> tuple[UserId, bool] | None:
    """Whose session it is, and whether its use should be recorded; None if it is unknown or over."""
    row = (
        await tx.execute(
            select(sessions.c.user_id, sessions.c.last_used_at).where(
                sessions.c.token_hash == token_hash(token), ~_is_over(now)
            )
        )
    ).one_or_none()
    return None if row is None else (UserId(row.user_id), now - row.last_used_at >= _USE_RECORDED_EVERY)


async def record_use(tx: AsyncConnection, token: str, *, now: datetime) -> None:
    await tx.execute(update(sessions).where(sessions.c.token_hash == token_hash(token)).values(last_used_at=now))


async def end(tx: AsyncConnection, token: str) -> None:
    await tx.execute(delete(sessions).where(sessions.c.token_hash == token_hash(token)))


async def end_all(tx: AsyncConnection, user_id: UserId) -> None:
    """Signs the user out everywhere."""
    await tx.execute(delete(sessions).where(sessions.c.user_id == user_id))


async def may_try(tx: AsyncConnection, *, email: str, address: str, now: datetime) -> bool:
    """Whether one more attempt to sign in is allowed. It counts as failed until `forgive` is told otherwise.

    Counted in rows that are locked, so that a burst of attempts at once is counted whole.
    """
    await tx.execute(delete(sign_in_failures).where(sign_in_failures.c.since <= now - FAILURES_WITHIN))
    for_email = await _count(tx, _of_email(email), now=now)
    from_address = await _count(tx, f"address:{address}", now=now)
    return for_email <= _MOST_FOR_EMAIL and from_address <= _MOST_FROM_ADDRESS


async def forgive(tx: AsyncConnection, *, email: str) -> None:
    """Forgets the failures under an e-mail: its owner has signed in."""
    await tx.execute(delete(sign_in_failures).where(sign_in_failures.c.counted == _of_email(email)))


def _is_over(now: datetime) -> ColumnElement[bool]:
    return or_(sessions.c.expires_at <= now, sessions.c.last_used_at <= now - _IDLE)


def _of_email(email: str) -> str:
    # Hashed, for whatever people type into the field: it may be their password.
    return f"email:{sha256(email.encode()).hexdigest()}"


async def _count(tx: AsyncConnection, counted: str, *, now: datetime) -> int:
    table = sign_in_failures
    insert_here = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    is_old = table.c.since <= literal(now - FAILURES_WITHIN, UtcDateTime)
    statement = (
        insert_here(table)
        .values(counted=counted, failures=1, since=now)
        .on_conflict_do_update(
            index_elements=[table.c.counted],
            set_={
                "failures": case((is_old, 1), else_=table.c.failures + 1),
                "since": case((is_old, literal(now, UtcDateTime)), else_=table.c.since),
            },
        )
        .returning(table.c.failures)
    )
    return int((await tx.execute(statement)).scalar_one())
