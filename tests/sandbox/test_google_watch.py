"""Google's push channels as the sandbox speaks them: real messages to a receiver on loopback."""

from datetime import timedelta
from typing import Any

import pytest

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Person, Role, World
from tests.sandbox.application import NOW, Answer, GoogleClient, ManualClock, Receiver

WATCH = "/calendar/v3/calendars/primary/events/watch"
STOP = "/calendar/v3/channels/stop"


async def watch(google: GoogleClient, receiver: Receiver, **changes: Any) -> Answer:
    body = {"id": "channel-1", "type": "web_hook", "address": receiver.address, "token": "secret"}
    return await google.post(WATCH, body | changes)


async def test_a_channel_tells_of_changes(
    google: GoogleClient, sandbox: SandboxServer, receiver: Receiver, ana: Person
) -> None:
    """`sync` at once, `exists` for each change, empty bodies, all of Google's headers; nothing after the stop."""
    channel = (await watch(google, receiver)).json
    await sandbox.pushed()
    ana.primary.put("event", starts=NOW)
    await sandbox.pushed()
    assert receiver.states == ["sync", "exists"]
    assert receiver.bodies == [b"", b""]
    headers = receiver.headers[1]
    assert headers["X-Goog-Channel-ID"] == "channel-1"
    assert headers["X-Goog-Channel-Token"] == "secret"
    assert headers["X-Goog-Resource-ID"] == channel["resourceId"]
    assert headers["X-Goog-Resource-URI"] == channel["resourceUri"]
    assert headers["X-Goog-Message-Number"] == "2"
    assert headers["X-Goog-Channel-Expiration"] == "Mon, 30 Nov 2026 08:00:00 GMT"
    stop = {"id": "channel-1", "resourceId": channel["resourceId"]}
    assert (await google.post(STOP, {**stop, "resourceId": "another"})).status == 404
    assert (await google.post(STOP, stop)).status == 204
    assert (await google.post(STOP, stop)).status == 204
    ana.primary.delete("event")
    await sandbox.pushed()
    assert len(receiver.states) == 2


async def test_the_stricter_life_wins(google: GoogleClient, receiver: Receiver) -> None:
    """Seven days unless asked for otherwise, thirty at most; milliseconds as text."""

    async def life(number: int, **changes: Any) -> timedelta:
        channel = (await watch(google, receiver, id=f"life-{number}", **changes)).json
        assert isinstance(channel["expiration"], str)
        return timedelta(milliseconds=int(channel["expiration"]) - NOW.timestamp() * 1000)

    assert await life(1) == timedelta(days=7)
    assert await life(2, params={"ttl": "3600"}) == timedelta(hours=1)
    assert await life(3, params={"ttl": str(90 * 86400)}) == timedelta(days=30)
    wanted = int((NOW + timedelta(days=2)).timestamp() * 1000)
    assert await life(4, expiration=wanted) == timedelta(days=2)


async def test_an_expired_channel_is_silent(
    google: GoogleClient, sandbox: SandboxServer, receiver: Receiver, ana: Person, clock: ManualClock
) -> None:
    """No message, and no warning."""
    await watch(google, receiver)
    clock.forward(timedelta(days=7))
    ana.primary.put("event", starts=NOW)
    await sandbox.pushed()
    assert receiver.states == ["sync"]


async def test_a_deleted_calendar_is_told_of(
    google: GoogleClient, sandbox: SandboxServer, receiver: Receiver, world: World, ana: Person
) -> None:
    """`not_exists`, and from then on 404."""
    team = world.add_calendar(ana, "team@group.calendar.google.com", name="Team")
    path = "/calendar/v3/calendars/team%40group.calendar.google.com/events/watch"
    await google.post(path, {"id": "team", "type": "web_hook", "address": receiver.address})
    world.remove_calendar(team)
    await sandbox.pushed()
    assert sorted(receiver.states) == ["not_exists", "sync"]
    assert "X-Goog-Channel-Token" not in receiver.headers[0]
    assert (await google.events("team@group.calendar.google.com")).status == 404


@pytest.mark.parametrize(
    ("changes", "status", "reason"),
    [
        ({"address": "http://hooks.example.com/"}, 401, "push.webhookUrlUnauthorized"),
        ({"type": "carrier pigeon"}, 400, "badRequest"),
        ({"id": "x" * 65}, 400, "badRequest"),
        ({"params": {"ttl": "long"}}, 400, "badRequest"),
        ({"id": "taken"}, 400, "channelIdNotUnique"),
    ],
)
async def test_odd_channels_are_refused(
    google: GoogleClient, receiver: Receiver, changes: dict[str, Any], status: int, reason: str
) -> None:
    """With Google's reason."""
    await watch(google, receiver, id="taken")
    answer = await watch(google, receiver, **changes)
    assert (answer.status, answer.json["error"]["errors"][0]["reason"]) == (status, reason)


async def test_some_calendars_can_t_be_watched(
    google: GoogleClient, receiver: Receiver, world: World, ana: Person
) -> None:
    """400 with the reason that tells to poll."""
    holidays = "en.usa%23holiday%40group.v.calendar.google.com"
    world.add_calendar(
        ana, "en.usa#holiday@group.v.calendar.google.com", name="Holidays", role=Role.READER, can_be_watched=False
    )
    body = {"id": "holidays", "type": "web_hook", "address": receiver.address}
    answer = await google.post(f"/calendar/v3/calendars/{holidays}/events/watch", body)
    assert answer.json["error"]["errors"][0]["reason"] == "pushNotSupportedForRequestedResource"


async def test_messages_can_be_lost(
    google: GoogleClient, sandbox: SandboxServer, receiver: Receiver, world: World, ana: Person
) -> None:
    """One by a fault, all by the switch."""
    await watch(google, receiver)
    world.faults.switch_on(ana.email, FaultKind.DROPPED_PUSHES, times=1)
    ana.primary.put("lost", starts=NOW)
    ana.primary.put("told", starts=NOW)
    world.pushes_on = False
    ana.primary.put("silent", starts=NOW)
    await sandbox.pushed()
    assert sorted(receiver.states) == ["exists", "sync"]


async def test_messages_may_come_without_a_change(
    google: GoogleClient, sandbox: SandboxServer, receiver: Receiver, ana: Person
) -> None:
    """A delta after it is empty."""
    token = await google.sync_token()
    await watch(google, receiver)
    ana.primary.touch()
    await sandbox.pushed()
    assert sorted(receiver.states) == ["exists", "sync"]
    assert await google.delta(token) == []
