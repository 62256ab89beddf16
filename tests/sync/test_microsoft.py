"""Microsoft 365 and Outlook.com as a sync meets them: what it costs, what is believed, what disconnects a calendar."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import quote, unquote

import aiohttp
import orjson
import pytest
from sqlalchemy import event as sqlalchemy_event

from attendee.meetings import find_meeting_url
from attendee.model import CalendarState, Platform, Trigger
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.sandbox.entries import Frequency, Guest, Rule, Slot
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.microsoft_ids import calendar_id, event_id
from attendee.sandbox.world import AccountState, Person
from attendee.store import tables
from attendee.store.calendars import Calendar
from tests.installation import START, Installation, NotDue, installation

_LINK = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_AbC%40thread.v2/0?context=%7b%22Tid%22%3a%2284bd%22%7d"
_TOMORROW = START + timedelta(days=1)
_LISTING_IS_DUE = timedelta(hours=24)
_TOKEN_IS_OLD = timedelta(hours=2)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def mia(here: Installation) -> Person:
    """A person with an empty calendar at Microsoft."""
    return here.world.add_person("mia@acme.example", platform="microsoft")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of ours to Graph, as it went out; `path` is still encoded."""

    path: str
    query: str
    preferences: str


@asynccontextmanager
async def _listening(here: Installation) -> AsyncIterator[list[Asked]]:
    """Every request to Graph that the pipeline makes meanwhile."""
    asked: list[Asked] = []

    async def note(_session: object, _context: object, start: aiohttp.TraceRequestStartParams) -> None:
        if start.method == "GET":
            path = start.url.raw_path.removeprefix("/microsoft/v1.0")
            asked.append(Asked(path, start.url.raw_query_string, start.headers.get("Prefer", "")))

    trace = aiohttp.TraceConfig()
    trace.on_request_start.append(note)
    former = here.pipeline
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        provider = MicrosoftCalendar(
            http=http,
            graph_url=f"{here.sandbox.microsoft_url}/v1.0",
            token_url=f"{here.sandbox.microsoft_url}/common/oauth2/v2.0/token",
            find_meeting_url=find_meeting_url,
        )
        here.pipeline = replace(former, providers={**former.providers, Platform.MICROSOFT: provider})
        try:
            yield asked
        finally:
            here.pipeline = former


@contextmanager
def _statements(here: Installation) -> Iterator[list[str]]:
    """Every statement that runs meanwhile, on the connections that write and on those that read."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engines = {engine.sync_engine for engine in (here.database.engine, here.database._reader)}
    for engine in engines:
        sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            sqlalchemy_event.remove(engine, "before_cursor_execute", note)


def _id(person: Person, name: str, slot: Slot | None = None) -> str:
    """The immutable id under which Graph gives out an entry, or one of its occurrences."""
    return event_id(person.email, person.email, name, slot=slot, immutable=True)


def _item(id: str, **fields: Any) -> dict[str, Any]:
    """An event in Graph's shape, tomorrow, with other fields on top."""
    return {
        "id": id,
        "type": "singleInstance",
        "subject": id,
        "isCancelled": False,
        "start": {"dateTime": "2026-12-02T09:00:00.0000000", "timeZone": "UTC"},
        "end": {"dateTime": "2026-12-02T10:00:00.0000000", "timeZone": "UTC"},
        **fields,
    }


def _requests(here: Installation, person: Person) -> dict[str, int]:
    """How often the events of the person's own calendar were asked for, by the kind of request."""
    counted = {kind: times for (target, kind), times in here.world.requests.items() if target == person.primary.id}
    counted.pop("calendars", None)  # The list of calendars is no request for events; it comes with full listings.
    return counted


async def _connected(here: Installation, person: Person) -> Calendar:
    """The person's calendar after its first sync, the counts of requests back at nothing."""
    calendar = await here.sync((await here.connect(person)).id)
    assert calendar.last_error is None
    here.world.requests.clear()
    return calendar


