"""The REST API as an ASGI application, built from what it is handed."""

from datetime import timedelta
from typing import Any

from fastapi import FastAPI, Request
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException

from attendee import __version__
from attendee.api import bots, calendar_events, calendars, export, notifications, operations, runner, schemas, webhooks
from attendee.api.middleware import EveryRequest
from attendee.api.problems import HANDLERS, PROBLEM_SCHEMAS, no_route
from attendee.api.service import Service
from attendee.bots.schedule import LaunchTimes
from attendee.clock import Clock
from attendee.meetings import MeetingLinks
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.limits import Limits, Posts
from attendee.sync.schedule import Intervals

_ROUTERS = (
    calendars.router,
    export.router,
    calendar_events.router,
    bots.router,
    webhooks.router,
    webhooks.deliveries_router,
    notifications.router,
    runner.router,
    operations.router,
)


class Api(FastAPI):
    """FastAPI with a document that has the bodies, the problems and the key, which are checked outside of its sight."""

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            components = document.setdefault("components", {})
            _leave_out_422(document)
            _, inputs = models_json_schema(
                [(model, "validation") for model in schemas.INPUTS], ref_template="#/components/schemas/{model}"
            )
            components["schemas"] = dict(
                sorted({**components.get("schemas", {}), **inputs["$defs"], **PROBLEM_SCHEMAS}.items())
            )
            components["securitySchemes"] = {
                "Token": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "Authorization",
                    "description": "`Token <api key>`",
                },
                "ReportToken": {"type": "http", "scheme": "bearer", "description": "The token of a bot's own order"},
                "Bearer": {"type": "http", "scheme": "bearer", "description": "The API key"},
            }
            document["security"] = [{"Token": []}, {"Bearer": []}]
            self.openapi_schema = document
        return self.openapi_schema


def _leave_out_422(document: dict[str, Any]) -> None:
    """What FastAPI declares of each route with a parameter. No route answers it: a wrong parameter is a 400 here."""
    for path in document["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        del document["components"]["schemas"][name]


def create_app(
    *,
    database: Database,
    key_ring: KeyRing,
    clock: Clock,
    meeting_links: MeetingLinks,
    allow_insecure_webhooks: bool,
    intervals: Intervals,
    launch_times: LaunchTimes,
    heartbeat: timedelta,
    limits: Limits,
) -> FastAPI:
    """The application. It neither opens nor closes the database, and starts nothing."""
    app = Api(
        title="attendee",
        version=__version__,
        description="Keeps Google and Microsoft calendars in sync and sends meeting bots to the events in them.",
        openapi_url=None,
        redirect_slashes=False,
        exception_handlers={**HANDLERS, 405: _method_not_allowed},
    )
    app.state.service = Service(
        database=database,
        key_ring=key_ring,
        clock=clock,
        meeting_links=meeting_links,
        allow_insecure_webhooks=allow_insecure_webhooks,
        intervals=intervals,
        launch_times=launch_times,
        heartbeat=heartbeat,
        limits=limits,
        posts=Posts(database, limits.posts_per_minute),
    )
    app.add_middleware(EveryRequest)
    for router in _ROUTERS:
        app.include_router(router)
    return app


async def _method_not_allowed(request: Request, _problem: HTTPException) -> Response:
    """Names every method that the path has: the framework knows only those of the first route that it finds."""
    path = request.scope["path"]
    routes = [route for router in _ROUTERS for route in router.routes if isinstance(route, APIRoute)]
    allowed = {method for route in routes if route.path_regex.fullmatch(path) for method in route.methods or ()}
    listed = ", ".join(sorted(allowed))
    detail = f"{request.method} is not allowed here. What is: {listed}."
    return await no_route(request, HTTPException(405, detail, {"Allow": listed}))
