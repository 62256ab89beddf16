"""The promises about one calendar: what is stored of it, what a sync costs, and that it is all or nothing."""

import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event

from attendee.model import Trigger
from attendee.sandbox.faults import FaultKind
from attendee.store import claims, tables
from attendee.sync.pull import ABSENT_ASKED_A_SYNC
from tests.installation import START, Installation, installation

_LINK = "https://meet.google.com/abc-defg-hij"
_OTHER_LINK = "https://acme.zoom.us/j/98765432100?pwd=Zm9v"
_LISTING_IS_DUE = timedelta(hours=24)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@contextmanager
def _statements(here: Installation) -> Iterator[list[str]]:
    """Every statement that runs meanwhile, on the connections that write and on those that read."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    engines = {engine.sync_engine for engine in (here.database.engine, here.database._reader)}
    for engine in engines:
        sqlalchemy_event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        for engine in engines:
            sqlalchemy_event.remove(engine, "before_cursor_execute", note)


def _item(id: str, **fields: Any) -> dict[str, Any]:
    """An event in Google's shape, tomorrow, with other fields on top."""
    times = {
        "start": {"dateTime": (START + timedelta(days=1)).isoformat()},
        "end": {"dateTime": (START + timedelta(days=1, hours=1)).isoformat()},
    }
    return {"kind": "calendar#event", "id": id, "status": "confirmed", "summary": id, **times, **fields}


async def _told_events(here: Installation) -> list[dict[str, Any]]:
    return [body["data"]["events"] for body in await here.told(Trigger.CALENDAR_EVENTS_UPDATE)]


async def _forget_deliveries(here: Installation) -> None:
    """What was told so far was delivered long ago."""
    async with here.database.transaction() as tx:
        await tx.execute(tables.deliveries.delete())


async def test_a_large_calendar_comes_in_pages_and_costs_nothing_while_it_rests(here: Installation) -> None:
    """2,600 events are stored from three pages; asked again, one request is made and the events are left alone."""
    ana = here.world.add_person("ana@acme.example")
    for number in range(2600):
        ana.primary.put(f"event{number}", starts=START + timedelta(minutes=15 * number), title=f"Event {number}")
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    assert here.world.requests[ana.primary.id, "list"] == 3
    stored = await here.events(calendar.id)
    assert set(stored) == {f"event{number}" for number in range(2600)}

    here.world.requests.clear()
    with _statements(here) as statements:
        synced = await here.sync(calendar.id)
    assert dict(here.world.requests) == {(ana.primary.id, "delta"): 1}
    assert statements, "the claim and its settling are seen"
    assert not [statement for statement in statements if re.search(r"\bevents\b", statement)]
    assert synced.last_successful_sync_at == here.clock()
    assert await here.events(calendar.id) == stored


async def test_odd_events_stop_no_other(here: Installation) -> None:
    """What can be stored of odd events is stored; the rest is set aside with its reason, and counted."""
    ana = here.world.add_person("ana@acme.example")
    odd = {
        "no-start": {"id": "no-start", "status": "confirmed", "summary": "When?"},
        "absurd-date": _item("absurd-date", start={"dateTime": "9999-12-31T23:59:59-14:00"}),
        "wrong-types": _item("wrong-types", start=7, end=["never"], attendees="Ana", summary={}),
        "unknown-zone": _item("unknown-zone", start={"dateTime": "2026-12-02T09:00:00", "timeZone": "Mars/Base"}),
        "surrogate": _item("surrogate", summary="Lone \ud800 surrogate"),
        "nul": _item("nul", summary="NUL \x00 byte", description="\x00", attendees=[{"email": "a\x00@acme.example"}]),
        "huge": _item("huge", description="long " * 200_000),
        "null-lists": _item("null-lists", attendees=None, conferenceData=None, location=None, description=None),
        "eternal": _item("eternal", start={"date": "0001-01-01"}, end={"date": "9999-12-31"}),
        "cancelled": {"id": "cancelled", "status": "cancelled"},
    }
    for id, item in odd.items():
        ana.primary.put_raw(id, item)
    ana.primary.put("sane", starts=START + timedelta(hours=2), title="Sane")
    calendar = await here.connect(ana)
    synced = await here.sync(calendar.id)

    assert synced.last_error is None
    stored = await here.events(calendar.id)
    assert set(stored) == {"sane", "surrogate", "nul", "huge", "null-lists"}
    assert "\x00" not in stored["nul"].name
    assert len(stored["huge"].raw) < 20_000
    reasons = {row.platform_uuid: row.reason for row in await here.rows(tables.set_aside_events)}
    assert set(reasons) == {"no-start", "absurd-date", "wrong-types", "unknown-zone", "eternal"}
    assert all(reasons.values())
    assert await _count_set_aside(here) == {calendar.id: 5}

    ana.primary.put_raw("no-start", _item("no-start"))
    await here.sync(calendar.id)
    assert "no-start" in await here.events(calendar.id)
    assert await _count_set_aside(here) == {calendar.id: 4}, "one that comes good counts no longer"

    ana.primary.put_raw("absurd-date", _item("absurd-date"))
    ana.primary.expire_cursors()
    assert (await here.sync(calendar.id)).last_error is None
    assert await _count_set_aside(here) == {calendar.id: 3}, "also when a listing shows it"


