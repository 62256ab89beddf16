"""The worker's loop on the real event loop: fair shares, failing work, trouble with the database, a clean stop."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import Row, func, select
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, ProjectId
from attendee.sandbox.faults import FaultKind
from attendee.store import claims, projects, sync_state, tables
from attendee.store.calendars import Calendar
from attendee.store.database import Database
from attendee.worker import Cap, Job, Worker, _Loop
from tests.installation import Installation, installation, until

_AT_ONCE = 32


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@dataclass
class Watched:
    """The work that a worker did, in the order in which it ended."""

    here: Installation
    begun: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    async def sync(self, row: Row[Any]) -> None:
        self.begun.append(row.id)
        await self.here.pipeline.sync_calendar(Calendar.from_row(row))
        self.ended.append(row.id)


@asynccontextmanager
async def _working(
    here: Installation, run: Callable[[Row[Any]], Any], *, database: Database | None = None, cap: Cap | None = None
) -> AsyncIterator[asyncio.Event]:
    """A worker that syncs calendars until the block ends, then stops cleanly; its stop can be set earlier."""
    job = Job(tables.calendars, (("project_id", "client_id"), ("project_id",)), run, _AT_ONCE, cap=cap)
    worker = Worker(database=database or here.database, clock=here.clock, jobs=[job], quiet=here.quiet)
    stop = asyncio.Event()
    working = asyncio.create_task(worker.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        here.world.faults.switch_off()
        await working


async def _tenant(here: Installation, name: str, *, calendars: int, hang: bool) -> list[CalendarId]:
    """A project with an OAuth client of its own and that many calendars, due now."""
    here.world.grants.add_client(name, secret="secret")
    async with here.database.transaction() as tx:
        project = await projects.create(tx, name, key_ring=here.key_ring, now=here.clock())
    ids = []
    for number in range(calendars):
        person = here.world.add_person(f"person{number}@{name}.example")
        person.primary.put("meeting", starts=here.clock() + timedelta(days=1))
        ids.append((await _connect(here, person, project_id=project.id, client_id=name)).id)
        if hang:
            here.world.faults.switch_on(person.email, FaultKind.HANG)
    # The next tenant's calendars fall due after all of these.
    here.clock.advance(timedelta(seconds=1))
    return ids


async def _connect(here: Installation, person: Any, *, project_id: ProjectId, client_id: str) -> Calendar:
    return await here.connect(
        person,
        project_id=project_id,
        client_id=client_id,
        client_secret="secret",
        refresh_token=here.world.authorise(person, client_id=client_id),
    )


async def test_sixty_hanging_calendars_hold_up_no_other_project(here: Installation) -> None:
    """Another project's calendar is synced while every place that the first may have is taken by one that hangs."""
    hanging = await _tenant(here, "slow", calendars=60, hang=True)
    (other,) = await _tenant(here, "other", calendars=1, hang=False)
    watched = Watched(here)
    async with _working(here, watched.sync):
        await until(lambda: other in watched.ended)
        assert set(watched.ended) == {other}
        assert set(watched.begun) - {other} < set(hanging)
    assert (await here.calendar(other)).last_successful_sync_at is not None


async def test_projects_that_share_an_oauth_client_do_not_hold_up_each_other(here: Installation) -> None:
    """One company, one OAuth client, a project for each product: the promise is the projects' all the same."""
    await _tenant(here, "slow", calendars=60, hang=True)
    async with here.database.transaction() as tx:
        project = await projects.create(tx, "other", key_ring=here.key_ring, now=here.clock())
    person = here.world.add_person("ana@acme.example")
    other = (await _connect(here, person, project_id=project.id, client_id="slow")).id
    watched = Watched(here)
    async with _working(here, watched.sync):
        await until(lambda: watched.ended)
        assert watched.ended == [other]


async def test_three_hanging_projects_leave_room_for_a_fourth(here: Installation) -> None:
    """Each that hangs gets a smaller share, and there is always a place left."""
    for name in ("slow", "slower", "slowest"):
        await _tenant(here, name, calendars=40, hang=True)
    ids = await _tenant(here, "fourth", calendars=3, hang=False)
    watched = Watched(here)
    async with _working(here, watched.sync):
        await until(lambda: set(ids) <= set(watched.ended))
        assert set(watched.ended) == set(ids)


