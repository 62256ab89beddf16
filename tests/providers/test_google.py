"""Requests to Google, and what is made of its answers: bodies composed after its documentation."""

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import orjson
import pytest

from attendee.meetings import MeetingLinks
from attendee.model import Cancelled, Credentials, PlatformCalendar, RemoteEvent, SetAside, Window
from attendee.providers.answers import MAX_ANSWER_BYTES, TIMEOUT
from attendee.providers.google import GoogleCalendar
from attendee.providers.port import (
    CalendarProvider,
    ProviderDown,
    ProviderError,
    TokenRejected,
    UnexpectedAnswer,
)
from attendee.sandbox.app import SandboxServer
from attendee.sandbox.world import Platform
from tests.providers.contract import ProviderContract
from tests.providers.loopback import Loopback, running_loopback

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


async def failed_refresh(google: CalendarProvider) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await google.refresh(CREDENTIALS, now=NOW)
    return caught.value


async def failed_page(google: CalendarProvider, *, cursor: str | None = None) -> ProviderError:
    position = google.first_position(calendar=None, cursor=cursor, window=WINDOW)
    with pytest.raises(ProviderError) as caught:
        await google.page(TOKEN, position, calendar=None, window=WINDOW)
    return caught.value


class TestRefresh:
    async def test_tokens(self, platform: Loopback, google: CalendarProvider) -> None:
        """A refresh posts the documented form; the life of its token counts from now, and our refresh token stays."""
        platform.will_send({"access_token": TOKEN, "expires_in": 3599, "token_type": "Bearer", "scope": READ_SCOPE})
        tokens = await google.refresh(CREDENTIALS, now=NOW)
        assert (tokens.access_token, tokens.expires_at) == (TOKEN, NOW + timedelta(seconds=3599))
        assert tokens.refresh_token is None
        assert platform.asked[0].method == "POST"
        assert parse_qs(platform.asked[0].body.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["1//0refresh"],
            "client_id": ["client"],
            "client_secret": ["GOCSPX-secret"],
        }

    @pytest.mark.parametrize("odd", [None, "soon", -5, 0, True, [], "1e999", 10**12])
    async def test_odd_life(self, platform: Loopback, google: CalendarProvider, odd: object) -> None:
        """An access token whose life makes no sense is taken to live an hour."""
        platform.will_send({"access_token": TOKEN, "expires_in": odd})
        assert (await google.refresh(CREDENTIALS, now=NOW)).expires_at == NOW + timedelta(hours=1)

    async def test_rotated(self, platform: Loopback, google: CalendarProvider) -> None:
        """A refresh token in the answer is handed on, should Google ever begin to rotate them."""
        platform.will_send({"access_token": TOKEN, "expires_in": "3599", "refresh_token": "1//0next"})
        assert (await google.refresh(CREDENTIALS, now=NOW)).refresh_token == "1//0next"


