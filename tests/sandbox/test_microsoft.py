"""The Microsoft of the sandbox: calendars, calendarView and single events as Graph writes them."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import pytest

from attendee.sandbox.entries import Conference, Frequency, Guest, Kind, Response, Rule, Visibility
from attendee.sandbox.world import Person, Role, World
from tests.sandbox.application import NOW
from tests.sandbox.graph import WEEK, GraphClient, code_of

BEN = Guest(email="ben@contoso.example", name="Ben Ott", response=Response.ACCEPTED)
DAILY = Rule(frequency=Frequency.DAILY, count=3)


async def test_a_whole_event(graph: GraphClient, mia: Person) -> None:
    """Times without offset and with seven digits, the Windows zone, the user's own answer, and Teams' own fields."""
    mia.primary.put(
        "review",
        title="Review",
        starts=NOW,
        ends=NOW + timedelta(hours=1),
        organizer=BEN,
        guests=(BEN, Guest(email=mia.email), Guest(email="alder@contoso.example", room=True)),
        conference=Conference(service="teams", url="https://teams.microsoft.com/l/meetup-join/19%3ameeting_A/0"),
    )
    (item,) = await graph.view()
    assert item["type"] == "singleInstance"
    assert item["start"] == {"dateTime": "2026-11-23T08:00:00.0000000", "timeZone": "UTC"}
    assert item["originalStartTimeZone"] == "W. Europe Standard Time"
    assert item["onlineMeeting"] == {"joinUrl": "https://teams.microsoft.com/l/meetup-join/19%3ameeting_A/0"}
    assert (item["isOnlineMeeting"], item["onlineMeetingProvider"]) == (True, "teamsForBusiness")
    assert (item["isOrganizer"], item["showAs"]) == (False, "tentative")
    assert item["responseStatus"] == {"response": "notResponded", "time": "0001-01-01T00:00:00Z"}
    assert item["organizer"]["emailAddress"] == {"name": "Ben Ott", "address": "ben@contoso.example"}
    assert [guest["type"] for guest in item["attendees"]] == ["required", "resource"]
    assert item["@odata.etag"] == f'W/"{item["changeKey"]}"'
    assert 120 <= len(item["id"]) <= 200
    assert item["id"].endswith("=")


async def test_other_meetings_stand_in_the_body(graph: GraphClient, mia: Person) -> None:
    """Graph knows no service but its own; as text the body loses what is behind a button."""
    url = "https://zoom.us/j/91234567890?pwd=a&x=1"
    mia.primary.put(starts=NOW, conference=Conference(service="Zoom Meeting", url=url))
    mia.primary.put(starts=NOW, description='<a href="https://acme.zoom.us/j/1">Join</a>')
    zoom, button = await graph.view()
    assert (zoom["isOnlineMeeting"], zoom["onlineMeeting"]) == (False, None)
    assert "https://zoom.us/j/91234567890?pwd=a&amp;x=1" in zoom["body"]["content"]
    assert zoom["body"]["contentType"] == "html"
    assert "acme.zoom.us" in button["body"]["content"]
    graph.prefer = 'outlook.body-content-type="text"'
    zoom, button = await graph.view()
    assert url in zoom["body"]["content"]
    assert button["body"] == {"contentType": "text", "content": "Join"}


async def test_days_privacy_and_states(graph: GraphClient, mia: Person) -> None:
    """All-day, private, out of office, free, and a cancelled invitation that stays with its prefix."""
    calendar = mia.primary
    calendar.put("offsite", starts=date(2026, 11, 24), ends=date(2026, 11, 26), kind=Kind.OUT_OF_OFFICE)
    calendar.put("dentist", title="Dentist", starts=NOW, visibility=Visibility.PRIVATE, free=True)
    calendar.put("call", title="Call", starts=NOW, organizer=BEN, guests=(Guest(email=mia.email),))
    calendar.cancel("call")
    offsite, dentist, call = await graph.view()
    assert offsite["isAllDay"]
    assert offsite["start"]["dateTime"] == "2026-11-24T00:00:00.0000000"
    assert offsite["end"]["dateTime"] == "2026-11-26T00:00:00.0000000"
    assert offsite["showAs"] == "oof"
    assert (dentist["sensitivity"], dentist["showAs"]) == ("private", "free")
    assert (call["isCancelled"], call["subject"], call["showAs"]) == (True, "Canceled: Call", "free")
    calendar.delete("call")
    assert (await graph.get(f"/me/events/{call['id']}")).status == 404
    assert len(await graph.view()) == 2


async def test_series_come_expanded(graph: GraphClient, mia: Person) -> None:
    """Occurrences and exceptions whole, never the master, and of a deleted occurrence no trace."""
    calendar = mia.primary
    calendar.put("daily", title="Stand-up", starts=NOW, rule=DAILY)
    calendar.move_occurrence("daily", NOW + timedelta(days=1), starts=NOW + timedelta(days=1, hours=4))
    calendar.cancel_occurrence("daily", NOW + timedelta(days=2))
    first, moved = await graph.view()
    assert [first["type"], moved["type"]] == ["occurrence", "exception"]
    assert first["seriesMasterId"] == moved["seriesMasterId"]
    assert moved["originalStart"] == "2026-11-24T08:00:00Z"
    assert moved["start"]["dateTime"] == "2026-11-24T12:00:00.0000000"
    assert first["iCalUId"] == moved["iCalUId"]
    assert first["subject"] == "Stand-up"
    master = (await graph.get(f"/me/events/{first['seriesMasterId']}")).json
    assert (master["type"], master["recurrence"]["range"]["type"]) == ("seriesMaster", "numbered")
    assert master["recurrence"]["pattern"]["type"] == "daily"
    path = f"/me/events/{master['id']}"
    assert [one["id"] for one in await graph.view(f"{path}/instances")] == [first["id"], moved["id"]]
    differences = await graph.get(
        path, **{"$select": "cancelledOccurrences,exceptionOccurrences", "$expand": "exceptionOccurrences"}
    )
    assert differences.json["cancelledOccurrences"] == [f"OID.{master['id']}.2026-11-25"]
    assert [one["id"] for one in differences.json["exceptionOccurrences"]] == [moved["id"]]


async def test_another_time_of_a_series_renews_its_ids(graph: GraphClient, mia: Person) -> None:
    """The old ones are gone; the master stays. 'This and following' makes a new master."""
    calendar = mia.primary
    calendar.put("daily", starts=NOW, rule=DAILY)
    before = await graph.view()
    calendar.move("daily", starts=NOW + timedelta(hours=1))
    after = await graph.view()
    assert {one["id"] for one in before}.isdisjoint(one["id"] for one in after)
    assert before[0]["seriesMasterId"] == after[0]["seriesMasterId"]
    assert code_of(await graph.get(f"/me/events/{before[0]['id']}")) == "ErrorItemNotFound"
    calendar.split("daily", NOW + timedelta(days=1, hours=1))
    assert len({one["seriesMasterId"] for one in await graph.view()}) == 2


async def test_pages_of_ten(graph: GraphClient, mia: Person) -> None:
    """Unless more are asked for; a change between two pages shifts what comes."""
    for number in range(25):
        mia.primary.put(f"e{number}", starts=NOW + timedelta(minutes=25 - number))
    first = (await graph.get("/me/calendarView", **WEEK)).json
    assert len(first["value"]) == 10
    assert len(await graph.view()) == 25
    assert len((await graph.get("/me/calendar/calendarView", **(WEEK | {"$top": "1000"}))).json["value"]) == 25
    ordered = await graph.view(**{"$orderby": "start/dateTime", "$top": "7"})
    assert [one["start"]["dateTime"] for one in ordered] == sorted(one["start"]["dateTime"] for one in ordered)
    mia.primary.delete("e0")
    second = (await graph.get(first["@odata.nextLink"])).json
    assert first["value"][-1]["id"] not in {one["id"] for one in second["value"]}
    graph.prefer = "odata.maxpagesize=5"
    assert len((await graph.get("/me/calendarView", **WEEK)).json["value"]) == 5


async def test_selection(graph: GraphClient, mia: Person) -> None:
    """What is selected and what always comes; a property that v1.0 lacks is refused."""
    mia.primary.put(starts=NOW, title="Review")
    (item,) = await graph.view(**{"$select": "subject,lastModifiedDateTime"})
    assert sorted(item) == ["@odata.etag", "id", "subject"]
    event = await graph.get(f"/me/events/{item['id']}", **{"$select": "lastModifiedDateTime"})
    assert "lastModifiedDateTime" in event.json
    answer = await graph.get("/me/calendarView", **(WEEK | {"$select": "subject,uid"}))
    assert (answer.status, code_of(answer)) == (400, "RequestBroker--ParseUri")


async def test_zones(graph: GraphClient, mia: Person) -> None:
    """The preferred zone writes times, and does not read the window's, which are UTC without an offset."""
    mia.primary.put(starts=datetime(2026, 11, 23, 0, 10, tzinfo=UTC), ends=datetime(2026, 11, 23, 0, 20, tzinfo=UTC))
    graph.prefer = 'outlook.timezone="W. Europe Standard Time", IdType="ImmutableId"'
    answer = await graph.get(
        "/me/calendarView", startDateTime="2026-11-23T00:00:00", endDateTime="2026-11-24T01:00:00+01:00"
    )
    (item,) = answer.json["value"]
    assert item["start"] == {"dateTime": "2026-11-23T01:10:00.0000000", "timeZone": "W. Europe Standard Time"}
    assert answer.headers["preference-applied"] == graph.prefer
    graph.prefer = 'outlook.timezone="Middle Earth"'
    assert (await graph.get("/me/calendarView", **WEEK)).status == 400


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({}, "ErrorInvalidParameter"),
        ({"startDateTime": "2026-11-23T00:00:00Z"}, "ErrorInvalidParameter"),
        ({"startDateTime": "2026-11-23T00:00:00 01:00", "endDateTime": "2026-11-24"}, "ErrorInvalidParameter"),
        ({"startDateTime": "2026-11-23", "endDateTime": "2026-11-22"}, "ErrorInvalidParameter"),
        ({"startDateTime": "2026-11-23", "endDateTime": "2031-11-23"}, "ErrorInvalidRequest"),
        (WEEK | {"$top": "1001"}, "BadRequest"),
        (WEEK | {"$orderby": "subject"}, "BadRequest"),
    ],
)
async def test_odd_windows_are_refused(graph: GraphClient, parameters: dict[str, str], code: str) -> None:
    """With 400 and Graph's code."""
    answer = await graph.get("/me/calendarView", **parameters)
    assert (answer.status, code_of(answer)) == (400, code)
    assert "request-id" in answer.json["error"]["innerError"]


