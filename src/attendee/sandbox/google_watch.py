"""Google's push channels: watch, stop, and the messages that go out on each change."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

import orjson
from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.google_access import EVENT_SCOPES, GoogleAccess
from attendee.sandbox.google_errors import GoogleRefuses, json_answer
from attendee.sandbox.pushes import Pushes
from attendee.sandbox.world import Channel, Platform, World

USUAL_CHANNEL_LIFE = timedelta(days=7)
LONGEST_CHANNEL_LIFE = timedelta(days=30)
LONGEST_CHANNEL_ID = 64
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class GoogleWatch:
    """The channels of one world. Sends a message for each change in a watched calendar."""

    def __init__(self, world: World, access: GoogleAccess, pushes: Pushes) -> None:
        self.world = world
        self.access = access
        self.pushes = pushes
        world.changed_observers.append(self.tell_watchers)

    async def open(self, request: Request) -> Response:
        """`events.watch`: opens a channel; its `sync` message goes out at once."""
        person, calendar, answer = await self.access.admit(request, "watch")
        if answer is not None:
            return answer
        if not calendar.can_be_watched:
            raise GoogleRefuses("pushNotSupportedForRequestedResource")
        wanted = _json_object(await request.body())
        id, address = wanted.get("id"), wanted.get("address")
        is_kind_known = wanted.get("type") in ("web_hook", "webhook")
        if not isinstance(id, str) or not 0 < len(id) <= LONGEST_CHANNEL_ID or not is_kind_known:
            raise GoogleRefuses("badRequest")
        if id in self.world.channels:
            raise GoogleRefuses("channelIdNotUnique", f"Channel id {id} not unique")
        if not isinstance(address, str) or not _may_be_called(address):
            raise GoogleRefuses("webhookUrlUnauthorized", f"Unauthorized WebHook callback channel: {address}")
        channel = Channel(
            id=id,
            resource_id=secrets.token_urlsafe(16),
            calendar=calendar,
            person=person.email,
            client_id=self.access.grant(request).client_id,
            address=address,
            secret=wanted.get("token"),
            expires_at=_channel_end(wanted, now=self.world.clock()),
            platform=Platform.GOOGLE,
            resource=f"{str(request.url).removesuffix('/watch')}?alt=json",
        )
        self.world.channels[id] = channel
        self._send(channel, "sync")
        body = {"kind": "api#channel", "id": id, "resourceId": channel.resource_id, "resourceUri": channel.resource}
        if channel.secret is not None:
            body["token"] = channel.secret
        return json_answer(body | {"expiration": str(int(channel.expires_at.timestamp() * 1000))})

    async def stop(self, request: Request) -> Response:
        """`channels.stop`: 204, also for a channel stopped before."""
        person = self.access.bearer(request, EVENT_SCOPES)
        self.world.requests[person.email, "stop"] += 1
        answer = await self.access.misbehave(request, (person.email,))
        if answer is not None:
            return answer
        wanted = _json_object(await request.body())
        channel = self.world.channels.get(str(wanted.get("id")))
        if channel is not None:
            if channel.resource_id != wanted.get("resourceId") or channel.person != person.email:
                raise GoogleRefuses("notFound", f"Channel '{channel.id}' not found for project 'sandbox'")
            del self.world.channels[channel.id]
        return Response(status_code=204)

    def tell_watchers(self, calendar: Calendar) -> None:
        """Sends a message to every live channel of the calendar, unless pushes are off or lost on their way."""
        now = self.world.clock()
        for channel in list(self.world.channels.values()):
            if channel.calendar is not calendar or channel.platform is not Platform.GOOGLE:
                continue
            if channel.expires_at <= now:
                del self.world.channels[channel.id]
                continue
            self._send(channel, "not_exists" if calendar.is_gone else "exists")

    def _send(self, channel: Channel, state: str) -> None:
        channel.messages += 1
        if not self.world.pushes_on:
            return
        targets = (channel.calendar.id, channel.person)
        if self.world.faults.strike(Place.PUSHES, targets, FaultKind.DROPPED_PUSHES) is not None:
            return
        headers = {
            "X-Goog-Channel-ID": channel.id,
            "X-Goog-Channel-Expiration": format_datetime(channel.expires_at.astimezone(UTC), usegmt=True),
            "X-Goog-Resource-ID": channel.resource_id,
            "X-Goog-Resource-URI": channel.resource,
            "X-Goog-Resource-State": state,
            "X-Goog-Message-Number": str(channel.messages),
        }
        if channel.secret is not None:
            headers["X-Goog-Channel-Token"] = channel.secret
        self.world.requests[channel.calendar.id, "push"] += 1
        self.pushes.send(channel.address, headers=headers)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise GoogleRefuses("badRequest", "Parse Error") from None
    if not isinstance(value, dict):
        raise GoogleRefuses("badRequest", "Parse Error")
    return value


def _may_be_called(address: str) -> bool:
    # Google itself calls only https; the sandbox also calls this machine, where nobody has a certificate.
    parts = urlsplit(address)
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK))


def _channel_end(wanted: dict[str, Any], *, now: datetime) -> datetime:
    """The stricter of what was asked for and what is granted at most."""
    ends = [now + LONGEST_CHANNEL_LIFE]
    try:
        if "expiration" in wanted:
            ends.append(datetime.fromtimestamp(int(wanted["expiration"]) / 1000, UTC))
        elif "ttl" in wanted.get("params", {}):
            ends.append(now + timedelta(seconds=int(wanted["params"]["ttl"])))
        else:
            ends.append(now + USUAL_CHANNEL_LIFE)
    except (TypeError, ValueError, OverflowError):
        raise GoogleRefuses("badRequest") from None
    return min(ends)
