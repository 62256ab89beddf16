"""A claim among a million calendars on PostgreSQL: with few of them due, and behind a hundred thousand that rest."""

import time
from datetime import datetime, timedelta

from sqlalchemy import select, text, update

from attendee import clock
from attendee.store import claims, sync_state
from attendee.store.calendars import Calendar
from attendee.store.database import Database
from attendee.store.tables import calendars
from bench.filling import add_project
from bench.results import AtMost, Figure, Result, percentile
from bench.surroundings import POSTGRESQL, Surroundings

_CALENDARS = 1_000_000
_CLIENTS = 10
_RESTING = "client-0"
_RUNS = 5
_CLAIMS_A_RUN = 100
# What a worker with usual settings claims at a time: half of its 32 places.
_ROWS_A_CLAIM = 16

# Their secrets are never opened here, so any bytes do. They are due over the next half hour, none of them soon.
_FILL = """
INSERT INTO calendars (
    id, project_id, platform, client_id, client_secret, refresh_token, access_token, access_token_expires_at, state,
    cursor, listed_from, listed_until, next_listing_at, created_at, updated_at, due_at
)
SELECT
    'cal_' || substr(md5(number::text), 1, 16), :project_id, 'google', 'client-' || number % :clients,
    decode(repeat('00', 60), 'hex'), decode(repeat('00', 140), 'hex'), decode(repeat('00', 240), 'hex'),
    now() + interval '1 hour', 'connected', 'CPDAlvWDx70CEPDAlvWDx70CGAU=', now() - interval '1 day',
    now() + interval '29 days', now() + interval '20 hours', now(), now(),
    now() + interval '1 day' + number * interval '2 milliseconds'
FROM generate_series(1, :count) AS number
"""


async def measure(surroundings: Surroundings) -> list[Result]:
    """Median and 99th percentile of a claim's transaction; the floor is one that updates so many rows by their ids."""
    async with surroundings.database(POSTGRESQL) as at_hand:
        database = at_hand.database
        project_id = await add_project(database, surroundings.key_ring)
        surroundings.tell(f"claims: making {_CALENDARS:,} calendars")
        async with database.transaction() as tx:
            values = {"project_id": project_id, "clients": _CLIENTS, "count": _CALENDARS}
            await tx.execute(text(_FILL), values)
        async with database.transaction() as tx:
            await tx.execute(text("ANALYZE calendars"))
        others = await _ids_of_others(database)
        surroundings.tell("claims: with few due")
        floor = await _measure_floor(database, others)
        few = [await _measure_run(database, others) for _ in range(_RUNS)]
        surroundings.tell(f"claims: pausing a client with {_CALENDARS // _CLIENTS:,} calendars that are due")
        paused_seconds = await _pause(database)
        surroundings.tell("claims: with those out of the way")
        behind = [await _measure_run(database, others) for _ in range(_RUNS)]
    paused = f"{_CALENDARS // _CLIENTS:,} due ones of a client were paused"
    results = [
        _judged(f"{what}, p{share * 100:.0f}", runs, share, floor)
        for what, runs in ((f"claim among {_CALENDARS:,}, few due", few), (f"claim after {paused}", behind))
        for share in (0.5, 0.99)
    ]
    pause = Result(f"how long it took until {paused}", POSTGRESQL, "s", Figure.of([paused_seconds]))
    return [*results, pause]


async def _ids_of_others(database: Database) -> list[str]:
    """Some calendars of other clients than the one that will rest."""
    async with database.reading() as tx:
        some = select(calendars.c.id).where(calendars.c.client_id != _RESTING).limit(_RUNS * _CLAIMS_A_RUN)
        return list((await tx.execute(some)).scalars())


def _judged(what: str, runs: list[list[float]], share: float, floor: list[float]) -> Result:
    together = [one for run in runs for one in run]
    each = [percentile(run, share) for run in runs]
    return Result(
        what=what,
        database=POSTGRESQL,
        unit="ms",
        ours=Figure(percentile(together, share), min(each), max(each)),
        floor=percentile(floor, share),
        target=AtMost(10) if share == 0.99 else None,
        wall_seconds=sum(together) / 1000,
    )


async def _measure_run(database: Database, others: list[str]) -> list[float]:
    """Milliseconds of each claim, its commit included, with just enough due."""
    passed = []
    for number in range(_CLAIMS_A_RUN):
        few = [others[(number * _ROWS_A_CLAIM + place) % len(others)] for place in range(_ROWS_A_CLAIM)]
        await _let(database, few, due_at=clock.now())
        began = time.perf_counter()
        async with database.transaction() as tx:
            rows = await claims.claim_due(tx, calendars, now=clock.now(), limit=_ROWS_A_CLAIM)
        passed.append((time.perf_counter() - began) * 1000)
        assert {row.id for row in rows} == set(few), "those that were made due, and nothing else"
        await _let(database, few, due_at=clock.now() + timedelta(days=1))
    return passed


async def _measure_floor(database: Database, ids: list[str]) -> list[float]:
    touch = (
        update(calendars)
        .where(calendars.c.id.in_(ids[:_ROWS_A_CLAIM]))
        .values(attempts=calendars.c.attempts + 1)
        .returning(*calendars.c)
    )
    passed = []
    for _ in range(_CLAIMS_A_RUN):
        began = time.perf_counter()
        async with database.transaction() as tx:
            (await tx.execute(touch)).all()
        passed.append((time.perf_counter() - began) * 1000)
    return passed


async def _pause(database: Database) -> float:
    """Makes all calendars of one client due and lets the client rest; how many seconds the latter took."""
    of_client = calendars.c.client_id == _RESTING
    async with database.transaction() as tx:
        await tx.execute(update(calendars).where(of_client).values(due_at=clock.now()))
        row = (await tx.execute(select(calendars).where(of_client).limit(1))).one()
    began = time.perf_counter()
    async with database.transaction() as tx:
        now, step = clock.now(), timedelta(milliseconds=20)
        await sync_state.pause_client(tx, Calendar.from_row(row), until=now + timedelta(hours=1), step=step, now=now)
    return time.perf_counter() - began


async def _let(database: Database, ids: list[str], *, due_at: datetime) -> None:
    async with database.transaction() as tx:
        await tx.execute(
            update(calendars).where(calendars.c.id.in_(ids)).values(due_at=due_at, claim_id=None, claimed_until=None)
        )
