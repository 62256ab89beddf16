"""Entries in Graph's shape: events, occurrences, exceptions, masters, and the little that a delta says of some."""

from __future__ import annotations

import hashlib
import html
import re
from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import (
    Details,
    Entry,
    EntryState,
    Frequency,
    Guest,
    Kind,
    Response,
    Rule,
    Slot,
    Visibility,
    as_instant,
)
from attendee.sandbox.microsoft_ids import calendar_id, event_id
from attendee.sandbox.world import Person, Role

RESPONSES = {
    Response.NEEDS_ACTION: "none",
    Response.DECLINED: "declined",
    Response.TENTATIVE: "tentativelyAccepted",
    Response.ACCEPTED: "accepted",
}
SENSITIVITIES = {
    Visibility.DEFAULT: "normal",
    Visibility.PUBLIC: "normal",
    Visibility.PRIVATE: "private",
    Visibility.CONFIDENTIAL: "confidential",
}
SHOWN_AS = {Kind.OUT_OF_OFFICE: "oof", Kind.WORKING_LOCATION: "workingElsewhere"}
WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# The zones by Microsoft's names that events here are likely to have; others keep their IANA names, as some do at Graph.
WINDOWS_ZONES = {
    "UTC": "UTC",
    "Europe/Berlin": "W. Europe Standard Time",
    "Europe/Paris": "Romance Standard Time",
    "Europe/London": "GMT Standard Time",
    "America/New_York": "Eastern Standard Time",
    "America/Chicago": "Central Standard Time",
    "America/Los_Angeles": "Pacific Standard Time",
    "Asia/Kolkata": "India Standard Time",
    "Asia/Tokyo": "Tokyo Standard Time",
    "Australia/Sydney": "AUS Eastern Standard Time",
}
IANA_ZONES = {windows: iana for iana, windows in WINDOWS_ZONES.items()}
NEVER = "0001-01-01T00:00:00Z"
CANCELLED_PREFIX = "Canceled: "
PREVIEW_LENGTH = 255
TAGS = re.compile(r"<[^>]*>")
LINE_ENDS = re.compile(r"<br\s*/?>|</p>|</div>|</li>", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class View:
    """Through whose eyes a calendar is read, and what the request prefers: zone and body as text, immutable ids."""

    person: Person
    calendar: Calendar
    zone: ZoneInfo
    zone_name: str
    immutable: bool
    text_body: bool

    def id_of(self, entry: Entry, slot: Slot | None = None) -> str:
        """The id of the entry, or of one of its occurrences."""
        return event_id(self.person.email, self.calendar.id, entry.id, slot=slot, immutable=self.immutable)


def event_item(
    view: View, entry: Entry, details: Details, *, slot: Slot | None = None, change: int, updated_at: datetime
) -> dict[str, Any]:
    """The whole event: a single one or a master, and with a slot an occurrence or exception."""
    kind = _type(entry, slot)
    id = view.id_of(entry, slot)
    is_cancelled = entry.state is EntryState.CANCELLED
    is_organizer = details.organizer is None or details.organizer.email == view.calendar.owner
    key = change_key(view.calendar, change)
    item: dict[str, Any] = {
        "@odata.etag": f'W/"{key}"',
        "id": id,
        "createdDateTime": timestamp(entry.created_at),
        "lastModifiedDateTime": timestamp(updated_at),
        "changeKey": key,
        "categories": [],
        "transactionId": None,
        "originalStartTimeZone": windows_zone(details.zone),
        "originalEndTimeZone": windows_zone(details.zone),
        "iCalUId": ical_uid(entry.uid),
        "reminderMinutesBeforeStart": 15,
        "isReminderOn": True,
        "hasAttachments": False,
        "importance": "normal",
        "sensitivity": SENSITIVITIES[details.visibility],
        "isAllDay": details.is_all_day,
        "isCancelled": is_cancelled,
        "isOrganizer": is_organizer,
        "responseRequested": True,
        "seriesMasterId": None if slot is None else view.id_of(entry),
        "showAs": _shown_as(view, details, is_cancelled=is_cancelled, is_organizer=is_organizer),
        "type": kind,
        "webLink": f"https://outlook.office365.com/owa/?itemid={quote(id, safe='')}&exvsurl=1&path=/calendar/item",
        "onlineMeetingUrl": None,
        "isDraft": False,
        "hideAttendees": False,
        "allowNewTimeProposals": True,
        "recurrence": _recurrence(entry) if kind == "seriesMaster" and entry.rule is not None else None,
        "responseStatus": _own_answer(view, details, is_organizer=is_organizer),
        "start": time_field(view, details.starts),
        "end": time_field(view, details.ends),
    }
    if slot is not None:
        item["originalStart"] = _utc_text(as_instant(slot, zone=details.zone))
    return item | _written(view, details, is_cancelled=is_cancelled)


def minimal_occurrence(view: View, entry: Entry, details: Details, *, slot: Slot) -> dict[str, Any]:
    """All that a delta says of an occurrence: which one it is, and when."""
    return {
        "@odata.type": "#microsoft.graph.event",
        "@odata.etag": f'W/"{change_key(view.calendar, entry.change)}"',
        "id": view.id_of(entry, slot),
        "seriesMasterId": view.id_of(entry),
        "type": "occurrence",
        "start": time_field(view, details.starts),
        "end": time_field(view, details.ends),
    }


def removed_item(id: str) -> dict[str, Any]:
    """All that a delta says of what is gone, or not in the window."""
    return {"@odata.type": "#microsoft.graph.event", "id": id, "@removed": {"reason": "deleted"}}


def calendar_item(person: Person, calendar: Calendar) -> dict[str, Any]:
    """A calendar of the person's list."""
    role = person.roles[calendar.id]
    is_own = calendar.owner == person.email
    return {
        "id": calendar_id(person.email, calendar.id),
        "name": "Calendar" if calendar.id == person.email else calendar.name,
        "color": "auto",
        "hexColor": "",
        "isDefaultCalendar": calendar.id == person.email,
        "changeKey": change_key(calendar, 0),
        "canShare": role is Role.OWNER,
        "canViewPrivateItems": is_own,
        "canEdit": role in (Role.OWNER, Role.WRITER),
        "allowedOnlineMeetingProviders": ["teamsForBusiness"],
        "defaultOnlineMeetingProvider": "teamsForBusiness",
        "isTallyingResponses": is_own,
        "isRemovable": calendar.id != person.email,
        "owner": {"name": person.name if is_own else calendar.owner, "address": calendar.owner},
    }


def time_field(view: View, moment: Slot) -> dict[str, str]:
    """Graph's `start` and `end`: no offset, seven digits behind the point; midnight for dates."""
    if isinstance(moment, datetime):
        local = moment.astimezone(view.zone).replace(tzinfo=None)
    else:
        local = datetime.combine(moment, time.min)
    return {"dateTime": f"{local.isoformat(timespec='microseconds')}0", "timeZone": view.zone_name}


def timestamp(moment: datetime) -> str:
    """`2026-11-20T16:40:11.7654320Z`."""
    return f"{moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}0Z"


def windows_zone(name: str) -> str:
    """The zone as Outlook calls it."""
    return WINDOWS_ZONES.get(name, name)


@lru_cache(maxsize=65_536)
def ical_uid(uid: str) -> str:
    """The same for every occurrence of a series, as developers report, whatever the documentation says."""
    digits = hashlib.blake2b(uid.encode(), digest_size=16).hexdigest().upper()
    return f"040000008200E00074C5B7101A82E00800000000{digits[:16]}000000000000000010000000{digits}"


def change_key(calendar: Calendar, change: int) -> str:
    """Another one after each write."""
    return _change_key(calendar.id, change)


@lru_cache(maxsize=65_536)
def _change_key(calendar_id: str, change: int) -> str:
    folder = hashlib.blake2b(calendar_id.encode(), digest_size=16).digest()
    return b64encode(folder + change.to_bytes(8) + b"\0\0").decode()


def _type(entry: Entry, slot: Slot | None) -> str:
    if slot is None:
        return "singleInstance" if entry.rule is None else "seriesMaster"
    return "exception" if slot in entry.overrides else "occurrence"


def _shown_as(view: View, details: Details, *, is_cancelled: bool, is_organizer: bool) -> str:
    if details.free or is_cancelled:
        return "free"
    own = _own_guest(view, details)
    is_open = not is_organizer and (own is None or own.response in (Response.NEEDS_ACTION, Response.TENTATIVE))
    return "tentative" if details.tentative or is_open else SHOWN_AS.get(details.kind, "busy")


def _own_guest(view: View, details: Details) -> Guest | None:
    return next((guest for guest in details.guests if guest.email == view.calendar.owner), None)


def _own_answer(view: View, details: Details, *, is_organizer: bool) -> dict[str, str]:
    if is_organizer:
        return {"response": "organizer", "time": NEVER}
    own = _own_guest(view, details)
    if own is None or own.response is Response.NEEDS_ACTION:
        return {"response": "notResponded", "time": NEVER}
    return {"response": RESPONSES[own.response], "time": "2026-11-12T09:00:00Z"}


def _written(view: View, details: Details, *, is_cancelled: bool) -> dict[str, Any]:
    """What people wrote; next to nothing of it for whoever may only see that something is there."""
    role = view.person.roles[view.calendar.id]
    is_private = details.visibility in (Visibility.PRIVATE, Visibility.CONFIDENTIAL)
    if role is Role.FREE_BUSY or (is_private and view.calendar.owner != view.person.email):
        return {
            "subject": "Busy" if role is Role.FREE_BUSY else "Private Appointment",
            "bodyPreview": "",
            "body": {"contentType": "html", "content": ""},
            "location": _location(None),
            "locations": [],
            "organizer": None,
            "attendees": [],
            "isOnlineMeeting": False,
            "onlineMeetingProvider": "unknown",
            "onlineMeeting": None,
        }
    subject = f"{CANCELLED_PREFIX}{details.title or ''}" if is_cancelled else details.title
    conference = details.conference
    is_teams = conference is not None and conference.service == "teams"
    page = _page(details)
    text = _text(page)
    body = {"contentType": "text", "content": text} if view.text_body else {"contentType": "html", "content": page}
    organizer = details.organizer or Guest(email=view.calendar.owner, name=view.person.name)
    return {
        "subject": subject,
        "bodyPreview": text[:PREVIEW_LENGTH],
        "body": body,
        "location": _location(details.location),
        "locations": [] if details.location is None else [_location(details.location)],
        "organizer": {"emailAddress": {"name": organizer.name or organizer.email, "address": organizer.email}},
        "attendees": [_attendee(guest) for guest in details.guests if guest.email != organizer.email],
        "isOnlineMeeting": is_teams,
        "onlineMeetingProvider": "teamsForBusiness" if is_teams else "unknown",
        "onlineMeeting": {"joinUrl": conference.url}
        if conference is not None and is_teams and not conference.pending
        else None,
    }


def _page(details: Details) -> str:
    """The body: Graph delivers a whole page of HTML. It knows no meeting service but its own, so links stand here."""
    parts = [details.description or ""]
    if details.conference is not None and details.conference.service != "teams" and not details.conference.pending:
        address = html.escape(details.conference.url)
        parts.append(f'Join: <a href="{address}">{address}</a>')
    content = "<br>\r\n".join(part for part in parts if part)
    if not content:
        return ""
    head = '<head>\r\n<meta http-equiv="Content-Type" content="text/html; charset=utf-8">\r\n</head>'
    return f"<html>\r\n{head}\r\n<body>\r\n{content}\r\n</body>\r\n</html>\r\n"


def _text(page: str) -> str:
    # Links behind buttons are lost on the way, as at Graph: only what is shown stays.
    return html.unescape(TAGS.sub("", LINE_ENDS.sub("\r\n", page))).strip()


def _location(name: str | None) -> dict[str, str]:
    location = {"displayName": name or "", "locationType": "default", "uniqueIdType": "unknown"}
    return location if name is None else location | {"uniqueId": name, "uniqueIdType": "private"}


def _attendee(guest: Guest) -> dict[str, Any]:
    kind = "resource" if guest.room else "optional" if guest.optional else "required"
    is_open = guest.response is Response.NEEDS_ACTION
    return {
        "type": kind,
        "status": {"response": RESPONSES[guest.response], "time": NEVER if is_open else "2026-11-12T09:00:00Z"},
        "emailAddress": {"name": guest.name or guest.email, "address": guest.email},
    }


def _recurrence(entry: Entry) -> dict[str, Any]:
    rule, details = entry.rule, entry.details
    assert rule is not None
    zone = ZoneInfo(details.zone)
    first = _day(details.starts, zone)
    end = NEVER[:10] if rule.until is None else _day(rule.until, zone).isoformat()
    ending = "noEnd" if rule.until is None else "endDate"
    return {
        "pattern": _pattern(rule, first),
        "range": {
            "type": "numbered" if rule.count is not None else ending,
            "startDate": first.isoformat(),
            "endDate": end,
            "recurrenceTimeZone": windows_zone(details.zone),
            "numberOfOccurrences": rule.count or 0,
        },
    }


def _pattern(rule: Rule, first: date) -> dict[str, Any]:
    pattern: dict[str, Any] = {
        "type": "daily",
        "interval": rule.interval,
        "month": 0,
        "dayOfMonth": 0,
        "firstDayOfWeek": "monday",
        "index": "first",
    }
    if rule.frequency is Frequency.MONTHLY:
        return pattern | {"type": "absoluteMonthly", "dayOfMonth": first.day}
    if rule.frequency is Frequency.WEEKLY or rule.weekdays:
        days = sorted(set(rule.weekdays)) or [first.weekday()]
        return pattern | {"type": "weekly", "daysOfWeek": [WEEKDAYS[day] for day in days]}
    return pattern


def _day(moment: Slot, zone: ZoneInfo) -> date:
    return moment.astimezone(zone).date() if isinstance(moment, datetime) else moment


def _utc_text(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")
