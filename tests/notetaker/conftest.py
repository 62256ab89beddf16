"""The example application, a person of each platform, and somebody who visits it."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from attendee.demo.visitor import Visitor
from attendee.sandbox.world import Person
from tests.notetaker.running import Running, running, visiting


@pytest.fixture
async def notetaker(database_url: str, tmp_path: Path) -> AsyncIterator[Running]:
    async with running(database_url, tmp_path) as notetaker:
        yield notetaker


@pytest.fixture
async def visitor(notetaker: Running) -> AsyncIterator[Visitor]:
    async with visiting(notetaker.url) as visitor:
        yield visitor


@pytest.fixture(params=["google", "microsoft"])
def person(request: pytest.FixtureRequest, notetaker: Running) -> Person:
    """Somebody with a meeting a day for a week."""
    person = notetaker.here.world.add_person("ana@acme.example", name="Ana Ruiz", platform=request.param)
    for day in range(1, 7):
        person.primary.put(
            f"meeting{day}",
            title=f"Meeting {day}",
            starts=notetaker.here.clock() + timedelta(days=day),
            location=f"https://zoom.us/j/9876543210{day}",
        )
    return person
