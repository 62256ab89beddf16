"""Google's consent page, token endpoint and revocation as the sandbox speaks them."""

import base64
import hashlib
from datetime import timedelta
from urllib.parse import parse_qsl, urlsplit

import pytest

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.google_errors import TOKEN_REFUSALS
from attendee.sandbox.grants import ClientState
from attendee.sandbox.world import AccountState, Person, World
from tests.sandbox.application import GoogleClient, ManualClock

CALENDAR_SCOPE = "https://www.googleapis.com/auth/calendar.readonly"
EMAIL_SCOPE = "https://www.googleapis.com/auth/userinfo.email"
VERIFIER = "a-verifier-that-is-long-enough-to-be-one-of-pkce"
ASKED = {
    "client_id": "sandbox-client",
    "redirect_uri": "http://127.0.0.1:9/callback",
    "response_type": "code",
    "scope": f"openid email {CALENDAR_SCOPE}",
    "state": "s 1",
    "access_type": "offline",
    "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode(),
    "code_challenge_method": "S256",
}
ALLOWED = (("person", "ana@acme.example"), ("scope", CALENDAR_SCOPE), ("scope", EMAIL_SCOPE), ("decision", "allow"))


async def consent(
    google: GoogleClient, *, form: tuple[tuple[str, str], ...] = ALLOWED, **changes: str
) -> dict[str, str]:
    """What the redirect back to the application says."""
    address = f"{google.url}/o/oauth2/v2/auth"
    async with google.session.post(address, params=ASKED | changes, data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        target = urlsplit(answer.headers["Location"])
        assert target.path == "/callback"
        return dict(parse_qsl(target.query))


async def exchange(google: GoogleClient, code: str, **changes: str) -> dict[str, str]:
    fields = {"grant_type": "authorization_code", "code": code, "redirect_uri": ASKED["redirect_uri"]}
    answer = await google.token(**fields | {"code_verifier": VERIFIER} | changes)
    body: dict[str, str] = answer.json
    return body


async def test_consent_leads_to_tokens(google: GoogleClient) -> None:
    """Page, redirect with code and state, exchange with PKCE, refresh: the refresh brings no new refresh token."""
    async with google.session.get(f"{google.url}/o/oauth2/v2/auth", params=ASKED) as page:
        shown = await page.text()
    assert page.status == 200
    assert "ana@acme.example" in shown
    back = await consent(google, prompt="consent")
    assert back["state"] == "s 1"
    tokens = await exchange(google, back["code"])
    assert tokens["scope"].split() == ["openid", EMAIL_SCOPE, CALENDAR_SCOPE]
    assert tokens["id_token"].count(".") == 2
    google.refresh_token = tokens["refresh_token"]
    refreshed = (await google.refresh()).json
    assert refreshed.keys() == {"access_token", "expires_in", "token_type", "scope"}
    assert refreshed["expires_in"] == 3599
    assert (await google.events()).status == 200


async def test_a_refresh_token_needs_offline_and_the_screen(google: GoogleClient, world: World, ana: Person) -> None:
    """Who has consented before, to the same, gets none unless consent is forced; without `offline` nobody does."""
    again = await consent(google)
    assert "refresh_token" not in await exchange(google, again["code"])
    forced = await consent(google, prompt="consent select_account")
    assert "refresh_token" in await exchange(google, forced["code"])
    online = await consent(google, prompt="consent", access_type="online")
    assert "refresh_token" not in await exchange(google, online["code"])
    world.revoke(ana)
    anew = await consent(google)
    assert "refresh_token" in await exchange(google, anew["code"])


async def test_scopes_can_be_unticked(google: GoogleClient) -> None:
    """The answer says what was really granted."""
    form = (("person", "ana@acme.example"), ("scope", EMAIL_SCOPE), ("decision", "allow"))
    back = await consent(google, form=form)
    assert CALENDAR_SCOPE not in (await exchange(google, back["code"]))["scope"]


async def test_refusals_come_back_to_the_application(google: GoogleClient, world: World) -> None:
    """`access_denied`, also for who is no test user; the state comes along."""
    refused = (("person", "ana@acme.example"), ("decision", "refuse"))
    assert await consent(google, form=refused) == {"error": "access_denied", "state": "s 1"}
    world.grants.clients["sandbox-client"].test_users = frozenset({"ben@acme.example"})
    assert (await consent(google))["error"] == "access_denied"


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({"client_id": "nobody"}, 401, "invalid_client"),
        ({"redirect_uri": "http://elsewhere.example/"}, 400, "redirect_uri_mismatch"),
        ({"redirect_uri": "https://ok.example/#part"}, 400, "redirect_uri_mismatch"),
        ({"response_type": "token"}, 400, "unsupported_response_type"),
        ({"scope": ""}, 400, "invalid_scope"),
        ({"code_challenge_method": "S1"}, 400, "invalid_request"),
    ],
)
async def test_a_wrong_request_stays_with_google(
    google: GoogleClient, changes: dict[str, str], status: int, error: str
) -> None:
    """It is shown to the person, never sent to the address."""
    async with google.session.get(f"{google.url}/o/oauth2/v2/auth", params=ASKED | changes) as answer:
        assert (answer.status, error in await answer.text()) == (status, True)


