"""The whole story by hand in a real browser, with the real processes: on both platforms, and without JavaScript."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from playwright.async_api import Locator, Page, expect
from rich.console import Console

from attendee.demo.stage import Stage
from tests.browser import PHONE, Browser

# They run processes of their own: side by side they would only make each other slow.
pytestmark = pytest.mark.xdist_group("processes")

_MILLISECONDS = 20_000
# At both platforms one of the seeded meetings, single, in the next two days.
_MEETING = {"google": "Quarterly review", "microsoft": "Design review"}


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    """Sandbox, service and example as `make demo` runs them."""
    async with aiohttp.ClientSession() as http:
        stage = Stage(tmp_path, Console(quiet=True), http)
        try:
            await stage.start_sandbox()
            await stage.start_service()
            await stage.start_example()
            yield stage
        finally:
            await stage.end()


def meeting(page: Page, title: str) -> Locator:
    return page.locator("article", has=page.get_by_role("heading", name=title, exact=True))


async def sees(place: Locator, words: str) -> None:
    await expect(place).to_contain_text(words, timeout=_MILLISECONDS)


async def sign_in(page: Page, stage: Stage, platform: str) -> None:
    """From the first page over the consent page to the week."""
    await page.goto(stage.example_url)
    await page.get_by_role("link", name=f"Continue with {platform.title()}").click()
    await expect(page).to_have_title(f"Sign in · {platform.title()}")
    await page.get_by_role("button", name="Continue").click()
    await expect(page.get_by_role("heading", name="Your meetings", exact=True)).to_be_visible()


async def in_sandbox(page: Page, title: str) -> Locator:
    """The meeting on its owner's page in the sandbox, opened."""
    event = page.locator("details.event", has_text=title).first
    await event.locator("summary .times").click()
    return event


@pytest.mark.parametrize("platform", ["google", "microsoft"])
async def test_story_on_both_platforms(stage: Stage, browser: Browser, platform: str) -> None:
    """Sign in, see the week, switch on, move, cancel, revoke, reconnect: each change shows without a reload."""
    page = await browser.page(timezone_id="Europe/Berlin")
    await sign_in(page, stage, platform)
    await expect(page.get_by_text("Times are in Europe/Berlin")).to_be_visible()
    title = _MEETING[platform]
    chosen = meeting(page, title)
    await sees(chosen, "No notes")
    await chosen.get_by_role("switch").click()
    await sees(chosen, "Notes are planned; the notetaker joins at ")
    before = await chosen.locator("time").inner_text()

    link = page.get_by_role("link", name="open the calendar there")
    async with page.context.expect_page() as opened:
        await link.click()
    sandbox = await opened.value
    event = await in_sandbox(sandbox, title)
    starts = event.get_by_label("Starts")
    await starts.fill(re.sub(r"T\d\d:\d\d", "T19:40", await starts.input_value()))
    await event.get_by_role("button", name="Save", exact=True).click()
    await sees(chosen, "joins at 19:40")
    assert await chosen.locator("time").inner_text() != before

    event = await in_sandbox(sandbox, title)
    await event.get_by_role("button", name="Delete", exact=True).click()
    await sees(chosen, "Cancelled")
    assert (await stage.everything("/bots?states=scheduled")) == []

    await page.get_by_role("switch", name="Notes for all my meetings with a link").click()
    other = page.locator("article[data-status=planned]").last
    await sees(other, "Notes are planned")
    await sandbox.get_by_role("button", name="Revoke consent").click()
    await expect(page.get_by_role("heading", name="Your calendar is disconnected")).to_be_visible(timeout=_MILLISECONDS)
    await expect(page.locator("article[data-status=planned]")).to_have_count(0, timeout=_MILLISECONDS)
    assert (await stage.everything("/bots?states=scheduled")) == []

    await page.get_by_role("link", name=f"Reconnect {platform.title()}").click()
    await page.get_by_role("button", name="Continue").click()
    await expect(page.locator("article[data-status=planned]").first).to_be_visible(timeout=_MILLISECONDS)
    await expect(page.get_by_role("heading", name="Your calendar is disconnected")).to_have_count(0)
    assert (await stage.everything("/bots?states=scheduled")) != []
    assert len(await stage.everything("/calendars")) == 1

    await page.locator(".account summary").click()
    await page.get_by_role("button", name="Disconnect and forget me").click()
    await expect(page.get_by_role("link", name="Continue with Google")).to_be_visible()
    assert await stage.everything("/calendars") == []


async def test_without_javascript(stage: Stage, browser: Browser) -> None:
    """On a phone without JavaScript the same forms work, in a time zone that the user chooses."""
    page = await browser.page(width=PHONE, scheme="dark", java_script_enabled=False)
    await sign_in(page, stage, "google")
    await page.get_by_role("link", name="Choose another time zone").click()
    await page.get_by_label("Show times in").select_option("America/New_York")
    await page.get_by_role("button", name="Use it").click()
    await expect(page.get_by_text("Times are in America/New_York")).to_be_visible()
    chosen = meeting(page, "Quarterly review")
    await chosen.get_by_role("switch").click()
    # While something is pending the page loads itself again.
    await sees(chosen, "Notes are planned")
    await chosen.get_by_role("switch").click()
    await sees(chosen, "No notes")
    width = await page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE
