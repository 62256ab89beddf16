"""Ten thousand bots whose meetings begin within one minute, launched by three workers over PostgreSQL."""

import hashlib
from collections import Counter
from contextlib import ExitStack
from datetime import datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import func, insert, select

from attendee import clock
from attendee.model import BotState, ProjectId, RecordingState, TranscriptionState, new_id
from attendee.store.tables import bots, calendars, events
from bench.filling import add_calendars, add_project
from bench.loopback import Request, listen
from bench.results import AtLeast, AtMost, Figure, Result
from bench.surroundings import POSTGRESQL, BenchDatabase, Surroundings, until

_BOTS = 10_000
_CALENDARS = 1_000
_WORKERS = 3
_LEAD = timedelta(minutes=5)
# The workers start meanwhile.
_BEFORE_LEAD = timedelta(seconds=20)
_ROWS_A_STATEMENT = 1_000


class _Fleet:
    """Takes every bot, and notes when each was ordered, and under which key."""

    def __init__(self) -> None:
        self.ordered_at: dict[str, datetime] = {}
        self.orders: Counter[str] = Counter()

    def answer(self, request: Request) -> bytes:
        bot_id = orjson.loads(request.body)["bot_id"]
        self.ordered_at.setdefault(bot_id, clock.now())
        self.orders[bot_id] += 1
        return b"{}"


async def measure(surroundings: Surroundings) -> list[Result]:
    """How long before its meeting the last bot was with the fleet, and how often each was ordered."""
    fleet = _Fleet()
    server, fleet_url = await listen(fleet.answer)
    async with surroundings.database(POSTGRESQL) as at_hand:
        project_id = await add_project(at_hand.database, surroundings.key_ring)
        await add_calendars(at_hand.database, surroundings.key_ring, project_id=project_id, count=_CALENDARS)
        surroundings.tell(f"launches: {_BOTS:,} bots that join in one minute, {_WORKERS} workers")
        joins = await _add_bots(at_hand, project_id)
        with ExitStack() as running:
            platform = running.enter_context(surroundings.platform())
            runner = {"bot_runner": "http", "bot_runner_url": fleet_url}
            workers = [
                running.enter_context(surroundings.attendee("worker", at_hand, platform.address, **runner))
                for _ in range(_WORKERS)
            ]

            async def all_staged() -> bool:
                async with at_hand.database.reading() as tx:
                    staged = select(func.count()).where(bots.c.state == BotState.STAGED.value)
                    return bool(await tx.scalar(staged) == _BOTS)

            seconds = (_BEFORE_LEAD + _LEAD) / timedelta(seconds=1)
            await until(all_staged, seconds=seconds * 2, what="the staging of every bot")
            cpu = sum(worker.cpu_seconds() for worker in workers)
    server.close()
    early = [(joins[bot_id] - at) / timedelta(seconds=1) for bot_id, at in fleet.ordered_at.items()]
    first, last = min(fleet.ordered_at.values()), max(fleet.ordered_at.values())
    what = f"{_BOTS:,} bots of one minute, {_WORKERS} workers"
    return [
        Result(
            what=f"{what}: the latest staged, before its meeting",
            database=POSTGRESQL,
            unit="s",
            ours=Figure(min(early), min(early), max(early)),
            target=AtLeast(0),
            wall_seconds=(last - first) / timedelta(seconds=1),
            cpu_seconds=cpu,
        ),
        Result(
            what=f"{what}: orders a bot",
            database=POSTGRESQL,
            unit="",
            ours=Figure(sum(fleet.orders.values()) / _BOTS, min(fleet.orders.values()), max(fleet.orders.values())),
            target=AtMost(1),
        ),
    ]


async def _add_bots(at_hand: BenchDatabase, project_id: ProjectId) -> dict[str, datetime]:
    """An event and a bot for each, spread over the calendars and over one minute; when each bot joins."""
    now = clock.now()
    begins = now + _BEFORE_LEAD + _LEAD
    async with at_hand.database.transaction() as tx:
        calendar_ids = list((await tx.execute(select(calendars.c.id))).scalars())
        joins: dict[str, datetime] = {}
        event_rows: list[dict[str, Any]] = []
        bot_rows: list[dict[str, Any]] = []
        for number in range(_BOTS):
            join_at = begins + timedelta(seconds=60 * number / _BOTS)
            bot_id, event_id = new_id("bot_"), new_id("evt_")
            calendar_id = calendar_ids[number % len(calendar_ids)]
            joins[bot_id] = join_at
            link = f"https://meet.google.com/{_code(number)}"
            event_rows.append(
                {
                    "id": event_id,
                    "project_id": project_id,
                    "calendar_id": calendar_id,
                    "platform_uuid": event_id,
                    "fingerprint": "f",
                    "name": "Weekly",
                    "meeting_url": link,
                    "start_time": join_at,
                    "end_time": join_at + timedelta(minutes=30),
                    "is_deleted": False,
                    "attendees": "[]",
                    "raw": "{}",
                    "created_at": now,
                    "updated_at": now,
                }
            )
            bot_rows.append(
                {
                    "id": bot_id,
                    "project_id": project_id,
                    "event_id": event_id,
                    "calendar_id": calendar_id,
                    "name": "Notes",
                    "meeting_url": link,
                    "join_at": join_at,
                    "state": BotState.SCHEDULED.value,
                    "settings": {},
                    "recording_state": RecordingState.NOT_STARTED.value,
                    "transcription_state": TranscriptionState.NOT_STARTED.value,
                    "created_at": now,
                    "updated_at": now,
                    "due_at": join_at - _LEAD,
                }
            )
        for first in range(0, _BOTS, _ROWS_A_STATEMENT):
            await tx.execute(insert(events), event_rows[first : first + _ROWS_A_STATEMENT])
            await tx.execute(insert(bots), bot_rows[first : first + _ROWS_A_STATEMENT])
    return joins


def _code(number: int) -> str:
    letters = "".join(chr(ord("a") + byte % 26) for byte in hashlib.sha256(str(number).encode()).digest())
    return f"{letters[:3]}-{letters[3:7]}-{letters[7:10]}"
