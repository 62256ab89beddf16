"""The pages and the control API for a person at Microsoft, and the week that is seeded there."""

import aiohttp

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.entries import EntryState
from attendee.sandbox.microsoft_seed import seed_microsoft_week
from attendee.sandbox.world import Person, World
from tests.sandbox.application import NOW
from tests.sandbox.graph import GraphClient, Webhook


async def test_the_seeded_week(graph: GraphClient, mia: Person) -> None:
    """Every sort of event that makes readers stumble, as Graph delivers it."""
    seed_microsoft_week(mia.primary, now=NOW)
    items = await graph.view(**{"$top": "100"})
    found = {item["subject"]: item for item in items}
    sync = [item for item in items if item["subject"] == "Team sync"]
    assert sorted(item["type"] for item in sync) == ["exception", "occurrence", "occurrence", "occurrence"]
    assert all(item["onlineMeeting"]["joinUrl"].startswith("https://teams.microsoft.com/") for item in sync)
    review = found["Partner review"]
    assert "safelinks.protection.outlook.com" in review["body"]["content"]
    assert (review["onlineMeeting"], review["location"]["displayName"]) == (None, "")
    assert found["Design review"]["location"]["displayName"].startswith("https://acme.zoom.us/")
    assert found["Canceled: Vendor call"]["isCancelled"]
    assert found["Offsite"]["isAllDay"]
    assert found["Physiotherapy"]["sensitivity"] == "private"
    assert found["Maybe: lunch and learn"]["showAs"] == "tentative"
    assert found["Out of office"]["showAs"] == "oof"


async def test_the_page_speaks_microsoft(
    sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, mia: Person
) -> None:
    """Its own links, refusals and notices; what the organizer cancels is deleted, an invitation stays."""
    seed_microsoft_week(mia.primary, now=NOW)
    base = f"{sandbox.url}/people/{mia.email}"
    async with session.get(base) as answer:
        page = await answer.text()
    for text in ("https://teams.microsoft.com/l/meetup-join/", "AADSTS7000222", "reauthorizationRequired"):
        assert text in page
    titles = {entry.details.title: entry.id for entry in map(mia.primary.get, mia.primary.entries)}
    for title, state in (("Design review", EntryState.DELETED), ("Partner review", EntryState.CANCELLED)):
        form = {"id": titles[title], "form": "cancelled"}
        async with session.post(f"{base}/remove", data=form, allow_redirects=False) as answer:
            assert answer.status == 303
        assert mia.primary.get(titles[title]).state is state
    form = {"kind": "refused", "place": "tokens", "variant": "AADSTS53003"}
    async with session.post(f"{base}/fault-on", data=form, allow_redirects=False) as answer:
        assert answer.status == 303
    assert [fault.variant for fault in world.faults.active] == ["AADSTS53003"]


async def test_notices_by_form_and_by_json(
    graph: GraphClient, sandbox: SandboxServer, session: aiohttp.ClientSession, webhook: Webhook, mia: Person
) -> None:
    """Whoever watches hears of both."""
    wanted = {
        "changeType": "updated",
        "notificationUrl": webhook.address,
        "lifecycleNotificationUrl": webhook.address,
        "resource": "me/events",
        "expirationDateTime": "2026-11-24T08:00:00Z",
    }
    assert (await graph.ask("POST", "/subscriptions", wanted)).status == 201
    await session.post(f"{sandbox.url}/people/{mia.email}/notice", data={"notice": "missed"})
    address = f"{sandbox.url}/sandbox/api/people/{mia.email}/notices"
    await session.post(address, json={"notice": "reauthorizationRequired"})
    await sandbox.pushed()
    assert webhook.told("lifecycleEvent") == ["missed", "reauthorizationRequired"]


async def test_a_seeded_person_by_json(sandbox: SandboxServer, session: aiohttp.ClientSession, world: World) -> None:
    """With a week of the platform's own."""
    email = "zoe@contoso.example"
    person = {"email": email, "platform": "microsoft", "seed": True}
    async with session.post(f"{sandbox.url}/sandbox/api/people", json=person) as answer:
        assert answer.status == 200
    calendar = world.calendars[email]
    assert "Team sync" in {calendar.get(id).details.title for id in calendar.entries}
