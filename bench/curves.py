"""How figures grow: with calendars, events, workers, depth of pages, and slow receivers. `make bench ONLY=curves`."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

import aiohttp
from sqlalchemy import select

from attendee.store.database import Database
from attendee.store.tables import calendars as table
from bench import slow_receivers
from bench.filling import add_calendars, add_key, add_project
from bench.first_sync import forget_events, sync_anew
from bench.pages import fill, listing, walk
from bench.quiet import sync_all
from bench.results import Curve, Figure
from bench.surroundings import BOTH, POSTGRESQL, Platform, Process, Surroundings, until

_CALENDARS = (100, 1_000, 10_000, 100_000)
# Of a hundred thousand calendars so many are synced in a round; the others are only there.
_DUE_AT_MOST = 30_000
# So many calendars are asked for a sync by the API, one after the other.
_ASKED = 50
# Events of one calendar, and how many calendars are synced, so that each point takes seconds.
_EVENTS = {10: 400, 100: 200, 1_000: 40, 10_000: 10}
_WORKERS = (1, 2, 4, 8)
_CALENDARS_OF_WORKERS = 3_000
_EVENTS_IN_DEPTH = 3_000_000
_PAGES = 1_000
# So many pages make one point: the median of them.
_PAGES_A_POINT = 20
_SLOW = (0, 1, 10)


async def calendars(surroundings: Surroundings) -> list[Curve]:
    """Rate, CPU, latency and memory of one process; the second round counts, but for a hundred thousand the first.

    On SQLite a process idles for up to five seconds before a round, which shows in the CPU with a hundred calendars.
    """
    rate = Curve("calendars-rate", "Quiet syncs of one process", "calendars", "syncs/s")
    cpu = Curve("calendars-cpu", "CPU of a quiet sync", "calendars", "µs")
    latency = Curve("calendars-latency", "From POST .../sync to the platform's request", "calendars", "ms")
    memory = Curve("calendars-memory", "Memory of one process", "calendars", "MB")
    for kind in BOTH:
        for count in _CALENDARS:
            async with surroundings.database(kind) as at_hand:
                surroundings.tell(f"calendars on {kind}: {count:,}")
                project_id = await add_project(at_hand.database, surroundings.key_ring)
                await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=count)
                with ExitStack() as running:
                    platform = running.enter_context(surroundings.platform())
                    process = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
                    for _ in range(1 if count > _DUE_AT_MOST else 2):
                        done = await sync_all(at_hand.database, platform, [process], at_most=_DUE_AT_MOST)
                    rate.add(kind, count, done.rate)
                    cpu.add(kind, count, done.cpu_microseconds)
                    memory.add(kind, count, process.resident_megabytes())
                    key = await add_key(at_hand.database, project_id)
                    latency.add(kind, count, _median(await _ask(at_hand.database, process, platform, key)))
    return [rate, cpu, latency, memory]


async def _ask(database: Database, process: Process, platform: Platform, key: str) -> list[float]:
    """Milliseconds from each request for a sync, one after the other, until the platform is asked."""
    async with database.reading() as tx:
        ids = (await tx.execute(select(table.c.id).order_by(table.c.id).limit(_ASKED))).scalars().all()
    taken = []
    async with aiohttp.ClientSession(headers={"Authorization": f"Token {key}"}) as http:
        for id in ids:
            await platform.forget()
            began = time.perf_counter()
            async with http.post(f"{process.told}/api/v1/calendars/{id}/sync") as response:
                response.raise_for_status()
            await until(platform.syncs, seconds=10, what="the sync that was asked for", every=0.001)
            taken.append((time.perf_counter() - began) * 1_000)
    return taken


async def events(surroundings: Surroundings) -> list[Curve]:
    """CPU of a first sync, and on PostgreSQL of a quiet one after it, by the number of events of the calendar."""
    first = Curve("events-first", "CPU of a first sync", "events of the calendar", "ms")
    quiet = Curve("events-quiet", "CPU of a quiet sync", "events of the calendar", "ms")
    for kind in BOTH:
        for events_each, count in _EVENTS.items():
            async with surroundings.database(kind) as at_hand:
                surroundings.tell(f"events on {kind}: {events_each:,} each")
                project_id = await add_project(at_hand.database, surroundings.key_ring)
                await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=count)
                with ExitStack() as running:
                    platform = running.enter_context(surroundings.platform(f"--events={events_each}"))
                    process = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
                    # The first round fills caches and opens connections.
                    for _ in range(2):
                        await forget_events(at_hand.database)
                        done = await sync_anew(at_hand.database, platform, process, events_each=events_each)
                    first.add(kind, events_each, done.cpu_microseconds / 1_000)
                    if kind != POSTGRESQL:
                        # Nobody tells a process on SQLite that calendars were made due from here: it would idle
                        # for seconds before each round, and that is CPU too.
                        continue
                    # Few calendars are asked many times: CPU is counted in hundredths of a second.
                    rounds = [
                        await sync_all(at_hand.database, platform, [process]) for _ in range(max(1, 200 // count))
                    ]
                    syncs = sum(one.syncs for one in rounds)
                    quiet.add(kind, events_each, sum(one.cpu_seconds for one in rounds) / syncs * 1_000)
    return [first, quiet]


async def workers(surroundings: Surroundings) -> list[Curve]:
    """The rate of quiet syncs with so many worker processes on one PostgreSQL."""
    curve = Curve("workers", "Quiet syncs of several workers", "worker processes", "syncs/s")
    async with surroundings.database(POSTGRESQL) as at_hand:
        project_id = await add_project(at_hand.database, surroundings.key_ring)
        await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS_OF_WORKERS)
        for count in _WORKERS:
            surroundings.tell(f"workers: {count}")
            with ExitStack() as running:
                platform = running.enter_context(surroundings.platform())
                processes = [
                    running.enter_context(surroundings.attendee("worker", at_hand, platform.address))
                    for _ in range(count)
                ]
                rates = [(await sync_all(at_hand.database, platform, processes)).rate for _ in range(3)]
                curve.add(POSTGRESQL, count, Figure.of(rates[1:]).median)
    return [curve]


async def depth(surroundings: Surroundings) -> list[Curve]:
    """How long each page takes on the walk to page 1,000 of a project with three million events."""
    curve = Curve("pages-depth", f"Pages of {_EVENTS_IN_DEPTH:,} events", "page", "ms")
    for kind in BOTH:
        async with surroundings.database(kind) as at_hand:
            surroundings.tell(f"depth on {kind}: filling in {_EVENTS_IN_DEPTH:,} events")
            key = await fill(at_hand.database, surroundings.key_ring, calendars=10_000, events=_EVENTS_IN_DEPTH)
            surroundings.tell(f"depth on {kind}: walking")
            async with listing(surroundings, at_hand, key) as (http, _, address):
                await walk(http, address, pages=_PAGES_A_POINT)
                _, taken = await walk(http, address, pages=_PAGES)
            for number in range(0, _PAGES, _PAGES_A_POINT):
                curve.add(kind, number + 1, _median(taken[number : number + _PAGES_A_POINT]))
    return [curve]


async def receivers(surroundings: Surroundings) -> list[Curve]:
    """Deliveries to fast receivers a second, beside so many that take ten seconds for each."""
    curve = Curve("receivers", "Webhooks to fast receivers", "slow receivers beside them", "deliveries/s")
    for kind in BOTH:
        for slow in _SLOW:
            surroundings.tell(f"receivers on {kind}: {slow} slow")
            curve.add(kind, slow, await slow_receivers.rate(surroundings, kind, slow=slow))
    return [curve]


def _median(values: Sequence[float]) -> float:
    return Figure.of(values).median


CURVES = {
    "calendars": calendars,
    "events": events,
    "workers": workers,
    "depth": depth,
    "receivers": receivers,
}
