"""The sandbox by JSON, under `/sandbox/api`: for the demo and for tests that run it as another process."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from attendee.sandbox import room_words, words
from attendee.sandbox.calendars import Calendar, Standing
from attendee.sandbox.entries import Entry, Slot, as_instant, parse_moment
from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.fleet import Fleet
from attendee.sandbox.microsoft_seed import seed_microsoft_week
from attendee.sandbox.rooms import Room
from attendee.sandbox.seed import seed_week
from attendee.sandbox.world import Notice, Person, Platform, World

Handler = Callable[[Request, dict[str, Any]], Awaitable[object]]

FAULT_OPTIONS = ("times", "seconds", "status", "variant", "retry_after")


class Control:
    """Every route of the control API over one world and its fleet of bots."""

    def __init__(self, world: World, fleet: Fleet) -> None:
        self.world = world
        self.fleet = fleet

    def routes(self) -> list[Route]:
        """All of them, below `/sandbox/api`."""
        calendar, person = "/calendars/{calendar_id}", "/people/{email}"
        table: list[tuple[str, str, Handler]] = [
            ("GET", "/people", self.list_people),
            ("POST", "/people", self.add_person),
            ("POST", f"{person}/authorise", self.authorise),
            ("POST", f"{person}/revoke", self.revoke),
            ("POST", f"{person}/expire-access-tokens", self.expire_access_tokens),
            ("POST", f"{person}/notices", self.notify_watchers),
            ("GET", f"{calendar}/events", self.list_events),
            ("POST", f"{calendar}/events", self.create_event),
            ("PATCH", f"{calendar}/events/{{event_id}}", self.change_event),
            ("DELETE", f"{calendar}/events/{{event_id}}", self.remove_event),
            ("POST", f"{calendar}/expire-cursors", self.expire_cursors),
            ("GET", "/rooms", self.list_rooms),
            ("GET", "/rooms/{code}", self.show_room),
            ("POST", "/rooms/{code}/{action}", self.act_in_room),
            ("GET", "/bots", self.list_bots),
            ("PATCH", "/fleet", self.set_fleet_secret),
            ("GET", "/faults", self.list_faults),
            ("POST", "/faults", self.switch_fault_on),
            ("DELETE", "/faults", self.switch_faults_off),
            ("GET", "/requests", self.list_requests),
        ]
        return [Route(path, _spoken(handler), methods=[method]) for method, path, handler in table]

    async def list_people(self, _: Request, __: dict[str, Any]) -> object:
        """Everybody, and the calendars in their lists."""
        return [_person_body(person) for person in self.world.people.values()]

    async def add_person(self, _: Request, body: dict[str, Any]) -> object:
        """The new person, with a seeded week if `seed` is true."""
        person = self.world.add_person(
            str(body["email"]),
            name=body.get("name"),
            platform=body.get("platform", "google"),
            zone=body.get("zone", "UTC"),
        )
        if body.get("seed"):
            now = self.world.clock()
            if person.platform is Platform.MICROSOFT:
                seed_microsoft_week(person.primary, now=now)
            else:
                seed_week(person.primary, now=now, room_link=self.world.rooms.links.new())
        return _person_body(person)

    async def authorise(self, request: Request, body: dict[str, Any]) -> object:
        """A refresh token without the consent page."""
        person = self.world.people[request.path_params["email"]]
        client_id = str(body.get("client_id", "sandbox-client"))
        return {"client_id": client_id, "refresh_token": self.world.authorise(person, client_id=client_id)}

    async def revoke(self, request: Request, _: dict[str, Any]) -> object:
        """Withdraws the person's consent."""
        self.world.revoke(self.world.people[request.path_params["email"]])
        return {}

    async def expire_access_tokens(self, request: Request, _: dict[str, Any]) -> object:
        """Ends access tokens early."""
        self.world.grants.expire_access_tokens(request.path_params["email"])
        return {}

    async def notify_watchers(self, request: Request, body: dict[str, Any]) -> object:
        """What Microsoft has to say about the subscriptions themselves."""
        self.world.notify_watchers(self.world.people[request.path_params["email"]], Notice(body["notice"]))
        return {}

    async def list_events(self, request: Request, _: dict[str, Any]) -> object:
        """What stands in the calendar: a day back and four weeks ahead, unless `from` and `until` say otherwise."""
        calendar, now = self._calendar(request), self.world.clock()
        start = _query_instant(request, "from") or now - timedelta(days=1)
        end = _query_instant(request, "until") or now + timedelta(days=28)
        return [_standing_body(one) for one in calendar.between(start, end)]

    async def create_event(self, request: Request, body: dict[str, Any]) -> object:
        """The new event; `with_room` puts it into a new room of the sandbox."""
        return _entry_body(words.create(self._calendar(request), self.world.rooms.links.with_room(body)))

    async def change_event(self, request: Request, body: dict[str, Any]) -> object:
        """The event with other words; one occurrence of it if the body names that."""
        return _entry_body(words.change(self._calendar(request), request.path_params["event_id"], body))

    async def remove_event(self, request: Request, _: dict[str, Any]) -> object:
        """The event, cancelled or deleted; one occurrence of it if the query names that."""
        event_id = request.path_params["event_id"]
        return _entry_body(words.remove(self._calendar(request), event_id, request.query_params))

    async def expire_cursors(self, request: Request, _: dict[str, Any]) -> object:
        """Every cursor of the calendar is refused from now on."""
        self._calendar(request).expire_cursors()
        return {}

    async def list_rooms(self, _: Request, __: dict[str, Any]) -> object:
        """The rooms that somebody has opened or gone to."""
        return [_room_body(room) for room in self.world.rooms.rooms.values()]

    async def show_room(self, request: Request, _: dict[str, Any]) -> object:
        """Who is in the room."""
        return _room_body(self.world.rooms.at(request.path_params["code"]))

    async def act_in_room(self, request: Request, body: dict[str, Any]) -> object:
        """The room after what its page's buttons do; `participant` is who has joined by it."""
        room = self.world.rooms.at(request.path_params["code"])
        joined = room_words.act(room, request.path_params["action"], body)
        return _room_body(room) | ({"participant": joined.id} if joined else {})

    async def list_bots(self, _: Request, __: dict[str, Any]) -> object:
        """Every bot of the fleet, with what it has reported and how that was answered."""
        return [
            {
                "id": bot.order.bot_id,
                "state": bot.visitor.presence.value,
                "remark": bot.visitor.remark,
                "room": bot.room.code,
                "reports": [{"type": report.type, "status": report.status} for report in bot.reporter.reports],
            }
            for bot in self.fleet.bots.values()
        ]

    async def set_fleet_secret(self, _: Request, body: dict[str, Any]) -> object:
        """From now on orders must be signed with this secret (base64); null asks for no signature."""
        secret = body["secret"]
        if secret is not None:
            b64decode(secret, validate=True)
        self.world.fleet_secret = secret
        return {}

    async def list_faults(self, _: Request, __: dict[str, Any]) -> object:
        """What is switched on."""
        return [fault_body(fault) for fault in self.world.faults.active]

    async def switch_fault_on(self, _: Request, body: dict[str, Any]) -> object:
        """The fault, on from now."""
        options = {name: body[name] for name in FAULT_OPTIONS if name in body}
        place = Place(body["place"]) if "place" in body else None
        return fault_body(
            self.world.faults.switch_on(str(body["target"]), FaultKind(body["kind"]), place=place, **options)
        )

    async def switch_faults_off(self, request: Request, _: dict[str, Any]) -> object:
        """Off: all of them, or those of one target and kind."""
        kind = request.query_params.get("kind")
        self.world.faults.switch_off(request.query_params.get("target"), FaultKind(kind) if kind else None)
        return {}

    async def list_requests(self, _: Request, __: dict[str, Any]) -> object:
        """How many requests of each kind came in."""
        return [
            {"target": target, "kind": kind, "count": count} for (target, kind), count in self.world.requests.items()
        ]

    def _calendar(self, request: Request) -> Calendar:
        return self.world.calendars[request.path_params["calendar_id"]]


