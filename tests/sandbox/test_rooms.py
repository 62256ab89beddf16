"""The meeting rooms as people see them: their pages, live, and the control API that does the same."""

from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import pytest

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.entries import Frequency, Rule
from attendee.sandbox.pictures import LARGEST, NoPicture, Picture, parse_picture
from attendee.sandbox.room_links import RoomLinks, stand_in_code
from attendee.sandbox.rooms import Decision, News, Presence, Room, Visitor
from attendee.sandbox.world import Person, World
from tests.sandbox.application import NOW
from tests.sandbox.bot_service import picture
from tests.sandbox.test_pages import get, post


@pytest.fixture
def room(world: World) -> Room:
    return world.rooms.at("blue-room")


def bot(room: Room, presence: Presence = Presence.WAITING, *, id: str = "bot_1") -> tuple[Visitor, list[News]]:
    """A bot in the room, and what it hears."""
    heard: list[News] = []
    visitor = Visitor(id=id, name="<b>Nora</b>", picture=None, since=NOW, hears=heard.append)
    room.expect(visitor)
    visitor.presence = presence
    return visitor, heard


async def test_a_room_shows_who_is_there(sandbox: SandboxServer, session: aiohttp.ClientSession, room: Room) -> None:
    """Bots in words, people, what was said; names are text; a code that is none has no page."""
    bot(room)
    room.utter(room.join("Ana Ruiz").id, "Good <i>morning</i>", is_said=True)
    page = await get(session, f"{sandbox.url}/rooms/Blue-Room")
    for text in (
        "in the waiting room",
        "&lt;b&gt;Nora&lt;/b&gt;",
        "Ana Ruiz",
        "Good &lt;i&gt;morning&lt;/i&gt;",
        "Let in",
    ):
        assert text in page
    assert "<noscript>" in page
    for path in ("/rooms/blue%20room", "/rooms/blue%20room/live", "/rooms/blue-room/bots/bot_1/picture"):
        async with session.get(f"{sandbox.url}{path}") as answer:
            assert answer.status == 404
    assert await post(session, f"{sandbox.url}/rooms/blue%20room/end") == 404


async def test_a_room_is_shown_live(sandbox: SandboxServer, session: aiohttp.ClientSession, room: Room) -> None:
    """The page hears of every change, and of the end of the sandbox."""
    visitor, _ = bot(room)
    async with session.get(f"{sandbox.url}/rooms/blue-room/live") as answer:
        assert answer.content_type == "text/event-stream"
        assert "in the waiting room" in await _event(answer)
        room.let_in(visitor.id)
        assert "recording" in await _event(answer)
        sandbox.world.rooms.close()
        assert await answer.content.read() == b""


async def _event(answer: aiohttp.ClientResponse) -> str:
    lines = []
    while line := (await answer.content.readline()).decode().strip():
        assert line.startswith("data: ") or line == "data:"
        lines.append(line.removeprefix("data:"))
    return "\n".join(lines)


async def test_buttons_decide_about_bots(sandbox: SandboxServer, session: aiohttp.ClientSession, room: Room) -> None:
    """Each decision is heard by the bot, and only possible when its time has come."""
    base = f"{sandbox.url}/rooms/blue-room"
    visitor, heard = bot(room)
    assert await post(session, f"{base}/close") == 303
    for action in ("let-in", "allow-recording", "refuse-recording", "remove"):
        assert await post(session, f"{base}/{action}", bot=visitor.id) == 303
        await get(session, base)
    assert await post(session, f"{base}/let-in", bot=visitor.id) == 404
    assert await post(session, f"{base}/let-in", bot="nobody") == 404
    assert await post(session, f"{base}/dance") == 404
    other, other_heard = bot(room, id="bot_2")
    assert await post(session, f"{base}/turn-away", bot=other.id) == 303
    late, late_heard = bot(room, Presence.EXPECTED, id="bot_3")
    last, last_heard = bot(room, id="bot_4")
    assert await post(session, f"{base}/open") == 303
    assert await post(session, f"{base}/end") == 303
    assert heard == [
        Decision.LET_IN,
        Decision.RECORDING_ALLOWED,
        Decision.RECORDING_REFUSED,
        Decision.REMOVED,
    ]
    assert (other_heard, last_heard, late_heard) == ([Decision.TURNED_AWAY], [Decision.MEETING_ENDED], [])
    assert (room.is_open, late.presence, last.remark) == (True, Presence.EXPECTED, "the meeting ended")


