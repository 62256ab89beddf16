"""What the story is played on: sandbox, service and example application as processes, and a terminal that tells."""

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from rich.console import Console
from yarl import URL

from attendee.startup import CannotStart

_HOST = "127.0.0.1"
_USUAL_PORTS = {"sandbox": 8100, "service": 8000, "example": 8200}
_SETTINGS = ("ATTENDEE_", "NOTETAKER_", "GOOGLE_CLIENT_", "MICROSOFT_CLIENT_", "SANDBOX_")
# A wheel has the example and its client in it (hatch_build.py); in a clone they are beside the package.
_IN_WHEEL = Path(__file__).parent / "example"
_CLONE = Path(__file__).parents[3]
_EXAMPLE = (
    [_IN_WHEEL] if _IN_WHEEL.is_dir() else [_CLONE / "examples" / "notetaker", _CLONE / "clients" / "python" / "src"]
)
# A slow machine needs seconds to start a process; everything else happens within two.
_STEP_SECONDS = 30
_END_SECONDS = 10
_LOOK_AGAIN_SECONDS = 0.05

_Seen = TypeVar("_Seen")


class StepFailed(Exception):
    """Something in the story did not happen as it should: what was seen instead."""


async def until(look: Callable[[], Awaitable[_Seen | None]]) -> _Seen:
    """What `look` sees, once it sees something; how long that may take is the step's concern."""
    while True:
        seen = await look()
        if seen is not None:
            return seen
        await asyncio.sleep(_LOOK_AGAIN_SECONDS)