class TestPage:
    async def test_listing(self, platform: Loopback, google: CalendarProvider) -> None:
        """A listing asks for the window with exactly the parameters that a later delta can repeat."""
        platform.will_send({"items": [EVENT, {"id": "gone", "status": "cancelled"}, None], "nextSyncToken": "S1"})
        position = google.first_position(calendar="en.usa#holiday@group.example", cursor=None, window=WINDOW)
        page = await google.page(TOKEN, position, calendar="en.usa#holiday@group.example", window=WINDOW)
        assert [item.platform_uuid for item in page.items] == ["4rs0k2b7d1", "gone", ""]
        assert (page.next_position, page.cursor, page.lists_window) == (None, "S1", True)
        asked = platform.asked[0]
        assert asked.path == "/calendar/v3/calendars/en.usa%23holiday%40group.example/events"
        assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
        assert asked.query == {
            "singleEvents": "true",
            "showDeleted": "true",
            "maxResults": "1000",
            "timeMin": "2026-11-22T09:30:00Z",
            "timeMax": "2026-12-21T09:30:00Z",
        }

    async def test_delta(self, platform: Loopback, google: CalendarProvider) -> None:
        """A delta repeats the listing's parameters, with the sync token for the times; it lists no window."""
        platform.will_send({"items": [], "nextSyncToken": "S2"})
        position = google.first_position(calendar=None, cursor="S1/+=&x", window=WINDOW)
        page = await google.page(TOKEN, position, calendar=None, window=WINDOW)
        assert (list(page.items), page.cursor, page.lists_window) == ([], "S2", False)
        assert platform.asked[0].path == "/calendar/v3/calendars/primary/events"
        assert platform.asked[0].query == {
            "singleEvents": "true",
            "showDeleted": "true",
            "maxResults": "1000",
            "syncToken": "S1/+=&x",
        }

    @pytest.mark.parametrize("cursor", [None, "S1"])
    async def test_pages(self, platform: Loopback, google: CalendarProvider, cursor: str | None) -> None:
        """Every page repeats all parameters unchanged; an empty page in between is no end."""
        platform.will_send({"items": [EVENT], "nextPageToken": "p&2="})
        platform.will_send({"nextPageToken": "p3", "nextSyncToken": "not yet"})
        platform.will_send({"items": None, "nextSyncToken": "S2"})
        position: str | None = google.first_position(calendar=None, cursor=cursor, window=WINDOW)
        pages = []
        while position is not None:
            pages.append(await google.page(TOKEN, position, calendar=None, window=WINDOW))
            position = pages[-1].next_position
        assert [len(page.items) for page in pages] == [1, 0, 0]
        assert [page.cursor for page in pages] == [None, None, "S2"]
        first, second, third = (asked.query for asked in platform.asked)
        assert second == first | {"pageToken": "p&2="}
        assert third == first | {"pageToken": "p3"}

    async def test_a_split_series_is_listed(self, platform: Loopback, google: CalendarProvider) -> None:
        """Once a delta tells of one, the listing of the window follows its last page, without a word of the delta."""
        split = EVENT | {"id": "7h2f9c0kq3_R20261201T080000_20261203T080000Z"}
        platform.will_send({"items": [split], "nextPageToken": "p2"})
        platform.will_send({"items": [EVENT], "nextSyncToken": "S2"})
        platform.will_send({"items": [split, EVENT], "nextPageToken": "p2"})
        platform.will_send({"items": [], "nextSyncToken": "S3"})
        position: str | None = google.first_position(calendar=None, cursor="S1", window=WINDOW)
        pages = []
        while position is not None:
            pages.append(await google.page(TOKEN, position, calendar=None, window=WINDOW))
            position = pages[-1].next_position
        assert [page.lists_window for page in pages] == [False, False, True, True]
        assert [page.cursor for page in pages] == [None, "S2", None, "S3"]
        first, second, third, fourth = (asked.query for asked in platform.asked)
        assert second == first | {"pageToken": "p2"}
        assert "syncToken" not in third
        assert (third["timeMin"], third["timeMax"]) == ("2026-11-22T09:30:00Z", "2026-12-21T09:30:00Z")
        assert fourth == third | {"pageToken": "p2"}

    async def test_no_token_at_all(self, platform: Loopback, google: CalendarProvider) -> None:
        """A page with neither token is the last, and leaves no cursor."""
        platform.will_send({"items": [EVENT]})
        position = google.first_position(calendar=None, cursor=None, window=WINDOW)
        page = await google.page(TOKEN, position, calendar=None, window=WINDOW)
        assert (page.next_position, page.cursor) == (None, None)

    async def test_one_bad_event(self, platform: Loopback, google: CalendarProvider) -> None:
        """Bytes that no strict decoder takes cost the event that has them a character, and the others nothing."""
        body = b'{"items": [%s, {"id": "bad", "summary": "a\\ud800\xff", "n": 1%s, "start": {"date": "2026-12-07"}, '
        body = body % (b'{"id": "worse", "start": NaN}', b"0" * 5_000) + b'"end": {"date": "2026-12-08"}}]}'
        platform.will_send(body)
        position = google.first_position(calendar=None, cursor=None, window=WINDOW)
        worse, bad = (await google.page(TOKEN, position, calendar=None, window=WINDOW)).items
        assert worse.platform_uuid == "worse"
        assert isinstance(bad, RemoteEvent)
        assert bad.name == "a��"

    @pytest.mark.parametrize(
        "body",
        [
            HTML,
            b"",
            b'{"items": [',
            b"[" * 100_000,
            [],
            {},
            {"items": {}},
            {"items": [], "nextPageToken": 5},
            {"error": "no"},
        ],
    )
    async def test_garbage(self, platform: Loopback, google: CalendarProvider, body: object) -> None:
        """An answer that is no page is never taken for an empty one."""
        platform.will_send(body)
        assert isinstance(await failed_page(google), UnexpectedAnswer)

    @pytest.mark.parametrize("levels", [400, 1_000, 1_100, 100_000])
    async def test_nested_without_end(self, platform: Loopback, google: CalendarProvider, levels: int) -> None:
        """An event with JSON that nobody can keep is set aside alone, also with a text in it that looks like more."""
        deep = b'{"id": "deep", "x": ' + levels * b"[" + levels * b"]" + b"}"
        odd = orjson.dumps(EVENT | {"id": "odd", "extra": '\\" [[[ {{{'})
        platform.will_send(b'{"items": [%b, %b, %b], "nextSyncToken": "t"}' % (orjson.dumps(EVENT), deep, odd))
        position = google.first_position(calendar=None, cursor=None, window=WINDOW)
        page = await google.page(TOKEN, position, calendar=None, window=WINDOW)
        assert [type(item) for item in page.items] == [RemoteEvent, SetAside, RemoteEvent]

    async def test_circle(self, platform: Loopback, google: CalendarProvider) -> None:
        """A page that names itself as the next one ends the pull instead of going round for ever."""
        position = google.first_position(calendar=None, cursor=None, window=WINDOW) + "&pageToken=p2"
        platform.will_send({"items": [], "nextPageToken": "p2"})
        with pytest.raises(UnexpectedAnswer):
            await google.page(TOKEN, position, calendar=None, window=WINDOW)


