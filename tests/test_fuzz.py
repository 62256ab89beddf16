"""What strangers send, made up by Hypothesis: nothing of it is our own fault, and nothing becomes part of a page.

`make fuzz` tries many more; `FUZZ` is how many.
"""

import asyncio
import hashlib
import html
import json
import os
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp, Message

from attendee.api.middleware import EveryRequest
from attendee.dashboard.app import beside, create_dashboard
from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import Action
from attendee.model import BotState
from attendee.store import bots, sessions, users
from attendee.store.bots import NewBot
from attendee.store.columns import token_hash
from tests.api.serving import new_app
from tests.installation import Installation, installation

_EXAMPLES = int(os.environ.get("FUZZ") or 40)
_few = settings(
    max_examples=_EXAMPLES,
    derandomize="FUZZ" not in os.environ,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)

_hostile: st.SearchStrategy[str] = st.sampled_from(
    [
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
)
# A long one is made late, since Hypothesis writes strategies out.
_hostile |= st.text(max_size=40) | st.builds(lambda: "x" * 5_000)
_any_json: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | _hostile,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_hostile, inner, max_size=3),
    max_leaves=8,
)


@st.composite
def _value(draw: st.DrawFn) -> Any:
    # Behind a function, since Hypothesis writes strategies out, and this one is long.
    return draw(_any_json)


_values = _value()


@pytest.fixture
async def here(sqlite_url: str) -> AsyncGenerator[Installation]:
    async with installation(sqlite_url) as here:
        yield here


@dataclass
class Site:
    """The API and the dashboard as one application, asked without a network: any bytes may be in any place."""

    app: ASGIApp
    here: Installation
    token: str
    bot_id: str

    async def ask(
        self, method: str, path: str, *, query: str = "", body: bytes = b"", headers: Mapping[str, bytes] | None = None
    ) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        """Status, headers and body; no header of any answer may have a line end in it, and none is our own fault."""
        sent: list[Message] = []
        # As every server decodes it.
        path = path.encode(errors="replace").decode()

        async def receive() -> Message:
            return {"type": "http.request", "body": body, "more_body": False}

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

    async def post(self, path: str, fields: Mapping[str, str]) -> int:
        """A form of the owner's own session."""
        csrf = hashlib.sha256(b"csrf " + self.token.encode()).hexdigest()
        body = urlencode({**fields, "csrf": csrf}, errors="replace").encode()
        status, _, _ = await self.ask("POST", path, body=body, headers={"cookie": self._cookie})
        return status

    @property
    def _cookie(self) -> bytes:
        return f"attendee_session={self.token}".encode()


@pytest.fixture
async def site(here: Installation) -> Site:
    api = new_app(here.database, key_ring=here.key_ring, clock=here.clock, allow_insecure_webhooks=True)
    dashboard = create_dashboard(
        database=here.database,
        key_ring=here.key_ring,
        clock=here.clock,
        allow_insecure_webhooks=True,
        public_url=None,
        most_webhooks=10,
        stop=asyncio.Event(),
    )
    async with here.database.transaction() as tx:
        owner = await users.create(tx, "owner@acme.example", is_owner=True, now=here.clock())
        token = await sessions.begin(tx, owner.id, now=here.clock())
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
    return Site(beside(api, EveryRequest(dashboard)), here, token, bot_id)


_bodies = st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), _values)
_reports = st.fixed_dictionaries(
    {"id": _values, "type": st.sampled_from(["heartbeat", "joining", "chat_message", "log"]) | _values},
    optional={"sub_type": _values, "created_at": _values, "metadata": _values, "data": _values},
)
_webhooks = st.fixed_dictionaries(
    {"idempotency_key": _values, "trigger": st.sampled_from(["transcript.update", "bot.state_change"]) | _values},
    optional={"data": _values},
)
_messages = st.fixed_dictionaries(
    {"value": st.lists(st.fixed_dictionaries({"subscriptionId": _values, "clientState": _values}), max_size=3)}
)
_as_json = st.builds(lambda value: json.dumps(value).encode(), _reports | _webhooks | _messages)
_header = st.binary(max_size=40) | st.builds(lambda text: text.encode(errors="replace"), _hostile)


@_few
@given(body=_as_json | _bodies, names=st.tuples(_header, _header, _header), query=_hostile)
async def test_no_message_of_a_stranger_is_our_own_fault(
    site: Site, body: bytes, names: tuple[bytes, bytes, bytes], query: str
) -> None:
    """Notifications of both platforms, reports of bots and webhooks of another server, headers and all."""
    channel, token, request_id = names
    headers = {
        "x-goog-channel-id": channel,
        "x-goog-channel-token": token,
        "x-goog-resource-state": b"exists",
        "x-request-id": request_id,
    }
    asked = "validationToken=" + quote(query, errors="replace")
    await site.ask("POST", "/external_webhooks/google_calendar", body=body, headers=headers)
    await site.ask("POST", "/external_webhooks/microsoft_calendar", body=body, headers=headers)
    await site.ask("POST", "/external_webhooks/microsoft_calendar", body=body, headers=headers, query=asked)
    allowed = {**headers, "authorization": b"Bearer t"}
    await site.ask("POST", f"/runner/v1/bots/{site.bot_id}/events", body=body, headers=allowed)
    await site.ask("POST", f"/runner/v1/bots/{site.bot_id}/events", body=body, headers={"authorization": token})
    await site.ask("POST", f"/runner/v1/remote/{site.bot_id}/t", body=body, headers=headers)


@_few
@given(name=_hostile, other=_hostile, action=st.sampled_from([one for one in ROUTES if isinstance(one, Action)]))
async def test_no_form_is_our_own_fault(site: Site, name: str, other: str, action: Action) -> None:
    """Every form of the dashboard, with ids and fields that nobody would choose, and where it leads afterwards."""
    ids = dict.fromkeys(("secret", "user_id", "calendar_id", "webhook_id", "key_id", "delivery_id"), other or "x")
    project_id = site.here.project_id
    if action.path.startswith(("/sign-out", "/delete-project", "/users")):
        project_id = type(project_id)("proj_none")
    path = action.path.format(**ids, project_id=project_id)
    fields = dict.fromkeys(("name", "email", "url", "password", "triggers", "role", "zone", "since", "next"), name)
    if action.path not in {"/sign-out", "/sign-out-everywhere"}:
        await site.post(path, fields)
    await site.ask("GET", path, query="next=" + quote(name, errors="replace"))
    await site.ask("GET", f"/projects/{name}", query=quote(other, errors="replace"))


async def test_hostile_names_are_shown_as_text(site: Site) -> None:
    """Of projects, keys, bots and events: on every page that lists them they are words, never a part of the page."""
    name = "<script>alert(1)</script>\"'"
    project = f"/projects/{site.here.project_id}"
    assert await site.post("/projects", {"name": name}) == 303
    await site.post(f"{project}/settings/keys", {"name": name})
    person = site.here.world.add_person("ana@acme.example")
    person.primary.put("meeting", starts=site.here.clock() + timedelta(hours=1), title=name)
    calendar = await site.here.sync((await site.here.connect(person, deduplication_key=name)).id)
    event = (await site.here.events(calendar.id))["meeting"]
    for path in (
        "/projects",
        f"{project}/settings/keys",
        project,
        f"{project}/calendars",
        f"{project}/calendars/{calendar.id}",
        f"{project}/events/{event.id}",
    ):
        page = await site.visit(path)
        assert "<script>alert" not in page, path
        assert html.escape("<script>alert(1)") in page, path
