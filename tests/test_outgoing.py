"""Requests to addresses that users gave us: never to where they may not lead, never unbounded, never raised from."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from ssl import SSLContext
from typing import Any

import pytest

from attendee.connections import session
from attendee.lookups import Lookups
from attendee.outgoing import Answered, Outgoing, Unanswered, asked_to_wait, is_public, trust
from tests.certificates import Authority
from tests.installation import until

_PATIENCE = timedelta(seconds=20)
_SOON = timedelta(seconds=0.1)


@asynccontextmanager
async def _outgoing(
    *, allow_private: bool = True, patience: timedelta = _PATIENCE, **options: Any
) -> AsyncIterator[Outgoing]:
    made = Outgoing(allow_private=allow_private, timeout=patience, **options)
    yield made
    await made.close()


@asynccontextmanager
async def _receiver(
    answer: bytes, *, then_hang: bool = False, tls: SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
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

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1], heads


@asynccontextmanager
async def _stream(first: bytes, more: bytes, *, every: float = 0) -> AsyncIterator[tuple[int, list[int]]]:
    """A server that never ends its answer: its port, and how many bytes of it each connection took."""
    taken: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(0)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            while True:
                writer.write(more)
                await writer.drain()
                taken[-1] += len(more)
                await asyncio.sleep(every)
        except ConnectionError:
            pass  # The other side had enough.
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], taken


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
        "::127.0.0.1",
        "::ffff:0:127.0.0.1",
        "192.88.99.1",
        "198.51.100.7",
        "203.0.113.7",
        "3fff::1",
        "2606:4700:4700::1111%eth0",
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
    """Private, loopback, link-local, metadata, shared, documentation, zones, and every translation into IPv6."""
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
        outcome = await outgoing.post(f"http://{host}:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert outcome.error
    assert heads == []


class _SlowNames:
    """A resolver that never says where `slow-` names are, and that all others are here."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end = threading.Event()

    def ask(self, host: str, port: int, **options: Any) -> list[Any]:
        self.asked.append(host)
        if host.startswith("slow-"):
            self.end.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return socket.getaddrinfo("127.0.0.1", port, **options)


async def test_a_name_that_is_slow_to_be_found_holds_up_no_other() -> None:
    """One tenant's many names hang: another's, another of its own and the service's own are found all the same."""
    names = _SlowNames()
    lookups = Lookups(at_once=20, ask=names.ask)
    async with _receiver(_answer(b"here")) as (port, _), _outgoing(lookups=lookups) as outgoing:

        async def post(name: str, tenant: str) -> Answered | Unanswered:
            return await outgoing.post(f"http://{name}.example:{port}/", body="{}", headers={}, tenant=tenant)

        hanging = [asyncio.create_task(post(f"slow-{number}", "proj_1")) for number in range(19)]
        await until(lambda: len(names.asked) == 19)
        assert await post("other", "proj_2") == await post("own", "proj_1") == Answered(200, "here")
        assert await asyncio.get_running_loop().getaddrinfo("localhost", port)
        for task in hanging:
            task.cancel()

        # Who asks has gone, but the look-ups are still under way: that they are bounded, too.
        hanging = [asyncio.create_task(post("slow-19", "proj_1")) for _ in range(5)]
        await until(lambda: len(names.asked) == 22)
        assert await post("one-too-many", "proj_1") == Unanswered(
            "Can't connect: 20 other names of the project are still being looked up"
        )
        assert isinstance(await post("fine", "proj_2"), Answered)
        names.end.set()
        refusals = await asyncio.gather(*hanging)
        assert refusals == [Unanswered("Can't connect: Temporary failure in name resolution")] * 5
        assert isinstance(await post("fine-again", "proj_1"), Answered)


async def test_the_refusal_says_why() -> None:
    """The owner of the webhook reads it beside the attempt."""
    async with _outgoing(allow_private=False) as outgoing:
        outcome = await outgoing.post("http://127.0.0.1:1/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert "127.0.0.1 is not a public address" in outcome.error


async def test_private_addresses_can_be_allowed() -> None:
    """For local work: body and headers arrive as they are."""
    async with _receiver(_answer(b"thanks", status="202 Accepted")) as (port, heads), _outgoing() as outgoing:
        outcome = await outgoing.post(
            f"http://localhost:{port}/hook?a=1", body="{}", headers={"webhook-id": "k"}, tenant="proj_1"
        )
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
            outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Answered)
    assert outcome.status == int(status[:3])
    assert heads == []


async def test_a_receiver_that_hangs_is_given_up() -> None:
    """With a plain word of how long it was waited for."""
    async with _receiver(b"", then_hang=True) as (port, _), _outgoing(patience=timedelta(seconds=0.05)) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert "No answer within" in outcome.error


