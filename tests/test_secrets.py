"""Secrets are looked for wherever somebody may look: in logs, answers, pages, metrics and the whole database."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp
import orjson
from sqlalchemy import Table, text
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from attendee import logs
from attendee.api import openapi
from attendee.api.problems import JsonAnswer
from attendee.bots.launch import Launcher, Orders
from attendee.bots.runners.http import HttpRunner
from attendee.bots.runners.port import Runner
from attendee.bots.runners.remote import RemoteRunner
from attendee.bots.staging import Stager
from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import Page
from attendee.meetings import find_meeting_url, service_of
from attendee.model import Platform, ProjectId, Role
from attendee.providers.google import GoogleCalendar
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.sandbox.world import Platform as Place
from attendee.store import channels, claims, projects, tables
from attendee.store.account_tables import one_time_links, sessions, users
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar
from attendee.store.channels import Channel
from attendee.store.launches import Launch, open_token
from attendee.store.users import User
from attendee.sync.watch import ChannelKeeper
from attendee.worker import Job, _Loop
from tests.api.serving import LINK, Client, SetClock, new_app, new_site, served_app
from tests.dashboard.visiting import PASSWORD, Visited, Visitor
from tests.installation import Installation, installation
from tests.webhooks.receiver import running_sender, send_due

_CLIENT_SECRET = "client+secret/planted=="  # it is here to be found
_RUNNER_KEY = "runner-key/planted"
_ACCESS_TOKEN = "access-token/planted"  # as above
_ROTATED_TOKEN = "1//refresh-token/planted"  # as above
_HEARTBEAT = timedelta(minutes=2)
_MINUTE = timedelta(minutes=1)
_HOUR = timedelta(hours=1)
# What the echo makes of the requests: the status of everything, and what its token endpoint complains of.
_TROUBLES = (
    *((status, None) for status in (500, 429, 404, 400, 403, 401, 200)),
    *(
        (status, error)
        for error in ("odd", "invalid_scope", "invalid_client", "invalid_grant")
        for status in (500, 400, 200)
    ),
    (200, "scope"),
)
# Answers that show a secret once, as they are to.
_SHOWN_ONCE = {
    "POST /api/v1/webhooks": {"signing secret"},
    "POST /settings/secret/show": {"signing secret"},
    "POST /settings/keys": {"made key"},
}


@dataclass
class Findings:
    """What a story leaves behind: where which text could be read."""

    secrets: dict[str, str] = field(default_factory=dict)
    seen: dict[str, str] = field(default_factory=dict)

    def see(self, where: str, what: object) -> None:
        self.seen[where] = self.seen.get(where, "") + f"{what}\n"


@dataclass
class Echo:
    """Answers everything with an error, or with what is no answer, that repeats all that it was sent."""

    status: int = 400
    token_error: str | None = None
    heard: str = ""
    address: str = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        # The body in front: what is quoted is cut.
        said = " ".join(
            [(await request.body()).decode(), request.headers.get("authorization", ""), str(request.url.path)]
        )
        self.heard += said + "\n"
        if request.url.path.endswith("/token"):
            await self._tokens(said)(scope, receive, send)
            return
        # Google's codes are numbers, Graph's are words.
        code = self.status if request.url.path.startswith("/calendar/v3") else "odd"
        body: Any = {"error": {"code": code, "message": said, "errors": [{"reason": "x", "message": said}]}}
        if request.url.path.startswith("/runner"):
            body = {"error": said}
        await JsonAnswer(body, self.status)(scope, receive, send)

    def _tokens(self, said: str) -> JsonAnswer:
        if self.token_error not in {None, "scope"}:
            wrong = {"error": self.token_error, "error_description": said, "scope": said}
            return JsonAnswer(wrong, self.status)
        right: dict[str, Any] = {"access_token": _ACCESS_TOKEN, "expires_in": 86_400, "refresh_token": _ROTATED_TOKEN}
        return JsonAnswer(right | ({"scope": said} if self.token_error else {}))


@dataclass
class Story:
    """An installation with its API and dashboard, and platforms and runners that repeat what they are sent."""

    here: Installation
    visited: Visited
    echo: Echo
    findings: Findings

    async def work(self, table: Table, run: Callable[[Any], Awaitable[None]]) -> None:
        """Does what is due of the table, as the worker does, and logs what fails."""
        loop = _Loop(Job(table, (), run, at_once=10), database=self.here.database, clock=self.here.clock)
        await loop._claim()
        await loop._finish()

    async def sync(self, *, echoed: bool = False) -> None:
        pipeline = self.here.pipeline
        if echoed:
            pipeline = replace(pipeline, providers=self.echoing(), settle_quiet=self.here.quiet.add)
        await self.work(tables.calendars, lambda row: pipeline.sync_calendar(Calendar.from_row(row)))
        await self.here.quiet.settle()

    async def keep(self, *, echoed: bool = False) -> None:
        providers = self.echoing() if echoed else self.here.pipeline.providers
        keeper = ChannelKeeper(self.here.database, providers, self.here.key_ring, self.here.clock, self.visited.address)
        await self.work(tables.channels, lambda row: keeper.keep(Channel.from_row(row)))

    def echoing(self) -> dict[Platform, Any]:
        """Providers whose platform is the echo."""
        address, http = self.echo.address, self.here.http
        return {
            Platform.GOOGLE: GoogleCalendar(
                http=http, api_url=address, token_url=f"{address}/token", find_meeting_url=find_meeting_url
            ),
            Platform.MICROSOFT: MicrosoftCalendar(
                http=http, graph_url=address, token_url=f"{address}/token", find_meeting_url=find_meeting_url
            ),
        }

    async def ask(self, method: str, path: str, json: Any = None, *, where: str | None = None) -> Any:
        try:
            answer = await self.visited.client.ask(method, path, json=json)
        except aiohttp.ClientPayloadError:
            # Of a stream that the database has cut short.
            return None
        self.findings.see(where or f"{method} {path}", answer.raw.decode() + str(dict(answer.headers)))
        return answer


def test_no_secret_is_to_be_found_anywhere(database_url: str) -> None:
    """After a story with everything in it that can go wrong, and with platforms that repeat what they are told.

    In a process of its own, since how a process logs is the whole process's affair.
    """
    program = "import asyncio, sys; from tests.test_secrets import tell; asyncio.run(tell(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program, database_url], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = orjson.loads(done.stdout)
    secrets, seen = told["secrets"], told["seen"] | {"the log": done.stderr}
    assert len(secrets) == 28
    for fault in ("IntegrityError", "request failed", "page failed", "channel_not_opened", "runner_trouble"):
        assert fault in done.stderr, fault
    for where, what in seen.items():
        found = {name for name, secret in secrets.items() if any(form in what for form in _forms(secret))}
        assert found == _SHOWN_ONCE.get(where, set()), (where, found)


def _forms(secret: str) -> set[str]:
    return {secret, quote_plus(secret), quote(secret, safe=""), orjson.dumps(secret).decode()[1:-1]}


async def tell(database_url: str) -> None:
    """The story; what was to be seen of it goes to stdout, as JSON."""
    logs.configure(format="json", level="debug")
    async with _story(database_url) as story:
        await _connect(story)
        await _launch(story)
        async with running_sender(story.here) as sender:
            await send_due(story.here, sender)
        owner = await _visit(story)
        await _look_around(story, owner, await _ids(story))
        await _fail(story, owner)
        for table in tables.metadata.sorted_tables:
            await _dump(story, table)
        sys.stdout.write(orjson.dumps({"secrets": story.findings.secrets, "seen": story.findings.seen}).decode())


@asynccontextmanager
async def _story(database_url: str) -> AsyncGenerator[Story]:
    async with installation(database_url, wants_push=True, lead=timedelta(minutes=5)) as here:
        async with here.database.transaction() as tx:
            _, key = await projects.create_key(tx, here.project_id, name="tests", now=here.clock())
        api = new_app(
            here.database,
            key_ring=here.key_ring,
            clock=here.clock,
            allow_insecure_webhooks=True,
            launch_times=here.launch_times,
        )
        stop, echo = asyncio.Event(), Echo()
        site = new_site(api, database=here.database, key_ring=here.key_ring, clock=here.clock, stop=stop)
        async with (
            served_app(site) as address,
            served_app(echo) as echo.address,
            aiohttp.ClientSession() as session,
        ):
            client = Client(session, address, key)
            visited = Visited(here.database, here.key_ring, SetClock(here.clock()), client, here.project_id, stop=stop)
            findings = Findings({"API key": key, "password": PASSWORD, "runner key": _RUNNER_KEY})
            yield Story(here, visited, echo, findings)
            stop.set()
            for browser in visited.browsers:
                await browser.close()


async def _connect(story: Story) -> None:
    """Two calendars that are synced and told of, and then a platform at which every request fails, each in its way."""
    here, secrets, echo = story.here, story.findings.secrets, story.echo
    hook = {"url": f"{echo.address}/hook", "triggers": ["calendar.events_update", "bot.state_change"]}
    secrets["signing secret"] = (await story.ask("POST", "/api/v1/webhooks", hook)).json["secret"]
    for platform in Place:
        person = here.world.add_person(f"ana@{platform.value}.example", platform=platform)
        person.primary.put("meeting", starts=here.clock() + _HOUR, location=LINK)
        secrets[f"refresh token of {platform.value}"] = token = here.world.authorise(person)
        fields = {"platform": platform.value, "client_id": "sandbox-client", "refresh_token": token}
        await story.ask("POST", "/api/v1/calendars", {**fields, "client_secret": "sandbox-secret"})
    await story.sync()
    for status in (500, 400):
        echo.status = status
        await story.keep(echoed=True)
        await _wake_channels(story)
    for number, secret in enumerate(re.findall(r'"(?:token|clientState)":"([^"]+)"', echo.heard)):
        secrets[f"refused channel secret {number}"] = secret
    await story.keep()
    for row in await here.rows(tables.calendars):
        await _note_secrets(story, Calendar.from_row(row))
        await story.ask("PATCH", f"/api/v1/calendars/{row.id}", {"client_secret": _CLIENT_SECRET})
    secrets |= {"client secret": _CLIENT_SECRET, "access token": _ACCESS_TOKEN, "rotated token": _ROTATED_TOKEN}
    for status, error in _TROUBLES:
        echo.status, echo.token_error = status, error
        here.clock.advance(7 * _HOUR)
        for row in await here.rows(tables.calendars):
            await story.ask("POST", f"/api/v1/calendars/{row.id}/sync")
        await _wake_channels(story)
        await story.sync(echoed=True)
        await story.keep(echoed=True)
        await _see_calendars(story)
    for secret in (_CLIENT_SECRET, _ACCESS_TOKEN, _ROTATED_TOKEN):
        assert any(form in echo.heard for form in _forms(secret)), secret
    assert "***" in story.findings.seen["GET /api/v1/calendars"]


async def _note_secrets(story: Story, calendar: Calendar) -> None:
    here, name = story.here, calendar.platform.value
    assert calendar.access_token is not None
    story.findings.secrets[f"access token of {name}"] = here.key_ring.open(
        calendar.access_token, table="calendars", column="access_token", row_id=calendar.id
    )
    (row,) = await here.rows(tables.channels, tables.channels.c.calendar_id == calendar.id)
    story.findings.secrets[f"channel secret of {name}"] = channels.open_secret(here.key_ring, Channel.from_row(row))


async def _wake_channels(story: Story) -> None:
    async with story.here.database.transaction() as tx:
        for row in await story.here.rows(tables.channels):
            await claims.wake(tx, tables.channels, row.id, now=story.here.clock())


async def _see_calendars(story: Story) -> None:
    await story.ask("GET", "/api/v1/calendars")
    for table in (tables.calendars, tables.channels, tables.syncs):
        await _dump(story, table)


async def _dump(story: Story, table: Table) -> None:
    async with story.here.database.reading() as tx:
        # As it lies there, not as our column types would show it.
        statement = text(f"SELECT * FROM {table.name}")  # noqa: S608  # a name of our own
        for row in await tx.execute(statement):
            story.findings.see(
                f"table {table.name}",
                " ".join(one.decode("latin-1") if isinstance(one, bytes) else str(one) for one in row),
            )


async def _launch(story: Story) -> None:
    """Bots that runners take, refuse, and are in trouble with; and reports, good and bad."""
    here, echo = story.here, story.echo

    async def secrets_of(_: ProjectId) -> list[str]:
        return [story.findings.secrets["signing secret"]]

    address = f"{echo.address}/runner"
    runners: tuple[Runner, ...] = (
        HttpRunner(here.http, address, _RUNNER_KEY, secrets_of, here.clock),
        RemoteRunner(here.http, address, _RUNNER_KEY, "https://attendee.example", _HEARTBEAT, here.clock),
    )
    orders = Orders("https://attendee.example", service_of)
    launcher = Launcher(here.database, here.key_ring, here.clock, here.launch_times, orders, _HEARTBEAT)
    for runner in runners:
        stager = Stager(here.database, here.key_ring, here.clock, runner, here.launch_times, _HEARTBEAT)

        async def carry_out(row: Any, stager: Stager = stager) -> None:
            await stager.carry_out(Launch.from_row(row))

        for status in (500, 200, 401, 400):
            echo.status = status
            bot = (await story.ask("POST", "/api/v1/bots", {"bot_name": "Notes", "meeting_url": LINK})).json["id"]
            await story.work(tables.bots, lambda row: launcher.launch(Bot.from_row(row)))
            (row,) = await here.rows(tables.launches, tables.launches.c.bot_id == bot)
            token = story.findings.secrets[f"report token of {bot}"] = open_token(here.key_ring, Launch.from_row(row))
            await story.work(tables.launches, carry_out)
            await _report(story, bot, token)
            here.clock.advance(_HOUR / 60)
        assert _RUNNER_KEY in echo.heard
        echo.heard = ""


async def _report(story: Story, bot: str, token: str) -> None:
    for type_ in ("joining", "post_processing_completed", "nonsense", "chat_message", 7):
        report = {"id": f"{bot}-{type_}", "type": type_}
        for path, headers in (
            (f"/runner/v1/bots/{bot}/events", {"Authorization": f"Bearer {token}"}),
            (f"/runner/v1/bots/{bot}/events", {"Authorization": f"Bearer {token} {token}"}),
            (f"/runner/v1/remote/{bot}/{token}", {}),
            (f"/runner/v1/remote/{bot}/{token}x", {}),
        ):
            answer = await story.visited.client.ask("POST", path, json=report, headers=headers)
            story.findings.see("reports", answer.raw)


async def _visit(story: Story) -> Visitor:
    """An owner, signed in, who has looked at what is shown once."""
    visited, secrets = story.visited, story.findings.secrets
    visited.clock.at = story.here.clock()
    owner = await visited.visitor(Role.OWNER)
    (cookie,) = owner.session.cookie_jar
    secrets["session cookie"] = cookie.value
    (user,) = await story.here.rows(users)
    secrets["link"] = await visited.link(User.from_row(user))
    await _post(story, owner, "/settings/secret/show")
    made = await _post(story, owner, "/settings/keys", {"name": "made"})
    found = re.search(r"att_[\w-]{20,}", made.text)
    assert found is not None, made.text
    secrets["made key"] = found[0]
    await owner.sign_in("owner@acme.example", PASSWORD + "!")
    story.findings.see("sign-in", (await owner.sign_in("nobody@acme.example")).text)
    return owner


async def _post(story: Story, owner: Visitor, path: str, fields: dict[str, str] | None = None) -> Any:
    answer = await owner.post(f"/projects/{story.here.project_id}{path}", fields)
    story.findings.see(f"POST {path}", answer.text)
    return answer


async def _look_around(story: Story, owner: Visitor, ids: dict[str, str]) -> None:
    """Every route that reads, and every page."""
    for path, operations in openapi.document()["paths"].items():
        if "get" in operations:
            await story.ask("GET", path.format(**ids), where=f"GET {path}")
    for page in ROUTES:
        if isinstance(page, Page):
            answer = await owner.get(page.path.format(**ids))
            story.findings.see(f"GET {page.path}", answer.text + answer.location)


async def _ids(story: Story) -> dict[str, str]:
    rows = {
        "calendar_id": tables.calendars,
        "event_id": tables.events,
        "bot_id": tables.bots,
        "webhook_id": tables.webhook_subscriptions,
        "delivery_id": tables.deliveries,
        "project_id": tables.projects,
    }
    found = {name: (await story.here.rows(table))[-1].id for name, table in rows.items()}
    return {**found, "secret": story.findings.secrets["link"]}


async def _refuse(story: Story) -> None:
    """Bodies with secrets in them that break a rule: of a field, of the whole, or of the database."""
    fields = {
        "platform": "google",
        "client_id": "client",
        "client_secret": _CLIENT_SECRET,
        "refresh_token": _ROTATED_TOKEN,
        "deduplication_key": "one",
    }
    for wrong in (
        {},
        {},
        {"platform": "none"},
        {"metadata": 7},
        {"client_secret": [_CLIENT_SECRET]},
        {"refresh_token": {"token": _ROTATED_TOKEN}},
        {"refresh_token": _ROTATED_TOKEN + "\x00"},
        {"more": _CLIENT_SECRET},
        {"client_id": "broken"},
    ):
        await story.ask("POST", "/api/v1/calendars", fields | wrong)
    answer = await story.visited.client.ask(
        "POST", "/api/v1/calendars", data=f'{{"client_secret": "{_CLIENT_SECRET}'.encode()
    )
    story.findings.see("half a body", answer.raw)
    await story.ask("GET", "/api/v1/calendars?cursor=none")


@asynccontextmanager
async def _refusing(story: Story) -> AsyncGenerator[None]:
    """The database takes no access token, and no calendar of the client `broken`."""
    database = story.here.database
    if database.is_sqlite:
        raised = "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        no_token = "BEFORE UPDATE OF access_token ON calendars WHEN NEW.access_token NOTNULL"
        broken = [
            f"CREATE TRIGGER no_client BEFORE INSERT ON calendars WHEN NEW.client_id = 'broken' {raised}",
            f"CREATE TRIGGER no_token {no_token} {raised}",
        ]
        mended = ["DROP TRIGGER no_client", "DROP TRIGGER no_token"]
    else:
        rule = "CHECK (client_id <> 'broken' AND access_token IS NULL)"
        broken = [f"ALTER TABLE calendars ADD CONSTRAINT refused {rule} NOT VALID"]
        mended = ["ALTER TABLE calendars DROP CONSTRAINT refused"]
    async with database.transaction() as tx:
        for statement in broken:
            await tx.exec_driver_sql(statement)
    try:
        yield
    finally:
        async with database.transaction() as tx:
            for statement in mended:
                await tx.exec_driver_sql(statement)


@asynccontextmanager
async def _missing(story: Story, table: Table) -> AsyncGenerator[None]:
    database = story.here.database
    async with database.transaction() as tx:
        await tx.exec_driver_sql(f"ALTER TABLE {table.name} RENAME TO gone")
    try:
        yield
    finally:
        async with database.transaction() as tx:
            await tx.exec_driver_sql(f"ALTER TABLE gone RENAME TO {table.name}")


async def _fail(story: Story, owner: Visitor) -> None:
    """The database refuses what is to be stored, and then lacks one table after the other."""
    here = story.here
    here.clock.advance(7 * _HOUR)
    for row in await here.rows(tables.calendars, tables.calendars.c.client_id == "sandbox-client"):
        await story.ask("PATCH", f"/api/v1/calendars/{row.id}", {"client_secret": _CLIENT_SECRET})
    story.echo.status, story.echo.token_error = 200, None
    async with _refusing(story):
        await story.sync(echoed=True)
        await _refuse(story)
    ids = await _ids(story)
    for table in (tables.projects, tables.bots, sessions, one_time_links):
        async with _missing(story, table):
            if table is tables.projects:
                await _look_around(story, owner, ids)
            await _report(story, ids["bot_id"], story.findings.secrets[f"report token of {ids['bot_id']}"])
            await _refuse(story)
            answer = await owner.sign_in("owner@acme.example")
            story.findings.see("sign-in without a table", answer.text)
            used = {"password": PASSWORD, "again": PASSWORD}
            answer = await owner.post(f"/links/{ids['secret']}", used)
            story.findings.see("GET /links/{secret}", answer.text)
