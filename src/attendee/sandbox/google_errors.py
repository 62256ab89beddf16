"""Google's ways of saying no: the calendar API's error objects, and the token endpoint's error strings."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import orjson
from starlette.responses import Response


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error of the calendar API as Google words it."""

    status: int
    domain: str
    reason: str
    message: str
    rpc_status: str | None = None
    detail_reason: str | None = None
    location: tuple[str, str] | None = None


# By the name under which a fault or a route asks for it: Google's reason, where that tells it apart.
REFUSALS = {
    "badRequest": Refusal(400, "global", "badRequest", "Bad Request"),
    "timeRangeEmpty": Refusal(
        400, "calendar", "timeRangeEmpty", "The specified time range is empty.", location=("parameter", "timeMax")
    ),
    "pushNotSupportedForRequestedResource": Refusal(
        400,
        "calendar",
        "pushNotSupportedForRequestedResource",
        "Push notifications are not supported by this resource.",
    ),
    "channelIdNotUnique": Refusal(400, "global", "channelIdNotUnique", "Channel id not unique"),
    "authError": Refusal(
        401, "global", "authError", "Invalid Credentials", "UNAUTHENTICATED", location=("header", "Authorization")
    ),
    "required": Refusal(401, "global", "required", "Login Required.", location=("header", "Authorization")),
    "webhookUrlUnauthorized": Refusal(
        401, "global", "push.webhookUrlUnauthorized", "Unauthorized WebHook callback channel"
    ),
    "insufficientPermissions": Refusal(
        403,
        "global",
        "insufficientPermissions",
        "Request had insufficient authentication scopes.",
        "PERMISSION_DENIED",
        "ACCESS_TOKEN_SCOPE_INSUFFICIENT",
    ),
    "notACalendarUser": Refusal(403, "calendar", "notACalendarUser", "The user must be signed up for Google Calendar."),
    "domainPolicy": Refusal(
        403, "global", "domainPolicy", "The domain administrators have disabled Calendar apps.", "PERMISSION_DENIED"
    ),
    "accessNotConfigured": Refusal(
        403,
        "usageLimits",
        "accessNotConfigured",
        "Google Calendar API has not been used in project 4711 before or it is disabled.",
        "PERMISSION_DENIED",
        "SERVICE_DISABLED",
    ),
    "userRateLimitExceeded": Refusal(403, "usageLimits", "userRateLimitExceeded", "User Rate Limit Exceeded"),
    "rateLimitExceeded": Refusal(403, "usageLimits", "rateLimitExceeded", "Rate Limit Exceeded"),
    "quotaExceeded": Refusal(403, "usageLimits", "quotaExceeded", "Calendar usage limits exceeded."),
    "dailyLimitExceeded": Refusal(403, "usageLimits", "dailyLimitExceeded", "Daily Limit Exceeded"),
    # A quota error of the newer gateways: its status word is that of a permission problem.
    "quotaMetric": Refusal(
        403,
        "usageLimits",
        "rateLimitExceeded",
        "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user' of service "
        "'calendar-json.googleapis.com' for consumer 'project_number:4711'.",
        "PERMISSION_DENIED",
        "RATE_LIMIT_EXCEEDED",
    ),
    "forbidden": Refusal(403, "calendar", "forbidden", "Forbidden"),
    "requiredAccessLevel": Refusal(
        403, "calendar", "requiredAccessLevel", "You need to have reader access to this calendar."
    ),
    "notFound": Refusal(404, "global", "notFound", "Not Found"),
    "fullSyncRequired": Refusal(
        410,
        "calendar",
        "fullSyncRequired",
        "Sync token is no longer valid, a full sync is required.",
        location=("parameter", "syncToken"),
    ),
    "updatedMinTooLongAgo": Refusal(
        410,
        "calendar",
        "updatedMinTooLongAgo",
        "The requested minimum modification time lies too far in the past.",
        location=("parameter", "updatedMin"),
    ),
    "deleted": Refusal(410, "global", "deleted", "Resource has been deleted"),
    "tooManyRequests": Refusal(429, "usageLimits", "rateLimitExceeded", "Rate Limit Exceeded", "RESOURCE_EXHAUSTED"),
}


