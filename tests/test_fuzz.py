"""What strangers send, made up by Hypothesis: nothing of it is our own fault, and nothing becomes part of a page.

`make fuzz` tries many more; `FUZZ` is how many.
"""

import html
import json
from collections.abc import AsyncGenerator
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import Action
from tests.fuzzing import HOSTILE, Site, open_site, some
from tests.installation import Installation, installation

_few = some(40)
_hostile: st.SearchStrategy[str] = st.sampled_from(HOSTILE)
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
async def here(fuzzed_url: str) -> AsyncGenerator[Installation]:
    async with installation(fuzzed_url) as here:
        yield here


@pytest.fixture
async def site(here: Installation) -> Site:
    return await open_site(here)


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
