"""What platforms answer us, spoilt by Hypothesis: nothing of it is our own fault, and no calendar gets stuck.

A sandbox answers, and between it and us some answers are spoilt: fields are missing, odd, of another type or there
twice, whole answers are something else. `make fuzz` tries many more; `FUZZ` is how many.
"""

import copy
import json
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass, replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attendee.meetings import find_meeting_url
from attendee.model import CalendarId, CalendarState, Credentials, Platform, RemoteEvent, Window
from attendee.providers.google import GoogleCalendar
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.providers.port import CalendarProvider, Page, ProviderError
from attendee.sandbox.entries import Guest
from attendee.sandbox.world import Person
from attendee.store import claims, tables
from tests.api.serving import served_app
from tests.fuzzing import HOSTILE, Site, open_site, some
from tests.installation import START, Installation, installation

_LINK = "https://meet.google.com/abc-defg-hij"
# JSON that nests so deeply that Python can't hold it is written in the place of these words.
_DEEP = {"deep enough to be kept": 250, "too deep to be kept": 290, "too deep to be read": 5_000}
_ODD: list[Any] = [
    *HOSTILE,
    *_DEEP,
    *(None, True, False, 0, -1, 0.5, 10**30, float("inf"), float("nan"), [], {}, [[]], {"": None}, [{}, None, 1]),
    *(".", "..", "a/b?c#d", "%00", "\u00e9" * 1_000, "x" * 10_000, "a\nb", " "),
    *("0001-01-01T00:00:00Z", "0001-01-01", "9999-12-31T23:59:59.9999999", "9999-12-31", "2026-13-01T00:00:00Z"),
    *("2026-12-02T10:00:00", "2026-12-02T10:00:00+23:59", "2026-12-02T24:00:00Z", "20261202T100000Z", "2026-12-02"),
    *("Europe/Berlin", "Europe", "Nowhere/At all", "tzone://Microsoft/Custom", "W. Europe Standard Time"),
    *("cancelled", "tentative", "seriesMaster", "exception", "RRULE:FREQ=NEVER;COUNT=-1"),
    *({"dateTime": "0001-01-01T00:00:10Z"}, {"date": "0001-01-01"}, {"date": "9999-12-31"}, {"dateTime": 5}),
    *({"dateTime": "0001-01-02T00:00:00", "timeZone": "Pacific/Kiritimati"}, {"date": "2026-12-03"}),
    *("http://127.0.0.1:1/elsewhere", "https://[", "javascript:alert(1)", "https://zoom.us/j/" + "9" * 3_000),
]
# Statuses that are no word on anybody's consent, whatever comes with them.
_STATUSES = [200, 204, 302, 304, 400, 403, 404, 410, 413, 429, 500, 503]


