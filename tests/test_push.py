"""From a change at the platform to the webhook that tells of it, through the real processes and by push alone."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attendee import clock
from attendee.model import Trigger
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.world import Platform, World
from tests.command_line import CommandLine
from tests.processes import client_of, connect, new_project, settings_for, until_found
from tests.webhooks.receiver import Receiver, running_receiver

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")

_LINK = "https://meet.google.com/abc-defg-hij"


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(World(clock.now)) as server:
        yield server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made


@pytest.fixture
def attendee(database_url: str, sandbox: SandboxServer, tmp_path: Path) -> CommandLine:
    """The installed command, with the sandbox as its platforms."""
    return CommandLine(tmp_path, settings_for(sandbox, database_url=database_url))


@pytest.mark.parametrize("platform", list(Platform), ids=lambda platform: platform.value)
async def test_a_moved_event_is_told_by_push_alone(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver, platform: Platform
) -> None:
    """Its bot moves with it and a webhook says so; cancelled, its bot is gone. Nobody asked for it on a schedule."""
    world = sandbox.world
    starts = clock.now().replace(microsecond=0) + timedelta(days=1)
    ana = world.add_person("ana@acme.example", platform=platform)
    ana.primary.put("meeting", starts=starts, location=_LINK)
    key = await new_project(attendee, webhook=receiver.url, triggers=(Trigger.CALENDAR_EVENTS_UPDATE,))

    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            calendar_id = await connect(client, world, ana.email)

            async def is_told() -> bool:
                shown = (await client.get(f"/calendars/{calendar_id}")).json["sync"]
                # Open, and looked at once more since.
                far = clock.written(clock.now() + timedelta(minutes=1))
                return bool(shown["mode"] == "push" and shown["next_sync_at"] > far)

            await until_found(is_told)
            (event,) = (await client.get(f"/calendar_events?calendar_id={calendar_id}")).json["results"]
            bot = (await client.post("/bots", {"calendar_event_id": event["id"], "bot_name": "Notes"})).json
            assert bot["join_at"] == clock.written(starts)

            async def updated() -> list[Any]:
                return [body for body in receiver.parsed if event["id"] in body["data"]["events"]["updated"]]

            assert not await updated()
            ana.primary.move("meeting", starts=starts + timedelta(hours=3))
            (told,) = await until_found(updated)
            assert told["calendar_id"] == calendar_id
            moved = (await client.get(f"/bots/{bot['id']}")).json
            assert moved["join_at"] == clock.written(starts + timedelta(hours=3))

            async def deleted() -> list[Any]:
                return [body for body in receiver.parsed if event["id"] in body["data"]["events"]["deleted"]]

            ana.primary.delete("meeting")
            await until_found(deleted)
            assert (await client.get(f"/bots/{bot['id']}")).status == 404
        assert await asyncio.to_thread(serving.end) == 0
