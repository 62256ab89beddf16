"""Microsoft Graph's ways of saying no, by the name under which a fault or a route asks for them."""

from __future__ import annotations

import json
import uuid
from base64 import b64encode
from dataclasses import dataclass
from datetime import datetime

import orjson
from starlette.responses import Response

from attendee.sandbox.faults import Fault, FaultKind

CLAIMS = '{"access_token":{"nbf":{"essential":true,"value":"1795426800"}}}'
# How continuous access evaluation asks for a new token: the reason stands in the message, the claims in a header.
CLAIMS_CHALLENGE = (
    'Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", '
    f'error="insufficient_claims", claims="{b64encode(CLAIMS.encode()).decode()}"'
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """One error of Graph. `nested` goes into the inner error, whose own name Graph spells in two ways."""

    status: int
    code: str
    message: str
    nested: dict[str, str] | None = None
    inner_name: str = "innerError"
    challenge: str | None = None


def _challenge(reason: str) -> Refusal:
    message = f"Continuous access evaluation resulted in challenge with result: InteractionRequired and code: {reason}"
    return Refusal(401, "InvalidAuthenticationToken", message, challenge=CLAIMS_CHALLENGE)


REFUSALS = {
    "BadRequest": Refusal(400, "BadRequest", "Bad Request."),
    "ErrorInvalidIdMalformed": Refusal(400, "ErrorInvalidIdMalformed", "Id is malformed."),
    "ErrorInvalidParameter": Refusal(
        400,
        "ErrorInvalidParameter",
        "This request requires a time window specified by the query string parameters StartDateTime and EndDateTime.",
    ),
    "ErrorInvalidRequest": Refusal(
        400,
        "ErrorInvalidRequest",
        "The range between the start and end dates is greater than the allowed range. Maximum number of days: 1825",
    ),
    "ErrorInvalidUrlQuery": Refusal(400, "ErrorInvalidUrlQuery", "The query parameters are not supported here."),
    "TimeZoneNotSupportedException": Refusal(
        400, "TimeZoneNotSupportedException", "A valid TimeZone value must be specified."
    ),
    "RequestBroker--ParseUri": Refusal(400, "RequestBroker--ParseUri", "Resource not found for the segment."),
    "emptyToken": Refusal(401, "InvalidAuthenticationToken", "Access token is empty.", inner_name="innererror"),
    "malformedToken": Refusal(
        401, "InvalidAuthenticationToken", "CompactToken parsing failed with error code: 80049217"
    ),
    "InvalidAuthenticationToken": Refusal(
        401, "InvalidAuthenticationToken", "Access token has expired or is not yet valid."
    ),
    "lifetimeValidation": Refusal(
        401, "InvalidAuthenticationToken", "Lifetime validation failed, the token is expired.", inner_name="innererror"
    ),
    "compactToken": Refusal(
        401, "InvalidAuthenticationToken", "CompactToken validation failed with reason code: 80049228."
    ),
    "TokenCreatedWithOutdatedPolicies": _challenge("TokenCreatedWithOutdatedPolicies"),
    "LocationConditionEvaluationSatisfied": _challenge("LocationConditionEvaluationSatisfied"),
    "ErrorAccessDenied": Refusal(403, "ErrorAccessDenied", "Access is denied. Check credentials and try again."),
    "insufficient_claims": Refusal(
        403, "insufficient_claims", "The claims of the token are not enough.", challenge=CLAIMS_CHALLENGE
    ),
    "accessDenied": Refusal(403, "accessDenied", "Access denied.", nested={"code": "conditionalAccessPolicy"}),
    "Authorization_RequestDenied": Refusal(
        403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation."
    ),
    "MailboxNotEnabledForRESTAPI": Refusal(
        404,
        "MailboxNotEnabledForRESTAPI",
        "The mailbox is either inactive, soft-deleted, or is hosted on-premise.",
    ),
    "mailboxNotSupported": Refusal(
        404, "MailboxNotEnabledForRESTAPI", "REST API is not yet supported for this mailbox."
    ),
    "ResourceNotFound": Refusal(404, "ResourceNotFound", "Resource could not be discovered."),
    "ErrorItemNotFound": Refusal(404, "ErrorItemNotFound", "The specified object was not found in the store."),
    "subscriptionNotFound": Refusal(404, "ResourceNotFound", "The object was not found."),
    "SyncStateNotFound": Refusal(
        410,
        "SyncStateNotFound",
        "The sync state generation is not found; generation=149;[highest=157][157][155][156].",
    ),
    "resyncRequired": Refusal(
        410, "resyncRequired", "Resync required.", nested={"code": "resyncChangesApplyDifferences"}
    ),
    "bareGone": Refusal(410, "Gone", ""),
    # Some backends refuse an old link in this way, though nothing is wrong with the request.
    "badSyncState": Refusal(400, "SyncStateNotFound", "The sync state is not found."),
    "badSyncRequest": Refusal(400, "ErrorInvalidUrlQueryFilter", "Badly formed token."),
    "TooManyRequests": Refusal(
        429,
        "TooManyRequests",
        "Please retry again later.",
        nested={"code": "429", "message": "Please retry after", "status": "429"},
    ),
    "ApplicationThrottled": Refusal(429, "ApplicationThrottled", "Application is over its MailboxConcurrency limit."),
    "activityLimitReached": Refusal(429, "activityLimitReached", "The app or user has been throttled."),
    "generalException": Refusal(500, "generalException", "An unspecified error has occurred."),
    "serviceNotAvailable": Refusal(503, "serviceNotAvailable", "The service is not available. Try again later."),
    "UnknownError": Refusal(502, "UnknownError", ""),
    "mailboxInTransit": Refusal(503, "ErrorMailboxMoveInProgress", "Mailbox move in progress. Try again later."),
    # --- subscriptions ---
    "validationTimedOut": Refusal(400, "InvalidRequest", "Subscription validation request timed out."),
    "validationFailed": Refusal(
        400,
        "ValidationError",
        "Subscription validation request failed. Notification endpoint must respond with 200 OK to validation request.",
    ),
    "payload": Refusal(400, "InvalidRequest", "Could not process subscription creation payload."),
    "connectionClosed": Refusal(
        400, "InvalidRequest", "The underlying connection was closed: An unexpected error occurred on a send."
    ),
    "expirationTooFar": Refusal(
        400, "ExtensionError", "Subscription expiration can only be 10070 minutes in the future."
    ),
    "resourceInvalid": Refusal(400, "ExtensionError", "The value of the parameter 'Resource' is invalid."),
    "unknownBackend": Refusal(
        400, "ExtensionError", "The mailbox of the resource is currently on backend 'Unknown' and can't be watched."
    ),
    "tooManySubscriptions": Refusal(403, "Forbidden", "The limit of subscriptions for the resource has been reached."),
}

SERVER_ERRORS = {500: "generalException", 503: "serviceNotAvailable", 509: "activityLimitReached"}
# Short names for an expired cursor; every other refusal goes by its own.
EXPIRED_CURSOR_VARIANTS = {"bare": "bareGone", "400": "badSyncState"}
GRAPH_JSON = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8"
PLAIN_JSON = "application/json; charset=utf-8"


class GraphRefuses(Exception):
    """Carries the refusal that a route answers with."""

    def __init__(self, name: str, message: str | None = None, *, headers: dict[str, str] | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.message = message
        self.headers = headers or {}


def refusal_answer(
    refusal: Refusal, *, now: datetime, message: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The whole answer, with the ids that a support request would name."""
    request_id = str(uuid.uuid4())
    inner = {
        **(refusal.nested or {}),
        "date": now.strftime("%Y-%m-%dT%H:%M:%S"),
        "request-id": request_id,
        "client-request-id": request_id,
    }
    error = {"code": refusal.code, "message": message or refusal.message, refusal.inner_name: inner}
    sent = {"request-id": request_id, "client-request-id": request_id, **(headers or {})}
    if refusal.challenge is not None:
        sent["WWW-Authenticate"] = refusal.challenge
    return json_answer({"error": error}, status=refusal.status, headers=sent)


def named_refusal(
    name: str, *, now: datetime, message: str | None = None, headers: dict[str, str] | None = None
) -> Response:
    """The whole answer for a refusal by its name."""
    return refusal_answer(REFUSALS[name], now=now, message=message, headers=headers)


def fault_answer(fault: Fault, *, now: datetime) -> Response:
    """Faults of Graph in its own words."""
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    if fault.kind is FaultKind.SERVER_ERROR:
        usual = REFUSALS[SERVER_ERRORS.get(fault.status, "UnknownError")]
        return refusal_answer(Refusal(fault.status, usual.code, usual.message), now=now, headers=headers)
    usual_name = "TooManyRequests" if fault.kind is FaultKind.THROTTLED else "ErrorAccessDenied"
    return named_refusal(fault.variant or usual_name, now=now, headers=headers)


def json_answer(
    body: object, *, status: int = 200, headers: dict[str, str] | None = None, label: str = GRAPH_JSON
) -> Response:
    """A JSON answer, labelled as Graph does it unless told."""
    try:
        content = orjson.dumps(body)
    except TypeError:  # Odd events may hold what orjson refuses: lone surrogates, integers beyond 64 bits.
        content = json.dumps(body).encode()
    return Response(content, status, headers, label)
