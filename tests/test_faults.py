"""Databases that are full, read-only, restarted or slow, and clocks that jump: delay, and nothing lost."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
import structlog
from sqlalchemy import delete

from attendee.model import CalendarState, Trigger
from attendee.sandbox.faults import FaultKind
from attendee.store import claims, tables
from attendee.store.database import TROUBLE, is_away
from tests.api.serving import Served, served
from tests.conftest import PostgresqlCluster
from tests.installation import START, Installation, installation

_LINK = "https://meet.google.com/abc-defg-hij"
_NOTHING_LEFT = "RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'"

Fault = Callable[[Installation, PostgresqlCluster | None], AbstractAsyncContextManager[None]]


@pytest.fixture
async def here(database_url: str) -> AsyncGenerator[Installation]:
    async with installation(database_url) as here:
        yield here


@pytest.fixture
def url(kind: str, request: pytest.FixtureRequest) -> str:
    found: str = request.getfixturevalue(f"{kind}_url")
    return found


@asynccontextmanager
async def full(here: Installation | Served, cluster: PostgresqlCluster | None) -> AsyncGenerator[None]:
    """No event fits in any more; PostgreSQL says so as it does when its disk is full."""
    if cluster is None:
        pages = await _on_writer(here, "PRAGMA page_count")
        await _on_writer(here, f"PRAGMA max_page_count = {pages}")
        yield
        await _on_writer(here, "PRAGMA max_page_count = 1000000")
        return
    name = await _on_writer(here, "SELECT current_database()")
    await asyncio.to_thread(
        cluster.execute,
        f"CREATE FUNCTION is_full() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {_NOTHING_LEFT}; END$$;"
        "CREATE TRIGGER is_full BEFORE INSERT OR UPDATE ON events EXECUTE FUNCTION is_full()",
        database=name,
    )
    yield
    await asyncio.to_thread(cluster.execute, "DROP FUNCTION is_full() CASCADE", database=name)


@asynccontextmanager
async def read_only(here: Installation | Served, cluster: PostgresqlCluster | None) -> AsyncGenerator[None]:
    """As a standby is that was not promoted, or a disk that was mounted again after an error."""
    if cluster is None:
        await _on_writer(here, "PRAGMA query_only = ON")
        yield
        await _on_writer(here, "PRAGMA query_only = OFF")
        return
    name = await _on_writer(here, "SELECT current_database()")
    await asyncio.to_thread(cluster.execute, f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    await here.database.engine.dispose()
    yield
    await asyncio.to_thread(cluster.execute, f'ALTER DATABASE "{name}" RESET default_transaction_read_only')
    await here.database.engine.dispose()


@asynccontextmanager
async def stopped(_: Installation | Served, cluster: PostgresqlCluster | None) -> AsyncGenerator[None]:
    """The plug is pulled, and put in again later."""
    assert cluster is not None, "a file can't be stopped"
    # This cluster need not have written what was committed; one that matters has.
    await asyncio.to_thread(cluster.execute, "CHECKPOINT")
    await asyncio.to_thread(cluster.stop, "immediate")
    yield
    await asyncio.to_thread(cluster.start)


@pytest.mark.parametrize(
    ("kind", "fault"),
    [("sqlite", full), ("sqlite", read_only), ("postgresql", full), ("postgresql", read_only), ("postgresql", stopped)],
)
async def test_trouble_with_the_database_costs_delay_only(
    url: str, kind: str, fault: Fault, request: pytest.FixtureRequest
) -> None:
    """What a sync could not store it stores later, whole: events, bots and webhooks, and each webhook once."""
    cluster = request.getfixturevalue("postgresql_cluster") if kind == "postgresql" else None
    async with installation(url) as here:
        await _sync_through(here, fault(here, cluster))


async def _sync_through(here: Installation, trouble_meanwhile: AbstractAsyncContextManager[None]) -> None:
    await here.subscribe()
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=2), location=_LINK)
    calendar = await here.sync((await here.connect(ana)).id)
    bot = await here.order_bot((await here.events(calendar.id))["meeting"])
    await _forget_deliveries(here)
    ana.primary.move("meeting", starts=START + timedelta(days=3))
    for number in range(60):
        ana.primary.put(f"new{number}", starts=START + timedelta(days=4), description="A long text. " * 300)

    async with trouble_meanwhile:
        with pytest.raises(TROUBLE) as trouble:
            await here.sync(calendar.id)
        assert is_away(trouble.value)

    (waiting,) = await here.rows(tables.bots)
    assert waiting.join_at == bot.join_at
    assert await here.told(Trigger.CALENDAR_EVENTS_UPDATE) == []
    # The claim of the sync that died ends by itself.
    here.clock.advance(claims.LEASE)
    healed = await here.sync(calendar.id)
    assert (healed.state, healed.attempts) == (CalendarState.CONNECTED, 0)
    assert len(await here.events(calendar.id)) == 61
    (moved,) = await here.rows(tables.bots)
    assert moved.join_at == START + timedelta(days=3)
    assert len(await here.told(Trigger.CALENDAR_EVENTS_UPDATE)) == 1


async def test_a_slow_database_is_waited_for(here: Installation) -> None:
    """Somebody else holds the tables for a while: the sync goes on where it was."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=2))
    calendar = await here.connect(ana)
    claimed = await here.claim(calendar.id)
    async with here.database.transaction() as tx:
        if not here.database.is_sqlite:
            await tx.exec_driver_sql("LOCK TABLE calendars, events IN ACCESS EXCLUSIVE MODE")
        syncing = asyncio.create_task(here.pipeline.sync_calendar(claimed))
        _, waits = await asyncio.wait({syncing}, timeout=0.2)
        assert waits
    await syncing
    assert set(await here.events(calendar.id)) == {"meeting"}