async def _told_events(here: Installation) -> list[dict[str, Any]]:
    return [body["data"]["events"] for body in await here.told(Trigger.CALENDAR_EVENTS_UPDATE)]


# What a sync costs, and what it believes.


async def test_a_quiet_calendar_costs_one_request(here: Installation, mia: Person) -> None:
    """With nothing changed, one request is made and no statement touches the events, however often it is asked."""
    for number in range(250):
        mia.primary.put(f"event{number}", starts=START + timedelta(hours=number), title=f"Event {number}")
    mia.primary.put("stand-up", starts=_TOMORROW, rule=Rule(frequency=Frequency.DAILY), title="Stand-up")
    calendar = await _connected(here, mia)
    stored = await here.events(calendar.id)
    assert len(stored) > 250

    for turn in range(1, 4):
        with _statements(here) as statements:
            synced = await here.sync(calendar.id)
        assert dict(here.world.requests) == {(mia.primary.id, "delta"): turn}
        assert statements, "the claim and its settling are seen"
        assert not [statement for statement in statements if re.search(r"\bevents\b", statement)]
        assert (synced.last_error, synced.attempts) == (None, 0)
    assert await here.events(calendar.id) == stored


async def test_a_change_rings_the_bell_once(here: Installation, mia: Person) -> None:
    """However much has changed, the delta is asked once and the window is listed once; then all is quiet again."""
    for number in range(5):
        mia.primary.put(f"event{number}", starts=_TOMORROW, title="Before")
    calendar = await _connected(here, mia)

    mia.primary.edit("event0", title="After")
    mia.primary.delete("event1")
    mia.primary.put("event5", starts=_TOMORROW)
    await here.sync(calendar.id)
    assert _requests(here, mia) == {"delta": 1, "list": 1, "event": 1}
    stored = await here.events(calendar.id)
    assert {id for id, row in stored.items() if not row.is_deleted} == {
        _id(mia, f"event{number}") for number in (0, 2, 3, 4, 5)
    }
    assert stored[_id(mia, "event0")].name == "After"

    await here.sync(calendar.id)
    assert _requests(here, mia) == {"delta": 2, "list": 1, "event": 1}


async def test_what_a_delta_says_is_never_stored(here: Installation, mia: Person) -> None:
    """Masters, bare occurrences and removals come with a delta; only whole events of the listing are stored."""
    first = START - timedelta(days=300)
    guest = Guest(email="lee@partner.example", name="Lee")
    daily = Rule(frequency=Frequency.DAILY)
    mia.primary.put("stand-up", starts=first, rule=daily, title="Stand-up", location=_LINK, guests=(guest,))
    calendar = await _connected(here, mia)
    slot = first + timedelta(days=302)
    mia.primary.cancel_occurrence("stand-up", slot)
    mia.primary.edit("stand-up", title="Daily")
    mia.primary.put("far", starts=START + timedelta(days=200))
    mia.primary.delete("far")
    await here.sync(calendar.id)

    stored = await here.events(calendar.id)
    standing = {id: row for id, row in stored.items() if not row.is_deleted}
    assert set(stored) - set(standing) == {_id(mia, "stand-up", slot)}
    listed = {_id(mia, "stand-up", START + timedelta(days=day)) for day in range(-1, 30)}
    assert set(standing) == listed - {_id(mia, "stand-up", slot)}, "neither the master nor what lies far ahead"
    for row in standing.values():
        raw = orjson.loads(row.raw)
        assert raw["type"] == "occurrence"
        assert "@odata.type" not in raw
        assert (row.name, row.meeting_url) == ("Daily", _LINK)
        assert [attendee["email"] for attendee in orjson.loads(row.attendees)] == ["lee@partner.example"]
    assert await here.rows(tables.set_aside_events) == []


