"""The pages on which a person plays the calendars' owners: everything is a plain form, nothing needs JavaScript."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from attendee.sandbox import words
from attendee.sandbox.calendars import Calendar, Standing
from attendee.sandbox.entries import Slot
from attendee.sandbox.faults import FLEET_KINDS, FaultKind, Place
from attendee.sandbox.rendering import page, read_form
from attendee.sandbox.rooms import GONE
from attendee.sandbox.world import Notice, Person, Platform, World

DAYS_SHOWN = 7
REFUSALS_OFFERED = {
    Platform.GOOGLE: {
        Place.CALENDAR: ("userRateLimitExceeded", "quotaExceeded", "notACalendarUser", "insufficientPermissions"),
        Place.TOKENS: ("revoked", "unspecific", "invalid_rapt", "account_deleted", "admin_policy_enforced"),
    },
    Platform.MICROSOFT: {
        Place.CALENDAR: ("ApplicationThrottled", "MailboxNotEnabledForRESTAPI", "ErrorAccessDenied", "UnknownError"),
        Place.TOKENS: ("AADSTS50173", "AADSTS700082", "AADSTS53003", "AADSTS7000222", "AADSTS90033"),
    },
}
# What stands in the form for a new event: a meeting of the platform's own kind.
OWN_LINKS = {
    Platform.GOOGLE: "https://meet.google.com/abc-defg-hij",
    Platform.MICROSOFT: "https://teams.microsoft.com/l/meetup-join/19%3ameeting_U2FuZGJveA%40thread.v2/0",
}


class Pages:
    """Every page over one world, the consent pages excepted: they belong to their platform."""

    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[Route]:
        """All of them, at the root."""
        return [
            Route("/", self.home),
            Route("/people/{email}", self.person),
            Route("/people/{email}/{action}", self.act, methods=["POST"]),
        ]

    async def home(self, _: Request) -> Response:
        """Everybody, how often their calendars were asked, and the rooms that somebody has been in."""
        counts = {
            person.email: sum(
                count
                for (target, _), count in self.world.requests.items()
                if target in (person.email, *person.calendars)
            )
            for person in self.world.people.values()
        }
        rooms = [
            {
                "room": room,
                "title": self.world.rooms.title(room),
                "bots": [one for one in room.visitors.values() if one.presence not in GONE],
            }
            for room in self.world.rooms.rooms.values()
        ]
        return page("home.html", people=list(self.world.people.values()), counts=counts, rooms=rooms)

    async def person(self, request: Request) -> Response:
        """One person's week."""
        person = self.world.people.get(request.path_params["email"])
        if person is None:
            return page("problem.html", status=404, problem="Nobody here has that address.", back="/")
        return self._week(person, calendar_id=request.query_params.get("calendar", person.email))

    async def act(self, request: Request) -> Response:
        """What a button does; back to the week after it."""
        person = self.world.people.get(request.path_params["email"])
        form = await read_form(request)
        if person is None or form.get("calendar", person.email) not in person.calendars:
            return page("problem.html", status=404, problem="Nobody here has that calendar.", back="/")
        calendar = person.calendars[form.get("calendar", person.email)]
        address = _address(person, calendar)
        try:
            self._act(request.path_params["action"], person, calendar, form)
        except KeyError as missing:
            return page("problem.html", status=404, problem=f"There is no {missing.args[0]}.", back=address)
        except ValueError as wrong:
            return page("problem.html", status=400, problem=f"That does not work: {wrong}.", back=address)
        return RedirectResponse(address, 303)

    def _act(self, action: str, person: Person, calendar: Calendar, form: Mapping[str, str]) -> None:
        match action:
            case "create":
                words.create(calendar, self.world.rooms.links.with_room(form))
            case "change":
                words.change(calendar, form["id"], form)
            case "remove":
                _remove(person, calendar, form)
            case "respond":
                calendar.respond(form["id"], form["response"])
            case "revoke":
                self.world.revoke(person)
            case "expire-cursors":
                calendar.expire_cursors()
            case "notice":
                self.world.notify_watchers(person, Notice(form["notice"]))
            case "fault-on":
                self._switch_on(person, calendar, form)
            case "faults-off":
                self.world.faults.switch_off(calendar.id)
                self.world.faults.switch_off(person.email)
            case _:
                raise KeyError(action)

    def _switch_on(self, person: Person, calendar: Calendar, form: Mapping[str, str]) -> None:
        kind, place = FaultKind(form["kind"]), Place(form["place"])
        self.world.faults.switch_on(
            person.email if place is Place.TOKENS else calendar.id,
            kind,
            place=Place.PUSHES if kind is FaultKind.DROPPED_PUSHES else place,
            times=int(form["times"]) if form.get("times") else None,
            seconds=float(form.get("seconds") or 1),
            variant=form.get("variant") or None,
        )

    def _week(self, person: Person, *, calendar_id: str) -> Response:
        calendar = person.calendars.get(calendar_id)
        if calendar is None:
            return page("problem.html", status=404, problem="Nobody here has that calendar.", back="/")
        zone = ZoneInfo(calendar.zone)
        now = self.world.clock().astimezone(zone)
        midnight = datetime.combine(now.date(), time.min, tzinfo=zone)
        days = []
        for offset in range(DAYS_SHOWN):
            start = midnight + timedelta(days=offset)
            standing = calendar.between(start, start + timedelta(days=1))
            days.append({"day": start, "events": [self._shown(one, zone=zone) for one in standing]})
        return page(
            "person.html",
            person=person,
            calendar=calendar,
            address=quote(person.email),
            days=days,
            soon=(now + timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M"),
            now=now,
            repeats=list(words.REPEATS),
            kinds=[kind.value for kind in FaultKind if kind not in FLEET_KINDS],
            refusals=REFUSALS_OFFERED[person.platform],
            own_link=OWN_LINKS[person.platform],
            notices=[notice.value for notice in Notice] if person.platform is Platform.MICROSOFT else [],
            faults=[one for one in self.world.faults.active if one.target in (person.email, calendar.id)],
            consents=[client for email, client in self.world.grants.consents if email == person.email],
            watchers=sum(1 for one in self.world.channels.values() if one.calendar is calendar),
            asked=[(kind, count) for (target, kind), count in self.world.requests.items() if target == calendar.id],
        )

    def _shown(self, one: Standing, *, zone: ZoneInfo) -> dict[str, Any]:
        """An event as the template wants it: its times in the calendar's zone, as people and form fields write them."""
        details = one.details
        form = "%Y-%m-%d" if details.is_all_day else "%Y-%m-%dT%H:%M"
        starts, ends = _local(details.starts, zone), _local(details.ends, zone)
        times = "all day" if details.is_all_day else f"{starts:%H:%M}–{ends:%H:%M}"
        return {
            "id": one.entry.id,
            "occurrence": None if one.slot is None else one.slot.isoformat(),
            "details": details,
            "times": times,
            "starts": starts.strftime(form),
            "minutes": int(details.length.total_seconds() // 60),
            "is_live": one.is_live,
            "room": self.world.rooms.code_for(details),
            "url": details.conference.url if details.conference else None,
        }


def _remove(person: Person, calendar: Calendar, form: Mapping[str, str]) -> None:
    details = calendar.get(form["id"]).details
    is_organizer = details.organizer is None or details.organizer.email == calendar.owner
    if person.platform is Platform.MICROSOFT and is_organizer:
        # Outlook keeps cancelled invitations, yet what organizers cancel is gone from their own calendars at once.
        words.remove(calendar, form["id"], {**form, "form": "deleted"})
    else:
        words.remove(calendar, form["id"], form)


def _local(moment: Slot, zone: ZoneInfo) -> Slot:
    return moment.astimezone(zone) if isinstance(moment, datetime) else moment


def _address(person: Person, calendar: Calendar) -> str:
    query = "" if calendar.is_primary else f"?{urlencode({'calendar': calendar.id})}"
    return f"/people/{quote(person.email)}{query}"
