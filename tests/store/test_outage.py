"""A database that is away is told from a statement that is wrong: only the one passes by itself."""

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from attendee.store.database import Database, is_away


async def test_lost_connection_is_the_databases(postgresql_url: str) -> None:
    """One that was ended by somebody else meanwhile: the next statement learns of it."""
    database = Database(postgresql_url)

    async def lose_it() -> None:
        async with database.reading() as tx:
            process = await tx.scalar(text("SELECT pg_backend_pid()"))
            async with database.reading() as other:
                await other.execute(text("SELECT pg_terminate_backend(:process, 5000)"), {"process": process})
            await tx.execute(text("SELECT 1"))

    with pytest.raises(DBAPIError) as lost:
        await lose_it()
    assert is_away(lost.value)
    await database.close()


async def test_database_that_goes_while_it_answers_is_away(postgresql_url: str) -> None:
    """A statement that ends its own connection is told goodbye instead of the answer."""
    database = Database(postgresql_url)
    with pytest.raises(DBAPIError) as lost:
        async with database.reading() as tx:
            await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    assert is_away(lost.value)
    await database.close()


async def test_database_that_is_not_there_is_away() -> None:
    """Nothing listens where it should be."""
    database = Database("postgresql://attendee@127.0.0.1:1/nothing")
    with pytest.raises(OSError, match=r"refused|failed") as refused:
        async with database.reading():
            pass
    assert is_away(refused.value)
    await database.close()


async def test_wrong_statement_is_ours(database_url: str) -> None:
    """What the database has understood and refused is no better the next time."""
    database = Database(database_url)
    for statement in ("INSERT INTO projects (id) VALUES ('proj_1')", "SELECT 1 / nothing FROM projects"):
        with pytest.raises(DBAPIError) as wrong:
            async with database.transaction() as tx:
                await tx.execute(text(statement))
        assert not is_away(wrong.value) or database.is_sqlite
    await database.close()


async def test_connections_are_given_out_in_line(sqlite_url: str) -> None:
    """Who comes in the moment that one is given back does not get it before those who have waited."""
    database, order = Database(sqlite_url), []

    async def write(name: str) -> None:
        async with database.transaction():
            order.append(name)

    async with database.transaction():
        waiting = [asyncio.create_task(write(name)) for name in ("first", "second")]
        await asyncio.sleep(0)
    await write("newcomer")
    await asyncio.gather(*waiting)
    assert order == ["first", "second", "newcomer"]
    await database.close()
