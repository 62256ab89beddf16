"""Graph's refusals, its four places at each mailbox, and batches."""

import asyncio
from typing import Any

import pytest

from attendee.sandbox.faults import FaultKind
from attendee.sandbox.microsoft_errors import REFUSALS
from attendee.sandbox.world import AccountState, Person, World
from tests.sandbox.application import NOW
from tests.sandbox.graph import WEEK, GraphClient, code_of


@pytest.mark.parametrize("variant", sorted(REFUSALS))
async def test_every_refusal_can_be_had(graph: GraphClient, world: World, mia: Person, variant: str) -> None:
    """In Graph's shape: code, message, and an inner error with the ids of the request."""
    world.faults.switch_on(mia.email, FaultKind.REFUSED, variant=variant, times=1)
    answer = await graph.get("/me/calendarView", **WEEK)
    refusal = REFUSALS[variant]
    assert (answer.status, code_of(answer)) == (refusal.status, refusal.code)
    inner = answer.json["error"][refusal.inner_name]
    assert inner["date"] == "2026-11-23T08:00:00"
    assert inner["request-id"] == answer.headers["request-id"]
    assert await graph.view() == []


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        (FaultKind.THROTTLED, {"retry_after": 7}, (429, "TooManyRequests")),
        (FaultKind.THROTTLED, {"variant": "ApplicationThrottled"}, (429, "ApplicationThrottled")),
        (FaultKind.SERVER_ERROR, {}, (503, "serviceNotAvailable")),
        (FaultKind.SERVER_ERROR, {"status": 500}, (500, "generalException")),
        (FaultKind.SERVER_ERROR, {"status": 504, "retry_after": 7}, (504, "UnknownError")),
        (FaultKind.REFUSED, {}, (403, "ErrorAccessDenied")),
    ],
)
async def test_trouble(
    graph: GraphClient, world: World, kind: FaultKind, options: dict[str, Any], expected: tuple[int, str]
) -> None:
    """With `Retry-After` where that was said."""
    world.faults.switch_on("mia@contoso.example", kind, times=1, **options)
    answer = await graph.get("/me/calendarView", **WEEK)
    assert (answer.status, code_of(answer)) == expected
    assert answer.headers.get("Retry-After") == ("7" if "retry_after" in options else None)


async def test_tokens_are_looked_at(graph: GraphClient, world: World, mia: Person) -> None:
    """None, an ended one, one of a withdrawn consent (with a challenge), and one without the scope."""
    good, graph.access_token = graph.access_token, "made-up"
    assert code_of(await graph.get("/me/calendarView", **WEEK)) == "InvalidAuthenticationToken"
    graph.access_token = good
    world.revoke(mia)
    answer = await graph.get("/me/calendarView", **WEEK)
    assert answer.status == 401
    assert "TokenCreatedWithOutdatedPolicies" in answer.json["error"]["message"]
    assert 'error="insufficient_claims"' in answer.headers["WWW-Authenticate"]
    graph.refresh_token = world.authorise(mia, scopes=("offline_access", "User.Read"))
    await graph.refresh()
    assert (await graph.get("/me")).status == 200
    assert code_of(await graph.get("/me/calendarView", **WEEK)) == "ErrorAccessDenied"
    graph.refresh_token = world.authorise(mia, scopes=("offline_access", "Calendars.Read"))
    await graph.refresh()
    assert code_of(await graph.get("/me")) == "Authorization_RequestDenied"


async def test_without_a_mailbox(graph: GraphClient, mia: Person) -> None:
    """Signing in and `/me` work, and nothing else."""
    mia.state = AccountState.CALENDAR_OFF
    assert (await graph.refresh()).status == 200
    assert (await graph.get("/me")).json["mail"] is None
    for path in ("/me/calendarView", "/me/calendars"):
        answer = await graph.get(path, **WEEK)
        assert (answer.status, code_of(answer)) == (404, "MailboxNotEnabledForRESTAPI")


async def test_four_at_once(graph: GraphClient, world: World, mia: Person) -> None:
    """The fifth is refused; the world remembers how many there were."""
    fault = world.faults.switch_on(mia.email, FaultKind.HANG)
    waiting = [asyncio.create_task(graph.get("/me/calendarView", **WEEK)) for _ in range(4)]
    for _ in range(100_000):  # Turns of the loop, not time: the requests need a few to arrive.
        if len(world.faults.hanging) == 4:
            break
        await asyncio.sleep(0)
    answer = await graph.get("/me/calendarView", **WEEK)
    assert (answer.status, code_of(answer)) == (429, "ApplicationThrottled")
    assert "MailboxConcurrency" in answer.json["error"]["message"]
    assert fault in world.faults.active
    world.faults.switch_off()
    assert {one.status for one in await asyncio.gather(*waiting)} == {200}
    assert world.busiest[mia.email] == 5
    assert (await graph.get("/me/calendarView", **WEEK)).status == 200


def parts(*urls: str, **more: Any) -> dict[str, Any]:
    return {"requests": [{"id": str(number), "method": "GET", "url": url, **more} for number, url in enumerate(urls)]}


async def test_a_batch(graph: GraphClient, world: World, mia: Person) -> None:
    """Each part has its own answer and headers; twenty never take more than four places at the mailbox."""
    mia.primary.put("review", title="Review", starts=NOW)
    (item,) = await graph.view()
    urls = [f"/me/events/{item['id']}?$select=subject", "/me/events/AAMkmade-up", "/nowhere", *["/me/calendar"] * 17]
    body = parts(*urls, headers={"Prefer": 'IdType="ImmutableId"'})
    world.faults.switch_on(mia.email, FaultKind.LATENCY, seconds=0.001)
    answer = await graph.ask("POST", "/$batch", body)
    found = {one["id"]: one for one in answer.json["responses"]}
    assert (found["0"]["status"], found["0"]["body"]["subject"]) == (200, "Review")
    assert found["0"]["body"]["id"] != item["id"]
    assert found["1"]["body"]["error"]["code"] == "ErrorInvalidIdMalformed"
    assert found["2"]["body"]["error"]["code"] == "RequestBroker--ParseUri"
    assert {found[str(number)]["status"] for number in range(3, 20)} == {200}
    assert world.busiest[mia.email] == 4
    assert (await graph.ask("POST", "/$batch", parts(*["/me"] * 21))).status == 400


async def test_parts_of_a_batch_can_fail(graph: GraphClient, world: World, mia: Person) -> None:
    """One is throttled inside a 200, and what depends on it fails with it."""
    world.faults.switch_on(mia.email, FaultKind.THROTTLED, times=1, retry_after=3)
    body = parts("/me/calendar", "/me/calendar", "/me/calendar")
    body["requests"][1]["dependsOn"] = ["0"]
    found = {one["id"]: one for one in (await graph.ask("POST", "/$batch", body)).json["responses"]}
    assert [found[name]["status"] for name in "012"] == [429, 424, 200]
    assert found["0"]["headers"]["retry-after"] == "3"


@pytest.mark.parametrize(
    "body",
    [
        None,
        {},
        {"requests": []},
        {"requests": [{"id": "1"}]},
        {"requests": [{"id": 1, "method": "GET", "url": "/me"}]},
        [1],
    ],
)
async def test_odd_batches_are_refused(graph: GraphClient, body: Any) -> None:
    """Whole, with 400."""
    assert (await graph.ask("POST", "/$batch", body)).status == 400
