"""Looks up names that tenants gave us, so that one that is slow to be found keeps no other name waiting."""

import asyncio
import errno
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Thread
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

# Whose the request is that is being made.
_tenant: ContextVar[str] = ContextVar("tenant")


class Lookups(AbstractResolver):
    """Each name is looked up in a thread of its own, so many of one tenant at a time.

    The system's own threads for it are few and everybody's: two names whose servers do not answer held up every other
    name for half a minute, the platforms' too. `ask` is the system's `getaddrinfo`.
    """

    def __init__(self, *, at_once: int = 16, ask: Callable[..., list[Any]] = socket.getaddrinfo) -> None:
        self._at_once = at_once
        self._ask = ask
        self._under_way: Counter[str] = Counter()

    @contextmanager
    def of(self, tenant: str) -> Iterator[None]:
        """Names that are looked up inside are this tenant's."""
        token = _tenant.set(tenant)
        try:
            yield
        finally:
            _tenant.reset(token)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The addresses of a name. Raises OSError where it has none, or too many others of the tenant's are asked."""
        tenant = _tenant.get()
        if self._under_way[tenant] >= self._at_once:
            raise OSError(errno.EAGAIN, f"{self._at_once} other names of the project are still being looked up")
        self._under_way[tenant] += 1
        try:
            found = await asyncio.wrap_future(self._start(host, port, family))
        finally:
            self._under_way[tenant] -= 1
            if not self._under_way[tenant]:
                del self._under_way[tenant]
        return [
            ResolveResult(
                hostname=host,
                host=address[0],
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, address in found
        ]

    def _start(self, host: str, port: int, family: socket.AddressFamily) -> Future[list[Any]]:
        answer: Future[list[Any]] = Future()
        answer.set_running_or_notify_cancel()

        def ask() -> None:
            try:
                answer.set_result(
                    self._ask(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
                )
            # UnicodeError among them, for a name that can't be one.
            except Exception as failure:  # noqa: BLE001  # raised where the answer is awaited
                answer.set_exception(failure)

        # A daemon: nobody who stops the service waits for a name.
        Thread(target=ask, name=f"lookup of {host}", daemon=True).start()
        return answer

    async def close(self) -> None:
        """Nothing is kept."""
