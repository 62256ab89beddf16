"""Microsoft's consent page and token endpoint: rotation, scopes, and every AADSTS code."""

import base64
import hashlib
import json
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.grants import ClientState
from attendee.sandbox.microsoft_aadsts import TOKEN_REFUSALS
from attendee.sandbox.world import AccountState, Person, World
from tests.sandbox.application import Answer, GoogleClient, ManualClock
from tests.sandbox.graph import GraphClient

CALLBACK = "http://localhost:8000/callback"
ASKED = {
    "client_id": "sandbox-client",
    "response_type": "code",
    "redirect_uri": CALLBACK,
    "scope": "offline_access openid User.Read https://graph.microsoft.com/Calendars.Read",
    "state": "s 1",
}


async def consent(
    graph: GraphClient, *, decision: str = "allow", tenant: str = "common", **changes: str
) -> dict[str, str]:
    """What the redirect brings."""
    address = f"{graph.url}/{tenant}/oauth2/v2.0/authorize"
    form = {"person": "mia@contoso.example", "decision": decision}
    async with graph.session.post(address, params=ASKED | changes, data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        location = answer.headers["Location"]
    parts = urlsplit(location)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == CALLBACK
    return {name: values[0] for name, values in parse_qs(parts.query or parts.fragment).items()}


async def redeem(graph: GraphClient, code: str, **form: str) -> Answer:
    return await graph.token(grant_type="authorization_code", code=code, **({"redirect_uri": CALLBACK} | form))


def aadsts(answer: Answer) -> tuple[int, str, list[int]]:
    return answer.status, answer.json["error"], answer.json["error_codes"]


async def test_from_consent_to_tokens(graph: GraphClient) -> None:
    """The page names scopes in words; the code brings all tokens, and the scope answer leaves `offline_access` out."""
    async with graph.session.get(f"{graph.url}/common/oauth2/v2.0/authorize", params=ASKED) as page:
        assert page.status == 200
        text = await page.text()
    assert "Read your calendars" in text
    assert "mia@contoso.example" in text
    back = await consent(graph)
    assert back["state"] == "s 1"
    tokens = (await redeem(graph, back["code"])).json
    assert tokens["scope"] == "Calendars.Read User.Read openid"
    assert (tokens["token_type"], tokens["expires_in"]) == ("Bearer", 3599)
    claims = json.loads(base64.urlsafe_b64decode(tokens["id_token"].split(".")[1] + "=="))
    assert claims["preferred_username"] == "mia@contoso.example"
    graph.refresh_token = tokens["refresh_token"]
    assert (await graph.refresh()).status == 200
    assert aadsts(await redeem(graph, back["code"])) == (400, "invalid_grant", [54005])


async def test_no_offline_access_no_refresh_token(graph: GraphClient) -> None:
    """At the exchange, and at a refresh that does not ask for it again."""
    back = await consent(graph, scope="Calendars.Read")
    assert "refresh_token" not in (await redeem(graph, back["code"])).json
    refreshed = await graph.token(grant_type="refresh_token", refresh_token=graph.refresh_token, scope="Calendars.Read")
    assert "refresh_token" not in refreshed.json
    assert refreshed.json["scope"] == "Calendars.Read"


async def test_more_scopes_than_granted_are_refused(graph: GraphClient) -> None:
    """It looks like a dead token, and is a caller's mistake."""
    answer = await graph.token(
        grant_type="refresh_token", refresh_token=graph.refresh_token, scope="offline_access Calendars.ReadWrite"
    )
    assert aadsts(answer) == (400, "invalid_grant", [70000])
    assert (await graph.refresh()).status == 200


async def test_a_proof_key_is_checked(graph: GraphClient) -> None:
    """Only the verifier of the challenge redeems the code."""
    challenge = base64.urlsafe_b64encode(hashlib.sha256(b"verifier").digest()).rstrip(b"=").decode()
    key = {"code_challenge": challenge, "code_challenge_method": "S256"}
    code = (await consent(graph, **key))["code"]
    assert aadsts(await redeem(graph, code, code_verifier="wrong")) == (400, "invalid_grant", [501481])
    code = (await consent(graph, **key))["code"]
    assert (await redeem(graph, code, code_verifier="verifier")).status == 200


async def test_codes_are_particular(graph: GraphClient, clock: ManualClock) -> None:
    """Another tenant, another address, ten minutes, made up."""
    code = (await consent(graph, tenant="organizations"))["code"]
    assert aadsts(await redeem(graph, code)) == (400, "invalid_grant", [700005])
    code = (await consent(graph))["code"]
    assert aadsts(await redeem(graph, code, redirect_uri="http://localhost:1/")) == (400, "invalid_request", [50011])
    code = (await consent(graph))["code"]
    clock.forward(timedelta(minutes=10))
    assert aadsts(await redeem(graph, code)) == (400, "invalid_grant", [70008])
    assert aadsts(await redeem(graph, "made-up")) == (400, "invalid_request", [9002313])


async def test_ways_to_refuse(graph: GraphClient, world: World, mia: Person) -> None:
    """The user's own no, an admin's, and what can't be done without a page."""
    back = await consent(graph, decision="refuse", response_mode="fragment")
    assert (back["error"], back["error_description"][:11]) == ("access_denied", "AADSTS65004")
    world.grants.clients["sandbox-client"].needs_admin_approval = True
    back = await consent(graph)
    assert (back["error"], back["error_description"][:11]) == ("access_denied", "AADSTS90094")
    world.grants.clients["sandbox-client"].needs_admin_approval = False

    async def silently(**changes: str) -> dict[str, list[str]]:
        address = f"{graph.url}/common/oauth2/v2.0/authorize"
        parameters = ASKED | {"prompt": "none"} | changes
        async with graph.session.get(address, params=parameters, allow_redirects=False) as answer:
            return parse_qs(urlsplit(answer.headers["Location"]).query)

    assert (await silently())["error"] == ["login_required"]
    assert (await silently(login_hint=mia.email))["error"] == ["interaction_required"]
    await consent(graph)
    assert "code" in await silently(login_hint=mia.email)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"client_id": "unknown"}, "AADSTS700016"),
        ({"redirect_uri": "http://hooks.example.com/"}, "AADSTS50011"),
        ({"response_type": "token"}, "AADSTS9002313"),
        ({"prompt": "dance"}, "AADSTS9002313"),
        ({"scope": ""}, "AADSTS70011"),
    ],
)
async def test_a_wrong_request_gets_a_page(graph: GraphClient, changes: dict[str, str], problem: str) -> None:
    """Of Microsoft's own, for nobody can be sent back."""
    async with graph.session.get(f"{graph.url}/common/oauth2/v2.0/authorize", params=ASKED | changes) as page:
        assert page.status == 400
        assert problem in await page.text()


