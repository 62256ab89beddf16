"""Every way in which Google says no, and what each of them means: bodies composed after its documentation."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from attendee.model import Credentials, DisconnectCode, Window
from attendee.providers.port import (
    AccessRevoked,
    CalendarProvider,
    CursorExpired,
    OperatorFault,
    ProviderDown,
    ProviderError,
    RateLimited,
    TokenRejected,
    UnexpectedAnswer,
)
from tests.providers.loopback import Loopback

NOW = datetime(2026, 11, 23, 9, 30, tzinfo=UTC)
WINDOW = Window(NOW - timedelta(days=1), NOW + timedelta(days=28))
CREDENTIALS = Credentials(client_id="client", client_secret="GOCSPX-secret", refresh_token="1//0refresh")
TOKEN = "ya29.token"
READ_SCOPE = "https://www.googleapis.com/auth/calendar.readonly"
EVENT: dict[str, Any] = {
    "id": "4rs0k2b7d1",
    "status": "confirmed",
    "summary": "Review",
    "start": {"dateTime": "2026-12-01T15:00:00+01:00", "timeZone": "Europe/Berlin"},
    "end": {"dateTime": "2026-12-01T16:00:00+01:00", "timeZone": "Europe/Berlin"},
}
HTML = b"<html><body>Not here</body></html>"


def refusal(code: int, *reasons: str, message: str = "No.", **more: object) -> dict[str, object]:
    """An error body of the Calendar API."""
    errors = [{"domain": "global", "reason": reason, "message": message} for reason in reasons]
    return {"error": {"code": code, "message": message, "errors": errors, **more}}


def error_info(reason: str, **metadata: str) -> list[dict[str, object]]:
    """The `details` of a newer error body."""
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "metadata": metadata}]


async def failed_refresh(google: CalendarProvider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await google.refresh(CREDENTIALS, now=NOW)
    return caught.value


async def failed_page(google: CalendarProvider, *, cursor: str | None = None) -> ProviderError:
    position = google.first_position(calendar=None, cursor=cursor, window=WINDOW)
    with pytest.raises(ProviderError) as caught:
        await google.page(TOKEN, position, calendar=None, window=WINDOW)
    return caught.value


class TestTokenEndpoint:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, "consent_revoked"),
            ({"error": "invalid_grant", "error_description": "Bad Request"}, "consent_revoked"),
            ({"error": "invalid_grant"}, "consent_revoked"),
            (
                {"error": "invalid_grant", "error_description": "reauth related error (invalid_rapt)"},
                "reauth_required",
            ),
            ({"error": "invalid_grant", "error_subtype": "rapt_required"}, "reauth_required"),
            ({"error": "invalid_grant", "error_description": "The account has been deleted"}, "account_gone"),
            ({"error": "access_denied", "error_description": "Account restricted"}, "blocked_by_admin"),
            ({"error": "admin_policy_enforced"}, "blocked_by_admin"),
        ],
    )
    async def test_revoked(self, platform: Loopback, google: CalendarProvider, body: dict[str, str], code: str) -> None:
        """What the user or an admin did to the grant disconnects, each with the word for it."""
        platform.will_send(body, status=400)
        error = await failed_refresh(google)
        assert isinstance(error, AccessRevoked)
        assert error.code == DisconnectCode(code)
        assert body.get("error_description", "") in str(error)

    @pytest.mark.parametrize("status", [400, 401])
    @pytest.mark.parametrize(
        "word",
        [
            "deleted_client",
            "invalid_client",
            "disabled_client",
            "unauthorized_client",
            "invalid_request",
            "unsupported_grant_type",
            "redirect_uri_mismatch",
            "invalid_scope",
        ],
    )
    async def test_operator(self, platform: Loopback, google: CalendarProvider, word: str, status: int) -> None:
        """What is wrong with the OAuth client is the operator's fault, whatever the status."""
        platform.will_send({"error": word, "error_description": "The OAuth client was not found."}, status=status)
        assert isinstance(await failed_refresh(google), OperatorFault)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, {"error": "internal_failure", "error_description": "Backend Error"}),
            (400, {"error": "internal_failure", "error_description": None}),
            (401, {"error": "server_error"}),
            (403, {"error": "temporarily_unavailable"}),
            (408, {"error": "invalid_grant"}),
            (500, {"error": "invalid_grant"}),
            (502, HTML),
            (503, HTML),
            (504, HTML),
            (200, HTML),
            (400, HTML),
        ],
    )
    async def test_transient(self, platform: Loopback, google: CalendarProvider, status: int, body: object) -> None:
        """Trouble of Google's own never counts against the grant, whatever else the answer says."""
        platform.will_send(body, status=status, headers={"Retry-After": "17"})
        assert isinstance(await failed_refresh(google), ProviderDown)

    async def test_throttled(self, platform: Loopback, google: CalendarProvider) -> None:
        """Too many refreshes pause the whole OAuth client for as long as Google says."""
        platform.will_send({"error": "invalid_grant"}, status=429, headers={"Retry-After": "17"})
        error = await failed_refresh(google)
        assert isinstance(error, RateLimited)
        assert (error.whole_client, error.retry_after) == (True, timedelta(seconds=17))

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, []),
            (200, {"expires_in": 3599}),
            (200, {"access_token": 5}),
            (200, {"access_token": ""}),
            (200, {"access_token": "a\r\nX: y"}),
            (400, {"error": "some_news"}),
            (403, {"error": {"code": 403, "status": "PERMISSION_DENIED"}}),
            (404, {"detail": "Not Found"}),
            (302, HTML),
        ],
    )
    async def test_unexpected(self, platform: Loopback, google: CalendarProvider, status: int, body: object) -> None:
        """What the documentation doesn't know is neither believed nor held against anybody."""
        platform.will_send(body, status=status)
        assert isinstance(await failed_refresh(google), UnexpectedAnswer)

    async def test_scope_missing(self, platform: Loopback, google: CalendarProvider) -> None:
        """A consent from which the user has unticked the calendar is told at once, not at the first 403."""
        platform.will_send({"access_token": TOKEN, "scope": "openid https://www.googleapis.com/auth/calendar.freebusy"})
        error = await failed_refresh(google)
        assert isinstance(error, AccessRevoked)
        assert error.code is DisconnectCode.SCOPE_MISSING

    async def test_no_secret_in_messages(self, platform: Loopback, google: CalendarProvider) -> None:
        """Secrets that Google echoes don't get into the message, which is shown to people and stored."""
        platform.will_send({"error": "invalid_grant", "error_description": "1//0refresh\nof GOCSPX-secret"}, status=400)
        assert "*** of ***" in str(await failed_refresh(google))


