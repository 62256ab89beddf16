"""What chaos is made with: both platforms, a receiver of webhooks, a client, and processes to be killed."""

import asyncio
import json
import os
import random
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import psutil
from aiohttp import web
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attendee import clock
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Conference, Entry, EntryState, Frequency, Rule
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Person, Platform, World

# A webhook is given up after 10 seconds, so one who hangs for longer has not taken it.
_HANG_SECONDS = 12
_ANSWER_SECONDS = 20
_PATIENCE_SECONDS = 60
_GUARD = 'read _ || { kill -QUIT "$(head -n 1 "$1/data/postmaster.pid")"; sleep 1; rm -rf "$0" "$1"; }; kill -9 0'

# How ids of meetings begin that bots really go to: they are not moved, so that one launch is all that each bot needs.
_NEAR = "near"

# --- Both platforms ---


class Requests:
    """Sees every request for a calendar's events, and holds it up a little, as a platform does.

    A sync asks for one page after the other, so that two requests at once for the changes or the listing of one
    mailbox are two syncs of its calendar. The delay is most of what a sync of these small calendars takes: two at
    once can't miss each other but by a rare chance.
    """

    def __init__(self, app: ASGIApp, *, world: World, choose: random.Random) -> None:
        self._app = app
        self._world = world
        self._choose = choose
        self._under_way: Counter[str] = Counter()
        self.count = 0
        self.overlapping: Counter[str] = Counter()
        self.first_asked_after: dict[str, datetime] = {}
        self.noted_from: datetime | None = None

    def note_from_now(self) -> None:
        """Notes for each mailbox when it is first asked from now on, in `first_asked_after`."""
        self.noted_from = clock.now()
        self.first_asked_after.clear()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        email = self._mailbox(scope)
        if email is None:
            await self._app(scope, receive, send)
            return
        self.count += 1
        if self.noted_from is not None:
            self.first_asked_after.setdefault(email, clock.now())
        if self._under_way[email]:
            self.overlapping[email] += 1
        self._under_way[email] += 1
        ended = False

        def end() -> None:
            nonlocal ended
            if not ended:
                ended = True
                self._under_way[email] -= 1

        async def tell(message: Message) -> None:
            # Who has the whole answer may go on, before this call has come back.
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                end()
            await send(message)

        try:
            await asyncio.sleep(self._choose.uniform(0.02, 0.15))
            await self._app(scope, receive, tell)
        finally:
            end()

    def _mailbox(self, scope: Scope) -> str | None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return None
        if not scope["path"].endswith(("/events", "/calendarView", "/calendarView/delta")):
            return None
        header = dict(scope["headers"]).get(b"authorization", b"").decode()
        token = self._world.grants.access_tokens.get(header.removeprefix("Bearer "))
        return None if token is None else token.grant.person


