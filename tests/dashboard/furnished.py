"""A project as it is after some days of use: a little of everything that its pages can show."""

from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import update

from attendee.model import new_id
from attendee.store import tables
from tests.api.serving import LINK, NOON
from tests.dashboard.visiting import Visited

HOUR = timedelta(hours=1)
WEEK = (
    # Day, hour, minutes long, name, states of its bots, whether cancelled.
    (0, 9.0, 30, "Stand-up", ("ended",), False),
    (0, 10.5, 60, "Interview: Sam Okafor", ("fatal_error",), False),
    (0, 12.0, 60, "Customer call: Northwind", ("joined_recording",), False),
    (0, 12.25, 45, "Lunch talk", (), False),
    (0, 14.0, 45, "Design review", ("scheduled",), False),
    (1, 9.0, 30, "Stand-up", ("scheduled",), False),
    (1, 11.0, 90, "Board preparation", ("scheduled", "scheduled"), True),
    (2, 9.0, 30, "Stand-up", ("scheduled",), False),
    (2, 13.0, 120, "Roadmap workshop", ("scheduled",), False),
    (2, 13.5, 30, "1:1 Ada and Ben", (), False),
    (3, 9.0, 30, "Stand-up", ("scheduled",), False),
    (4, 15.0, 60, "Retrospective", ("scheduled",), False),
)
FAILURE = {
    "error": "Token has been expired or revoked.",
    "code": "consent_revoked",
    "timestamp": "2026-11-23T08:12:00.000000Z",
}


class Furnished:
    """The ids of what is there. `event` has moved and has a scheduled bot, `failed_bot` could not be launched."""

    calendar: str
    disconnected: str
    event: str
    bot: str
    failed_bot: str
    webhook: str
    delivery: str


async def furnish(here: Visited) -> Furnished:
    """Fills the project; `NOON` is a Monday."""
    made = Furnished()
    made.calendar = await here.a_calendar(deduplication_key="ada.lind@acme.example", metadata={"tenant": "acme"})
    made.disconnected = await here.a_calendar(
        deduplication_key="ben@northwind.example", metadata={"tenant": "northwind"}
    )
    troubled = await here.a_calendar(deduplication_key="cleo@acme.example", platform="microsoft")
    await here.a_calendar(deduplication_key="new@acme.example", platform="microsoft")
    await _set_calendars(here, made, troubled)
    await _add_hooks(here, made)
    await _add_week(here, made)
    await _add_syncs(here, made, troubled)
    await _add_history(here, made)
    await _add_deliveries(here, made)
    return made


async def _set(here: Visited, table: Any, id: str, **values: Any) -> None:
    async with here.database.transaction() as tx:
        await tx.execute(update(table).where(table.c.id == id).values(**values))


async def _set_calendars(here: Visited, made: Furnished, troubled: str) -> None:
    synced = {"last_attempted_sync_at": NOON - 4 * HOUR / 60, "due_at": NOON + HOUR / 2}
    await _set(
        here,
        tables.calendars,
        made.calendar,
        **synced,
        last_successful_sync_at=NOON - 4 * HOUR / 60,
        push_until=NOON + 70 * HOUR,
        listed_from=NOON - 24 * HOUR,
        listed_until=NOON + 29 * 24 * HOUR,
        quiet_syncs=3,
    )
    await _set(
        here,
        tables.calendars,
        made.disconnected,
        state="disconnected",
        connection_failure_data=FAILURE,
        last_error=FAILURE["error"],
        last_attempted_sync_at=NOON - 4 * HOUR,
        last_successful_sync_at=NOON - 5 * HOUR,
        due_at=None,
    )
    await _set(
        here,
        tables.calendars,
        troubled,
        **synced,
        last_successful_sync_at=NOON - 3 * HOUR,
        last_error="The platform answered 503 Service Unavailable.",
        attempts=6,
    )


async def _add_hooks(here: Visited, made: Furnished) -> None:
    for url, triggers in (
        ("https://product.example/hooks/attendee", ["calendar.events_update", "calendar.state_change"]),
        ("https://analytics.example/ingest", ["bot.state_change"]),
    ):
        hook = await here.client.post("/webhooks", {"url": url, "triggers": triggers})
        made.webhook = made.__dict__.get("webhook", hook.json["id"])


async def _add_week(here: Visited, made: Furnished) -> None:
    for day, hour, minutes, name, states, is_deleted in WEEK:
        start = NOON.replace(hour=0) + timedelta(days=day, hours=hour)
        event_id = await here.an_event(
            made.calendar,
            name=name,
            start_time=start,
            end_time=start + timedelta(minutes=minutes),
            is_deleted=is_deleted,
            meeting_url=None if name == "Lunch talk" else LINK,
        )
        for state in states if not is_deleted else ():
            bot_id = await _add_bot(here, made, event_id, state, start)
            if name == "Design review":
                made.event, made.bot = event_id, bot_id
            if state == "fatal_error":
                made.failed_bot = bot_id
    for name, first, days in (("Team offsite", 3, 2), ("Holiday in Berlin", 5, 1)):
        start = NOON.replace(hour=0) + timedelta(days=first)
        await here.an_event(
            made.calendar,
            name=name,
            start_time=start,
            end_time=start + timedelta(days=days),
            start_date=start.date(),
            end_date=(start + timedelta(days=days)).date(),
            meeting_url=None,
        )


