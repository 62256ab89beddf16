"""A whole installation without its processes: a database, a sandbox on loopback, and a clock that stands still."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
from sqlalchemy import event as sqlalchemy_event
from sqlalchemy import select

from attendee.bots.schedule import LaunchTimes
from attendee.meetings import find_meeting_url
from attendee.model import BotState, CalendarId, Platform, ProjectId, Trigger
from attendee.pipeline import Pipeline, SyncSettings
from attendee.providers.google import GoogleCalendar
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.providers.port import CalendarProvider
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.world import Person, World
from attendee.store import bots, calendars, claims, projects, subscriptions, tables
from attendee.store.bots import Bot, NewBot
from attendee.store.calendars import Calendar, NewCalendar
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.subscriptions import Subscription
from attendee.sync.schedule import Intervals
from attendee.worker import QuietSyncs

INTERVALS = Intervals(
    polled=timedelta(minutes=30),
    pushed=timedelta(hours=1),
    near=timedelta(minutes=1),
    soon=timedelta(minutes=5),
    debounce=timedelta(seconds=1),
)
START = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
KEY_RING = KeyRing([KeyRing.generate_key()])


@dataclass
class ManualClock:
    """A clock that stands still until it is moved."""

    at: datetime = START

    def __call__(self) -> datetime:
        return self.at

    def advance(self, by: timedelta) -> datetime:
        self.at += by
        return self.at


@dataclass
class Installation:
    """What a test acts on: the platforms' side is `world`, ours is the database and the pipeline."""

    clock: ManualClock
    database: Database
    world: World
    sandbox: SandboxServer
    http: aiohttp.ClientSession
    pipeline: Pipeline
    quiet: QuietSyncs
    project_id: ProjectId
    launch_times: LaunchTimes
    key_ring: KeyRing = KEY_RING
    people: dict[CalendarId, Person] = field(default_factory=dict)

    async def connect(self, person: Person, **fields: Any) -> Calendar:
        """A calendar of this person's, as `POST /calendars` makes it, due now."""
        new = NewCalendar(
            platform=Platform(person.platform.value),
            client_id=fields.pop("client_id", "sandbox-client"),
            client_secret=fields.pop("client_secret", "sandbox-secret"),
            refresh_token=fields.pop("refresh_token", None) or self.world.authorise(person),
            platform_uuid=fields.pop("platform_uuid", None),
            metadata=fields.pop("metadata", None),
            deduplication_key=fields.pop("deduplication_key", None),
        )
        project_id = fields.pop("project_id", self.project_id)
        async with self.database.transaction() as tx:
            calendar = await calendars.create(tx, new, project_id=project_id, key_ring=self.key_ring, now=self.clock())
        self.people[calendar.id] = person
        return calendar

    async def claim(self, calendar_id: CalendarId) -> Calendar:
        """The calendar, made due and claimed as a worker does."""
        async with self.database.transaction() as tx:
            await claims.wake(tx, tables.calendars, calendar_id, now=self.clock())
        async with self.database.transaction() as tx:
            others = await self._other_calendars(calendar_id)
            rows = await claims.claim_due(
                tx, tables.calendars, now=self.clock(), limit=1, excluding={("id",): [(other,) for other in others]}
            )
        if not rows:
            raise NotDue(calendar_id)
        return Calendar.from_row(rows[0])

    async def sync(self, calendar_id: CalendarId) -> Calendar:
        """One sync of the calendar, from the claim to the settled row. Raises NotDue while it is paused or held."""
        await self.pipeline.sync_calendar(await self.claim(calendar_id))
        await self.quiet.settle()
        return await self.calendar(calendar_id)

    async def sync_when_due(self, calendar_id: CalendarId) -> Calendar:
        """The sync that comes by itself, once its time has come: the clock is set forward to it if need be."""
        calendar = await self.calendar(calendar_id)
        self.clock.at = max(at for at in (self.clock(), calendar.due_at, calendar.claimed_until) if at is not None)
        return await self.sync(calendar_id)

    async def calendar(self, calendar_id: CalendarId) -> Calendar:
        (row,) = await self.rows(tables.calendars, tables.calendars.c.id == calendar_id)
        return Calendar.from_row(row)

    async def subscribe(self, url: str = "https://product.example/hook", **fields: Any) -> Subscription:
        """A subscription to both calendar triggers, unless told."""
        triggers = fields.pop("triggers", (Trigger.CALENDAR_EVENTS_UPDATE, Trigger.CALENDAR_STATE_CHANGE))
        project_id = fields.pop("project_id", self.project_id)
        new = subscriptions.NewSubscription(url, triggers)
        async with self.database.transaction() as tx:
            return await subscriptions.create(tx, new, project_id=project_id, now=self.clock())

    async def told(self, trigger: Trigger) -> list[dict[str, Any]]:
        """The bodies of all deliveries of the trigger so far, the oldest first."""
        rows = await self.rows(tables.deliveries, tables.deliveries.c.trigger == trigger.value)
        return [orjson.loads(row.body) for row in sorted(rows, key=lambda row: row.created_at)]

    async def order_bot(
        self, event: Any, *, state: BotState = BotState.SCHEDULED, deduplication_key: str | None = None
    ) -> Bot:
        """A bot on a stored event, as `POST /bots` makes it."""
        new = NewBot(
            "Notes", event.meeting_url, event.start_time, event.id, event.calendar_id, deduplication_key, None, {}
        )
        async with self.database.transaction() as tx:
            return await bots.create(
                tx,
                new,
                bot_id=(bot_id := bots.new_bot_id()),
                state=state,
                project_id=self.project_id,
                due_at=self.launch_times.first_due(
                    bot_id, join_at=event.start_time, has_link=event.meeting_url is not None, has_event=True
                ),
                now=self.clock(),
            )

    async def rows(self, table: Any, *conditions: Any) -> list[Any]:
        async with self.database.reading() as tx:
            return list((await tx.execute(select(table).where(*conditions))).all())

    async def events(self, calendar_id: CalendarId) -> dict[str, Any]:
        """The calendar's stored events by the platform's ids."""
        rows = await self.rows(tables.events, tables.events.c.calendar_id == calendar_id)
        return {row.platform_uuid: row for row in rows}

    @contextmanager
    def statements(self) -> Iterator[list[str]]:
        """Every statement that runs meanwhile, on the connections that write and on those that read."""
        seen: list[str] = []

        def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
            seen.append(statement)

        engines = {engine.sync_engine for engine in (self.database.engine, self.database._reader)}
        for engine in engines:
            sqlalchemy_event.listen(engine, "before_cursor_execute", note)
        try:
            yield seen
        finally:
            for engine in engines:
                sqlalchemy_event.remove(engine, "before_cursor_execute", note)

    @contextmanager
    def dying_at(self, step: int) -> Iterator[None]:
        """The process dies before the n-th statement or commit of this task: Crash is raised there."""
        left, task = step, asyncio.current_task()

        def count(*_: Any) -> None:
            nonlocal left
            # What is told to other processes after a commit is told by a task of its own.
            left -= asyncio.current_task() is task
            if left == 0:
                raise Crash

        engine = self.database.engine.sync_engine
        for name in ("before_cursor_execute", "commit"):
            sqlalchemy_event.listen(engine, name, count)
        try:
            yield
        finally:
            for name in ("before_cursor_execute", "commit"):
                sqlalchemy_event.remove(engine, name, count)

    async def _other_calendars(self, calendar_id: CalendarId) -> list[str]:
        async with self.database.reading() as tx:
            others = await tx.execute(select(tables.calendars.c.id).where(tables.calendars.c.id != calendar_id))
            return list(others.scalars())


