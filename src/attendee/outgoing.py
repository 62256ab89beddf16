"""HTTP to addresses that a user gave us: checked at the moment of connecting, bounded, never redirected."""

import asyncio
import errno
import ipaddress
import math
import socket
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import aiohttp

from attendee.lookups import Lookups

_CONNECT_SECONDS = 5
_ANSWER_BYTES = 4_096
_ERROR_CHARACTERS = 500
_LONGEST_WAIT = timedelta(days=1)
# What the library's word "global" lets through, or did in some version of it: carrier-grade NAT, relays, documentation.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
    )
)
# All that is in use of the open internet's IPv6: the translations of IPv4 (NAT64, compatible), private, link-local and
# multicast addresses lie outside.
_OPEN_IPV6 = ipaddress.ip_network("2000::/3")


class RefusedAddress(OSError):
    """The host resolves to an address that a user may not send us to."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer came. `text` is its beginning; `retry_after` is how long it wants to be left alone."""

    status: int
    text: str
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came, and why, in plain words."""

    error: str


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, or a way around that."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            parsed = parsed.ipv4_mapped
        elif parsed.scope_id is not None or parsed not in _OPEN_IPV6:
            return False
    if not parsed.is_global or parsed.is_multicast:
        return False
    return not any(parsed in network for network in _REFUSED_NETWORKS)


def hushed(text: str, secrets: Iterable[str]) -> str:
    """What somebody has answered, without the secrets that were sent to them: as they are, or as in a form or path."""
    for secret in filter(None, secrets):
        for form in (secret, quote_plus(secret), quote(secret, safe="")):
            text = text.replace(form, "***")
    return text


def asked_to_wait(headers: Mapping[str, str]) -> timedelta | None:
    """What `Retry-After` asks for, at most a day; None without a word that can be understood.

    A date is measured against the answer's own `Date`, so that no clock but the answering side's has a say.
    """
    value = headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            wait = parsedate_to_datetime(value) - parsedate_to_datetime(headers.get("Date", ""))
        # TypeError: one of the two dates has a zone, the other has none. OverflowError: a year of twenty digits.
        except (TypeError, ValueError, OverflowError):
            return None
        seconds = wait.total_seconds()
    if not math.isfinite(seconds):
        return None
    return timedelta(seconds=min(max(seconds, 0.0), _LONGEST_WAIT.total_seconds()))


async def beginning(content: aiohttp.StreamReader, most: int) -> bytes:
    """An answer's body, but no more bytes of it than `most`, once they are unpacked; the rest is not read."""
    read = bytearray()
    while len(read) < most and (more := await content.read(most - len(read))):
        read += more
    return bytes(read)


def trust(authorities: Path | None) -> ssl.SSLContext:
    """Checks certificates against the system's authorities, and those of a PEM file. Raises OSError and ValueError."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if authorities is not None:
        try:
            context.load_verify_locations(authorities)
        except ssl.SSLError:
            raise ValueError(f"there is no certificate in PEM form in {authorities}") from None
    return context


class Outgoing:
    """Sends webhooks. `allow_private` lifts the check of addresses, for local work.

    With a `proxy`, everything goes through it: it looks up the names, so it decides where one may go.
    """

    def __init__(
        self,
        *,
        allow_private: bool,
        timeout: timedelta,
        tls: ssl.SSLContext | None = None,
        proxy: str | None = None,
        lookups: Lookups | None = None,
    ) -> None:
        def connect_only_where_allowed(address: Any) -> socket.socket:
            family, kind, protocol, _, target = address
            # Here, and not when the name is looked up: what was looked up can be another address a moment later.
            if proxy is None and not allow_private and not is_public(target[0]):
                raise RefusedAddress(errno.EACCES, f"{target[0]} is not a public address")
            return socket.socket(family, kind, protocol)

        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds(), connect=_CONNECT_SECONDS)
        self._lookups = lookups or Lookups()
        self._connector = aiohttp.TCPConnector(
            limit=0,
            resolver=self._lookups,
            socket_factory=connect_only_where_allowed,
            ttl_dns_cache=60,
            ssl=tls or True,
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            proxy=proxy,
            auto_decompress=False,
        )

    async def post(self, url: str, *, body: str, headers: dict[str, str], tenant: str) -> Answered | Unanswered:
        """One POST, never raised from: what was answered, or why nothing was. `tenant` is who wants it sent.

        An answer counts once it is whole, or as much of it as is kept has come; the rest is not read.
        """
        try:
            with self._lookups.of(tenant):
                async with self._session.post(
                    url, data=body.encode(), headers=headers, allow_redirects=False, timeout=self._timeout
                ) as response:
                    text = (await beginning(response.content, _ANSWER_BYTES)).decode("utf-8", "replace")
                    return Answered(response.status, text, asked_to_wait(response.headers))
        except TimeoutError:
            return Unanswered(f"No answer within {self._timeout.total:.0f} seconds.")
        # Neither says where the proxy is, nor its password: the owner of the webhook reads this.
        except aiohttp.ClientProxyConnectionError:
            return Unanswered("The proxy that webhooks go through can't be reached.")
        except aiohttp.ClientHttpProxyError as refusal:
            return Unanswered(f"The proxy that webhooks go through refused: it answered {refusal.status}.")
        except aiohttp.ClientResponseError as failure:
            return Unanswered(f"What came is no HTTP: {' '.join(failure.message.split())}"[:_ERROR_CHARACTERS])
        except aiohttp.ClientConnectorError as failure:
            return Unanswered(f"Can't connect: {failure.strerror or failure}"[:_ERROR_CHARACTERS])
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as failure:
            return Unanswered(f"{type(failure).__name__}: {failure}"[:_ERROR_CHARACTERS])

    async def close(self) -> None:
        await self._session.close()
