"""A valid access token for a claimed calendar: the only place that refreshes one."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from attendee.clock import Clock
from attendee.model import Credentials
from attendee.providers.port import CalendarProvider
from attendee.store import sync_state
from attendee.store.calendars import Calendar
from attendee.store.columns import KeyRing
from attendee.store.database import Database

# A token is not used in the last minute of its life: its request could arrive after its end.
_EARLY = timedelta(minutes=1)


@dataclass
class Access:
    """The access token of one claimed calendar for the length of one sync.

    The claim keeps two syncs from refreshing at once, and the lock two requests of one sync. What the platform hands
    out is stored before it is used: a refresh token that it rotated would otherwise be lost with the process.
    `calendar` is the claimed row, with the tokens that came in the meantime. `requests` counts those to the platform.
    """

    calendar: Calendar
    provider: CalendarProvider
    database: Database
    key_ring: KeyRing
    clock: Clock
    began_at: datetime
    requests: int = 0
    _token: str | None = field(default=None, repr=False)
    _refreshing: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)

    async def token(self) -> str:
        """The token at hand, refreshed if need be. Raises what `CalendarProvider.refresh` does, and ClaimLost."""
        async with self._refreshing:
            if self._token is None:
                self._token = self._cached() or await self._refresh()
            return self._token

    async def fresh_token(self, *, refused: str, claims: str | None) -> str:
        """A token other than the one that the platform refused, with the claims that it demanded. Raises as `token`."""
        async with self._refreshing:
            if self._token is None or self._token == refused:
                self._token = await self._refresh(claims)
            return self._token

    async def _refresh(self, claims: str | None = None) -> str:
        calendar = self.calendar
        credentials = Credentials(
            calendar.client_id,
            sync_state.open_secret(self.key_ring, calendar, "client_secret", calendar.client_secret),
            sync_state.open_secret(self.key_ring, calendar, "refresh_token", calendar.refresh_token),
        )
        self.requests += 1
        tokens = await self.provider.refresh(credentials, now=self.clock(), claims=claims)
        async with self.database.transaction() as tx:
            self.calendar = await sync_state.save_tokens(
                tx,
                calendar,
                access_token=tokens.access_token,
                expires_at=tokens.expires_at,
                refresh_token=tokens.refresh_token,
                key_ring=self.key_ring,
            )
        return tokens.access_token

    def _cached(self) -> str | None:
        expires_at = self.calendar.access_token_expires_at
        if expires_at is None or expires_at - _EARLY <= self.clock():
            return None
        return open_cached(self.key_ring, self.calendar)


def open_cached(key_ring: KeyRing, calendar: Calendar) -> str | None:
    """The calendar's cached access token, however old; None without one. Raises WrongKey."""
    if calendar.access_token is None:
        return None
    return sync_state.open_secret(key_ring, calendar, "access_token", calendar.access_token)
