"""What Microsoft's refusals mean, at the token endpoint (numbered AADSTS) and at Graph (an error object with codes).

Documentation: learn.microsoft.com/entra/identity-platform/reference-error-codes and learn.microsoft.com/graph/errors.
"""

import base64
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from attendee.model import DisconnectCode
from attendee.providers.answers import Answer, decode_json, parse_text, quoted
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

_AADSTS = re.compile(r"AADSTS([0-9]{1,9})")
_CLAIMS = re.compile(r'\bclaims="([A-Za-z0-9+/_-]{1,4000}=*)"', re.IGNORECASE)

_CONSENT_REVOKED = "The user's consent was withdrawn at Microsoft, or has expired"
_LOGIN_DEMANDED = "Microsoft demands a new login of the user"
_RECONNECT = "Ask them to connect again."

# Who must act, by the number behind AADSTS. The word in `error` is the same for nearly all of these.
_REVOCATIONS = (
    ({50173, 70000, 70008, 700082, 50089, 65001, 65004}, DisconnectCode.CONSENT_REVOKED, _CONSENT_REVOKED, _RECONNECT),
    (
        {50132, 50133, 50135, 50055, 50144, 50072, 50074, 50076, 50078, 50079, 700020, 54005, 501481, 700005},
        DisconnectCode.REAUTH_REQUIRED,
        _LOGIN_DEMANDED,
        _RECONNECT,
    ),
    (
        {50097, 50131, 50158, 53000, 53001, 53002, 53004},
        DisconnectCode.REAUTH_REQUIRED,
        "The user's organisation demands a login from another device, or in another way",
        "Ask them to connect again; if that fails, their Microsoft 365 admin has to allow it.",
    ),
    (
        {70043},
        DisconnectCode.REAUTH_REQUIRED,
        "The user's organisation demands a new login from time to time",
        "Ask them to connect again; it comes back until their Microsoft 365 admin exempts the app.",
    ),
    (
        # The grant itself is dead: mending the registration alone brings no calendar back.
        {700084},
        DisconnectCode.REAUTH_REQUIRED,
        "The consent came through a redirect registered as a single-page app, which ends after 24 hours",
        "Register the redirect as type web in the Azure portal; then ask the user to connect again.",
    ),
    (
        {50020, 90072, 500208},
        DisconnectCode.REAUTH_REQUIRED,
        "The user's account doesn't belong to the organisation that the app asks",
        "Ask them to connect with another account, and check the tenant in the address of the token endpoint.",
    ),
    (
        {50057, 50034, 51004},
        DisconnectCode.ACCOUNT_GONE,
        "The user's Microsoft account no longer exists, or is disabled",
        "Ask them to connect another one.",
    ),
    (
        {53003, 530032, 53011, 500021, 500022, 500212, 500213, 90094, 90095, 50105},
        DisconnectCode.BLOCKED_BY_ADMIN,
        "The user's organisation blocks this app at Microsoft",
        "Their Microsoft 365 admin has to allow it; then ask them to connect again.",
    ),
    (
        {50053},
        DisconnectCode.BLOCKED_BY_ADMIN,
        "The user's Microsoft account is locked",
        "Their Microsoft 365 admin has to unlock it; then ask them to connect again.",
    ),
    (
        {700016, 70001, 7000112, 700011, 500011, 500014, 1000031},
        DisconnectCode.BLOCKED_BY_ADMIN,
        "The app was removed or switched off in the user's organisation",
        "Their Microsoft 365 admin has to allow it; if it happens to all users, check the app in the Azure portal.",
    ),
)
_REVOCATION_OF = {number: (code, what, advice) for numbers, code, what, advice in _REVOCATIONS for number in numbers}
_SECRET_FAULTS = frozenset({7000215, 7000222, 70002, 7000218, 700025, 700027})
_REGISTRATION_FAULTS = frozenset({50011, 50194, 90130, 70011, 28002, 650056, 650057, 9002313, 900144})
_DIRECTORY_DOWN = frozenset({50033, 50087, 50088, 50166, 70012, 40010, 80001, 80002, 80005, 80007, 80014})
_TRANSIENT = _DIRECTORY_DOWN | {90006, 90012, 90024, 90033, 90055, 90090}
_CLIENT_LOOP = 50196
# Part of its text, for an answer that brings it without the number.
_SWITCHED_OFF_IN_TENANT = 500014
_SWITCHED_OFF_TEXT = "subscription within the tenant has lapsed"

