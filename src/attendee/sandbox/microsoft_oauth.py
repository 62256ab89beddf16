"""The Microsoft identity platform's token endpoint. Every refresh hands out another refresh token."""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import replace
from datetime import timedelta
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.faults import Fault, Place
from attendee.sandbox.grants import ACCESS_TOKEN_LIFE, Client, ClientState, Grant
from attendee.sandbox.microsoft_aadsts import TokenRefused, token_fault_answer, token_refusal_answer
from attendee.sandbox.microsoft_access import GRAPH_SCOPE
from attendee.sandbox.microsoft_errors import CLAIMS, PLAIN_JSON, json_answer
from attendee.sandbox.microsoft_ids import tenant_id, user_id
from attendee.sandbox.misbehaviour import misbehaviour
from attendee.sandbox.world import REFRESH_TOKEN_PREFIXES, AccountState, Person, Platform, World

ACCESS_TOKEN_PREFIX = "eyJ0"  # noqa: S105 -- how tokens of work accounts begin; readers must not look inside.
REFRESH_TOKEN_PREFIX = REFRESH_TOKEN_PREFIXES[Platform.MICROSOFT]
# Each refresh token lives this long from its own birth: who uses one gets the next, who never does is out.
REFRESH_TOKEN_LIFE = timedelta(days=90)
OFFLINE = "offline_access"
CLIENT_REFUSALS = {ClientState.DELETED: "AADSTS700016", ClientState.DISABLED: "AADSTS7000112"}
EVERYTHING_GRANTED = ".default"
MISSING = "The request body must contain the following parameter"


