"""How long the pages of the dashboard take on PostgreSQL, in a project with many calendars and events."""

import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import aiohttp
from sqlalchemy import Table, insert, select, text, update

from attendee import clock
from attendee.model import ProjectId, Role, Trigger, new_id
from attendee.store import sessions, subscriptions, users
from attendee.store.database import Database
from attendee.store.subscriptions import NewSubscription
from attendee.store.tables import (
    activity,
    bots,
    calendars,
    deliveries,
    delivery_attempts,
    events,
    syncs,
)
from bench.filling import add_calendars, add_project
from bench.results import AtMost, Figure, Result
from bench.surroundings import POSTGRESQL, Surroundings

_CALENDARS = 10_000
_EVENTS_A_CALENDAR = 30
_DELIVERIES = 50_000
_ROUNDS = 20
_ROWS_A_STATEMENT = 1_000
_LIMIT_MILLISECONDS = 100
_RAW = '{"kind":"calendar#event","description":"' + "x" * 2_000 + '"}'


async def measure(surroundings: Surroundings) -> list[Result]:
    """Twenty requests for each page, by an owner, over HTTP from another process."""
    async with surroundings.database(POSTGRESQL) as at_hand:
        count = _CALENDARS * _EVENTS_A_CALENDAR
        surroundings.tell(f"dashboard: filling in {_CALENDARS:,} calendars and {count:,} events")
        project_id = await add_project(at_hand.database, surroundings.key_ring)
        await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS)
        sample = await _fill(at_hand.database, project_id)
        token = await _sign_in(at_hand.database)
        with surroundings.platform() as platform, surroundings.attendee("serve", at_hand, platform.address) as server:
            results = []
            async with aiohttp.ClientSession(cookies={"attendee_session": token}) as http:
                for name, path in _pages(project_id, sample).items():
                    surroundings.tell(f"dashboard: {name}")
                    results.append(await _measure(http, f"{server.told}{path}", name))
    return results


def _pages(project_id: ProjectId, sample: dict[str, str]) -> dict[str, str]:
    base = f"/projects/{project_id}"
    return {
        "overview": base,
        "calendars": f"{base}/calendars",
        "calendars, disconnected": f"{base}/calendars?state=disconnected",
        "calendars, search that finds one": f"{base}/calendars?q=ser-9999",
        "calendars, search that finds none": f"{base}/calendars?q=nobody",
        "a calendar with its week": f"{base}/calendars/{sample['calendar']}",
        "an event with its timeline": f"{base}/events/{sample['event']}",
        "next bots": f"{base}/bots",
        "all bots": f"{base}/bots?show=all",
        "a bot": f"{base}/bots/{sample['bot']}",
        "deliveries": f"{base}/deliveries",
        "deliveries, failed": f"{base}/deliveries?state=failed",
        "deliveries, a rare trigger": f"{base}/deliveries?trigger=bot.state_change",
        "a delivery": f"{base}/deliveries/{sample['delivery']}",
        "webhooks": f"{base}/settings/webhooks",
        "keys": f"{base}/settings/keys",
        "members": f"{base}/settings/members",
        "account": "/account",
    }


async def _measure(http: aiohttp.ClientSession, address: str, name: str) -> Result:
    taken = []
    for _ in range(_ROUNDS + 1):
        began = time.perf_counter()
        async with http.get(address, allow_redirects=False) as response:
            body = await response.text()
        taken.append((time.perf_counter() - began) * 1_000)
        if response.status != 200 or "<main" not in body:
            message = f"{address} answered {response.status}: {re.sub('<[^>]+>', ' ', body)[:300]}"
            raise RuntimeError(message)
    # The first one fills caches and compiles templates.
    return Result(
        what=f"dashboard: {name}",
        database=POSTGRESQL,
        unit="ms",
        ours=Figure.of(taken[1:]),
        target=AtMost(_LIMIT_MILLISECONDS),
    )


async def _sign_in(database: Database) -> str:
    async with database.transaction() as tx:
        user = await users.create(tx, "bench@example.com", is_owner=True, now=clock.now())
        other = await users.create(tx, "viewer@example.com", is_owner=False, now=clock.now())
        project_id = (await tx.execute(select(calendars.c.project_id).limit(1))).scalar_one()
        await users.put_member(tx, other, project_id=project_id, role=Role.VIEWER, now=clock.now())
        return await sessions.begin(tx, user.id, now=clock.now())


