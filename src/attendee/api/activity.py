"""The histories of events and bots, as their routes show them."""

from typing import Any

from sqlalchemy import Column, Row, select

from attendee.api.filters import equals
from attendee.api.pagination import AskedPage, Listing
from attendee.api.service import Reader
from attendee.clock import written
from attendee.store.pages import Ordering, Page, read_page
from attendee.store.tables import activity as table

LISTING = Listing(
    "activity", {"created_at": Ordering(table.c.created_at, table.c.number, descending=False)}, "created_at", 100
)


async def read_history(reader: Reader, page: AskedPage, *, column: Column[Any], id: str) -> Page:
    """What happened to the event or bot that the column names, oldest first."""
    query = select(
        table.c.number,
        table.c.kind,
        table.c.calendar_id,
        table.c.event_id,
        table.c.bot_id,
        table.c.detail,
        table.c.created_at,
    ).where(table.c.project_id == reader.project_id, equals(column, id))
    return await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)


def rendered(row: Row[Any]) -> dict[str, Any]:
    return {
        "kind": row.kind,
        "calendar_id": row.calendar_id,
        "calendar_event_id": row.event_id,
        "bot_id": row.bot_id,
        "detail": row.detail,
        "created_at": written(row.created_at),
    }
