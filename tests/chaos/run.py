"""Chaos itself: calm, then changes and kills, then calm again, and what was broken."""

import asyncio
import random
import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg

from attendee import clock
from attendee.model import Trigger
from attendee.store import projects, subscriptions
from attendee.store.claims import LEASE
from attendee.store.columns import KeyRing
from attendee.store.database import Database, migrate
from attendee.store.subscriptions import NewSubscription
from tests.chaos.harness import (
    Client,
    Platforms,
    Processes,
    Receiver,
    environment_of_ours,
    free_port,
    running_platforms,
    running_receiver,
)
from tests.conftest import PostgresqlCluster

_CALM_SECONDS = 60
_TELL_EVERY_SECONDS = 5
# How long is waited for the claims of the dead, for what failed under fire to be tried again, and for the next polls.
_SETTLE_SECONDS = 240
_SETTLE_IN_A_HURRY_SECONDS = 90
# Short, so that a push that was lost is made up for soon.
_SYNC_SECONDS = 20

# Until a meeting that bots are to go to begins.
_AT_ONCE = timedelta(seconds=5)

QUEUES = ("calendars", "channels", "bots", "launches", "deliveries")


@dataclass(frozen=True)
class Plan:
    """`seconds` of changes and kills; the database is stopped and started again halfway through.

    Without `kill_every_seconds` nobody is killed and the database stays: that is load alone, and memory is looked at.
    With `hurries` every process is killed at the end, and the minute that their claims last, and whatever waits for
    its next try, is taken out of the rows instead of waited for: to the processes that are started then, it has passed.
    """

    seed: int
    seconds: float
    calendars: int
    serving: int
    working: int
    kill_every_seconds: float | None
    changes_a_second: float
    hurries: bool = False


