"""What Microsoft says of an event, and what becomes of it: objects composed after its documentation, and any others."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendee.meetings import MeetingLinks
from attendee.model import Attendee, Cancelled, RemoteEvent, RemoteItem, SetAside
from attendee.providers.answers import decode_json
from attendee.providers.microsoft_events import parse_item
from attendee.providers.windows_zones import IANA_ZONES

FIND_MEETING_URL = MeetingLinks().find_meeting_url


def at(text: str, zone: str | None = "UTC") -> dict[str, str | None]:
    return {"dateTime": text, "timeZone": zone}


TEAMS_LINK = (
    "https://teams.microsoft.com/l/meetup-join/19%3ameeting_AbC%40thread.v2/0?context=%7b%22Tid%22%3a%2284bd%22%7d"
)
ZOOM_LINK = "https://acme.zoom.us/j/98765432100"
MEET_LINK = "https://meet.google.com/abc-defg-hij"
TEAMS: dict[str, Any] = {
    "@odata.etag": 'W/"EZ9r3czxY0m2jz8c45czkwAAFXcvIQ=="',
    "id": "AAMkAGI1ODk0NgBGAAAAAAC7_xYz-1BwD3aQAAAAAAENAABnQ2kLAAA=",
    "changeKey": "EZ9r3czxY0m2jz8c45czkwAAFXcvIQ==",
    "createdDateTime": "2026-11-18T08:01:10.1234567Z",
    "lastModifiedDateTime": "2026-11-20T16:40:11.7654321Z",
    "type": "singleInstance",
    "seriesMasterId": None,
    "iCalUId": "040000008200E00074C5B7101A82E0080000000012AB34CD",
    "subject": "Quarterly review",
    "bodyPreview": "Agenda: numbers",
    "body": {
        "contentType": "html",
        "content": "<html><body>Agenda: numbers<br>________________<br>"
        '<a href="https://acme.zoom.us/j/98765432100">Or here</a></body></html>',
    },
    "start": at("2026-12-01T14:00:00.0000000"),
    "end": at("2026-12-01T15:00:00.0000000"),
    "originalStartTimeZone": "W. Europe Standard Time",
    "isAllDay": False,
    "isCancelled": False,
    "isOrganizer": False,
    "isDraft": False,
    "showAs": "tentative",
    "responseStatus": {"response": "notResponded", "time": "0001-01-01T00:00:00Z"},
    "organizer": {"emailAddress": {"name": "Ben Ott", "address": "ben@acme.example"}},
    "attendees": [
        {
            "type": "required",
            "status": {"response": "none", "time": "0001-01-01T00:00:00Z"},
            "emailAddress": {"name": "Ana Ruiz", "address": "ana@acme.example"},
        },
        {"type": "optional", "emailAddress": {"name": "", "address": "lee@partner.example"}},
        {"type": "resource", "emailAddress": {"name": "Room Alder", "address": "alder@acme.example"}},
    ],
    "location": {"displayName": "Microsoft Teams Meeting; Room Alder", "locationType": "default"},
    "locations": [{"displayName": "Room Alder", "locationUri": "alder@acme.example"}],
    "isOnlineMeeting": True,
    "onlineMeetingProvider": "teamsForBusiness",
    "onlineMeetingUrl": None,
    "onlineMeeting": {"joinUrl": TEAMS_LINK},
    "recurrence": None,
}
OCCURRENCE: dict[str, Any] = {
    "id": "AAMkAGI1ODk0NgFRAAgI3kSeriesOccAAAA=",
    "type": "occurrence",
    "seriesMasterId": "AAMkAGI1ODk0NgBGAAAAAAMasterAAA=",
    "originalStart": "2026-12-03T08:00:00Z",
    "iCalUId": "040000008200E00074C5B7101A82E00800000000AA00",
    "subject": "Stand-up",
    "start": at("2026-12-03T08:00:00.0000000"),
    "end": at("2026-12-03T08:15:00.0000000"),
    "isAllDay": False,
    "isCancelled": False,
    "attendees": [],
    "location": {"displayName": ZOOM_LINK},
    "isOnlineMeeting": False,
    "onlineMeetingProvider": "unknown",
    "onlineMeeting": None,
}
EXCEPTION: dict[str, Any] = {
    "id": "AAMkAGI1ODk0NgFRAAgI3lExceptAAA=",
    "type": "exception",
    "seriesMasterId": "AAMkAGI1ODk0NgBGAAAAAAMasterAAA=",
    "originalStart": "2026-12-10T08:00:00Z",
    "subject": "Stand-up (late)",
    "start": at("2026-12-10T12:00:00.0000000"),
    "end": at("2026-12-10T12:15:00.0000000"),
    "isCancelled": False,
}
MASTER: dict[str, Any] = {
    "id": "AAMkAGI1ODk0NgBGAAAAAAMasterAAA=",
    "type": "seriesMaster",
    "subject": "Stand-up",
    "start": at("2024-01-08T08:00:00.0000000"),
    "end": at("2024-01-08T08:15:00.0000000"),
    "recurrence": {"range": {"type": "noEnd", "startDate": "2024-01-08", "endDate": "0001-01-01"}},
}
ALL_DAY: dict[str, Any] = {
    "id": "AAMkAGI1ODk0NgBGAAAAAAAllDayAAA=",
    "type": "singleInstance",
    "subject": "Offsite",
    "isAllDay": True,
    "isCancelled": False,
    "start": at("2026-12-07T00:00:00.0000000"),
    "end": at("2026-12-09T00:00:00.0000000"),
    "attendees": [],
}


def parsed(item: object) -> RemoteItem:
    return parse_item(item, find_meeting_url=FIND_MEETING_URL)


def event(item: Mapping[str, object], **changes: object) -> RemoteEvent:
    remote = parsed({**item, **changes})
    assert isinstance(remote, RemoteEvent)
    return remote


def set_aside(item: object) -> SetAside:
    remote = parsed(item)
    assert isinstance(remote, SetAside)
    return remote


def test_teams_meeting() -> None:
    """An event comes out in our words: times in UTC, all who are invited, the meeting's link before the text's."""
    remote = event(TEAMS)
    assert remote.platform_uuid == TEAMS["id"]
    assert remote.name == "Quarterly review"
    assert remote.start_at == datetime(2026, 12, 1, 14, tzinfo=UTC)
    assert remote.end_at == datetime(2026, 12, 1, 15, tzinfo=UTC)
    assert remote.start_at.tzinfo is UTC
    assert (remote.start_on, remote.end_on) == (None, None)
    assert remote.meeting_url is not None
    assert "teams.microsoft.com" in remote.meeting_url
    assert remote.ical_uid == TEAMS["iCalUId"]
    assert remote.attendees == (
        Attendee(email="ana@acme.example", name="Ana Ruiz"),
        Attendee(email="lee@partner.example", name=None),
        Attendee(email="alder@acme.example", name="Room Alder"),
    )
    assert list(json.loads(remote.raw)) == list(TEAMS)
    assert json.loads(remote.raw) == TEAMS


def test_occurrence() -> None:
    """An occurrence of a series is an event, its link the name of its place."""
    remote = event(OCCURRENCE)
    assert remote.start_at == datetime(2026, 12, 3, 8, tzinfo=UTC)
    assert remote.meeting_url == ZOOM_LINK


def test_exception() -> None:
    """A moved occurrence stands where it was moved to, however little else is said of it."""
    remote = event(EXCEPTION)
    assert remote.start_at == datetime(2026, 12, 10, 12, tzinfo=UTC)
    assert (remote.name, remote.attendees, remote.meeting_url) == ("Stand-up (late)", (), None)


def test_draft() -> None:
    """A draft stands in the calendar, and is an event like any other."""
    assert event(TEAMS, isDraft=True).name == "Quarterly review"


@pytest.mark.parametrize(
    "item",
    [
        TEAMS | {"isCancelled": True, "subject": "Canceled: Quarterly review"},
        {"id": "x", "isCancelled": True, "start": 5},
        MASTER,
        {"id": "AAMkDeletedAAA=", "@removed": {"reason": "deleted"}},
        {"id": "AAMkDeletedAAA=", "@removed": {"reason": "changed"}},
    ],
)
def test_cancelled(item: dict[str, Any]) -> None:
    """Cancelled by the organiser, removed, or a series: no event, and nothing else of it is looked at."""
    assert parsed(item) == Cancelled(item["id"])


@pytest.mark.parametrize("subject", ["Canceled: Vendor call", "Abgesagt: Vendor call"])
def test_cancelled_by_title_alone(subject: str) -> None:
    """A title that speaks of a cancellation cancels nothing."""
    assert event(TEAMS, subject=subject).name == subject


@pytest.mark.parametrize(
    ("links", "expected"),
    [
        ({}, "https://teams.microsoft.com/"),
        ({"onlineMeeting": None, "onlineMeetingUrl": MEET_LINK}, MEET_LINK),
        ({"onlineMeeting": {}, "location": {"displayName": MEET_LINK}}, MEET_LINK),
        ({"onlineMeeting": None, "location": {"locationUri": MEET_LINK}}, MEET_LINK),
        ({"onlineMeeting": None, "locations": [{"displayName": "Alder"}, {"locationUri": MEET_LINK}]}, MEET_LINK),
        ({"onlineMeeting": None, "subject": MEET_LINK}, ZOOM_LINK),
        ({"onlineMeeting": None, "body": None, "subject": f"Call {MEET_LINK}"}, MEET_LINK),
    ],
)
def test_link(links: dict[str, object], expected: str) -> None:
    """The link is looked for in the documented order: the meeting's own, then places, body and title."""
    found = event(TEAMS, **links).meeting_url
    assert found is not None
    assert found.startswith(expected)


