"""Every way in which Microsoft says no, and what each of them means: bodies composed after its documentation."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest

from attendee.model import Credentials, DisconnectCode, Window
from attendee.providers.microsoft import MicrosoftCalendar
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
CREDENTIALS = Credentials(client_id="client", client_secret="8Q~secret", refresh_token="0.AXoArefresh")
TOKEN = "eyJ0.token"
HTML = b"<html><body>Not here</body></html>"
LAPSED = "This indicates that a subscription within the tenant has lapsed, or that the administrator disabled the app."
ON_PREMISE = "The mailbox is either inactive, soft-deleted, or is hosted on-premise."
NESTED = {"error": {"code": "X", "innererror": {"code": "Y", "innerError": {"code": "erroraccessdenied"}}}}

REVOKED = {
    "consent_revoked": [50173, 70000, 70008, 700082, 50089, 65001, 65004],
    "reauth_required": [
        *(70043, 700084, 50132, 50133, 50135, 50055, 50144, 50072, 50074, 50076, 50078, 50079, 50097, 50131, 50158),
        *(53000, 53001, 53002, 53004, 700020, 50020, 90072, 500208, 54005, 501481, 700005),
    ],
    "account_gone": [50057, 50034, 51004],
    "blocked_by_admin": [
        *(53003, 530032, 53011, 90094, 90095, 50053, 50105, 700016, 70001, 7000112, 700011, 500011, 500014, 1000031),
        *(500021, 500022, 500212, 500213),
    ],
}
OPERATOR = [
    *(7000215, 7000222, 70002, 7000218, 700025, 700027),
    *(50011, 50194, 90130, 70011, 28002, 650056, 650057, 9002313, 900144),
]
TRANSIENT = [
    *(50033, 50087, 50088, 50166, 70012, 40010, 80001, 80002, 80005, 80007, 80014),
    *(90006, 90012, 90024, 90033, 90055, 90090),
]


def token_refusal(number: int, error: str = "invalid_grant") -> dict[str, object]:
    """An error body of the token endpoint."""
    return {
        "error": error,
        "error_description": f"AADSTS{number}: No. Trace ID: 255d1aef Timestamp: 2026-11-22 10:00:00Z",
        "error_codes": [number],
        "timestamp": "2026-11-22 10:00:00Z",
        "trace_id": "255d1aef",
        "correlation_id": "fb3d2015",
        "error_uri": f"https://login.microsoftonline.com/error?code={number}",
    }


def refusal(code: str, message: str = "No.", **more: object) -> dict[str, object]:
    """An error body of Graph."""
    inner = {"date": "2026-11-22T10:00:00", "request-id": "6c0b", "client-request-id": "6c0b"}
    return {"error": {"code": code, "message": message, "innerError": inner, **more}}


@pytest.fixture
async def microsoft(platform: Loopback) -> AsyncIterator[CalendarProvider]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        yield MicrosoftCalendar(
            http=http,
            graph_url=f"{platform.url}/v1.0",
            token_url=f"{platform.url}/common/oauth2/v2.0/token",
            find_meeting_url=lambda **_: None,
        )


async def failed_refresh(microsoft: CalendarProvider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await microsoft.refresh(CREDENTIALS, now=NOW)
    return caught.value


async def failed_page(
    microsoft: CalendarProvider, *, calendar: str | None = None, cursor: str | None = None
) -> ProviderError:
    position = microsoft.first_position(calendar=calendar, cursor=cursor, window=WINDOW)
    with pytest.raises(ProviderError) as caught:
        await microsoft.page(TOKEN, position, calendar=calendar, window=WINDOW)
    return caught.value


async def failed_listing(
    platform: Loopback, microsoft: CalendarProvider, *, status: int, body: object
) -> ProviderError:
    """What becomes of an answer to the listing that follows a first round of changes."""
    platform.will_send({"value": [], "@odata.deltaLink": f"{platform.url}/v1.0/new"})
    platform.will_send(body, status=status)
    first = microsoft.first_position(calendar=None, cursor=None, window=WINDOW)
    listing = (await microsoft.page(TOKEN, first, calendar=None, window=WINDOW)).next_position
    assert listing is not None
    with pytest.raises(ProviderError) as caught:
        await microsoft.page(TOKEN, listing, calendar=None, window=WINDOW)
    return caught.value


class TestTokenEndpoint:
    @pytest.mark.parametrize(
        ("number", "code"), [(number, code) for code, numbers in REVOKED.items() for number in numbers]
    )
    async def test_revoked(self, platform: Loopback, microsoft: CalendarProvider, number: int, code: str) -> None:
        """What the user or an admin did to the grant disconnects, each by its number with the word for it."""
        for error in ("invalid_grant", "unauthorized_client"):
            platform.will_send(token_refusal(number, error), status=400)
            caught = await failed_refresh(microsoft)
            assert isinstance(caught, AccessRevoked)
            assert caught.code == DisconnectCode(code)
            assert f"AADSTS{number}" in str(caught)

    @pytest.mark.parametrize("number", OPERATOR)
    async def test_operator(self, platform: Loopback, microsoft: CalendarProvider, number: int) -> None:
        """What is wrong with the app's registration or its secret is the operator's fault, whatever the word."""
        for status, error in ((401, "invalid_client"), (400, "invalid_grant")):
            platform.will_send(token_refusal(number, error), status=status)
            assert isinstance(await failed_refresh(microsoft), OperatorFault)

    @pytest.mark.parametrize("number", TRANSIENT)
    async def test_transient(self, platform: Loopback, microsoft: CalendarProvider, number: int) -> None:
        """Trouble of Microsoft's own is told by its number, though the word speaks against the grant."""
        platform.will_send(token_refusal(number), status=400, headers={"Retry-After": "17"})
        caught = await failed_refresh(microsoft)
        assert isinstance(caught, ProviderDown)
        assert caught.retry_after == timedelta(seconds=17)

    @pytest.mark.parametrize(
        ("retry_after", "wait"), [("17", timedelta(hours=1)), ("7200", timedelta(hours=2)), ("", timedelta(hours=1))]
    )
    async def test_loop(
        self, platform: Loopback, microsoft: CalendarProvider, retry_after: str, wait: timedelta
    ) -> None:
        """A client that asks in a loop stops for an hour at least, for this one user."""
        platform.will_send(token_refusal(50196), status=400, headers={"Retry-After": retry_after})
        caught = await failed_refresh(microsoft)
        assert isinstance(caught, RateLimited)
        assert (caught.retry_after, caught.whole_client) == (wait, False)

    @pytest.mark.parametrize(
        ("body", "code"),
        [
            ({"error": "invalid_grant"}, "consent_revoked"),
            ({"error": "invalid_grant", "error_codes": [1], "error_description": "AADSTS2: New."}, "consent_revoked"),
            ({"error": "invalid_grant", "error_description": "AADSTS53003: Blocked."}, "blocked_by_admin"),
            ({"error": "invalid_grant", "error_codes": [1, None, 53003]}, "blocked_by_admin"),
            ({"error": "invalid_grant", "error_codes": "x", "error_description": 5}, "consent_revoked"),
            ({"error": "invalid_grant", "suberror": "consent_required", "error_codes": [65001]}, "consent_revoked"),
            ({"error": "consent_required"}, "consent_revoked"),
            ({"error": "interaction_required"}, "reauth_required"),
            ({"error": "login_required"}, "reauth_required"),
            ({"error": "unauthorized_client", "error_description": LAPSED}, "blocked_by_admin"),
        ],
    )
    async def test_revoked_by_word(
        self, platform: Loopback, microsoft: CalendarProvider, body: dict[str, object], code: str
    ) -> None:
        """Numbers count wherever they stand; without one that is known the word decides."""
        platform.will_send(body, status=400)
        caught = await failed_refresh(microsoft)
        assert isinstance(caught, AccessRevoked)
        assert caught.code == DisconnectCode(code)

    @pytest.mark.parametrize(
        "word",
        [
            "invalid_client",
            "unauthorized_client",
            "invalid_resource",
            "invalid_scope",
            "invalid_request",
            "unsupported_grant_type",
        ],
    )
    async def test_operator_by_word(self, platform: Loopback, microsoft: CalendarProvider, word: str) -> None:
        """A word about the client or the request is the operator's affair."""
        platform.will_send({"error": word}, status=400)
        assert isinstance(await failed_refresh(microsoft), OperatorFault)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (400, {"error": "temporarily_unavailable"}),
            (400, {"error": "server_error"}),
            (408, token_refusal(50173)),
            (500, token_refusal(50173)),
            (503, HTML),
            (200, HTML),
            (400, HTML),
        ],
    )
    async def test_transient_by_status_or_word(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object
    ) -> None:
        """Trouble of Microsoft's own never counts against the grant, whatever else the answer says."""
        platform.will_send(body, status=status)
        assert isinstance(await failed_refresh(microsoft), ProviderDown)

    async def test_throttled(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Too many refreshes pause the whole OAuth client for as long as Microsoft says."""
        platform.will_send(token_refusal(50173), status=429, headers={"Retry-After": "17"})
        caught = await failed_refresh(microsoft)
        assert isinstance(caught, RateLimited)
        assert (caught.whole_client, caught.retry_after) == (True, timedelta(seconds=17))

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, []),
            (200, {"expires_in": 3599}),
            (200, {"access_token": 5}),
            (200, {"access_token": "a\r\nX: y"}),
            (400, {"error": "some_news", "error_codes": [1.5, True, "x", {}]}),
            (403, {"error": {"code": "InvalidAuthenticationToken"}}),
            (404, {"detail": "Not Found"}),
            (302, HTML),
        ],
    )
    async def test_unexpected(self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object) -> None:
        """What the documentation doesn't know is neither believed nor held against anybody."""
        platform.will_send(body, status=status)
        assert isinstance(await failed_refresh(microsoft), UnexpectedAnswer)

    @pytest.mark.parametrize("scope", ["User.Read openid profile email", "https://graph.microsoft.com/Mail.Read"])
    async def test_scope_missing(self, platform: Loopback, microsoft: CalendarProvider, scope: str) -> None:
        """A consent without the calendar is told at once, not at the first 403."""
        platform.will_send({"access_token": TOKEN, "scope": scope})
        caught = await failed_refresh(microsoft)
        assert isinstance(caught, AccessRevoked)
        assert caught.code is DisconnectCode.SCOPE_MISSING

    async def test_no_secret_in_messages(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Secrets that Microsoft echoes don't get into the message, which is shown to people and stored."""
        body = {"error": "invalid_grant", "error_description": "0.AXoArefresh\nof 8Q~secret"}
        platform.will_send(body, status=400)
        assert "*** of ***" in str(await failed_refresh(microsoft))


class TestGraph:
    @pytest.mark.parametrize(
        ("answer", "refused"),
        [
            ((403, refusal("ErrorAccessDenied", "Access is denied. Check credentials.")), (None, "scope_missing")),
            ((403, refusal("ErrorAccessDenied")), ("AQ=", "calendar_not_found")),
            ((404, refusal("ErrorItemNotFound")), ("AQ=", "calendar_not_found")),
            ((404, refusal("erroritemnotfound")), ("AQ=", "calendar_not_found")),
            ((404, refusal("ErrorItemNotFound")), (None, "calendar_not_found")),
            ((400, refusal("ErrorInvalidIdMalformed", "Id is malformed.")), ("ana@acme.example", "calendar_not_found")),
            ((400, refusal("RequestBroker--ParseUri")), ("AQ=", "calendar_not_found")),
            ((404, refusal("MailboxNotEnabledForRESTAPI")), (None, "mailbox_unavailable")),
            ((404, refusal("mailboxNotEnabledForRESTAPI")), ("AQ=", "mailbox_unavailable")),
            ((404, refusal("ResourceNotFound", "Resource could not be discovered.")), (None, "mailbox_unavailable")),
            ((404, refusal("ResourceNotFound")), ("AQ=", "mailbox_unavailable")),
            ((404, refusal("News", ON_PREMISE)), (None, "mailbox_unavailable")),
            ((400, refusal("News", "REST API is not yet supported for this mailbox.")), (None, "mailbox_unavailable")),
            ((403, refusal("accessDenied")), (None, "blocked_by_admin")),
            ((403, refusal("Authorization_RequestDenied")), (None, "blocked_by_admin")),
            ((403, refusal("insufficient_claims")), (None, "reauth_required")),
            ((403, NESTED), (None, "scope_missing")),
        ],
    )
    async def test_revoked(
        self,
        platform: Loopback,
        microsoft: CalendarProvider,
        answer: tuple[int, object],
        refused: tuple[str | None, str],
    ) -> None:
        """Microsoft's own word that consent, mailbox or calendar are gone disconnects, each with the word for it."""
        status, body = answer
        calendar, code = refused
        platform.will_send(body, status=status)
        caught = await failed_page(microsoft, calendar=calendar)
        assert isinstance(caught, AccessRevoked)
        assert caught.code == DisconnectCode(code)

    async def test_calendar_lost_with_a_cursor(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """A calendar that was deleted is told as such on a delta link too."""
        platform.will_send(refusal("ErrorItemNotFound"), status=404)
        caught = await failed_page(microsoft, calendar="AQ=", cursor=f"{platform.url}/v1.0/1")
        assert isinstance(caught, AccessRevoked)
        assert caught.code is DisconnectCode.CALENDAR_NOT_FOUND

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (429, refusal("TooManyRequests", innerError={"code": "429", "status": "429"})),
            (429, refusal("ApplicationThrottled", "Application is over its MailboxConcurrency limit.")),
            (429, refusal("activityLimitReached")),
            (429, HTML),
            (403, refusal("applicationThrottled")),
            (503, refusal("UnknownError", innerError={"code": "activityLimitReached"})),
            (400, refusal("News", innerError={"code": "429"})),
        ],
    )
    @pytest.mark.parametrize("cursor", [None, "/v1.0/1"])
    async def test_throttled(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object, cursor: str | None
    ) -> None:
        """Throttling is never a revocation nor an end of the cursor, and is always this mailbox's alone."""
        platform.will_send(body, status=status, headers={"Retry-After": "17"})
        caught = await failed_page(microsoft, cursor=None if cursor is None else platform.url + cursor)
        assert isinstance(caught, RateLimited)
        assert (caught.retry_after, caught.whole_client) == (timedelta(seconds=17), False)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (500, refusal("generalException")),
            (502, HTML),
            (503, refusal("serviceNotAvailable")),
            (504, refusal("UnknownError")),
            (509, refusal("bandwidthLimitExceeded")),
            (503, refusal("MailboxNotEnabledForRESTAPI")),
            (500, refusal("ErrorAccessDenied")),
            (408, HTML),
            (400, refusal("ServiceNotAvailable")),
        ],
    )
    @pytest.mark.parametrize("cursor", [None, "/v1.0/1"])
    async def test_down(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object, cursor: str | None
    ) -> None:
        """Trouble of Microsoft's own heals by itself, whatever the code, and costs no cursor."""
        platform.will_send(body, status=status, headers={"Retry-After": "30"})
        caught = await failed_page(microsoft, cursor=None if cursor is None else platform.url + cursor)
        assert isinstance(caught, ProviderDown)
        assert caught.retry_after == timedelta(seconds=30)

    @pytest.mark.parametrize(
        "body",
        [
            refusal("InvalidAuthenticationToken", f"CompactToken validation failed for {TOKEN}"),
            refusal("InvalidAuthenticationToken", "Lifetime validation failed, the token is expired."),
            refusal(
                "InvalidAuthenticationToken",
                "Continuous access evaluation resulted in challenge with result: InteractionRequired and code: "
                "TokenCreatedWithOutdatedPolicies",
            ),
            HTML,
        ],
    )
    @pytest.mark.parametrize("cursor", [None, "/v1.0/1"])
    async def test_token_rejected(
        self, platform: Loopback, microsoft: CalendarProvider, body: object, cursor: str | None
    ) -> None:
        """401 asks for a fresh access token, and doesn't repeat the old one to anybody."""
        headers = {"WWW-Authenticate": 'Bearer error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'}
        platform.will_send(body, status=401, headers=headers)
        caught = await failed_page(microsoft, cursor=None if cursor is None else platform.url + cursor)
        assert isinstance(caught, TokenRejected)
        assert caught.claims == '{"access_token":{}}'
        assert TOKEN not in str(caught)

    @pytest.mark.parametrize(
        "challenge",
        ["Bearer", 'Bearer claims=""', 'Bearer claims="eyJh"', 'Bearer claims="bnVsbA=="', 'Bearer claims="/w=="'],
    )
    async def test_no_claims(self, platform: Loopback, microsoft: CalendarProvider, challenge: str) -> None:
        """A challenge without claims, or with some that are no JSON object, demands no more than a fresh token."""
        platform.will_send(refusal("InvalidAuthenticationToken"), status=401, headers={"WWW-Authenticate": challenge})
        caught = await failed_page(microsoft)
        assert isinstance(caught, TokenRejected)
        assert caught.claims is None

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (410, refusal("SyncStateNotFound", "The sync state generation is not found; generation=149;")),
            (410, refusal("resyncRequired")),
            (410, refusal("resyncChangesApplyDifferences")),
            (410, HTML),
            (400, refusal("syncStateNotFound")),
            (404, refusal("SyncStateNotFound")),
            (400, refusal("ErrorInvalidRequest")),
            (400, HTML),
        ],
    )
    async def test_cursor_expired(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object
    ) -> None:
        """A delta link that Microsoft no longer takes has expired; a round without one, or a listing, can't expire."""
        platform.will_send(body, status=status, headers={"Location": f"{platform.url}/v1.0/fresh"})
        assert isinstance(await failed_page(microsoft, cursor=f"{platform.url}/v1.0/1"), CursorExpired)
        platform.will_send(body, status=status)
        assert isinstance(await failed_page(microsoft), UnexpectedAnswer)
        assert isinstance(
            await failed_listing(platform, microsoft, status=status, body=body),
            UnexpectedAnswer,
        )

    async def test_primary_calendar_not_found_with_a_cursor(
        self, platform: Loopback, microsoft: CalendarProvider
    ) -> None:
        """A delta link of the primary calendar that leads nowhere is dead; the listing tells if the calendar is."""
        platform.will_send(refusal("ErrorItemNotFound"), status=404)
        assert isinstance(await failed_page(microsoft, cursor=f"{platform.url}/v1.0/1"), CursorExpired)

    @pytest.mark.parametrize("status", [400, 405])
    async def test_calendar_without_changes_to_follow(
        self, platform: Loopback, microsoft: CalendarProvider, status: int
    ) -> None:
        """A calendar other than the primary one that has no delta is listed, without a cursor."""
        platform.will_send(refusal("ErrorInvalidRequest"), status=status)
        position = microsoft.first_position(calendar="AQ=", cursor=None, window=WINDOW)
        page = await microsoft.page(TOKEN, position, calendar="AQ=", window=WINDOW)
        assert page.cursor is None
        assert page.next_position is not None
        assert "/me/calendars/AQ%3D/calendarView?" in page.next_position

    async def test_cursor_expired_after_a_change(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """The links within a round from a cursor on expire with it."""
        platform.will_send({"value": [{"id": "x"}], "@odata.nextLink": f"{platform.url}/v1.0/2"})
        platform.will_send(refusal("SyncStateNotFound"), status=410)
        position = microsoft.first_position(calendar=None, cursor=f"{platform.url}/v1.0/1", window=WINDOW)
        page = await microsoft.page(TOKEN, position, calendar=None, window=WINDOW)
        assert page.next_position is not None
        with pytest.raises(CursorExpired):
            await microsoft.page(TOKEN, page.next_position, calendar=None, window=WINDOW)

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (403, refusal("News")),
            (403, HTML),
            (404, HTML),
            (404, {"detail": "Not Found"}),
            (404, {"error": "Not Found"}),
            (404, {"error": {"code": 404}}),
            (418, {"error": {"code": "X", "message": None, "innerError": ["x"]}}),
            (301, HTML),
        ],
    )
    @pytest.mark.parametrize("calendar", [None, "AQ="])
    async def test_unexpected(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object, calendar: str | None
    ) -> None:
        """What isn't Microsoft's own word on the calendar, such as a proxy's page, disconnects nobody."""
        platform.will_send(body, status=status, headers={"Location": "/elsewhere"})
        assert isinstance(await failed_page(microsoft, calendar=calendar), UnexpectedAnswer)
        platform.will_send(body, status=status)
        cursor = f"{platform.url}/v1.0/1"
        assert isinstance(await failed_page(microsoft, calendar=calendar, cursor=cursor), UnexpectedAnswer)
        assert len(platform.asked) == 2

    async def test_request_id(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """The id by which Microsoft's support finds a request is in the message."""
        platform.will_send(refusal("News"), status=403)
        assert "request 6c0b" in str(await failed_page(microsoft))
