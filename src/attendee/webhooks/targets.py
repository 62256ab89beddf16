"""Which addresses a webhook may be given. What a name resolves to is looked at again whenever we connect to it."""

import re
import socket
from urllib.parse import urlsplit

from attendee.outgoing import is_public

_NOT_IN_A_URL = re.compile(r"[\s\x00-\x1f\x7f<>\"\\^`{|}]")
# Names that mean this machine or its own network wherever they are looked up.
_LOCAL_NAMES = ("localhost", "localdomain", "local", "internal")


def refusal(url: str, *, allow_insecure: bool) -> str | None:
    """Why webhooks can't be sent there, in a sentence; None if they can."""
    if _NOT_IN_A_URL.search(url):
        return "Must be a URL; this has characters that no URL has."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "Must be a URL such as https://example.com/webhooks."
    schemes = {"https", "http"} if allow_insecure else {"https"}
    if parts.scheme not in schemes:
        return "Must begin with http:// or https://." if allow_insecure else "Must begin with https://."
    host = (host or "").rstrip(".")
    if not host:
        return "Must name a host, such as https://example.com/webhooks."
    if allow_insecure:
        return None
    if _is_local_name(host) or not _may_be_public(host):
        return "Must reach a public address, not a private, loopback or link-local one."
    return None


def _is_local_name(host: str) -> bool:
    return host.rpartition(".")[2] in _LOCAL_NAMES


def _may_be_public(host: str) -> bool:
    """Whether the host is a name, or an address that is public, in any of the forms that resolvers take for one."""
    if ":" in host:
        return is_public(host)
    try:
        # It knows 127.1, 0x7f000001 and 2130706433 for what they are.
        return is_public(socket.inet_ntoa(socket.inet_aton(host)))
    except (OSError, UnicodeEncodeError):
        return True
