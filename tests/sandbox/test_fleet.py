"""The fleet: how it takes orders, and the lives of its bots, by what the service hears of them."""

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from attendee.clock import written
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.rooms import Room
from attendee.sandbox.world import World
from tests.sandbox.application import NOW
from tests.sandbox.bot_service import BotService, ManualTime, picture, taking_reports

SECRET = base64.b64encode(b"0123456789abcdef").decode()


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
def world(time: ManualTime) -> World:
    return World(time, own_pause=time.pause)


@pytest.fixture
async def service(sandbox: SandboxServer, session: aiohttp.ClientSession) -> AsyncIterator[BotService]:
    async with taking_reports(BotService(session, sandbox.fleet_url)) as service:
        yield service


@pytest.fixture
def link(sandbox: SandboxServer) -> str:
    return f"{sandbox.url}/rooms/blue-room"


@pytest.fixture
def room(world: World, sandbox: SandboxServer) -> Room:
    return world.rooms.at("blue-room")


async def let_in(service: BotService, time: ManualTime, link: str, bot_id: str = "bot_1", **fields: Any) -> None:
    """A bot that has been ordered, let in and allowed to record."""
    assert (await service.order(bot_id, link, **fields)).status == 201
    await service.heard("join_requested")
    await time.next()
    await service.heard("put_in_waiting_room")
    await time.next()
    await service.heard("joined_meeting")


async def until(room: Room, is_so: Callable[[], bool]) -> None:
    """Comes back when it is so in the room."""
    with room.watched() as bell:
        while not is_so():
            await bell.wait()
            bell.clear()


async def test_a_bot_lives_until_the_meeting_ends(service: BotService, time: ManualTime, link: str, room: Room) -> None:
    """Staged, asked to join at its time, waiting, let in, recording, a heartbeat, the end: each is reported once."""
    join_at = NOW + timedelta(seconds=90)
    assert (await service.order("bot_1", link, join_at=written(join_at))).json["state"] == "staged"
    assert [visitor.presence.value for visitor in room.visitors.values()] == ["expected"]
    assert service.reports == []
    assert await time.next() == join_at
    asked = await service.heard("join_requested")
    assert asked["created_at"] == written(join_at)
    assert await time.next() == join_at + timedelta(seconds=1)
    await service.heard("put_in_waiting_room")
    assert await time.next() == join_at + timedelta(seconds=3)
    await service.heard("recording_permission_granted")
    assert await time.next() == join_at + timedelta(seconds=31)
    await service.heard("heartbeat")
    room.end()
    await service.heard("meeting_ended")
    await time.next()
    await service.heard("post_processing_completed")
    assert service.states == {"bot_1": "ended"}
    assert service.types == [
        "join_requested",
        "put_in_waiting_room",
        "joined_meeting",
        "recording_permission_granted",
        "meeting_ended",
        "post_processing_completed",
    ]
    assert {status for _, status in service.asked} == {200}


async def test_the_meeting_ends_when_its_event_does(
    service: BotService, time: ManualTime, link: str, world: World
) -> None:
    """At the end of the event with the room's link, as it stands then."""
    calendar = world.add_person("ana@acme.example").primary
    call = calendar.put(title="Call", starts=NOW, ends=NOW + timedelta(seconds=20), location=link)
    await let_in(service, time, link)
    calendar.edit(call.id, ends=NOW + timedelta(seconds=25))
    assert await time.next() == NOW + timedelta(seconds=20)
    assert await time.next() == NOW + timedelta(seconds=25)
    await service.heard("meeting_ended")


async def test_a_bot_that_is_asked_to_leave_leaves(service: BotService, time: ManualTime, link: str) -> None:
    """The service knows that it asked: the bot reports only that it has left."""
    await let_in(service, time, link)
    assert (await service.leave("bot_1")).status == 200
    await service.heard("left_meeting")
    await time.next()
    await service.heard("post_processing_completed")
    assert "leave_requested" not in service.types
    assert (await service.call("POST", "/bots/bot_2/leave")).status == 404


async def test_a_bot_leaves_from_wherever_it_is(service: BotService, time: ManualTime, link: str, room: Room) -> None:
    """Before its time, and out of the waiting room."""
    room.set_open(is_open=False)
    await service.order("bot_1", link, join_at=written(NOW + timedelta(hours=1)))
    await service.leave("bot_1")
    await service.heard("left_meeting")
    await service.order("bot_2", link)
    await service.heard("join_requested")
    await time.next()
    await service.heard("put_in_waiting_room")
    await service.leave("bot_2")
    await service.heard("left_meeting", times=2)
    for times in (1, 2):
        await time.next()
        await service.heard("post_processing_completed", times=times)
    assert {status for _, status in service.asked} == {200}