@dataclass(frozen=True)
class Change:
    """One thing that is done to a place in a JSON value."""

    place: int
    act: str
    value: Any

    def spoil(self, body: Any) -> None:
        """Every other time it is one of the few outermost places, any one else."""
        number, is_any = divmod(self.place, 2)
        places = list(_places(body, deeply=bool(is_any)))
        if not places:
            return
        inside, key = places[number % len(places)]
        here = inside[key]
        if key in {"scope", "access_token", "refresh_token"}:
            # They are believed: a consent without the calendar, and tokens that are refused when they are used.
            return
        match self.act:
            case "replace":
                inside[key] = copy.deepcopy(self.value)
            case "remove":
                del inside[key]
            case "again" if isinstance(inside, list):
                inside.append(copy.deepcopy(here))
            case "again":
                inside[key] = [here, copy.deepcopy(here)]
            case "cut":
                inside[key] = here[: len(here) // 2] if isinstance(here, str | list) else None


def _places(value: Any, *, deeply: bool) -> Iterator[tuple[Any, Any]]:
    for key in list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield value, key
        if deeply:
            yield from _places(value[key], deeply=True)


@dataclass(frozen=True)
class Spoilt:
    """How an answer is spoilt: in some places, or with `instead` as a whole."""

    changes: Sequence[Change]
    instead: tuple[int, Any] | None

    def of(self, status: int, content: bytes) -> Response:
        body = json.loads(content) if content.strip() else None
        for change in self.changes:
            change.spoil(body)
        if self.instead is not None:
            status, body = self.instead
        # As Python writes it: with lone surrogates, NaN, and numbers that fit nowhere.
        text = json.dumps(body)
        for name, depth in _DEEP.items():
            text = text.replace(f'"{name}"', "[" * depth + "]" * depth)
        return Response(b"" if status in {204, 304} else text, status, media_type="application/json")


@dataclass
class Spoiling:
    """Stands before a platform: of its answers the first is spoilt like this, the next like that, over and over."""

    app: ASGIApp
    plan: Sequence[Spoilt | None] = ()
    answered: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        spoilt = self.plan[self.answered % len(self.plan)] if self.plan else None
        self.answered += 1
        if spoilt is None:
            await self.app(scope, receive, send)
            return
        sent: list[Message] = []

        async def keep(message: Message) -> None:
            sent.append(message)

        await self.app(scope, receive, keep)
        content = b"".join(message.get("body", b"") for message in sent)
        await spoilt.of(sent[0]["status"], content)(scope, receive, send)


_changes = st.builds(
    Change,
    st.integers(0, 2**48),
    st.sampled_from(["replace", "replace", "replace", "remove", "again", "cut"]),
    st.sampled_from(_ODD),
)
_instead = st.tuples(st.sampled_from(_STATUSES), st.sampled_from(_ODD))
_spoilt = st.builds(Spoilt, st.lists(_changes, min_size=1, max_size=12), st.none() | st.none() | _instead)


@pytest.fixture
async def here(fuzzed_url: str) -> AsyncGenerator[Installation]:
    async with installation(fuzzed_url, lead=timedelta(minutes=5)) as here:
        yield here


class Scene:
    """An installation, its site, and both platforms through what stands before them.

    No dataclass, or Hypothesis would write all of it out for each example that fails.
    """

    def __init__(
        self, here: Installation, site: Site, before: Spoiling, providers: Mapping[Platform, CalendarProvider]
    ) -> None:
        self.here, self.site, self.before, self.providers = here, site, before, providers

    @property
    def spoilt(self) -> Installation:
        """The installation, asking the platforms through what stands before them."""
        return replace(self.here, pipeline=replace(self.here.pipeline, providers=self.providers))

    def lead_on(self, next_token: Callable[[], Awaitable[str]]) -> None:
        """Has every listing of Google's answered with an empty page that names another."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if not scope["path"].endswith("/events"):
                await self.here.sandbox.app(scope, receive, send)
                return
            page = {"items": [], "nextPageToken": await next_token()}
            await Response(json.dumps(page), media_type="application/json")(scope, receive, send)

        self.before.app = answer


@pytest.fixture
async def scene(here: Installation) -> AsyncGenerator[Scene]:
    before = Spoiling(here.sandbox.app)
    async with (
        served_app(before) as url,
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http,
    ):
        google, microsoft = f"{url}/google", f"{url}/microsoft"
        providers: dict[Platform, CalendarProvider] = {
            Platform.GOOGLE: GoogleCalendar(
                http=http, api_url=google, token_url=f"{google}/token", find_meeting_url=find_meeting_url
            ),
            Platform.MICROSOFT: MicrosoftCalendar(
                http=http,
                graph_url=f"{microsoft}/v1.0",
                token_url=f"{microsoft}/common/oauth2/v2.0/token",
                find_meeting_url=find_meeting_url,
            ),
        }
        yield Scene(here, await open_site(here), before, providers)


def _busy_person(here: Installation, platform: Platform, *, name: str) -> Person:
    """Somebody whose calendar has one of everything."""
    person = here.world.add_person(f"{name}@{platform.value}.example", platform=platform.value)
    guests = (Guest(email="ben@acme.example", name="Ben"), Guest(email="room@acme.example", room=True))
    day = here.clock() + timedelta(days=5)
    person.primary.put("meeting", starts=day, title="Meeting", location=_LINK, guests=guests, description="<b>Hi</b>")
    person.primary.put("other", starts=day + timedelta(hours=2), title="Other")
    person.primary.put("day", starts=day.date(), title="All day")
    person.primary.put("moved", starts=day + timedelta(hours=4), location=_LINK, zone="Europe/Berlin")
    return person


def _texts(value: Any) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        yield from _texts(asdict(value))
    elif isinstance(value, dict):
        yield from _texts(list(value.values()))
    elif isinstance(value, list | tuple):
        for entry in value:
            yield from _texts(entry)
    elif isinstance(value, str):
        yield value


def _check_storable(value: Any) -> None:
    """PostgreSQL takes no NUL, nothing takes half a surrogate pair, and pages show times in zones east and west."""
    for text in _texts(value):
        assert "\0" not in text
        text.encode()
    pages = value if isinstance(value, tuple) else (value,)
    for item in [item for page in pages for item in (page.items if isinstance(page, Page) else [page])]:
        if isinstance(item, RemoteEvent):
            assert item.start_at <= item.end_at
            assert item.start_at - timedelta(days=1) < item.end_at + timedelta(days=1)
            json.loads(item.raw)


@pytest.mark.parametrize("platform", Platform)
@some(100)
@given(plan=st.lists(_spoilt, min_size=1, max_size=3), is_refused=st.booleans())
async def test_any_answer_is_understood_or_unexpected(
    *,
    scene: Scene,
    platform: Platform,
    plan: list[Spoilt],
    is_refused: bool,
) -> None:
    """Every request that we make, answered well or refused, and spoilt: what comes out can be stored and shown.

    All that may be raised is what `port` names, in words that can be stored too and hold no secret.
    """
    here, before, provider = scene.here, scene.before, scene.providers[platform]
    person = here.world.people.get(f"ana@{platform.value}.example") or _busy_person(here, platform, name="ana")
    credentials = Credentials("sandbox-client", "sandbox-secret", here.world.authorise(person))
    window = Window(START, START + timedelta(days=28))
    now = here.clock()
    before.plan = ()
    token = "not-the-token" if is_refused else (await provider.refresh(credentials, now=now)).access_token
    if is_refused:
        credentials = replace(credentials, refresh_token="not-the-refresh-token")

    async def first_pages() -> Any:
        position = provider.first_position(calendar=None, cursor=None, window=window)
        page = await provider.page(token, position, calendar=None, window=window)
        if page.next_position is not None:
            return page, await provider.page(token, page.next_position, calendar=None, window=window)
        return page

    calls: list[Callable[[], Awaitable[Any]]] = [
        lambda: provider.refresh(credentials, now=now),
        first_pages,
        lambda: provider.event(token, "meeting", calendar=None),
        lambda: provider.event(token, "nowhere", calendar=None),
        lambda: provider.calendars(token, None),
        lambda: provider.watch(
            token, calendar=None, address=f"{here.sandbox.url}/nowhere", secret="channel-secret", now=now
        ),
        lambda: provider.prolong(token, "nowhere", now=now),
        lambda: provider.unwatch(token, "nowhere", resource_id="resource"),
    ]
    told: list[str] = []
    before.plan, before.answered = plan, 0
    for call in calls:
        try:
            answer = await call()
        except ProviderError as error:
            answer = str(error)
            told.append(answer)
        _check_storable(answer)
    assert all(len(words) < 2_000 for words in told)
    secrets = (token, credentials.refresh_token, credentials.client_secret, "channel-secret")
    assert not [secret for secret in secrets if secret in " ".join(told)]


@pytest.mark.parametrize("platform", Platform)
@some(8)
@given(plan=st.lists(st.none() | _spoilt, min_size=1, max_size=8), was_well=st.booleans())
async def test_no_answer_gets_a_calendar_stuck(
    *,
    scene: Scene,
    platform: Platform,
    plan: list[Spoilt | None],
    was_well: bool,
) -> None:
    """A day of spoilt answers disconnects nobody and breaks no page.

    Once they are well again so is the calendar, and after the next listing its events are the platform's.
    """
    here, before = scene.here, scene.before
    here.clock.at = START
    spoilt = scene.spoilt
    person = _busy_person(here, platform, name=f"p{len(here.world.people)}")
    before.plan, before.answered = (), 0
    calendar = await here.connect(person)
    if was_well:
        calendar = await spoilt.sync_when_due(calendar.id)
        for stored in (await here.events(calendar.id)).values():
            await here.order_bot(stored)
    before.plan = plan
    person.primary.move("moved", starts=here.clock() + timedelta(days=6))
    for pause in (timedelta(), timedelta(minutes=30), timedelta(hours=25)):
        here.clock.advance(pause)
        calendar = await spoilt.sync_when_due(calendar.id)
        assert calendar.state is CalendarState.CONNECTED, calendar.connection_failure_data
        assert "This service failed" not in (calendar.last_error or "")
    await _look(scene.site, calendar.id)

    before.plan = ()
    person.primary.edit("other", title="In the end")
    calendar = await spoilt.sync_when_due(calendar.id)
    assert (calendar.state, calendar.last_error, calendar.attempts) == (CalendarState.CONNECTED, None, 0)
    here.clock.advance(timedelta(hours=25))
    await spoilt.sync_when_due(calendar.id)
    twin = await here.sync((await here.connect(person)).id)
    assert await _standing(here, calendar.id) == await _standing(here, twin.id)


async def test_pages_that_lead_in_a_circle_are_given_up(scene: Scene) -> None:
    """Two pages that name each other as the next one: trouble at the platform, and no work without end."""
    here, listings = scene.here, 0

    async def one_of_two() -> str:
        nonlocal listings
        listings += 1
        return f"page-{listings % 2}"

    scene.lead_on(one_of_two)
    calendar = await here.connect(_busy_person(here, Platform.GOOGLE, name="ana"))
    calendar = await scene.spoilt.sync_when_due(calendar.id)
    assert (calendar.state, listings) == (CalendarState.CONNECTED, 3)
    assert calendar.last_error == "The platform leads from page to page in a circle."


async def test_a_failure_here_and_there_among_many_requests_is_asked_again(scene: Scene) -> None:
    """Each absent event is asked for by its id, and once more if that fails: the sync ends well."""
    here, asked = scene.here, Counter[str]()

    async def shaky(scope: Scope, receive: Receive, send: Send) -> None:
        asked[scope["path"]] += 1
        if "/events/" in scope["path"] and asked[scope["path"]] == 1:
            await Response("Bad Gateway", status_code=502)(scope, receive, send)
            return
        await here.sandbox.app(scope, receive, send)

    person = here.world.add_person("ana@acme.example")
    for number in range(12):
        person.primary.put(f"event-{number}", starts=here.clock() + timedelta(days=2, hours=number))
    spoilt = scene.spoilt
    calendar = await spoilt.sync_when_due((await here.connect(person)).id)
    scene.before.app = shaky
    for number in range(1, 12):
        person.primary.move(f"event-{number}", starts=here.clock() + timedelta(days=90))
    here.clock.advance(timedelta(hours=25))
    calendar = await spoilt.sync_when_due(calendar.id)
    assert (calendar.last_error, calendar.attempts) == (None, 0)
    assert sum("/events/" in path for path in asked) == 11
    far = here.clock() + timedelta(days=60)
    gone_far = [row for row in (await here.events(calendar.id)).values() if row.start_time > far]
    assert len(gone_far) == 11


async def test_pages_without_end_are_given_up(scene: Scene) -> None:
    """After a quarter of an hour, in which nobody else could claim the calendar; then it is tried again, as ever."""
    here, claimed_beside = scene.here, 0

    async def another() -> str:
        nonlocal claimed_beside
        here.clock.advance(claims.LEASE * 3 / 4)
        async with here.database.transaction() as tx:
            claimed_beside += len(await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=1))
        return here.clock().isoformat()

    scene.lead_on(another)
    began_at = here.clock()
    calendar = await here.connect(_busy_person(here, Platform.GOOGLE, name="ana"))
    calendar = await scene.spoilt.sync_when_due(calendar.id)
    assert (calendar.state, claimed_beside) == (CalendarState.CONNECTED, 0)
    assert calendar.last_error == "Reading the calendar took more than 15 minutes."
    assert timedelta(minutes=15) < here.clock() - began_at < timedelta(minutes=17)
    assert calendar.due_at is not None
    assert calendar.due_at - here.clock() < timedelta(minutes=1)


async def _standing(here: Installation, calendar_id: CalendarId) -> dict[str, tuple[Any, ...]]:
    """What a client sees of the events that stand, but for those that are set aside.

    That is what becomes of an id that the platform made up and then refuses: nobody can say what has become of it.
    """
    of_calendar = tables.set_aside_events.c.calendar_id == calendar_id
    set_aside = {row.platform_uuid for row in await here.rows(tables.set_aside_events, of_calendar)}
    return {
        uuid: (stored.name, stored.start_time, stored.end_time, stored.meeting_url, stored.attendees)
        for uuid, stored in (await here.events(calendar_id)).items()
        if not stored.is_deleted and uuid not in set_aside
    }


async def _look(site: Site, calendar_id: CalendarId) -> None:
    """Every page and answer that shows the calendar and its events."""
    project = f"/projects/{site.here.project_id}"
    for path in (project, f"{project}/calendars", f"{project}/calendars/{calendar_id}", f"{project}/bots"):
        await site.visit(path)
    for stored in (await site.here.events(calendar_id)).values():
        await site.visit(f"{project}/events/{stored.id}")
    for path in (
        f"/calendar_events?calendar_id={calendar_id}",
        f"/calendars/{calendar_id}",
        f"/calendars/{calendar_id}/export",
    ):
        await site.read(path)
