"""OAuth at Google and at Microsoft: where users give consent, and what the code that they bring back is good for."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import urlencode

import aiohttp


class LoginRefused(Exception):
    """The login did not work out. The text tells the user what to do."""


@dataclass(frozen=True, slots=True)
class Platform:
    """One OAuth client at one platform."""

    name: Literal["google", "microsoft"]
    title: str
    authorize_url: str
    token_url: str
    profile_url: str
    scopes: str
    calendar_scope: str
    # What this platform wants in the address of its consent page beside the usual.
    asked: Mapping[str, str]
    client_id: str
    client_secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Consent:
    """What a user's consent brought. The refresh token is handed to the service and kept nowhere else."""

    account: str
    email: str
    name: str
    refresh_token: str = field(repr=False)


def google(client_id: str, client_secret: str) -> Platform:
    return Platform(
        name="google",
        title="Google",
        authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
        token_url="https://oauth2.googleapis.com/token",
        profile_url="https://www.googleapis.com/oauth2/v2/userinfo",
        scopes="https://www.googleapis.com/auth/calendar.readonly https://www.googleapis.com/auth/userinfo.email",
        calendar_scope="calendar.readonly",
        # Without both of these, a user who comes for the second time brings no refresh token.
        asked={"access_type": "offline", "prompt": "consent"},
        client_id=client_id,
        client_secret=client_secret,
    )


def microsoft(client_id: str, client_secret: str) -> Platform:
    return Platform(
        name="microsoft",
        title="Microsoft",
        authorize_url="https://login.microsoftonline.com/common/oauth2/v2.0/authorize",
        token_url="https://login.microsoftonline.com/common/oauth2/v2.0/token",
        profile_url="https://graph.microsoft.com/v1.0/me?$select=id,displayName,mail,userPrincipalName",
        # Without offline_access there is no refresh token at all.
        scopes="offline_access User.Read Calendars.Read",
        calendar_scope="Calendars.Read",
        asked={"response_mode": "query"},
        client_id=client_id,
        client_secret=client_secret,
    )


def sandbox_google(url: str) -> Platform:
    """Google as `attendee sandbox` plays it; everybody knows its client."""
    return replace(
        google("sandbox-client", "sandbox-secret"),
        authorize_url=f"{url}/google/o/oauth2/v2/auth",
        token_url=f"{url}/google/token",
        profile_url=f"{url}/google/oauth2/v2/userinfo",
    )


def sandbox_microsoft(url: str) -> Platform:
    """Microsoft as `attendee sandbox` plays it; everybody knows its client."""
    return replace(
        microsoft("sandbox-client", "sandbox-secret"),
        authorize_url=f"{url}/microsoft/common/oauth2/v2.0/authorize",
        token_url=f"{url}/microsoft/common/oauth2/v2.0/token",
        profile_url=f"{url}/microsoft/v1.0/me?$select=id,displayName,mail,userPrincipalName",
    )


def consent_url(platform: Platform, *, redirect_uri: str, state: str, verifier: str, email: str | None) -> str:
    """The address of the consent page. `email` spares a user who comes to reconnect the choice of the account."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    asked = {
        "client_id": platform.client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": platform.scopes,
        "state": state,
        "code_challenge": challenge,
        "code_challenge_method": "S256",
        **platform.asked,
        **({"login_hint": email} if email else {}),
    }
    return f"{platform.authorize_url}?{urlencode(asked)}"


async def exchange_code(
    http: aiohttp.ClientSession, platform: Platform, *, code: str, redirect_uri: str, verifier: str
) -> Consent:
    """What the code is good for. Raises LoginRefused."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_uri,
        "code_verifier": verifier,
        "client_id": platform.client_id,
        "client_secret": platform.client_secret,
    }
    async with http.post(platform.token_url, data=form) as answer:
        tokens = await answer.json(content_type=None)
    if answer.status != 200:
        # `error` is a word such as invalid_grant; what else is in the answer stays out of logs and pages.
        raise LoginRefused(f"{platform.title} did not accept the login ({tokens.get('error')}). Please start again.")
    if not _covers_calendar(platform, tokens.get("scope", "")):
        # Google lets users untick each permission for itself.
        raise LoginRefused("You did not allow to read your calendar. Please start again, and leave its box ticked.")
    if "refresh_token" not in tokens:
        raise LoginRefused(f"{platform.title} gave no lasting access. Please start again.")
    async with http.get(platform.profile_url, headers={"Authorization": f"Bearer {tokens['access_token']}"}) as answer:
        profile = await answer.json(content_type=None)
    if answer.status != 200:
        raise LoginRefused(f"{platform.title} did not say who you are. Please start again.")
    return _consent(profile, refresh_token=tokens["refresh_token"])


def _covers_calendar(platform: Platform, granted: str) -> bool:
    """Both platforms write a scope sometimes in full, sometimes by its last part alone."""
    return platform.calendar_scope.lower() in {scope.rpartition("/")[2].lower() for scope in granted.split()}


def _consent(profile: dict[str, Any], *, refresh_token: str) -> Consent:
    # `id` never changes and never goes to somebody else; an address may, and at Microsoft its owner can write anything
    # into `mail`. So a user is known by `id`, and the address is only shown.
    email = profile.get("email") or profile.get("mail") or profile["userPrincipalName"]
    name = profile.get("name") or profile.get("displayName") or email
    return Consent(account=str(profile["id"]), email=email, name=name, refresh_token=refresh_token)
