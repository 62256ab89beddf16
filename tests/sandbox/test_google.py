"""Google's listing, deltas and single reads as the sandbox speaks them, over real HTTP."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from attendee.sandbox.entries import Conference, Frequency, Guest, Kind, Response, Rule, Visibility
from attendee.sandbox.world import AccountState, Person, Role, World
from tests.sandbox.application import NOW, GoogleClient, ManualClock

WINDOW = {"timeMin": "2026-11-22T08:00:00Z", "timeMax": "2026-12-21T08:00:00Z"}
WEEKLY = Rule(frequency=Frequency.WEEKLY)


def ids(items: list[Any]) -> list[str]:
    return [item["id"] for item in items]


async def test_pages_are_walked_to_the_sync_token(google: GoogleClient, ana: Person) -> None:
    """Pages hold what was asked for, only the last has the sync token, and a page may be asked for twice."""
    for number in range(5):
        ana.primary.put(f"event{number}", starts=NOW + timedelta(hours=number))
    first = (await google.events(maxResults="2", **WINDOW)).json
    assert ids(first["items"]) == ["event0", "event1"]
    assert "nextSyncToken" not in first
    second = (await google.events(maxResults="2", pageToken=first["nextPageToken"], **WINDOW)).json
    again = (await google.events(maxResults="2", pageToken=first["nextPageToken"], **WINDOW)).json
    assert second["items"] == again["items"]
    last = (await google.events(maxResults="2", pageToken=second["nextPageToken"], **WINDOW)).json
    assert ids(last["items"]) == ["event4"]
    assert "nextPageToken" not in last
    assert last["nextSyncToken"]


async def test_a_change_between_pages_comes_with_the_next_delta(google: GoogleClient, ana: Person) -> None:
    """The cursor is that of the first page."""
    for number in range(3):
        ana.primary.put(f"event{number}", starts=NOW + timedelta(hours=number))
    first = (await google.events(maxResults="2", singleEvents="true")).json
    ana.primary.edit("event0", title="Changed")
    last = (await google.events(maxResults="2", singleEvents="true", pageToken=first["nextPageToken"])).json
    assert ids(await google.delta(last["nextSyncToken"])) == ["event0"]


async def test_a_page_token_wants_its_own_parameters(google: GoogleClient, ana: Person) -> None:
    """Changed parameters and invented tokens are refused."""
    for number in range(3):
        ana.primary.put(f"event{number}", starts=NOW)
    token = (await google.events(maxResults="2")).json["nextPageToken"]
    assert (await google.events(maxResults="1", pageToken=token)).status == 400
    assert (await google.events(maxResults="2", pageToken="nonsense")).status == 400


async def test_the_window_holds_what_overlaps_it(google: GoogleClient, ana: Person) -> None:
    """Ends are compared with timeMin and starts with timeMax, both strictly; running events are in."""
    start, end = datetime(2026, 11, 22, 8, tzinfo=UTC), datetime(2026, 12, 21, 8, tzinfo=UTC)
    hour = timedelta(hours=1)
    ana.primary.put("ended", starts=start - hour, ends=start)
    ana.primary.put("running", starts=start - hour, ends=start + hour)
    ana.primary.put("late", starts=end - hour, ends=end + hour)
    ana.primary.put("after", starts=end, ends=end + hour)
    assert ids((await google.events(**WINDOW)).json["items"]) == ["running", "late"]
    empty = await google.events(timeMin=WINDOW["timeMax"], timeMax=WINDOW["timeMin"])
    assert (empty.status, empty.json["error"]["errors"][0]["reason"]) == (400, "timeRangeEmpty")
    assert (await google.events(timeMin="2026-11-22T08:00:00")).status == 400


async def test_a_series_is_laid_out_or_not(google: GoogleClient, ana: Person) -> None:
    """`singleEvents=true` gives instances at the same wall-clock time; without it the master comes with its rule."""
    starts = datetime(2026, 10, 20, 7, 0, tzinfo=UTC)  # 09:00 in Berlin, in summer time
    ana.primary.put("standup", title="Stand-up", starts=starts, rule=WEEKLY)
    items = (await google.events(singleEvents="true", **WINDOW)).json["items"]
    assert ids(items)[0] == "standup_20261124T080000Z"
    assert items[0]["start"] == {"dateTime": "2026-11-24T09:00:00+01:00", "timeZone": "Europe/Berlin"}
    assert {item["recurringEventId"] for item in items} == {"standup"}
    assert {item["iCalUID"] for item in items} == {"standup@google.com"}
    master = (await google.events(**WINDOW)).json["items"]
    assert master[0]["recurrence"] == ["RRULE:FREQ=WEEKLY"]
    answer = await google.get("/calendar/v3/calendars/primary/events/standup/instances", **WINDOW)
    assert ids(answer.json["items"]) == ids(items)


async def test_a_delta_tells_of_every_kind_of_change(google: GoogleClient, ana: Person) -> None:
    """Created, moved, cancelled with details and deleted without; nothing twice, and nothing when all is quiet."""
    for name in ("moved", "cancelled", "deleted", "untouched"):
        ana.primary.put(name, title=name, starts=NOW)
    token = await google.sync_token(**WINDOW)
    assert await google.delta(token) == []
    ana.primary.put("created", starts=NOW + timedelta(days=400))
    ana.primary.move("moved", starts=NOW + timedelta(hours=2))
    ana.primary.cancel("cancelled")
    ana.primary.delete("deleted")
    items = {item["id"]: item for item in await google.delta(token)}
    assert items.keys() == {"created", "moved", "cancelled", "deleted"}
    assert items["moved"]["start"]["dateTime"] == "2026-11-23T11:00:00+01:00"
    assert items["cancelled"]["status"] == "cancelled"
    assert items["cancelled"]["summary"] == "cancelled"
    assert items["deleted"].keys() == {"kind", "etag", "id", "status"}


async def test_a_changed_series_brings_all_its_instances(google: GoogleClient, ana: Person) -> None:
    """The token does not keep the window: hundreds of instances far beyond it come with one edit."""
    ana.primary.put("series", starts=NOW, rule=WEEKLY)
    token = await google.sync_token(**WINDOW)
    ana.primary.edit("series", title="New name")
    items = await google.delta(token, maxResults="2500")
    assert len(items) == 200
    assert items[-1]["start"]["dateTime"] > "2030"


async def test_one_changed_occurrence_comes_alone(google: GoogleClient, ana: Person) -> None:
    """Moved, it keeps its id and original start; cancelled, only those are left."""
    ana.primary.put("series", starts=NOW, rule=WEEKLY)
    token = await google.sync_token(**WINDOW)
    first, second = NOW + timedelta(weeks=1), NOW + timedelta(weeks=2)
    ana.primary.move_occurrence("series", first, starts=first + timedelta(hours=3))
    ana.primary.cancel_occurrence("series", second)
    moved, cancelled = await google.delta(token)
    assert moved["id"] == "series_20261130T080000Z"
    assert moved["originalStartTime"]["dateTime"] == "2026-11-30T09:00:00+01:00"
    assert moved["start"]["dateTime"] == "2026-11-30T12:00:00+01:00"
    assert cancelled.keys() == {"kind", "etag", "id", "status", "recurringEventId", "originalStartTime"}
    listed = (await google.events(singleEvents="true", **WINDOW)).json["items"]
    assert "series_20261207T080000Z" not in ids(listed)


async def test_a_series_at_another_time_changes_all_ids(google: GoogleClient, ana: Person) -> None:
    """The old instances come cancelled, the new ones under new ids."""
    ana.primary.put("series", starts=NOW, rule=Rule(frequency=Frequency.WEEKLY, count=2))
    token = await google.sync_token()
    ana.primary.move("series", starts=NOW + timedelta(hours=1))
    states = {item["id"]: item["status"] for item in await google.delta(token)}
    assert states == {
        "series_20261123T080000Z": "cancelled",
        "series_20261130T080000Z": "cancelled",
        "series_20261123T090000Z": "confirmed",
        "series_20261130T090000Z": "confirmed",
    }
    gone = await google.get("/calendar/v3/calendars/primary/events/series_20261123T080000Z")
    assert (gone.status, gone.json["status"]) == (200, "cancelled")


async def test_a_deleted_series_shows_as_cancelled_instances(google: GoogleClient, ana: Person) -> None:
    """Never as its master."""
    ana.primary.put("series", starts=NOW, rule=Rule(frequency=Frequency.DAILY, count=3))
    token = await google.sync_token()
    ana.primary.delete("series")
    items = await google.delta(token)
    assert [item["status"] for item in items] == ["cancelled"] * 3
    assert "series" not in ids(items)


async def test_this_and_following_starts_another_series(google: GoogleClient, ana: Person) -> None:
    """The old one ends before the slot, the new one has ids of the other form."""
    ana.primary.put("series", starts=NOW, rule=Rule(frequency=Frequency.WEEKLY, count=4))
    ana.primary.split("series", NOW + timedelta(weeks=2), title="New crew")
    items = (await google.events(singleEvents="true", **WINDOW)).json["items"]
    assert ids(items) == [
        "series_20261123T080000Z",
        "series_20261130T080000Z",
        "series_R20261207T080000_20261207T080000Z",
        "series_R20261207T080000_20261214T080000Z",
    ]


async def test_expired_cursors_want_a_full_sync(google: GoogleClient, ana: Person) -> None:
    """410 with Google's reason."""
    token = await google.sync_token()
    ana.primary.expire_cursors()
    answer = await google.events(singleEvents="true", syncToken=token)
    assert answer.status == 410
    assert answer.json["error"]["errors"][0]["reason"] == "fullSyncRequired"
    assert (await google.events(singleEvents="true", syncToken="made up")).status == 410


