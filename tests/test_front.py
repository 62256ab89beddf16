"""Before the applications: whose address and host are believed, and requests that never end."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from attendee.api.middleware import EveryRequest
from attendee.front import BehindProxies, BoundedHttp
from attendee.sandbox.app import QuietServer

_TRUSTED = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "2001:db8::/32")


async def _seen(client: str | None, trusted: tuple[str, ...] = _TRUSTED, **headers: str) -> dict[str, Any]:
    """What the application sees of a request from this client with these headers."""
    seen: dict[str, Any] = {}

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.update(scope)

    given = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    peer = None if client is None else (client, 4711)
    scope = {"type": "http", "client": peer, "scheme": "http", "headers": [(b"host", b"inside:8000"), *given]}
    await BehindProxies(app, trusted)(scope, None, None)
    return {"client": seen["client"] and seen["client"][0], "scheme": seen["scheme"], "headers": dict(seen["headers"])}


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9:4711", "203.0.113.9"),
        ("[2001:4860::1]:443", "2001:4860::1"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        # Whatever a stranger wrote in front of it, the last that is no proxy is who called.
        ("198.51.100.1, 203.0.113.9, 10.0.0.2", "203.0.113.9"),
        ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("unknown, 10.0.0.2", "10.0.0.2"),
        ("<script>", "10.0.0.1"),
        ("", "10.0.0.1"),
    ],
)
async def test_a_trusted_proxy_says_who_called(forwarded: str, client: str) -> None:
    """What is no address is not believed."""
    assert (await _seen("10.0.0.1", x_forwarded_for=forwarded))["client"] == client


@pytest.mark.parametrize("peer", ["203.0.113.1", "2001:4860::1", "::ffff:203.0.113.1", None])
async def test_a_stranger_says_nothing_about_itself(peer: str | None) -> None:
    """Neither address nor scheme nor host."""
    seen = await _seen(peer, x_forwarded_for="127.0.0.1", x_forwarded_proto="https", x_forwarded_host="evil.example")
    assert (seen["client"], seen["scheme"], seen["headers"][b"host"]) == (peer, "http", b"inside:8000")


@pytest.mark.parametrize("peer", ["10.0.0.1", "::ffff:10.0.0.1", "::1", "2001:db8::7"])
async def test_scheme_and_host_come_from_the_proxy(peer: str) -> None:
    """The last word counts: the nearest proxy's."""
    seen = await _seen(peer, x_forwarded_proto="http, HTTPS", x_forwarded_host="evil.example, attendee.example:8443")
    assert (seen["scheme"], seen["headers"][b"host"]) == ("https", b"attendee.example:8443")


@pytest.mark.parametrize("host", ["", "a b", "a/../b", "a\r\nSet-Cookie: x=1", "user@host", "host:port", "[::1"])
async def test_what_is_no_host_or_scheme_is_not_taken_for_one(host: str) -> None:
    """It would get into addresses that we answer with."""
    seen = await _seen("10.0.0.1", x_forwarded_proto="javascript", x_forwarded_host=host)
    assert (seen["scheme"], seen["headers"][b"host"]) == ("http", b"inside:8000")


