"""Calendars in the dashboard: found, explained, asked to sync."""

import re
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from attendee.dashboard import cures
from attendee.model import DisconnectCode, Role, SyncReason
from attendee.store import tables
from tests.api.serving import NOON
from tests.dashboard.furnished import furnish
from tests.dashboard.visiting import Visited, Visitor


async def listed(visitor: Visitor, here: Visited, query: str = "") -> list[str]:
    """The names of the calendars on a page of the list, in its order."""
    answer = await visitor.get(f"/projects/{here.project_id}/calendars{query}")
    assert answer.status == 200
    return re.findall(r'/calendars/cal_\w+"><span class="cut">([^<]+)<', answer.text)


async def test_a_calendar_is_found(here: Visited) -> None:
    """By its key, its id, a part of its key and a part of its metadata, in any case of letters; not by wildcards."""
    viewer = await here.visitor(Role.VIEWER)
    ada = await here.a_calendar(deduplication_key="ada@acme.example", metadata={"tenant": "Nörd 50%"})
    here.clock.at += timedelta(minutes=1)
    await here.a_calendar(deduplication_key="ben@acme.example", metadata={"tenant": "other"})
    assert await listed(viewer, here) == ["ben@acme.example", "ada@acme.example"]
    for sought in ("ada@acme.example", ada, "ADA@", "n%C3%B6rd", "50%25"):
        assert await listed(viewer, here, f"?q={sought}") == ["ada@acme.example"], sought
    for nothing in ("%25ada%25", "_da", "nobody", "%00", "cal_nonsense"):
        found = await listed(viewer, here, f"?q={nothing}")
        assert found == ([] if nothing != "%00" else ["ben@acme.example", "ada@acme.example"]), nothing


async def test_the_list_has_pages(here: Visited) -> None:
    """Next and previous lead through all of them, each once, and a page that never was is none."""
    viewer = await here.visitor(Role.VIEWER)
    names = [f"user-{number:02d}" for number in range(60)]
    for name in names:
        here.clock.at += timedelta(seconds=1)
        await here.a_calendar(deduplication_key=name)
    seen, address, steps = [], f"/projects/{here.project_id}/calendars", 0
    while address and steps < 5:
        answer = await viewer.get(address)
        seen += re.findall(r'<span class="cut">(user-\d+)<', answer.text)
        found = re.search(r'rel="next" href="([^"]+)"', answer.text)
        address, steps = (found[1].replace("&amp;", "&") if found else ""), steps + 1
    assert seen == names[::-1]
    assert 'rel="prev"' in answer.text
    assert (await viewer.get(f"/projects/{here.project_id}/calendars?at=nonsense")).status == 404


async def test_the_list_shows_those_in_trouble(here: Visited) -> None:
    """Disconnected ones, and those whose last sync failed, each apart."""
    viewer = await here.visitor(Role.VIEWER)
    await furnish(here)
    assert await listed(viewer, here, "?state=disconnected") == ["ben@northwind.example"]
    assert await listed(viewer, here, "?state=troubled") == ["cleo@acme.example"]
    overview = (await viewer.get(f"/projects/{here.project_id}")).text
    assert re.findall(r'class="figure[^"]*">(\d+)<', overview) == ["3", "1", "1"]
    assert overview.index("ben@northwind.example") < overview.index("cleo@acme.example")


@pytest.mark.parametrize("code", [*DisconnectCode, None])
async def test_every_disconnection_has_a_cure(here: Visited, code: DisconnectCode | None) -> None:
    """The page says what is wrong and what to do, and what the platform has said."""
    viewer = await here.visitor(Role.VIEWER)
    calendar_id = await here.a_calendar()
    failure = {"error": "The platform's <own> word.", "timestamp": "2026-11-23T12:00:00.000000Z"}
    async with here.database.transaction() as tx:
        await tx.execute(
            update(tables.calendars).values(
                state="disconnected",
                connection_failure_data=failure if code is None else failure | {"code": code.value},
                last_error=failure["error"],
                last_attempted_sync_at=NOON,
            )
        )
    page = (await viewer.get(f"/projects/{here.project_id}/calendars/{calendar_id}")).text
    cure = cures.UNKNOWN if code is None else cures.CURES[code]
    text = page.replace("&#39;", "'")
    assert cure.trouble in text
    assert cure.cure in text
    assert "The platform&#39;s &lt;own&gt; word." in page


