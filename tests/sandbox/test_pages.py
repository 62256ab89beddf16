"""The pages and the control API, by the forms and the JSON that people and programs send."""

from typing import Any

import aiohttp

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.entries import EntryState, Frequency, Rule
from attendee.sandbox.seed import seed_week
from attendee.sandbox.world import Person, World
from tests.sandbox.application import NOW, GoogleClient


async def get(session: aiohttp.ClientSession, address: str) -> str:
    async with session.get(address) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.text()


async def post(session: aiohttp.ClientSession, address: str, **form: str) -> int:
    async with session.post(address, data=form, allow_redirects=False) as answer:
        await answer.read()
        return answer.status


async def test_the_week_is_shown(sandbox: SandboxServer, session: aiohttp.ClientSession, ana: Person) -> None:
    """Everybody at home; the seeded week with its links on the person's page; no address outside."""
    seed_week(ana.primary, now=NOW, room_link=f"{sandbox.url}/rooms/blue-room")
    assert "ana@acme.example" in await get(session, f"{sandbox.url}/")
    page = await get(session, f"{sandbox.url}/people/ana@acme.example")
    for text in (
        "Stand-up",
        "1:1 with Ben",
        "Customer call",
        "Offsite",
        "declined",
        "https://meet.google.com/",
        "/rooms/blue",
    ):
        assert text in page
    assert "<script" not in page
    assert "--ground" in await get(session, f"{sandbox.url}/static/sandbox.css")


async def test_forms_change_the_calendar(sandbox: SandboxServer, session: aiohttp.ClientSession, ana: Person) -> None:
    """Create, move, edit one or this and following, cancel and delete; times are those of the calendar's zone."""
    base, calendar = f"{sandbox.url}/people/ana@acme.example", ana.primary
    form = {"title": "Call", "starts": "2026-11-23T10:00", "minutes": "45", "meeting_url": "https://zoom.us/j/98765"}
    assert await post(session, f"{base}/create", **form) == 303
    (call,) = [calendar.get(id) for id in calendar.entries]
    assert call.details.starts == NOW.replace(hour=9)
    assert call.details.conference is not None
    assert await post(session, f"{base}/change", id=call.id, starts="2026-11-23T11:00", title="Moved") == 303
    assert calendar.get(call.id).details.length == call.details.length
    assert calendar.get(call.id).details.title == "Moved"
    assert await post(session, f"{base}/respond", id=call.id, response="declined") == 303
    assert await post(session, f"{base}/remove", id=call.id, form="cancelled") == 303
    assert calendar.get(call.id).state is EntryState.CANCELLED

    calendar.put("series", title="Series", starts=NOW, rule=Rule(frequency=Frequency.DAILY, count=5))
    one = {"id": "series", "occurrence": "2026-11-24T08:00:00+00:00"}
    assert await post(session, f"{base}/change", **one, starts="2026-11-24T15:00") == 303
    assert await post(session, f"{base}/remove", id="series", occurrence="2026-11-25T08:00:00+00:00") == 303
    assert len(calendar.get("series").overrides) == 2
    late = {"id": "series", "following": "2026-11-26T08:00:00+00:00"}
    assert await post(session, f"{base}/change", **late, title="New") == 303
    assert calendar.get("series_R20261126T080000").details.title == "New"
    assert await post(session, f"{base}/remove", id="series", form="deleted") == 303
    assert calendar.get("series").state is EntryState.DELETED
    assert "cancelled" in await get(session, base)


async def test_other_calendars_have_their_week_too(
    sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, ana: Person
) -> None:
    """A form that names one changes that one, and leads back to it."""
    team = world.add_calendar(ana, "team#1@group.calendar.google.com", name="Team")
    address = f"{sandbox.url}/people/ana@acme.example"
    form = {"calendar": team.id, "title": "Retro", "starts": "2026-11-23T10:00", "repeat": "weekly"}
    async with session.post(f"{address}/create", data=form) as answer:
        assert "Retro" in await answer.text()
    assert [one.details.title for one in team.between(NOW, NOW.replace(month=12))] == ["Retro"] * 5
    assert not ana.primary.entries
    assert await post(session, f"{address}/create", calendar="nobody's", title="Never") == 404


