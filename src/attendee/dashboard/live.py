"""Pages that keep themselves fresh: a stream of server-sent events that says when what a page shows has changed.

Nothing has to be told to it: the page is made again whenever the database has changed, and compared.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from attendee.dashboard.rendering import version_of
from attendee.dashboard.visits import Refused, SignInFirst
from attendee.errors import DomainError
from attendee.store.database import TROUBLE, Database

_SECONDS = 1.0
# Proxies end connections on which nothing is said.
_SAY_SOMETHING_EVERY = 20
# A stream is begun anew now and then, by itself, with another look at who may see the page.
_LASTS_SECONDS = 900
_MOST_STREAMS = 100
# After a page that took long to make, so many times as long is waited: an open page costs a few percent of a core.
_REST = 20
# To a browser it means: don't ask again.
_NO_STREAM = 204


class Pulse:
    """Knows whether anything has changed. It asks once a second however many pages are open, never while none is."""

    def __init__(self, database: Database, stop: asyncio.Event) -> None:
        self.streams = 0
        self._database = database
        self._stop = stop
        self._asking = asyncio.Lock()
        self._asked_at = 0.0
        self._mark: object = None

    async def mark(self) -> object:
        """Something that is another after every change."""
        async with self._asking:
            if time.monotonic() - self._asked_at >= _SECONDS:
                self._mark = await self._database.mark()
                self._asked_at = time.monotonic()
            return self._mark

    async def wait(self) -> bool:
        """Waits for a moment; false if the process is about to stop."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_SECONDS):
                await self._stop.wait()
        return not self._stop.is_set()


def is_stream(request: Request) -> bool:
    return "text/event-stream" in request.headers.get("accept", "")


async def stream(show: Callable[[], Awaitable[Response]], version: str | None, pulse: Pulse) -> Response:
    """Says `changed` when the page is no longer the `version` that the browser has, and whenever it changes again."""
    if pulse.streams >= _MOST_STREAMS:
        return Response(status_code=_NO_STREAM)
    try:
        await show()
    except (Refused, SignInFirst, DomainError):
        return Response(status_code=_NO_STREAM)
    return StreamingResponse(_changes(show, version, pulse), media_type="text/event-stream")


async def _changes(show: Callable[[], Awaitable[Response]], version: str | None, pulse: Pulse) -> AsyncIterator[str]:
    pulse.streams += 1
    try:
        yield "retry: 3000\n\n"
        mark: object = object()
        rests_until = 0.0
        for turn in range(1, round(_LASTS_SECONDS / _SECONDS)):
            with suppress(*TROUBLE):
                now = await pulse.mark()
                if now != mark and time.monotonic() >= rests_until:
                    began = time.monotonic()
                    # Made to its end even if the browser goes away meanwhile: nobody else has its connection then.
                    current = version_of(await asyncio.shield(asyncio.ensure_future(show())))
                    mark = now
                    rests_until = time.monotonic() + _REST * (time.monotonic() - began)
                    if current != version:
                        version = current
                        yield "event: changed\ndata: now\n\n"
            if turn % _SAY_SOMETHING_EVERY == 0:
                yield ": still here\n\n"
            if not await pulse.wait():
                return
    except (Refused, SignInFirst, DomainError):
        # It is no longer the visitor's to see: the page says so when it is loaded anew.
        yield "event: changed\ndata: gone\n\n"
    finally:
        pulse.streams -= 1
