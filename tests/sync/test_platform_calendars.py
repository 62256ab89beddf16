"""The user's calendars at the platform: when a worker reads them, and that they are never worth a failed sync."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from attendee.meetings import find_meeting_url
from attendee.model import CalendarId, CalendarState, DisconnectCode, Platform, PlatformCalendar
from attendee.providers.google import GoogleCalendar
from attendee.providers.port import (
    AccessRevoked,
    CalendarsPage,
    OperatorFault,
    ProviderDown,
    ProviderError,
    RateLimited,
    TokenRejected,
    UnexpectedAnswer,
)
from attendee.sandbox.world import Person
from attendee.store import calendars, platform_calendars
from attendee.store.calendars import Calendar
from tests.installation import START, Installation, installation

_LISTING_IS_DUE = timedelta(hours=24)
_EVENTS_ONLY = ("https://www.googleapis.com/auth/calendar.events.readonly",)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture(params=["google", "microsoft"])
def ana(request: pytest.FixtureRequest, here: Installation) -> Person:
    """Somebody with one event, tomorrow, and a second calendar."""
    person = here.world.add_person("ana@acme.example", platform=request.param)
    person.primary.put("meeting", starts=START + timedelta(days=1))
    here.world.add_calendar(person, "team@acme.example", name="Team")
    return person


async def _stored(here: Installation, calendar_id: CalendarId) -> list[PlatformCalendar]:
    async with here.database.reading() as tx:
        return list(await platform_calendars.of_calendar(tx, calendar_id))


async def test_they_are_read_with_a_listing_and_not_between(here: Installation, ana: Person) -> None:
    """What changes among them is known after the next listing; a sync from a cursor, quiet or not, doesn't ask."""
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    stored = await _stored(here, calendar.id)
    assert [one.is_primary for one in stored] == [True, False]
    assert stored[1].name == "Team"
    here.world.add_calendar(ana, "sales@acme.example", name="Sales")
    here.world.requests.clear()
    await here.sync(calendar.id)
    ana.primary.put("lunch", starts=START + timedelta(days=2))
    await here.sync(calendar.id)
    assert here.world.requests[ana.email, "calendars"] == 0
    assert await _stored(here, calendar.id) == stored

    here.world.remove_calendar(here.world.calendars["team@acme.example"])
    here.clock.advance(_LISTING_IS_DUE)
    await here.sync(calendar.id)
    assert here.world.requests[ana.email, "calendars"] == 1
    assert [one.name for one in await _stored(here, calendar.id)] == [stored[0].name, "Sales"]


async def test_consent_that_does_not_cover_them_is_no_failure(here: Installation) -> None:
    """The sync is good, and what was read with a wider consent stays."""
    ana = here.world.add_person("ana@acme.example")
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    stored = await _stored(here, calendar.id)
    assert stored == [PlatformCalendar(ana.email, "Ana", is_primary=True)]

    here.world.revoke(ana)
    async with here.database.transaction() as tx:
        await calendars.update_credentials(
            tx,
            await calendars.get(tx, calendar.id, project_id=here.project_id, for_update=True),
            client_secret=None,
            refresh_token=here.world.authorise(ana, scopes=_EVENTS_ONLY),
            metadata=None,
            key_ring=here.key_ring,
            now=here.clock(),
        )
    here.clock.advance(_LISTING_IS_DUE)
    ana.primary.put("meeting", starts=here.clock() + timedelta(days=1))
    synced = await here.sync(calendar.id)
    assert (synced.state, synced.last_error) == (CalendarState.CONNECTED, None)
    assert synced.last_successful_sync_at == here.clock()
    assert set(await here.events(calendar.id)) == {"meeting"}
    assert await _stored(here, calendar.id) == stored


class _Refusing(GoogleCalendar):
    """Google, but for the list of calendars, which it refuses."""

    refusal: ProviderError

    async def calendars(self, access_token: str, position: str | None) -> CalendarsPage:
        raise self.refusal


async def _sync_refused(here: Installation, refusal: ProviderError) -> Calendar:
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=1))
    provider = _Refusing(
        http=here.http,
        api_url=here.sandbox.google_url,
        token_url=f"{here.sandbox.google_url}/token",
        find_meeting_url=find_meeting_url,
    )
    provider.refusal = refusal
    here.pipeline = replace(here.pipeline, providers={Platform.GOOGLE: provider})
    calendar = await here.connect(ana)
    return await here.sync(calendar.id)


@pytest.mark.parametrize(
    "refusal",
    [
        AccessRevoked(DisconnectCode.SCOPE_MISSING, "not this"),
        OperatorFault("switched off"),
        RateLimited("not so often", retry_after=timedelta(hours=1)),
        ProviderDown("nobody there"),
        UnexpectedAnswer("odd"),
    ],
    ids=lambda refusal: type(refusal).__name__,
)
async def test_no_refusal_of_them_fails_a_sync(here: Installation, refusal: ProviderError) -> None:
    """Whatever the platform says instead of its list, the events are stored and the calendar is well."""
    synced = await _sync_refused(here, refusal)
    assert (synced.state, synced.last_error, synced.attempts) == (CalendarState.CONNECTED, None, 0)
    assert synced.last_successful_sync_at == here.clock()
    assert synced.claimed_until is None, "nothing is held back"
    assert set(await here.events(synced.id)) == {"meeting"}
    assert await _stored(here, synced.id) == []


async def test_a_token_refused_twice_is_believed_here_too(here: Installation) -> None:
    """It is the calendar's token: the user is needed."""
    synced = await _sync_refused(here, TokenRejected("no"))
    assert synced.state is CalendarState.DISCONNECTED
    assert synced.connection_failure_data is not None
    assert synced.connection_failure_data["code"] == "reauth_required"
