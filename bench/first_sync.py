"""First syncs of a hundred events: their CPU and rate, beside fetch, decode and one bulk upsert written by hand."""

import time
from contextlib import ExitStack
from functools import partial

from sqlalchemy import delete, func, select, update

from attendee import clock
from attendee.store.database import Database, wake_after_commit
from attendee.store.tables import calendars, events
from bench.filling import add_calendars, add_project, are_settled
from bench.quiet import Round
from bench.results import AtMost, Figure, Result
from bench.surroundings import BOTH, Platform, Process, Surroundings, until

_CALENDARS = 150
_EVENTS = 100
_ROUNDS = 3
_ROUND_SECONDS = 120


async def measure(surroundings: Surroundings) -> list[Result]:
    """CPU and rate on each database; the floor is measured between the rounds, on the same database and platform."""
    results = []
    for kind in BOTH:
        async with surroundings.database(kind) as at_hand:
            project_id = await add_project(at_hand.database, surroundings.key_ring)
            await add_calendars(
                at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS, are_synced=False
            )
            rounds, floors = [], []
            with ExitStack() as running:
                platform = running.enter_context(surroundings.platform(f"--events={_EVENTS}"))
                process = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
                for number in range(_ROUNDS + 1):
                    surroundings.tell(f"first syncs on {kind}: round {number} of {_ROUNDS}")
                    done = await sync_anew(at_hand.database, platform, process, events_each=_EVENTS)
                    await forget_events(at_hand.database)
                    if number:  # The first one fills caches and opens connections.
                        rounds.append(done)
                        floors.append(await surroundings.bare("bare_upsert", platform.address, at_hand.url))
                        await forget_events(at_hand.database)
        results += _judged(kind, rounds, floors)
    return results


def _judged(kind: str, rounds: list[Round], floors: list[dict[str, float]]) -> list[Result]:
    wall, cpu = sum(one.seconds for one in rounds), sum(one.cpu_seconds for one in rounds)
    return [
        Result(
            what=f"first sync of {_EVENTS} events: CPU",
            database=kind,
            unit="µs",
            ours=Figure.of([one.cpu_microseconds for one in rounds]),
            floor=Figure.of([one["cpu_seconds"] * 1e6 for one in floors]).median,
            target=AtMost(2, of_floor=True),
            wall_seconds=wall,
            cpu_seconds=cpu,
        ),
        Result(
            what=f"first sync of {_EVENTS} events: rate of one process",
            database=kind,
            unit="/s",
            ours=Figure.of([one.rate for one in rounds]),
            floor=Figure.of([1 / one["seconds"] for one in floors]).median,
            wall_seconds=wall,
            cpu_seconds=cpu,
        ),
    ]


async def sync_anew(database: Database, platform: Platform, process: Process, *, events_each: int) -> Round:
    """Makes every calendar due as if it had never been synced, and comes back when all have been.

    The clock runs from the first request that the platform sees until the last calendar is settled, since what comes
    after its request is the larger part. No event may be stored before.
    """
    await platform.forget()
    cpu_began = process.cpu_seconds()
    async with database.transaction() as tx:
        never = dict.fromkeys(("cursor", "listed_from", "listed_until", "next_listing_at"))
        await tx.execute(update(calendars).values(due_at=clock.now(), **never))
        wake_after_commit(tx, calendars.name)
    asked_at = time.perf_counter()
    await until(platform.syncs, seconds=_ROUND_SECONDS, what="the first request", every=0.005)
    noticed_after = time.perf_counter() - asked_at
    await until(partial(are_settled, database), seconds=_ROUND_SECONDS, what="syncing all calendars", every=0.05)
    seconds = time.perf_counter() - asked_at - noticed_after
    cpu = process.cpu_seconds() - cpu_began
    async with database.reading() as tx:
        count = await tx.scalar(select(func.count()).select_from(calendars)) or 0
        stored = await tx.scalar(select(func.count()).select_from(events))
    if stored != count * events_each:
        message = f"{count} first syncs of {events_each} events have stored {stored}"
        raise RuntimeError(message)
    return Round(count, seconds, cpu)


async def forget_events(database: Database) -> None:
    async with database.transaction() as tx:
        await tx.execute(delete(events))
