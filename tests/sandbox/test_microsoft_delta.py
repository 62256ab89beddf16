"""`calendarView/delta` as the sandbox speaks it: links, masters with minimal occurrences, and what is removed."""

from datetime import timedelta
from typing import Any

import pytest

from attendee.sandbox.entries import Frequency, Rule
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Person, World
from tests.sandbox.application import NOW
from tests.sandbox.graph import WEEK, GraphClient, code_of

DAILY = Rule(frequency=Frequency.DAILY, count=3)
MINIMAL = {"@odata.type", "@odata.etag", "id", "seriesMasterId", "type", "start", "end"}


def kinds(items: list[dict[str, Any]]) -> list[str]:
    return ["removed" if "@removed" in item else item["type"] for item in items]


async def test_the_first_round_is_the_window(graph: GraphClient, mia: Person) -> None:
    """Single events and exceptions whole, masters from their first day on, occurrences with hardly more than a time."""
    calendar = mia.primary
    calendar.put("review", title="Review", starts=NOW)
    calendar.put("past", starts=NOW - timedelta(days=30))
    first = NOW - timedelta(days=28)
    calendar.put("weekly", title="Weekly", starts=first, rule=Rule(frequency=Frequency.WEEKLY))
    calendar.put("daily", title="Daily", starts=NOW, rule=DAILY)
    calendar.edit_occurrence("daily", NOW, title="Daily, but longer", ends=NOW + timedelta(hours=2))
    items, _ = await graph.round()
    assert kinds(items) == [
        "singleInstance",
        "seriesMaster",
        "occurrence",
        "seriesMaster",
        "exception",
        "occurrence",
        "occurrence",
    ]
    assert items[1]["start"]["dateTime"] == "2026-10-26T08:00:00.0000000"
    assert set(items[2]) == MINIMAL
    assert items[4]["subject"] == "Daily, but longer"
    assert items[0]["subject"] == "Review"


async def test_later_rounds(graph: GraphClient, mia: Person) -> None:
    """New, changed and deleted ones; a move out of the window is a removal, back in an ordinary item."""
    calendar = mia.primary
    calendar.put("review", title="Review", starts=NOW)
    (first,), link = await graph.round()
    assert await graph.round(link) == ([], link)
    calendar.put("lunch", starts=NOW + timedelta(hours=4))
    (lunch,), link = await graph.round(link)
    calendar.move("lunch", starts=NOW + timedelta(days=30))
    assert await graph.round(link) == (
        [{"@odata.type": "#microsoft.graph.event", "id": lunch["id"], "@removed": {"reason": "deleted"}}],
        (await graph.round(link))[1],
    )
    _, link = await graph.round(link)
    calendar.move("lunch", starts=NOW)
    (back,), link = await graph.round(link)
    assert (back["id"], back["type"]) == (lunch["id"], "singleInstance")
    calendar.cancel("lunch")
    (cancelled,), link = await graph.round(link)
    assert cancelled["isCancelled"]
    calendar.delete("review")
    (removed,), link = await graph.round(link)
    assert (removed["id"], removed["@removed"]) == (first["id"], {"reason": "deleted"})
    calendar.put("elsewhere", starts=NOW + timedelta(days=60))
    (unknown,), _ = await graph.round(link)
    assert kinds([unknown]) == ["removed"]


async def test_a_changed_series_comes_whole(graph: GraphClient, mia: Person) -> None:
    """A deleted occurrence is only missing; an exception that left the window is removed by its own id."""
    calendar = mia.primary
    calendar.put("daily", starts=NOW, rule=DAILY)
    items, link = await graph.round()
    calendar.cancel_occurrence("daily", NOW + timedelta(days=1))
    fewer, link = await graph.round(link)
    assert kinds(fewer) == ["seriesMaster", "occurrence", "occurrence"]
    assert [one["id"] for one in fewer] == [items[0]["id"], items[1]["id"], items[3]["id"]]
    calendar.move_occurrence("daily", NOW, starts=NOW + timedelta(days=20))
    left, link = await graph.round(link)
    assert kinds(left) == ["seriesMaster", "occurrence", "removed"]
    assert left[2]["id"] == items[1]["id"]
    calendar.delete("daily")
    (gone,), _ = await graph.round(link)
    assert (gone["id"], kinds([gone])) == (items[0]["id"], ["removed"])


async def test_the_window_is_frozen(graph: GraphClient, mia: Person) -> None:
    """With its selection; further parameters on a link are refused, unsupported ones on the first call too."""
    mia.primary.put("review", title="Review", starts=NOW)
    answer = await graph.get("/me/calendarView/delta", **(WEEK | {"$select": "subject", "$top": "1"}))
    (item,) = answer.json["value"]
    assert sorted(item) == ["@odata.etag", "@odata.type", "id", "subject"]
    link = answer.json["@odata.deltaLink"]
    mia.primary.edit("review", title="Retrospective")
    (item,), _ = await graph.round(link)
    assert item["subject"] == "Retrospective"
    assert "start" not in item
    assert (await graph.get(f"{link}&startDateTime=2026-11-24T00:00:00Z")).status == 400
    refused = await graph.get("/me/calendarView/delta", **(WEEK | {"$orderby": "start/dateTime"}))
    assert code_of(refused) == "ErrorInvalidUrlQuery"