async def _fill(database: Database, project_id: ProjectId) -> dict[str, str]:
    """Events, bots, history, syncs and deliveries as after a day of use; ids of one of each."""
    now = clock.now()
    async with database.transaction() as tx:
        hook = NewSubscription("https://product.example/hooks", [Trigger.CALENDAR_EVENTS_UPDATE])
        made = await subscriptions.create(tx, hook, project_id=project_id, now=now)
        ids = list((await tx.execute(select(calendars.c.id).order_by(calendars.c.deduplication_key))).scalars())
        # One in a hundred is disconnected, one in fifty fails.
        for state, every in (("disconnected", 100), ("connected", 50)):
            failure = {"error": "revoked", "code": "consent_revoked"} if state == "disconnected" else None
            await tx.execute(
                update(calendars)
                .where(calendars.c.id.in_(ids[every // 2 :: every]))
                .values(state=state, connection_failure_data=failure, last_error="The platform answered 503.")
            )
    sample = {"calendar": ids[0]}
    sample["event"] = await _insert(database, events, _events(ids, project_id, now))
    event_ids = [sample["event"]]
    async with database.reading() as tx:
        event_ids += list((await tx.execute(select(events.c.id).limit(20_000))).scalars())
    sample["bot"] = await _insert(database, bots, _bots(event_ids, ids[0], project_id, now))
    await _insert(database, activity, _history(sample, event_ids, project_id, now))
    await _insert(database, syncs, _syncs(ids, project_id, now))
    sample["delivery"] = await _insert(database, deliveries, _deliveries(ids, sample, made.id, project_id, now))
    attempt = {"delivery_id": sample["delivery"], "started_at": now, "milliseconds": 90, "status": 200}
    await _insert(database, delivery_attempts, iter([attempt]))
    await analyse(database)
    return sample


def _events(ids: list[str], project_id: ProjectId, now: datetime) -> Iterator[dict[str, Any]]:
    for calendar_id in ids:
        for number in range(_EVENTS_A_CALENDAR):
            start = now + timedelta(hours=number * 5 - 20)
            event_id = new_id("evt_")
            yield {
                "id": event_id,
                "project_id": project_id,
                "calendar_id": calendar_id,
                "platform_uuid": event_id,
                "fingerprint": "f",
                "name": f"Meeting {number}",
                "meeting_url": "https://meet.google.com/abc-defg-hij",
                "start_time": start,
                "end_time": start + timedelta(minutes=45),
                "is_deleted": False,
                "attendees": '[{"email":"a@example.com","name":"A"}]',
                "raw": _RAW,
                "created_at": now,
                "updated_at": now,
            }


def _bots(event_ids: list[str], calendar_id: str, project_id: ProjectId, now: datetime) -> Iterator[dict[str, Any]]:
    for number, event_id in enumerate(event_ids):
        yield {
            "id": new_id("bot_"),
            "project_id": project_id,
            "event_id": event_id,
            "calendar_id": calendar_id,
            "name": "Notes",
            "join_at": now + timedelta(days=2, minutes=number),
            "state": ("scheduled", "ended", "scheduled", "fatal_error")[number % 4 if number else 0],
            "settings": {},
            "recording_state": "not_started",
            "transcription_state": "not_started",
            "created_at": now,
            "updated_at": now,
        }


def _history(
    sample: dict[str, str], event_ids: list[str], project_id: ProjectId, now: datetime
) -> Iterator[dict[str, Any]]:
    of_sample = [sample["event"]] * 200
    for event_id in [*of_sample, *event_ids]:
        yield {
            "project_id": project_id,
            "calendar_id": sample["calendar"],
            "event_id": event_id,
            "bot_id": sample["bot"] if event_id == sample["event"] else None,
            "kind": "bot_moved",
            "detail": {"from": "2026-11-23T13:00:00.000000Z", "to": "2026-11-23T14:00:00.000000Z"},
            "created_at": now,
        }


def _syncs(ids: list[str], project_id: ProjectId, now: datetime) -> Iterator[dict[str, Any]]:
    for number in range(5 * len(ids)):
        is_failed = number % 40 == 0
        yield {
            "project_id": project_id,
            "calendar_id": ids[number % len(ids)],
            "reason": "poll",
            "outcome": "failed" if is_failed else "changed",
            "listed": False,
            "started_at": now - timedelta(seconds=number),
            "milliseconds": 120,
            "requests": 1,
            "created": 1,
            "updated": 0,
            "deleted": 0,
            "quiet_before": 3,
            "error": "The platform answered 503." if is_failed else None,
        }


def _deliveries(
    ids: list[str], sample: dict[str, str], subscription_id: str, project_id: ProjectId, now: datetime
) -> Iterator[dict[str, Any]]:
    body = '{"calendar_id":"%s","data":{"events":{"updated":["%s"]}},"trigger":"calendar.events_update"}'
    for number in range(_DELIVERIES):
        # The calendar that is looked at has had a thousand of them.
        calendar_id = sample["calendar"] if number % 50 == 0 else ids[number % len(ids)]
        yield {
            "id": new_id("whd_"),
            "project_id": project_id,
            "subscription_id": subscription_id,
            "url": "https://product.example/hooks",
            "trigger": "calendar.events_update",
            "calendar_id": calendar_id,
            "idempotency_key": new_id("key_"),
            "body": body % (calendar_id, sample["event"] if number % 500 == 0 else "evt_another"),
            "state": "failed" if number % 100 == 7 else "delivered",
            "attempts": 1,
            "created_at": now - timedelta(seconds=1.7 * number),
            "finished_at": now,
        }


async def _insert(database: Database, table: Table, rows: Iterator[dict[str, Any]]) -> str:
    """Stores the rows; the id of the first, if they have ids."""
    first, some = "", []
    async with database.transaction() as tx:
        for row in rows:
            first = first or str(row.get("id", ""))
            some.append(row)
            if len(some) == _ROWS_A_STATEMENT:
                await tx.execute(insert(table), some)
                some = []
        if some:
            await tx.execute(insert(table), some)
    return first


async def analyse(database: Database) -> None:
    """Tells PostgreSQL how large its tables are, as it finds out by itself after a while."""
    async with database.engine.connect() as connection:
        isolated = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await isolated.execute(text("VACUUM ANALYZE"))
