"""When a calendar is asked again, what its platform's refusals do to it, and how it comes back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest

from attendee.meetings import find_meeting_url
from attendee.model import ActivityKind, CalendarId, CalendarState, Platform, Trigger
from attendee.providers.google import GoogleCalendar
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.grants import DEFAULT_CLIENT_ID, ClientState
from attendee.sandbox.world import Person
from attendee.store import calendars, channels, tables
from attendee.store.calendars import Calendar
from attendee.sync import schedule
from tests.installation import INTERVALS, START, Installation, NotDue, installation, until

_TOKEN_LIFE = timedelta(hours=1)
_QUOTAS = (
    "userRateLimitExceeded",
    "rateLimitExceeded",
    "quotaExceeded",
    "dailyLimitExceeded",
    "quotaMetric",
    "tooManyRequests",
)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def ana(here: Installation) -> Person:
    """Somebody with one event, tomorrow."""
    person = here.world.add_person("ana@acme.example")
    person.primary.put("meeting", starts=START + timedelta(days=1), location="https://meet.google.com/abc-defg-hij")
    return person


async def _patch(here: Installation, calendar_id: CalendarId, **fields: str) -> Calendar:
    """What `PATCH /calendars/{id}` stores."""
    wanted: dict[str, Any] = {"client_secret": None, "refresh_token": None, "metadata": None, **fields}
    async with here.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=here.project_id, for_update=True)
        return await calendars.update_credentials(tx, calendar, **wanted, key_ring=here.key_ring, now=here.clock())


async def _ask_sync(here: Installation, calendar_id: CalendarId) -> None:
    async with here.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=here.project_id)
        await calendars.ask_sync(tx, calendar, now=here.clock())


async def _start_and_hang(here: Installation, calendar_id: CalendarId) -> asyncio.Task[Calendar]:
    """A sync under way, whose request hangs until the faults are switched off."""
    syncing = asyncio.create_task(here.sync(calendar_id))
    await until(lambda: here.world.faults.hanging)
    return syncing


# Credentials.


async def test_an_access_token_is_kept_until_shortly_before_it_expires(here: Installation, ana: Person) -> None:
    """The second sync asks for no token; one in the token's last minute does, without being refused first."""
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    await here.sync(calendar.id)
    assert here.world.requests[ana.email, "token"] == 1
    here.clock.advance(_TOKEN_LIFE - timedelta(seconds=30))
    here.world.requests.clear()
    await here.sync(calendar.id)
    assert here.world.requests[ana.email, "token"] == 1
    assert here.world.requests[ana.primary.id, "delta"] == 1


async def test_a_token_refused_between_two_pages_is_refreshed_once(here: Installation, ana: Person) -> None:
    """The walk goes on where it was, and all pages are stored."""
    for number in range(1100):
        ana.primary.put(f"event{number}", starts=START + timedelta(days=1))
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.primary.id, FaultKind.REFUSED, variant="authError", times=1)
    synced = await here.sync(calendar.id)
    assert synced.last_error is None
    assert here.world.requests[ana.email, "token"] == 2
    assert len(await here.events(calendar.id)) == 1101


async def test_a_token_refused_twice_needs_the_user(here: Installation, ana: Person) -> None:
    """The platform refuses what it has just handed out: that is no passing trouble."""
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.primary.id, FaultKind.REFUSED, variant="authError")
    synced = await here.sync(calendar.id)
    assert synced.state is CalendarState.DISCONNECTED
    assert synced.connection_failure_data is not None
    assert synced.connection_failure_data["code"] == "reauth_required"


async def test_what_an_overtaken_sync_has_read_is_thrown_away(here: Installation, ana: Person) -> None:
    """Credentials that come while a sync lists the calendar: none of its events is stored, and the next is due now."""
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.primary.id, FaultKind.HANG)
    syncing = await _start_and_hang(here, calendar.id)
    ben = here.world.add_person("ben@acme.example")
    ben.primary.put("other", starts=START + timedelta(days=1))
    await _patch(here, calendar.id, refresh_token=here.world.authorise(ben))
    here.world.faults.switch_off()
    overtaken = await syncing
    assert await here.events(calendar.id) == {}
    assert (overtaken.cursor, overtaken.access_token, overtaken.claim_id) == (None, None, None)
    assert overtaken.due_at == here.clock()
    await here.sync(calendar.id)
    assert set(await here.events(calendar.id)) == {"other"}


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_what_the_old_token_brings_is_thrown_away(here: Installation, ana: Person, *, is_revoked: bool) -> None:
    """Neither an access token nor the word that consent was withdrawn is believed once credentials were replaced."""
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.email, FaultKind.HANG, place=Place.TOKENS)
    syncing = await _start_and_hang(here, calendar.id)
    if is_revoked:
        here.world.revoke(ana)
    await _patch(here, calendar.id, refresh_token=here.world.authorise(ana))
    here.world.faults.switch_off()
    overtaken = await syncing
    assert overtaken.state is CalendarState.CONNECTED
    assert (overtaken.last_error, overtaken.access_token, overtaken.claim_id) == (None, None, None)
    assert overtaken.due_at == here.clock()
    assert set(await here.events((await here.sync(calendar.id)).id)) == {"meeting"}


