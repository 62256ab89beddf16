"""A sandbox on loopback with a person of each platform in it, and a clock that stands still unless it is told."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.world import Person, World
from tests.sandbox.application import GoogleClient, ManualClock, Receiver
from tests.sandbox.graph import GraphClient, Webhook


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def world(clock: ManualClock) -> World:
    return World(clock)


@pytest.fixture
def ana(world: World) -> Person:
    return world.add_person("ana@acme.example", name="Ana Ruiz", zone="Europe/Berlin")


@pytest.fixture
async def sandbox(world: World) -> AsyncIterator[SandboxServer]:
    async with SandboxServer(world) as server:
        yield server


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def google(sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, ana: Person) -> GoogleClient:
    client = GoogleClient(session, sandbox.google_url, world.authorise(ana))
    await client.refresh()
    return client


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.address = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


@pytest.fixture
def mia(world: World) -> Person:
    return world.add_person("mia@contoso.example", name="Mia Berg", platform="microsoft", zone="Europe/Berlin")


@pytest.fixture
async def graph(sandbox: SandboxServer, session: aiohttp.ClientSession, world: World, mia: Person) -> GraphClient:
    client = GraphClient(session, sandbox.microsoft_url, world.authorise(mia))
    await client.refresh()
    return client


@pytest.fixture
async def webhook() -> AsyncIterator[Webhook]:
    webhook = Webhook()
    app = web.Application()
    app.router.add_post("/hook", webhook.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    webhook.address = f"http://{host}:{port}/hook"
    yield webhook
    await runner.cleanup()