def test_no_link() -> None:
    """Without a link anywhere there is none."""
    assert event(TEAMS, onlineMeeting=None, body=None).meeting_url is None


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (at("2026-12-07T00:00:00.0000000"), at("2026-12-09T00:00:00.0000000")),
        (at("2026-12-07T00:00:00.0000000", "W. Europe Standard Time"), at("2026-12-09T00:00:00.0000000", None)),
        (at("2026-12-07T09:00:00.0000000", "tzone://Microsoft/Custom"), at("2026-12-09T09:00:00.0000000")),
        (at("2026-12-07"), at("2026-12-09")),
    ],
)
def test_all_day(start: dict[str, Any], end: dict[str, Any]) -> None:
    """Of an all-day event the date parts count alone, whatever zone they are told in."""
    remote = event(ALL_DAY, start=start, end=end)
    assert (remote.start_on, remote.end_on) == (date(2026, 12, 7), date(2026, 12, 9))
    assert remote.start_at == datetime(2026, 12, 7, tzinfo=UTC)
    assert remote.end_at == datetime(2026, 12, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("edge", "expected"),
    [
        (at("2026-12-01T14:00:00.0000000"), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-12-01T14:00:00"), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.1234567"), datetime(2026, 12, 1, 14, 0, 0, 123_456, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.0000000Z", None), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-12-01T14:00:00+02:00", "No/Such"), datetime(2026, 12, 1, 12, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.0000000", "tzone://Microsoft/Utc"), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.0000000", "Europe/Berlin"), datetime(2026, 12, 1, 13, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.0000000", "W. Europe Standard Time"), datetime(2026, 12, 1, 13, tzinfo=UTC)),
        (at("2026-07-01T14:00:00.0000000", "W. Europe Standard Time"), datetime(2026, 7, 1, 12, tzinfo=UTC)),
        (at("2026-12-01T14:00:00.0000000", "India Standard Time"), datetime(2026, 12, 1, 8, 30, tzinfo=UTC)),
    ],
)
def test_times(edge: dict[str, Any], expected: datetime) -> None:
    """Every documented form of a time is understood, in UTC as we ask for it and in Windows' and IANA's zones."""
    remote = event(TEAMS, start=edge, end=edge)
    assert (remote.start_at, remote.end_at) == (expected, expected)
    assert remote.start_at.tzinfo is UTC


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (None, "It has no start."),
        ("2026-12-01", "It has no start."),
        ({}, "It has no start."),
        (at("2026-12-01"), "Its start can't be read: '2026-12-01'."),
        (at("2026-12-01T25:00:00"), "Its start can't be read: '2026-12-01T25:00:00'."),
        ({"dateTime": 1764597600}, "Its start can't be read: '1764597600'."),
        (
            at("0001-01-01T00:00:00.0000000Z"),
            "Its start only stands in for a time: '0001-01-01T00:00:00.0000000Z'.",
        ),
        (
            at("9999-12-31T23:59:59.9999999", "Etc/GMT+12"),
            "Its start only stands in for a time: '9999-12-31T23:59:59.9999999'.",
        ),
        (at("2026-12-01T14:00:00", None), "The time zone of its start is unknown: ''."),
        (at("2026-12-01T14:00:00", ""), "The time zone of its start is unknown: ''."),
        ({"dateTime": "2026-12-01T14:00:00", "timeZone": ["UTC"]}, "The time zone of its start is unknown: ''."),
        (
            at("2026-12-01T14:00:00", "tzone://Microsoft/Custom"),
            "The time zone of its start is unknown: 'tzone://Microsoft/Custom'.",
        ),
        (at("2026-12-01T14:00:00", "No Standard Time"), "The time zone of its start is unknown: 'No Standard Time'."),
        (at("2026-12-01T15:00:00.0000010"), "It ends before it starts."),
    ],
)
def test_unusable_times(start: object, reason: str) -> None:
    """An event without usable times is set aside, with a reason that says what is wrong; none is made up."""
    assert parsed({**TEAMS, "start": start}) == SetAside(TEAMS["id"], reason)


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        (None, "It has no end."),
        (at("2026-W50-1T00:00:00"), "Its end can't be read: '2026-W50-1T00:00:00'."),
        ({"dateTime": 20261209}, "Its end can't be read: '20261209'."),
        (at("9999-12-31T00:00:00"), "Its end only stands in for a date: '9999-12-31T00:00:00'."),
        (at("2026-12-06T00:00:00.0000000"), "It ends before it starts."),
    ],
)
def test_unusable_dates(end: object, reason: str) -> None:
    """The same holds for the dates of an all-day event."""
    assert parsed({**ALL_DAY, "end": end}) == SetAside(ALL_DAY["id"], reason)


