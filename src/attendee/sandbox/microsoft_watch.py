"""Graph's subscriptions: the handshake, their lives, the notifications of each change, and the lifecycle messages."""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit

import aiohttp
import orjson
from starlette.responses import Response
from starlette.routing import Route

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Entry, EntryState, Slot
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.google_watch import LOOPBACK
from attendee.sandbox.grants import Grant
from attendee.sandbox.microsoft_access import Call, GraphAccess
from attendee.sandbox.microsoft_errors import GraphRefuses, json_answer
from attendee.sandbox.microsoft_ids import event_id, tenant_id, user_id
from attendee.sandbox.microsoft_items import change_key, timestamp
from attendee.sandbox.pushes import Pushes
from attendee.sandbox.world import Channel, Notice, Person, Platform, World

# The documentation says 10,080 minutes; the service refuses more than this.
LONGEST_LIFE = timedelta(minutes=10_070)
SHORTEST_LIFE = timedelta(minutes=45)
HANDSHAKE_TIMEOUT = aiohttp.ClientTimeout(total=10)
LONGEST_CLIENT_STATE = 128
MOST_SUBSCRIPTIONS = 1000
CHANGE_TYPES = frozenset({"created", "updated", "deleted"})
# How often one change is told, and as what: duplicates are common, and a creation is followed by an update.
STORM = {"created": ("created", "updated"), "updated": ("updated", "updated"), "deleted": ("deleted",)}
JSON = {"Content-Type": "application/json; charset=utf-8"}

Item = dict[str, Any]
# What happened (a key of `STORM`), to the entry of which name, in which of its slots.
Change = tuple[str, str, Slot | None]


@dataclass(slots=True, kw_only=True)
class Subscription:
    """A channel of the world, and what only Graph has. Without `calendar` it watches the whole mailbox."""

    channel: Channel
    grant: Grant
    calendar: Calendar | None
    change_types: frozenset[str]
    lifecycle_address: str | None
    immutable: bool
    # While the subscription waits to be authorised anew its messages wait with it.
    is_paused: bool = False
    held: list[Item] = field(default_factory=list)


