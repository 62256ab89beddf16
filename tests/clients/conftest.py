"""Each test with the blocking client and with asyncio's, at a service on loopback."""

from collections.abc import AsyncGenerator

import pytest

from tests.api.serving import Served, served
from tests.clients.speaking import Kind, Speaking


@pytest.fixture(params=["blocking", "asyncio"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture
async def service(sqlite_url: str) -> AsyncGenerator[Served]:
    async with served(sqlite_url, allow_insecure_webhooks=True) as serving:
        yield serving


@pytest.fixture
def client(kind: Kind, service: Served) -> Speaking:
    at = service.client
    speaking, _ = kind.speaking(at.session, at.address, at.key or "")
    return speaking
