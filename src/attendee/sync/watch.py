"""Push channels: opened, renewed well before their end, stopped. A luxury: whatever fails here, calendars are polled.

A channel never refreshes its calendar's token, since the calendar's own sync may be at it: it borrows the cached one,
and lets the calendar sync when that is too old.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from attendee.clock import Clock
from attendee.errors import ClaimLost
from attendee.model import CalendarState, ChannelState, Platform
from attendee.providers.port import (
    CalendarProvider,
    ChannelLost,
    OpenedChannel,
    ProviderError,
    RateLimited,
    TokenRejected,
)
from attendee.store import calendars, channels, claims, tables
from attendee.store.calendars import Calendar
from attendee.store.channels import Channel
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.sync import access

# Both platforms take at least 128 characters in it.
_SECRET_BYTES = 32
# Of a channel's life, after which it is renewed: early enough for a day or two of trouble in a week.
_RENEW_AFTER = 0.7
# So long is waited for the calendar's sync to refresh its token.
_TOKEN_WAIT = timedelta(seconds=5)
_LONGEST_TOKEN_WAIT = timedelta(hours=1)
_FIRST_RETRY = timedelta(minutes=1)
_LONGEST_RETRY = timedelta(hours=24)
_STOP_RETRY = timedelta(minutes=10)

log = structlog.get_logger(__name__)


def push_address(public_url: str, platform: Platform) -> str:
    """Where the platform's messages arrive."""
    return f"{public_url.rstrip('/')}/external_webhooks/{platform.value}_calendar"


@dataclass(frozen=True, slots=True)
class ChannelKeeper:
    """Does what is due for a channel. `public_url` is where platforms reach us, None where they can't."""

    database: Database
    providers: Mapping[Platform, CalendarProvider]
    key_ring: KeyRing
    clock: Clock
    public_url: str | None

    async def keep(self, claimed: Channel) -> None:
        """Opens, renews or stops a claimed channel and settles the claim. Raises ClaimLost."""
        if claimed.state is ChannelState.STOPPING or self.public_url is None:
            await self._stop(claimed)
            return
        async with self.database.reading() as tx:
            calendar = await calendars.find(tx, claimed.calendar_id)
        if calendar is None or calendar.state is CalendarState.DISCONNECTED:
            async with self.database.transaction() as tx:
                await channels.forget(tx, claimed)
            return
        token = self._borrowed_token(calendar)
        if token is None:
            await self._wait_for_token(claimed, calendar)
            return
        try:
            await self._open(claimed, calendar, token, self.public_url)
        except TokenRejected:
            await self._wait_for_token(claimed, calendar)
        except ProviderError as failure:
            await self._try_later(claimed, failure)

    async def _open(self, claimed: Channel, calendar: Calendar, token: str, public_url: str) -> None:
        provider = self.providers[calendar.platform]
        if claimed.state is ChannelState.LIVE and claimed.platform_channel_id and provider.prolongs_channels:
            try:
                opened = await provider.prolong(token, claimed.platform_channel_id, now=self.clock())
            except ChannelLost:
                log.info("channel_lost", calendar_id=calendar.id)
            else:
                await self._record(claimed, opened, channels.open_secret(self.key_ring, claimed), is_new=False)
                return
        secret = secrets.token_urlsafe(_SECRET_BYTES)
        address = push_address(public_url, calendar.platform)
        opened = await provider.watch(
            token, calendar=calendar.platform_uuid, address=address, secret=secret, now=self.clock()
        )
        try:
            await self._record(claimed, opened, secret, is_new=True)
        except ClaimLost:
            # The calendar went meanwhile, and nobody else knows of this channel.
            await provider.unwatch(token, opened.platform_channel_id, resource_id=opened.resource_id)
            raise

    async def _record(self, claimed: Channel, opened: OpenedChannel, secret: str, *, is_new: bool) -> None:
        now = self.clock()
        async with self.database.transaction() as tx:
            await channels.settle_open(
                tx,
                claimed,
                platform_channel_id=opened.platform_channel_id,
                resource_id=opened.resource_id,
                secret=secret,
                expires_at=opened.expires_at,
                renew_at=now + (opened.expires_at - now) * _RENEW_AFTER,
                key_ring=self.key_ring,
            )
            replaces = claimed.state is ChannelState.LIVE and claimed.platform_channel_id is not None
            if is_new and replaces and not self.providers[claimed.platform].prolongs_channels:
                await channels.stop_former(tx, claimed, key_ring=self.key_ring, now=now)
            if is_new and claimed.calendar_id is not None:
                # What changed between the last look and the opening was told to nobody.
                await claims.wake(tx, tables.calendars, claimed.calendar_id, now=now)

    async def _stop(self, claimed: Channel) -> None:
        now = self.clock()
        try:
            token = await self._token_to_stop(claimed, now=now)
            if token is not None and claimed.platform_channel_id is not None:
                provider = self.providers[claimed.platform]
                await provider.unwatch(token, claimed.platform_channel_id, resource_id=claimed.resource_id)
        except ProviderError as failure:
            gives_up = claimed.give_up_at is None or now + _STOP_RETRY >= claimed.give_up_at
            if not gives_up and not isinstance(failure, TokenRejected):
                await self._settle_trouble(claimed, failure, at=now + _STOP_RETRY)
                return
            log.info("channel_not_stopped", channel_id=claimed.id, error=str(failure))
        async with self.database.transaction() as tx:
            await channels.forget(tx, claimed)

    async def _token_to_stop(self, claimed: Channel, *, now: datetime) -> str | None:
        stop_with = channels.open_stop_with(self.key_ring, claimed)
        if stop_with is not None:
            if stop_with.credentials is None:
                return stop_with.access_token
            return (await self.providers[claimed.platform].refresh(stop_with.credentials, now=now)).access_token
        async with self.database.reading() as tx:
            calendar = await calendars.find(tx, claimed.calendar_id)
        return None if calendar is None else access.open_cached(self.key_ring, calendar)

    def _borrowed_token(self, calendar: Calendar) -> str | None:
        expires_at = calendar.access_token_expires_at
        if expires_at is None or expires_at <= self.clock():
            return None
        return access.open_cached(self.key_ring, calendar)

    async def _wait_for_token(self, claimed: Channel, calendar: Calendar) -> None:
        now = self.clock()
        # Ever longer, for whoever wakes a calendar that fails overrides the patience that it has learnt.
        wait = min(_TOKEN_WAIT * 2 ** min(claimed.attempts - 1, 20), _LONGEST_TOKEN_WAIT)
        async with self.database.transaction() as tx:
            await claims.wake(tx, tables.calendars, calendar.id, now=now)
            await channels.settle_trouble(tx, claimed, error=None, next_due_at=now + wait)

    async def _try_later(self, claimed: Channel, failure: ProviderError) -> None:
        now = self.clock()
        wait = min(_FIRST_RETRY * 4 ** min(claimed.attempts - 1, 10), _LONGEST_RETRY)
        if isinstance(failure, RateLimited) and failure.retry_after is not None:
            wait = max(wait, failure.retry_after)
        log.warning("channel_not_opened", calendar_id=claimed.calendar_id, error=str(failure))
        await self._settle_trouble(claimed, failure, at=now + wait)

    async def _settle_trouble(self, claimed: Channel, failure: ProviderError, *, at: datetime) -> None:
        async with self.database.transaction() as tx:
            await channels.settle_trouble(tx, claimed, error=str(failure), next_due_at=at)
