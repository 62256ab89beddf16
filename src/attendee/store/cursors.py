"""A position between two rows as an opaque text, for addresses: it holds the position and the ordering it is of."""

import base64
import binascii
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import orjson

from attendee.store.pages import Ordering, Position

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_ID = re.compile(r"[A-Za-z0-9_]{1,64}")
_MOST_ROWS = 2**63 - 1


def written_cursor(position: Position, *, kind: str, ordering: str) -> str:
    """The text. `kind` keeps the cursors of one listing out of another."""
    microseconds = (position.value - _EPOCH) // _MICROSECOND
    packed = orjson.dumps([kind, ordering, microseconds, position.tie_breaker, position.backwards, position.inclusive])
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def read_cursor(text: str, *, kind: str, orderings: Mapping[str, Ordering]) -> tuple[str, Position]:
    """The ordering's name and the position. Raises ValueError for a text that is not a cursor of this listing."""
    message = "This is no cursor of ours."
    try:
        packed = base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        its_kind, ordering, microseconds, tie_breaker, backwards, inclusive = orjson.loads(packed)
        value = _EPOCH + microseconds * _MICROSECOND
        column = orderings[ordering].tie_breaker
    except (binascii.Error, ValueError, TypeError, OverflowError, KeyError):
        raise ValueError(message) from None
    is_ours = its_kind == kind and type(microseconds) is int
    is_ours = is_ours and isinstance(backwards, bool) and isinstance(inclusive, bool)
    if column.type.python_type is int:
        is_ours = is_ours and type(tie_breaker) is int and 0 <= tie_breaker <= _MOST_ROWS
    else:
        is_ours = is_ours and isinstance(tie_breaker, str) and _ID.fullmatch(tie_breaker) is not None
    if not is_ours:
        raise ValueError(message)
    return ordering, Position(value, tie_breaker, backwards, inclusive)