async def test_people_join_and_talk(sandbox: SandboxServer, session: aiohttp.ClientSession, room: Room) -> None:
    """Under a name, in the chat and aloud; the page knows them until they leave."""
    base = f"{sandbox.url}/rooms/blue-room"
    async with session.post(f"{base}/join", data={"name": " Ana "}, allow_redirects=False) as answer:
        me = parse_qs(urlsplit(answer.headers["Location"]).query)["as"][0]
    assert "You are Ana." in await get(session, f"{base}?as={me}")
    assert await post(session, f"{base}/write", participant=me, text="In the chat") == 303
    assert await post(session, f"{base}/say", participant=me, text="Aloud") == 303
    assert [(line.text, line.is_said) for line in room.lines] == [("In the chat", False), ("Aloud", True)]
    assert await post(session, f"{base}/say", participant=me, text=" ") == 400
    assert await post(session, f"{base}/join", name="") == 400
    assert await post(session, f"{base}/leave", participant=me) == 303
    assert await post(session, f"{base}/say", participant=me, text="Gone") == 404
    assert "Join as a person" in await get(session, f"{base}?as={me}")


async def test_rooms_are_found_by_code_link_or_event(
    sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, ana: Person
) -> None:
    """A typed link leads to the room that its event links to, however it is wrapped; nothing typed, to a new room."""
    zoom = "https://acme.zoom.us/j/98765432100?pwd=Zm9vYmFy"
    ana.primary.put(title="1:1", starts=NOW, description=f"Join at {zoom}&uname=Ana.")
    code = world.rooms.code(zoom)
    assert f'href="/rooms/{code}"' in await get(session, f"{sandbox.url}/people/ana@acme.example")
    for typed in (zoom, "https://www.google.com/url?q=" + zoom.replace("?", "%3F").replace("=", "%3D"), code):
        async with session.post(f"{sandbox.url}/rooms", data={"room": typed}) as answer:
            assert answer.url.path == f"/rooms/{code}"
            text = await answer.text()
            assert zoom in text
            assert "1:1" in text
    async with session.post(f"{sandbox.url}/rooms", data={"room": ""}) as answer:
        assert answer.url.path not in {"/rooms/", f"/rooms/{code}"}
    assert await post(session, f"{sandbox.url}/rooms", room="no room") == 400
    home = await get(session, f"{sandbox.url}/")
    assert "1:1" in home
    assert "0 bots, 0 people" in home


async def test_events_get_rooms_of_their_own(
    sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, ana: Person
) -> None:
    """By the form and by the control API; the link is one that the service can be told to know."""
    form = {"title": "Call", "starts": "2026-11-23T10:00", "meeting_url": "https://zoom.us/j/1234567890"}
    assert await post(session, f"{sandbox.url}/people/ana@acme.example/create", **form, with_room="yes") == 303
    address = f"{sandbox.url}/sandbox/api/calendars/ana@acme.example/events"
    body = {"title": "Other", "starts": "2026-11-23T11:00", "with_room": True}
    async with session.post(address, json=body) as answer:
        assert answer.status == 200
    async with session.get(address) as answer:
        events = {one["title"]: one for one in await answer.json()}
    links = [events[title]["location"] for title in ("Call", "Other")]
    assert links[0] != links[1]
    for link in links:
        assert link.startswith(f"{sandbox.url}/rooms/")
        assert world.rooms.links.own_code(link)


def test_a_series_meets_in_its_room_at_its_times(world: World, ana: Person, room: Room) -> None:
    """The meeting under way is the occurrence of now; the last one, if two events share the room."""
    link = world.rooms.links.to(room.code)
    rule = Rule(frequency=Frequency.DAILY)
    ana.primary.put("daily", title="Daily", starts=NOW.replace(day=20), location=link, rule=rule)
    assert room.find_end() == NOW.replace(minute=30)
    ana.primary.put(title="Longer", starts=NOW, ends=NOW.replace(hour=9), location=link)
    assert world.rooms.title(room) == "Longer"
    ana.primary.cancel("daily")
    ana.primary.edit(next(id for id in ana.primary.entries if id != "daily"), location="Canteen")
    assert (room.find_end(), world.rooms.title(room)) == (None, None)


