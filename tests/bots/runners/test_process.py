"""Bots as processes: started once, found again, ended, and declared dead when they are."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest

from attendee.bots.runners.port import Done, Order, Placed, Seen, Taken, Trouble
from attendee.bots.runners.process import ProcessRunner
from attendee.model import BotId, LaunchId, ProjectId, new_id
from attendee.store import claims, tables
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from tests.api.serving import LINK, SetClock
from tests.bots.runners.side import running_side
from tests.installation import until

# Writes what it was given where the test reads it, then does what its argument says.
_BOT = """
import json, os, signal, sys, time
how, there = sys.argv[1:]
if how == "stubborn":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
with open(there + ".part", "w") as file:
    json.dump({"pid": os.getpid(), "environment": dict(os.environ)}, file)
os.replace(there + ".part", there)
print("hello")
if how == "ends":
    sys.exit(3)
time.sleep(100)
"""

# Takes the order from the environment and reports a whole meeting; told to leave, it does so.
_REPORTING = """
import json, os, signal, sys, urllib.request
order = json.load(open(os.environ["ATTENDEE_BOT_ORDER"]))
def report(id, type):
    urllib.request.urlopen(urllib.request.Request(
        order["report_url"],
        json.dumps({"id": id, "type": type}).encode(),
        {"Authorization": "Bearer " + os.environ["ATTENDEE_REPORT_TOKEN"]},
    )).close()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
report("1", "join_requested")
report("2", "joined_meeting")
if sys.argv[1] == "dies":
    os.kill(os.getpid(), signal.SIGKILL)
signal.sigwait([signal.SIGTERM])
report("3", "left_meeting")
report("4", "post_processing_completed")
"""


@dataclass
class Machine:
    """A runner on this machine; `ended` has the launches whose processes have ended."""

    directory: Path
    told: Path
    ended: set[LaunchId] = field(default_factory=set)
    clock: SetClock = field(default_factory=lambda: SetClock(datetime(2026, 11, 23, 12, tzinfo=UTC)))

    def runner(self, how: str = "stays", *, program: str = sys.executable) -> ProcessRunner:
        """As it is after a start of the service."""
        return ProcessRunner(
            [program, "-c", _BOT, how, str(self.told)],
            directory=self.directory,
            host="here",
            environment=os.environ | {"ATTENDEE_ENCRYPTION_KEYS": "secret", "attendee_database_url": "secret"},
            wake=self._wake,
            clock=self.clock,
            grace=timedelta(milliseconds=100 if how == "stubborn" else 20_000),
        )

    async def _wake(self, launch_id: LaunchId) -> None:
        self.ended.add(launch_id)

    async def up(self) -> dict[str, Any]:
        """What the process says of itself, once it is up."""
        await until(self.told.exists)
        said: dict[str, Any] = json.loads(self.told.read_text())
        return said


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[Machine]:
    """Nothing that was started here is left running, whatever becomes of the test."""
    machine = Machine(tmp_path / "bots", tmp_path / "told")
    yield machine
    if machine.told.exists():
        pid = json.loads(machine.told.read_text())["pid"]
        if psutil.pid_exists(pid):
            os.killpg(pid, signal.SIGKILL)
        await until(lambda: not psutil.pid_exists(pid))


def _order(**more: Any) -> Order:
    launch_id, bot_id = LaunchId(new_id("launch_")), BotId(new_id("bot_"))
    body = {
        "bot_id": bot_id,
        "bot_name": "Notes of Zoë",
        "meeting_url": LINK,
        "meeting_service": "google_meet",
        "join_at": "2026-11-23T12:05:00.000000Z",
        "metadata": None,
        "settings": {"recording_settings": {"format": "mp4"}},
        "report_url": "http://127.0.0.1:1/runner/v1/bots/bot_1/events",
        "report_token": "t0ken",
    }
    return Order(launch_id, ProjectId("proj_1"), bot_id, body | more)


def _placed(order: Order, taken: object) -> Placed:
    assert isinstance(taken, Taken), taken
    return Placed(order.id, order.project_id, order.bot_id, taken.reference)


async def test_a_bot_gets_its_order_and_nothing_else_of_ours(machine: Machine) -> None:
    """As a file that only we can read, and in its environment; no key and no address of the database is in there."""
    order = _order()
    runner = machine.runner()
    placed = _placed(order, await runner.stage(order))
    environment = (await machine.up())["environment"]
    path = machine.directory / order.id / "order.json"
    assert {name: value for name, value in environment.items() if name.upper().startswith("ATTENDEE_")} == {
        "ATTENDEE_BOT_ORDER": str(path),
        "ATTENDEE_LAUNCH_ID": order.id,
        "ATTENDEE_BOT_ID": order.bot_id,
        "ATTENDEE_BOT_NAME": "Notes of Zoë",
        "ATTENDEE_MEETING_URL": LINK,
        "ATTENDEE_JOIN_AT": "2026-11-23T12:05:00.000000Z",
        "ATTENDEE_BOT_SETTINGS": '{"recording_settings":{"format":"mp4"}}',
        "ATTENDEE_REPORT_URL": "http://127.0.0.1:1/runner/v1/bots/bot_1/events",
        "ATTENDEE_REPORT_TOKEN": "t0ken",
    }
    assert environment["PATH"] == os.environ["PATH"]
    assert json.loads(path.read_text()) == order.body
    assert [path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777] == [0o600, 0o700]
    assert await runner.look(placed) == Seen(placed.reference)


async def test_settings_that_no_variable_holds_are_in_the_file_alone(machine: Machine) -> None:
    """A bot's image is larger than what a system takes as a variable."""
    order = _order(settings={"bot_image": {"data": "x" * 3_000_000}, "debug_settings": {"a": 1}})
    await machine.runner().stage(order)
    environment = (await machine.up())["environment"]
    assert environment["ATTENDEE_BOT_SETTINGS"] == '{"debug_settings":{"a":1}}'
    assert json.loads(Path(environment["ATTENDEE_BOT_ORDER"]).read_text()) == order.body