class TestCalendarApi:
    @pytest.mark.parametrize(
        ("body", "code"),
        [
            (refusal(403, "insufficientPermissions", status="PERMISSION_DENIED"), "scope_missing"),
            (
                refusal(403, status="PERMISSION_DENIED", details=error_info("ACCESS_TOKEN_SCOPE_INSUFFICIENT")),
                "scope_missing",
            ),
            (refusal(403, "notACalendarUser"), "mailbox_unavailable"),
            (refusal(403, "domainPolicy"), "blocked_by_admin"),
            (refusal(403, "forbidden"), "calendar_not_found"),
            (refusal(403, "other", "requiredAccessLevel"), "calendar_not_found"),
            (refusal(404, "notFound"), "calendar_not_found"),
        ],
    )
    async def test_revoked(self, platform: Loopback, google: CalendarProvider, body: dict[str, Any], code: str) -> None:
        """Google's own word that consent, account or calendar are gone disconnects, each with the word for it."""
        platform.will_send(body, status=body["error"]["code"])
        error = await failed_page(google)
        assert isinstance(error, AccessRevoked)
        assert error.code == DisconnectCode(code)

    @pytest.mark.parametrize(
        "body",
        [
            refusal(403, "accessNotConfigured", status="PERMISSION_DENIED"),
            refusal(403, status="PERMISSION_DENIED", details=error_info("SERVICE_DISABLED")),
        ],
    )
    async def test_api_switched_off(self, platform: Loopback, google: CalendarProvider, body: object) -> None:
        """An API that isn't enabled in the project is the operator's fault, although it says PERMISSION_DENIED."""
        platform.will_send(body, status=403)
        assert isinstance(await failed_page(google), OperatorFault)

    @pytest.mark.parametrize(
        ("status", "body", "expected"),
        [
            (403, refusal(403, "userRateLimitExceeded"), (None, False)),
            (403, refusal(403, "rateLimitExceeded", message="Rate Limit Exceeded"), (None, False)),
            (
                403,
                refusal(403, "rateLimitExceeded", message="limit 'Queries per minute per user' of service"),
                (None, False),
            ),
            (403, refusal(403, "rateLimitExceeded", message="limit 'Queries per minute' of service"), (None, True)),
            (429, refusal(429, "rateLimitExceeded", message="limit 'Queries per minute' of service"), (None, True)),
            (
                429,
                refusal(
                    429,
                    status="RESOURCE_EXHAUSTED",
                    details=error_info("RATE_LIMIT_EXCEEDED", quota_limit="defaultPerMinutePerUser"),
                ),
                (None, False),
            ),
            (403, refusal(403, "forbidden", status="RESOURCE_EXHAUSTED"), (None, False)),
            (403, refusal(403, "insufficientPermissions", "userRateLimitExceeded"), (None, False)),
            (403, refusal(403, "quotaExceeded", status="PERMISSION_DENIED"), (timedelta(hours=1), False)),
            (403, refusal(403, "dailyLimitExceeded", status="PERMISSION_DENIED"), (timedelta(hours=1), True)),
            (429, HTML, (None, False)),
        ],
    )
    async def test_throttled(
        self,
        platform: Loopback,
        google: CalendarProvider,
        status: int,
        body: object,
        expected: tuple[timedelta | None, bool],
    ) -> None:
        """A quota error is never a revocation, whatever else it says; only a limit of the project stops all users."""
        platform.will_send(body, status=status)
        error = await failed_page(google)
        assert isinstance(error, RateLimited)
        assert (error.retry_after, error.whole_client) == expected

    @pytest.mark.parametrize(
        ("headers", "wait"),
        [
            ({"Retry-After": "30"}, timedelta(seconds=30)),
            ({"Retry-After": "-3"}, timedelta(0)),
            ({"Retry-After": "99999999999999"}, timedelta(days=1)),
            ({"Retry-After": "nan"}, None),
            ({"Retry-After": "later"}, None),
            ({"Retry-After": "Mon, 23 Nov 2026 09:31:00 GMT"}, None),
            (
                {"Retry-After": "Mon, 23 Nov 2026 09:31:00 GMT", "Date": "Mon, 23 Nov 2026 09:30:00 GMT"},
                timedelta(minutes=1),
            ),
            ({"Retry-After": "Mon, 23 Nov 2026 09:31:00 GMT", "Date": "Mon, 23 Nov 2026 09:30:00 -0000"}, None),
            ({}, None),
        ],
    )
    async def test_retry_after(
        self, platform: Loopback, google: CalendarProvider, headers: dict[str, str], wait: timedelta | None
    ) -> None:
        """Retry-After is understood as seconds and as a date, within a day, and survived as anything else."""
        platform.will_send(refusal(503, "backendError"), status=503, headers=headers)
        error = await failed_page(google)
        assert isinstance(error, ProviderDown)
        assert error.retry_after == wait

    async def test_token_rejected(self, platform: Loopback, google: CalendarProvider) -> None:
        """401 asks for a fresh access token, and doesn't repeat the old one to anybody."""
        platform.will_send(refusal(401, "authError", message=f"Invalid {TOKEN}"), status=401)
        error = await failed_page(google)
        assert isinstance(error, TokenRejected)
        assert TOKEN not in str(error)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (410, refusal(410, "fullSyncRequired")),
            (410, refusal(410, "updatedMinTooLongAgo")),
            (410, refusal(410)),
            (410, HTML),
            (400, refusal(400, "invalid")),
        ],
    )
    async def test_cursor_expired(
        self, platform: Loopback, google: CalendarProvider, status: int, body: object
    ) -> None:
        """A sync token that Google no longer takes has expired, with and without a reason; a listing can't expire."""
        platform.will_send(body, status=status)
        assert isinstance(await failed_page(google, cursor="S1"), CursorExpired)
        platform.will_send(body, status=status)
        assert isinstance(await failed_page(google), UnexpectedAnswer)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, refusal(400, "timeRangeEmpty")),
            (400, refusal(400, "badRequest")),
            (403, refusal(403, status="PERMISSION_DENIED")),
            (403, refusal(403, "news")),
            (403, HTML),
            (404, HTML),
            (404, {"detail": "Not Found"}),
            (404, {"error": "Not Found"}),
            (418, {"error": {"errors": {"reason": 5}, "details": [None, {"metadata": []}], "message": None}}),
            (301, HTML),
        ],
    )
    async def test_unexpected(self, platform: Loopback, google: CalendarProvider, status: int, body: object) -> None:
        """What isn't Google's own word on the calendar, such as a proxy's page, disconnects nobody."""
        platform.will_send(body, status=status, headers={"Location": "/elsewhere"})
        assert isinstance(await failed_page(google), UnexpectedAnswer)
        assert len(platform.asked) == 1

    @pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
    async def test_down(self, platform: Loopback, google: CalendarProvider, status: int) -> None:
        """Trouble of Google's own heals by itself."""
        platform.will_send(refusal(status, "backendError"), status=status)
        assert isinstance(await failed_page(google, cursor="S1"), ProviderDown)
