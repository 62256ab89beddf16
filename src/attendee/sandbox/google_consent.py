"""Google's consent page: who, what, allow or refuse, and the redirect that follows."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from attendee.sandbox.google_access import SCOPE
from attendee.sandbox.google_watch import LOOPBACK
from attendee.sandbox.grants import Client, ClientState
from attendee.sandbox.rendering import page, read_form
from attendee.sandbox.world import AccountState, Platform, World

LONG_SCOPES = {"email": SCOPE + "userinfo.email", "profile": SCOPE + "userinfo.profile"}
MEANINGS = {
    SCOPE + "calendar.readonly": "See and download any calendar you can access",
    SCOPE + "calendar.events.readonly": "View events on all your calendars",
    SCOPE + "calendar.calendarlist.readonly": "See the list of your calendars",
    SCOPE + "userinfo.email": "See your primary e-mail address",
    SCOPE + "userinfo.profile": "See your personal info",
    "openid": "Associate you with your personal info",
}
CODE_PREFIX = "4/0A"
# What stands on Google's own error page, by the word it shows.
PROBLEMS = {
    "invalid_client": "The OAuth client was not found.",
    "deleted_client": "The OAuth client was deleted.",
    "disabled_client": "The OAuth client was disabled.",
    "redirect_uri_mismatch": "The redirect URI in the request is not one of those of the client.",
    "unsupported_response_type": "Only response_type=code is spoken here.",
    "invalid_request": "Required parameter is missing or malformed.",
    "invalid_scope": "No scope was asked for.",
}


class GoogleConsent:
    """The page and what its buttons do. The address keeps the application's parameters, the form adds the answers."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def show(self, request: Request) -> Response:
        """The page, or Google's own error page."""
        asked = request.query_params
        problem = self._problem(asked)
        if problem is not None:
            return _problem_page(problem)
        people = [one for one in self.world.people.values() if one.platform is Platform.GOOGLE]
        shown = [(scope, MEANINGS.get(scope, scope), scope == "openid") for scope in scopes_of(asked)]
        return page(
            "consent.html",
            platform="Google",
            client_id=asked["client_id"],
            people=[one for one in people if one.state is not AccountState.DELETED],
            chosen=asked.get("login_hint"),
            scopes=shown,
        )

    async def answer(self, request: Request) -> Response:
        """Back to the application with a code, or with `access_denied`."""
        asked, form = request.query_params, await read_form(request)
        problem = self._problem(asked)
        person = self.world.people.get(form.get("person", ""))
        if problem is not None or person is None or person.platform is not Platform.GOOGLE:
            return _problem_page(problem or "invalid_request")
        client = self.world.grants.clients[asked["client_id"]]
        is_invited = client.test_users is None or person.email in client.test_users
        if form.get("decision") != "allow" or not is_invited:
            return _back(asked, {"error": "access_denied"})
        ticked = form.getlist("scope")
        scopes = tuple(scope for scope in scopes_of(asked) if scope == "openid" or scope in ticked)
        # A refresh token comes only with a real pass through the consent screen: the first one, or a forced one.
        is_screen_passed = "consent" in asked.get("prompt", "").split() or not self.world.grants.has_consent(
            person.email, client_id=client.id, scopes=scopes
        )
        code = self.world.grants.issue_code(
            person.email,
            client_id=client.id,
            redirect_uri=asked["redirect_uri"],
            scopes=scopes,
            offline=asked.get("access_type") == "offline" and is_screen_passed,
            challenge=asked.get("code_challenge"),
            challenge_method=asked.get("code_challenge_method"),
            prefix=CODE_PREFIX,
        )
        return _back(asked, {"code": code, "scope": " ".join(scopes)})

    def _problem(self, asked: QueryParams) -> str | None:
        client = self.world.grants.clients.get(asked.get("client_id", ""))
        if client is None:
            return "invalid_client"
        if client.state is not ClientState.ACTIVE:
            return "deleted_client" if client.state is ClientState.DELETED else "disabled_client"
        if not _is_redirect_allowed(client, asked.get("redirect_uri", "")):
            return "redirect_uri_mismatch"
        if asked.get("response_type") != "code":
            return "unsupported_response_type"
        if asked.get("code_challenge_method", "S256") not in ("S256", "plain"):
            return "invalid_request"
        return None if scopes_of(asked) else "invalid_scope"


def scopes_of(asked: QueryParams) -> tuple[str, ...]:
    """What the application asks for, in long form."""
    return tuple(dict.fromkeys(LONG_SCOPES.get(scope, scope) for scope in asked.get("scope", "").split()))


def _is_redirect_allowed(client: Client, address: str) -> bool:
    if client.redirect_uris is not None:
        return address in client.redirect_uris
    parts = urlsplit(address)
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return is_secure and bool(parts.hostname) and not parts.fragment


def _back(asked: QueryParams, answer: dict[str, str]) -> Response:
    state = {"state": asked["state"]} if "state" in asked else {}
    address = asked["redirect_uri"]
    separator = "&" if urlsplit(address).query else "?"
    return RedirectResponse(f"{address}{separator}{urlencode(state | answer)}", 303)


def _problem_page(problem: str) -> Response:
    status = 401 if problem.endswith("_client") else 400
    return page("refusal.html", status=status, platform="Google", error=problem, explanation=PROBLEMS[problem])