async def test_buttons_revoke_and_break(google: GoogleClient, sandbox: SandboxServer, world: World) -> None:
    """Consent is gone, faults are on and off again, cursors expired."""
    base = f"{sandbox.url}/people/ana@acme.example"
    token = await google.sync_token()
    assert await post(google.session, f"{base}/expire-cursors") == 303
    assert (await google.events(singleEvents="true", syncToken=token)).status == 410
    fault = {"kind": "throttled", "place": "calendar", "times": "", "variant": "quotaExceeded"}
    assert await post(google.session, f"{base}/fault-on", **fault) == 303
    assert (await google.events()).status == 403
    assert "quotaExceeded" in await get(google.session, base)
    assert await post(google.session, f"{base}/faults-off") == 303
    assert (await google.events()).status == 200
    assert await post(google.session, f"{base}/revoke") == 303
    assert (await google.events()).status == 401
    assert world.faults.active == []


async def test_nonsense_is_answered_with_a_page(
    sandbox: SandboxServer, session: aiohttp.ClientSession, ana: Person
) -> None:
    """Unknown people, events and actions, and times that are none."""
    base = f"{sandbox.url}/people/ana@acme.example"
    assert await post(session, f"{sandbox.url}/people/nobody@acme.example/create") == 404
    assert await post(session, f"{base}/dance") == 404
    assert await post(session, f"{base}/remove", id="nothing") == 404
    assert await post(session, f"{base}/create", title="Never", starts="soon") == 400
    async with session.get(f"{sandbox.url}/people/nobody@acme.example") as answer:
        assert answer.status == 404


async def test_the_control_api_does_what_the_pages_do(
    sandbox: SandboxServer, session: aiohttp.ClientSession, world: World
) -> None:
    """People, events, occurrences, faults, consent and counts by JSON."""
    api = f"{sandbox.url}/sandbox/api"

    async def call(method: str, path: str, body: Any = None, *, status: int = 200, **query: str) -> Any:
        async with session.request(method, f"{api}{path}", json=body, params=query) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    await call("POST", "/people", {"email": "mia@acme.example", "zone": "Europe/Berlin", "seed": True})
    assert [person["email"] for person in await call("GET", "/people")] == ["mia@acme.example"]
    events = "/calendars/mia@acme.example/events"
    stand_up = next(
        one for one in await call("GET", events) if one["title"] == "Stand-up" and one["starts"] > "2026-11-24"
    )
    await call("PATCH", f"{events}/{stand_up['id']}", {"occurrence": stand_up["occurrence"], "title": "Late stand-up"})
    made = await call("POST", events, {"title": "Call", "starts": "2026-11-23T10:00:00Z", "minutes": 20})
    await call("PATCH", f"{events}/{made['id']}", {"starts": "2026-11-23T12:00:00Z"})
    listed = {one["title"]: one for one in await call("GET", events)}
    assert listed["Call"]["ends"] == "2026-11-23T12:20:00+00:00"
    assert listed["Late stand-up"]["occurrence"] == stand_up["occurrence"]
    await call("DELETE", f"{events}/{made['id']}", form="deleted")
    await call("DELETE", f"{events}/{stand_up['id']}", occurrence=stand_up["occurrence"])
    assert (await call("POST", "/people/mia@acme.example/authorise"))["refresh_token"].startswith("1//0")
    await call("POST", "/people/mia@acme.example/revoke")
    await call("POST", "/people/mia@acme.example/expire-access-tokens")
    await call("POST", "/calendars/mia@acme.example/expire-cursors")
    assert world.calendars["mia@acme.example"].cursor_generation == 1
    await call("POST", "/faults", {"target": "mia@acme.example", "kind": "hang", "times": 1})
    assert [fault["kind"] for fault in await call("GET", "/faults")] == ["hang"]
    await call("DELETE", "/faults")
    assert await call("GET", "/faults") == []
    assert await call("GET", "/requests") == []
    await call("GET", "/calendars/nobody/events", status=404)
    await call("POST", events, {"title": "No start"}, status=400)
    await call("POST", "/faults", {"target": "x", "kind": "earthquake"}, status=400)
