"""Entries in Google's shape: event resources, their ids and times, and the cancelled forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import (
    Conference,
    Details,
    Entry,
    EntryState,
    Frequency,
    Guest,
    Kind,
    Occurrence,
    Response,
    Rule,
    Slot,
    Visibility,
)
from attendee.sandbox.world import Role

RESPONSES = {
    Response.NEEDS_ACTION: "needsAction",
    Response.DECLINED: "declined",
    Response.TENTATIVE: "tentative",
    Response.ACCEPTED: "accepted",
}
EVENT_TYPES = {
    Kind.DEFAULT: "default",
    Kind.BIRTHDAY: "birthday",
    Kind.FOCUS_TIME: "focusTime",
    Kind.FROM_MAIL: "fromGmail",
    Kind.OUT_OF_OFFICE: "outOfOffice",
    Kind.WORKING_LOCATION: "workingLocation",
}
EVENT_TYPE_PROPERTIES: dict[Kind, dict[str, Any]] = {
    Kind.BIRTHDAY: {"birthdayProperties": {"type": "birthday"}},
    Kind.FOCUS_TIME: {"focusTimeProperties": {"chatStatus": "doNotDisturb"}},
    Kind.OUT_OF_OFFICE: {"outOfOfficeProperties": {"autoDeclineMode": "declineNone"}},
    Kind.WORKING_LOCATION: {"workingLocationProperties": {"type": "homeOffice", "homeOffice": {}}},
}
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
# `events.get` answers for a cancelled event for this long; Google does not say how long it remembers.
MEMORY = timedelta(days=28)
ETAG_BASE = 3_590_000_000_000_000
INSTANCE_ID = re.compile(r"(?P<series>.+)_(?P<slot>\d{8}(?:T\d{6}Z)?)")


@dataclass(frozen=True, slots=True)
class View:
    """Through whose eyes a calendar is read, and in which zone times are written."""

    calendar: Calendar
    role: Role
    zone: ZoneInfo
    max_attendees: int | None = None


def instance_id(series_id: str, slot: Slot) -> str:
    """`<series>_<slot in UTC>`, or `<series>_<date>` for all-day series."""
    form = "%Y%m%dT%H%M%SZ" if isinstance(slot, datetime) else "%Y%m%d"
    return f"{series_id}_{slot.strftime(form)}"


def parse_instance_id(event_id: str) -> tuple[str, Slot] | None:
    """The series and slot that an instance id names; None if it is no instance id."""
    match = INSTANCE_ID.fullmatch(event_id)
    if match is None:
        return None
    text = match["slot"]
    try:
        return match["series"], date.fromisoformat(text) if len(text) == 8 else datetime.fromisoformat(text)
    except ValueError:
        return None


def single_item(view: View, entry: Entry) -> dict[str, Any]:
    """A single event as it stands, or the master of a series in an unexpanded listing."""
    if entry.state is EntryState.DELETED:
        return {"kind": "calendar#event", "etag": _etag(entry.change), "id": entry.id, "status": "cancelled"}
    item = _item(view, entry, entry.details, id=entry.id, change=entry.change, updated_at=entry.updated_at)
    if entry.rule is not None:
        item["recurrence"] = [recurrence_line(entry.rule)]
    return item


def instance_item(view: View, entry: Entry, found: Occurrence) -> dict[str, Any]:
    """One occurrence of a series; the minimal form if it, or its series, is gone."""
    if found.details is None or entry.state is EntryState.DELETED:
        return cancelled_instance_item(view, entry, found.slot, change=found.change)
    id = instance_id(entry.id, found.slot)
    item = _item(view, entry, found.details, id=id, change=found.change, updated_at=found.updated_at)
    item["recurringEventId"] = entry.id
    item["originalStartTime"] = time_field(found.slot, zone=entry.details.zone, shown_in=view.zone)
    return item


def cancelled_instance_item(view: View, entry: Entry, slot: Slot, *, change: int) -> dict[str, Any]:
    """What is left of an occurrence: which one it was."""
    return {
        "kind": "calendar#event",
        "etag": _etag(change),
        "id": instance_id(entry.id, slot),
        "status": "cancelled",
        "recurringEventId": entry.id,
        "originalStartTime": time_field(slot, zone=entry.details.zone, shown_in=view.zone),
    }


def time_field(moment: Slot, *, zone: str, shown_in: ZoneInfo) -> dict[str, str]:
    """Google's `start`, `end` and `originalStartTime`: the offset is the reader's, the zone name the event's."""
    if not isinstance(moment, datetime):
        return {"date": moment.isoformat()}
    written = moment.astimezone(shown_in).isoformat(timespec="seconds")
    return {"dateTime": written.replace("+00:00", "Z"), "timeZone": zone}


