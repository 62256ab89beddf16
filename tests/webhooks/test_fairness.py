"""Receivers share what is in flight fairly: one that hangs delays only itself."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, insert

from attendee.model import DeliveryState, ProjectId, new_id
from attendee.store import projects, tables
from attendee.store.deliveries import Delivery
from attendee.webhooks.send import RECEIVERS
from attendee.worker import Job, Worker
from tests.installation import Installation, installation, until
from tests.webhooks.receiver import running_receiver, running_sender

_OF_ONE = 16
_AT_ONCE = 8 * _OF_ONE


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@asynccontextmanager
async def _working(here: Installation, run: Callable[[Row[Any]], Any]) -> AsyncIterator[None]:
    """A worker that delivers, as `serve` has it, until the block ends."""
    job = Job(tables.deliveries, RECEIVERS, run, at_once=_AT_ONCE, most_of_one=_OF_ONE)
    stop = asyncio.Event()
    working = asyncio.create_task(
        Worker(database=here.database, clock=here.clock, jobs=[job], quiet=here.quiet).run(stop)
    )
    try:
        yield
    finally:
        stop.set()
        await working


async def _project(here: Installation, name: str) -> ProjectId:
    async with here.database.transaction() as tx:
        return (await projects.create(tx, name, key_ring=here.key_ring, now=here.clock())).id


async def _due(here: Installation, project_id: ProjectId, *urls: str) -> None:
    """A delivery to each of these addresses; those of the next call fall due after them."""
    rows = [
        {
            "id": new_id("whd_"),
            "project_id": project_id,
            "url": url,
            "host": url.split("/")[2],
            "trigger": "bot.state_change",
            "idempotency_key": new_id("key_"),
            "body": "{}",
            "state": DeliveryState.PENDING.value,
            "created_at": here.clock(),
            "due_at": here.clock(),
        }
        for url in urls
    ]
    async with here.database.transaction() as tx:
        await tx.execute(insert(tables.deliveries), rows)
    here.clock.advance(timedelta(seconds=1))


async def test_a_receiver_that_hangs_holds_up_neither_its_project_nor_another(here: Installation) -> None:
    """A thousand deliveries are due to it, under as many addresses; all others arrive while not one of them ends."""
    other = await _project(here, "other")
    async with (
        running_receiver() as slow,
        running_receiver() as sibling,
        running_receiver() as stranger,
        running_sender(here) as sender,
    ):
        slow.hang = asyncio.Event()
        await _due(here, here.project_id, *(f"{slow.url}?bot={number}" for number in range(1000)))
        await _due(here, here.project_id, *[sibling.url] * 20)
        await _due(here, other, *[stranger.url] * 20)

        async def send(row: Row[Any]) -> None:
            await sender.send(Delivery.from_row(row))

        async with _working(here, send):
            await until(lambda: len(sibling.bodies) == len(stranger.bodies) == 20)
            assert 0 < len(slow.bodies) <= _OF_ONE
            slow.hang.set()
            await until(lambda: len(slow.bodies) > 2 * _OF_ONE)


async def test_many_that_hang_leave_room_for_another(here: Installation) -> None:
    """Forty projects whose receivers all hang, with twenty deliveries each: there is still a place."""
    for number in range(40):
        project_id = await _project(here, f"slow {number}")
        await _due(here, project_id, *[f"https://slow{number}.example/"] * 20)
    await _due(here, here.project_id, *["https://well.example/"] * 20)
    in_flight: Counter[str] = Counter()
    arrived, end = 0, asyncio.Event()

    async def run(row: Row[Any]) -> None:
        nonlocal arrived
        if row.host == "well.example":
            arrived += 1
        else:
            in_flight[row.host] += 1
            await end.wait()

    async with _working(here, run):
        await until(lambda: arrived == 20)
        assert sum(in_flight.values()) < _AT_ONCE
        end.set()


async def test_one_that_hangs_does_not_slow_the_others(here: Installation) -> None:
    """Beside it, what is due to those who are quick is claimed many rows at a time."""
    await _due(here, await _project(here, "slow"), *["https://slow.example/"] * 20)
    await _due(here, here.project_id, "https://well.example/")
    claims: Counter[str] = Counter()
    hanging, end = 0, asyncio.Event()

    async def run(row: Row[Any]) -> None:
        nonlocal hanging
        if row.host == "well.example":
            claims[row.claim_id] += 1
        else:
            hanging += 1
            await end.wait()

    async with _working(here, run):
        await until(lambda: hanging > 0 and claims.total() == 1)
        await _due(here, here.project_id, *["https://well.example/"] * 100)
        here.database.wake_here(tables.deliveries.name)
        await until(lambda: claims.total() == 101)
        end.set()
    assert max(claims.values()) == _OF_ONE // 2
