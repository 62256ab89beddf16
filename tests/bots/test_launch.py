"""Bots whose time has come, where no runner is configured: they end, and say why, once."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from attendee.bots.launch import Launcher
from attendee.errors import ClaimLost
from attendee.model import ActivityKind, BotState, Trigger
from attendee.sandbox.world import Person
from attendee.store import bots, claims, subscriptions, tables
from attendee.store.bots import Bot
from attendee.store.subscriptions import NewSubscription
from tests.installation import START, Installation, installation

_TOMORROW = START + timedelta(days=1)
_LATER = START + timedelta(days=2)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def ana(here: Installation) -> Person:
    person = here.world.add_person("ana@acme.example")
    person.primary.put("meeting", starts=_TOMORROW, location="https://meet.google.com/abc-defg-hij")
    return person


async def _ordered(here: Installation, ana: Person) -> Bot:
    calendar = await here.sync((await here.connect(ana)).id)
    return await here.order_bot((await here.events(calendar.id))["meeting"], deduplication_key="key")


async def _claim(here: Installation) -> list[Bot]:
    async with here.database.transaction() as tx:
        rows = await claims.claim_due(tx, tables.bots, now=here.clock(), limit=10)
    return [Bot.from_row(row) for row in rows]


async def _launch(here: Installation, bot: Bot) -> None:
    launcher = Launcher(here.database, here.key_ring, here.clock, here.launch_times, None, timedelta(minutes=2))
    await launcher.launch(bot)


async def _stored(here: Installation, bot: Bot) -> Any:
    (row,) = await here.rows(tables.bots, tables.bots.c.id == bot.id)
    return row


async def test_a_bot_without_a_runner_ends_when_it_is_due(here: Installation, ana: Person) -> None:
    """Not before; its life, its history and a webhook say why, and its deduplication key is free."""
    await here.subscribe(triggers=(Trigger.BOT_STATE_CHANGE,))
    bot = await _ordered(here, ana)
    assert await _claim(here) == []
    here.clock.at = _TOMORROW
    (due,) = await _claim(here)
    await _launch(here, due)
    ended = await _stored(here, bot)
    assert (ended.state, ended.due_at, ended.claim_id) == (BotState.FATAL_ERROR, None, None)
    (step,) = await here.rows(tables.bot_events)
    assert (step.type, step.sub_type) == ("fatal_error", "bot_not_launched")
    assert "ATTENDEE_BOT_RUNNER" in step.metadata["reason"]
    (told,) = await here.told(Trigger.BOT_STATE_CHANGE)
    assert told["bot_id"] == bot.id
    assert (told["data"]["old_state"], told["data"]["new_state"]) == ("scheduled", "fatal_error")
    assert told["data"]["event_sub_type"] == "bot_not_launched"
    (entry,) = await here.rows(tables.activity, tables.activity.c.bot_id == bot.id)
    assert entry.kind == ActivityKind.BOT_STATE_CHANGED
    (event,) = await here.rows(tables.events)
    await here.order_bot(event, deduplication_key="key")


async def test_a_bot_without_a_link_says_so(here: Installation, ana: Person) -> None:
    """The event lost its link and did not get one in time."""
    bot = await _ordered(here, ana)
    async with here.database.transaction() as tx:
        await bots.change(tx, bot.id, values={"meeting_url": None}, now=here.clock())
    here.clock.at = _TOMORROW
    (due,) = await _claim(here)
    await _launch(here, due)
    (step,) = await here.rows(tables.bot_events)
    assert step.sub_type == "no_meeting_url"


async def test_a_bot_that_moves_while_it_is_claimed_waits_for_its_new_time(here: Installation, ana: Person) -> None:
    """A sync that comes between the claim and the launch is not overruled."""
    bot = await _ordered(here, ana)
    here.clock.at = _TOMORROW
    (due,) = await _claim(here)
    ana.primary.move("meeting", starts=_LATER)
    (calendar,) = await here.rows(tables.calendars)
    await here.sync(calendar.id)
    await _launch(here, due)
    moved = await _stored(here, bot)
    assert (moved.state, moved.due_at, moved.claim_id) == (BotState.SCHEDULED, _LATER, None)
    assert await here.rows(tables.bot_events) == []
    here.clock.at = _LATER
    assert [one.id for one in await _claim(here)] == [bot.id]


async def test_a_bot_that_goes_while_it_is_claimed_is_not_launched(here: Installation, ana: Person) -> None:
    """Its event was cancelled at the last moment."""
    await _ordered(here, ana)
    here.clock.at = _TOMORROW
    (due,) = await _claim(here)
    ana.primary.delete("meeting")
    (calendar,) = await here.rows(tables.calendars)
    await here.sync(calendar.id)
    with pytest.raises(ClaimLost):
        await _launch(here, due)
    assert await here.rows(tables.bot_events) == []


async def test_a_launcher_that_lost_its_claim_changes_nothing(here: Installation, ana: Person) -> None:
    """Nobody ends a bot twice."""
    await _ordered(here, ana)
    here.clock.at = _TOMORROW
    (stale,) = await _claim(here)
    here.clock.advance(claims.LEASE)
    (fresh,) = await _claim(here)
    with pytest.raises(ClaimLost):
        await _launch(here, stale)
    assert await here.rows(tables.bot_events) == []
    await _launch(here, fresh)
    assert len(await here.rows(tables.bot_events)) == 1


async def test_a_bots_own_subscription_hears_instead_of_the_projects(here: Installation, ana: Person) -> None:
    """That is what it was given for; without one the project's hear."""
    await here.subscribe(triggers=(Trigger.BOT_STATE_CHANGE,))
    bot = await _ordered(here, ana)
    own = "https://own.example/hook"
    new = NewSubscription(own, (Trigger.BOT_STATE_CHANGE,))
    async with here.database.transaction() as tx:
        await subscriptions.create_for_bot(tx, [new], bot_id=bot.id, project_id=here.project_id, now=here.clock())
    here.clock.at = _TOMORROW
    (due,) = await _claim(here)
    await _launch(here, due)
    assert [row.url for row in await here.rows(tables.deliveries)] == [own]
