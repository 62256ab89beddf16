"""Everything that a request or a piece of work in the background needs, in one place."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import aiohttp

from attendee_client.aio import AsyncClient
from notetaker.platforms import Platform
from notetaker.store import Store


@dataclass(frozen=True, slots=True)
class Office:
    store: Store
    service: AsyncClient
    http: aiohttp.ClientSession
    platforms: Mapping[str, Platform]
    url: str
    # Says what time it is, in UTC.
    now: Callable[[], datetime]
    # Set when there may be something to do.
    bell: asyncio.Event = field(default_factory=asyncio.Event)