class MicrosoftWatch:
    """The subscriptions of one world. Sends messages for each change in a watched calendar."""

    def __init__(self, world: World, access: GraphAccess, pushes: Pushes) -> None:
        self.world = world
        self.access = access
        self.pushes = pushes
        self.subscriptions: dict[str, Subscription] = {}
        world.changed_observers.append(self.tell_watchers)
        world.notice_observers.append(self.tell_notice)

    def routes(self, api: str) -> list[Route]:
        """All of them."""
        one, served = f"{api}/subscriptions/{{subscription_id}}", self.access.served
        return [
            Route(f"{api}/subscriptions", served("watch", self.open), methods=["POST"]),
            Route(f"{api}/subscriptions", served("subscriptions", self.list_own)),
            Route(one, served("subscription", self.get)),
            Route(one, served("renew", self.renew), methods=["PATCH"]),
            Route(one, served("stop", self.stop), methods=["DELETE"]),
            Route(f"{one}/reauthorize", served("reauthorize", self.reauthorize), methods=["POST"]),
        ]

    async def open(self, call: Call) -> Response:
        """POST /subscriptions: 201 once the addresses have proved that they listen."""
        wanted = _json_object(await call.request.body())
        change_types = frozenset(str(wanted.get("changeType", "")).split(","))
        address, lifecycle_address = wanted.get("notificationUrl"), wanted.get("lifecycleNotificationUrl")
        secret = wanted.get("clientState")
        if not change_types <= CHANGE_TYPES or not _is_short_text(secret):
            raise GraphRefuses("payload")
        if not _may_be_called(address) or (lifecycle_address is not None and not _may_be_called(lifecycle_address)):
            raise GraphRefuses("payload", "Could not process subscription creation payload. Address must be HTTPS.")
        expires_at = self._expiration(wanted)
        calendar = self._calendar(call, str(wanted.get("resource", "")), change_types)
        if sum(1 for one in self._live() if one.channel.person == call.person.email) >= MOST_SUBSCRIPTIONS:
            raise GraphRefuses("tooManySubscriptions")
        for url in dict.fromkeys((address, lifecycle_address)):
            if url is not None:
                await self._shake_hands(str(url))
        channel = Channel(
            id=str(uuid.uuid4()),
            platform=Platform.MICROSOFT,
            resource=str(wanted["resource"]),
            resource_id=str(uuid.uuid4()),
            calendar=calendar or call.person.primary,
            person=call.person.email,
            client_id=self.access.grant(call.request).client_id,
            address=str(address),
            secret=secret,
            expires_at=expires_at,
        )
        self.world.channels[channel.id] = channel
        self.subscriptions[channel.id] = Subscription(
            channel=channel,
            grant=self.access.grant(call.request),
            calendar=calendar,
            change_types=change_types,
            lifecycle_address=lifecycle_address,
            immutable=call.preferences.immutable,
        )
        return json_answer(_body(self.subscriptions[channel.id]), status=201)

    async def list_own(self, call: Call) -> Response:
        """GET /subscriptions: those of this application and user."""
        client_id = self.access.grant(call.request).client_id
        found = [one for one in self._live() if _belongs_to(one, call.person, client_id)]
        return json_answer({"value": [_body(one) for one in found]})

    async def get(self, call: Call) -> Response:
        """GET /subscriptions/{id}."""
        return json_answer(_body(self._find(call)))

    async def renew(self, call: Call) -> Response:
        """PATCH /subscriptions/{id}: another end or address. Authorises anew as well."""
        subscription = self._find(call)
        wanted = _json_object(await call.request.body())
        if not wanted or not wanted.keys() <= {"expirationDateTime", "notificationUrl"}:
            raise GraphRefuses("payload", "Only expirationDateTime and notificationUrl can be changed.")
        channel = subscription.channel
        expires_at = self._expiration(wanted) if "expirationDateTime" in wanted else channel.expires_at
        if "notificationUrl" in wanted:
            if not _may_be_called(wanted["notificationUrl"]):
                raise GraphRefuses("payload")
            await self._shake_hands(wanted["notificationUrl"])
            channel.address = wanted["notificationUrl"]
        channel.expires_at = expires_at
        self._resume(subscription, self.access.grant(call.request))
        return json_answer(_body(subscription))

    async def stop(self, call: Call) -> Response:
        """DELETE /subscriptions/{id}."""
        self._drop(self._find(call))
        return Response(status_code=204)

    async def reauthorize(self, call: Call) -> Response:
        """POST /subscriptions/{id}/reauthorize: messages flow again."""
        self._resume(self._find(call), self.access.grant(call.request))
        return Response(status_code=200)

    def tell_watchers(self, calendar: Calendar) -> None:
        """Tells every subscription that covers the calendar, those of one address together."""
        watching = [one for one in self._live() if self._covers(one, calendar)]
        if calendar.is_gone:
            for subscription in watching:
                if subscription.calendar is calendar:
                    self._send_notice(subscription, Notice.SUBSCRIPTION_REMOVED)
                    self._drop(subscription)
            return
        if not watching or not self.world.pushes_on:
            return
        changes = list(_changes(calendar))
        rounds: dict[tuple[str, int], list[Item]] = {}
        for subscription in watching:
            targets = (calendar.id, subscription.channel.person)
            if self.world.faults.strike(Place.PUSHES, targets, FaultKind.DROPPED_PUSHES) is not None:
                continue
            for number, item in _notifications(subscription, calendar, changes):
                if subscription.is_paused:
                    subscription.held.append(item)
                else:
                    rounds.setdefault((subscription.channel.address, number), []).append(item)
        for (address, _), items in rounds.items():
            self.world.requests[calendar.id, "push"] += 1
            self._post(address, items)

    def tell_notice(self, person: Person, notice: Notice) -> None:
        """Sends a lifecycle message to every subscription of the person's calendars."""
        for subscription in list(self._live()):
            if subscription.channel.person != person.email:
                continue
            self._send_notice(subscription, notice)
            if notice is Notice.SUBSCRIPTION_REMOVED:
                self._drop(subscription)
            subscription.is_paused = notice is Notice.REAUTHORIZATION_REQUIRED

    def _live(self) -> Iterable[Subscription]:
        """What has not ended: by time, by its grant (without a word, as at Graph), or by whoever took it away."""
        now = self.world.clock()
        for subscription in list(self.subscriptions.values()):
            channel = subscription.channel
            if channel.id not in self.world.channels or channel.expires_at <= now or subscription.grant.revoked:
                self._drop(subscription)
            else:
                yield subscription

    def _covers(self, subscription: Subscription, calendar: Calendar) -> bool:
        if subscription.calendar is not None:
            return subscription.calendar is calendar
        return calendar.owner == subscription.channel.person

    def _find(self, call: Call) -> Subscription:
        wanted = call.request.path_params["subscription_id"]
        client_id = self.access.grant(call.request).client_id
        for subscription in self._live():
            if subscription.channel.id == wanted and _belongs_to(subscription, call.person, client_id):
                return subscription
        raise GraphRefuses("subscriptionNotFound")

    def _drop(self, subscription: Subscription) -> None:
        self.subscriptions.pop(subscription.channel.id, None)
        self.world.channels.pop(subscription.channel.id, None)

    def _resume(self, subscription: Subscription, grant: Grant) -> None:
        subscription.grant, subscription.is_paused = grant, False
        if subscription.held:
            self._post(subscription.channel.address, subscription.held)
            subscription.held = []

    def _send_notice(self, subscription: Subscription, notice: Notice) -> None:
        if subscription.lifecycle_address is not None:
            item = _common(subscription) | {"lifecycleEvent": notice.value}
            self._post(subscription.lifecycle_address, [item])

    def _post(self, address: str, items: list[Item]) -> None:
        self.pushes.send(address, headers=JSON, body=orjson.dumps({"value": items}))

    def _expiration(self, wanted: dict[str, Any]) -> datetime:
        now = self.world.clock()
        try:
            moment = datetime.fromisoformat(wanted["expirationDateTime"])
        except (KeyError, TypeError, ValueError):
            raise GraphRefuses("payload") from None
        if moment.tzinfo is None or moment <= now:
            raise GraphRefuses("payload")
        if moment - now > LONGEST_LIFE:
            raise GraphRefuses("expirationTooFar")
        return max(moment.astimezone(UTC), now + SHORTEST_LIFE)

    def _calendar(self, call: Call, resource: str, change_types: frozenset[str]) -> Calendar | None:
        """The calendar that the resource names; None for the whole mailbox. Raises GraphRefuses."""
        match resource.strip("/").split("/"):
            case ["me", "events"]:
                return None
            case ["me", "calendars"] if "created" not in change_types:
                return None
            case ["me", "calendar", "events"]:
                calendar = call.person.primary
            case ["me", "calendars", wanted, "events"]:
                try:
                    calendar = self.access.find_calendar(call.person, wanted)
                except GraphRefuses:
                    raise GraphRefuses("resourceInvalid") from None
            case _:
                raise GraphRefuses("resourceInvalid")
        if calendar.owner != call.person.email:
            raise GraphRefuses("ErrorAccessDenied")  # Shared calendars can be read, not watched.
        if not calendar.can_be_watched:
            raise GraphRefuses("unknownBackend")
        return calendar

    async def _shake_hands(self, address: str) -> None:
        """Asks whoever listens there to say the token back. Raises GraphRefuses."""
        assert self.pushes.session is not None
        token = f"Validation: Testing client application reachability for subscription Request-Id: {uuid.uuid4()}"
        separator = "&" if urlsplit(address).query else "?"
        url = f"{address}{separator}validationToken={quote(token, safe='')}"
        headers = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            async with self.pushes.session.post(
                url, headers=headers, timeout=HANDSHAKE_TIMEOUT, allow_redirects=False
            ) as answer:
                said = await answer.text()
                is_proved = answer.status == 200 and answer.content_type == "text/plain" and said == token
        except TimeoutError:
            raise GraphRefuses("validationTimedOut") from None
        except aiohttp.ClientError:
            raise GraphRefuses("connectionClosed") from None
        if not is_proved:
            raise GraphRefuses("validationFailed")