async def test_refresh_tokens_rotate(graph: GraphClient, clock: ManualClock) -> None:
    """Each use brings the next; the old one lives on, to its own ninetieth day."""
    first = graph.refresh_token
    clock.forward(timedelta(days=60))
    second = (await graph.refresh()).json["refresh_token"]
    assert first != second
    again = await graph.token(grant_type="refresh_token", refresh_token=first)
    assert again.json["refresh_token"] not in (first, second)
    clock.forward(timedelta(days=60))
    stale = await graph.token(grant_type="refresh_token", refresh_token=first)
    assert aadsts(stale) == (400, "invalid_grant", [700082])
    assert (await graph.refresh()).status == 200


async def test_old_refresh_tokens_can_die_at_once(graph: GraphClient, world: World) -> None:
    """So that who loses the new one notices."""
    world.grants.old_refresh_tokens_die = True
    old = graph.refresh_token
    assert (await graph.refresh()).status == 200
    answer = await graph.token(grant_type="refresh_token", refresh_token=old)
    assert aadsts(answer) == (400, "invalid_grant", [70000])
    assert (await graph.refresh()).status == 200


async def test_lost_grants(graph: GraphClient, world: World, mia: Person) -> None:
    """Withdrawn, and an account that is no more."""
    world.revoke(mia)
    answer = await graph.refresh()
    assert aadsts(answer) == (400, "invalid_grant", [65001])
    assert answer.json["suberror"] == "consent_required"
    graph.refresh_token = world.authorise(mia)
    mia.state = AccountState.DELETED
    assert aadsts(await graph.refresh()) == (400, "invalid_grant", [50034])


async def test_the_operators_mistakes(graph: GraphClient, world: World) -> None:
    """Secret, client, form."""
    refresh = {"grant_type": "refresh_token", "refresh_token": graph.refresh_token}
    assert aadsts(await graph.token(**refresh, client_secret="wrong")) == (401, "invalid_client", [7000215])
    assert aadsts(await graph.token(**refresh, client_id="unknown")) == (400, "unauthorized_client", [700016])
    assert aadsts(await graph.token()) == (400, "invalid_request", [900144])
    assert aadsts(await graph.token(grant_type="refresh_token")) == (400, "invalid_request", [900144])
    assert aadsts(await graph.token(grant_type="password")) == (400, "unsupported_grant_type", [])
    world.grants.clients["sandbox-client"].state = ClientState.DISABLED
    assert aadsts(await graph.refresh()) == (400, "unauthorized_client", [7000112])


@pytest.mark.parametrize("variant", sorted(TOKEN_REFUSALS))
async def test_every_code_can_be_had(graph: GraphClient, world: World, mia: Person, variant: str) -> None:
    """In the body that Microsoft has for all of them."""
    world.faults.switch_on(mia.email, FaultKind.REFUSED, place=Place.TOKENS, variant=variant, times=1)
    answer = await graph.refresh()
    refusal = TOKEN_REFUSALS[variant]
    codes = [] if refusal.code is None else [refusal.code]
    assert aadsts(answer) == (refusal.status, refusal.error, codes)
    body: dict[str, Any] = answer.json
    assert body["error_description"].startswith(f"{variant}: " if codes else "The ")
    assert body["timestamp"] == "2026-11-23 08:00:00Z"
    assert body["trace_id"] in body["error_description"]
    assert body.get("suberror") == refusal.suberror
    assert (await graph.refresh()).status == 200


async def test_passing_trouble(graph: GraphClient, world: World, mia: Person) -> None:
    """429 and 5xx in the endpoint's own words."""
    world.faults.switch_on(mia.email, FaultKind.THROTTLED, place=Place.TOKENS, times=1, retry_after=5)
    answer = await graph.refresh()
    assert aadsts(answer) == (429, "temporarily_unavailable", [90055])
    assert answer.headers["Retry-After"] == "5"
    world.faults.switch_on("sandbox-client", FaultKind.SERVER_ERROR, place=Place.TOKENS, times=1, status=500)
    assert aadsts(await graph.refresh()) == (500, "server_error", [])


async def test_platforms_do_not_mix(google: GoogleClient, graph: GraphClient) -> None:
    """A token of one is nothing at the other."""
    graph.access_token = google.access_token
    assert (await graph.get("/me")).status == 401
    answer = await graph.token(grant_type="refresh_token", refresh_token=google.refresh_token)
    assert aadsts(answer) == (400, "invalid_grant", [70000])
