"""An application as a customer would write it: it speaks OAuth, REST and webhooks, and knows nothing of our inside."""

import asyncio
import base64
import hashlib
import hmac
import secrets
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

import aiohttp
from aiohttp import web

from attendee.demo.stage import StepFailed

# The one client that both platforms of the sandbox know from the start.
CLIENT = {"client_id": "sandbox-client", "client_secret": "sandbox-secret"}


@dataclass(frozen=True, slots=True)
class ConsentPage:
    """Where a platform asks its users, what for, and where the code that they bring back is exchanged."""

    platform: str
    path: str
    token_path: str
    scopes: str
    asked: Mapping[str, str]


GOOGLE = ConsentPage(
    platform="google",
    path="/google/o/oauth2/v2/auth",
    token_path="/google/token",  # noqa: S106  # an address, no secret
    scopes=" ".join(f"https://www.googleapis.com/auth/{scope}" for scope in ("calendar.readonly", "userinfo.email")),
    # Without both of them Google gives out no refresh token to a user who comes for the second time.
    asked={"access_type": "offline", "prompt": "consent"},
)
MICROSOFT = ConsentPage(
    platform="microsoft",
    path="/microsoft/common/oauth2/v2.0/authorize",
    token_path="/microsoft/common/oauth2/v2.0/token",  # noqa: S106  # an address, no secret
    scopes="offline_access User.Read Calendars.Read",
    asked={"response_mode": "query"},
)

Webhook = dict[str, Any]


class Application:
    """Where users come back to after consent, where webhooks arrive, and who asks the service for things."""

    def __init__(self, http: aiohttp.ClientSession, *, service_url: str, sandbox_url: str) -> None:
        self.url = self.key = self.webhook_secret = ""
        self._http = http
        self._service_url = service_url
        self._sandbox_url = sandbox_url
        self._webhooks: list[Webhook] = []
        self._arrived = asyncio.Condition()
        self._code: asyncio.Future[str] | None = None
        self._state = ""

    async def ask_consent(self, email: str, *, at: ConsentPage) -> str:
        """A refresh token: the user is sent to the consent page, agrees to everything, and comes back with a code."""
        verifier = secrets.token_urlsafe(48)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        self._state = secrets.token_urlsafe(16)
        self._code = asyncio.get_running_loop().create_future()
        asked = {
            "client_id": CLIENT["client_id"],
            "redirect_uri": f"{self.url}/callback",
            "response_type": "code",
            "scope": at.scopes,
            "login_hint": email,
            "state": self._state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            **at.asked,
        }
        page_url = f"{self._sandbox_url}{at.path}?{urlencode(asked)}"
        page = ConsentForm()
        page.feed(await self._text("GET", page_url))
        # The answer sends the browser back to our callback.
        await self._text("POST", page_url, data=[*page.fields, ("decision", "allow")])
        exchange = CLIENT | {
            "grant_type": "authorization_code",
            "code": await self._code,
            "redirect_uri": asked["redirect_uri"],
            "code_verifier": verifier,
        }
        async with self._http.post(f"{self._sandbox_url}{at.token_path}", data=exchange) as answer:
            tokens = await answer.json()
        if "refresh_token" not in tokens:
            raise StepFailed(f"the code brought no refresh token: {tokens}")
        return str(tokens["refresh_token"])

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """What the service answers; None where that is 404. Raises StepFailed for any other refusal."""
        headers = {"Authorization": f"Token {self.key}"}
        async with self._http.request(
            method, f"{self._service_url}/api/v1{path}", json=body, headers=headers
        ) as answer:
            if answer.status == 404:
                return None
            text = await answer.text()
            if answer.status >= 400:
                raise StepFailed(f"{method} {path} was answered with {answer.status}: {text}")
            return await answer.json() if text else {}

    async def everything(self, path: str) -> Sequence[Any]:
        """All results of a list, page by page."""
        prefix = f"{self._service_url}/api/v1"
        results: list[Any] = []
        while True:
            page = await self.call("GET", path)
            results += page["results"]
            if page["next"] is None:
                return results
            path = page["next"].removeprefix(prefix)

    async def webhook(self, is_wanted: Callable[[Webhook], bool]) -> Webhook:
        """The first webhook of this kind that has not been taken yet, as soon as it arrives."""
        async with self._arrived:
            while True:
                for webhook in self._webhooks:
                    if is_wanted(webhook):
                        self._webhooks.remove(webhook)
                        return webhook
                await self._arrived.wait()

    async def take_callback(self, request: web.Request) -> web.Response:
        """Where the consent page sends the user."""
        if self._code is None or self._code.done() or request.query.get("state") != self._state:
            raise web.HTTPBadRequest(text="Nobody was sent to the consent page with this state.")
        if "code" in request.query:
            self._code.set_result(request.query["code"])
        else:
            self._code.set_exception(StepFailed(f"consent was refused: {request.query.get('error')}"))
        return web.Response(text="Thank you. You can close this window.")

    async def take_webhook(self, request: web.Request) -> web.Response:
        """Where the service posts, believed only with a good signature."""
        body = await request.read()
        digest = hmac.new(base64.b64decode(self.webhook_secret), body, hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(digest).decode(), request.headers.get("X-Webhook-Signature", "")):
            raise web.HTTPForbidden(text="The signature is not that of the body.")
        webhook = await request.json()
        async with self._arrived:
            self._webhooks.append(webhook)
            self._arrived.notify_all()
        return web.Response()

    async def _text(self, method: str, url: str, *, data: Any = None) -> str:
        async with self._http.request(method, url, data=data) as answer:
            if answer.status >= 400:
                raise StepFailed(f"{answer.url.path} was answered with {answer.status}")
            return await answer.text()


class ConsentForm(HTMLParser):
    """The fields that a browser would send for a form that nobody has touched."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        is_left_out = "disabled" in attributes or (
            attributes.get("type") in {"radio", "checkbox"} and "checked" not in attributes
        )
        name = attributes.get("name")
        if tag == "input" and name is not None and not is_left_out:
            self.fields.append((name, attributes.get("value") or ""))


@asynccontextmanager
async def running_application(
    http: aiohttp.ClientSession, *, service_url: str, sandbox_url: str
) -> AsyncGenerator[Application]:
    """The application, which listens on a free port of loopback until the end."""
    application = Application(http, service_url=service_url, sandbox_url=sandbox_url)
    server = web.Application()
    server.router.add_get("/callback", application.take_callback)
    server.router.add_post("/webhooks", application.take_webhook)
    runner = web.AppRunner(server, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        application.url = f"http://{host}:{port}"
        yield application
    finally:
        await runner.cleanup()