async def test_the_same_order_again_finds_the_process(machine: Machine) -> None:
    """Whether or not what came of the first try was stored, and after a restart of ours: it is never started twice."""
    order = _order()
    first = await machine.runner().stage(order)
    pid = (await machine.up())["pid"]
    again = await machine.runner().stage(order)
    assert first == again
    assert _placed(order, again).reference is not None
    assert psutil.Process(pid).is_running()
    seen = await machine.runner().look(_placed(order, first))
    assert isinstance(seen, Seen)
    assert seen.gone is None


async def test_a_start_that_was_attempted_is_not_attempted_again(machine: Machine) -> None:
    """The order is there and no process is: it counts as dead, since nobody knows how far it came."""
    order = _order()
    await machine.runner().stage(order)
    os.killpg((await machine.up())["pid"], signal.SIGKILL)
    await until(lambda: order.id in machine.ended)
    (machine.directory / order.id / "exit_status").unlink()
    machine.told.unlink()
    runner = machine.runner()
    seen = await runner.look(_placed(order, await runner.stage(order)))
    assert isinstance(seen, Seen)
    assert seen.gone is not None
    assert seen.gone[0] == "process_terminated"
    assert "never came up" in seen.gone[1]
    assert not machine.told.exists()


async def test_a_process_that_has_ended_is_gone(machine: Machine) -> None:
    """It is looked at as soon as it ends; its exit status is told, and where its log is."""
    order = _order()
    runner = machine.runner("ends")
    placed = _placed(order, await runner.stage(order))
    await until(lambda: order.id in machine.ended)
    log = machine.directory / order.id / "log"
    assert log.read_text() == "hello\n"
    reason = (
        f"The bot's process ended with exit status 3 before it had reported how its meeting ended. "
        f"What it said is in {log}."
    )
    assert await runner.look(placed) == Seen(placed.reference, gone=("process_terminated", reason))
    assert await runner.leave(placed) == await runner.call_off(placed) == Done()


async def test_a_process_that_came_by_the_same_number_is_another(machine: Machine) -> None:
    """It is neither taken for the bot nor ended in its place."""
    order, other = _order(), _order()
    runner = machine.runner()
    await runner.stage(other)
    pid = (await machine.up())["pid"]
    placed = Placed(order.id, order.project_id, order.bot_id, {"pid": pid, "started": 1.0})
    seen = await runner.look(placed)
    assert isinstance(seen, Seen)
    assert seen.gone is not None
    assert await runner.call_off(placed) == await runner.leave(placed) == Done()
    assert psutil.Process(pid).is_running()
    # Its own is known even if the clock was set meanwhile.
    mine = Placed(other.id, other.project_id, other.bot_id, {"pid": pid, "started": 1.0})
    assert await runner.look(mine) == Seen(mine.reference)


