"""What one entry of Microsoft Graph's says of its event, whatever it looks like."""

from datetime import UTC, date, datetime, time, tzinfo
from typing import Any

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
from attendee.providers.windows_zones import IANA_ZONES

_DATE_LENGTH = len("2026-12-01")
_UTC_NAMES = frozenset({"UTC", "tzone://Microsoft/Utc"})


def parse_item(item: object, *, find_meeting_url: FindMeetingUrl) -> RemoteItem:
    """What one entry of `value` says, whatever it looks like. Raises nothing: what can't be stored is set aside.

    Gone is what the organiser has cancelled, though its copy stays in the calendar until the user removes it, and an
    event that has become a series: its occurrences are events of their own. A draft is an event like any other: it
    stands in the calendar, and sending it changes neither its id nor its times.
    """
    platform_uuid = parse_id(item.get("id")) if isinstance(item, dict) else None
    if not isinstance(item, dict) or platform_uuid is None:
        return SetAside("", "It has no id that could be stored.")
    if item.get("isCancelled") is True or item.get("type") == "seriesMaster" or "@removed" in item:
        return Cancelled(platform_uuid)
    try:
        return _parse_event(item, platform_uuid, find_meeting_url=find_meeting_url)
    except Unusable as unusable:
        return SetAside(platform_uuid, str(unusable))
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        # An odd form that nobody has thought of must not stop the other events of its calendar.
        return SetAside(platform_uuid, f"It could not be read ({type(error).__name__}).")


def _parse_event(item: dict[str, Any], platform_uuid: str, *, find_meeting_url: FindMeetingUrl) -> RemoteEvent:
    start_on = end_on = None
    if item.get("isAllDay") is True:
        start_on, end_on = _parse_day(item, "start"), _parse_day(item, "end")
        start_at, end_at = (datetime.combine(day, time(), UTC) for day in (start_on, end_on))
    else:
        start_at, end_at = _parse_instant(item, "start"), _parse_instant(item, "end")
    if end_at < start_at:
        raise Unusable("It ends before it starts.")
    body = item.get("body")
    subject = parse_text(item.get("subject"))
    meeting_url = find_meeting_url(
        conference=_conference_links(item),
        location=_location(item),
        body=parse_text(body.get("content")) if isinstance(body, dict) else "",
        title=subject,
    )
    name = cut(subject)
    attendees = tuple(_attendees(item.get("attendees")))
    ical_uid = parse_text(item.get("iCalUId")) or None
    kept = with_texts_cut(item, ("subject", "bodyPreview"))
    if isinstance(body, dict):
        kept = {**kept, "body": with_texts_cut(body, ("content",))}
    # OData's own keys describe the answer more than the event; which of them come depends on the request.
    visible = {key: value for key, value in kept.items() if "@odata." not in key}
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
        fingerprint=fingerprint(visible, name, start_at, end_at, start_on, end_on, meeting_url, attendees, ical_uid),
    )


def _conference_links(item: dict[str, Any]) -> list[str]:
    meeting = item.get("onlineMeeting")
    links = (meeting.get("joinUrl") if isinstance(meeting, dict) else None, item.get("onlineMeetingUrl"))
    return [parse_text(link) for link in links if isinstance(link, str)]


def _location(item: dict[str, Any]) -> str:
    """All places of the event, one a line: the link is often the name of one, or its address."""
    places = objects_in([item.get("location")]) + objects_in(item.get("locations"))
    return "\n".join(parse_text(place.get(key)) for place in places for key in ("displayName", "locationUri"))


def _attendees(value: object) -> list[Attendee]:
    """Those with an address, rooms among them. Exchange's own form of an address (/O=...) reaches nobody by e-mail."""
    mailboxes = objects_in([entry.get("emailAddress") for entry in objects_in(value)])
    return [
        Attendee(email=email, name=parse_text(mailbox.get("name")) or None)
        for mailbox in mailboxes
        if "@" in (email := parse_text(mailbox.get("address")))
    ]


def _parse_instant(item: dict[str, Any], key: str) -> datetime:
    """The start or end as an instant in UTC. Raises Unusable."""
    edge, text = _parse_edge(item, key)
    moment = parse_time(text)
    if moment is None:
        raise Unusable(f"Its {key} can't be read: {quoted(text)!r}.")
    if moment.year in PLACEHOLDER_YEARS:
        raise Unusable(f"Its {key} only stands in for a time: {quoted(text)!r}.")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=_parse_zone(edge.get("timeZone"), key))
    return moment.astimezone(UTC)


def _parse_day(item: dict[str, Any], key: str) -> date:
    """The start or end of an all-day event: the date part alone counts, whatever the zone. Raises Unusable."""
    _, text = _parse_edge(item, key)
    written = text[:_DATE_LENGTH] if isinstance(text, str) else ""
    try:
        day = date.fromisoformat(written)
    except ValueError:
        day = None
    # Python also reads dates by week and without hyphens, which Microsoft never means.
    if day is None or day.isoformat() != written:
        raise Unusable(f"Its {key} can't be read: {quoted(text)!r}.")
    if day.year in PLACEHOLDER_YEARS:
        raise Unusable(f"Its {key} only stands in for a date: {quoted(text)!r}.")
    return day


def _parse_edge(item: dict[str, Any], key: str) -> tuple[dict[str, Any], object]:
    edge = item.get(key)
    if not isinstance(edge, dict) or edge.get("dateTime") is None:
        raise Unusable(f"It has no {key}.")
    return edge, edge["dateTime"]


def _parse_zone(name: object, key: str) -> tzinfo:
    # We ask for UTC; by any other name the zone is Windows' own or IANA's. tzone://Microsoft/Custom is nobody's.
    zone_name = name if isinstance(name, str) else ""
    if zone_name in _UTC_NAMES:
        return UTC
    zone = find_zone(IANA_ZONES.get(zone_name, zone_name))
    if zone is None:
        raise Unusable(f"The time zone of its {key} is unknown: {quoted(name)!r}.")
    return zone
