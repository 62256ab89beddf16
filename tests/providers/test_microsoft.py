"""Requests to Microsoft, and what is made of its answers: bodies composed after its documentation."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs

import aiohttp
import pytest

from attendee.meetings import MeetingLinks
from attendee.model import Cancelled, Credentials, PlatformCalendar, RemoteEvent, SetAside, Window
from attendee.providers.answers import MAX_ANSWER_BYTES, TIMEOUT
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.providers.port import (
    CalendarProvider,
    CursorExpired,
    Page,
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
CREDENTIALS = Credentials(client_id="client", client_secret="8Q~secret", refresh_token="0.AXoArefresh")
TOKEN = "eyJ0.token"
TIMES = {"startDateTime": "2026-11-22T09:30:00Z", "endDateTime": "2026-12-21T09:30:00Z"}
PREFERENCES = 'outlook.timezone="UTC", IdType="ImmutableId"'
EVENT: dict[str, Any] = {
    "@odata.etag": 'W/"EZ9r3czxY0m2jz8c45czkwAAFXcvIQ=="',
    "id": "AAMkAGI1ODk0NgBGAAAAAAC7_xYz-1BwD3aQAAAAAAENAABnQ2kLAAA=",
    "type": "singleInstance",
    "subject": "Review",
    "start": {"dateTime": "2026-12-01T14:00:00.0000000", "timeZone": "UTC"},
    "end": {"dateTime": "2026-12-01T15:00:00.0000000", "timeZone": "UTC"},
}
MASTER: dict[str, Any] = {
    "id": "AAMkAGI1ODk0NgBGAAAAAAMasterAAA=",
    "type": "seriesMaster",
    "subject": "Stand-up",
    "start": {"dateTime": "2024-01-08T08:00:00.0000000", "timeZone": "UTC"},
    "end": {"dateTime": "2024-01-08T08:15:00.0000000", "timeZone": "UTC"},
}
REMOVED = {"@odata.type": "#microsoft.graph.event", "id": "AAMkDeletedAAA=", "@removed": {"reason": "deleted"}}
NOT_FOUND = {"error": {"code": "ErrorItemNotFound", "message": "The specified object was not found in the store."}}
HTML = b"<html><body>Not here</body></html>"


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


async def failed_page(microsoft: CalendarProvider, *, cursor: str | None = None) -> ProviderError:
    position = microsoft.first_position(calendar=None, cursor=cursor, window=WINDOW)
    with pytest.raises(ProviderError) as caught:
        await microsoft.page(TOKEN, position, calendar=None, window=WINDOW)
    return caught.value


async def walk(microsoft: CalendarProvider, *, cursor: str | None = None, calendar: str | None = None) -> list[Page]:
    """All pages of a pull."""
    position: str | None = microsoft.first_position(calendar=calendar, cursor=cursor, window=WINDOW)
    pages = []
    while position is not None:
        pages.append(await microsoft.page(TOKEN, position, calendar=calendar, window=WINDOW))
        position = pages[-1].next_position
    return pages


class TestRefresh:
    async def test_tokens(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """A refresh posts the documented form without scopes, and hands on the refresh token that replaces ours."""
        platform.will_send(
            {
                "token_type": "Bearer",
                "scope": "Calendars.Read User.Read openid profile email",
                "expires_in": 3599,
                "ext_expires_in": 3599,
                "access_token": TOKEN,
                "refresh_token": "0.AXoAnext",
            }
        )
        tokens = await microsoft.refresh(CREDENTIALS, now=NOW)
        assert (tokens.access_token, tokens.expires_at) == (TOKEN, NOW + timedelta(seconds=3599))
        assert tokens.refresh_token == "0.AXoAnext"
        assert (platform.asked[0].method, platform.asked[0].path) == ("POST", "/common/oauth2/v2.0/token")
        assert parse_qs(platform.asked[0].body.decode()) == {
            "grant_type": ["refresh_token"],
            "refresh_token": ["0.AXoArefresh"],
            "client_id": ["client"],
            "client_secret": ["8Q~secret"],
        }

    @pytest.mark.parametrize("odd", [None, "soon", -5, 0, True, [], "1e999", 10**12])
    async def test_odd_life(self, platform: Loopback, microsoft: CalendarProvider, odd: object) -> None:
        """An access token whose life makes no sense is taken to live an hour."""
        platform.will_send({"access_token": TOKEN, "expires_in": odd})
        assert (await microsoft.refresh(CREDENTIALS, now=NOW)).expires_at == NOW + timedelta(hours=1)

    @pytest.mark.parametrize("odd", [None, "", " ", 5, [], "a\0b", "a\r\nb", "é", "\u202e"])
    async def test_odd_refresh_token(self, platform: Loopback, microsoft: CalendarProvider, odd: object) -> None:
        """What can't be a refresh token replaces none."""
        platform.will_send({"access_token": TOKEN, "refresh_token": odd})
        assert (await microsoft.refresh(CREDENTIALS, now=NOW)).refresh_token is None

    @pytest.mark.parametrize(
        "scope",
        [
            "Calendars.Read",
            "openid calendars.read",
            "User.Read https://graph.microsoft.com/Calendars.ReadWrite",
            "Calendars.Read.Shared",
            "",
            None,
        ],
    )
    async def test_scope(self, platform: Loopback, microsoft: CalendarProvider, scope: str | None) -> None:
        """Every scope that opens calendars will do, in its short and its long form; none at all says nothing."""
        platform.will_send({"access_token": TOKEN, "expires_in": 3599, "scope": scope})
        assert (await microsoft.refresh(CREDENTIALS, now=NOW)).access_token == TOKEN