class GoogleRefuses(Exception):
    """Carries the refusal that a route answers with."""

    def __init__(self, name: str, message: str | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.message = message


def refusal_body(refusal: Refusal, *, message: str | None = None) -> dict[str, Any]:
    """The error object of the calendar API."""
    text = message or refusal.message
    single = {"domain": refusal.domain, "reason": refusal.reason, "message": text}
    if refusal.location is not None:
        single["locationType"], single["location"] = refusal.location
    error: dict[str, Any] = {"code": refusal.status, "message": text, "errors": [single]}
    if refusal.rpc_status is not None:
        error["status"] = refusal.rpc_status
    if refusal.detail_reason is not None:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": refusal.detail_reason, "domain": "googleapis.com"}]
    return {"error": error}


def refusal_answer(name: str, *, message: str | None = None, retry_after: int | None = None) -> Response:
    """The whole answer for a refusal by its name."""
    if name == "bareGone":  # Some 410 bodies carry no reason: readers must go by the status.
        return json_answer({"error": {"code": 410, "message": "Gone"}}, status=410)
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    refusal = REFUSALS[name]
    return json_answer(refusal_body(refusal, message=message), status=refusal.status, headers=headers)


def server_error_answer(status: int) -> Response:
    """Google's body for a passing trouble of its own."""
    message = {500: "Internal Error", 502: "Bad Gateway", 504: "Gateway Timeout"}.get(status, "Backend Error")
    return json_answer(refusal_body(Refusal(status, "global", "backendError", message)), status=status)


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """One error of the token endpoint, where `error` is a string."""

    status: int
    error: str
    description: str | None = None
    subtype: str | None = None


TOKEN_REFUSALS = {
    "revoked": TokenRefusal(400, "invalid_grant", "Token has been expired or revoked."),
    "unspecific": TokenRefusal(400, "invalid_grant", "Bad Request"),
    "invalid_rapt": TokenRefusal(400, "invalid_grant", "reauth related error (invalid_rapt)", "invalid_rapt"),
    "rapt_required": TokenRefusal(400, "invalid_grant", "reauth related error (rapt_required)", "rapt_required"),
    "account_deleted": TokenRefusal(400, "invalid_grant", "The account has been deleted"),
    "malformed_code": TokenRefusal(400, "invalid_grant", "Malformed auth code."),
    "wrong_verifier": TokenRefusal(400, "invalid_grant", "Invalid code verifier."),
    "account_restricted": TokenRefusal(400, "access_denied", "Account restricted"),
    "client_not_authorized": TokenRefusal(400, "access_denied", "Requested client not authorized"),
    "admin_policy_enforced": TokenRefusal(400, "admin_policy_enforced"),
    "deleted_client": TokenRefusal(401, "deleted_client", "The OAuth client was deleted."),
    "unknown_client": TokenRefusal(401, "invalid_client", "The OAuth client was not found."),
    "wrong_secret": TokenRefusal(401, "invalid_client", "Unauthorized"),
    "disabled_client": TokenRefusal(401, "disabled_client", "The OAuth client was disabled."),
    "unauthorized_client": TokenRefusal(401, "unauthorized_client", "Unauthorized client or scope in request."),
    "invalid_request": TokenRefusal(400, "invalid_request", "Required parameter is missing or malformed."),
    "unsupported_grant_type": TokenRefusal(400, "unsupported_grant_type", "Invalid grant_type."),
    "redirect_uri_mismatch": TokenRefusal(400, "redirect_uri_mismatch", "Bad Request"),
    "invalid_scope": TokenRefusal(400, "invalid_scope", "Some requested scopes were invalid."),
    "internal_failure": TokenRefusal(400, "internal_failure", "Backend Error"),
    "server_error": TokenRefusal(500, "server_error"),
    "temporarily_unavailable": TokenRefusal(503, "temporarily_unavailable"),
    "rate_limited": TokenRefusal(429, "rate_limit_exceeded", "Too many token requests."),
}


def token_refusal_answer(name: str, *, retry_after: int | None = None) -> Response:
    """The token endpoint's answer for a refusal by its name."""
    refusal = TOKEN_REFUSALS[name]
    body = {"error": refusal.error}
    if refusal.description is not None:
        body["error_description"] = refusal.description
    if refusal.subtype is not None:
        body["error_subtype"] = refusal.subtype
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return json_answer(body, status=refusal.status, headers=headers)


def json_answer(body: object, *, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer in UTF-8, as Google labels it."""
    try:
        content = orjson.dumps(body)
    except TypeError:  # Odd events may hold what orjson refuses: lone surrogates, integers beyond 64 bits.
        content = json.dumps(body).encode()
    return Response(content, status, headers, "application/json; charset=UTF-8")
