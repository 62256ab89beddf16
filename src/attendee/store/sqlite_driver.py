"""SQLite in one trip to its thread a statement: aiosqlite alone makes four, for cursor, statement, rows and end.

Each trip wakes two threads that then wait for each other; they cost more than most statements do.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite


class _Cursor:
    """As much of a cursor as SQLAlchemy asks for; the rows are there as soon as the statement is done."""

    description: Any = None
    rowcount = -1
    lastrowid: int | None = None
    arraysize = 1

    def __init__(self, connection: "OneTripConnection") -> None:
        self._connection = connection
        self._rows: list[Any] = []

    async def __aenter__(self) -> Self:
        return self

    async def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        await self._run(lambda cursor: cursor.execute(sql, parameters))

    async def executemany(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        await self._run(lambda cursor: cursor.executemany(sql, parameters))

    async def fetchall(self) -> list[Any]:
        rows, self._rows = self._rows, []
        return rows

    async def close(self) -> None:
        self._rows = []

    async def _run(self, statement: Callable[[sqlite3.Cursor], object]) -> None:
        def run() -> None:
            cursor = self._connection.in_thread.cursor()
            try:
                statement(cursor)
                # Rows first: how many a statement with RETURNING has changed is known only after them.
                self._rows = cursor.fetchall() if cursor.description else []
                self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
            finally:
                cursor.close()

        await self._connection._execute(run)  # type: ignore[no-untyped-call]  # noqa: SLF001  # our base class's


class OneTripConnection(aiosqlite.Connection):
    """A connection whose cursors make one trip each."""

    @property
    def in_thread(self) -> sqlite3.Connection:
        """The driver's own, for the connection's thread alone."""
        return self._conn

    def cursor(self) -> Any:
        return _Cursor(self)


async def connect(path: str, **options: Any) -> OneTripConnection:
    """A connection to that file, with sqlite3's own options. Its thread keeps no process from ending."""
    connection = OneTripConnection(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
    connection._thread.daemon = True  # noqa: SLF001  # as SQLAlchemy does
    await connection
    return connection
