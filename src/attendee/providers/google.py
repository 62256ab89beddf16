"""Google Calendar API v3, read-only: only `google_events` and `google_refusals` know its fields and reasons besides.

Documentation: developers.google.com/workspace/calendar/api and developers.google.com/identity/protocols/oauth2.
"""

import re
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import orjson
from yarl import URL

from attendee.model import (
    Cancelled,
    Credentials,
    PlatformCalendar,
    RemoteItem,
    Window,
)
from attendee.providers.answers import (
    TIMEOUT,
    Answer,
    FindMeetingUrl,
    cut,
    decode_object,
    fetch,
    objects_in,
    parse_id,
    parse_text,
    quoted,
    rfc3339,
)
from attendee.providers.google_events import parse_item
from attendee.providers.google_refusals import api_error, parse_refusal, scope_missing, token_error, watch_error
from attendee.providers.port import (
    CalendarsPage,
    ChannelLost,
    CursorExpired,
    OpenedChannel,
    Page,
    Tokens,
    UnexpectedAnswer,
)
from attendee.providers.tokens import decode_token_answer, parse_access_token, parse_life, parse_refresh_token

# What `events.list` accepts, but for those scopes that show free and busy times only. Unticked on the consent page
# (granular consent), they are missing from the answer to a refresh too.
_READ_SCOPES = frozenset(
    f"https://www.googleapis.com/auth/calendar{narrower}"
    for narrower in (
        "",
        ".readonly",
        ".events",
        ".events.readonly",
        ".events.owned",
        ".events.owned.readonly",
        ".events.public.readonly",
        ".app.created",
    )
)

_CHANNEL_LIFE = timedelta(days=30)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_ALWAYS_ASKED = "singleEvents=true&showDeleted=true&maxResults=1000"

_CALENDARS = "/users/me/calendarList?maxResults=250"

# Before a position in a delta that has told of a split series: the window is listed after it.
_THEN_LISTED = "then-listed "
# "This and following" begins a series under the old one's id with this added.
_SPLIT = re.compile(r"_R\d{8}(T\d{6})?")


