"""The Microsoft of the sandbox: Graph's calendar API under `/microsoft/v1.0`, and all that hangs on it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from attendee.sandbox.entries import Entry, EntryState, OddEntry, occurrence
from attendee.sandbox.faults import Fault, FaultKind
from attendee.sandbox.microsoft_access import PROFILE_SCOPES, Call, GraphAccess, Handler
from attendee.sandbox.microsoft_batch import MicrosoftBatch
from attendee.sandbox.microsoft_consent import MicrosoftConsent
from attendee.sandbox.microsoft_errors import (
    EXPIRED_CURSOR_VARIANTS,
    REFUSALS,
    GraphRefuses,
    json_answer,
    named_refusal,
)
from attendee.sandbox.microsoft_ids import Form, digest, parse_id, user_id
from attendee.sandbox.microsoft_items import View, calendar_item, event_item
from attendee.sandbox.microsoft_listing import (
    DEFAULT_DELTA_PAGE,
    LARGEST_PAGE,
    NOT_IN_DELTAS,
    NOT_SELECTABLE_IN_VIEWS,
    Cursor,
    Found,
    Row,
    Walk,
    Walks,
    entry_rows,
    first_round,
    later_round,
    page_size,
    parse_cursor,
    parse_range,
    parse_select,
    selected,
    skip_token,
    skipped,
    sort_rows,
    standing,
)
from attendee.sandbox.microsoft_oauth import MicrosoftOAuth
from attendee.sandbox.microsoft_watch import MicrosoftWatch
from attendee.sandbox.pushes import Pushes
from attendee.sandbox.world import AccountState, World

API = "/v1.0"
CONTEXT = "https://graph.microsoft.com/v1.0/$metadata#"
EVENTS_CONTEXT = CONTEXT + "Collection(event)"
# Collections of the two addresses of the default calendar, and of any calendar.
PLACES = ("/me", "/me/calendar", "/me/calendars/{calendar_id}")


class Microsoft:
    """Every route of Microsoft over one world."""

    def __init__(self, world: World, pushes: Pushes) -> None:
        self.world = world
        self.access = GraphAccess(world)
        self.oauth = MicrosoftOAuth(world)
        self.consent = MicrosoftConsent(world)
        self.watch = MicrosoftWatch(world, self.access, pushes)
        self.walks = Walks()

    def routes(self) -> list[Route]:
        """The routes, the busiest first."""
        graph = self.graph_routes()
        others = Route(f"{API}/{{rest:path}}", self.refuse_path, methods=["GET", "POST", "PATCH", "DELETE"])
        batch = MicrosoftBatch(self.access, [*graph, others])
        return [
            *graph,
            Route("/{tenant}/oauth2/v2.0/token", self.oauth.token, methods=["POST"]),
            Route("/{tenant}/oauth2/v2.0/authorize", self.consent.show),
            Route("/{tenant}/oauth2/v2.0/authorize", self.consent.answer, methods=["POST"]),
            Route(f"{API}/$batch", batch.answer, methods=["POST"]),
            others,
        ]

    def graph_routes(self) -> list[Route]:
        """What may also be asked for inside a batch."""
        collections: list[tuple[str, str, Handler]] = [
            ("/calendarView/delta", "first_delta", self.list_changes),
            ("/calendarView", "list", self.list_view),
            ("/events/{event_id}", "event", self.get_event),
            ("/events/{event_id}/instances", "instances", self.list_instances),
        ]
        served = self.access.served
        return [
            *(
                Route(f"{API}{place}{path}", served(kind, handler))
                for path, kind, handler in collections
                for place in PLACES
            ),
            Route(f"{API}/me", served("me", self.get_person, scopes=PROFILE_SCOPES)),
            Route(f"{API}/me/calendars", served("calendars", self.list_calendars)),
            Route(f"{API}/me/calendar", served("calendar", self.get_calendar)),
            Route(f"{API}/me/calendars/{{calendar_id}}", served("calendar", self.get_calendar)),
            *self.watch.routes(API),
        ]

    async def list_view(self, call: Call) -> Response:
        """`calendarView`: what stands in a window, expanded and whole."""
        parameters = call.request.query_params
        size = page_size(parameters, preferred=call.preferences.page_size)
        window, start, select = parse_range(parameters), skipped(parameters), parse_select(parameters)
        rows: list[Found] = []
        if start or not self.access.strikes(FaultKind.EMPTY_LISTING, call.calendar, call.person):
            rows = sort_rows(standing(call.calendar, window), parameters.get("$orderby"))
        is_first = "$skip" not in parameters
        if is_first and self.access.strikes(FaultKind.EMPTY_PAGES, call.calendar, call.person):
            return _collection([], next_link=_skip_link(call.request, 0))
        wanted = None if select is None else select - NOT_SELECTABLE_IN_VIEWS
        items = [_shown(row, call.view(), wanted) for row in rows[start : start + size]]
        more = start + size < len(rows)
        return _collection(items, next_link=_skip_link(call.request, start + size) if more else None)

    async def list_changes(self, call: Call) -> Response:
        """`calendarView/delta`: the window, then what changed since a delta link."""
        parameters, calendar = call.request.query_params, call.calendar
        if "$skiptoken" in parameters:
            walk_id, walk, position = self.walks.find(_followed(call.request, "$skiptoken"), calendar)
            return self._delta_page(call, walk, walk_id=walk_id, position=position)
        if "$deltatoken" in parameters:
            since = self._since(call, parse_cursor(_followed(call.request, "$deltatoken")))
            if since is None or since.change == calendar.change:
                # Nothing new, or nothing that can be read yet: the link stays what it is.
                return _delta([], {"@odata.deltaLink": _link(call.request, "$deltatoken", parameters["$deltatoken"])})
            cursor = Cursor(calendar.id, calendar.change, since.generation, since.range, since.select)
            items = later_round(call.view(), since)
        else:
            refused = [name for name in NOT_IN_DELTAS if name in parameters]
            if refused:
                text = f"The following parameters are not supported with change tracking: {', '.join(refused)}."
                raise GraphRefuses("ErrorInvalidUrlQuery", text)
            window, select = parse_range(parameters), parse_select(parameters)
            cursor = Cursor(calendar.id, calendar.change, calendar.cursor_generation, window, select)
            items = first_round(call.view(), window)
        walk = Walk([selected(item, cursor.select) for item in items], cursor)
        if self.access.strikes(FaultKind.EMPTY_PAGES, calendar, call.person):
            token = skip_token(self.walks.keep(walk), 0)
            return _delta([], {"@odata.nextLink": _link(call.request, "$skiptoken", token)})
        return self._delta_page(call, walk)

    async def get_event(self, call: Call) -> Response:
        """One event: single, master, occurrence or exception."""
        view, found = self._find(call)
        parameters = call.request.query_params
        select = parse_select(parameters)
        if isinstance(found, OddEntry):
            return json_answer(found.item)
        item = selected(found.item(view), select)
        if found.slot is None and found.entry.rule is not None and select is not None:
            item |= _differences(view, found.entry, select, expand=parameters.get("$expand"))
        return json_answer({"@odata.context": f"{CONTEXT}users('{user_id(call.person.email)}')/events/$entity", **item})

    async def list_instances(self, call: Call) -> Response:
        """The occurrences and exceptions of one series in a window."""
        view, found = self._find(call)
        if not isinstance(found, Row) or found.slot is not None or found.entry.rule is None:
            raise GraphRefuses("ErrorInvalidRequest", "The item is not the master of a series.")
        parameters = call.request.query_params
        size, start = page_size(parameters, preferred=call.preferences.page_size), skipped(parameters)
        select = parse_select(parameters)
        rows = list(entry_rows(view.calendar, found.entry, parse_range(parameters)))
        items = [selected(row.item(view), select) for row in rows[start : start + size]]
        more = start + size < len(rows)
        return _collection(items, next_link=_skip_link(call.request, start + size) if more else None)

    async def list_calendars(self, call: Call) -> Response:
        """The calendars of the person's list, with pages."""
        parameters = call.request.query_params
        size, start = page_size(parameters, preferred=LARGEST_PAGE), skipped(parameters)
        found = list(call.person.calendars.values())
        items = [calendar_item(call.person, calendar) for calendar in found[start : start + size]]
        more = start + size < len(found)
        context = f"{CONTEXT}users('{user_id(call.person.email)}')/calendars"
        return _collection(items, next_link=_skip_link(call.request, start + size) if more else None, context=context)

    async def get_calendar(self, call: Call) -> Response:
        """One calendar: the default one unless the path names another."""
        context = f"{CONTEXT}users('{user_id(call.person.email)}')/calendars/$entity"
        return json_answer({"@odata.context": context, **calendar_item(call.person, call.calendar)})

    async def get_person(self, call: Call) -> Response:
        """Who the bearer is. `mail` is null where there is no mailbox."""
        person = call.person
        given, _, family = person.name.partition(" ")
        profile = {
            "id": user_id(person.email),
            "displayName": person.name,
            "givenName": given,
            "surname": family,
            "mail": None if person.state is AccountState.CALENDAR_OFF else person.email,
            "userPrincipalName": person.email,
        }
        names = call.request.query_params.get("$select")
        wanted = profile if names is None else {name: profile[name] for name in names.split(",") if name in profile}
        return json_answer({"@odata.context": f"{CONTEXT}users/$entity", **wanted})

    async def refuse_path(self, request: Request) -> Response:
        """Every address that is not here: ids with slashes in them end here too."""
        segment = request.path_params["rest"].rpartition("/")[2]
        message = f"Resource not found for the segment '{segment}'."
        return named_refusal("RequestBroker--ParseUri", now=self.world.clock(), message=message)

    def _since(self, call: Call, since: Cursor) -> Cursor | None:
        """Where the delta begins; None where a fault hides what changed. Raises GraphRefuses."""
        calendar = call.calendar
        if since.calendar_id != calendar.id or "startDateTime" in call.request.query_params:
            raise GraphRefuses("badSyncRequest")  # The window is frozen in the link: nothing is to be added to it.
        fault = self.access.strikes(FaultKind.EXPIRED_CURSOR, calendar, call.person)
        if fault is not None:
            raise _expired(call, since, fault)
        if since.generation != calendar.cursor_generation or since.change > calendar.change:
            raise GraphRefuses("SyncStateNotFound")
        return None if self.access.strikes(FaultKind.STALE, calendar, call.person) else since

    def _delta_page(self, call: Call, walk: Walk, *, walk_id: str | None = None, position: int = 0) -> Response:
        end = position + (call.preferences.page_size or DEFAULT_DELTA_PAGE)
        items = walk.items[position:end]
        if end < len(walk.items):
            token = skip_token(walk_id or self.walks.keep(walk), end)
            return _delta(items, {"@odata.nextLink": _link(call.request, "$skiptoken", token)})
        return _delta(items, {"@odata.deltaLink": _link(call.request, "$deltatoken", walk.cursor.token())})

    def _find(self, call: Call) -> tuple[View, Row | OddEntry]:
        """What the id in the path names, and the calendar that it is in. Raises GraphRefuses (400 or 404)."""
        wanted: str = call.request.path_params["event_id"]
        is_anywhere = "calendar_id" not in call.request.path_params
        calendars = list(call.person.calendars.values()) if is_anywhere else [call.calendar]
        for calendar in calendars:
            odd = calendar.entries.get(wanted)
            if isinstance(odd, OddEntry):
                return call.view(calendar), odd
        named = parse_id(wanted)
        if named is None or named.form is Form.CALENDAR:
            raise GraphRefuses("ErrorInvalidIdMalformed")
        for calendar in calendars:
            is_here = named.mailbox == digest(call.person.email) and named.folder in (b"", digest(calendar.id))
            entry = calendar.entries.get(named.name)
            if not is_here or not isinstance(entry, Entry) or entry.state is EntryState.DELETED:
                continue
            if named.slot is None:
                row = Row(entry, None, entry.details, entry.change, entry.updated_at)
                return call.view(calendar), row
            try:
                found = calendar.occurrence(entry.id, named.slot)
            except KeyError:
                continue  # The series had that occurrence before it was moved to another time.
            if found.details is not None:
                row = Row(entry, named.slot, found.details, found.change, found.updated_at)
                return call.view(calendar), row
        raise GraphRefuses("ErrorItemNotFound")