@pytest.mark.parametrize(("how", "ended_by"), [("stays", signal.SIGTERM), ("stubborn", signal.SIGKILL)])
async def test_a_bot_that_is_called_off_ends(machine: Machine, how: str, ended_by: signal.Signals) -> None:
    """By itself when it is told to, or it is ended; after a restart of ours too, and without a reference."""
    order = _order()
    await machine.runner(how).stage(order)
    await machine.up()
    assert await machine.runner(how).call_off(Placed(order.id, order.project_id, order.bot_id, None)) == Done()
    await until(lambda: order.id in machine.ended)
    assert (machine.directory / order.id / "exit_status").read_text() == str(-ended_by)


async def test_a_launch_that_is_called_off_is_started_no_more(machine: Machine) -> None:
    """A try that is still on its way comes too late."""
    order = _order()
    runner = machine.runner()
    assert await runner.call_off(Placed(order.id, order.project_id, order.bot_id, None)) == Done()
    placed = _placed(order, await runner.stage(order))
    seen = await runner.look(placed)
    assert isinstance(seen, Seen)
    assert seen.gone is not None
    assert not machine.told.exists()


async def test_a_command_that_can_not_be_started_is_tried_again(machine: Machine) -> None:
    """The operator may set it right while the meeting lasts; the reason names the setting."""
    order = _order()
    outcome = await machine.runner(program="/no/such/bot").stage(order)
    told = "/no/such/bot (ATTENDEE_BOT_RUNNER_COMMAND) can't be started: No such file or directory"
    assert outcome == Trouble(told)
    assert isinstance(await machine.runner().stage(order), Taken)
    await machine.up()


async def test_a_directory_that_can_not_be_written_is_trouble(machine: Machine) -> None:
    """It is tried again, and says where."""
    machine.directory.write_text("not a directory")
    order = _order()
    told = f"{machine.directory} can't be written: File exists"
    assert await machine.runner().stage(order) == Trouble(told)
    outcome = await machine.runner().call_off(Placed(order.id, order.project_id, order.bot_id, None))
    assert isinstance(outcome, Trouble)


async def test_what_ended_long_ago_is_removed(machine: Machine) -> None:
    """A day later, when the next bot starts; what still runs, and what has just ended, stays."""
    running, ended, lately = _order(), _order(), _order()
    await machine.runner().stage(running)
    await machine.up()
    for order in (ended, lately):
        await machine.runner("ends").stage(order)
    await until(lambda: machine.ended == {ended.id, lately.id})
    now = datetime.now(UTC)  # noqa: TID251  # files have the time of the machine
    long_ago = (now - timedelta(days=2)).timestamp()
    for order in (running, ended):
        os.utime(machine.directory / order.id, (long_ago, long_ago))
    machine.clock.at = now
    next_one = _order()
    await machine.runner("ends").stage(next_one)
    left = {path.name for path in machine.directory.iterdir()}
    assert left == {running.id, lately.id, next_one.id}
    await until(lambda: next_one.id in machine.ended)


@pytest.mark.parametrize("how", ["leaves", "dies"])
async def test_a_whole_life(database_url: str, tmp_path: Path, how: str) -> None:
    """A process reports its meeting and leaves it when it is asked to; one that dies in it is `process_terminated`."""
    database, clock, ended = Database(database_url), SetClock(), asyncio.Event()

    async def wake(launch_id: LaunchId) -> None:
        async with database.transaction() as tx:
            await claims.wake(tx, tables.launches, launch_id, now=clock())
        ended.set()

    runner = ProcessRunner(
        [sys.executable, "-c", _REPORTING, how],
        directory=tmp_path / "bots",
        host="here",
        environment=os.environ,
        wake=wake,
        clock=clock,
    )
    key_ring = KeyRing([KeyRing.generate_key()])
    async with running_side(database, key_ring=key_ring, clock=clock, runner_of=lambda *_: runner) as side:
        made = await side.client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
        bot_id = made.json["id"]
        await side.work()
        (launch,) = await side.launches()
        assert launch.host == "here"
        if how == "leaves":
            while (await side.bot(bot_id))["state"] != "joined_not_recording":
                pass
            assert (await side.client.post(f"/bots/{bot_id}/leave")).json["state"] == "leaving"
            await side.work()
            await ended.wait()
            expected = ["join_requested", "joined_meeting", "leave_requested", "left_meeting"]
            assert await side.life(bot_id) == [*expected, "post_processing_completed"]
        else:
            await ended.wait()
            await side.work()
            events = (await side.bot(bot_id))["events"]
            assert [event["type"] for event in events] == ["join_requested", "joined_meeting", "fatal_error"]
            assert events[-1]["sub_type"] == "process_terminated"
        assert await side.launches() == []
    await database.close()
