"""The history of syncs: rows for what somebody may ask about, and only a count of the quiet ones."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from attendee.model import SyncOutcome, SyncReason
from attendee.sandbox.faults import FaultKind, Place
from attendee.store import calendars, tables
from attendee.store.calendars import Calendar
from tests.installation import START, Installation, installation


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


async def history(here: Installation) -> list[Any]:
    return sorted(await here.rows(tables.syncs), key=lambda row: row.number)


async def connected(here: Installation) -> Calendar:
    """A calendar with one event, synced once."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=1), location="https://meet.google.com/abc-defg-hij")
    calendar = await here.connect(ana)
    return await here.sync(calendar.id)


async def test_the_first_sync_is_told(here: Installation) -> None:
    """Why, what it found, and with how many requests: the token's, the events', and the list of the calendars."""
    await connected(here)
    (row,) = await history(here)
    assert (row.reason, row.outcome, row.listed) == (SyncReason.FIRST, SyncOutcome.CHANGED, True)
    assert (row.created, row.updated, row.deleted, row.requests) == (1, 0, 0, 3)
    assert row.error is None


async def test_quiet_syncs_are_counted(here: Installation) -> None:
    """They leave no row; the next one that is told of says how many there were."""
    calendar = await connected(here)
    for number in range(1, 4):
        here.clock.advance(timedelta(minutes=10))
        assert (await here.sync(calendar.id)).quiet_syncs == number
    assert len(await history(here)) == 1
    here.people[calendar.id].primary.put("meeting", starts=START + timedelta(days=2))
    here.clock.advance(timedelta(minutes=10))
    assert (await here.sync(calendar.id)).quiet_syncs == 0
    row = (await history(here))[-1]
    assert (row.reason, row.outcome, row.listed) == (SyncReason.POLL, SyncOutcome.CHANGED, False)
    assert (row.updated, row.requests, row.quiet_before) == (1, 1, 3)


async def test_a_sync_that_was_asked_for_is_told_even_if_it_finds_nothing(here: Installation) -> None:
    """Whoever asked sees that it took place; what was asked for counts once."""
    calendar = await connected(here)
    for reason in (SyncReason.ASKED, SyncReason.CREDENTIALS):
        here.clock.advance(timedelta(minutes=1))
        async with here.database.transaction() as tx:
            if reason is SyncReason.ASKED:
                await calendars.ask_sync(tx, calendar, now=here.clock())
            else:
                await calendars.update_credentials(
                    tx,
                    calendar,
                    client_secret=None,
                    refresh_token=None,
                    metadata={"a": "b"},
                    key_ring=here.key_ring,
                    now=here.clock(),
                )
        await here.sync(calendar.id)
        row = (await history(here))[-1]
        assert (row.reason, row.outcome) == (reason, SyncOutcome.UNCHANGED)
    await here.sync(calendar.id)
    assert len(await history(here)) == 3


async def test_what_is_asked_for_during_a_sync_is_the_next_ones_reason(here: Installation) -> None:
    """It is not lost to the settling of the sync under way."""
    calendar = await connected(here)
    claimed = await here.claim(calendar.id)
    here.people[calendar.id].primary.put("meeting", starts=START + timedelta(days=2))
    async with here.database.transaction() as tx:
        await calendars.ask_sync(tx, calendar, now=here.clock())
    await here.pipeline.sync_calendar(claimed)
    assert (await here.calendar(calendar.id)).asked_for is SyncReason.ASKED
    await here.sync(calendar.id)
    assert [row.reason for row in await history(here)] == [SyncReason.FIRST, SyncReason.POLL, SyncReason.ASKED]


async def test_a_failure_is_told_and_so_is_the_next_try(here: Installation) -> None:
    """With the platform's word, and as what it was: another try."""
    calendar = await connected(here)
    person = here.people[calendar.id]
    here.world.faults.switch_on(person.primary.id, FaultKind.SERVER_ERROR, place=Place.CALENDAR, times=1)
    await here.sync(calendar.id)
    person.primary.put("meeting", starts=START + timedelta(days=2))
    here.clock.advance(timedelta(hours=1))
    await here.sync(calendar.id)
    failed, tried = (await history(here))[1:]
    assert (failed.outcome, tried.reason, tried.outcome) == (SyncOutcome.FAILED, SyncReason.RETRY, SyncOutcome.CHANGED)
    assert failed.error


async def test_a_disconnection_is_told(here: Installation) -> None:
    """As the last thing that happened."""
    calendar = await connected(here)
    here.world.revoke(here.people[calendar.id])
    here.clock.advance(timedelta(hours=2))
    await here.sync(calendar.id)
    assert (await history(here))[-1].outcome == SyncOutcome.DISCONNECTED


async def test_the_daily_listing_is_told(here: Installation) -> None:
    """Though it finds nothing."""
    calendar = await connected(here)
    here.clock.advance(timedelta(days=1, minutes=1))
    await here.sync(calendar.id)
    row = (await history(here))[-1]
    assert (row.reason, row.outcome, row.listed) == (SyncReason.LISTING, SyncOutcome.UNCHANGED, True)
