"""Both clients under one set of names, so that every test is a test of either."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import aiohttp

from attendee_client import Client, Patience
from attendee_client.aio import AsyncClient
from attendee_client.api import Call
from attendee_client.models import Page

_Result = TypeVar("_Result")
_Model = TypeVar("_Model")


class Speaking(Protocol):
    async def do(self, call: Call[_Result]) -> _Result: ...

    async def find(self, call: Call[_Result]) -> _Result | None: ...

    async def pages(self, call: Call[Page[_Model]]) -> Sequence[Page[_Model]]: ...

    async def each(self, call: Call[Page[_Model]]) -> Sequence[_Model]: ...


@dataclass
class Blocking:
    """The blocking client, in a thread, since the service runs in ours."""

    client: Client

    async def do(self, call: Call[_Result]) -> _Result:
        return await asyncio.to_thread(self.client.do, call)

    async def find(self, call: Call[_Result]) -> _Result | None:
        return await asyncio.to_thread(self.client.find, call)

    async def pages(self, call: Call[Page[_Model]]) -> Sequence[Page[_Model]]:
        return await asyncio.to_thread(lambda: list(self.client.pages(call)))

    async def each(self, call: Call[Page[_Model]]) -> Sequence[_Model]:
        return await asyncio.to_thread(lambda: list(self.client.each(call)))


@dataclass
class Asynchronous:
    client: AsyncClient

    async def do(self, call: Call[_Result]) -> _Result:
        return await self.client.do(call)

    async def find(self, call: Call[_Result]) -> _Result | None:
        return await self.client.find(call)

    async def pages(self, call: Call[Page[_Model]]) -> Sequence[Page[_Model]]:
        return [page async for page in self.client.pages(call)]

    async def each(self, call: Call[Page[_Model]]) -> Sequence[_Model]:
        return [one async for one in self.client.each(call)]


@dataclass(frozen=True)
class Kind:
    """How to make a client of either kind; what it would wait for is only noted."""

    name: str

    def speaking(self, http: aiohttp.ClientSession, url: str, key: str, **options: Any) -> tuple[Speaking, list[float]]:
        pauses: list[float] = []
        patience = options.pop("patience", Patience())
        if self.name == "blocking":
            blocking = Client(url, key, patience=patience, sleep=pauses.append, **options)
            return Blocking(blocking), pauses
        asynchronous = AsyncClient(http, url, key, patience=patience, sleep=_noting(pauses), **options)
        return Asynchronous(asynchronous), pauses


def _noting(pauses: list[float]) -> Callable[[float], Any]:
    async def note(seconds: float) -> None:
        pauses.append(seconds)

    return note
