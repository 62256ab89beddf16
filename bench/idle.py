"""The CPU of a service whose calendars are not due."""

import asyncio
import time
from contextlib import AsyncExitStack

from bench.filling import add_calendars, add_project
from bench.results import AtMost, Figure, Result
from bench.surroundings import BOTH, Process, Surroundings

_CALENDARS = 10_000
_SETTLE_SECONDS = 3
_RUNS = 3
_RUN_SECONDS = 8


async def measure(surroundings: Surroundings) -> list[Result]:
    """The share of a core on each database, both at the same time: each process is asked for its own CPU."""
    processes: dict[str, Process] = {}
    async with AsyncExitStack() as running:
        platform = running.enter_context(surroundings.platform())
        for kind in BOTH:
            at_hand = await running.enter_async_context(surroundings.database(kind))
            project_id = await add_project(at_hand.database, surroundings.key_ring)
            await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS)
            processes[kind] = running.enter_context(surroundings.attendee("serve", at_hand, platform.address))
        await asyncio.sleep(_SETTLE_SECONDS)
        used: dict[str, list[float]] = {kind: [] for kind in BOTH}
        began = time.monotonic()
        for number in range(_RUNS):
            surroundings.tell(f"idle: {_RUN_SECONDS} seconds, run {number + 1} of {_RUNS}")
            before = {kind: process.cpu_seconds() for kind, process in processes.items()}
            await asyncio.sleep(_RUN_SECONDS)
            for kind, process in processes.items():
                used[kind].append(process.cpu_seconds() - before[kind])
        wall = time.monotonic() - began
    return [
        Result(
            what=f"idle with {_CALENDARS:,} calendars that are not due",
            database=kind,
            unit="% of a core",
            ours=Figure.of([cpu / _RUN_SECONDS * 100 for cpu in used[kind]]),
            target=AtMost(1),
            wall_seconds=wall,
            cpu_seconds=sum(used[kind]),
        )
        for kind in BOTH
    ]
