"""What people write into forms and programs into JSON, as calls on a calendar: the pages and the control API agree."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Conference, Details, Entry, Frequency, Rule, Slot, parse_moment

REPEATS = {
    "daily": Rule(frequency=Frequency.DAILY),
    "weekdays": Rule(frequency=Frequency.WEEKLY, weekdays=(0, 1, 2, 3, 4)),
    "weekly": Rule(frequency=Frequency.WEEKLY),
    "monthly": Rule(frequency=Frequency.MONTHLY),
}
TEXTS = ("title", "location", "description")


def create(calendar: Calendar, words: Mapping[str, Any]) -> Entry:
    """The new entry. Raises ValueError for words that make no event."""
    if not words.get("starts"):
        raise ValueError("an event needs a start")
    changes = _changes(calendar, words)
    rule = None
    if words.get("repeat"):
        if words["repeat"] not in REPEATS:
            raise ValueError(f"repeat is one of {', '.join(REPEATS)}")
        rule = REPEATS[words["repeat"]]
    return calendar.put(words.get("id") or None, rule=rule, **changes)


def change(calendar: Calendar, event_id: str, words: Mapping[str, Any]) -> Entry:
    """The entry with what the words say; with `occurrence` only that one, with `following` that and all later ones.

    Raises KeyError or ValueError.
    """
    slot = _slot(calendar, words)
    entry = calendar.get(event_id)
    if words.get("following"):
        first = parse_moment(str(words["following"]), zone=calendar.zone)
        details = calendar.occurrence(event_id, first).details or entry.details
        return calendar.split(event_id, first, **_changes(calendar, words, before=details))
    before = (calendar.occurrence(event_id, slot).details if slot is not None else None) or entry.details
    changes = _changes(calendar, words, before=before)
    if slot is not None:
        return calendar.edit_occurrence(event_id, slot, **changes)
    return calendar.edit(event_id, **changes)


def remove(calendar: Calendar, event_id: str, words: Mapping[str, Any]) -> Entry:
    """The entry, cancelled (its details kept) or, with `form` = `deleted`, deleted. Raises KeyError or ValueError."""
    slot = _slot(calendar, words)
    if slot is not None:
        return calendar.cancel_occurrence(event_id, slot)
    return calendar.delete(event_id) if words.get("form") == "deleted" else calendar.cancel(event_id)


def conference_for(url: str) -> Conference | None:
    """The online meeting that a platform would keep in its own fields for this address; None where it would not."""
    host = urlsplit(url).hostname or ""
    if host == "meet.google.com":
        return Conference(service="meet", url=url)
    if host in ("teams.microsoft.com", "teams.live.com"):
        return Conference(service="teams", url=url)
    if host == "zoom.us" or host.endswith(".zoom.us"):
        return Conference(service="Zoom Meeting", url=url)
    return None


def _slot(calendar: Calendar, words: Mapping[str, Any]) -> Slot | None:
    text = words.get("occurrence")
    return parse_moment(str(text), zone=calendar.zone) if text else None


def _changes(calendar: Calendar, words: Mapping[str, Any], *, before: Details | None = None) -> dict[str, Any]:
    changes: dict[str, Any] = {name: str(words[name]) or None for name in TEXTS if name in words}
    if words.get("starts"):
        changes["starts"], changes["ends"] = _times(calendar, words, before=before)
    elif words.get("ends") or words.get("minutes"):
        if before is None or before.is_all_day:
            raise ValueError("without a start only a timed event gets another end")
        changes["ends"] = _end(calendar, words, starts=before.starts, usual=before.length)
    if "meeting_url" in words:
        url = str(words["meeting_url"])
        kept = before.conference if before is not None else None
        changes["conference"] = kept if kept is not None and kept.url == url else conference_for(url)
        if url and changes["conference"] is None:
            changes["location"] = url
    return changes


def _times(calendar: Calendar, words: Mapping[str, Any], *, before: Details | None) -> tuple[Slot, Slot]:
    starts = parse_moment(str(words["starts"]), zone=calendar.zone)
    is_timed = isinstance(starts, datetime)
    usual = timedelta(minutes=30) if is_timed else timedelta(days=1)
    if before is not None and before.is_all_day != is_timed:
        usual = before.length
    return starts, _end(calendar, words, starts=starts, usual=usual)


def _end(calendar: Calendar, words: Mapping[str, Any], *, starts: Slot, usual: timedelta) -> datetime | date:
    if words.get("ends"):
        return parse_moment(str(words["ends"]), zone=calendar.zone)
    if words.get("minutes") and isinstance(starts, datetime):
        return starts + timedelta(minutes=int(words["minutes"]))
    return starts + usual
