"""What the database itself refuses, on both kinds: states that mean nothing, and keys that are taken."""

from collections.abc import AsyncIterator
from dataclasses import fields
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update
from sqlalchemy.exc import IntegrityError

from attendee.bots import following
from attendee.errors import Invalid, NotAllowed
from attendee.model import FINISHED_BOT_STATES, BotState
from attendee.store import bots, calendars, tables
from attendee.store.calendars import Calendar
from tests.installation import START, Installation, installation


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
async def calendar(here: Installation) -> Calendar:
    """A calendar with one event, one bot, one subscription and a delivery to it."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=1), location="https://meet.google.com/abc-defg-hij")
    await here.subscribe()
    connected = await here.connect(ana)
    synced = await here.sync(connected.id)
    await here.order_bot((await here.events(connected.id))["meeting"])
    return synced


@pytest.mark.parametrize(
    ("table", "impossible"),
    [
        (tables.calendars, {"state": "connecting"}),
        (tables.calendars, {"platform": "yahoo"}),
        (tables.calendars, {"state": "disconnected"}),
        (tables.calendars, {"connection_failure_data": {"code": "consent_revoked"}}),
        (tables.calendars, {"access_token": None}),
        (tables.calendars, {"listed_until": None}),
        (tables.events, {"end_time": START}),
        (tables.events, {"start_date": START.date()}),
        (tables.bots, {"state": "lost"}),
        (tables.deliveries, {"state": "delivered"}),
        (tables.deliveries, {"finished_at": START}),
        (tables.deliveries, {"state": "failed", "finished_at": START}),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else "+".join(value),
)
async def test_impossible_rows_can_not_be_stored(
    here: Installation, calendar: Calendar, table: Any, impossible: dict[str, Any]
) -> None:
    """A state that nobody knows, or one that its other columns contradict, whatever the code above says."""
    assert len(await here.rows(table)) == 1
    async with here.database.transaction() as tx:
        with pytest.raises(IntegrityError):
            async with tx.begin_nested():
                await tx.execute(update(table).values(**impossible))


@pytest.mark.parametrize("outcome", [{"status": 200, "error": "Nothing came."}, {"status": None, "error": None}])
async def test_an_attempt_was_answered_or_not(here: Installation, calendar: Calendar, outcome: dict[str, Any]) -> None:
    """Never both, never neither."""
    (delivery,) = await here.rows(tables.deliveries)
    attempt = {"delivery_id": delivery.id, "started_at": START, "milliseconds": 5}
    async with here.database.transaction() as tx:
        with pytest.raises(IntegrityError):
            async with tx.begin_nested():
                await tx.execute(insert(tables.delivery_attempts).values(**attempt, **outcome))


@pytest.mark.parametrize("state", sorted(set(BotState) - FINISHED_BOT_STATES))
async def test_a_live_bot_has_its_deduplication_key_alone(
    here: Installation, calendar: Calendar, state: BotState
) -> None:
    """Whatever it is doing, a second one under its key is refused, and the transaction can go on."""
    event = (await here.events(calendar.id))["meeting"]
    await here.order_bot(event, state=state, deduplication_key="key")
    with pytest.raises(NotAllowed, match="Deduplication key already in use"):
        await here.order_bot(event, deduplication_key="key")
    await here.order_bot(event, deduplication_key="another")


@pytest.mark.parametrize("state", sorted(FINISHED_BOT_STATES))
async def test_a_finished_bot_gives_its_deduplication_key_back(
    here: Installation, calendar: Calendar, state: BotState
) -> None:
    """Many may have finished under one key, one may live."""
    event = (await here.events(calendar.id))["meeting"]
    for _ in range(3):
        bot = await here.order_bot(event, deduplication_key="key")
        async with here.database.transaction() as tx:
            await bots.change(tx, bot.id, values={"state": state.value}, now=here.clock())
    await here.order_bot(event, deduplication_key="key")


async def test_bots_without_a_key_are_never_duplicates(here: Installation, calendar: Calendar) -> None:
    """Two bots in one meeting are somebody's wish."""
    event = (await here.events(calendar.id))["meeting"]
    await here.order_bot(event)
    await here.order_bot(event)


async def test_a_calendars_deduplication_key_is_its_projects(here: Installation, calendar: Calendar) -> None:
    """A second calendar under it is refused."""
    ben = here.world.add_person("ben@acme.example")
    await here.connect(ben, deduplication_key="ben")
    with pytest.raises(Invalid) as refused:
        await here.connect(ben, deduplication_key="ben")
    assert refused.value.field == "deduplication_key"


def test_a_calendar_is_read_column_by_column() -> None:
    assert [attribute.name for attribute in fields(Calendar)] == [column.name for column in tables.calendars.c]


async def test_a_removed_calendar_leaves_no_trace(here: Installation, calendar: Calendar) -> None:
    """Events, waiting bots, history and deliveries go; a bot in a meeting stays, without an event."""
    event = (await here.events(calendar.id))["meeting"]
    joining = await here.order_bot(event, state=BotState.JOINING)
    async with here.database.transaction() as tx:
        await following.delete_waiting(tx, calendar.id, reason="calendar_deleted", now=here.clock())
        await calendars.remove(tx, calendar)
    kinds = (tables.calendars, tables.events, tables.platform_calendars, tables.activity, tables.deliveries)
    for table in kinds:
        assert await here.rows(table) == []
    (left,) = await here.rows(tables.bots)
    assert (left.id, left.event_id) == (joining.id, None)
