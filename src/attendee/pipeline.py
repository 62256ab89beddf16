"""START HERE: one sync of one calendar, from the platform to the webhook.

pull      what changed at the platform (network, no transaction)
compare   with what is stored
store     in one transaction: the bots of those events, the webhooks that tell of it, their history, the events, and
          the cursor that says that it was seen. All or nothing.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import metrics
from attendee.bots import following
from attendee.bots.schedule import LaunchTimes
from attendee.clock import Clock, written
from attendee.errors import ClaimLost
from attendee.model import ActivityKind, CalendarState, KnownEvent, Platform, SyncOutcome, SyncReason, Touched, Window
from attendee.providers.port import (
    CalendarProvider,
    OperatorFault,
    ProviderDown,
    ProviderError,
    RateLimited,
    UnexpectedAnswer,
)
from attendee.store import activity, channels, claims, events, platform_calendars, sync_state, syncs
from attendee.store.activity import Entry
from attendee.store.calendars import Calendar
from attendee.store.channels import StopWith
from attendee.store.columns import KeyRing
from attendee.store.database import Database, is_away
from attendee.store.sync_state import Listing, NextTurn, QuietSync
from attendee.store.syncs import Sync
from attendee.store.tables import calendars
from attendee.sync import access, schedule, turns
from attendee.sync.access import Access
from attendee.sync.diff import Changes, Difference, compare
from attendee.sync.failures import Disconnect, TryAgain, verdict, was_asked_back
from attendee.sync.pull import Pulling, fetch_changes, listing_window
from attendee.sync.schedule import Intervals
from attendee.webhooks import outbox

# A claim lasts 60 s and a request 45 s at most, so one that is older than this is renewed before the next request.
_CLAIM_OLD = timedelta(seconds=10)
# Far more than any calendar takes; a platform that hands out pages without end must not keep a worker for ever.
_LONGEST_PULL = timedelta(minutes=15)

# A paused OAuth client's calendars come back one after the other, well below the 10,000 requests a minute of a project.
_AFTER_PAUSE = timedelta(milliseconds=20)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SyncSettings:
    """`past` and `future` are the promised window around now. With `wants_push` calendars get push channels."""

    past: timedelta
    future: timedelta
    intervals: Intervals
    launch_times: LaunchTimes
    wants_push: bool


@dataclass(frozen=True, slots=True)
class Pipeline:
    """All that a sync needs. `settle_quiet` takes the syncs that found nothing; many of them end in one statement."""

    database: Database
    providers: Mapping[Platform, CalendarProvider]
    key_ring: KeyRing
    clock: Clock
    settings: SyncSettings
    settle_quiet: Callable[[QuietSync], None]

    async def sync_calendar(self, claimed: Calendar) -> None:
        """Brings a claimed calendar in step with its platform and settles the claim. Raises ClaimLost.

        What the platform refuses is stored on the calendar, not raised.
        """
        try:
            await self._sync(claimed)
        except sync_state.CredentialsReplaced:
            async with self.database.transaction() as tx:
                await sync_state.let_go(tx, claimed, now=self.clock())

    async def _sync(self, claimed: Calendar) -> None:
        provider = self.providers[claimed.platform]
        at_hand = Access(claimed, provider, self.database, self.key_ring, self.clock, began_at=self.clock())
        try:
            changes = await self._pull(at_hand)
            if changes.are_quiet and claimed.state is CalendarState.CONNECTED and claimed.asked_for is None:
                now = self.clock()
                turn = turns.planned(
                    claimed,
                    intervals=self.settings.intervals,
                    next_listing_at=claimed.next_listing_at,
                    found=False,
                    now=now,
                )
                self.settle_quiet(QuietSync(claimed, changes.cursor, turn, now))
                _count(at_hand, "quiet", now=now)
            else:
                await self._apply(at_hand, changes)
        except ProviderError as failure:
            await self._fail(at_hand, failure)
        except (ClaimLost, sync_state.CredentialsReplaced):
            # The calendar is no longer ours to store.
            raise
        except Exception as fault:
            if is_away(fault):
                # Nothing can be stored now, and the claim ends by itself.
                raise
            # Ours to mend, and no reason to lose sight of the calendar meanwhile: it is shown there, and tried again.
            log.exception("sync_failed", calendar_id=claimed.id)
            await self._fail(at_hand, UnexpectedAnswer(f"This service failed ({type(fault).__name__})."))

    async def _pull(self, at_hand: Access) -> Changes:
        claimed = at_hand.calendar
        began_at = renewed_at = at_hand.began_at

        async def renew_claim() -> None:
            nonlocal renewed_at
            now = self.clock()
            if now - began_at > _LONGEST_PULL:
                minutes = round(_LONGEST_PULL / timedelta(minutes=1))
                raise ProviderDown(f"Reading the calendar took more than {minutes} minutes.")
            if now - renewed_at >= _CLAIM_OLD:
                async with self.database.transaction() as tx:
                    await claims.renew(tx, calendars, row_id=claimed.id, claim_id=claimed.claim_id or "", now=now)
                renewed_at = now

        async def find_known() -> Mapping[str, KnownEvent]:
            async with self.database.reading() as tx:
                return await events.known(tx, claimed.id, platform_uuids=None)

        listing_is_due = claimed.next_listing_at is None or claimed.next_listing_at <= began_at
        listed = None
        if claimed.listed_from is not None and claimed.listed_until is not None:
            listed = Window(claimed.listed_from, claimed.listed_until)
        return await fetch_changes(
            Pulling(at_hand, renew_claim, find_known),
            cursor=None if listing_is_due else claimed.cursor,
            listed=listed,
            told=claimed.looks_after_push is not None,
            fresh=listing_window(began_at, past=self.settings.past, future=self.settings.future),
        )

    async def _apply(self, at_hand: Access, changes: Changes) -> None:
        claimed = at_hand.calendar
        async with self.database.transaction() as tx:
            calendar = await sync_state.lock(tx, claimed)
            known = changes.known
            if known is None:
                known = await events.known(tx, calendar.id, platform_uuids=changes.items.keys())
            difference = compare(known, changes)

            now = self.clock()
            entries = _told(difference) + await following.follow_events(
                tx, calendar.id, difference.touched, times=self.settings.launch_times, now=now
            )
            came_back = calendar.state is not CalendarState.CONNECTED
            if difference.touched or came_back:
                heard_at = claimed.due_at if turns.reason(claimed, now=at_hand.began_at) is SyncReason.PUSH else None
                await outbox.record_events_update(
                    tx, _synced(calendar, now), _event_ids(difference), heard_at=heard_at, now=now
                )
            await activity.record(tx, entries, project_id=calendar.project_id, calendar_id=calendar.id, now=now)
            await syncs.record(tx, calendar, _synced_with(at_hand, changes, difference), now=now)
            await events.record_set_aside(
                tx, difference.set_aside, calendar_id=calendar.id, come_good=difference.come_good, now=now
            )
            if changes.platform_calendars is not None:
                await platform_calendars.record(tx, changes.platform_calendars, calendar_id=calendar.id)
            if self.settings.wants_push and not turns.is_told(calendar, now=now):
                await channels.want(tx, calendar, now=now)
            listing = self._listing(changes, now)
            turn = await self._next_turn(tx, calendar, listing, found=bool(difference.touched), now=now)
            stamp = await self._record_events(tx, calendar, difference)
            await sync_state.settle_success(
                tx,
                claimed,
                cursor=changes.cursor,
                listing=listing,
                stamp=stamp,
                next_turn=turn,
                now=now,
            )
        _count(at_hand, _outcome(difference).value, now=now)

    async def _record_events(self, tx: AsyncConnection, calendar: Calendar, difference: Difference) -> datetime | None:
        if not difference.touched:
            return None
        # Stamped here, with nothing but the events themselves and the settling left to do: the sooner the commit
        # follows the stamp, the less a client that goes by its own clock can miss.
        stamp = sync_state.next_stamp(calendar, now=self.clock())
        await events.record(
            tx, difference.touched, project_id=calendar.project_id, calendar_id=calendar.id, stamp=stamp
        )
        return stamp

    async def _fail(self, at_hand: Access, failure: ProviderError) -> None:
        now, claimed = self.clock(), at_hand.calendar
        async with self.database.transaction() as tx:
            calendar = await sync_state.lock(tx, claimed)
            match verdict(failure, calendar, now=now):
                case Disconnect(why, error):
                    outcome, code = SyncOutcome.DISCONNECTED, why.value
                    await syncs.record(tx, calendar, _failed(at_hand, outcome, error), now=now)
                    told = {"error": error, "code": code, "timestamp": written(now)}
                    await self._disconnect(tx, calendar, claimed, told, now=now)
                case TryAgain(at, hold_until, error, is_operators_fault, pauses_client):
                    outcome, code = SyncOutcome.FAILED, _code(failure)
                    await syncs.record(tx, calendar, _failed(at_hand, outcome, error), now=now)
                    if pauses_client and hold_until is not None:
                        await sync_state.pause_client(tx, calendar, until=hold_until, step=_AFTER_PAUSE, now=now)
                    await sync_state.settle_failure(
                        tx,
                        claimed,
                        error=error,
                        is_operators_fault=is_operators_fault,
                        next_due_at=at,
                        hold_until=hold_until,
                        now=now,
                    )
                    if is_operators_fault and was_asked_back(calendar):
                        await outbox.record_state_change(tx, replace(calendar, last_attempted_sync_at=now), now=now)
        _count(at_hand, outcome.value, now=now)
        metrics.sync_failures.labels(claimed.platform.value, code).inc()

    async def _disconnect(
        self,
        tx: AsyncConnection,
        calendar: Calendar,
        claimed: Calendar,
        failure: dict[str, str],
        *,
        now: datetime,
    ) -> None:
        entries = await following.delete_waiting(tx, calendar.id, reason="calendar_disconnected", now=now)
        disconnected = replace(
            calendar,
            state=CalendarState.DISCONNECTED,
            connection_failure_data=failure,
            last_attempted_sync_at=now,
        )
        await outbox.record_state_change(tx, disconnected, now=now)
        await activity.record(tx, entries, project_id=calendar.project_id, calendar_id=calendar.id, now=now)
        # The token may still be good for that much, where it is the mailbox or the calendar that is gone.
        stop_with = StopWith(access.open_cached(self.key_ring, calendar), None)
        await channels.stop_all(tx, calendar, stop_with, key_ring=self.key_ring, now=now)
        await sync_state.settle_disconnection(tx, claimed, failure=failure, now=now)

    async def _next_turn(
        self, tx: AsyncConnection, calendar: Calendar, listing: Listing | None, *, found: bool, now: datetime
    ) -> NextTurn:
        intervals = self.settings.intervals
        next_listing_at = calendar.next_listing_at if listing is None else listing.next_at
        turn = turns.planned(calendar, intervals=intervals, next_listing_at=next_listing_at, found=found, now=now)
        return await turns.sooner_for_bots(tx, calendar, turn, intervals=intervals, now=now)

    def _listing(self, changes: Changes, now: datetime) -> Listing | None:
        if not changes.lists_window or not (changes.is_fresh or changes.unasked):
            return None
        return Listing(changes.window, schedule.next_listing(unasked=changes.unasked, now=now))


def _synced(calendar: Calendar, now: datetime) -> Calendar:
    """The calendar as a good sync leaves it."""
    return replace(
        calendar,
        state=CalendarState.CONNECTED,
        connection_failure_data=None,
        last_attempted_sync_at=now,
        last_successful_sync_at=now,
    )


def _synced_with(at_hand: Access, changes: Changes, difference: Difference) -> Sync:
    """What the calendar's history says of a good sync."""
    return Sync(
        turns.reason(at_hand.calendar, now=at_hand.began_at),
        _outcome(difference),
        at_hand.began_at,
        at_hand.requests,
        listed=changes.lists_window,
        created=len(difference.created),
        updated=len(difference.updated),
        deleted=len(difference.deleted),
    )