async def test_ids(graph: GraphClient, world: World, mia: Person) -> None:
    """A move to another calendar changes an id unless immutable ones are asked for, then also by the old id."""
    team = world.add_calendar(mia, "team", name="Team")
    mia.primary.put("review", starts=NOW)
    (usual,) = await graph.view()
    graph.prefer = 'IdType="ImmutableId"'
    (immutable,) = await graph.view()
    assert usual["id"] != immutable["id"]
    mia.primary.transfer("review", to=team)
    assert (await graph.get(f"/me/events/{immutable['id']}")).json["id"] == immutable["id"]
    assert (await graph.get(f"/me/events/{usual['id']}")).status == 404
    assert (await graph.get(f"/me/calendars/team/events/{immutable['id']}")).status == 200
    default = (await graph.get("/me/calendar")).json["id"]
    assert (await graph.get(f"/me/calendars/{default}/events/{immutable['id']}")).status == 404


async def test_odd_ids(graph: GraphClient, world: World, mia: Person) -> None:
    """Cut off or in lower case they are malformed, with a slash no path, and of another mailbox not found."""
    mia.primary.put("review", starts=NOW)
    (item,) = await graph.view()
    for odd in (item["id"].lower(), item["id"][:-5], "AAMkmade-up"):
        answer = await graph.get(f"/me/events/{odd}")
        assert (answer.status, code_of(answer)) == (400, "ErrorInvalidIdMalformed")
    for odd in ("AAMk/made", quote("AAMk/made", safe="")):
        assert code_of(await graph.get(f"/me/events/{odd}")) == "RequestBroker--ParseUri"
    other = world.add_person("zoe@contoso.example", platform="microsoft")
    stranger = GraphClient(graph.session, graph.url, world.authorise(other))
    await stranger.refresh()
    assert code_of(await stranger.get(f"/me/events/{item['id']}")) == "ErrorItemNotFound"


