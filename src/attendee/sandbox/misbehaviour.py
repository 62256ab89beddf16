"""Faults that look the same at every platform: slow, silent, cut off, or answering with something that is no answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.world import World

# Set by `app.Connection`: cuts the line under a request. Nothing in ASGI itself can do that before an answer has begun.
CUT_EXTENSION = "attendee.cut"

HTML = b"<!DOCTYPE html><html><head><title>Error 200 (OK)!!1</title></head><body>Something went wrong.</body></html>"
BEFORE_AN_ANSWER = frozenset(
    {
        FaultKind.LATENCY,
        FaultKind.HANG,
        FaultKind.THROTTLED,
        FaultKind.SERVER_ERROR,
        FaultKind.REFUSED,
        FaultKind.NOT_JSON,
        FaultKind.TRUNCATED,
        FaultKind.WRONG_TYPES,
        FaultKind.RESET,
    }
)


async def misbehaviour(
    world: World,
    request: Request,
    *,
    place: Place,
    targets: tuple[str, ...],
    refusal: Callable[[Fault], Response],
) -> Response | None:
    """The answer that faults put in place of the right one, or None (perhaps late) if the request goes its way.

    `refusal` words THROTTLED, SERVER_ERROR and REFUSED as the platform does.
    """
    for fault in world.faults.matching(place, targets):
        if fault.kind not in BEFORE_AN_ANSWER:
            continue
        world.faults.use(fault)
        match fault.kind:
            case FaultKind.LATENCY:
                await asyncio.sleep(fault.seconds)
            case FaultKind.HANG:
                await world.faults.hang(fault)
            case FaultKind.NOT_JSON:
                return Response(HTML, media_type="text/html")
            case FaultKind.TRUNCATED:
                return Response(b'{"kind": "calendar#events", "items": [{"id": "abc', media_type="application/json")
            case FaultKind.WRONG_TYPES:
                return Response(b'["items", 7, null]', media_type="application/json")
            case FaultKind.RESET:
                cut: Callable[[], None] = request.scope["extensions"][CUT_EXTENSION]["cut"]
                cut()
                return Response(status_code=500)
            case _:
                return refusal(fault)
    return None
