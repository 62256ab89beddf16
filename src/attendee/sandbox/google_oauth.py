"""Google's token endpoint, revocation and user information."""

from __future__ import annotations

import base64
import hashlib
import secrets
from datetime import timedelta
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response

from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.google_errors import json_answer, server_error_answer, token_refusal_answer
from attendee.sandbox.grants import ACCESS_TOKEN_LIFE, Client, ClientState, Grant
from attendee.sandbox.misbehaviour import misbehaviour
from attendee.sandbox.world import REFRESH_TOKEN_PREFIXES, AccountState, Person, Platform, World

ACCESS_TOKEN_PREFIX = "ya29."  # noqa: S105 -- how every access token of Google begins; no secret.
# The oldest refresh token of an account and client dies without a word beyond this many.
REFRESH_TOKENS_PER_CLIENT = 100
IDLE_LIFE = timedelta(days=182)
CLIENT_REFUSALS = {ClientState.DELETED: "deleted_client", ClientState.DISABLED: "disabled_client"}


class TokenRefused(Exception):
    """Carries the name of the refusal that the endpoint answers with."""


class GoogleOAuth:
    """The three endpoints beside the consent page."""

    def __init__(self, world: World) -> None:
        self.world = world

    async def token(self, request: Request) -> Response:
        """POST /token: a code or a refresh token for an access token."""
        form = dict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
        client_id = form.get("client_id", "")
        person = self._person_of(form)
        targets = (client_id, person.email) if person else (client_id,)
        for target in targets:
            self.world.requests[target, "token"] += 1
        answer = await misbehaviour(
            self.world, request, place=Place.TOKENS, targets=targets, refusal=token_fault_answer
        )
        if answer is not None:
            return answer
        try:
            client = self._client(form)
            match form.get("grant_type"):
                case "authorization_code":
                    return self._exchange(form, client)
                case "refresh_token":
                    return self._refresh(form, client)
        except TokenRefused as refused:
            return token_refusal_answer(str(refused))
        return token_refusal_answer("unsupported_grant_type" if "grant_type" in form else "invalid_request")

    async def revoke(self, request: Request) -> Response:
        """POST /revoke: the whole consent of the user dies, with every token of every client of the project."""
        form = dict(parse_qsl((await request.body()).decode()))
        value = form.get("token") or request.query_params.get("token", "")
        access = self.world.grants.access_tokens.get(value)
        grant = access.grant if access is not None else self.world.grants.refresh_tokens.get(value)
        if grant is None or grant.revoked:
            return json_answer({"error": "invalid_token", "error_description": "Token expired or revoked"}, status=400)
        self.world.grants.revoke(grant.person)
        return json_answer({})

    def _person_of(self, form: dict[str, str]) -> Person | None:
        grant = self.world.grants.refresh_tokens.get(form.get("refresh_token", ""))
        code = self.world.grants.codes.get(form.get("code", ""))
        owner = grant or code
        return self.world.people.get(owner.person) if owner is not None else None

    def _client(self, form: dict[str, str]) -> Client:
        if "client_id" not in form:
            raise TokenRefused("invalid_request")
        client = self.world.grants.clients.get(form["client_id"])
        if client is None:
            raise TokenRefused("unknown_client")
        if client.state is not ClientState.ACTIVE:
            raise TokenRefused(CLIENT_REFUSALS[client.state])
        if not secrets.compare_digest(form.get("client_secret", "").encode(), client.secret.encode()):
            raise TokenRefused("wrong_secret")
        return client

    def _exchange(self, form: dict[str, str], client: Client) -> Response:
        grants = self.world.grants
        code = grants.take_code(form.get("code", ""))
        if code is None:
            raise TokenRefused("malformed_code")
        if code.client_id != client.id:
            raise TokenRefused("unauthorized_client")
        if code.redirect_uri != form.get("redirect_uri"):
            raise TokenRefused("redirect_uri_mismatch")
        if not code.accepts(form.get("code_verifier")):
            raise TokenRefused("wrong_verifier")
        self._check_account(code.person)
        grant = grants.grant(code.person, client_id=client.id, scopes=code.scopes)
        body: dict[str, object] = self._access(grant)
        if code.offline:
            body["refresh_token"] = grants.issue_refresh_token(
                grant, prefix=REFRESH_TOKEN_PREFIXES[Platform.GOOGLE], limit=REFRESH_TOKENS_PER_CLIENT
            )
        if "openid" in code.scopes:
            body["id_token"] = self._id_token(code.person, client_id=client.id)
        return json_answer(body)

    def _refresh(self, form: dict[str, str], client: Client) -> Response:
        if "refresh_token" not in form:
            raise TokenRefused("invalid_request")
        grant = self.world.grants.refresh_tokens.get(form["refresh_token"])
        now = self.world.clock()
        if grant is None:
            raise TokenRefused("unspecific")
        if grant.client_id != client.id:
            raise TokenRefused("unauthorized_client")
        self._check_account(grant.person)
        life = client.refresh_token_life
        if grant.revoked or now - grant.used_at > IDLE_LIFE or (life is not None and now - grant.created_at > life):
            raise TokenRefused("revoked")
        grant.used_at = now
        return json_answer(self._access(grant))

    def _check_account(self, email: str) -> None:
        person = self.world.people.get(email)
        if person is None or person.state is AccountState.DELETED:
            raise TokenRefused("account_deleted")

    def _access(self, grant: Grant) -> dict[str, object]:
        return {
            "access_token": self.world.grants.issue_access_token(grant, prefix=ACCESS_TOKEN_PREFIX),
            "expires_in": int(ACCESS_TOKEN_LIFE.total_seconds()),
            "token_type": "Bearer",
            "scope": " ".join(grant.scopes),
        }

    def _id_token(self, email: str, *, client_id: str) -> str:
        # Unsigned: nobody should read more from it than who it is.
        issued_at = int(self.world.clock().timestamp())
        claims = {
            "iss": "https://accounts.google.com",
            "aud": client_id,
            "sub": account_number(email),
            "email": email,
            "email_verified": True,
            "iat": issued_at,
            "exp": issued_at + int(ACCESS_TOKEN_LIFE.total_seconds()),
        }
        parts = ({"alg": "none", "typ": "JWT"}, claims)
        return ".".join(base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=").decode() for part in parts) + "."


def account_number(email: str) -> str:
    """The number by which Google knows the account: the same for the same address, and nobody else's."""
    return str(10**20 + int.from_bytes(hashlib.sha256(email.encode()).digest()[:8]))


def token_fault_answer(fault: Fault) -> Response:
    """Faults of the token endpoint in its own words."""
    match fault.kind:
        case FaultKind.THROTTLED:
            return token_refusal_answer("rate_limited", retry_after=fault.retry_after)
        case FaultKind.SERVER_ERROR:
            return server_error_answer(fault.status)
        case _:
            return token_refusal_answer(fault.variant or "revoked", retry_after=fault.retry_after)
