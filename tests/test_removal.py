"""What is deleted leaves no trace: also of what platforms sent, and in whatever table it was."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from attendee.errors import NotFound
from attendee.model import BotState
from attendee.store import bots, projects, tables
from attendee.store.calendars import Calendar
from tests.bots.crew import MEET
from tests.installation import START, Installation
from tests.pushing import Pushing, pushing
from tests.upkeeping import keeper, tidy
from tests.webhooks.receiver import running_receiver, running_sender, send_due

# Whatever a platform says in the story below has it somewhere.
_MARK = "q7marker"
_LINK = f"https://acme.zoom.us/j/98765432100?pwd={_MARK}"
_EVERY_TABLE = tuple(tables.metadata.tables.values())


@pytest.fixture
async def there(database_url: str) -> AsyncIterator[Pushing]:
    async with pushing(database_url) as made:
        yield made


async def _found(here: Installation, *words: str) -> set[str]:
    """The tables in which one of the words is, as `table.column`. Sealed columns are searched opened."""
    found = set()
    for table in _EVERY_TABLE:
        for row in await here.rows(table):
            for column, value in row._mapping.items():
                if any(word in str(value) for word in words):
                    found.add(f"{table.name}.{column}")
    return found


async def _story(there: Pushing, platform: str) -> Calendar:
    """A calendar whose platform has said the mark in everything that it sends; bots, changes, webhooks."""
    here = there.here
    person = here.world.add_person(f"{_MARK}@acme.example", name=_MARK, platform=platform)
    here.world.add_calendar(person, f"{_MARK}-team", name=f"Team {_MARK}")
    for id in (f"{_MARK}-a", f"{_MARK}-b", f"{_MARK}-c"):
        person.primary.put(
            id, starts=START + timedelta(hours=1), title=_MARK, location=_LINK, description=f"About {_MARK}"
        )
    if platform == "google":
        person.primary.put_raw(f"{_MARK}-odd", {"id": f"{_MARK}-odd", "status": "confirmed", "start": {"date": _MARK}})
    calendar = await there.connect(person)
    first, second, third = sorted((await here.events(calendar.id)).values(), key=lambda row: row.platform_uuid)[:3]
    await here.order_bot(first)
    await _in_state(here, await here.order_bot(second), BotState.ENDED)
    await _in_state(here, await here.order_bot(third), BotState.STAGED)
    here.clock.advance(timedelta(minutes=1))
    person.primary.edit(f"{_MARK}-a", location=f"{_LINK}2")
    person.primary.move(f"{_MARK}-a", starts=START + timedelta(hours=2))
    person.primary.delete(f"{_MARK}-b")
    await here.sandbox.pushed()
    await there.work()
    return calendar


async def _in_state(here: Installation, bot: Any, state: BotState) -> None:
    async with here.database.transaction() as tx:
        await bots.change(tx, bot.id, values={"state": state.value}, now=here.clock())


@pytest.mark.parametrize("platform", ["google", "microsoft"])
async def test_a_deleted_calendar_leaves_no_trace(there: Pushing, platform: str) -> None:
    """Neither of its own nor of what its platform sent; the channel stays sealed until it is stopped, and goes too."""
    here = there.here
    async with running_receiver() as receiver, running_sender(here) as sender:
        await here.subscribe(receiver.url)
        calendar = await _story(there, platform)
        await send_due(here, sender)
    assert {"events.name", "events.raw", "bots.meeting_url", "platform_calendars.name"} <= await _found(here, _MARK)
    assert (await there.client.delete(f"/calendars/{calendar.id}")).status == 200
    assert await _found(here, _MARK, calendar.id) == set()
    (channel,) = await there.channels()
    assert channel.credentials is not None
    await there.keep_due()
    assert await there.channels() == []


async def test_a_channel_that_can_not_be_stopped_is_gone_after_a_day(there: Pushing) -> None:
    """With the sealed credentials that were kept to stop it."""
    here = there.here
    calendar = await _story(there, "google")
    await there.client.delete(f"/calendars/{calendar.id}")
    here.clock.advance(timedelta(hours=24, minutes=1))
    await there.keep_due()
    assert await there.channels() == []


async def test_a_deleted_project_is_gone_at_once_and_leaves_no_trace(there: Pushing) -> None:
    """Its keys and its name at once, all else bit by bit, once its channels are stopped."""
    here = there.here
    await here.subscribe()
    calendar = await _story(there, "google")
    async with here.database.transaction() as tx:
        other = await projects.create(tx, "other", key_ring=here.key_ring, now=here.clock())
    ben = here.world.add_person("ben@acme.example")
    ben.primary.put("his", starts=START + timedelta(hours=3), location=MEET)
    kept = await here.connect(ben, project_id=other.id)
    await there.work()
    async with here.database.transaction() as tx:
        await projects.delete_project(tx, await projects.get(tx, here.project_id), now=here.clock())
    assert (await there.client.get(f"/calendars/{calendar.id}")).status == 401
    async with here.database.transaction() as tx:
        assert [one.id for one in await projects.all_projects(tx)] == [other.id]
        with pytest.raises(NotFound):
            await projects.get(tx, here.project_id)
        await projects.create(tx, "test", key_ring=here.key_ring, now=here.clock())
    await tidy(here)
    # All that is left is what the platform is still to be told.
    tables_left = {name.partition(".")[0] for name in await _found(here, here.project_id, calendar.id)}
    assert tables_left == {"projects", "channels", "signing_secrets"}
    assert await _found(here, _MARK) == set()
    await there.keep_due()
    await tidy(here)
    assert await _found(here, here.project_id, calendar.id, _MARK) == set()
    assert set(await here.events(kept.id)) == {"his"}


async def test_a_project_whose_platforms_are_deaf_is_gone_after_a_day(there: Pushing) -> None:
    """Nothing holds it up for longer."""
    here = there.here
    await _story(there, "google")
    async with here.database.transaction() as tx:
        await projects.delete_project(tx, await projects.get(tx, here.project_id), now=here.clock())
    await tidy(here)
    assert len(await here.rows(tables.projects)) == 1
    here.clock.advance(timedelta(hours=25))
    await tidy(here)
    assert await here.rows(tables.projects) == []
    assert await here.rows(tables.channels) == []


async def test_bots_of_a_deleted_project_are_called_off(there: Pushing) -> None:
    """Those in meetings too: what the runner has to be told outlives the bots, and the project waits for it."""
    here = there.here
    calendar = await _story(there, "google")
    event = next(iter((await here.events(calendar.id)).values()))
    bot = await here.order_bot(event)
    launch = {
        "id": "launch_x",
        "project_id": here.project_id,
        "bot_id": bot.id,
        "state": "taken",
        "body": "{}",
        "report_token": here.key_ring.seal("t", table="launches", column="report_token", row_id="launch_x"),
        "is_leave_wanted": False,
        "created_at": here.clock(),
    }
    async with here.database.transaction() as tx:
        await tx.execute(tables.launches.insert().values(**launch))
        values = {"state": BotState.JOINED_RECORDING.value, "launch_id": "launch_x"}
        await bots.change(tx, bot.id, values=values, now=here.clock())
        await projects.delete_project(tx, await projects.get(tx, here.project_id), now=here.clock())
    await tidy(here)
    await there.keep_due()
    (left,) = await here.rows(tables.launches)
    assert (left.state, left.due_at is None) == ("calling_off", False)
    assert await here.rows(tables.bots) == []
    async with here.database.transaction() as tx:
        await tx.execute(tables.launches.delete())
    here.clock.advance(timedelta(minutes=2))
    await tidy(here)
    assert await here.rows(tables.projects) == []


async def test_sqlite_keeps_nothing_of_what_was_deleted_in_its_files(sqlite_url: str) -> None:
    """Neither in the file, whose free pages are overwritten, nor in the log beside it, which is emptied."""
    async with pushing(sqlite_url) as there:
        here = there.here
        calendar = await _story(there, "google")
        path = Path(sqlite_url.removeprefix("sqlite:///"))
        await here.database.empty_log()
        assert _MARK.encode() in path.read_bytes()
        await there.client.delete(f"/calendars/{calendar.id}")
        await there.keep_due()
        async with here.database.transaction() as tx:
            # Upkeep empties the log where it has removed something.
            await tx.execute(update(tables.signing_secrets).values(ends_at=here.clock()))
        await tidy(here, kept=keeper(here))
        for file in (path, path.with_name(path.name + "-wal")):
            assert _MARK.encode() not in file.read_bytes(), file.name
