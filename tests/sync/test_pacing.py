"""An OAuth client that is over its quota rests as a whole, and nobody else rests with it."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text

from attendee.model import CalendarId, ProjectId
from attendee.sandbox.faults import FaultKind
from attendee.sandbox.world import Person, Platform
from attendee.store import channels, claims, projects, tables
from attendee.store.calendars import Calendar
from tests.installation import INTERVALS, Installation, installation

_PAUSE = timedelta(minutes=10)
_CLIENT = {"client_id": "busy", "client_secret": "secret"}


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        made.world.grants.add_client("busy", secret="secret")
        yield made


async def _connect(here: Installation, name: str, **fields: Any) -> Calendar:
    """A calendar of the busy client's, synced and due again in a while, unless told."""
    person = here.world.add_person(f"{name}@acme.example", platform=fields.pop("platform", Platform.GOOGLE))
    client = _CLIENT | {key: fields.pop(key) for key in tuple(fields) if key in _CLIENT}
    token = here.world.authorise(person, client_id=client["client_id"])
    return await here.connect(person, refresh_token=token, **client, **fields)


def _person(here: Installation, calendar_id: CalendarId) -> Person:
    return here.people[calendar_id]


async def _exhaust(here: Installation, calendar_id: CalendarId) -> datetime:
    """The calendar's sync learns that the whole client is over its quota; when that ends."""
    email = _person(here, calendar_id).email
    here.world.faults.switch_on(
        email, FaultKind.THROTTLED, variant="dailyLimitExceeded", retry_after=round(_PAUSE.total_seconds()), times=1
    )
    paused = await here.sync(calendar_id)
    assert paused.last_error is not None
    assert paused.claimed_until == here.clock() + _PAUSE
    return here.clock() + _PAUSE


async def _claim_all(here: Installation) -> set[str]:
    """Whatever can be claimed now, given back."""
    async with here.database.transaction() as tx:
        rows = await claims.claim_due(tx, tables.calendars, now=here.clock(), limit=1000)
        await tx.execute(
            tables.calendars.update()
            .where(tables.calendars.c.claim_id.in_([row.claim_id for row in rows]))
            .values(claim_id=None, claimed_until=None)
        )
    return {row.id for row in rows}


async def _push(here: Installation, calendar_id: CalendarId) -> None:
    async with here.database.transaction() as tx:
        await channels.notice_push(tx, calendar_id, debounce=INTERVALS.debounce, now=here.clock())


async def _other_project(here: Installation) -> ProjectId:
    async with here.database.transaction() as tx:
        return (await projects.create(tx, "other", key_ring=here.key_ring, now=here.clock())).id


async def test_a_client_over_its_quota_rests_as_a_whole(here: Installation) -> None:
    """None of its calendars is claimed before Retry-After has passed, whether it was due or is woken meanwhile."""
    due = await _connect(here, "due")
    later = await _connect(here, "later")
    asked = await _connect(here, "asked")
    for calendar in (later, asked):
        await here.sync(calendar.id)
    ends_at = await _exhaust(here, (await _connect(here, "first")).id)

    here.clock.advance(timedelta(seconds=30))
    assert await _claim_all(here) == set()
    await _push(here, later.id)
    await _push(here, due.id)
    async with here.database.transaction() as tx:
        await claims.wake(tx, tables.calendars, asked.id, now=here.clock())
    assert await _claim_all(here) == set()

    here.clock.at = ends_at - timedelta(seconds=1)
    assert await _claim_all(here) == set()
    here.clock.at = ends_at + timedelta(seconds=5)
    assert {due.id, later.id, asked.id} <= await _claim_all(here), "what was woken is not forgotten"


async def test_no_other_client_rests(here: Installation) -> None:
    """Another client, the same client's name in another project or at the other platform: all go on."""
    here.world.grants.add_client("calm", secret="secret")
    others = {
        (await _connect(here, "calm", client_id="calm")).id,
        (await _connect(here, "elsewhere", project_id=await _other_project(here))).id,
        (await _connect(here, "microsoft", platform=Platform.MICROSOFT)).id,
    }
    resting = await _connect(here, "resting")
    await _exhaust(here, (await _connect(here, "first")).id)
    assert await _claim_all(here) == others
    assert (await here.calendar(resting.id)).last_error is None


