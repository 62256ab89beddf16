"""What the tests of the sandbox's Microsoft hold in their hands: an application that asks, and its webhook."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from yarl import URL

from tests.sandbox.application import Answer

WEEK = {"startDateTime": "2026-11-23T00:00:00Z", "endDateTime": "2026-11-30T00:00:00Z"}


@dataclass
class GraphClient:
    """The few calls that an application makes, as one person's bearer."""

    session: aiohttp.ClientSession
    url: str
    refresh_token: str
    access_token: str = ""
    prefer: str = ""

    async def token(self, *, tenant: str = "common", **form: str) -> Answer:
        fields = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"} | form
        async with self.session.post(f"{self.url}/{tenant}/oauth2/v2.0/token", data=fields) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def refresh(self) -> Answer:
        answer = await self.token(grant_type="refresh_token", refresh_token=self.refresh_token)
        if answer.status == 200:
            self.access_token = answer.json["access_token"]
            self.refresh_token = answer.json["refresh_token"]
        return answer

    async def ask(self, method: str, path: str, body: Any = None, **parameters: str) -> Answer:
        """A path below the version, or one of Graph's own links, byte for byte."""
        target = URL(path if path.startswith("http") else f"{self.url}/v1.0{path}", encoded=True)
        target = target.with_query(parameters) if parameters else target
        headers = {"Authorization": f"Bearer {self.access_token}"} | ({"Prefer": self.prefer} if self.prefer else {})
        async with self.session.request(method, target, json=body, headers=headers) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def get(self, path: str, **parameters: str) -> Answer:
        return await self.ask("GET", path, **parameters)

    async def view(self, path: str = "/me/calendarView", **parameters: str) -> list[Any]:
        """Every item of the week, page by page."""
        answer = await self.get(path, **(WEEK | parameters))
        items: list[Any] = []
        while True:
            assert answer.status == 200, answer.text
            items += answer.json["value"]
            if "@odata.nextLink" not in answer.json:
                return items
            answer = await self.get(answer.json["@odata.nextLink"])

    async def round(self, link: str | None = None, path: str = "/me/calendarView/delta") -> tuple[list[Any], str]:
        """A whole round of a delta, and the link that the next one starts from."""
        answer = await (self.get(link) if link else self.get(path, **WEEK))
        items: list[Any] = []
        while True:
            assert answer.status == 200, answer.text
            items += answer.json["value"]
            if "@odata.deltaLink" in answer.json:
                return items, str(answer.json["@odata.deltaLink"])
            answer = await self.get(answer.json["@odata.nextLink"])


def code_of(answer: Answer) -> str:
    """The code in Graph's error body."""
    return str(answer.json["error"]["code"])


@dataclass
class Webhook:
    """Takes notifications in; `says` makes the answer to a handshake out of its token."""

    address: str = ""
    says: Callable[[str], web.Response] = lambda token: web.Response(text=token)
    handshakes: list[dict[str, str]] = field(default_factory=list)
    items: list[dict[str, Any]] = field(default_factory=list)
    messages: int = 0

    async def take(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0)
        if "validationToken" in request.query:
            self.handshakes.append(dict(request.query) | {"Content-Type": request.headers["Content-Type"]})
            return self.says(request.query["validationToken"])
        self.messages += 1
        self.items += json.loads(await request.read())["value"]
        return web.Response(status=202)

    def told(self, name: str = "changeType") -> list[Any]:
        """One field of every item so far, sorted: the order of messages is nobody's promise."""
        return sorted(item[name] for item in self.items)
