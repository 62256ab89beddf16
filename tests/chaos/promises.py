"""What must be true after chaos: each promise as a question whose answers are the ways in which it was broken."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from attendee import clock
from attendee.sandbox.rooms import IN_MEETING
from tests.chaos.run import QUEUES, Plan, Stage, calm_down, connect_calendars, set_stage, wreak_havoc

# Of an event's fields, those that change without anything that a person could see.
_INVISIBLE = {"etag", "updated", "sequence", "reminders", "@odata.etag", "changeKey", "lastModifiedDateTime"}
# Before this was due, it was nobody's fault not to have done it.
_LATE = timedelta(seconds=5)
# Of what was resident when the second quarter began to the last quarter, in bytes: caches fill, leaks go on.
_MAY_GROW = 12 * 1024 * 1024
_AT_ONCE = 20
# States of bots whose event lives: those that wait, and those that are there or on their way.
_ALIVE = {"scheduled", "staged", "joining", "waiting_room", "joined_not_recording", "joined_recording"}
_SHOWN = 5

_Events = dict[str, dict[str, Any]]


async def broken_promises(plan: Plan, tell: Callable[[str], None]) -> list[str]:
    """Chaos as planned, and every promise that it broke, in words; empty if all were kept."""
    async with set_stage(plan, tell) as stage:
        await connect_calendars(stage)
        await wreak_havoc(stage)
        broken: dict[str, list[Any]] = {}
        try:
            await calm_down(stage)
        except TimeoutError as late:
            broken["work that is not done"] = [late]
        # Taken before we ask for anything ourselves.
        broken["two syncs of one calendar at once"] = list(stage.platforms.requests.overlapping.items())
        found = await stage.client.everything("/calendar_events?page_size=500")
        events = {one["id"]: one for one in found}
        questions: dict[str, Callable[[], Awaitable[list[Any]]]] = {
            "a view that differs from the platform's": lambda: _different_views(stage, events),
            "a webhook that was lost": lambda: _lost_webhooks(stage),
            "a change that was not told of": lambda: _untold_changes(stage, events),
            "a bot that is orphaned or forgotten": lambda: _lost_bots(stage, events),
            "a bot that the fleet has too often, too long or not at all": lambda: _wrong_launches(stage),
            "work that is stuck": lambda: _stuck(stage),
            "a fault of our own in the log": lambda: _faults(stage),
            "memory that grows": lambda: _growing(stage),
        }
        for promise, ask in questions.items():
            broken[promise] = await ask()
        stage.say(f"{len(events)} events and {len(stage.bots)} bots were looked at")
        return [
            f"{promise} ({len(ways)}): {'; '.join(str(way) for way in ways[:_SHOWN])}"
            for promise, ways in broken.items()
            if ways
        ]


async def _different_views(stage: Stage, events: _Events) -> list[str]:
    """A plain listing of each calendar against what the API shows, whole but for what nobody can see."""
    until = clock.now() + timedelta(days=28)
    shown: dict[str, _Events] = defaultdict(dict)
    for event in events.values():
        if not event["is_deleted"] and datetime.fromisoformat(event["start_time"]) < until:
            shown[event["calendar_id"]][event["platform_uuid"]] = event
    at_once = asyncio.Semaphore(_AT_ONCE)

    async def compare(calendar_id: str, email: str) -> list[str]:
        async with at_once:
            person = stage.platforms.world.people[email]
            listed = {one["id"]: one for one in await stage.platforms.listing(stage.http, person, until=until)}
        ours = shown[calendar_id]
        ways = [f"{email} has {id}, which is not shown" for id in listed.keys() - ours.keys()]
        ways += [f"{email} lacks {id}, which is shown" for id in ours.keys() - listed.keys()]
        return ways + [
            f"{email} shows {ours[id]} for {listed[id]}"
            for id in ours.keys() & listed.keys()
            if not _same(ours[id], listed[id])
        ]

    found = await asyncio.gather(*(compare(*one) for one in stage.calendars.items()))
    disconnected = await stage.rows("SELECT deduplication_key FROM calendars WHERE state <> 'connected'")
    return [way for ways in found for way in ways] + [f"{row[0]} is disconnected" for row in disconnected]


def _same(event: dict[str, Any], item: dict[str, Any]) -> bool:
    title = item["summary"] if "summary" in item else item["subject"]
    starts = datetime.fromisoformat(item["start"]["dateTime"])
    is_alike = _visible(event["raw"]) == _visible(item) and event["name"] == title
    same_start = datetime.fromisoformat(event["start_time"]) == (
        starts if starts.tzinfo else starts.replace(tzinfo=UTC)
    )
    return is_alike and same_start and event["meeting_url"] == _link(item)


def _visible(item: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name not in _INVISIBLE}


def _link(item: dict[str, Any]) -> str | None:
    """The meeting link, in the only places where these calendars have one."""
    location = item.get("location") or ""
    place = location["displayName"] if isinstance(location, dict) else location
    # Microsoft has no field for Google's meetings: their links are in the invitation.
    places = (item.get("hangoutLink"), item.get("bodyPreview", "").removeprefix("Join: "), place)
    return next((text for text in places if text and text.startswith("https://")), None)


async def _lost_webhooks(stage: Stage) -> list[str]:
    """What counts as delivered was taken with a 200, under one key and with one body however often it was tried."""
    rows = await stage.rows("SELECT idempotency_key, state, body FROM deliveries")
    taken = {body["idempotency_key"] for body in stage.receiver.told}
    ways = [f"{row['idempotency_key']} is {row['state']}" for row in rows if row["state"] != "delivered"]
    ways += [f"{row['idempotency_key']} was never taken" for row in rows if row["idempotency_key"] not in taken]
    ways += [f"{key} is not known any more" for key in taken - {row["idempotency_key"] for row in rows}]
    return ways + [f"{key} came with two bodies" for key in stage.receiver.changed_bodies]


async def _untold_changes(stage: Stage, events: _Events) -> list[str]:
    """Each change in an event's history was told of, by a webhook of that sync or of a later one.

    So was its first appearance, and the last that was told of it is what it is now.
    """
    told: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for body in stage.receiver.told:
        if body["trigger"] == "calendar.events_update":
            assert not body["data"]["events"]["truncated"], "calendars of this size don't change so much at once"
            synced_at = datetime.fromisoformat(body["data"]["last_successful_sync_at"])
            for fate in ("created", "updated", "deleted"):
                for event_id in body["data"]["events"][fate]:
                    told[event_id].append((synced_at, fate))
    kinds = ["event_updated", "event_deleted", "event_restored"]
    history = await stage.rows("SELECT event_id, kind, created_at FROM activity WHERE kind = ANY($1)", kinds)
    ways = [
        f"{row['event_id']}: {row['kind']} at {row['created_at']}"
        for row in history
        if not any(synced_at >= row["created_at"] for synced_at, _ in told[row["event_id"]])
    ]
    for event_id, event in events.items():
        last = max(told[event_id])[1] if told[event_id] else "nothing"
        if last == "nothing" or (last == "deleted") != event["is_deleted"]:
            ways.append(f"{event_id} was last told of as {last}, but is_deleted is {event['is_deleted']}")
    return ways


async def _lost_bots(stage: Stage, events: _Events) -> list[str]:
    """Every bot waits for an event that lives, where and when it takes place.

    None that was ordered is missing but those whose event was deleted since, and no order was carried out twice.
    """
    bots = await stage.client.everything("/bots?page_size=500")
    ways = []
    for bot in bots:
        event = events.get(bot["calendar_event_id"])
        if bot["state"] not in _ALIVE or event is None or event["is_deleted"]:
            ways.append(f"{bot['id']} is {bot['state']} for {event}")
        elif (bot["join_at"], bot["meeting_url"]) != (event["start_time"], event["meeting_url"]):
            ways.append(f"{bot} does not agree with {event}")
    orders = Counter(bot["deduplication_key"] for bot in bots)
    ways += [f"{key} was carried out {count} times" for key, count in orders.items() if count > 1]
    # By their numbers in the history: a moment of one process may be earlier than that of another, whatever came first.
    rows = await stage.rows(
        "SELECT number, kind, event_id, bot_id FROM activity"
        " WHERE kind IN ('event_deleted', 'bot_created') ORDER BY number"
    )
    last_deletion = {row["event_id"]: row["number"] for row in rows if row["kind"] == "event_deleted"}
    creation = {row["bot_id"]: row["number"] for row in rows if row["kind"] == "bot_created"}
    for key, bot in stage.bots.items():
        is_done_for = last_deletion.get(bot["calendar_event_id"], 0) > creation[bot["id"]]
        if is_done_for == (key in orders):
            ways.append(f"{key} for {bot['calendar_event_id']}: {'still there' if is_done_for else 'missing'}")
    return ways


async def _wrong_launches(stage: Stage) -> list[str]:
    """The fleet has every bot that was launched, where and when it is to join, once and by one order, and no other.

    Meetings that bots are launched for are not moved while this lasts, so that no bot needs a second order.
    """
    fleet = stage.platforms.sandbox.app.state.fleet
    bots = await stage.client.everything("/bots?page_size=500")
    launched = {bot["id"]: bot for bot in bots if bot["state"] != "scheduled"}
    orders = Counter(taken.order.bot_id for taken in fleet._taken.values())
    ways = [f"{id} was not called off" for id in fleet.bots.keys() - launched.keys()]
    ways += [f"{id} is {launched[id]['state']} and unknown to the fleet" for id in launched.keys() - fleet.bots.keys()]
    ways += [f"{id} was ordered by {count} keys" for id, count in orders.items() if count > 1]
    for id in launched.keys() & fleet.bots.keys():
        order, bot = fleet.bots[id].order, launched[id]
        if (order.join_at, order.meeting_url) != (datetime.fromisoformat(bot["join_at"]), bot["meeting_url"]):
            ways.append(f"{bot} does not agree with {order}")
    joined = sum(one.visitor.presence in IN_MEETING for one in fleet.bots.values())
    stage.say(f"{len(orders)} bots were ordered of the fleet, {len(fleet.bots)} are there, {joined} in their meetings")
    return ways if joined else [*ways, "no bot is in a meeting"]


async def _stuck(stage: Stage) -> list[str]:
    """No claim is older than its lease, and nothing that is due has been left lying."""
    late = clock.now() - _LATE
    ways = []
    for table in QUEUES:
        rows = await stage.rows(
            f"SELECT * FROM {table} WHERE (claim_id IS NOT NULL AND claimed_until < $1)"  # noqa: S608  # a name of ours
            " OR (due_at < $1 AND coalesce(claimed_until < $1, true))",
            late,
        )
        ways += [f"{table}: {dict(row)}" for row in rows]
    return ways


async def _faults(stage: Stage) -> list[str]:
    """What the processes logged as errors is a fault of theirs, but for that there was no database for a while."""
    gone_at, back_at = stage.outage
    return [
        json.dumps(said)[-2000:]
        for said in stage.processes.complaints()
        if said["message"] == "sync_failed"
        or not gone_at <= datetime.fromisoformat(said["timestamp"]) <= back_at + _LATE
    ]


async def _growing(stage: Stage) -> list[str]:
    """Where nobody is killed, every process has as much memory in the last quarter as in the second."""
    if stage.plan.kill_every_seconds is not None:
        return []
    ways = []
    for name, resident in stage.memory.items():
        quarter = len(resident) // 4
        before, after = (median(part) for part in (resident[quarter : 2 * quarter], resident[-quarter:]))
        stage.say(f"{name}: {before / 2**20:.1f} MB in the second quarter, {after / 2**20:.1f} MB in the last")
        if after - before > _MAY_GROW:
            ways.append(f"{name}: {[round(size / 2**20) for size in resident]} MB")
    return ways