class TestFirstPull:
    async def test_primary(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """The first pull takes the cursor from a whole round of changes, and only then lists the window."""
        next_link = f"{platform.url}/v1.0/me/calendarView/delta?$skiptoken=R0%2bus%3D"
        delta_link = f"{platform.url}/v1.0/me/calendarView/delta?$deltatoken=R0%2busE1"
        skip_link = f"{platform.url}/v1.0/me/calendarView?startDateTime=x%3a&%24skip=1"
        platform.will_send({"value": [EVENT, MASTER], "@odata.nextLink": next_link})
        platform.will_send({"value": [], "@odata.deltaLink": delta_link})
        platform.will_send({"value": [], "@odata.nextLink": skip_link})
        platform.will_send({"value": [EVENT, {"id": "odd"}, None]})
        pages = await walk(microsoft)
        assert [page.cursor for page in pages] == [None, delta_link, None, None]
        assert [page.lists_window for page in pages] == [False, False, True, True]
        assert [[item.platform_uuid for item in page.items] for page in pages] == [[], [], [], [EVENT["id"], "odd", ""]]
        first, second, third, fourth = platform.asked
        assert (first.path, first.query) == ("/v1.0/me/calendarView/delta", TIMES)
        assert platform.url + second.target == next_link
        assert third.path == "/v1.0/me/calendarView"
        assert third.query == TIMES | {"$orderby": "start/dateTime", "$top": "200"}
        assert platform.url + fourth.target == skip_link
        assert {asked.headers["Authorization"] for asked in platform.asked} == {f"Bearer {TOKEN}"}
        assert [asked.headers["Prefer"] for asked in platform.asked] == [
            f"{PREFERENCES}, odata.maxpagesize=200",
            f"{PREFERENCES}, odata.maxpagesize=200",
            PREFERENCES,
            PREFERENCES,
        ]

    async def test_named(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Another calendar is asked for by its id, which is written as Graph does and encoded."""
        platform.will_send({"value": [], "@odata.deltaLink": f"{platform.url}/v1.0/d"})
        platform.will_send({"value": [EVENT]})
        await walk(microsoft, calendar="AQ/k+A=#")
        assert [asked.path for asked in platform.asked] == [
            "/v1.0/me/calendars/AQ-k_A%3D%23/calendarView/delta",
            "/v1.0/me/calendars/AQ-k_A%3D%23/calendarView",
        ]


class TestCursor:
    async def test_quiet(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """With nothing changed a pull is one request for the stored link as it is; the new one is the next cursor."""
        cursor, next_cursor = (f"{platform.url}/v1.0/me/calendarView/delta?$deltatoken=R0%2bus%3D{n}" for n in (1, 2))
        platform.will_send({"value": [], "@odata.deltaLink": next_cursor})
        (page,) = await walk(microsoft, cursor=cursor)
        assert (list(page.items), page.cursor, page.lists_window) == ([], next_cursor, False)
        assert [platform.url + asked.target for asked in platform.asked] == [cursor]
        assert platform.asked[0].headers["Prefer"] == f"{PREFERENCES}, odata.maxpagesize=200"

    async def test_quiet_pages(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Empty pages in between are no change, and no end."""
        platform.will_send({"value": [], "@odata.nextLink": f"{platform.url}/v1.0/2"})
        platform.will_send({"value": [], "@odata.deltaLink": f"{platform.url}/v1.0/new"})
        pages = await walk(microsoft, cursor=f"{platform.url}/v1.0/1")
        assert [(page.cursor, page.lists_window) for page in pages] == [
            (None, False),
            (f"{platform.url}/v1.0/new", False),
        ]

    @pytest.mark.parametrize("item", [EVENT, MASTER, REMOVED, {"id": "x", "type": "occurrence"}, None])
    @pytest.mark.parametrize("ringing", [1, 2])
    async def test_bell(self, platform: Loopback, microsoft: CalendarProvider, item: object, ringing: int) -> None:
        """Any change on any page rings: the round is read to its end, then the window is listed."""
        platform.will_send({"value": [item] if ringing == 1 else [], "@odata.nextLink": f"{platform.url}/v1.0/2"})
        platform.will_send({"value": [item] if ringing == 2 else [], "@odata.deltaLink": f"{platform.url}/v1.0/new"})
        platform.will_send({"value": [EVENT]})
        pages = await walk(microsoft, cursor=f"{platform.url}/v1.0/1")
        assert [page.cursor for page in pages] == [None, f"{platform.url}/v1.0/new", None]
        assert [[item.platform_uuid for item in page.items] for page in pages] == [[], [], [EVENT["id"]]]
        assert [page.lists_window for page in pages] == [False, False, True]
        assert platform.asked[2].query == TIMES | {"$orderby": "start/dateTime", "$top": "200"}

    @pytest.mark.parametrize(
        "cursor",
        [
            "https://graph.microsoft.com/v1.0/me/calendarView/delta?$deltatoken=1",
            "http://127.0.0.1/v1.0/x",
            "http://127.0.0.1:99999/x",
            "S1",
            "",
        ],
    )
    async def test_other_address(self, platform: Loopback, microsoft: CalendarProvider, cursor: str) -> None:
        """A cursor from another address of Graph's is not sent the access token; the window is to be listed anew."""
        assert isinstance(await failed_page(microsoft, cursor=cursor), CursorExpired)
        assert platform.asked == []


class TestPage:
    @pytest.mark.parametrize("key", ["@odata.nextLink", "@odata.deltaLink"])
    @pytest.mark.parametrize(
        "link",
        [
            "https://evil.example/v1.0/me",
            "https://{host}/v1.0/me",
            "http://user@{host}/v1.0/me",
            "http://127.0.0.1/v1.0/me",
            "http://{host}.evil.example/",
            "http://{host}/v1.0/me\r\nX: y",
            "http://{host}/v1.0/me näher",
            "http://[/",
            "/v1.0/me",
            "",
            5,
            ["x"],
        ],
    )
    async def test_elsewhere(self, platform: Loopback, microsoft: CalendarProvider, key: str, link: object) -> None:
        """A link that leads elsewhere, or nowhere, is refused: an access token must not follow it."""
        host = platform.url.removeprefix("http://")
        platform.will_send({"value": [], key: link.replace("{host}", host) if isinstance(link, str) else link})
        assert isinstance(await failed_page(microsoft), UnexpectedAnswer)

    async def test_circle(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """A page that names itself as the next one ends the pull instead of going round for ever."""
        link = f"{platform.url}/v1.0/me/calendarView/delta?$skiptoken=1"
        platform.will_send({"value": [], "@odata.nextLink": link})
        assert isinstance(await failed_page(microsoft, cursor=link), UnexpectedAnswer)

    @pytest.mark.parametrize("body", [HTML, b"", b'{"value": [', b"[" * 100_000, [], {}, {"value": {}}, {"value": []}])
    async def test_garbage(self, platform: Loopback, microsoft: CalendarProvider, body: object) -> None:
        """An answer that is no page is never taken for an empty one, nor a round without its link for a whole one."""
        platform.will_send(body)
        platform.will_send(body)
        assert isinstance(await failed_page(microsoft), UnexpectedAnswer)
        assert isinstance(await failed_page(microsoft, cursor=f"{platform.url}/v1.0/1"), UnexpectedAnswer)

    async def test_one_bad_event(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Bytes that no strict decoder takes cost the event that has them a character, and the others nothing."""
        times = b'{"dateTime": "2026-12-01T14:00:00.0000000", "timeZone": "UTC"}'
        bad = b'{"id": "bad", "subject": "a\\ud800\xff", "start": %s, "end": %s}' % (times, times)
        platform.will_send({"value": [], "@odata.deltaLink": f"{platform.url}/v1.0/new"})
        platform.will_send(b'{"value": [{"id": "worse", "start": NaN}, %s]}' % bad)
        worse, other = (await walk(microsoft))[1].items
        assert isinstance(worse, SetAside)
        assert isinstance(other, RemoteEvent)
        assert other.name == "a��"


class TestEvent:
    @pytest.mark.parametrize(
        ("calendar", "path"),
        [(None, "/v1.0/me/events/A-b_c%3D"), ("AQ=", "/v1.0/me/calendars/AQ%3D/events/A-b_c%3D")],
    )
    async def test_found(
        self, platform: Loopback, microsoft: CalendarProvider, calendar: str | None, path: str
    ) -> None:
        """One event is asked for by its encoded id, in its calendar, with the same preferences as a listing."""
        platform.will_send(EVENT)
        item = await microsoft.event(TOKEN, "A/b+c=", calendar=calendar)
        assert isinstance(item, RemoteEvent)
        assert platform.asked[0].target == path
        assert platform.asked[0].headers["Prefer"] == PREFERENCES

    async def test_as_listed(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """An event asked for alone is no other than the listed one, though OData says more of it."""
        platform.will_send({"value": [], "@odata.deltaLink": f"{platform.url}/v1.0/new"})
        platform.will_send({"value": [EVENT]})
        platform.will_send(
            {
                "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#users('ana')/events/$entity",
                **EVENT,
                "calendar@odata.navigationLink": "https://graph.microsoft.com/v1.0/users('ana')/calendars('AQ')",
            }
        )
        (listed,) = (await walk(microsoft))[1].items
        alone = await microsoft.event(TOKEN, EVENT["id"], calendar=None)
        assert isinstance(listed, RemoteEvent)
        assert isinstance(alone, RemoteEvent)
        assert alone.fingerprint == listed.fingerprint
        assert "@odata.context" not in alone.raw

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, NOT_FOUND),
            (404, {"error": {"code": "errorItemNotFound"}}),
            (200, {**EVENT, "id": "gone", "isCancelled": True}),
            (200, {**MASTER, "id": "gone"}),
        ],
    )
    @pytest.mark.parametrize("calendar", [None, "AQ="])
    async def test_gone(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object, calendar: str | None
    ) -> None:
        """An event that Microsoft no longer has, that was cancelled, or has become a series, is gone."""
        platform.will_send(body, status=status)
        assert await microsoft.event(TOKEN, "gone", calendar=calendar) == Cancelled("gone")

    @pytest.mark.parametrize("code", ["ErrorInvalidIdMalformed", "RequestBroker--ParseUri"])
    async def test_malformed_id(self, platform: Loopback, microsoft: CalendarProvider, code: str) -> None:
        """An id that Microsoft no longer takes for one sets its event aside, and stops no other."""
        platform.will_send({"error": {"code": code, "message": "Id is malformed."}}, status=400)
        item = await microsoft.event(TOKEN, "AAMk=", calendar=None)
        assert item == SetAside("AAMk=", "Microsoft no longer takes its id for one.")

    @pytest.mark.parametrize(
        ("status", "body"),
        [
            (404, HTML),
            (404, {"error": "Not Found"}),
            (404, {"error": {"code": "News"}}),
            (400, {"error": {"code": "ErrorInvalidRequest"}}),
            (410, {"error": {"code": "SyncStateNotFound"}}),
            (200, HTML),
            (200, {}),
            (200, []),
            (200, {"id": 5}),
        ],
    )
    async def test_not_an_event(
        self, platform: Loopback, microsoft: CalendarProvider, status: int, body: object
    ) -> None:
        """A proxy's page or an odd answer doesn't make an event gone."""
        platform.will_send(body, status=status)
        with pytest.raises(UnexpectedAnswer):
            await microsoft.event(TOKEN, "AAMk=", calendar=None)

    async def test_refused(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Other refusals mean the same as on a listing."""
        platform.will_send({"error": {"code": "InvalidAuthenticationToken"}}, status=401)
        with pytest.raises(TokenRejected):
            await microsoft.event(TOKEN, "AAMk=", calendar=None)


class TestTransport:
    @pytest.mark.parametrize(
        "answer",
        [
            b"",
            b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{",
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
            b"\x00\x01\x02 nonsense\r\n\r\n",
        ],
    )
    async def test_broken(self, platform: Loopback, microsoft: CalendarProvider, answer: bytes) -> None:
        """A connection that is cut or talks nonsense is trouble on the way, with a cursor as without."""
        platform.will_send_bytes(answer)
        platform.will_send_bytes(answer)
        assert isinstance(await failed_page(microsoft), ProviderDown)
        assert isinstance(await failed_page(microsoft, cursor=f"{platform.url}/v1.0/1"), ProviderDown)

    async def test_hang(self, platform: Loopback) -> None:
        """A platform that says nothing is given up when the time for it is over."""
        platform.will_hang()
        platform.will_send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", then_hang=True)
        async with aiohttp.ClientSession() as http:
            microsoft = MicrosoftCalendar(
                http=http,
                graph_url=platform.url,
                token_url=platform.url,
                find_meeting_url=lambda **_: None,
                limits=aiohttp.ClientTimeout(total=0.05),
            )
            assert isinstance(await failed_refresh(microsoft), ProviderDown)
            assert isinstance(await failed_page(microsoft), ProviderDown)

    async def test_unreachable(self) -> None:
        """Nobody at the other end is told with the address, which the operator may have got wrong."""
        async with running_loopback() as loopback:
            nobody = loopback.url
        async with aiohttp.ClientSession() as http:
            microsoft = MicrosoftCalendar(
                http=http, graph_url=nobody, token_url=nobody, find_meeting_url=lambda **_: None
            )
            assert nobody.removeprefix("http://") in str(await failed_page(microsoft))
            assert isinstance(await failed_refresh(microsoft), ProviderDown)

    async def test_endless(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """An answer without end is not read to its end."""
        platform.will_send(b" " * (MAX_ANSWER_BYTES + 1))
        assert isinstance(await failed_page(microsoft), UnexpectedAnswer)


class TestCalendars:
    async def test_request(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """Large pages are asked for, and the link to the next one is followed as it is."""
        link = f"{platform.url}/v1.0/me/calendars?%24top=200&%24skip=200"
        platform.will_send({"value": [], "@odata.nextLink": link})
        platform.will_send({"value": []})
        page = await microsoft.calendars(TOKEN, None)
        assert (await microsoft.calendars(TOKEN, page.next_position)).next_position is None
        first, second = platform.asked
        assert (first.path, first.query) == ("/v1.0/me/calendars", {"$top": "200"})
        assert second.target == "/v1.0/me/calendars?%24top=200&%24skip=200"
        assert first.headers["Authorization"] == second.headers["Authorization"] == f"Bearer {TOKEN}"

    async def test_entries(self, platform: Loopback, microsoft: CalendarProvider) -> None:
        """What has no id is left out."""
        platform.will_send(
            {
                "value": [
                    {"id": "AAMkDefaultAAA=", "name": "Calendar", "isDefaultCalendar": True},
                    {"id": "AAMkTeamAAA=", "name": None},
                    {"name": "Nobody's"},
                    "odd",
                ]
            }
        )
        assert (await microsoft.calendars(TOKEN, None)).calendars == [
            PlatformCalendar("AAMkDefaultAAA=", "Calendar", is_primary=True),
            PlatformCalendar("AAMkTeamAAA=", "", is_primary=False),
        ]

    @pytest.mark.parametrize("link", ["https://graph.example/v1.0/me/calendars?$skip=1", "{itself}", 7])
    async def test_bad_link(self, platform: Loopback, microsoft: CalendarProvider, link: object) -> None:
        """A next page elsewhere, or in a circle, is not asked for."""
        if link == "{itself}":
            link = f"{platform.url}/v1.0/me/calendars?$top=200"
        platform.will_send({"value": [], "@odata.nextLink": link})
        with pytest.raises(UnexpectedAnswer):
            await microsoft.calendars(TOKEN, None)


class TestContract(ProviderContract):
    platform = Platform.MICROSOFT

    def provider(
        self, http: aiohttp.ClientSession, sandbox: SandboxServer, *, limits: aiohttp.ClientTimeout = TIMEOUT
    ) -> CalendarProvider:
        return MicrosoftCalendar(
            http=http,
            graph_url=f"{sandbox.microsoft_url}/v1.0",
            token_url=f"{sandbox.microsoft_url}/common/oauth2/v2.0/token",
            find_meeting_url=MeetingLinks().find_meeting_url,
            limits=limits,
        )
