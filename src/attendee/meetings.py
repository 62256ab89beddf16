"""Meeting links: find them in an event, unwrap what mail gateways made of them, and write each in one form.

Nothing here reads more than once over a text that anybody may have sent: all patterns are bounded, a link is at most
MAX_LINK_LENGTH long, and a text with MAX_LINKS_TRIED links to known hosts that are no meetings is given up on.
Python's HTML parser is not used, because unclosed markup costs it quadratic time. Links end at quotes and angle
brackets, so scanning the markup finds each `href`, and then the text that it belongs to, by place.
"""

import html
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from urllib.parse import quote, unquote

from attendee.meeting_services import DEFAULT_PORTS, SERVICES, WRAPPERS, Link, Service, Wrapper, parse_link

MAX_LINK_LENGTH = 8_192
MAX_LINKS_TRIED = 500
MAX_WRAPPERS = 5

# What sentences, Markdown and mail programs put around a link. A closing brace may end a Teams link's context.
_BEFORE_LINK = " \t\r\n\f\v\u00a0\u200b\ufeff<([{\"'`*_"
_AFTER_LINK = " \t\r\n\f\v\u00a0\u200b\ufeff>)]\"'`.,;:!?*~"

_INNER_SPACE = re.compile(r"[\s\x00-\x1f\x7f]")

# Entities with their semicolon only: "&copy=1" in a link is a parameter.
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")

# Where a link may begin: at its scheme, plain or percent-encoded; or at a bare host at the start of a word.
_LINK_START = re.compile(
    r"https?(?::|%(?:25){0,4}3a)(?:/|%(?:25){0,4}2f){2}(?=([a-z0-9.-]{1,253}))"
    r"|(?<![^\s<>(\[\"'*,])(?=((?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24})/)",
    re.IGNORECASE,
)
# What a link in running text consists of. Letters beyond ASCII end it: Japanese text follows links without a space.
_LINK_IN_TEXT = re.compile(rf"[A-Za-z0-9%&=?#/:;@.!$*+~_-]{{1,{MAX_LINK_LENGTH + 1}}}")
_NEXT_LINK = re.compile(r"(?<!\A)https?://", re.IGNORECASE)

_HIDDEN_START = re.compile(r"<(!--|style\b|script\b)", re.IGNORECASE)
_HIDDEN_ENDS = {
    "!--": re.compile("-->"),
    "style": re.compile("</style", re.IGNORECASE),
    "script": re.compile("</script", re.IGNORECASE),
}

_UNSAFE = re.compile(r"%(?![0-9A-Fa-f]{2})|[^A-Za-z0-9%=+:@/,._~-]")
_ORIGIN = re.compile(
    r"(?:(?P<scheme>https?)://)?(?P<host>[a-z0-9-]+(?:\.[a-z0-9-]+)*)(?::(?P<port>\d{1,5}))?/?",
    re.IGNORECASE | re.ASCII,
)
_MAX_PORT = 65_535


