"""Pages of a hundred events with raws of 2.5 kB: how many a core gives, how long one takes at half load, how deep."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
import orjson
from sqlalchemy import Text, bindparam, text

from attendee import clock
from attendee.store.columns import KeyRing, UtcDateTime
from attendee.store.database import Database
from bench.dashboard import analyse
from bench.filling import add_calendars, add_key, add_project
from bench.results import AtLeast, AtMost, Figure, Result, percentile
from bench.surroundings import BOTH, BenchDatabase, Process, Surroundings

_EVENTS = 120_000
_CALENDARS = 100
_RUNS = 4
_PAGES_A_RUN = 600
_AT_ONCE = 8
_HALF_LOAD_SECONDS = 5
_LAST = 1_000
# So many pages at either end of the walk are compared.
_SAMPLE = 20
_TURNS = 5
_MAKING_READY_SECONDS = 0.5
_FILLING_CACHE_KILOBYTES = 1_000_000
_RAW = '{"kind":"calendar#event","description":"' + "What we did, what we do next. " * 82 + '"}'

# Event by event: its number in hexadecimal, and its time, a millisecond after that of the one before.
_NUMBERS_SQLITE = """
    WITH RECURSIVE counted(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM counted WHERE n < {count} - 1),
    numbered AS (SELECT n, printf('%016x', n) AS hex, :first_at + n * 1000 AS at FROM counted)
"""
_NUMBERS_POSTGRESQL = """
    WITH numbered AS (
        SELECT n, lpad(to_hex(n), 16, '0') AS hex, CAST(:first_at AS timestamptz) + n * interval '1 millisecond' AS at
        FROM generate_series(0, {count} - 1) AS n
    )
"""
_FILL = """
    INSERT INTO events (id, project_id, calendar_id, platform_uuid, fingerprint, name, meeting_url, start_time,
        end_time, is_deleted, attendees, raw, ical_uid, created_at, updated_at)
    SELECT 'evt_' || hex, calendars.project_id, calendars.id, hex, hex, 'Weekly planning ' || n,
        'https://meet.google.com/abc-defg-hij', at, at, false, '[]', CAST(:raw AS text), hex || '@google.com', at, at
    FROM numbered JOIN calendars ON calendars.deduplication_key = 'user-' || (n % {calendars})
"""


async def measure(surroundings: Surroundings) -> list[Result]:
    """On each database: pages per CPU second, latencies at half of the rate that it can, and the walk to page 1,000."""
    results = []
    for kind in BOTH:
        async with surroundings.database(kind) as at_hand:
            surroundings.tell(f"pages on {kind}: filling in {_EVENTS:,} events")
            key = await fill(at_hand.database, surroundings.key_ring, calendars=_CALENDARS, events=_EVENTS)
            async with listing(surroundings, at_hand, key) as (http, server, address):
                await _read_many(http, address, 100)
                rates, cores, floors = [], [], []
                for number in range(_RUNS):
                    surroundings.tell(f"pages on {kind}: run {number + 1} of {_RUNS}")
                    began, cpu_began = time.perf_counter(), server.cpu_seconds()
                    await _read_many(http, address, _PAGES_A_RUN)
                    rates.append(_PAGES_A_RUN / (time.perf_counter() - began))
                    cores.append(_PAGES_A_RUN / (server.cpu_seconds() - cpu_began))
                    floors.append(await surroundings.bare("bare_page", at_hand.url))
                surroundings.tell(f"pages on {kind}: half load")
                taken = await _read_steadily(http, address, rate=Figure.of(rates).median / 2)
                surroundings.tell(f"pages on {kind}: walking to page {_LAST:,}")
                cpu_began = server.cpu_seconds()
                addresses, _ = await walk(http, address, pages=_LAST)
                walking = server.cpu_seconds() - cpu_began
                surroundings.tell(f"pages on {kind}: the first and the last of them, in turns")
                ends = await _read_in_turns(http, addresses[:_SAMPLE], addresses[-_SAMPLE:])
        results += [
            Result(
                what="page of 100 events: pages per CPU second",
                database=kind,
                unit="/s",
                ours=Figure.of(cores),
                floor=Figure.of([1 / one["cpu_seconds"] for one in floors]).median,
                target=AtLeast(300),
                wall_seconds=sum(_PAGES_A_RUN / rate for rate in rates),
                cpu_seconds=sum(_PAGES_A_RUN / rate for rate in cores),
            ),
            Result(
                what="page of 100 events: rate of one process",
                database=kind,
                unit="/s",
                ours=Figure.of(rates),
                floor=Figure.of([1 / one["seconds"] for one in floors]).median,
            ),
            # The figures above are of one page again and again, whose instants are remembered. Of these each is new.
            Result(
                what=f"page of 100 events, on the walk to page {_LAST:,}: pages per CPU second",
                database=kind,
                unit="/s",
                ours=Figure.of([_LAST / walking]),
                target=AtLeast(300),
                cpu_seconds=walking,
            ),
            *_latencies(kind, taken),
            _depth(kind, *ends),
        ]
    return results


def _latencies(kind: str, taken: list[float]) -> list[Result]:
    quarters = [taken[number::4] for number in range(4)]
    return [
        Result(
            what=f"page of 100 events at half load, p{share * 100:.0f}",
            database=kind,
            unit="ms",
            # The percentile of all requests together; the spread is that of each quarter of them.
            ours=Figure(
                percentile(taken, share),
                min(percentile(quarter, share) for quarter in quarters),
                max(percentile(quarter, share) for quarter in quarters),
            ),
            target=AtMost(50) if share == 0.99 else None,
        )
        for share in (0.5, 0.99)
    ]


def _depth(kind: str, first: list[float], last: list[float]) -> Result:
    return Result(
        what=f"pages {_LAST - _SAMPLE + 1:,}-{_LAST:,}, beside pages 1-{_SAMPLE}",
        database=kind,
        unit="ms",
        ours=Figure.of(last),
        floor=Figure.of(first).median,
        # Flat, but for what twenty pages vary by from one time to the next.
        target=AtMost(1.25, of_floor=True),
    )


@asynccontextmanager
async def listing(
    surroundings: Surroundings, at_hand: BenchDatabase, key: str
) -> AsyncGenerator[tuple[aiohttp.ClientSession, Process, str]]:
    """A client with the key, a process that only serves the API, and the address of the events' first page."""
    headers = {"Authorization": f"Token {key}"}
    with surroundings.attendee("serve", at_hand, "http://127.0.0.1:9", options=["--no-worker"]) as server:
        async with aiohttp.ClientSession(headers=headers) as http:
            yield http, server, f"{server.told}/api/v1/calendar_events?page_size=100"