async def test_immutable_ids_are_asked_for_with_every_request(here: Installation, mia: Person) -> None:
    """Deltas, listings, their further pages and single events alike: every request names the kind of id and the zone.

    So an event that is moved to another calendar and back is the one that it was.
    """
    team = here.world.add_calendar(mia, "team", name="Team")
    for number in range(250):
        mia.primary.put(f"event{number}", starts=_TOMORROW + timedelta(minutes=number), title=f"Event {number}")
    async with _listening(here) as asked:
        calendar = await _connected(here, mia)
        before = await here.events(calendar.id)
        mia.primary.delete("event0")
        mia.primary.transfer("event1", to=team)
        await here.sync(calendar.id)
        team.transfer("event1", to=mia.primary)
        mia.primary.edit("event2", title="Edited")
        await here.sync(calendar.id)

    pages = [(one.path.rpartition("/")[2], "skip" in one.query) for one in asked]
    assert {("delta", False), ("delta", True), ("calendarView", False), ("calendarView", True)} <= set(pages)
    assert any("/events/" in one.path for one in asked)
    assert all('IdType="ImmutableId"' in one.preferences for one in asked)
    assert all('outlook.timezone="UTC"' in one.preferences for one in asked)
    after = await here.events(calendar.id)
    assert set(after) == set(before) == {_id(mia, f"event{number}") for number in range(250)}
    assert {id for id, row in after.items() if row.is_deleted} == {_id(mia, "event0")}
    assert after[_id(mia, "event1")].id == before[_id(mia, "event1")].id


async def test_only_is_cancelled_cancels(here: Installation, mia: Person) -> None:
    """A copy that the organiser cancelled is deleted though it still stands there; a mere subject means nothing."""
    for name in ("cancelled", "named"):
        mia.primary.put(name, starts=_TOMORROW, title="Vendor call")
    mia.primary.put("never-seen", starts=_TOMORROW, title="Vendor call")
    mia.primary.cancel("never-seen")
    calendar = await _connected(here, mia)
    assert set(await here.events(calendar.id)) == {_id(mia, "cancelled"), _id(mia, "named")}

    mia.primary.cancel("cancelled")
    mia.primary.edit("named", title="Canceled: Vendor call")
    await here.sync(calendar.id)
    stored = await here.events(calendar.id)
    fates = {id: (row.is_deleted, row.name) for id, row in stored.items()}
    assert fates == {
        _id(mia, "cancelled"): (True, "Vendor call"),
        _id(mia, "named"): (False, "Canceled: Vendor call"),
    }
    assert here.world.requests[mia.primary.id, "event"] == 0, "what the listing says need not be asked for"


async def test_a_master_is_no_event(here: Installation, mia: Person) -> None:
    """An event that has become a series is gone, for its occurrences are events of their own; so is its waiting bot."""
    mia.primary.put_raw("becomes", _item("becomes", location={"displayName": _LINK}))
    mia.primary.put_raw("master", _item("master", type="seriesMaster"))
    calendar = await _connected(here, mia)
    (event,) = (await here.events(calendar.id)).values()
    assert event.platform_uuid == "becomes"
    await here.order_bot(event)

    mia.primary.put_raw("becomes", _item("becomes", type="seriesMaster", location={"displayName": _LINK}))
    synced = await here.sync(calendar.id)
    assert synced.last_error is None
    assert [(row.platform_uuid, row.is_deleted) for row in await here.rows(tables.events)] == [("becomes", True)]
    assert await here.rows(tables.bots) == []


async def test_ids_of_any_letters(here: Installation, mia: Person) -> None:
    """Ids with / + = are stored as they are and asked for in the form that Graph takes; their case tells them apart."""
    addresses = {"AAMkA-b_C=": "AAMkA/b+C=", "AAMkA-b_c=": "AAMkA/b+c="}
    for address, id in addresses.items():
        mia.primary.put_raw(address, _item(id))
    async with _listening(here) as asked:
        calendar = await _connected(here, mia)
        stored = await here.events(calendar.id)
        assert set(stored) == set(addresses.values())

        here.clock.advance(_LISTING_IS_DUE)
        here.world.faults.switch_on(mia.primary.id, FaultKind.EMPTY_LISTING, times=1)
        synced = await here.sync(calendar.id)
    assert {one.path for one in asked if "/events/" in one.path} == {
        f"/me/events/{quote(address, safe='')}" for address in addresses
    }
    assert synced.last_error is None
    assert await here.events(calendar.id) == stored, "both were found, and are what they were"


