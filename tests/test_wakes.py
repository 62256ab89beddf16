"""Processes on one PostgreSQL wake each other: after the commit, many wake-ups at once, and across a restart."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event

from attendee.store.database import EVERYTHING, Database, wake_after_commit
from tests.conftest import PostgresqlCluster


@dataclass
class _Heard:
    """What one process was told of, in order."""

    works: list[str] = field(default_factory=list)
    something: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, work: str) -> None:
        self.works.append(work)
        self.something.set()

    async def until(self, work: str) -> list[str]:
        """All that it was told since the last time, once this is among it; forgotten then."""
        async with asyncio.timeout(30):
            while work not in self.works:
                self.something.clear()
                await self.something.wait()
        told, self.works = self.works, []
        return told


@asynccontextmanager
async def _process(url: str) -> AsyncIterator[tuple[Database, _Heard]]:
    """A process of its own as far as the database can see: it listens while the block lasts."""
    database, heard = Database(url), _Heard()
    database.on_wake(heard.tell)
    stop = asyncio.Event()
    listening = asyncio.create_task(database.listen(stop))
    try:
        await heard.until(EVERYTHING)
        yield database, heard
    finally:
        stop.set()
        await listening
        await database.close()


async def _wake(database: Database, *works: str) -> None:
    async with database.transaction() as tx:
        for work in works:
            wake_after_commit(tx, work)


async def test_work_of_one_process_wakes_another(postgresql_url: str) -> None:
    """What is made due here is heard there, and nothing else."""
    async with _process(postgresql_url) as (here, _), _process(postgresql_url) as (_, there):
        await _wake(here, "calendars")
        assert await there.until("calendars") == ["calendars"]


async def test_nothing_is_told_before_the_commit(postgresql_url: str) -> None:
    """Who is woken finds the work: it is told after the commit, and of a transaction that failed nothing at all."""
    async with _process(postgresql_url) as (here, _), _process(postgresql_url) as (_, there):
        async with here.transaction() as tx:
            wake_after_commit(tx, "calendars")
            await _wake(here, "bots")
            assert await there.until("bots") == ["bots"]
        assert await there.until("calendars") == ["calendars"]

        with suppress(ZeroDivisionError):
            async with here.transaction() as tx:
                wake_after_commit(tx, "deliveries")
                raise ZeroDivisionError
        await _wake(here, "channels")
        assert await there.until("channels") == ["channels"]


async def test_many_wake_ups_are_told_at_once(postgresql_url: str) -> None:
    """A hundred commits at the same time are a handful of notices, and the last is heard after the last commit."""
    async with _process(postgresql_url) as (_, there):
        here = Database(postgresql_url)
        notices: list[Any] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            if "pg_notify" in statement:
                notices.append(statement)

        sqlalchemy_event.listen(here.engine.sync_engine, "before_cursor_execute", note)
        await asyncio.gather(*(_wake(here, "calendars", "bots") for _ in range(100)))
        await here.close()
        await there.until("bots")
        assert 0 < len(notices) < 50


async def test_a_transaction_that_wakes_nobody_tells_nobody(postgresql_url: str) -> None:
    """A notice costs a round trip: it is only sent where there is something to say."""
    async with _process(postgresql_url) as (here, _), _process(postgresql_url) as (_, there):
        await _wake(here)
        await _wake(here, "bots")
        assert await there.until("bots") == ["bots"]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_listening_survives_a_restart_of_the_server(
    postgresql_cluster: PostgresqlCluster, postgresql_url: str, mode: Any
) -> None:
    """The connection is made again, everything is looked at then, and wake-ups are heard as before."""
    async with _process(postgresql_url) as (here, _), _process(postgresql_url) as (_, there):
        await _wake(here, "calendars")
        await there.until("calendars")
        await asyncio.to_thread(postgresql_cluster.restart, mode)
        await there.until(EVERYTHING)
        await _wake(here, "calendars")
        await there.until("calendars")


async def test_listening_ends_while_the_server_is_out_of_reach(postgresql_url: str) -> None:
    """A stop is not held up by a connection that can't be made."""
    database, stop = Database(postgresql_url + "_that_nobody_made"), asyncio.Event()
    listening = asyncio.create_task(database.listen(stop))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(10):
        await listening
    await database.close()


async def test_sqlite_has_nobody_to_listen_to(sqlite_url: str) -> None:
    """There is one process: it tells itself, and the listening ends at once."""
    database, heard = Database(sqlite_url), _Heard()
    database.on_wake(heard.tell)
    await database.listen(asyncio.Event())
    await _wake(database, "calendars")
    assert heard.works == ["calendars"]
    await database.close()
