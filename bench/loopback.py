"""The smallest HTTP/1.1 server that our client can talk to: it must cost next to nothing beside what is measured."""

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

HOST = "127.0.0.1"
_END_OF_HEAD = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Request:
    """A request, read to its end. `target` is path and query."""

    method: str
    target: str
    body: bytes


class Connection(asyncio.Protocol):
    """Answers 200 with the JSON that `answer` gives, `seconds` after the request's last byte."""

    def __init__(self, answer: Callable[[Request], bytes], *, seconds: float = 0) -> None:
        self._answer = answer
        self._seconds = seconds
        self._read = b""
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transport is one, but not by inheritance.
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._read += data
        while (request := self._next_request()) is not None:
            body = self._answer(request)
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            if self._seconds:
                asyncio.get_running_loop().call_later(self._seconds, self._write, head.encode() + body)
            else:
                self._write(head.encode() + body)

    def _next_request(self) -> Request | None:
        head, end, rest = self._read.partition(_END_OF_HEAD)
        if not end:
            return None
        length = 0
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        if len(rest) < length:
            return None
        self._read = rest[length:]
        method, target, _ = head.split(b" ", 2)
        return Request(method.decode(), target.decode(), rest[:length])

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


async def listen(answer: Callable[[Request], bytes], *, seconds: float = 0) -> tuple[asyncio.Server, str]:
    """A server on a free loopback port, and its address."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind((HOST, 0))
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answer, seconds=seconds), sock=listener, backlog=2048)
    return server, f"http://{HOST}:{listener.getsockname()[1]}"
