"""A bot's whole life, through the real processes: from its event to the sandbox's meeting room and out again."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from attendee import clock
from attendee.model import Trigger
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.rooms import Presence, Room, Visitor
from attendee.sandbox.timings import Timings
from attendee.sandbox.world import World
from tests.api.serving import Client
from tests.command_line import CommandLine
from tests.processes import client_of, connect, new_project, settings_for, until_found
from tests.webhooks.receiver import Receiver, running_receiver

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")

_QUICK = Timings(
    asking=timedelta(milliseconds=10),
    waiting=timedelta(milliseconds=10),
    heartbeat=timedelta(milliseconds=500),
    post_processing=timedelta(milliseconds=10),
    first_retry=timedelta(milliseconds=50),
    longest_retry=timedelta(milliseconds=200),
)
_ROOM = "blue-room"


@pytest.fixture
async def sandbox() -> AsyncIterator[SandboxServer]:
    async with SandboxServer(World(clock.now, timings=_QUICK)) as server:
        yield server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made


@pytest.fixture
def attendee(database_url: str, sandbox: SandboxServer, tmp_path: Path) -> CommandLine:
    """The installed command, with the sandbox as its platforms and its fleet."""
    return CommandLine(tmp_path, settings_for(sandbox, database_url=database_url) | {"BOT_HEARTBEAT_SECONDS": "3"})


async def _order(client: Client, sandbox: SandboxServer, *, starts_in: timedelta) -> str:
    """The id of a bot on an event in the sandbox's room."""
    ana = sandbox.world.add_person("ana@acme.example")
    starts = clock.now() + starts_in
    ana.primary.put("meeting", starts=starts, location=f"{sandbox.url}/rooms/{_ROOM}")
    calendar_id = await connect(client, sandbox.world, ana.email)

    async def events() -> Any:
        return (await client.get(f"/calendar_events?calendar_id={calendar_id}")).json["results"]

    (event,) = await until_found(events)
    assert event["meeting_url"] == f"{sandbox.url}/rooms/{_ROOM}"
    made = await client.post("/bots", {"calendar_event_id": event["id"], "bot_name": "Notes"})
    assert made.status == 201, made.raw
    return str(made.json["id"])


def _state_is(client: Client, bot_id: str, state: str) -> Callable[[], Awaitable[bool]]:
    async def reached() -> bool:
        return bool((await client.get(f"/bots/{bot_id}")).json["state"] == state)

    return reached


def _room(sandbox: SandboxServer) -> Room:
    return sandbox.world.rooms.at(_ROOM)


def _visitor(sandbox: SandboxServer) -> Visitor:
    (visitor,) = _room(sandbox).visitors.values()
    return visitor


def _present(sandbox: SandboxServer, presence: Presence) -> Callable[[], Awaitable[bool]]:
    async def is_there() -> bool:
        return any(visitor.presence is presence for visitor in _room(sandbox).visitors.values())

    return is_there


async def test_a_bot_goes_to_its_meeting_and_comes_back(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver
) -> None:
    """Staged, waiting, joined, recording, ended: seen in the room, on the bot, and each told by a webhook."""
    key = await new_project(
        attendee, webhook=receiver.url, triggers=(Trigger.BOT_STATE_CHANGE, Trigger.CHAT_MESSAGES_UPDATE)
    )
    _room(sandbox).set_open(is_open=False)
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            bot_id = await _order(client, sandbox, starts_in=timedelta(seconds=3))
            await until_found(_state_is(client, bot_id, "staged"))
            await until_found(_state_is(client, bot_id, "waiting_room"))
            assert _visitor(sandbox).name == "Notes"
            _room(sandbox).let_in(bot_id)
            await until_found(_state_is(client, bot_id, "joined_not_recording"))
            _room(sandbox).allow_recording(bot_id)
            await until_found(_state_is(client, bot_id, "joined_recording"))
            person = _room(sandbox).join("Ben")
            _room(sandbox).utter(person.id, "Hello", is_said=False)
            _room(sandbox).end()
            await until_found(_state_is(client, bot_id, "ended"))
            shown = (await client.get(f"/bots/{bot_id}")).json
            steps = [step["type"] for step in shown["events"]]
            assert steps == [
                "staged",
                "join_requested",
                "put_in_waiting_room",
                "joined_meeting",
                "recording_permission_granted",
                "meeting_ended",
                "post_processing_completed",
            ]

            async def all_told() -> bool:
                told = [one["data"]["event_type"] for one in receiver.parsed if one["trigger"] == "bot.state_change"]
                chat = [one for one in receiver.parsed if one["trigger"] == "chat_messages.update"]
                return sorted(told) == sorted(steps) and bool(chat)

            await until_found(all_told)
        assert await asyncio.to_thread(serving.end) == 0


