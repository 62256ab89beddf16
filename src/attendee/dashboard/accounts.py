"""Signing in and out, one-time links, and one's own account."""

from datetime import timedelta
from ipaddress import ip_address, ip_network

from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from attendee.dashboard.passwords import LEAST_CHARACTERS, Passwords, check_new
from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import ZONE_COOKIE, ZONES, Refused, Visit
from attendee.errors import Invalid, NotAllowed
from attendee.store import links, sessions, users
from attendee.store.links import Link
from attendee.store.users import User

_WRONG = "E-mail or password is wrong."
_TOO_OFTEN = "That was tried too often. Wait a quarter of an hour, then try again."
_LINK_IS_OVER = (
    "This link has been used, or is too old. A new one comes from `attendee users reset-password EMAIL`, or from "
    "whoever invited you."
)
_ZONE_LASTS = timedelta(days=365)

_passwords = Passwords()


async def show_sign_in(visit: Visit) -> Response:
    if visit.signed_in is not None and visit.problem is None:
        return redirect("/")
    there_are_users = await users.exist(visit.tx)
    return page(visit, "sign_in.html", there_are_users=there_are_users, next=_next(visit))


async def sign_in(visit: Visit) -> Response:
    """Begins a session. Whether the e-mail or the password was wrong nobody learns, not even by the time it takes."""
    email = visit.given("email").lower()
    async with visit.dashboard.database.reading() as tx:
        user = await users.find_by_email(tx, email)
    is_right = await _is_right(visit, visit.form.get("password", ""), user, email=email)
    if user is None or not is_right or user.disabled_at is not None:
        raise NotAllowed(_WRONG)
    await _forgive(visit, email)
    return await _signed_in(visit, user, to=_next(visit) or "/")


async def sign_out(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        if visit.signed_in is not None:
            await sessions.end(tx, visit.signed_in.token)
    return _without_session(visit)


async def sign_out_everywhere(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        await sessions.end_all(tx, visit.user.id)
    return _without_session(visit)


async def show_link(visit: Visit) -> Response:
    """Where whoever has a link chooses a password; opening the page does not use the link up."""
    link = await _open_link(visit, visit.tx)
    user = None if link.user_id is None else await users.get(visit.tx, link.user_id)
    return page(visit, "link.html", invited=user, least=LEAST_CHARACTERS)


async def use_link(visit: Visit) -> Response:
    # First of all: nobody who has no link keeps us busy with passwords.
    async with visit.dashboard.database.reading() as tx:
        await _open_link(visit, tx)
    password = visit.form.get("password", "")
    check_new(password, again=visit.form.get("again", ""))
    email = users.read_email(visit.given("email")) if "email" in visit.form else None
    password_hash = await _passwords.hashed(password)
    async with visit.dashboard.database.transaction() as tx:
        link = await links.use(tx, visit.part("secret"), now=visit.now)
        if link is None:
            raise Refused(410, _LINK_IS_OVER)
        if link.user_id is None:
            user = await users.create(tx, email or "", is_owner=True, now=visit.now)
        else:
            user = await users.get(tx, link.user_id)
        if user.disabled_at is not None:
            raise Refused(410, _LINK_IS_OVER)
        await users.set_password(tx, user.id, password_hash)
        await sessions.forgive(tx, email=user.email)
    return await _signed_in(visit, user, to="/")


async def show_account(visit: Visit) -> Response:
    return page(visit, "account.html", zones=sorted(ZONES), least=LEAST_CHARACTERS)


async def change_password(visit: Visit) -> Response:
    """Takes the new password, and ends every other session."""
    if not await _is_right(visit, visit.form.get("current", ""), visit.user, email=visit.user.email):
        raise Invalid("current", "This is not your current password.")
    await _forgive(visit, visit.user.email)
    password = visit.form.get("password", "")
    check_new(password, again=visit.form.get("again", ""))
    password_hash = await _passwords.hashed(password)
    async with visit.dashboard.database.transaction() as tx:
        await users.set_password(tx, visit.user.id, password_hash)
    return await _signed_in(visit, visit.user, to="/account?done=password")


async def choose_zone(visit: Visit) -> Response:
    zone = visit.given("zone")
    if zone not in ZONES:
        raise Invalid("zone", "There is no such time zone; Europe/Berlin is one.")
    answer = redirect("/account", done="zone")
    answer.set_cookie(
        ZONE_COOKIE,
        zone,
        max_age=round(_ZONE_LASTS.total_seconds()),
        secure=visit.dashboard.is_secure,
        samesite="lax",
    )
    return answer


async def _open_link(visit: Visit, tx: AsyncConnection) -> Link:
    """The link of the address. Raises Refused if it is good for nothing any more."""
    link = await links.find(tx, visit.part("secret"), now=visit.now)
    if link is None or (link.user_id is None and await users.exist(tx)):
        raise Refused(410, _LINK_IS_OVER)
    return link


async def _is_right(visit: Visit, password: str, user: User | None, *, email: str) -> bool:
    """Whether it is the user's password, which takes as long without a user. Raises Refused for who guesses."""
    async with visit.dashboard.database.transaction() as tx:
        may_try = await sessions.may_try(tx, email=email, address=_network_address(visit), now=visit.now)
    if not may_try:
        raise Refused(429, _TOO_OFTEN)
    return await _passwords.is_right(password, None if user is None else user.password_hash)


async def _forgive(visit: Visit, email: str) -> None:
    async with visit.dashboard.database.transaction() as tx:
        await sessions.forgive(tx, email=email)


async def _signed_in(visit: Visit, user: User, *, to: str) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        token = await sessions.begin(tx, user.id, now=visit.now)
    answer = redirect(to)
    answer.set_cookie(
        visit.dashboard.session_cookie,
        token,
        max_age=round(sessions.LASTS.total_seconds()),
        secure=visit.dashboard.is_secure,
        httponly=True,
        samesite="lax",
    )
    return answer


def _without_session(visit: Visit) -> Response:
    answer = redirect("/sign-in")
    answer.delete_cookie(visit.dashboard.session_cookie, secure=visit.dashboard.is_secure, httponly=True)
    return answer


def _network_address(visit: Visit) -> str:
    """Where the visitor is. Of IPv6 the network: who has one address has as many as they like."""
    client = visit.request.client
    if client is None:
        return "unknown"
    try:
        address = ip_address(client.host)
    except ValueError:
        return client.host
    return client.host if address.version == 4 else str(ip_network((address, 64), strict=False))


def _next(visit: Visit) -> str:
    """The page that was wanted, if it is one of ours: no link leads from here to another site."""
    wanted = visit.given("next") or visit.asked("next")
    # Browsers leave out tabs and line breaks wherever they are in an address.
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and not set(wanted) & set("\t\r\n")
    return wanted if is_ours else ""