class Stage:
    """Starts processes in a directory of their own, and ends every one of them.

    Nothing of our surroundings gets in: no setting of the service or of the example, no `.env`, no database but those
    that are made here.
    """

    def __init__(self, directory: Path, console: Console, http: aiohttp.ClientSession) -> None:
        self.console = console
        self.http = http
        self.sandbox_url = self.service_url = self.example_url = self.key = ""
        self.is_told = False
        self._directory = directory
        self._environment = {
            name: value for name, value in os.environ.items() if not name.upper().startswith(_SETTINGS)
        } | {"ATTENDEE_DATA_DIR": str(directory / "data")}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    async def tell(self, title: str, step: Callable[[], Awaitable[str]]) -> None:
        """Does a step and tells what came of it and how long it took. Raises CannotStart if it did not happen."""
        began = time.monotonic()
        try:
            with self.console.status(f"{title} ..."):
                async with asyncio.timeout(_STEP_SECONDS):
                    told = await step()
        except TimeoutError:
            raise CannotStart(f"The demo stopped at {title!r}: it did not happen in {_STEP_SECONDS} seconds.") from None
        except (StepFailed, aiohttp.ClientError) as trouble:
            raise CannotStart(f"The demo stopped at {title!r}: {trouble}") from trouble
        self.console.print(f"  [green]✓[/] [dim]{time.monotonic() - began:5.1f} s[/]  {told}")

    async def start_sandbox(self) -> str:
        port = self._port("sandbox")
        self.sandbox_url = f"http://{_HOST}:{port}"
        self.start("sandbox", ATTENDEE_SANDBOX_PORT=str(port))
        await until(lambda: self._answers(f"{self.sandbox_url}/"))
        return f"A small Google and a small Microsoft run at {self.sandbox_url}"

    async def ask_sandbox(self, method: str, path: str, body: Any = None) -> Any:
        """What the sandbox itself answers, neither of its platforms. Raises StepFailed."""
        url = f"{self.sandbox_url}/sandbox/api{path}"
        async with self.http.request(method, URL(url, encoded=True), json=body) as answer:
            if answer.status >= 400:
                raise StepFailed(f"the sandbox answered {method} {path} with {answer.status}: {await answer.text()}")
            return await answer.json()

    async def start_service(self) -> str:
        port = self._port("service")
        self.service_url = f"http://{_HOST}:{port}"
        self._environment |= {
            "ATTENDEE_HOST": _HOST,
            "ATTENDEE_PORT": str(port),
            "ATTENDEE_GOOGLE_API_URL": f"{self.sandbox_url}/google",
            "ATTENDEE_GOOGLE_TOKEN_URL": f"{self.sandbox_url}/google/token",
            "ATTENDEE_MICROSOFT_GRAPH_URL": f"{self.sandbox_url}/microsoft/v1.0",
            "ATTENDEE_MICROSOFT_TOKEN_URL": f"{self.sandbox_url}/microsoft/common/oauth2/v2.0/token",
            # The sandbox pushes here as Google and Microsoft do; only withdrawn consent is told to nobody, and is found
            # by the next look.
            "ATTENDEE_PUBLIC_URL": f"http://{_HOST}:{port}",
            "ATTENDEE_SYNC_INTERVAL_SECONDS": "3",
            "ATTENDEE_PUSH_SYNC_INTERVAL_SECONDS": "3",
            "ATTENDEE_ALLOW_INSECURE_WEBHOOKS": "true",
            # The sandbox is a fleet of bots too, and its meeting rooms are where they go.
            "ATTENDEE_MEETING_HOSTS": f"sandbox={self.sandbox_url}",
            "ATTENDEE_BOT_RUNNER": "http",
            "ATTENDEE_BOT_RUNNER_URL": f"{self.sandbox_url}/fleet",
        }
        self.start("serve")
        await until(lambda: self._answers(f"{self.service_url}/readyz"))
        return f"The service runs at {self.service_url}, on SQLite in a temporary directory"

    async def start_example(self) -> str:
        """The example application, with a project of its own at the service."""
        port = self._port("example")
        self.example_url = f"http://{_HOST}:{port}"
        project = await self.run("projects", "create", "demo")
        key, webhook = await asyncio.gather(
            self.run("keys", "create", "--project", project["name"]),
            self.run(
                *("webhooks", "create", "--project", project["name"], "--url", f"{self.example_url}/webhooks"),
                *("--trigger", "calendar.events_update", "--trigger", "calendar.state_change"),
                *("--trigger", "bot.state_change"),
            ),
        )
        self.key = key["key"]
        self._start(
            "notetaker",
            (sys.executable, "-m", "notetaker"),
            PYTHONPATH=os.pathsep.join(map(str, _EXAMPLE)),
            NOTETAKER_PORT=str(port),
            ATTENDEE_URL=self.service_url,
            ATTENDEE_API_KEY=self.key,
            ATTENDEE_WEBHOOK_SECRET=webhook["secret"],
            SANDBOX_URL=self.sandbox_url,
        )
        await until(lambda: self._answers(f"{self.example_url}/"))
        return f"The example application, Notetaker, runs at {self.example_url}, with a key to the API and a webhook"

    async def ask_service(self, method: str, path: str, body: Any = None) -> Any:
        """What the service answers; None where that is 404. Raises StepFailed for any other refusal."""
        headers = {"Authorization": f"Token {self.key}"}
        async with self.http.request(method, f"{self.service_url}/api/v1{path}", json=body, headers=headers) as answer:
            if answer.status == 404:
                return None
            text = await answer.text()
            if answer.status >= 400:
                raise StepFailed(f"{method} {path} was answered with {answer.status}: {text}")
            return json.loads(text) if text else {}

    async def everything(self, path: str) -> Sequence[Any]:
        """All results of a list of the service's, page by page."""
        results: list[Any] = []
        while True:
            page = await self.ask_service("GET", path)
            results += page["results"]
            if page["next"] is None:
                return results
            path = page["next"].removeprefix(f"{self.service_url}/api/v1")

    async def run(self, *arguments: str) -> Any:
        """What a short command prints as JSON. Raises StepFailed with its complaint."""
        process = await asyncio.create_subprocess_exec(
            *_command(*arguments, "--json"),
            cwd=self._directory,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        try:
            output, complaint = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0:
            raise StepFailed(complaint.decode().strip())
        return json.loads(output)

    async def lost_process(self) -> str:
        """Comes back, with what to tell, when a process has ended that should not have."""
        while True:
            for name, process in self._processes.items():
                if process.poll() is not None:
                    said = self._log(name).read_text(errors="replace").strip().splitlines()
                    return f"`{name}` ended: {said[-1] if said else f'status {process.returncode}'}"
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)

    async def end(self) -> None:
        """Ends the processes: asked first, and made to if they don't within 10 seconds."""
        for process in self._processes.values():
            process.terminate()
        for _ in range(round(_END_SECONDS / _LOOK_AGAIN_SECONDS)):
            if all(process.poll() is not None for process in self._processes.values()):
                return
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        for process in self._processes.values():
            process.kill()
            process.wait()

    def start(self, command: str, **settings: str) -> None:
        """A command of ours that stays up."""
        self._start(command, _command(command), **settings)

    def _start(self, name: str, command: Sequence[str], **settings: str) -> None:
        with self._log(name).open("wb") as log:
            # Not asyncio's: nothing may come between the start of a process and the note that it is to be ended.
            self._processes[name] = subprocess.Popen(  # noqa: S603  # our own programs, with our own arguments
                command,
                cwd=self._directory,
                env=self._environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C in the terminal is for us; we tell the processes.
                start_new_session=True,
            )

    def _port(self, what: str) -> int:
        """The usual port if nobody has it, else any that is free."""
        usual = _USUAL_PORTS[what]
        try:
            with socket.create_server((_HOST, usual)):
                return usual
        except OSError:
            with socket.create_server((_HOST, 0)) as free:
                port: int = free.getsockname()[1]
            self.console.print(f"  [yellow]·[/]          Port {usual} is in use, so the {what} takes {port}")
            return port

    async def _answers(self, url: str) -> bool | None:
        try:
            async with self.http.get(url) as answer:
                return answer.status == 200 or None
        except aiohttp.ClientConnectionError:
            return None

    def _log(self, name: str) -> Path:
        return self._directory / f"{name}.log"


def _command(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "attendee", *arguments)