async def test_a_quiet_sync_that_was_overtaken_keeps_no_cursor(here: Installation, ana: Person) -> None:
    """The cursor may be another account's: the window is listed anew."""
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    await here.pipeline.sync_calendar(await here.claim(calendar.id))
    await _patch(here, calendar.id, refresh_token=here.world.authorise(ana))
    await here.quiet.settle()
    overtaken = await here.calendar(calendar.id)
    assert (overtaken.cursor, overtaken.claim_id, overtaken.due_at) == (None, None, here.clock())


# Disconnected.


async def test_withdrawn_consent_disconnects(here: Installation, ana: Person) -> None:
    """The code says why, one webhook tells, the waiting bots are gone with a word in the history, nothing is due."""
    await here.subscribe()
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    event = (await here.events(calendar.id))["meeting"]
    bot = await here.order_bot(event)
    here.world.revoke(ana)
    lost = await here.sync(calendar.id)
    assert lost.state is CalendarState.DISCONNECTED
    assert lost.connection_failure_data is not None
    assert lost.connection_failure_data["code"] == "consent_revoked"
    assert lost.due_at is None
    (told,) = await here.told(Trigger.CALENDAR_STATE_CHANGE)
    assert told["data"]["state"] == "disconnected"
    assert told["data"]["connection_failure_data"] == lost.connection_failure_data
    assert await here.rows(tables.bots) == []
    (entry,) = await here.rows(tables.activity, tables.activity.c.bot_id == bot.id)
    assert (entry.kind, entry.detail) == (ActivityKind.BOT_DELETED, {"reason": "calendar_disconnected"})


async def test_a_push_during_the_sync_that_disconnects_asks_no_more(here: Installation, ana: Person) -> None:
    """Nobody has asked for another attempt, so there is none, and one webhook has told; whoever asks still gets it."""
    await here.subscribe()
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    here.world.revoke(ana)
    claimed = await here.claim(calendar.id)
    async with here.database.transaction() as tx:
        await channels.notice_push(tx, calendar.id, debounce=INTERVALS.debounce, now=here.clock())
    await here.pipeline.sync_calendar(claimed)
    lost = await here.calendar(calendar.id)
    assert (lost.state, lost.due_at) == (CalendarState.DISCONNECTED, None)
    await _ask_sync(here, calendar.id)
    claimed = await here.claim(calendar.id)
    await _ask_sync(here, calendar.id)
    await here.pipeline.sync_calendar(claimed)
    assert (await here.calendar(calendar.id)).due_at == here.clock()


async def test_new_credentials_bring_a_calendar_back(here: Installation, ana: Person) -> None:
    """It is connected again, and an events_update says so though no event has changed."""
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    here.world.revoke(ana)
    await here.sync(calendar.id)
    await here.subscribe()
    await _patch(here, calendar.id, refresh_token=here.world.authorise(ana))
    back = await here.sync(calendar.id)
    assert (back.state, back.connection_failure_data, back.last_error) == (CalendarState.CONNECTED, None, None)
    (told,) = await here.told(Trigger.CALENDAR_EVENTS_UPDATE)
    assert told["data"]["state"] == "connected"
    assert told["data"]["events"] == {"created": [], "updated": [], "deleted": [], "truncated": False}


async def test_a_failing_attempt_to_come_back_is_told(here: Installation, ana: Person) -> None:
    """Whoever asked for a sync of a disconnected calendar hears that it failed again."""
    await here.subscribe()
    calendar = await here.connect(ana)
    here.world.revoke(ana)
    await here.sync(calendar.id)
    await _ask_sync(here, calendar.id)
    lost = await here.sync(calendar.id)
    assert lost.state is CalendarState.DISCONNECTED
    assert len(await here.told(Trigger.CALENDAR_STATE_CHANGE)) == 2


# Trouble that passes.


@pytest.mark.parametrize("place", [Place.CALENDAR, Place.TOKENS])
@pytest.mark.parametrize(
    "kind",
    [
        FaultKind.THROTTLED,
        FaultKind.SERVER_ERROR,
        FaultKind.NOT_JSON,
        FaultKind.TRUNCATED,
        FaultKind.WRONG_TYPES,
        FaultKind.RESET,
        FaultKind.HANG,
    ],
)
async def test_passing_trouble_backs_off_and_heals(
    here: Installation, ana: Person, kind: FaultKind, place: Place
) -> None:
    """It never disconnects and tells nobody: the delays grow, the error shows, and the first good sync clears it."""
    await here.subscribe()
    hurried = GoogleCalendar(
        http=here.http,
        api_url=here.sandbox.google_url,
        token_url=f"{here.sandbox.google_url}/token",
        find_meeting_url=find_meeting_url,
        limits=aiohttp.ClientTimeout(total=0.05 if kind is FaultKind.HANG else 30),
    )
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.email, kind, place=place)
    patient, here.pipeline = here.pipeline, replace(here.pipeline, providers={Platform.GOOGLE: hurried})
    delays = []
    for attempt in range(1, 6):
        failed = await here.sync(calendar.id)
        assert failed.state is CalendarState.CONNECTED
        assert failed.last_error is not None
        assert (failed.attempts, failed.claim_id) == (attempt, None)
        assert failed.due_at is not None
        delays.append(failed.due_at - here.clock())
        here.clock.at = failed.due_at
    assert delays == sorted(set(delays))
    assert await here.rows(tables.deliveries) == []

    here.world.faults.switch_off()
    here.pipeline = patient
    healed = await here.sync(calendar.id)
    assert (healed.last_error, healed.attempts) == (None, 0)
    assert set(await here.events(calendar.id)) == {"meeting"}