def test_windows_zones() -> None:
    """Every zone that Windows has a name for is one that this installation knows."""
    assert len(IANA_ZONES) > 130
    for name in IANA_ZONES.values():
        assert ZoneInfo(name).key == name


@pytest.mark.parametrize(
    "item", [None, 5, "id", [], {}, {"id": None}, {"id": 5}, {"id": ""}, {"id": "a\0"}, {"id": "x" * 5_000}]
)
def test_no_id(item: object) -> None:
    """What has no id that could be stored is set aside without one."""
    assert set_aside(item).platform_uuid == ""


def test_wrong_types() -> None:
    """Wrong types in what an event can do without are survived."""
    remote = event(
        TEAMS,
        subject=5,
        body=["x"],
        location="Alder",
        locations=[None, "x", {"displayName": 5, "locationUri": []}],
        iCalUId=None,
        isAllDay="yes",
        isCancelled="no",
        onlineMeeting=[TEAMS_LINK],
        onlineMeetingUrl=7,
        attendees=[
            None,
            {"emailAddress": "ana@acme.example"},
            {"emailAddress": {"address": None}},
            {"emailAddress": {"name": "Ana", "address": "/O=ACME/OU=EXCHANGE/CN=RECIPIENTS/CN=ANA"}},
            {"emailAddress": {"name": ["x"], "address": "a@x.org"}},
        ],
    )
    assert (remote.name, remote.ical_uid, remote.meeting_url) == ("5", None, None)
    assert remote.attendees == (Attendee(email="a@x.org", name=None),)


