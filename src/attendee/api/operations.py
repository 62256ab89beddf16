"""What operators and developers ask for without a key: health, readiness, the OpenAPI document and its pages."""

from importlib.resources import files
from pathlib import Path

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.applications import Starlette
from starlette.routing import Route
from starlette.types import ASGIApp

from attendee import metrics
from attendee.api import schemas
from attendee.api.problems import WITHOUT_KEY, JsonAnswer, declared
from attendee.api.service import ServiceOf
from attendee.clock import Clock
from attendee.store import measures
from attendee.store.database import TROUBLE, Database, SchemaOutdated

router = APIRouter(tags=["operations"])

_log = structlog.get_logger(__name__)

_DOCS = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>attendee API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<script src="/docs/swagger-ui-bundle.js"></script>
<script>SwaggerUIBundle({url: "/openapi.json", dom_id: "#docs", deepLinking: true});</script>
</body>
</html>
"""


def _assets() -> Path:
    return Path(str(files("fastapi_offline"))) / "static"


@router.get("/healthz", response_model=schemas.Health, responses=declared(with_key=False), openapi_extra=WITHOUT_KEY)
async def healthz() -> Response:
    """The process is up."""
    return JsonAnswer({"status": "ok"})


@router.get(
    "/readyz",
    response_model=schemas.Readiness,
    responses=declared(with_key=False) | {503: {"model": schemas.Readiness, "description": "Not ready, and why"}},
    openapi_extra=WITHOUT_KEY,
)
async def readyz(service: ServiceOf) -> Response:
    """The database can be reached and has the schema of this version, or of a later one."""
    name = service.key_ring.names[0]
    try:
        await service.database.check_schema()
    except SchemaOutdated as outdated:
        return JsonAnswer({"status": "not ready", "problem": str(outdated), "installation": name}, 503)
    except Exception:  # noqa: BLE001  # drivers raise errors of many families when they can't connect
        # Their words stay in the log: they name hosts and accounts.
        _log.exception("the database can't be reached")
        problem = "The database can't be reached."
        return JsonAnswer({"status": "not ready", "problem": problem, "installation": name}, 503)
    return JsonAnswer({"status": "ready", "problem": None, "installation": name})


@router.get("/metrics", response_class=PlainTextResponse, responses=declared(with_key=False), openapi_extra=WITHOUT_KEY)
async def read_metrics(service: ServiceOf) -> Response:
    """What this process has done and how the database is, for Prometheus."""
    return await _scraped(service.database, service.clock)


def create_operations(*, database: Database, clock: Clock) -> ASGIApp:
    """The application of a process that only works: whether it is up, and its metrics."""

    async def scrape(_request: Request) -> Response:
        return await _scraped(database, clock)

    async def health(_request: Request) -> Response:
        return await healthz()

    return Starlette(routes=[Route("/healthz", health), Route("/metrics", scrape)])


async def _scraped(database: Database, clock: Clock) -> Response:
    for pool, (used, size) in database.connections().items():
        metrics.database_connections.labels(pool, "used").set(used)
        metrics.database_connections.labels(pool, "most").set(size)
    try:
        async with database.reading() as tx:
            now = clock()
            for table in measures.DUE_WORK:
                due = await measures.due(tx, table, now=now)
                metrics.due_work.labels(table.name).set(due.count)
                metrics.due_age_seconds.labels(table.name).set(due.age.total_seconds())
            for state, count in (await measures.unfinished_bots(tx)).items():
                metrics.bots.labels(state).set(count)
            metrics.calendars_in_trouble.set(await measures.calendars_in_trouble(tx))
        metrics.database_up.set(1)
    except TROUBLE:
        # What this process has counted is told all the same.
        metrics.database_up.set(0)
    return Response(metrics.written(), media_type=metrics.CONTENT_TYPE)


@router.get("/openapi.json", include_in_schema=False)
async def openapi(request: Request) -> Response:
    return JsonAnswer(request.app.openapi())


@router.get("/docs", include_in_schema=False)
async def docs() -> Response:
    return HTMLResponse(_DOCS)


@router.get("/docs/swagger-ui.css", include_in_schema=False)
async def docs_style() -> Response:
    return FileResponse(_assets() / "swagger-ui.css", media_type="text/css")


@router.get("/docs/swagger-ui-bundle.js", include_in_schema=False)
async def docs_script() -> Response:
    return FileResponse(_assets() / "swagger-ui-bundle.js", media_type="text/javascript")
