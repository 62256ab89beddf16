"""How long things take in the meeting rooms, and how whoever lives there waits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from attendee.clock import Clock

# Comes back at that moment, at once if it is past.
Pause = Callable[[datetime], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """The defaults suit a person who watches. `heartbeat` must be well below what the service waits for."""

    asking: timedelta = timedelta(seconds=1)
    waiting: timedelta = timedelta(seconds=2)
    heartbeat: timedelta = timedelta(seconds=30)
    post_processing: timedelta = timedelta(seconds=2)
    # A report that can't be delivered is sent again after `first_retry`, then after twice as long each time.
    first_retry: timedelta = timedelta(seconds=0.5)
    longest_retry: timedelta = timedelta(seconds=15)
    retried_for: timedelta = timedelta(minutes=10)


def pause_by(clock: Clock) -> Pause:
    """Pauses that take as long as they say."""

    async def pause(until: datetime) -> None:
        await asyncio.sleep(max(0.0, (until - clock()).total_seconds()))

    return pause


async def rung(bell: asyncio.Event, *, until: datetime, pause: Pause) -> None:
    """Comes back when the bell rings, which is then ready to ring again, or at that moment."""
    tasks = [asyncio.ensure_future(bell.wait()), asyncio.ensure_future(pause(until))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    bell.clear()
