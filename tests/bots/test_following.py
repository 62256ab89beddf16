"""Bots go where their events go, in the transaction that stores what became of the events."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from attendee.bots.follow import Delete, Follow, Keep, Meeting, follow
from attendee.model import FINISHED_BOT_STATES, ActivityKind, BotState
from attendee.sandbox.entries import Frequency, Rule
from attendee.sandbox.world import Person
from attendee.store import tables
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar
from tests.installation import START, Installation, installation

_MEET = "https://meet.google.com/abc-defg-hij"
_ZOOM = "https://acme.zoom.us/j/98765432100?pwd=Zm9v"
_TOMORROW = START + timedelta(days=1)
_LATER = START + timedelta(days=2)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def ana(here: Installation) -> Person:
    person = here.world.add_person("ana@acme.example")
    person.primary.put("meeting", starts=_TOMORROW, location=_MEET)
    return person


@pytest.fixture
async def calendar(here: Installation, ana: Person) -> Calendar:
    return await here.sync((await here.connect(ana)).id)


async def _event(here: Installation, calendar: Calendar, uuid: str = "meeting") -> Any:
    return (await here.events(calendar.id))[uuid]


async def _bot(here: Installation, ordered: Bot) -> Bot | None:
    rows = await here.rows(tables.bots, tables.bots.c.id == ordered.id)
    return Bot.from_row(rows[0]) if rows else None


async def _history(here: Installation, bot: Bot) -> list[tuple[str, Any]]:
    rows = await here.rows(tables.activity, tables.activity.c.bot_id == bot.id)
    return [(row.kind, row.detail) for row in sorted(rows, key=lambda row: row.number)]


@pytest.mark.parametrize("is_launched", [False, True])
@pytest.mark.parametrize(
    ("event", "becomes"),
    [
        (Meeting(_TOMORROW, _MEET), lambda _: Keep()),
        (Meeting(_LATER, _MEET), lambda is_launched: Follow(_LATER, _MEET, calls_off=is_launched)),
        (Meeting(_TOMORROW, _ZOOM), lambda is_launched: Follow(_TOMORROW, _ZOOM, calls_off=is_launched)),
        (Meeting(_TOMORROW, None), lambda is_launched: Follow(_TOMORROW, None, calls_off=is_launched)),
        (None, lambda is_launched: Delete(calls_off=is_launched)),
    ],
)
def test_a_bot_follows_time_and_link(
    event: Meeting | None, becomes: Callable[[bool], Keep | Follow | Delete], *, is_launched: bool
) -> None:
    """Decided from the two alone; what the runner has been told of the old is called off."""
    assert follow(Meeting(_TOMORROW, _MEET), event, is_launched=is_launched) == becomes(is_launched)


async def test_a_moved_event_moves_its_bot(here: Installation, ana: Person, calendar: Calendar) -> None:
    """Where it falls due too, and its history says from where to where."""
    bot = await here.order_bot(await _event(here, calendar))
    ana.primary.move("meeting", starts=_LATER)
    here.clock.advance(timedelta(minutes=1))
    await here.sync(calendar.id)
    moved = await _bot(here, bot)
    assert moved is not None
    assert (moved.join_at, moved.due_at, moved.meeting_url) == (_LATER, _LATER, _MEET)
    assert moved.updated_at == here.clock()
    ((kind, detail),) = await _history(here, bot)
    assert kind == ActivityKind.BOT_MOVED
    assert [datetime.fromisoformat(detail[end]) for end in ("from", "to")] == [_TOMORROW, _LATER]


async def test_a_bot_follows_its_link_and_the_loss_of_it(here: Installation, ana: Person, calendar: Calendar) -> None:
    """Another link, none, and one again: the bot waits all the while."""
    bot = await here.order_bot(await _event(here, calendar))
    for link in (_ZOOM, None, _MEET):
        ana.primary.edit("meeting", location=link or "Room Alder")
        await here.sync(calendar.id)
        followed = await _bot(here, bot)
        assert followed is not None
        assert (followed.meeting_url, followed.state, followed.join_at) == (link, BotState.SCHEDULED, _TOMORROW)
    assert await _history(here, bot) == [
        (ActivityKind.BOT_RELINKED, {"from": _MEET, "to": _ZOOM}),
        (ActivityKind.BOT_RELINKED, {"from": _ZOOM, "to": None}),
        (ActivityKind.BOT_RELINKED, {"from": None, "to": _MEET}),
    ]


async def test_a_change_that_does_not_concern_a_bot_leaves_it(
    here: Installation, ana: Person, calendar: Calendar
) -> None:
    """Another title is no news to it."""
    bot = await here.order_bot(await _event(here, calendar))
    ana.primary.edit("meeting", title="Another")
    here.clock.advance(timedelta(minutes=1))
    await here.sync(calendar.id)
    assert await _bot(here, bot) == bot
    assert await _history(here, bot) == []


async def test_a_cancelled_event_takes_its_bots_with_it(here: Installation, ana: Person, calendar: Calendar) -> None:
    """All that wait for it; their deduplication keys are free at once, and the history says why they went."""
    event = await _event(here, calendar)
    ordered = [await here.order_bot(event, deduplication_key=key) for key in ("one", "two")]
    ana.primary.delete("meeting")
    await here.sync(calendar.id)
    for bot in ordered:
        assert await _bot(here, bot) is None
        assert await _history(here, bot) == [(ActivityKind.BOT_DELETED, {"reason": "event_deleted"})]
    ana.primary.put("meeting", starts=_TOMORROW, location=_MEET)
    await here.sync(calendar.id)
    again = await here.order_bot(await _event(here, calendar), deduplication_key="one")
    assert again.state is BotState.SCHEDULED


@pytest.mark.parametrize("state", sorted({BotState.JOINING, BotState.JOINED_RECORDING, *FINISHED_BOT_STATES}))
async def test_a_bot_that_has_left_for_its_meeting_is_let_be(
    here: Installation, ana: Person, calendar: Calendar, state: BotState
) -> None:
    """Moved, cancelled, or the whole calendar lost: it is in the meeting, or has been there."""
    bot = await here.order_bot(await _event(here, calendar), state=state)
    ana.primary.move("meeting", starts=_LATER)
    await here.sync(calendar.id)
    assert await _bot(here, bot) == bot
    ana.primary.delete("meeting")
    await here.sync(calendar.id)
    assert await _bot(here, bot) == bot
    here.world.revoke(ana)
    await here.sync(calendar.id)
    assert await _bot(here, bot) == bot


async def test_each_occurrence_has_bots_of_its_own(here: Installation, ana: Person) -> None:
    """One occurrence that moves and one that is cancelled change nothing for the others."""
    weekly = Rule(frequency=Frequency.WEEKLY, count=3)
    ana.primary.put("series", starts=_TOMORROW, rule=weekly, location=_MEET)
    calendar = await here.sync((await here.connect(ana)).id)
    slots = ana.primary.slots(ana.primary.get("series"))
    events = await here.events(calendar.id)
    instances = sorted((row for uuid, row in events.items() if uuid != "meeting"), key=lambda row: row.start_time)
    ordered = [await here.order_bot(event) for event in instances]
    assert len(ordered) == 3
    ana.primary.move_occurrence("series", slots[0], starts=_LATER)
    ana.primary.cancel_occurrence("series", slots[1])
    await here.sync(calendar.id)
    moved, gone, kept = [await _bot(here, bot) for bot in ordered]
    assert moved is not None
    assert moved.join_at == _LATER
    assert gone is None
    assert kept == ordered[2]


async def test_a_bot_that_is_moved_twice_in_one_sync_arrives(
    here: Installation, ana: Person, calendar: Calendar
) -> None:
    """Only where the event is in the end counts."""
    bot = await here.order_bot(await _event(here, calendar))
    ana.primary.move("meeting", starts=_LATER)
    ana.primary.move("meeting", starts=_TOMORROW)
    await here.sync(calendar.id)
    assert await _bot(here, bot) == bot


async def test_an_event_that_moved_out_of_the_window_keeps_its_bot(
    here: Installation, ana: Person, calendar: Calendar
) -> None:
    """A full listing no longer has it, yet it is not gone."""
    bot = await here.order_bot(await _event(here, calendar))
    ana.primary.move("meeting", starts=START + timedelta(days=90))
    ana.primary.expire_cursors()
    await here.sync(calendar.id)
    moved = await _bot(here, bot)
    assert moved is not None
    assert moved.join_at == START + timedelta(days=90)
