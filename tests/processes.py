"""The real processes of a service over a sandbox, and a client of theirs."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aiohttp

from attendee import clock
from attendee.model import Trigger
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.grants import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from attendee.sandbox.world import World
from attendee.store import projects, subscriptions
from attendee.store.columns import KeyRing
from attendee.store.database import Database, migrate
from attendee.store.subscriptions import NewSubscription
from tests.api.serving import Client
from tests.command_line import CommandLine, Running

# Far longer than any test: nothing is found by asking.
NEVER = "86400"


def settings_for(sandbox: SandboxServer, *, database_url: str) -> dict[str, str]:
    """The sandbox as platforms and fleet, and polling switched off as far as can be."""
    port = _free_port()
    return {
        "DATABASE_URL": database_url,
        "ENCRYPTION_KEYS": KeyRing.generate_key(),
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "ALLOW_INSECURE_WEBHOOKS": "true",
        "GOOGLE_API_URL": sandbox.google_url,
        "GOOGLE_TOKEN_URL": f"{sandbox.google_url}/token",
        "MICROSOFT_GRAPH_URL": f"{sandbox.microsoft_url}/v1.0",
        "MICROSOFT_TOKEN_URL": f"{sandbox.microsoft_url}/common/oauth2/v2.0/token",
        "MEETING_HOSTS": f"sandbox={sandbox.url}",
        "BOT_RUNNER": "http",
        "BOT_RUNNER_URL": sandbox.fleet_url,
        "SYNC_INTERVAL_SECONDS": NEVER,
        "PUSH_SYNC_INTERVAL_SECONDS": NEVER,
        "SYNC_INTERVAL_NEAR_SECONDS": NEVER,
        "SYNC_INTERVAL_SOON_SECONDS": NEVER,
    }


async def new_project(attendee: CommandLine, *, webhook: str, triggers: Sequence[Trigger]) -> str:
    """A project with a webhook, in a database that is brought up; the key to its API."""
    url = attendee.settings["DATABASE_URL"]
    await migrate(url)
    database, key_ring = Database(url), KeyRing([attendee.settings["ENCRYPTION_KEYS"]])
    async with database.transaction() as tx:
        project = await projects.create(tx, "app", key_ring=key_ring, now=clock.now())
        _, key = await projects.create_key(tx, project.id, name="app", now=clock.now())
        await subscriptions.create(tx, NewSubscription(webhook, triggers), project_id=project.id, now=clock.now())
    await database.close()
    return key


@asynccontextmanager
async def client_of(serving: Running, key: str) -> AsyncGenerator[Client]:
    """A client of a command that serves, once it is up."""
    address = await asyncio.to_thread(serving.address)
    async with aiohttp.ClientSession() as session:
        yield Client(session, address, key)


async def until_found(found: Callable[[], Awaitable[Any]]) -> Any:
    """What `found` says once that is something; the service runs beside us, so it gets some time between.

    What a killed process had claimed is taken over after a minute.
    """
    async with asyncio.timeout(100):
        while not (what := await found()):  # noqa: ASYNC110  # it is another process that finds it
            await asyncio.sleep(0.02)
        return what


async def connect(client: Client, world: World, email: str) -> str:
    """The id of a new calendar of this person's."""
    person = world.people[email]
    wanted = {
        "platform": person.platform.value,
        "client_id": DEFAULT_CLIENT_ID,
        "client_secret": DEFAULT_CLIENT_SECRET,
        "refresh_token": world.authorise(person),
    }
    made = await client.post("/calendars", wanted)
    assert made.status == 201, made.raw
    return str(made.json["id"])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