@asynccontextmanager
async def _spoken_with() -> AsyncGenerator[int]:
    """The port of a server that has our HTTP and answers everything alike, with what came as headers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        names = b",".join(name for name, _ in scope["headers"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(names))]})
        await send({"type": "http.response.body", "body": names})

    server = QuietServer(
        uvicorn.Config(EveryRequest(app), http=BoundedHttp, port=0, lifespan="off", log_config=None, access_log=False)
    )
    running = asyncio.create_task(server.serve())
    await server.up.wait()
    try:
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.end()
        await running


async def _answer(port: int, request: bytes) -> bytes:
    """All that the server answers until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_heads_of_requests_are_bounded() -> None:
    """One that ends gets an answer that says so; one that does not end is cut off, whatever it is growing in."""
    async with _spoken_with() as port:
        for head, status in (
            (b"GET /" + 20_000 * b"a" + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", b"414"),
            (b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + 40_000 * b"a" + b"\r\n\r\n", b"431"),
            (b"GET /" + 2_000_000 * b"a", b"431"),
            (b"GET / HTTP/1.1\r\nX: " + 2_000_000 * b"a", b"431"),
            (b"GET / HTTP/1.1\r\n" + 200_000 * b"X: a\r\n", b"431"),
            (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
            (b"nonsense\r\n\r\n", b"400"),
        ):
            answer = await _answer(port, head)
            assert not answer or answer.startswith(b"HTTP/1.1 " + status), (head[:40], answer[:80])
        assert (await _answer(port, b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")


async def test_trailers_are_no_headers() -> None:
    """What comes after the body can't change what was decided before it."""
    async with _spoken_with() as port:
        request = (
            b"POST / HTTP/1.1\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Authorization\r\n\r\n"
            b"1\r\nx\r\n0\r\nAuthorization: Token x\r\n\r\n"
        )
        answer = await _answer(port, request)
        assert answer.endswith(b"connection,transfer-encoding,trailer")


@dataclass
class _Timer:
    seconds: float
    due: Callable[[], None]
    is_cancelled: bool = False

    def cancel(self) -> None:
        self.is_cancelled = True


class _Line(asyncio.Transport):
    """A connection to our HTTP, whose time passes when a test says so. The application answers once it is let."""

    def __init__(self, protocol: type[BoundedHttp] = BoundedHttp) -> None:
        super().__init__()
        self.written, self.is_cut = b"", False
        self.timers: list[_Timer] = []
        self.may_answer = asyncio.Event()
        config = uvicorn.Config(
            self._app, interface="asgi3", http=protocol, lifespan="off", log_config=None, access_log=False
        )
        loop: Any = self
        self.protocol = protocol(config, ServerState(), {}, _loop=loop)
        self.protocol.connection_made(self)

    async def _app(self, _scope: Any, _receive: Any, send: Any) -> None:
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def answered(self) -> None:
        self.may_answer.set()
        await asyncio.gather(*self.protocol.tasks)

    def let_time_pass(self) -> None:
        """The timer that runs is over."""
        (timer,) = self.running
        timer.cancel()
        timer.due()

    @property
    def running(self) -> list[_Timer]:
        return [timer for timer in self.timers if not timer.is_cancelled]

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        self.timers.append(_Timer(delay, callback))
        return self.timers[-1]

    def create_task(self, work: Any) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.is_cut = True

    abort = close

    def is_closing(self) -> bool:
        return self.is_cut

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_a_slow_head_is_given_up(start: bytes) -> None:
    """On a new connection and on one that was kept, however many bytes still come one by one."""
    line = _Line()
    if start:
        line.protocol.data_received(start)
        await line.answered()
        line.written = b""
    before = len(line.timers)
    for byte in b"\r\nGET / HTTP/1.1\r\nX: ":
        line.protocol.data_received(bytes([byte]))
    assert [timer.seconds for timer in line.running] == [BoundedHttp.head_within]
    assert len(line.timers) - before == bool(start)
    line.let_time_pass()
    assert line.is_cut
    assert line.written.startswith(b"HTTP/1.1 408 ")


async def test_a_connection_that_says_nothing_is_given_up() -> None:
    """Uvicorn alone would keep it for ever."""
    line = _Line()
    line.let_time_pass()
    assert line.is_cut


async def test_a_slow_body_is_given_up() -> None:
    """The time for it is one for all of it, and counts from the end of the head."""
    line = _Line()
    line.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n")
    for _ in range(5):
        line.protocol.data_received(b"a")
    assert [timer.seconds for timer in line.running] == [BoundedHttp.body_within]
    assert len(line.timers) == 2
    line.let_time_pass()
    assert line.is_cut
    await line.answered()


async def test_an_answer_takes_as_long_as_it_takes() -> None:
    """Once a request has come nothing runs any more: a live stream is not cut."""
    line = _Line()
    line.protocol.data_received(b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\na")
    assert line.running == []
    await line.answered()
    assert not line.is_cut


async def test_connections_are_bounded() -> None:
    """One more than the process has files for is closed at once."""

    class Few(BoundedHttp):
        most_connections = 0

    assert _Line(Few).is_cut
    assert not _Line().is_cut