class GoogleCalendar:
    """A `CalendarProvider`. A position is the path and query of a request to `events.list`, below the API's root.

    A delta tells of every change but one: an occurrence of a split series can go on under another id, and nothing says
    that the old id is gone. So when a delta brings one of those, the window is listed after it.
    """

    prolongs_channels = False

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        api_url: str,
        token_url: str,
        find_meeting_url: FindMeetingUrl,
        limits: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._http = http
        self._limits = limits
        self._root = f"{api_url.rstrip('/')}/calendar/v3"
        self._token_url = token_url
        self._find_meeting_url = find_meeting_url

    async def refresh(self, credentials: Credentials, *, now: datetime, claims: str | None = None) -> Tokens:
        """A fresh access token. Raises AccessRevoked, OperatorFault, RateLimited, ProviderDown, UnexpectedAnswer."""
        del claims  # Of Microsoft's challenges.
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
        }
        answer = await self._fetch("POST", URL(self._token_url), data=form)
        body = decode_token_answer(answer, platform="Google")
        secrets = (credentials.refresh_token, credentials.client_secret)
        if answer.status != 200 or body.get("error") is not None:
            raise token_error(answer, body, secrets=secrets)
        return _parse_tokens(body, secrets=secrets, now=now)

    def first_position(self, *, calendar: str | None, cursor: str | None, window: Window, told: bool = False) -> str:
        """A listing of the window, or what has changed since the cursor, which is a sync token.

        A sync token is as quick as a listing, so it makes no difference here whether a push has told of a change.

        Both must be asked with the same parameters but for the times, which a sync token forbids. `orderBy` and
        `fields` are left out: with them users get no sync token.
        """
        del told
        if cursor is None:
            times = {"timeMin": rfc3339(window.start_at), "timeMax": rfc3339(window.until)}
            rest = urlencode(times, quote_via=quote)
        else:
            rest = f"syncToken={_encoded(cursor)}"
        return f"/calendars/{_encoded(calendar or 'primary')}/events?{_ALWAYS_ASKED}&{rest}"

    async def page(self, access_token: str, position: str, *, calendar: str | None, window: Window) -> Page:
        """The page at this position. Raises every ProviderError; CursorExpired only while a cursor is being used."""
        asked = position.removeprefix(_THEN_LISTED)
        uses_cursor = "&syncToken=" in asked
        answer = await self._get(access_token, asked)
        if answer.status != 200:
            error = api_error(answer, secrets=(access_token,))
            # 410 is what a dead token gets, some of them without a reason; 400 a token that doesn't fit the parameters.
            if uses_cursor and answer.status in {400, 410} and isinstance(error, UnexpectedAnswer):
                raise CursorExpired(f"Google no longer knows the sync token: {error}")
            raise error
        body = decode_object(answer, platform="Google Calendar")
        next_token, cursor = _parse_token(body, "nextPageToken"), _parse_token(body, "nextSyncToken")
        items = body.get("items")
        if items is None and (next_token or cursor):
            items = []
        if not isinstance(items, list):
            raise UnexpectedAnswer("Google sent a page without a list of events.")
        then_listed = uses_cursor and (asked != position or any(map(_is_of_split_series, items)))
        next_position = None
        if next_token is not None:
            # The token is always the last parameter, so what is before it is the request to be repeated unchanged.
            next_asked = f"{asked.partition('&pageToken=')[0]}&pageToken={quote(next_token, safe='')}"
            if next_asked == asked:
                raise UnexpectedAnswer("Google sent a page that names itself as the next one.")
            next_position = f"{_THEN_LISTED}{next_asked}" if then_listed else next_asked
        elif then_listed:
            next_position = self.first_position(calendar=calendar, cursor=None, window=window)
        return Page(
            items=[parse_item(item, find_meeting_url=self._find_meeting_url) for item in items],
            next_position=next_position,
            cursor=cursor if next_token is None else None,
            lists_window=not uses_cursor,
        )

    async def event(self, access_token: str, platform_uuid: str, *, calendar: str | None) -> RemoteItem:
        """One event by its id; `Cancelled` when Google says that it is gone. Raises every ProviderError."""
        path = f"/calendars/{_encoded(calendar or 'primary')}/events/{_encoded(platform_uuid)}"
        answer = await self._get(access_token, path)
        if answer.status == 410 or (answer.status == 404 and parse_refusal(answer).is_googles):
            return Cancelled(platform_uuid)
        if answer.status != 200:
            raise api_error(answer, secrets=(access_token,))
        item = parse_item(decode_object(answer, platform="Google Calendar"), find_meeting_url=self._find_meeting_url)
        if not item.platform_uuid:
            raise UnexpectedAnswer("Google sent something that is no event when asked for one.")
        return item

    async def calendars(self, access_token: str, position: str | None) -> CalendarsPage:
        """A page of `calendarList.list`, the first for None. Raises every ProviderError but CursorExpired."""
        asked = _CALENDARS if position is None else position
        answer = await self._get(access_token, asked)
        if answer.status != 200:
            raise api_error(answer, secrets=(access_token,))
        body = decode_object(answer, platform="Google Calendar")
        entries = body.get("items", [])
        if not isinstance(entries, list):
            raise UnexpectedAnswer("Google sent a page without a list of calendars.")
        next_token = _parse_token(body, "nextPageToken")
        next_position = None if next_token is None else f"{_CALENDARS}&pageToken={quote(next_token, safe='')}"
        if next_position == asked:
            raise UnexpectedAnswer("Google sent a page that names itself as the next one.")
        return CalendarsPage(_platform_calendars(entries), next_position)

    async def watch(
        self, access_token: str, *, calendar: str | None, address: str, secret: str, now: datetime
    ) -> OpenedChannel:
        """A channel of Google's. Raises WatchRefused, and every ProviderError.

        A month is asked for; what Google grants is in its answer (the maximum is not published).
        """
        del now  # The answer says when it ends, by Google's own clock.
        wanted = {
            "id": str(uuid.uuid4()),
            "type": "web_hook",
            "address": address,
            "token": secret,
            "params": {"ttl": str(round(_CHANNEL_LIFE.total_seconds()))},
        }
        path = f"/calendars/{_encoded(calendar or 'primary')}/events/watch"
        answer = await self._post(access_token, path, wanted)
        if answer.status != 200:
            raise watch_error(answer, secrets=(access_token, secret))
        body = decode_object(answer, platform="Google Calendar")
        channel_id, resource_id = parse_id(body.get("id")), parse_id(body.get("resourceId"))
        if channel_id is None or resource_id is None:
            raise UnexpectedAnswer("Google opened a channel without saying how it is called.")
        try:
            expires_at = _EPOCH + timedelta(milliseconds=int(str(body.get("expiration"))))
        except (ValueError, OverflowError):
            raise UnexpectedAnswer("Google opened a channel without saying when it ends.") from None
        return OpenedChannel(channel_id, resource_id, expires_at)

    async def prolong(self, access_token: str, platform_channel_id: str, *, now: datetime) -> OpenedChannel:
        """Never: a channel of Google's can't be prolonged, another takes its place (`prolongs_channels`)."""
        del access_token, platform_channel_id, now
        raise ChannelLost("Google does not prolong channels.")

    async def unwatch(self, access_token: str, platform_channel_id: str, *, resource_id: str | None) -> None:
        """Ends a channel; one that Google no longer knows has ended. Raises every ProviderError."""
        answer = await self._post(
            access_token, "/channels/stop", {"id": platform_channel_id, "resourceId": resource_id or ""}
        )
        if answer.status in {200, 204} or (answer.status == 404 and parse_refusal(answer).is_googles):
            return
        raise api_error(answer, secrets=(access_token,))

    async def _post(self, access_token: str, path: str, body: Mapping[str, Any]) -> Answer:
        headers = {"Authorization": f"Bearer {access_token}", "Content-Type": "application/json"}
        url = URL(self._root + path, encoded=True)
        return await self._fetch("POST", url, headers=headers, data=orjson.dumps(body))

    async def _get(self, access_token: str, path_and_query: str) -> Answer:
        # Already encoded: `@` and `#` in a calendar's id stay %40 and %23 on the wire.
        url = URL(self._root + path_and_query, encoded=True)
        headers = {"Authorization": f"Bearer {access_token}"}
        return await self._fetch("GET", url, headers=headers)

    async def _fetch(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
    ) -> Answer:
        return await fetch(
            self._http,
            method,
            url,
            platform="Google",
            headers=headers,
            data=data,
            limits=self._limits,
        )