def _changes(calendar: Calendar) -> Iterable[Change]:
    """What the last change was, to which event: a deleted occurrence shows only as a change of its series."""
    for entry in calendar.entries.values():
        if entry.change == calendar.change:
            if not isinstance(entry, Entry):
                yield "updated", entry.id, None
            elif entry.state is EntryState.DELETED:
                yield "deleted", entry.id, None
            else:
                is_new = entry.sequence == 0 and entry.state is EntryState.LIVE
                yield "created" if is_new else "updated", entry.id, None
        elif isinstance(entry, Entry):
            for slot, override in entry.overrides.items():
                if override.change == calendar.change:
                    yield "updated", entry.id, None
                    if override.details is not None:
                        yield "updated", entry.id, slot


def _notifications(
    subscription: Subscription, calendar: Calendar, changes: Iterable[Change]
) -> Iterable[tuple[int, Item]]:
    """What the subscription hears of the changes, and in which of the messages that follow each other."""
    for kind, name, slot in changes:
        for number, told in enumerate(STORM[kind]):
            if told in subscription.change_types:
                yield number, _notification(subscription, calendar, told, name, slot)


def _common(subscription: Subscription) -> dict[str, Any]:
    channel = subscription.channel
    return {
        "subscriptionId": channel.id,
        "subscriptionExpirationDateTime": timestamp(channel.expires_at),
        "tenantId": tenant_id(channel.person),
        "clientState": channel.secret,
    }


