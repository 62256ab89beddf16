"""HTTP to addresses that a user gave us: checked at the moment of connecting, bounded, never redirected."""

import asyncio
import errno
import ipaddress
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import aiohttp

_CONNECT_SECONDS = 5
_ANSWER_BYTES = 4_096
_ERROR_CHARACTERS = 500
# Carrier-grade NAT and the translation prefixes of IPv6 reach private networks, though not all count as private.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/32",
        "::/96",
        "::ffff:0:0:0/96",
    )
)


class RefusedAddress(OSError):
    """The host resolves to an address that a user may not send us to."""


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer came. `text` is its beginning."""

    status: int
    text: str


@dataclass(frozen=True, slots=True)
class Unanswered:
    """No answer came, and why, in plain words."""

    error: str


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not private, loopback, link-local, or a way around that."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    if (
        not parsed.is_global
        or parsed.is_multicast
        or (isinstance(parsed, ipaddress.IPv6Address) and parsed.is_site_local)
    ):
        return False
    return not any(parsed in network for network in _REFUSED_NETWORKS if network.version == parsed.version)


class Outgoing:
    """Sends webhooks. `allow_private` lifts the check of addresses, for local work."""

    def __init__(self, *, allow_private: bool, timeout: timedelta) -> None:
        def connect_only_where_allowed(address: Any) -> socket.socket:
            family, kind, protocol, _, target = address
            # Here, and not when the name is looked up: what was looked up can be another address a moment later.
            if not allow_private and not is_public(target[0]):
                raise RefusedAddress(errno.EACCES, f"{target[0]} is not a public address")
            return socket.socket(family, kind, protocol)

        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds(), connect=_CONNECT_SECONDS)
        self._connector = aiohttp.TCPConnector(limit=0, socket_factory=connect_only_where_allowed, ttl_dns_cache=60)
        self._session = aiohttp.ClientSession(
            connector=self._connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
        )

    async def post(self, url: str, *, body: str, headers: dict[str, str]) -> Answered | Unanswered:
        """One POST, never raised from: what was answered, or why nothing was."""
        try:
            async with self._session.post(
                url, data=body.encode(), headers=headers, allow_redirects=False, timeout=self._timeout
            ) as response:
                beginning = await response.content.read(_ANSWER_BYTES)
                return Answered(response.status, beginning.decode("utf-8", "replace"))
        except TimeoutError:
            return Unanswered(f"No answer within {self._timeout.total:.0f} seconds.")
        except aiohttp.ClientConnectorError as failure:
            return Unanswered(f"Can't connect: {failure.strerror or failure}"[:_ERROR_CHARACTERS])
        except (aiohttp.ClientError, OSError, ValueError, asyncio.IncompleteReadError) as failure:
            return Unanswered(f"{type(failure).__name__}: {failure}"[:_ERROR_CHARACTERS])

    async def close(self) -> None:
        await self._session.close()
