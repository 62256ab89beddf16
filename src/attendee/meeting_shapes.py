"""What a row of the table of services consists of.

- A host stands for itself and for every host below it, which belong to the same owner.
- `canonical` first folds the service's other spellings of a link into one. It must leave its own result alone.
- Some shape must then match the whole path, which has no trailing slash, empty segment or trailing punctuation.
- Of the query only the parameters in `keeps` stay, spelt and ordered as there; the fragment goes, unless it is the
  shape's.
- `to_join` says what a bot needs besides the link.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from attendee.links import Link


class Kind(IntEnum):
    """What a link leads to. Of several links in one text the smallest kind wins."""

    MEETING = 0
    ROOM = 1  # Somebody's standing room, which may as well be in their signature.
    DETOUR = 2  # One gets into the meeting in the end: as its host, past a lobby, from a broadcast.


@dataclass(frozen=True, slots=True)
class Shape:
    """A form of a service's links: patterns for the whole path, and for the fragment where that names the meeting.

    `needs` are the parameters without which it is no meeting. `hosts` are those of the service's where it is met, if
    not all; ".acme.example" is every host below acme.example, but not that itself. `named`: a person chose the name in
    the path, and names of PAGES are not for them.
    """

    path: str
    kind: Kind = Kind.MEETING
    hosts: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    fragment: str | None = None
    named: bool = False


def _unchanged(link: Link) -> Link:
    return link


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the table; see the head of this module. Without hosts it is met only where a setting says."""

    name: str
    title: str
    hosts: tuple[str, ...]
    shapes: tuple[Shape, ...]
    to_join: str
    keeps: tuple[str, ...] = ()
    canonical: Callable[[Link], Link] = _unchanged


# What services keep for pages of their own, at the start of the path and in front of their host.
_PAGES = """
about account accounts admin affiliate api app apps assets auth blog browser business careers cdn community company
compliance contact contact-us cookies create customers dashboard demo developer developers dialin dialinnumbers
discover doc docs download downloads education embed en enterprise events explore faq favicon.ico features forgot
gallery get-started guide guides healthcare help home host images img index.html index.php info information install
integrations invite jobs join kb knowledge learn learning legal libs log-in login logout meet meeting meetings mobile
new news numbers oauth org otherways partner partners people plans policies press pricing privacy privacy-policy
product products profile recording recordings register resources robots.txt schedule security service services
settings share sign-in sign-up signin signout signup sitemap.xml solutions sso start static status subscribe support
system-check team teams terms terms-of-service test tos training trial trust unsubscribe upgrade use-cases user users
video watch webinar webinars welcome
"""
PAGES = frozenset(_PAGES.split())
