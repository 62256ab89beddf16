"""When a calendar has its turn: after pushes, without any, and before its bots join. No push is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from attendee.model import CalendarId, Trigger
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Person, Platform
from attendee.store import claims, tables
from attendee.sync.schedule import next_poll
from tests.installation import INTERVALS, START, Crash, until
from tests.pushing import Pushing, pushing

_A_DAY = timedelta(days=1)
_LINK = "https://meet.google.com/abc-defg-hij"
_QUIET_TIME = timedelta(minutes=1)


@pytest.fixture
async def it(database_url: str) -> AsyncIterator[Pushing]:
    async with pushing(database_url) as made:
        yield made


@pytest.fixture(params=list(Platform), ids=lambda platform: platform.value)
def ana(it: Pushing, request: pytest.FixtureRequest) -> Person:
    """Somebody with one event, tomorrow."""
    person = it.here.world.add_person("ana@acme.example", platform=request.param)
    person.primary.put("meeting", starts=START + _A_DAY, location=_LINK)
    return person


async def _told(it: Pushing, person: Person) -> CalendarId:
    """A calendar of this person's with a live channel, some time after its last sync and long before its next poll."""
    calendar = await it.connect(person)
    await it.pass_poll(calendar.id)
    it.here.clock.advance(_QUIET_TIME)
    it.here.world.requests.clear()
    return calendar.id


async def _polled(it: Pushing, person: Person) -> CalendarId:
    """A calendar of this person's that nobody tells of changes."""
    person.primary.can_be_watched = False
    return (await it.connect(person, platform_uuid=person.primary.id)).id


async def _due_in(it: Pushing, calendar_id: CalendarId) -> timedelta:
    calendar = await it.here.calendar(calendar_id)
    assert calendar.due_at is not None
    return calendar.due_at - it.here.clock()


async def _edit(it: Pushing, person: Person, title: str) -> None:
    """A change, and the platform's message of it, answered."""
    person.primary.edit("meeting", title=title)
    await it.here.sandbox.pushed()


async def _name(it: Pushing) -> str:
    (event,) = await it.here.rows(tables.events)
    return str(event.name)


def _in_step(it: Pushing, calendar_id: CalendarId, interval: timedelta) -> timedelta:
    """How long until the calendar's own place in the interval."""
    return next_poll(calendar_id, interval=interval, now=it.here.clock()) - it.here.clock()


# Pushes.


async def test_the_first_push_after_a_quiet_time_is_served_at_once(it: Pushing, ana: Person) -> None:
    """The calendar is due in the same instant, its change is stored and told."""
    calendar_id = await _told(it, ana)
    await it.here.subscribe()
    await _edit(it, ana, "Planning")
    assert await it.sync_due() == [calendar_id]
    assert await _name(it) == "Planning"
    assert len(await it.here.told(Trigger.CALENDAR_EVENTS_UPDATE)) == 1


async def test_pushes_within_the_debounce_time_make_one_more_sync(it: Pushing, ana: Person) -> None:
    """A storm after a sync waits until the debounce time has passed, and then is served at once."""
    calendar_id = await _told(it, ana)
    await _edit(it, ana, "First")
    await it.sync_due()
    it.here.clock.advance(INTERVALS.debounce / 5)
    for title in ("Second", "Third", "Fourth"):
        await _edit(it, ana, title)
    assert await it.sync_due() == []
    assert await _due_in(it, calendar_id) == INTERVALS.debounce * 4 / 5
    it.here.clock.advance(INTERVALS.debounce * 4 / 5)
    assert await it.work() == [calendar_id], "once"
    assert await _name(it) == "Fourth"