async def test_a_receiver_that_hangs_within_its_answer_is_given_up() -> None:
    """Its head alone is no answer."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    async with _receiver(head, then_hang=True) as (port, _), _outgoing(patience=timedelta(seconds=0.05)) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
        (b"HTTP/1.1 200 ", b"x"),
    ],
)
async def test_what_drips_is_given_up_when_its_time_is_over(first: bytes, more: bytes) -> None:
    """A byte now and then buys no more time: the limit is on the whole, from the connection to the end."""
    async with _stream(first, more, every=0.01) as (port, _), _outgoing(patience=_SOON) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert "No answer within" in outcome.error


async def test_a_flood_of_interim_answers_is_no_answer() -> None:
    """As many 1xx as the connection carries: they are passed over until time is up, and not gathered."""
    flood = b"HTTP/1.1 102 Processing\r\n\r\n" * 500
    async with _stream(b"", flood) as (port, _), _outgoing(patience=_SOON) as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)


@pytest.mark.parametrize(
    ("first", "more"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"x" * 4000 + b"\r\n"),
        (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 4000),
        (b"HTTP/1.1 200 ", b"x" * 4000),
    ],
)
async def test_a_head_without_end_is_cut_off(first: bytes, more: bytes) -> None:
    """Headers have a bound each and together, so that no answer costs memory."""
    async with _stream(first, more) as (port, taken), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert "no HTTP" in outcome.error
    assert sum(taken) < 10_000_000


async def test_a_huge_answer_is_read_only_at_its_beginning() -> None:
    """It could be endless: this one is, and is an answer all the same. The connection goes with it."""
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n"
    async with _stream(endless, b"x" * 1000) as (port, taken), _outgoing() as outgoing:
        for _ in range(2):
            outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
            assert isinstance(outcome, Answered)
            assert (outcome.status, len(outcome.text)) == (200, 4096)
    assert len(taken) == 2
    assert max(taken) < 10_000_000, "what the systems on both sides hold, and no more"


async def test_a_packed_answer_is_not_unpacked() -> None:
    """A few bytes could become gigabytes."""
    packed = _answer(b"\x1f\x8b\x08", headers="Content-Encoding: gzip\r\n")
    async with _receiver(packed) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Answered)
    assert outcome.status == 200


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nab"])
async def test_a_connection_that_is_reset_is_told_and_not_raised(said: bytes) -> None:
    """Before the answer, or in the middle of it: then it is none."""

    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        # Closed with a time to linger of zero, a socket sends a reset instead of a goodbye.
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server, _outgoing() as outgoing:
        port = server.sockets[0].getsockname()[1]
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert outcome.error


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


async def test_a_certificate_of_nobody_known_is_refused(authority: Authority) -> None:
    """And so is one that is made out to another host, whoever vouches for it."""
    for tls, host in ((None, "localhost"), (trust(authority.file), "127.0.0.1")):
        answer = _receiver(_answer(b"ok"), tls=authority.server_context("localhost"))
        async with answer as (port, heads), _outgoing(tls=tls) as outgoing:
            outcome = await outgoing.post(f"https://{host}:{port}/", body="{}", headers={}, tenant="proj_1")
        assert isinstance(outcome, Unanswered)
        assert "certificate" in outcome.error
        assert heads == []


async def test_an_authority_of_the_operators_own_is_trusted(authority: Authority) -> None:
    """Its certificates count as the system's do."""
    answer = _receiver(_answer(b"ok"), tls=authority.server_context("localhost"))
    async with answer as (port, _), _outgoing(tls=trust(authority.file)) as outgoing:
        outcome = await outgoing.post(f"https://localhost:{port}/", body="{}", headers={}, tenant="proj_1")
    assert outcome == Answered(200, "ok")


def test_a_file_without_authorities_is_refused(tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "empty.pem").write_text("nothing")
    with pytest.raises(ValueError, match="PEM"):
        trust(tmp_path / "empty.pem")
    with pytest.raises(OSError, match="No such file"):
        trust(tmp_path / "missing.pem")


