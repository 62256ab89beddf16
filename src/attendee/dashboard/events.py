"""One event: everything that is known of it, its bots, and what happened to it."""

from urllib.parse import urlencode

import orjson
from sqlalchemy import select
from starlette.responses import RedirectResponse, Response

from attendee.dashboard import timeline
from attendee.dashboard.bots import standing_of, tone_of
from attendee.dashboard.rendering import page
from attendee.dashboard.visits import Visit
from attendee.errors import NotFound
from attendee.model import BotState
from attendee.store.tables import bots, calendars, events

# Where the page of a thing is, by the beginning of its id.
_PLACES = {"cal_": "calendars", "evt_": "events", "bot_": "bots", "whd_": "deliveries", "webhook_": "settings/webhooks"}


async def show_event(visit: Visit) -> Response:
    event = (
        await visit.tx.execute(
            select(events).where(events.c.id == visit.part("event_id"), events.c.project_id == visit.project.id)
        )
    ).one_or_none()
    if event is None:
        raise NotFound("Event")
    calendar = (
        await visit.tx.execute(
            select(calendars.c.id, calendars.c.deduplication_key, calendars.c.platform, calendars.c.state).where(
                calendars.c.id == event.calendar_id
            )
        )
    ).one()
    its_bots = (
        await visit.tx.execute(
            select(bots.c.id, bots.c.name, bots.c.state, bots.c.join_at, bots.c.created_at)
            .where(bots.c.event_id == event.id)
            .order_by(bots.c.created_at, bots.c.id)
        )
    ).all()
    return page(
        visit,
        "event.html",
        event=event,
        calendar=calendar,
        bots=its_bots,
        tone_of=tone_of,
        standing=standing_of(event, [BotState(one.state) for one in its_bots]),
        attendees=orjson.loads(event.attendees),
        raw=orjson.dumps(orjson.loads(event.raw), option=orjson.OPT_INDENT_2).decode(),
        timeline=await timeline.of_event(visit, event, [one.id for one in its_bots]),
        is_over=event.end_time <= visit.now,
    )


async def find(visit: Visit) -> Response:
    """The page of whatever has the id that was asked for, or the calendars with that in their key or metadata."""
    sought = visit.asked("id")
    place = next((place for prefix, place in _PLACES.items() if sought.startswith(prefix)), None)
    if place is not None and sought.replace("_", "").isalnum():
        return RedirectResponse(f"{visit.address}/{place}/{sought}", 303)
    return RedirectResponse(f"{visit.address}/calendars?{urlencode({'q': sought})}", 303)
