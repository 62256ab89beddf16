"""What every platform's module promises, shown on the sandbox: one class, to be run for each of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import aiohttp
import pytest

from attendee.model import (
    Cancelled,
    Credentials,
    DisconnectCode,
    PlatformCalendar,
    RemoteEvent,
    RemoteItem,
    SetAside,
    Window,
)
from attendee.providers.answers import TIMEOUT
from attendee.providers.port import (
    AccessRevoked,
    CalendarProvider,
    CursorExpired,
    OperatorFault,
    ProviderDown,
    RateLimited,
    TokenRejected,
    UnexpectedAnswer,
)
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Frequency, Rule
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.grants import DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET
from attendee.sandbox.world import AccountState, Person, Platform, World

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=28))


@dataclass(slots=True)
class Connected:
    """Somebody's primary calendar, what acts on it, and a mirror of it that is kept by pulls alone."""

    provider: CalendarProvider
    world: World
    person: Person
    credentials: Credentials
    access_token: str = ""
    cursor: str | None = None
    mirror: dict[str, RemoteEvent] = field(default_factory=dict)

    @property
    def calendar(self) -> Calendar:
        return self.person.primary

    @property
    def requests(self) -> int:
        """How many requests the calendar has had so far."""
        return sum(count for (target, _), count in self.world.requests.items() if target == self.calendar.id)

    async def refresh(self) -> None:
        self.access_token = (await self.provider.refresh(self.credentials, now=NOW)).access_token

    async def pull(self, *, calendar: str | None = None) -> list[RemoteItem]:
        """Every item from the cursor on, page by page; the mirror and the cursor follow."""
        position: str | None = self.provider.first_position(calendar=calendar, cursor=self.cursor, window=WINDOW)
        items: list[RemoteItem] = []
        while position is not None:
            page = await self.provider.page(self.access_token, position, calendar=calendar, window=WINDOW)
            items += page.items
            self.cursor = page.cursor or self.cursor
            lists_window = page.lists_window
            position = page.next_position
        if lists_window:
            self.mirror.clear()
        for item in items:
            if isinstance(item, RemoteEvent) and WINDOW.overlaps(item.start_at, item.end_at):
                self.mirror[item.platform_uuid] = item
            else:
                self.mirror.pop(item.platform_uuid, None)
        return items

    async def calendars(self) -> list[PlatformCalendar]:
        """Every calendar of the person's, page by page."""
        page = await self.provider.calendars(self.access_token, None)
        found = list(page.calendars)
        while page.next_position is not None:
            page = await self.provider.calendars(self.access_token, page.next_position)
            found += page.calendars
        return found

    def starts(self) -> dict[str, datetime]:
        """When the mirrored events start, by their name."""
        return {event.name: event.start_at for event in self.mirror.values()}