def timestamp(moment: datetime) -> str:
    """`2026-11-20T16:40:11.310Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def recurrence_line(rule: Rule) -> str:
    """The rule as RFC 5545 writes it."""
    parts = [f"FREQ={rule.frequency.value.upper()}"]
    if rule.until is not None:
        until = rule.until
        parts.append(f"UNTIL={until.strftime('%Y%m%dT%H%M%SZ' if isinstance(until, datetime) else '%Y%m%d')}")
    if rule.count is not None:
        parts.append(f"COUNT={rule.count}")
    if rule.interval != 1:
        parts.append(f"INTERVAL={rule.interval}")
    if rule.weekdays and rule.frequency is not Frequency.MONTHLY:
        parts.append(f"BYDAY={','.join(WEEKDAYS[day] for day in sorted(set(rule.weekdays)))}")
    return f"RRULE:{';'.join(parts)}"


def _item(view: View, entry: Entry, details: Details, *, id: str, change: int, updated_at: datetime) -> dict[str, Any]:
    status = "tentative" if details.tentative else "confirmed"
    item: dict[str, Any] = {
        "kind": "calendar#event",
        "etag": _etag(change),
        "id": id,
        "status": "cancelled" if entry.state is EntryState.CANCELLED else status,
    }
    times: dict[str, Any] = {
        "start": time_field(details.starts, zone=details.zone, shown_in=view.zone),
        "end": time_field(details.ends, zone=details.zone, shown_in=view.zone),
    }
    if view.role is Role.FREE_BUSY:
        return item | times
    if details.free:
        times["transparency"] = "transparent"
    item |= {
        "htmlLink": f"https://www.google.com/calendar/event?eid={quote(id)}",
        "created": timestamp(entry.created_at),
        "updated": timestamp(updated_at),
    }
    hidden = view.role is Role.READER and details.visibility in (Visibility.PRIVATE, Visibility.CONFIDENTIAL)
    if not hidden:
        item |= _written(view, details)
    item |= times
    if details.visibility is not Visibility.DEFAULT:
        item["visibility"] = details.visibility.value
    item["iCalUID"] = f"{entry.uid}@google.com"
    item["sequence"] = entry.sequence
    if details.guests and not hidden:
        item |= _attendees(view, details)
    if details.conference is not None and not hidden:
        item |= _conference(details.conference)
    item["reminders"] = {"useDefault": True}
    item["eventType"] = EVENT_TYPES[details.kind]
    return item | EVENT_TYPE_PROPERTIES.get(details.kind, {})


def _written(view: View, details: Details) -> dict[str, Any]:
    texts = {"summary": details.title, "description": details.description, "location": details.location}
    organizer = _organizer(view.calendar, details)
    return {
        **{name: text for name, text in texts.items() if text is not None},
        "creator": {key: organizer[key] for key in ("email", "self") if key in organizer},
        "organizer": organizer,
    }


def _organizer(calendar: Calendar, details: Details) -> dict[str, Any]:
    # The organizer of an event on a secondary calendar is that calendar.
    host = details.organizer or Guest(email=calendar.id)
    organizer: dict[str, Any] = {"email": host.email}
    if host.name is not None:
        organizer["displayName"] = host.name
    if host.email == calendar.id:
        organizer["self"] = True
    return organizer


def _attendees(view: View, details: Details) -> dict[str, Any]:
    host = details.organizer.email if details.organizer else view.calendar.id
    listed = [_attendee(guest, host=host, own=view.calendar.id) for guest in details.guests]
    if view.max_attendees is not None and len(listed) > view.max_attendees:
        return {"attendees": [one for one in listed if "self" in one], "attendeesOmitted": True}
    return {"attendees": listed}


def _attendee(guest: Guest, *, host: str, own: str) -> dict[str, Any]:
    attendee: dict[str, Any] = {"email": guest.email}
    if guest.name is not None:
        attendee["displayName"] = guest.name
    flags = {"organizer": guest.email == host, "self": guest.email == own}
    flags |= {"resource": guest.room, "optional": guest.optional}
    attendee |= {name: True for name, is_set in flags.items() if is_set}
    attendee["responseStatus"] = RESPONSES[guest.response]
    return attendee


def _conference(conference: Conference) -> dict[str, Any]:
    is_meet = conference.service == "meet"
    solution = {"key": {"type": "hangoutsMeet" if is_meet else "addOn"}}
    if conference.pending:
        request = {"requestId": "r1", "conferenceSolutionKey": solution["key"], "status": {"statusCode": "pending"}}
        return {"conferenceData": {"createRequest": request}}
    code = conference.code or conference.url.partition("?")[0].rstrip("/").rpartition("/")[2]
    video = {"entryPointType": "video", "uri": conference.url, "label": conference.url.partition("//")[2]}
    if not is_meet:
        video["meetingCode"] = code
    if conference.passcode is not None:
        video["passcode"] = conference.passcode
    points = [video]
    if conference.phone is not None:
        points.append({"entryPointType": "phone", "uri": f"tel:{conference.phone}", "label": conference.phone})
    data = {
        "entryPoints": points,
        "conferenceSolution": {**solution, "name": "Google Meet" if is_meet else conference.service},
        "conferenceId": code,
    }
    return {"hangoutLink": conference.url, "conferenceData": data} if is_meet else {"conferenceData": data}


def _etag(change: int) -> str:
    return f'"{ETAG_BASE + change * 2000}"'
