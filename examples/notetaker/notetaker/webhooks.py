"""Webhooks: believed only with a good signature, stored, answered at once, and worked off afterwards."""

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence

from fastapi import APIRouter, Request
from fastapi.responses import Response

from notetaker.office import Office
from notetaker.service import Json
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
    if not is_genuine(
        bytes(body), request.headers.get("X-Webhook-Signature", ""), secrets=request.app.state.webhook_secrets
    ):
        return Response("The signature is not that of the body.", 403)
    office, delivery = office_of(request), json.loads(body)
    office.store.add_delivery(delivery["idempotency_key"], delivery, now=office.now())
    office.bell.set()
    return Response(status_code=204)


def is_genuine(body: bytes, signature: str, *, secrets: Sequence[str]) -> bool:
    """Whether the body, byte by byte as it came, was signed with one of the secrets."""
    digests = (hmac.new(base64.b64decode(secret), body, hashlib.sha256).digest() for secret in secrets)
    # In constant time: the time that an ordinary comparison takes tells how much of a forged signature is right.
    return any(hmac.compare_digest(base64.b64encode(digest), signature.encode()) for digest in digests)


async def handle(office: Office, delivery: Json) -> None:
    """Does what the webhook is about. Each handler asks the service how things are now and believes only that.

    So it harms nothing if a webhook comes twice, late, or in the wrong order.
    """
    match delivery["trigger"]:
        case "calendar.events_update":
            await handle_calendar_events_update(office, delivery)
        case "calendar.state_change":
            await handle_calendar_state_change(office, delivery)
        case "bot.state_change":
            await handle_bot_state_change(office, delivery)


async def handle_calendar_events_update(office: Office, delivery: Json) -> None:
    """Events of the calendar have changed: fetches those that did since the last time."""
    user = office.store.find_user_of_calendar(delivery["calendar_id"] or "")
    if user is None:
        return
    await _fetch_events(office, user, updated_after=user.synced_until)
    calendar = await office.service.find_calendar(delivery["calendar_id"])
    # A calendar that is being connected again may still be disconnected; that it stays so, a webhook of its own says.
    if calendar is not None and calendar["state"] == "connected" and calendar["last_successful_sync_at"] is not None:
        office.store.mark_connected(user)


async def handle_calendar_state_change(office: Office, delivery: Json) -> None:
    """The calendar became disconnected: says so to the user, and how to reconnect."""
    user = office.store.find_user_of_calendar(delivery["calendar_id"] or "")
    if user is None:
        return
    calendar = await office.service.find_calendar(delivery["calendar_id"])
    if calendar is None:
        office.store.mark_disconnected(user, code="calendar_not_found")
    elif calendar["state"] == "disconnected":
        # `error` beside it is for whoever runs this application; what to tell users is up to it, by the code.
        office.store.mark_disconnected(user, code=calendar["connection_failure_data"]["code"])
    # The bots of all its events are gone, and no event has changed by that: so all are read, and their bots with them.
    await _fetch_events(office, user, updated_after=None)


async def handle_bot_state_change(office: Office, delivery: Json) -> None:
    """A bot has got on with its work."""
    event = office.store.find_event_of_bot(delivery["bot_id"] or "")
    if event is None:
        return
    office.store.save_bot(event, await office.service.find_bot(delivery["bot_id"]))


async def _fetch_events(office: Office, user: User, *, updated_after: str | None) -> None:
    """Saves page by page: who is interrupted goes on from the last page that was saved."""
    if user.calendar_id is None:
        return
    async for page in office.service.event_pages(user.calendar_id, updated_after=updated_after):
        office.store.save_events(user, page)
