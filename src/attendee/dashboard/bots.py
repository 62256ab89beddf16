"""Bots: the list, one bot with its life, and what the bots of an event are doing in one word."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, literal_column, select
from starlette.responses import Response

from attendee.dashboard import paging, timeline
from attendee.dashboard.rendering import page
from attendee.dashboard.visits import Visit
from attendee.errors import NotFound
from attendee.model import FINISHED_BOT_STATES, BotState
from attendee.store import bots
from attendee.store.pages import Ordering
from attendee.store.tables import bots as table
from attendee.store.tables import events

_NEWEST = paging.Listing("bots", Ordering(table.c.created_at, table.c.id, descending=True))
_NEXT = paging.Listing("next bots", Ordering(table.c.join_at, table.c.id, descending=False))
# Written into the statement, so that the indexes of these bots fit.
IS_SCHEDULED = table.c.state == literal_column(f"'{BotState.SCHEDULED}'")
HAS_FAILED = table.c.state == literal_column(f"'{BotState.FATAL_ERROR}'")


def with_event(project_id: str) -> Select[Any]:
    """What lists show of a project's bots, and the names of their events."""
    return (
        select(
            table.c.id,
            table.c.name,
            table.c.state,
            table.c.join_at,
            table.c.meeting_url,
            table.c.event_id,
            table.c.created_at,
            table.c.updated_at,
            events.c.name.label("event_name"),
        )
        .select_from(table.outerjoin(events, events.c.id == table.c.event_id))
        .where(table.c.project_id == project_id)
    )


async def show_bots(visit: Visit) -> Response:
    shows_all = visit.asked("show") == "all"
    query = with_event(visit.project.id)
    if shows_all:
        found = await paging.read(visit, query, _NEWEST)
    else:
        found = await paging.read(visit, query.where(IS_SCHEDULED), _NEXT)
    return page(visit, "bots.html", found=found, shows_all=shows_all, tone_of=tone_of)


async def show_bot(visit: Visit) -> Response:
    bot = await bots.get(visit.tx, visit.part("bot_id"), project_id=visit.project.id)
    steps = await bots.events_of(visit.tx, [bot.id])
    event = None
    if bot.event_id is not None:
        query = select(events.c.id, events.c.name, events.c.calendar_id).where(events.c.id == bot.event_id)
        event = (await visit.tx.execute(query)).one_or_none()
    return page(
        visit,
        "bot.html",
        bot=bot,
        tone=tone_of(bot.state),
        steps=steps.get(bot.id, ()),
        event=event,
        timeline=await timeline.of_bot(visit, bot),
        why_failed=_why_failed(steps.get(bot.id, ())),
    )


async def show_gone(visit: Visit, bot_id: str) -> Response:
    """A bot that was deleted: its history is all that is left of it. Raises NotFound if there is none."""
    entries = await timeline.of_deleted_bot(visit, bot_id)
    if not entries:
        raise NotFound("Bot")
    return page(visit, "bot_gone.html", bot_id=bot_id, timeline=entries)


async def show_bot_or_gone(visit: Visit) -> Response:
    try:
        return await show_bot(visit)
    except NotFound:
        return await show_gone(visit, visit.part("bot_id"))


def tone_of(state: str) -> str:
    """The colour of a state: waiting, on its way or in, over, failed."""
    if state in {BotState.SCHEDULED, BotState.READY}:
        return "scheduled"
    if state == BotState.FATAL_ERROR:
        return "failed"
    if state in FINISHED_BOT_STATES:
        return "ended"
    return "on" if state.startswith("joined") else "busy"


def standing_of(event: Row[Any], states: Sequence[BotState]) -> str:
    """What the bots of an event are doing, in one word for its colour: the worst or the latest of them."""
    if event.is_deleted:
        return "cancelled"
    tones = {tone_of(state) for state in states}
    return next((tone for tone in ("failed", "on", "busy", "scheduled", "ended") if tone in tones), "none")


def _why_failed(steps: Sequence[bots.BotEvent]) -> tuple[str, str] | None:
    """The short reason of the last step, if it was a failure, and the long one."""
    if not steps or steps[-1].sub_type is None:
        return None
    return steps[-1].sub_type, str((steps[-1].metadata or {}).get("reason", ""))