@pytest.mark.parametrize("name", ["timeMin", "timeMax", "orderBy", "q", "iCalUID", "updatedMin"])
async def test_some_parameters_don_t_go_with_a_sync_token(google: GoogleClient, name: str) -> None:
    """400, whatever their value."""
    token = await google.sync_token()
    assert (await google.events(singleEvents="true", syncToken=token, **{name: "2026-12-01T00:00:00Z"})).status == 400


async def test_sync_tokens_of_one_kind_of_listing_don_t_fit_another(google: GoogleClient) -> None:
    """Expanded and unexpanded are different syncs, and deletions can't be declined."""
    token = await google.sync_token()
    assert (await google.events(syncToken=token)).status == 400
    assert (await google.events(singleEvents="true", syncToken=token, showDeleted="false")).status == 400


async def test_an_ordered_listing_yields_no_token(google: GoogleClient, ana: Person) -> None:
    """And order by start wants single events."""
    ana.primary.put("later", starts=NOW + timedelta(hours=1))
    ana.primary.put("sooner", starts=NOW)
    answer = (await google.events(singleEvents="true", orderBy="startTime")).json
    assert ids(answer["items"]) == ["sooner", "later"]
    assert "nextSyncToken" not in answer
    assert (await google.events(orderBy="startTime")).status == 400


