"""The gateways and redirects that wrap links: one row of WRAPPERS each, and those that hide what they wrap."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Callable
from dataclasses import dataclass
from string import ascii_lowercase, ascii_uppercase, digits
from urllib.parse import unquote

from attendee.links import Link, with_parents
from attendee.meeting_spellings import TEAMS_HOSTS


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A gateway that rewrites links. `target` gives the link inside; one that begins with "/" is on the same host.

    A host stands for itself and for every host below it; `path` is a pattern for the whole path.
    """

    name: str
    hosts: tuple[str, ...]
    path: str
    target: Callable[[Link], str | None]


def _in_parameter(*names: str) -> Callable[[Link], str | None]:
    def target(link: Link) -> str | None:
        values = (link.parameter(name) for name in names)
        return next((unquote(value) for value in values if value), None)

    return target


def _in_base64_parameter(name: str) -> Callable[[Link], str | None]:
    def target(link: Link) -> str | None:
        return _decoded_base64(unquote(link.parameter(name) or ""))

    return target


def _decoded_base64(text: str) -> str | None:
    text = text.rstrip("=").translate({43: "-", 47: "_"})
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode() or None
    except ValueError:
        return None


def _after_token(link: Link) -> str | None:
    """Cisco's: /<token>/<the link, percent-encoded or as it is>."""
    target = _whole(link).removeprefix("/").partition("/")[2]
    return _with_both_slashes(unquote(target) if "%3a" in target[:8].lower() else target) or None


def _between_underscores(link: Link) -> str | None:
    """Avanan's: /v2/___<link>___.<token>."""
    return _with_both_slashes(_whole(link).partition("___")[2].partition("___")[0]) or None


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
    wrapped, _, trailer = _whole(link).removeprefix("/v3/__").rpartition("__;")
    encoded = trailer.partition("!")[0]
    replaced = _decoded_base64(encoded) if encoded else ""
    if replaced is None:
        return None
    remaining = iter(replaced)

    def put_back(match: re.Match[str]) -> str:
        length = _RUN_LENGTHS[match[1]] if match[1] else 1
        return "".join(character for _, character in zip(range(length), remaining, strict=False))

    return _with_both_slashes(_REPLACED.sub(put_back, wrapped))


def _whole(link: Link) -> str:
    """What follows the host."""
    query = f"?{link.query}" if link.query else ""
    fragment = f"#{link.fragment}" if link.fragment else ""
    return f"{link.path}{query}{fragment}"


def _with_both_slashes(text: str) -> str:
    # Some mail servers fold the "//" inside a path into one "/".
    return re.sub(r"\A(https?:/)(?!/)", r"\1/", text)


_PROOFPOINT_HOSTS = ("urldefense.proofpoint.com", "urldefense.com", "urldefense.us")
_GOOGLE_COUNTRIES = "at be ca ch co.in co.jp co.uk com.au com.br com.mx de dk es fi fr ie it nl no pl pt se"

