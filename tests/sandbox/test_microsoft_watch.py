"""Graph's subscriptions as the sandbox speaks them: real handshakes and messages to a receiver on loopback."""

from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

import pytest
from aiohttp import web

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.entries import Frequency, Rule
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Notice, Person, Role, World
from tests.sandbox.application import NOW, Answer, ManualClock
from tests.sandbox.graph import GraphClient, Webhook, code_of

SUBSCRIPTIONS = "/subscriptions"


async def watch(graph: GraphClient, webhook: Webhook, **changes: Any) -> Answer:
    body = {
        "changeType": "created,updated,deleted",
        "notificationUrl": webhook.address,
        "lifecycleNotificationUrl": f"{webhook.address}?kind=life",
        "resource": "me/events",
        "expirationDateTime": (NOW + timedelta(minutes=10_000)).isoformat(),
        "clientState": "k3p",
    }
    sent = {name: value for name, value in (body | changes).items() if value is not None}
    return await graph.ask("POST", SUBSCRIPTIONS, sent)


async def test_a_subscription_tells_of_changes(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, mia: Person
) -> None:
    """Created is followed by updated, an edit told twice, a deletion once; silence after the end."""
    answer = await watch(graph, webhook)
    assert answer.status == 201
    subscription = answer.json
    assert [one.get("kind") for one in webhook.handshakes] == [None, "life"]
    assert webhook.handshakes[0]["Content-Type"].startswith("text/plain")
    mia.primary.put("review", starts=NOW)
    (listed,) = await graph.view(startDateTime="2026-11-23", endDateTime="2026-11-24")
    await sandbox.pushed()
    assert webhook.told() == ["created", "updated"]
    mia.primary.edit("review", title="Review")
    await sandbox.pushed()
    assert webhook.told() == ["created", "updated", "updated", "updated"]
    mia.primary.delete("review")
    await sandbox.pushed()
    assert webhook.told() == ["created", "deleted", "updated", "updated", "updated"]
    assert set(webhook.told("clientState")) == {"k3p"}
    assert set(webhook.told("subscriptionId")) == {subscription["id"]}
    assert {item["resourceData"]["id"] for item in webhook.items} == {listed["id"]}
    path = f"{SUBSCRIPTIONS}/{subscription['id']}"
    assert (await graph.ask("DELETE", path)).status == 204
    assert (await graph.ask("DELETE", path)).status == 404
    mia.primary.put("silent", starts=NOW)
    await sandbox.pushed()
    assert len(webhook.items) == 5


async def test_a_deleted_occurrence_is_an_update_of_its_series(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, mia: Person
) -> None:
    """A moved one is told of by its own id too; only the types that were asked for come."""
    graph.prefer = 'IdType="ImmutableId"'
    mia.primary.put("daily", starts=NOW, rule=Rule(frequency=Frequency.DAILY, count=3))
    await watch(graph, webhook, changeType="updated")
    mia.primary.cancel_occurrence("daily", NOW)
    await sandbox.pushed()
    occurrences = await graph.view(startDateTime="2026-11-23", endDateTime="2026-11-30")
    assert {item["resourceData"]["id"] for item in webhook.items} == {occurrences[0]["seriesMasterId"]}
    mia.primary.move_occurrence("daily", NOW + timedelta(days=1), starts=NOW)
    await sandbox.pushed()
    assert occurrences[0]["id"] in {item["resourceData"]["id"] for item in webhook.items}
    count = len(webhook.items)
    mia.primary.delete("daily")
    await sandbox.pushed()
    assert len(webhook.items) == count


async def test_two_subscriptions_double_the_items(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, world: World, mia: Person
) -> None:
    """Those of one address come in one message; one for a calendar hears nothing of the others."""
    team = world.add_calendar(mia, "team", name="Team")
    await watch(graph, webhook, changeType="deleted")
    await watch(graph, webhook, changeType="deleted", resource="/me/calendars/team/events", clientState="team")
    team.put("planning", starts=NOW)
    team.delete("planning")
    await sandbox.pushed()
    assert (webhook.messages, webhook.told("clientState")) == (1, ["k3p", "team"])
    mia.primary.put("review", starts=NOW)
    mia.primary.delete("review")
    await sandbox.pushed()
    assert webhook.told("clientState") == ["k3p", "k3p", "team"]
    assert len((await graph.get(SUBSCRIPTIONS)).json["value"]) == 2


