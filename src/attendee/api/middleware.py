"""What holds for every request: its id, its size, one slash too many, HEAD, and failures of our own."""

import re
import secrets
from collections.abc import Mapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attendee import metrics
from attendee.api.problems import BodyTooLarge, JsonAnswer, our_own_fault, refused

BODY_LIMIT = 1024 * 1024
# A bot's image comes in base64 in the body; without it, the limit above holds (`bodies.py`).
BODY_LIMIT_WITH_IMAGE = 12 * 1024 * 1024
_TAKES_IMAGE = re.compile(r"/api/v1/bots(/[^/]+)?")
# Ten times what any address of ours takes; Microsoft's handshake brings the longest.
_URL_LIMIT = 16 * 1024
_HEADERS_LIMIT = 32 * 1024
# The one address that has a secret in it, since another server's webhooks can carry it nowhere else.
_WITH_TOKEN = re.compile(r"(/runner/v1/remote/[^/]*/).*")
_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_SANE_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")

_log = structlog.get_logger(__name__)


class EveryRequest:
    """The outermost layer, in plain ASGI because it runs for every request."""

    def __init__(self, app: ASGIApp, *, name: str = "unknown") -> None:
        """`name` is what the metrics call requests that no route of the API has taken."""
        self._app = app
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(dict(scope["headers"]))
        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self._answer(_without_slash(_as_get(scope)), receive, send, request_id)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, request_id: bytes) -> None:
        headers = dict(scope["headers"])
        path = scope["path"]
        is_started = False

        async def send_with_id(message: Message) -> None:
            nonlocal is_started
            if message["type"] == "http.response.start":
                is_started = True
                self._count(scope, message["status"])
                message["headers"] = [*message.get("headers", ()), (b"x-request-id", request_id)]
            await send(message)

        refusal = _refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_id)
            return
        limit = BODY_LIMIT_WITH_IMAGE if _TAKES_IMAGE.fullmatch(path) else BODY_LIMIT
        try:
            _check_announced(headers.get(b"content-length"), limit)
            await self._app(scope, _counted(receive, limit), send_with_id)
        except BodyTooLarge as problem:
            if not is_started:
                await (await refused(None, problem))(scope, receive, send_with_id)
        except ClientDisconnect:
            # It went away while it was sending: there is nobody to answer.
            return
        except Exception:
            error_id = "err_" + secrets.token_hex(8)
            _log.exception(
                "request failed",
                error_id=error_id,
                method=scope["method"],
                path=_WITH_TOKEN.sub(r"\1***", path),
            )
            if is_started:
                raise
            await our_own_fault(error_id)(scope, receive, send_with_id)

    def _count(self, scope: Scope, status: int) -> None:
        # The route as it is written, never the address: that has ids in it.
        route = getattr(scope.get("route"), "path", self._name)
        method = scope["method"] if scope["method"] in _METHODS else "other"
        metrics.requests.labels(method, route, status).inc()


def _refusal(scope: Scope) -> JsonAnswer | None:
    """The answer to a request that nobody needs to look into."""
    if "\x00" in scope["path"]:
        # No path of ours has it, and PostgreSQL could not even look for such an id.
        return JsonAnswer({"error": "Not found"}, 404)
    if len(scope["raw_path"]) + len(scope["query_string"]) > _URL_LIMIT:
        return JsonAnswer({"detail": f"The address is too long: at most {_URL_LIMIT:,} bytes are accepted."}, 414)
    if sum(len(name) + len(value) for name, value in scope["headers"]) > _HEADERS_LIMIT:
        return JsonAnswer({"detail": f"The headers are too long: at most {_HEADERS_LIMIT:,} bytes are accepted."}, 431)
    return None


def _request_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's own, if it has a sane form; else a new one."""
    given = headers.get(b"x-request-id", b"")
    return given if _SANE_REQUEST_ID.fullmatch(given) else secrets.token_hex(16).encode()


def _as_get(scope: Scope) -> Scope:
    """HEAD asks for what GET does, as monitors do; the server leaves the body of the answer out."""
    return {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope


def _without_slash(scope: Scope) -> Scope:
    path = scope["path"]
    if path == "/" or not path.endswith("/"):
        return scope
    return {**scope, "path": path[:-1], "raw_path": scope["raw_path"].removesuffix(b"/")}


def _check_announced(content_length: bytes | None, limit: int) -> None:
    if content_length is not None and content_length.isdigit() and int(content_length) > limit:
        raise BodyTooLarge(limit)


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive`, which raises BodyTooLarge once the body turns out to be larger than the limit."""
    received = 0

    async def receive_counted() -> dict[str, Any]:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise BodyTooLarge(limit)
        return dict(message)

    return receive_counted
