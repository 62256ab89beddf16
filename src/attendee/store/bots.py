"""Bots as rows: made, read, changed, moved by their events, ended."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self

from sqlalchemy import Row, delete, insert, not_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import NotAllowed, NotFound
from attendee.model import (
    FINISHED_BOT_STATES,
    BotEventType,
    BotId,
    BotState,
    CalendarId,
    EventId,
    LaunchId,
    ProjectId,
    RecordingState,
    TranscriptionState,
    new_id,
)
from attendee.store import tables
from attendee.store.database import wake_after_commit
from attendee.store.limits import check_room

_DUPLICATE_KEY = (
    "Deduplication key already in use: a bot of this project that has not finished has it. "
    "Use another key, or wait until that bot has ended."
)


@dataclass(frozen=True, slots=True)
class Bot:
    """One bot, as stored. `join_at` is None only for one that was asked to join at once.

    `launch_id` names what the runner has been told of it, or is about to be; None while that is nothing.
    """

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
    recording_state: RecordingState
    transcription_state: TranscriptionState
    joined_as: BotState | None
    launch_id: LaunchId | None
    report_token_hash: str | None
    reported_at: datetime | None
    asked_at: datetime | None
    remote_id: str | None
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
        values["joined_as"] = None if values["joined_as"] is None else BotState(values["joined_as"])
        values["recording_state"] = RecordingState(values["recording_state"])
        values["transcription_state"] = TranscriptionState(values["transcription_state"])
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


async def check_quota(tx: AsyncConnection, project_id: ProjectId, *, most: int | None) -> None:
    """Raises NotAllowed if the project has as many bots that have not finished as it may have."""
    finished = sorted(state.value for state in FINISHED_BOT_STATES)
    present = select(tables.bots.c.id).where(
        tables.bots.c.project_id == project_id, not_(tables.bots.c.state.in_(finished))
    )
    await check_room(tx, present, project_id=project_id, most=most, what="bots that have not finished")


async def create(
    tx: AsyncConnection,
    new: NewBot,
    *,
    bot_id: BotId,
    state: BotState,
    project_id: ProjectId,
    due_at: datetime,
    now: datetime,
) -> Bot:
    """Stores a bot. Raises NotAllowed for a deduplication key that a live bot has."""
    try:
        async with tx.begin_nested():
            stored = await tx.execute(
                insert(tables.bots)
                .values(
                    id=bot_id,
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
                    recording_state=RecordingState.NOT_STARTED.value,
                    transcription_state=TranscriptionState.NOT_STARTED.value,
                    created_at=now,
                    updated_at=now,
                    due_at=due_at,
                )
                .returning(*tables.bots.c)
            )
            row = stored.one()
    except IntegrityError:
        raise NotAllowed(_DUPLICATE_KEY) from None
    wake_after_commit(tx, tables.bots.name)
    return Bot.from_row(row)


def new_bot_id() -> BotId:
    return BotId(new_id("bot_"))


async def get(tx: AsyncConnection, bot_id: str, *, project_id: ProjectId, for_update: bool = False) -> Bot:
    """The bot. Raises NotFound, for another project's too. `for_update` locks its row until the caller commits."""
    query = select(tables.bots).where(tables.bots.c.id == bot_id, tables.bots.c.project_id == project_id)
    if for_update:
        query = query.with_for_update(key_share=True)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Bot")
    return Bot.from_row(row)


async def find(tx: AsyncConnection, bot_id: str) -> Bot | None:
    """The bot of whatever project; None if it is gone."""
    row = (await tx.execute(select(tables.bots).where(tables.bots.c.id == bot_id))).one_or_none()
    return None if row is None else Bot.from_row(row)


async def lock(tx: AsyncConnection, bot_id: str) -> Bot | None:
    """The bot of whatever project, its row locked until the caller commits; None if it is gone."""
    query = select(tables.bots).where(tables.bots.c.id == bot_id).with_for_update(key_share=True)
    row = (await tx.execute(query)).one_or_none()
    return None if row is None else Bot.from_row(row)


async def waiting_for_events(
    tx: AsyncConnection,
    *,
    calendar_id: CalendarId,
    event_ids: Collection[EventId] | None,
    states: Collection[BotState],
) -> Sequence[Bot]:
    """The bots in these states of these events of a calendar, or of all its events for None, locked."""
    query = (
        select(tables.bots)
        .where(tables.bots.c.calendar_id == calendar_id, tables.bots.c.state.in_([state.value for state in states]))
        .with_for_update(key_share=True)
    )
    if event_ids is not None:
        query = query.where(tables.bots.c.event_id.in_(event_ids))
    return [Bot.from_row(row) for row in (await tx.execute(query)).all()]


async def change(tx: AsyncConnection, bot_id: BotId, *, values: Mapping[str, Any], now: datetime) -> Bot:
    """Stores the named columns. With a `due_at` among them, whoever has the bot claimed leaves it to fall due then."""
    changed = dict(values)
    if "due_at" in changed:
        changed["wakes"] = tables.bots.c.wakes + 1
        wake_after_commit(tx, tables.bots.name)
    stored = await tx.execute(
        update(tables.bots)
        .where(tables.bots.c.id == bot_id)
        .values(**changed, updated_at=now)
        .returning(*tables.bots.c)
    )
    return Bot.from_row(stored.one())


async def hear(tx: AsyncConnection, bot_id: BotId, *, due_at: datetime | None, now: datetime) -> None:
    """Notes that the bot has reported: it is given up at `due_at` if it says nothing more."""
    await tx.execute(
        update(tables.bots)
        .where(tables.bots.c.id == bot_id)
        .values(reported_at=now, attempts=0, due_at=due_at, wakes=tables.bots.c.wakes + 1)
    )


async def record_report(tx: AsyncConnection, bot_id: BotId, report_id: str) -> bool:
    """Notes a report by the id that its bot gave it; False if it was taken in before. The bot is locked."""
    reports = tables.bot_reports
    same = (reports.c.bot_id == bot_id, reports.c.report_id == report_id)
    if await tx.scalar(select(reports.c.bot_id).where(*same)) is not None:
        return False
    await tx.execute(insert(reports).values(bot_id=bot_id, report_id=report_id))
    return True


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
