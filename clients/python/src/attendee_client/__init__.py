"""A typed client for attendee: `api` describes the calls, `Client` makes them, `aio.AsyncClient` does with asyncio."""

from attendee_client.client import Client
from attendee_client.errors import AttendeeError, Busy, NotFound, Refused, Trouble, UnexpectedAnswer, Unreachable
from attendee_client.patience import Patience

__version__ = "0.1.0"
__all__ = [
    "AttendeeError",
    "Busy",
    "Client",
    "NotFound",
    "Patience",
    "Refused",
    "Trouble",
    "UnexpectedAnswer",
    "Unreachable",
]
