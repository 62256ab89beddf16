"""Meeting links: find them in an event, unwrap what mail gateways made of them, and write each in one form.

The services are in `meeting_services.py`, the gateways in `link_wrappers.py`, the reading of texts in `link_texts.py`.
A link is at most MAX_LINK_LENGTH long, and in a text at most MAX_LINKS_TRIED links to known hosts are looked at:
whatever somebody sends is read in time that grows with its length, and no faster.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from urllib.parse import quote, unquote

from attendee.link_texts import MAX_LINK_LENGTH, FoundLink, LinkText, may_hold_link, unescaped
from attendee.link_wrappers import WRAPPERS, Wrapper, hides_its_target
from attendee.links import DEFAULT_PORTS, Link, parse_link, with_parents
from attendee.meeting_services import SERVICES
from attendee.meeting_shapes import PAGES, Kind, Service, Shape

MAX_WRAPPERS = 5
# The occurrences of a series, and the calendars of everybody who is invited, have the same conference link: what was
# found in the last short texts is remembered, in a few hundred kilobytes.
_REMEMBERED = 2_048
_SHORT = 500

# What sentences, Markdown and mail programs put around a link. A closing brace may end a Teams link's context.
_BEFORE_LINK = " \t\r\n\f\v\u00a0\u200b\ufeff<([{\"'`*_"
_AFTER_LINK = " \t\r\n\f\v\u00a0\u200b\ufeff>)]\"'`.,;:!?*~"

# A text that is a link and nothing else, written in the plainest way: nothing in it ends the link or hides another.
_ONLY_LINK = re.compile(r"https://[A-Za-z0-9.-]+/(?:[A-Za-z0-9/%?._+~-]|=(?!3D))*[A-Za-z0-9]")
_INNER_SPACE = re.compile(r"[\s\x00-\x1f\x7f]")
_NEXT_LINK = re.compile(r"(?<!\A)https?://", re.IGNORECASE)
_SLASHES = re.compile(r"/{2,}")
_CLIMBS = re.compile(r"(?:\A|/)\.{1,2}(?:/|\Z)")
_CONTROL = re.compile(r"[\x00-\x1f]")
_UNSAFE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9%=+:@/,._~-]")
_ORIGIN = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>[a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::(?P<port>\d{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
_MAX_PORT = 65_535
# How the patterns of the table are read.
_WHOLE = re.ASCII | re.DOTALL


@dataclass(frozen=True, slots=True)
class MeetingUrl:
    """A meeting's link in its one form, the name of its service, and what it leads to."""

    url: str
    service: str
    kind: Kind = field(default=Kind.MEETING, compare=False)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a service is met: at and below a host, at a port (None for the scheme's own). `is_extra`: by a setting."""

    service: Service
    host: str
    scheme: str = "https"
    port: int | None = None
    is_extra: bool = False

    def admit(self, link: Link) -> Link | None:
        """The link with the scheme that it is to be opened with, or None if it leads to another port."""
        if link.port != self.port:
            return None
        # What is met over https on its own port is written with http by people and by old programs.
        if link.scheme == self.scheme:
            return link
        return replace(link, scheme="https") if self.scheme == "https" and self.port is None else None


class MeetingLinks:
    """The services that we know, the hosts that an operator adds to them, and those that the operator's bots can join.

    `extra_hosts` are pairs of a service's name and a host: "video.acme.example" or "video.acme.example:8443", met over
    https, or an origin such as "http://127.0.0.1:8100". `joinable` are names of services; none means all. Raises
    ValueError for a pair or name that is none of these.
    """

    def __init__(self, *, extra_hosts: Iterable[tuple[str, str]] = (), joinable: Iterable[str] = ()) -> None:
        self._places: dict[str, list[_Place]] = {}
        self._wrappers: dict[str, list[Wrapper]] = {}
        for service in SERVICES:
            for host in service.hosts:
                self._places.setdefault(host, []).append(_Place(service, host))
        for wrapper in WRAPPERS:
            for host in wrapper.hosts:
                self._wrappers.setdefault(host, []).append(wrapper)
        for name, host in extra_hosts:
            self._add(name, host)
        self._joinable = {name: _service(name).title for name in joinable}
        self._remembered = lru_cache(_REMEMBERED)(self._find_in)

    def find_meeting_url(self, *, conference: Sequence[str], location: str, body: str, title: str) -> str | None:
        """The event's meeting link, normalised; None if it has none.

        The platform's own conference fields are the most trustworthy, then location, body and title. In each of them
        a link that was written for the event wins over one in quoted history, a meeting over somebody's standing room,
        and then the first by place. Every field may be plain text, HTML or Markdown.
        """
        for text in (*conference, location, body, title):
            if may_hold_link(text):
                url = self._remembered(text) if len(text) <= _SHORT else self._find_in(text)
                if url is not None:
                    return url
        return None

    def normalise_meeting_url(self, text: str) -> MeetingUrl | None:
        """The meeting link that the text is, unwrapped and normalised; None if it is anything else, or more."""
        if _INNER_SPACE.search(text.strip(_BEFORE_LINK + _AFTER_LINK)):
            return None
        # A link may be wrapped MAX_WRAPPERS times; what is left after that is looked at once more.
        for _ in range(MAX_WRAPPERS + 1):
            text = text.lstrip(_BEFORE_LINK).rstrip(_AFTER_LINK)
            if len(text) > MAX_LINK_LENGTH:
                return None
            text = unescaped(text)
            link = parse_link(text)
            if link is None:
                return None
            found = self._meeting(link)
            if found is not None:
                return found
            inner = self._unwrapped(link)
            if inner is None and self._is_known(link.host):
                inner = unquote(text)
            if inner is None or inner == text:
                return None
            text = inner
        return None

    def service_of(self, url: str) -> str | None:
        """The name of the service that the link is a meeting of, or None."""
        found = self.normalise_meeting_url(url)
        return None if found is None else found.service

    def why_not_joinable(self, url: str) -> str | None:
        """Why the operator's bots can't join that meeting, as a sentence; None if they can."""
        name = self.service_of(url)
        if not self._joinable or name is None or name in self._joinable:
            return None
        able = ", ".join(sorted(self._joinable.values(), key=str.casefold))
        return f"The bots here can't join meetings of {_service(name).title}; they can join {able}."

    def _add(self, name: str, origin: str) -> None:
        service = _service(name)
        match = _ORIGIN.fullmatch(origin)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port is not None and not 0 < port <= _MAX_PORT):
            raise ValueError(f"{origin!r} is no host for {name}; it must be such as meet.example.com")
        scheme = (match["scheme"] or "https").lower()
        host = match["host"].lower()
        place = _Place(service, host, scheme, None if port == DEFAULT_PORTS[scheme] else port, is_extra=True)
        self._places.setdefault(host, []).append(place)

    def _is_known(self, host: str) -> bool:
        return any(parent in self._places or parent in self._wrappers for parent in with_parents(host))

    def _find_in(self, text: str) -> str | None:
        if _ONLY_LINK.fullmatch(text):
            # As most conference links are: the search comes to the same, for twice as much.
            found = self.normalise_meeting_url(text)
            if found is not None and found.kind is Kind.MEETING:
                return found.url
        best = self._best(LinkText(text))
        return None if best is None else best.url

    def _best(self, text: LinkText) -> MeetingUrl | None:
        best: tuple[tuple[bool, Kind], MeetingUrl] | None = None
        for found, meeting in self._meetings(text):
            target = text.target_of(found)
            if target is not None and not self._leads_on(target):
                continue
            rank = (text.is_quoted(found), meeting.kind)
            if rank == (False, Kind.MEETING):
                return meeting
            if best is None or rank < best[0]:
                best = (rank, meeting)
        return None if best is None else best[1]

    def _meetings(self, text: LinkText) -> Iterator[tuple[FoundLink, MeetingUrl]]:
        """What is a meeting of what looks like a link to a known host, by place."""
        end = 0
        for found in text.links(self._is_known):
            # A link that a gateway's link holds is found once more where it begins.
            if found.start < end:
                continue
            link = self._alone(found.text)
            meeting = self.normalise_meeting_url(link)
            if meeting is not None:
                end = found.start + len(link)
                yield found, meeting

    def _alone(self, link: str) -> str:
        """Two links may stand side by side; only a gateway's own link holds another."""
        following = _NEXT_LINK.search(link)
        if following is None:
            return link
        parsed = parse_link(link)
        if parsed is not None and self._unwrapped(parsed) is not None:
            return link
        return link[: following.start()]

    def _leads_on(self, target: str) -> bool:
        """Whether the text of a link to there may be believed, as the link itself doesn't tell where it leads."""
        link = parse_link(unescaped(target))
        return link is not None and hides_its_target(link) and self.normalise_meeting_url(target) is None

    def _unwrapped(self, link: Link) -> str | None:
        if link.port is not None:
            return None
        for host in with_parents(link.host):
            for wrapper in self._wrappers.get(host, ()):
                if re.fullmatch(wrapper.path, link.path, re.DOTALL):
                    target = wrapper.target(link)
                    return f"https://{link.host}{target}" if target and target.startswith("/") else target
        return None

    def _meeting(self, link: Link) -> MeetingUrl | None:
        path = _tidied(link.path)
        if path is None:
            return None
        slash = "/" if link.path.endswith("/") else ""
        if path != link.path:
            link = replace(link, path=path)
        for host in with_parents(link.host):
            for place in self._places.get(host, ()):
                admitted = place.admit(link)
                found = None if admitted is None else _normalised(admitted, place, before_fragment=slash)
                if found is not None:
                    return found
        return None


