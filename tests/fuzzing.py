"""What fuzz tests have in common: how many examples they try, hostile words, and a site that may be asked anything."""

import asyncio
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import HealthCheck, Phase, settings
from starlette.types import ASGIApp, Message

from attendee.model import BotState
from attendee.store import bots, projects, sessions, users
from attendee.store.bots import NewBot
from attendee.store.columns import token_hash
from tests.api.serving import new_app, new_site
from tests.installation import Installation


def some(examples: int) -> settings:
    """How a fuzz test runs: the same few examples each time, or as many new ones as `FUZZ` says."""
    return settings(
        max_examples=int(os.environ.get("FUZZ") or examples),
        derandomize="FUZZ" not in os.environ,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )


HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "a\r\nX-Evil: 1",
    "a\x00b",
    "'; DROP TABLE events; --",
    "{{ 7 * 7 }}",
    "../../etc/passwd",
    "\u202ereversed",
    "\ud800",
    "",
]


@dataclass
class Site:
    """The API and the dashboard as one application, asked without a network: any bytes may be in any place."""

    app: ASGIApp
    here: Installation
    token: str
    key: str
    bot_id: str

    async def ask(
        self, method: str, path: str, *, query: str = "", body: bytes = b"", headers: Mapping[str, bytes] | None = None
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body; no header of any answer may have a line end in it, and none is our own fault."""
        sent: list[Message] = []
        # As every server decodes it.
        path = path.encode(errors="replace").decode()

        bodies = [body]

        async def receive() -> Message:
            if not bodies:
                # Who has sent everything stays on the line until it is answered.
                await asyncio.Event().wait()
            return {"type": "http.request", "body": bodies.pop(), "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        given = {"host": b"attendee.example", **(headers or {})}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": quote(path).encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value) for name, value in given.items()],
            "client": ("192.0.2.1", 1),
            "server": ("attendee.example", 80),
        }
        await self.app(scope, receive, send)
        status, answered = sent[0]["status"], list(sent[0]["headers"])
        assert status < 500, (method, path, body, b"".join(one.get("body", b"") for one in sent))
        assert not [value for _, value in answered if b"\r" in value or b"\n" in value], answered
        return status, answered, b"".join(one.get("body", b"") for one in sent[1:])

    async def visit(self, path: str) -> str:
        status, _, body = await self.ask("GET", path, headers={"cookie": self._cookie})
        assert status == 200, path
        return body.decode()

    async def read(self, path: str) -> Any:
        """What the API says to a key of the project."""
        path, _, query = path.partition("?")
        allowed = {"authorization": f"Token {self.key}".encode()}
        status, _, body = await self.ask("GET", f"/api/v1{path}", query=query, headers=allowed)
        assert status == 200, (path, body)
        return json.loads(body)

    async def post(self, path: str, fields: Mapping[str, str]) -> int:
        """A form of the owner's own session."""
        csrf = hashlib.sha256(b"csrf " + self.token.encode()).hexdigest()
        body = urlencode({**fields, "csrf": csrf}, errors="replace").encode()
        status, _, _ = await self.ask("POST", path, body=body, headers={"cookie": self._cookie})
        return status

    @property
    def _cookie(self) -> bytes:
        return f"attendee_session={self.token}".encode()


async def open_site(here: Installation) -> Site:
    """The site of an installation that allows insecure webhooks, with an owner signed in and a bot that is staged."""
    api = new_app(here.database, key_ring=here.key_ring, clock=here.clock, allow_insecure_webhooks=True)
    site = new_site(api, database=here.database, key_ring=here.key_ring, clock=here.clock, stop=asyncio.Event())
    async with here.database.transaction() as tx:
        owner = await users.create(tx, "owner@acme.example", is_owner=True, now=here.clock())
        token = await sessions.begin(tx, owner.id, now=here.clock())
        _, key = await projects.create_key(tx, here.project_id, name="tests", now=here.clock())
        bot_id = bots.new_bot_id()
        new = NewBot("Notes", "https://meet.google.com/abc-defg-hij", here.clock(), None, None, None, None, {})
        await bots.create(
            tx,
            new,
            bot_id=bot_id,
            state=BotState.STAGED,
            project_id=here.project_id,
            due_at=here.clock(),
            now=here.clock(),
        )
        await bots.change(tx, bot_id, values={"report_token_hash": token_hash("t")}, now=here.clock())
    return Site(site, here, token, key, bot_id)