@dataclass
class Platforms:
    """People at both platforms, each with one calendar, whose events change at random."""

    world: World
    sandbox: SandboxServer
    requests: Requests
    choose: random.Random
    changes: int = 0
    meetings: int = 0

    def add_people(self, count: int) -> None:
        for number in range(count):
            platform = (Platform.GOOGLE, Platform.MICROSOFT)[number % 2]
            person = self.world.add_person(f"person-{number:03}@acme.example", platform=platform)
            for _ in range(4):
                self._create(person.primary)
            starts = self._moment()
            person.primary.put(title="Weekly", starts=starts, rule=Rule(frequency=Frequency.WEEKLY), **self._link())

    def change_something(self) -> None:
        """One change in one calendar, or one bit of trouble with it."""
        person = self.choose.choice(list(self.world.people.values()))
        calendar = person.primary
        live = [one for one in calendar.entries.values() if isinstance(one, Entry) and one.state is EntryState.LIVE]
        singles = [one for one in live if one.rule is None and not one.id.startswith(_NEAR)]
        series = [one for one in live if one.rule is not None]
        one = self.choose.choice(singles) if singles else self._create(calendar)
        self.changes += 1
        match self.choose.randrange(20):
            case 0 | 1 | 2:
                self._create(calendar)
            case 3 | 4 | 5 | 6:
                calendar.move(one.id, starts=self._moment())
            case 7:
                # Out of the window, and perhaps back some day.
                calendar.move(one.id, starts=self._moment() + timedelta(days=45))
            case 8 | 9 | 10:
                calendar.edit(one.id, **self._link())
            case 11 | 12:
                calendar.edit(one.id, title=f"Title {self.choose.randrange(10_000)}")
            case 13:
                calendar.cancel(one.id)
            case 14:
                calendar.delete(one.id)
            case 15 | 16 | 17 if series:
                self._change_occurrence(calendar, self.choose.choice(series))
            case 18:
                self._trouble(person)
            case _:
                self._come_or_go(calendar)

    def call_meeting(self, *, begins_in: timedelta) -> tuple[Calendar, Entry]:
        """A meeting in the near future, in somebody's calendar."""
        calendar = self.choose.choice(list(self.world.people.values())).primary
        self.meetings += 1
        id = f"{_NEAR}{self.meetings}"
        starts = (clock.now() + begins_in).replace(microsecond=0)
        return calendar, calendar.put(id, title=f"Near {self.meetings}", starts=starts, **self._link(certainly=True))

    async def listing(self, http: aiohttp.ClientSession, person: Person, *, until: datetime) -> list[dict[str, Any]]:
        """A plain listing of a calendar, a day back and until then: every event that is not cancelled."""
        grant = next(grant for grant in self.world.grants.refresh_tokens.values() if grant.person == person.email)
        token = self.world.grants.issue_access_token(grant, prefix="")
        since = clock.now() - timedelta(days=1)
        times = tuple(moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in (since, until))
        headers = {"Authorization": f"Bearer {token}"}
        if person.platform is Platform.GOOGLE:
            url = f"{self.sandbox.google_url}/calendar/v3/calendars/primary/events"
            query = {"singleEvents": "true", "maxResults": "2500", "timeMin": times[0], "timeMax": times[1]}
            key = "items"
        else:
            url = f"{self.sandbox.microsoft_url}/v1.0/me/calendarView"
            query = {"startDateTime": times[0], "endDateTime": times[1], "$top": "999"}
            headers["Prefer"] = 'outlook.timezone="UTC", IdType="ImmutableId"'
            key = "value"
        async with http.get(url, params=query, headers=headers) as answer:
            body = await answer.json()
        assert not {"nextPageToken", "@odata.nextLink"} & body.keys(), "one page holds a calendar of this size"
        return [item for item in body[key] if not item.get("isCancelled")]

    def _change_occurrence(self, calendar: Calendar, entry: Entry) -> None:
        slot = self.choose.choice(calendar.slots(entry, end=clock.now() + timedelta(days=27)))
        if self.choose.random() < 0.3:
            calendar.cancel_occurrence(entry.id, slot)
        else:
            calendar.edit_occurrence(entry.id, slot, title=f"Only once {self.choose.randrange(10_000)}", **self._link())

    def _trouble(self, person: Person) -> None:
        kind = self.choose.choice((FaultKind.SERVER_ERROR, FaultKind.RESET, FaultKind.EXPIRED_CURSOR, None))
        if kind is None:
            self.world.grants.expire_access_tokens(person.email)
        else:
            self.world.faults.switch_on(person.email, kind, times=1)

    def _come_or_go(self, calendar: Calendar) -> None:
        """One event of each calendar is deleted and taken out of the bin again, under its id, time after time."""
        id = f"again{calendar.id.partition('@')[0].removeprefix('person-')}"
        entry = calendar.entries.get(id)
        if isinstance(entry, Entry) and entry.state is EntryState.LIVE:
            calendar.delete(id)
        else:
            calendar.put(id, title="Again", starts=self._moment(), **self._link())

    def _create(self, calendar: Calendar) -> Entry:
        return calendar.put(title=f"Title {self.choose.randrange(10_000)}", starts=self._moment(), **self._link())

    def _moment(self) -> datetime:
        # Late enough that no bot's time comes while this lasts, and far from the end of the window, which moves.
        ahead = timedelta(minutes=15 * self.choose.randrange(4 * 4, 4 * 24 * 22))
        return clock.now().replace(minute=0, second=0, microsecond=0) + ahead

    def _link(self, *, certainly: bool = False) -> dict[str, Any]:
        if not certainly and self.choose.random() < 0.15:
            return {"conference": None, "location": "Room 7"}
        if self.choose.random() < 0.5:
            return {"conference": None, "location": f"https://zoom.us/j/{self.choose.randrange(10**9, 10**10)}"}
        letters = "".join(self.choose.choices("abcdefghijkmnopqrstuvwxyz", k=10))
        url = f"https://meet.google.com/{letters[:3]}-{letters[3:7]}-{letters[7:]}"
        return {"conference": Conference(service="meet", url=url), "location": None}


@asynccontextmanager
async def running_platforms(choose: random.Random) -> AsyncGenerator[Platforms]:
    """Both platforms on loopback."""
    world = World(clock.now)
    sandbox = SandboxServer(world)
    seen: list[Requests] = []

    def between(app: ASGIApp) -> Requests:
        seen.append(Requests(app, world=world, choose=choose))
        return seen[0]

    sandbox.app.add_middleware(between)
    async with sandbox:
        yield Platforms(world, sandbox, seen[0], choose)


# --- The product: it hears, reads and orders ---


