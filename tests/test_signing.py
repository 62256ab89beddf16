"""Both signatures, verified by hand as a receiver would."""

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime

import pytest

from attendee.signing import canonical_json, signature_headers

_NOW = datetime(2026, 12, 1, 8, 30, 0, 999_999, tzinfo=UTC)
_OLD, _NEW = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
_BODY = canonical_json({"idempotency_key": "k", "calendar_metadata": {"name": "Ana Müller \U0001f40c"}})


def _digest(secret: str, content: bytes) -> str:
    return base64.b64encode(hmac.new(base64.b64decode(secret), content, hashlib.sha256).digest()).decode()


def test_the_canonical_form_is_what_a_receiver_can_write_itself() -> None:
    """Sorted keys, no spaces, nothing escaped that need not be; parsed and written again it is the same."""
    text = canonical_json({"b": [1, None, True], "a": {"ü": "\U0001f40c", "é": "\x00"}})
    assert text == '{"a":{"é":"\\u0000","ü":"\U0001f40c"},"b":[1,null,true]}'
    assert json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False) == text


def test_the_signature_is_over_the_bytes_that_are_sent() -> None:
    """HMAC-SHA256 with the decoded secret, in base64."""
    headers = signature_headers(_BODY, message_id="k", secrets=[_OLD], now=_NOW)
    assert headers["X-Webhook-Signature"] == _digest(_OLD, _BODY.encode())


def test_the_standard_signature_binds_id_and_time() -> None:
    """Over `id.timestamp.body`, the time in whole seconds: a replay with another id or time does not verify."""
    headers = signature_headers(_BODY, message_id="k", secrets=[_OLD], now=_NOW)
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("k", "1796113800")
    assert headers["webhook-signature"] == "v1," + _digest(_OLD, b"k.1796113800." + _BODY.encode())


def test_the_standard_signature_is_that_of_the_specification() -> None:
    """The example of the Standard Webhooks libraries verifies."""
    headers = signature_headers(
        '{"test": 2432232314}',
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        secrets=["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        now=datetime.fromtimestamp(1614265330, UTC),
    )
    assert headers["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_secrets_rotate_each_of_them_verifies() -> None:
    """The oldest signs the single header, and the standard one carries a signature for each."""
    headers = signature_headers(_BODY, message_id="k", secrets=[_OLD, _NEW], now=_NOW)
    signed = b"k.1796113800." + _BODY.encode()
    assert headers["X-Webhook-Signature"] == _digest(_OLD, _BODY.encode())
    assert headers["webhook-signature"].split(" ") == [f"v1,{_digest(secret, signed)}" for secret in (_OLD, _NEW)]


@pytest.mark.parametrize("changed", [_BODY + " ", _BODY.replace("ü", "u")])
def test_a_changed_body_does_not_verify(changed: str) -> None:
    """Not by a single byte."""
    true = signature_headers(_BODY, message_id="k", secrets=[_OLD], now=_NOW)
    false = signature_headers(changed, message_id="k", secrets=[_OLD], now=_NOW)
    for name in ("X-Webhook-Signature", "webhook-signature"):
        assert true[name] != false[name]
