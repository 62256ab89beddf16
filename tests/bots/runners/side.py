"""One installation that runs its bots: its API on loopback, and all that is due done when a test says so."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp

from attendee.bots.launch import Launcher, Orders
from attendee.bots.runners.port import Runner
from attendee.bots.schedule import LaunchTimes
from attendee.bots.staging import Stager
from attendee.clock import Clock
from attendee.meetings import MeetingLinks
from attendee.model import ProjectId
from attendee.outgoing import Outgoing
from attendee.store import claims, projects, tables
from attendee.store.bots import Bot
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.deliveries import Delivery
from attendee.store.launches import Launch
from attendee.webhooks.send import Sender
from tests.api.serving import HEARTBEAT, Client, new_app, new_project, served_app


@dataclass
class Side:
    """Acts over its API; `work` does what a worker does."""

    database: Database
    clock: Clock
    client: Client
    launcher: Launcher
    stager: Stager
    sender: Sender

    async def work(self) -> None:
        """Everything that is due now, and what falls due by that, until nothing is."""
        while await self.work_once():
            pass

    async def work_once(self) -> int:
        """What is due now, once; how much that was."""
        bots = [Bot.from_row(row) for row in await self._claim(tables.bots)]
        for bot in bots:
            await self.launcher.launch(bot)
        launches = [Launch.from_row(row) for row in await self._claim(tables.launches)]
        for launch in launches:
            await self.stager.carry_out(launch)
        deliveries = [Delivery.from_row(row) for row in await self._claim(tables.deliveries)]
        for delivery in deliveries:
            await self.sender.send(delivery)
        return len(bots) + len(launches) + len(deliveries)

    async def bot(self, bot_id: str) -> Any:
        answer = await self.client.get(f"/bots/{bot_id}")
        assert answer.status == 200, answer.raw
        return answer.json

    async def life(self, bot_id: str) -> list[str]:
        """The types of the steps of a bot's life, in order."""
        return [step["type"] for step in (await self.bot(bot_id))["events"]]

    async def launches(self) -> list[Any]:
        async with self.database.reading() as tx:
            return list((await tx.execute(tables.launches.select())).all())

    async def _claim(self, table: Any) -> list[Any]:
        async with self.database.transaction() as tx:
            return list(await claims.claim_due(tx, table, now=self.clock(), limit=100))


@asynccontextmanager
async def running_side(
    database: Database,
    *,
    key_ring: KeyRing,
    clock: Clock,
    runner_of: Callable[[aiohttp.ClientSession, str], Runner],
    times: LaunchTimes = LaunchTimes(timedelta(minutes=5)),  # noqa: B008  # it never changes
    project_id: ProjectId | None = None,
    allow_insecure_webhooks: bool = True,
) -> AsyncIterator[Side]:
    """An installation whose bots report to its address, and a client of the project's, or of a new one.

    `runner_of` makes what runs its bots, from a session and that address.
    """
    app = new_app(
        database,
        key_ring=key_ring,
        clock=clock,
        allow_insecure_webhooks=allow_insecure_webhooks,
        launch_times=times,
    )
    if project_id is None:
        project_id, _ = await new_project(database, key_ring, name="Side")
    async with database.transaction() as tx:
        _, key = await projects.create_key(tx, project_id, name="side", now=clock())
    outgoing = Outgoing(allow_private=True, timeout=timedelta(seconds=20))
    async with served_app(app) as address, aiohttp.ClientSession() as http:
        runner = runner_of(http, address)
        yield Side(
            database,
            clock,
            Client(http, address, key),
            Launcher(database, key_ring, clock, times, Orders(address, MeetingLinks().service_of), HEARTBEAT),
            Stager(database, key_ring, clock, runner, times, HEARTBEAT),
            Sender(database, outgoing, key_ring, clock),
        )
    await outgoing.close()
