"""Who may ask Graph for what, how many at once, and struck by which faults: what every route goes through first."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.grants import Grant
from attendee.sandbox.microsoft_errors import GraphRefuses, fault_answer, named_refusal
from attendee.sandbox.microsoft_ids import Form, digest, is_suitable, parse_id
from attendee.sandbox.microsoft_items import IANA_ZONES, View
from attendee.sandbox.misbehaviour import misbehaviour
from attendee.sandbox.world import AccountState, Person, Platform, World

LARGEST_CONCURRENCY = 4
GRAPH_SCOPE = "https://graph.microsoft.com/"
SHARED_CALENDAR_SCOPES = frozenset({"Calendars.Read.Shared", "Calendars.ReadWrite.Shared"})
CALENDAR_SCOPES = frozenset({"Calendars.Read", "Calendars.ReadWrite"}) | SHARED_CALENDAR_SCOPES
PROFILE_SCOPES = frozenset({"User.Read", "User.ReadWrite", "User.Read.All"})
PREFERENCE = re.compile(r'([\w.-]+)\s*=\s*(?:"([^"]*)"|([^\s,;]+))')


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the `Prefer` headers of a request ask for, and how the answer says that it was done."""

    zone: ZoneInfo
    zone_name: str
    immutable: bool
    text_body: bool
    page_size: int | None
    applied: str


@dataclass(frozen=True, slots=True)
class Call:
    """A request that was let in: by whom, on which calendar, and how the answer is to look."""

    request: Request
    person: Person
    calendar: Calendar
    preferences: Preferences

    def view(self, calendar: Calendar | None = None) -> View:
        """Through whose eyes the calendar, or another one, is read."""
        wanted = self.preferences
        return View(
            self.person,
            calendar or self.calendar,
            wanted.zone,
            wanted.zone_name,
            immutable=wanted.immutable,
            text_body=wanted.text_body,
        )


Handler = Callable[[Call], Awaitable[Response]]