def fault_body(fault: Fault) -> dict[str, Any]:
    """A fault as JSON."""
    return {
        "target": fault.target,
        "kind": fault.kind.value,
        "place": fault.place.value,
        "times": fault.times,
        "variant": fault.variant,
    }


def _spoken(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            content = await request.body()
            result = await handler(request, dict(orjson.loads(content)) if content else {})
        except KeyError as missing:
            return _json({"error": f"not found: {missing.args[0]}"}, status=404)
        except (ValueError, TypeError) as wrong:
            return _json({"error": str(wrong)}, status=400)
        return _json(result)

    return answer


def _json(body: object, *, status: int = 200) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")


def _person_body(person: Person) -> dict[str, Any]:
    return {
        "email": person.email,
        "name": person.name,
        "platform": person.platform.value,
        "state": person.state.value,
        "calendars": [
            {"id": one.id, "name": one.name, "zone": one.zone, "role": person.roles[one.id].value}
            for one in person.calendars.values()
        ],
    }


def _room_body(room: Room) -> dict[str, Any]:
    return {
        "code": room.code,
        "stands_for": room.stands_for,
        "is_open": room.is_open,
        "ends_at": room.ends_at.isoformat() if room.ends_at else None,
        "participants": [{"id": one.id, "name": one.name} for one in room.participants.values()],
        "bots": [
            {"id": one.id, "name": one.name, "state": one.presence.value, "remark": one.remark}
            for one in room.visitors.values()
        ],
        "lines": [{"name": one.name, "text": one.text, "is_said": one.is_said} for one in room.lines],
    }


def _entry_body(entry: Entry) -> dict[str, Any]:
    return {"id": entry.id, "state": entry.state.value, "is_series": entry.rule is not None}


def _standing_body(one: Standing) -> dict[str, Any]:
    details = one.details
    return {
        "id": one.entry.id,
        "occurrence": None if one.slot is None else _text(one.slot),
        "title": details.title,
        "starts": _text(details.starts),
        "ends": _text(details.ends),
        "location": details.location,
        "meeting_url": details.conference.url if details.conference else None,
        "is_live": one.is_live,
    }


def _text(moment: Slot) -> str:
    return moment.astimezone(UTC).isoformat() if isinstance(moment, datetime) else moment.isoformat()


def _query_instant(request: Request, name: str) -> datetime | None:
    text = request.query_params.get(name)
    if text is None:
        return None
    return as_instant(parse_moment(text, zone="UTC"), zone="UTC")