async def test_another_calendar_than_the_default(here: Installation, mia: Person) -> None:
    """A calendar is synced by its own id, apart from the default one; when it is deleted, that is what is said."""
    team = here.world.add_calendar(mia, "team/1+1", name="Team")
    mia.primary.put("own", starts=_TOMORROW)
    for name in ("retro", "gone", "moved"):
        team.put(name, starts=_TOMORROW, location=_LINK)
    graph_id = calendar_id(mia.email, team.id)
    async with _listening(here) as asked:
        calendar = await here.connect(mia, platform_uuid=graph_id)
        await here.sync(calendar.id)
        team.move("moved", starts=START + timedelta(days=80))
        team.transfer("gone", to=mia.primary)
        synced = await here.sync(calendar.id)
    assert synced.last_error is None
    paths = {unquote(one.path) for one in asked} - {"/me/calendars"}
    assert all(path.startswith(f"/me/calendars/{graph_id}/") for path in paths)
    assert any("/events/" in one.path for one in asked)
    assert here.world.requests[mia.primary.id, "list"] == 0
    fates = {row.platform_uuid: (row.is_deleted, row.start_time) for row in await here.rows(tables.events)}
    assert fates == {
        _id(mia, "retro"): (False, _TOMORROW),
        _id(mia, "gone"): (True, _TOMORROW),
        _id(mia, "moved"): (False, START + timedelta(days=80)),
    }

    here.world.remove_calendar(team)
    lost = await here.sync(calendar.id)
    assert lost.connection_failure_data is not None
    assert (lost.state, lost.connection_failure_data["code"]) == (CalendarState.DISCONNECTED, "calendar_not_found")


async def test_absent_is_not_deleted(here: Installation, mia: Person) -> None:
    """What a listing lacks is asked for by its id: moved out of the window is an update, gone is deleted."""
    for name in ("moves", "goes", "stays"):
        mia.primary.put(name, starts=START + timedelta(days=5), title=name)
    calendar = await _connected(here, mia)
    here.clock.advance(_LISTING_IS_DUE)
    mia.primary.move("moves", starts=START + timedelta(days=90))
    mia.primary.forget("goes")
    await here.sync(calendar.id)
    assert here.world.requests[mia.primary.id, "event"] == 2
    stored = await here.events(calendar.id)
    deleted = {name: stored[_id(mia, name)].is_deleted for name in ("moves", "goes", "stays")}
    assert deleted == {"moves": False, "goes": True, "stays": False}
    assert stored[_id(mia, "moves")].start_time == START + timedelta(days=90)


async def test_an_event_moved_to_another_calendar_is_gone(here: Installation, mia: Person) -> None:
    """Microsoft finds it by its id in whatever calendar it is; no listing of ours has it, so it goes, and its bot."""
    team = here.world.add_calendar(mia, "team@acme.example", name="Team")
    for name in ("leaves", "stays"):
        mia.primary.put(name, starts=START + timedelta(days=2), location=_LINK)
    calendar = await _connected(here, mia)
    stored = await here.events(calendar.id)
    leaving = stored[_id(mia, "leaves")]
    await here.order_bot(leaving)
    mia.primary.transfer("leaves", to=team)
    await here.sync(calendar.id)
    after = {row.id: row.is_deleted for row in (await here.events(calendar.id)).values()}
    assert after == {row.id: row.id == leaving.id for row in stored.values()}
    assert await here.rows(tables.bots) == []


