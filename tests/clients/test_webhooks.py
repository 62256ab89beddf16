"""Webhooks: those that the service signs are believed, no others."""

import base64
import re
from datetime import UTC, datetime, timedelta

import pytest

from attendee.signing import canonical_json, signature_headers
from attendee_client.webhooks import NotGenuine, verify, verify_body

_SECRET, _OTHER = (base64.b64encode(text).decode() for text in (b"a secret of a project's", b"another one"))
_NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
_BODY = canonical_json(
    {
        "idempotency_key": "1f0c4a52",
        "trigger": "calendar.events_update",
        "calendar_id": "cal_1",
        "calendar_deduplication_key": "Zoë",
        "calendar_metadata": {"tenant": "7"},
        "data": {"state": "connected"},
    }
)
_SENT = _BODY.encode()


def _headers(*secrets: str) -> dict[str, str]:
    return signature_headers(_BODY, message_id="1f0c4a52", secrets=secrets or (_SECRET,), now=_NOW)


@pytest.mark.parametrize("secret", [_SECRET, f"whsec_{_SECRET}", f" {_SECRET}\n"])
def test_what_the_service_signs_is_believed(secret: str) -> None:
    """By either kind of header, whatever case their names are in, with the secret in either form."""
    headers = {name.upper(): value for name, value in _headers().items()}
    webhook = verify(_SENT, headers, secrets=[secret], now=_NOW)
    assert (webhook.trigger, webhook.calendar_id, webhook.bot_id) == ("calendar.events_update", "cal_1", None)
    assert webhook.calendar_deduplication_key == "Zoë"
    assert verify_body(_SENT, headers["X-WEBHOOK-SIGNATURE"], secrets=[secret]) == webhook


def test_either_secret_will_do_while_they_change() -> None:
    """The service signs with both, and a receiver that knows both never refuses."""
    rotating = _headers(_OTHER, _SECRET)
    for known in ([_SECRET], [_OTHER], [_OTHER, _SECRET]):
        assert verify(_SENT, rotating, secrets=known, now=_NOW).data == {"state": "connected"}
    assert verify_body(_SENT, rotating["X-Webhook-Signature"], secrets=[_SECRET, _OTHER]).calendar_id == "cal_1"


@pytest.mark.parametrize(
    "forged",
    [
        {"webhook-signature": "v1,bm8="},
        {"webhook-signature": _headers()["webhook-signature"].replace("v1,", "v2,")},
        {"webhook-signature": "v1,é"},
        {"webhook-signature": "v1,\udcff"},
        {"webhook-signature": ""},
        {"webhook-id": "2"},
        {"webhook-id": "\udcff"},
        {"webhook-timestamp": "1795435201"},
        {"webhook-timestamp": "soon"},
        {"webhook-timestamp": "²"},
    ],
)
def test_forgeries_are_not_believed(forged: dict[str, str]) -> None:
    """Not one of the three headers can be another, nor any byte of the body; nor is there anything to trip over."""
    with pytest.raises(NotGenuine):
        verify(_SENT, _headers() | forged, secrets=[_SECRET], now=_NOW)


def test_another_body_or_secret_is_not_believed() -> None:
    """By neither kind of header."""
    headers = _headers()
    for body, secret in ((_SENT + b" ", _SECRET), (_SENT, _OTHER)):
        with pytest.raises(NotGenuine):
            verify(body, headers, secrets=[secret], now=_NOW)
        with pytest.raises(NotGenuine):
            verify_body(body, headers["X-Webhook-Signature"], secrets=[secret])
    with pytest.raises(NotGenuine):
        verify_body(_SENT, "é", secrets=[_SECRET])


@pytest.mark.parametrize(("age", "is_believed"), [(-301, False), (-300, True), (300, True), (301, False)])
def test_old_ones_can_not_be_played_again(age: int, *, is_believed: bool) -> None:
    """Five minutes either way, for clocks that differ, unless told otherwise."""
    now = _NOW + timedelta(seconds=age)
    if not is_believed:
        with pytest.raises(NotGenuine, match=re.escape(f"signed {age:+d} seconds ago")):
            verify(_SENT, _headers(), secrets=[_SECRET], now=now)
    verify(_SENT, _headers(), secrets=[_SECRET], now=now, tolerance=timedelta(minutes=6))


@pytest.mark.parametrize("secret", ["", "whsec_", "not base64!"])
def test_a_secret_that_is_none_is_said(secret: str) -> None:
    """An empty key would make everybody's signature a good one."""
    with pytest.raises(ValueError, match="signing secret is not in base64"):
        verify_body(_SENT, "x", secrets=[secret])
