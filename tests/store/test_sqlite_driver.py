"""Our cursors of SQLite do what aiosqlite's do, in one trip, or in none."""

import asyncio
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from attendee.store.sqlite_driver import OneTripConnection, connect, connect_to_read

# Long enough to be no short read on any machine.
_COUNT = 3_000_000
_LONG = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < ?) SELECT count(*) FROM n"


class _Trips:
    """Counts the trips to a connection's thread."""

    def __init__(self, connection: OneTripConnection, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        make_trip: Any = connection._execute

        async def counted(*arguments: Any) -> Any:
            self.count += 1
            return await make_trip(*arguments)

        monkeypatch.setattr(connection, "_execute", counted)


async def test_each_statement_is_one_trip_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, counts and ids are there after it, and what SQLite refuses is raised as it is."""
    connection = await connect(str(tmp_path / "some.sqlite3"))
    trips = _Trips(connection, monkeypatch)
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE words (id INTEGER PRIMARY KEY, word TEXT UNIQUE)")
    assert (cursor.description, await cursor.fetchall()) == (None, [])
    await cursor.executemany("INSERT INTO words (word) VALUES (?)", [("one",), ("two",), ("three",)])
    assert cursor.rowcount == 3
    await cursor.execute("INSERT INTO words (word) VALUES (?)", ("four",))
    assert (cursor.rowcount, cursor.lastrowid) == (1, 4)
    await cursor.execute("UPDATE words SET word = word || '!' WHERE id > 2 RETURNING id, word")
    assert [column[0] for column in cursor.description] == ["id", "word"]
    assert await cursor.fetchall() == [(3, "three!"), (4, "four!")]
    assert cursor.rowcount == 2
    with pytest.raises(sqlite3.IntegrityError):
        await cursor.execute("INSERT INTO words (word) VALUES (?)", ("one",))
    await cursor.close()
    assert trips.count == 5
    await connection.close()


async def test_a_short_read_is_no_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the transaction around it; what SQLite refuses is raised as it is."""
    connection = await connect_to_read(str(tmp_path / "some.sqlite3"), isolation_level=None)
    trips = _Trips(connection, monkeypatch)
    cursor = connection.cursor()
    await cursor.execute("BEGIN")
    await cursor.execute("SELECT 1, 'one' UNION ALL SELECT 2, 'two'")
    assert await cursor.fetchall() == [(1, "one"), (2, "two")]
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await cursor.execute("SELECT * FROM nowhere")
    await connection.commit()
    assert not connection.in_transaction
    assert trips.count == 0
    await connection.close()


async def test_a_long_read_leaves_the_event_loop_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is done in the thread, whole; what is asked after one that was cancelled comes after it."""
    connection = await connect_to_read(str(tmp_path / "some.sqlite3"), isolation_level=None)
    trips = _Trips(connection, monkeypatch)
    cursor = connection.cursor()
    await cursor.execute(_LONG, (_COUNT,))
    assert (await cursor.fetchall(), trips.count) == ([(_COUNT,)], 1)

    cancelled = asyncio.create_task(connection.cursor().execute(_LONG, (_COUNT,)))
    await asyncio.sleep(0)
    assert (trips.count, cancelled.cancel()) == (2, True)
    await cursor.execute("SELECT 'after it'")
    assert (await cursor.fetchall(), trips.count) == ([("after it",)], 3)
    await cursor.execute("SELECT 'in place again'")
    assert (await cursor.fetchall(), trips.count) == ([("in place again",)], 3)
    await connection.close()


async def test_a_transaction_begins_with_its_first_statement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its beginning is no trip of its own; where nothing is asked in it, neither is its end."""
    connection = await connect(str(tmp_path / "some.sqlite3"), isolation_level=None)
    trips = _Trips(connection, monkeypatch)
    connection.begin_with_next("BEGIN IMMEDIATE")
    await connection.commit()
    assert (trips.count, connection.in_transaction) == (0, False)

    connection.begin_with_next("BEGIN IMMEDIATE")
    cursor = connection.cursor()
    await cursor.execute("CREATE TABLE words (word TEXT)")
    await cursor.execute("INSERT INTO words VALUES ('one')")
    assert connection.in_transaction
    await connection.rollback()
    assert (trips.count, connection.in_transaction) == (3, False)
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        await cursor.execute("SELECT * FROM words")
    await connection.close()


async def test_who_is_cancelled_writes_nothing(tmp_path: Path) -> None:
    """A statement that is on its way to the thread when its task is cancelled is rolled back with its transaction."""
    connection = await connect(str(tmp_path / "some.sqlite3"), isolation_level=None)
    await connection.cursor().execute("CREATE TABLE words (word TEXT)")
    connection.begin_with_next("BEGIN IMMEDIATE")
    cancelled = asyncio.create_task(connection.cursor().execute("INSERT INTO words VALUES ('one')"))
    await asyncio.sleep(0)
    cancelled.cancel()
    await connection.rollback()
    cursor = connection.cursor()
    await cursor.execute("SELECT * FROM words")
    assert (await cursor.fetchall(), connection.in_transaction) == ([], False)
    await connection.close()


async def test_a_long_read_that_begins_a_transaction_is_done_anew_in_it(tmp_path: Path) -> None:
    connection = await connect_to_read(str(tmp_path / "some.sqlite3"), isolation_level=None)
    connection.begin_with_next("BEGIN")
    cursor = connection.cursor()
    await cursor.execute(_LONG, (_COUNT,))
    assert (await cursor.fetchall(), connection.in_transaction) == ([(_COUNT,)], True)
    await connection.commit()
    assert not connection.in_transaction
    await connection.close()
