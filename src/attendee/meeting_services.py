"""The services that we know meetings of, and the gateways that wrap links: one table row each.

A new service is one row of SERVICES, a new gateway one row of WRAPPERS; `meetings.py` reads both and needs no change.
How a row is read:

- A host stands for itself and for every host below it, which belong to the same owner.
- `canonical` first folds the service's other spellings of a link into one. It must leave its own result alone.
- Some shape must then match the whole path, which has no trailing slash, empty segment or trailing punctuation.
- Of the query only the parameters in `keeps` stay, spelt and ordered as there; the fragment goes.
"""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass, replace
from string import ascii_lowercase, ascii_uppercase, digits
from urllib.parse import quote, unquote

MAX_DECODING_ROUNDS = 5

_ENCODED_START = re.compile(r"https?%(?:25)*3a", re.IGNORECASE | re.ASCII)
_SCHEME = re.compile(r"https?:", re.IGNORECASE | re.ASCII)
# Only ASCII hosts: a homograph such as a Cyrillic "o" in "zoom" can't match. No "@": user information is refused.
_LINK = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253})(?::(?P<port>\d{0,5}))?(?=[/?#]|\Z)"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:\#(?P<fragment>.*))?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)
DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Link:
    """A link in its parts. `port` is None for the scheme's own port; path, query and fragment are as written."""

    scheme: str
    host: str
    port: int | None
    path: str
    query: str
    fragment: str

    def parameter(self, name: str) -> str | None:
        """The first value of that query parameter that isn't empty, still percent-encoded; its case is ignored."""
        for part in self.query.split("&"):
            key, _, value = part.partition("=")
            if value and key.lower() == name.lower():
                return value
        return None


def parse_link(text: str) -> Link | None:
    """The link that the whole text is, or None. Without a scheme it is https; a percent-encoded one is decoded."""
    if _ENCODED_START.match(text):
        # As the value of some gateway's parameter, it ends where the next parameter begins.
        decoded = decoded_fully(text.partition("&")[0], until=_SCHEME)
        if decoded is None:
            return None
        text = decoded
    elif not _SCHEME.match(text):
        text = f"https://{text}"
    match = _LINK.fullmatch(text)
    if match is None:
        return None
    scheme = match["scheme"].lower()
    host = match["host"].lower().removesuffix(".")
    if not all(host.split(".")):
        return None
    port = int(match["port"]) if match["port"] else None
    return Link(
        scheme=scheme,
        host=host,
        port=None if port == DEFAULT_PORTS[scheme] else port,
        path=match["path"],
        query=match["query"] or "",
        fragment=match["fragment"] or "",
    )


def decoded_fully(text: str, *, until: re.Pattern[str] | None = None) -> str | None:
    """The text decoded until nothing changes, or `until` matches its start; None if that takes too many rounds."""
    for _ in range(MAX_DECODING_ROUNDS + 1):
        if until is not None and until.match(text):
            return text
        decoded = unquote(text)
        if decoded == text:
            return text
        text = decoded
    return None


@dataclass(frozen=True, slots=True)
class Shape:
    """A path of meetings: a pattern for the whole path, and the query parameters without which it is no meeting."""

    path: str
    needs: tuple[str, ...] = ()


def _unchanged(link: Link) -> Link:
    return link


@dataclass(frozen=True, slots=True)
class Service:
    """A row of the table; see the head of this module."""

    name: str
    hosts: tuple[str, ...]
    shapes: tuple[Shape, ...]
    keeps: tuple[str, ...] = ()
    canonical: Callable[[Link], Link] = _unchanged


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A gateway that rewrites links. `target` gives the link inside; one that begins with "/" is on the same host."""

    name: str
    hosts: tuple[str, ...]
    path: str
    target: Callable[[Link], str | None]


# --- Zoom ---

_ZOOM_WEB_CLIENT = re.compile(r"/wc/(?:join/(\d+)|(\d+)(?:/(?:join|start))?)", re.ASCII)


def _canonical_zoom(link: Link) -> Link:
    """The web client's addresses lead to the same meeting as /j/, which every Zoom client can open."""
    match = _ZOOM_WEB_CLIENT.fullmatch(link.path)
    if match is None:
        return link
    # app.zoom.us serves nothing but the web client: there is no /j/ on it.
    return replace(link, host=link.host.removeprefix("app."), path=f"/j/{match[1] or match[2]}")


# --- Google Meet ---

_MEET_CODE = re.compile(r"(?:/_meet)?(/[a-z]{3}-[a-z]{4}-[a-z]{3})", re.IGNORECASE | re.ASCII)


def _canonical_google_meet(link: Link) -> Link:
    match = _MEET_CODE.fullmatch(link.path)
    return replace(link, path=match[1].lower()) if match else link


# --- Microsoft Teams ---

_TEAMS_HOSTS = (
    "teams.microsoft.com",
    "teams.live.com",
    "teams.cloud.microsoft",
    "gov.teams.microsoft.us",
    "dod.teams.microsoft.us",
    "teams.microsoftonline.cn",
)
_TEAMS_APP_PAGES = ("", "/_", "/v2")
_TEAMS_APP = re.compile(r"/(?:_|v2)(?=/|\Z)")
_TEAMS_JOIN = re.compile(r"/l/meetup-join/(19:[\w.=+-]+@[\w.]+)(?:/(\d+))?/?", re.ASCII)


def _encoded_as_teams_does(text: str) -> str:
    """Percent-encoded with lower-case digits, so that a link as Microsoft Graph gives it stays what it is."""
    encoded = quote(text, safe="=+", errors="replace")
    return re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), encoded)


