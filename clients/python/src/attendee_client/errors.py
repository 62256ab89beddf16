"""What can come of a call beside its result.

AttendeeError
├── Refused            4xx: asking again in the same way is no use
│   └── NotFound       404
├── Trouble            worth asking again later
│   ├── Busy           429 or 5xx
│   └── Unreachable    no answer: whether the service did what it was asked to is not known
└── UnexpectedAnswer   not what attendee answers: another server, or a version with other fields
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any


class AttendeeError(Exception):
    """Base of all that a call raises."""


class Refused(AttendeeError):
    """`body` says what is wrong: `{"<field>": ["message", ...]}`, `{"error": "..."}` or `{"detail": "..."}`."""

    def __init__(self, status: int, body: Mapping[str, Any]) -> None:
        super().__init__(f"{status}: {dict(body)}")
        self.status = status
        self.body = body


class NotFound(Refused):
    pass


class Trouble(AttendeeError):
    pass


class Busy(Trouble):
    """`retry_after` is how long the service asks to be left alone; None if it does not say."""

    def __init__(self, status: int, retry_after: timedelta | None) -> None:
        super().__init__(f"answered with {status}")
        self.status = status
        self.retry_after = retry_after


class Unreachable(Trouble):
    pass


class UnexpectedAnswer(AttendeeError):
    pass
