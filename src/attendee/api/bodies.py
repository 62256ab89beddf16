"""Bodies of requests: from bytes to a checked model, or to plain sentences about what is wrong with them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import orjson
from fastapi import Request
from pydantic import BaseModel, ValidationError

from attendee.api.middleware import BODY_LIMIT
from attendee.api.problems import BadBody, BadFields, BodyTooLarge

# Far deeper than any settings object, and shallow enough for everything that ever has to read it again.
_DEEPEST = 64
_MESSAGES_A_FIELD = 20
_NAME_CHARACTERS = 50

_Body = TypeVar("_Body", bound=BaseModel)

_SENTENCES: dict[str, Callable[[dict[str, Any]], str]] = {
    "missing": lambda _: "This field is required.",
    "string_type": lambda _: "Must be a string.",
    "string_too_short": lambda _: "This field may not be blank.",
    "dict_type": lambda _: "Must be an object.",
    "model_type": lambda _: "Must be an object.",
    "list_type": lambda _: "Must be a list.",
    "bool_type": lambda _: "Must be true or false.",
    "too_short": lambda _: "May not be empty.",
    "too_long": lambda context: f"May have at most {context['max_length']} items.",
    "value_error": lambda context: str(context["error"]),
    "extra_forbidden": lambda _: "Unknown field.",
}


def body_of(model: type[_Body]) -> Callable[[Request], Awaitable[_Body]]:
    """A dependency that gives the request's body as this model. It raises BadBody, BodyTooLarge and BadFields."""

    async def body(request: Request) -> _Body:
        raw = await request.body()
        fields = _decoded(raw)
        if len(raw) > BODY_LIMIT and _size_without_image(fields) > BODY_LIMIT:
            raise BodyTooLarge(BODY_LIMIT)
        # PostgreSQL's text can't hold them, and in JSON they can only be written like this.
        with_nul = [name for name, value in fields.items() if _has_nul(value)] if rb"\u0000" in raw else []
        problems = {name: ["May not contain NUL characters."] for name in with_nul if "\x00" not in name}
        try:
            checked = model.model_validate(fields)
        except ValidationError as wrong:
            raise BadFields({**_problems(wrong, model), **problems}) from None
        if problems:
            raise BadFields(problems)
        return checked

    return body


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """The body of a route in the OpenAPI document: FastAPI does not see it, since the key is checked before it."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        fields = orjson.loads(raw)
    except orjson.JSONDecodeError as wrong:
        message = f"The body is not JSON: {wrong.msg}, at line {wrong.lineno}, column {wrong.colno}."
        raise BadBody(message) from None
    if not isinstance(fields, dict):
        raise BadBody("The body must be a JSON object.")
    # Without that many brackets nothing can be that deep, and the body needs no walk.
    if raw.count(b"{") + raw.count(b"[") > _DEEPEST and _is_too_deep(fields):
        message = f"The body is nested too deeply: at most {_DEEPEST} levels are accepted."
        raise BadBody(message)
    return fields


def _size_without_image(fields: dict[str, Any]) -> int:
    return len(orjson.dumps({name: value for name, value in fields.items() if name != "bot_image"}))


def _is_too_deep(fields: dict[str, Any]) -> bool:
    level: list[Any] = [fields]
    for _ in range(_DEEPEST):
        level = [inner for value in level for inner in _inner(value)]
        if not level:
            return False
    return True


def _inner(value: Any) -> Sequence[Any]:
    values = value.values() if isinstance(value, dict) else value
    return [inner for inner in values if isinstance(inner, dict | list)]


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(key) or _has_nul(inner) for key, inner in value.items())
    return isinstance(value, list) and any(_has_nul(inner) for inner in value)


def _problems(wrong: ValidationError, model: type[BaseModel]) -> dict[str, list[str]]:
    problems: dict[str, list[str]] = {}
    unknown: list[str] = []
    for error in wrong.errors(include_url=False):
        field, *within = error["loc"] or ("non_field_errors",)
        if error["type"] == "extra_forbidden" and not within:
            unknown.append(str(field)[:_NAME_CHARACTERS])
            continue
        messages = problems.setdefault(str(field), [])
        if len(messages) < _MESSAGES_A_FIELD:
            place = f"{field}{''.join(map(_step, within))}: " if within else ""
            messages.append(place + _sentence(error))
    if unknown:
        names = ", ".join(unknown[:_MESSAGES_A_FIELD])
        allowed = ", ".join(model.model_fields)
        problems["non_field_errors"] = [f"Unknown field: {names}. The fields here are: {allowed}."]
    return problems


def _step(step: int | str) -> str:
    return f"[{step}]" if isinstance(step, int) else f".{step[:_NAME_CHARACTERS]}"


def _sentence(error: Any) -> str:
    if error["type"] != "missing" and error["input"] is None:
        return "This field may not be null."
    if error["type"] == "enum":
        allowed = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ")
        return f"Must be one of: {allowed}."
    sentence = _SENTENCES.get(error["type"])
    return f"{error['msg']}." if sentence is None else sentence(error.get("ctx", {}))
