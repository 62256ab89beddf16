"""What a service orders of the fleet: a bot for a meeting, as the contract of its `http` runner writes it."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import orjson

_TEXTS = ("bot_id", "bot_name", "meeting_url", "report_url", "report_token")
_LINKS = ("meeting_url", "report_url")
# A year, so that no number is too large for a calendar.
_LONGEST_SECONDS = 31_536_000


class WrongOrder(Exception):
    """Something in an order is missing or wrong; the text says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One bot. Without `join_at` it goes at once."""

    bot_id: str
    bot_name: str
    meeting_url: str
    join_at: datetime | None
    settings: dict[str, Any]
    report_url: str
    report_token: str = field(repr=False)

    @property
    def alone_for(self) -> timedelta | None:
        """How long the bot stays in a room without a person; None is for as long as the meeting lasts."""
        wanted = self.settings.get("automatic_leave_settings")
        seconds = wanted.get("only_participant_in_meeting_timeout_seconds") if isinstance(wanted, dict) else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0:
            return None
        return timedelta(seconds=min(seconds, _LONGEST_SECONDS))

    @property
    def greeting(self) -> str | None:
        """What the bot writes in the chat when it has joined."""
        wanted = self.settings.get("bot_chat_message")
        message = wanted.get("message") if isinstance(wanted, dict) else None
        return message if isinstance(message, str) and message.strip() else None


def parse_order(body: bytes) -> Order:
    """The order. Raises WrongOrder, saying what is missing or wrong."""
    try:
        fields = orjson.loads(body)
    except orjson.JSONDecodeError as wrong:
        raise WrongOrder(f"the body is not JSON: {wrong.msg}") from None
    if not isinstance(fields, dict):
        raise WrongOrder("the body must be a JSON object")
    for name in _TEXTS:
        if not isinstance(fields.get(name), str) or not fields[name].strip():
            raise WrongOrder(f"{name} is required: a text that is not blank")
    for name in _LINKS:
        if not _is_address(fields[name]):
            raise WrongOrder(f"{name} must be an http or https address")
    if not fields["report_token"].isprintable():
        raise WrongOrder("report_token must be printable: it goes into a header")
    settings = fields.get("settings")
    if not isinstance(settings, dict | None):
        raise WrongOrder("settings must be an object")
    return Order(
        **{name: fields[name] for name in _TEXTS},
        join_at=_parse_instant(fields.get("join_at")),
        settings=settings or {},
    )


def _is_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.netloc)


def is_signed(body: bytes, *, signature: str, secret: str) -> bool:
    """Whether the signature is that of the body, with a secret in base64."""
    try:
        digest = hmac.new(base64.b64decode(secret), body, hashlib.sha256).digest()
        return hmac.compare_digest(digest, base64.b64decode(signature, validate=True))
    except (binascii.Error, ValueError):
        return False


def _parse_instant(value: object) -> datetime | None:
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None:
        raise WrongOrder("join_at must be null, or an ISO 8601 time with its offset")
    return moment.astimezone(UTC)
