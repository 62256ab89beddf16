"""Sends push messages for real: a task each, a few attempts, in the order of the changes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import aiohttp

# Platforms retry for hours; a sandbox that is looked at by a person gives up sooner.
RETRY_DELAYS = (1.0, 2.0, 4.0)
RETRIED_STATUSES = frozenset({500, 502, 503, 504})
TIMEOUT = aiohttp.ClientTimeout(total=30)


@dataclass(slots=True)
class Pushes:
    """The sender, for as long as the server runs: before `start` and after `stop` nothing is sent."""

    session: aiohttp.ClientSession | None = None
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def start(self) -> None:
        """Sends from now on."""
        self.session = aiohttp.ClientSession(timeout=TIMEOUT)

    async def stop(self) -> None:
        """Drops what is still under way."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        if self.session is not None:
            await self.session.close()
            self.session = None

    def send(self, address: str, *, headers: dict[str, str], body: bytes = b"") -> None:
        """Posts in the background; failures are the receiver's loss."""
        if self.session is not None:
            task = asyncio.get_running_loop().create_task(self._deliver(self.session, address, headers, body))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def settled(self) -> None:
        """Comes back when every message so far has been answered or given up."""
        while self.tasks:
            await asyncio.gather(*self.tasks, return_exceptions=True)

    async def _deliver(
        self, session: aiohttp.ClientSession, address: str, headers: dict[str, str], body: bytes
    ) -> None:
        for delay in (*RETRY_DELAYS, None):
            try:
                async with session.post(address, data=body, headers=headers, allow_redirects=False) as answer:
                    if answer.status not in RETRIED_STATUSES:
                        return
            except (aiohttp.ClientError, TimeoutError):
                pass
            if delay is not None:
                await asyncio.sleep(delay)