async def test_codes_are_strict(google: GoogleClient, clock: ManualClock) -> None:
    """They work once, with their verifier, address and client, for ten minutes."""
    code = (await consent(google))["code"]
    assert "access_token" in await exchange(google, code)
    assert (await exchange(google, code))["error_description"] == "Malformed auth code."
    code = (await consent(google))["code"]
    assert (await exchange(google, code, code_verifier="wrong"))["error_description"] == "Invalid code verifier."
    code = (await consent(google))["code"]
    assert (await exchange(google, code, redirect_uri="http://127.0.0.1:9/"))["error"] == "redirect_uri_mismatch"
    code = (await consent(google))["code"]
    clock.forward(timedelta(minutes=11))
    assert (await exchange(google, code))["error"] == "invalid_grant"


async def test_clients_are_checked(google: GoogleClient, world: World) -> None:
    """Unknown, wrong secret, disabled, deleted, and a token of another client."""
    world.grants.add_client("other", secret="other-secret")
    fields = {"grant_type": "refresh_token", "refresh_token": google.refresh_token}

    async def error(**changes: str) -> tuple[int, str]:
        answer = await google.token(**fields | changes)
        return answer.status, answer.json["error"]

    assert await error(client_id="nobody") == (401, "invalid_client")
    assert await error(client_secret="wrong") == (401, "invalid_client")
    assert await error(client_id="other", client_secret="other-secret") == (401, "unauthorized_client")
    assert await error(grant_type="password") == (400, "unsupported_grant_type")
    world.grants.clients["sandbox-client"].state = ClientState.DELETED
    assert await error() == (401, "deleted_client")
    world.grants.clients["sandbox-client"].state = ClientState.DISABLED
    assert await error() == (401, "disabled_client")


async def test_refresh_tokens_die(google: GoogleClient, world: World, ana: Person, clock: ManualClock) -> None:
    """By revocation, after six months without use, seven days in testing, and with the account."""

    async def description() -> str | None:
        answer = await google.refresh()
        body = answer.json
        assert answer.status == (400 if "error" in body else 200)
        text: str | None = body.get("error_description")
        return text

    world.revoke(ana)
    assert await description() == "Token has been expired or revoked."
    google.refresh_token = world.authorise(ana)
    clock.forward(timedelta(days=150))
    assert await description() is None
    clock.forward(timedelta(days=183))
    assert await description() == "Token has been expired or revoked."
    google.refresh_token = world.authorise(ana)
    world.grants.clients["sandbox-client"].refresh_token_life = timedelta(days=7)
    clock.forward(timedelta(days=8))
    assert await description() == "Token has been expired or revoked."
    google.refresh_token = world.authorise(ana)
    ana.state = AccountState.DELETED
    assert await description() == "The account has been deleted"
    google.refresh_token = "made up"
    assert await description() == "Bad Request"


async def test_the_oldest_of_too_many_tokens_dies(google: GoogleClient, world: World, ana: Person) -> None:
    """Silently, when the limit of an account and client is passed."""
    for _ in range(100):
        grant = world.grants.grant(ana.email, client_id="sandbox-client", scopes=(CALENDAR_SCOPE,))
        world.grants.issue_refresh_token(grant, prefix="1//0", limit=100)
    assert (await google.refresh()).json["error"] == "invalid_grant"


async def test_revocation_takes_every_token(google: GoogleClient) -> None:
    """The access token may be sent as well; a second time there is nothing to revoke."""
    async with google.session.post(f"{google.url}/revoke", data={"token": google.access_token}) as answer:
        assert answer.status == 200
    assert (await google.events()).status == 401
    assert (await google.refresh()).json["error"] == "invalid_grant"
    async with google.session.post(f"{google.url}/revoke", data={"token": google.refresh_token}) as answer:
        assert answer.status == 400


@pytest.mark.parametrize("variant", sorted(TOKEN_REFUSALS))
async def test_every_refusal_can_be_switched_on(google: GoogleClient, world: World, variant: str) -> None:
    """As often as was said, for the person or for the client."""
    target = "sandbox-client" if variant.endswith("client") else "ana@acme.example"
    world.faults.switch_on(target, FaultKind.REFUSED, place=Place.TOKENS, times=1, variant=variant)
    refusal = TOKEN_REFUSALS[variant]
    answer = await google.refresh()
    assert (answer.status, answer.json["error"]) == (refusal.status, refusal.error)
    assert answer.json.get("error_subtype") == refusal.subtype
    assert (await google.refresh()).status == 200


async def test_the_server_says_where_it_is(sandbox: SandboxServer) -> None:
    """A free port of loopback unless one is named."""
    assert sandbox.url == f"http://127.0.0.1:{sandbox.port}"
    assert sandbox.google_url == f"{sandbox.url}/google"