async def test_a_staged_bot_follows_its_event_and_a_bot_in_a_meeting_leaves(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver
) -> None:
    """By push: moved to tomorrow it is called off; moved back it is there; asked to leave it goes."""
    key = await new_project(attendee, webhook=receiver.url, triggers=(Trigger.BOT_STATE_CHANGE,))
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            bot_id = await _order(client, sandbox, starts_in=timedelta(minutes=2))
            await until_found(_state_is(client, bot_id, "staged"))
            (ana,) = sandbox.world.people.values()
            ana.primary.move("meeting", starts=clock.now() + timedelta(days=1))
            await until_found(_state_is(client, bot_id, "scheduled"))
            assert _room(sandbox).visitors == {}
            ana.primary.move("meeting", starts=clock.now())
            await until_found(_state_is(client, bot_id, "joined_recording"))
            left = await client.post(f"/bots/{bot_id}/leave")
            assert left.json["state"] == "leaving"
            await until_found(_state_is(client, bot_id, "ended"))
            assert _visitor(sandbox).presence is Presence.LEFT


async def test_a_service_that_is_killed_at_each_state_loses_no_bot(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver
) -> None:
    """The fleet's bot lives on; what it could not report it reports to the next process, under the same order."""
    key = await new_project(attendee, webhook=receiver.url, triggers=(Trigger.BOT_STATE_CHANGE,))
    room = _room(sandbox)
    room.set_open(is_open=False)
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            bot_id = await _order(client, sandbox, starts_in=timedelta(seconds=5))
            await until_found(_state_is(client, bot_id, "staged"))
        await asyncio.to_thread(serving.end, signal.SIGKILL)
    # It goes on its way while nobody listens.
    await until_found(_present(sandbox, Presence.WAITING))
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            await until_found(_state_is(client, bot_id, "waiting_room"))
        await asyncio.to_thread(serving.end, signal.SIGKILL)
    room.set_open(is_open=True)
    await until_found(_present(sandbox, Presence.RECORDING))
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            await until_found(_state_is(client, bot_id, "joined_recording"))
        await asyncio.to_thread(serving.end, signal.SIGKILL)
    room.end()
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            await until_found(_state_is(client, bot_id, "ended"))
    assert len(sandbox.app.state.fleet._taken) == 1, "it was ordered under one key"


async def test_a_fleet_and_a_service_that_are_killed_leave_no_bot_in_a_meeting_for_ever(
    attendee: CommandLine, sandbox: SandboxServer, receiver: Receiver
) -> None:
    """Nothing is heard of the bot any more: the next process finds that it has failed."""
    key = await new_project(attendee, webhook=receiver.url, triggers=(Trigger.BOT_STATE_CHANGE,))
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            bot_id = await _order(client, sandbox, starts_in=timedelta(seconds=1))
            await until_found(_state_is(client, bot_id, "joined_recording"))
            await sandbox.app.state.fleet.stop()
        await asyncio.to_thread(serving.end, signal.SIGKILL)
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            await until_found(_state_is(client, bot_id, "fatal_error"))
            shown = (await client.get(f"/bots/{bot_id}")).json
            assert shown["events"][-1]["sub_type"] == "heartbeat_timeout"
            assert shown["recording_state"] == "failed"
