"""What becomes of Google's events, the odd ones among them."""

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attendee.meetings import MeetingLinks
from attendee.model import Attendee, Cancelled, RemoteEvent, RemoteItem, SetAside
from attendee.providers.answers import decode_json
from attendee.providers.google_events import parse_item

FIND_MEETING_URL = MeetingLinks().find_meeting_url

ONLINE: dict[str, Any] = {
    "kind": "calendar#event",
    "etag": '"3590001112220000"',
    "id": "4rs0k2b7d1m9n8v6t5u3q2p1oa",
    "status": "confirmed",
    "updated": "2026-11-20T16:40:11.310Z",
    "summary": "Quarterly review",
    "description": "Agenda:<br><ul><li>numbers</li></ul> https://acme.zoom.us/j/98765432100",
    "location": "Room Alder",
    "organizer": {"email": "ben@acme.example", "displayName": "Ben Ott"},
    "start": {"dateTime": "2026-12-01T15:00:00+01:00", "timeZone": "Europe/Berlin"},
    "end": {"dateTime": "2026-12-01T16:00:00+01:00", "timeZone": "Europe/Berlin"},
    "iCalUID": "4rs0k2b7d1m9n8v6t5u3q2p1oa@google.com",
    "sequence": 1,
    "attendees": [
        {"email": "ben@acme.example", "displayName": "Ben Ott", "organizer": True, "responseStatus": "accepted"},
        {"email": "ana@acme.example", "self": True, "responseStatus": "needsAction"},
        {"email": "c_188alder@resource.calendar.google.com", "displayName": "Room Alder", "resource": True},
    ],
    "hangoutLink": "https://meet.google.com/kzr-tmqe-xbw",
    "conferenceData": {
        "conferenceId": "kzr-tmqe-xbw",
        "entryPoints": [
            {"entryPointType": "phone", "uri": "tel:+49-30-5550100", "pin": "123456789"},
            {"entryPointType": "video", "uri": "https://meet.google.com/kzr-tmqe-xbw"},
        ],
    },
    "reminders": {"useDefault": True},
    "eventType": "default",
}
MOVED_INSTANCE: dict[str, Any] = {
    "id": "7h2f9c0kq3_20261203T080000Z",
    "status": "confirmed",
    "summary": "Stand-up",
    "recurringEventId": "7h2f9c0kq3",
    "originalStartTime": {"dateTime": "2026-12-03T09:00:00+01:00", "timeZone": "Europe/Berlin"},
    "start": {"dateTime": "2026-12-03T10:30:00+01:00", "timeZone": "Europe/Berlin"},
    "end": {"dateTime": "2026-12-03T10:45:00+01:00", "timeZone": "Europe/Berlin"},
    "iCalUID": "7h2f9c0kq3@google.com",
    "conferenceData": {
        "conferenceSolution": {"key": {"type": "addOn"}, "name": "Zoom Meeting"},
        "entryPoints": [{"entryPointType": "video", "uri": "https://acme.zoom.us/j/98765432100?pwd=Zm9v"}],
    },
}
ALL_DAY: dict[str, Any] = {
    "id": "aaa111bbb222",
    "status": "confirmed",
    "summary": "Offsite",
    "start": {"date": "2026-12-07"},
    "end": {"date": "2026-12-09"},
    "transparency": "transparent",
}
WORKING_LOCATION: dict[str, Any] = {
    "id": "wl0123_20261207",
    "status": "confirmed",
    "summary": "Home",
    "start": {"date": "2026-12-07"},
    "end": {"date": "2026-12-08"},
    "eventType": "workingLocation",
    "workingLocationProperties": {"type": "homeOffice", "homeOffice": {}},
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


def at(text: str, zone: str | None = None) -> dict[str, str]:
    return {"dateTime": text} | ({"timeZone": zone} if zone else {})


def test_online_meeting() -> None:
    """An event comes out in our words: times in UTC, all who are invited, the conference's link before the text's."""
    remote = event(ONLINE)
    assert remote.platform_uuid == "4rs0k2b7d1m9n8v6t5u3q2p1oa"
    assert remote.name == "Quarterly review"
    assert remote.start_at == datetime(2026, 12, 1, 14, tzinfo=UTC)
    assert remote.end_at == datetime(2026, 12, 1, 15, tzinfo=UTC)
    assert remote.start_at.tzinfo is UTC
    assert (remote.start_on, remote.end_on) == (None, None)
    assert remote.meeting_url == "https://meet.google.com/kzr-tmqe-xbw"
    assert remote.ical_uid == "4rs0k2b7d1m9n8v6t5u3q2p1oa@google.com"
    assert remote.attendees == (
        Attendee(email="ben@acme.example", name="Ben Ott"),
        Attendee(email="ana@acme.example", name=None),
        Attendee(email="c_188alder@resource.calendar.google.com", name="Room Alder"),
    )
    assert list(json.loads(remote.raw)) == list(ONLINE)
    assert json.loads(remote.raw) == ONLINE


def test_moved_instance() -> None:
    """An instance of a series stands where it was moved to."""
    remote = event(MOVED_INSTANCE)
    assert remote.start_at == datetime(2026, 12, 3, 9, 30, tzinfo=UTC)
    assert remote.meeting_url is not None
    assert "98765432100" in remote.meeting_url


@pytest.mark.parametrize(("item", "end_on"), [(ALL_DAY, date(2026, 12, 9)), (WORKING_LOCATION, date(2026, 12, 8))])
def test_all_day(item: dict[str, Any], end_on: date) -> None:
    """An all-day event keeps its dates, and begins and ends at UTC midnight of them."""
    remote = event(item)
    assert (remote.start_on, remote.end_on) == (date(2026, 12, 7), end_on)
    assert remote.start_at == datetime(2026, 12, 7, tzinfo=UTC)
    assert remote.end_at == datetime(end_on.year, end_on.month, end_on.day, tzinfo=UTC)


@pytest.mark.parametrize(
    "item",
    [
        ONLINE | {"status": "cancelled"},
        {"id": "9z8y7x6w5v", "status": "cancelled"},
        {"id": "7h2_2026", "status": "cancelled", "recurringEventId": "7h2", "originalStartTime": at("2026-12-10")},
        {"id": "x", "status": "cancelled", "start": {"date": "0000-00-00"}, "end": 5, "summary": []},
    ],
)
def test_cancelled(item: dict[str, Any]) -> None:
    """A cancellation needs an id and nothing else: what else it says is not even looked at."""
    assert parsed(item) == Cancelled(item["id"])


@pytest.mark.parametrize(
    ("edge", "expected"),
    [
        (at("2026-12-01T15:00:00Z"), datetime(2026, 12, 1, 15, tzinfo=UTC)),
        (at("2026-12-01t15:00:00z"), datetime(2026, 12, 1, 15, tzinfo=UTC)),
        (at("2026-12-01T15:00:00.5Z"), datetime(2026, 12, 1, 15, 0, 0, 500_000, tzinfo=UTC)),
        (at("2026-12-01T15:00:00.123456789Z"), datetime(2026, 12, 1, 15, 0, 0, 123_456, tzinfo=UTC)),
        (at("2026-12-01T15:00:00-05:30"), datetime(2026, 12, 1, 20, 30, tzinfo=UTC)),
        (at("2026-12-01T15:00:00+01:00", "No/Such"), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-12-01T15:00:00", "Europe/Berlin"), datetime(2026, 12, 1, 14, tzinfo=UTC)),
        (at("2026-07-01T15:00:00", "Europe/Berlin"), datetime(2026, 7, 1, 13, tzinfo=UTC)),
    ],
)
def test_times(edge: dict[str, str], expected: datetime) -> None:
    """Every documented form of a time is understood; the zone only matters where there is no offset."""
    remote = event(ONLINE, start=edge, end=edge)
    assert (remote.start_at, remote.end_at) == (expected, expected)


@pytest.mark.parametrize(
    ("start", "reason"),
    [
        (None, "It has no start."),
        ("2026-12-01", "It has no start."),
        ({}, "It has no start."),
        ({"date": None, "dateTime": None}, "It has no start."),
        ({"date": "2026-13-01"}, "Its start can't be read: '2026-13-01'."),
        ({"date": "2026-W49-2"}, "Its start can't be read: '2026-W49-2'."),
        ({"date": "20261201"}, "Its start can't be read: '20261201'."),
        ({"date": 20261201}, "Its start can't be read: '20261201'."),
        (at("2026-12-01"), "Its start can't be read: '2026-12-01'."),
        (at("2026-12-01T25:00:00Z"), "Its start can't be read: '2026-12-01T25:00:00Z'."),
        (at("99999-12-01T15:00:00Z"), "Its start can't be read: '99999-12-01T15:00:00Z'."),
        ({"dateTime": 1764597600}, "Its start can't be read: '1764597600'."),
        (
            at("0001-01-01T00:00:00+01:00"),
            "Its start only stands in for a time: '0001-01-01T00:00:00+01:00'.",
        ),
        ({"date": "0001-01-01"}, "Its start only stands in for a date: '0001-01-01'."),
        (at("2026-12-01T15:00:00"), "The time zone of its start is unknown: ''."),
        (at("2026-12-01T15:00:00", "No/Such"), "The time zone of its start is unknown: 'No/Such'."),
        (at("2026-12-01T15:00:00", "Europe"), "The time zone of its start is unknown: 'Europe'."),
        (at("2026-12-01T15:00:00", "../etc"), "The time zone of its start is unknown: '../etc'."),
        ({"date": "2026-12-01"}, "Only one of its start and end has a time of day."),
        (at("2026-12-01T16:00:01+01:00"), "It ends before it starts."),
    ],
)
def test_unusable_times(start: object, reason: str) -> None:
    """An event without usable times is set aside, with a reason that says what is wrong; none is made up."""
    assert parsed({**ONLINE, "start": start}) == SetAside(ONLINE["id"], reason)


def test_no_end() -> None:
    """An event without an end is set aside too."""
    assert set_aside({**ONLINE, "end": None}).reason == "It has no end."


@pytest.mark.parametrize(
    "item",
    [
        None,
        5,
        "id",
        [],
        {},
        {"id": None},
        {"id": 5},
        {"id": ""},
        {"id": "a\0"},
        {"id": ".."},
        {"id": "a/b"},
        {"id": "x" * 5_000},
    ],
)
def test_no_id(item: object) -> None:
    """What has no id that could be stored is set aside without one."""
    assert set_aside(item).platform_uuid == ""


def test_wrong_types() -> None:
    """Wrong types in what an event can do without are survived."""
    remote = event(
        ONLINE,
        summary=5,
        description=["x"],
        location={"a": 1},
        iCalUID=None,
        hangoutLink=7,
        conferenceData={"entryPoints": [None, "x", {"entryPointType": "video"}, {"entryPointType": "video", "uri": 1}]},
        attendees=[None, "ana@acme.example", {"email": 5}, {"email": ""}, {"displayName": "X"}, {"email": "a@x.org"}],
    )
    assert (remote.name, remote.ical_uid, remote.meeting_url) == ("5", None, None)
    assert remote.attendees == (Attendee(email="a@x.org", name=None),)


@pytest.mark.parametrize("odd", [None, [], "x", 5, {}])
def test_null_lists(odd: object) -> None:
    """Null, and any other type, in place of lists and objects is as good as nothing."""
    remote = event(ONLINE, attendees=odd, conferenceData=odd, hangoutLink=None, description=None, summary=None)
    assert (remote.attendees, remote.meeting_url, remote.name) == ((), None, "")


def test_text_that_postgresql_refuses() -> None:
    """NUL and lone surrogates never reach the database: neither in the fields nor, unescaped, in the raw object."""
    body = json.dumps({**ONLINE, "summary": "a\0b\ud800", "attendees": [{"email": "x\0@y", "displayName": "\udfff"}]})
    remote = event(decode_json(body.encode()))
    assert remote.name == "ab�"
    assert remote.attendees == (Attendee(email="x@y", name="�"),)
    assert "\0" not in remote.raw
    remote.raw.encode()
    assert json.loads(remote.raw)["summary"] == "a\0b�"


def test_long_texts() -> None:
    """A description of megabytes is cut for storing, after the link at its very end has been found."""
    link = "https://acme.zoom.us/j/98765432100"
    item = {**MOVED_INSTANCE, "conferenceData": None, "description": "ä " * 2_500_000 + link, "summary": "s" * 9_000}
    remote = event(item)
    assert remote.meeting_url == link
    raw = json.loads(remote.raw)
    assert raw["description"] == "ä " * 4_000
    assert raw["summary"] == remote.name == "s" * 8_000
    assert list(raw) == list(item)


@pytest.mark.parametrize(
    "change",
    [
        {"etag": '"2"', "updated": "2026-11-22T00:00:00Z", "sequence": 2, "reminders": {"useDefault": False}},
        dict(reversed(ONLINE.items())),
    ],
)
def test_same_fingerprint(change: dict[str, object]) -> None:
    """What no client should be told of, and the order of keys, change nothing."""
    assert event(dict(reversed({**ONLINE, **change}.items()))).fingerprint == event(ONLINE).fingerprint


@pytest.mark.parametrize(
    "change",
    [
        {"summary": "Review"},
        {"start": at("2026-12-01T14:59:00+01:00")},
        {"start": at("2026-12-01T14:00:00Z")},
        {"attendees": [*ONLINE["attendees"], {"email": "lee@partner.example"}]},
        {"hangoutLink": "https://meet.google.com/abc-defg-hij"},
        {"somethingNew": 1},
    ],
)
def test_other_fingerprint(change: dict[str, object]) -> None:
    """Anything else that a client can see makes another fingerprint."""
    assert event(ONLINE, **change).fingerprint != event(ONLINE).fingerprint


def test_fingerprint_of_a_link_beyond_the_cut() -> None:
    """A link that changes where the stored text no longer reaches is a change."""
    links = ["https://acme.zoom.us/j/98765432100", "https://acme.zoom.us/j/98765432111"]
    bare = {**MOVED_INSTANCE, "conferenceData": None}
    first, second = (event(bare, description="." * 9_000 + " " + link) for link in links)
    assert first.raw == second.raw
    assert first.fingerprint != second.fingerprint


def test_what_json_cannot_hold() -> None:
    """An object too deep to be written again is set aside alone."""
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]
    assert "could not be read" in set_aside({**ONLINE, "deep": deep}).reason


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
EDGES = VALUES | st.fixed_dictionaries(
    {},
    optional={
        "date": VALUES | st.dates().map(str),
        "dateTime": VALUES | st.datetimes().map(lambda moment: moment.isoformat() + "+14:00"),
        "timeZone": VALUES | st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
    },
)
ATTENDEES = st.lists(st.fixed_dictionaries({"email": VALUES, "displayName": VALUES}), max_size=3)
ENTRY_POINTS = st.lists(st.fixed_dictionaries({"entryPointType": st.just("video"), "uri": VALUES}), max_size=2)
ITEMS = VALUES | st.fixed_dictionaries(
    {"id": VALUES | st.text(min_size=1), "start": EDGES, "end": EDGES},
    optional={
        **dict.fromkeys(("status", "summary", "description", "location", "iCalUID", "hangoutLink"), VALUES),
        "attendees": VALUES | ATTENDEES,
        "conferenceData": VALUES | st.fixed_dictionaries({"entryPoints": VALUES | ENTRY_POINTS}),
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


@settings(deadline=None)
@given(VALUES)
def test_any_json_is_decoded(value: object) -> None:
    """Whatever JSON Python writes is read again, and can then be written as UTF-8."""
    orjson.dumps(decode_json(json.dumps(value).encode()))