def _canonical_teams(link: Link) -> Link:
    """The join link itself, out of the web app's address and of any depth of percent-encoding."""
    path, query = decoded_fully(link.path), link.query
    if path is None:
        return link
    if path in _TEAMS_APP_PAGES and link.fragment.startswith("/"):
        # The web app carries the meeting in the fragment: /_#/l/meetup-join/..., /v2/?meetingjoin=true#/meet/...
        fragment_path, _, query = link.fragment.partition("?")
        path = decoded_fully(fragment_path) or ""
    # A "#" or "?" that only decoding brought to light is one level of encoding too many.
    path = path.rpartition("#")[2]
    path, _, hidden_query = path.partition("?")
    path = _TEAMS_APP.sub("", path, count=1)
    link = replace(link, path=path.rstrip("/"), query=hidden_query or query, fragment="")
    match = _TEAMS_JOIN.fullmatch(path)
    if match is None:
        return link
    # The context names tenant and organizer as JSON. Cut off or garbled, it is worse than none.
    context = decoded_fully(link.parameter("context") or "") or ""
    whole = context.startswith("{") and context.endswith("}")
    return replace(
        link,
        path=f"/l/meetup-join/{_encoded_as_teams_does(match[1])}/{match[2] or '0'}",
        query=f"context={_encoded_as_teams_does(context)}" if whole else "",
    )


SERVICES: tuple[Service, ...] = (
    Service(
        "zoom",
        hosts=("zoom.us", "zoom.com", "zoomgov.com", "zoom.com.cn", "zoom-x.de"),
        # /j/ joins, /w/ is a webinar, /s/ starts as the host, /my/ is a personal room; Zoom promises no length of ids.
        shapes=(Shape(r"/[jws]/\d{1,15}"), Shape(r"/my/[\w.%-]+")),
        keeps=("pwd", "tk", "zak", "token"),
        canonical=_canonical_zoom,
    ),
    Service(
        "google_meet",
        hosts=("meet.google.com",),
        shapes=(Shape(r"/[a-z]{3}-[a-z]{4}-[a-z]{3}"), Shape(r"/lookup/[\w-]+")),
        canonical=_canonical_google_meet,
    ),
    Service(
        "teams",
        hosts=_TEAMS_HOSTS,
        shapes=(Shape(r"/l/meetup-join/19%3a[\w.=+-]+%40[\w.]+/\d+"), Shape(r"/meet/\d{1,20}")),
        keeps=("context", "p"),
        canonical=_canonical_teams,
    ),
    Service(
        "webex",
        hosts=("webex.com",),
        shapes=(
            Shape(r"/(?:meet|join)/[\w.%-]+"),
            Shape(r"/m/[0-9a-fA-F-]{32,36}"),
            Shape(r"/(?:[\w.-]+/)?j\.php", needs=("MTID",)),
            Shape(r"/(?:wbxmjs/joinservice|webappng)/sites/[\w.-]+/meeting/(?:download|info)/\w+"),
        ),
        keeps=("MTID", "PW"),
    ),
    Service("jitsi", hosts=("meet.jit.si",), shapes=(Shape(r"/[^/]+"), Shape(r"/[^/]+/[^/]+")), keeps=("jwt",)),
    # Everybody's is their own: only a setting says where it is.
    Service("bigbluebutton", hosts=(), shapes=(Shape(r"/(?:b|rooms)/[\w-]+(?:/join)?"),)),
    Service("sandbox", hosts=(), shapes=(Shape(r"/rooms/[A-Za-z0-9-]+"),)),
)