@pytest.mark.parametrize("finds_a_change", [True, False])
async def test_a_push_during_a_sync_makes_one_after_it(it: Pushing, ana: Person, *, finds_a_change: bool) -> None:
    """It may have been read too early: there is one more sync, once the debounce time has passed, and no third."""
    calendar_id = await _told(it, ana)
    if finds_a_change:
        await _edit(it, ana, "Early")
    it.here.world.faults.switch_on(ana.email, FaultKind.HANG, times=1)
    await _ask_sync(it, calendar_id)
    syncing = asyncio.create_task(it.sync_due())
    await until(lambda: it.here.world.faults.hanging)
    if not finds_a_change:
        it.here.world.faults.switch_on(ana.email, FaultKind.STALE, times=1)
    await _edit(it, ana, "Late")
    it.here.world.faults.switch_off(kind=FaultKind.HANG)
    await syncing
    assert await it.sync_due() == []
    assert await _due_in(it, calendar_id) == INTERVALS.debounce
    it.here.clock.advance(INTERVALS.debounce)
    assert await it.sync_due() == [calendar_id]
    assert await _name(it) == "Late"
    assert await _due_in(it, calendar_id) > INTERVALS.debounce


async def _ask_sync(it: Pushing, calendar_id: CalendarId) -> None:
    assert (await it.client.post(f"/calendars/{calendar_id}/sync")).status == 202


async def test_a_push_that_finds_nothing_looks_again_twice(it: Pushing, ana: Person) -> None:
    """After 5 and after 30 seconds, and then no more: the calendar keeps its usual step."""
    calendar_id = await _told(it, ana)
    ana.primary.touch()
    await it.here.sandbox.pushed()
    assert await it.work() == [calendar_id]
    for wait in (timedelta(seconds=5), timedelta(seconds=25)):
        assert await _due_in(it, calendar_id) == wait
        it.here.clock.advance(wait)
        assert await it.work() == [calendar_id]
    assert await _due_in(it, calendar_id) == _in_step(it, calendar_id, INTERVALS.pushed)


async def test_what_is_readable_later_is_found_by_looking_again(it: Pushing) -> None:
    """Google's push can come before its change can be read; once the change is found the looking ends."""
    ana = it.here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + _A_DAY)
    calendar_id = await _told(it, ana)
    it.here.world.faults.switch_on(ana.email, FaultKind.STALE, times=1)
    await _edit(it, ana, "Planning")
    await it.work()
    assert await _name(it) != "Planning"
    it.here.clock.advance(await _due_in(it, calendar_id))
    await it.work()
    assert await _name(it) == "Planning"
    assert await _due_in(it, calendar_id) == _in_step(it, calendar_id, INTERVALS.pushed)


async def test_a_push_of_microsofts_goes_straight_to_the_listing(it: Pushing) -> None:
    """Its delta lags behind: it is not even asked."""
    ana = it.here.world.add_person("ana@acme.example", platform=Platform.MICROSOFT)
    ana.primary.put("meeting", starts=START + _A_DAY)
    await _told(it, ana)
    it.here.world.faults.switch_on(ana.email, FaultKind.STALE)
    await _edit(it, ana, "Planning")
    await it.work()
    assert await _name(it) == "Planning"
    assert it.here.world.requests[ana.email, "delta"] == 0


async def test_looking_again_survives_a_failure(it: Pushing, ana: Person) -> None:
    """A sync that fails after a push is tried again as one that was told of a change."""
    calendar_id = await _told(it, ana)
    it.here.world.faults.switch_on(ana.email, FaultKind.SERVER_ERROR, times=1)
    await _edit(it, ana, "Planning")
    await it.sync_due()
    failed = await it.here.calendar(calendar_id)
    assert failed.last_error is not None
    assert failed.looks_after_push == 0
    it.here.clock.advance(await _due_in(it, calendar_id))
    await it.work()
    assert await _name(it) == "Planning"


# Polling.


async def test_a_calendar_with_a_channel_is_polled_less_often(it: Pushing, ana: Person) -> None:
    """It is due at the interval for those that are told of changes, and at the usual one once its channel has ended."""
    calendar_id = (await it.connect(ana)).id
    assert await _due_in(it, calendar_id) == _in_step(it, calendar_id, INTERVALS.pushed)
    ended = await it.here.calendar(calendar_id)
    assert ended.push_until is not None
    it.here.clock.at = ended.push_until
    await it.sync_due()
    assert await _due_in(it, calendar_id) == _in_step(it, calendar_id, INTERVALS.polled)


