"""The dashboard on loopback, and people who visit it as a browser without JavaScript does."""

import asyncio
import re
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from sqlalchemy import insert
from yarl import URL

from attendee.model import ProjectId, Role
from attendee.store import links, users
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.users import User
from tests.api.serving import Client, Served, SetClock, new_app, new_project, new_site, served_app

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def location(self) -> str:
        return self.headers.get("Location", "")


@dataclass
class Visitor:
    """One browser: it keeps cookies, follows nothing, and sends the token of its session with every form."""

    session: aiohttp.ClientSession
    address: str
    headers: dict[str, str] = field(default_factory=dict)

    async def get(self, path: str) -> Answer:
        return await self._ask("GET", path, None, {})

    async def post(
        self, path: str, fields: Mapping[str, str] | None = None, *, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Sends a form, with the session's token unless the fields have another."""
        return await self._ask("POST", path, {"csrf": await self.token(), **(fields or {})}, headers or {})

    async def token(self) -> str:
        found = re.search(r'name="csrf" value="(\w+)"', (await self.get("/account")).text)
        return "" if found is None else found[1]

    async def sign_in(self, email: str, password: str = PASSWORD) -> Answer:
        return await self.post("/sign-in", {"email": email, "password": password})

    async def _ask(self, method: str, path: str, data: Any, headers: Mapping[str, str]) -> Answer:
        address = path if path.startswith("http") else self.address + path
        async with self.session.request(
            method, URL(address, encoded=True), data=data, headers={**headers, **self.headers}, allow_redirects=False
        ) as response:
            return Answer(response.status, response.headers, await response.text())


@dataclass
class Visited(Served):
    """A served dashboard over a fresh database, with the API beside it."""

    stop: asyncio.Event = field(default_factory=asyncio.Event)
    browsers: list[aiohttp.ClientSession] = field(default_factory=list)

    @property
    def address(self) -> str:
        return self.client.address

    def browser(self) -> Visitor:
        """A new one, nobody signed in."""
        session = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))
        self.browsers.append(session)
        return Visitor(session, self.address)

    async def user(self, email: str, *, role: Role, project_id: ProjectId | None = None) -> User:
        """A user whose password is PASSWORD, a member of the project unless an owner."""
        async with self.database.transaction() as tx:
            user = await users.create(tx, email, is_owner=role is Role.OWNER, now=self.clock())
            if role is not Role.OWNER:
                project = project_id or self.project_id
                await users.put_member(tx, user, project_id=project, role=role, now=self.clock())
            secret = await links.for_password(tx, user.id, now=self.clock())
        opened = await self.browser().post(f"/links/{secret}", {"password": PASSWORD, "again": PASSWORD})
        assert opened.status == 303, opened.text
        return user

    async def visitor(self, role: Role, *, project_id: ProjectId | None = None, email: str = "") -> Visitor:
        """A browser in which such a user is signed in."""
        email = email or f"{role}@acme.example"
        await self.user(email, role=role, project_id=project_id)
        browser = self.browser()
        assert (await browser.sign_in(email)).status == 303
        return browser

    async def link(self, user: User) -> str:
        async with self.database.transaction() as tx:
            return await links.for_password(tx, user.id, now=self.clock())

    async def fill(self, table: Any, rows: list[dict[str, Any]]) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(insert(table), rows)


@asynccontextmanager
async def visited(database_url: str, *, public_url: str | None = None) -> AsyncGenerator[Visited]:
    database = Database(database_url)
    key_ring, clock, stop = KeyRing([KeyRing.generate_key()]), SetClock(), asyncio.Event()
    api = new_app(database, key_ring=key_ring, clock=clock, allow_insecure_webhooks=True)
    site = new_site(api, database=database, key_ring=key_ring, clock=clock, public_url=public_url, stop=stop)
    try:
        project_id, key = await new_project(database, key_ring, name="Acme")
        async with (
            served_app(site) as address,
            aiohttp.ClientSession() as session,
        ):
            here = Visited(database, key_ring, clock, Client(session, address, key), project_id, stop=stop)
            yield here
            stop.set()
            for browser in here.browsers:
                await browser.close()
    finally:
        await database.close()
