"""What is told to whom, and how several changes become one delivery while nobody has heard of them."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import orjson
import pytest

from attendee.model import Trigger
from attendee.sandbox.world import Person
from attendee.signing import canonical_json
from attendee.store import tables
from attendee.store.calendars import Calendar
from attendee.webhooks import outbox
from tests.installation import START, Installation, installation
from tests.webhooks.receiver import claim_deliveries

_TOMORROW = START + timedelta(days=1)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def ana(here: Installation) -> Person:
    return here.world.add_person("ana@acme.example")


async def _ids(here: Installation, calendar: Calendar) -> dict[str, str]:
    return {uuid: row.id for uuid, row in (await here.events(calendar.id)).items()}


async def test_an_update_tells_of_the_calendar_and_its_events(here: Installation, ana: Person) -> None:
    """With the owner's own marks, the state as the sync leaves it, and the ids by what became of them."""
    await here.subscribe()
    ana.primary.put("meeting", starts=_TOMORROW)
    calendar = await here.connect(ana, deduplication_key="ana", metadata={"name": "Ana Müller"})
    await here.sync(calendar.id)
    (row,) = await here.rows(tables.deliveries)
    body = orjson.loads(row.body)
    assert row.body == canonical_json(body)
    assert body == {
        "idempotency_key": row.idempotency_key,
        "trigger": "calendar.events_update",
        "calendar_id": calendar.id,
        "calendar_deduplication_key": "ana",
        "calendar_metadata": {"name": "Ana Müller"},
        "data": {
            "state": "connected",
            "connection_failure_data": None,
            "last_successful_sync_at": "2026-12-01T08:30:00.000000Z",
            "last_attempted_sync_at": "2026-12-01T08:30:00.000000Z",
            "events": {
                "created": list((await _ids(here, calendar)).values()),
                "updated": [],
                "deleted": [],
                "truncated": False,
            },
        },
    }


async def test_changes_fold_into_a_delivery_that_was_never_tried(here: Installation, ana: Person) -> None:
    """One delivery under one key tells what is new, changed and gone to somebody who has heard of nothing."""
    await here.subscribe()
    for id in ("kept", "edited", "deleted"):
        ana.primary.put(id, starts=_TOMORROW)
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    (first,) = await here.rows(tables.deliveries)
    ana.primary.edit("edited", title="Another")
    ana.primary.put("late", starts=_TOMORROW)
    await here.sync(calendar.id)
    ana.primary.delete("deleted")
    await here.sync(calendar.id)
    (folded,) = await here.rows(tables.deliveries)
    assert (folded.id, folded.idempotency_key) == (first.id, first.idempotency_key)
    body, ids = orjson.loads(folded.body), await _ids(here, calendar)
    assert folded.body == canonical_json(body)
    assert {fate: set(body["data"]["events"][fate]) for fate in ("created", "updated", "deleted")} == {
        "created": {ids["kept"], ids["edited"], ids["late"]},
        "updated": set(),
        "deleted": {ids["deleted"]},
    }


async def test_what_was_tried_is_never_changed(here: Installation, ana: Person) -> None:
    """Once a worker has taken it, body and key stay; what happens then is told by the next delivery."""
    await here.subscribe()
    ana.primary.put("meeting", starts=_TOMORROW)
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    (taken,) = await claim_deliveries(here)
    ana.primary.edit("meeting", title="Another")
    await here.sync(calendar.id)
    rows = {row.id: row for row in await here.rows(tables.deliveries)}
    assert len(rows) == 2
    assert rows.pop(taken.id).body == taken.body
    (further,) = rows.values()
    assert further.idempotency_key != taken.idempotency_key
    assert orjson.loads(further.body)["data"]["events"]["updated"] == list((await _ids(here, calendar)).values())


async def test_calendars_and_receivers_are_told_apart(here: Installation, ana: Person) -> None:
    """Nothing folds into another calendar's delivery or another subscription's, and only who asked is told."""
    await here.subscribe("https://one.example/hook")
    await here.subscribe("https://two.example/hook")
    await here.subscribe("https://three.example/hook", triggers=(Trigger.BOT_STATE_CHANGE,))
    ben = here.world.add_person("ben@acme.example")
    for person in (ana, ben):
        person.primary.put("meeting", starts=_TOMORROW)
        await here.sync((await here.connect(person)).id)
    rows = await here.rows(tables.deliveries)
    assert len({(row.calendar_id, row.url) for row in rows}) == len(rows) == 4
    assert {row.url for row in rows} == {"https://one.example/hook", "https://two.example/hook"}
    assert len({row.idempotency_key for row in rows}) == 4


async def test_state_changes_never_fold(here: Installation, ana: Person) -> None:
    """Each of them is told: a client that counts on hearing of every loss is not surprised."""
    await here.subscribe()
    calendar = await here.connect(ana)
    async with here.database.transaction() as tx:
        for _ in range(2):
            await outbox.record_state_change(tx, calendar, now=here.clock())
    assert len(await here.told(Trigger.CALENDAR_STATE_CHANGE)) == 2


async def test_at_most_five_hundred_ids_are_told(here: Installation, ana: Person) -> None:
    """More are cut and it is said so; what is gone comes first, since `updated_after` finds the others anyway."""
    await here.subscribe()
    for number in range(501):
        ana.primary.put(f"event{number}", starts=_TOMORROW)
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    (told,) = await here.told(Trigger.CALENDAR_EVENTS_UPDATE)
    assert len(told["data"]["events"]["created"]) == 500
    assert told["data"]["events"]["truncated"] is True

    for number in range(3):
        ana.primary.delete(f"event{number}")
    await here.sync(calendar.id)
    (told,) = await here.told(Trigger.CALENDAR_EVENTS_UPDATE)
    ids = told["data"]["events"]
    assert len(ids["deleted"]) == 3
    assert sum(len(ids[fate]) for fate in ("created", "updated", "deleted")) <= 500
    assert ids["truncated"] is True, "what was cut before is still untold"


async def test_five_hundred_ids_are_told_whole(here: Installation, ana: Person) -> None:
    """The limit itself is not beyond it."""
    await here.subscribe()
    calendar = await here.connect(ana)
    changed = outbox.EventIds(created=[f"evt_{number}" for number in range(500)])
    async with here.database.transaction() as tx:
        await outbox.record_events_update(tx, replace(calendar), changed, now=here.clock())
    (told,) = await here.told(Trigger.CALENDAR_EVENTS_UPDATE)
    assert len(told["data"]["events"]["created"]) == 500
    assert told["data"]["events"]["truncated"] is False