async def test_calendars(graph: GraphClient, world: World, mia: Person) -> None:
    """The list, the default one, pages, and one that is gone."""
    team = world.add_calendar(mia, "team", name="Team")
    team.put("planning", starts=NOW)
    listed = (await graph.get("/me/calendars")).json["value"]
    assert [(one["name"], one["isDefaultCalendar"]) for one in listed] == [("Calendar", True), ("Team", False)]
    assert listed[0] == {k: v for k, v in (await graph.get("/me/calendar")).json.items() if k != "@odata.context"}
    assert len(await graph.view("/me/calendars", **{"$top": "1"})) == 2
    path = f"/me/calendars/{listed[1]['id']}"
    (planning,) = await graph.view(f"{path}/calendarView")
    assert (await graph.get(f"{path}/events/{planning['id']}")).status == 200
    world.remove_calendar(team)
    assert code_of(await graph.get(path)) == "ErrorItemNotFound"
    assert code_of(await graph.get("/me/calendars/a%20b")) == "ErrorInvalidIdMalformed"


async def test_shared_calendars_need_their_scope(graph: GraphClient, world: World, mia: Person) -> None:
    """And private events in them come without details."""
    other = world.add_person("zoe@contoso.example", platform="microsoft")
    other.primary.put(starts=NOW, title="Doctor", visibility=Visibility.PRIVATE, location="Clinic")
    world.share(other.primary, mia, role=Role.READER)
    path = "/me/calendars/zoe@contoso.example/calendarView"
    assert code_of(await graph.get(path, **WEEK)) == "ErrorAccessDenied"
    graph.refresh_token = world.authorise(mia, scopes=("offline_access", "Calendars.Read.Shared"))
    await graph.refresh()
    (item,) = await graph.view(path)
    assert (item["subject"], item["location"]["displayName"], item["organizer"]) == ("Private Appointment", "", None)


async def test_who_it_is(graph: GraphClient, mia: Person) -> None:
    """Address and name, and only what was selected."""
    profile = (await graph.get("/me", **{"$select": "id,displayName,mail,userPrincipalName"})).json
    assert {**profile, "id": ""} == {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users/$entity",
        "id": "",
        "displayName": "Mia Berg",
        "mail": "mia@contoso.example",
        "userPrincipalName": "mia@contoso.example",
    }


async def test_odd_items_are_delivered(graph: GraphClient, mia: Person) -> None:
    """Whatever they are, in listings, deltas and alone."""
    odd: list[Any] = [{"id": "odd"}, "text", None]
    for number, item in enumerate(odd):
        mia.primary.put_raw(f"odd{number}", item)
    assert await graph.view(**{"$select": "subject"}) == odd
    assert (await graph.round())[0] == odd
    assert (await graph.get("/me/events/odd0")).json == {"id": "odd"}