async def test_an_event_whose_id_is_no_longer_one_is_gone(here: Installation, mia: Person) -> None:
    """Microsoft never says that it is: once two listings lack it, it goes, and its bot; one that was left out stays."""
    for name in ("goes", "is left out"):
        mia.primary.put_raw(name, _item(name, location={"displayName": _LINK}))
    calendar = await _connected(here, mia)
    for row in (await here.events(calendar.id)).values():
        await here.order_bot(row)
    del mia.primary.entries["goes"]
    here.world.faults.switch_on(mia.primary.id, FaultKind.EMPTY_LISTING, times=1)
    here.clock.advance(_LISTING_IS_DUE)
    synced = await here.sync(calendar.id)
    assert synced.last_error is None
    stored = await here.events(calendar.id)
    assert {name: row.is_deleted for name, row in stored.items()} == {"goes": True, "is left out": False}
    assert [row.event_id for row in await here.rows(tables.bots)] == [stored["is left out"].id]

    here.world.requests.clear()
    await here.sync(calendar.id)
    assert here.world.requests[mia.primary.id, "event"] == 0, "it is not asked for over and over"


async def test_two_calendars_ask_their_mailbox_no_more_than_four_things_at_once(
    here: Installation, mia: Person
) -> None:
    """More is refused by Graph: each asks for its many absent events two at a time."""
    team = here.world.add_calendar(mia, "team", name="Team")
    both = [mia.primary, team]
    for number in range(30):
        for on_platform in both:
            on_platform.put(f"event{number}", starts=START + timedelta(days=5))
    connected = [await here.connect(mia), await here.connect(mia, platform_uuid=calendar_id(mia.email, team.id))]
    for calendar in connected:
        await here.sync(calendar.id)
    for number in range(25):
        for on_platform in both:
            on_platform.delete(f"event{number}")
    here.world.faults.switch_on(mia.email, FaultKind.LATENCY, seconds=0.005)
    for synced in await asyncio.gather(*(here.sync(calendar.id) for calendar in connected)):
        assert synced.last_error is None
        assert sum(row.is_deleted for row in (await here.events(synced.id)).values()) == 25
    assert [here.world.requests[on_platform.id, "event"] for on_platform in both] == [25, 25]
    assert here.world.busiest[mia.email] == 4


# What goes wrong at Graph.


@pytest.mark.parametrize(
    "variant", ["SyncStateNotFound", "bare", "resyncRequired", "location", "400", "badSyncRequest"]
)
async def test_a_link_that_is_refused_costs_one_listing(here: Installation, mia: Person, variant: str) -> None:
    """Whether 410 or 400 says that a delta link is dead: a new one is taken and the window listed, once; no change."""
    for number in range(3):
        mia.primary.put(f"event{number}", starts=_TOMORROW)
    calendar = await _connected(here, mia)
    stored = await here.events(calendar.id)

    here.world.faults.switch_on(mia.primary.id, FaultKind.EXPIRED_CURSOR, times=1, variant=variant)
    synced = await here.sync(calendar.id)
    assert _requests(here, mia) == {"delta": 1, "first_delta": 1, "list": 1}
    assert synced.last_error is None
    assert await here.events(calendar.id) == stored

    here.world.requests.clear()
    await here.sync(calendar.id)
    assert dict(here.world.requests) == {(mia.primary.id, "delta"): 1}


@pytest.mark.parametrize("variant", ["TooManyRequests", "ApplicationThrottled", "activityLimitReached"])
async def test_a_throttled_calendar_is_held(here: Installation, mia: Person, variant: str) -> None:
    """Nothing wakes it before the time that Graph named has passed; it stays connected and goes on after that."""
    calendar = await _connected(here, mia)
    mia.primary.put("event", starts=_TOMORROW)
    here.world.faults.switch_on(mia.email, FaultKind.THROTTLED, times=1, variant=variant, retry_after=1800)
    held = await here.sync(calendar.id)
    assert held.state is CalendarState.CONNECTED
    assert held.last_error is not None
    assert await here.events(calendar.id) == {}

    here.clock.advance(timedelta(seconds=1799))
    with pytest.raises(NotDue):
        await here.claim(calendar.id)
    here.clock.advance(timedelta(seconds=1))
    synced = await here.sync(calendar.id)
    assert (synced.last_error, synced.attempts) == (None, 0)
    assert set(await here.events(calendar.id)) == {_id(mia, "event")}


