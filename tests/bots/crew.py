"""An installation with a runner in memory, and everything of a worker's that bots need, done one step at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from attendee.bots import reports
from attendee.bots.launch import Launcher, Orders
from attendee.bots.reports import Report
from attendee.bots.runners.port import Done, Order, Placed, Refused, Taken, Trouble
from attendee.bots.staging import Stager
from attendee.meetings import service_of
from attendee.model import BotEventType, BotId, LaunchId
from attendee.sandbox.world import Person
from attendee.store import bots, claims, tables
from attendee.store.bots import Bot
from attendee.store.launches import Launch
from tests.installation import Installation, installation

HEARTBEAT = timedelta(minutes=2)
LEAD = timedelta(minutes=5)
MEET = "https://meet.google.com/abc-defg-hij"


@dataclass
class Fleet:
    """Runs bots in memory. An order under a known id starts nothing new; what it is to answer can be laid down."""

    running: dict[BotId, LaunchId] = field(default_factory=dict)
    orders: list[Order] = field(default_factory=list)
    told: list[tuple[str, BotId]] = field(default_factory=list)
    answers: list[Any] = field(default_factory=list)
    # What happens elsewhere while the fleet is thinking.
    meanwhile: Callable[[], Awaitable[object]] | None = None
    host: str | None = None

    async def stage(self, order: Order) -> Taken | Refused | Trouble:
        self.orders.append(order)
        outcome: Taken | Refused | Trouble = await self._answer("stage", order.bot_id, Taken())
        if isinstance(outcome, Taken):
            assert self.running.get(order.bot_id) in {None, order.id}, "two bots in one meeting"
            self.running[order.bot_id] = order.id
        return outcome

    async def call_off(self, placed: Placed) -> Done | Trouble:
        outcome: Done | Trouble = await self._answer("call_off", placed.bot_id, Done())
        if isinstance(outcome, Done):
            self.running.pop(placed.bot_id, None)
        return outcome

    async def leave(self, placed: Placed) -> Done | Trouble:
        outcome: Done | Trouble = await self._answer("leave", placed.bot_id, Done())
        return outcome

    async def _answer(self, call: str, bot_id: BotId, usual: Any) -> Any:
        self.told.append((call, bot_id))
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            await meanwhile()
        return self.answers.pop(0) if self.answers else usual

    @property
    def ids(self) -> Sequence[LaunchId]:
        return [order.id for order in self.orders]


@dataclass
class Crew:
    """What a test acts on: `here` is the installation, `fleet` what runs its bots."""

    here: Installation
    fleet: Fleet
    launcher: Launcher
    stager: Stager

    async def work(self) -> None:
        """Does what is due of bots and launches now, until nothing is."""
        while await self.launch() or await self.stage():
            pass

    async def launch(self) -> int:
        """Does what is due of bots; of how many."""
        claimed = await self._claim(tables.bots)
        for row in claimed:
            await self.launcher.launch(Bot.from_row(row))
        return len(claimed)

    async def stage(self) -> int:
        """Tells the runner what is due; of how many launches."""
        claimed = await self.claim_launches()
        for launch in claimed:
            await self.stager.carry_out(launch)
        return len(claimed)

    async def claim_launches(self) -> list[Launch]:
        return [Launch.from_row(row) for row in await self._claim(tables.launches)]

    async def _claim(self, table: Any) -> list[Any]:
        async with self.here.database.transaction() as tx:
            return await claims.claim_due(tx, table, now=self.here.clock(), limit=100)

    async def report(self, bot: Bot, type: BotEventType, id: str = "") -> Bot:
        """What the runner's bot reports, as the route takes it in."""
        async with self.here.database.transaction() as tx:
            locked = await bots.lock(tx, bot.id)
            assert locked is not None
            report = Report(id or f"{type}-{locked.wakes}", type)
            return await reports.take_in(tx, locked, report, heartbeat=HEARTBEAT, now=self.here.clock())

    async def bot(self, bot: Bot) -> Bot | None:
        async with self.here.database.reading() as tx:
            return await bots.find(tx, bot.id)

    async def steps(self, bot: Bot) -> list[tuple[str, str | None]]:
        rows = await self.here.rows(tables.bot_events, tables.bot_events.c.bot_id == bot.id)
        return [(row.type, row.sub_type) for row in sorted(rows, key=lambda row: row.number)]

    async def launches(self) -> list[Launch]:
        return [Launch.from_row(row) for row in await self.here.rows(tables.launches)]

    async def scheduled(self, person: Person, **fields: Any) -> Bot:
        """A bot on the person's event `meeting`, whose calendar has synced."""
        calendar = await self.here.sync((await self.here.connect(person)).id)
        return await self.here.order_bot((await self.here.events(calendar.id))["meeting"], **fields)

    async def sync(self) -> None:
        """Every calendar is synced, as a push or a poll would have it."""
        for row in await self.here.rows(tables.calendars):
            await self.here.sync(row.id)

    async def staged(self, person: Person) -> Bot:
        """A bot that the fleet has, five minutes before its meeting at most."""
        bot = await self.scheduled(person)
        assert bot.join_at is not None
        self.here.clock.at = self.launcher.times.launch_at(bot.id, bot.join_at)
        await self.work()
        # Its calendar was asked first.
        self.here.clock.advance(timedelta(seconds=10))
        await self.work()
        taken = await self.bot(bot)
        assert taken is not None
        assert taken.state == "staged"
        return taken


@asynccontextmanager
async def crew(database_url: str) -> AsyncIterator[Crew]:
    fleet = Fleet()
    async with installation(database_url, lead=LEAD) as here:
        times = here.launch_times
        orders = Orders("https://attendee.example", service_of)
        launcher = Launcher(here.database, here.key_ring, here.clock, times, orders, HEARTBEAT)
        stager = Stager(here.database, here.key_ring, here.clock, fleet, times, HEARTBEAT)
        yield Crew(here, fleet, launcher, stager)
