"""Webhooks, deliveries, events, bots and keys in the dashboard."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from attendee.model import ActivityKind, ProjectId, Role
from attendee.store import projects, tables
from tests.api.serving import LINK, NOON, new_project
from tests.dashboard.furnished import furnish
from tests.dashboard.visiting import Visited, Visitor

HOOK = {"url": "https://product.example/hooks", "trigger": "calendar.events_update"}


@pytest.fixture
async def admin(here: Visited) -> Visitor:
    return await here.visitor(Role.ADMIN)


async def rows(here: Visited, table: Any) -> list[Any]:
    async with here.database.reading() as tx:
        return list((await tx.execute(select(table))).all())


async def put(here: Visited, table: Any, **values: Any) -> None:
    """Gives all rows of the table these values."""
    async with here.database.transaction() as tx:
        await tx.execute(update(table).values(**values))


def base(here: Visited) -> str:
    return f"/projects/{here.project_id}"


async def a_webhook(admin: Visitor, here: Visited) -> str:
    made = await admin.post(f"{base(here)}/settings/webhooks", HOOK)
    assert made.status == 303, made.text
    return made.location.partition("?")[0]


async def test_a_webhook_is_created(here: Visited, admin: Visitor) -> None:
    """With its triggers as check boxes, and then shown."""
    form = (await admin.get(f"{base(here)}/settings/webhooks/new")).text
    assert form.count('type="checkbox"') == 10
    address = await a_webhook(admin, here)
    page = (await admin.get(address)).text
    assert HOOK["url"] in page
    assert re.search(r'value="calendar.events_update" checked', page)
    assert not re.search(r'value="calendar.state_change" checked', page)
    (stored,) = await rows(here, tables.webhook_subscriptions)
    assert (stored.url, stored.triggers) == (HOOK["url"], ["calendar.events_update"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"url": "nonsense", "trigger": "bot.state_change"}, "The address can&#39;t be used"),
        ({"url": "https://product.example/hooks"}, "Tick at least one"),
        ({"url": "https://product.example/hooks", "trigger": "nonsense"}, "Tick at least one"),
    ],
)
async def test_a_wrong_webhook_is_explained_on_its_form(
    here: Visited, admin: Visitor, fields: dict[str, str], words: str
) -> None:
    """With what was entered still there."""
    refused = await admin.post(f"{base(here)}/settings/webhooks", fields)
    assert refused.status == 400
    assert words in refused.text
    assert f'value="{fields["url"]}"' in refused.text
    assert await rows(here, tables.webhook_subscriptions) == []


async def test_a_webhook_is_changed_paused_and_deleted(here: Visited, admin: Visitor) -> None:
    """What it was sent stays on record, as something sent to a webhook that is gone."""
    address = await a_webhook(admin, here)
    await admin.post(address, {"url": "https://product.example/new", "trigger": "bot.state_change"})
    assert "https://product.example/new" in (await admin.get(address)).text
    sent = await admin.post(f"{address}/test")
    assert "A test is on its way" in (await admin.get(sent.location)).text
    assert (await admin.post(f"{address}/pause")).location == f"{address}?done=paused"
    (delivery,) = await rows(here, tables.deliveries)
    assert delivery.due_at is None
    await admin.post(f"{address}/resume")
    (delivery,) = await rows(here, tables.deliveries)
    assert delivery.due_at == NOON
    assert (await admin.post(f"{address}/delete")).location == f"{base(here)}/settings/webhooks?done=deleted"
    assert (await admin.get(address)).status == 404
    record = (await admin.get(sent.location.partition("?")[0])).text
    assert "the webhook was deleted since" in record
    assert "https://product.example/new" in record
    assert delivery.id in (await admin.get(f"{base(here)}/deliveries?webhook=gone")).text


@pytest.mark.parametrize(
    ("reason", "told"), [("gone", "it answered 410"), ("failing", "nothing has arrived for five days")]
)
async def test_a_webhook_that_paused_itself_says_why_and_is_resumed(
    here: Visited, admin: Visitor, reason: str, told: str
) -> None:
    """On the overview, in the list and on its own page, until somebody resumes it."""
    address = await a_webhook(admin, here)
    assert HOOK["url"] not in (await admin.get(base(here))).text
    failing = {"failing_since": NOON - timedelta(days=6)}
    await put(here, tables.webhook_subscriptions, **failing)
    assert "nothing has arrived since" in (await admin.get(base(here))).text
    assert "Nothing has arrived since" in (await admin.get(address)).text
    await put(here, tables.webhook_subscriptions, is_active=False, pause_reason=reason, paused_at=NOON)
    overview = (await admin.get(base(here))).text
    assert HOOK["url"] in overview
    assert told in overview
    assert "Paused by itself" in (await admin.get(address)).text
    assert "paused by itself" in (await admin.get(f"{base(here)}/settings/webhooks")).text
    await admin.post(f"{address}/resume")
    assert "Paused by itself" not in (await admin.get(address)).text
    assert HOOK["url"] not in (await admin.get(base(here))).text


async def test_an_oauth_client_that_is_refused_is_one_fault(here: Visited, admin: Visitor) -> None:
    """However many calendars it has: the overview names the client, how many, and who can mend it."""
    for number in range(12):
        await here.a_calendar(deduplication_key=f"user{number}@acme.example", client_id="the-one-client")
    error = "Google refuses the OAuth client (invalid_client)."
    await put(here, tables.calendars, last_error=error, is_operators_fault=True)
    overview = (await admin.get(base(here))).text
    assert overview.count("the-one-client") == overview.count(error) == 1
    assert "12 calendars" in overview
    assert "One fault, and not its users" in overview
    assert "@acme.example" not in overview.partition("Needs attention")[2].partition("Next bots")[0]


async def test_the_signing_secret_is_shown_on_demand_and_rotates(here: Visited, admin: Visitor) -> None:
    """Nobody sees it by the way; with an overlap both sign until it ends, without one the old is gone."""
    settings = f"{base(here)}/settings"

    async def live() -> list[str]:
        async with here.database.reading() as tx:
            return list(await projects.live_secrets(tx, here.project_id, key_ring=here.key_ring, now=here.clock()))

    (old,) = await live()
    assert old not in (await admin.get(f"{settings}/webhooks")).text
    assert old in (await admin.post(f"{settings}/secret/show")).text
    assert (await admin.post(f"{settings}/secret/rotate", {"overlap": "24"})).status == 303
    both = await live()
    assert both[0] == old
    assert "A rotation is under way" in (await admin.get(f"{settings}/webhooks")).text
    again = await admin.post(f"{settings}/secret/rotate", {"overlap": "24"})
    assert again.status == 400
    assert "still signs until" in again.text
    here.clock.at += timedelta(hours=24)
    assert await live() == both[1:]
    await admin.post(f"{settings}/secret/rotate", {"overlap": "0"})
    assert len(set(await live()) - set(both)) == len(await live()) == 1
    assert (await admin.post(f"{settings}/secret/rotate", {"overlap": "soon"})).status == 400


async def test_a_key_is_shown_once(here: Visited, admin: Visitor) -> None:
    """In the answer to the form and never again; disabled it opens nothing."""
    keys = f"{base(here)}/settings/keys"
    here.clock.at += timedelta(minutes=1)
    made = (await admin.post(keys, {"name": "<server>"})).text
    found = re.search(r"att_[\w-]+", made)
    assert found is not None
    assert "&lt;server&gt;" in made
    listed = (await admin.get(keys)).text
    assert found[0] not in listed
    here.client.key = found[0]
    assert (await here.client.get("/calendars")).status == 200
    key_id = re.findall(r"key_\w{16}", listed)[-1]
    await admin.post(f"{keys}/{key_id}/disable")
    assert (await here.client.get("/calendars")).status == 401
    assert (await admin.post(keys, {"name": " "})).status == 400


async def test_deliveries_are_filtered(here: Visited, admin: Visitor) -> None:
    """By webhook, trigger and state, also together; each shows its attempts and its body."""
    made = await furnish(here)
    deliveries = f"{base(here)}/deliveries"

    async def count(query: str) -> int:
        return len(set(re.findall(r"/deliveries/(whd_\w+)", (await admin.get(f"{deliveries}?{query}")).text)))

    assert await count("") == 25
    assert await count("state=failed") == 3
    assert await count("state=pending&trigger=calendar.events_update") == 3
    assert await count(f"webhook={made.webhook}&state=failed") == 3
    assert await count("trigger=bot.state_change") == 0
    assert await count("webhook=gone") == 0
    page = (await admin.get(f"{deliveries}/{made.delivery}")).text
    assert "No answer came within 10 seconds." in page
    assert f"&#34;calendar_id&#34;: &#34;{made.calendar}&#34;" in page


async def test_what_failed_is_delivered_again(here: Visited, admin: Visitor) -> None:
    """One, or everything since a time in the viewer's own zone, but nothing to a webhook that is paused."""
    made = await furnish(here)
    await admin.post("/account/zone", {"zone": "Asia/Tokyo"})
    deliveries = f"{base(here)}/deliveries"
    failed = [row for row in await rows(here, tables.deliveries) if row.state == "failed"]
    one = await admin.post(f"{deliveries}/{made.delivery}/redeliver")
    assert one.location == f"{deliveries}/{made.delivery}?done=redelivery"
    left = sorted(row.created_at for row in failed if row.id != made.delivery)
    since = left[1] + timedelta(hours=9)
    done = await admin.post(
        f"{deliveries}/redeliver-failed", {"since": f"{since - timedelta(minutes=1):%Y-%m-%dT%H:%M}"}
    )
    assert done.location == f"{deliveries}?state=pending&redelivered=1"
    assert "1 is on the way again" in (await admin.get(done.location)).text
    await admin.post(f"{base(here)}/settings/webhooks/{made.webhook}/pause")
    done = await admin.post(f"{deliveries}/redeliver-failed", {"since": "2026-01-01T00:00"})
    assert done.location.endswith("redelivered=0")
    for nonsense in ("", "yesterday", "0001-01-01T00:00"):
        assert (await admin.post(f"{deliveries}/redeliver-failed", {"since": nonsense})).status == 400
    paused = await admin.post(f"{deliveries}/{made.delivery}/redeliver")
    assert paused.status == 400
    assert "not active" in paused.text


