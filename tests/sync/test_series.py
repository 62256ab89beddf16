"""Series and single events as people change them: each ends with the platform's events, and bots where they belong."""

from collections.abc import AsyncIterator, Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest

from attendee.model import CalendarId, Trigger
from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Frequency, Rule, as_instant
from attendee.store import tables
from tests.installation import START, Installation, installation

_LINK = "https://acme.zoom.us/j/98765432100?pwd=Zm9v"
_OTHER_LINK = "https://acme.zoom.us/j/11122233344?pwd=YmFy"
_FIRST = START + timedelta(days=1)
_COUNT = 8
_SLOTS = [_FIRST + timedelta(days=number) for number in range(_COUNT)]
_FAR = START + timedelta(days=60)
_HOUR = timedelta(hours=1)
# The occurrences that have a bot.
_WITH_BOTS = (0, 2, 5)


@dataclass
class Scene:
    """A synced calendar with a daily series and a single event, bots on the latter and on some of the former."""

    here: Installation
    remote: Calendar
    calendar_id: CalendarId
    # Our events and bots as they were in the beginning, by the start of the event.
    events: dict[datetime, Any] = field(default_factory=dict)
    bots: dict[datetime, Any] = field(default_factory=dict)

    async def sync(self) -> None:
        """One good sync; a second one then finds nothing to store."""
        synced = await self.here.sync(self.calendar_id)
        assert synced.last_error is None
        stored = await self.here.events(self.calendar_id)
        assert (await self.here.sync(self.calendar_id)).last_error is None
        assert await self.here.events(self.calendar_id) == stored

    async def check_window(self) -> None:
        """What stands in the promised window is what the platform has there: each event once, and no other."""
        now = self.here.clock()
        start, end = now - timedelta(days=1), now + timedelta(days=28)
        theirs = [
            (one.details.title, as_instant(one.details.starts, zone="UTC"), one.details.location)
            for one in self.remote.between(start, end)
            if one.is_live
        ]
        ours = [
            (row.name, row.start_time, row.meeting_url)
            for row in (await self.here.events(self.calendar_id)).values()
            if not row.is_deleted and row.start_time < end and row.end_time > start
        ]
        assert sorted(ours) == sorted(theirs, key=lambda one: (one[0] or "", one[1]))

    async def event(self, slot: datetime) -> Any:
        """The event that began at `slot` in the beginning, as it is now."""
        (row,) = await self.here.rows(tables.events, tables.events.c.id == self.events[slot].id)
        return row

    async def bot(self, slot: datetime) -> Any:
        """The bot of that event as it is now; None once it is gone."""
        rows = await self.here.rows(tables.bots, tables.bots.c.id == self.bots[slot].id)
        return rows[0] if rows else None

    async def check_untouched(self, slots: Collection[datetime]) -> None:
        """These events and their bots are what they were, to the last column."""
        for slot in slots:
            assert await self.event(slot) == self.events[slot]
            if slot in self.bots:
                assert await self.bot(slot) == self.bots[slot]

    async def check_gone(self, slots: Collection[datetime]) -> None:
        """These events are deleted, with nothing else of them changed, and their bots are gone."""
        for slot in slots:
            row = await self.event(slot)
            assert row.is_deleted
            assert (row.name, row.start_time) == (self.events[slot].name, slot)
            if slot in self.bots:
                assert await self.bot(slot) is None

    async def told(self) -> dict[str, set[str]]:
        """What was told of the events since the beginning."""
        (body,) = await self.here.told(Trigger.CALENDAR_EVENTS_UPDATE)
        return {fate: set(ids) for fate, ids in body["data"]["events"].items() if isinstance(ids, list)}


_SINGLE = START + timedelta(days=3, hours=5)


@pytest.fixture(params=["google", "microsoft"])
async def scene(request: pytest.FixtureRequest, database_url: str) -> AsyncIterator[Scene]:
    async with installation(database_url) as here:
        await here.subscribe()
        person = here.world.add_person("ana@acme.example", platform=request.param)
        rule = Rule(frequency=Frequency.DAILY, count=_COUNT)
        person.primary.put("series", starts=_FIRST, rule=rule, title="Stand-up", location=_LINK)
        person.primary.put("single", starts=_SINGLE, title="Review", location=_LINK)
        scene = Scene(here, person.primary, (await here.connect(person)).id)
        await scene.sync()
        await scene.check_window()
        scene.events = {row.start_time: row for row in (await here.events(scene.calendar_id)).values()}
        assert sorted(scene.events) == sorted([*_SLOTS, _SINGLE])
        for slot in (*(_SLOTS[which] for which in _WITH_BOTS), _SINGLE):
            bot = await here.order_bot(scene.events[slot])
            (scene.bots[slot],) = await here.rows(tables.bots, tables.bots.c.id == bot.id)
        async with here.database.transaction() as tx:
            # What was told so far was delivered long ago.
            await tx.execute(tables.deliveries.delete())
        here.clock.advance(timedelta(minutes=5))
        yield scene


