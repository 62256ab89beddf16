"""Requests to addresses that users gave us: never to where they may not lead, never unbounded, never raised from."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from attendee.outgoing import Answered, Outgoing, Unanswered, is_public

_PATIENCE = timedelta(seconds=20)


@asynccontextmanager
async def _outgoing(*, allow_private: bool = True, patience: timedelta = _PATIENCE) -> AsyncIterator[Outgoing]:
    made = Outgoing(allow_private=allow_private, timeout=patience)
    yield made
    await made.close()


@asynccontextmanager
async def _receiver(answer: bytes, *, then_hang: bool = False) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says just this to everybody: its port, and what it was sent."""
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
            await writer.drain()
            if then_hang:
                await reader.read()
        except ConnectionError:
            pass  # The other side had enough.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


def _answer(body: bytes, *, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}Connection: close\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.8.8.8",
        "0.0.0.0",  # noqa: S104  # an address to be refused, not one to listen on
        "10.0.0.1",
        "172.16.5.4",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "fd00:ec2::254",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "2001:db8::1",
        "localhost",
        "",
    ],
)
def test_addresses_that_lead_inside_are_not_public(address: str) -> None:
    """Private, loopback, link-local, metadata, carrier-grade NAT, and every translation of those into IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700:4700::1111", "::ffff:1.1.1.1"])
def test_addresses_of_the_open_internet_are_public(address: str) -> None:
    """Also an IPv4 address that is written as IPv6."""
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "hooks.localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "2130706433", "127.1"],  # noqa: S104  # as above
)
async def test_nothing_is_sent_to_a_private_address(host: str) -> None:
    """Refused when connecting, whether it is written as a number or a name resolves to it."""
    async with _receiver(_answer(b"inside")) as (port, heads), _outgoing(allow_private=False) as outgoing:
        outcome = await outgoing.post(f"http://{host}:{port}/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)
    assert outcome.error
    assert heads == []


async def test_the_refusal_says_why() -> None:
    """The owner of the webhook reads it beside the attempt."""
    async with _outgoing(allow_private=False) as outgoing:
        outcome = await outgoing.post("http://127.0.0.1:1/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)
    assert "127.0.0.1 is not a public address" in outcome.error


async def test_private_addresses_can_be_allowed() -> None:
    """For local work: body and headers arrive as they are."""
    async with _receiver(_answer(b"thanks", status="202 Accepted")) as (port, heads), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://localhost:{port}/hook?a=1", body="{}", headers={"webhook-id": "k"})
    assert isinstance(outcome, Answered)
    assert (outcome.status, outcome.text) == (202, "thanks")
    assert heads[0].startswith(b"POST /hook?a=1 HTTP/1.1\r\n")
    assert b"webhook-id: k\r\n" in heads[0]


@pytest.mark.parametrize("status", ["301 Moved Permanently", "302 Found", "307 Temporary Redirect"])
async def test_a_redirect_is_an_answer_and_not_followed(status: str) -> None:
    """Or it would lead where no address was checked."""
    async with _receiver(_answer(b"inside")) as (inside, heads):
        elsewhere = _answer(b"", status=status, headers=f"Location: http://127.0.0.1:{inside}/\r\n")
        async with _receiver(elsewhere) as (port, _), _outgoing() as outgoing:
            outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Answered)
    assert outcome.status == int(status[:3])
    assert heads == []


async def test_a_receiver_that_hangs_is_given_up() -> None:
    """With a plain word of how long it was waited for."""
    async with _receiver(b"", then_hang=True) as (port, _), _outgoing(patience=timedelta(seconds=0.05)) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)
    assert "No answer within" in outcome.error


async def test_a_receiver_that_hangs_within_its_answer_is_given_up() -> None:
    """Its head alone is no answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    async with _receiver(head, then_hang=True) as (port, _), _outgoing(patience=timedelta(seconds=0.05)) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)


async def test_a_huge_answer_is_read_only_at_its_beginning() -> None:
    """It could be endless: this one is, and is an answer all the same."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * 100_000
    async with _receiver(endless, then_hang=True) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Answered)
    assert 0 < len(outcome.text) <= 4096


@pytest.mark.parametrize(
    "answer", [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_no_answer_is_told_and_not_raised(answer: bytes) -> None:
    """A connection that is cut, or something that speaks another language."""
    async with _receiver(answer) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)
    assert outcome.error


async def test_an_answer_may_be_in_any_bytes() -> None:
    """What is no UTF-8 is replaced, not refused."""
    async with _receiver(_answer(b"\xff\xfe\x00ok")) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Answered)
    assert outcome.text.endswith("ok")


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "nonsense", "ftp://localhost/", "http://a..b/", "http://\ud800/"]
)
async def test_an_impossible_url_is_told_and_not_raised(url: str) -> None:
    """However it came to be stored."""
    async with _outgoing() as outgoing:
        assert isinstance(await outgoing.post(url, body="{}", headers={}), Unanswered)


async def test_nobody_listening_is_told_and_not_raised() -> None:
    """The error names what the system said."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={})
    assert isinstance(outcome, Unanswered)
    assert "Connect" in outcome.error
