"""Sends what a bot reports: one report after the other, each again and again under its id until it is taken."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp
import orjson

from attendee.clock import Clock, written
from attendee.sandbox.faults import FaultKind, Faults, Place
from attendee.sandbox.timings import Pause, Timings

TIMEOUT = aiohttp.ClientTimeout(total=15)
HEARTBEAT = "heartbeat"


@dataclass(slots=True, kw_only=True)
class Report:
    """One report; `status` is what it was answered with, None as long as it wasn't."""

    body: dict[str, Any]
    status: int | None = None

    @property
    def type(self) -> str:
        """What it tells."""
        return str(self.body["type"])


@dataclass(slots=True, kw_only=True)
class Reporter:
    """The reports of one launch of a bot. `refused` hears of a refusal that the bot must heed: 404 or 409.

    `targets` are the names under which faults know the bot.
    """

    session: aiohttp.ClientSession
    address: str
    token: str = field(repr=False)
    targets: tuple[str, ...]
    refused: Callable[[int, str | None], None]
    faults: Faults
    timings: Timings
    clock: Clock
    pause: Pause
    reports: list[Report] = field(default_factory=list)
    _is_dropped: bool = False
    _queue: asyncio.Queue[Report | None] = field(default_factory=asyncio.Queue)

    def add(self, type_: str, *, sub_type: str | None = None, **more: Any) -> None:
        """Reports this, after all that was reported before; `more` are `metadata` and `data`."""
        body: dict[str, Any] = {
            "id": uuid4().hex,
            "type": type_,
            "sub_type": sub_type,
            "created_at": written(self.clock()),
            "metadata": {},
        }
        report = Report(body=body | more)
        self.reports.append(report)
        self._queue.put_nowait(report)

    def beat(self) -> None:
        """Reports that the bot is alive, unless something is under way that says so too."""
        if self._queue.empty():
            self.add(HEARTBEAT)

    def drop(self) -> None:
        """Nothing is sent any more, not even what waits."""
        self._is_dropped = True

    def finish(self) -> None:
        """Nothing more will be reported: `send` ends once all has been."""
        self._queue.put_nowait(None)

    async def settled(self) -> None:
        """Comes back when all that was reported so far has been answered or given up."""
        await self._queue.join()

    async def send(self) -> None:
        """Sends the reports in order until `finish`. Two that a fault swaps go out the other way round."""
        while (report := await self._queue.get()) is not None:
            if self._strikes(FaultKind.REPORTS_OUT_OF_ORDER):
                later = await self._queue.get()
                if later is None:
                    await self._deliver(report)
                    break
                await self._deliver(later, is_heeded=False)
                self._queue.task_done()
                await self._deliver(report, is_heeded=False)
            else:
                await self._deliver(report)
            self._queue.task_done()
        self._queue.task_done()

    async def _deliver(self, report: Report, *, is_heeded: bool = True) -> None:
        if self._is_dropped:
            return
        answer = await self._post_until_answered(report)
        if self._strikes(FaultKind.DUPLICATE_REPORTS):
            await self._post_until_answered(report)
        if answer is None:
            return
        report.status, state = answer
        if is_heeded and report.status in (404, 409):
            self.refused(report.status, state)

    async def _post_until_answered(self, report: Report) -> tuple[int, str | None] | None:
        """Status and state of the first answer that is one; None if there was none for too long."""
        delay = self.timings.first_retry
        given_up_at = self.clock() + self.timings.retried_for
        while True:
            try:
                answer = await self._post(report)
            except (aiohttp.ClientError, TimeoutError):
                pass
            else:
                if answer[0] < 500 and answer[0] != 429:
                    return answer
            again_at = self.clock() + delay
            if again_at > given_up_at:
                return None
            await self.pause(again_at)
            delay = min(2 * delay, self.timings.longest_retry)

    async def _post(self, report: Report) -> tuple[int, str | None]:
        async with self.session.post(
            self.address,
            data=orjson.dumps(report.body),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            allow_redirects=False,
        ) as answer:
            try:
                body = orjson.loads(await answer.read())
            except orjson.JSONDecodeError:
                body = None
            state = body.get("state") if isinstance(body, dict) else None
            return answer.status, state if isinstance(state, str) else None

    def _strikes(self, kind: FaultKind) -> bool:
        return self.faults.strike(Place.FLEET, self.targets, kind) is not None
