"""A platform that says exactly what a test tells it to, byte for byte, and remembers what it was asked."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import orjson


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, its target as it was on the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.target).query).items()}


@dataclass(slots=True)
class Loopback:
    """Gives out `answers` in order, one connection each."""

    url: str = ""
    answers: deque[tuple[bytes, bool]] = field(default_factory=deque)
    asked: list[Asked] = field(default_factory=list)

    def will_send(self, body: object = None, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Bytes are sent as they are, everything else as JSON."""
        content = body if isinstance(body, bytes) else orjson.dumps(body)
        lines = [f"HTTP/1.1 {status} So", f"Content-Length: {len(content)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        self.will_send_bytes("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    def will_send_bytes(self, answer: bytes, *, then_hang: bool = False) -> None:
        """The answer, head and all; then the connection is cut, or stays open until the other side hangs up."""
        self.answers.append((answer, then_hang))

    def will_hang(self) -> None:
        """The next request gets no answer for as long as its sender waits."""
        self.will_send_bytes(b"", then_hang=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
            method, target, _ = lines[0].split(" ")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            body = await reader.readexactly(int(headers.get("Content-Length", "0")))
            self.asked.append(Asked(method, target, headers, body))
            answer, then_hang = self.answers.popleft()
            writer.write(answer)
            await writer.drain()
            if then_hang:
                await reader.read()
        except ConnectionError:
            pass  # The other side had enough.
        finally:
            writer.close()


@asynccontextmanager
async def running_loopback() -> AsyncIterator[Loopback]:
    """A loopback platform, gone afterwards."""
    loopback = Loopback()
    server = await asyncio.start_server(loopback.serve, "127.0.0.1", 0)
    loopback.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        yield loopback
