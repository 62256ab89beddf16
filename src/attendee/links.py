"""A link in its parts, and the reading of one out of what people and programs made of it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_DECODING_ROUNDS = 5

_ENCODED_START = re.compile(r"https?%(?:25)*3a", re.IGNORECASE | re.ASCII)
_SCHEME = re.compile(r"https?:", re.IGNORECASE | re.ASCII)
# What a click hands to a program instead of the browser: the same addresses under another scheme.
_APP_SCHEMES = (
    (re.compile(r"zoom(?:mtg|us)://", re.IGNORECASE | re.ASCII), "https://"),
    (re.compile(r"msteams://(?=teams\.)", re.IGNORECASE | re.ASCII), "https://"),
    (re.compile(r"msteams:/{1,2}(?=(?:l|meet)/)", re.IGNORECASE | re.ASCII), "https://teams.microsoft.com/"),
)
# Only ASCII hosts: a homograph such as a Cyrillic "o" in "zoom" can't match. No "@": user information is refused.
_LINK = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9.-]{1,253})(?::(?P<port>\d{0,5}))?(?=[/?#]|\Z)"
    r"(?P<path>[^?#]*)(?:\?(?P<query>[^#]*))?(?:\#(?P<fragment>.*))?",
    re.IGNORECASE | re.ASCII | re.DOTALL,
)


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
        if not self.query:
            return None
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
        text = _without_app_scheme(text)
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


def with_parents(host: str) -> Iterator[str]:
    """The host and every domain above it, the nearest first."""
    while host:
        yield host
        host = host.partition(".")[2]


def _without_app_scheme(text: str) -> str:
    for scheme, start in _APP_SCHEMES:
        if match := scheme.match(text):
            return start + text[match.end() :]
    return f"https://{text}"
