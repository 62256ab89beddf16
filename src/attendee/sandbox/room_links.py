"""Which room a meeting link leads to: one of the sandbox's own, or one that stands in for a meeting elsewhere."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

from attendee.meetings import MeetingLinks
from attendee.sandbox.entries import Details

CODE = re.compile(r"[A-Za-z0-9-]{1,64}")
_HOST = re.compile(r"[a-z0-9.-]+(:\d{1,5})?")
_OWN_PATH = re.compile(r"/rooms/([A-Za-z0-9-]{1,64})/?")
# No vowels, so that no words come out, and nothing that is easily taken for something else.
_LETTERS = "bcdfghjkmnpqrstvwxz"


@dataclass(slots=True)
class RoomLinks:
    """`origin` is the address that links to rooms begin with; `hosts` are all hosts that are the sandbox itself."""

    origin: str = "http://127.0.0.1:8100"
    hosts: set[str] = field(default_factory=set)
    _known: MeetingLinks = field(init=False)
    _find: Callable[[str, str, str, str], str | None] = field(init=False)

    def __post_init__(self) -> None:
        self.serve_at(self.origin)

    def serve_at(self, origin: str) -> None:
        """Links to rooms begin with this address from now on."""
        self.origin = origin
        self.know(urlsplit(origin).netloc)

    def know(self, host: str) -> None:
        """Takes links to rooms at this host (with its port) for the sandbox's own. What is no host is ignored."""
        if host in self.hosts or not _HOST.fullmatch(host):
            return
        self.hosts.add(host)
        self._known = MeetingLinks(extra_hosts=[("sandbox", f"http://{one}") for one in self.hosts])
        self._find = _finder(self._known)

    def new(self) -> str:
        """The link of a room that nobody has been in."""
        parts = ("".join(secrets.choice(_LETTERS) for _ in range(length)) for length in (3, 4, 3))
        return self.to("-".join(parts))

    def with_room(self, words: Mapping[str, Any]) -> dict[str, Any]:
        """The words for an event, with a new room as its meeting link if they ask for one (`with_room`)."""
        return {**words, "meeting_url": self.new()} if words.get("with_room") else dict(words)

    def to(self, code: str) -> str:
        """The link of that room."""
        return f"{self.origin}/rooms/{code}"

    def normalised(self, link: str) -> str:
        """The link in its one form, which the service uses too; what is no meeting link stays as it is."""
        found = self._known.normalise_meeting_url(link)
        return link if found is None else found.url

    def own_code(self, link: str) -> str | None:
        """The code in a link to one of the sandbox's own rooms; None for any other link."""
        parts = urlsplit(link)
        own = _OWN_PATH.fullmatch(parts.path)
        return own[1].lower() if own and parts.netloc in self.hosts else None

    def found_in(self, details: Details) -> str | None:
        """The meeting link of an event, in its one form; None if it has none."""
        conference = details.conference.url if details.conference else ""
        return self._find(conference, details.location or "", details.description or "", details.title or "")


def stand_in_code(link: str) -> str:
    """The code of the room that stands in for the meeting at this link: always the same, and without its secrets."""
    host = re.sub(r"[^a-z0-9]+", "-", urlsplit(link).netloc.lower()).strip("-")
    return f"{host[:40]}-{sha256(link.encode()).hexdigest()[:8]}"


def _finder(links: MeetingLinks) -> Callable[[str, str, str, str], str | None]:
    """Finds the link of an event, of which there are few while the question comes up all the time."""

    @lru_cache(maxsize=10_000)
    def find(conference: str, location: str, description: str, title: str) -> str | None:
        return links.find_meeting_url(conference=(conference,), location=location, body=description, title=title)

    return find