async def test_what_waited_for_its_share_is_done_in_the_end(here: Installation) -> None:
    """Once the platform answers again, all sixty are synced, without waiting for anything to fall due."""
    ids = await _tenant(here, "slow", calendars=60, hang=True)
    watched = Watched(here)
    async with _working(here, watched.sync):
        await until(lambda: here.world.faults.hanging)
        here.world.faults.switch_off()
        await until(lambda: len(watched.ended) == len(ids))
    assert sorted(watched.ended) == sorted(ids), "each once"


async def _claimed_by_project(tx: AsyncConnection, now: datetime) -> dict[tuple[str, ...], int]:
    calendars = tables.calendars.c
    claimed = select(calendars.project_id, func.count()).where(calendars.claimed_until > now)
    rows = await tx.execute(claimed.group_by(calendars.project_id))
    return {(project_id,): count for project_id, count in rows}


async def test_a_cap_holds_over_all_workers(here: Installation) -> None:
    """Two workers on one database have no more of a project in flight than it allows; all is done in the end."""
    ids = await _tenant(here, "busy", calendars=12, hang=False)
    cap = Cap(("project_id",), 3, _claimed_by_project)
    watched, most, free = Watched(here), 0, asyncio.Event()

    async def run(row: Row[Any]) -> None:
        nonlocal most
        watched.begun.append(row.id)
        most = max(most, len(watched.begun) - len(watched.ended))
        await free.wait()
        await here.pipeline.sync_calendar(Calendar.from_row(row))
        watched.ended.append(row.id)

    async with _working(here, run, cap=cap), _working(here, run, cap=cap):
        await until(lambda: len(watched.begun) == 3)
        free.set()
        await until(lambda: len(watched.ended) == len(ids))
    assert sorted(watched.ended) == sorted(ids)
    assert most <= 3


async def test_room_that_is_made_during_a_claim_is_not_missed(sqlite_url: str) -> None:
    """Work may end between the look at who has their share and the claim without them: the loop asks again at once."""

    class Meanwhile(Database):
        is_claiming = False

        @asynccontextmanager
        async def transaction(self) -> AsyncGenerator[AsyncConnection]:
            if self.is_claiming:
                goes_on.set()
                await until(lambda: ended)
            async with super().transaction() as tx:
                yield tx

    goes_on, ended = asyncio.Event(), list[str]()

    async def work(row: Row[Any]) -> None:
        await goes_on.wait()
        ended.append(row.id)

    async with installation(sqlite_url) as here:
        await _tenant(here, "acme", calendars=2, hang=False)
        database = Meanwhile(sqlite_url)
        job = Job(tables.calendars, (("project_id", "client_id"),), work, at_once=2)
        loop = _Loop(job, database=database, clock=here.clock)
        await loop._claim()
        database.is_claiming = True
        await loop._claim()
        assert loop._changed.is_set()
        await database.close()


async def test_what_is_due_again_soon_is_not_slept_over(sqlite_url: str) -> None:
    """A row may settle itself to fall due before the loop, which looked while it was claimed, would look again."""
    async with installation(sqlite_url) as here:

        async def work(row: Row[Any]) -> None:
            async with here.database.transaction() as tx:
                await sync_state.let_go(tx, Calendar.from_row(row), now=here.clock())

        await _tenant(here, "acme", calendars=1, hang=False)
        loop = _Loop(
            Job(tables.calendars, (("project_id",),), work, at_once=4), database=here.database, clock=here.clock
        )
        assert await loop._claim() > 1, "nothing else is due for long"
        await until(loop._changed.is_set)


async def test_rows_that_are_for_others_are_left_to_them(here: Installation) -> None:
    """A worker that can't do some of the work claims only the rest."""
    mine, *others = await _tenant(here, "mixed", calendars=3, hang=False)
    async with here.database.transaction() as tx:
        ours = tables.calendars.c.id == mine
        claimed = await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=9, among=ours)
        assert [row.id for row in claimed] == [mine]
        rest = await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=9)
        assert {row.id for row in rest} == {*others}


