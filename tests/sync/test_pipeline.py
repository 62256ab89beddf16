"""One sync after another against the sandbox: what is stored, what is asked, what is told."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from attendee.model import CalendarState
from tests.installation import START, Installation, installation


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


async def test_a_calendar_is_synced(here: Installation) -> None:
    """The events of the window are stored, and a second sync without change asks once and stores nothing."""
    ana = here.world.add_person("ana@acme.example")
    for day in range(5):
        ana.primary.put(f"event{day}", starts=START + timedelta(days=day), title=f"Event {day}")
    calendar = await here.connect(ana)
    synced = await here.sync(calendar.id)
    assert synced.last_error is None
    assert synced.state is CalendarState.CONNECTED
    assert set(await here.events(calendar.id)) == {f"event{day}" for day in range(5)}
    before = sum(here.world.requests.values())
    synced = await here.sync(calendar.id)
    assert synced.attempts == 0
    assert sum(here.world.requests.values()) - before == 1


def _occurrence(id: str, starts: datetime) -> dict[str, Any]:
    begins, ends = ({"dateTime": at.isoformat()} for at in (starts, starts + timedelta(hours=1)))
    series = {"recurringEventId": "base_R20261124T080000", "originalStartTime": begins, "iCalUID": "base@google.com"}
    return {"id": id, "status": "confirmed", "summary": "Stand-up", "start": begins, "end": ends, **series}


async def test_an_occurrence_that_changes_its_id_stands_there_once(here: Installation) -> None:
    """After "this and following" Google may give an edited occurrence another id, without a word of the old one."""
    starts = START + timedelta(days=3)
    old, new = f"base_R20261124T080000_{starts:%Y%m%dT%H%M%SZ}", f"base_{starts:%Y%m%dT%H%M%SZ}"
    ana = here.world.add_person("ana@acme.example")
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    ana.primary.put_raw(old, _occurrence(old, starts))
    await here.sync(calendar.id)
    assert {id: row.is_deleted for id, row in (await here.events(calendar.id)).items()} == {old: False}
    ana.primary.forget(old)
    ana.primary.put_raw(new, _occurrence(new, starts))
    assert (await here.sync(calendar.id)).last_error is None
    assert {id: row.is_deleted for id, row in (await here.events(calendar.id)).items()} == {old: True, new: False}
