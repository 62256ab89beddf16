"""The pages in a real browser: at both widths, in both schemes, fresh by themselves, without a fault that axe finds."""

import re
from collections.abc import AsyncGenerator
from importlib.resources import files
from typing import Literal

import pytest
from playwright.async_api import Page, expect
from sqlalchemy import update

from attendee.model import Role
from attendee.store import links, tables
from tests.browser import DESKTOP, PHONE, Browser
from tests.dashboard.furnished import Furnished, furnish
from tests.dashboard.visiting import PASSWORD, Visited, visited

# A run of axe costs a second; faults of these kinds keep somebody from using the page.
_AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
_BAD = {"serious", "critical"}

OWNER = "ada@acme.example"
LOOKS = [(DESKTOP, "light"), (DESKTOP, "dark"), (PHONE, "light"), (PHONE, "dark")]


@pytest.fixture
async def here(sqlite_url: str) -> AsyncGenerator[Visited]:
    """On one kind of database: the browser sees no difference."""
    async with visited(sqlite_url) as serving:
        yield serving


@pytest.fixture
async def made(here: Visited) -> Furnished:
    await here.user(OWNER, role=Role.OWNER)
    return await furnish(here)


def addresses(here: Visited, made: Furnished) -> dict[str, str]:
    """Every page that shows something of its own, and some of what a form answers with."""
    base = f"/projects/{here.project_id}"
    return {
        "projects": "/projects",
        "delete a project": f"/delete-project/{here.project_id}",
        "account": "/account",
        "users": "/users",
        "overview": base,
        "calendars": f"{base}/calendars",
        "no calendars": f"{base}/calendars?q=nobody",
        "calendar": f"{base}/calendars/{made.calendar}",
        "calendar in an empty week": f"{base}/calendars/{made.calendar}?week=2026-01-05",
        "disconnected calendar": f"{base}/calendars/{made.disconnected}?done=asked",
        "event": f"{base}/events/{made.event}",
        "bots": f"{base}/bots",
        "all bots": f"{base}/bots?show=all",
        "bot": f"{base}/bots/{made.bot}",
        "failed bot": f"{base}/bots/{made.failed_bot}",
        "deliveries": f"{base}/deliveries",
        "delivery": f"{base}/deliveries/{made.delivery}",
        "webhooks": f"{base}/settings/webhooks",
        "new webhook": f"{base}/settings/webhooks/new",
        "webhook": f"{base}/settings/webhooks/{made.webhook}",
        "keys": f"{base}/settings/keys",
        "members": f"{base}/settings/members",
        "nothing": "/projects/nonsense",
    }


async def sign_in(page: Page, here: Visited) -> None:
    await page.goto(f"{here.address}/sign-in")
    await page.get_by_label("E-mail").fill(OWNER)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("button", name="Sign in").click()
    await page.wait_for_url("**/projects/**")


async def faults(page: Page) -> list[str]:
    """What axe finds that keeps somebody from using the page."""
    await page.evaluate(_AXE)
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']}: {node['html'][:120]}"
        for one in found["violations"]
        if one["impact"] in _BAD
        for node in one["nodes"]
    ]


@pytest.mark.parametrize(("width", "scheme"), LOOKS, ids=str)
async def test_every_page_can_be_used_by_everybody(
    here: Visited, made: Furnished, browser: Browser, width: int, scheme: Literal["light", "dark"]
) -> None:
    """No serious fault, nothing wider than the window, and a word of the zone that times are in."""
    page = await browser.page(width=width, scheme=scheme, timezone_id="Europe/Berlin")
    await page.goto(f"{here.address}/sign-in")
    assert await faults(page) == []
    await sign_in(page, here)
    for name, address in addresses(here, made).items():
        await page.goto(here.address + address)
        assert await faults(page) == [], name
        assert await page.evaluate("document.documentElement.scrollWidth") <= width, name
        if name != "nothing":
            await expect(page.locator("footer")).to_contain_text("Europe/Berlin (UTC+01:00)")
    browser.expect_complaint("404")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