async def test_links_are_whole_and_encoded(graph: GraphClient, mia: Person) -> None:
    """Encoded through and through: whoever encodes them again is told so."""
    for number in range(3):
        mia.primary.put(starts=NOW + timedelta(hours=number))
    graph.prefer = "odata.maxpagesize=2"
    first = (await graph.get("/me/calendarView/delta", **WEEK)).json
    assert len(first["value"]) == 2
    assert first["@odata.nextLink"].startswith(f"{graph.url}/v1.0/me/calendarView/delta?%24skiptoken=")
    items, link = await graph.round()
    assert len(items) == 3
    assert "?%24deltatoken=" in link
    assert (await graph.get(link.replace("%", "%25"))).status == 400
    assert (await graph.get(f"{link}x")).status == 400
    for link_to_follow in (link, first["@odata.nextLink"]):
        assert code_of(await graph.get(link_to_follow.replace("%24", "$"))) == "ErrorInvalidUrlQuery"
        assert code_of(await graph.get(f"{link_to_follow}&$select=id")) == "ErrorInvalidUrlQuery"
    # The calendar that a link belongs to is inside it.
    assert (await graph.get(link.replace("/me/calendarView", "/me/calendars/other/calendarView"))).status == 404


async def test_other_calendars_have_deltas_too(graph: GraphClient, world: World, mia: Person) -> None:
    """The default one by all its addresses, and none knows another's link."""
    world.add_calendar(mia, "team", name="Team").put(starts=NOW, title="Planning")
    items, link = await graph.round(path="/me/calendars/team/calendarView/delta")
    assert [item["subject"] for item in items] == ["Planning"]
    assert await graph.round(link) == ([], link)
    assert (await graph.get(link.replace("/me/calendars/team/", "/me/"))).status == 400
    default = (await graph.get("/me/calendar")).json["id"]
    _, link = await graph.round()
    mia.primary.put(starts=NOW)
    assert len((await graph.round(path=f"/me/calendars/{default}/calendarView/delta"))[0]) == 1
    assert len((await graph.round(link))[0]) == 1


async def test_expired_links(graph: GraphClient, mia: Person) -> None:
    """410 for delta links and unfinished walks of before; a new start is well."""
    for number in range(3):
        mia.primary.put(starts=NOW + timedelta(hours=number))
    _, link = await graph.round()
    graph.prefer = "odata.maxpagesize=1"
    next_link = (await graph.get("/me/calendarView/delta", **WEEK)).json["@odata.nextLink"]
    mia.primary.expire_cursors()
    for stale in (link, next_link):
        answer = await graph.get(stale)
        assert (answer.status, code_of(answer)) == (410, "SyncStateNotFound")
    assert len((await graph.round())[0]) == 3


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        (None, (410, "SyncStateNotFound")),
        ("location", (410, "SyncStateNotFound")),
        ("resyncRequired", (410, "resyncRequired")),
        ("bare", (410, "Gone")),
        ("400", (400, "SyncStateNotFound")),
        ("badSyncRequest", (400, "ErrorInvalidUrlQueryFilter")),
    ],
)
async def test_the_ways_to_expire(
    graph: GraphClient, world: World, mia: Person, variant: str | None, expected: tuple[int, str]
) -> None:
    """By a fault, in every form that Graph has for it; a `Location` starts anew."""
    mia.primary.put(starts=NOW)
    _, link = await graph.round()
    world.faults.switch_on(mia.email, FaultKind.EXPIRED_CURSOR, times=1, variant=variant)
    answer = await graph.get(link)
    assert (answer.status, code_of(answer)) == expected
    if variant == "location":
        assert len((await graph.round(answer.headers["Location"]))[0]) == 1
    assert await graph.round(link) == ([], link)


async def test_late_and_empty_answers(graph: GraphClient, world: World, mia: Person) -> None:
    """A change can be hidden for a moment, the first page be empty, and a listing lack everything."""
    _, link = await graph.round()
    mia.primary.put(starts=NOW)
    world.faults.switch_on(mia.email, FaultKind.STALE, times=1)
    assert await graph.round(link) == ([], link)
    world.faults.switch_on(mia.email, FaultKind.EMPTY_PAGES, times=2)
    page = (await graph.get(link)).json
    assert page["value"] == []
    assert len((await graph.round(page["@odata.nextLink"]))[0]) == 1
    page = (await graph.get("/me/calendarView", **WEEK)).json
    assert page["value"] == []
    assert len((await graph.get(page["@odata.nextLink"])).json["value"]) == 1
    world.faults.switch_on(mia.email, FaultKind.EMPTY_LISTING, times=1)
    assert await graph.view() == []
    assert len(await graph.view()) == 1


async def test_quiet_deltas_are_counted_as_such(graph: GraphClient, world: World, mia: Person) -> None:
    """The first round apart from the later ones, each request once."""
    _, link = await graph.round()
    for _ in range(3):
        await graph.round(link)
    assert world.requests[mia.email, "first_delta"] == 1
    assert world.requests[mia.email, "delta"] == 3
