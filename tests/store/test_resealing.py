"""Keys change while everything runs: nothing is lost, whenever it is interrupted and whoever writes meanwhile."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
from sqlalchemy import update

from attendee.model import CalendarId, Platform
from attendee.store import calendars, resealing, sync_state, tables
from attendee.store.calendars import NewCalendar
from attendee.store.columns import KeyRing, WrongKey
from attendee.store.database import Database
from attendee.store.resealing import SEALED, Progress
from tests.installation import START, Installation, installation

OLD, NEW = KeyRing.generate_key(), KeyRing.generate_key()
BEFORE, BOTH, AFTER = KeyRing([OLD]), KeyRing([NEW, OLD]), KeyRing([NEW])
_PLACES = [(table.name, column) for table, columns in SEALED.items() for column in columns]


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url, key_ring=BEFORE) as made:
        yield made


async def _connect(here: Installation, *, count: int) -> list[CalendarId]:
    new = [NewCalendar(Platform.GOOGLE, "client", f"secret-{n}", f"token-{n}", None, None, None) for n in range(count)]
    async with here.database.transaction() as tx:
        made = [await calendars.create(tx, one, project_id=here.project_id, key_ring=BEFORE, now=START) for one in new]
    return [one.id for one in made]


async def _opened(here: Installation, ids: list[CalendarId], key_ring: KeyRing) -> list[tuple[str, str]]:
    stored = [await here.calendar(calendar_id) for calendar_id in ids]
    return [
        (
            sync_state.open_secret(key_ring, one, "client_secret", one.client_secret),
            sync_state.open_secret(key_ring, one, "refresh_token", one.refresh_token),
        )
        for one in stored
    ]


async def _replace_token(database: Database, calendar_id: CalendarId, token: str, key_ring: KeyRing) -> None:
    async with database.transaction() as tx:
        calendar = await calendars.find(tx, calendar_id)
        assert calendar is not None
        await calendars.update_credentials(
            tx, calendar, client_secret=None, refresh_token=token, metadata=None, key_ring=key_ring, now=START
        )


@pytest.mark.parametrize("place", _PLACES, ids=".".join)
def test_no_sealed_column_takes_what_was_sealed_for_another(place: tuple[str, str]) -> None:
    """Neither another column's ciphertext, nor its own from another row."""
    table, column = place
    sealed = AFTER.seal("secret", table=table, column=column, row_id="1")
    elsewhere = [(*other, "1") for other in _PLACES if other != place] + [(*place, "2")]
    for other_table, other_column, row_id in elsewhere:
        with pytest.raises(WrongKey):
            AFTER.open(sealed, table=other_table, column=other_column, row_id=row_id)


async def test_ciphertexts_that_were_moved_in_the_database_open_nowhere(here: Installation) -> None:
    """Who can write to the database, but has no key, can't hand one calendar's access to another."""
    mine, theirs = await _connect(here, count=2)
    stored = {calendar_id: await here.calendar(calendar_id) for calendar_id in (mine, theirs)}
    for values in (
        {"refresh_token": stored[theirs].refresh_token},
        {"refresh_token": stored[mine].client_secret},
    ):
        async with here.database.transaction() as tx:
            await tx.execute(update(tables.calendars).where(tables.calendars.c.id == mine).values(**values))
        with pytest.raises(WrongKey, match="sealed for another row"):
            await _opened(here, [mine], BEFORE)


async def test_a_rotation_that_is_killed_goes_on_where_it_was(here: Installation) -> None:
    """What is half done serves meanwhile, a token that changes in between stays changed, and the end needs no old key.

    Nothing is sealed twice.
    """
    ids = await _connect(here, count=110)
    secrets = await _opened(here, ids, BEFORE)
    async with aclosing(resealing.reseal_all(here.database, BOTH)) as rotation:
        killed = await anext(aiter(rotation))
        assert 0 < killed.resealed < 2 * len(ids)
        assert killed.left > 0
    assert await _opened(here, ids, BOTH) == secrets
    await _replace_token(here.database, ids[0], "rotated meanwhile", BOTH)
    await _replace_token(here.database, ids[-1], "rotated by a process with the old keys", BEFORE)

    told = [progress async for progress in resealing.reseal_all(here.database, BOTH)]
    # Two secrets a calendar and the project's signing secret, but for a token that was replaced in between.
    of_all = 2 * len(ids) + 1
    assert of_all - 2 <= killed.resealed + told[-1].resealed <= of_all + 1
    assert (told[-1].left, told[-1].unopened) == (0, 0)
    assert [one.left for one in told] == sorted((one.left for one in told), reverse=True)
    after = await _opened(here, ids, AFTER)
    assert [token for _, token in (after[0], after[-1])] == [
        "rotated meanwhile",
        "rotated by a process with the old keys",
    ]
    assert after[1:-1] == secrets[1:-1]
    async with here.database.reading() as tx:
        await resealing.check_keys(tx, AFTER)
    assert [one async for one in resealing.reseal_all(here.database, BOTH)] == [Progress(0, 0, 0)]


async def test_a_row_that_another_holds_is_left_for_later(postgresql_url: str) -> None:
    """The sync that just rotates its token wins: its value is kept, sealed anew once it is done."""
    async with installation(postgresql_url, key_ring=BEFORE) as here:
        ids = await _connect(here, count=3)
        held = min(ids)
        async with aclosing(resealing.reseal_all(here.database, BOTH)) as rotation:
            async with here.database.transaction() as tx:
                calendar = await calendars.find(tx, held)
                assert calendar is not None
                await sync_state.lock(tx, calendar)
                # A pass comes to its end without waiting for the row.
                while (await anext(rotation)).left > 2:
                    pass
                sealed = BEFORE.seal("newest", table="calendars", column="refresh_token", row_id=held)
                await tx.execute(
                    update(tables.calendars).where(tables.calendars.c.id == held).values(refresh_token=sealed)
                )
            ends = [progress async for progress in rotation]
        assert (ends[-1].left, ends[-1].unopened) == (0, 0)
        assert (await _opened(here, [held], AFTER))[0][1] == "newest"


async def test_what_no_key_opens_is_counted_and_left_alone(here: Installation) -> None:
    """The rotation does all else, ends, and destroys nothing."""
    (broken, whole) = await _connect(here, count=2)
    lost = KeyRing([KeyRing.generate_key()]).seal("lost", table="calendars", column="refresh_token", row_id=broken)
    async with here.database.transaction() as tx:
        await tx.execute(update(tables.calendars).where(tables.calendars.c.id == broken).values(refresh_token=lost))
    *_, last = [progress async for progress in resealing.reseal_all(here.database, BOTH)]
    assert (last.left, last.unopened) == (0, 1)
    assert (await here.calendar(broken)).refresh_token == lost
    assert len(await _opened(here, [whole], AFTER)) == 1


async def test_a_key_that_is_missing_for_a_calendar_is_found_out(sqlite_url: str) -> None:
    """Not only for the signing secrets: a start with keys that can't open what is stored is refused."""
    async with installation(sqlite_url, key_ring=BEFORE) as here:
        assert [one.left async for one in resealing.reseal_all(here.database, BOTH)][-1] == 0
        await _connect(here, count=1)
        async with here.database.reading() as tx:
            await resealing.check_keys(tx, BOTH)
            with pytest.raises(WrongKey, match="is not at hand"):
                await resealing.check_keys(tx, AFTER)
