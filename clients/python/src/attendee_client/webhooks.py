"""Webhooks: believed only with a good signature.

The service signs each body twice, under the same secret. `verify` takes the headers of Standard Webhooks, which tell
when the body was sent, so that an old one can't be played again; `verify_body` takes `X-Webhook-Signature`, which
covers the body alone. Give either the bytes as they came: a body that was parsed and written again may be another.
"""

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from attendee_client.models import read

_PREFIX = "whsec_"
_VERSION = "v1"


class NotGenuine(Exception):
    """This was not signed with one of the secrets, or too long ago: answer 4xx, and believe nothing of it."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """What the service tells. `idempotency_key` is the same on every retry.

    Those of a calendar have the fields of the calendar, those of a bot the bot's; the others are None.
    """

    idempotency_key: str
    trigger: str
    data: Mapping[str, Any]
    calendar_id: str | None = None
    calendar_deduplication_key: str | None = None
    calendar_metadata: Mapping[str, str] | None = None
    bot_id: str | None = None
    bot_metadata: Mapping[str, Any] | None = None


def verify(
    body: bytes,
    headers: Mapping[str, str],
    *,
    secrets: Sequence[str],
    now: datetime | None = None,
    tolerance: timedelta = timedelta(minutes=5),
) -> Webhook:
    """The webhook, if one of the secrets signed it within the tolerance. Raises NotGenuine.

    `secrets` are several while the project's secret is being changed. `now` is for tests.
    """
    given = {name.lower(): value for name, value in headers.items()}
    id, timestamp, signatures = (given.get(f"webhook-{name}", "") for name in ("id", "timestamp", "signature"))
    if not (id and signatures and timestamp.isascii() and timestamp.isdigit()):
        raise NotGenuine("The headers webhook-id, webhook-timestamp and webhook-signature are not all there.")
    # A server may hand on bytes that are no UTF-8 as lone surrogates, which have no bytes of their own.
    signed = f"{id}.{timestamp}.".encode(errors="replace") + body
    # Versions that are not known here may stand beside it.
    claimed = [text for version, _, text in (one.partition(",") for one in signatures.split()) if version == _VERSION]
    if not _is_signed(signed, claimed, secrets):
        raise NotGenuine("The signature is not that of the body.")
    age = (now or datetime.now(UTC)).timestamp() - int(timestamp)
    if abs(age) > tolerance.total_seconds():
        message = f"It was signed {age:+.0f} seconds ago, which is further from now than is believed."
        raise NotGenuine(message)
    return _parsed(body)


def verify_body(body: bytes, signature: str, *, secrets: Sequence[str]) -> Webhook:
    """The webhook, if `signature` (`X-Webhook-Signature`) is one of the secrets'. Raises NotGenuine.

    Says nothing of when it was sent: an `idempotency_key` that was seen before must change nothing.
    """
    if not _is_signed(body, [signature], secrets):
        raise NotGenuine("The signature is not that of the body.")
    return _parsed(body)


def _is_signed(signed: bytes, claimed: Sequence[str], secrets: Sequence[str]) -> bool:
    """In constant time: the time that an ordinary comparison takes tells how much of a forged signature is right."""
    expected = [base64.b64encode(hmac.new(_key(secret), signed, hashlib.sha256).digest()) for secret in secrets]
    return any(hmac.compare_digest(one, text.encode(errors="replace")) for one in expected for text in claimed)


def _key(secret: str) -> bytes:
    try:
        key = base64.b64decode(secret.strip().removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not key:
        # An empty key would make everybody's signature a good one.
        raise ValueError("A signing secret is not in base64; `attendee webhooks create` prints it.")
    return key


def _parsed(body: bytes) -> Webhook:
    return read(Webhook, json.loads(body))