def _notification(
    subscription: Subscription, calendar: Calendar, change_type: str, name: str, slot: Slot | None
) -> dict[str, Any]:
    email = subscription.channel.person
    id = event_id(email, calendar.id, name, slot=slot, immutable=subscription.immutable)
    resource = f"Users/{user_id(email)}/Events/{id}"
    data = {"@odata.type": "#Microsoft.Graph.Event", "@odata.id": resource, "id": id}
    if change_type != "deleted":  # Of what was deleted only the id is told.
        data["@odata.etag"] = f'W/"{change_key(calendar, calendar.change)}"'
    return _common(subscription) | {"changeType": change_type, "resource": resource, "resourceData": data}


def _body(subscription: Subscription) -> dict[str, Any]:
    channel = subscription.channel
    return {
        "@odata.context": "https://graph.microsoft.com/v1.0/$metadata#subscriptions/$entity",
        "id": channel.id,
        "resource": channel.resource,
        "applicationId": channel.client_id,
        "changeType": ",".join(sorted(subscription.change_types)),
        "clientState": channel.secret,
        "notificationUrl": channel.address,
        "notificationQueryOptions": None,
        "lifecycleNotificationUrl": subscription.lifecycle_address,
        "expirationDateTime": timestamp(channel.expires_at),
        "creatorId": user_id(channel.person),
        "includeResourceData": None,
        "latestSupportedTlsVersion": "v1_2",
    }


def _belongs_to(subscription: Subscription, person: Person, client_id: str) -> bool:
    return subscription.channel.person == person.email and subscription.channel.client_id == client_id


def _is_short_text(secret: object) -> bool:
    return secret is None or (isinstance(secret, str) and len(secret) <= LONGEST_CLIENT_STATE)


def _may_be_called(address: object) -> bool:
    # Graph itself calls only https; the sandbox also calls this machine, where nobody has a certificate.
    parts = urlsplit(address) if isinstance(address, str) else None
    if parts is None or not parts.hostname:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise GraphRefuses("BadRequest", "Unable to read JSON request payload.") from None
    if not isinstance(value, dict):
        raise GraphRefuses("BadRequest", "Unable to read JSON request payload.")
    return value
