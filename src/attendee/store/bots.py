"""Bots as rows: made, read, changed, moved by their events, ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import NotAllowed, NotFound
from attendee.model import BotEventType, BotId, BotState, CalendarId, EventId, ProjectId, new_id
from attendee.store import tables
from attendee.store.database import wake_after_commit

_DUPLICATE_KEY = (
    "Deduplication key already in use: a bot of this project that has not finished has it. "
    "Use another key, or wait until that bot has ended."
)


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot, as stored. `join_at` is None only for one that was asked to join at once."""

    id: BotId
    project_id: ProjectId
    event_id: EventId | None
    calendar_id: CalendarId | None
    name: str
    meeting_url: str | None
    join_at: datetime | None
    state: BotState
    deduplication_key: str | None
    metadata: dict[str, Any] | None
    settings: dict[str, Any]
    recording_state: str
    transcription_state: str
    created_at: datetime
    updated_at: datetime
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        values = dict(row._mapping)
        values["state"] = BotState(values["state"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class BotEvent:
    """One step of a bot's life."""

    type: BotEventType
    sub_type: str | None
    metadata: dict[str, Any] | None
    created_at: datetime


@dataclass(frozen=True, slots=True)
class NewBot:
    """What `POST /bots` asks for, after its checks. `join_at` None joins now."""

    name: str
    meeting_url: str | None
    join_at: datetime | None
    event_id: EventId | None
    calendar_id: CalendarId | None
    deduplication_key: str | None
    metadata: dict[str, Any] | None
    settings: Mapping[str, Any]


async def create(tx: AsyncConnection, new: NewBot, *, state: BotState, project_id: ProjectId, now: datetime) -> Bot:
    """Stores a bot that falls due at `join_at`. Raises NotAllowed for a deduplication key that a live bot has."""
    try:
        async with tx.begin_nested():
            stored = await tx.execute(
                insert(tables.bots)
                .values(
                    id=new_id("bot_"),
                    project_id=project_id,
                    event_id=new.event_id,
                    calendar_id=new.calendar_id,
                    name=new.name,
                    meeting_url=new.meeting_url,
                    join_at=new.join_at,
                    state=state.value,
                    deduplication_key=new.deduplication_key,
                    metadata=new.metadata,
                    settings=dict(new.settings),
                    recording_state="not_started",
                    transcription_state="not_started",
                    created_at=now,
                    updated_at=now,
                    due_at=new.join_at or now,
                )
                .returning(*tables.bots.c)
            )
            row = stored.one()
    except IntegrityError:
        raise NotAllowed(_DUPLICATE_KEY) from None
    wake_after_commit(tx, tables.bots.name)
    return Bot.from_row(row)


async def get(tx: AsyncConnection, bot_id: str, *, project_id: ProjectId, for_update: bool = False) -> Bot:
    """The bot. Raises NotFound, for another project's too. `for_update` locks its row until the caller commits."""
    query = select(tables.bots).where(tables.bots.c.id == bot_id, tables.bots.c.project_id == project_id)
    if for_update:
        query = query.with_for_update(key_share=True)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Bot")
    return Bot.from_row(row)


async def waiting_for_events(
    tx: AsyncConnection, *, calendar_id: CalendarId, event_ids: Collection[EventId] | None
) -> Sequence[Bot]:
    """The scheduled bots of these events of a calendar, or of all its events for None, locked."""
    query = (
        select(tables.bots)
        .where(tables.bots.c.calendar_id == calendar_id, tables.bots.c.state == BotState.SCHEDULED.value)
        .with_for_update(key_share=True)
    )
    if event_ids is not None:
        query = query.where(tables.bots.c.event_id.in_(event_ids))
    return [Bot.from_row(row) for row in (await tx.execute(query)).all()]


async def change(tx: AsyncConnection, bot_id: BotId, *, values: Mapping[str, Any], now: datetime) -> Bot:
    """Stores the named columns; a new `join_at` of a scheduled bot is also when it falls due."""
    changed = dict(values)
    if "join_at" in changed:
        changed["due_at"] = changed["join_at"]
        changed["wakes"] = tables.bots.c.wakes + 1
        wake_after_commit(tx, tables.bots.name)
    stored = await tx.execute(
        update(tables.bots)
        .where(tables.bots.c.id == bot_id)
        .values(**changed, updated_at=now)
        .returning(*tables.bots.c)
    )
    return Bot.from_row(stored.one())


async def remove(tx: AsyncConnection, bot_id: BotId) -> None:
    """Deletes the bot: its deduplication key is free, its own subscriptions and the steps of its life are gone."""
    await tx.execute(delete(tables.bots).where(tables.bots.c.id == bot_id))


async def record_event(
    tx: AsyncConnection,
    bot_id: BotId,
    *,
    type: BotEventType,  # the contract's own name for it
    sub_type: str | None = None,
    metadata: dict[str, Any] | None = None,
    now: datetime,
) -> None:
    await tx.execute(
        insert(tables.bot_events).values(
            bot_id=bot_id, type=type.value, sub_type=sub_type, metadata=metadata, created_at=now
        )
    )


async def events_of(tx: AsyncConnection, bot_ids: Collection[str]) -> dict[str, list[BotEvent]]:
    """The steps of each bot's life, oldest first; bots without any are left out."""
    steps: dict[str, list[BotEvent]] = {}
    if not bot_ids:
        return steps
    columns = tables.bot_events.c
    rows = await tx.execute(
        select(columns.bot_id, columns.type, columns.sub_type, columns.metadata, columns.created_at)
        .where(columns.bot_id.in_(bot_ids))
        .order_by(columns.number)
    )
    for row in rows:
        step = BotEvent(BotEventType(row.type), row.sub_type, row.metadata, row.created_at)
        steps.setdefault(row.bot_id, []).append(step)
    return steps