def _shown(row: Found, view: View, select: frozenset[str] | None) -> Any:
    return row.item if isinstance(row, OddEntry) else selected(row.item(view), select)


def _differences(view: View, entry: Entry, select: frozenset[str], *, expand: str | None) -> dict[str, Any]:
    """What a series lacks and what differs in it; Graph tells of both only to those who ask."""
    told: dict[str, Any] = {}
    if "cancelledOccurrences" in select:
        gone = [slot for slot, override in entry.overrides.items() if override.details is None]
        told["cancelledOccurrences"] = [f"OID.{view.id_of(entry)}.{slot.strftime('%Y-%m-%d')}" for slot in gone]
    if expand == "exceptionOccurrences":
        found = [(slot, occurrence(entry, slot)) for slot in entry.overrides]
        told["exceptionOccurrences"] = [
            event_item(view, entry, one.details, slot=slot, change=one.change, updated_at=one.updated_at)
            for slot, one in found
            if one.details is not None
        ]
    return told


def _expired(call: Call, since: Cursor, fault: Fault) -> GraphRefuses:
    wanted = fault.variant or ""
    name = EXPIRED_CURSOR_VARIANTS.get(wanted, wanted if wanted in REFUSALS else "SyncStateNotFound")
    if wanted != "location":
        return GraphRefuses(name)
    times = {"startDateTime": since.range.start.isoformat(), "endDateTime": since.range.end.isoformat()}
    return GraphRefuses(name, headers={"Location": f"{_address(call.request)}?{urlencode(times)}"})


