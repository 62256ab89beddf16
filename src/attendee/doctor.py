"""What is wrong with an installation, in plain words: one line and one cure for each finding.

Each examination is a function of its own that gives its findings; nothing is changed by any of them.
"""

import asyncio
import os
import secrets
import shutil
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from sqlalchemy import func, select, text

from attendee.clock import Clock
from attendee.connections import session
from attendee.model import CalendarState, DeliveryState, PauseReason
from attendee.outgoing import trust
from attendee.settings import Settings, WrongSetting, find_misspelt
from attendee.startup import CannotStart, Opened, opened
from attendee.store import measures
from attendee.store.database import Database
from attendee.store.tables import calendars, deliveries, upkeep, webhook_subscriptions

_ANSWER_SECONDS = 10
# Nothing of ours waits so long while a worker runs: claims last 60 seconds, sleeps 5.
_OVERDUE = timedelta(minutes=5)
_CLOCK_OFF = timedelta(seconds=5)
_SHOWN = 5
_ANSWER_BYTES = 65_536
_NEARLY_ALL = 0.9
_LITTLE_SPACE = 256 * 2**20
_OFTEN = 3


class Verdict(StrEnum):
    GOOD = "good"
    NOTE = "note"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at and how it is; `cure` says what to do, None where there is nothing to do."""

    what: str
    verdict: Verdict
    told: str
    cure: str | None = None


async def examine(settings: Settings, *, clock: Clock) -> AsyncIterator[Finding]:
    """Everything that can be looked at from here, the most fundamental first. Never raises what it looks for."""
    for name, meant in find_misspelt():
        yield Finding("settings", Verdict.NOTE, f"{name} sets nothing.", f"{meant} is the setting that it resembles.")
    names: Sequence[str] = ()
    try:
        async with opened(settings) as at_hand:
            names = at_hand.key_ring.names
            yield await _examine_database(at_hand.database)
            yield Finding("schema", Verdict.GOOD, "The schema is this version's.")
            yield Finding("encryption", Verdict.GOOD, "The stored secrets open with the keys at hand.")
            for finding in await _examine_store(at_hand, clock=clock):
                yield finding
    except (CannotStart, WrongSetting) as refusal:
        what, _, cure = str(refusal).partition(": ")
        yield Finding("database", Verdict.BAD, what, cure or None)
    for finding in await asyncio.gather(_examine_public_url(settings, names), _examine_runner(settings)):
        yield finding


async def _examine_store(at_hand: Opened, *, clock: Clock) -> list[Finding]:
    now, database = clock(), at_hand.database
    return [
        await _examine_clock(database, now=now),
        *await _examine_due_work(database, now=now),
        *await _examine_calendars(database),
        *await _examine_receivers(database, now=now),
        await _examine_upkeep(database, now=now),
    ]


async def _examine_database(database: Database) -> Finding:
    if database.is_sqlite:
        return await asyncio.to_thread(_examine_file, database.file)
    async with database.reading() as tx:
        row = (
            await tx.execute(
                text(
                    "SELECT current_setting('server_version') AS version,"
                    " CAST(current_setting('max_connections') AS integer) AS most,"
                    " (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS used"
                )
            )
        ).one()
    told = f"PostgreSQL {row.version} answers; {row.used} of its {row.most} connections are in use."
    if row.used < row.most * _NEARLY_ALL:
        return Finding("database", Verdict.GOOD, told)
    cure = "Each process takes up to 20: raise max_connections, run fewer processes, or put a pooler between."
    return Finding("database", Verdict.BAD, told, cure)


def _examine_file(path: Path) -> Finding:
    free = shutil.disk_usage(path.parent).free
    told = f"SQLite {sqlite3.sqlite_version} answers; {free // 2**20:,} MiB are free beside its file."
    if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK):
        told = f"{path} or its directory can't be written to by this account."
        return Finding("database", Verdict.BAD, told, "Give it to the account that runs the service.")
    if free < _LITTLE_SPACE:
        return Finding("database", Verdict.BAD, told, "Make room on that disk: a full one stops every sync.")
    return Finding("database", Verdict.GOOD, told)


async def _examine_clock(database: Database, *, now: datetime) -> Finding:
    if database.is_sqlite:
        return Finding("clock", Verdict.GOOD, "SQLite has no clock of its own to differ from.")
    async with database.reading() as tx:
        theirs: datetime = (await tx.execute(select(func.clock_timestamp()))).scalar_one()
    off = abs(theirs - now)
    if off <= _CLOCK_OFF:
        return Finding("clock", Verdict.GOOD, "This machine's clock and the database's agree.")
    told = f"This machine's clock and the database's are {off.total_seconds():.0f} seconds apart."
    return Finding("clock", Verdict.BAD, told, "Keep all clocks in step, with NTP.")


async def _examine_due_work(database: Database, *, now: datetime) -> list[Finding]:
    """Whether anybody works, and one finding for each kind of work that waits."""
    async with database.reading() as tx:
        begun = await tx.scalar(select(upkeep.c.id).limit(1))
        waiting = [(table.name, await measures.due(tx, table, now=now)) for table in measures.DUE_WORK]
    late = [(kind, due) for kind, due in waiting if due.age > _OVERDUE]
    if not late and begun is None:
        told = "No worker has ever run on this database."
        return [Finding("workers", Verdict.NOTE, told, "Start `attendee serve`, or `attendee worker` beside it.")]
    if not late:
        return [Finding("workers", Verdict.GOOD, "Nothing that is due has been waiting for long.")]
    return [
        Finding(
            "workers",
            Verdict.BAD,
            f"{_counted(due.count)} {kind} are due, the oldest for {due.age // timedelta(minutes=1):,} minutes.",
            "Start `attendee serve` or `attendee worker`, or more of them; their logs say what fails.",
        )
        for kind, due in late
    ]


def _counted(count: int) -> str:
    return f"{count:,}" if count < measures.MOST_COUNTED else f"{count:,} or more"


async def _examine_calendars(database: Database) -> list[Finding]:
    async with database.reading() as tx:
        count = await tx.scalar(select(func.count()).select_from(calendars)) or 0
        lost = await tx.scalar(select(func.count()).where(calendars.c.state == CalendarState.DISCONNECTED.value)) or 0
        has_failed = calendars.c.last_error.is_not(None)
        refused = (
            await tx.execute(
                select(
                    calendars.c.platform,
                    calendars.c.client_id,
                    func.max(calendars.c.last_error).label("error"),
                    func.count().label("count"),
                )
                .where(has_failed, calendars.c.is_operators_fault)
                .group_by(calendars.c.platform, calendars.c.client_id)
                .order_by(func.count().desc())
                .limit(_SHOWN)
            )
        ).all()
        failing = (
            await tx.execute(
                select(
                    calendars.c.platform,
                    calendars.c.client_id,
                    func.count().label("count"),
                    func.max(calendars.c.last_error).label("last_error"),
                )
                .where(calendars.c.state == CalendarState.CONNECTED.value, has_failed, ~calendars.c.is_operators_fault)
                .group_by(calendars.c.platform, calendars.c.client_id)
                .order_by(func.count().desc())
                .limit(_SHOWN)
            )
        ).all()
    findings = [
        Finding(
            "oauth clients",
            Verdict.BAD,
            f"{row.platform.capitalize()} refuses the OAuth client {row.client_id}, for {row.count:,} calendars: "
            f"{row.error}",
            "It is one fault, and not its users': mend the client in the platform's console, and PATCH the calendars "
            "if its secret is new. Those that have synced before are tried every hour.",
        )
        for row in refused
    ]
    findings += [
        Finding(
            "calendars",
            Verdict.BAD,
            f"{row._mapping['count']:,} calendars of the OAuth client {row.client_id} ({row.platform}) fail: "
            f"{row.last_error}",
            "Look at that client at its platform: secret, API, quota. Nothing is lost; they are tried until they heal.",
        )
        for row in failing
    ]
    if lost:
        findings.append(
            Finding(
                "calendars",
                Verdict.NOTE,
                f"{lost:,} of {count:,} calendars are disconnected.",
                "Their users must consent again; `connection_failure_data` of each says why.",
            )
        )
    return findings or [Finding("calendars", Verdict.GOOD, f"All {count:,} calendars sync.")]


async def _examine_receivers(database: Database, *, now: datetime) -> Sequence[Finding]:
    async with database.reading() as tx:
        failing = (
            await tx.execute(
                select(deliveries.c.url, func.count().label("count"))
                .where(deliveries.c.state == DeliveryState.PENDING.value, deliveries.c.attempts > 1)
                .group_by(deliveries.c.url)
                .order_by(func.count().desc())
                .limit(_SHOWN)
            )
        ).all()
        paused = (
            await tx.execute(
                select(webhook_subscriptions.c.id, webhook_subscriptions.c.url, webhook_subscriptions.c.pause_reason)
                .where(webhook_subscriptions.c.pause_reason.is_not(None), webhook_subscriptions.c.bot_id.is_(None))
                .order_by(webhook_subscriptions.c.paused_at.desc())
                .limit(_SHOWN)
            )
        ).all()
        late = await tx.scalar(
            select(func.count()).where(
                deliveries.c.state == DeliveryState.PENDING.value, deliveries.c.created_at <= now - _OVERDUE
            )
        )
    if not failing and not paused:
        return [Finding("webhooks", Verdict.GOOD, f"No receiver refuses its webhooks; {late or 0:,} are late.")]
    found = [
        Finding(
            "webhooks",
            Verdict.BAD,
            f"The webhook {row.id} to {row.url} was paused: "
            + ("it answered 410." if row.pause_reason == PauseReason.GONE else "it took nothing for five days."),
            "Mend the receiver and resume the webhook, in the dashboard or by PATCH; what waits is sent then.",
        )
        for row in paused
    ]
    return found + [
        Finding(
            "webhooks",
            Verdict.BAD,
            f"{row.url} has not taken {row.count:,} webhooks, which are being tried again.",
            "Look at their attempts: GET /api/v1/webhooks/{id}/deliveries.",
        )
        for row in failing
    ]


async def _examine_upkeep(database: Database, *, now: datetime) -> Finding:
    async with database.reading() as tx:
        failing = (
            await tx.execute(select(upkeep.c.id).where(upkeep.c.attempts > _OFTEN, upkeep.c.due_at <= now))
        ).all()
    if not failing:
        return Finding("retention", Verdict.GOOD, "What is over is purged in its time.")
    told = f"The upkeep of {', '.join(row.id for row in failing)} fails again and again, and the tables grow."
    return Finding("retention", Verdict.BAD, told, "Look for `work_failed` with work=upkeep in the log of the workers.")


async def _examine_public_url(settings: Settings, names: Sequence[str]) -> Finding:
    """Asked as the platforms ask: over the address that they are given, with the handshake of one of them."""
    address = settings.public_url
    if address is None:
        return Finding(
            "push",
            Verdict.NOTE,
            "ATTENDEE_PUBLIC_URL is not set, so calendars are polled only.",
            "Set it to the https address at which Google and Microsoft reach this service, and changes come at once.",
        )
    lead_here = "Let it lead to `attendee serve` with every path, with a certificate that is trusted."
    ready = await _asked("GET", f"{address}/readyz", settings=settings)
    if isinstance(ready, str):
        return Finding("push", Verdict.BAD, f"{address} can't be reached from here: {ready}", lead_here)
    found = _parsed(ready.body).get("installation")
    if found is None or (names and found not in names):
        other = "something else" if found is None else "another installation, with another key"
        return Finding("push", Verdict.BAD, f"{address} is answered by {other}.", lead_here)
    token = secrets.token_urlsafe(16)
    handshake = f"{address}/external_webhooks/microsoft_calendar?validationToken={token}"
    echoed = await _asked("POST", handshake, settings=settings)
    if isinstance(echoed, str) or (echoed.status, echoed.body) != (200, token):
        told = f"{address} leads here, but a platform's handshake at /external_webhooks does not come through."
        return Finding("push", Verdict.BAD, told, "Let the proxy pass on POST requests and queries below that path.")
    return Finding("push", Verdict.GOOD, f"{address} leads to this installation, and a platform's handshake succeeds.")


async def _examine_runner(settings: Settings) -> Finding:
    address = settings.bot_runner_url or ""
    key = "" if settings.bot_runner_key is None else settings.bot_runner_key.get_secret_value()
    match settings.bot_runner:
        case "process":
            program = (settings.bot_runner_command or ("",))[0]
            if shutil.which(program) is not None:
                return Finding("bots", Verdict.GOOD, f"The bot runner's command, {program}, can be run.")
            told = f"The bot runner's command, {program}, is not here, or this account may not run it."
            return Finding("bots", Verdict.BAD, told, "Install it, or correct ATTENDEE_BOT_RUNNER_COMMAND.")
        case "http":
            headers = {"Authorization": f"Bearer {key}"} if key else None
            answer = await _asked("GET", address, settings=settings, headers=headers)
        case "remote":
            answer = await _asked(
                "GET", f"{address}/api/v1/bots", settings=settings, headers={"Authorization": f"Token {key}"}
            )
        case _:
            return Finding(
                "bots",
                Verdict.NOTE,
                "No bot runner is configured (ATTENDEE_BOT_RUNNER is none): bots end as bot_not_launched.",
                "Choose one, if bots are to go to meetings: docs/runners.md.",
            )
    if isinstance(answer, str):
        told = f"The bot runner at {address} can't be reached: {answer}"
        return Finding("bots", Verdict.BAD, told, "Start it, or correct ATTENDEE_BOT_RUNNER_URL.")
    if settings.bot_runner == "remote" and answer.status != 200:
        told = f"The server at {address} answers {answer.status} to its key."
        return Finding("bots", Verdict.BAD, told, "Correct ATTENDEE_BOT_RUNNER_KEY, or ATTENDEE_BOT_RUNNER_URL.")
    if settings.bot_runner == "http" and answer.status in {401, 403}:
        # No fault for sure: a fleet need not know this request, which is signed with no project's secret.
        told = f"The bot runner at {address} answers {answer.status}: it may not take {'the key' if key else 'no key'}."
        return Finding("bots", Verdict.NOTE, told, "See whether ATTENDEE_BOT_RUNNER_KEY is the fleet's.")
    return Finding("bots", Verdict.GOOD, f"The bot runner ({settings.bot_runner}) answers.")


def _parsed(body: str) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    body: str


async def _asked(
    method: str, url: str, *, settings: Settings, headers: Mapping[str, str] | None = None
) -> _Answer | str:
    """What an address of the operator's answers; why it does not, in plain words."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        async with (
            session(trust(settings.certificate_authorities)) as http,
            http.request(method, url, headers=headers, allow_redirects=False, timeout=timeout) as response,
        ):
            return _Answer(response.status, (await response.content.read(_ANSWER_BYTES)).decode(errors="replace"))
    except TimeoutError:
        return f"no answer within {_ANSWER_SECONDS} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        return str(failure) or type(failure).__name__
