"""Templates: what every page shows besides its own, and how times, states and numbers are written."""

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from jinja2.runtime import Context
from markupsafe import Markup
from starlette.responses import HTMLResponse, RedirectResponse, Response

from attendee.dashboard.visits import Visit

# Put into the page in place of its version, which is a digest of the rest.
_VERSION_HERE = "version-of-this-page"
_MINUTE, _HOUR, _DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)

# What a page says after a form, by the word in its address.
_DONE = {
    "asked": "A sync has been asked for. What comes of it shows here within seconds.",
    "changed": "The change is stored.",
    "created": "The webhook is there. Send a test to see that it arrives.",
    "deleted": "It is deleted.",
    "disabled": "It is disabled.",
    "enabled": "It is enabled again.",
    "member": "The member has access now.",
    "password": "Your password is changed. You are signed out everywhere else.",
    "paused": "The webhook is paused. What comes meanwhile waits.",
    "project": "The project is there. Next: an API key, then a webhook.",
    "redelivery": "It will be delivered again in a moment.",
    "project-deleted": "The project is deleted. What it held is being removed now.",
    "removed": "They are no longer a member.",
    "resumed": "The webhook is active again. What has waited is on its way.",
    "rotated": "There is a new signing secret.",
    "test": "A test is on its way.",
    "zone": "Times are in your zone now.",
}


class PageAnswer(HTMLResponse):
    """A page, and the version that it has."""

    version: str


def page(visit: Visit, template: str, *, status: int = 200, **values: Any) -> Response:
    """The template with these values and everything that every page needs."""
    signed_in = visit.signed_in
    html = ENVIRONMENT.get_template(template).render(
        visit=visit,
        now=visit.now,
        zone=visit.zone,
        user=None if signed_in is None else signed_in.user,
        projects=() if signed_in is None else signed_in.projects,
        csrf="" if signed_in is None else signed_in.csrf,
        project=visit.project_or_none,
        base="" if visit.project_or_none is None else visit.address,
        may_change=visit.may_change,
        problem=visit.problem,
        done=_DONE.get(visit.asked("done")),
        version=_VERSION_HERE,
        **values,
    )
    version = hashlib.sha256(html.encode()).hexdigest()[:16]
    answer = PageAnswer(html.replace(_VERSION_HERE, version, 1), status)
    answer.version = version
    return answer


def version_of(answer: Response) -> str | None:
    return answer.version if isinstance(answer, PageAnswer) else None


def plain_page(message: str, *, status: int) -> Response:
    """A page that only says something."""
    return HTMLResponse(ENVIRONMENT.get_template("plain.html").render(message=message), status)


def redirect(address: str, *, done: str | None = None) -> Response:
    """Back to a page after a form; `done` is the word for what the page then says."""
    return RedirectResponse(address if done is None else f"{address}?done={done}", 303)


@jinja2.pass_context
def _when(context: Context, at: datetime | None) -> Markup:
    return Markup("–") if at is None else local_time(at, zone=context["zone"], now=context["now"])


def local_time(at: datetime, *, zone: ZoneInfo, now: datetime) -> Markup:
    """An instant as a person in the zone reads it, the year only where it is another."""
    local = at.astimezone(zone)
    form = "%a %-d %b, %H:%M" if local.year == now.astimezone(zone).year else "%-d %b %Y, %H:%M"
    return _time(at, f"{local:{form}}", title=f"{local:%A, %-d %B %Y, %H:%M:%S} {local.tzname()}")


@jinja2.pass_context
def _ago(context: Context, at: datetime | None) -> Markup:
    """How long ago or ahead an instant is, roughly."""
    if at is None:
        return Markup("–")
    local = at.astimezone(context["zone"])
    return _time(at, distance(at, now=context["now"]), title=f"{local:%A, %-d %B %Y, %H:%M:%S} {local.tzname()}")


def distance(at: datetime, *, now: datetime) -> str:
    """In words: "just now", "5 min ago", "in 3 h"."""
    apart = abs(at - now)
    if apart < _MINUTE:
        return "just now" if at <= now else "in a moment"
    if apart < _HOUR:
        amount = f"{apart // _MINUTE} min"
    elif apart < 2 * _DAY:
        amount = f"{apart // _HOUR} h"
    else:
        amount = f"{apart // _DAY} days"
    return f"{amount} ago" if at <= now else f"in {amount}"


def _time(at: datetime, text: str, *, title: str) -> Markup:
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"), title, text
    )


def words(name: str) -> str:
    """A name of ours as a person reads it: `joined_recording` is "joined recording"."""
    return name.replace("_", " ")


def milliseconds(count: int) -> str:
    return f"{count} ms" if count < 1_000 else f"{count / 1_000:.1f} s"


def zone_name(zone: Any, now: datetime) -> str:
    """The zone with its distance from UTC now: "Europe/Berlin (UTC+01:00)"."""
    local = now.astimezone(zone)
    offset = local.strftime("%z")
    return "UTC" if zone.key == "UTC" else f"{zone.key.replace('_', ' ')} (UTC{offset[:3]}:{offset[3:5]})"


ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
ENVIRONMENT.filters |= {"when": _when, "ago": _ago, "words": words, "milliseconds": milliseconds}
ENVIRONMENT.globals["zone_name"] = zone_name
