"""What Google's refusals mean, at the token endpoint (an error is a word) and at the Calendar API (it is an object)."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from attendee.model import DisconnectCode
from attendee.providers.answers import Answer, decode_json, objects_in, parse_text, quoted
from attendee.providers.port import (
    AccessRevoked,
    OperatorFault,
    ProviderDown,
    ProviderError,
    RateLimited,
    TokenRejected,
    UnexpectedAnswer,
    WatchRefused,
)

# The token endpoint's `error` words (RFC 6749 and Google's own).
_CLIENT_ERRORS = frozenset({"invalid_client", "deleted_client", "disabled_client", "unauthorized_client"})
_REQUEST_ERRORS = frozenset({"invalid_request", "invalid_scope", "redirect_uri_mismatch", "unsupported_grant_type"})
_TRANSIENT_ERRORS = frozenset({"internal_failure", "server_error", "temporarily_unavailable"})

# Reasons of the Calendar API, from `errors[].reason`, `details[].reason` and `status` alike.
_DAILY_QUOTA = frozenset({"dailyLimitExceeded", "dailyLimitExceededUnreg"})
_MAILBOX_QUOTA = frozenset({"quotaExceeded"})
_USER_RATE = frozenset({"userRateLimitExceeded", "userRateLimitExceededUnreg"})
_RATE = _USER_RATE | {"rateLimitExceeded", "RATE_LIMIT_EXCEEDED", "RESOURCE_EXHAUSTED"}
_API_OFF = frozenset(
    {"accessNotConfigured", "SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED"}
)
_SCOPE_MISSING = frozenset({"insufficientPermissions", "ACCESS_TOKEN_SCOPE_INSUFFICIENT"})
_REVOCATIONS = (
    (
        frozenset({"notACalendarUser"}),
        DisconnectCode.MAILBOX_UNAVAILABLE,
        "Google Calendar is switched off for this account. Once it is on, ask the user to connect again",
    ),
    (
        frozenset({"domainPolicy"}),
        DisconnectCode.BLOCKED_BY_ADMIN,
        "The policy of the user's organisation blocks the Calendar API. Their Google Workspace admin has to allow it",
    ),
    (
        frozenset({"forbidden", "requiredAccessLevel"}),
        DisconnectCode.CALENDAR_NOT_FOUND,
        "The calendar is no longer shared with this user. Have it shared again, or connect another one",
    ),
)

# The user's abuse limits and the project's daily cap last for hours; asking more often only prolongs them.
_LONG_QUOTA_PAUSE = timedelta(hours=1)


def scope_missing(told: str) -> AccessRevoked:
    """What it means when the user left the calendar out of the consent."""
    return AccessRevoked(
        DisconnectCode.SCOPE_MISSING,
        f"The user's consent doesn't cover the calendar {told}. Ask them to connect again, with its box ticked.",
    )


def token_error(answer: Answer, body: dict[str, Any], *, secrets: Iterable[str]) -> ProviderError:
    """What a refusal means. Only the words decide, never the status: it varies for one and the same word."""
    error = body.get("error")
    if not isinstance(error, str):
        return UnexpectedAnswer(f"Google's token endpoint answered {answer.status} without an error code.")
    description = quoted(body.get("error_description"), secrets=secrets)
    told = f"({quoted(error, secrets=secrets)}{': ' if description else ''}{description})"
    if error in _TRANSIENT_ERRORS:
        return ProviderDown(f"Google's token endpoint is in trouble {told}.", retry_after=answer.retry_after)
    if error == "invalid_grant":
        return _dead_grant(told, hints=f"{parse_text(body.get('error_subtype'))} {description}".lower())
    if error in {"access_denied", "admin_policy_enforced"}:
        return AccessRevoked(
            DisconnectCode.BLOCKED_BY_ADMIN,
            f"The user's account or organisation blocks this app at Google {told}. Their Google Workspace admin has to "
            "allow it; then ask them to connect again.",
        )
    if error in _CLIENT_ERRORS:
        return OperatorFault(
            f"Google refuses the OAuth client {told}. Check client id and secret, and that the client still exists in "
            "the Google Cloud console."
        )
    if error in _REQUEST_ERRORS:
        return OperatorFault(
            f"Google refuses the way in which the token is asked for {told}. Check the OAuth client's type and "
            "settings in the Google Cloud console."
        )
    return UnexpectedAnswer(f"Google's token endpoint answered {answer.status} with an unknown error {told}.")


def _dead_grant(told: str, *, hints: str) -> AccessRevoked:
    if "invalid_rapt" in hints or "rapt_required" in hints:
        return AccessRevoked(
            DisconnectCode.REAUTH_REQUIRED,
            f"The user's organisation demands a new login at Google {told}. Ask them to connect again; it comes back "
            "until their Google Workspace admin exempts the app from session control.",
        )
    if "account has been deleted" in hints or "account has been disabled" in hints:
        return AccessRevoked(
            DisconnectCode.ACCOUNT_GONE,
            f"The user's Google account no longer exists {told}. Ask them to connect another one.",
        )
    return AccessRevoked(
        DisconnectCode.CONSENT_REVOKED,
        f"The user removed the app's access at Google, or it expired {told}. Ask them to connect again.",
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body. `is_googles` is False for a body of another make, such as a proxy's page.

    `quota_hints` is all its prose in lower case, the name of the limit included.
    """

    is_googles: bool
    reasons: frozenset[str]
    message: str
    quota_hints: str