async def _add_bot(here: Visited, made: Furnished, event_id: str, state: str, join_at: Any) -> str:
    bot_id = await here.store(
        tables.bots,
        id=new_id("bot_"),
        project_id=here.project_id,
        event_id=event_id,
        calendar_id=made.calendar,
        name="Acme Notes",
        meeting_url=LINK,
        join_at=join_at,
        state=state,
        settings={},
        recording_state="not_started",
        transcription_state="not_started",
        metadata={"user": "7"},
        created_at=NOON - 20 * HOUR,
        updated_at=NOON - HOUR,
    )
    if state == "fatal_error":
        await here.store(
            tables.bot_events,
            bot_id=bot_id,
            type="fatal_error",
            sub_type="bot_not_launched",
            metadata={"reason": "No bot runner is configured (ATTENDEE_BOT_RUNNER is none)."},
            created_at=join_at,
        )
    return bot_id


async def _add_syncs(here: Visited, made: Furnished, troubled: str) -> None:
    rows: list[tuple[Any, ...]] = [
        ("first", "changed", True, 26 * HOUR, 1840, 3, 14, 0, 0, 0, None),
        ("push", "changed", False, 20 * HOUR, 212, 1, 0, 1, 0, 12, None),
        ("listing", "unchanged", True, 5 * HOUR, 930, 2, 0, 0, 0, 31, None),
        ("poll", "failed", False, 3 * HOUR, 10002, 1, 0, 0, 0, 4, "The platform did not answer within 10 seconds."),
        ("retry", "unchanged", False, 2.9 * HOUR, 190, 1, 0, 0, 0, 0, None),
        ("push", "changed", False, HOUR / 3, 240, 1, 1, 2, 1, 5, None),
    ]
    names = (
        "reason",
        "outcome",
        "listed",
        "ago",
        "milliseconds",
        "requests",
        "created",
        "updated",
        "deleted",
        "quiet_before",
        "error",
    )
    kept = []
    for row in rows:
        values = dict(zip(names, row, strict=True))
        kept.append(values | {"started_at": NOON - values.pop("ago")})
    for number in range(60):
        failed = number % 17 == 3
        kept.append(
            dict(zip(names, ("poll", "failed" if failed else "changed", False, None, 200, 1, 0, 2, 0, 3), strict=False))
            | {"error": "The platform answered 503." if failed else None}
            | {"started_at": NOON - ((number * number) % 23) * HOUR, "elsewhere": True}
        )
    await here.fill(
        tables.syncs,
        [
            {name: value for name, value in values.items() if name not in {"ago", "elsewhere"}}
            | {"project_id": here.project_id, "calendar_id": troubled if "elsewhere" in values else made.calendar}
            for values in kept
        ],
    )


async def _add_history(here: Visited, made: Furnished) -> None:
    key_id = (await _keys(here))[0]
    before, after = "2026-11-23T13:00:00.000000Z", "2026-11-23T14:00:00.000000Z"
    entries: list[tuple[str, str | None, dict[str, Any], Any]] = [
        ("bot_created", made.bot, {"join_at": before, "meeting_url": LINK, "by": key_id}, 20 * HOUR),
        (
            "event_updated",
            None,
            {
                "moved": {
                    "from": {"start_time": before, "end_time": after},
                    "to": {"start_time": after, "end_time": "2026-11-23T14:45:00.000000Z"},
                }
            },
            2 * HOUR,
        ),
        ("bot_moved", made.bot, {"from": before, "to": after}, 2 * HOUR),
        ("event_updated", None, {"meeting_url": {"from": "https://zoom.us/j/123", "to": LINK}}, HOUR),
        ("bot_relinked", made.bot, {"from": "https://zoom.us/j/123", "to": LINK}, HOUR),
    ]
    await here.fill(
        tables.activity,
        [
            {
                "project_id": here.project_id,
                "calendar_id": made.calendar,
                "event_id": made.event,
                "bot_id": bot_id,
                "kind": kind,
                "detail": detail,
                "created_at": NOON - ago,
            }
            for kind, bot_id, detail, ago in entries
        ],
    )
    await _set(here, tables.events, made.event, created_at=NOON - 26 * HOUR)


async def _keys(here: Visited) -> list[str]:
    async with here.database.reading() as tx:
        return list((await tx.execute(tables.api_keys.select())).scalars())


async def _add_deliveries(here: Visited, made: Furnished) -> None:
    states = ["delivered"] * 9 + ["failed", "pending"]
    for number in range(33):
        state = states[number % len(states)]
        told = made.event if number % 11 in {4, 9} and number < 22 else "evt_0000000000000000"
        body = orjson.dumps(
            {
                "calendar_id": made.calendar,
                "data": {"events": {"created": [], "deleted": [], "updated": [told]}, "state": "connected"},
                "trigger": "calendar.events_update",
            }
        ).decode()
        created_at = NOON - ((number * 7) % 23) * HOUR - HOUR / 7
        delivery_id = await here.store(
            tables.deliveries,
            id=new_id("whd_"),
            project_id=here.project_id,
            subscription_id=made.webhook,
            url="https://product.example/hooks/attendee",
            trigger="calendar.events_update",
            calendar_id=made.calendar,
            idempotency_key=new_id("key_"),
            body=body,
            state=state,
            attempts=2 if state == "pending" else 1,
            created_at=created_at,
            finished_at=None if state == "pending" else created_at + HOUR / 60,
            due_at=NOON + HOUR / 4 if state == "pending" else None,
        )
        is_well = state == "delivered"
        await here.store(
            tables.delivery_attempts,
            delivery_id=delivery_id,
            started_at=created_at,
            milliseconds=87 if is_well else 10_003,
            status=200 if is_well else None,
            answer="ok" if is_well else None,
            error=None if is_well else "No answer came within 10 seconds.",
        )
        made.delivery = made.__dict__.get("delivery", delivery_id) if state != "failed" else delivery_id
