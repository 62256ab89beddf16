"""Which meetings have a bot, made to agree with which meetings shall have notes."""

from notetaker.office import Office
from notetaker.service import ServiceRefused
from notetaker.store import FINISHED_STATES, PLANNED_STATES, Event

_BOT_NAME = "Notetaker"


async def arrange_bots(office: Office) -> None:
    """Orders the bots that are missing and takes back those that nobody wants any more.

    What is to be done is read off the stored wishes each time, so that nothing is lost if it is interrupted.
    """
    for event in office.store.events_without_bot(now=office.now()):
        await _schedule(office, event)
    for event in office.store.events_with_unwanted_bot():
        await _take_back(office, event)


async def _schedule(office: Office, event: Event) -> None:
    """A bot for the event, which follows it from now on wherever it is moved."""
    # With the event's id as its key there is never a second one, however often this runs.
    new = {"bot_name": _BOT_NAME, "calendar_event_id": event.id, "deduplication_key": event.id}
    try:
        bot = await office.service.create_bot(new)
    except ServiceRefused as refused:
        # Perhaps it was ordered before, and the answer got lost.
        existing = await office.service.find_bot_by_key(event.id)
        if existing is None or existing["state"] in FINISHED_STATES:
            office.store.note_problem(event, str(refused.body.get("error", refused)))
            return
        bot = existing
    office.store.save_bot(event, bot)


async def _take_back(office: Office, event: Event) -> None:
    """Unschedules the event's bot; one that is at work is asked to leave."""
    assert event.bot_id is not None
    is_planned = event.bot_state in PLANNED_STATES
    try:
        if is_planned:
            await office.service.delete_bot(event.bot_id)
        bot = None if is_planned else await office.service.leave(event.bot_id)
    except ServiceRefused:
        # It has got on meanwhile, or is gone. In the few minutes while it is being started it can be neither
        # unscheduled nor asked to leave: then this is tried again.
        bot = await office.service.find_bot(event.bot_id)
    office.store.save_bot(event, bot)