async def test_sync_now_asks_for_a_sync(here: Visited) -> None:
    """It is due at once, its reason is kept for the history, and whoever asked is told so."""
    admin = await here.visitor(Role.ADMIN)
    calendar_id = await here.a_calendar()
    async with here.database.transaction() as tx:
        await tx.execute(update(tables.calendars).values(due_at=NOON + timedelta(hours=1), wakes=0))
    here.clock.at += timedelta(minutes=1)
    asked = await admin.post(f"/projects/{here.project_id}/calendars/{calendar_id}/sync")
    assert asked.location.endswith(f"/calendars/{calendar_id}?done=asked")
    assert "A sync has been asked for" in (await admin.get(asked.location)).text
    async with here.database.reading() as tx:
        row = (await tx.execute(select(tables.calendars))).one()
    assert (row.due_at, row.wakes, row.asked_for) == (here.clock.at, 1, SyncReason.ASKED)


async def test_a_calendar_shows_its_week(here: Visited) -> None:
    """In the viewer's zone, coloured by what the bots do, cancelled ones struck through; other weeks by their date."""
    viewer = await here.visitor(Role.VIEWER)
    made = await furnish(here)
    await viewer.post("/account/zone", {"zone": "America/New_York"})
    address = f"/projects/{here.project_id}/calendars/{made.calendar}"
    page = (await viewer.get(address)).text
    assert re.search(r'class="event scheduled at-\d+ for-3[^>]+title="09:00 Design review: bot scheduled"', page)
    assert re.search(r'class="event failed [^>]+title="05:30 Interview: Sam Okafor: bot failed"', page)
    assert re.search(r'class="event cancelled [^>]+title="06:00 Board preparation: cancelled"', page)
    assert re.search(r'class="event none [^>]+title="07:15 Lunch talk: no bot, no meeting link"', page)
    assert page.count(">Team offsite<") == 2
    assert "Design review" not in (await viewer.get(f"{address}?week=2026-11-30")).text
    for nonsense in ("2026-13-01", "0001-01-01", "9999-12-31", "x"):
        assert (await viewer.get(f"{address}?week={nonsense}")).status == 404


async def test_a_calendar_without_a_history_says_how_long_one_is_kept(here: Visited) -> None:
    """By the setting."""
    viewer = await here.visitor(Role.VIEWER)
    calendar_id = await here.a_calendar()
    async with here.database.transaction() as tx:
        await tx.execute(update(tables.calendars).values(last_successful_sync_at=NOON, last_attempted_sync_at=NOON))
    page = (await viewer.get(f"/projects/{here.project_id}/calendars/{calendar_id}")).text
    assert "No sync of the last 7 days found a change" in page


async def test_a_calendar_shows_its_syncs(here: Visited) -> None:
    """When, why, what came of it, how long and how many requests; quiet ones between them as a number."""
    viewer = await here.visitor(Role.VIEWER)
    made = await furnish(here)
    page = (await viewer.get(f"/projects/{here.project_id}/calendars/{made.calendar}")).text
    for words in (
        "the platform told of a change",
        "1 new, 2 changed, 1 gone",
        "the daily full listing",
        "another try after a failure",
        "The platform did not answer within 10 seconds.",
        "before that 31 syncs that found nothing new",
        "since then 3 syncs that found nothing new",
        "10.0 s",
    ):
        assert words in page, words