@pytest.mark.parametrize(("minutes", "expected"), [(10, INTERVALS.near), (90, INTERVALS.soon), (600, None)])
async def test_a_polled_calendar_is_asked_more_often_before_a_bot_joins(
    it: Pushing, ana: Person, minutes: int, expected: timedelta | None
) -> None:
    """Every minute in the last 15, every five in the last two hours; a bot that is moved away changes it back."""
    _soon(ana, minutes)
    calendar_id = await _polled(it, ana)
    (event,) = await it.here.rows(tables.events)
    await it.here.order_bot(event)
    usual = _in_step(it, calendar_id, INTERVALS.polled)
    await it.here.sync(calendar_id)
    assert await _due_in(it, calendar_id) == (usual if expected is None else min(expected, usual))
    await it.here.sync(calendar_id)
    assert await _due_in(it, calendar_id) == (usual if expected is None else min(expected, usual)), "quiet or not"

    ana.primary.move("meeting", starts=START + _A_DAY)
    await it.here.sync(calendar_id)
    assert await _due_in(it, calendar_id) == usual


async def test_ordering_a_bot_brings_the_next_look_forward(it: Pushing, ana: Person) -> None:
    """`POST /bots` for an event that is near doesn't leave its calendar to the usual interval."""
    _soon(ana, 10)
    calendar_id = await _polled(it, ana)
    await _sleep_until_long_before_its_turn(it, calendar_id)
    (event,) = await it.here.rows(tables.events)
    assert (await it.client.post("/bots", {"calendar_event_id": event.id, "bot_name": "Notes"})).status == 201
    assert await _due_in(it, calendar_id) == INTERVALS.near


async def test_a_calendar_that_is_told_needs_no_such_haste(it: Pushing, ana: Person) -> None:
    """With a live channel a bot changes nothing about its turns."""
    _soon(ana, 10)
    calendar_id = (await it.connect(ana)).id
    usual = await _due_in(it, calendar_id)
    (event,) = await it.here.rows(tables.events)
    assert (await it.client.post("/bots", {"calendar_event_id": event.id, "bot_name": "Notes"})).status == 201
    assert await _due_in(it, calendar_id) == usual
    await it.here.sync(calendar_id)
    assert await _due_in(it, calendar_id) == usual
    it.here.world.pushes_on = False
    ana.primary.edit("meeting", title="Planning")
    await it.here.sync(calendar_id)
    assert await _due_in(it, calendar_id) == usual, "quiet or not"


def _soon(person: Person, minutes: int) -> None:
    person.primary.move("meeting", starts=START + timedelta(minutes=minutes))


async def _sleep_until_long_before_its_turn(it: Pushing, calendar_id: CalendarId) -> None:
    """Puts the calendar's turn far enough away, wherever its place in the interval is."""
    async with it.here.database.transaction() as tx:
        far = it.here.clock() + INTERVALS.polled
        await tx.execute(tables.calendars.update().where(tables.calendars.c.id == calendar_id).values(due_at=far))


# Crashes.


async def test_no_push_is_lost_to_a_crash(it: Pushing, ana: Person) -> None:
    """Once it is answered, the calendar is due until the change is stored, wherever between the two a process dies."""
    calendar_id = await _told(it, ana)
    await _edit(it, ana, "Planning")
    step = 0
    while True:
        step += 1
        assert await _due_in(it, calendar_id) <= timedelta()
        try:
            with it.here.dying_at(step):
                await it.sync_due()
        except Crash:
            it.here.clock.advance(claims.LEASE)
        else:
            break
        assert await _name(it) != "Planning"
    assert step > 8, "it died at each of the statements before"
    assert await _name(it) == "Planning"


async def test_a_push_that_found_nothing_is_not_lost_to_a_crash(it: Pushing, ana: Person) -> None:
    """A sync that found nothing and was not settled is made again, and looks again as often as it should."""
    calendar_id = await _told(it, ana)
    ana.primary.touch()
    await it.here.sandbox.pushed()
    step = 0
    while True:
        step += 1
        try:
            with it.here.dying_at(step):
                await it.sync_due()
        except Crash:
            it.here.clock.advance(claims.LEASE)
            assert (await it.here.calendar(calendar_id)).looks_after_push == 0
        else:
            break
    assert step > 2, "it died at each of the statements before"
    assert await _due_in(it, calendar_id) == timedelta(seconds=5)