async def _count_set_aside(here: Installation) -> Counter[str]:
    return Counter(row.calendar_id for row in await here.rows(tables.set_aside_events))


async def test_updated_at_grows_though_the_clock_steps_back(here: Installation) -> None:
    """Each sync that changes something stamps later than all before it, whatever the clock says."""
    ana = here.world.add_person("ana@acme.example")
    calendar = await here.connect(ana)
    stamps: list[datetime] = []
    for number, step in enumerate((timedelta(), timedelta(), -timedelta(minutes=20), timedelta(minutes=1))):
        here.clock.advance(step)
        ana.primary.put(f"event{number}", starts=START + timedelta(days=1))
        await here.sync(calendar.id)
        stamps.append((await here.events(calendar.id))[f"event{number}"].updated_at)
    assert stamps == sorted(set(stamps))


async def test_invisible_changes_are_no_changes(here: Installation) -> None:
    """Another etag, other reminders, another sequence number: nothing is stored and nobody is told."""
    await here.subscribe()
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put_raw("meeting", _item("meeting", etag='"1"', sequence=0))
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    stored, told = await here.events(calendar.id), await _told_events(here)

    here.clock.advance(timedelta(minutes=1))
    invisible = {"etag": '"2"', "sequence": 5, "updated": "2026-12-01T08:31:00Z", "reminders": {"useDefault": False}}
    ana.primary.put_raw("meeting", _item("meeting", **invisible))
    await here.sync(calendar.id)
    assert await here.events(calendar.id) == stored
    assert await _told_events(here) == told

    ana.primary.put_raw("meeting", _item("meeting", **invisible, location="Room Alder"))
    await here.sync(calendar.id)
    assert (await here.events(calendar.id))["meeting"].updated_at > stored["meeting"].updated_at


async def test_a_cancellation_changes_is_deleted_and_nothing_else(here: Installation) -> None:
    """The minimal form overwrites no name or time; one that comes back is an update of the same event."""
    await here.subscribe()
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(days=1), title="Planning", location=_LINK)
    ana.primary.put("never-seen", starts=START + timedelta(days=1))
    ana.primary.delete("never-seen")
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    before = await here.events(calendar.id)
    assert set(before) == {"meeting"}, "an event first seen cancelled is not stored"

    here.clock.advance(timedelta(minutes=1))
    await _forget_deliveries(here)
    ana.primary.delete("meeting")
    await here.sync(calendar.id)
    cancelled = (await here.events(calendar.id))["meeting"]
    changed = {name: value for name, value in cancelled._mapping.items() if before["meeting"]._mapping[name] != value}
    assert changed == {"is_deleted": True, "updated_at": here.clock()}
    assert [told["deleted"] for told in await _told_events(here)] == [[cancelled.id]]

    await _forget_deliveries(here)
    ana.primary.put("meeting", starts=START + timedelta(days=1), title="Planning", location=_LINK)
    await here.sync(calendar.id)
    restored = (await here.events(calendar.id))["meeting"]
    assert (restored.id, restored.is_deleted) == (cancelled.id, False)
    assert [(told["created"], told["updated"]) for told in await _told_events(here)] == [([], [cancelled.id])]


async def test_absent_is_not_deleted(here: Installation) -> None:
    """What a listing lacks is asked for by id: moved out of the window is an update, gone is deleted."""
    ana = here.world.add_person("ana@acme.example")
    for id in ("moves", "goes", "stays"):
        ana.primary.put(id, starts=START + timedelta(days=5))
    calendar = await here.connect(ana)
    await here.sync(calendar.id)

    here.clock.advance(_LISTING_IS_DUE)
    ana.primary.move("moves", starts=START + timedelta(days=90))
    ana.primary.forget("goes")
    await here.sync(calendar.id)
    stored = await here.events(calendar.id)
    assert here.world.requests[ana.primary.id, "event"] == 2
    assert {id: row.is_deleted for id, row in stored.items()} == {"moves": False, "goes": True, "stays": False}
    assert stored["moves"].start_time == START + timedelta(days=90)