async def test_nothing_is_acknowledged_that_is_not_stored(database_url: str, request: pytest.FixtureRequest) -> None:
    """While nothing can be written a request is answered with 500 and an error's id, and what is read is read."""
    async with served(database_url) as api:
        cluster = None if api.database.is_sqlite else request.getfixturevalue("postgresql_cluster")
        new = {"bot_name": "Notes", "meeting_url": _LINK, "join_at": (api.clock() + timedelta(days=1)).isoformat()}
        async with read_only(api, cluster):
            with structlog.testing.capture_logs() as logs:
                refused = await api.client.post("/bots", new)
            assert (refused.status, set(refused.json)) == (500, {"error", "error_id"})
            assert [entry["error_id"] for entry in logs if "error_id" in entry] == [refused.json["error_id"]]
            assert (await api.client.get("/bots")).json["results"] == []
        assert (await api.client.post("/bots", new)).status == 201
        assert len((await api.client.get("/bots")).json["results"]) == 1


@pytest.mark.parametrize("platform", ["google", "microsoft"])
@pytest.mark.parametrize(
    "kind", [FaultKind.NOT_JSON, FaultKind.TRUNCATED, FaultKind.WRONG_TYPES, FaultKind.THROTTLED, FaultKind.RESET]
)
async def test_an_hour_of_trouble_at_the_platform_heals(sqlite_url: str, platform: str, kind: FaultKind) -> None:
    """The calendar stays connected, its bots stay, and an hour after the trouble at the latest it is in step again."""
    async with installation(sqlite_url) as here:
        await here.subscribe()
        ana = here.world.add_person("ana@acme.example", platform=platform)
        entry = ana.primary.put(starts=START + timedelta(days=2), location=_LINK)
        calendar = await here.sync((await here.connect(ana)).id)
        (event,) = (await here.events(calendar.id)).values()
        await here.order_bot(event)
        await _forget_deliveries(here)
        here.world.faults.switch_on(ana.email, kind)
        ana.primary.move(entry.id, starts=START + timedelta(days=3))
        began = here.clock()
        while here.clock() < began + timedelta(hours=1):
            calendar = await here.sync_when_due(calendar.id)
            assert calendar.state is CalendarState.CONNECTED
        here.world.faults.switch_off()
        ended = here.clock()
        healed = await here.sync_when_due(calendar.id)
        assert (healed.last_error, healed.attempts) == (None, 0)
        assert here.clock() <= ended + timedelta(hours=1, minutes=15)
        (bot,) = await here.rows(tables.bots)
        assert bot.join_at == START + timedelta(days=3)
        assert len(await here.told(Trigger.CALENDAR_EVENTS_UPDATE)) == 1
        assert await here.told(Trigger.CALENDAR_STATE_CHANGE) == []


async def test_a_clock_that_jumps_loses_nothing(here: Installation) -> None:
    """Back by hours and forth again, between two syncs and in the middle of one: every change comes, stamped later."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=2))
    calendar = await here.sync((await here.connect(ana)).id)
    stamps = [(await here.events(calendar.id))["meeting"].updated_at]
    for hours in (-5, 9, -26, 30, -3):
        here.clock.advance(timedelta(hours=hours))
        ana.primary.edit("meeting", title=f"After {hours}")
        await here.sync(calendar.id)
        stored = (await here.events(calendar.id))["meeting"]
        assert stored.name == f"After {hours}"
        stamps.append(stored.updated_at)
    assert stamps == sorted(set(stamps))

    # Claimed by a clock that was ahead, by a worker that died: it is free again when that clock would have said so.
    here.clock.advance(timedelta(hours=2))
    await here.claim(calendar.id)
    here.clock.advance(timedelta(hours=-2))
    ana.primary.edit("meeting", title="In the end")
    here.clock.advance(timedelta(hours=2) + claims.LEASE)
    await here.sync(calendar.id)
    assert (await here.events(calendar.id))["meeting"].name == "In the end"


async def _forget_deliveries(here: Installation) -> None:
    async with here.database.transaction() as tx:
        await tx.execute(delete(tables.deliveries))


async def _on_writer(its: Installation | Served, statement: str) -> Any:
    """What a statement gives first on the connection that writes, outside of any transaction."""
    async with its.database.engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        if its.database.is_sqlite:
            async with driver.execute(statement) as cursor:
                row = await cursor.fetchone()
                return None if row is None else row[0]
        return await driver.fetchval(statement)
