"""What the tests of the sandbox hold in their hands: a clock, an application that asks, and a receiver of pushes."""

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web
from yarl import URL

NOW = datetime(2026, 11, 23, 8, 0, tzinfo=UTC)


@dataclass
class ManualClock:
    """Says what it is told."""

    moment: datetime = NOW

    def __call__(self) -> datetime:
        return self.moment

    def forward(self, by: timedelta) -> None:
        self.moment += by


@dataclass
class Answer:
    """A whole HTTP answer."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class GoogleClient:
    """The few calls that an application makes, as one person's bearer."""

    session: aiohttp.ClientSession
    url: str
    refresh_token: str
    access_token: str = ""

    async def token(self, **form: str) -> Answer:
        fields = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"} | form
        async with self.session.post(f"{self.url}/token", data=fields) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def refresh(self) -> Answer:
        answer = await self.token(grant_type="refresh_token", refresh_token=self.refresh_token)
        if answer.status == 200:
            self.access_token = answer.json["access_token"]
        return answer

    async def get(self, path: str, **parameters: str) -> Answer:
        headers = {"Authorization": f"Bearer {self.access_token}"}
        async with self.session.get(f"{self.url}{path}", params=parameters, headers=headers) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def post(self, path: str, body: Any) -> Answer:
        headers = {"Authorization": f"Bearer {self.access_token}"}
        async with self.session.post(f"{self.url}{path}", json=body, headers=headers) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def events(self, calendar: str = "primary", **parameters: str) -> Answer:
        # Encoded by hand: the client library would leave `#` out of the path.
        address = f"{self.url}/calendar/v3/calendars/{quote(calendar, safe='')}/events"
        headers = {"Authorization": f"Bearer {self.access_token}"}
        target = URL(address, encoded=True).with_query(parameters)
        async with self.session.get(target, headers=headers) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def sync_token(self, **parameters: str) -> str:
        answer = await self.events(singleEvents="true", **parameters)
        return str(answer.json["nextSyncToken"])

    async def delta(self, token: str, **parameters: str) -> list[Any]:
        answer = await self.events(singleEvents="true", syncToken=token, **parameters)
        assert answer.status == 200, answer.text
        return list(answer.json["items"])


@dataclass
class Receiver:
    """Takes push messages in."""

    address: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.headers.append(dict(request.headers))
        self.bodies.append(await request.read())
        return web.Response(status=204)

    @property
    def states(self) -> list[str]:
        return [headers["X-Goog-Resource-State"] for headers in self.headers]
