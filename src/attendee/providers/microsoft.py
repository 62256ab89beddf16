"""Microsoft Graph's calendars, read-only: only it and its two neighbours know their fields and codes.

Documentation: learn.microsoft.com/graph/api/resources/event, learn.microsoft.com/graph/delta-query-events and
learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
from yarl import URL

from attendee.model import (
    Cancelled,
    Credentials,
    PlatformCalendar,
    RemoteItem,
    SetAside,
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
    parse_time,
    quoted,
    rfc3339,
)
from attendee.providers.microsoft_events import parse_item
from attendee.providers.microsoft_refusals import graph_error, parse_refusal, scope_missing, token_error, watch_error
from attendee.providers.port import (
    CalendarsPage,
    ChannelLost,
    CursorExpired,
    OpenedChannel,
    Page,
    ProviderDown,
    ProviderError,
    RateLimited,
    Tokens,
    UnexpectedAnswer,
)
from attendee.providers.tokens import decode_token_answer, parse_access_token, parse_life, parse_refresh_token

_GRAPH = "Microsoft Graph"

# Graph would give up to 1000, with the whole HTML of every invitation: a page of that many can outgrow what we read of
# one answer, and the memory of a small machine.
_PAGE_SIZE = 200

# Said with every request, following pages included. An id that isn't immutable changes when its event is moved to
# another calendar, and no id of one kind is known by the name of the other.
_PREFERENCES = 'outlook.timezone="UTC", IdType="ImmutableId"'

# The documentation allows 10,080 minutes, the service no more than 10,070.
_CHANNEL_LIFE = timedelta(minutes=10_000)

# How a calendar that has no delta refuses one.
_NOT_TRACKED = frozenset({400, 405})
# Graph's links are followed as they are; what isn't printable ASCII was never one.
_LINK = re.compile(r"[!-~]+")


class _Stage(StrEnum):
    """What the link in a position is followed for.

    A delta is only a bell: its items of a series are incomplete, and single deletions in a series are silent. What it
    says is thrown away but for whether it says anything; if it does, the window is listed.
    """

    FIRST = "first"  # the first round of a delta, which ends with the cursor; the listing comes after it
    QUIET = "quiet"  # the round from a cursor on, without a change so far: if it ends like this, the pull ends
    RUNG = "rung"  # the same after a change: the listing comes after it
    LISTING = "listing"

    @property
    def uses_cursor(self) -> bool:
        return self in {_Stage.QUIET, _Stage.RUNG}


class MicrosoftCalendar:
    """A `CalendarProvider`. A position is a stage, a space and a whole link; a cursor is a delta link.

    The cursor is always there before the listing begins: a change made meanwhile rings in the next pull. A push channel
    is a subscription of Graph's.
    """

    prolongs_channels = True

    def __init__(
        self,
        *,
        http: aiohttp.ClientSession,
        graph_url: str,
        token_url: str,
        find_meeting_url: FindMeetingUrl,
        limits: aiohttp.ClientTimeout = TIMEOUT,
    ) -> None:
        self._http = http
        self._limits = limits
        self._root = graph_url.rstrip("/")
        self._origin = _origin(URL(self._root, encoded=True))
        self._token_url = token_url
        self._find_meeting_url = find_meeting_url

    async def refresh(self, credentials: Credentials, *, now: datetime, claims: str | None = None) -> Tokens:
        """A fresh access token, and the refresh token that replaces the one used.

        Raises AccessRevoked, OperatorFault, RateLimited, ProviderDown, UnexpectedAnswer.
        """
        # Without `scope`, since we don't know what the consent was asked for: a scope that it lacks would be refused
        # as AADSTS70000 or 65001, as if the consent itself were gone. All that was granted comes back then.
        form = {
            "grant_type": "refresh_token",
            "refresh_token": credentials.refresh_token,
            "client_id": credentials.client_id,
            "client_secret": credentials.client_secret,
        }
        if claims is not None:
            form["claims"] = claims
        answer = await self._fetch("POST", URL(self._token_url), data=form)
        body = decode_token_answer(answer, platform="Microsoft")
        secrets = (credentials.refresh_token, credentials.client_secret)
        if answer.status != 200 or body.get("error") is not None:
            raise token_error(answer, body, secrets=secrets)
        access_token = parse_access_token(body, platform="Microsoft")
        scope = parse_text(body.get("scope"))
        if scope.strip() and not _covers_calendars(scope):
            raise scope_missing(f"(granted: {quoted(scope, secrets=secrets)})")
        return Tokens(
            access_token=access_token,
            expires_at=now + parse_life(body.get("expires_in")),
            refresh_token=parse_refresh_token(body),
        )

    def first_position(self, *, calendar: str | None, cursor: str | None, window: Window, told: bool = False) -> str:
        """What has changed since the cursor, or without one the first round of a delta over the window.

        A delta lags behind the listing, so when a push has told of a change, the window is listed at once.
        """
        if cursor is not None and told:
            return self._listing(calendar, window)
        if cursor is not None:
            return _position(_Stage.QUIET, cursor)
        return _position(_Stage.FIRST, f"{self._view(calendar)}/delta?{_times(window)}")

    async def page(self, access_token: str, position: str, *, calendar: str | None, window: Window) -> Page:
        """The page at this position. Raises every ProviderError; CursorExpired only while a cursor is being used."""
        stage_name, _, link = position.partition(" ")
        stage = _Stage(stage_name)
        if not self._is_own(link):
            # Stored when the service asked another address: an access token for this one must not be sent there.
            raise CursorExpired("The delta link leads to another address than Microsoft Graph's.")
        page_size = None if stage is _Stage.LISTING else _PAGE_SIZE
        answer = await self._get(access_token, link, page_size=page_size)
        if answer.status != 200:
            error = _refused_page(answer, stage, calendar=calendar, access_token=access_token)
            can_be_listed = answer.status in _NOT_TRACKED and isinstance(error, UnexpectedAnswer)
            if stage is _Stage.FIRST and calendar is not None and can_be_listed:
                # Only the primary calendar is documented to be tracked: this one is listed at every pull instead.
                return Page(items=(), next_position=self._listing(calendar, window), cursor=None, lists_window=False)
            raise error
        body = decode_object(answer, platform=_GRAPH)
        items = body.get("value")
        if not isinstance(items, list):
            raise UnexpectedAnswer(f"{_GRAPH} sent a page without a list of events.")
        next_link = self._parse_link(body, "@odata.nextLink")
        if next_link == link:
            raise UnexpectedAnswer(f"{_GRAPH} sent a page that names itself as the next one.")
        if stage is _Stage.LISTING:
            return Page(
                items=[parse_item(item, find_meeting_url=self._find_meeting_url) for item in items],
                next_position=None if next_link is None else _position(stage, next_link),
                cursor=None,
                lists_window=True,
            )
        if items and stage is _Stage.QUIET:
            stage = _Stage.RUNG
        if next_link is not None:
            return Page(items=(), next_position=_position(stage, next_link), cursor=None, lists_window=False)
        cursor = self._parse_link(body, "@odata.deltaLink")
        if cursor is None:
            raise UnexpectedAnswer(f"{_GRAPH} ended a round of changes without a delta link.")
        listing = None if stage is _Stage.QUIET else self._listing(calendar, window)
        return Page(items=(), next_position=listing, cursor=cursor, lists_window=False)

    async def event(self, access_token: str, platform_uuid: str, *, calendar: str | None) -> RemoteItem:
        """One event by its id; `Cancelled` when Microsoft says that it is gone. Raises every ProviderError."""
        answer = await self._get(access_token, f"{self._of(calendar)}/events/{_path_part(platform_uuid)}")
        if answer.status != 200:
            refusal = parse_refusal(answer)
            if answer.status == 404 and refusal.says_not_found:
                return Cancelled(platform_uuid)
            if answer.status == 400 and refusal.says_malformed:
                # It stays refused however often it is asked for, and must not stop the other events.
                return SetAside(platform_uuid, "Microsoft no longer takes its id for one.")
            raise graph_error(answer, calendar=calendar, secrets=(access_token,))
        body = decode_object(answer, platform=_GRAPH)
        # It describes the answer, and no entry of a listing has it.
        body.pop("@odata.context", None)
        item = parse_item(body, find_meeting_url=self._find_meeting_url)
        if not item.platform_uuid:
            raise UnexpectedAnswer(f"{_GRAPH} sent something that is no event when asked for one.")
        return item

    async def calendars(self, access_token: str, position: str | None) -> CalendarsPage:
        """A page of the mailbox's calendars, the first for None. Raises every ProviderError but CursorExpired.

        A position is a whole link. Calendars in groups of their own are not among them.
        """
        link = f"{self._root}/me/calendars?$top={_PAGE_SIZE}" if position is None else position
        answer = await self._get(access_token, link)
        if answer.status != 200:
            raise graph_error(answer, calendar=None, secrets=(access_token,))
        body = decode_object(answer, platform=_GRAPH)
        entries = body.get("value")
        if not isinstance(entries, list):
            raise UnexpectedAnswer(f"{_GRAPH} sent a page without a list of calendars.")
        next_link = self._parse_link(body, "@odata.nextLink")
        if next_link == link:
            raise UnexpectedAnswer(f"{_GRAPH} sent a page that names itself as the next one.")
        calendars = [
            PlatformCalendar(platform_uuid, cut(parse_text(entry.get("name"))), entry.get("isDefaultCalendar") is True)
            for entry in objects_in(entries)
            if (platform_uuid := parse_id(entry.get("id"))) is not None
        ]
        return CalendarsPage(calendars, next_link)

    async def watch(
        self, access_token: str, *, calendar: str | None, address: str, secret: str, now: datetime
    ) -> OpenedChannel:
        """A subscription of Graph's, which calls `address` while this request is open. Raises every ProviderError.

        Lifecycle messages come to the same address. The primary calendar is watched as the whole mailbox, which is the
        documented way.
        """
        # Not percent-encoded, for it is no address: an id's `=` would be taken for another id.
        resource = "me/events" if calendar is None else f"me/calendars/{calendar}/events"
        wanted = {
            "changeType": "created,updated,deleted",
            "notificationUrl": address,
            "lifecycleNotificationUrl": address,
            "resource": resource,
            "expirationDateTime": rfc3339(now + _CHANNEL_LIFE),
            "clientState": secret,
        }
        answer = await self._send("POST", access_token, "/subscriptions", wanted)
        if answer.status not in {200, 201}:
            raise watch_error(answer, calendar=calendar, secrets=(access_token, secret))
        return _parse_subscription(answer)

    async def prolong(self, access_token: str, platform_channel_id: str, *, now: datetime) -> OpenedChannel:
        """The subscription with a later end, authorised anew. Raises ChannelLost, and every ProviderError."""
        path = f"/subscriptions/{_path_part(platform_channel_id)}"
        answer = await self._send("PATCH", access_token, path, {"expirationDateTime": rfc3339(now + _CHANNEL_LIFE)})
        if answer.status == 404:
            raise ChannelLost("Microsoft no longer knows the subscription.")
        if answer.status != 200:
            raise graph_error(answer, calendar=None, secrets=(access_token,))
        return _parse_subscription(answer)

    async def unwatch(self, access_token: str, platform_channel_id: str, *, resource_id: str | None) -> None:
        """Ends a subscription; one that Microsoft no longer knows has ended. Raises every ProviderError."""
        del resource_id  # Of Google's channels.
        answer = await self._send("DELETE", access_token, f"/subscriptions/{_path_part(platform_channel_id)}", None)
        if answer.status not in {200, 204, 404}:
            raise graph_error(answer, calendar=None, secrets=(access_token,))

    def _of(self, calendar: str | None) -> str:
        return f"{self._root}/me" if calendar is None else f"{self._root}/me/calendars/{_path_part(calendar)}"

    def _view(self, calendar: str | None) -> str:
        return f"{self._of(calendar)}/calendarView"

    def _listing(self, calendar: str | None, window: Window) -> str:
        # Without $select: `raw` is the whole event. In a fixed order, or pages counted by $skip could lose a row.
        link = f"{self._view(calendar)}?{_times(window)}&$orderby=start/dateTime&$top={_PAGE_SIZE}"
        return _position(_Stage.LISTING, link)

    def _parse_link(self, body: dict[str, Any], key: str) -> str | None:
        """A link of Graph's, verbatim. Raises UnexpectedAnswer for one that an access token must not be sent to."""
        link = body.get(key)
        if link is None:
            return None
        if not isinstance(link, str) or not self._is_own(link):
            raise UnexpectedAnswer(f"{_GRAPH} sent a {key} that leads elsewhere.")
        return link

    def _is_own(self, link: str) -> bool:
        try:
            return _LINK.fullmatch(link) is not None and _origin(URL(link, encoded=True)) == self._origin
        except ValueError:
            return False

    async def _get(self, access_token: str, link: str, *, page_size: int | None = None) -> Answer:
        preferences = _PREFERENCES if page_size is None else f"{_PREFERENCES}, odata.maxpagesize={page_size}"
        headers = {"Authorization": f"Bearer {access_token}", "Prefer": preferences}
        # Already encoded: a link that is encoded anew is another one.
        return await self._fetch("GET", URL(link, encoded=True), headers=headers)

    async def _send(self, method: str, access_token: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        headers = {"Authorization": f"Bearer {access_token}", "Prefer": _PREFERENCES}
        content = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            content = orjson.dumps(body)
        return await self._fetch(method, URL(self._root + path, encoded=True), headers=headers, data=content)

    async def _fetch(
        self,
        method: str,
        url: URL,
        *,
        headers: Mapping[str, str] | None = None,
        data: Mapping[str, str] | bytes | None = None,
    ) -> Answer:
        return await fetch(
            self._http, method, url, platform="Microsoft", headers=headers, data=data, limits=self._limits
        )


def _parse_subscription(answer: Answer) -> OpenedChannel:
    body = decode_object(answer, platform=_GRAPH)
    subscription_id = parse_id(body.get("id"))
    expires_at = parse_time(body.get("expirationDateTime"))
    if subscription_id is None or expires_at is None or expires_at.tzinfo is None:
        raise UnexpectedAnswer(f"{_GRAPH} opened a subscription without saying how it is called or when it ends.")
    return OpenedChannel(subscription_id, None, expires_at.astimezone(UTC))


def _covers_calendars(scope: str) -> bool:
    """Whether one of the scopes, short (Calendars.Read) or long (https://.../Calendars.Read), opens calendars."""
    return any(granted.rpartition("/")[2].lower().startswith("calendars.read") for granted in scope.split())


def _origin(url: URL) -> tuple[str, str, int | None, str | None]:
    # The user's name is part of it: no link of Graph's has one, and it would be sent in place of the access token.
    return url.scheme.lower(), (url.raw_host or "").lower(), url.port, url.raw_user


def _position(stage: _Stage, link: str) -> str:
    return f"{stage} {link}"


def _path_part(id_: str) -> str:
    # Ids taken from Outlook or EWS are in plain base64, whose / and + Graph refuses even when they are encoded.
    return quote(id_.replace("/", "-").replace("+", "_"), safe="")


def _times(window: Window) -> str:
    return f"startDateTime={rfc3339(window.start_at)}&endDateTime={rfc3339(window.until)}"


def _refused_page(answer: Answer, stage: _Stage, *, calendar: str | None, access_token: str) -> ProviderError:
    error = graph_error(answer, calendar=calendar, secrets=(access_token,))
    if not stage.uses_cursor or isinstance(error, RateLimited | ProviderDown):
        return error
    refusal = parse_refusal(answer)
    # 410 is what a dead link gets by the documentation; 400, and 404 in words of Graph's that mean nothing else (that
    # the calendar is gone, of the primary one), are what it has been seen to get. If the link wasn't the reason, the
    # listing that follows will tell.
    is_dead = answer.status in {400, 410} or refusal.says_sync_state_lost
    means_nothing_else = isinstance(error, UnexpectedAnswer) or (calendar is None and refusal.says_not_found)
    if is_dead or (answer.status == 404 and refusal.is_graphs and means_nothing_else):
        return CursorExpired(f"Microsoft no longer knows the delta link: {error}")
    return error
