"""Signing in: the user is sent to the platform, comes back with a code, and the calendar is handed to the service."""

import secrets
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Cookie, Request
from fastapi.responses import RedirectResponse, Response

from attendee_client import Refused, api
from attendee_client.webhooks import Webhook
from notetaker.office import Office
from notetaker.platforms import Consent, LoginRefused, Platform, consent_url, exchange_code
from notetaker.sessions import SESSION_COOKIE, office_of
from notetaker.store import User

router = APIRouter()

_LOGIN_COOKIE = "login"
_LOGIN_SECONDS = 15 * 60
_SESSION_SECONDS = 30 * 24 * 3600


@router.get("/auth/{platform_name}")
async def auth(request: Request, platform_name: str, email: str | None = None) -> Response:
    """Sends the user to the platform's consent page. `email` is that of a user who comes to reconnect."""
    office = office_of(request)
    platform = _platform(office, platform_name)
    state, verifier = office.store.begin_login(platform.name, now=office.now())
    address = consent_url(
        platform, redirect_uri=_redirect_uri(office, platform), state=state, verifier=verifier, email=email
    )
    answer = RedirectResponse(address, 303)
    # Only the browser that began the login may end it: else somebody could be signed in to another's account.
    _set_cookie(answer, office, _LOGIN_COOKIE, state, seconds=_LOGIN_SECONDS)
    return answer


@router.get("/callback/{platform_name}")
async def callback(
    request: Request,
    platform_name: str,
    *,
    state: str = "",
    code: str = "",
    error: str = "",
    login: Annotated[str, Cookie()] = "",
) -> Response:
    """Where the platform sends the user back to."""
    office = office_of(request)
    platform = _platform(office, platform_name)
    is_same_browser = secrets.compare_digest(state.encode(), login.encode())
    verifier = office.store.take_login(state, platform=platform.name, now=office.now()) if is_same_browser else None
    if verifier is None:
        raise LoginRefused("This login has ended, or was begun in another browser. Please start again.")
    if error or not code:
        raise LoginRefused(f"{platform.title} gave no access to your calendar ({error or 'no code'}).")
    user = await complete_oauth_login(office, platform, code=code, verifier=verifier)
    answer = RedirectResponse("/", 303)
    answer.delete_cookie(_LOGIN_COOKIE)
    session_id = office.store.begin_session(user, now=office.now())
    _set_cookie(answer, office, SESSION_COOKIE, session_id, seconds=_SESSION_SECONDS)
    return answer


async def complete_oauth_login(office: Office, platform: Platform, *, code: str, verifier: str) -> User:
    """The user, whose calendar the service has from now on. Raises LoginRefused and AttendeeError."""
    redirect_uri = _redirect_uri(office, platform)
    consent = await exchange_code(office.http, platform, code=code, redirect_uri=redirect_uri, verifier=verifier)
    calendar_id = await _hand_over(office, platform, consent)
    user = office.store.save_login(platform.name, consent, calendar_id=calendar_id)
    # The first webhook may have come before the calendar's id was saved here, so it is read once as if one came now.
    key = f"login:{secrets.token_urlsafe()}"
    news = Webhook(key, "calendar.events_update", data={}, calendar_id=calendar_id)
    office.store.add_delivery(news, now=office.now())
    office.bell.set()
    return user


async def _hand_over(office: Office, platform: Platform, consent: Consent) -> str:
    """The id of the user's calendar at the service, which has the new credentials."""
    key = f"{platform.name}:{consent.account}"
    new = api.create_calendar(
        platform=platform.name,
        client_id=platform.client_id,
        client_secret=platform.client_secret,
        refresh_token=consent.refresh_token,
        deduplication_key=key,
    )
    try:
        return (await office.service.do(new)).id
    except Refused as refused:
        if "deduplication_key" not in refused.body:
            raise
    async for existing in office.service.each(api.calendars(deduplication_key=key)):
        if existing.client_id == platform.client_id:
            # This is how a disconnected calendar is connected again, with its events and what was decided on them.
            change = api.change_calendar(
                existing.id, client_secret=platform.client_secret, refresh_token=consent.refresh_token
            )
            return (await office.service.do(change)).id
        # It belongs to an OAuth client that this application no longer uses; a calendar's client can't be changed.
        await office.service.do(api.delete_calendar(existing.id))
    return (await office.service.do(new)).id


def _platform(office: Office, name: str) -> Platform:
    if name not in office.platforms:
        raise LoginRefused("This application doesn't know that platform.")
    return office.platforms[name]


def _redirect_uri(office: Office, platform: Platform) -> str:
    """Registered at the platform, letter by letter; one for each, so that no platform can answer for another."""
    return f"{office.url}/callback/{platform.name}"


def _set_cookie(answer: Response, office: Office, name: str, value: str, *, seconds: int) -> None:
    is_secure = urlsplit(office.url).scheme == "https"
    answer.set_cookie(name, value, max_age=seconds, httponly=True, samesite="lax", secure=is_secure)