async def test_a_bot_that_learns_late_that_it_shall_leave_leaves(
    service: BotService, time: ManualTime, link: str, room: Room
) -> None:
    """A report that is refused because the bot is leaving tells it so."""
    room.set_open(is_open=False)
    await service.order("bot_1", link)
    await service.heard("join_requested")
    await time.next()
    await service.heard("put_in_waiting_room")
    service.states["bot_1"] = "leaving"
    room.let_in("bot_1")
    await service.heard("left_meeting")
    assert ("joined_meeting", 409) in service.asked


async def test_a_bot_alone_for_long_leaves_by_itself(
    service: BotService, time: ManualTime, link: str, room: Room
) -> None:
    """As its settings ask for; the time counts from the last person's going."""
    settings = {"automatic_leave_settings": {"only_participant_in_meeting_timeout_seconds": 10}}
    person = room.join("Ana")
    await let_in(service, time, link, settings=settings)
    await time.next()
    room.go(person.id)
    left_at = time.moment
    await service.heard("participant_event", times=2)
    assert await time.next() == left_at + timedelta(seconds=10)
    await service.heard("left_meeting")
    assert service.types[-2:] == ["leave_requested", "left_meeting"]


async def test_the_host_decides(service: BotService, time: ManualTime, link: str, room: Room) -> None:
    """Nobody is let in by itself when that is off: one is turned away, one let in, kept from recording, removed."""
    room.set_open(is_open=False)
    for bot_id in ("bot_1", "bot_2"):
        await service.order(bot_id, link)
    await service.heard("join_requested", times=2)
    await time.next()
    await service.heard("put_in_waiting_room", times=2)
    room.turn_away("bot_1")
    await service.heard("could_not_join_meeting")
    room.let_in("bot_2")
    await service.heard("joined_meeting")
    assert service.states == {"bot_1": "fatal_error", "bot_2": "joined_not_recording"}
    room.refuse_recording("bot_2")
    await service.heard("recording_permission_denied")
    room.allow_recording("bot_2")
    await service.heard("recording_permission_granted")
    room.remove("bot_2")
    await service.heard("meeting_ended")
    with pytest.raises(KeyError, match="is left"):
        room.let_in("bot_2")


async def test_what_happens_in_the_room_is_passed_on(
    service: BotService, time: ManualTime, link: str, room: Room
) -> None:
    """People who come and go, what they write and say, and notes of the bot's own."""
    ana = room.join("Ana Ruiz")
    greeting = {"bot_chat_message": {"to": "everyone", "message": "I take notes."}}
    await let_in(service, time, link, settings=greeting)
    ben = room.join("Ben Ott")
    room.utter(ana.id, "Shall we begin?", is_said=True)
    room.utter(ben.id, "See https://example.org", is_said=False)
    room.go(ben.id)
    await service.heard("participant_event", times=3)
    moves = [report["data"] for report in service.of_type("participant_event")]
    assert [(move["participant_name"], move["event_type"]) for move in moves] == [
        ("Ana Ruiz", "join"),
        ("Ben Ott", "join"),
        ("Ben Ott", "leave"),
    ]
    speech = (await service.heard("transcript"))["data"]
    assert (speech["speaker_name"], speech["speaker_uuid"]) == ("Ana Ruiz", ana.id)
    assert speech["transcription"] == {"transcript": "Shall we begin?", "words": None}
    assert (speech["timestamp_ms"], speech["duration_ms"]) == (time.moment.timestamp() * 1000, 1050)
    message = (await service.heard("chat_message"))["data"]
    assert (message["sender_name"], message["text"], message["to"]) == (
        "Ben Ott",
        "See https://example.org",
        "everyone",
    )
    assert (await service.heard("log"))["data"]["message"] == "Joined the sandbox's room blue-room."
    assert room.lines[0].text == "I take notes."


async def test_meetings_elsewhere_are_played_in_rooms_of_their_own(
    service: BotService, time: ManualTime, world: World
) -> None:
    """Each link has a room, always the same, that says which meeting it stands for; events lead to it too."""
    link = "https://meet.google.com/abc-mnop-xyz"
    call = world.add_person("ana@acme.example").primary.put(title="Call", starts=NOW, description=f"Join: {link}")
    answer = await service.order("bot_1", link)
    (room,) = world.rooms.rooms.values()
    assert answer.json["room"].endswith(f"/rooms/{room.code}")
    assert room.code.startswith("meet-google-com-")
    assert (room.stands_for, world.rooms.code_for(call.details)) == (link, room.code)


