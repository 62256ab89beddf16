"""The Microsoft identity platform's ways of saying no: error words, AADSTS codes, and the body around them."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from starlette.responses import Response

from attendee.sandbox.faults import Fault, FaultKind
from attendee.sandbox.microsoft_errors import PLAIN_JSON, json_answer


@dataclass(frozen=True, slots=True)
class TokenRefusal:
    """One error of the token endpoint. `code` is None where only the word comes."""

    error: str
    text: str
    code: int | None = None
    status: int = 400
    suberror: str | None = None


def _alike(
    error: str, texts: dict[int, str], *, status: int = 400, suberror: str | None = None
) -> dict[str, TokenRefusal]:
    return {f"AADSTS{code}": TokenRefusal(error, text, code, status, suberror) for code, text in texts.items()}


# By the name under which a fault or a route asks for it.
TOKEN_REFUSALS: dict[str, TokenRefusal] = {
    # --- the grant is over ---
    **_alike(
        "invalid_grant",
        {
            50173: "The provided grant has expired due to it being revoked, a fresh auth token is needed.",
            70000: "Provided grant is invalid or malformed.",
            50089: "Authentication failed due to flow token expired.",
            700084: "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited "
            "lifetime of 1.00:00:00, which can't be extended.",
            50132: "The session is not valid due to password expiration or recent password change.",
            50133: "The session is not valid due to password expiration or recent password change.",
            50135: "Password change is required due to account risk.",
            50055: "The password is expired.",
            50144: "The user's Active Directory password has expired.",
        },
    ),
    **_alike(
        "invalid_grant",
        {
            70008: "The provided authorization code or refresh token has expired due to inactivity.",
            700082: "The refresh token has expired due to inactivity. It was inactive for 90.00:00:00.",
            70043: "The refresh token has expired or is invalid due to sign-in frequency checks by conditional access.",
        },
        suberror="token_expired",
    ),
    # --- more is needed from the user ---
    **_alike(
        "interaction_required",
        {
            50072: "Due to a configuration change made by your administrator, you must enroll in multi-factor "
            "authentication to access the resource.",
            50074: "Strong Authentication is required.",
            50097: "Device authentication is required.",
            50158: "External security challenge was not satisfied.",
        },
        suberror="basic_action",
    ),
    **_alike(
        "invalid_grant",
        {
            50076: "Due to a configuration change made by your administrator, or because you moved to a new location, "
            "you must use multi-factor authentication to access the resource.",
            50078: "Presented multi-factor authentication has expired due to policies configured by your "
            "administrator.",
            50079: "Due to a configuration change made by your administrator, you must enroll in multi-factor "
            "authentication.",
            50131: "Device is not in required device state, or the request was blocked for suspicious activity.",
            53000: "Your device is required to be compliant to access this resource.",
            53001: "Device is not in required device state: it is not domain joined.",
            53002: "The application used is not an approved application for conditional access.",
            53004: "The user needs to complete the multi-factor authentication registration process.",
            700020: "Interaction is required.",
        },
        suberror="additional_action",
    ),
    **_alike(
        "invalid_grant",
        {
            53003: "Access has been blocked by Conditional Access policies.",
            530032: "The tenant's security policy blocks this request.",
            53011: "User blocked due to risk on home tenant.",
        },
        suberror="message_only",
    ),
    # --- consent ---
    **_alike(
        "invalid_grant",
        {
            65001: "The user or administrator has not consented to use the application. Send an interactive "
            "authorization request for this user and resource.",
        },
        suberror="consent_required",
    ),
    **_alike("access_denied", {65004: "User declined to consent to access the app."}),
    **_alike(
        "consent_required",
        {
            90094: "Admin consent is required for the permissions requested by this application.",
            90095: "Admin consent is required: the user may ask for approval.",
        },
    ),
    # --- the account ---
    **_alike(
        "invalid_grant",
        {
            50057: "The user account is disabled.",
            50034: "The user account does not exist in the directory. To sign into this application, the account must "
            "be added to the directory.",
            51004: "The user account does not exist in the directory.",
            50020: "User account from identity provider does not exist in tenant and cannot access the application.",
            90072: "User account does not exist in tenant. The account needs to be added as an external user first.",
            500208: "The domain is not a valid login domain for the account type.",
            50053: "The account is locked, you've tried to sign in too many times with an incorrect user ID or "
            "password.",
            50105: "The signed in user is not assigned to a role for the application.",
        },
    ),
    **_alike(
        "access_denied",
        {
            500021: "Access to the tenant is denied.",
            500022: "Access to the tenant is denied by a tenant restriction policy.",
            500212: "The user's administrator has set an outbound access policy that does not allow access.",
            500213: "The resource tenant's cross-tenant access policy does not allow this user to access this tenant.",
        },
    ),
    # --- the application in the customer's tenant ---
    **_alike(
        "unauthorized_client",
        {
            700016: "Application was not found in the directory. This can happen if the application has not been "
            "installed by the administrator of the tenant or consented to by any user in the tenant.",
            70001: "The application named was not found in the tenant.",
            7000112: "Application is disabled.",
            700011: "Application was not found in the directory.",
            1000031: "Application can't be accessed at this time. Contact your administrator to enable access.",
        },
    ),
    **_alike(
        "invalid_resource",
        {
            500011: "The resource principal was not found in the tenant.",
            500014: "The service principal for resource 'https://graph.microsoft.com' is disabled. This indicates that "
            "a subscription within the tenant has lapsed, or that the administrator for this tenant has disabled the "
            "application, preventing tokens from being issued for it.",
        },
    ),
    # --- the operator ---
    **_alike(
        "invalid_client",
        {
            7000215: "Invalid client secret provided. Ensure the secret being sent in the request is the client secret "
            "value, not the client secret ID.",
            7000222: "The provided client secret keys are expired. Create new keys for your app, or consider using "
            "certificate credentials for added security.",
            70002: "Error validating credentials.",
            7000218: "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
            700025: "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
            700027: "Client assertion failed signature validation.",
        },
        status=401,
    ),
    **_alike(
        "invalid_request",
        {
            50011: "The redirect URI specified in the request does not match the redirect URIs configured for the "
            "application.",
            50194: "The application is not configured as a multi-tenant application. Usage of the /common endpoint is "
            "not supported for such apps.",
            90130: "The application is not supported over the /common or /consumers endpoints.",
            9002313: "Invalid request. Request is malformed or invalid.",
            900144: "The request body must contain the following parameter: 'grant_type'.",
        },
    ),
    **_alike(
        "invalid_scope",
        {
            70011: "The provided value for the input parameter 'scope' is not valid.",
            28002: "Provided value for the input parameter scope is not valid when requesting an access token.",
        },
    ),
    **_alike(
        "invalid_client",
        {
            650056: "Misconfigured application: the client has not listed any permissions for the resource.",
            650057: "Invalid resource. The client has requested access to a resource which is not listed.",
        },
    ),
    # --- the code ---
    **_alike(
        "invalid_grant",
        {
            54005: "OAuth2 Authorization code was already redeemed, please retry with a new valid code.",
            501481: "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            700005: "The provided Authorization Code is intended to use against other tenant, thus rejected.",
        },
    ),
    # --- passing trouble; some of it comes under the word of a dead grant, so that only the code tells ---
    **_alike(
        "temporarily_unavailable",
        {
            50087: "A transient error has occurred during strong authentication. Please try again.",
            50166: "Request to External OIDC endpoint failed.",
            90006: "External server is retryable.",
            90012: "The request has timed out.",
            90024: "Request budget exceeded. A transient error has occurred. Please try again.",
            90033: "A transient error has occurred. Please try again.",
            90055: "The tenant is throttled: there are too many incoming requests.",
        },
        status=503,
    ),
    **_alike(
        "server_error",
        {
            70012: "A server error occurred while authenticating an MSA (consumer) user.",
            40010: "Retryable error of the identity provider.",
            90090: "Graph returned an error that can be retried.",
        },
        status=500,
    ),
    **_alike(
        "invalid_grant",
        {
            50033: "A transient error has occurred. Please try again.",
            50088: "Limit on telecom multi-factor authentication calls reached. Try again in a few minutes.",
            80001: "Authentication Agent unable to connect to Active Directory.",
            80002: "Authentication Agent's password validation request timed out.",
            80005: "An unknown error occurred while processing the response from the Authentication Agent.",
            80007: "Authentication Agent unable to validate user's password.",
            80014: "Validation request responded after maximum elapsed time exceeded.",
        },
    ),
    **_alike("invalid_request", {50196: "The server terminated an operation because it encountered a client loop."}),
    # --- words without a code, as readers must expect them: the codes may change ---
    **{
        word: TokenRefusal(word, "The request was refused.")
        for word in (
            "invalid_grant",
            "interaction_required",
            "consent_required",
            "login_required",
            "unauthorized_client",
            "invalid_resource",
            "invalid_scope",
            "invalid_request",
            "unsupported_grant_type",
        )
    },
    "invalid_client": TokenRefusal("invalid_client", "The request was refused.", status=401),
    "server_error": TokenRefusal("server_error", "The server encountered an unexpected error.", status=500),
    "temporarily_unavailable": TokenRefusal(
        "temporarily_unavailable", "The server is temporarily too busy to handle the request.", status=503
    ),
}


class TokenRefused(Exception):
    """Carries the name of the refusal that the endpoint answers with, and other words than its usual ones."""

    def __init__(self, name: str, text: str | None = None) -> None:
        super().__init__(name)
        self.name = name
        self.text = text


def token_refusal_answer(
    name: str, *, now: datetime, text: str | None = None, status: int | None = None, retry_after: int | None = None
) -> Response:
    """The token endpoint's answer for a refusal by its name."""
    refusal = TOKEN_REFUSALS[name]
    written_at = now.strftime("%Y-%m-%d %H:%M:%SZ")
    trace_id, correlation_id = str(uuid.uuid4()), str(uuid.uuid4())
    words = described(refusal, text=text)
    body: dict[str, Any] = {
        "error": refusal.error,
        "error_description": f"{words} Trace ID: {trace_id} Correlation ID: {correlation_id} Timestamp: {written_at}",
        "error_codes": [] if refusal.code is None else [refusal.code],
        "timestamp": written_at,
        "trace_id": trace_id,
        "correlation_id": correlation_id,
    }
    if refusal.code is not None:
        body["error_uri"] = f"https://login.microsoftonline.com/error?code={refusal.code}"
    if refusal.suberror is not None:
        body["suberror"] = refusal.suberror
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return json_answer(body, status=status or refusal.status, headers=headers, label=PLAIN_JSON)


def described(refusal: TokenRefusal, *, text: str | None = None) -> str:
    """The sentence that people read, its code in front."""
    words = text or refusal.text
    return words if refusal.code is None else f"AADSTS{refusal.code}: {words}"


def token_fault_answer(fault: Fault, *, now: datetime) -> Response:
    """Faults of the token endpoint in its own words."""
    match fault.kind:
        case FaultKind.THROTTLED:
            name = fault.variant or "AADSTS90055"
            return token_refusal_answer(name, now=now, status=429, retry_after=fault.retry_after)
        case FaultKind.SERVER_ERROR:
            name = "server_error" if fault.status == 500 else "temporarily_unavailable"
            return token_refusal_answer(name, now=now, status=fault.status, retry_after=fault.retry_after)
        case _:
            return token_refusal_answer(fault.variant or "AADSTS50173", now=now, retry_after=fault.retry_after)