def _others(*slots: datetime) -> list[datetime]:
    return [slot for slot in (*_SLOTS, _SINGLE) if slot not in slots]


async def test_one_occurrence_is_deleted(scene: Scene) -> None:
    """It goes with its bot, although Microsoft's delta has no word for that; the rest of the series is not touched."""
    scene.remote.cancel_occurrence("series", _SLOTS[2])
    await scene.sync()
    await scene.check_window()
    await scene.check_gone([_SLOTS[2]])
    await scene.check_untouched(_others(_SLOTS[2]))
    assert await scene.told() == {"created": set(), "updated": set(), "deleted": {scene.events[_SLOTS[2]].id}}


async def test_one_occurrence_is_moved(scene: Scene) -> None:
    """It stays the same event, and its bot is moved with it; the rest of the series is not touched."""
    later = _SLOTS[2] + 3 * _HOUR
    scene.remote.move_occurrence("series", _SLOTS[2], starts=later)
    await scene.sync()
    await scene.check_window()
    assert (await scene.event(_SLOTS[2])).start_time == later
    bot = await scene.bot(_SLOTS[2])
    assert (bot.join_at, bot.due_at, bot.meeting_url) == (later, later, _LINK)
    await scene.check_untouched(_others(_SLOTS[2]))
    assert await scene.told() == {"created": set(), "updated": {scene.events[_SLOTS[2]].id}, "deleted": set()}


async def test_one_occurrence_is_edited(scene: Scene) -> None:
    """Its bot goes to the new link at the old time; the rest of the series is not touched."""
    scene.remote.edit_occurrence("series", _SLOTS[5], title="Demo", location=_OTHER_LINK)
    await scene.sync()
    await scene.check_window()
    row, bot = await scene.event(_SLOTS[5]), await scene.bot(_SLOTS[5])
    assert (row.name, row.meeting_url, row.start_time) == ("Demo", _OTHER_LINK, _SLOTS[5])
    assert (bot.join_at, bot.meeting_url) == (_SLOTS[5], _OTHER_LINK)
    await scene.check_untouched(_others(_SLOTS[5]))


async def test_an_occurrence_is_moved_twice_and_then_deleted(scene: Scene) -> None:
    """It is one event all along, however often it differs from its series; in the end it is gone with its bot."""
    for hours in (2, 5):
        scene.remote.move_occurrence("series", _SLOTS[0], starts=_SLOTS[0] + hours * _HOUR)
        await scene.sync()
        await scene.check_window()
        assert (await scene.bot(_SLOTS[0])).join_at == _SLOTS[0] + hours * _HOUR
    scene.remote.cancel_occurrence("series", _SLOTS[0])
    await scene.sync()
    await scene.check_window()
    assert (await scene.event(_SLOTS[0])).is_deleted
    assert await scene.bot(_SLOTS[0]) is None
    await scene.check_untouched(_others(_SLOTS[0]))


async def test_the_whole_series_is_edited(scene: Scene) -> None:
    """Every occurrence has the new title and link, and every bot goes there; the single event is not touched."""
    scene.remote.edit("series", title="Daily", location=_OTHER_LINK)
    await scene.sync()
    await scene.check_window()
    for slot in _SLOTS:
        row = await scene.event(slot)
        assert (row.name, row.meeting_url, row.start_time, row.is_deleted) == ("Daily", _OTHER_LINK, slot, False)
    for which in _WITH_BOTS:
        bot = await scene.bot(_SLOTS[which])
        assert (bot.join_at, bot.meeting_url) == (_SLOTS[which], _OTHER_LINK)
    await scene.check_untouched([_SINGLE])
    assert await scene.told() == {
        "created": set(),
        "updated": {scene.events[slot].id for slot in _SLOTS},
        "deleted": set(),
    }


async def test_the_whole_series_is_moved(scene: Scene) -> None:
    """Both platforms give the moved occurrences new ids: the former events go with their bots, others are created."""
    scene.remote.move("series", starts=_FIRST + 2 * _HOUR)
    await scene.sync()
    await scene.check_window()
    await scene.check_gone(_SLOTS)
    await scene.check_untouched([_SINGLE])
    told = await scene.told()
    assert told["deleted"] == {scene.events[slot].id for slot in _SLOTS}
    assert len(told["created"]) == _COUNT
    assert told["updated"] == set()


