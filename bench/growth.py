"""What more worker processes bring, on one PostgreSQL: the rate of quiet syncs of one, two and four of them.

On a machine with few cores they share them with the database and the fake platform, and can't bring much.
"""

import os
from contextlib import ExitStack

from bench.filling import add_calendars, add_project
from bench.quiet import sync_all
from bench.results import Figure, Result
from bench.surroundings import POSTGRESQL, Surroundings

_CALENDARS = 3_000
_ROUNDS = 3
_WORKERS = (1, 2, 4)


async def measure(surroundings: Surroundings) -> list[Result]:
    """The rate with each number of workers; the floor is the rate of one."""
    results = []
    async with surroundings.database(POSTGRESQL) as at_hand:
        project_id = await add_project(at_hand.database, surroundings.key_ring)
        await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS)
        alone = None
        for count in _WORKERS:
            with ExitStack() as running:
                platform = running.enter_context(surroundings.platform())
                workers = [
                    running.enter_context(surroundings.attendee("worker", at_hand, platform.address))
                    for _ in range(count)
                ]
                rounds = []
                for number in range(_ROUNDS + 1):
                    surroundings.tell(f"quiet syncs of {count} workers: round {number} of {_ROUNDS}")
                    done = await sync_all(at_hand.database, platform, workers)
                    if number:  # The first one fills caches and opens connections.
                        rounds.append(done)
            rate = Figure.of([one.rate for one in rounds])
            alone = alone or rate.median
            results.append(
                Result(
                    what=f"quiet syncs of {count} worker processes on {os.cpu_count()} cores",
                    database=POSTGRESQL,
                    unit="/s",
                    ours=rate,
                    floor=alone,
                    wall_seconds=sum(one.seconds for one in rounds),
                    cpu_seconds=sum(one.cpu_seconds for one in rounds),
                )
            )
    return results
