"""The memory of one process that keeps many calendars in sync."""

import time
from contextlib import ExitStack
from functools import partial

from bench.filling import add_calendars, add_project, are_settled, make_all_due
from bench.quiet import sync_all
from bench.results import AtMost, Figure, Result
from bench.surroundings import BOTH, Surroundings, until

_CALENDARS = 10_000
# So many of them begin with a listing of so many events; the others have had theirs long ago.
_LISTED, _EVENTS = 1_000, 20
_ROUNDS = 2


async def measure(surroundings: Surroundings) -> list[Result]:
    """What is resident after each time that all calendars were synced; the most ever is a row of its own."""
    results = []
    for kind in BOTH:
        async with surroundings.database(kind) as at_hand:
            database, key_ring = at_hand.database, surroundings.key_ring
            project_id = await add_project(database, key_ring)
            await add_calendars(database, key_ring, project_id=project_id, count=_LISTED, are_synced=False)
            await make_all_due(database)
            with ExitStack() as running:
                platform = running.enter_context(surroundings.platform(f"--events={_EVENTS}"))
                process = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
                began = time.monotonic()
                surroundings.tell(f"memory on {kind}: {_LISTED:,} first syncs of {_EVENTS} events")
                await until(partial(are_settled, database), seconds=120, what="the first syncs")
                rest = _CALENDARS - _LISTED
                await add_calendars(database, key_ring, project_id=project_id, count=rest, first_number=_LISTED)
                resident = []
                for number in range(_ROUNDS):
                    surroundings.tell(f"memory on {kind}: {_CALENDARS:,} syncs, round {number + 1} of {_ROUNDS}")
                    await sync_all(database, platform, [process])
                    resident.append(process.resident_megabytes())
                most, cpu, wall = process.most_resident_megabytes(), process.cpu_seconds(), time.monotonic() - began
        results += [
            Result(
                what=f"memory with {_CALENDARS:,} calendars in sync{what}",
                database=kind,
                unit="MB",
                ours=figure,
                target=AtMost(150),
                wall_seconds=wall,
                cpu_seconds=cpu,
            )
            for what, figure in (("", Figure.of(resident)), (", at most", Figure.of([most])))
        ]
    return results