async def test_fields_keep_only_what_was_asked_for(google: GoogleClient, ana: Person) -> None:
    """Tokens included: who leaves them out gets none."""
    ana.primary.put("one", title="One", starts=NOW, guests=(Guest(email="ben@acme.example"),))
    answer = (await google.events(fields="nextSyncToken,items(id,start/dateTime,attendees(email))")).json
    assert answer.keys() == {"nextSyncToken", "items"}
    assert answer["items"] == [
        {"id": "one", "start": {"dateTime": "2026-11-23T09:00:00+01:00"}, "attendees": [{"email": "ben@acme.example"}]}
    ]
    assert (await google.events(fields="items(id")).status == 400


async def test_an_event_has_google_s_shape(google: GoogleClient, ana: Person) -> None:
    """Meet links stand twice, add-ons once; the reader's own entry is marked; all-day events have dates."""
    host = Guest(email="ben@acme.example", name="Ben Ott", response=Response.ACCEPTED)
    ana.primary.put(
        "meet",
        starts=NOW,
        organizer=host,
        guests=(host, Guest(email="ana@acme.example")),
        conference=Conference(service="meet", url="https://meet.google.com/kzr-tmqe-xbw"),
    )
    ana.primary.put("zoom", starts=NOW, conference=Conference(service="Zoom Meeting", url="https://zoom.us/j/98765"))
    ana.primary.put("away", starts=date(2026, 12, 7), ends=date(2026, 12, 9), free=True, kind=Kind.OUT_OF_OFFICE)
    meet, zoom, away = (await google.events()).json["items"]
    assert meet["hangoutLink"] == meet["conferenceData"]["entryPoints"][0]["uri"]
    assert meet["organizer"] == {"email": "ben@acme.example", "displayName": "Ben Ott"}
    assert meet["attendees"][0]["organizer"] is True
    assert meet["attendees"][1] == {"email": "ana@acme.example", "self": True, "responseStatus": "needsAction"}
    assert "hangoutLink" not in zoom
    assert zoom["conferenceData"]["conferenceSolution"]["key"]["type"] == "addOn"
    assert (away["start"], away["end"]) == ({"date": "2026-12-07"}, {"date": "2026-12-09"})
    assert (away["transparency"], away["eventType"]) == ("transparent", "outOfOffice")
    only = (await google.events(eventTypes="outOfOffice")).json["items"]
    assert ids(only) == ["away"]


async def test_odd_events_are_delivered_as_they_are(google: GoogleClient, ana: Person) -> None:
    """In listings and deltas, and whatever they are."""
    token = await google.sync_token()
    odd: list[Any] = [
        {"id": "nostart"},
        ["no", "object"],
        {"id": 7, "start": "yesterday", "big": 2**70, "bad": "\ud800"},
    ]
    for number, item in enumerate(odd):
        ana.primary.put_raw(f"odd{number}", item)
    assert (await google.events(singleEvents="true", **WINDOW)).json["items"] == odd
    assert await google.delta(token) == odd


