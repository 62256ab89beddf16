"""Who may ask Google's calendar API for what, counted, and struck by faults: what every route does first."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.google_errors import GoogleRefuses, refusal_answer, server_error_answer
from attendee.sandbox.grants import Grant
from attendee.sandbox.misbehaviour import misbehaviour
from attendee.sandbox.world import AccountState, Person, World

SCOPE = "https://www.googleapis.com/auth/"
EVENT_SCOPES = frozenset(
    SCOPE + name
    for name in (
        "calendar",
        "calendar.readonly",
        "calendar.events",
        "calendar.events.readonly",
        "calendar.events.owned.readonly",
    )
)
LIST_SCOPES = frozenset(
    SCOPE + name
    for name in ("calendar", "calendar.readonly", "calendar.calendarlist", "calendar.calendarlist.readonly")
)
ADDRESS_SCOPES = frozenset({SCOPE + "userinfo.email", SCOPE + "userinfo.profile", "email"})

Handler = Callable[[Request], Awaitable[Response]]


class GoogleAccess:
    """Bearer tokens, calendars and faults of one world."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def admit(
        self, request: Request, kind: str, *, scopes: frozenset[str] = EVENT_SCOPES
    ) -> tuple[Person, Calendar, Response | None]:
        """Who asks for which calendar, and the answer of a fault if one strikes. Raises GoogleRefuses."""
        person = self.bearer(request, scopes)
        wanted: str = request.path_params["calendar_id"]
        calendar = person.calendars.get(person.email if wanted == "primary" else wanted)
        if calendar is None:
            raise GoogleRefuses("notFound")
        self.world.requests[calendar.id, kind] += 1
        return person, calendar, await self.misbehave(request, (calendar.id, person.email))

    def bearer(self, request: Request, scopes: frozenset[str]) -> Person:
        """Who asks. Raises GoogleRefuses without a good token, or one of the scopes."""
        header = request.headers.get("authorization", "")
        if not header.startswith("Bearer "):
            raise GoogleRefuses("required")
        token = self.world.grants.access_tokens.get(header[7:])
        if token is None or not token.is_good(now=self.world.clock()):
            raise GoogleRefuses("authError")
        person = self.world.people[token.grant.person]
        if person.state is AccountState.DELETED:
            raise GoogleRefuses("authError")
        if scopes.isdisjoint(token.grant.scopes):
            raise GoogleRefuses("insufficientPermissions")
        if person.state is AccountState.CALENDAR_OFF and scopes is not ADDRESS_SCOPES:
            raise GoogleRefuses("notACalendarUser")
        return person

    def grant(self, request: Request) -> Grant:
        """The consent behind a request that was let in."""
        return self.world.grants.access_tokens[request.headers["authorization"][7:]].grant

    async def misbehave(self, request: Request, targets: tuple[str, ...]) -> Response | None:
        """The answer of a fault in place of the right one; None where there is none."""
        if not self.world.faults.active:
            return None
        return await misbehaviour(
            self.world, request, place=Place.CALENDAR, targets=targets, refusal=calendar_fault_answer
        )

    def strikes(self, kind: FaultKind, calendar: Calendar, person: Person) -> bool:
        """Whether such a fault is on here; one time of it is used up."""
        faults = self.world.faults
        return bool(faults.active) and faults.strike(Place.CALENDAR, (calendar.id, person.email), kind) is not None


def answered(handler: Handler) -> Handler:
    """The handler, with a refusal turned into Google's error body."""

    async def answer(request: Request) -> Response:
        try:
            return await handler(request)
        except GoogleRefuses as refused:
            return refusal_answer(refused.name, message=refused.message)

    return answer


def calendar_fault_answer(fault: Fault) -> Response:
    """Faults of the calendar API in its own words."""
    if fault.kind is FaultKind.SERVER_ERROR:
        return server_error_answer(fault.status)
    usual = "tooManyRequests" if fault.kind is FaultKind.THROTTLED else "insufficientPermissions"
    return refusal_answer(fault.variant or usual, retry_after=fault.retry_after)
