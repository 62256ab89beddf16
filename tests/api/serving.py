"""The API on loopback, and a client with a key: what every test of the API talks through."""

import asyncio
import contextlib
import io
import socket
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import uvicorn
from fastapi import FastAPI
from sqlalchemy import Table, insert
from starlette.types import ASGIApp
from yarl import URL

from attendee.api.app import create_app
from attendee.api.middleware import EveryRequest
from attendee.bots.schedule import LaunchTimes
from attendee.clock import Clock
from attendee.dashboard.app import beside, create_dashboard
from attendee.meetings import MeetingLinks
from attendee.model import ProjectId, new_id
from attendee.sandbox.app import QuietServer
from attendee.store import projects, tables
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.limits import Limits
from tests.installation import INTERVALS

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
LINK = "https://meet.google.com/abc-defg-hij"
CALENDAR = {"platform": "google", "client_id": "client", "client_secret": "s3cret", "refresh_token": "r3fresh"}

HEARTBEAT = timedelta(minutes=2)


@dataclass
class SetClock:
    """A clock that stands still until it is set."""

    at: datetime = NOON

    def __call__(self) -> datetime:
        return self.at


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.raw)


@dataclass
class Client:
    """Speaks with the API. `key` goes along unless the headers have another Authorization."""

    session: aiohttp.ClientSession
    address: str
    key: str | None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        sent = {"Authorization": f"Token {self.key}"} if self.key is not None else {}
        sent.update(headers or {})
        body = orjson.dumps(json) if json is not None else data
        if isinstance(body, bytes):
            # aiohttp wants large bodies as files, so that it can send them piece by piece.
            body = io.BytesIO(body)
        address = path if path.startswith("http://") else self.address + path
        async with self.session.request(method, URL(address, encoded=True), data=body, headers=sent) as response:
            return Answer(response.status, response.headers, await response.read())

    async def get(self, path: str) -> Answer:
        return await self.ask("GET", "/api/v1" + path)

    async def post(self, path: str, json: Any = None) -> Answer:
        return await self.ask("POST", "/api/v1" + path, json=json)

    async def patch(self, path: str, json: Any) -> Answer:
        return await self.ask("PATCH", "/api/v1" + path, json=json)

    async def delete(self, path: str) -> Answer:
        return await self.ask("DELETE", "/api/v1" + path)


@dataclass
class Served:
    """A served API over a fresh database, with one project and its client."""

    database: Database
    key_ring: KeyRing
    clock: SetClock
    client: Client
    project_id: ProjectId
    _stamps: int = field(default=0)

    async def another_project(self, name: str = "Other") -> Client:
        _, key = await new_project(self.database, self.key_ring, name=name)
        return Client(self.client.session, self.client.address, key)

    async def store(self, table: Table, **values: Any) -> str:
        """One row, straight into the database; its id."""
        async with self.database.transaction() as tx:
            await tx.execute(insert(table).values(**values))
        return str(values.get("id"))

    async def a_calendar(self, **more: Any) -> str:
        made = await self.client.post("/calendars", {**CALENDAR, **more})
        assert made.status == 201, made.raw
        return str(made.json["id"])

    async def an_event(self, calendar_id: str, **more: Any) -> str:
        """An event as a sync stores it; without more it is in an hour, has a link and is changed last of all."""
        self._stamps += 1
        event_id = new_id("evt_")
        values: dict[str, Any] = {
            "id": event_id,
            "project_id": self.project_id,
            "calendar_id": calendar_id,
            "platform_uuid": event_id,
            "fingerprint": "f",
            "name": "Weekly",
            "meeting_url": LINK,
            "start_time": NOON + timedelta(hours=1),
            "end_time": NOON + timedelta(hours=2),
            "is_deleted": False,
            "attendees": '[{"email":"a@x.org","name":"A"}]',
            "raw": '{"id":"theirs","nested":{"z":1,"a":[1.50,"\\u0000"]}}',
            "created_at": NOON,
            "updated_at": NOON + timedelta(microseconds=self._stamps),
        }
        return await self.store(tables.events, **(values | more))


async def new_project(database: Database, key_ring: KeyRing, *, name: str) -> tuple[ProjectId, str]:
    async with database.transaction() as tx:
        project = await projects.create(tx, name, key_ring=key_ring, now=NOON)
        _, key = await projects.create_key(tx, project.id, name="tests", now=NOON)
    return project.id, key


def new_app(
    database: Database,
    *,
    key_ring: KeyRing | None = None,
    clock: Clock = lambda: NOON,
    allow_insecure_webhooks: bool = False,
    launch_times: LaunchTimes = LaunchTimes(None),  # noqa: B008  # it never changes
    meeting_links: MeetingLinks | None = None,
    limits: Limits = Limits(),  # noqa: B008  # it never changes
) -> FastAPI:
    return create_app(
        database=database,
        key_ring=key_ring or KeyRing([KeyRing.generate_key()]),
        clock=clock,
        meeting_links=meeting_links or MeetingLinks(),
        allow_insecure_webhooks=allow_insecure_webhooks,
        intervals=INTERVALS,
        launch_times=launch_times,
        heartbeat=HEARTBEAT,
        limits=limits,
    )


def new_site(
    api: ASGIApp,
    *,
    database: Database,
    key_ring: KeyRing,
    clock: Clock,
    stop: asyncio.Event,
    public_url: str | None = None,
) -> ASGIApp:
    """The API with a dashboard beside it, which allows insecure webhooks."""
    dashboard = create_dashboard(
        database=database,
        key_ring=key_ring,
        clock=clock,
        allow_insecure_webhooks=True,
        public_url=public_url,
        most_webhooks=10,
        keep_syncs_days=7,
        stop=stop,
    )
    return beside(api, EveryRequest(dashboard))


@contextlib.asynccontextmanager
async def served_app(app: ASGIApp) -> AsyncGenerator[str]:
    """The address at which the application is served meanwhile."""
    # Named as TCP: asyncio switches Nagle's algorithm off only where it sees that, and an answer takes 40 ms else.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        server = QuietServer(uvicorn.Config(app, lifespan="off", log_config=None, access_log=False))
        serving = asyncio.create_task(server.serve([listening]))
        await server.up.wait()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.end()
            await serving


@contextlib.asynccontextmanager
async def served(
    database_url: str,
    *,
    allow_insecure_webhooks: bool = False,
    meeting_links: MeetingLinks | None = None,
    limits: Limits = Limits(),  # noqa: B008  # it never changes
) -> AsyncGenerator[Served]:
    database = Database(database_url)
    key_ring = KeyRing([KeyRing.generate_key()])
    clock = SetClock()
    app = new_app(
        database,
        key_ring=key_ring,
        clock=clock,
        allow_insecure_webhooks=allow_insecure_webhooks,
        meeting_links=meeting_links,
        limits=limits,
    )
    try:
        project_id, key = await new_project(database, key_ring, name="Acme")
        async with served_app(app) as address, aiohttp.ClientSession() as session:
            yield Served(database, key_ring, clock, Client(session, address, key), project_id)
    finally:
        await database.close()
