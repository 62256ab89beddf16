"""What is over is purged after its time, bit by bit, and nobody can see that it was."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, update

from attendee import metrics
from attendee.errors import ClaimLost
from attendee.model import BotState, Trigger
from attendee.store import bots, claims, deliveries, tables, upkeep
from attendee.store.calendars import Calendar
from attendee.store.upkeep import Upkeep
from tests.bots.crew import MEET
from tests.installation import START, Installation, installation
from tests.upkeeping import keeper, tidy

_DAY = timedelta(days=1)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


async def _connected(here: Installation, **starts: datetime) -> Calendar:
    """A calendar with these events, synced."""
    ana = here.world.add_person("ana@acme.example")
    for id, at in starts.items():
        ana.primary.put(id, starts=at, title=id, location=MEET)
    calendar = await here.connect(ana)
    return await here.sync(calendar.id)


async def test_an_event_is_purged_once_it_is_over_and_old_and_nobody_is_told(here: Installation) -> None:
    """Not before: 89 days after its end it is still there. Neither its calendar nor a webhook says anything of it."""
    await here.subscribe()
    calendar = await _connected(here, soon=START + timedelta(hours=1), later=START + 5 * _DAY)
    told = await here.told(Trigger.CALENDAR_EVENTS_UPDATE)
    here.clock.at = START + 89 * _DAY
    await tidy(here)
    assert set(await here.events(calendar.id)) == {"soon", "later"}
    before = (await here.events(calendar.id))["later"]
    here.clock.at = START + 92 * _DAY
    await tidy(here)
    assert await here.events(calendar.id) == {"later": before}
    assert (await here.calendar(calendar.id)).events_stamped_at == calendar.events_stamped_at
    # What was still to be delivered is, and nothing has come to it.
    assert await here.told(Trigger.CALENDAR_EVENTS_UPDATE) == told


async def test_a_listing_after_a_purge_brings_nothing_back(here: Installation) -> None:
    """The platform still has the event and may tell of it again; it is outside of the window, and stays away."""
    calendar = await _connected(here, soon=START + timedelta(hours=1))
    here.clock.at = START + 120 * _DAY
    await tidy(here)
    listed = await here.sync(calendar.id)
    assert listed.listed_from == here.clock() - _DAY
    here.people[calendar.id].primary.edit("soon", title="Another name")
    await here.sync(calendar.id)
    assert await here.events(calendar.id) == {}


async def test_what_changed_lately_stays_and_so_does_what_is_still_on(here: Installation) -> None:
    """A client that asks `updated_after` weeks later finds it; a long event is not over because it began long ago."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("long", starts=START, ends=START + 200 * _DAY)
    ana.primary.put("edited", starts=START)
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    here.clock.at = START + 100 * _DAY
    async with here.database.transaction() as tx:
        of_edited = tables.events.c.platform_uuid == "edited"
        await tx.execute(update(tables.events).where(of_edited).values(updated_at=here.clock() - _DAY))
    await tidy(here)
    assert set(await here.events(calendar.id)) == {"long", "edited"}


async def test_bots_go_before_their_events_and_those_that_live_hold_them(here: Installation) -> None:
    """A bot's `calendar_event_id` never becomes null because of a purge."""
    calendar = await _connected(here, soon=START + timedelta(hours=1), other=START + timedelta(hours=2))
    events = await here.events(calendar.id)
    ended, alive = await here.order_bot(events["soon"]), await here.order_bot(events["other"])
    async with here.database.transaction() as tx:
        await bots.change(tx, ended.id, values={"state": BotState.ENDED.value}, now=here.clock())
        await bots.change(tx, alive.id, values={"state": BotState.JOINED_RECORDING.value}, now=here.clock())
    here.clock.at = START + 100 * _DAY
    await tidy(here)
    await tidy(here)
    (left,) = await here.rows(tables.bots)
    assert left.id == alive.id
    assert set(await here.events(calendar.id)) == {"other"}


async def test_histories_and_deliveries_go_and_what_is_to_be_delivered_stays(here: Installation) -> None:
    """Many rows go in several batches. What waits for its next try is never purged; what is held for nobody is."""
    calendar = await _connected(here, soon=START + timedelta(hours=1))
    subscription = await here.subscribe()
    async with here.database.transaction() as tx:
        made = [
            await deliveries.add(
                tx,
                project_id=here.project_id,
                subscription_id=subscription.id,
                url=subscription.url,
                trigger=Trigger.CALENDAR_EVENTS_UPDATE,
                idempotency_key=str(number),
                body="{}",
                calendar_id=calendar.id,
                bot_id=None,
                now=here.clock(),
            )
            for number in range(3)
        ]
        await tx.execute(
            update(tables.deliveries)
            .where(tables.deliveries.c.id == made[0])
            .values(state="delivered", due_at=None, finished_at=here.clock())
        )
        await tx.execute(update(tables.deliveries).where(tables.deliveries.c.id == made[1]).values(due_at=None))
        entry = {"project_id": here.project_id, "kind": "event_updated", "detail": {}, "created_at": here.clock()}
        await tx.execute(insert(tables.activity), [entry] * 1100)
    here.clock.at = START + 100 * _DAY
    before = metrics.purged.labels("activity")._value.get()
    batches = await tidy(here)
    assert batches > len(upkeep.UpkeepKind) + 1
    assert metrics.purged.labels("activity")._value.get() == before + 1100
    assert await here.rows(tables.activity) == []
    assert await here.rows(tables.syncs) == []
    assert [row.id for row in await here.rows(tables.deliveries)] == [made[2]]


async def test_a_launch_of_a_machine_that_never_came_back_goes(here: Installation) -> None:
    """Nobody else may carry it out, and it was to be given up long ago."""
    launch: dict[str, Any] = {
        "project_id": here.project_id,
        "bot_id": "bot_x",
        "body": "{}",
        "report_token": here.key_ring.seal("t", table="launches", column="report_token", row_id="x"),
        "is_leave_wanted": False,
        "host": "gone.example",
        "created_at": here.clock(),
        "due_at": here.clock(),
    }
    async with here.database.transaction() as tx:
        await tx.execute(
            insert(tables.launches).values(id="old", state="calling_off", give_up_at=here.clock() + _DAY, **launch)
        )
        await tx.execute(insert(tables.launches).values(id="taken", state="taken", **launch))
    await tidy(here)
    assert len(await here.rows(tables.launches)) == 2
    here.clock.advance(2 * _DAY)
    await tidy(here)
    assert [row.id for row in await here.rows(tables.launches)] == ["taken"]


async def test_one_worker_at_a_time(here: Installation) -> None:
    """What is claimed is nobody else's, and who has lost the claim purges nothing."""
    await _connected(here, soon=START + timedelta(hours=1))
    here.clock.at = START + 100 * _DAY
    async with here.database.transaction() as tx:
        await upkeep.begin(tx, now=here.clock())
        rows = await claims.claim_due(tx, tables.upkeep, now=here.clock(), limit=100)
        assert await claims.claim_due(tx, tables.upkeep, now=here.clock(), limit=100) == []
    here.clock.advance(claims.LEASE)
    async with here.database.transaction() as tx:
        assert len(await claims.claim_due(tx, tables.upkeep, now=here.clock(), limit=100)) == len(rows)
    for row in rows:
        with pytest.raises(ClaimLost):
            await keeper(here).keep(Upkeep.from_row(row))
    assert len(await here.rows(tables.events)) == 1
