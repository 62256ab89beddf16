"""What the token endpoints of all platforms have in common: RFC 6749's answer to a refresh, read with care."""

import math
import re
from datetime import timedelta
from typing import Any

from attendee.providers.answers import Answer, decode_json
from attendee.providers.port import ProviderDown, RateLimited, UnexpectedAnswer

# What can be sent in a header: RFC 6750 allows no more than this.
_ACCESS_TOKEN = re.compile(r"[!-~]+")
# All that RFC 6749 allows: what else comes is no token, and must not take the place of the one that we have.
_REFRESH_TOKEN = re.compile(r"[ -~]*[!-~][ -~]*")
_USUAL_TOKEN_LIFE = timedelta(hours=1)
_LONGEST_TOKEN_LIFE = timedelta(days=1)


def decode_token_answer(answer: Answer, *, platform: str) -> dict[str, Any]:
    """The body. Raises what is told by the status alone, and ProviderDown for a body that isn't JSON."""
    if answer.status == 429:
        raise RateLimited(
            f"{platform} refuses to renew more access tokens for this OAuth client for now (429).",
            retry_after=answer.retry_after,
            whole_client=True,
        )
    if answer.status == 408 or answer.status >= 500:
        raise ProviderDown(
            f"{platform}'s token endpoint is in trouble ({answer.status}).", retry_after=answer.retry_after
        )
    if 300 <= answer.status < 400:
        raise UnexpectedAnswer(f"{platform}'s token endpoint wants to send us elsewhere ({answer.status}).")
    try:
        body = decode_json(answer.body)
    except ValueError as error:
        raise ProviderDown(f"{platform}'s token endpoint sent something that isn't JSON ({answer.status}).") from error
    if not isinstance(body, dict):
        raise UnexpectedAnswer(f"{platform}'s token endpoint sent JSON that is no object ({answer.status}).")
    return body


def parse_access_token(body: dict[str, Any], *, platform: str) -> str:
    """The access token, as it can be sent in a header. Raises UnexpectedAnswer."""
    access_token = body.get("access_token")
    if not isinstance(access_token, str) or not _ACCESS_TOKEN.fullmatch(access_token):
        raise UnexpectedAnswer(f"{platform}'s token endpoint sent no usable access token.")
    return access_token


def parse_refresh_token(body: dict[str, Any]) -> str | None:
    """The refresh token that replaces the one used; None where the old one stays."""
    refresh_token = body.get("refresh_token")
    is_sound = isinstance(refresh_token, str) and _REFRESH_TOKEN.fullmatch(refresh_token) is not None
    return refresh_token if is_sound else None


def parse_life(expires_in: object) -> timedelta:
    """How long an access token lives; an hour, as is usual on all platforms, where the answer makes no sense."""
    if isinstance(expires_in, bool) or not isinstance(expires_in, int | float | str):
        return _USUAL_TOKEN_LIFE
    try:
        seconds = float(expires_in)
    except (OverflowError, ValueError):
        return _USUAL_TOKEN_LIFE
    is_sound = math.isfinite(seconds) and 0 < seconds <= _LONGEST_TOKEN_LIFE.total_seconds()
    return timedelta(seconds=seconds) if is_sound else _USUAL_TOKEN_LIFE