async def until(condition: Callable[[], object]) -> None:
    """Comes back once the condition is truthy; everything else goes on meanwhile."""
    while not condition():  # noqa: ASYNC110  # what is waited for is plain state, which has no event to set
        await asyncio.sleep(0)


class Crash(BaseException):
    """The process died here: nothing catches that."""


class NotDue(Exception):
    """The calendar can't be claimed now."""


@asynccontextmanager
async def installation(
    database_url: str, *, wants_push: bool = False, lead: timedelta | None = None, key_ring: KeyRing = KEY_RING
) -> AsyncIterator[Installation]:
    """An installation over a fresh, migrated database, with one project. With a `lead` it has a runner, elsewhere."""
    clock = ManualClock()
    world = World(clock)
    database = Database(database_url)
    async with SandboxServer(world) as sandbox, aiohttp.ClientSession() as http:
        async with database.transaction() as tx:
            project = await projects.create(tx, "test", key_ring=key_ring, now=clock())
        quiet = QuietSyncs(database, INTERVALS)
        providers: dict[Platform, CalendarProvider] = {
            Platform.GOOGLE: GoogleCalendar(
                http=http,
                api_url=sandbox.google_url,
                token_url=f"{sandbox.google_url}/token",
                find_meeting_url=find_meeting_url,
            ),
            Platform.MICROSOFT: MicrosoftCalendar(
                http=http,
                graph_url=f"{sandbox.microsoft_url}/v1.0",
                token_url=f"{sandbox.microsoft_url}/common/oauth2/v2.0/token",
                find_meeting_url=find_meeting_url,
            ),
        }

        pipeline = Pipeline(
            database=database,
            providers=providers,
            key_ring=key_ring,
            clock=clock,
            settings=SyncSettings(
                past=timedelta(days=1),
                future=timedelta(days=28),
                intervals=INTERVALS,
                launch_times=LaunchTimes(lead),
                wants_push=wants_push,
            ),
            settle_quiet=quiet.add,
        )
        yield Installation(
            clock, database, world, sandbox, http, pipeline, quiet, project.id, LaunchTimes(lead), key_ring
        )
        await database.close()
