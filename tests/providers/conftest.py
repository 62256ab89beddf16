"""The module for Google, before a platform that says what a test tells it to."""

from collections.abc import AsyncIterator

import aiohttp
import pytest

from attendee.providers.google import GoogleCalendar
from attendee.providers.port import (
    CalendarProvider,
)
from tests.providers.loopback import Loopback, running_loopback


@pytest.fixture
async def platform() -> AsyncIterator[Loopback]:
    async with running_loopback() as loopback:
        yield loopback


@pytest.fixture
async def google(platform: Loopback) -> AsyncIterator[CalendarProvider]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield GoogleCalendar(
            http=http,
            api_url=platform.url,
            token_url=f"{platform.url}/token",
            find_meeting_url=lambda **_: None,
        )
