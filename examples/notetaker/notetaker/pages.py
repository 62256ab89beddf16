"""The pages: the week with its switches, and what the switches do. Everything works by plain forms."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo, available_timezones

import jinja2
from fastapi import APIRouter, Form, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from attendee_client import api
from notetaker.sessions import SESSION_COOKIE, SignedIn, find_session, office_of
from notetaker.store import FINISHED_STATES, PLANNED_STATES, Event, Session

router = APIRouter()

_WEEKS = 4
_ZONE_COOKIE = "zone"
_YEAR_SECONDS = 365 * 24 * 3600
_ZONES = frozenset(available_timezones())
# What users are told, by the service's word for why their calendar is disconnected.
FAILURES = {
    "consent_revoked": "You withdrew our access, or it has ended.",
    "reauth_required": "You are asked to sign in again.",
    "scope_missing": "We may not read your calendar: please leave its box ticked this time.",
    "account_gone": "The account no longer exists, or is disabled: please connect another one.",
    "mailbox_unavailable": "The account has no calendar that we could read.",
    "calendar_not_found": "The calendar was deleted, or is no longer shared with you.",
    "blocked_by_admin": "Your organisation does not let us read it: please ask your admin to allow this app.",
    "client_invalid": "Something is wrong on our side, and we are at it.",
}
_templates = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


@dataclass(frozen=True, slots=True)
class Meeting:
    """An event as the page shows it, its times in the viewer's zone. `status` is one word, `words` are for people."""

    event: Event
    times: str
    status: str
    words: str


@dataclass(frozen=True, slots=True)
class Day:
    date: date
    meetings: Sequence[Meeting]


def render(request: Request, template: str, *, status: int = 200, **values: Any) -> Response:
    """The page; 304 if it is what the browser has already, which asks every second."""
    html = _templates.get_template(template).render({"zone": _zone(request).key, "session": None, **values})
    tag = f'"{hashlib.sha256(html.encode()).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if status == 200 and request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers=headers)
    return HTMLResponse(html, status, headers)


@router.get("/")
async def show_week(request: Request, week: int = 0) -> Response:
    """The user's week, or for strangers the ways to sign in."""
    session, sandbox_url = find_session(request), request.app.state.sandbox_url
    if session is None:
        platforms = office_of(request).platforms.values()
        return render(request, "welcome.html", platforms=platforms, sandbox_url=sandbox_url)
    days, week = _week(request, session, week=week), max(0, min(week, _WEEKS - 1))
    meetings = [meeting for day in days for meeting in day.meetings]
    return render(
        request,
        "week.html",
        session=session,
        failure=FAILURES.get(session.user.failure_code or "", ""),
        days=days,
        week=week,
        weeks=_WEEKS,
        has_pending=session.user.calendar_state == "connecting" or any(one.status == "pending" for one in meetings),
        counts={status: sum(one.status == status for one in meetings) for status in ("planned", "running", "done")},
        today=_local_now(request).date(),
        sandbox_page=sandbox_url and f"{sandbox_url}/people/{quote(session.user.email)}",
    )


@router.post("/events/{event_id}/notes")
async def switch_meeting(
    request: Request, session: SignedIn, event_id: str, *, wanted: Annotated[bool, Form()], week: Annotated[int, Form()]
) -> Response:
    """Notes for one meeting, on or off."""
    office = office_of(request)
    office.store.want_notes(session.user, event_id, wanted=wanted)
    office.bell.set()
    return RedirectResponse(f"/?week={week}#{event_id}", 303)


@router.post("/all")
async def switch_all(
    request: Request, session: SignedIn, *, wanted: Annotated[bool, Form()], week: Annotated[int, Form()]
) -> Response:
    """Notes for every meeting with a link of which the user has said nothing else, on or off."""
    office = office_of(request)
    office.store.take_all(session.user, wanted=wanted)
    office.bell.set()
    return RedirectResponse(f"/?week={week}", 303)


@router.post("/sign-out")
async def sign_out(request: Request, _: SignedIn) -> Response:
    office_of(request).store.end_session(request.cookies[SESSION_COOKIE])
    return RedirectResponse("/", 303)