async def _read(http: aiohttp.ClientSession, address: str) -> bytes:
    async with http.get(address) as response:
        body = await response.read()
    if response.status != 200:
        message = f"{address} answered {response.status}: {body.decode()[:300]}"
        raise RuntimeError(message)
    return body


async def _read_many(http: aiohttp.ClientSession, address: str, count: int) -> None:
    left = iter(range(count))

    async def read() -> None:
        for _ in left:
            await _read(http, address)

    await asyncio.gather(*(read() for _ in range(_AT_ONCE)))


async def _read_steadily(http: aiohttp.ClientSession, address: str, *, rate: float) -> list[float]:
    """Milliseconds of each page, asked for at even times whether or not those before have been answered."""
    # Not before all the tasks are made: that takes a while, in which nobody asks.
    began = time.perf_counter() + _MAKING_READY_SECONDS

    async def read(number: int) -> float:
        # From when it should have been asked for: a client that is late itself hides no wait.
        at = began + number / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        await _read(http, address)
        return (time.perf_counter() - at) * 1_000

    return list(await asyncio.gather(*(read(number) for number in range(round(rate * _HALF_LOAD_SECONDS)))))


async def walk(http: aiohttp.ClientSession, address: str, *, pages: int) -> tuple[list[str], list[float]]:
    """Address and milliseconds of each page from the first on, by `next`.

    Raises RuntimeError if an event is there twice.
    """
    addresses, taken, seen = [], [], set()
    next_address: str | None = address
    for number in range(1, pages + 1):
        if next_address is None:
            message = f"there is no page {number}"
            raise RuntimeError(message)
        addresses.append(next_address)
        milliseconds, body = await _read_timed(http, next_address)
        taken.append(milliseconds)
        page = orjson.loads(body)
        next_address = page["next"]
        seen |= {event["id"] for event in page["results"]}
    if len(seen) != pages * 100:
        message = f"{pages} pages have {len(seen)} different events"
        raise RuntimeError(message)
    return addresses, taken


async def _read_in_turns(
    http: aiohttp.ClientSession, first: list[str], last: list[str]
) -> tuple[list[float], list[float]]:
    """Milliseconds of these pages and of those, one of each in turn: what disturbs the machine disturbs both."""
    of_first, of_last = [], []
    for _ in range(_TURNS):
        for one, other in zip(first, last, strict=True):
            of_first.append((await _read_timed(http, one))[0])
            of_last.append((await _read_timed(http, other))[0])
    return of_first, of_last


async def _read_timed(http: aiohttp.ClientSession, address: str) -> tuple[float, bytes]:
    began = time.perf_counter()
    body = await _read(http, address)
    return (time.perf_counter() - began) * 1_000, body


async def fill(database: Database, key_ring: KeyRing, *, calendars: int, events: int) -> str:
    """A project with so many calendars, and so many events of theirs by one statement; a key to its API."""
    project_id = await add_project(database, key_ring)
    await add_calendars(database, key_ring, project_id=project_id, count=calendars)
    now = clock.now()
    numbers = _NUMBERS_SQLITE if database.is_sqlite else _NUMBERS_POSTGRESQL
    async with database.transaction() as tx:
        if database.is_sqlite:
            # The indexes are not filled in their own order: with a small cache their pages go to the disk and back.
            await tx.exec_driver_sql(f"PRAGMA cache_size = -{_FILLING_CACHE_KILOBYTES}")
        await tx.execute(
            text(numbers.format(count=events) + _FILL.format(calendars=calendars)).bindparams(
                bindparam("first_at", now, type_=UtcDateTime),
                bindparam("raw", _RAW, type_=Text),
            )
        )
    if not database.is_sqlite:
        await analyse(database)
    return await add_key(database, project_id)
