"""Filters of listings: what a query string says, as conditions on a query."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, TypeVar

from fastapi import Query
from sqlalchemy import Column, ColumnElement, false

from attendee.api.problems import BadParameter
from attendee.api.times import EXPECTED, parse_time

TextParameter = Annotated[str | None, Query()]
_INSTANT_OR_EMPTY = [{"type": "string", "format": "date-time"}, {"type": "string", "maxLength": 0}]
TimeParameter = Annotated[
    str | None,
    Query(
        description=f"{EXPECTED[0].upper()}{EXPECTED[1:]}. An empty one filters nothing.",
        json_schema_extra={"anyOf": _INSTANT_OR_EMPTY},
    ),
]

_State = TypeVar("_State", bound=StrEnum)


def storable(text: str) -> bool:
    """Whether a text can be stored at all: nothing that is stored can equal one with a NUL character."""
    return "\x00" not in text


def equals(column: Column[Any], text: str) -> ColumnElement[bool]:
    return column == text if storable(text) else false()


def read_time(name: str, text: str) -> Any:
    """The instant that a parameter names. Raises BadParameter."""
    try:
        return parse_time(text)
    except ValueError:
        message = f"{name} must be {EXPECTED}."
        raise BadParameter(message) from None


def read_states(name: str, texts: Sequence[str], states: type[_State]) -> list[_State]:
    """The states that a repeated parameter names. Raises BadParameter."""
    known = {state.value for state in states}
    if not known.issuperset(texts):
        message = f"{name} must be among: {', '.join(states)}."
        raise BadParameter(message)
    return [states(text) for text in texts]
