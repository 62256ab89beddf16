"""From a change at the platform to the webhook that tells of it, through the real processes and by push alone."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from attendee import clock
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.grants import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from attendee.sandbox.world import Platform, World
from attendee.store.columns import KeyRing
from tests.api.serving import Client
from tests.command_line import CommandLine
from tests.webhooks.receiver import Receiver, running_receiver

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")

_LINK = "https://meet.google.com/abc-defg-hij"
# Far longer than any test: nothing is found by asking.
_NEVER = "86400"


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(World(clock.now)) as server:
        yield server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def attendee(request: pytest.FixtureRequest, sandbox: SandboxServer, tmp_path: Path) -> CommandLine:
    """The installed command, with the sandbox as its platforms and polling switched off as far as can be."""
    port = _free_port()
    settings = {
        "PORT": str(port),
        "PUBLIC_URL": f"http://127.0.0.1:{port}",
        "ALLOW_INSECURE_WEBHOOKS": "true",
        "GOOGLE_API_URL": sandbox.google_url,
        "GOOGLE_TOKEN_URL": f"{sandbox.google_url}/token",
        "MICROSOFT_GRAPH_URL": f"{sandbox.microsoft_url}/v1.0",
        "MICROSOFT_TOKEN_URL": f"{sandbox.microsoft_url}/common/oauth2/v2.0/token",
        "SYNC_INTERVAL_SECONDS": _NEVER,
        "PUSH_SYNC_INTERVAL_SECONDS": _NEVER,
        "SYNC_INTERVAL_NEAR_SECONDS": _NEVER,
        "SYNC_INTERVAL_SOON_SECONDS": _NEVER,
    }
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql_url")
        settings |= {"DATABASE_URL": url, "ENCRYPTION_KEYS": KeyRing.generate_key()}
    return CommandLine(tmp_path, settings)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _until(found: Callable[[], Awaitable[Any]]) -> Any:
    """What `found` says once that is something; the service runs beside us, so it gets some time between."""
    async with asyncio.timeout(30):
        while not (what := await found()):  # noqa: ASYNC110  # it is another process that finds it
            await asyncio.sleep(0.02)
        return what


@pytest.mark.parametrize("platform", list(Platform), ids=lambda platform: platform.value)
async def test_a_moved_event_is_told_by_push_alone(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver, platform: Platform
) -> None:
    """Its bot moves with it and a webhook says so; cancelled, its bot is gone. Nobody asked for it on a schedule."""
    world = sandbox.world
    starts = clock.now().replace(microsecond=0) + timedelta(days=1)
    ana = world.add_person("ana@acme.example", platform=platform)
    ana.primary.put("meeting", starts=starts, location=_LINK)
    if "DATABASE_URL" in attendee.settings:
        assert attendee.run("migrate").returncode == 0
    attendee.document("projects", "create", "app")
    key = attendee.document("keys", "create", "--project", "app")["key"]
    trigger = ("--trigger", "calendar.events_update")
    attendee.document("webhooks", "create", "--project", "app", "--url", receiver.url, *trigger)

    with attendee.running("serve") as serving:
        address = await asyncio.to_thread(serving.address)
        async with aiohttp.ClientSession() as session:
            client = Client(session, address, key)
            calendar_id = await _connect(client, world, ana.email)

            async def is_told() -> bool:
                shown = (await client.get(f"/calendars/{calendar_id}")).json["sync"]
                # Open, and looked at once more since.
                far = clock.written(clock.now() + timedelta(minutes=1))
                return bool(shown["mode"] == "push" and shown["next_sync_at"] > far)

            await _until(is_told)
            (event,) = (await client.get(f"/calendar_events?calendar_id={calendar_id}")).json["results"]
            bot = (await client.post("/bots", {"calendar_event_id": event["id"], "bot_name": "Notes"})).json
            assert bot["join_at"] == clock.written(starts)

            async def updated() -> list[Any]:
                return [body for body in receiver.parsed if event["id"] in body["data"]["events"]["updated"]]

            assert not await updated()
            ana.primary.move("meeting", starts=starts + timedelta(hours=3))
            (told,) = await _until(updated)
            assert told["calendar_id"] == calendar_id
            moved = (await client.get(f"/bots/{bot['id']}")).json
            assert moved["join_at"] == clock.written(starts + timedelta(hours=3))

            async def deleted() -> list[Any]:
                return [body for body in receiver.parsed if event["id"] in body["data"]["events"]["deleted"]]

            ana.primary.delete("meeting")
            await _until(deleted)
            assert (await client.get(f"/bots/{bot['id']}")).status == 404
        assert await asyncio.to_thread(serving.end) == 0


async def _connect(client: Client, world: World, email: str) -> str:
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
