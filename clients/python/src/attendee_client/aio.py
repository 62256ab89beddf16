"""The client for asyncio, over aiohttp: `pip install 'attendee-client[async]'`."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import aiohttp
from yarl import URL

from attendee_client.answers import body_of, headers_of, result_of
from attendee_client.api import Call, next_page
from attendee_client.errors import NotFound, Trouble, Unreachable
from attendee_client.models import Page
from attendee_client.patience import Patience

_Result = TypeVar("_Result")
_Model = TypeVar("_Model")


class AsyncClient:
    """As `attendee_client.Client`, on a session of the caller's, who closes it."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        url: str,
        api_key: str,
        *,
        patience: Patience | None = None,
        timeout: timedelta = timedelta(seconds=10),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`url` is the service's, without `/api/v1`."""
        self._http = http
        self._url = url.rstrip("/")
        self._headers = headers_of(api_key)
        self._patience = patience or Patience()
        self._timeout = aiohttp.ClientTimeout(total=timeout.total_seconds())
        self._sleep = sleep

    async def do(self, call: Call[_Result]) -> _Result:
        """Makes the call, again if need be; its result."""
        failed = 0
        while True:
            try:
                return await self._once(call)
            except Trouble as trouble:
                failed += 1
                pause = self._patience.pause(
                    trouble, failed=failed, is_repeatable=call.is_repeatable, luck=random.random()
                )
                if pause is None:
                    raise
                await self._sleep(pause.total_seconds())

    async def find(self, call: Call[_Result]) -> _Result | None:
        """As `do`; None where the service does not find it."""
        try:
            return await self.do(call)
        except NotFound:
            return None

    async def pages(self, call: Call[Page[_Model]]) -> AsyncIterator[Page[_Model]]:
        """All pages of a list, each asked for when it is its turn."""
        following: Call[Page[_Model]] | None = call
        while following is not None:
            page = await self.do(following)
            yield page
            following = next_page(call, page)

    async def each(self, call: Call[Page[_Model]]) -> AsyncIterator[_Model]:
        """Everything in a list, page by page."""
        async for page in self.pages(call):
            for one in page.results:
                yield one

    async def _once(self, call: Call[_Result]) -> _Result:
        try:
            async with self._http.request(
                call.method,
                URL(self._url + call.path, encoded=True),
                data=body_of(call),
                headers=self._headers,
                timeout=self._timeout,
                # The service sends nobody elsewhere, and the key must not follow whoever does.
                allow_redirects=False,
            ) as answer:
                status, headers, content = answer.status, answer.headers, await answer.read()
        except (aiohttp.ClientError, TimeoutError) as trouble:
            message = f"{call.method} {call.path}: {trouble!r}"
            raise Unreachable(message) from trouble
        return result_of(call, status=status, headers=headers, content=content)
