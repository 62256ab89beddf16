"""Push channels as rows: wanted, live, stopping, and the platform's messages that come through them."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

import orjson
from sqlalchemy import Row, case, delete, insert, literal, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, CalendarState, ChannelId, ChannelState, Credentials, Platform, ProjectId, new_id
from attendee.store import claims
from attendee.store.calendars import Calendar
from attendee.store.columns import KeyRing, Sealed, UtcDateTime
from attendee.store.database import wake_after_commit
from attendee.store.tables import calendars, channels

# A platform that can't be told to stop forgets the channel by itself; what was kept to tell it is dropped by then.
_STOP_WITHIN = timedelta(hours=24)


@dataclass(frozen=True, slots=True)
class Channel:
    """One push channel, as stored. `calendar_id` is None once the calendar was deleted."""

    id: ChannelId
    project_id: ProjectId
    platform: Platform
    client_id: str
    calendar_id: CalendarId | None
    state: ChannelState
    platform_channel_id: str | None
    resource_id: str | None
    secret: Sealed | None
    expires_at: datetime | None
    credentials: Sealed | None
    last_error: str | None
    give_up_at: datetime | None
    created_at: datetime
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        values = dict(row._mapping)
        values["platform"] = Platform(values["platform"])
        values["state"] = ChannelState(values["state"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class StopWith:
    """What a channel is stopped with when its calendar can't help any more: a token, or credentials to get one."""

    access_token: str | None
    credentials: Credentials | None

    def __repr__(self) -> str:
        return "StopWith(***)"


async def want(tx: AsyncConnection, calendar: Calendar, *, now: datetime) -> None:
    """Lets a channel be opened for the calendar, unless it has one or is about to."""
    insert_here = sqlite_insert if tx.dialect.name == "sqlite" else postgresql_insert
    await tx.execute(
        insert_here(channels)
        .values(
            id=new_id("chn_"),
            project_id=calendar.project_id,
            platform=calendar.platform.value,
            client_id=calendar.client_id,
            calendar_id=calendar.id,
            state=ChannelState.WANTED.value,
            created_at=now,
            due_at=now,
        )
        .on_conflict_do_nothing()
    )
    wake_after_commit(tx, channels.name)


async def find_named(
    tx: AsyncConnection, platform: Platform, platform_channel_ids: Collection[str]
) -> dict[str, Channel]:
    """The channels that a platform's messages name, by its names; those that are not ours (any more) are left out."""
    if not platform_channel_ids:
        return {}
    rows = await tx.execute(
        select(channels).where(
            channels.c.platform_channel_id.in_(platform_channel_ids), channels.c.platform == platform.value
        )
    )
    return {row.platform_channel_id: Channel.from_row(row) for row in rows}


def open_secret(key_ring: KeyRing, channel: Channel) -> str:
    """The secret that the platform's messages must carry. Raises WrongKey."""
    assert channel.secret is not None, "a channel that has a name has a secret"
    return key_ring.open(channel.secret, table=channels.name, column="secret", row_id=channel.id)


async def notice_push(tx: AsyncConnection, calendar_id: CalendarId, *, debounce: timedelta, now: datetime) -> None:
    """A message came: the calendar is looked at now, or when `debounce` has passed since it was looked at last.

    One that rests by its platform's word stays out of the front of the queue until that has passed.
    """
    columns = calendars.c
    stored = await tx.execute(
        select(columns.last_attempted_sync_at, columns.claim_id, columns.claimed_until).where(columns.id == calendar_id)
    )
    row = stored.one_or_none()
    if row is None:
        return
    soon = now if row.last_attempted_sync_at is None else max(now, row.last_attempted_sync_at + debounce)
    if row.claim_id is None and row.claimed_until is not None:
        soon = max(soon, row.claimed_until)
    await tx.execute(
        update(calendars)
        .where(calendars.c.id == calendar_id, calendars.c.state == CalendarState.CONNECTED.value)
        .values(
            due_at=case((calendars.c.due_at < soon, calendars.c.due_at), else_=literal(soon, UtcDateTime)),
            wakes=calendars.c.wakes + 1,
            looks_after_push=0,
        )
    )
    wake_after_commit(tx, calendars.name)


async def settle_open(
    tx: AsyncConnection,
    channel: Channel,
    *,
    platform_channel_id: str,
    resource_id: str | None,
    secret: str,
    expires_at: datetime,
    renew_at: datetime,
    key_ring: KeyRing,
) -> None:
    """Ends the opening or renewing of a channel: live until `expires_at`. Raises ClaimLost."""
    assert channel.calendar_id is not None, "only a calendar's channel is opened"
    # The calendar first, as everywhere: a request that deletes it locks it before its channels.
    await tx.execute(update(calendars).where(calendars.c.id == channel.calendar_id).values(push_until=expires_at))
    await _settle(
        tx,
        channel,
        next_due_at=renew_at,
        succeeded=True,
        values={
            "state": ChannelState.LIVE.value,
            "platform_channel_id": platform_channel_id,
            "resource_id": resource_id,
            "secret": _seal(key_ring, channel.id, "secret", secret),
            "expires_at": expires_at,
            "last_error": None,
        },
    )


async def settle_trouble(tx: AsyncConnection, channel: Channel, *, error: str | None, next_due_at: datetime) -> None:
    """Ends an attempt that failed, or got no answer worth keeping; tried again at `next_due_at`. Raises ClaimLost."""
    values: dict[str, Any] = {} if error is None else {"last_error": error}
    await _settle(tx, channel, next_due_at=next_due_at, succeeded=False, values=values)