async def test_an_event_tells_its_story(here: Visited, admin: Visitor) -> None:
    """All its fields, its bots, and in order what happened, by which key, and who was told and answered how."""
    made = await furnish(here)
    page = (await admin.get(f"{base(here)}/events/{made.event}")).text
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", page))
    story = [
        "Found in the calendar by a sync.",
        f"was created with the key tests, to join {LINK} at Mon 23 Nov, 13:00.",
        "Moved from Mon 23 Nov, 13:00 to Mon 23 Nov, 14:00.",
        "moved with the event, from Mon 23 Nov, 13:00 to Mon 23 Nov, 14:00.",
        f"Meeting link changed from https://zoom.us/j/123 to {LINK}.",
    ]
    places = [text.index(words) for words in story]
    assert places == sorted(places)
    assert "to https://product.example/hooks/attendee: answered 200 after 87 ms" in text
    assert "A a@x.org" in text
    assert "&#34;nested&#34;" in page


@pytest.mark.parametrize("kind", ActivityKind)
async def test_every_kind_of_history_is_told(here: Visited, admin: Visitor, kind: ActivityKind) -> None:
    """Also with nothing in its detail, and with markup in it, which stays text."""
    calendar_id = await here.a_calendar()
    event_id = await here.an_event(calendar_id)
    bot_id = "bot_0123456789abcdef"
    for detail in ({}, {"reason": "<script>", "by": "<b>", "from": None, "to": None, "event": "<i>"}):
        await here.store(
            tables.activity,
            project_id=here.project_id,
            calendar_id=calendar_id,
            event_id=event_id,
            bot_id=bot_id if kind.startswith("bot") else None,
            kind=kind.value,
            detail=detail,
            created_at=NOON,
        )
    page = await admin.get(f"{base(here)}/events/{event_id}")
    assert page.status == 200
    assert page.text.count('<span class="at">') == 3
    assert "<script>" not in page.text.replace('<script src="/static/dashboard.js" defer>', "")


