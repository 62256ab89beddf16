"""The application put together."""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from fastapi import FastAPI, Request
from fastapi.responses import RedirectResponse, Response
from fastapi.staticfiles import StaticFiles

from attendee_client import AttendeeError
from attendee_client.aio import AsyncClient
from notetaker import background, login, pages, webhooks
from notetaker.office import Office
from notetaker.pages import render
from notetaker.platforms import LoginRefused
from notetaker.sessions import NotSignedIn
from notetaker.settings import Settings
from notetaker.store import Store

logger = logging.getLogger(__name__)

_TIMEOUT = aiohttp.ClientTimeout(total=10)
# Pages load nothing from elsewhere, run no script but ours, and are shown in nobody's frame.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; connect-src 'self'; img-src 'self' data:; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def _now() -> datetime:
    return datetime.now(UTC)


def create_app(settings: Settings, *, now: Callable[[], datetime] = _now, is_working: bool = True) -> FastAPI:
    """The application. Unless it `is_working`, what is due is left to whoever calls `background.work_off`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
        store = Store(settings.database)
        async with aiohttp.ClientSession(timeout=_TIMEOUT) as http:
            service = AsyncClient(http, settings.service_url, settings.api_key)
            office = Office(store, service, http, settings.platforms, settings.url, now)
            app.state.office = office
            working = asyncio.create_task(background.work(office)) if is_working else None
            yield
            if working is not None:
                working.cancel()
                with suppress(asyncio.CancelledError):
                    await working
        store.close()

    app = FastAPI(title="Notetaker", lifespan=lifespan, openapi_url=None)
    app.state.webhook_secrets = settings.webhook_secrets
    app.state.sandbox_url = settings.sandbox_url
    app.include_router(login.router)
    app.include_router(webhooks.router)
    app.include_router(pages.router)
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    app.add_exception_handler(LoginRefused, _show_refused_login)
    app.add_exception_handler(AttendeeError, _show_trouble)
    app.add_exception_handler(aiohttp.ClientError, _show_trouble)
    app.add_exception_handler(NotSignedIn, _show_welcome)

    @app.middleware("http")
    async def add_headers(request: Request, call_next: Callable[[Request], Awaitable[Response]]) -> Response:
        answer = await call_next(request)
        answer.headers.update(_HEADERS)
        return answer

    return app


async def _show_refused_login(request: Request, refused: Exception) -> Response:
    return render(request, "problem.html", status=400, problem=str(refused))


async def _show_trouble(request: Request, trouble: Exception) -> Response:
    logger.error("%s was not answered well: %r", request.url.path, trouble)
    return render(request, "problem.html", status=502, problem="Something is not answering. Please try again soon.")


async def _show_welcome(_: Request, __: Exception) -> Response:
    return RedirectResponse("/", 303)