# What the words in `error` mean where no known number comes with them (RFC 6749, OpenID Connect and Microsoft's own).
_CONSENT_ERRORS = frozenset({"invalid_grant", "consent_required"})
_LOGIN_ERRORS = frozenset({"interaction_required", "login_required"})
_REQUEST_ERRORS = frozenset({"invalid_resource", "invalid_scope", "invalid_request", "unsupported_grant_type"})
_TRANSIENT_ERRORS = frozenset({"server_error", "temporarily_unavailable"})

# Codes of Graph, in lower case: the documentation and the wire differ in theirs.
_THROTTLED = frozenset({"429", "activitylimitreached", "applicationthrottled", "toomanyrequests"})
_GRAPH_DOWN = frozenset({"generalexception", "servicenotavailable", "unknownerror"})
_MAILBOX_UNAVAILABLE = frozenset({"mailboxnotenabledforrestapi", "resourcenotfound"})
_POLICY = frozenset({"accessdenied", "authorization_requestdenied"})
_MALFORMED_ID = frozenset({"errorinvalididmalformed", "requestbroker--parseuri"})
_ITEM_NOT_FOUND = "erroritemnotfound"
# resyncRequired has kin that say how to list anew: resyncChangesApplyDifferences and others.
_SYNC_STATE_LOST = ("resync", "syncstate")
# For an answer that brings the text of MailboxNotEnabledForRESTAPI without the code.
_NO_MAILBOX_TEXTS = ("hosted on-premise", "rest api is not yet supported for this mailbox")

# A client that asks for tokens in a loop is made to wait, and each further call prolongs it.
_LOOP_PAUSE = timedelta(hours=1)


def scope_missing(told: str) -> AccessRevoked:
    """What it means when the consent doesn't cover the calendar."""
    return AccessRevoked(
        DisconnectCode.SCOPE_MISSING,
        f"The user's consent doesn't cover the calendar {told}. Ask them to connect again, and the app to ask for "
        "Calendars.Read.",
    )


def token_error(answer: Answer, body: dict[str, Any], *, secrets: Iterable[str]) -> ProviderError:
    """What a refusal means.

    Microsoft advises to decide by `error`, but only the number tells who must act; `error` decides where there is none
    that we know.
    """
    error = body.get("error")
    description = quoted(body.get("error_description"), secrets=secrets)
    words = ": ".join(word for word in (quoted(error, secrets=secrets), description) if word)
    told = f"({words or answer.status})"
    for number in _aadsts_numbers(body):
        known = _error_of_number(number, told, answer)
        if known is not None:
            return known
    if _SWITCHED_OFF_TEXT in parse_text(body.get("error_description")).lower():
        return _revoked(_SWITCHED_OFF_IN_TENANT, told)
    return _error_of_word(error if isinstance(error, str) else "", told, answer)


def _error_of_word(error: str, told: str, answer: Answer) -> ProviderError:
    if error in _TRANSIENT_ERRORS:
        return _token_endpoint_down(answer, told)
    if error in _CONSENT_ERRORS:
        return AccessRevoked(DisconnectCode.CONSENT_REVOKED, f"{_CONSENT_REVOKED} {told}. {_RECONNECT}")
    if error in _LOGIN_ERRORS:
        return AccessRevoked(DisconnectCode.REAUTH_REQUIRED, f"{_LOGIN_DEMANDED} {told}. {_RECONNECT}")
    if error in {"invalid_client", "unauthorized_client"}:
        return _client_refused(told)
    if error in _REQUEST_ERRORS:
        return _request_refused(told)
    return UnexpectedAnswer(f"Microsoft's token endpoint answered {answer.status} with an error unknown to us {told}.")