async def test_what_only_looks_like_https_is_told_and_not_raised() -> None:
    """A server that says something before, or instead of, the handshake."""

    async def babble(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.2\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server, _outgoing() as outgoing:
        port = server.sockets[0].getsockname()[1]
        outcome = await outgoing.post(f"https://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert outcome.error


async def test_no_proxy_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither for webhooks nor for platforms and runners: where requests go is a setting, or nobody's word."""
    async with _receiver(_answer(b"ok")) as (port, heads), _receiver(_answer(b"a proxy")) as (proxy, proxied):
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        async with _outgoing() as outgoing:
            await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
        async with session(trust(None)) as http, http.get(f"http://127.0.0.1:{port}/") as response:
            assert response.status == 200
    assert len(heads) == 2
    assert proxied == []


async def test_a_proxy_that_is_set_gets_everything() -> None:
    """It is the operator's word, so that it may be at a private address; the name is for it to look up."""
    async with (
        _receiver(_answer(b"by proxy")) as (port, heads),
        _outgoing(allow_private=False, proxy=f"http://me:hush@127.0.0.1:{port}") as outgoing,
    ):
        outcome = await outgoing.post("http://hooks.example/in", body="{}", headers={}, tenant="proj_1")
    assert outcome == Answered(200, "by proxy")
    assert heads[0].startswith(b"POST http://hooks.example/in HTTP/1.1\r\n")
    assert b"Proxy-Authorization: Basic bWU6aHVzaA==" in heads[0]


async def test_a_proxy_that_refuses_does_not_show_itself() -> None:
    """Tenants read the error; where the proxy is and what opens it are not theirs."""
    refusal = _answer(b"", status="403 Forbidden")
    async with (
        _receiver(refusal) as (port, heads),
        _outgoing(proxy=f"http://me:hush@127.0.0.1:{port}") as outgoing,
    ):
        refused = await outgoing.post("https://hooks.example/", body="{}", headers={}, tenant="proj_1")
    async with _outgoing(proxy=f"http://me:hush@127.0.0.1:{port}") as outgoing:
        away = await outgoing.post("https://hooks.example/", body="{}", headers={}, tenant="proj_1")
    assert heads[0].startswith(b"CONNECT hooks.example:443 HTTP/1.1\r\n")
    for outcome in (refused, away):
        assert isinstance(outcome, Unanswered)
        assert "proxy" in outcome.error
        assert "hush" not in outcome.error
        assert str(port) not in outcome.error


_DATE = "Mon, 23 Nov 2026 09:30:00 GMT"


@pytest.mark.parametrize(
    ("said", "date", "wait"),
    [
        ("120", _DATE, 120),
        ("0", _DATE, 0),
        ("-5", _DATE, 0),
        ("1.5", _DATE, 1.5),
        ("999999999", _DATE, 86_400),
        ("Mon, 23 Nov 2026 09:32:00 GMT", _DATE, 120),
        ("Mon, 23 Nov 2026 09:00:00 GMT", _DATE, 0),
        ("Wed, 23 Nov 2089 09:30:00 GMT", _DATE, 86_400),
        ("Mon, 23 Nov 2026 09:32:00 GMT", "", None),
        ("Mon, 23 Nov 99999999999999999999 09:32:00 GMT", _DATE, None),
        ("nan", _DATE, None),
        ("inf", _DATE, None),
        ("soon", _DATE, None),
        ("", _DATE, None),
    ],
)
def test_retry_after_is_understood_within_bounds(said: str, date: str, wait: float | None) -> None:
    """Seconds or a date, a day at most; nonsense is no word at all."""
    asked = asked_to_wait({"Retry-After": said, "Date": date})
    assert asked == (None if wait is None else timedelta(seconds=wait))


@pytest.mark.parametrize(
    "answer", [b"", b"not HTTP at all\r\n\r\n", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n"]
)
async def test_what_is_no_answer_is_told_and_not_raised(answer: bytes) -> None:
    """A connection that is cut, or something that speaks another language."""
    async with _receiver(answer) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert outcome.error


async def test_an_answer_may_be_in_any_bytes() -> None:
    """What is no UTF-8 is replaced, not refused."""
    async with _receiver(_answer(b"\xff\xfe\x00ok")) as (port, _), _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Answered)
    assert outcome.text.endswith("ok")


@pytest.mark.parametrize(
    "url", ["http://", "http://[::1", "nonsense", "ftp://localhost/", "http://a..b/", "http://\ud800/"]
)
async def test_an_impossible_url_is_told_and_not_raised(url: str) -> None:
    """However it came to be stored."""
    async with _outgoing() as outgoing:
        assert isinstance(await outgoing.post(url, body="{}", headers={}, tenant="proj_1"), Unanswered)


async def test_nobody_listening_is_told_and_not_raised() -> None:
    """The error names what the system said."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    async with _outgoing() as outgoing:
        outcome = await outgoing.post(f"http://127.0.0.1:{port}/", body="{}", headers={}, tenant="proj_1")
    assert isinstance(outcome, Unanswered)
    assert "Connect" in outcome.error