@pytest.mark.parametrize("variant", _QUOTAS)
async def test_a_quota_error_never_disconnects(here: Installation, ana: Person, variant: str) -> None:
    """Whatever its status says, it is a pause that no wake-up ends."""
    calendar = await here.connect(ana)
    here.world.faults.switch_on(ana.primary.id, FaultKind.THROTTLED, variant=variant, retry_after=120)
    paused = await here.sync(calendar.id)
    assert paused.state is CalendarState.CONNECTED
    assert paused.claimed_until is not None
    assert paused.claimed_until >= here.clock() + timedelta(seconds=120)
    here.world.faults.switch_off()
    with pytest.raises(NotDue):
        await here.sync(calendar.id)
    here.clock.at = paused.claimed_until
    assert (await here.sync(calendar.id)).last_error is None


async def _disable_client(here: Installation, ana: Person) -> None:
    here.world.grants.clients[DEFAULT_CLIENT_ID].state = ClientState.DISABLED


async def _change_secret(here: Installation, ana: Person) -> None:
    here.world.grants.clients[DEFAULT_CLIENT_ID].secret = "rotated"


async def _switch_api_off(here: Installation, ana: Person) -> None:
    here.world.faults.switch_on(ana.primary.id, FaultKind.REFUSED, variant="accessNotConfigured")


@pytest.mark.parametrize("break_it", [_disable_client, _change_secret, _switch_api_off])
async def test_an_operators_fault_costs_no_user_their_calendar(here: Installation, ana: Person, break_it: Any) -> None:
    """A calendar that has synced stays connected with its bots and is retried hourly; a new one is wrong at once."""
    await here.subscribe()
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    await here.order_bot((await here.events(calendar.id))["meeting"])
    here.clock.advance(2 * _TOKEN_LIFE)
    await break_it(here, ana)
    for _ in range(3):
        failed = await here.sync(calendar.id)
        assert failed.state is CalendarState.CONNECTED
        assert failed.last_error is not None
        assert failed.is_operators_fault
        assert failed.due_at == here.clock() + timedelta(hours=1)
    assert len(await here.rows(tables.bots)) == 1
    assert await here.told(Trigger.CALENDAR_STATE_CHANGE) == []

    never_synced = await here.sync((await here.connect(ana)).id)
    assert never_synced.state is CalendarState.DISCONNECTED
    assert never_synced.connection_failure_data is not None
    assert never_synced.connection_failure_data["code"] == "client_invalid"
    assert never_synced.is_operators_fault


# The schedule.


def test_calendars_are_spread_over_the_interval() -> None:
    """Ten thousand that were created in one minute have their own places in the interval, and keep them."""
    interval = timedelta(minutes=30)
    first = {
        f"cal_{number}": schedule.next_poll(f"cal_{number}", interval=interval, now=START) for number in range(10_000)
    }
    buckets: dict[int, int] = {}
    for at in first.values():
        assert START < at <= START + interval
        minute = (at - START) // timedelta(minutes=1)
        buckets[minute] = buckets.get(minute, 0) + 1
    assert len(buckets) == 30
    assert max(buckets.values()) < 2 * min(buckets.values())
    assert schedule.next_poll("cal_7", interval=interval, now=first["cal_7"]) == first["cal_7"] + interval


async def test_a_calendar_is_due_when_its_next_listing_is(here: Installation, ana: Person) -> None:
    """However seldom calendars are polled, the window is listed every day: it reaches no further ahead."""
    seldom = replace(INTERVALS, polled=timedelta(hours=24))
    here.pipeline = replace(here.pipeline, settings=replace(here.pipeline.settings, intervals=seldom))
    calendar = await here.connect(ana)
    for _ in range(3):
        synced = await here.sync(calendar.id)
        assert synced.due_at is not None
        assert synced.next_listing_at is not None
        assert synced.due_at <= max(synced.next_listing_at, here.clock() + timedelta(minutes=1))
        here.clock.at = synced.due_at


def test_retries_grow_to_an_hour_and_no_further() -> None:
    """Seconds at first; a thousand failures in a row are asked again within the hour and a fifth."""
    assert schedule.retry_delay(1) <= timedelta(seconds=6)
    assert timedelta(minutes=48) <= schedule.retry_delay(1000) <= timedelta(minutes=72)
    assert len({schedule.retry_delay(3) for _ in range(20)}) > 1, "jittered"