def _in_parameter(*names: str) -> Callable[[Link], str | None]:
    def target(link: Link) -> str | None:
        values = (link.parameter(name) for name in names)
        return next((unquote(value) for value in values if value), None)

    return target


def _proofpoint_v2(link: Link) -> str | None:
    """Version 2 writes "%" as "-" and "/" as "_", and both of those percent-encoded."""
    value = link.parameter("u")
    return None if value is None else unquote(value.replace("-", "%").replace("_", "/"))


_RUN_LENGTHS = {letter: length for length, letter in enumerate(ascii_uppercase + ascii_lowercase + digits + "-_", 2)}
_REPLACED = re.compile(r"\*(?:\*([A-Za-z0-9_-]))?")


def _proofpoint_v3(link: Link) -> str | None:
    """Version 3 is /v3/__<link>__;<the replaced characters in base64>!!<signature>.

    In the link "*" stands for one replaced character, "**" and a letter for a run of them (A two, B three, ...).
    """
    query = f"?{link.query}" if link.query else ""
    fragment = f"#{link.fragment}" if link.fragment else ""
    wrapped, _, trailer = f"{link.path}{query}{fragment}".removeprefix("/v3/__").rpartition("__;")
    encoded = trailer.partition("!")[0]
    try:
        replaced = urlsafe_b64decode(encoded + "=" * (-len(encoded) % 4)).decode()
    except ValueError:
        return None
    remaining = iter(replaced)

    def put_back(match: re.Match[str]) -> str:
        length = _RUN_LENGTHS[match[1]] if match[1] else 1
        return "".join(character for _, character in zip(range(length), remaining, strict=False))

    # Some mail servers fold the "//" inside a path into one "/".
    return re.sub(r"\A(https?:/)(?!/)", r"\1/", _REPLACED.sub(put_back, wrapped))


_PROOFPOINT_HOSTS = ("urldefense.proofpoint.com", "urldefense.com", "urldefense.us")

WRAPPERS: tuple[Wrapper, ...] = (
    Wrapper(
        "outlook_safe_links",
        hosts=(
            "safelinks.protection.outlook.com",
            "safelinks.protection.office365.us",
            "safelinks.protection.partner.outlook.cn",
        ),
        path=r"/.*",
        target=_in_parameter("url"),
    ),
    Wrapper(
        "teams_safe_links",
        hosts=("statics.teams.cdn.office.net",),
        path=r"/evergreen-assets/safelinks/.*",
        target=_in_parameter("url"),
    ),
    Wrapper("teams_launcher", hosts=_TEAMS_HOSTS, path=r"/dl/launcher/.*", target=_in_parameter("url")),
    Wrapper("proofpoint_v1", hosts=_PROOFPOINT_HOSTS, path=r"/v1/url", target=_in_parameter("u")),
    Wrapper("proofpoint_v2", hosts=_PROOFPOINT_HOSTS, path=r"/v2/url", target=_proofpoint_v2),
    Wrapper("proofpoint_v3", hosts=_PROOFPOINT_HOSTS, path=r"/v3/__.*", target=_proofpoint_v3),
    Wrapper("google_redirect", hosts=("google.com",), path=r"/url", target=_in_parameter("q", "url")),
    Wrapper("google_meet_redirect", hosts=("meet.google.com",), path=r"/linkredirect", target=_in_parameter("dest")),
)