def _is_of_split_series(item: object) -> bool:
    if not isinstance(item, dict) or item.get("status") == "cancelled":
        return False
    return any(_SPLIT.search(parse_text(item.get(name))) for name in ("id", "recurringEventId"))


def _encoded(text: str) -> str:
    return quote(text, safe="")


def _parse_tokens(body: dict[str, Any], *, secrets: Iterable[str], now: datetime) -> Tokens:
    access_token = parse_access_token(body, platform="Google")
    scope = body.get("scope")
    if isinstance(scope, str) and scope.strip() and not _READ_SCOPES.intersection(scope.split()):
        raise scope_missing(f"(granted: {quoted(scope, secrets=secrets)})")
    return Tokens(
        access_token=access_token,
        expires_at=now + parse_life(body.get("expires_in")),
        refresh_token=parse_refresh_token(body),
    )


def _parse_token(body: dict[str, Any], key: str) -> str | None:
    token = body.get(key)
    if token is not None and (not isinstance(token, str) or "\0" in token):
        raise UnexpectedAnswer(f"Google Calendar sent a {key} that is no text.")
    return token or None


def _platform_calendars(entries: list[Any]) -> list[PlatformCalendar]:
    """Those that events can be read from: of some only free and busy times may be seen, and some are being deleted."""
    return [
        PlatformCalendar(
            platform_uuid=platform_uuid,
            # The user's own name for it goes before its owner's.
            name=cut(parse_text(entry.get("summaryOverride")) or parse_text(entry.get("summary"))),
            is_primary=entry.get("primary") is True,
        )
        for entry in objects_in(entries)
        if (platform_uuid := parse_id(entry.get("id"))) is not None
        and entry.get("accessRole") != "freeBusyReader"
        and entry.get("deleted") is not True
    ]