class GraphAccess:
    """Bearer tokens, calendars, places in the queue of each mailbox, and faults of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.under_way: Counter[str] = Counter()

    def served(
        self, kind: str, handler: Handler, *, scopes: frozenset[str] = CALENDAR_SCOPES
    ) -> Callable[[Request], Awaitable[Response]]:
        """The handler behind all of it; what is refused becomes Graph's error body."""

        async def answer(request: Request) -> Response:
            try:
                return await self._answer(kind, handler, request, scopes)
            except GraphRefuses as refused:
                return named_refusal(
                    refused.name, now=self.world.clock(), message=refused.message, headers=refused.headers
                )

        return answer

    def bearer(self, request: Request, scopes: frozenset[str] = frozenset()) -> Person:
        """Who asks. Raises GraphRefuses without a good token, or without one of the scopes, should there be any."""
        header = request.headers.get("authorization", "")
        if not header.startswith("Bearer "):
            raise GraphRefuses("emptyToken")
        token = self.world.grants.access_tokens.get(header[7:])
        if token is None or self.world.clock() >= token.expires_at:
            raise GraphRefuses("InvalidAuthenticationToken")
        person = self.world.people[token.grant.person]
        if person.platform is not Platform.MICROSOFT:
            raise GraphRefuses("malformedToken")
        if token.grant.revoked or person.state is AccountState.DELETED:
            raise GraphRefuses("TokenCreatedWithOutdatedPolicies")
        if person.email in self.world.grants.claims_demanded and not token.has_claims:
            raise GraphRefuses("TokenCreatedWithOutdatedPolicies")
        if scopes and scopes.isdisjoint(short_scopes(token.grant)):
            is_profile = scopes is PROFILE_SCOPES
            raise GraphRefuses("Authorization_RequestDenied" if is_profile else "ErrorAccessDenied")
        return person

    def grant(self, request: Request) -> Grant:
        """The consent behind a request that was let in."""
        return self.world.grants.access_tokens[request.headers["authorization"][7:]].grant

    def strikes(self, kind: FaultKind, calendar: Calendar, person: Person) -> Fault | None:
        """Such a fault where it is on here; one time of it is used up."""
        faults = self.world.faults
        return faults.strike(Place.CALENDAR, (calendar.id, person.email), kind) if faults.active else None

    def find_calendar(self, person: Person, wanted: str) -> Calendar:
        """The calendar of the person's list with that id, Graph's or the sandbox's own. Raises GraphRefuses."""
        if wanted in person.calendars:
            return person.calendars[wanted]
        named = parse_id(wanted)
        if named is None:
            raise GraphRefuses("ErrorItemNotFound" if is_suitable(wanted) else "ErrorInvalidIdMalformed")
        is_here = named.form is Form.CALENDAR and named.mailbox == digest(person.email)
        if not is_here or named.name not in person.calendars:
            raise GraphRefuses("ErrorItemNotFound")
        return person.calendars[named.name]

    async def _answer(self, kind: str, handler: Handler, request: Request, scopes: frozenset[str]) -> Response:
        person = self.bearer(request, scopes)
        calendar = person.primary
        if "calendar_id" in request.path_params:
            calendar = self.find_calendar(person, request.path_params["calendar_id"])
        counted = "delta" if kind == "first_delta" and "$deltatoken" in request.query_params else kind
        self.world.requests[calendar.id, counted] += 1
        with self._place(person):
            answer = await self._misbehaviour(request, (calendar.id, person.email))
            if answer is not None:
                return answer
            if scopes is CALENDAR_SCOPES:
                self._check_calendar(request, person, calendar)
            preferences = parse_preferences(",".join(request.headers.getlist("prefer")))
            answer = await handler(Call(request, person, calendar, preferences))
        if preferences.applied:
            answer.headers["Preference-Applied"] = preferences.applied
        return answer

    def _check_calendar(self, request: Request, person: Person, calendar: Calendar) -> None:
        if person.state is AccountState.CALENDAR_OFF:
            raise GraphRefuses("MailboxNotEnabledForRESTAPI")
        if calendar.owner != person.email and SHARED_CALENDAR_SCOPES.isdisjoint(short_scopes(self.grant(request))):
            raise GraphRefuses("ErrorAccessDenied")

    @contextmanager
    def _place(self, person: Person) -> Iterator[None]:
        """One of the four places at the mailbox. Raises GraphRefuses where they are taken."""
        email = person.email
        self.under_way[email] += 1
        try:
            self.world.busiest[email] = max(self.world.busiest[email], self.under_way[email])
            if self.under_way[email] > LARGEST_CONCURRENCY:
                raise GraphRefuses("ApplicationThrottled", headers={"Retry-After": "1"})
            yield
        finally:
            self.under_way[email] -= 1

    async def _misbehaviour(self, request: Request, targets: tuple[str, ...]) -> Response | None:
        if not self.world.faults.active:
            return None

        def refusal(fault: Fault) -> Response:
            return fault_answer(fault, now=self.world.clock())

        return await misbehaviour(self.world, request, place=Place.CALENDAR, targets=targets, refusal=refusal)


@lru_cache(maxsize=1024)
def parse_preferences(header: str) -> Preferences:
    """The preferences of all `Prefer` headers, joined by commas. Raises GraphRefuses for a zone that nobody knows."""
    wanted = {name.lower(): quoted or plain for name, quoted, plain in PREFERENCE.findall(header)}
    zone_name = wanted.get("outlook.timezone", "UTC")
    try:
        zone = ZoneInfo(IANA_ZONES.get(zone_name, zone_name))
    except (ZoneInfoNotFoundError, ValueError):
        raise GraphRefuses("TimeZoneNotSupportedException") from None
    size = wanted.get("odata.maxpagesize", "")
    immutable = wanted.get("idtype", "").lower() == "immutableid"
    text_body = wanted.get("outlook.body-content-type", "").lower() == "text"
    applied = [f'outlook.timezone="{zone_name}"'] if "outlook.timezone" in wanted else []
    applied += ['outlook.body-content-type="text"'] if text_body else []
    applied += ['IdType="ImmutableId"'] if immutable else []
    applied += [f"odata.maxpagesize={size}"] if size.isdigit() else []
    return Preferences(
        zone=zone,
        zone_name=zone_name,
        immutable=immutable,
        text_body=text_body,
        page_size=int(size) if size.isdigit() and int(size) else None,
        applied=", ".join(applied),
    )


def short_scopes(grant: Grant) -> frozenset[str]:
    """What the consent allows, in the short names."""
    return _short(grant.scopes)


@lru_cache(maxsize=1024)
def _short(scopes: tuple[str, ...]) -> frozenset[str]:
    return frozenset(scope.removeprefix(GRAPH_SCOPE) for scope in scopes)