class TestEvent:
    async def test_found(self, platform: Loopback, google: CalendarProvider) -> None:
        """One event is asked for by its encoded id."""
        platform.will_send(EVENT)
        item = await google.event(TOKEN, "_a/b?c", calendar="team@acme.example")
        assert isinstance(item, RemoteEvent)
        assert platform.asked[0].target == "/calendar/v3/calendars/team%40acme.example/events/_a%2Fb%3Fc"

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (200, {"id": "gone", "status": "cancelled"}),
            (404, {"error": {"code": 404, "message": "Not Found"}}),
            (410, {"error": {"code": 410, "errors": [{"reason": "deleted"}]}}),
            (410, HTML),
        ],
    )
    async def test_gone(self, platform: Loopback, google: CalendarProvider, status: int, body: object) -> None:
        """A cancelled event and one that Google has forgotten are the same: gone."""
        platform.will_send(body, status=status)
        assert await google.event(TOKEN, "gone", calendar=None) == Cancelled("gone")

    @pytest.mark.parametrize(("status", "body"), [(404, HTML), (200, HTML), (200, {}), (200, []), (200, {"id": 5})])
    async def test_not_an_event(self, platform: Loopback, google: CalendarProvider, status: int, body: object) -> None:
        """A proxy's page or an odd answer doesn't make an event gone."""
        platform.will_send(body, status=status)
        with pytest.raises(UnexpectedAnswer):
            await google.event(TOKEN, "4rs0k2b7d1", calendar=None)

    async def test_refused(self, platform: Loopback, google: CalendarProvider) -> None:
        """Other refusals mean the same as on a listing."""
        platform.will_send({"error": {"code": 401}}, status=401)
        with pytest.raises(TokenRejected):
            await google.event(TOKEN, "4rs0k2b7d1", calendar=None)


