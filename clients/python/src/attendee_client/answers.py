"""What a call sends and what its answer means: the same for the blocking client and for asyncio's."""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

from attendee_client.api import Call
from attendee_client.errors import Busy, NotFound, Refused, UnexpectedAnswer

_Result = TypeVar("_Result")


def headers_of(api_key: str) -> dict[str, str]:
    return {"Authorization": f"Token {api_key}", "Accept": "application/json", "Content-Type": "application/json"}


def body_of(call: Call[_Result]) -> bytes | None:
    return None if call.body is None else json.dumps(call.body).encode()


def result_of(call: Call[_Result], *, status: int, headers: Mapping[str, str], content: bytes) -> _Result:
    """The call's result. Raises Busy, Refused, NotFound and UnexpectedAnswer."""
    if status == 429 or status >= 500:
        raise Busy(status, _retry_after(headers.get("Retry-After", "")))
    if not 200 <= status < 300:
        raise (NotFound if status == 404 else Refused)(status, _refusal(content))
    try:
        answer = json.loads(content) if content else None
    except ValueError:
        message = f"{call.method} {call.path} was answered with {status}, and with something that is no JSON"
        raise UnexpectedAnswer(message) from None
    return call.read(answer)


def _retry_after(value: str) -> timedelta | None:
    """The service's is in seconds; a date, which a proxy may send, is as good as nothing."""
    return timedelta(seconds=int(value)) if value.isascii() and value.isdigit() and len(value) < 8 else None


def _refusal(content: bytes) -> Mapping[str, object]:
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    # A proxy in between refuses with a page.
    return body if isinstance(body, dict) else {"detail": content[:500].decode(errors="replace")}
