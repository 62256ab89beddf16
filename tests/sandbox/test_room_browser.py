"""A room's page in a real browser: what changes there is seen at once, and disturbs nobody."""

import pytest
from playwright.async_api import expect

from attendee.sandbox.app import SandboxServer
from attendee.sandbox.pictures import parse_picture
from attendee.sandbox.rooms import Presence, Room, Visitor
from attendee.sandbox.world import World
from tests.browser import PHONE, Browser
from tests.sandbox.application import NOW

# One blue point.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPj/HwADBwIAMCbHYQAAAABJRU5ErkJggg=="

pytestmark = pytest.mark.xdist_group("processes")


@pytest.fixture
def room(world: World) -> Room:
    room = world.rooms.at("blue-room")
    room.set_open(is_open=False)
    return room


async def test_a_person_plays_the_host(sandbox: SandboxServer, browser: Browser, room: Room) -> None:
    """A bot appears with its picture, is let in by a button, and leaves; half a sentence survives all of it."""
    page = await browser.page(width=PHONE, scheme="dark")
    await page.goto(f"{sandbox.url}/rooms/blue-room")
    await page.get_by_label("Your name").fill("Ana Ruiz")
    await page.get_by_role("button", name="Join as a person").click()
    sentence = page.get_by_label("You are Ana Ruiz.")
    await sentence.fill("Half a sen")
    picture = parse_picture({"type": "image/png", "data": PNG})
    visitor = Visitor(id="bot_1", name="Nora", picture=picture, since=NOW, hears=lambda _: None)
    room.expect(visitor)
    await expect(page.get_by_text("expected")).to_be_visible()
    room.make_wait(visitor)
    assert await page.locator(".face.bot img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 1
    let_in = page.get_by_role("button", name="Let in", exact=True)
    await let_in.focus()
    room.write(visitor, "I take notes.")
    await expect(page.get_by_text("I take notes.")).to_be_visible()
    await expect(let_in).to_be_focused()
    await expect(sentence).to_have_value("Half a sen")
    await let_in.click()
    await expect(page.get_by_text("in the meeting")).to_be_visible()
    assert visitor.presence is Presence.PRESENT
    room.end()
    await expect(page.get_by_text("the meeting ended")).to_be_visible()
    assert not await page.evaluate("document.documentElement.scrollWidth > innerWidth")
    await page.close()


async def test_without_javascript_the_page_says_so(sandbox: SandboxServer, browser: Browser, room: Room) -> None:
    """It shows who is there, its buttons work, and it can be looked at again."""
    visitor = Visitor(id="bot_1", name="Nora", picture=None, since=NOW, hears=lambda _: None)
    room.expect(visitor)
    room.make_wait(visitor)
    page = await browser.page(java_script_enabled=False)
    await page.goto(f"{sandbox.url}/rooms/blue-room")
    await page.get_by_role("button", name="Let in", exact=True).click()
    await expect(page.get_by_text("in the meeting")).to_be_visible()
    room.end()
    await page.get_by_role("link", name="Look again").click()
    await expect(page.get_by_text("the meeting ended")).to_be_visible()
