"""From a cursor or a window to what changed: all the network that a sync needs, and no writing to the database."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

import structlog

from attendee.model import (
    Cancelled,
    DisconnectCode,
    KnownEvent,
    PlatformCalendar,
    RemoteEvent,
    RemoteItem,
    SetAside,
    Window,
)
from attendee.providers.port import (
    AccessRevoked,
    CalendarsPage,
    CursorExpired,
    ProviderDown,
    ProviderError,
    TokenRejected,
    UnexpectedAnswer,
)
from attendee.sync.access import Access
from attendee.sync.diff import Changes, absent

# At most so many absent events are asked for in one sync, and so many at once: both platforms count requests a minute
# and requests at a time for each mailbox. Microsoft allows four at a time, and two calendars of one mailbox may be
# connected. The rest waits for the next listing, which then comes soon.
ABSENT_ASKED_A_SYNC = 200
_ABSENT_ASKED_AT_ONCE = 2
# An empty listing where at least so many events stood is asked for once more before it is believed.
_MANY_EVENTS = 3
# A listing reaches as far beyond the promised window as time can pass until the next one.
_LISTING_LASTS = timedelta(hours=25)
# Thousands of calendars on either platform; pages without end must not hold up what is known of the events.
_PAGES_OF_CALENDARS = 20

log = structlog.get_logger(__name__)

_Answer = TypeVar("_Answer")


@dataclass(frozen=True, slots=True)
class Pulling:
    """What a pull is made with: `renew_claim` is called before each request, `find_known` reads what is stored."""

    access: Access
    renew_claim: Callable[[], Awaitable[None]]
    find_known: Callable[[], Awaitable[Mapping[str, KnownEvent]]]


def listing_window(now: datetime, *, past: timedelta, future: timedelta) -> Window:
    """The window that a full listing asks for, so that the promised one holds until the next listing."""
    return Window(now - past, now + future + _LISTING_LASTS)


async def fetch_changes(
    pulling: Pulling, *, cursor: str | None, listed: Window | None, fresh: Window, told: bool
) -> Changes:
    """Everything changed since the cursor; without one, or when it has expired, the whole `fresh` window.

    `listed` is the window of the last full listing, None before the first. `told` says that a push has told of a
    change. Raises ClaimLost, and every ProviderError but CursorExpired and TokenRejected.
    """
    changes = None
    if cursor is not None and listed is not None:
        try:
            changes = await _walk(pulling, cursor=cursor, window=listed, told=told)
        except CursorExpired:
            changes = None
    if changes is None:
        changes = await _walk(pulling, cursor=None, window=fresh)
    if not changes.lists_window:
        return changes
    known = await pulling.find_known()
    if _is_suspiciously_empty(known, changes):
        changes = await _walk(pulling, cursor=None, window=fresh)
    changes = await _ask_for_absent(pulling, changes, known)
    if not changes.is_fresh:
        return changes
    # Last of all, so that trouble with it can't keep anything else from being asked.
    return replace(changes, platform_calendars=await _read_platform_calendars(pulling))


async def _walk(pulling: Pulling, *, cursor: str | None, window: Window, told: bool = False) -> Changes:
    access = pulling.access
    provider, calendar = access.provider, access.calendar.platform_uuid
    items: dict[str, RemoteItem] = {}
    # A platform that lists at once when it has told of a change leaves the cursor where it is.
    next_cursor = cursor if told else None
    lists_window = False
    been_at: set[str] = set()
    position: str | None = provider.first_position(calendar=calendar, cursor=cursor, window=window, told=told)
    while position is not None:
        if position in been_at:
            raise UnexpectedAnswer("The platform leads from page to page in a circle.")
        been_at.add(position)
        asked = position
        page = await _ask(pulling, lambda token: provider.page(token, asked, calendar=calendar, window=window))  # noqa: B023  # called before the next turn
        if page.lists_window and not lists_window:
            # What came before only told that something has changed; the listing is the truth.
            lists_window = True
            items.clear()
        for item in page.items:
            items[item.platform_uuid] = item
        next_cursor = page.cursor or next_cursor
        position = page.next_position
    return Changes(items, window, next_cursor, lists_window, is_fresh=cursor is None)


def _is_suspiciously_empty(known: Mapping[str, KnownEvent], changes: Changes) -> bool:
    if any(not isinstance(item, Cancelled) for item in changes.items.values()):
        return False
    return len(absent(known, changes.items.keys(), window=changes.window)) >= _MANY_EVENTS


async def _ask_for_absent(pulling: Pulling, changes: Changes, known: Mapping[str, KnownEvent]) -> Changes:
    """Absent is not deleted: what the listing lacks is asked for by its id, whether it is gone or has only moved."""
    access = pulling.access
    provider, calendar = access.provider, access.calendar.platform_uuid
    lacking = absent(known, changes.items.keys(), window=changes.window)
    asked = lacking[:ABSENT_ASKED_A_SYNC]
    at_once = asyncio.Semaphore(_ABSENT_ASKED_AT_ONCE)

    async def ask(event: KnownEvent) -> RemoteItem:
        def one(token: str) -> Awaitable[RemoteItem]:
            return provider.event(token, event.platform_uuid, calendar=calendar)

        async with at_once:
            try:
                return await _ask(pulling, one)
            except ProviderDown:
                # The pull fails with any of its requests: where one in ten fails, one with dozens would never end well.
                return await _ask(pulling, one)

    try:
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(ask(event)) for event in asked]
    except ExceptionGroup as failures:
        # One failed request fails the pull; that others were under way beside it is nobody's business.
        raise failures.exceptions[0] from None
    # By the id that we asked for: an answer under another id would leave the event absent for ever.
    found = {event.platform_uuid: answer.result() for event, answer in zip(asked, answers, strict=True)}
    if any(_is_doubtful(item, changes.window) for item in found.values()):
        found = await _tell_elsewhere(pulling, found, changes.window)
    return replace(changes, items={**changes.items, **found}, known=known, unasked=len(lacking) - len(asked))


async def _tell_elsewhere(pulling: Pulling, found: Mapping[str, RemoteItem], window: Window) -> dict[str, RemoteItem]:
    """What was found by its id, with those told as gone that a second listing lacks as well.

    Microsoft finds an event of the mailbox by its id in whatever calendar it is: one that was moved to another calendar
    is still there, within the window, and in no listing of ours. Nor does it ever say that an event is gone whose id it
    no longer takes for one, as after a mailbox was moved.
    """
    again = await _walk(pulling, cursor=None, window=window)
    return {
        uuid: again.items.get(uuid, Cancelled(uuid)) if _is_doubtful(item, window) else item
        for uuid, item in found.items()
    }


def _is_doubtful(item: RemoteItem, window: Window) -> bool:
    """Whether this word on an event that a listing lacks leaves open whether it still has its place in the window."""
    return isinstance(item, SetAside) or (isinstance(item, RemoteEvent) and window.overlaps(item.start_at, item.end_at))


async def _read_platform_calendars(pulling: Pulling) -> Sequence[PlatformCalendar] | None:
    """The user's calendars; None where the platform doesn't show them, which is no failure of the sync.

    Consent may cover the events of a calendar and not this list. Only what the platform says of the access token is
    believed, since it counts for the calendar too.
    """
    access = pulling.access

    async def ask(token: str) -> CalendarsPage | None:
        try:
            return await access.provider.calendars(token, position)
        except TokenRejected:
            raise
        except ProviderError as refused:
            log.info("platform_calendars_not_read", calendar_id=access.calendar.id, error=str(refused))
            return None

    found: list[PlatformCalendar] = []
    position: str | None = None
    for _ in range(_PAGES_OF_CALENDARS):
        page = await _ask(pulling, ask)
        if page is None:
            return None
        found += page.calendars
        position = page.next_position
        if position is None:
            break
    return found


async def _ask(pulling: Pulling, ask: Callable[[str], Awaitable[_Answer]]) -> _Answer:
    """The answer to one request, asked once more with a fresh token if the platform refuses the one at hand."""
    access = pulling.access
    await pulling.renew_claim()
    token = await access.token()
    access.requests += 1
    try:
        return await ask(token)
    except TokenRejected as refused:
        token = await access.fresh_token(refused=token, claims=refused.claims)
    access.requests += 1
    try:
        return await ask(token)
    except TokenRejected as refused:
        message = f"The platform refuses an access token that it has just handed out: {refused}"
        raise AccessRevoked(DisconnectCode.REAUTH_REQUIRED, message) from refused