def _outcome(difference: Difference) -> SyncOutcome:
    return SyncOutcome.CHANGED if difference.touched else SyncOutcome.UNCHANGED


def _count(at_hand: Access, outcome: str, *, now: datetime) -> None:
    platform = at_hand.calendar.platform.value
    metrics.syncs.labels(platform, outcome).inc()
    metrics.sync_seconds.labels(platform).observe(max(0.0, (now - at_hand.began_at).total_seconds()))


def _code(failure: ProviderError) -> str:
    """What the metrics call a failure that passes."""
    match failure:
        case OperatorFault():
            return "operator_fault"
        case RateLimited():
            return "rate_limited"
        case ProviderDown():
            return "platform_down"
    return "unexpected_answer"


def _failed(at_hand: Access, outcome: SyncOutcome, error: str) -> Sync:
    reason = turns.reason(at_hand.calendar, now=at_hand.began_at)
    return Sync(reason, outcome, at_hand.began_at, at_hand.requests, error=error)


def _event_ids(difference: Difference) -> outbox.EventIds:
    return outbox.EventIds(difference.created, difference.updated, difference.deleted)


def _told(difference: Difference) -> list[Entry]:
    """What the history of the events says. That an event was first seen is told by the event itself."""
    return [
        Entry(_kind(one), _what_changed(one), event_id=one.id) for one in difference.touched if one.before is not None
    ]


def _kind(one: Touched) -> ActivityKind:
    if one.after is None:
        return ActivityKind.EVENT_DELETED
    if one.before is not None and one.before.is_deleted:
        return ActivityKind.EVENT_RESTORED
    return ActivityKind.EVENT_UPDATED


def _what_changed(one: Touched) -> dict[str, object]:
    before, after = one.before, one.after
    if before is None or after is None:
        return {}
    changed: dict[str, object] = {}
    if (before.start_at, before.end_at) != (after.start_at, after.end_at):
        changed["moved"] = {
            "from": {"start_time": written(before.start_at), "end_time": written(before.end_at)},
            "to": {"start_time": written(after.start_at), "end_time": written(after.end_at)},
        }
    if before.meeting_url != after.meeting_url:
        changed["meeting_url"] = {"from": before.meeting_url, "to": after.meeting_url}
    return changed