async def test_one_mailbox_over_its_quota_rests_alone(here: Installation) -> None:
    """A rate of the user's own pauses nobody else of the client."""
    other = await _connect(here, "other")
    busy = await _connect(here, "busy")
    here.world.faults.switch_on(
        _person(here, busy.id).email, FaultKind.THROTTLED, variant="userRateLimitExceeded", retry_after=600, times=1
    )
    await here.sync(busy.id)
    await _push(here, busy.id)
    assert await _claim_all(here) == {other.id}


async def test_a_client_comes_back_little_by_little(here: Installation) -> None:
    """When the pause ends its calendars are due one after the other, not all in one second."""
    for number in range(50):
        await _connect(here, f"person{number}")
    ends_at = await _exhaust(here, (await _connect(here, "first")).id)
    rows = await here.rows(tables.calendars, tables.calendars.c.last_error.is_(None))
    due = sorted(row.due_at for row in rows)
    assert due[0] >= ends_at
    steps = {second - first for first, second in pairwise(due)}
    assert len(steps) == 1
    assert timedelta() < steps.pop() < timedelta(seconds=1)


async def test_a_pause_that_is_told_again_moves_few(here: Installation) -> None:
    """The other requests under way are refused too: what rests already is not put to rest each time anew."""
    first, second = await _connect(here, "first"), await _connect(here, "second")
    resting = [(await _connect(here, f"person{number}")).id for number in range(20)]
    far = tables.calendars.update().where(tables.calendars.c.id.in_(resting)).values(due_at=here.clock() + 2 * _PAUSE)
    async with here.database.transaction() as tx:
        await tx.execute(far)
    claimed = await here.claim(second.id)
    ends_at = await _exhaust(here, first.id)
    here.clock.advance(timedelta(seconds=2))
    email = _person(here, second.id).email
    here.world.faults.switch_on(
        email, FaultKind.THROTTLED, variant="dailyLimitExceeded", retry_after=round(_PAUSE.total_seconds()), times=1
    )
    await here.pipeline.sync_calendar(claimed)
    assert (await here.calendar(second.id)).claimed_until == ends_at + timedelta(seconds=2)
    assert {(await here.calendar(id)).claimed_until for id in resting} == {ends_at}


async def test_a_paused_crowd_is_in_nobodys_way(here: Installation) -> None:
    """Twenty thousand due calendars of a paused client leave the front of the queue, where each claim begins."""
    here.world.grants.add_client("calm", secret="secret")
    first = await _connect(here, "first")
    await _crowd(here, first, 20_000)
    await _exhaust(here, first.id)
    here.clock.advance(timedelta(seconds=1))
    calm = await _connect(here, "calm", client_id="calm")
    async with here.database.reading() as tx:
        due = tables.calendars.c.due_at <= here.clock()
        in_front = await tx.scalar(select(func.count()).select_from(tables.calendars).where(due))
    assert in_front == 1
    assert await _rows_visited_by_a_claim(here) <= 1
    assert await _claim_all(here) == {calm.id}


async def _crowd(here: Installation, like: Calendar, size: int) -> None:
    """So many due calendars of the same client as this one."""
    (row,) = await here.rows(tables.calendars, tables.calendars.c.id == like.id)
    copies = [{**row._mapping, "id": f"cal_crowd{number:06}"} for number in range(size)]
    async with here.database.transaction() as tx:
        await tx.execute(insert(tables.calendars), copies)
    if not here.database.is_sqlite:
        async with here.database.transaction() as tx:
            await tx.execute(text("ANALYZE calendars"))


async def _rows_visited_by_a_claim(here: Installation) -> int:
    """How many rows PostgreSQL looks at to find those that are due; SQLite doesn't tell, and has the same index."""
    if here.database.is_sqlite:
        return 0
    query = (
        "EXPLAIN (ANALYZE, FORMAT JSON) SELECT id FROM calendars WHERE due_at <= :now AND "
        "(claimed_until IS NULL OR claimed_until <= :now) ORDER BY due_at, id LIMIT 16 FOR UPDATE SKIP LOCKED"
    )
    async with here.database.transaction() as tx:
        (plan,) = (await tx.execute(text(query), {"now": here.clock()})).scalar_one()
    return sum(_visited(plan["Plan"]))


def _visited(plan: dict[str, Any]) -> list[int]:
    below = [count for child in plan.get("Plans", ()) for count in _visited(child)]
    if "Relation Name" not in plan:
        return below
    return [*below, plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0)]