@dataclass(frozen=True, slots=True)
class MeetingUrl:
    """A meeting's link in its one form, and the name of its service."""

    url: str
    service: str


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a service is met: below a host, at a port (None for the scheme's own)."""

    service: Service
    scheme: str = "https"
    port: int | None = None

    def admit(self, link: Link) -> Link | None:
        """The link with the scheme that it is to be opened with, or None if it leads to another port."""
        if link.port != self.port:
            return None
        # What is met over https on its own port is written with http by people and by old programs.
        is_usual = self.scheme == "https" and self.port is None
        return replace(link, scheme="https") if is_usual else link if link.scheme == self.scheme else None


class MeetingLinks:
    """The services that we know, and the hosts that an operator adds to them.

    `extra_hosts` are pairs of a service's name and a host: "video.acme.example" or "video.acme.example:8443", met over
    https, or an origin such as "http://127.0.0.1:8100". Raises ValueError for a pair that is none of these.
    """

    def __init__(self, *, extra_hosts: Iterable[tuple[str, str]] = ()) -> None:
        self._places: dict[str, list[_Place]] = {}
        self._wrappers: dict[str, list[Wrapper]] = {}
        for service in SERVICES:
            for host in service.hosts:
                self._places.setdefault(host, []).append(_Place(service))
        for wrapper in WRAPPERS:
            for host in wrapper.hosts:
                self._wrappers.setdefault(host, []).append(wrapper)
        for name, host in extra_hosts:
            self._add(name, host)

    def find_meeting_url(self, *, conference: Sequence[str], location: str, body: str, title: str) -> str | None:
        """The event's meeting link, normalised; None if it has none.

        The platform's own conference fields are the most trustworthy, then location, body and title. In each of them
        the first meeting link by place wins. Every field may be plain text, HTML or Markdown.
        """
        for text in (*conference, location, body, title):
            for link in self._links(_unescaped(_without_hidden(text))):
                found = self.normalise_meeting_url(link)
                if found is not None:
                    return found.url
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
            text = _unescaped(text)
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

    def _add(self, name: str, origin: str) -> None:
        service = next((service for service in SERVICES if service.name == name), None)
        if service is None:
            known = ", ".join(sorted(service.name for service in SERVICES))
            raise ValueError(f"there is no service {name!r}; there are {known}")
        match = _ORIGIN.fullmatch(origin)
        port = int(match["port"]) if match and match["port"] else None
        if match is None or (port is not None and not 0 < port <= _MAX_PORT):
            raise ValueError(f"{origin!r} is no host for {name}; it must be such as meet.example.com")
        scheme = (match["scheme"] or "https").lower()
        place = _Place(service, scheme=scheme, port=None if port == DEFAULT_PORTS[scheme] else port)
        self._places.setdefault(match["host"].lower(), []).append(place)

    def _is_known(self, host: str) -> bool:
        return any(parent in self._places or parent in self._wrappers for parent in _with_parents(host))

    def _links(self, text: str) -> Iterator[str]:
        """What looks like a link to a known host, by place."""
        tried = 0
        for start in _LINK_START.finditer(text):
            if not self._is_known((start[1] or start[2]).lower().removesuffix(".")):
                continue
            tried += 1
            if tried > MAX_LINKS_TRIED:
                return
            run = _LINK_IN_TEXT.match(text, start.start())
            if run is None or len(run[0]) > MAX_LINK_LENGTH:
                continue
            link = run[0]
            parsed = parse_link(link)
            if parsed is None or self._unwrapped(parsed) is None:
                # Two links may stand side by side; only a wrapper's own parameter is a link within a link.
                link = link[: following.start()] if (following := _NEXT_LINK.search(link)) else link
            # In Markdown's _emphasis_ the closing mark is no part of the link.
            emphasised = text[max(start.start() - 1, 0)] == "_"
            yield link.rstrip("_") if emphasised else link

    def _unwrapped(self, link: Link) -> str | None:
        if link.port is not None:
            return None
        for host in _with_parents(link.host):
            for wrapper in self._wrappers.get(host, ()):
                if re.fullmatch(wrapper.path, link.path, re.DOTALL):
                    target = wrapper.target(link)
                    return f"https://{link.host}{target}" if target and target.startswith("/") else target
        return None

    def _meeting(self, link: Link) -> MeetingUrl | None:
        path = _tidied(link.path)
        if path is None:
            return None
        link = replace(link, path=path)
        for host in _with_parents(link.host):
            for place in self._places.get(host, ()):
                admitted = place.admit(link)
                url = None if admitted is None else _normalised(admitted, place.service)
                if url is not None:
                    return MeetingUrl(url=url, service=place.service.name)
        return None


def _normalised(link: Link, service: Service) -> str | None:
    link = service.canonical(link)
    if not any(
        re.fullmatch(shape.path, link.path, re.ASCII | re.DOTALL) and all(link.parameter(name) for name in shape.needs)
        for shape in service.shapes
    ):
        return None
    values = {name: link.parameter(name) for name in service.keeps}
    kept = [f"{name}={_escaped(value)}" for name, value in values.items() if value]
    port = "" if link.port is None else f":{link.port}"
    url = f"{link.scheme}://{link.host}{port}{_escaped(link.path)}" + ("?" + "&".join(kept) if kept else "")
    if url[-1] in _AFTER_LINK:
        # Encoded, so that it isn't taken for a sentence's punctuation when the link is read again.
        url = f"{url[:-1]}%{ord(url[-1]):02X}"
    return url if len(url) <= MAX_LINK_LENGTH else None


def _tidied(path: str) -> str | None:
    """The path without empty segments and what trails it; None if it climbs ("..") or has control characters."""
    plain = unquote(path)
    if any(segment in {".", ".."} for segment in plain.split("/")) or any(character < " " for character in plain):
        return None
    return re.sub(r"/{2,}", "/", path).rstrip("/" + _AFTER_LINK)


def _escaped(text: str) -> str:
    """The text with everything percent-encoded that is unsafe in a link; what is encoded already stays as it is."""
    return _UNSAFE.sub(lambda unsafe: quote(unsafe[0], safe="", errors="replace"), text)


def _unescaped(text: str) -> str:
    return _ENTITY.sub(lambda entity: html.unescape(entity[0]), text)


def _without_hidden(text: str) -> str:
    """The text without HTML comments, styles and scripts, which may hold stale links. What never ends is left in."""
    visible: list[str] = []
    endless: set[str] = set()
    position = 0
    for start in _HIDDEN_START.finditer(text):
        kind = start[1].lower()
        if start.start() < position or kind in endless:
            continue
        end = _HIDDEN_ENDS[kind].search(text, start.end())
        if end is None:
            endless.add(kind)
            continue
        visible.append(text[position : start.start()])
        position = end.end()
    return " ".join([*visible, text[position:]])


def _with_parents(host: str) -> Iterator[str]:
    """The host and every domain above it, the nearest first."""
    while host:
        yield host
        host = host.partition(".")[2]


_known_links = MeetingLinks()
find_meeting_url = _known_links.find_meeting_url
normalise_meeting_url = _known_links.normalise_meeting_url
service_of = _known_links.service_of
