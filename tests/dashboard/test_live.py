"""Pages that keep themselves fresh."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import aiohttp
from sqlalchemy import update
from yarl import URL

from attendee.dashboard.routes import ROUTES
from attendee.dashboard.visits import Page
from attendee.model import Role
from attendee.store import sessions, tables, users
from tests.dashboard.furnished import furnish
from tests.dashboard.visiting import Visited, Visitor

STREAM = {"Accept": "text/event-stream"}


@asynccontextmanager
async def stream(visitor: Visitor, path: str) -> AsyncGenerator[aiohttp.ClientResponse]:
    address = URL(visitor.address + path, encoded=True)
    async with visitor.session.get(address, headers=STREAM, allow_redirects=False) as response:
        yield response


async def hears(response: aiohttp.ClientResponse, words: bytes) -> None:
    """Comes back once the stream has said it; fails if it ends before."""
    async with asyncio.timeout(20):
        async for line in response.content:
            if words in line:
                return
    raise AssertionError(f"the stream ended without {words!r}")


async def version(visitor: Visitor, path: str) -> str:
    return (await visitor.get(path)).text.partition('data-version="')[2][:16]


async def test_a_change_is_told(here: Visited) -> None:
    """Whatever shows on the page: the stream says so, and says nothing for a page that is as the browser has it."""
    viewer = await here.visitor(Role.VIEWER)
    calendar_id = await here.a_calendar()
    path = f"/projects/{here.project_id}/calendars/{calendar_id}"
    async with stream(viewer, f"{path}?version={await version(viewer, path)}") as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        async with here.database.transaction() as tx:
            await tx.execute(update(tables.calendars).values(quiet_syncs=1))
        async with here.database.transaction() as tx:
            await tx.execute(update(tables.calendars).values(last_error="The platform answered 503."))
        await hears(response, b"event: changed")
    assert "The platform answered 503." in (await viewer.get(path)).text


async def test_a_page_that_is_old_already_is_told_at_once(here: Visited) -> None:
    """What changed between the page and its stream is not missed."""
    viewer = await here.visitor(Role.VIEWER)
    path = f"/projects/{here.project_id}/calendars"
    old = await version(viewer, path)
    await here.a_calendar()
    async with stream(viewer, f"{path}?version={old}") as response:
        await hears(response, b"event: changed")


async def test_a_page_that_has_not_changed_is_not_told(here: Visited) -> None:
    """The stream makes the very page that the browser has, though it asks at another address."""
    made = await furnish(here)
    viewer = await here.visitor(Role.VIEWER)
    base = f"/projects/{here.project_id}"
    paths = ["", "/calendars", f"/calendars/{made.calendar}", f"/events/{made.event}", "/bots", "/deliveries"]
    for path in (base + path for path in paths):
        assert await version(viewer, f"{path}?version=0") == await version(viewer, path)


async def test_a_stream_is_as_secret_as_its_page(here: Visited) -> None:
    """Without a session there is none, nor for a page of another project; it ends when the session does."""
    viewer = await here.visitor(Role.VIEWER)
    path = f"/projects/{here.project_id}/calendars"
    async with stream(here.browser(), path) as response:
        assert response.status == 204
    async with stream(viewer, "/projects/proj_0000000000000000/calendars") as response:
        assert response.status == 204
    async with stream(viewer, f"{path}?version={await version(viewer, path)}") as response:
        async with here.database.transaction() as tx:
            user = await users.get_by_email(tx, "viewer@acme.example")
            await sessions.end_all(tx, user.id)
        await hears(response, b"data: gone")
        assert await response.content.read() == b"\n"


async def test_streams_end_with_the_process(here: Visited) -> None:
    """Nobody has to wait for an open page."""
    viewer = await here.visitor(Role.VIEWER)
    path = f"/projects/{here.project_id}"
    async with stream(viewer, path) as response:
        await hears(response, b"retry")
        here.stop.set()
        async with asyncio.timeout(20):
            await response.content.read()


async def test_the_mark_moves_with_every_commit_and_with_nothing_else(here: Visited) -> None:
    """So that a page is made again only when something may have changed."""
    await here.a_calendar()
    before = await here.database.mark()
    async with here.database.reading() as tx:
        await users.all_users(tx)
    assert await here.database.mark() == before
    await here.a_calendar()
    assert await here.database.mark() != before


def test_every_page_with_lists_is_live() -> None:
    """Those that are not are forms, and those of one's account."""
    quiet = {one.path.rpartition("/")[2] for one in ROUTES if isinstance(one, Page) and not one.is_live}
    assert quiet == {
        "",
        "sign-in",
        "{secret}",
        "account",
        "users",
        "projects",
        "{project_id}",
        "members",
        "find",
        "new",
        "{webhook_id}",
    }