WRAPPERS: tuple[Wrapper, ...] = (
    Wrapper(
        "Outlook Safe Links",
        hosts=(
            "safelinks.protection.outlook.com",
            "safelinks.protection.office365.us",
            "safelinks.protection.partner.outlook.cn",
        ),
        path=r"/?.*",
        target=_in_parameter("url"),
    ),
    Wrapper(
        "Teams Safe Links",
        hosts=("statics.teams.cdn.office.net",),
        path=r"/evergreen-assets/safelinks/.*",
        target=_in_parameter("url"),
    ),
    Wrapper(
        "Azure safe links",
        hosts=("safelink.emails.azure.net",),
        path=r"/redirect/?",
        target=_in_parameter("destination"),
    ),
    Wrapper("Teams launcher", hosts=TEAMS_HOSTS, path=r"/dl/launcher/.*", target=_in_parameter("url")),
    Wrapper("Proofpoint v1", hosts=_PROOFPOINT_HOSTS, path=r"/v1/url", target=_in_parameter("u")),
    Wrapper("Proofpoint v2", hosts=_PROOFPOINT_HOSTS, path=r"/v2/url", target=_proofpoint_v2),
    Wrapper("Proofpoint v3", hosts=_PROOFPOINT_HOSTS, path=r"/v3/__.*", target=_proofpoint_v3),
    Wrapper("Proofpoint isolation", hosts=("urlisolation.com",), path=r"/browser/?", target=_in_parameter("url")),
    Wrapper("Barracuda", hosts=("linkprotect.cudasvc.com",), path=r"/url", target=_in_parameter("a")),
    Wrapper("Cisco", hosts=("secure-web.cisco.com",), path=r"/[^/]+/.+", target=_after_token),
    Wrapper("Sophos", hosts=("protection.sophos.com",), path=r"/?", target=_in_base64_parameter("u")),
    Wrapper("Avanan", hosts=("url.avanan.click",), path=r"/v2/.*___.*", target=_between_underscores),
    Wrapper("FireEye", hosts=("fireeye.com",), path=r"(?:/v1)?/url", target=_in_parameter("u")),
    Wrapper("Symantec", hosts=("clicktime.symantec.com",), path=r"/.*", target=_in_parameter("u")),
    Wrapper(
        "Trend Micro",
        hosts=("trendmicro.com",),
        path=r"/wis/clicktime/v1/(?:query|clickthrough)/?",
        target=_in_parameter("url"),
    ),
    Wrapper("Libraesva", hosts=("urlsand.esvalabs.com",), path=r"/?", target=_in_parameter("u")),
    Wrapper("EdgePilot", hosts=("link.edgepilot.com",), path=r"/s/.*", target=_in_parameter("u")),
    Wrapper(
        "Google redirect",
        hosts=("google.com", *(f"google.{country}" for country in _GOOGLE_COUNTRIES.split())),
        path=r"/url",
        target=_in_parameter("q", "url"),
    ),
    Wrapper("Google Meet redirect", hosts=("meet.google.com",), path=r"/linkredirect", target=_in_parameter("dest")),
    Wrapper("Slack redirect", hosts=("slack-redir.net",), path=r"/link", target=_in_parameter("url")),
    Wrapper(
        "LinkedIn redirect", hosts=("linkedin.com",), path=r"/(?:redir|safety)/[\w/-]+", target=_in_parameter("url")
    ),
    Wrapper(
        "Facebook redirect",
        hosts=("l.facebook.com", "lm.facebook.com", "l.instagram.com", "l.messenger.com", "l.workplace.com"),
        path=r"/(?:l\.php)?",
        target=_in_parameter("u"),
    ),
    Wrapper("YouTube redirect", hosts=("youtube.com",), path=r"/redirect", target=_in_parameter("q")),
    Wrapper("VK redirect", hosts=("vk.com",), path=r"/away\.php", target=_in_parameter("to")),
    Wrapper(
        "GMX and WEB.DE redirect",
        hosts=("deref-gmx.net", "deref-web.de", "deref-gmx.com"),
        path=r"/mail/client/.*",
        target=_in_parameter("redirectUrl"),
    ),
)

# Shortened links, and Mimecast's, of which only Mimecast knows where they lead.
_SILENT = (
    "bit.ly buff.ly cutt.ly goo.gl is.gd lnkd.in mimecast.com mimecastprotect.com ow.ly rebrand.ly shorturl.at t.co "
    "tiny.cc tinyurl.com"
)
_SILENT_HOSTS = frozenset(_SILENT.split())
# A long mixture of letters and digits: the address of a gateway or click counter, which no person would write.
_TOKEN = re.compile(r"[A-Za-z0-9]{16,}", re.ASCII)


def hides_its_target(link: Link) -> bool:
    """Whether it leads on to somewhere that its address doesn't tell."""
    if any(parent in _SILENT_HOSTS for parent in with_parents(link.host)):
        return True
    return any(
        any(character.isdigit() for character in token) and any(character.isalpha() for character in token)
        for token in _TOKEN.findall(_whole(link)[:2048])
    )
