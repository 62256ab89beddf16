"""The dashboard as an ASGI application: every page with its check, its headers, and words for what went wrong."""

import asyncio
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl

import structlog
from starlette.applications import Starlette
from starlette.datastructures import ImmutableMultiDict, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from attendee.clock import Clock
from attendee.dashboard import week
from attendee.dashboard.live import Pulse, is_stream, stream
from attendee.dashboard.rendering import plain_page
from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import (
    Action,
    Dashboard,
    Form,
    Needs,
    Page,
    Refused,
    SignInFirst,
    check_origin,
    check_token,
    enter,
    to_sign_in,
)
from attendee.errors import DomainError, NotFound
from attendee.store.columns import KeyRing
from attendee.store.database import Database

_STATIC = Path(__file__).parent / "static"
# The one address of a page that has a secret in it.
_LINK = re.compile(r"(/links/).*")
_MOST_BYTES = 64 * 1024
_HEADERS = {
    # Nothing inline, nothing from anywhere else, and no page of ours inside another's.
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # Not no-referrer, with which browsers hide where a form comes from.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}

log = structlog.get_logger(__name__)


def create_dashboard(
    *,
    database: Database,
    key_ring: KeyRing,
    clock: Clock,
    allow_insecure_webhooks: bool,
    public_url: str | None,
    most_webhooks: int,
    keep_syncs_days: int,
    stop: asyncio.Event,
) -> ASGIApp:
    """The application. It neither opens nor closes the database. Streams end when `stop` is set."""
    dashboard = Dashboard(
        database, key_ring, clock, allow_insecure_webhooks, public_url, most_webhooks, keep_syncs_days
    )
    pulse = Pulse(database, stop)
    routes: list[BaseRoute] = [
        Route("/static/week.css", _week_stylesheet),
        Mount("/static", StaticFiles(directory=_STATIC)),
    ]
    routes += [
        Route(one.path, _endpoint(one, dashboard, pulse), methods=one.methods, name=f"{one.methods[0]} {one.path}")
        for one in ROUTES
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _no_page})
    app.router.redirect_slashes = False
    return _Guarded(app)


def beside(api: ASGIApp, dashboard: ASGIApp) -> ASGIApp:
    """Both as one application: what is no page's address is the API's to answer."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        is_page = scope["type"] == "http" and scope["path"].split("/")[1] in _FIRST_PARTS
        await (dashboard if is_page else api)(scope, receive, send)

    return app


_FIRST_PARTS = frozenset({"static", *(one.path.split("/")[1] for one in ROUTES)})


def _endpoint(one: Page | Action, dashboard: Dashboard, pulse: Pulse) -> Callable[[Request], Awaitable[Response]]:
    if isinstance(one, Page):

        async def show(request: Request) -> Response:
            if one.is_live and is_stream(request):
                return await stream(lambda: _show(request, one, dashboard), request.query_params.get("version"), pulse)
            return await _told(request, _show(request, one, dashboard))

        return show

    async def act(request: Request) -> Response:
        return await _told(request, _act(request, one, dashboard))

    return act


async def _week_stylesheet(_request: Request) -> Response:
    return Response(week.stylesheet(), media_type="text/css")


async def _show(request: Request, page: Page, dashboard: Dashboard) -> Response:
    async with dashboard.database.reading() as tx:
        visit, after = await enter(request, dashboard, page.needs, tx=tx)
        answer = await page.show(visit)
    if after is not None:
        await after()
    return answer


async def _act(request: Request, action: Action, dashboard: Dashboard) -> Response:
    check_origin(request.headers, dashboard)
    # Before anything of the database is taken: a browser may send its form as slowly as it likes.
    form = await _read_form(request)
    async with dashboard.database.reading() as tx:
        visit, _ = await enter(request, dashboard, action.needs, tx=tx)
    visit = replace(visit, form=form)
    if action.needs is not Needs.NOBODY:
        check_token(visit)
    try:
        return await action.do(visit)
    except NotFound:
        raise
    except DomainError as refusal:
        async with dashboard.database.reading() as tx:
            answer = await action.on(replace(visit, tx=tx, problem=refusal))
        if answer.status_code == 200:
            answer.status_code = 400
        return answer


async def _read_form(request: Request) -> Form:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _MOST_BYTES:
            raise Refused(413, "This form is too large.")
    try:
        return ImmutableMultiDict(parse_qsl(body.decode(errors="replace"), keep_blank_values=True, max_num_fields=100))
    except ValueError:
        raise Refused(400, "This form has too many fields.") from None


async def _told(request: Request, answer: Awaitable[Response]) -> Response:
    """The answer, or a page that says why there is none."""
    try:
        return await answer
    except ClientDisconnect:
        raise
    except SignInFirst:
        return to_sign_in(request)
    except Refused as refused:
        return plain_page(refused.message, status=refused.status)
    except NotFound as missing:
        return plain_page(f"{missing}. It may have been deleted, or it is not in this project.", status=404)
    except Exception:
        error_id = "err_" + secrets.token_hex(8)
        log.exception(
            "page failed", error_id=error_id, method=request.method, path=_LINK.sub(r"\1***", request.url.path)
        )
        return plain_page(f"Something went wrong on our side. Our log has more under {error_id}.", status=500)


async def _no_page(_request: Request, problem: Exception) -> Response:
    status = problem.status_code if isinstance(problem, HTTPException) else 500
    return plain_page("There is no such page." if status == 404 else "That can't be done here.", status=status)


class _Guarded:
    """Every answer with the headers that keep browsers from doing what they should not."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers[name] = value
                # What a page shows is the visitor's alone; files are asked for again, and mostly not sent again.
                headers["Cache-Control"] = "no-cache" if scope["path"].startswith("/static/") else "no-store"
            await send(message)

        await self._app(scope, receive, send_guarded)
