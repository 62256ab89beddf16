"""A receiver of webhooks on loopback that answers as it is told, and a sender that sends to it."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import orjson
from aiohttp import web

from attendee.outgoing import Outgoing
from attendee.store import claims, tables
from attendee.store.deliveries import Delivery
from attendee.webhooks.send import Sender
from tests.installation import Installation


@dataclass
class Receiver:
    """Gives out `answers` in order (status and text), then 200; `bodies` and `headers` are what it was sent.

    `says` goes with every answer, as headers. While `hang` is there and not set, nothing is answered.
    """

    url: str = ""
    answers: deque[tuple[int, str]] = field(default_factory=deque)
    bodies: list[bytes] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    says: dict[str, str] = field(default_factory=dict)
    hang: asyncio.Event | None = None

    @property
    def parsed(self) -> list[Any]:
        return [orjson.loads(body) for body in self.bodies]

    async def take(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.headers.append(dict(request.headers))
        if self.hang is not None:
            await self.hang.wait()
        status, text = self.answers.popleft() if self.answers else (200, "")
        location = {"Location": self.url} if 300 <= status < 400 else {}
        return web.Response(status=status, text=text, headers=location | self.says)


@asynccontextmanager
async def running_receiver() -> AsyncIterator[Receiver]:
    """A receiver, gone afterwards."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


@asynccontextmanager
async def running_sender(here: Installation) -> AsyncIterator[Sender]:
    """What the worker sends with; loopback is allowed."""
    outgoing = Outgoing(allow_private=True, timeout=timedelta(seconds=20))
    yield Sender(here.database, outgoing, here.key_ring, here.clock)
    await outgoing.close()


async def claim_deliveries(here: Installation) -> list[Delivery]:
    """Everything that is to be sent now, claimed as a worker does."""
    async with here.database.transaction() as tx:
        rows = await claims.claim_due(tx, tables.deliveries, now=here.clock(), limit=100)
    return [Delivery.from_row(row) for row in rows]


async def send_due(here: Installation, sender: Sender) -> int:
    """Tries everything that is to be sent now, once; how much that was."""
    claimed = await claim_deliveries(here)
    for delivery in claimed:
        await sender.send(delivery)
    return len(claimed)
