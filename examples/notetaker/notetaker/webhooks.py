"""Webhooks: believed only with a good signature, stored, answered at once, and worked off afterwards."""

from datetime import datetime

from fastapi import APIRouter, Request
from fastapi.responses import Response

from attendee_client import api
from attendee_client.webhooks import NotGenuine, Webhook, verify
from notetaker.office import Office
from notetaker.sessions import office_of
from notetaker.store import User

router = APIRouter()

_LARGEST_BODY = 1024 * 1024


@router.post("/webhooks")
async def take_webhook(request: Request) -> Response:
    """Stores the delivery and answers. It may come twice, late, or after a later one: see the handlers."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            return Response(status_code=413)
    office = office_of(request)
    try:
        webhook = verify(bytes(body), request.headers, secrets=request.app.state.webhook_secrets, now=office.now())
    except NotGenuine as refusal:
        return Response(str(refusal), 403)
    office.store.add_delivery(webhook, now=office.now())
    office.bell.set()
    return Response(status_code=204)


async def handle(office: Office, webhook: Webhook) -> None:
    """Does what the webhook is about. Each handler asks the service how things are now and believes only that.

    So it harms nothing if a webhook comes twice, late, or in the wrong order.
    """
    match webhook.trigger:
        case "calendar.events_update":
            await handle_calendar_events_update(office, webhook)
        case "calendar.state_change":
            await handle_calendar_state_change(office, webhook)
        case "bot.state_change":
            await handle_bot_state_change(office, webhook)


async def handle_calendar_events_update(office: Office, webhook: Webhook) -> None:
    """Events of the calendar have changed: fetches those that did since the last time."""
    user = office.store.find_user_of_calendar(webhook.calendar_id)
    if user is None or user.calendar_id is None:
        return
    await _fetch_events(office, user, user.calendar_id, updated_after=user.synced_until)
    calendar = await office.service.find(api.calendar(user.calendar_id))
    # A calendar that is being connected again may still be disconnected; that it stays so, a webhook of its own says.
    if calendar is not None and calendar.state == "connected" and calendar.last_successful_sync_at is not None:
        office.store.mark_connected(user)


async def handle_calendar_state_change(office: Office, webhook: Webhook) -> None:
    """The calendar became disconnected: says so to the user, and how to reconnect."""
    user = office.store.find_user_of_calendar(webhook.calendar_id)
    if user is None or user.calendar_id is None:
        return
    calendar = await office.service.find(api.calendar(user.calendar_id))
    if calendar is None:
        office.store.mark_disconnected(user, code="calendar_not_found")
    elif calendar.connection_failure_data is not None:
        # `error` beside it is for whoever runs this application; what to tell users is up to it, by the code.
        office.store.mark_disconnected(user, code=calendar.connection_failure_data.code)
    # The bots of all its events are gone, and no event has changed by that: so all are read, and their bots with them.
    await _fetch_events(office, user, user.calendar_id, updated_after=None)


async def handle_bot_state_change(office: Office, webhook: Webhook) -> None:
    """A bot has got on with its work."""
    event = office.store.find_event_of_bot(webhook.bot_id)
    if event is None or event.bot_id is None:
        return
    office.store.save_bot(event, await office.service.find(api.bot(event.bot_id)))


async def _fetch_events(office: Office, user: User, calendar_id: str, *, updated_after: datetime | None) -> None:
    """Saves page by page: who is interrupted goes on from the last page that was saved."""
    async for page in office.service.pages(api.changed_events(calendar_id, updated_after=updated_after)):
        office.store.save_events(user, page.results)
