"""Syncs that find no change, with a cached token: how many a second one process does, and what CPU each one takes."""

import asyncio
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from attendee.store.database import Database
from bench.filling import add_calendars, add_project, are_settled, make_all_due
from bench.results import AtLeast, AtMost, Figure, Result
from bench.surroundings import BOTH, Platform, Process, Surroundings, until

_CALENDARS = 3_000
_ROUNDS = 4
_ROUND_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Round:
    """All calendars synced once. `cpu_seconds` are those of all processes together."""

    syncs: int
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        return self.syncs / self.seconds

    @property
    def cpu_microseconds(self) -> float:
        return self.cpu_seconds / self.syncs * 1e6


async def measure(surroundings: Surroundings) -> list[Result]:
    """Rate and CPU on each database; the floor is the bare request, measured between the rounds."""
    results = []
    for kind in BOTH:
        async with surroundings.database(kind) as at_hand:
            project_id = await add_project(at_hand.database, surroundings.key_ring)
            await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS)
            rounds, floors = [], []
            with ExitStack() as running:
                platform = running.enter_context(surroundings.platform())
                process = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
                for number in range(_ROUNDS + 1):
                    surroundings.tell(f"quiet syncs on {kind}: round {number} of {_ROUNDS}")
                    done = await sync_all(at_hand.database, platform, [process])
                    if number:  # The first one fills caches and opens connections.
                        rounds.append(done)
                        floors.append(await surroundings.bare_request(platform))
        results += _judged(kind, rounds, floors)
    return results


def _judged(kind: str, rounds: list[Round], floors: list[dict[str, float]]) -> list[Result]:
    wall, cpu = sum(one.seconds for one in rounds), sum(one.cpu_seconds for one in rounds)
    cpu_floor = Figure.of([one["cpu_seconds"] * 1e6 for one in floors]).median
    rate_floor = Figure.of([1 / one["seconds"] for one in floors]).median
    return [
        Result(
            what="sync with no change: CPU",
            database=kind,
            unit="µs",
            ours=Figure.of([one.cpu_microseconds for one in rounds]),
            floor=cpu_floor,
            target=AtMost(3, of_floor=True),
            wall_seconds=wall,
            cpu_seconds=cpu,
        ),
        Result(
            what="sync with no change: rate of one process",
            database=kind,
            unit="/s",
            ours=Figure.of([one.rate for one in rounds]),
            floor=rate_floor,
            target=AtLeast(800),
            wall_seconds=wall,
            cpu_seconds=cpu,
        ),
    ]


async def sync_all(
    database: Database, platform: Platform, processes: list[Process], *, at_most: int | None = None
) -> Round:
    """Makes every calendar due, or as many as `at_most`, and comes back when those have been synced.

    The clock runs from the first request that the platform sees to the last, so that it doesn't matter how soon the
    processes notice: on SQLite nobody tells them.
    """
    await platform.forget()
    cpu_began = sum(one.cpu_seconds() for one in processes)
    await make_all_due(database, at_most=at_most)
    await until(partial(are_settled, database), seconds=_ROUND_SECONDS, what="syncing all calendars")
    # What remains to be done after the last of them, such as asking for more work, belongs to it.
    await asyncio.sleep(0.2)
    cpu = sum(one.cpu_seconds() for one in processes) - cpu_began
    return Round(await platform.syncs(), await platform.seconds(), cpu)