@router.post("/forget")
async def forget(request: Request, session: SignedIn) -> Response:
    """Takes the calendar back from the service, with its bots, and forgets the user."""
    office = office_of(request)
    # One that is gone already is as good as deleted.
    await office.service.find(api.delete_calendar(session.user.calendar_id or ""))
    office.store.forget_user(session.user)
    return RedirectResponse("/", 303)


@router.get("/zone")
async def show_zones(request: Request) -> Response:
    """For browsers without JavaScript, which tell us no time zone."""
    return render(request, "zone.html", zones=sorted(_ZONES))


@router.post("/zone")
async def choose_zone(zone: Annotated[str, Form()]) -> Response:
    answer = RedirectResponse("/", 303)
    answer.set_cookie(_ZONE_COOKIE, quote(zone, safe=""), max_age=_YEAR_SECONDS, samesite="lax")
    return answer


def _zone(request: Request) -> ZoneInfo:
    name = unquote(request.cookies.get(_ZONE_COOKIE, ""))
    return ZoneInfo(name if name in _ZONES else "UTC")


def _local_now(request: Request) -> datetime:
    return office_of(request).now().astimezone(_zone(request))


def _week(request: Request, session: Session, *, week: int) -> Sequence[Day]:
    """Seven days from today's midnight, or as many weeks later; the service knows four weeks."""
    zone, now = _zone(request), office_of(request).now()
    first = _local_now(request).date() + timedelta(weeks=week)
    midnights = [datetime.combine(first + timedelta(days=n), time.min, tzinfo=zone).astimezone(UTC) for n in range(8)]
    events = office_of(request).store.events_between(session.user, midnights[0], midnights[-1])
    by_day: dict[date, list[Meeting]] = {first + timedelta(days=n): [] for n in range(7)}
    for event in events:
        day, times = _when(event, zone=zone)
        status = _status(event, now=now, zone=zone, is_connected=session.user.calendar_state == "connected")
        shown = Meeting(event, times, *status)
        # What began before the week stands on its first day.
        by_day[max(day, first)].append(shown)
    return [Day(day, meetings) for day, meetings in by_day.items()]


def _when(event: Event, *, zone: ZoneInfo) -> tuple[date, str]:
    """The day on which the event begins for the viewer, and its times."""
    start, end = datetime.fromisoformat(event.start_time), datetime.fromisoformat(event.end_time)
    if event.all_day:
        # Dates are dates everywhere: they are no midnights to be moved into a zone.
        last = (end - timedelta(days=1)).date()
        return start.date(), "all day" if last <= start.date() else f"all day, until {last:%-d %B}"
    start, end = start.astimezone(zone), end.astimezone(zone)
    return start.date(), f"{start:%H:%M}–{end:%H:%M}"


def _status(event: Event, *, now: datetime, zone: ZoneInfo, is_connected: bool) -> tuple[str, str]:
    """One word, and what to tell the user."""
    if event.is_deleted:
        return "cancelled", "Cancelled"
    if event.bot_state is not None and event.bot_state not in PLANNED_STATES:
        return _status_of_work(event)
    if event.meeting_url is None:
        return "unlinked", "No meeting link"
    if datetime.fromisoformat(event.end_time) <= now:
        return "over", "Over, without notes"
    if not event.wants_notes:
        return ("off", "No notes") if event.bot_id is None else ("pending", "Calling the notetaker off …")
    if event.bot_id is not None:
        joins = datetime.fromisoformat(event.start_time).astimezone(zone)
        return "planned", f"Notes are planned; the notetaker joins at {joins:%H:%M}"
    if event.problem is not None:
        return "failed", f"No notes: {event.problem}"
    if not is_connected:
        return "waiting", "Notes will be planned once your calendar is connected"
    return "pending", "Planning notes …"


def _status_of_work(event: Event) -> tuple[str, str]:
    if event.bot_state == "fatal_error":
        return "failed", "No notes: the notetaker could not join"
    if event.bot_state in FINISHED_STATES:
        return "done", "Notes are done"
    return "running", "Taking notes now" if event.wants_notes else "Leaving the meeting"
