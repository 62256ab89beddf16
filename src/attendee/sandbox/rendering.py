"""Templates and forms for every page of the sandbox."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import jinja2
from starlette.datastructures import ImmutableMultiDict
from starlette.requests import Request
from starlette.responses import HTMLResponse

HERE = Path(__file__).parent
STATIC = HERE / "static"

ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(HERE / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def render(template: str, **values: Any) -> str:
    """The template with these values."""
    return ENVIRONMENT.get_template(template).render(values)


def page(template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The template with these values, as a whole answer."""
    return HTMLResponse(render(template, **values), status)


async def read_form(request: Request) -> ImmutableMultiDict[str, str]:
    """The fields of a plain form, empty ones included."""
    return ImmutableMultiDict(parse_qsl((await request.body()).decode(), keep_blank_values=True))
