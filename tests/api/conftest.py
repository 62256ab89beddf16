"""The API, served for each test on each kind of database."""

from collections.abc import AsyncGenerator

import pytest

from tests.api.serving import Client, Served, served


@pytest.fixture
async def api(database_url: str) -> AsyncGenerator[Served]:
    async with served(database_url) as serving:
        yield serving


@pytest.fixture
def client(api: Served) -> Client:
    return api.client