@pytest.mark.parametrize("odd", [None, [], "x", 5, {}])
def test_null_lists(odd: object) -> None:
    """Null, and any other type, in place of lists and objects is as good as nothing."""
    remote = event(TEAMS, attendees=odd, onlineMeeting=odd, body=odd, location=odd, locations=odd, subject=None)
    assert (remote.attendees, remote.meeting_url, remote.name) == ((), None, "")


def test_text_that_postgresql_refuses() -> None:
    """NUL and lone surrogates never reach the database: neither in the fields nor, unescaped, in the raw object."""
    guests = [{"emailAddress": {"address": "x\0@y", "name": "\udfff"}}]
    remote = event(decode_json(json.dumps({**TEAMS, "subject": "a\0b\ud800", "attendees": guests}).encode()))
    assert remote.name == "ab�"
    assert remote.attendees == (Attendee(email="x@y", name="�"),)
    assert "\0" not in remote.raw
    remote.raw.encode()
    assert json.loads(remote.raw)["subject"] == "a\0b�"


def test_long_texts() -> None:
    """A body of megabytes is cut for storing, after the link at its very end has been found."""
    body = {"contentType": "html", "content": "ä " * 2_500_000 + ZOOM_LINK}
    item = {**TEAMS, "onlineMeeting": None, "body": body, "subject": "s" * 9_000, "bodyPreview": "p" * 9_000}
    remote = event(item)
    assert remote.meeting_url == ZOOM_LINK
    raw = json.loads(remote.raw)
    assert raw["body"] == {"contentType": "html", "content": "ä " * 4_000}
    assert raw["subject"] == remote.name == "s" * 8_000
    assert raw["bodyPreview"] == "p" * 8_000
    assert list(raw) == list(item)
    assert len(body["content"]) > 8_000


