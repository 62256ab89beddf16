"""The append-only history of events and bots, written in the transaction that made it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import ActivityKind, BotId, CalendarId, EventId, ProjectId
from attendee.store.bulk import Bulk
from attendee.store.tables import activity

_ENTRIES = Bulk(activity, ("project_id", "calendar_id", "event_id", "bot_id", "kind", "detail", "created_at"))


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that happened. `detail` is JSON: from and to, by which key, why."""

    kind: ActivityKind
    detail: dict[str, Any]
    event_id: EventId | None = None
    bot_id: BotId | None = None


async def record(
    tx: AsyncConnection,
    entries: Sequence[Entry],
    *,
    project_id: ProjectId,
    calendar_id: CalendarId | None,
    now: datetime,
) -> None:
    """Appends the entries, in their order."""
    await _ENTRIES.store(
        tx,
        [
            (project_id, calendar_id, entry.event_id, entry.bot_id, entry.kind.value, entry.detail, now)
            for entry in entries
        ],
    )