def parse_refusal(answer: Answer) -> Refusal:
    try:
        body = decode_json(answer.body)
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return Refusal(is_googles=False, reasons=frozenset(), message="", quota_hints="")
    parts = [part for key in ("errors", "details") for part in objects_in(error.get(key))]
    metadata = [part["metadata"] for part in parts if isinstance(part.get("metadata"), dict)]
    reasons = [error.get("status"), *(part.get("reason") for part in parts)]
    prose = [
        error.get("message"),
        *(part.get("message") for part in parts),
        *(of.get("quota_limit") for of in metadata),
    ]
    return Refusal(
        is_googles="code" in error or any(isinstance(reason, str) for reason in reasons),
        reasons=frozenset(reason for reason in reasons if isinstance(reason, str)),
        message=parse_text(error.get("message")),
        quota_hints=" ".join(text for text in prose if isinstance(text, str)).lower(),
    )


def api_error(answer: Answer, *, secrets: Iterable[str]) -> ProviderError:
    """What an answer other than 200 means. Quota reasons come first: a quota error is never a revocation."""
    refusal = parse_refusal(answer)
    reasons = ", ".join(sorted(refusal.reasons))
    words = [str(answer.status), quoted(reasons, secrets=secrets), quoted(refusal.message, secrets=secrets)]
    told = f"({': '.join(word for word in words if word)})"
    if answer.status == 429 or refusal.reasons & (_RATE | _DAILY_QUOTA | _MAILBOX_QUOTA):
        return _rate_error(answer, refusal, told)
    if answer.status == 408 or answer.status >= 500:
        return ProviderDown(f"Google Calendar is in trouble {told}.", retry_after=answer.retry_after)
    if answer.status == 401:
        return TokenRejected(f"Google no longer accepts the access token {told}.")
    if answer.status == 404 and refusal.is_googles:
        return AccessRevoked(
            DisconnectCode.CALENDAR_NOT_FOUND,
            f"The calendar was deleted, or is no longer shared with this user {told}. Connect another one.",
        )
    if answer.status == 403:
        return _forbidden_error(refusal, told)
    return UnexpectedAnswer(f"Google Calendar gave an answer that makes no sense here {told}.")


def watch_error(answer: Answer, *, secrets: Iterable[str]) -> ProviderError:
    """What a refused push channel means. That our address is refused (401) says nothing of the access token."""
    refusal = parse_refusal(answer)
    is_about_address = answer.status == 401 and "webhook" in refusal.quota_hints
    if (answer.status == 400 and refusal.is_googles) or is_about_address:
        return WatchRefused(f"Google opens no push channel: {quoted(refusal.message, secrets=secrets)}")
    return api_error(answer, secrets=secrets)


def _rate_error(answer: Answer, refusal: Refusal, told: str) -> RateLimited:
    if refusal.reasons & _DAILY_QUOTA:
        return RateLimited(
            f"The Google Cloud project has used up its calls of the day {told}.",
            retry_after=answer.retry_after or _LONG_QUOTA_PAUSE,
            whole_client=True,
        )
    if refusal.reasons & _MAILBOX_QUOTA:
        return RateLimited(
            f"The user is over Google's usage limits {told}.", retry_after=answer.retry_after or _LONG_QUOTA_PAUSE
        )
    return RateLimited(
        f"Google Calendar is asked too often {told}.",
        retry_after=answer.retry_after,
        whole_client=_is_project_wide(refusal),
    )


def _is_project_wide(refusal: Refusal) -> bool:
    """Whether a rate is the whole project's: only if the text names a limit by the minute that isn't the user's.

    "Rate Limit Exceeded" alone is told for projects, users and single calendars alike. It then counts for the one
    mailbox, so that one busy calendar can't stop all others; a project that is over its rate stops each by itself.
    """
    hints = refusal.quota_hints.replace(" ", "")
    return not refusal.reasons & _USER_RATE and "perminute" in hints and "peruser" not in hints


def _forbidden_error(refusal: Refusal, told: str) -> ProviderError:
    # `status` is PERMISSION_DENIED for all of these; it says nothing.
    if refusal.reasons & _API_OFF:
        return OperatorFault(
            f"The Google Cloud project may not use the Calendar API {told}. Enable it in the Google Cloud console."
        )
    if refusal.reasons & _SCOPE_MISSING:
        return scope_missing(told)
    for revoking, code, text in _REVOCATIONS:
        if refusal.reasons & revoking:
            return AccessRevoked(code, f"{text} {told}.")
    return UnexpectedAnswer(f"Google Calendar refuses for a reason that we don't know {told}.")