class ProviderContract:
    """Subclasses say which platform, and build its provider."""

    platform: ClassVar[Platform]

    def provider(
        self, http: aiohttp.ClientSession, sandbox: SandboxServer, *, limits: aiohttp.ClientTimeout = TIMEOUT
    ) -> CalendarProvider:
        raise NotImplementedError

    @pytest.fixture
    async def sandbox(self) -> AsyncIterator[SandboxServer]:
        async with SandboxServer(World(lambda: NOW)) as sandbox:
            yield sandbox

    @pytest.fixture
    async def http(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
            yield http

    @pytest.fixture
    async def connected(self, http: aiohttp.ClientSession, sandbox: SandboxServer) -> Connected:
        """A calendar with one event, tomorrow's review; connected, and not pulled yet."""
        person = sandbox.world.add_person("ana@acme.example", platform=self.platform)
        refresh_token = sandbox.world.authorise(person)
        credentials = Credentials(DEFAULT_CLIENT_ID, DEFAULT_CLIENT_SECRET, refresh_token)
        connected = Connected(self.provider(http, sandbox), sandbox.world, person, credentials)
        connected.calendar.put("review", starts=NOW + timedelta(days=1), title="Review")
        await connected.refresh()
        return connected

    async def test_first_pull(self, connected: Connected) -> None:
        """The first pull lists the window, what is running included, and ends with a cursor."""
        connected.calendar.put("running", starts=WINDOW.start_at - timedelta(minutes=10), title="Running")
        connected.calendar.put("over", starts=WINDOW.start_at - timedelta(hours=1), title="Over")
        connected.calendar.put("later", starts=WINDOW.until, title="Later")
        await connected.pull()
        assert connected.starts() == {
            "Review": NOW + timedelta(days=1),
            "Running": WINDOW.start_at - timedelta(minutes=10),
        }
        assert connected.cursor is not None

    async def test_quiet_pull(self, connected: Connected) -> None:
        """With nothing changed a pull is one request and no item, however often."""
        await connected.pull()
        for _ in range(3):
            before = connected.requests
            assert await connected.pull() == []
            assert connected.requests == before + 1

    async def test_changes(self, connected: Connected) -> None:
        """What is put, moved, cancelled or deleted shows in the next pull."""
        await connected.pull()
        connected.calendar.put("lunch", starts=NOW + timedelta(days=2), title="Lunch")
        await connected.pull()
        assert connected.starts() == {"Review": NOW + timedelta(days=1), "Lunch": NOW + timedelta(days=2)}
        connected.calendar.move("lunch", starts=NOW + timedelta(days=3))
        await connected.pull()
        assert connected.starts() == {"Review": NOW + timedelta(days=1), "Lunch": NOW + timedelta(days=3)}
        connected.calendar.cancel("lunch")
        await connected.pull()
        assert connected.starts() == {"Review": NOW + timedelta(days=1)}
        connected.calendar.delete("review")
        await connected.pull()
        assert connected.starts() == {}

    async def test_series(self, connected: Connected) -> None:
        """Of a series every occurrence in the window is an event of its own; one may be moved, another cancelled."""
        first = NOW + timedelta(days=1)
        days = [first + timedelta(days=day) for day in range(3)]
        connected.calendar.delete("review")
        connected.calendar.put("daily", starts=first, rule=Rule(frequency=Frequency.DAILY, count=3), title="Daily")
        await connected.pull()
        assert sorted(event.start_at for event in connected.mirror.values()) == days
        connected.calendar.cancel_occurrence("daily", days[1])
        connected.calendar.move_occurrence("daily", days[2], starts=days[2] + timedelta(hours=1))
        await connected.pull()
        assert sorted(event.start_at for event in connected.mirror.values()) == [
            days[0],
            days[2] + timedelta(hours=1),
        ]

    async def test_moved_out_of_the_window(self, connected: Connected) -> None:
        """An event that was moved beyond the window is still there when asked for by its id."""
        await connected.pull()
        (review,) = connected.mirror
        connected.calendar.move("review", starts=WINDOW.until + timedelta(days=1))
        await connected.pull()
        assert connected.mirror == {}
        event = await connected.provider.event(connected.access_token, review, calendar=None)
        assert isinstance(event, RemoteEvent)
        assert event.start_at == WINDOW.until + timedelta(days=1)

    async def test_gone(self, connected: Connected) -> None:
        """An event that was deleted is gone when asked for by its id, and stays so when the platform forgets it."""
        await connected.pull()
        (review,) = connected.mirror
        connected.calendar.delete("review")
        event = connected.provider.event
        assert await event(connected.access_token, review, calendar=None) == Cancelled(review)
        connected.calendar.forget("review")
        assert await event(connected.access_token, review, calendar=None) == Cancelled(review)

    async def test_same_event_both_ways(self, connected: Connected) -> None:
        """An event asked for by its id looks as in a listing, or each would be taken for a change of the other."""
        await connected.pull()
        (listed,) = connected.mirror.values()
        alone = await connected.provider.event(connected.access_token, listed.platform_uuid, calendar=None)
        assert isinstance(alone, RemoteEvent)
        assert alone.fingerprint == listed.fingerprint

    async def test_many_pages(self, connected: Connected) -> None:
        """All pages are read, empty ones in between too, and the cursor at their end knows them all."""
        for number in range(1_050):
            connected.calendar.put(starts=NOW + timedelta(minutes=number), title=str(number))
        connected.world.faults.switch_on(connected.calendar.id, FaultKind.EMPTY_PAGES, times=1)
        await connected.pull()
        assert len(connected.mirror) == 1_051
        assert connected.requests > 2
        assert await connected.pull() == []

    async def test_bad_event(self, connected: Connected) -> None:
        """One event without times is set aside with a reason, and stops no other."""
        connected.calendar.put_raw("odd", {"id": "odd"})
        items = await connected.pull()
        assert [item.platform_uuid for item in items if isinstance(item, SetAside) and item.reason] == ["odd"]
        assert connected.starts() == {"Review": NOW + timedelta(days=1)}

    async def test_expired_cursor(self, connected: Connected) -> None:
        """A cursor that the platform has dropped is told as such; without it the window is listed again."""
        await connected.pull()
        connected.calendar.expire_cursors()
        with pytest.raises(CursorExpired):
            await connected.pull()
        connected.cursor = None
        await connected.pull()
        assert connected.starts() == {"Review": NOW + timedelta(days=1)}
        assert await connected.pull() == []

    async def test_expired_access_token(self, connected: Connected) -> None:
        """An access token that has ended asks for a fresh one, which works."""
        connected.world.grants.expire_access_tokens(connected.person.email)
        with pytest.raises(TokenRejected):
            await connected.pull()
        await connected.refresh()
        await connected.pull()

    async def test_revoked(self, connected: Connected) -> None:
        """A user who withdrew the consent is told as such."""
        connected.world.revoke(connected.person)
        with pytest.raises(AccessRevoked) as caught:
            await connected.refresh()
        assert caught.value.code is DisconnectCode.CONSENT_REVOKED

    @pytest.mark.parametrize("state", [AccountState.DELETED, AccountState.CALENDAR_OFF])
    async def test_account_lost(self, connected: Connected, state: AccountState) -> None:
        """An account that is gone, or has no calendar any more, is told as such."""
        connected.person.state = state
        with pytest.raises(AccessRevoked) as caught:  # noqa: PT012 -- which of the two refuses is the platform's affair.
            await connected.refresh()
            await connected.pull()
        assert caught.value.code in {DisconnectCode.ACCOUNT_GONE, DisconnectCode.MAILBOX_UNAVAILABLE}

    async def test_calendar_lost(self, connected: Connected) -> None:
        """A calendar that was deleted is told as such, though the account is well."""
        team = connected.world.add_calendar(connected.person, "team#1@acme.example", name="Team")
        team.put(starts=NOW, title="Planning")
        await connected.pull(calendar=team.id)
        assert connected.starts() == {"Planning": NOW}
        connected.world.remove_calendar(team)
        with pytest.raises(AccessRevoked) as caught:
            await connected.pull(calendar=team.id)
        assert caught.value.code is DisconnectCode.CALENDAR_NOT_FOUND

    async def test_calendars(self, connected: Connected) -> None:
        """All of the user's calendars are read, on many pages if need be; each can be pulled by the id it has there."""
        team = connected.world.add_calendar(connected.person, "team#1@acme.example", name="Team")
        team.put(starts=NOW, title="Planning")
        for number in range(500):
            connected.world.add_calendar(connected.person, f"project{number}@acme.example", name=f"Project {number}")
        found = await connected.calendars()
        assert len(found) == 502
        assert [one for one in found if one.is_primary] == [found[0]]
        (listed,) = [one for one in found if one.name == "Team"]
        await connected.pull(calendar=listed.platform_uuid)
        assert connected.starts() == {"Planning": NOW}

    async def test_calendars_refused(self, connected: Connected) -> None:
        """What keeps the calendars from being read is told as it is for events."""
        connected.world.faults.switch_on(connected.person.email, FaultKind.THROTTLED, retry_after=17)
        with pytest.raises(RateLimited):
            await connected.calendars()
        connected.world.faults.switch_off()
        connected.world.faults.switch_on(connected.person.email, FaultKind.WRONG_TYPES)
        with pytest.raises(UnexpectedAnswer):
            await connected.calendars()
        connected.world.faults.switch_off()
        connected.world.grants.expire_access_tokens(connected.person.email)
        with pytest.raises(TokenRejected):
            await connected.calendars()

    async def test_operator_fault(self, connected: Connected) -> None:
        """A wrong client secret is the operator's fault, and stays out of the message."""
        connected.credentials = replace(connected.credentials, client_secret="hunter2")
        with pytest.raises(OperatorFault) as caught:
            await connected.refresh()
        assert "hunter2" not in str(caught.value)

    async def test_throttled(self, connected: Connected) -> None:
        """A platform that asks for a pause is understood, and how long it is to be."""
        connected.world.faults.switch_on(connected.person.email, FaultKind.THROTTLED, retry_after=17)
        with pytest.raises(RateLimited) as caught:
            await connected.pull()
        assert caught.value.retry_after == timedelta(seconds=17)

    @pytest.mark.parametrize("place", [Place.CALENDAR, Place.TOKENS])
    @pytest.mark.parametrize(
        "kind",
        [
            FaultKind.SERVER_ERROR,
            FaultKind.RESET,
            FaultKind.NOT_JSON,
            FaultKind.TRUNCATED,
            FaultKind.WRONG_TYPES,
        ],
    )
    async def test_trouble(self, connected: Connected, kind: FaultKind, place: Place) -> None:
        """Trouble of the platform's is no word on the calendar; when it is over, everything goes on."""
        await connected.pull()
        connected.calendar.put("lunch", starts=NOW, title="Lunch")
        connected.world.faults.switch_on(connected.person.email, kind, place=place)
        with pytest.raises((ProviderDown, UnexpectedAnswer)):
            await (connected.pull() if place is Place.CALENDAR else connected.refresh())
        connected.world.faults.switch_off()
        await connected.refresh()
        await connected.pull()
        assert connected.starts() == {"Review": NOW + timedelta(days=1), "Lunch": NOW}

    @pytest.mark.parametrize("place", [Place.CALENDAR, Place.TOKENS])
    async def test_hang(
        self, connected: Connected, http: aiohttp.ClientSession, sandbox: SandboxServer, place: Place
    ) -> None:
        """A platform that hangs is given up when the time for it is over."""
        connected.provider = self.provider(http, sandbox, limits=aiohttp.ClientTimeout(total=0.1))
        connected.world.faults.switch_on(connected.person.email, FaultKind.HANG, place=place)
        with pytest.raises(ProviderDown):
            await (connected.pull() if place is Place.CALENDAR else connected.refresh())
