"""The OpenAPI document, and the page that shows it."""

from pathlib import Path
from typing import Any

from attendee.api import openapi
from tests.api.serving import Client, Served
from tests.api.test_problems import EVERY_ROUTE

CHECKED_IN = Path(__file__).parents[2] / "docs" / "openapi.json"


def test_the_document_that_is_checked_in_is_this_versions() -> None:
    """`python -m attendee.api.openapi docs/openapi.json` writes it anew."""
    assert CHECKED_IN.read_text() == openapi.text()


def test_every_route_is_in_the_document_with_its_problems_and_its_key() -> None:
    """Each with 401, its success, and a body where it takes one; what is referred to is there."""
    document = openapi.document()
    documented = {
        (method.upper(), path): operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }
    for (method, path), operation in documented.items():
        if path.startswith("/runner/v1/bots"):
            assert operation["security"] == [{"ReportToken": []}]
            continue
        if not path.startswith("/api/v1"):
            assert operation["security"] == []
            continue
        assert {"401", "500"} <= operation["responses"].keys()
        assert "422" not in operation["responses"], "what is wrong with a request is a 400 here"
        takes_body = method == "PATCH" or (method, path.count("/")) == ("POST", 3) or path.endswith("_failed")
        assert ("requestBody" in operation) is takes_body, path
    assert len([path for _, path in documented if path.startswith("/api/v1")]) == len(EVERY_ROUTE)
    assert {"Token", "Bearer", "ReportToken"} == document["components"]["securitySchemes"].keys()
    for reference in _references(document):
        assert reference.removeprefix("#/components/schemas/") in document["components"]["schemas"]


async def test_the_document_and_its_page_need_no_key_and_no_internet(api: Served, client: Client) -> None:
    """The page loads nothing but what this service has itself."""
    client.key = None
    assert (await client.ask("GET", "/openapi.json")).json == openapi.document()
    page = await client.ask("GET", "/docs")
    assert page.headers["Content-Type"].startswith("text/html")
    assert b"//" not in page.raw.replace(b"<!DOCTYPE html>", b"")
    for path, kind in (("/docs/swagger-ui.css", "text/css"), ("/docs/swagger-ui-bundle.js", "text/javascript")):
        assert path.encode() in page.raw
        asset = await client.ask("GET", path)
        assert (asset.status, asset.headers["Content-Type"].partition(";")[0]) == (200, kind)
        assert len(asset.raw) > 10_000


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if "$ref" in part else []
        return own + [reference for inner in part.values() for reference in _references(inner)]
    return [reference for inner in part for reference in _references(inner)] if isinstance(part, list) else []