async def test_the_same_key_stages_nothing_twice(service: BotService, time: ManualTime, link: str) -> None:
    """The same answer, one bot; with another order it is refused; after calling off it starts nothing."""
    first, second = await service.order("bot_1", link), await service.order("bot_1", link)
    assert (first.status, first.text) == (second.status, second.text)
    assert (await service.order("bot_2", link, key="key-bot_1")).status == 409
    await service.heard("join_requested")
    assert (await service.call_off("bot_1")).status == 200
    assert (await service.order("bot_1", link)).status == 201
    assert (await service.call_off("bot_1")).status == 404
    assert service.types == ["join_requested"]


async def test_a_new_launch_replaces_the_old_one(
    service: BotService, time: ManualTime, sandbox: SandboxServer, room: Room
) -> None:
    """Under a new key the bot goes where the new order says, and is nowhere else."""
    soon = written(NOW + timedelta(minutes=5))
    await service.order("bot_1", f"{sandbox.url}/rooms/old", join_at=soon)
    await service.order("bot_1", f"{sandbox.url}/rooms/blue-room", key="another", join_at=soon)
    assert sandbox.world.rooms.at("old").visitors == {}
    assert list(room.visitors) == ["bot_1"]
    await time.next()
    await service.heard("join_requested")
    assert len(service.asked) == 1


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"bot_id": None}, "bot_id is required"),
        ({"bot_name": " "}, "bot_name is required"),
        ({"meeting_url": "room"}, "meeting_url must be an http or https address"),
        ({"report_token": 7}, "report_token is required"),
        ({"join_at": "2026-11-23T09:00:00"}, "join_at must be null"),
        ({"join_at": "soon"}, "join_at must be null"),
        ({"report_url": "http://[odd"}, "report_url must be an http or https address"),
        ({"report_token": "a\nb"}, "report_token must be printable"),
        ({"settings": []}, "settings must be an object"),
    ],
)
async def test_wrong_orders_are_refused(service: BotService, link: str, fields: dict[str, object], reason: str) -> None:
    """With 400 and what is wrong."""
    answer = await service.call("POST", "/bots", service.body("bot_1", link) | fields, key="key")
    assert answer.status == 400
    assert reason in answer.json["error"]


async def test_orders_need_a_key_and_json(service: BotService, link: str) -> None:
    """Nothing is staged without either."""
    assert (await service.call("POST", "/bots", service.body("bot_1", link))).json["error"].endswith("Idempotency-Key")
    assert (await service.call("POST", "/bots", ["order"], key="key")).status == 400
    assert (await service.call_off("bot_1")).status == 404


async def test_the_fleet_listens_only_to_its_secret(service: BotService, link: str, world: World) -> None:
    """Where one is set, a missing, odd or wrong signature is 401; that of the body is taken, be it empty."""
    world.fleet_secret = SECRET
    body = service.body("bot_1", link, join_at=written(NOW + timedelta(hours=1)))
    content = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    good, empty = signature(content), signature(b"")
    for sent, status in (("", 401), ("é", 401), (empty, 401), (good, 201)):
        headers = {"X-Webhook-Signature": sent}
        assert (await service.call("POST", "/bots", body, key="key", **headers)).status == status
    for method, path in (("POST", "/bots/bot_1/leave"), ("DELETE", "/bots/bot_1")):
        for sent, status in ((good, 401), (empty, 200)):
            headers = {"X-Webhook-Signature": sent}
            assert (await service.call(method, path, **headers)).status == status


def signature(content: bytes) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(SECRET), content, hashlib.sha256).digest()).decode()


async def test_pictures_are_taken_only_if_they_are_pictures(
    service: BotService, sandbox: SandboxServer, time: ManualTime, link: str
) -> None:
    """A PNG is served as one and nothing else; what is none keeps no bot from its meeting, but is told of."""
    await service.order("bot_1", link, settings={"bot_image": {"type": "image/png", "data": picture()}})
    async with service.session.get(f"{sandbox.url}/rooms/blue-room/bots/bot_1/picture") as answer:
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert (await answer.read()).startswith(b"\x89PNG")
    page = {"type": "text/html", "data": "PGgxPg=="}
    await let_in(service, time, link, "bot_2", settings={"bot_image": page})
    async with service.session.get(f"{sandbox.url}/rooms/blue-room/bots/bot_2/picture") as answer:
        assert answer.status == 404
    await sandbox.reported()
    messages = [report["data"]["message"] for report in service.of_type("log")]
    assert "The bot's picture is not shown: a picture's type is one of image/png, image/jpeg." in messages


