"""Microsoft's consent page: who, what, accept or cancel, and the redirect that follows."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from attendee.sandbox.google_watch import LOOPBACK
from attendee.sandbox.grants import Client, ClientState
from attendee.sandbox.microsoft_aadsts import TOKEN_REFUSALS, described
from attendee.sandbox.microsoft_access import GRAPH_SCOPE
from attendee.sandbox.microsoft_oauth import CLIENT_REFUSALS, OFFLINE, code_prefix
from attendee.sandbox.rendering import page, read_form
from attendee.sandbox.world import AccountState, Person, Platform, World

MEANINGS = {
    OFFLINE: "Maintain access to data you have given it access to",
    "User.Read": "View your basic profile",
    "Calendars.Read": "Read your calendars",
    "Calendars.Read.Shared": "Read calendars you can access",
    "Calendars.ReadWrite": "Have full access to your calendars",
    "openid": "Sign you in",
    "profile": "View your basic profile",
    "email": "View your e-mail address",
}
PROMPTS = frozenset({"login", "none", "consent", "select_account"})
RESPONSE_MODES = {"query": "?", "fragment": "#"}


class MicrosoftConsent:
    """The page and what its buttons do. The address keeps the application's parameters, the form adds the answers."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def show(self, request: Request) -> Response:
        """The page, Microsoft's own error page, or with `prompt=none` the redirect at once."""
        asked = request.query_params
        problem = self._problem(asked)
        if problem is not None:
            return _problem_page(problem)
        people = [
            one
            for one in self.world.people.values()
            if one.platform is Platform.MICROSOFT and one.state is not AccountState.DELETED
        ]
        if asked.get("prompt") == "none":
            person = next((one for one in people if one.email == asked.get("login_hint")), None)
            if person is None:
                return _refused(asked, "login_required", "AADSTS50058: No user is signed in to a session.")
            scopes, client_id = scopes_of(asked), asked["client_id"]
            if not self.world.grants.has_consent(person.email, client_id=client_id, scopes=scopes):
                return _refused(asked, "interaction_required", described(TOKEN_REFUSALS["AADSTS65001"]))
            return self._accepted(request, person)
        return page(
            "consent.html",
            platform="Microsoft",
            client_id=asked["client_id"],
            people=people,
            chosen=asked.get("login_hint"),
            # All or nothing: nobody can leave out single permissions.
            scopes=[(scope, MEANINGS.get(scope, scope), True) for scope in scopes_of(asked)],
        )

    async def answer(self, request: Request) -> Response:
        """Back to the application with a code, or with what was refused."""
        asked, form = request.query_params, await read_form(request)
        problem = self._problem(asked)
        person = self.world.people.get(form.get("person", ""))
        if problem is not None:
            return _problem_page(problem)
        if form.get("decision") != "allow":
            return _refused(asked, "access_denied", described(TOKEN_REFUSALS["AADSTS65004"]))
        if person is None or person.platform is not Platform.MICROSOFT:
            return _problem_page("AADSTS50034")
        if self.world.grants.clients[asked["client_id"]].needs_admin_approval:
            return _refused(asked, "access_denied", described(TOKEN_REFUSALS["AADSTS90094"]))
        return self._accepted(request, person)

    def _accepted(self, request: Request, person: Person) -> Response:
        asked = request.query_params
        scopes = scopes_of(asked)
        code = self.world.grants.issue_code(
            person.email,
            client_id=asked["client_id"],
            redirect_uri=asked["redirect_uri"],
            scopes=scopes,
            offline=OFFLINE in scopes,
            challenge=asked.get("code_challenge"),
            challenge_method=asked.get("code_challenge_method", "plain"),
            prefix=code_prefix(request.path_params["tenant"]),
        )
        return _back(asked, {"code": code})

    def _problem(self, asked: QueryParams) -> str | None:
        client = self.world.grants.clients.get(asked.get("client_id", ""))
        if client is None:
            return "AADSTS700016"
        if client.state is not ClientState.ACTIVE:
            return CLIENT_REFUSALS[client.state]
        if not _is_redirect_allowed(client, asked.get("redirect_uri", "")):
            return "AADSTS50011"
        is_mode_known = asked.get("response_mode", "query") in RESPONSE_MODES
        is_prompt_known = asked.get("prompt", "consent") in PROMPTS
        is_method_known = asked.get("code_challenge_method", "S256") in ("S256", "plain")
        if asked.get("response_type") != "code" or not (is_mode_known and is_prompt_known and is_method_known):
            return "AADSTS9002313"
        return None if scopes_of(asked) else "AADSTS70011"


def scopes_of(asked: QueryParams) -> tuple[str, ...]:
    """What the application asks for, in the short names."""
    return tuple(dict.fromkeys(scope.removeprefix(GRAPH_SCOPE) for scope in asked.get("scope", "").split()))


def _is_redirect_allowed(client: Client, address: str) -> bool:
    if client.redirect_uris is not None:
        return address in client.redirect_uris
    parts = urlsplit(address)
    is_secure = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
    return is_secure and bool(parts.hostname) and not parts.fragment


def _refused(asked: QueryParams, error: str, description: str) -> Response:
    return _back(asked, {"error": error, "error_description": description})


def _back(asked: QueryParams, answer: dict[str, str]) -> Response:
    state = {"state": asked["state"]} if "state" in asked else {}
    address, mark = asked["redirect_uri"], RESPONSE_MODES[asked.get("response_mode", "query")]
    separator = "&" if mark == "?" and urlsplit(address).query else mark
    return RedirectResponse(f"{address}{separator}{urlencode(answer | state)}", 303)


def _problem_page(problem: str) -> Response:
    explanation = described(TOKEN_REFUSALS[problem])
    return page("refusal.html", status=400, platform="Microsoft", error=problem, explanation=explanation)