@dataclass
class Receiver:
    """Takes webhooks, and while `is_moody` refuses some and lets some hang. Only what got its 200 has been told."""

    choose: random.Random
    url: str = ""
    is_moody: bool = True
    tries: int = 0
    told: list[dict[str, Any]] = field(default_factory=list)
    bodies: dict[str, bytes] = field(default_factory=dict)
    changed_bodies: list[str] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.tries += 1
        content = await request.read()
        body = json.loads(content)
        key = body["idempotency_key"]
        if self.bodies.setdefault(key, content) != content or request.headers["webhook-id"] != key:
            self.changed_bodies.append(key)
        mood = self.choose.random() if self.is_moody else 1
        if mood < 0.02:
            await asyncio.sleep(_HANG_SECONDS)
            return web.Response()
        if mood < 0.12:
            return web.Response(status=500)
        self.told.append(body)
        return web.Response()


@asynccontextmanager
async def running_receiver(choose: random.Random) -> AsyncGenerator[Receiver]:
    receiver = Receiver(choose)
    app = web.Application()
    app.router.add_post("/webhooks", receiver.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        receiver.url = f"http://{host}:{port}/webhooks"
        yield receiver
    finally:
        await runner.cleanup()


class Client:
    """Speaks to the API at whichever of its addresses answers, for as long as it takes, up to a minute."""

    def __init__(self, http: aiohttp.ClientSession, addresses: list[str], key: str) -> None:
        self._http = http
        self._addresses = addresses
        self._headers = {"Authorization": f"Token {key}"}
        self.lost = 0

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """The status, below 500, and the document. What got no such answer is asked again, elsewhere."""
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            for address in self._addresses:
                with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                    async with self._http.request(
                        method, f"{address}/api/v1{path}", json=body, headers=self._headers, timeout=timeout
                    ) as answer:
                        if answer.status < 500:
                            return answer.status, await answer.json(content_type=None)
                self.lost += 1
            await asyncio.sleep(0.1)
        message = f"{method} {path} was not answered within {_PATIENCE_SECONDS} seconds."
        raise TimeoutError(message)

    async def is_anybody_ready(self) -> bool:
        """Whether one of the addresses says, within a second, that it has all that it needs: its database."""
        for address in self._addresses:
            with suppress(aiohttp.ClientError, TimeoutError, ConnectionError):
                async with self._http.get(f"{address}/readyz", timeout=aiohttp.ClientTimeout(total=1)) as answer:
                    if answer.status == 200:
                        return True
        return False

    async def everything(self, path: str) -> list[dict[str, Any]]:
        """All results of a list, page by page."""
        found: list[dict[str, Any]] = []
        while True:
            status, page = await self.call("GET", path)
            assert status == 200, page
            found += page["results"]
            if page["next"] is None:
                return found
            path = page["next"].partition("/api/v1")[2]


# --- The processes ---


@dataclass
class Processes:
    """Processes of `attendee`, none of which outlives us.

    They are one group of processes with a guard, who kills the group at a word from us, or when the pipe from us to it
    ends without one: then we are dead, and it stops the database and clears up too.
    """

    directory: Path
    cluster_directory: Path
    environment: dict[str, str]
    commands: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    kills: int = 0
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        guard = ["sh", "-c", _GUARD, str(self.directory), str(self.cluster_directory)]
        self._guard = subprocess.Popen(guard, stdin=subprocess.PIPE, process_group=0)

    def add(self, name: str, command: str, **settings: str) -> None:
        self.commands[name] = (command, {f"ATTENDEE_{key}": value for key, value in settings.items()})

    def start(self, name: str) -> None:
        command, settings = self.commands[name]
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-m", "attendee", command],
                cwd=self.directory,
                env=self.environment | settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                process_group=self._guard.pid,
            )

    def kill(self, name: str) -> None:
        """As the kernel does when memory is short: at once, without a last word."""
        process = self._running.pop(name)
        process.kill()
        process.wait()
        self.kills += 1

    def end(self) -> None:
        """Ends all of them, and the guard."""
        self._guard.communicate(b"end\n")
        for process in self._running.values():
            process.wait()

    def alive(self) -> list[str]:
        return [name for name, process in self._running.items() if process.poll() is None]

    def missing(self) -> list[str]:
        """Those that were killed, or could not start while the database was away."""
        return [name for name in self.commands if name not in self.alive()]

    def memory(self) -> dict[str, int]:
        """What each living process has resident, in bytes."""
        return {name: psutil.Process(self._running[name].pid).memory_info().rss for name in self.alive()}

    def complaints(self) -> Iterator[dict[str, Any]]:
        """What the processes logged as errors."""
        for name in self.commands:
            for line in self.log(name).read_text(errors="replace").splitlines():
                if line.startswith("{"):
                    with suppress(json.JSONDecodeError):
                        said = json.loads(line)
                        if said.get("level") in {"error", "critical"}:
                            yield said | {"process": name}

    def log(self, name: str) -> Path:
        return self.directory / f"{name}.log"


def environment_of_ours(**settings: str) -> dict[str, str]:
    """Nothing of our surroundings but where programs and our package are."""
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    return kept | {f"ATTENDEE_{name}": value for name, value in settings.items()}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port
