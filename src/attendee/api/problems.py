"""What went wrong, as status and body: the only file that knows which error has which.

RequestProblem: refused before anything of the domain is asked
├── Unauthenticated   no, malformed, unknown or disabled key
├── BadBody           the body is not a JSON object that can be kept
├── BodyTooLarge
├── BadFields         some fields are missing or wrong
├── BadParameter      a parameter of the query string is wrong
└── InvalidCursor     a cursor that is not ours
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from attendee.bots.reports import Impossible
from attendee.errors import DomainError, Invalid, NotAllowed, NotFound
from attendee.store.limits import TooManyPosts


class RequestProblem(Exception):
    """Base of what the API itself refuses."""


class Unauthenticated(RequestProblem):
    pass


class BadBody(RequestProblem):
    pass


class BodyTooLarge(RequestProblem):
    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is too large: at most {limit:,} bytes are accepted.")


class BadFields(RequestProblem):
    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        super().__init__(str(fields))
        self.fields = fields


class BadParameter(RequestProblem):
    pass


class InvalidCursor(RequestProblem):
    def __init__(self) -> None:
        super().__init__("Invalid cursor")


def _error(problem: Any) -> Mapping[str, Any]:
    return {"error": str(problem)}


def _detail(problem: Any) -> Mapping[str, Any]:
    return {"detail": str(problem)}


_PROBLEMS: dict[type[Exception], tuple[int, Callable[[Any], Mapping[str, Any]]]] = {
    NotFound: (404, _error),
    NotAllowed: (400, _error),
    Impossible: (409, lambda problem: {"error": str(problem), "state": problem.state}),
    Invalid: (400, lambda problem: {problem.field: [problem.message]}),
    Unauthenticated: (401, _detail),
    BadBody: (400, _detail),
    BodyTooLarge: (413, _detail),
    BadFields: (400, lambda problem: problem.fields),
    BadParameter: (400, _error),
    InvalidCursor: (404, _detail),
    TooManyPosts: (429, _detail),
}


class JsonAnswer(Response):
    """A JSON body, written by orjson. `orjson.Fragment` goes in as it is."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return orjson.dumps(content)


async def refused(_request: Request | None, problem: Exception) -> Response:
    """The answer to a problem of the table above; one that is not in it is raised again: it is our own fault."""
    for kind in type(problem).__mro__:
        if kind in _PROBLEMS:
            status, body = _PROBLEMS[kind]
            return JsonAnswer(body(problem), status, _headers(problem))
    raise problem


def _headers(problem: Exception) -> Mapping[str, str]:
    match problem:
        case Unauthenticated():
            return {"WWW-Authenticate": "Token"}
        case TooManyPosts(retry_after=wait):
            return {"Retry-After": str(math.ceil(wait.total_seconds()))}
        case _:
            return {}


async def no_route(_request: Request, problem: HTTPException) -> Response:
    """The answer to a path that does not exist, and to whatever else the framework refuses."""
    if problem.status_code == 404:
        return JsonAnswer({"error": "Not found"}, 404)
    return JsonAnswer({"detail": problem.detail}, problem.status_code, problem.headers)


def our_own_fault(error_id: str) -> Response:
    return JsonAnswer(
        {"error": f"Something went wrong on our side. Our log has more under {error_id}.", "error_id": error_id}, 500
    )


HANDLERS: dict[int | type[Exception], Callable[[Request, Any], Any]] = {
    DomainError: refused,
    RequestProblem: refused,
    HTTPException: no_route,
}

_DETAIL = {"$ref": "#/components/schemas/Detail"}
_ERROR = {"$ref": "#/components/schemas/Error"}
_DECLARED: dict[int, tuple[str, dict[str, Any]]] = {
    400: (
        "A field or parameter is wrong, a rule refuses it, or the body is not JSON",
        {"anyOf": [{"$ref": "#/components/schemas/FieldErrors"}, _ERROR, _DETAIL]},
    ),
    401: ("No, malformed, unknown or disabled key", _DETAIL),
    404: ("Not found in the project of the key, or a cursor that is not ours", {"anyOf": [_ERROR, _DETAIL]}),
    409: (
        "The bot can't have taken that step from the state that it is in",
        {
            "type": "object",
            "required": ["error", "state"],
            "properties": {"error": {"type": "string"}, "state": {"type": "string"}},
        },
    ),
    413: ("The body is too large", _DETAIL),
    414: ("The address is too long", _DETAIL),
    429: ("The project has sent more POSTs than it may in a minute; `Retry-After` says when it may again", _DETAIL),
    431: ("The headers are too long", _DETAIL),
    500: ("Our own fault", {"$ref": "#/components/schemas/Failure"}),
}
# What has nothing to do with the route: its request was too large in some way, or we are broken.
_ALWAYS = {413, 414, 431, 500}
PROBLEM_SCHEMAS: dict[str, Any] = {
    "Detail": {"type": "object", "required": ["detail"], "properties": {"detail": {"type": "string"}}},
    "Error": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
    "FieldErrors": {
        "type": "object",
        "description": "For each field what is wrong with it; `non_field_errors` is about how the fields fit together.",
        "additionalProperties": {"type": "array", "items": {"type": "string"}},
    },
    "Failure": {
        "type": "object",
        "required": ["error", "error_id"],
        "properties": {"error": {"type": "string"}, "error_id": {"type": "string"}},
    },
}


# Of a route that takes no key.
WITHOUT_KEY: dict[str, Any] = {"security": []}


def declared(*statuses: int, with_key: bool = True) -> dict[int | str, dict[str, Any]]:
    """The problems of a route, for the OpenAPI document: those of every request, and 401 where it takes a key."""
    usual = {*_ALWAYS, 401} if with_key else _ALWAYS
    return {
        status: {
            "description": _DECLARED[status][0],
            "content": {"application/json": {"schema": _DECLARED[status][1]}},
        }
        for status in sorted({*statuses, *usual})
    }