async def test_a_new_owner_gets_to_work(here: Visited, browser: Browser, width: int) -> None:
    """From the first link to a key and a webhook that has been sent a test: every form on the way, by its labels."""
    async with here.database.transaction() as tx:
        link = await links.for_first_owner(tx, now=here.clock())
    page = await browser.page(width=width)
    await page.goto(f"{here.address}/links/{link}")
    assert await faults(page) == []
    await page.get_by_label("E-mail").fill(OWNER)
    await page.get_by_label("Password").fill("short")
    await page.get_by_label("The same again").fill("short")
    await page.get_by_role("button", name="Create the owner’s account").click()
    assert not await page.evaluate("document.querySelector('[name=password]').validity.valid")
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("The same again").fill(PASSWORD)
    await page.get_by_role("button", name="Create the owner’s account").click()
    await page.get_by_role("link", name="API key").click()
    await page.get_by_label("What it is for").fill("server")
    await page.get_by_role("button", name="Make a key").click()
    await expect(page.locator(".secret")).to_have_text(re.compile("^att_"))
    assert await faults(page) == []
    await page.get_by_role("link", name="Webhooks").click()
    await page.get_by_role("link", name="Create Webhook").click()
    await page.get_by_label("Address").fill("https://product.example/hooks")
    await page.get_by_label("bot.state_change").check()
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_role("status")).to_contain_text("The webhook is there.")
    await page.get_by_role("button", name="Send a test").click()
    await expect(page.get_by_role("status")).to_contain_text("A test is on its way.")
    await page.locator("summary", has_text=OWNER).click()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_role("heading")).to_have_text("Sign in")


async def test_a_page_keeps_itself_fresh(here: Visited, made: Furnished, browser: Browser) -> None:
    """A calendar that becomes disconnected shows it without being loaded anew, and what is typed elsewhere stays."""
    page = await browser.page()
    await sign_in(page, here)
    await page.goto(f"{here.address}/projects/{here.project_id}/calendars")
    await page.get_by_label("Find by id").fill("evt_")
    row = page.get_by_role("row").filter(has_text="new@acme.example")
    await expect(row).to_contain_text("first sync to come")
    async with here.database.transaction() as tx:
        await tx.execute(
            update(tables.calendars)
            .where(tables.calendars.c.deduplication_key == "new@acme.example")
            .values(last_attempted_sync_at=here.clock(), last_error="The platform answered 503.")
        )
    await expect(row).to_contain_text("last sync failed")
    await expect(page.get_by_label("Find by id")).to_have_value("evt_")


async def test_everything_works_without_javascript(here: Visited, made: Furnished, browser: Browser) -> None:
    """Signing in, filtering, asking for a sync, choosing a zone, and the menus."""
    page = await browser.page(java_script_enabled=False)
    await sign_in(page, here)
    await page.get_by_role("link", name="Calendars", exact=True).click()
    await page.get_by_label("State").select_option("disconnected")
    await page.get_by_role("button", name="Show").click()
    await page.get_by_role("link", name="ben@northwind.example").click()
    await page.get_by_role("button", name="Sync now").click()
    await expect(page.get_by_role("status").first).to_contain_text("A sync has been asked for.")
    await expect(page.locator("footer")).to_contain_text("Times are in UTC")
    await page.locator("summary", has_text=OWNER).click()
    await page.get_by_role("link", name="Account and time zone").click()
    await page.get_by_label("Times are shown in").select_option("Asia/Tokyo")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("footer")).to_contain_text("Asia/Tokyo (UTC+09:00)")


async def test_the_keyboard_is_enough(here: Visited, made: Furnished, browser: Browser) -> None:
    """The first stop leads past the menus; a menu opens and closes with a key, and gives the focus back."""
    page = await browser.page()
    await sign_in(page, here)
    await page.keyboard.press("Tab")
    await expect(page.get_by_text("Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("main")).to_be_focused()
    menu = page.locator("summary").first
    await menu.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("link", name="All projects")).to_be_visible()
    await page.keyboard.press("Escape")
    await expect(page.get_by_role("link", name="All projects")).to_be_hidden()
    await expect(menu).to_be_focused()


async def test_a_page_can_not_be_made_to_run_what_others_wrote(here: Visited, browser: Browser) -> None:
    """Names, links and errors that come from outside stay text; and if one did not, the browser would refuse it."""
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    await here.user(OWNER, role=Role.OWNER)
    calendar_id = await here.a_calendar(deduplication_key=evil, metadata={evil: evil})
    event_id = await here.an_event(calendar_id, name=evil, meeting_url=f"javascript:{evil}", platform_uuid=evil)
    page = await browser.page()
    await sign_in(page, here)
    for path in ("calendars", f"calendars/{calendar_id}", f"events/{event_id}"):
        await page.goto(f"{here.address}/projects/{here.project_id}/{path}")
        await expect(page.locator("main")).to_contain_text("onerror=alert(1)")
        assert await page.locator("img, main script, a[href^=javascript]").count() == 0
    await page.evaluate("document.querySelector('main').innerHTML = '<p onclick=\"window.ran = 1\" id=p>x</p>'")
    await page.locator("#p").click()
    assert await page.evaluate("window.ran") is None
    browser.expect_complaint("Content Security Policy")
