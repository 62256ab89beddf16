"""A week in Outlook as a real person has it: Teams in its own fields and behind SafeLinks, and events of every sort."""

from __future__ import annotations

import html
from datetime import UTC, datetime, time, timedelta
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Conference, Frequency, Guest, Kind, Response, Rule, Visibility

WORKDAYS = (0, 1, 2, 3, 4)
CONTEXT = "?context=%7b%22Tid%22%3a%2284bd8158-6d4d-4958-8b9f-9d6445542f95%22%7d"


def teams_link(name: str) -> str:
    """An address as Teams makes them."""
    return f"https://teams.microsoft.com/l/meetup-join/19%3ameeting_{name}%40thread.v2/0{CONTEXT}"


def safe_link(address: str) -> str:
    """The address as Defender wraps it in what comes by mail."""
    wrapped = quote(address, safe="")
    return f"https://eur01.safelinks.protection.outlook.com/?url={wrapped}&data=05%7C02%7C&sdata=c2FtcGxl&reserved=0"


def seed_microsoft_week(calendar: Calendar, *, now: datetime) -> None:
    """Fills the calendar around `now`; one meeting starts within minutes of it."""
    zone = ZoneInfo(calendar.zone)
    today = now.astimezone(zone).date()
    monday = today - timedelta(days=today.weekday())

    def at(day: int, hour: int, minute: int = 0) -> datetime:
        return datetime.combine(today + timedelta(days=day), time(hour, minute), tzinfo=zone).astimezone(UTC)

    domain = calendar.owner.partition("@")[2]
    owner = Guest(email=calendar.owner, response=Response.ACCEPTED)
    tom = Guest(email=f"tom.lind@{domain}", name="Tom Lind", response=Response.ACCEPTED)
    noor = Guest(email="noor@partner.example", name="Noor Aziz", response=Response.TENTATIVE, optional=True)
    room = Guest(email=f"alder@{domain}", name="Room Alder", response=Response.ACCEPTED, room=True)

    # A series with one occurrence moved and one deleted, both among those of the next days.
    first = datetime.combine(monday - timedelta(weeks=3), time(9, 30), tzinfo=zone).astimezone(UTC)
    sync = calendar.put(
        title="Team sync",
        starts=first,
        ends=first + timedelta(minutes=20),
        rule=Rule(frequency=Frequency.WEEKLY, weekdays=WORKDAYS),
        conference=Conference(service="teams", url=teams_link("VGVhbVN5bmM")),
        location="Microsoft Teams Meeting",
        guests=(owner, tom, noor),
    )
    upcoming = [slot for slot in calendar.slots(sync) if isinstance(slot, datetime) and slot > at(1, 0)]
    calendar.move_occurrence(sync.id, upcoming[0], starts=upcoming[0] + timedelta(hours=4, minutes=30))
    calendar.cancel_occurrence(sync.id, upcoming[1])
    # The one that the demo sends a bot to at once.
    soon = (now + timedelta(minutes=3)).replace(second=0, microsecond=0)
    calendar.put(
        title="Customer onboarding",
        starts=soon,
        ends=soon + timedelta(minutes=30),
        conference=Conference(service="teams", url=teams_link("T25ib2FyZGluZw")),
        guests=(owner, noor),
    )
    # An invitation from outside: the link is only in the body, behind SafeLinks, and the answer is still open.
    invitation = html.escape(safe_link(teams_link("UGFydG5lcg")))
    calendar.put(
        title="Partner review",
        starts=at(1, 15),
        ends=at(1, 16),
        description=f'Agenda: numbers<br>________________<br><a href="{invitation}">Click here to join the meeting</a>',
        organizer=noor,
        guests=(noor, Guest(email=calendar.owner), room),
    )
    calendar.put(
        title="Design review",
        starts=at(2, 11),
        ends=at(2, 12),
        location="https://acme.zoom.us/j/98765432100?pwd=Zm9vYmFy",
        guests=(owner, tom),
    )
    calendar.put(title="Maybe: lunch and learn", starts=at(1, 12), ends=at(1, 13), tentative=True, location="Canteen")
    cancelled = calendar.put(
        title="Vendor call",
        starts=at(2, 14),
        conference=Conference(service="teams", url=teams_link("VmVuZG9y")),
        organizer=noor,
        guests=(noor, owner),
    )
    calendar.cancel(cancelled.id)
    calendar.put(title="Offsite", starts=today + timedelta(days=3), ends=today + timedelta(days=5), free=True)
    calendar.put(title="Physiotherapy", starts=at(3, 8), ends=at(3, 9), visibility=Visibility.PRIVATE)
    calendar.put(title="Out of office", starts=at(4, 13), ends=at(4, 18), kind=Kind.OUT_OF_OFFICE)
