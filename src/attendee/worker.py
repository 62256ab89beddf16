"""The loop that does what is due: calendars to sync, webhooks to deliver, bots whose time has come.

For each kind of work: claim, run, wait for something to change, again. The rows are the queue, so that a worker that
dies loses nothing; a wake-up only shortens the wait.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import metrics
from attendee.clock import Clock
from attendee.errors import ClaimLost
from attendee.store import claims, tables
from attendee.store.database import EVERYTHING, TROUBLE, Database
from attendee.store.sync_state import QuietSync
from attendee.sync import turns
from attendee.sync.schedule import Intervals

log = structlog.get_logger(__name__)

# How long a claim's trouble with the database keeps the loop from asking again.
_AFTER_TROUBLE = 1.0
# Wake-ups only shorten the wait: what nobody told us of is found this late at worst.
_LONGEST_SLEEP = 5.0
# Quiet syncs that end within so many seconds are settled by one statement: what a transaction costs is shared by many.
_GATHERING = 0.05
# Places become free one by one, and are filled many at a time, for the same reason.
_BETWEEN_CLAIMS = 0.01
# What waits while there is little room, or room for others only, is asked for so often.
_WITHOUT_ROOM = 0.02
_STOP_WITHIN = 10.0
# Who takes longer for a row (in seconds) may hang: it is not to fill the places, and neither is a stranger.
_QUICKLY = 2.0
_FEW = 8
# Strangers and those who may hang have many places when they have more than this part of all.
_MANY = 4
_REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Job:
    """One kind of due work, `at_once` rows of it in flight.

    `shares` are columns, from the narrowest (a project's OAuth client) to the widest (a project): each value of the
    first may have no more in flight than there are places free, of the second no more than twice as many, and so on.
    """

    table: Table
    shares: Sequence[tuple[str, ...]]
    run: Callable[[Row[Any]], Awaitable[None]]
    at_once: int
    # Which rows this worker can do at all; None for all.
    among: ColumnElement[bool] | None = None
    # About how many rows of one value of the narrowest share may be in flight, however many places are free; of the
    # others as many times more as above. Whose last row was not done quickly, or who has had none, gets only a few.
    most_of_one: int | None = None
    cap: "Cap | None" = None


@dataclass(frozen=True, slots=True)
class Cap:
    """No value of `columns` has more than `most` rows in flight, whichever workers have claimed them."""

    columns: tuple[str, ...]
    most: int
    in_flight: Callable[[AsyncConnection, datetime], Awaitable[Mapping[tuple[str, ...], int]]]


class Worker:
    """Runs jobs until it is told to stop."""

    def __init__(self, *, database: Database, clock: Clock, jobs: Sequence[Job], quiet: "QuietSyncs") -> None:
        self._loops = [_Loop(job, database=database, clock=clock) for job in jobs]
        self._quiet = quiet
        self._database = database
        database.on_wake(self._wake)

    def _wake(self, table_name: str) -> None:
        for loop in self._loops:
            if table_name in {loop.job.table.name, EVERYTHING}:
                loop.wake()

    async def run(self, stop: asyncio.Event) -> None:
        """Works until `stop` is set, then finishes what is under way, for 10 seconds at most."""
        settling = asyncio.create_task(self._quiet.settle_until(stop))
        listening = asyncio.create_task(self._database.listen(stop))
        await asyncio.gather(*(loop.run(stop) for loop in self._loops))
        await settling
        await listening
        await self._quiet.settle()


class QuietSyncs:
    """Gathers the syncs that found nothing, and ends many of them in one statement: a commit each would cost more."""

    def __init__(self, database: Database, intervals: Intervals) -> None:
        self._database = database
        self._intervals = intervals
        self._gathered: list[QuietSync] = []
        self._something = asyncio.Event()

    def add(self, quiet: QuietSync) -> None:
        """Takes a quiet sync to be settled in a moment. Lost with the process, it is synced again."""
        self._gathered.append(quiet)
        self._something.set()

    async def settle_until(self, stop: asyncio.Event) -> None:
        """Settles what is gathered, until `stop` is set."""
        stopped = asyncio.create_task(stop.wait())
        while not stop.is_set():
            waiting = asyncio.create_task(self._something.wait())
            await asyncio.wait({waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            await asyncio.sleep(_GATHERING)
            await self.settle()

    async def settle(self) -> None:
        """Settles what is gathered so far; what the database refuses to take now is left to be claimed again."""
        self._something.clear()
        gathered, self._gathered = self._gathered, []
        if not gathered:
            return
        try:
            async with self._database.transaction() as tx:
                await turns.settle_quiet(tx, gathered, intervals=self._intervals)
            # One that was woken meanwhile may be due.
            self._database.wake_here(tables.calendars.name)
        except TROUBLE as trouble:
            log.warning("quiet_syncs_not_settled", count=len(gathered), error=str(trouble))


class _Loop:
    """Claims one kind of work and keeps its shares fair.

    Who has as many rows in flight as there are places free has to wait: one that hangs gets half of the places, two
    that hang a third each, and there is always room for another.
    """

    def __init__(self, job: Job, *, database: Database, clock: Clock) -> None:
        self.job = job
        self._database = database
        self._clock = clock
        self._changed = asyncio.Event()
        self._running: set[asyncio.Task[None]] = set()
        self._in_flight: dict[tuple[str, ...], Counter[tuple[str, ...]]] = {
            columns: Counter() for columns in job.shares
        }
        self._quick: set[tuple[str, ...]] = set()

    def wake(self) -> None:
        self._changed.set()

    async def run(self, stop: asyncio.Event) -> None:
        stopped = asyncio.create_task(stop.wait())
        while not stop.is_set():
            is_told = self._changed.is_set()
            self._changed.clear()
            try:
                pause = 0.0 if is_told or self._running else await self._until_due()
                if pause == 0:
                    pause = await self._claim()
            except TROUBLE as trouble:
                log.warning("claim_failed", work=self.job.table.name, error=str(trouble))
                pause = _AFTER_TROUBLE
            if pause > 0:
                changed = asyncio.create_task(self._changed.wait())
                await asyncio.wait({changed, stopped}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                changed.cancel()
            if self._running:
                await asyncio.sleep(_BETWEEN_CLAIMS)
        await self._finish()

    async def _finish(self) -> None:
        if self._running:
            _, late = await asyncio.wait(self._running, timeout=_STOP_WITHIN)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _until_due(self) -> float:
        """For how many seconds there is nothing to claim: what an idle loop asks, again and again."""
        async with self._database.reading() as tx:
            first_at = await claims.first_due_at(tx, self.job.table)
        return _LONGEST_SLEEP if first_at is None else self._pause_until(first_at)

    def _pause_until(self, at: datetime) -> float:
        return min(max((at - self._clock()) / timedelta(seconds=1), 0.0), _LONGEST_SLEEP)

    async def _claim(self) -> float:
        """Claims and starts what is due and has room; how many seconds to wait before asking again."""
        free = self.job.at_once - len(self._running)
        if free <= 0:
            return _LONGEST_SLEEP
        share = free if self.job.most_of_one is None else min(free, self.job.most_of_one)
        # Half of that at a time, so that one statement can't give a single project more than its share.
        limit = max(1, share // 2)
        full = self._full(share)
        if self.job.most_of_one is not None:
            narrowest = self.job.shares[0]
            few = max(1, self.job.most_of_one // _FEW)
            strange = {
                values: count for values, count in self._in_flight[narrowest].items() if values not in self._quick
            }
            full[narrowest] += [values for values, count in strange.items() if few <= count < share]
            # A claim of many may be all of another stranger: not while one of these could have it, or there are many.
            if min(strange.values(), default=few) < few or sum(strange.values()) > self.job.at_once // _MANY:
                limit = min(limit, few)
        now = self._clock()
        # What is counted must hold until the claim is made; a claim alone is one statement.
        together = self._database.autocommit() if self.job.cap is None else self._database.transaction()
        async with together as tx:
            if self.job.cap is not None:
                await claims.claim_alone(tx, self.job.table)
                limit = await _capped(tx, self.job.cap, full, limit=limit, now=now)
            rows = await claims.claim_due(
                tx, self.job.table, now=now, limit=limit, excluding=full, among=self.job.among
            )
            is_more_due = len(rows) == limit
            next_at = None if is_more_due else await claims.next_due_at(tx, self.job.table, after=now)
        for row in rows:
            self._start(row)
        if is_more_due:
            return _WITHOUT_ROOM if any(self._full(share - len(rows)).values()) else 0
        if next_at is None:
            return _LONGEST_SLEEP
        # What has fallen due just now waits for the next look, lest this one goes round and round.
        return max(self._pause_until(next_at), 0.001)

    def _full(self, share: int) -> dict[tuple[str, ...], list[tuple[str, ...]]]:
        """Who has as much in flight as the places that are free allow."""
        return {
            columns: [values for values, count in counts.items() if count >= width * share]
            for width, (columns, counts) in enumerate(self._in_flight.items(), start=1)
        }

    def _start(self, row: Row[Any]) -> None:
        shares = [
            (counts, tuple(getattr(row, column) for column in columns)) for columns, counts in self._in_flight.items()
        ]
        for counts, values in shares:
            counts[values] += 1
        task = asyncio.create_task(self._run_one(row))
        self._running.add(task)
        began = asyncio.get_running_loop().time()

        def ended(_: asyncio.Task[None]) -> None:
            self._running.discard(task)
            if self.job.most_of_one is not None:
                self._note_pace(shares[0][1], seconds=asyncio.get_running_loop().time() - began)
            for counts, values in shares:
                counts[values] -= 1
                if not counts[values]:
                    del counts[values]
            # It has made room, and may be due again: the loop has looked while it was claimed.
            self.wake()

        task.add_done_callback(ended)

    def _note_pace(self, values: tuple[str, ...], *, seconds: float) -> None:
        if seconds > _QUICKLY:
            self._quick.discard(values)
            return
        if len(self._quick) >= _REMEMBERED:
            self._quick.clear()
        self._quick.add(values)

    async def _run_one(self, row: Row[Any]) -> None:
        kind = self.job.table.name
        # On every line that is logged meanwhile, and no other, for the task has a context of its own: `run` tells one
        # sync of a calendar from the next.
        structlog.contextvars.bind_contextvars(work=kind, id=row.id, run=row.claim_id)
        try:
            await self.job.run(row)
        except ClaimLost:
            log.info("claim_lost")
        except Exception:
            # Nothing of this row's work is stored; its claim ends by itself and it is tried again.
            log.exception("work_failed")
            metrics.work_failed.labels(kind).inc()


async def _capped(
    tx: AsyncConnection, cap: Cap, full: dict[tuple[str, ...], list[tuple[str, ...]]], *, limit: int, now: datetime
) -> int:
    """How many rows may be claimed at once; who has all that the cap allows is added to `full`."""
    counts = await cap.in_flight(tx, now)
    full.setdefault(cap.columns, []).extend(values for values, count in counts.items() if count >= cap.most)
    # All of them may turn out to be of one value.
    return min(limit, cap.most, *(cap.most - count for count in counts.values() if count < cap.most))
