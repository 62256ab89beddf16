"""What one item of Google's says of its event, whatever it looks like."""

from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

from attendee.model import (
    Attendee,
    Cancelled,
    RemoteEvent,
    RemoteItem,
    SetAside,
)
from attendee.providers.answers import (
    PLACEHOLDER_YEARS,
    FindMeetingUrl,
    Unusable,
    cut,
    dump_raw,
    find_zone,
    fingerprint,
    objects_in,
    parse_id,
    parse_text,
    parse_time,
    quoted,
    with_texts_cut,
)

_LONG_TEXTS = ("description", "summary")


def parse_item(item: object, *, find_meeting_url: FindMeetingUrl) -> RemoteItem:
    """What one entry of `items` says, whatever it looks like. Raises nothing: what can't be stored is set aside."""
    platform_uuid = parse_id(item.get("id")) if isinstance(item, dict) else None
    # None of Google's has a slash, and nobody could be asked for one that has: it leads to another address.
    if not isinstance(item, dict) or platform_uuid is None or "/" in platform_uuid:
        return SetAside("", "It has no id that could be stored.")
    # Before anything else is looked at: of a cancelled event only the id is sure to be there.
    if item.get("status") == "cancelled":
        return Cancelled(platform_uuid)
    try:
        return _parse_event(item, platform_uuid, find_meeting_url=find_meeting_url)
    except Unusable as unusable:
        return SetAside(platform_uuid, str(unusable))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        # An odd form that nobody has thought of must not stop the other events of its calendar.
        return SetAside(platform_uuid, f"It could not be read ({type(error).__name__}).")


def _parse_event(item: dict[str, Any], platform_uuid: str, *, find_meeting_url: FindMeetingUrl) -> RemoteEvent:
    start, end = _parse_edge(item, "start"), _parse_edge(item, "end")
    start_on = end_on = None
    if not isinstance(start, datetime) and not isinstance(end, datetime):
        start_on, end_on = start, end
    elif not isinstance(start, datetime) or not isinstance(end, datetime):
        raise Unusable("Only one of its start and end has a time of day.")
    start_at, end_at = _instant(start), _instant(end)
    if end_at < start_at:
        raise Unusable("It ends before it starts.")
    summary = parse_text(item.get("summary"))
    meeting_url = find_meeting_url(
        conference=_conference_links(item),
        location=parse_text(item.get("location")),
        body=parse_text(item.get("description")),
        title=summary,
    )
    name = cut(summary)
    attendees = tuple(_attendees(item.get("attendees")))
    ical_uid = parse_text(item.get("iCalUID")) or None
    kept = with_texts_cut(item, _LONG_TEXTS)
    return RemoteEvent(
        platform_uuid=platform_uuid,
        name=name,
        start_at=start_at,
        end_at=end_at,
        start_on=start_on,
        end_on=end_on,
        meeting_url=meeting_url,
        attendees=attendees,
        ical_uid=ical_uid,
        raw=dump_raw(kept),
        fingerprint=fingerprint(kept, name, start_at, end_at, start_on, end_on, meeting_url, attendees, ical_uid),
    )


def _conference_links(item: dict[str, Any]) -> list[str]:
    conference = item.get("conferenceData")
    entry_points = objects_in(conference.get("entryPoints")) if isinstance(conference, dict) else []
    links = [point.get("uri") for point in entry_points if point.get("entryPointType") == "video"]
    return [parse_text(link) for link in (*links, item.get("hangoutLink")) if isinstance(link, str)]


def _attendees(value: object) -> list[Attendee]:
    """Those with an address: rooms are among them."""
    return [
        Attendee(email=email, name=parse_text(entry.get("displayName")) or None)
        for entry in objects_in(value)
        if isinstance(entry.get("email"), str) and (email := parse_text(entry["email"]))
    ]


def _parse_edge(item: dict[str, Any], key: str) -> datetime | date:
    """The start or end of an event: an aware instant, or a date for an all-day one. Raises Unusable."""
    edge = item.get(key)
    if not isinstance(edge, dict):
        raise Unusable(f"It has no {key}.")
    text = edge.get("dateTime")
    if text is None:
        return _parse_date(edge.get("date"), key)
    instant = parse_time(text)
    if instant is None:
        raise Unusable(f"Its {key} can't be read: {quoted(text)!r}.")
    if instant.year in PLACEHOLDER_YEARS:
        raise Unusable(f"Its {key} only stands in for a time: {quoted(text)!r}.")
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=_parse_zone(edge.get("timeZone"), key))
    return instant.astimezone(UTC)


def _parse_date(text: object, key: str) -> date:
    if text is None:
        raise Unusable(f"It has no {key}.")
    try:
        day = date.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        day = None
    # Python also reads dates by week and without hyphens, which Google never means.
    if day is None or day.isoformat() != text:
        raise Unusable(f"Its {key} can't be read: {quoted(text)!r}.")
    if day.year in PLACEHOLDER_YEARS:
        raise Unusable(f"Its {key} only stands in for a date: {quoted(text)!r}.")
    return day


def _parse_zone(name: object, key: str) -> ZoneInfo:
    zone = find_zone(name)
    if zone is None:
        raise Unusable(f"The time zone of its {key} is unknown: {quoted(name)!r}.")
    return zone


def _instant(moment: datetime | date) -> datetime:
    return moment if isinstance(moment, datetime) else datetime.combine(moment, time(), UTC)