def _service(name: str) -> Service:
    for service in SERVICES:
        if service.name == name:
            return service
    known = ", ".join(sorted(service.name for service in SERVICES))
    raise ValueError(f"there is no service {name!r}; there are {known}")


def _normalised(link: Link, place: _Place, *, before_fragment: str) -> MeetingUrl | None:
    service = place.service
    link = service.canonical(link)
    shape = next((shape for shape in service.shapes if _has_shape(link, shape, place)), None)
    if shape is None:
        return None
    values = {name: link.parameter(name) for name in service.keeps}
    kept = [f"{name}={_escaped(value)}" for name, value in values.items() if value]
    port = "" if link.port is None else f":{link.port}"
    url = f"{link.scheme}://{link.host}{port}{_escaped(link.path)}" + ("?" + "&".join(kept) if kept else "")
    if shape.fragment is not None:
        url += f"{before_fragment}#" + "&".join(_escaped(part, also="?") for part in link.fragment.split("&"))
    if url[-1] in _AFTER_LINK:
        # Encoded, so that it isn't taken for a sentence's punctuation when the link is read again.
        url = f"{url[:-1]}%{ord(url[-1]):02X}"
    return MeetingUrl(url, service.name, shape.kind) if len(url) <= MAX_LINK_LENGTH else None


