"""The demo as whoever tries the software first sees it."""

import asyncio
import signal
import socket
from contextlib import suppress
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from attendee.demo.stage import Stage, StepFailed
from attendee.demo.visitor import ConsentForm
from attendee.startup import CannotStart
from tests.command_line import CommandLine

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def attendee(tmp_path: Path) -> CommandLine:
    """A command line whose settings the demo must ignore; temporary files go into its directory."""
    (tmp_path / ".env").write_text("ATTENDEE_HOST=192.0.2.1\n")
    return CommandLine(tmp_path, {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nothing", "PORT": "none"})


def _left_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir() if path.name != ".env"]


def _processes_in(directory: Path) -> list[str]:
    """The processes whose working directory is below this one, where the system tells."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if str(link.readlink()).startswith(str(directory)):
                found.append(link.parent.name)
    return found


def test_the_story_is_told(attendee: CommandLine) -> None:
    """Every step happens, the status is 0, and neither a process nor a file is left behind."""
    done = attendee.run("demo", "--once")
    assert (done.returncode, done.stderr) == (0, "")
    steps = [line.split("  ")[-1] for line in done.stdout.splitlines() if "✓" in line]
    assert len(steps) == 15
    told = " ".join(steps)
    for words in (
        "Ada Lind gave consent on Google's page",
        "Mia Berg gave consent on Microsoft's page",
        "the calendar is connected (cal_",
        "Notetaker",
        "events of Ada Lind's",
        "events of Mia Berg's",
        "Ada Lind wants notes of all meetings",
        "Mia Berg picked meetings of this week",
        "Ada Lind moved",
        "Mia Berg moved one “Team sync” of the series",
        "its bot joins at",
        "Ada Lind cancelled",
        "Mia Berg deleted another “Team sync”; its bot is gone",
        "the calendar is disconnected (consent_revoked)",
        "the calendar is connected again, and ",
    ):
        assert words in told
    assert (_left_in(attendee.directory), _processes_in(attendee.directory)) == ([], [])


def test_everything_stays_up(attendee: CommandLine) -> None:
    """Without `--once` all three stay up, on other ports if theirs are taken; Ctrl-C ends them with status 0."""
    with _taken(8000), _taken(8100), _taken(8200), attendee.running("demo") as demo:
        said = demo.hears("Ctrl-C ends it.")
        assert "Port 8100 is in use, so the sandbox takes " in said
        assert "Port 8000 is in use, so the service takes " in said
        assert "Port 8200 is in use, so the example takes " in said
        assert "sign in as Ada Lind or Mia Berg" in said
        assert "/people/ada.lind" in said
        assert "/people/mia" in said
        assert "/docs" in said
        assert demo.end(by=signal.SIGINT) == 0
    assert (_left_in(attendee.directory), _processes_in(attendee.directory)) == ([], [])


def test_interrupted_story_leaves_nothing_behind(attendee: CommandLine) -> None:
    """Ctrl-C in the middle ends everything too; so does impatience with the ending."""
    with attendee.running("demo", "--once") as demo:
        demo.hears("The service runs at")
        demo.process.send_signal(signal.SIGINT)
        assert demo.end(by=signal.SIGINT) == 130
    assert (_left_in(attendee.directory), _processes_in(attendee.directory)) == ([], [])


def _taken(port: int) -> socket.socket:
    """A socket that has the port, unless somebody else on this machine has it already."""
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError:
        return socket.socket()


async def test_step_that_does_not_happen_is_named(tmp_path: Path) -> None:
    """Whoever waits for the story learns where it stopped, and why."""

    async def step() -> str:
        raise StepFailed("the bot was elsewhere")

    async with aiohttp.ClientSession() as http:
        stage = Stage(tmp_path, Console(quiet=True), http)
        with pytest.raises(CannotStart, match="The demo stopped at 'An event is moved': the bot was elsewhere"):
            await stage.tell("An event is moved", step)


async def test_process_that_ends_is_told_of(tmp_path: Path) -> None:
    """A service that can't start is not waited for: its last words are told."""
    async with aiohttp.ClientSession() as http:
        stage = Stage(tmp_path, Console(quiet=True), http)
        lost = asyncio.create_task(stage.lost_process())
        with socket.create_server(("127.0.0.1", 0)) as taken:
            stage.start("sandbox", ATTENDEE_SANDBOX_PORT=str(taken.getsockname()[1]))
            assert "`sandbox` ended: attendee: Port" in await lost
        await stage.end()


def test_form_is_sent_as_a_browser_would() -> None:
    """Fields that are not checked, or disabled, or have no name, are not sent."""
    form = ConsentForm()
    form.feed(
        "<form><input type=radio name=who value=a><input type=radio name=who value=b checked>"
        "<input type=checkbox name=scope value=x checked disabled><input type=checkbox name=scope value=y checked>"
        "<input type=hidden name=token value='1&amp;2'><input type=submit value=Go></form>"
    )
    assert form.fields == [("who", "b"), ("scope", "y"), ("token", "1&2")]
