"""Graph's `$batch`: up to twenty requests in one, each with its own answer; one mailbox serves four of them at once."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import unquote, urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Router
from starlette.types import Message

from attendee.sandbox.microsoft_access import LARGEST_CONCURRENCY, GraphAccess
from attendee.sandbox.microsoft_errors import GraphRefuses, json_answer, named_refusal

LARGEST_BATCH = 20
METHODS = frozenset({"GET", "POST", "PATCH", "DELETE"})

Part = dict[str, Any]


class MicrosoftBatch:
    """The endpoint over the routes that its parts may name."""

    def __init__(self, access: GraphAccess, routes: Sequence[BaseRoute]) -> None:
        self.access = access
        self.router = Router(routes)

    async def answer(self, request: Request) -> Response:
        """POST /$batch: 200 with an answer for each part, in the order in which they were done."""
        try:
            person = self.access.bearer(request)
            parts = _parse_parts(await request.body())
        except GraphRefuses as refused:
            return named_refusal(refused.name, now=self.access.world.clock(), message=refused.message)
        self.access.world.requests[person.email, "batch"] += 1
        # What the parts of one batch leave free at the mailbox is for others: parts wait for each other, not for them.
        places = asyncio.Semaphore(LARGEST_CONCURRENCY)
        answers: list[Part] = []
        done: dict[str, asyncio.Task[int]] = {}
        async with asyncio.TaskGroup() as group:
            for part in parts:
                awaited = [done[name] for name in part.get("dependsOn", [])]
                done[part["id"]] = group.create_task(self._run(request, part, awaited, places, answers))
        return json_answer({"responses": answers})

    async def _run(
        self,
        request: Request,
        part: Part,
        awaited: list[asyncio.Task[int]],
        places: asyncio.Semaphore,
        answers: list[Part],
    ) -> int:
        """The status of the part; its whole answer is among the answers after it."""
        for status in await asyncio.gather(*awaited):
            if status >= 400:
                body = {"error": {"code": "FailedDependency", "message": "A request it depends on has failed."}}
                answers.append({"id": part["id"], "status": 424, "headers": {}, "body": body})
                return 424
        async with places:
            status, headers, content = await self._ask(request, part)
        answer: Part = {"id": part["id"], "status": status, "headers": headers}
        if content:
            is_json = "json" in headers.get("content-type", "")
            answer["body"] = orjson.loads(content) if is_json else base64.b64encode(content).decode()
        answers.append(answer)
        return status

    async def _ask(self, request: Request, part: Part) -> tuple[int, dict[str, str], bytes]:
        """One part, sent through the routes as a request of its own."""
        target = urlsplit(str(part["url"]))
        root = request.scope["path"].removesuffix("/$batch")
        kept = [(name, value) for name, value in request.headers.raw if name in (b"authorization", b"host")]
        own = {str(name).lower(): str(value) for name, value in part.get("headers", {}).items()}
        sent = b"" if "body" not in part else orjson.dumps(part["body"])
        scope = {
            **request.scope,
            "method": str(part["method"]).upper(),
            "path": f"{root}{unquote(target.path)}",
            "raw_path": f"{root}{target.path}".encode(),
            "query_string": target.query.encode(),
            "headers": [*kept, *((name.encode(), value.encode()) for name, value in own.items())],
        }
        for name in ("endpoint", "path_params", "router"):
            scope.pop(name, None)
        messages: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": sent, "more_body": False}

        async def send(message: Message) -> None:
            messages.append(message)

        await self.router(scope, receive, send)
        start = messages[0]
        headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
        headers.pop("content-length", None)
        content = b"".join(message.get("body", b"") for message in messages[1:])
        return int(start["status"]), headers, content


def _parse_parts(content: bytes) -> list[Part]:
    """The parts, checked. Raises GraphRefuses."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        raise GraphRefuses("BadRequest", "Unable to read JSON request payload.") from None
    parts = body.get("requests") if isinstance(body, Mapping) else None
    if not isinstance(parts, list) or not parts:
        raise GraphRefuses("BadRequest", "Invalid batch payload format.")
    if len(parts) > LARGEST_BATCH:
        text = f"Number of batch request steps exceeds the maximum value of {LARGEST_BATCH}."
        raise GraphRefuses("BadRequest", text)
    seen: set[str] = set()
    for part in parts:
        is_whole = isinstance(part, dict) and {"id", "method", "url"} <= part.keys()
        if not is_whole or not isinstance(part.get("headers", {}), dict) or not isinstance(part["id"], str):
            raise GraphRefuses("BadRequest", "Invalid batch payload format.")
        if str(part["method"]).upper() not in METHODS or part["id"] in seen:
            raise GraphRefuses("BadRequest", "Invalid batch payload format.")
        if not set(part.get("dependsOn", [])) <= seen:
            raise GraphRefuses("BadRequest", "A request depends on one that does not come before it.")
        seen.add(part["id"])
    return parts