async def forget(tx: AsyncConnection, channel: Channel) -> None:
    """Drops a claimed channel that has ended, or that nobody wants any more, with the secrets it kept.

    One that has been given something else to do meanwhile stays.
    """
    await tx.execute(delete(channels).where(channels.c.id == channel.id, channels.c.claim_id == channel.claim_id))


async def lose(tx: AsyncConnection, calendar_id: CalendarId) -> None:
    """The platform has dropped the calendar's channel: it is polled until there is another."""
    await tx.execute(update(calendars).where(calendars.c.id == calendar_id).values(push_until=None))


async def reopen(tx: AsyncConnection, channel: Channel, *, now: datetime) -> None:
    """The platform has dropped this channel: another is wanted now, and until then the calendar is polled."""
    if channel.calendar_id is None or channel.state is ChannelState.STOPPING:
        return
    await lose(tx, channel.calendar_id)
    await tx.execute(
        update(channels)
        .where(channels.c.id == channel.id, channels.c.state == ChannelState.LIVE.value)
        .values(state=ChannelState.WANTED.value, due_at=now, attempts=0, wakes=channels.c.wakes + 1)
    )
    wake_after_commit(tx, channels.name)


async def stop_listening(tx: AsyncConnection, *, now: datetime) -> None:
    """Platforms can't reach us any more, by the operator's word: every calendar is polled, its channel soon ended."""
    await tx.execute(update(calendars).where(calendars.c.push_until.is_not(None)).values(push_until=None))
    await tx.execute(
        update(channels)
        .where(channels.c.state != ChannelState.STOPPING.value)
        .values(due_at=now, wakes=channels.c.wakes + 1)
    )


async def stop_former(tx: AsyncConnection, channel: Channel, *, key_ring: KeyRing, now: datetime) -> None:
    """Lets the platform's channel that `channel` was until now be stopped, since a new one has taken its place."""
    former = ChannelId(new_id("chn_"))
    assert channel.calendar_id is not None, "only a calendar's channel is renewed"
    await tx.execute(
        insert(channels).values(
            id=former,
            project_id=channel.project_id,
            platform=channel.platform.value,
            client_id=channel.client_id,
            calendar_id=channel.calendar_id,
            state=ChannelState.STOPPING.value,
            platform_channel_id=channel.platform_channel_id,
            resource_id=channel.resource_id,
            secret=_seal(key_ring, former, "secret", open_secret(key_ring, channel)),
            give_up_at=now + _STOP_WITHIN,
            created_at=channel.created_at,
            due_at=now,
        )
    )
    wake_after_commit(tx, channels.name)


async def stop_all(
    tx: AsyncConnection, calendar: Calendar, stop_with: StopWith, *, key_ring: KeyRing, now: datetime
) -> None:
    """Lets every channel of a calendar that is lost or deleted be stopped, soon and for a day at most."""
    rows = (
        await tx.execute(
            select(channels.c.id, channels.c.state, channels.c.expires_at).where(channels.c.calendar_id == calendar.id)
        )
    ).all()
    for row in rows:
        if row.expires_at is None or row.expires_at <= now:
            await tx.execute(delete(channels).where(channels.c.id == row.id))
            continue
        packed = orjson.dumps(
            {
                "access_token": stop_with.access_token,
                "credentials": None if stop_with.credentials is None else _packed(stop_with.credentials),
            }
        ).decode()
        await tx.execute(
            update(channels)
            .where(channels.c.id == row.id)
            .values(
                state=ChannelState.STOPPING.value,
                credentials=_seal(key_ring, row.id, "credentials", packed),
                give_up_at=now + _STOP_WITHIN,
                due_at=now,
                wakes=channels.c.wakes + 1,
                attempts=0,
                # Whoever is renewing it now must not make it live again.
                claim_id=None,
                claimed_until=None,
            )
        )
    await tx.execute(update(calendars).where(calendars.c.id == calendar.id).values(push_until=None))
    wake_after_commit(tx, channels.name)


def open_stop_with(key_ring: KeyRing, channel: Channel) -> StopWith | None:
    """What was kept to stop the channel with; None while its calendar's own token is to be used. Raises WrongKey."""
    if channel.credentials is None:
        return None
    opened = key_ring.open(channel.credentials, table=channels.name, column="credentials", row_id=channel.id)
    kept = orjson.loads(opened)
    return StopWith(kept["access_token"], Credentials(**kept["credentials"]) if kept["credentials"] else None)


def _packed(credentials: Credentials) -> dict[str, str]:
    return {
        "client_id": credentials.client_id,
        "client_secret": credentials.client_secret,
        "refresh_token": credentials.refresh_token,
    }


def _seal(key_ring: KeyRing, channel_id: ChannelId, column: str, secret: str) -> Sealed:
    return key_ring.seal(secret, table=channels.name, column=column, row_id=channel_id)


async def _settle(
    tx: AsyncConnection, channel: Channel, *, next_due_at: datetime, succeeded: bool, values: dict[str, Any]
) -> None:
    await claims.settle(
        tx,
        channels,
        row_id=channel.id,
        claim_id=channel.claim_id or "",
        wakes=channel.wakes,
        next_due_at=next_due_at,
        succeeded=succeeded,
        values=values,
    )
