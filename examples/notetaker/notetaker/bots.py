"""Which meetings have a bot, made to agree with which meetings shall have notes."""

from attendee_client import Refused, api
from notetaker.office import Office
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
    new = api.create_bot(bot_name=_BOT_NAME, calendar_event_id=event.id, deduplication_key=event.id)
    try:
        bot = await office.service.do(new)
    except Refused as refused:
        # Perhaps it was ordered before, and the answer got lost. Older ones with the key have finished.
        existing = [bot async for bot in office.service.each(api.bots(deduplication_key=event.id))]
        if not existing or existing[-1].state in FINISHED_STATES:
            office.store.note_problem(event, str(refused.body.get("error", refused)))
            return
        bot = existing[-1]
    office.store.save_bot(event, bot)


async def _take_back(office: Office, event: Event) -> None:
    """Unschedules the event's bot; one that is at work is asked to leave."""
    assert event.bot_id is not None
    is_planned = event.bot_state in PLANNED_STATES
    try:
        if is_planned:
            await office.service.do(api.delete_bot(event.bot_id))
        bot = None if is_planned else await office.service.do(api.leave(event.bot_id))
    except Refused:
        # It has got on meanwhile, or is gone. In the few minutes while it is being started it can be neither
        # unscheduled nor asked to leave: then this is tried again.
        bot = await office.service.find(api.bot(event.bot_id))
    office.store.save_bot(event, bot)