def test_former_bots_are_forgotten_in_time(room: Room) -> None:
    """A page shows the last that have left, not all that ever were."""
    for number in range(20):
        bot(room, Presence.LEFT, id=f"bot_{number}")
    assert list(room.visitors) == [f"bot_{number}" for number in range(11, 20)]


def test_own_links_are_those_of_known_hosts() -> None:
    """Another host's link of the same shape stands for a meeting elsewhere, and what is no host is not believed."""
    links = RoomLinks()
    links.serve_at("http://127.0.0.1:9000")
    links.know("sandbox:8100")
    links.know("[evil]/x y")
    assert links.own_code("http://127.0.0.1:9000/rooms/Blue") == links.own_code("http://sandbox:8100/rooms/blue")
    assert links.own_code("http://evil.example/rooms/blue") is None
    assert stand_in_code("http://evil.example/rooms/blue").startswith("evil-example-")
    assert links.new() != links.new()


@pytest.mark.parametrize(
    "bot_image",
    [
        "picture",
        {"type": "image/png"},
        {"type": "image/svg+xml", "data": picture(b"<svg onload=alert()>")},
        {"type": "image/png", "data": "no base64!"},
        {"type": "image/png", "data": picture(b"\xff\xd8\xff")},
        {"type": "image/png", "data": picture(length=LARGEST + 1)},
    ],
)
def test_what_is_no_picture_is_refused(bot_image: Any) -> None:
    """By its type, its size and its beginning."""
    with pytest.raises(NoPicture):
        parse_picture(bot_image)


def test_pictures_are_png_or_jpeg() -> None:
    """As the platform takes them."""
    data = picture(b"\xff\xd8\xff")
    assert parse_picture({"type": "image/jpeg", "data": data}) == Picture("image/jpeg", b"\xff\xd8\xff\0\0\0\0\0")


async def test_the_control_api_knows_rooms_and_bots(
    sandbox: SandboxServer, session: aiohttp.ClientSession, room: Room, world: World
) -> None:
    """Rooms, decisions, people, bots of the fleet, its secret and its faults by JSON."""
    api = f"{sandbox.url}/sandbox/api"

    async def call(method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        async with session.request(method, f"{api}{path}", json=body) as answer:
            assert answer.status == status, await answer.text()
            return await answer.json()

    bot(room)
    assert (await call("POST", "/rooms/blue-room/let-in", {"bot": "bot_1"}))["bots"][0]["state"] == "recording"
    joined = await call("POST", "/rooms/blue-room/join", {"name": "Ana"})
    said = await call("POST", "/rooms/blue-room/say", {"participant": joined["participant"], "text": "Hello"})
    assert said["lines"] == [{"name": "Ana", "text": "Hello", "is_said": True}]
    assert [one["code"] for one in await call("GET", "/rooms")] == ["blue-room"]
    assert (await call("POST", "/rooms/blue-room/end"))["participants"] == []
    assert (await call("GET", "/rooms/blue-room"))["is_open"] is True
    await call("POST", "/rooms/blue-room/let-in", {"bot": "bot_1"}, status=404)
    await call("POST", "/rooms/blue-room/join", {}, status=400)
    fault = await call("POST", "/faults", {"target": "blue-room", "kind": "lost_bot", "times": 1})
    assert fault["place"] == "fleet"
    order = {
        "bot_id": "bot_2",
        "bot_name": "Nora",
        "meeting_url": f"{sandbox.url}/rooms/blue-room",
        "report_url": "http://127.0.0.1:9/",
        "report_token": "token",
    }
    headers = {"Idempotency-Key": "key"}
    async with session.post(f"{sandbox.fleet_url}/bots", json=order, headers=headers) as answer:
        assert answer.status == 201
    (listed,) = await call("GET", "/bots")
    assert (listed["id"], listed["state"], listed["reports"]) == ("bot_2", "lost", [])
    await call("PATCH", "/fleet", {"secret": "c2VjcmV0"})
    async with session.post(f"{sandbox.fleet_url}/bots", json=order, headers=headers) as answer:
        assert answer.status == 401
    await call("PATCH", "/fleet", {"secret": None})
    await call("PATCH", "/fleet", {"secret": "no base64!"}, status=400)
    assert world.fleet_secret is None