class TestTransport:
    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Le",
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            b"\x00\x01\x02 nonsense\r\n\r\n",
        ],
    )
    async def test_broken(self, platform: Loopback, google: CalendarProvider, answer: bytes) -> None:
        """A connection that is cut or talks nonsense is trouble on the way."""
        platform.will_send_bytes(answer)
        assert isinstance(await failed_page(google), ProviderDown)

    async def test_hang(self, platform: Loopback) -> None:
        """A platform that says nothing is given up when the time for it is over."""
        platform.will_hang()
        platform.will_send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", then_hang=True)
        async with aiohttp.ClientSession() as http:
            limits = aiohttp.ClientTimeout(total=0.05)
            google = GoogleCalendar(
                http=http,
                api_url=platform.url,
                token_url=platform.url,
                find_meeting_url=lambda **_: None,
                limits=limits,
            )
            assert isinstance(await failed_refresh(google), ProviderDown)
            assert isinstance(await failed_page(google), ProviderDown)

    async def test_unreachable(self) -> None:
        """Nobody at the other end is told with the address, which the operator may have got wrong."""
        async with running_loopback() as loopback:
            nobody = loopback.url
        async with aiohttp.ClientSession() as http:
            google = GoogleCalendar(http=http, api_url=nobody, token_url=nobody, find_meeting_url=lambda **_: None)
            assert nobody.removeprefix("http://") in str(await failed_page(google))
            assert isinstance(await failed_refresh(google), ProviderDown)

    async def test_endless(self, platform: Loopback, google: CalendarProvider) -> None:
        """An answer without end is not read to its end."""
        platform.will_send(b" " * (MAX_ANSWER_BYTES + 1))
        assert isinstance(await failed_page(google), UnexpectedAnswer)


class TestCalendars:
    async def test_request(self, platform: Loopback, google: CalendarProvider) -> None:
        """The largest pages are asked for, the next ones by their token."""
        platform.will_send({"items": [], "nextPageToken": "a&b="})
        platform.will_send({"items": []})
        page = await google.calendars(TOKEN, None)
        assert (await google.calendars(TOKEN, page.next_position)).next_position is None
        first, second = platform.asked
        assert first.target == "/calendar/v3/users/me/calendarList?maxResults=250"
        assert second.query == {"maxResults": "250", "pageToken": "a&b="}
        assert first.headers["Authorization"] == second.headers["Authorization"] == f"Bearer {TOKEN}"

    async def test_entries(self, platform: Loopback, google: CalendarProvider) -> None:
        """The user's own name for a calendar goes first; left out is what no event can be read from."""
        platform.will_send(
            {
                "items": [
                    {"id": "ana@acme.example", "summary": "ana@acme.example", "primary": True, "accessRole": "owner"},
                    {"id": "c_1", "summary": "Team", "summaryOverride": "Us", "accessRole": "reader"},
                    {"id": "c_2", "accessRole": "writer"},
                    {"id": "c_3", "summary": "Boss", "accessRole": "freeBusyReader"},
                    {"id": "c_4", "summary": "Gone", "deleted": True},
                    {"summary": "Nobody's"},
                    "odd",
                ]
            }
        )
        assert (await google.calendars(TOKEN, None)).calendars == [
            PlatformCalendar("ana@acme.example", "ana@acme.example", is_primary=True),
            PlatformCalendar("c_1", "Us", is_primary=False),
            PlatformCalendar("c_2", "", is_primary=False),
        ]

    async def test_pages_in_a_circle(self, platform: Loopback, google: CalendarProvider) -> None:
        """A page that names itself as the next one is not followed for ever."""
        for _ in range(2):
            platform.will_send({"items": [], "nextPageToken": "again"})
        page = await google.calendars(TOKEN, None)
        with pytest.raises(UnexpectedAnswer):
            await google.calendars(TOKEN, page.next_position)


class TestContract(ProviderContract):
    platform = Platform.GOOGLE

    def provider(
        self, http: aiohttp.ClientSession, sandbox: SandboxServer, *, limits: aiohttp.ClientTimeout = TIMEOUT
    ) -> CalendarProvider:
        return GoogleCalendar(
            http=http,
            api_url=sandbox.google_url,
            token_url=f"{sandbox.google_url}/token",
            find_meeting_url=MeetingLinks().find_meeting_url,
            limits=limits,
        )