def _address(request: Request) -> str:
    url = request.url
    return f"{url.scheme}://{url.netloc}{quote(url.path, safe='/=')}"


def _link(request: Request, name: str, token: str) -> str:
    # Encoded through and through, as Graph's own links are: who decodes and encodes them again breaks them.
    return f"{_address(request)}?{quote(name, safe='')}={quote(token, safe='')}"


def _followed(request: Request, name: str) -> str:
    """The token in one of our links. Raises GraphRefuses where the link is not followed byte for byte."""
    token = request.query_params[name]
    if request.url.query != _link(request, name, token).partition("?")[2]:
        raise GraphRefuses("ErrorInvalidUrlQuery", f"The link is to be followed as it is, with nothing but its {name}.")
    return token


def _skip_link(request: Request, position: int) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "$skip"]
    return f"{_address(request)}?{urlencode([*kept, ('$skip', str(position))])}"


def _collection(items: list[Any], *, next_link: str | None, context: str = EVENTS_CONTEXT) -> Response:
    links = {} if next_link is None else {"@odata.nextLink": next_link}
    return json_answer({"@odata.context": context, "value": items, **links})


def _delta(items: list[Any], link: dict[str, str]) -> Response:
    return json_answer({"@odata.context": EVENTS_CONTEXT, "value": items, **link})
