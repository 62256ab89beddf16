"""What the fault switches do to the calendar API."""

import asyncio
from typing import Any

import aiohttp
import pytest

from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.world import Person, World
from tests.sandbox.application import NOW, GoogleClient


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (FaultKind.THROTTLED, {}, (429, "rateLimitExceeded")),
        (FaultKind.THROTTLED, {"variant": "userRateLimitExceeded"}, (403, "userRateLimitExceeded")),
        (FaultKind.THROTTLED, {"variant": "rateLimitExceeded"}, (403, "rateLimitExceeded")),
        (FaultKind.THROTTLED, {"variant": "quotaMetric"}, (403, "rateLimitExceeded")),
        (FaultKind.SERVER_ERROR, {"status": 500}, (500, "backendError")),
        (FaultKind.SERVER_ERROR, {"status": 502}, (502, "backendError")),
        (FaultKind.SERVER_ERROR, {}, (503, "backendError")),
        (FaultKind.REFUSED, {"variant": "accessNotConfigured"}, (403, "accessNotConfigured")),
        (FaultKind.REFUSED, {"variant": "requiredAccessLevel"}, (403, "requiredAccessLevel")),
    ],
)
async def test_an_error_comes_as_often_as_was_said(
    google: GoogleClient, world: World, kind: FaultKind, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    """Then all is well again."""
    world.faults.switch_on("ana@acme.example", kind, times=2, **options)
    for _ in range(2):
        answer = await google.events()
        assert (answer.status, answer.json["error"]["errors"][0]["reason"]) == expected
        assert "Retry-After" not in answer.headers
    assert (await google.events()).status == 200


async def test_retry_after_is_sent_when_wanted(google: GoogleClient, world: World) -> None:
    """And a fault for everybody lasts until it is switched off."""
    world.faults.switch_on("*", FaultKind.THROTTLED, retry_after=7)
    for _ in range(3):
        assert (await google.events()).headers["Retry-After"] == "7"
    world.faults.switch_off("*")
    assert (await google.events()).status == 200


async def test_a_fault_strikes_only_its_target(google: GoogleClient, world: World, ana: Person) -> None:
    """Another calendar of the same person, and the token endpoint, answer as ever."""
    world.add_calendar(ana, "team@group.calendar.google.com", name="Team")
    world.faults.switch_on("team@group.calendar.google.com", FaultKind.SERVER_ERROR)
    assert (await google.events("team@group.calendar.google.com")).status == 503
    assert (await google.events()).status == 200
    assert (await google.refresh()).status == 200
    world.faults.switch_on("sandbox-client", FaultKind.THROTTLED, place=Place.TOKENS, retry_after=3)
    assert (await google.refresh()).headers["Retry-After"] == "3"


@pytest.mark.parametrize("kind", [FaultKind.NOT_JSON, FaultKind.TRUNCATED, FaultKind.WRONG_TYPES])
async def test_garbage_comes_with_200(google: GoogleClient, world: World, kind: FaultKind) -> None:
    """It is no listing, whatever it is."""
    world.faults.switch_on("ana@acme.example", kind, times=1)
    answer = await google.events()
    assert answer.status == 200
    if kind is FaultKind.WRONG_TYPES:
        assert isinstance(answer.json, list)
    else:
        with pytest.raises(ValueError, match=r"Expecting|Unterminated"):
            _ = answer.json


async def test_the_connection_is_cut(google: GoogleClient, world: World) -> None:
    """Without any answer."""
    world.faults.switch_on("ana@acme.example", FaultKind.RESET)
    with pytest.raises(aiohttp.ClientConnectionError):
        await google.events()


async def test_a_hanging_request_goes_on_when_let_go(google: GoogleClient, world: World) -> None:
    """Until then nothing comes; others are not held up."""
    world.faults.switch_on("ana@acme.example", FaultKind.HANG, times=1)
    hanging = asyncio.create_task(google.events())
    for _ in range(100_000):  # Turns of the loop, not time: the request needs a few to arrive.
        if world.faults.hanging:
            break
        await asyncio.sleep(0)
    assert (await google.events()).status == 200
    assert not hanging.done()
    world.faults.switch_off()
    assert (await hanging).status == 200


async def test_latency_delays(google: GoogleClient, world: World) -> None:
    """By at least as much as was said."""
    world.faults.switch_on("ana@acme.example", FaultKind.LATENCY, times=1, seconds=0.05)
    started = asyncio.get_running_loop().time()
    assert (await google.events()).status == 200
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_cursors_expire_by_fault(google: GoogleClient, world: World) -> None:
    """With or without a reason; full listings go on."""
    token = await google.sync_token()
    world.faults.switch_on("ana@acme.example", FaultKind.EXPIRED_CURSOR, times=1, variant="bare")
    answer = await google.events(singleEvents="true", syncToken=token)
    assert (answer.status, answer.json["error"].get("errors")) == (410, None)
    world.faults.switch_on("ana@acme.example", FaultKind.EXPIRED_CURSOR)
    assert (await google.events(singleEvents="true", syncToken=token)).status == 410
    assert (await google.events(singleEvents="true")).status == 200


async def test_listings_can_be_empty(google: GoogleClient, world: World, ana: Person) -> None:
    """Wholly, or only their first page."""
    ana.primary.put("event", starts=NOW)
    world.faults.switch_on(ana.email, FaultKind.EMPTY_LISTING, times=1)
    empty = (await google.events()).json
    assert empty["items"] == []
    assert "nextSyncToken" in empty
    world.faults.switch_on(ana.email, FaultKind.EMPTY_PAGES)
    first = (await google.events()).json
    assert first["items"] == []
    second = (await google.events(pageToken=first["nextPageToken"])).json
    assert [item["id"] for item in second["items"]] == ["event"]


async def test_a_change_can_be_read_late(google: GoogleClient, world: World, ana: Person) -> None:
    """The first delta is empty, and its token still brings the change."""
    token = await google.sync_token()
    ana.primary.put("event", starts=NOW)
    world.faults.switch_on(ana.email, FaultKind.STALE, times=1)
    answer = (await google.events(singleEvents="true", syncToken=token)).json
    assert answer["items"] == []
    assert [item["id"] for item in await google.delta(answer["nextSyncToken"])] == ["event"]