def _aadsts_numbers(body: dict[str, Any]) -> Iterator[int]:
    """Those of the list made for them, then those in the text."""
    codes = body.get("error_codes")
    yield from (code for code in codes if isinstance(code, int)) if isinstance(codes, list) else ()
    yield from map(int, _AADSTS.findall(parse_text(body.get("error_description"))))


def _error_of_number(number: int, told: str, answer: Answer) -> ProviderError | None:
    if number == _CLIENT_LOOP:
        wait = max(answer.retry_after or _LOOP_PAUSE, _LOOP_PAUSE)
        return RateLimited(f"Microsoft is asked for tokens too often {told}.", retry_after=wait)
    if number in _TRANSIENT:
        return _token_endpoint_down(answer, told)
    if number in _SECRET_FAULTS:
        return _client_refused(told)
    if number in _REGISTRATION_FAULTS:
        return _request_refused(told)
    return _revoked(number, told) if number in _REVOCATION_OF else None


def _revoked(number: int, told: str) -> AccessRevoked:
    code, what, advice = _REVOCATION_OF[number]
    return AccessRevoked(code, f"{what} {told}. {advice}")


def _token_endpoint_down(answer: Answer, told: str) -> ProviderDown:
    return ProviderDown(f"Microsoft's token endpoint is in trouble {told}.", retry_after=answer.retry_after)


def _client_refused(told: str) -> OperatorFault:
    return OperatorFault(
        f"Microsoft refuses the OAuth client {told}. Check client id and secret, and whether the secret has expired, "
        "in the Azure portal."
    )


def _request_refused(told: str) -> OperatorFault:
    return OperatorFault(
        f"Microsoft refuses the way in which the token is asked for {told}. Check the app registration (accounts of "
        "which organisations, redirects, permissions) in the Azure portal."
    )


@dataclass(frozen=True, slots=True)
class Refusal:
    """An error body. `is_graphs` is False for a body of another make, such as a proxy's page.

    `codes` are in lower case, those of inner errors among them; `code` is the outermost as it came.
    """

    is_graphs: bool
    code: str
    codes: frozenset[str]
    message: str
    request_id: str

    @property
    def says_not_found(self) -> bool:
        """Whether Graph says that an event or calendar is gone."""
        return _ITEM_NOT_FOUND in self.codes

    @property
    def says_malformed(self) -> bool:
        """Whether Graph says that an id in the path can't be one."""
        return bool(self.codes & _MALFORMED_ID)

    @property
    def says_sync_state_lost(self) -> bool:
        """Whether Graph says that a delta link is no longer known."""
        return any(code.startswith(_SYNC_STATE_LOST) for code in self.codes)


def parse_refusal(answer: Answer) -> Refusal:
    try:
        body = decode_json(answer.body)
    except ValueError:
        body = None
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("code"), str):
        return Refusal(is_graphs=False, code="", codes=frozenset(), message="", request_id="")
    layers = list(_layers(error))
    return Refusal(
        is_graphs=True,
        code=error["code"],
        codes=frozenset(layer["code"].lower() for layer in layers if isinstance(layer.get("code"), str)),
        message=parse_text(error.get("message")),
        request_id=next((parse_text(layer["request-id"]) for layer in layers if layer.get("request-id")), ""),
    )