async def test_a_deleted_bot_still_says_why_it_went(here: Visited, admin: Visitor) -> None:
    """At its own address, though it is gone from everywhere else."""
    event_id = await here.an_event(await here.a_calendar())
    made = await here.client.post("/bots", {"bot_name": "Notes", "calendar_event_id": event_id})
    address = f"{base(here)}/bots/{made.json['id']}"
    assert "Notes" in (await admin.get(address)).text
    await here.client.delete(f"/bots/{made.json['id']}")
    page = (await admin.get(address)).text
    assert "The bot was deleted over the API with the key <strong>tests</strong>." in page
    assert (await admin.get(f"{base(here)}/bots/bot_0000000000000000")).status == 404


async def test_an_event_without_a_bot_says_why(here: Visited, admin: Visitor) -> None:
    """No link, a disconnected calendar, a cancelled event, or nobody asked for one."""
    calendar_id = await here.a_calendar()
    plain = await here.an_event(calendar_id)
    unlinked = await here.an_event(calendar_id, meeting_url=None)
    cancelled = await here.an_event(calendar_id, is_deleted=True)
    for event_id, words in ((plain, "decides which"), (unlinked, "no meeting link"), (cancelled, "No bot goes there")):
        assert words in (await admin.get(f"{base(here)}/events/{event_id}")).text


