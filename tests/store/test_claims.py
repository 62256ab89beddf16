"""Rows as their own queue: who may take one, who may settle it, and what a wake-up does meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text

from attendee.errors import ClaimLost
from attendee.model import CalendarId
from attendee.store import calendars, claims, tables
from attendee.store.calendars import Calendar
from attendee.store.database import Database
from tests.installation import START, Installation, installation

_MINUTE = timedelta(minutes=1)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


async def _claim(here: Installation, *, limit: int = 10, **excluding: list[str]) -> list[Calendar]:
    async with here.database.transaction() as tx:
        left: dict[tuple[str, ...], list[tuple[str, ...]]] = {
            (column,): [(value,) for value in values] for column, values in excluding.items()
        }
        rows = await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=limit, excluding=left)
    return [Calendar.from_row(row) for row in rows]


async def _settle(here: Installation, claimed: Calendar, **wanted: Any) -> None:
    ending = {"next_due_at": here.clock() + 30 * _MINUTE, "succeeded": True, **wanted}
    async with here.database.transaction() as tx:
        await claims.settle(
            tx,
            tables.calendars,
            row_id=claimed.id,
            claim_id=claimed.claim_id or "",
            wakes=claimed.wakes,
            **ending,
        )


async def _wake(here: Installation, calendar_id: CalendarId) -> None:
    async with here.database.transaction() as tx:
        await claims.wake(tx, tables.calendars, calendar_id, now=here.clock())


async def _next_due_at(here: Installation) -> Any:
    async with here.database.reading() as tx:
        return await claims.next_due_at(tx, tables.calendars, after=here.clock())


async def _connect(here: Installation, name: str = "ana") -> Calendar:
    person = here.world.people.get(f"{name}@acme.example") or here.world.add_person(f"{name}@acme.example")
    return await here.connect(person)


async def test_a_claimed_row_is_nobody_elses_until_the_lease_ends(here: Installation) -> None:
    """Then anybody may take it: a worker that died is not waited for any longer."""
    calendar = await _connect(here)
    (claimed,) = await _claim(here)
    assert (claimed.id, claimed.attempts) == (calendar.id, 1)
    here.clock.advance(claims.LEASE - timedelta(microseconds=1))
    assert await _claim(here) == []
    here.clock.advance(timedelta(microseconds=1))
    (taken_over,) = await _claim(here)
    assert taken_over.claim_id != claimed.claim_id
    assert taken_over.attempts == 2, "a row that kills its workers is seen"


async def test_a_worker_that_lost_its_claim_stores_nothing(here: Installation) -> None:
    """Its sync ends in ClaimLost, whatever it has read, and leaves everything as it was."""
    await here.subscribe()
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=1))
    calendar = await here.connect(ana)
    stale = await here.claim(calendar.id)
    here.clock.advance(claims.LEASE)
    (fresh,) = await _claim(here)
    before = await _dump(here)
    with pytest.raises(ClaimLost):
        await here.pipeline.sync_calendar(stale)
    with pytest.raises(ClaimLost):
        await _settle(here, stale)
    with pytest.raises(ClaimLost):
        await _renew(here, stale)
    assert await _dump(here) == before
    await here.pipeline.sync_calendar(fresh)
    assert set(await here.events(calendar.id)) == {"meeting"}


async def _renew(here: Installation, claimed: Calendar) -> None:
    async with here.database.transaction() as tx:
        await claims.renew(tx, tables.calendars, row_id=claimed.id, claim_id=claimed.claim_id or "", now=here.clock())


async def _dump(here: Installation) -> dict[str, list[Any]]:
    return {table.name: sorted(map(repr, await here.rows(table))) for table in tables.metadata.sorted_tables}


async def test_a_failing_worker_that_lost_its_claim_disconnects_nothing(here: Installation) -> None:
    """What the platform refused it is for the holder of the claim to learn."""
    ana = here.world.add_person("ana@acme.example")
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    stale = await here.claim(calendar.id)
    here.clock.advance(claims.LEASE)
    await _claim(here)
    here.world.revoke(ana)
    before = await _dump(here)
    with pytest.raises(ClaimLost):
        await here.pipeline.sync_calendar(stale)
    assert await _dump(here) == before


async def test_a_quiet_sync_that_lost_its_claim_settles_nothing(here: Installation) -> None:
    """It is gathered with others and ended later: the claim counts at that moment."""
    calendar = await _connect(here)
    await here.sync(calendar.id)
    await here.pipeline.sync_calendar(await here.claim(calendar.id))
    here.clock.advance(claims.LEASE)
    (fresh,) = await _claim(here)
    await here.quiet.settle()
    assert (await here.calendar(calendar.id)).claim_id == fresh.claim_id


async def test_a_renewed_claim_lasts_another_lease(here: Installation) -> None:
    """A long pull keeps its row."""
    await _connect(here)
    (claimed,) = await _claim(here)
    here.clock.advance(claims.LEASE / 2)
    await _renew(here, claimed)
    here.clock.advance(claims.LEASE / 2)
    assert await _claim(here) == []
    here.clock.advance(claims.LEASE / 2)
    assert len(await _claim(here)) == 1


async def test_rows_come_in_the_order_in_which_they_fell_due(here: Installation) -> None:
    """The longest due first, as many as were asked for, and none of those who have their share."""
    first = await _connect(here, "ana")
    here.clock.advance(_MINUTE)
    second = await _connect(here, "ben")
    here.clock.advance(_MINUTE)
    await _connect(here, "cleo")
    assert [one.id for one in await _claim(here, limit=1)] == [first.id]
    assert [one.id for one in await _claim(here, limit=1)] == [second.id]
    assert await _claim(here, project_id=[here.project_id]) == []
    assert len(await _claim(here, project_id=["proj_of_others"])) == 1


async def test_a_wake_up_during_the_work_is_not_lost(here: Installation) -> None:
    """The settling leaves the row due; without a wake-up it is due when the work says."""
    calendar = await _connect(here)
    (claimed,) = await _claim(here)
    here.clock.advance(timedelta(seconds=5))
    await _wake(here, calendar.id)
    assert await _claim(here) == [], "it is still being worked on"
    await _settle(here, claimed)
    (again,) = await _claim(here)
    await _settle(here, again)
    assert (await here.calendar(calendar.id)).due_at == here.clock() + 30 * _MINUTE


async def test_a_held_row_can_not_be_woken(here: Installation) -> None:
    """A platform that said when to come back is not asked before, however often it pushes."""
    calendar = await _connect(here)
    (claimed,) = await _claim(here)
    until = here.clock() + 10 * _MINUTE
    await _settle(here, claimed, next_due_at=until, hold_until=until, succeeded=False)
    await _wake(here, calendar.id)
    assert await _claim(here) == []
    assert await _next_due_at(here) == until
    here.clock.at = until
    (again,) = await _claim(here)
    assert again.attempts == 2


async def test_new_credentials_end_a_pause_but_no_claim(here: Installation) -> None:
    """The pause was earned by the former ones; whoever works on the row goes on holding it."""
    calendar = await _connect(here)
    (claimed,) = await _claim(here)
    await _patch(here, calendar)
    assert (await here.calendar(calendar.id)).claim_id == claimed.claim_id
    assert await _claim(here) == []
    until = here.clock() + 10 * _MINUTE
    await _settle(here, claimed, next_due_at=until, hold_until=until, succeeded=False)
    await _patch(here, calendar)
    assert len(await _claim(here)) == 1


async def _patch(here: Installation, calendar: Calendar) -> None:
    async with here.database.transaction() as tx:
        await calendars.update_credentials(
            tx,
            calendar,
            client_secret=None,
            refresh_token="1//0new",
            metadata=None,
            key_ring=here.key_ring,
            now=here.clock(),
        )


async def test_the_next_due_time_is_when_something_can_be_claimed(here: Installation) -> None:
    """A row that falls due, or a claim that ends; nothing at all is None."""
    assert await _next_due_at(here) is None
    calendar = await _connect(here)
    (claimed,) = await _claim(here)
    assert await _next_due_at(here) == here.clock() + claims.LEASE
    await _settle(here, claimed)
    assert await _next_due_at(here) == here.clock() + 30 * _MINUTE
    await _wake(here, calendar.id)
    (claimed,) = await _claim(here)
    await _settle(here, claimed, next_due_at=None)
    assert await _next_due_at(here) is None


async def test_two_workers_never_claim_the_same_row(here: Installation, database_url: str) -> None:
    """Four of them, with connections of their own, share forty rows, each row once."""
    ana = here.world.add_person("ana@acme.example")
    ids = {(await here.connect(ana)).id for _ in range(40)}
    workers = [Database(database_url) for _ in range(4)]
    claimed: list[str] = []

    async def work(database: Database) -> None:
        while True:
            async with database.transaction() as tx:
                rows = await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=3)
            if not rows:
                return
            claimed.extend(row.id for row in rows)

    await asyncio.gather(*(work(database) for database in workers))
    for database in workers:
        await database.close()
    assert sorted(claimed) == sorted(ids)


async def test_a_claim_does_not_wait_for_rows_that_another_is_claiming(postgresql_url: str) -> None:
    """On PostgreSQL two open transactions each get rows of their own, without waiting for the other's commit."""
    async with installation(postgresql_url) as here:
        ana = here.world.add_person("ana@acme.example")
        ids = {(await here.connect(ana)).id for _ in range(4)}
        async with here.database.transaction() as one, here.database.transaction() as other:
            # Instead of waiting for each other for ever, should they do so.
            await other.execute(text("SET LOCAL lock_timeout = '2s'"))
            first = await claims.claim_due(one, tables.calendars, now=here.clock(), limit=2)
            second = await claims.claim_due(other, tables.calendars, now=here.clock(), limit=4)
        assert len(first) == len(second) == 2
        assert {row.id for row in (*first, *second)} == ids


async def test_a_wake_up_is_told_after_the_commit_only(here: Installation) -> None:
    """Who listens finds the row due; a transaction that is rolled back wakes nobody."""
    calendar = await _connect(here)
    told: list[str] = []
    here.database.on_wake(told.append)
    async with here.database.transaction() as tx:
        await claims.wake(tx, tables.calendars, calendar.id, now=here.clock())
        assert told == []
    assert told == ["calendars"]
    with pytest.raises(ZeroDivisionError):
        await _wake_and_fail(here, calendar.id)
    assert told == ["calendars"]
    async with here.database.reading() as tx:
        assert await tx.scalar(select(tables.calendars.c.wakes)) == 1


async def _wake_and_fail(here: Installation, calendar_id: CalendarId) -> None:
    async with here.database.transaction() as tx:
        await claims.wake(tx, tables.calendars, calendar_id, now=here.clock())
        raise ZeroDivisionError