@pytest.mark.parametrize("state", ["ended", None])
async def test_a_bot_whose_report_is_refused_stops(
    service: BotService, sandbox: SandboxServer, time: ManualTime, room: Room, state: str | None
) -> None:
    """409 and 404 say that the service has no such bot in a meeting: not even its later reports are sent."""
    await let_in(service, time, sandbox.world.rooms.links.to(room.code))
    await sandbox.reported()
    if state is None:
        del service.states["bot_1"]
    else:
        service.states["bot_1"] = state
    asked = len(service.asked)
    ana = room.join("Ana")
    room.refuse_recording("bot_1")
    room.utter(ana.id, "Is it gone?", is_said=True)
    await until(room, lambda: str(room.visitors["bot_1"].remark).startswith("stopped"))
    assert room.visitors["bot_1"].remark == f"stopped: the service answered a report with {409 if state else 404}"
    await sandbox.reported()
    assert len(service.asked) - asked <= 2


async def test_the_fleet_fails_as_it_is_told(service: BotService, world: World, link: str) -> None:
    """Slow, broken, throttled, refusing, cut off: by bot, room or for all; a lost answer is made good by the key."""
    faults = world.faults
    faults.switch_on("bot_1", FaultKind.LATENCY, place=Place.FLEET, times=1, seconds=0)
    faults.switch_on("bot_1", FaultKind.SERVER_ERROR, place=Place.FLEET, times=1, status=502)
    faults.switch_on("blue-room", FaultKind.THROTTLED, place=Place.FLEET, times=1, retry_after=7)
    faults.switch_on("*", FaultKind.REFUSED, place=Place.FLEET, times=1, variant="no bots on Mondays")
    later = {"join_at": written(NOW + timedelta(hours=1))}
    assert (await service.order("bot_1", link, **later)).status == 502
    assert (await service.order("bot_1", link, **later)).headers["Retry-After"] == "7"
    refused = await service.order("bot_1", link, **later)
    assert (refused.status, refused.json["error"]) == (422, "no bots on Mondays")
    faults.switch_on("bot_1", FaultKind.LOST_ANSWER, times=1)
    with pytest.raises(aiohttp.ClientError):
        await service.order("bot_1", link, **later)
    assert (await service.order("bot_1", link, **later)).status == 201
    faults.switch_on("bot_1", FaultKind.SERVER_ERROR, place=Place.FLEET)
    assert (await service.leave("bot_1")).status == 503
    assert (await service.call_off("bot_1")).status == 503
    assert len(world.rooms.at("blue-room").visitors) == 1


async def test_a_lost_bot_never_reports(service: BotService, world: World, room: Room, link: str) -> None:
    """The order was taken, and that was all."""
    world.faults.switch_on("Nora", FaultKind.LOST_BOT, times=1)
    assert (await service.order("bot_1", link)).status == 201
    assert room.visitors["bot_1"].remark == "lost by its fleet"
    await service.order("bot_2", link)
    await service.heard("join_requested")
    assert service.states == {"bot_1": "staged", "bot_2": "joining"}


async def test_a_crash_in_the_meeting_ends_the_heartbeats(
    service: BotService, time: ManualTime, world: World, room: Room, link: str
) -> None:
    """Nothing more is heard of the bot."""
    await let_in(service, time, link)
    await time.next()
    await service.heard("heartbeat")
    world.faults.switch_on("bot_1", FaultKind.CRASH_IN_MEETING, times=1)
    asked = list(service.asked)
    await time.next()
    await until(room, lambda: room.visitors["bot_1"].remark == "crashed")
    assert service.asked == asked


async def test_reports_come_twice_and_in_disorder(
    service: BotService, time: ManualTime, world: World, link: str
) -> None:
    """As from a fleet that delivers at least once, and not in order: what is refused then is not heeded."""
    world.faults.switch_on("bot_1", FaultKind.REPORTS_OUT_OF_ORDER, times=1)
    world.faults.switch_on("bot_1", FaultKind.DUPLICATE_REPORTS, times=3)
    await service.order("bot_1", link)
    await time.next()
    await service.was_asked(4)
    assert [type_ for type_, _ in service.asked] == ["put_in_waiting_room"] * 2 + ["join_requested"] * 2
    assert [status for _, status in service.asked] == [409, 409, 200, 200]
    await time.next()
    await service.heard("joined_meeting")
    assert service.states["bot_1"] in {"joined_not_recording", "joined_recording"}
