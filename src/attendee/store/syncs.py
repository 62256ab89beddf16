"""The history of syncs: those that found a change, listed the window, failed or were asked for.

Quiet syncs leave no row, since they must cost next to nothing; how many there were between two rows is kept.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import SyncOutcome, SyncReason
from attendee.store.bulk import Bulk
from attendee.store.calendars import Calendar
from attendee.store.tables import calendars, syncs

_SYNCS = Bulk(
    syncs,
    (
        "project_id",
        "calendar_id",
        "reason",
        "outcome",
        "listed",
        "started_at",
        "milliseconds",
        "requests",
        "created",
        "updated",
        "deleted",
        "quiet_before",
        "error",
    ),
)


@dataclass(frozen=True, slots=True)
class Sync:
    """What a sync was for and what came of it. `requests` are those to the platform; `listed` is a full listing."""

    reason: SyncReason
    outcome: SyncOutcome
    started_at: datetime
    requests: int
    listed: bool = False
    created: int = 0
    updated: int = 0
    deleted: int = 0
    error: str | None = None


async def record(tx: AsyncConnection, calendar: Calendar, sync: Sync, *, now: datetime) -> None:
    """Adds the sync to the history of its calendar, locked by the caller."""
    await _SYNCS.store(
        tx,
        [
            (
                calendar.project_id,
                calendar.id,
                sync.reason.value,
                sync.outcome.value,
                sync.listed,
                sync.started_at,
                max(0, (now - sync.started_at) // timedelta(milliseconds=1)),
                sync.requests,
                sync.created,
                sync.updated,
                sync.deleted,
                calendar.quiet_syncs,
                sync.error,
            )
        ],
    )
    if calendar.quiet_syncs:
        await tx.execute(update(calendars).where(calendars.c.id == calendar.id).values(quiet_syncs=0))
