"""What stands between the network and both applications: requests that end, and proxies that are believed."""

import asyncio
import math
import re
import resource
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_Scope = MutableMapping[str, Any]
_App = Callable[[Any, Any, Any], Awaitable[None]]
_Address = IPv4Address | IPv6Address

# A head that has not ended after so much never will. What it may have once it has ended, the applications say.
_HEAD_LIMIT = 128 * 1024
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/json\r\nContent-Length: 49\r\n"
    b'Connection: close\r\n\r\n{"detail":"The head of the request is too large"}'
)
_TOO_SLOW = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\nContent-Length: 51\r\n"
    b'Connection: close\r\n\r\n{"detail":"The request did not arrive soon enough"}'
)
_MOST_FILES = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
_HOST = re.compile(r"[A-Za-z0-9._-]+(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](:[0-9]{1,5})?")


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, which alone would keep the head of a request however long it gets, and wait for it for ever.

    Only the reading of a request has an end in time, never its answer: a page's live stream lasts as long as the page.
    """

    # In seconds: from the connection, or the first byte after the last answer, to the end of the head; then of the
    # body, the largest of which that we take passes the slowest of lines in that time.
    head_within: float = 30
    body_within: float = 60
    # As many as leave the process files to work with. uvicorn's own limit refuses requests, but keeps the connections.
    most_connections: float = _MOST_FILES // 2 if _MOST_FILES != resource.RLIM_INFINITY else math.inf

    _is_in_head = False
    _head_bytes = 0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            transport.abort()
            return
        self._expect_within(self.head_within)

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_in_head = self._is_in_head
        if self._deadline is None and not self._is_answering:
            self._expect_within(self.head_within)
        super().data_received(data)
        if was_in_head and self._is_in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > _HEAD_LIMIT:
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        self._is_in_head, self._head_bytes = True, 0
        if self._deadline is None:
            self._expect_within(self.head_within)
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after a body in chunks is no header: nothing that has been checked may change any more.
        if self._is_in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._expect_within(self.body_within)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._expect_nothing()
        super().on_message_complete()

    @property
    def _is_answering(self) -> bool:
        # There is no cycle before the first request.
        return not getattr(self.cycle, "response_complete", True)

    def _expect_within(self, seconds: float) -> None:
        self._expect_nothing()
        self._deadline = self.loop.call_later(seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_in_head and not self._is_answering:
            self.transport.write(_TOO_SLOW)
        self.transport.close()


class BehindProxies:
    """Takes client, scheme and host from X-Forwarded-For, -Proto and -Host, but only from proxies that are trusted.

    Of each the last word counts, which is what the nearest proxy has said; of X-Forwarded-For the last address that
    is not a trusted proxy's: what stands before it a stranger may have written.
    """

    def __init__(self, app: _App, trusted: Sequence[str]) -> None:
        """`trusted` are addresses and networks."""
        self._app = app
        self._trusted = [ip_network(text) for text in trusted]

    async def __call__(self, scope: _Scope, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and scope.get("client") and self._trusts(_address(scope["client"][0])):
            scope = self._as_forwarded(scope)
        await self._app(scope, receive, send)

    def _as_forwarded(self, scope: _Scope) -> _Scope:
        given: dict[bytes, str] = {}
        for name, value in scope["headers"]:
            if name in {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}:
                before = given.get(name)
                given[name] = value.decode("latin-1") if before is None else f"{before},{value.decode('latin-1')}"
        changed: dict[str, Any] = {}
        client = self._client(given.get(b"x-forwarded-for", "").split(","))
        if client is not None:
            changed["client"] = (str(client), 0)
        scheme = _last(given.get(b"x-forwarded-proto")).lower()
        if scheme in {"http", "https"}:
            changed["scheme"] = scheme
        host = _last(given.get(b"x-forwarded-host"))
        if _HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [*others, (b"host", host.encode())]
        return {**scope, **changed}

    def _client(self, hops: Sequence[str]) -> _Address | None:
        """The last hop that is not a trusted proxy; with none, the first that is known."""
        known: _Address | None = None
        for hop in reversed(hops):
            address = _address(hop)
            if address is None:
                break
            known = address
            if not self._trusts(address):
                break
        return known

    def _trusts(self, address: _Address | None) -> bool:
        return address is not None and _is_in(address, self._trusted)


def _is_in(address: _Address, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks)


def _address(text: str) -> _Address | None:
    """The address, which may have a port; one of IPv4 that is written as one of IPv6 is one of IPv4."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped


def _last(header: str | None) -> str:
    return (header or "").rpartition(",")[2].strip()
