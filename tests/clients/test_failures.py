"""What the client does when an answer is late, missing, or not the service's."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from datetime import timedelta

import aiohttp
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response

from attendee_client import Busy, Patience, Refused, UnexpectedAnswer, Unreachable, api
from attendee_client.api import Call
from attendee_client.models import Bot, Page
from tests.api.serving import served_app
from tests.clients.speaking import Kind

_EMPTY = b'{"next": null, "previous": null, "results": []}'
_READ: Call[Page[Bot]] = api.bots()
_CREATE = api.create_bot(bot_name="Notes", meeting_url="https://meet.google.com/abc-defg-hij")


class Scripted:
    """Answers with what it was given, one after another, then with an empty list; counts who asked."""

    def __init__(self) -> None:
        self.answers: list[Response] = []
        self.asked: list[str] = []
        self.app = FastAPI(openapi_url=None)

        @self.app.middleware("http")
        async def answer(request: Request, _: Callable[[Request], Awaitable[Response]]) -> Response:
            self.asked.append(f"{request.method} {request.url.path}")
            return self.answers.pop(0) if self.answers else Response(_EMPTY, 200)


@pytest.fixture
async def http() -> AsyncGenerator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
async def address(scripted: Scripted) -> AsyncGenerator[str]:
    async with served_app(scripted.app) as url:
        yield url


async def test_a_busy_service_is_asked_again(
    kind: Kind, http: aiohttp.ClientSession, address: str, scripted: Scripted
) -> None:
    """After as long as it asks for, or else after pauses that double, a quarter longer by chance."""
    scripted.answers = [Response(status_code=429, headers={"Retry-After": "7"}), Response(status_code=500)]
    client, pauses = kind.speaking(http, address, "key")
    assert (await client.do(_READ)).results == ()
    assert [low <= pause <= low * 1.25 for low, pause in zip((7, 1), pauses, strict=True)] == [True, True]


async def test_patience_ends(kind: Kind, http: aiohttp.ClientSession, address: str, scripted: Scripted) -> None:
    """After the last attempt, or at once where a pause would be too long, the error is the caller's."""
    scripted.answers = [Response(status_code=502) for _ in range(9)]
    client, pauses = kind.speaking(http, address, "key", patience=Patience(retries=2))
    with pytest.raises(Busy, match="502"):
        await client.do(_READ)
    assert (len(scripted.asked), len(pauses)) == (3, 2)

    scripted.answers = [Response(status_code=429, headers={"Retry-After": "3600"})]
    with pytest.raises(Busy) as busy:
        await client.do(_READ)
    assert (busy.value.retry_after, len(pauses)) == (timedelta(hours=1), 2)


@pytest.mark.parametrize("status", [500, 504, 429, 503])
async def test_creations_are_never_made_twice(
    kind: Kind, http: aiohttp.ClientSession, address: str, scripted: Scripted, status: int
) -> None:
    """A bot is ordered again only where the first order was surely not taken."""
    scripted.answers = [Response(status_code=status), Response(b'{"error": "no"}', 400)]
    client, _ = kind.speaking(http, address, "key")
    was_taken = status not in {429, 503}
    with pytest.raises(Busy if was_taken else Refused):
        await client.do(_CREATE)
    assert scripted.asked == ["POST /api/v1/bots"] * (1 if was_taken else 2)


async def test_nobody_there(kind: Kind, http: aiohttp.ClientSession) -> None:
    """A connection that breaks is tried again for what does no harm twice, and told in the end."""
    closed: list[None] = []

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.append(None)
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        client, pauses = kind.speaking(http, f"http://127.0.0.1:{port}", "key", patience=Patience(retries=1))
        with pytest.raises(Unreachable, match="GET /api/v1/bots"):
            await client.do(_READ)
        with pytest.raises(Unreachable, match="POST /api/v1/bots"):
            await client.do(_CREATE)
    assert len(pauses) == 1


async def test_a_redirect_is_not_followed(
    kind: Kind, http: aiohttp.ClientSession, address: str, scripted: Scripted
) -> None:
    """The key goes to the service and to nobody that it is sent on to."""
    scripted.answers = [Response(status_code=302, headers={"Location": "/elsewhere"})]
    client, _ = kind.speaking(http, address, "key")
    with pytest.raises(Refused, match="302"):
        await client.do(_READ)
    assert scripted.asked == ["GET /api/v1/bots"]


async def test_another_server_is_noticed(
    kind: Kind, http: aiohttp.ClientSession, address: str, scripted: Scripted
) -> None:
    """A page where JSON should be is no result; one that refuses is told as it is."""
    scripted.answers = [Response("<h1>Welcome</h1>", 200), Response("<h1>Forbidden</h1>", 403)]
    client, _ = kind.speaking(http, address, "key")
    with pytest.raises(UnexpectedAnswer, match="no JSON"):
        await client.do(_READ)
    with pytest.raises(Refused, match="Forbidden"):
        await client.do(_READ)
