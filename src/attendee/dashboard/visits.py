"""Who asks for which page, and what they may do there: every page says what it needs, and nothing else opens it."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum, auto
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo, available_timezones

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.datastructures import Headers, ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from attendee.clock import Clock
from attendee.errors import DomainError
from attendee.model import Role
from attendee.store import sessions, users
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.projects import Project
from attendee.store.users import User

ZONE_COOKIE = "tz"
ZONES = frozenset(available_timezones())
_UTC = ZoneInfo("UTC")

Form = ImmutableMultiDict[str, str]


@dataclass(frozen=True, slots=True)
class Dashboard:
    """What the pages work with. `public_url` is where browsers may reach them besides the address that they name."""

    database: Database
    key_ring: KeyRing
    clock: Clock
    allow_insecure_webhooks: bool
    public_url: str | None
    most_webhooks: int
    keep_syncs_days: int

    @property
    def is_secure(self) -> bool:
        return self.public_url is not None and self.public_url.startswith("https://")

    @property
    def session_cookie(self) -> str:
        # With the prefix, browsers take it over https only, and from no other host of the same domain.
        return "__Host-attendee" if self.is_secure else "attendee_session"


class Needs(Enum):
    """Who may open a page. The last three are for the pages of a project, which is a secret to everybody else."""

    NOBODY = auto()
    USER = auto()
    OWNER = auto()
    VIEWER = auto()
    ADMIN = auto()


_OF_PROJECT = frozenset({Needs.VIEWER, Needs.ADMIN})


class Refused(Exception):
    """The visitor may not open this page; the text says what would be right."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class SignInFirst(Exception):
    pass


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A user with a session, and the projects that they may see."""

    user: User
    token: str = field(repr=False)
    projects: tuple[Project, ...]

    @property
    def csrf(self) -> str:
        """What proves that a form came from a page of this session. Nobody else knows the secret that it is made of."""
        return hashlib.sha256(b"csrf " + self.token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Visit:
    """One request for a page. `tx` reads; a form's page opens a transaction of its own to write.

    `problem` is why the form that was sent, `form`, was refused: the page is then shown once more with both.
    """

    request: Request
    dashboard: Dashboard
    tx: AsyncConnection
    now: datetime
    zone: ZoneInfo
    signed_in: SignedIn | None
    project_or_none: Project | None
    role: Role | None
    form: Form = field(default_factory=ImmutableMultiDict[str, str])
    problem: DomainError | None = None

    @property
    def user(self) -> User:
        assert self.signed_in is not None, "the page needs a user"
        return self.signed_in.user

    @property
    def project(self) -> Project:
        assert self.project_or_none is not None, "the page needs a project"
        return self.project_or_none

    @property
    def may_change(self) -> bool:
        return self.role in {Role.OWNER, Role.ADMIN}

    @property
    def address(self) -> str:
        """Where the project's pages begin."""
        return f"/projects/{self.project.id}"

    def given(self, name: str) -> str:
        """A field of the form, trimmed; empty if it is not there. NUL can't be stored, so nobody gets it in."""
        return self.form.get(name, "").replace("\x00", "").strip()

    def asked(self, name: str) -> str:
        """A parameter of the address, in the same way."""
        return self.request.query_params.get(name, "").replace("\x00", "").strip()

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])


Shown = Callable[[Visit], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Page:
    """A page and who may open it. Live ones tell the browser when what they show has changed."""

    path: str
    show: Shown
    needs: Needs
    is_live: bool = False

    @property
    def methods(self) -> list[str]:
        return ["GET"]


@dataclass(frozen=True, slots=True)
class Action:
    """What a form does, and who may do it. A refusal shows the page `on`, where the form is, once more."""

    path: str
    do: Shown
    needs: Needs
    on: Shown

    @property
    def methods(self) -> list[str]:
        return ["POST"]


def secret_of(dashboard: Dashboard, cookies: Mapping[str, str]) -> str | None:
    return cookies.get(dashboard.session_cookie)


async def enter(
    request: Request, dashboard: Dashboard, needs: Needs, *, tx: AsyncConnection
) -> tuple[Visit, Callable[[], Awaitable[None]] | None]:
    """The visit, if the visitor may make it, and what is to be written afterwards, if anything.

    Raises SignInFirst, and Refused: a project that is not the visitor's own does not exist for them.
    """
    now = dashboard.clock()
    token = secret_of(dashboard, request.cookies)
    signed_in, after = None, None
    if token is not None:
        found = await sessions.find_user_id(tx, token, now=now)
        user = None if found is None else await users.get(tx, found[0])
        if found is not None and user is not None and user.disabled_at is None:
            signed_in = SignedIn(user, token, tuple(await users.projects_of(tx, user)))
            after = _recording(dashboard, token, now) if found[1] else None
    if signed_in is None and needs is not Needs.NOBODY:
        raise SignInFirst
    project, role = None, None
    if needs in _OF_PROJECT:
        assert signed_in is not None, "checked above"
        role = await users.role_in(tx, signed_in.user, request.path_params["project_id"])
        project = next((one for one in signed_in.projects if one.id == request.path_params["project_id"]), None)
        if project is None or role is None:
            raise Refused(404, "There is no such page, or it is not yours to see.")
    if needs is Needs.ADMIN and role is Role.VIEWER:
        raise Refused(403, "You may look at this project, not change it. An admin of the project can.")
    if needs is Needs.OWNER and (signed_in is None or not signed_in.user.is_owner):
        raise Refused(403, "Only an owner may do that.")
    return Visit(request, dashboard, tx, now, zone_of(request), signed_in, project, role), after


def check_origin(headers: Headers, dashboard: Dashboard) -> None:
    """Raises Refused for a form that another site sent."""
    ours = {headers.get("host", "").lower()}
    if dashboard.public_url is not None:
        ours.add(urlsplit(dashboard.public_url).netloc.lower())
    origin = headers.get("origin")
    is_foreign = origin is not None and urlsplit(origin).netloc.lower() not in ours
    if is_foreign or headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
        raise Refused(403, "This form came from another site, so nothing was done.")


def check_token(visit: Visit) -> None:
    """Raises Refused for a form that is not of this session."""
    signed_in = visit.signed_in
    if signed_in is not None and not hmac.compare_digest(visit.form.get("csrf", "").encode(), signed_in.csrf.encode()):
        raise Refused(
            403, "This form is of an earlier session, so nothing was done. Load its page anew, and try again."
        )


def zone_of(request: Request) -> ZoneInfo:
    """The visitor's time zone, as their browser or they themselves have said."""
    name = request.cookies.get(ZONE_COOKIE, "")
    return ZoneInfo(name) if name in ZONES else _UTC


def to_sign_in(request: Request) -> Response:
    """The page to sign in on, and back from there."""
    wanted = request.url.path if request.method == "GET" else "/"
    query = f"?{request.url.query}" if request.method == "GET" and request.url.query else ""
    back = "" if wanted == "/" else f"?next={quote(wanted + query)}"
    return RedirectResponse(f"/sign-in{back}", 303)


def _recording(dashboard: Dashboard, token: str, now: datetime) -> Callable[[], Awaitable[None]]:
    async def record() -> None:
        async with dashboard.database.transaction() as tx:
            await sessions.record_use(tx, token, now=now)

    return record