async def test_a_shared_calendar_hides_what_is_private(google: GoogleClient, world: World, ana: Person) -> None:
    """Readers see no details of private events, free/busy readers none at all; a calendar unshared is not found."""
    ben = world.add_person("ben@acme.example")
    ben.primary.put("private", title="Doctor", starts=NOW, visibility=Visibility.PRIVATE)
    world.share(ben.primary, ana, role=Role.READER)
    item = (await google.events("ben@acme.example")).json["items"][0]
    assert "summary" not in item
    assert item["start"]
    world.share(ben.primary, ana, role=Role.FREE_BUSY)
    answer = (await google.events("ben@acme.example")).json
    assert answer["accessRole"] == "freeBusyReader"
    assert answer["items"][0].keys() == {"kind", "etag", "id", "status", "start", "end"}
    world.unshare(ben.primary, ana)
    gone = await google.events("ben@acme.example")
    assert (gone.status, gone.json["error"]["errors"][0]["reason"]) == (404, "notFound")


async def test_calendars_are_listed_and_found_by_odd_ids(google: GoogleClient, world: World, ana: Person) -> None:
    """Pages, the primary mark, and ids with a `#`, which must be encoded in paths."""
    world.add_calendar(ana, "en.usa#holiday@group.v.calendar.google.com", name="Holidays", role=Role.READER)
    first = (await google.get("/calendar/v3/users/me/calendarList", maxResults="1")).json
    assert first["items"][0]["primary"] is True
    page = first["nextPageToken"]
    second = (await google.get("/calendar/v3/users/me/calendarList", maxResults="1", pageToken=page)).json
    assert ids(second["items"]) == ["en.usa#holiday@group.v.calendar.google.com"]
    assert (await google.events("en.usa#holiday@group.v.calendar.google.com")).json["summary"] == "Holidays"
    assert (await google.get("/calendar/v3/users/me/calendarList", maxResults="many")).status == 400
    assert (await google.get("/calendar/v3/calendars/primary")).json["id"] == "ana@acme.example"
    assert (await google.get("/oauth2/v2/userinfo")).json["email"] == "ana@acme.example"


async def test_google_remembers_cancelled_events_for_a_while(
    google: GoogleClient, ana: Person, clock: ManualClock
) -> None:
    """`events.get` answers 200 at first, later 404; an unknown id is not found at once."""
    ana.primary.put("gone", starts=NOW)
    ana.primary.delete("gone")
    path = "/calendar/v3/calendars/primary/events/"
    assert (await google.get(f"{path}gone")).json["status"] == "cancelled"
    assert ids((await google.events(showDeleted="true", **WINDOW)).json["items"]) == ["gone"]
    assert (await google.get(f"{path}never")).status == 404
    ana.primary.put("forgotten", starts=NOW)
    ana.primary.forget("forgotten")
    assert (await google.get(f"{path}forgotten")).status == 404
    clock.forward(timedelta(days=40))
    await google.refresh()
    assert (await google.get(f"{path}gone")).status == 404
    assert (await google.events(showDeleted="true", **WINDOW)).json["items"] == []


async def test_bearers_are_checked(google: GoogleClient, world: World, ana: Person, clock: ManualClock) -> None:
    """Expired, revoked or narrow tokens and accounts without a calendar get Google's own words."""

    async def reason() -> tuple[int, str]:
        answer = await google.events()
        return answer.status, answer.json["error"]["errors"][0]["reason"]

    ana.state = AccountState.CALENDAR_OFF
    assert await reason() == (403, "notACalendarUser")
    ana.state = AccountState.ACTIVE
    clock.forward(timedelta(seconds=3599))
    assert await reason() == (401, "authError")
    await google.refresh()
    assert (await google.events()).status == 200
    world.revoke(ana)
    assert await reason() == (401, "authError")
    google.refresh_token = world.authorise(ana, scopes=("https://www.googleapis.com/auth/userinfo.email",))
    await google.refresh()
    assert await reason() == (403, "insufficientPermissions")


async def test_requests_are_counted(google: GoogleClient, world: World) -> None:
    """By calendar or person, and kind."""
    token = await google.sync_token()
    await google.delta(token)
    await google.delta(token)
    assert world.requests["ana@acme.example", "list"] == 1
    assert world.requests["ana@acme.example", "delta"] == 2
    assert world.requests["ana@acme.example", "token"] == 1