def _layers(error: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The error and what is nested in it, from the outside in."""
    layer: object = error
    while isinstance(layer, dict):
        yield layer
        layer = layer.get("innerError") or layer.get("innererror")


def graph_error(answer: Answer, *, calendar: str | None, secrets: Iterable[str]) -> ProviderError:
    """What an answer other than 200 means for this calendar, None being the primary one.

    Throttling comes first: it is never a revocation.
    """
    refusal = parse_refusal(answer)
    words = [str(answer.status), *(quoted(word, secrets=secrets) for word in (refusal.code, refusal.message))]
    if refusal.request_id:
        words.append(f"request {quoted(refusal.request_id, secrets=secrets)}")
    told = f"({': '.join(word for word in words if word)})"
    if answer.status == 429 or refusal.codes & _THROTTLED:
        # Limits are counted for each mailbox; that of a whole app is so far above them that its word can't be told.
        return RateLimited(f"Microsoft Graph is asked too often {told}.", retry_after=answer.retry_after)
    if answer.status == 408 or answer.status >= 500:
        return _graph_down(answer, told)
    if answer.status == 401:
        return TokenRejected(f"Microsoft no longer accepts the access token {told}.", claims=_demanded_claims(answer))
    revocation = _revocation(refusal, told, calendar=calendar)
    if revocation is not None:
        return revocation
    if refusal.codes & _GRAPH_DOWN:
        return _graph_down(answer, told)
    return UnexpectedAnswer(f"Microsoft Graph gave an answer that makes no sense here {told}.")


def _demanded_claims(answer: Answer) -> str | None:
    """What continuous access evaluation demands of the next access token: JSON, sent in base64 with its challenge."""
    challenge = _CLAIMS.search(answer.headers.get("WWW-Authenticate", ""))
    if challenge is None:
        return None
    packed = challenge[1].rstrip("=").replace("+", "-").replace("/", "_")
    try:
        claims = base64.urlsafe_b64decode(packed + "=" * (-len(packed) % 4))
        return claims.decode() if isinstance(decode_json(claims), dict) else None
    except ValueError:
        return None


def watch_error(answer: Answer, *, calendar: str | None, secrets: Iterable[str]) -> ProviderError:
    """What a refused subscription means: that Graph does not reach our address is nobody's fault but ours."""
    error = graph_error(answer, calendar=calendar, secrets=secrets)
    is_transient = isinstance(error, RateLimited | ProviderDown | TokenRejected)
    if answer.status in {400, 403} and parse_refusal(answer).is_graphs and not is_transient:
        return WatchRefused(
            f"Microsoft opens no push channel: {quoted(parse_refusal(answer).message, secrets=secrets)}"
        )
    return error


def _graph_down(answer: Answer, told: str) -> ProviderDown:
    return ProviderDown(f"Microsoft Graph is in trouble {told}.", retry_after=answer.retry_after)


def _revocation(refusal: Refusal, told: str, *, calendar: str | None) -> AccessRevoked | None:
    if refusal.codes & _MAILBOX_UNAVAILABLE or any(text in refusal.message.lower() for text in _NO_MAILBOX_TEXTS):
        return AccessRevoked(
            DisconnectCode.MAILBOX_UNAVAILABLE,
            f"The user has no mailbox at Exchange Online that could be read {told}: without a licence, deleted, or "
            "on-premises. Once there is one, ask the user to connect again.",
        )
    if "erroraccessdenied" in refusal.codes and calendar is None:
        return scope_missing(told)
    is_malformed = calendar is not None and refusal.says_malformed
    if "erroraccessdenied" in refusal.codes or refusal.says_not_found or is_malformed:
        return AccessRevoked(
            DisconnectCode.CALENDAR_NOT_FOUND,
            f"The calendar was deleted, or is no longer shared with this user {told}. Connect another one.",
        )
    if "insufficient_claims" in refusal.codes:
        return AccessRevoked(DisconnectCode.REAUTH_REQUIRED, f"{_LOGIN_DEMANDED} {told}. {_RECONNECT}")
    if refusal.codes & _POLICY:
        return AccessRevoked(
            DisconnectCode.BLOCKED_BY_ADMIN,
            f"The policy of the user's organisation forbids to read the calendar {told}. Their Microsoft 365 admin has "
            "to allow it; then ask them to connect again.",
        )
    return None