@pytest.mark.parametrize(
    "change",
    [
        {"@odata.etag": 'W/"2"', "changeKey": "2", "lastModifiedDateTime": "2026-11-22T00:00:00Z"},
        {"@odata.type": "#microsoft.graph.event"},
        {"calendar@odata.associationLink": "https://graph.microsoft.com/v1.0/users('ana')/calendars('AQ')/$ref"},
        dict(reversed(TEAMS.items())),
    ],
)
def test_same_fingerprint(change: dict[str, object]) -> None:
    """What no client should be told of, and the order of keys, change nothing."""
    assert event(dict(reversed({**TEAMS, **change}.items()))).fingerprint == event(TEAMS).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"subject": "Review"},
        {"start": at("2026-12-01T13:59:00.0000000")},
        {"isAllDay": True, "start": at("2026-12-01T00:00:00"), "end": at("2026-12-02T00:00:00")},
        {"attendees": TEAMS["attendees"][:2]},
        {"onlineMeeting": {"joinUrl": ZOOM_LINK}},
        {"body": {"contentType": "html", "content": "Agenda: words"}},
        {"isDraft": True},
        {"somethingNew": 1},
    ],
)
def test_other_fingerprint(change: dict[str, object]) -> None:
    """Anything else that a client can see makes another fingerprint."""
    assert event(TEAMS, **change).fingerprint != event(TEAMS).fingerprint


def test_fingerprint_of_a_link_beyond_the_cut() -> None:
    """A link that changes where the stored text no longer reaches is a change."""
    bodies = [{"content": "." * 9_000 + " " + link} for link in (ZOOM_LINK, f"{ZOOM_LINK}1")]
    first, second = (event(EXCEPTION, body=body) for body in bodies)
    assert first.raw == second.raw
    assert first.fingerprint != second.fingerprint


def test_what_json_cannot_hold() -> None:
    """An object too deep to be written again is set aside alone."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    assert "could not be read" in set_aside({**TEAMS, "deep": deep}).reason


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
ZONES = VALUES | st.sampled_from(["UTC", "Europe/Berlin", "W. Europe Standard Time", "tzone://Microsoft/Custom"])
TIMES = VALUES | st.datetimes().map(lambda moment: moment.isoformat()) | st.dates().map(str)
EDGES = VALUES | st.fixed_dictionaries({}, optional={"dateTime": TIMES, "timeZone": ZONES})
MAILBOXES = VALUES | st.fixed_dictionaries({"address": VALUES | st.emails(), "name": VALUES})
ATTENDEES = st.lists(st.fixed_dictionaries({"emailAddress": MAILBOXES}), max_size=3)
PLACES = VALUES | st.fixed_dictionaries({"displayName": VALUES, "locationUri": VALUES})
ITEMS = VALUES | st.fixed_dictionaries(
    {"id": VALUES | st.text(min_size=1), "start": EDGES, "end": EDGES},
    optional={
        **dict.fromkeys(("subject", "bodyPreview", "iCalUId", "onlineMeetingUrl", "isCancelled", "type"), VALUES),
        "isAllDay": VALUES | st.booleans(),
        "attendees": VALUES | ATTENDEES,
        "body": VALUES | st.fixed_dictionaries({"content": VALUES}),
        "location": PLACES,
        "locations": VALUES | st.lists(PLACES, max_size=2),
        "onlineMeeting": VALUES | st.fixed_dictionaries({"joinUrl": VALUES}),
    },
)


@settings(deadline=None)
@given(ITEMS)
def test_no_item_raises(item: object) -> None:
    """Whatever an item looks like, it becomes an event that can be stored, a cancellation, or is set aside."""
    remote = parsed(item)
    if isinstance(remote, RemoteEvent):
        assert remote.start_at <= remote.end_at
        texts = [remote.name, remote.raw, *(guest["email"] for guest in remote.attendees)]
        assert "\0" not in "".join(texts)
        "".join(texts).encode()
        orjson.loads(remote.raw)
