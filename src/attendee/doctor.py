"""What is wrong with an installation, in plain words: one line and one cure for each finding.

Each examination is a function of its own that gives its findings; nothing is changed by any of them.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import aiohttp
from sqlalchemy import and_, func, or_, select

from attendee.clock import Clock
from attendee.connections import session
from attendee.model import CalendarState, DeliveryState, PauseReason
from attendee.outgoing import trust
from attendee.settings import Settings, WrongSetting
from attendee.startup import CannotStart, Opened, opened
from attendee.store.database import Database
from attendee.store.tables import bots, calendars, channels, deliveries, launches, webhook_subscriptions

_ANSWER_SECONDS = 10
# Nothing of ours waits so long while a worker runs: claims last 60 seconds, sleeps 5.
_OVERDUE = timedelta(minutes=5)
_CLOCK_OFF = timedelta(seconds=5)
_SHOWN = 5


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
    try:
        async with opened(settings) as at_hand:
            kind = "SQLite" if at_hand.database.is_sqlite else "PostgreSQL"
            yield Finding("database", Verdict.GOOD, f"{kind} answers, and its schema is this version's.")
            yield Finding("encryption", Verdict.GOOD, "The stored secrets open with the keys at hand.")
            for finding in await _examine_store(at_hand, clock=clock):
                yield finding
    except (CannotStart, WrongSetting) as refusal:
        what, _, cure = str(refusal).partition(": ")
        yield Finding("database", Verdict.BAD, what, cure or None)
    for finding in await asyncio.gather(_examine_public_url(settings), _examine_runner(settings)):
        yield finding


async def _examine_store(at_hand: Opened, *, clock: Clock) -> list[Finding]:
    now, database = clock(), at_hand.database
    return [
        await _examine_clock(database, now=now),
        await _examine_workers(database, now=now),
        *await _examine_calendars(database),
        *await _examine_receivers(database, now=now),
    ]


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


async def _examine_workers(database: Database, *, now: datetime) -> Finding:
    async with database.reading() as tx:
        overdue = 0
        for table in (calendars, channels, bots, launches, deliveries):
            is_free = or_(table.c.claimed_until.is_(None), table.c.claimed_until <= now - _OVERDUE)
            query = select(func.count()).where(and_(table.c.due_at <= now - _OVERDUE, is_free))
            overdue += await tx.scalar(query) or 0
    if not overdue:
        return Finding("workers", Verdict.GOOD, "Nothing that is due has been waiting for long.")
    told = f"{overdue:,} pieces of work have been due for more than {_OVERDUE.seconds // 60} minutes."
    return Finding("workers", Verdict.BAD, told, "Start `attendee serve` or `attendee worker`, or more of them.")


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
                select(calendars.c.client_id, calendars.c.last_error, func.count().label("count"))
                .where(calendars.c.state == CalendarState.CONNECTED.value, has_failed, ~calendars.c.is_operators_fault)
                .group_by(calendars.c.client_id, calendars.c.last_error)
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
            f"{row.count:,} calendars of the OAuth client {row.client_id} fail: {row.last_error}",
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


async def _examine_public_url(settings: Settings) -> Finding:
    if settings.public_url is None:
        return Finding(
            "push",
            Verdict.NOTE,
            "ATTENDEE_PUBLIC_URL is not set, so calendars are polled only.",
            "Set it to the https address at which Google and Microsoft reach this service, and changes come at once.",
        )
    trouble = await _trouble_at(f"{settings.public_url}/healthz", wants=200, settings=settings)
    if trouble is None:
        return Finding("push", Verdict.GOOD, f"{settings.public_url} answers, seen from here.")
    told = f"{settings.public_url}/healthz can't be reached from here: {trouble}"
    return Finding("push", Verdict.BAD, told, "Let it lead to `attendee serve`, with a certificate that is trusted.")


async def _examine_runner(settings: Settings) -> Finding:
    if settings.bot_runner == "none":
        return Finding(
            "bots",
            Verdict.NOTE,
            "No bot runner is configured (ATTENDEE_BOT_RUNNER is none): bots end as bot_not_launched.",
            "Choose one, if bots are to go to meetings: docs/runners.md.",
        )
    if settings.bot_runner_url is None:
        return Finding("bots", Verdict.GOOD, f"The bot runner is {settings.bot_runner}.")
    trouble = await _trouble_at(settings.bot_runner_url, wants=None, settings=settings)
    if trouble is None:
        return Finding("bots", Verdict.GOOD, f"The bot runner ({settings.bot_runner}) answers.")
    told = f"The bot runner at {settings.bot_runner_url} can't be reached: {trouble}"
    return Finding("bots", Verdict.BAD, told, "Start it, or correct ATTENDEE_BOT_RUNNER_URL.")


async def _trouble_at(url: str, *, wants: int | None, settings: Settings) -> str | None:
    """What is wrong with an address of the operator's; None if it answers, with the wanted status if one is."""
    timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
    try:
        async with (
            session(trust(settings.certificate_authorities)) as http,
            http.get(url, allow_redirects=False, timeout=timeout) as response,
        ):
            return None if wants in {None, response.status} else f"it answered {response.status}"
    except TimeoutError:
        return f"no answer within {_ANSWER_SECONDS} seconds"
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        return str(failure) or type(failure).__name__
