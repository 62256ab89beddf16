"""A fleet of the operator's own, told over HTTP: POST, DELETE, and POST .../leave, signed as webhooks are."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import aiohttp

from attendee.bots.runners.port import Done, Order, Placed, Refused, Taken, Trouble
from attendee.clock import Clock
from attendee.model import LaunchId, ProjectId
from attendee.outgoing import asked_to_wait, beginning, hushed
from attendee.signing import canonical_json, signature_headers

_TIMEOUT = aiohttp.ClientTimeout(total=30, connect=5)
_ANSWER_CHARACTERS = 500
# What is said of a bot takes some kilobytes. An answer without end, or one that unpacks to gigabytes, costs no more.
_ANSWER_BYTES = 4 * 1024 * 1024
# Statuses of the 4xx that say "not now", not "never".
_NOT_NOW = {408, 425, 429}
_GONE = {404, 410}

SecretsOf = Callable[[ProjectId], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class HttpRunner:
    """Speaks to the fleet at `url`; with a `key`, it is sent as a bearer token. `secrets_of` gives what signs."""

    http: aiohttp.ClientSession
    url: str
    key: str | None
    secrets_of: SecretsOf
    clock: Clock

    @property
    def host(self) -> None:
        return None

    async def stage(self, order: Order) -> Taken | Refused | Trouble:
        once = {"Idempotency-Key": order.id}
        answer = await self._ask(
            "POST",
            "/bots",
            canonical_json(order.body),
            order.id,
            project_id=order.project_id,
            headers=once,
            token=order.body["report_token"],
        )
        if isinstance(answer, Trouble):
            return answer
        if answer.status < 300:
            return Taken()
        return Refused(answer.told) if answer.is_final else answer.trouble()

    async def call_off(self, placed: Placed) -> Done | Trouble:
        return await self._tell("DELETE", f"/bots/{placed.bot_id}", placed)

    async def leave(self, placed: Placed) -> Done | Trouble:
        return await self._tell("POST", f"/bots/{placed.bot_id}/leave", placed)

    async def _tell(self, method: str, path: str, placed: Placed) -> Done | Trouble:
        answer = await self._ask(method, path, "", placed.id, project_id=placed.project_id, headers={})
        if isinstance(answer, Trouble):
            return answer
        return Done() if answer.status < 300 or answer.status in _GONE else answer.trouble()

    async def _ask(
        self,
        method: str,
        path: str,
        body: str,
        launch_id: LaunchId,
        *,
        project_id: ProjectId,
        headers: Mapping[str, str],
        token: str = "",
    ) -> "Answer | Trouble":
        secrets = await self.secrets_of(project_id)
        signed = signature_headers(body, message_id=launch_id, secrets=secrets, now=self.clock())
        sent = {**signed, **headers, "Content-Type": "application/json", "User-Agent": "attendee"}
        if self.key is not None:
            sent["Authorization"] = f"Bearer {self.key}"
        hidden = (self.key or "", token)
        return await asked(self.http, method, self.url + path, data=body.encode(), headers=sent, secrets=hidden)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server answered: its status, the body (its first 4 MiB), and how long it wants to be left alone.

    An answer may repeat what it was sent: `secrets` are not to be told.
    """

    status: int
    body: bytes
    retry_after: timedelta | None
    secrets: Iterable[str] = field(repr=False)

    @property
    def is_final(self) -> bool:
        """Whether asking again would bring the same."""
        return 400 <= self.status < 500 and self.status not in _NOT_NOW

    @property
    def told(self) -> str:
        """The answer in a line for people."""
        text = self.body.decode("utf-8", "replace").replace("\x00", "").strip()
        return f"{self.status} {hushed(text, self.secrets)[:_ANSWER_CHARACTERS]}".strip()

    def trouble(self) -> Trouble:
        return Trouble(f"It answered {self.told}", self.retry_after)


async def asked(
    http: aiohttp.ClientSession,
    method: str,
    url: str,
    *,
    data: bytes | None,
    headers: dict[str, str],
    secrets: Iterable[str],
) -> Answer | Trouble:
    """One request to an address of the operator's. Redirects are not followed: an order goes where it was sent."""
    try:
        async with http.request(
            method, url, data=data, headers=headers, allow_redirects=False, timeout=_TIMEOUT
        ) as response:
            body = await beginning(response.content, _ANSWER_BYTES)
            return Answer(response.status, body, asked_to_wait(response.headers), secrets)
    except TimeoutError:
        return Trouble(f"It did not answer within {_TIMEOUT.total:.0f} seconds.")
    except aiohttp.ClientConnectorError as failure:
        return Trouble(f"It can't be reached: {failure.strerror or failure}")
    except (aiohttp.ClientError, OSError, ValueError) as failure:
        return Trouble(f"{type(failure).__name__}: {failure}")