async def test_stop_finishes_what_is_under_way_and_begins_nothing(here: Installation) -> None:
    """What hangs at the stop is stored when it ends; what falls due after it is left to others."""
    (first,) = await _tenant(here, "slow", calendars=1, hang=True)
    watched = Watched(here)
    async with _working(here, watched.sync) as stop:
        await until(lambda: here.world.faults.hanging)
        stop.set()
        (late,) = await _tenant(here, "late", calendars=1, hang=False)
    assert (await here.calendar(first)).last_successful_sync_at is not None
    assert (await here.calendar(first)).claim_id is None
    left = await here.calendar(late)
    assert (left.claim_id, left.last_attempted_sync_at) == (None, None)


async def test_quiet_syncs_are_settled(here: Installation) -> None:
    """What found nothing is let go by the worker itself, also when it stops in the next moment."""
    (calendar_id,) = await _tenant(here, "calm", calendars=1, hang=False)
    await here.sync(calendar_id)
    cursor = (await here.calendar(calendar_id)).cursor
    here.clock.advance(timedelta(hours=1))
    watched = Watched(here)
    async with _working(here, watched.sync):
        await until(lambda: watched.ended)
    settled = await here.calendar(calendar_id)
    assert (settled.claim_id, settled.attempts, settled.cursor) == (None, 0, cursor)
    assert settled.last_successful_sync_at == here.clock()


async def test_what_a_push_woke_during_a_quiet_sync_is_looked_for(here: Installation) -> None:
    """The sync ends with the settling of many, after the loop has looked: it is told to look again."""
    (calendar_id,) = await _tenant(here, "calm", calendars=1, hang=False)
    await here.sync(calendar_id)
    here.clock.advance(timedelta(hours=1))
    await here.pipeline.sync_calendar(await here.claim(calendar_id))
    async with here.database.transaction() as tx:
        await claims.wake(tx, tables.calendars, calendar_id, now=here.clock())
    told: list[str] = []
    here.database.on_wake(told.append)
    await here.quiet.settle()
    assert told == ["calendars"]


async def test_work_that_raises_stops_nothing(here: Installation) -> None:
    """The row's claim ends by itself and it is tried again; the others are done meanwhile."""
    ids = await _tenant(here, "odd", calendars=4, hang=False)
    watched = Watched(here)
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))

    async def run(row: Row[Any]) -> None:
        if row.id == ids[0] and row.attempts == 1:
            raise ZeroDivisionError
        await watched.sync(row)

    async with _working(here, run):
        await until(lambda: set(watched.ended) == set(ids[1:]))
        here.clock.advance(claims.LEASE)
        async with here.database.transaction() as tx:
            await claims.wake(tx, tables.calendars, ids[0], now=here.clock())
        await until(lambda: ids[0] in watched.ended)
    gc.collect()
    assert unhandled == [], "the failure was told where it belongs, in the log"


class ShakyDatabase(Database):
    """A database that fails once, the first time that it is asked for what is in `fails`."""

    fails: Literal["reading", "autocommit"] | None = None
    failed = False

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        self._fail("reading")
        async with super().reading() as tx:
            yield tx

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[AsyncConnection]:
        self._fail("autocommit")
        async with super().autocommit() as tx:
            yield tx

    def _fail(self, what: str) -> None:
        if what == self.fails:
            self.fails = None
            self.failed = True
            raise OperationalError("BEGIN", {}, ConnectionError("gone"))


@pytest.mark.parametrize("fails", ["reading", "autocommit"])
async def test_trouble_with_the_database_does_not_end_the_loop(
    here: Installation, database_url: str, fails: Literal["reading", "autocommit"]
) -> None:
    """A look or a claim that fails is made again, as soon as something wakes the loop."""
    shaky = ShakyDatabase(database_url)
    shaky.fails = fails
    watched = Watched(here)
    ids = await _tenant(here, "late", calendars=1, hang=False)
    async with _working(here, watched.sync, database=shaky):
        await until(lambda: shaky.failed)
        shaky.wake_here(tables.calendars.name)
        await until(lambda: watched.ended)
    assert watched.ended == ids
    await shaky.close()
