"""The ways out: to receivers of webhooks, to the platforms, to the operator's own machines."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import aiohttp
from pydantic import SecretStr

from attendee.outgoing import Outgoing, trust
from attendee.settings import Settings

# A receiver of webhooks has so long to answer.
_WEBHOOK_TIMEOUT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Connections:
    """Where a tenant sends us (`receivers`), where the operator does (`runner`), and Google and Microsoft."""

    receivers: Outgoing
    platforms: aiohttp.ClientSession
    runner: aiohttp.ClientSession


@asynccontextmanager
async def connected(settings: Settings) -> AsyncGenerator[Connections]:
    """All of them, closed afterwards. Nothing is connected to before it is needed."""
    tls = trust(settings.certificate_authorities)
    receivers = Outgoing(
        allow_private=settings.allow_insecure_webhooks,
        timeout=_WEBHOOK_TIMEOUT,
        tls=tls,
        proxy=_address(settings.webhook_proxy),
    )
    try:
        async with session(tls, proxy=_address(settings.platform_proxy)) as platforms, session(tls) as runner:
            yield Connections(receivers, platforms, runner)
    finally:
        await receivers.close()


def session(tls: ssl.SSLContext, *, proxy: str | None = None) -> aiohttp.ClientSession:
    """A client that takes nothing from the environment (proxies, .netrc) and keeps nothing that is set (cookies)."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=tls),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        proxy=proxy,
    )


def _address(proxy: SecretStr | None) -> str | None:
    return None if proxy is None else proxy.get_secret_value()
