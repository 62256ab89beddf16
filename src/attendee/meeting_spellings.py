"""Services that write one meeting in several ways, and how each way is folded into one.

Every function leaves its own result alone, and gives back unchanged what it does not know.
"""

import json
import re
from base64 import urlsafe_b64decode
from dataclasses import replace
from urllib.parse import quote, unquote

from attendee.links import Link, decoded_fully

TEAMS_HOSTS = (
    "teams.microsoft.com",
    "teams.live.com",
    "teams.cloud.microsoft",
    "gov.teams.microsoft.us",
    "dod.teams.microsoft.us",
    "teams.microsoftonline.cn",
)

_ZOOM_WEB_CLIENT = re.compile(r"/wc/(?:join/([\d-]+)|([\d-]+)(?:/(?:join|start))?)", re.ASCII)
_ZOOM_ID = re.compile(r"(/[jws]/)(\d[\d-]*\d)", re.ASCII)

_MEET_CODE = re.compile(r"(?:/_meet)?(/[a-z]{3}-[a-z]{4}-[a-z]{3})", re.IGNORECASE | re.ASCII)

_TEAMS_APP_PAGES = ("", "/_", "/v2")
_TEAMS_APP = re.compile(r"/(?:_|v2)(?=/|\Z)")
_TEAMS_JOIN = re.compile(r"/l/meetup-join/(19:[\w.:=+-]+@[\w.]+)(?:/(\d+))?/?", re.ASCII)


def one_zoom(link: Link) -> Link:
    """The web client's addresses and those of the program, as /j/, which every Zoom client can open."""
    path, host = link.path, link.host
    if match := _ZOOM_WEB_CLIENT.fullmatch(path):
        path = f"/j/{match[1] or match[2]}"
        # app.zoom.us serves nothing but the web client: there is no /j/ on it.
        host = host.removeprefix("app.")
    elif path.startswith("/wc/my/"):
        path, host = path.removeprefix("/wc"), host.removeprefix("app.")
    elif path in {"/join", "/j", "/start"}:
        path = f"/j/{link.parameter('confno') or ''}"
    if match := _ZOOM_ID.fullmatch(path):
        path = match[1] + match[2].replace("-", "")
    return link if path == link.path else replace(link, host=host, path=path)


def one_google_meet(link: Link) -> Link:
    if link.host == "g.co":
        name = link.path.removeprefix("/meet/")
        link = replace(link, host="meet.google.com", path=f"/lookup/{name}") if name != link.path else link
    match = _MEET_CODE.fullmatch(link.path)
    return replace(link, path=match[1].lower()) if match else link


def one_teams(link: Link) -> Link:
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
    if link.path == "/light-meetings/launch":
        link = _out_of_light_meeting(link)
    match = _TEAMS_JOIN.fullmatch(link.path)
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


def one_chime(link: Link) -> Link:
    if link.host != "app.chime.aws" or not link.path.startswith("/meetings/"):
        return link
    return replace(link, host="chime.aws", path=link.path.removeprefix("/meetings"))


def _out_of_light_meeting(link: Link) -> Link:
    """The light client is told its meeting as JSON in base64; it is the same meeting as that of the join link."""
    encoded = unquote(link.parameter("coords") or "").rstrip("=")
    try:
        coordinates = json.loads(urlsafe_b64decode(encoded.translate({43: "-", 47: "_"}) + "=" * (-len(encoded) % 4)))
    except (ValueError, RecursionError):
        return link
    if not isinstance(coordinates, dict) or not isinstance(thread := coordinates.get("conversationId"), str):
        return link
    names = {"Tid": coordinates.get("tenantId"), "Oid": coordinates.get("organizerId")}
    known = {name: value for name, value in names.items() if isinstance(value, str) and value}
    context = json.dumps(known, separators=(",", ":")) if known else ""
    path = f"/l/meetup-join/{thread}/{coordinates.get('messageId') or 0}"
    return replace(link, path=path, query=f"context={quote(context, safe='')}" if context else "")


def _encoded_as_teams_does(text: str) -> str:
    """Percent-encoded with lower-case digits, so that a link as Microsoft Graph gives it stays what it is."""
    encoded = quote(text, safe="=+", errors="replace")
    return re.sub(r"%[0-9A-F]{2}", lambda escape: escape[0].lower(), encoded)
