"""The Google of the sandbox: the calendar API under `/google/calendar/v3`, and all that hangs on it."""

from __future__ import annotations

from datetime import UTC
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Entry
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.google_access import ADDRESS_SCOPES, LIST_SCOPES, GoogleAccess, answered
from attendee.sandbox.google_consent import GoogleConsent
from attendee.sandbox.google_errors import GoogleRefuses, json_answer
from attendee.sandbox.google_items import View
from attendee.sandbox.google_listing import (
    Cursor,
    Query,
    Walk,
    Walks,
    delta,
    find_event,
    full_listing,
    instances,
    page_token,
    parse_cursor,
    parse_query,
    positive_number,
)
from attendee.sandbox.google_oauth import GoogleOAuth, account_number
from attendee.sandbox.google_watch import GoogleWatch
from attendee.sandbox.projection import parse_fields, project
from attendee.sandbox.pushes import Pushes
from attendee.sandbox.world import Person, Role, World

API = "/calendar/v3"
ROLES = {Role.OWNER: "owner", Role.WRITER: "writer", Role.READER: "reader", Role.FREE_BUSY: "freeBusyReader"}
USUAL_CALENDAR_PAGE, LARGEST_CALENDAR_PAGE = 100, 250


class Google:
    """Every route of Google over one world."""

    def __init__(self, world: World, pushes: Pushes) -> None:
        self.world = world
        self.access = GoogleAccess(world)
        self.watch = GoogleWatch(world, self.access, pushes)
        self.oauth = GoogleOAuth(world)
        self.consent = GoogleConsent(world)
        self.walks = Walks()

    def routes(self) -> list[Route]:
        """The routes, the busiest first."""
        one = f"{API}/calendars/{{calendar_id}}"
        return [
            Route(f"{one}/events", answered(self.list_events)),
            Route("/token", self.oauth.token, methods=["POST"]),
            Route(f"{one}/events/watch", answered(self.watch.open), methods=["POST"]),
            Route(f"{one}/events/{{event_id}}", answered(self.get_event)),
            Route(f"{one}/events/{{event_id}}/instances", answered(self.list_instances)),
            Route(one, answered(self.get_calendar)),
            Route(f"{API}/users/me/calendarList", answered(self.list_calendars)),
            Route(f"{API}/channels/stop", answered(self.watch.stop), methods=["POST"]),
            Route("/oauth2/v2/userinfo", answered(self.userinfo)),
            Route("/o/oauth2/v2/auth", self.consent.show),
            Route("/o/oauth2/v2/auth", self.consent.answer, methods=["POST"]),
            Route("/revoke", self.oauth.revoke, methods=["POST"]),
        ]

    async def list_events(self, request: Request) -> Response:
        """`events.list`: a window, or what changed since a sync token."""
        parameters = request.query_params
        kind = "delta" if "syncToken" in parameters else "list"
        person, calendar, answer = await self.access.admit(request, kind)
        if answer is not None:
            return answer
        query = parse_query(parameters)
        view = _view(person, calendar, query)
        if "pageToken" in parameters:
            asked = (("calendar", calendar.id), *((n, v) for n, v in parameters.multi_items() if n != "pageToken"))
            walk_id, walk, position = self.walks.find(parameters["pageToken"], asked)
            return self._page(view, query, parameters.get("fields"), walk, walk_id=walk_id, position=position)
        cursor = Cursor(calendar.change, calendar.cursor_generation, query.kind)
        items: list[Any] = []
        if "syncToken" in parameters:
            since = self._since(parameters["syncToken"], cursor, calendar, person)
            if since is None:
                cursor = parse_cursor(parameters["syncToken"])
            elif since.change != calendar.change:
                items = delta(view, query, since)
        elif not self.access.strikes(FaultKind.EMPTY_LISTING, calendar, person):
            items = full_listing(view, query, now=self.world.clock())
        asked = (("calendar", calendar.id), *parameters.multi_items())
        walk = Walk(asked, items, cursor)
        if self.access.strikes(FaultKind.EMPTY_PAGES, calendar, person):
            body = _envelope(view) | {"items": [], "nextPageToken": page_token(self.walks.keep(walk), 0)}
            return _projected(body, parameters.get("fields"))
        return self._page(view, query, parameters.get("fields"), walk)

    async def get_event(self, request: Request) -> Response:
        """`events.get`, of single events, masters and instances."""
        person, calendar, answer = await self.access.admit(request, "event")
        if answer is not None:
            return answer
        query = parse_query(request.query_params)
        item = find_event(_view(person, calendar, query), request.path_params["event_id"], now=self.world.clock())
        return _projected(item, request.query_params.get("fields"))

    async def list_instances(self, request: Request) -> Response:
        """`events.instances`: one series, laid out."""
        person, calendar, answer = await self.access.admit(request, "instances")
        if answer is not None:
            return answer
        entry = calendar.entries.get(request.path_params["event_id"])
        if not isinstance(entry, Entry) or entry.rule is None:
            raise GoogleRefuses("notFound")
        query = parse_query(request.query_params)
        view = _view(person, calendar, query)
        cursor = Cursor(calendar.change, calendar.cursor_generation, f"i{entry.id}")
        asked = (("series", entry.id), *((n, v) for n, v in request.query_params.multi_items() if n != "pageToken"))
        fields = request.query_params.get("fields")
        if "pageToken" in request.query_params:
            walk_id, walk, position = self.walks.find(request.query_params["pageToken"], asked)
            return self._page(view, query, fields, walk, walk_id=walk_id, position=position)
        return self._page(view, query, fields, Walk(asked, instances(view, entry, query), cursor))

    async def get_calendar(self, request: Request) -> Response:
        """`calendars.get`: name and zone; the id of `primary` is the address."""
        _, calendar, answer = await self.access.admit(request, "calendar", scopes=LIST_SCOPES)
        if answer is not None:
            return answer
        body = {"kind": "calendar#calendar", "etag": _etag(calendar), "id": calendar.id, "summary": calendar.name}
        return json_answer(body | {"timeZone": calendar.zone})

    async def list_calendars(self, request: Request) -> Response:
        """`calendarList.list`, with pages."""
        person = self.access.bearer(request, LIST_SCOPES)
        self.world.requests[person.email, "calendars"] += 1
        answer = await self.access.misbehave(request, (person.email,))
        if answer is not None:
            return answer
        query = request.query_params
        size = min(positive_number(query, "maxResults") or USUAL_CALENDAR_PAGE, LARGEST_CALENDAR_PAGE)
        start = positive_number(query, "pageToken") or 0
        entries = [_calendar_list_entry(person, calendar) for calendar in person.calendars.values()]
        body: dict[str, Any] = {"kind": "calendar#calendarList", "items": entries[start : start + size]}
        if start + size < len(entries):
            body["nextPageToken"] = str(start + size)
        else:
            body["nextSyncToken"] = f"L{len(entries)}"
        return _projected(body, query.get("fields"))

    async def userinfo(self, request: Request) -> Response:
        """Who the bearer is."""
        person = self.access.bearer(request, ADDRESS_SCOPES)
        self.world.requests[person.email, "userinfo"] += 1
        given, _, family = person.name.partition(" ")
        body = {
            "id": account_number(person.email),
            "email": person.email,
            "verified_email": True,
            "name": person.name,
            "given_name": given,
            "family_name": family,
            "hd": person.email.partition("@")[2],
        }
        return json_answer(body)

    def _since(self, token: str, current: Cursor, calendar: Calendar, person: Person) -> Cursor | None:
        """Where the delta begins; None where a fault hides what changed. Raises GoogleRefuses (410)."""
        since = parse_cursor(token)
        faults, targets = self.world.faults, (calendar.id, person.email)
        fault = faults.strike(Place.CALENDAR, targets, FaultKind.EXPIRED_CURSOR) if faults.active else None
        if fault is not None or since.generation != current.generation or since.change > current.change:
            raise GoogleRefuses("bareGone" if fault is not None and fault.variant == "bare" else "fullSyncRequired")
        if since.kind != current.kind:
            raise GoogleRefuses("badRequest", "The sync token belongs to a listing with other parameters.")
        return None if self.access.strikes(FaultKind.STALE, calendar, person) else since

    def _page(
        self, view: View, query: Query, fields: str | None, walk: Walk, *, walk_id: str | None = None, position: int = 0
    ) -> Response:
        body = _envelope(view)
        end = position + query.page_size
        body["items"] = walk.items[position:end]
        if end < len(walk.items):
            body["nextPageToken"] = page_token(walk_id or self.walks.keep(walk), end)
        elif query.order_by is None and query.text is None and query.updated_min is None:
            # Users report that an ordered or searched listing yields no token.
            body["nextSyncToken"] = walk.cursor.token()
        return _projected(body, fields)


def _view(person: Person, calendar: Calendar, query: Query) -> View:
    zone = query.zone or _zone(calendar.zone)
    return View(calendar, person.roles[calendar.id], zone, query.max_attendees)


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _envelope(view: View) -> dict[str, Any]:
    calendar = view.calendar
    return {
        "kind": "calendar#events",
        "etag": _etag(calendar),
        "summary": calendar.name,
        "updated": calendar.updated_at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "timeZone": calendar.zone,
        "accessRole": ROLES[view.role],
        "defaultReminders": [],
    }


def _etag(calendar: Calendar) -> str:
    return f'"p{calendar.cursor_generation}s{calendar.change}"'


def _calendar_list_entry(person: Person, calendar: Calendar) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": "calendar#calendarListEntry",
        "etag": _etag(calendar),
        "id": calendar.id,
        "summary": calendar.name,
        "timeZone": calendar.zone,
        "accessRole": ROLES[person.roles[calendar.id]],
        "selected": True,
        "backgroundColor": "#9fe1e7",
    }
    return entry | ({"primary": True} if calendar.id == person.email else {})


def _projected(body: Any, fields: str | None) -> Response:
    shown = body if fields is None else project(body, parse_fields(fields))
    return json_answer(shown)
