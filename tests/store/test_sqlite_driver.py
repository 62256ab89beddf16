"""Our cursors of SQLite do what aiosqlite's do, in one trip."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from attendee.store.sqlite_driver import connect


async def test_each_statement_is_one_trip_to_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows, counts and ids are there after it, and what SQLite refuses is raised as it is."""
    connection = await connect(str(tmp_path / "some.sqlite3"))
    trips = 0
    make_trip: Any = connection._execute

    async def counted(*arguments: Any) -> Any:
        nonlocal trips
        trips += 1
        return await make_trip(*arguments)

    monkeypatch.setattr(connection, "_execute", counted)
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
    assert trips == 5
    await connection.close()
