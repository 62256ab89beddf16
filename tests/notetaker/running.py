"""The example application inside a test: real HTTP to a real API, a clock that stands still, and webhooks by hand."""

import base64
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from fastapi import FastAPI
from sqlalchemy import update

from attendee.demo.visitor import Visitor
from attendee.model import CalendarId, Trigger
from attendee.sandbox.world import Person
from attendee.signing import canonical_json, signature_headers
from attendee.store import projects, tables
from attendee_client import Patience
from attendee_client.aio import AsyncClient
from notetaker import background
from notetaker.app import create_app
from notetaker.office import Office
from notetaker.settings import read_settings
from tests.api.serving import Client, new_app, served_app
from tests.installation import Installation, installation

SECRET = base64.b64encode(b"a secret of the project's webhooks").decode()
TRIGGERS = (Trigger.CALENDAR_EVENTS_UPDATE, Trigger.CALENDAR_STATE_CHANGE, Trigger.BOT_STATE_CHANGE)


@dataclass
class Running:
    """What a test acts on: `here` is the service and the platforms, `client` asks its API."""

    here: Installation
    client: Client
    app: FastAPI
    url: str
    database: Path

    @property
    def office(self) -> Office:
        office: Office = self.app.state.office
        return office

    async def work(self) -> None:
        """What the application does in the background, until nothing is due."""
        await background.work_off(self.office)

    async def sign_in(self, person: Person, visitor: Visitor) -> CalendarId:
        """The id of the calendar, which has been read once by the service and by the application."""
        await visitor.sign_in(person.platform.value, email=person.email)
        calendar = (await self.client.get("/calendars")).json["results"][0]
        calendar_id = CalendarId(calendar["id"])
        await self.sync(calendar_id)
        await self.work()
        return calendar_id

    async def sync(self, calendar_id: CalendarId) -> None:
        await self.here.sync(calendar_id)

    async def set_bot_state(self, bot_id: str, state: str) -> None:
        """As if the bot had reported it."""
        async with self.here.database.transaction() as tx:
            await tx.execute(update(tables.bots).where(tables.bots.c.id == bot_id).values(state=state))

    @contextmanager
    def service_is_away(self) -> Iterator[None]:
        """Nobody answers at the service's address meanwhile."""
        present = self.office
        away = AsyncClient(present.http, "http://127.0.0.1:1", "no key", patience=Patience(retries=0))
        self.app.state.office = replace(present, service=away)
        yield
        self.app.state.office = present

    async def news(self) -> list[dict[str, Any]]:
        """The bodies of the webhooks that the service has made since this was last asked.

        They count as tried then, for the service folds news into a webhook that it has never tried.
        """
        rows = await self.here.rows(tables.deliveries, tables.deliveries.c.attempts == 0)
        async with self.here.database.transaction() as tx:
            await tx.execute(update(tables.deliveries).values(attempts=1))
        return [orjson.loads(row.body) for row in rows]

    async def deliver(self, body: dict[str, Any], *, secret: str = SECRET) -> int:
        """The status with which the application answers a webhook."""
        text = canonical_json(body)
        headers = signature_headers(text, message_id=body["idempotency_key"], secrets=[secret], now=self.here.clock())
        async with self.here.http.post(f"{self.url}/webhooks", data=text.encode(), headers=headers) as answer:
            return answer.status

    async def deliver_badly(self, bodies: list[dict[str, Any]], luck: random.Random) -> None:
        """Each of them twice, in any order, with work in between or without."""
        twice = [*bodies, *bodies]
        luck.shuffle(twice)
        for body in twice:
            assert await self.deliver(body) == 204
            if luck.random() < 0.5:
                await self.work()
        await self.work()


@asynccontextmanager
async def running(database_url: str, directory: Path) -> AsyncIterator[Running]:
    """The application over its own fresh file, at a service with one project and a webhook."""
    async with installation(database_url) as here:
        async with here.database.transaction() as tx:
            _, key = await projects.create_key(tx, here.project_id, name="notetaker", now=here.clock())
        await here.subscribe("https://notetaker.example/webhooks", triggers=TRIGGERS)
        async with served_app(new_app(here.database, key_ring=here.key_ring, clock=here.clock)) as service_url:
            database = directory / "notetaker.sqlite3"
            settings = read_settings(
                {
                    "NOTETAKER_DATABASE": str(database),
                    "ATTENDEE_URL": service_url,
                    "ATTENDEE_API_KEY": key,
                    "ATTENDEE_WEBHOOK_SECRET": SECRET,
                    "SANDBOX_URL": here.sandbox.url,
                }
            )
            app = create_app(settings, now=here.clock, is_working=False)
            async with app.router.lifespan_context(app), served_app(app) as url:
                app.state.office = replace(app.state.office, url=url)
                yield Running(here, Client(here.http, service_url, key), app, url, database)


@asynccontextmanager
async def visiting(url: str) -> AsyncIterator[Visitor]:
    """Somebody at a browser without a screen."""
    visitor = Visitor(url)
    try:
        yield visitor
    finally:
        await visitor.close()


async def form_token(http: aiohttp.ClientSession, url: str) -> str:
    """The token in the forms of the page."""
    async with http.get(url) as answer:
        text = await answer.text()
    return text.partition('name="csrf_token" value="')[2].partition('"')[0]


def stored(database: Path) -> bytes:
    """Everything that the application has written to disk."""
    return b"".join(path.read_bytes() for path in database.parent.glob(f"{database.name}*"))
