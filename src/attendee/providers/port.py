"""What every calendar platform looks like to the rest of the service, and everything that it can refuse.

ProviderError
├── CursorExpired      the cursor is dead: list the window anew, once
├── TokenRejected      the access token is: refresh once, ask once more; refused again, it is AccessRevoked
├── AccessRevoked      the platform's own word that the user, an admin, the mailbox or the calendar is lost to us
├── OperatorFault      the OAuth client or its API is at fault, no user can mend it
├── WatchRefused       no push channel can be had for this calendar, or for our address: poll it
├── ChannelLost        the platform no longer knows the channel: open another
├── RateLimited        asked too often: nobody may wake this calendar before `retry_after` has passed
├── ProviderDown       transport trouble, 5xx, a platform that hangs: heals by itself
└── UnexpectedAnswer   an answer that makes no sense: tried again like ProviderDown, worth a look

A provider holds no row, no session of the database, no sleep and no retry loop: it answers one request at a time,
and `sync.pull` asks for the next page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from attendee.model import Credentials, DisconnectCode, PlatformCalendar, RemoteItem, Window


class ProviderError(Exception):
    """Base of all that a platform can refuse; the text is for people and never holds a secret."""


class CursorExpired(ProviderError):
    """The platform no longer knows the cursor (410 and its kin)."""


class TokenRejected(ProviderError):
    """The access token has expired or been revoked (401).

    `claims` is what the platform demands of the next one: to be handed to `refresh` as it is.
    """

    def __init__(self, message: str, *, claims: str | None = None) -> None:
        super().__init__(message)
        self.claims = claims


class AccessRevoked(ProviderError):
    """The platform's own word that this calendar can't be read until somebody acts."""

    def __init__(self, code: DisconnectCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class OperatorFault(ProviderError):
    """The OAuth client is wrong, expired or switched off: the operator's to mend, all its users are affected."""


class WatchRefused(ProviderError):
    """The platform opens no push channel: not for this calendar, or not to our address."""


class ChannelLost(ProviderError):
    """The platform no longer knows the push channel."""


class RateLimited(ProviderError):
    """Asked too often. `retry_after` is the platform's own word, None where it gave none.

    `whole_client` says that the whole OAuth client is over its quota, not this mailbox alone.
    """

    def __init__(self, message: str, *, retry_after: timedelta | None, whole_client: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.whole_client = whole_client


class ProviderDown(ProviderError):
    """The platform can't be reached, hangs, or says itself that it is in trouble."""

    def __init__(self, message: str, *, retry_after: timedelta | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class UnexpectedAnswer(ProviderError):
    """An answer outside the platform's documentation."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A fresh access token, and the refresh token that replaces the one used (None: the old one stays)."""

    access_token: str
    expires_at: datetime
    refresh_token: str | None

    def __repr__(self) -> str:
        return f"Tokens(***, expires_at={self.expires_at!r})"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of a pull.

    `items` are what the platform said of its events; `next_position` asks for the following page, None on the last.
    `cursor` is what the next pull starts from, on the page that brings it. `lists_window` says that the items are part
    of a listing of the whole window (so that what it lacks has gone), not of what has changed since a cursor.
    """

    items: Sequence[RemoteItem]
    next_position: str | None
    cursor: str | None
    lists_window: bool


@dataclass(frozen=True, slots=True)
class CalendarsPage:
    """One answer of the list of a user's calendars; `next_position` asks for the following page, None on the last."""

    calendars: Sequence[PlatformCalendar]
    next_position: str | None


@dataclass(frozen=True, slots=True)
class OpenedChannel:
    """A push channel as the platform has opened or prolonged it. `resource_id` is what else it takes to stop it."""

    platform_channel_id: str
    resource_id: str | None
    expires_at: datetime


class CalendarProvider(Protocol):
    """One platform. `calendar` is the platform's id of the calendar, None for the user's primary one.

    `prolongs_channels` says that a channel can be given a later end; otherwise a new one takes its place.
    """

    prolongs_channels: bool

    async def refresh(self, credentials: Credentials, *, now: datetime, claims: str | None = None) -> Tokens:
        """A fresh access token, with the `claims` that a TokenRejected has asked for.

        Raises AccessRevoked, OperatorFault, RateLimited, ProviderDown, UnexpectedAnswer.
        """

    def first_position(self, *, calendar: str | None, cursor: str | None, window: Window, told: bool = False) -> str:
        """Where a pull begins: at the cursor, or without one at a listing of the window. No request is made.

        `told` says that a push has told of a change: a platform whose cursor lags behind its listing lists at once.
        """

    async def page(self, access_token: str, position: str, *, calendar: str | None, window: Window) -> Page:
        """The page at this position. Raises every ProviderError; CursorExpired only while a cursor is being used."""

    async def event(self, access_token: str, platform_uuid: str, *, calendar: str | None) -> RemoteItem:
        """One event by its id; `Cancelled` when the platform says that it is gone. Raises every ProviderError."""

    async def calendars(self, access_token: str, position: str | None) -> CalendarsPage:
        """A page of the user's calendars, the first for None. Raises every ProviderError but CursorExpired.

        Consent that covers the events of one calendar need not cover this: AccessRevoked says only that here.
        """

    async def watch(
        self, access_token: str, *, calendar: str | None, address: str, secret: str, now: datetime
    ) -> OpenedChannel:
        """A channel through which the platform tells `address` of changes, each message carrying the secret.

        Raises WatchRefused, and every ProviderError.
        """

    async def prolong(self, access_token: str, platform_channel_id: str, *, now: datetime) -> OpenedChannel:
        """The channel with a later end, where the platform can. Raises ChannelLost, and every ProviderError."""

    async def unwatch(self, access_token: str, platform_channel_id: str, *, resource_id: str | None) -> None:
        """Ends a channel; one that has ended already is fine. Raises every ProviderError."""
