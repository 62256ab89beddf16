"""/external_webhooks: where the platforms tell of changes. Believed for nothing but "look again".

Answered at once, without asking a platform: each message only brings the next sync of its calendar forward.
"""

import hmac
from collections.abc import Sequence
from typing import Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import PlainTextResponse, Response

from attendee import metrics
from attendee.api.problems import WITHOUT_KEY, BadBody, declared
from attendee.api.service import Service, ServiceOf
from attendee.model import CalendarId, ChannelState, Platform
from attendee.store import channels, claims, tables
from attendee.store.channels import Channel

router = APIRouter(prefix="/external_webhooks", tags=["platforms"])

# Far more than Graph puts into one message; beyond it, somebody else is talking.
_MOST_ITEMS = 1_000
_LONGEST_TOKEN = 10_000
# Graph's lifecycle messages, and what they ask for.
_RENEW_NOW = "reauthorizationRequired"
_REMOVED = "subscriptionRemoved"

_RESPONSES = declared(400, with_key=False)
_HANDSHAKE: dict[str, Any] = {
    "parameters": [
        {
            "name": "validationToken",
            "in": "query",
            "required": False,
            "description": "Of the handshake; the answer repeats it.",
            "schema": {"type": "string"},
        }
    ]
}


@router.post("/google_calendar", response_class=Response, responses=_RESPONSES, openapi_extra=WITHOUT_KEY)
async def google_calendar(service: ServiceOf, request: Request) -> Response:
    """A message of a Google channel. It has no body; unknown channels are answered like known ones."""
    channel_id = request.headers.get("x-goog-channel-id")
    # The first message greets a channel that has just been opened: nothing has changed.
    if request.headers.get("x-goog-resource-state") != "sync":
        secret = request.headers.get("x-goog-channel-token")
        trusted = await _trusted(service, Platform.GOOGLE, [(channel_id, secret)])
        await _look_again(service, Platform.GOOGLE, {channel.calendar_id for channel in trusted if channel is not None})
    return Response()


@router.get(
    "/microsoft_calendar",
    response_class=PlainTextResponse,
    responses=declared(with_key=False),
    openapi_extra=_HANDSHAKE | WITHOUT_KEY,
)
async def microsoft_handshake(request: Request) -> Response:
    """Some notes of Microsoft's show the handshake as a GET."""
    return _echoed(request.query_params.get("validationToken", ""))


@router.post(
    "/microsoft_calendar",
    response_class=PlainTextResponse,
    responses=_RESPONSES | {202: {"description": "Taken in; a handshake is answered with 200"}},
    openapi_extra=_HANDSHAKE | WITHOUT_KEY,
)
async def microsoft_calendar(service: ServiceOf, request: Request) -> Response:
    """Messages of Microsoft subscriptions, or the handshake that opens one. Each item is trusted by its own secret."""
    token = request.query_params.get("validationToken")
    if token is not None:
        return _echoed(token)
    items = _items(await request.body())
    found = await _trusted(
        service, Platform.MICROSOFT, [(item.get("subscriptionId"), item.get("clientState")) for item in items]
    )
    trusted = [
        (channel, item.get("lifecycleEvent")) for channel, item in zip(found, items, strict=True) if channel is not None
    ]
    # Each in a transaction of its own, so that two messages never wait for each other.
    for channel_id in {channel.id for channel, event in trusted if event == _RENEW_NOW}:
        async with service.database.transaction() as tx:
            await claims.wake(tx, tables.channels, channel_id, now=service.clock())
    for channel in {channel.id: channel for channel, event in trusted if event == _REMOVED}.values():
        async with service.database.transaction() as tx:
            await channels.reopen(tx, channel, now=service.clock())
    # Each calendar once: an edit is told of three times, a series more often.
    told = {channel.calendar_id for channel, event in trusted if event != _RENEW_NOW}
    await _look_again(service, Platform.MICROSOFT, told)
    return Response(status_code=202)


def _echoed(token: str) -> Response:
    # As plain text, and never sniffed for anything else: it is a stranger's text.
    return PlainTextResponse(token[:_LONGEST_TOKEN], headers={"X-Content-Type-Options": "nosniff"})


def _items(body: bytes) -> list[dict[str, Any]]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise BadBody("The body is not JSON.") from None
    items = message.get("value") if isinstance(message, dict) else None
    if not isinstance(items, list) or len(items) > _MOST_ITEMS:
        raise BadBody(f"The body must be an object with at most {_MOST_ITEMS} items in `value`.")
    return [item for item in items if isinstance(item, dict)]


async def _trusted(service: Service, platform: Platform, told: Sequence[tuple[object, object]]) -> list[Channel | None]:
    """For each name and secret the channel, if the secret is its own; None for anything else.

    All are looked up at once: what a stranger sends costs one query, however long it is.
    """
    names = {name for name, _ in told if isinstance(name, str) and "\x00" not in name}
    async with service.database.reading() as tx:
        named = await channels.find_named(tx, platform, names)
    return [
        channel if isinstance(name, str) and (channel := named.get(name)) and _knows(service, channel, secret) else None
        for name, secret in told
    ]


def _knows(service: Service, channel: Channel, secret: object) -> bool:
    if not isinstance(secret, str) or channel.state is ChannelState.WANTED:
        return False
    expected = channels.open_secret(service.key_ring, channel)
    return hmac.compare_digest(expected.encode(), secret.encode(errors="replace"))


async def _look_again(service: Service, platform: Platform, calendar_ids: set[CalendarId | None]) -> None:
    wanted = [calendar_id for calendar_id in calendar_ids if calendar_id is not None]
    metrics.pushes.labels(platform.value).inc(len(wanted))
    if wanted:
        async with service.database.transaction() as tx:
            # In one order everywhere, so that two messages never wait for each other.
            for calendar_id in sorted(wanted):
                await channels.notice_push(tx, calendar_id, debounce=service.debounce, now=service.clock())
