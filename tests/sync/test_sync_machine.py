"""A property test of the whole sync: whatever happens, a sync that ends well leaves what the platform has.

Hypothesis makes up histories: people change their calendars, the platform fails in every way that the sandbox knows,
cursors expire, time passes, our process dies between any two statements. After each history a good sync must leave the
platform's view, a further one must tell nothing, and every bot must be where its event is.
"""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import datetime, timedelta
from typing import Any, ClassVar

import orjson
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import event as sqlalchemy_event

from attendee.errors import ClaimLost
from attendee.model import ActivityKind, CalendarState, EventId, RemoteEvent, Trigger, Window
from attendee.sandbox.entries import Conference, EntryState, Frequency, Rule
from attendee.sandbox.faults import FaultKind
from attendee.store import subscriptions, sync_state, tables
from attendee.sync.access import Access
from tests.installation import Installation, NotDue, installation

_LINKS = ("https://meet.google.com/abc-defg-hij", "https://acme.zoom.us/j/98765432100?pwd=Zm9v", None)
_SINGLES = ("single-a", "single-b", "single-c", "single-d")
_PASSING_FAULTS = (
    FaultKind.THROTTLED,
    FaultKind.SERVER_ERROR,
    FaultKind.NOT_JSON,
    FaultKind.TRUNCATED,
    FaultKind.WRONG_TYPES,
    FaultKind.RESET,
    FaultKind.EXPIRED_CURSOR,
    FaultKind.EMPTY_LISTING,
    FaultKind.EMPTY_PAGES,
)
_days = st.integers(min_value=-3, max_value=40)
_quarters = st.integers(min_value=0, max_value=95)


class Crash(BaseException):
    """The process died here: nothing catches it."""


class Home:
    """The one installation that all histories of a test share; each has a person and a calendar of its own."""

    def __init__(self, database_url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self._stack = AsyncExitStack()
        self.here: Installation = self.run(self._stack.enter_async_context(installation(database_url)))
        self.people = 0

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self._stack.aclose())
        self.run(self.loop.shutdown_default_executor())
        self.loop.close()


