"""Both webhook signatures, over the bytes that are sent."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any


def canonical_json(body: dict[str, Any]) -> str:
    """JSON with sorted keys, without spaces and without ASCII escaping: whoever parses it can write the same bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def signature_headers(body: str, *, message_id: str, secrets: Sequence[str], now: datetime) -> dict[str, str]:
    """The headers that prove a body to be ours.

    `secrets` are the project's live signing secrets in base64, oldest first: while they rotate, the oldest signs
    `X-Webhook-Signature`, and the Standard Webhooks header carries a signature for each.
    """
    timestamp = str(int(now.timestamp()))
    content = body.encode()
    signed = f"{message_id}.{timestamp}.".encode() + content
    return {
        "X-Webhook-Signature": _signature(secrets[0], content),
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(f"v1,{_signature(secret, signed)}" for secret in secrets),
    }


def _signature(secret: str, content: bytes) -> str:
    digest = hmac.new(base64.b64decode(secret), content, hashlib.sha256).digest()
    return base64.b64encode(digest).decode()