async def test_bots_are_listed(here: Visited, admin: Visitor) -> None:
    """Those that join next, and all; one that failed says why."""
    made = await furnish(here)
    upcoming = (await admin.get(f"{base(here)}/bots")).text
    assert upcoming.count(">scheduled<") == 6
    assert (await admin.get(f"{base(here)}/bots?show=all")).text.count('data-label="Joins"') == 9
    failed = (await admin.get(f"{base(here)}/bots/{made.failed_bot}")).text
    assert "bot not launched" in failed
    assert "No bot runner is configured" in failed


async def test_find_leads_to_whatever_has_the_id(here: Visited, admin: Visitor) -> None:
    """And to the search of the calendars with anything else."""
    for sought, place in (
        ("evt_abc", "events/evt_abc"),
        ("bot_abc", "bots/bot_abc"),
        ("cal_abc", "calendars/cal_abc"),
        ("whd_abc", "deliveries/whd_abc"),
        ("webhook_abc", "settings/webhooks/webhook_abc"),
        ("evt_../../users", "calendars?q=evt_..%2F..%2Fusers"),
        ("ada@acme.example", "calendars?q=ada%40acme.example"),
    ):
        found = await admin.get(f"{base(here)}/find?id={sought}")
        assert found.location == f"{base(here)}/{place}"


async def test_an_empty_project_says_what_to_do_next(here: Visited) -> None:
    """Each list, and the overview with the steps that are still to be done."""
    project_id, _ = await new_project(here.database, here.key_ring, name="Empty")
    admin = await here.visitor(Role.ADMIN, project_id=project_id)
    for path, words in (
        ("", "Connect a calendar"),
        ("/calendars", "No calendar is connected yet"),
        ("/bots", "No bot is scheduled"),
        ("/bots?show=all", "There is no bot yet"),
        ("/deliveries", "Nothing has been sent yet"),
        ("/settings/webhooks", "There is no webhook yet"),
        ("/settings/members", "Add a member"),
    ):
        assert words in (await admin.get(f"/projects/{project_id}{path}")).text, path


async def test_members_come_and_go(here: Visited, admin: Visitor) -> None:
    """Somebody new gets a link; a role is changed by adding once more; an owner needs none."""
    members = f"{base(here)}/settings/members"
    invited = (await admin.post(members, {"email": "New@acme.example", "role": "viewer"})).text
    link = re.search(rf"{here.address}(/links/[\w-]+)", invited)
    assert link is not None
    browser = here.browser()
    fields = {"password": "a fine password", "again": "a fine password"}
    assert (await browser.post(link[1], fields)).status == 303
    assert (await browser.get("/")).location == base(here)
    await admin.post(members, {"email": "new@acme.example", "role": "admin"})
    assert (await browser.get(f"{base(here)}/settings/webhooks/new")).status == 200
    (user_id,) = re.findall(r"members/(user_\w+)/remove", (await browser.get(members)).text)[1:]
    await admin.post(f"{members}/{user_id}/remove")
    assert (await browser.get(base(here))).status == 404
    await here.user("boss@acme.example", role=Role.OWNER)
    for fields in ({"email": "boss@acme.example", "role": "viewer"}, {"email": "x@acme.example", "role": "owner"}):
        assert (await admin.post(members, fields)).status == 400


async def test_projects_are_apart(here: Visited) -> None:
    """An owner makes them and sees all; a member of one comes to it directly."""
    owner, viewer = await here.visitor(Role.OWNER), await here.visitor(Role.VIEWER)
    made = await owner.post("/projects", {"name": "Acme development"})
    project_id = ProjectId(made.location.split("/")[2].partition("?")[0])
    assert (await owner.get("/")).location == "/projects"
    assert (await owner.get(f"/projects/{project_id}")).text.count("Acme development") > 1
    assert (await owner.post("/projects", {"name": "Acme"})).status == 400
    assert (await viewer.get("/")).location == base(here)
    assert "Acme development" not in (await viewer.get(base(here))).text