class SyncMachine(RuleBasedStateMachine):
    """Rules are what can happen; the promises are checked when a history has ended."""

    home: ClassVar[Home]
    platform: ClassVar[str]

    @initialize()
    def connect(self) -> None:
        here = self.home.here
        self.home.people += 1
        self.person = here.world.add_person(f"person{self.home.people}@acme.example", platform=self.platform)
        self.run = self.home.run
        self.calendar_id = self.run(here.connect(self.person)).id
        self.bots: dict[str, EventId] = {}
        self.stamped_until: datetime | None = None

    @property
    def remote(self) -> Any:
        return self.person.primary

    def _at(self, day: int, quarter: int) -> datetime:
        midnight = self.home.here.clock().replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + timedelta(days=day, minutes=15 * quarter)

    def _live(self, id: str) -> bool:
        entry = self.remote.entries.get(id)
        return entry is not None and entry.state is EntryState.LIVE

    # What people do.

    @rule(id=st.sampled_from(_SINGLES), day=_days, quarter=_quarters, link=st.sampled_from(_LINKS))
    def put(self, id: str, day: int, quarter: int, link: str | None) -> None:
        self.remote.put(id, starts=self._at(day, quarter), title=f"{id} on {day}", location=link or "Room Alder")

    @rule(id=st.sampled_from(_SINGLES), day=_days)
    def put_all_day(self, id: str, day: int) -> None:
        starts = self._at(day, 0).date()
        self.remote.put(id, starts=starts, ends=starts + timedelta(days=2), title=f"{id} all day")

    @rule(id=st.sampled_from((*_SINGLES, "series")), day=_days, quarter=_quarters)
    def move(self, id: str, day: int, quarter: int) -> None:
        if self._live(id) and not self.remote.get(id).details.is_all_day:
            self.remote.move(id, starts=self._at(day, quarter))

    @rule(id=st.sampled_from((*_SINGLES, "series")), link=st.sampled_from(_LINKS))
    def edit(self, id: str, link: str | None) -> None:
        if self._live(id):
            conference = None if link is None else Conference(service="meet", url=link)
            self.remote.edit(id, conference=conference, title="Edited")

    @rule(id=st.sampled_from((*_SINGLES, "series")), fully=st.booleans())
    def cancel(self, id: str, *, fully: bool) -> None:
        if self._live(id):
            (self.remote.delete if fully else self.remote.cancel)(id)

    @rule(id=st.sampled_from(_SINGLES))
    def forget(self, id: str) -> None:
        """The platform loses even the memory of a cancelled event: its id is not found any more, no delta tells."""
        entry = self.remote.entries.get(id)
        if entry is not None and entry.state is not EntryState.LIVE:
            self.remote.forget(id)
            self.remote.expire_cursors()

    @rule(day=st.integers(min_value=-10, max_value=10), quarter=_quarters, link=st.sampled_from(_LINKS))
    def put_series(self, day: int, quarter: int, link: str | None) -> None:
        if "series" not in self.remote.entries:
            weekly = Rule(frequency=Frequency.WEEKLY, count=8)
            self.remote.put("series", starts=self._at(day, quarter), rule=weekly, title="Weekly", location=link or "")

    @rule(which=st.integers(min_value=0, max_value=7), day=_days, quarter=_quarters)
    def move_occurrence(self, which: int, day: int, quarter: int) -> None:
        slot = self._slot(which)
        if slot is not None:
            self.remote.move_occurrence("series", slot, starts=self._at(day, quarter))

    @rule(which=st.integers(min_value=0, max_value=7))
    def cancel_occurrence(self, which: int) -> None:
        slot = self._slot(which)
        if slot is not None:
            self.remote.cancel_occurrence("series", slot)

    @rule(which=st.integers(min_value=1, max_value=6), quarter=_quarters)
    def split_series(self, which: int, quarter: int) -> None:
        """This and following: the old series ends, another begins."""
        slot = self._slot(which)
        if slot is not None and not any("_R" in id for id in self.remote.entries):
            self.remote.split("series", slot, title="From now on")

    def _slot(self, which: int) -> Any:
        if not self._live("series"):
            return None
        entry = self.remote.get("series")
        slots = self.remote.slots(entry)
        if which >= len(slots) or self.remote.occurrence("series", slots[which]).details is None:
            return None
        return slots[which]

    # What platforms and time do.

    @rule()
    def expire_cursors(self) -> None:
        self.remote.expire_cursors()

    @rule()
    def expire_tokens(self) -> None:
        self.home.here.world.grants.expire_access_tokens(self.person.email)

    @rule(kind=st.sampled_from(_PASSING_FAULTS), times=st.integers(min_value=1, max_value=3))
    def fail(self, kind: FaultKind, times: int) -> None:
        self.home.here.world.faults.switch_on(self.remote.id, kind, times=times)

    @rule(hours=st.sampled_from((0.02, 1, 5, 30, 24 * 9)))
    def pass_time(self, hours: float) -> None:
        self.home.here.clock.advance(timedelta(hours=hours))

    # What we do.

    @rule()
    def sync(self) -> None:
        self._sync()

    @rule(step=st.integers(min_value=1, max_value=25))
    def crash(self, step: int) -> None:
        """The process dies before its n-th statement or commit; what it held in memory is gone."""
        here = self.home.here
        with self._dying_at(step):
            try:
                self._sync()
            except (Crash, BaseExceptionGroup):
                here.quiet._gathered.clear()
        here.clock.advance(timedelta(seconds=61))

    @rule(chosen=st.integers(min_value=0, max_value=30))
    def order_bot(self, chosen: int) -> None:
        """A client puts a bot on an event that it has read of us."""
        now = self.home.here.clock()
        rows = sorted(self.run(self.home.here.events(self.calendar_id)).values(), key=lambda row: row.id)
        usable = [row for row in rows if not row.is_deleted and row.meeting_url and row.start_time > now]
        if usable:
            row = usable[chosen % len(usable)]
            self.bots[self.run(self.home.here.order_bot(row)).id] = row.id

    @contextmanager
    def _dying_at(self, step: int) -> Iterator[None]:
        engine = self.home.here.database.engine.sync_engine
        left = step

        def count(*_: Any, **__: Any) -> None:
            nonlocal left
            left -= 1
            if left == 0:
                raise Crash

        sqlalchemy_event.listen(engine, "before_cursor_execute", count)
        sqlalchemy_event.listen(engine, "commit", count)
        try:
            yield
        finally:
            sqlalchemy_event.remove(engine, "before_cursor_execute", count)
            sqlalchemy_event.remove(engine, "commit", count)

    def _sync(self) -> None:
        here = self.home.here
        try:
            self.run(here.sync(self.calendar_id))
        except (NotDue, ClaimLost):
            return
        rows = self.run(here.events(self.calendar_id)).values()
        newest = max((row.updated_at for row in rows), default=None)
        if self.stamped_until is not None:
            assert newest is not None
            assert newest >= self.stamped_until, "updated_at never goes back"
        self.stamped_until = newest

    # What must hold in the end.

    def teardown(self) -> None:
        if not hasattr(self, "calendar_id"):
            return
        here = self.home.here
        here.world.faults.switch_off()
        # A platform that says at first that nothing is there is believed until the next listing.
        self.remote.expire_cursors()
        for _ in range(6):
            here.clock.advance(timedelta(hours=2))
            self._sync()
            calendar = self.run(here.calendar(self.calendar_id))
            if calendar.last_error is None and calendar.next_listing_at > here.clock() + timedelta(minutes=2):
                break
        assert calendar.state is CalendarState.CONNECTED
        assert calendar.last_error is None, calendar.last_error

        stored = self.run(here.events(self.calendar_id))
        start, end = here.clock() - timedelta(days=1), here.clock() + timedelta(days=28)
        ours = {
            uuid: (row.name, row.start_time, row.end_time, row.meeting_url)
            for uuid, row in stored.items()
            if not row.is_deleted and row.start_time < end and row.end_time > start
        }
        assert ours == self.run(self._theirs(start, end))

        told_before = self.run(self._told())
        self._sync()
        assert self.run(here.events(self.calendar_id)) == stored, "a second sync changes nothing"
        assert self.run(self._told()) == told_before, "and tells nothing"
        self._check_told(stored, told_before)
        self.run(self._check_bots(stored))

    async def _theirs(self, start: datetime, end: datetime) -> dict[str, Any]:
        """The platform's own view of the window, read by one plain listing and parsed by the provider."""
        here = self.home.here
        calendar = await here.calendar(self.calendar_id)
        provider = here.pipeline.providers[calendar.platform]
        window = Window(start, end)
        claimed = await here.claim(self.calendar_id)
        token = await Access(claimed, provider, here.database, here.key_ring, here.clock, began_at=here.clock()).token()
        found: dict[str, Any] = {}
        position: str | None = provider.first_position(calendar=None, cursor=None, window=window)
        while position is not None:
            page = await provider.page(token, position, calendar=None, window=window)
            if page.lists_window:
                found |= {item.platform_uuid: item for item in page.items if isinstance(item, RemoteEvent)}
            position = page.next_position
        async with here.database.transaction() as tx:
            await sync_state.let_go(tx, claimed, now=here.clock())
        return {
            uuid: (item.name, item.start_at, item.end_at, item.meeting_url)
            for uuid, item in found.items()
            if window.overlaps(item.start_at, item.end_at)
        }

    async def _told(self) -> list[dict[str, Any]]:
        rows = await self.home.here.rows(tables.deliveries, tables.deliveries.c.calendar_id == self.calendar_id)
        return [orjson.loads(row.body) for row in rows]

    def _check_told(self, stored: dict[str, Any], told: list[dict[str, Any]]) -> None:
        """Nothing was delivered yet, so one delivery tells of every event what became of it."""
        if not stored:
            return
        (body,) = told
        ids = body["data"]["events"]
        gone = {row.id for row in stored.values() if row.is_deleted}
        assert set(ids["deleted"]) == gone
        assert {*ids["created"], *ids["updated"]} == {row.id for row in stored.values()} - gone

    async def _check_bots(self, stored: dict[str, Any]) -> None:
        here = self.home.here
        by_id = {row.id: row for row in stored.values()}
        left = {row.id: row for row in await here.rows(tables.bots, tables.bots.c.id.in_(self.bots))}
        for bot_id, event_id in self.bots.items():
            event = by_id[event_id]
            if bot_id in left:
                assert not event.is_deleted, "a cancelled event has no waiting bot"
                assert (left[bot_id].join_at, left[bot_id].meeting_url) == (event.start_time, event.meeting_url)
                assert left[bot_id].due_at == event.start_time
            else:
                history = await here.rows(tables.activity, tables.activity.c.bot_id == bot_id)
                assert history[-1].kind == ActivityKind.BOT_DELETED, "a bot goes only with its event, and it is told"


async def _subscribe(here: Installation) -> None:
    async with here.database.transaction() as tx:
        await subscriptions.create(
            tx,
            subscriptions.NewSubscription("https://product.example/hook", [Trigger.CALENDAR_EVENTS_UPDATE]),
            project_id=here.project_id,
            now=here.clock(),
        )


@pytest.mark.timeout(500)
@pytest.mark.parametrize("platform", ["google", "microsoft"])
def test_the_stored_window_is_the_platforms_whatever_happens(database_url: str, platform: str) -> None:
    """Promises 1 to 6 of the design, over histories that Hypothesis makes up."""
    home = Home(database_url)
    try:
        home.run(_subscribe(home.here))
        machine = type(f"{platform.title()}SyncMachine", (SyncMachine,), {"home": home, "platform": platform})
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=60,
                stateful_step_count=25,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                print_blob=True,
            ),
        )
    finally:
        home.close()