def _has_shape(link: Link, shape: Shape, place: _Place) -> bool:
    if re.fullmatch(shape.path, link.path, _WHOLE) is None:
        return False
    hosts = shape.hosts if shape.hosts and not place.is_extra else (place.host,)
    below = next((host for host in hosts if _is_below(link.host, host)), None)
    if below is None:
        return False
    if shape.fragment is not None and re.fullmatch(shape.fragment, link.fragment, _WHOLE) is None:
        return False
    names = (link.path.split("/")[1], *link.host.removesuffix(below).split(".")) if shape.named else ()
    if any(unquote(name).lower() in PAGES for name in names):
        return False
    return all(link.parameter(name) for name in shape.needs)


def _is_below(host: str, domain: str) -> bool:
    """Whether the host is the domain or below it; for ".acme.example" only below counts."""
    return host.endswith(domain) if domain.startswith(".") else f".{host}".endswith(f".{domain}")


def _tidied(path: str) -> str | None:
    """The path without empty segments and what trails it; None if it climbs ("..") or has control characters."""
    plain = unquote(path)
    if _CLIMBS.search(plain) or _CONTROL.search(plain):
        return None
    return _SLASHES.sub("/", path).rstrip("/" + _AFTER_LINK)


def _escaped(text: str, *, also: str = "") -> str:
    """The text with everything percent-encoded that is unsafe in a link; what is encoded already stays as it is."""
    return _UNSAFE.sub(
        lambda unsafe: unsafe[0] if unsafe[0] in also else quote(unsafe[0], safe="", errors="replace"), text
    )


_known_links = MeetingLinks()
find_meeting_url = _known_links.find_meeting_url
normalise_meeting_url = _known_links.normalise_meeting_url
service_of = _known_links.service_of
