"""A week as a real person has it: links in every place where links are put, and events that need no bot."""

from __future__ import annotations

import html
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Conference, Frequency, Guest, Kind, Response, Rule, Visibility

WORKDAYS = (0, 1, 2, 3, 4)
TEAMS_LINK = "https://teams.microsoft.com/l/meetup-join/19%3ameeting_Q2x1YkFsZGVy%40thread.v2/0?context=%7b%22Tid%22%3a%2284bd%22%7d"


def seed_week(calendar: Calendar, *, now: datetime, room_link: str | None = None) -> None:
    """Fills the calendar around `now`; one meeting starts within minutes of it.

    With `room_link`, the link of a meeting room, another one starts there before that.
    """
    zone = ZoneInfo(calendar.zone)
    today = now.astimezone(zone).date()
    monday = today - timedelta(days=today.weekday())

    def at(day: int, hour: int, minute: int = 0) -> datetime:
        return datetime.combine(today + timedelta(days=day), time(hour, minute), tzinfo=zone).astimezone(UTC)

    owner = Guest(email=calendar.owner, response=Response.ACCEPTED)
    ben = Guest(email="ben.ott@acme.example", name="Ben Ott", response=Response.ACCEPTED)
    lee = Guest(email="lee@partner.example", name="Lee Park", response=Response.TENTATIVE, optional=True)
    room = Guest(email="c_188alder@resource.calendar.google.com", name="Room Alder", room=True)

    first_stand_up = datetime.combine(monday - timedelta(weeks=4), time(9, 15), tzinfo=zone).astimezone(UTC)
    calendar.put(
        title="Stand-up",
        starts=first_stand_up,
        ends=first_stand_up + timedelta(minutes=15),
        rule=Rule(frequency=Frequency.WEEKLY, weekdays=WORKDAYS),
        conference=Conference(service="meet", url="https://meet.google.com/kzr-tmqe-xbw", phone="+49-30-5550100"),
        guests=(owner, ben, lee),
    )
    first_one_to_one = datetime.combine(monday - timedelta(weeks=2), time(14), tzinfo=zone) + timedelta(days=2)
    calendar.put(
        title="1:1 with Ben",
        starts=first_one_to_one.astimezone(UTC),
        rule=Rule(frequency=Frequency.WEEKLY),
        location="https://acme.zoom.us/j/98765432100?pwd=Zm9vYmFy",
        guests=(owner, ben),
    )
    # The one that the demo sends a bot to at once.
    soon = (now + timedelta(minutes=3)).replace(second=0, microsecond=0)
    calendar.put(
        title="Customer call",
        starts=soon,
        ends=soon + timedelta(minutes=30),
        conference=Conference(service="meet", url="https://meet.google.com/abc-mnop-xyz"),
        guests=(owner, Guest(email="mia@customer.example", name="Mia Berg", response=Response.ACCEPTED)),
    )
    if room_link is not None:
        sooner = soon - timedelta(minutes=1)
        calendar.put(
            title="Product walkthrough",
            starts=sooner,
            ends=sooner + timedelta(minutes=20),
            location=room_link,
            guests=(owner, lee),
        )
    calendar.put(
        title="Quarterly review",
        starts=at(1, 15),
        ends=at(1, 16),
        description=f'Agenda:<br><ul><li>numbers</li></ul><a href="{html.escape(TEAMS_LINK)}">Join the meeting</a>',
        organizer=ben,
        guests=(ben, Guest(email=calendar.owner), room, lee),
    )
    calendar.put(
        title="Vendor demo",
        starts=at(1, 11),
        ends=at(1, 12),
        conference=Conference(
            service="Zoom Meeting", url="https://zoom.us/j/91234567890?pwd=YmFy", code="91234567890", passcode="424242"
        ),
        organizer=lee,
        guests=(lee, Guest(email=calendar.owner, response=Response.DECLINED)),
    )
    calendar.put(title="Offsite", starts=today + timedelta(days=4), ends=today + timedelta(days=6), free=True)
    calendar.put(title="Dentist", starts=at(2, 8), ends=at(2, 9), visibility=Visibility.PRIVATE)
    calendar.put(title="Focus: write the report", starts=at(2, 10), ends=at(2, 12), kind=Kind.FOCUS_TIME)
    calendar.put(title="Out of office", starts=at(3, 13), ends=at(3, 18), kind=Kind.OUT_OF_OFFICE)
    calendar.put(
        title="Home",
        starts=monday + timedelta(days=4),
        rule=Rule(frequency=Frequency.WEEKLY),
        kind=Kind.WORKING_LOCATION,
        visibility=Visibility.PUBLIC,
        free=True,
    )
    calendar.put(title="Lunch with Noor", starts=at(1, 12, 30), ends=at(1, 13, 30), location="Café Linde")
