"""What a failed pull means for its calendar. Pure: the pipeline stores the verdict."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from attendee.model import CalendarState, DisconnectCode
from attendee.providers.port import AccessRevoked, OperatorFault, ProviderDown, ProviderError, RateLimited
from attendee.store.calendars import Calendar
from attendee.sync.schedule import retry_delay

# An operator's fault is not mended by asking often, and all of the client's calendars ask.
_OPERATOR_RETRY = timedelta(hours=1)
# No platform may send a calendar away for longer than this on one answer.
_LONGEST_PAUSE = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Disconnect:
    """The calendar is disconnected, until somebody acts."""

    code: DisconnectCode
    error: str


@dataclass(frozen=True, slots=True)
class TryAgain:
    """The calendar stays as it is and is tried again at `at`; before `hold_until` nothing may wake it.

    `pauses_client` says that until then the whole OAuth client is to rest.
    """

    at: datetime
    hold_until: datetime | None
    error: str
    is_operators_fault: bool = False
    pauses_client: bool = False


def verdict(failure: ProviderError, calendar: Calendar, *, now: datetime) -> Disconnect | TryAgain:
    """Only the platform's own word disconnects; trouble passes, and is tried again for as long as it takes.

    An operator's fault disconnects only a calendar that has never synced: its credentials were wrong from the start.
    """
    error = str(failure)
    never_synced = calendar.last_successful_sync_at is None
    match failure:
        case AccessRevoked(code=code):
            return Disconnect(code, error)
        case OperatorFault() if never_synced:
            return Disconnect(DisconnectCode.CLIENT_INVALID, error)
        case OperatorFault():
            return TryAgain(now + _OPERATOR_RETRY, None, error, is_operators_fault=True)
        case RateLimited(retry_after=retry_after, whole_client=whole_client):
            pause = _pause(calendar, retry_after)
            return TryAgain(now + pause, now + pause, error, pauses_client=whole_client)
        case ProviderDown(retry_after=retry_after):
            return TryAgain(now + _pause(calendar, retry_after), None, error)
    return TryAgain(now + retry_delay(calendar.attempts), None, error)


def was_asked_back(calendar: Calendar) -> bool:
    """Whether this sync is an attempt to bring a disconnected calendar back, and the first since it was asked for."""
    return calendar.state is CalendarState.DISCONNECTED and calendar.attempts == 1


def _pause(calendar: Calendar, retry_after: timedelta | None) -> timedelta:
    # Both platforms are seen to name a single second over and over: the larger of their word and our own holds.
    own = retry_delay(calendar.attempts)
    return own if retry_after is None else min(max(own, retry_after), _LONGEST_PAUSE)