async def test_lives(graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, clock: ManualClock) -> None:
    """At most 10,070 minutes, at least 45; a PATCH prolongs, and one on a lost subscription is 404."""
    answer = await watch(graph, webhook, expirationDateTime=(NOW + timedelta(minutes=10_071)).isoformat())
    assert (answer.status, code_of(answer)) == (400, "ExtensionError")
    assert "10070 minutes" in answer.json["error"]["message"]
    short = await watch(graph, webhook, expirationDateTime=(NOW + timedelta(minutes=5)).isoformat())
    assert short.json["expirationDateTime"] == "2026-11-23T08:45:00.0000000Z"
    path = f"{SUBSCRIPTIONS}/{short.json['id']}"
    longer = await graph.ask("PATCH", path, {"expirationDateTime": "2026-11-24T08:00:00Z"})
    assert longer.json["expirationDateTime"] == "2026-11-24T08:00:00.0000000Z"
    assert (await graph.ask("PATCH", path, {"lifecycleNotificationUrl": webhook.address})).status == 400
    moved = await graph.ask("PATCH", path, {"notificationUrl": f"{webhook.address}?moved=1"})
    assert parse_qs(moved.json["notificationUrl"].partition("?")[2]) == {"moved": ["1"]}
    clock.forward(timedelta(days=1))
    await graph.refresh()
    assert (await graph.ask("PATCH", path, {"expirationDateTime": "2026-11-25T08:00:00Z"})).status == 404


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"resource": "me/calendarView"}, (400, "ExtensionError")),
        ({"resource": "me/calendars/gone/events"}, (400, "ExtensionError")),
        ({"resource": "me/calendars"}, (400, "ExtensionError")),
        ({"resource": "me/calendars/shared/events"}, (403, "ErrorAccessDenied")),
        ({"resource": "me/calendars/holidays/events"}, (400, "ExtensionError")),
        ({"expirationDateTime": "2026-11-24T08:00:00"}, (400, "InvalidRequest")),
        ({"expirationDateTime": None}, (400, "InvalidRequest")),
        ({"clientState": "x" * 129}, (400, "InvalidRequest")),
        ({"changeType": "renamed"}, (400, "InvalidRequest")),
        ({"notificationUrl": "http://hooks.example.com/"}, (400, "InvalidRequest")),
        ({"notificationUrl": "http://127.0.0.1:9/"}, (400, "InvalidRequest")),
    ],
)
async def test_odd_subscriptions_are_refused(
    graph: GraphClient, webhook: Webhook, world: World, changes: dict[str, Any], expected: tuple[int, str]
) -> None:
    """With Graph's code, and none is left behind."""
    mia, other = world.people["mia@contoso.example"], world.add_person("zoe@contoso.example", platform="microsoft")
    world.add_calendar(mia, "holidays", name="Holidays", can_be_watched=False)
    world.share(world.add_calendar(other, "shared", name="Shared"), mia, role=Role.READER)
    answer = await watch(graph, webhook, **changes)
    assert (answer.status, code_of(answer)) == expected
    assert world.channels == {}


@pytest.mark.parametrize(
    "said",
    [
        web.Response(text="something else"),
        web.Response(status=202, text="{token}"),
        web.Response(text="{token}", content_type="application/json"),
    ],
)
async def test_the_handshake_must_be_right(graph: GraphClient, webhook: Webhook, said: web.Response) -> None:
    """Status, type and the decoded token."""
    webhook.says = lambda token: web.Response(
        status=said.status, text=str(said.text).replace("{token}", token), content_type=said.content_type
    )
    answer = await watch(graph, webhook)
    assert (answer.status, code_of(answer)) == (400, "ValidationError")


async def test_lifecycle_messages(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, world: World, mia: Person
) -> None:
    """Messages wait until they are authorised anew; what was removed is gone; without an address nothing is told."""
    id = (await watch(graph, webhook, changeType="deleted")).json["id"]
    world.notify_watchers(mia, Notice.MISSED)
    world.notify_watchers(mia, Notice.REAUTHORIZATION_REQUIRED)
    mia.primary.put("review", starts=NOW)
    mia.primary.delete("review")
    await sandbox.pushed()
    assert webhook.told("lifecycleEvent") == ["missed", "reauthorizationRequired"]
    assert (await graph.ask("POST", f"{SUBSCRIPTIONS}/{id}/reauthorize")).status == 200
    await sandbox.pushed()
    assert [item.get("changeType") for item in webhook.items if "lifecycleEvent" not in item] == ["deleted"]
    world.notify_watchers(mia, Notice.SUBSCRIPTION_REMOVED)
    await sandbox.pushed()
    assert webhook.items[-1]["lifecycleEvent"] == "subscriptionRemoved"
    assert (await graph.get(f"{SUBSCRIPTIONS}/{id}")).status == 404
    await watch(graph, webhook, lifecycleNotificationUrl=None)
    world.notify_watchers(mia, Notice.MISSED)
    await sandbox.pushed()
    assert webhook.items[-1]["lifecycleEvent"] == "subscriptionRemoved"


async def test_silent_ends(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, world: World, mia: Person
) -> None:
    """A withdrawn consent, a switch, a fault: no message."""
    await watch(graph, webhook, changeType="created")
    world.faults.switch_on(mia.email, FaultKind.DROPPED_PUSHES, times=1)
    mia.primary.put("lost", starts=NOW)
    world.pushes_on = False
    mia.primary.put("silent", starts=NOW)
    world.pushes_on = True
    mia.primary.put("told", starts=NOW)
    world.revoke(mia)
    mia.primary.put("unheard", starts=NOW)
    await sandbox.pushed()
    assert len(webhook.items) == 1
    assert world.channels == {}


async def test_a_removed_calendar_ends_its_subscription(
    graph: GraphClient, sandbox: SandboxServer, webhook: Webhook, world: World, mia: Person
) -> None:
    """With a word about it."""
    team = world.add_calendar(mia, "team", name="Team")
    await watch(graph, webhook, resource="me/calendars/team/events")
    world.remove_calendar(team)
    await sandbox.pushed()
    assert webhook.told("lifecycleEvent") == ["subscriptionRemoved"]