async def test_a_retry_after_of_a_second_is_not_taken_at_its_word(here: Installation, mia: Person) -> None:
    """Graph names a single second over and over: with every refusal our own pause grows beyond it."""
    calendar = await _connected(here, mia)
    here.world.faults.switch_on(mia.email, FaultKind.THROTTLED, retry_after=1)
    pauses: list[timedelta] = []
    for _ in range(5):
        held = await here.sync(calendar.id)
        assert held.claimed_until is not None
        pauses.append(held.claimed_until - here.clock())
        here.clock.at = held.claimed_until
    assert pauses == sorted(pauses)
    assert pauses[0] > timedelta(seconds=1)
    assert pauses[-1] > timedelta(minutes=1)


_TROUBLE: list[tuple[FaultKind, int]] = [
    (FaultKind.NOT_JSON, 200),
    (FaultKind.TRUNCATED, 200),
    (FaultKind.WRONG_TYPES, 200),
    (FaultKind.RESET, 200),
    *((FaultKind.SERVER_ERROR, status) for status in (500, 502, 503, 504, 509)),
]


@pytest.mark.parametrize("place", [Place.CALENDAR, Place.TOKENS])
async def test_trouble_never_disconnects(here: Installation, mia: Person, place: Place) -> None:
    """HTML, half an answer, another shape, a cut line and every 5xx pass, on a new calendar as on an old one."""
    mia.primary.put("event", starts=_TOMORROW, location=_LINK)
    calendar = await here.connect(mia)
    for _ in range(2):
        for kind, status in _TROUBLE:
            here.world.faults.switch_on(mia.email, kind, place=place, status=status)
            failed = await here.sync(calendar.id)
            assert failed.state is CalendarState.CONNECTED, (kind, status)
            assert failed.last_error, (kind, status)
            here.world.faults.switch_off()
            here.clock.advance(_TOKEN_IS_OLD)
        healed = await here.sync(calendar.id)
        assert (healed.state, healed.last_error, healed.attempts) == (CalendarState.CONNECTED, None, 0)
        assert [row.is_deleted for row in (await here.events(calendar.id)).values()] == [False]
        here.clock.advance(_TOKEN_IS_OLD)
    assert await here.told(Trigger.CALENDAR_STATE_CHANGE) == []


async def test_claims_that_are_demanded_are_asked_for(here: Installation, mia: Person) -> None:
    """After a change of policy only a token with the claims of the challenge is good: one refresh, and all goes on."""
    mia.primary.put("event", starts=_TOMORROW, location=_LINK)
    calendar = await _connected(here, mia)
    here.world.grants.claims_demanded.add(mia.email)
    refreshed = here.world.requests[mia.email, "token"]
    synced = await here.sync(calendar.id)
    assert (synced.state, synced.last_error) == (CalendarState.CONNECTED, None)
    assert here.world.requests[mia.email, "token"] == refreshed + 1


async def test_a_mailbox_that_is_not_there(here: Installation, mia: Person) -> None:
    """Without a mailbox at Exchange Online the calendar is disconnected with that word, and its waiting bots go."""
    await here.subscribe()
    mia.primary.put("event", starts=_TOMORROW, location=_LINK)
    calendar = await _connected(here, mia)
    (event,) = (await here.events(calendar.id)).values()
    await here.order_bot(event)

    mia.state = AccountState.CALENDAR_OFF
    lost = await here.sync(calendar.id)
    assert lost.state is CalendarState.DISCONNECTED
    assert lost.due_at is None
    (told,) = await here.told(Trigger.CALENDAR_STATE_CHANGE)
    assert told["data"]["connection_failure_data"]["code"] == "mailbox_unavailable"
    assert await here.rows(tables.bots) == []

    mia.state = AccountState.ACTIVE
    back = await here.sync(calendar.id)
    assert (back.state, back.last_error) == (CalendarState.CONNECTED, None)


