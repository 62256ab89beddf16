"""One sync after another against the sandbox: what is stored, what is asked, what is told."""

from collections.abc import AsyncIterator
from datetime import timedelta

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