@dataclass
class Stage:
    """All that takes part.

    `bots` are the orders that were confirmed, by their deduplication keys; `outage` is when there was no database;
    `memory` is what each process had resident, in bytes, time after time.
    """

    plan: Plan
    choose: random.Random
    cluster: PostgresqlCluster
    database_url: str
    platforms: Platforms
    receiver: Receiver
    processes: Processes
    client: Client
    http: aiohttp.ClientSession
    tell: Callable[[str], None]
    calendars: dict[str, str] = field(default_factory=dict)
    bots: dict[str, dict[str, Any]] = field(default_factory=dict)
    orders: int = 0
    memory: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    outage: tuple[datetime, datetime] = field(default_factory=lambda: (clock.now(), clock.now()))
    began: float = field(default_factory=time.monotonic)

    async def rows(self, query: str, *arguments: Any) -> list[Any]:
        """What a query finds, asked as somebody who looks on from outside."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(query, *arguments))
        finally:
            await connection.close()

    def say(self, text: str) -> None:
        self.tell(f"{time.monotonic() - self.began:6.1f} s  {text}")

    @property
    def figures(self) -> str:
        requests, receiver = self.platforms.requests, self.receiver
        return (
            f"{self.platforms.changes} changes, {self.processes.kills} kills, {len(self.bots)} bots, "
            f"{len(receiver.told)} webhooks taken of {receiver.tries} tries, {requests.count} listings and deltas, "
            f"{self.client.lost} API calls asked again"
        )


@asynccontextmanager
async def set_stage(plan: Plan, tell: Callable[[str], None]) -> AsyncGenerator[Stage]:
    """Everything up but the processes, which are started; it is all gone afterwards."""
    choose = random.Random(plan.seed)
    directory = Path(tempfile.mkdtemp(prefix="attendee-chaos-"))
    cluster = PostgresqlCluster()
    key = KeyRing.generate_key()
    processes = Processes(directory, cluster._directory, {})
    try:
        await asyncio.to_thread(_start_cluster, cluster)
        name = await asyncio.to_thread(cluster.create_database)
        # The cluster forgets its last commits in a crash, which no database that matters is told to do.
        await asyncio.to_thread(cluster.execute, f'ALTER DATABASE "{name}" SET synchronous_commit = on')
        url = cluster.url(name)
        await migrate(url)
        async with (
            running_platforms(choose) as platforms,
            running_receiver(random.Random(plan.seed + 1)) as receiver,
            aiohttp.ClientSession() as http,
        ):
            api_key = await _make_project(url, key, receiver.url)
            processes.environment = environment_of_ours(
                DATABASE_URL=url,
                ENCRYPTION_KEYS=key,
                GOOGLE_API_URL=platforms.sandbox.google_url,
                GOOGLE_TOKEN_URL=f"{platforms.sandbox.google_url}/token",
                MICROSOFT_GRAPH_URL=f"{platforms.sandbox.microsoft_url}/v1.0",
                MICROSOFT_TOKEN_URL=f"{platforms.sandbox.microsoft_url}/common/oauth2/v2.0/token",
                SYNC_INTERVAL_SECONDS=str(_SYNC_SECONDS),
                PUSH_SYNC_INTERVAL_SECONDS=str(_SYNC_SECONDS),
                BOT_RUNNER="http",
                BOT_RUNNER_URL=platforms.sandbox.fleet_url,
                # Far longer than this lasts: what begins soon is staged at once, and may be called off.
                BOT_LAUNCH_LEAD_SECONDS="3600",
                ALLOW_INSECURE_WEBHOOKS="true",
                LOG_FORMAT="json",
                LOG_LEVEL="warning",
            )
            addresses = _cast(processes, plan)
            client = Client(http, addresses, api_key)
            yield Stage(plan, choose, cluster, url, platforms, receiver, processes, client, http, tell)
    finally:
        processes.end()
        await asyncio.to_thread(cluster.remove)
        shutil.rmtree(directory)


def _start_cluster(cluster: PostgresqlCluster) -> None:
    cluster.create()
    cluster.start()


async def _make_project(url: str, key: str, receiver_url: str) -> str:
    database, key_ring, now = Database(url), KeyRing([key]), clock.now()
    try:
        async with database.transaction() as tx:
            project = await projects.create(tx, "chaos", key_ring=key_ring, now=now)
            _, secret = await projects.create_key(tx, project.id, name="chaos", now=now)
            triggers = (Trigger.CALENDAR_EVENTS_UPDATE, Trigger.CALENDAR_STATE_CHANGE, Trigger.BOT_STATE_CHANGE)
            await subscriptions.create(tx, NewSubscription(receiver_url, triggers), project_id=project.id, now=now)
            return secret
    finally:
        await database.close()


def _cast(processes: Processes, plan: Plan) -> list[str]:
    """The addresses of those who serve: each is what platforms push to for its own, the first for mere workers."""
    ports = [free_port() for _ in range(plan.serving)]
    addresses = [f"http://127.0.0.1:{port}" for port in ports]
    for number, port in enumerate(ports):
        processes.add(f"serve-{number}", "serve", PORT=str(port), PUBLIC_URL=addresses[number])
    for number in range(plan.working):
        processes.add(f"worker-{number}", "worker", PUBLIC_URL=addresses[0])
    return addresses


async def connect_calendars(stage: Stage) -> None:
    """Starts the processes, and comes back when every calendar is connected and has been synced."""
    for name in stage.processes.commands:
        stage.processes.start(name)
    stage.platforms.add_people(stage.plan.calendars)
    for person in stage.platforms.world.people.values():
        new = {
            "platform": person.platform.value,
            "client_id": "sandbox-client",
            "client_secret": "sandbox-secret",
            "refresh_token": stage.platforms.world.authorise(person),
            "deduplication_key": person.email,
        }
        status, calendar = await stage.client.call("POST", "/calendars", new)
        assert status == 201, calendar
        stage.calendars[calendar["id"]] = person.email
    async with asyncio.timeout(_CALM_SECONDS):
        unsynced = "SELECT id FROM calendars WHERE last_successful_sync_at IS NULL"
        while await stage.rows(unsynced):  # noqa: ASYNC110  # what is waited for happens in other processes
            await asyncio.sleep(0.1)
    stage.say(f"{stage.plan.calendars} calendars are connected and synced")


async def wreak_havoc(stage: Stage) -> None:
    """Changes events, orders bots, and as planned kills processes and starts them again, and the database once."""
    # One bot at least gets to its meeting, however busy the machine is that this runs on.
    await _call_meeting(stage, begins_in=_AT_ONCE, until=time.monotonic() + _CALM_SECONDS)
    works: list[Callable[..., Coroutine[Any, Any, None]]] = [_change, _order, _meet, _meet, _meet, _report]
    if stage.plan.kill_every_seconds is not None:
        works += [_kill, _restart_database]
    async with asyncio.TaskGroup() as tasks:
        for work in works:
            tasks.create_task(work(stage, until=time.monotonic() + stage.plan.seconds))


async def _change(stage: Stage, *, until: float) -> None:
    while time.monotonic() < until:
        stage.platforms.change_something()
        await asyncio.sleep(stage.choose.expovariate(stage.plan.changes_a_second))


async def _meet(stage: Stage, *, until: float) -> None:
    """Meetings that begin while this lasts, and some that begin later and may be cancelled: a bot is sent to each."""
    while time.monotonic() < until:
        await _call_meeting(stage, begins_in=stage.choose.choice((_AT_ONCE, timedelta(minutes=40))), until=until)


async def _call_meeting(stage: Stage, *, begins_in: timedelta, until: float) -> None:
    calendar, entry = stage.platforms.call_meeting(begins_in=begins_in)
    calendar_id = next(id for id, email in stage.calendars.items() if email == calendar.owner)
    found: list[dict[str, Any]] = []
    while not found and time.monotonic() < until:
        await asyncio.sleep(0.2)
        _, page = await stage.client.call("GET", f"/calendar_events?calendar_id={calendar_id}&page_size=500")
        found = [one for one in page["results"] if one["name"] == entry.details.title]
    orders = [await _send_bot(stage, event) for event in found]
    if begins_in > _AT_ONCE and stage.choose.random() < 0.5:
        # So that what is called off has been launched, unless those who launch it are dead for now.
        while await _is_scheduled(stage, orders) and time.monotonic() < until:  # noqa: ASYNC110  # as above
            await asyncio.sleep(0.2)
        calendar.delete(entry.id)


async def _is_scheduled(stage: Stage, orders: list[str]) -> bool:
    # By the API, which is asked until it answers: the database may be away just now.
    bots = [stage.bots[key]["id"] for key in orders if key in stage.bots]
    answers = [await stage.client.call("GET", f"/bots/{bot_id}") for bot_id in bots]
    return any(status == 200 and bot["state"] == "scheduled" for status, bot in answers)


async def _order(stage: Stage, *, until: float) -> None:
    while time.monotonic() < until:
        calendar_id = stage.choose.choice(list(stage.calendars))
        status, page = await stage.client.call("GET", f"/calendar_events?calendar_id={calendar_id}&page_size=500")
        assert status == 200, page
        free = [one for one in page["results"] if not one["is_deleted"] and one["meeting_url"]]
        if free:
            await _send_bot(stage, stage.choose.choice(free))
        await asyncio.sleep(0.1)


async def _send_bot(stage: Stage, event: dict[str, Any]) -> str:
    """Orders a bot, and says by which deduplication key."""
    stage.orders += 1
    key = f"order-{stage.orders}"
    order = {"bot_name": "Notes", "calendar_event_id": event["id"], "deduplication_key": key}
    status, bot = await stage.client.call("POST", "/bots", order)
    # Refused where the event was deleted in between, or where the answer to the first asking was lost.
    assert status in {201, 400}, bot
    if status == 201:
        stage.bots[key] = bot
    return key


async def _kill(stage: Stage, *, until: float) -> None:
    """One after the other, and each is started again soon after."""
    processes, choose = stage.processes, stage.choose
    assert stage.plan.kill_every_seconds is not None, "else nobody is killed"
    while time.monotonic() < until:
        await asyncio.sleep(choose.uniform(0.3, 1.7) * stage.plan.kill_every_seconds)
        alive = processes.alive()
        if alive:
            processes.kill(choose.choice(alive))
        # The one from before; it has been gone for a while.
        for name in processes.missing()[: choose.randint(1, 2)]:
            processes.start(name)


async def _restart_database(stage: Stage, *, until: float) -> None:
    await asyncio.sleep((until - time.monotonic()) / 2)
    gone_at = clock.now()
    await asyncio.to_thread(stage.cluster.stop, "immediate")
    # Until everybody who is alive has felt it.
    while await stage.client.is_anybody_ready():  # noqa: ASYNC110  # as above
        await asyncio.sleep(0.1)
    await asyncio.to_thread(stage.cluster.start)
    stage.outage = (gone_at, clock.now())
    stage.say("PostgreSQL was pulled out and is back")


async def _report(stage: Stage, *, until: float) -> None:
    while time.monotonic() < until:
        stage.say(stage.figures)
        for name, resident in stage.processes.memory().items():
            stage.memory[name].append(resident)
        await asyncio.sleep(_TELL_EVERY_SECONDS)


async def calm_down(stage: Stage) -> None:
    """Kills nobody any more, and comes back when everything that is due has been done. Raises TimeoutError."""
    stage.receiver.is_moody = False
    stage.platforms.world.faults.switch_off()
    stage.platforms.requests.note_from_now()
    if stage.plan.hurries:
        await _let_a_minute_pass(stage)
    patience = _SETTLE_IN_A_HURRY_SECONDS if stage.plan.hurries else _SETTLE_SECONDS
    deadline = time.monotonic() + patience
    told_at = 0.0
    while left := await _still_to_do(stage):
        for name in stage.processes.missing():
            stage.processes.start(name)
        if time.monotonic() - told_at > _TELL_EVERY_SECONDS:
            told_at = time.monotonic()
            stage.say(f"still to be done: {left}")
        if time.monotonic() > deadline:
            message = f"{patience} seconds after the last kill there is still to be done: {left}"
            raise TimeoutError(message)
        await asyncio.sleep(0.5)
    stage.say(f"calm again: {stage.figures}")


async def _let_a_minute_pass(stage: Stage) -> None:
    for name in stage.processes.alive():
        stage.processes.kill(name)
    # What the dead had asked for is answered, so that it is not taken for requests of the living.
    await asyncio.sleep(0.3)
    stage.platforms.requests.note_from_now()
    for table in QUEUES:
        # A bot's time is its meeting's, which is as far off as before.
        names = ("claimed_until",) if table == "bots" else ("claimed_until", "due_at")
        for name in names:
            await stage.rows(f"UPDATE {table} SET {name} = {name} - $1::interval", LEASE)  # noqa: S608  # names of ours


async def _still_to_do(stage: Stage) -> str:
    """What is still to be done, in words; empty when every calendar was synced after the last change."""
    asked, now = stage.platforms.requests.first_asked_after, clock.now()
    synced = await stage.rows("SELECT deduplication_key, last_successful_sync_at AS at FROM calendars")
    behind = sum(asked.get(row["deduplication_key"], now) >= row["at"] for row in synced)
    pending = len(await stage.rows("SELECT id FROM deliveries WHERE state = 'pending'"))
    opening = len(await stage.rows("SELECT id FROM channels WHERE claim_id IS NOT NULL OR due_at < $1", now))
    # Once all bots have been launched or called off whose time it is.
    untold = "SELECT id FROM launches WHERE state <> 'taken'"
    unlaunched = "SELECT id FROM bots WHERE state = 'scheduled' AND due_at < $1"
    launching = len(await stage.rows(untold)) + len(await stage.rows(unlaunched, now))
    parts = {"calendars": behind, "webhooks": pending, "channels": opening, "launches": launching}
    return ", ".join(f"{count} {name}" for name, count in parts.items() if count)
