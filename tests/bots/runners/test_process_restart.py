"""The service killed while its bots run as processes: they go on, and it finds them again."""

import os
import shlex
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.api.serving import LINK, Client
from tests.command_line import CommandLine, Running
from tests.processes import client_of, until_found

# It runs processes of its own: side by side with others they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")

_BOT = """
import json, os, signal, urllib.request
print(os.getpid(), flush=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
def report(type):
    body = json.dumps({"id": type, "type": type}).encode()
    token = {"Authorization": "Bearer " + os.environ["ATTENDEE_REPORT_TOKEN"]}
    urllib.request.urlopen(urllib.request.Request(os.environ["ATTENDEE_REPORT_URL"], body, token)).close()
report("joined_meeting")
signal.sigwait([signal.SIGTERM])
report("left_meeting")
report("post_processing_completed")
"""


@pytest.fixture
def attendee(tmp_path: Path) -> Iterator[CommandLine]:
    """Its bots outlive it, but not the test."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = shlex.join([sys.executable, "-c", _BOT])
    yield CommandLine(tmp_path, {"PORT": str(port), "BOT_RUNNER": "process", "BOT_RUNNER_COMMAND": command})
    for log in (tmp_path / "data" / "bots").glob("launch_*/log"):
        with suppress(ProcessLookupError):
            os.kill(int(log.read_text().split()[0]), signal.SIGKILL)


def _is(client: Client, bot_id: str, state: str) -> Callable[[], Awaitable[Any]]:
    async def found() -> Any:
        bot = (await client.get(f"/bots/{bot_id}")).json
        return bot if bot["state"] == state else None

    return found


async def _joined(attendee: CommandLine, serving: Running) -> tuple[str, str, int]:
    """The API's key, a bot in its meeting, and its process."""
    attendee.document("projects", "create", "app")
    key = attendee.document("keys", "create", "--project", "app")["key"]
    async with client_of(serving, key) as client:
        made = await client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
        await until_found(_is(client, made.json["id"], "joined_not_recording"))
    (log,) = (attendee.directory / "data" / "bots").glob("launch_*/log")
    return key, made.json["id"], int(log.read_text())


def _kill(serving: Running) -> None:
    serving.process.kill()
    serving.process.wait()


async def test_a_bot_goes_on_while_the_service_is_gone(attendee: CommandLine) -> None:
    """It is neither ended nor started again, and leaves when the service that was started anew asks it to."""
    with attendee.running("serve") as serving:
        key, bot_id, pid = await _joined(attendee, serving)
        _kill(serving)
    assert psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            assert (await client.post(f"/bots/{bot_id}/leave")).status == 200
            bot = await until_found(_is(client, bot_id, "ended"))
    steps = ["join_requested", "joined_meeting", "leave_requested", "left_meeting", "post_processing_completed"]
    assert [step["type"] for step in bot["events"]] == steps
    (log,) = (attendee.directory / "data" / "bots").glob("launch_*/log")
    assert log.read_text() == f"{pid}\n"


async def test_a_bot_that_died_while_the_service_was_gone_is_declared_dead(attendee: CommandLine) -> None:
    """Nobody is told that it still sits in its meeting."""
    with attendee.running("serve") as serving:
        key, bot_id, pid = await _joined(attendee, serving)
        _kill(serving)
    os.kill(pid, signal.SIGKILL)
    with attendee.running("serve") as serving:
        async with client_of(serving, key) as client:
            bot = await until_found(_is(client, bot_id, "fatal_error"))
    assert bot["events"][-1]["sub_type"] == "process_terminated"