class MicrosoftOAuth:
    """The endpoint over one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.spent_codes: set[str] = set()

    async def token(self, request: Request) -> Response:
        """POST /{tenant}/oauth2/v2.0/token: an access token and the next refresh token for a code or refresh token."""
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        person, client_id = self._person_of(form), form.get("client_id", "")
        targets = (client_id, person.email) if person else (client_id,)
        for target in targets:
            self.world.requests[target, "token"] += 1

        def refusal(fault: Fault) -> Response:
            return token_fault_answer(fault, now=self.world.clock())

        answer = await misbehaviour(self.world, request, place=Place.TOKENS, targets=targets, refusal=refusal)
        if answer is not None:
            return answer
        try:
            client = self._client(form)
            match form.get("grant_type"):
                case "authorization_code":
                    return self._exchange(form, client, tenant=request.path_params["tenant"])
                case "refresh_token":
                    return self._refresh(form, client)
        except TokenRefused as refused:
            return token_refusal_answer(refused.name, now=self.world.clock(), text=refused.text)
        name = "unsupported_grant_type" if "grant_type" in form else "AADSTS900144"
        return token_refusal_answer(name, now=self.world.clock())

    def _person_of(self, form: dict[str, str]) -> Person | None:
        grant = self.world.grants.refresh_tokens.get(form.get("refresh_token", ""))
        code = self.world.grants.codes.get(form.get("code", ""))
        owner = grant or code
        return self.world.people.get(owner.person) if owner is not None else None

    def _client(self, form: dict[str, str]) -> Client:
        if "client_id" not in form:
            raise TokenRefused("AADSTS900144", f"{MISSING}: 'client_id'.")
        client = self.world.grants.clients.get(form["client_id"])
        if client is None:
            raise TokenRefused("AADSTS700016")
        if client.state is not ClientState.ACTIVE:
            raise TokenRefused(CLIENT_REFUSALS[client.state])
        if "client_secret" not in form:
            raise TokenRefused("AADSTS7000218")
        if not secrets.compare_digest(form["client_secret"].encode(), client.secret.encode()):
            raise TokenRefused("AADSTS7000215")
        return client

    def _exchange(self, form: dict[str, str], client: Client, *, tenant: str) -> Response:
        grants, value = self.world.grants, form.get("code", "")
        if value in self.spent_codes:
            raise TokenRefused("AADSTS54005")
        if value not in grants.codes:
            raise TokenRefused("AADSTS9002313")
        if not value.startswith(code_prefix(tenant)):
            raise TokenRefused("AADSTS700005")
        code = grants.take_code(value)
        self.spent_codes.add(value)
        if code is None:
            raise TokenRefused("AADSTS70008")
        if code.client_id != client.id:
            raise TokenRefused("AADSTS70000")
        if code.redirect_uri != form.get("redirect_uri"):
            raise TokenRefused("AADSTS50011")
        if not code.accepts(form.get("code_verifier")):
            raise TokenRefused("AADSTS501481")
        self._check_account(code.person)
        grant = grants.grant(code.person, client_id=client.id, scopes=code.scopes)
        return self._tokens(grant, asked=_scopes(form))

    def _refresh(self, form: dict[str, str], client: Client) -> Response:
        if "refresh_token" not in form:
            raise TokenRefused("AADSTS900144", f"{MISSING}: 'refresh_token'.")
        grants, value, now = self.world.grants, form["refresh_token"], self.world.clock()
        grant = grants.refresh_tokens.get(value)
        if grant is None or grant.client_id != client.id or not value.startswith(REFRESH_TOKEN_PREFIX):
            raise TokenRefused("AADSTS70000")
        self._check_account(grant.person)
        if grant.revoked:
            raise TokenRefused("AADSTS65001")
        if now - grants.refresh_tokens_born[value] > (client.refresh_token_life or REFRESH_TOKEN_LIFE):
            raise TokenRefused("AADSTS700082")
        answer = self._tokens(grant, asked=_scopes(form), has_claims=form.get("claims") == CLAIMS)
        grant.used_at = now
        if grants.old_refresh_tokens_die:
            del grants.refresh_tokens[value], grants.refresh_tokens_born[value]
        return answer

    def _check_account(self, email: str) -> None:
        person = self.world.people.get(email)
        if person is None or person.state is AccountState.DELETED:
            raise TokenRefused("AADSTS50034")

    def _tokens(self, grant: Grant, *, asked: frozenset[str] | None, has_claims: bool = False) -> Response:
        """The answer. Raises TokenRefused where more is asked for than was granted."""
        granted = frozenset(scope.removeprefix(GRAPH_SCOPE) for scope in grant.scopes)
        if asked is None or EVERYTHING_GRANTED in asked:
            asked = granted
        if not asked <= granted | {"openid", "profile", "email"}:
            text = "The request was denied because one or more scopes requested are unauthorized or expired."
            raise TokenRefused("AADSTS70000", text)
        grants = self.world.grants
        narrowed = replace(grant, scopes=tuple(sorted(asked)))
        body: dict[str, object] = {
            "token_type": "Bearer",
            # Granted, yet not named: Microsoft leaves it out.
            "scope": " ".join(sorted(asked - {OFFLINE})),
            "expires_in": int(ACCESS_TOKEN_LIFE.total_seconds()),
            "ext_expires_in": int(ACCESS_TOKEN_LIFE.total_seconds()),
            "access_token": grants.issue_access_token(narrowed, prefix=ACCESS_TOKEN_PREFIX, has_claims=has_claims),
        }
        if OFFLINE in asked:
            body["refresh_token"] = grants.issue_refresh_token(grant, prefix=REFRESH_TOKEN_PREFIX)
        if "openid" in asked:
            body["id_token"] = self._id_token(grant)
        return json_answer(body, label=PLAIN_JSON)

    def _id_token(self, grant: Grant) -> str:
        # Unsigned: nobody should read more from it than who it is.
        email, issued_at = grant.person, int(self.world.clock().timestamp())
        claims = {
            "aud": grant.client_id,
            "iss": f"https://login.microsoftonline.com/{tenant_id(email)}/v2.0",
            "iat": issued_at,
            "exp": issued_at + int(ACCESS_TOKEN_LIFE.total_seconds()),
            "email": email,
            "name": self.world.people[email].name,
            "oid": user_id(email),
            "preferred_username": email,
            "tid": tenant_id(email),
            "ver": "2.0",
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        return ".".join(base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts) + "."


def code_prefix(tenant: str) -> str:
    """How every code begins that was asked for at this tenant's address: it works only there."""
    return f"1.A{hashlib.blake2b(tenant.lower().encode(), digest_size=6).hexdigest()}."


def _scopes(form: dict[str, str]) -> frozenset[str] | None:
    if not form.get("scope"):
        return None
    return frozenset(scope.removeprefix(GRAPH_SCOPE) for scope in form["scope"].split())