# Who has to act when no token is to be had.

_CODES = {
    "consent_revoked": ("AADSTS50173", "AADSTS700082", "AADSTS65001", "invalid_grant"),
    "reauth_required": ("AADSTS50076", "AADSTS50132", "AADSTS70043", "interaction_required"),
    "account_gone": ("AADSTS50057", "AADSTS50034"),
    "blocked_by_admin": ("AADSTS53003", "AADSTS90094", "AADSTS700016", "AADSTS500014"),
    "client_invalid": ("AADSTS7000215", "AADSTS7000222", "AADSTS50194", "invalid_client"),
}


@pytest.mark.parametrize(("word", "refusals"), _CODES.items(), ids=_CODES)
async def test_the_word_says_who_must_act(
    here: Installation, mia: Person, word: str, refusals: tuple[str, ...]
) -> None:
    """A user, an admin and an operator find three different words on a calendar that has never synced."""
    for refusal in refusals:
        calendar = await here.connect(mia)
        here.world.faults.switch_on(mia.email, FaultKind.REFUSED, place=Place.TOKENS, times=1, variant=refusal)
        refused = await here.sync(calendar.id)
        assert refused.state is CalendarState.DISCONNECTED, refusal
        assert refused.connection_failure_data is not None
        assert refused.connection_failure_data["code"] == word, refusal
        assert refusal.removeprefix("AADSTS") in refused.connection_failure_data["error"]


@pytest.mark.parametrize("refusal", _CODES["client_invalid"])
async def test_an_operators_fault_costs_no_calendar_that_has_synced(
    here: Installation, mia: Person, refusal: str
) -> None:
    """An expired secret shows on the calendar and is retried for as long as it takes; bots and events stay."""
    await here.subscribe()
    mia.primary.put("event", starts=_TOMORROW, location=_LINK)
    calendar = await _connected(here, mia)
    (event,) = (await here.events(calendar.id)).values()
    bot = await here.order_bot(event)

    here.world.faults.switch_on(mia.email, FaultKind.REFUSED, place=Place.TOKENS, variant=refusal)
    for _ in range(3):
        here.clock.advance(_TOKEN_IS_OLD)
        failed = await here.sync(calendar.id)
        assert failed.state is CalendarState.CONNECTED
        assert failed.last_error is not None
        assert refusal.removeprefix("AADSTS") in failed.last_error
        assert failed.due_at == here.clock() + timedelta(hours=1)
    assert await here.told(Trigger.CALENDAR_STATE_CHANGE) == []
    assert [row.id for row in await here.rows(tables.bots)] == [bot.id]

    here.world.faults.switch_off()
    healed = await here.sync(calendar.id)
    assert (healed.last_error, healed.attempts) == (None, 0)


@pytest.mark.parametrize("refusal", ["AADSTS50033", "AADSTS80001", "AADSTS90033", "AADSTS50196"])
async def test_passing_trouble_under_the_word_of_a_dead_grant(here: Installation, mia: Person, refusal: str) -> None:
    """Some outages come as invalid_grant or invalid_request: the number tells, and not even a new calendar is lost."""
    calendar = await here.connect(mia)
    here.world.faults.switch_on(mia.email, FaultKind.REFUSED, place=Place.TOKENS, times=1, variant=refusal)
    failed = await here.sync(calendar.id)
    assert failed.state is CalendarState.CONNECTED
    assert failed.last_error is not None
    here.clock.advance(_TOKEN_IS_OLD)
    assert (await here.sync(calendar.id)).last_error is None
