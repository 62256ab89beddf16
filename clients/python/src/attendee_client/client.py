"""The blocking client, of the standard library alone. Safe to share between threads."""

import http.client
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

from attendee_client.answers import body_of, headers_of, result_of
from attendee_client.api import Call, next_page
from attendee_client.errors import NotFound, Trouble, Unreachable
from attendee_client.models import Page
from attendee_client.patience import Patience

_Result = TypeVar("_Result")
_Model = TypeVar("_Model")


class Client:
    """Speaks with the service as one project. Each request has a connection of its own.

    All methods raise Refused, Trouble and UnexpectedAnswer; Trouble only once `patience` is at its end.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        patience: Patience | None = None,
        timeout: timedelta = timedelta(seconds=10),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`url` is the service's, without `/api/v1`."""
        if not url.startswith(("http://", "https://")):
            message = f"{url!r} is no address of a service; https://attendee.example.com is"
            raise ValueError(message)
        self._url = url.rstrip("/")
        self._headers = headers_of(api_key)
        self._patience = patience or Patience()
        self._timeout = timeout
        self._sleep = sleep
        self._opener = urllib.request.build_opener(_NoRedirects)

    def do(self, call: Call[_Result]) -> _Result:
        """Makes the call, again if need be; its result."""
        failed = 0
        while True:
            try:
                return self._once(call)
            except Trouble as trouble:
                failed += 1
                pause = self._patience.pause(
                    trouble, failed=failed, is_repeatable=call.is_repeatable, luck=random.random()
                )
                if pause is None:
                    raise
                self._sleep(pause.total_seconds())

    def find(self, call: Call[_Result]) -> _Result | None:
        """As `do`; None where the service does not find it."""
        try:
            return self.do(call)
        except NotFound:
            return None

    def pages(self, call: Call[Page[_Model]]) -> Iterator[Page[_Model]]:
        """All pages of a list, each asked for when it is its turn."""
        following: Call[Page[_Model]] | None = call
        while following is not None:
            page = self.do(following)
            yield page
            following = next_page(call, page)

    def each(self, call: Call[Page[_Model]]) -> Iterator[_Model]:
        """Everything in a list, page by page."""
        for page in self.pages(call):
            yield from page.results

    def _once(self, call: Call[_Result]) -> _Result:
        request = urllib.request.Request(  # noqa: S310  # http and https only: see __init__
            self._url + call.path, data=body_of(call), headers=self._headers, method=call.method
        )
        try:
            try:
                answer = self._opener.open(request, timeout=self._timeout.total_seconds())
            except urllib.error.HTTPError as refusal:
                answer = refusal
            with answer:
                status, headers, content = answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as trouble:
            message = f"{call.method} {call.path}: {trouble}"
            raise Unreachable(message) from trouble
        return result_of(call, status=status, headers=headers, content=content)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The service sends nobody elsewhere, and the key must not follow whoever does."""

    def redirect_request(self, *_: Any) -> None:
        return None