async def test_the_whole_series_is_deleted(scene: Scene) -> None:
    """Every occurrence goes, with its bot; the single event stays with its own."""
    scene.remote.delete("series")
    await scene.sync()
    await scene.check_window()
    await scene.check_gone(_SLOTS)
    await scene.check_untouched([_SINGLE])
    assert (await scene.told())["deleted"] == {scene.events[slot].id for slot in _SLOTS}


async def test_a_series_with_an_exception_is_deleted(scene: Scene) -> None:
    """An occurrence that had been moved goes with the series that it came from, and its bot too."""
    scene.remote.move_occurrence("series", _SLOTS[2], starts=_SLOTS[2] + 3 * _HOUR)
    await scene.sync()
    scene.remote.delete("series")
    await scene.sync()
    await scene.check_window()
    assert (await scene.event(_SLOTS[2])).is_deleted
    assert {bot.id for bot in await scene.here.rows(tables.bots)} == {scene.bots[_SINGLE].id}


async def test_this_and_following_are_changed(scene: Scene) -> None:
    """The earlier ones are not touched; the later ones go with their bots, for they are another series now."""
    scene.remote.split("series", _SLOTS[3], title="Retro", location=_OTHER_LINK)
    await scene.sync()
    await scene.check_window()
    await scene.check_untouched([*_SLOTS[:3], _SINGLE])
    await scene.check_gone(_SLOTS[3:])
    told = await scene.told()
    assert len(told["created"]) == len(_SLOTS[3:])
    assert told["deleted"] == {scene.events[slot].id for slot in _SLOTS[3:]}


async def test_an_occurrence_leaves_the_window_and_comes_back(scene: Scene) -> None:
    """It is followed where no listing looks, its bot with it, and is the same event when it is back."""
    scene.remote.move_occurrence("series", _SLOTS[5], starts=_FAR)
    await scene.sync()
    await scene.check_window()
    row, bot = await scene.event(_SLOTS[5]), await scene.bot(_SLOTS[5])
    assert (row.start_time, row.is_deleted) == (_FAR, False)
    assert (bot.join_at, bot.due_at) == (_FAR, _FAR)

    scene.remote.move_occurrence("series", _SLOTS[5], starts=_SLOTS[5] + _HOUR)
    await scene.sync()
    await scene.check_window()
    assert (await scene.event(_SLOTS[5])).start_time == _SLOTS[5] + _HOUR
    assert (await scene.bot(_SLOTS[5])).join_at == _SLOTS[5] + _HOUR
    await scene.check_untouched(_others(_SLOTS[5]))


async def test_a_single_event_leaves_the_window_and_comes_back(scene: Scene) -> None:
    """It is followed where no listing looks, its bot with it, and is the same event when it is back."""
    for starts in (_FAR, _SINGLE + _HOUR):
        scene.remote.move("single", starts=starts)
        await scene.sync()
        await scene.check_window()
        row, bot = await scene.event(_SINGLE), await scene.bot(_SINGLE)
        assert (row.start_time, row.is_deleted) == (starts, False)
        assert (bot.join_at, bot.due_at) == (starts, starts)
    await scene.check_untouched(_SLOTS)


async def test_an_event_comes_into_the_window(scene: Scene) -> None:
    """One that was too far ahead to be known is created when it is moved near."""
    scene.remote.put("far", starts=_FAR, title="Far", location=_LINK)
    await scene.sync()
    assert len(await scene.here.events(scene.calendar_id)) == len(scene.events)
    scene.remote.move("far", starts=_FIRST + 4 * _HOUR)
    await scene.sync()
    await scene.check_window()
    assert len((await scene.told())["created"]) == 1
    await scene.check_untouched(_others())


async def test_a_deleted_event_is_restored(scene: Scene) -> None:
    """Though nothing else of it is new, it is the same event, told as updated; its bot does not come back by itself."""
    scene.remote.delete("single")
    await scene.sync()
    await scene.check_gone([_SINGLE])
    scene.remote.put("single", starts=_SINGLE, title="Review", location=_LINK)
    await scene.sync()
    await scene.check_window()
    row = await scene.event(_SINGLE)
    assert (row.is_deleted, row.name, row.start_time) == (False, "Review", _SINGLE)
    assert row.updated_at > scene.events[_SINGLE].updated_at
    assert await scene.bot(_SINGLE) is None
    await scene.check_untouched(_SLOTS)
    assert await scene.told() == {"created": set(), "updated": {scene.events[_SINGLE].id}, "deleted": set()}
