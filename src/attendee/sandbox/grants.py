"""Who has allowed which application what: OAuth clients, consents, authorization codes, refresh and access tokens.

Both platforms issue from here; each decides itself what its answers look like and whether refresh tokens rotate.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from attendee.clock import Clock

ACCESS_TOKEN_LIFE = timedelta(seconds=3599)
CODE_LIFE = timedelta(minutes=10)

DEFAULT_CLIENT_ID = "sandbox-client"
DEFAULT_CLIENT_SECRET = "sandbox-secret"  # noqa: S105 -- a made-up secret of a made-up platform, printed in the demo.


class ClientState(StrEnum):
    """What the operator or the platform did to an OAuth client."""

    ACTIVE = "active"
    DISABLED = "disabled"
    DELETED = "deleted"


@dataclass(slots=True, kw_only=True)
class Client:
    """An OAuth client. Without `redirect_uris` any https or loopback address will do.

    `test_users` limits who may consent; `refresh_token_life` is seven days for apps in testing. Where an admin must
    approve of it, nobody can consent alone.
    """

    id: str
    secret: str
    state: ClientState = ClientState.ACTIVE
    redirect_uris: frozenset[str] | None = None
    test_users: frozenset[str] | None = None
    refresh_token_life: timedelta | None = None
    needs_admin_approval: bool = False


@dataclass(slots=True, kw_only=True)
class Grant:
    """One consent of one person to one client; every token of it dies with it."""

    person: str
    client_id: str
    scopes: tuple[str, ...]
    created_at: datetime
    used_at: datetime
    revoked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What a bearer may do, and until when."""

    grant: Grant
    expires_at: datetime
    has_claims: bool = False

    def is_good(self, *, now: datetime) -> bool:
        """False once it is expired or its grant withdrawn."""
        return now < self.expires_at and not self.grant.revoked


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """An authorization code: works once, for the client and address it was made for."""

    person: str
    client_id: str
    redirect_uri: str
    scopes: tuple[str, ...]
    offline: bool
    challenge: str | None
    challenge_method: str | None
    expires_at: datetime

    def accepts(self, verifier: str | None) -> bool:
        """Whether the PKCE verifier belongs to the challenge; a code without challenge needs none."""
        if self.challenge is None:
            return True
        if verifier is None:
            return False
        if self.challenge_method != "S256":
            return secrets.compare_digest(verifier, self.challenge)
        digest = hashlib.sha256(verifier.encode()).digest()
        return secrets.compare_digest(base64.urlsafe_b64encode(digest).rstrip(b"=").decode(), self.challenge)


@dataclass(slots=True)
class Grants:
    """Every client, consent and token of the sandbox."""

    clock: Clock
    clients: dict[str, Client] = field(default_factory=dict)
    refresh_tokens: dict[str, Grant] = field(default_factory=dict)
    refresh_tokens_born: dict[str, datetime] = field(default_factory=dict)
    # Where refresh tokens rotate: whether the old one dies with its use, so that who loses the new one is locked out.
    old_refresh_tokens_die: bool = False
    access_tokens: dict[str, AccessToken] = field(default_factory=dict)
    # Whose access tokens must have the claims of Microsoft's challenge, by e-mail address: a policy was changed.
    claims_demanded: set[str] = field(default_factory=set)
    codes: dict[str, Code] = field(default_factory=dict)
    # (person, client id) -> every scope allowed so far: who has allowed all that is asked for sees no consent screen.
    consents: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.add_client(DEFAULT_CLIENT_ID, secret=DEFAULT_CLIENT_SECRET)

    def add_client(self, client_id: str, *, secret: str) -> Client:
        """The new client; one with the same id is replaced."""
        client = Client(id=client_id, secret=secret)
        self.clients[client_id] = client
        return client

    def has_consent(self, person: str, *, client_id: str, scopes: tuple[str, ...]) -> bool:
        """Whether the person has allowed this client all of these scopes before, and not withdrawn it."""
        return self.consents.get((person, client_id), set()).issuperset(scopes)

    def issue_code(
        self,
        person: str,
        *,
        client_id: str,
        redirect_uri: str,
        scopes: tuple[str, ...],
        offline: bool,
        challenge: str | None = None,
        challenge_method: str | None = None,
        prefix: str = "",
    ) -> str:
        """A code for the redirect; `offline` says whether its exchange brings a refresh token."""
        self.consents.setdefault((person, client_id), set()).update(scopes)
        value = prefix + secrets.token_urlsafe(32)
        self.codes[value] = Code(
            person=person,
            client_id=client_id,
            redirect_uri=redirect_uri,
            scopes=scopes,
            offline=offline,
            challenge=challenge,
            challenge_method=challenge_method,
            expires_at=self.clock() + CODE_LIFE,
        )
        return value

    def take_code(self, value: str) -> Code | None:
        """The code, which is used up by this; None if it is unknown, used or too old."""
        code = self.codes.pop(value, None)
        return code if code is not None and self.clock() < code.expires_at else None

    def grant(self, person: str, *, client_id: str, scopes: tuple[str, ...]) -> Grant:
        """A new consent, without any token yet."""
        now = self.clock()
        self.consents.setdefault((person, client_id), set()).update(scopes)
        return Grant(person=person, client_id=client_id, scopes=scopes, created_at=now, used_at=now)

    def issue_refresh_token(self, grant: Grant, *, prefix: str, limit: int | None = None) -> str:
        """A refresh token. Beyond `limit` live ones of one person and client the oldest dies without a word."""
        if limit is not None:
            alike = [
                value
                for value, other in self.refresh_tokens.items()
                if other.person == grant.person and other.client_id == grant.client_id and not other.revoked
            ]
            for value in alike[: max(0, len(alike) - limit + 1)]:
                del self.refresh_tokens[value], self.refresh_tokens_born[value]
        value = prefix + secrets.token_urlsafe(32)
        self.refresh_tokens[value] = grant
        self.refresh_tokens_born[value] = self.clock()
        return value

    def issue_access_token(self, grant: Grant, *, prefix: str, has_claims: bool = False) -> str:
        """An access token that is good for `ACCESS_TOKEN_LIFE`."""
        value = prefix + secrets.token_urlsafe(48)
        expires_at = self.clock() + ACCESS_TOKEN_LIFE
        self.access_tokens[value] = AccessToken(grant=grant, expires_at=expires_at, has_claims=has_claims)
        return value

    def revoke(self, person: str) -> None:
        """Withdraws everything the person has allowed, to every client; consent starts anew after it."""
        for grant in [*self.refresh_tokens.values(), *(token.grant for token in self.access_tokens.values())]:
            if grant.person == person:
                grant.revoked = True
        for key in [key for key in self.consents if key[0] == person]:
            del self.consents[key]

    def expire_access_tokens(self, person: str) -> None:
        """Ends the person's access tokens early; refresh tokens stay good."""
        stale = [value for value, token in self.access_tokens.items() if token.grant.person == person]
        for value in stale:
            del self.access_tokens[value]
