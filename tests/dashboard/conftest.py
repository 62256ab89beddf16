"""The dashboard, served for each test on each kind of database."""

from collections.abc import AsyncGenerator

import pytest

from tests.dashboard.visiting import Visited, visited


@pytest.fixture
async def here(database_url: str) -> AsyncGenerator[Visited]:
    async with visited(database_url) as serving:
        yield serving