async def test_a_suddenly_empty_listing_is_asked_for_again(here: Installation) -> None:
    """Where many events stood, an empty listing is not believed the first time."""
    ana = here.world.add_person("ana@acme.example")
    for number in range(5):
        ana.primary.put(f"event{number}", starts=START + timedelta(days=5))
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    stored = await here.events(calendar.id)

    here.clock.advance(_LISTING_IS_DUE)
    here.world.requests.clear()
    here.world.faults.switch_on(ana.primary.id, FaultKind.EMPTY_LISTING, times=1)
    await here.sync(calendar.id)
    assert here.world.requests[ana.primary.id, "list"] == 2
    assert here.world.requests[ana.primary.id, "event"] == 0
    assert await here.events(calendar.id) == stored


async def test_many_absent_events_are_asked_for_in_portions(here: Installation) -> None:
    """One sync asks for 200 absent events at most; the listing that takes the rest is due within minutes."""
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("stays", starts=START + timedelta(days=5))
    for number in range(ABSENT_ASKED_A_SYNC + 30):
        ana.primary.put(f"event{number}", starts=START + timedelta(days=5))
    calendar = await here.connect(ana)
    await here.sync(calendar.id)

    here.clock.advance(_LISTING_IS_DUE)
    for number in range(ABSENT_ASKED_A_SYNC + 30):
        ana.primary.forget(f"event{number}")
    synced = await here.sync(calendar.id)
    assert here.world.requests[ana.primary.id, "event"] == ABSENT_ASKED_A_SYNC
    assert sum(row.is_deleted for row in (await here.events(calendar.id)).values()) == ABSENT_ASKED_A_SYNC
    assert synced.next_listing_at is not None
    assert synced.due_at is not None
    assert synced.due_at <= here.clock() + timedelta(minutes=5)

    here.clock.at = max(synced.due_at, synced.next_listing_at)
    await here.sync(calendar.id)
    assert {id for id, row in (await here.events(calendar.id)).items() if not row.is_deleted} == {"stays"}


class _Crash(BaseException):
    """The process died here: nothing catches that."""


@contextmanager
def _dying_at(here: Installation, step: int) -> Iterator[None]:
    """The process dies before its n-th statement or commit."""
    left = step

    def count(*_: Any) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            raise _Crash

    engine = here.database.engine.sync_engine
    for name in ("before_cursor_execute", "commit"):
        sqlalchemy_event.listen(engine, name, count)
    try:
        yield
    finally:
        for name in ("before_cursor_execute", "commit"):
            sqlalchemy_event.remove(engine, name, count)


async def _dump(here: Installation) -> dict[str, list[Any]]:
    return {table.name: sorted(map(repr, await here.rows(table))) for table in tables.metadata.sorted_tables}


async def test_a_sync_is_all_or_nothing(here: Installation) -> None:
    """Whichever statement the process dies at, nothing is stored; else events, bots, webhooks, history and cursor."""
    await here.subscribe()
    ana = here.world.add_person("ana@acme.example")
    for id in ("moves", "goes", "relinked"):
        ana.primary.put(id, starts=START + timedelta(days=2), location=_LINK)
    calendar = await here.connect(ana)
    await here.sync(calendar.id)
    for event in (await here.events(calendar.id)).values():
        await here.order_bot(event, deduplication_key=event.platform_uuid)
    await _forget_deliveries(here)
    ana.primary.move("moves", starts=START + timedelta(days=3))
    ana.primary.delete("goes")
    ana.primary.edit("relinked", location=_OTHER_LINK)
    ana.primary.put("new", starts=START + timedelta(days=2))
    ana.primary.put_raw("odd", {"id": "odd", "status": "confirmed"})

    step = 0
    while True:
        step += 1
        claimed = await here.claim(calendar.id)
        before = await _dump(here)
        try:
            with _dying_at(here, step):
                await here.pipeline.sync_calendar(claimed)
        except _Crash:
            assert await _dump(here) == before
            here.clock.advance(claims.LEASE)
        else:
            break
    assert step > 10, "it died at each of the statements before"

    after = await _dump(here)
    told = {"calendars", "events", "bots", "deliveries", "activity", "set_aside_events", "syncs"}
    assert {name for name, rows in after.items() if rows != before[name]} == told
    (body,) = await _told_events(here)
    assert [len(body[fate]) for fate in ("created", "updated", "deleted")] == [1, 2, 1]
    assert len(await here.rows(tables.bots)) == 2
