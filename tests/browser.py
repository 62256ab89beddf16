"""A real browser for tests of pages: Chromium, closed to the internet, whose complaints fail the test."""

import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Literal
from urllib.parse import urlsplit

import playwright.async_api
from playwright.async_api import BrowserContext, ConsoleMessage, Page, Request, WebError

DESKTOP = 1280
PHONE = 390

_PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
    # What is not on loopback can't be reached, whatever a page asks for.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


class Browser:
    """Opens pages, each with cookies of its own, and keeps what went wrong in any of them."""

    def __init__(self, chromium: playwright.async_api.Browser) -> None:
        self._chromium = chromium
        self._complaints: list[str] = []

    async def page(self, *, width: int = DESKTOP, scheme: Literal["light", "dark"] = "light", **options: Any) -> Page:
        """A page of this width in pixels; `options` are Playwright's for a context (`timezone_id` and the like)."""
        context: BrowserContext = await self._chromium.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme, **options
        )
        context.set_default_timeout(20_000)
        context.on("console", self._hear)
        context.on("weberror", self._note)
        context.on("request", self._watch)
        return await context.new_page()

    def expect_complaint(self, words: str) -> None:
        """Takes one complaint with these words (a regular expression) off the list. Fails if there is none."""
        found = next((one for one in self._complaints if re.search(words, one)), None)
        assert found is not None, f"nobody complained of {words!r}, only of {self._complaints}"
        self._complaints.remove(found)

    def expect_no_complaint(self) -> None:
        """Fails if a page logged an error, or asked another host for anything."""
        assert self._complaints == [], f"pages complained: {self._complaints}"

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self._complaints.append(f"{message.text} ({message.location['url']})")

    def _note(self, error: WebError) -> None:
        self._complaints.append(str(error.error))

    def _watch(self, request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in {"about", "blob", "data"} and address.hostname not in {"127.0.0.1", "localhost"}:
            self._complaints.append(f"asked another host: {request.url}")


@asynccontextmanager
async def running_browser() -> AsyncIterator[Browser]:
    """A browser until the end, which fails if a page in it had a complaint that the test did not expect."""
    program = next((path for path in map(shutil.which, _PROGRAMS) if path is not None), None)
    if program is None:
        message = "There is no Chromium here: run tests/install-chromium, as `make test` does."
        raise RuntimeError(message)
    async with playwright.async_api.async_playwright() as driver:
        chromium = await driver.chromium.launch(executable_path=program, args=_FLAGS)
        browser = Browser(chromium)
        yield browser
        await chromium.close()
    browser.expect_no_complaint()
