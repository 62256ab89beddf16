"""SQLite in one trip to its thread a statement, or in none where it only reads.

aiosqlite alone makes four trips: for cursor, statement, rows and end. Each wakes two threads that then wait for each
other, and where both have work to do they wrangle over the interpreter for every row: most statements cost less.
"""

import math
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Self

import aiosqlite

# So long the event loop may wait for a read: an answer of some hundred events takes it as long.
_IN_PLACE_SECONDS = 0.01
# How many of SQLite's steps lie between two looks at the clock; a hundred rows take some thousand.
_STEPS = 1_000


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
        driver, begin = self._connection.driver, self._connection.take_begin()

        def run() -> None:
            cursor = driver.cursor()
            try:
                # A statement that was stopped, and is done anew, has begun it already.
                if begin is not None and not driver.in_transaction:
                    cursor.execute(begin)
                statement(cursor)
                # Rows first: how many a statement with RETURNING has changed is known only after them.
                self._rows = cursor.fetchall() if cursor.description else []
                self.description, self.rowcount, self.lastrowid = cursor.description, cursor.rowcount, cursor.lastrowid
            finally:
                cursor.close()

        await self._connection.run(run)


class OneTripConnection(aiosqlite.Connection):
    """A connection whose cursors make one trip each."""

    _begin: str | None = None
    # Each is counted by one thread alone: ours, and the connection's.
    _handed_over = 0
    _handed_back = 0

    def begin_with_next(self, sql: str) -> None:
        """Begins a transaction on the way, when the next statement is made: by itself it would be a trip more."""
        self._begin = sql

    def take_begin(self) -> str | None:
        """What begins the transaction, for its first statement; None for those after it."""
        begin, self._begin = self._begin, None
        return begin

    @property
    def driver(self) -> sqlite3.Connection:
        """The driver's own, for the function that `run` is given."""
        return self._conn

    @property
    def is_idle(self) -> bool:
        """Whether nothing is left to do in the thread, as who was cancelled may have left something."""
        return self._handed_over == self._handed_back

    def cursor(self) -> Any:
        return _Cursor(self)

    async def run(self, function: Callable[[], None]) -> None:
        """Calls `function` in the connection's thread, after what was asked for before."""

        def in_thread() -> None:
            try:
                function()
            finally:
                self._handed_back += 1

        self._handed_over += 1
        await self._execute(in_thread)  # type: ignore[no-untyped-call]

    async def commit(self) -> None:
        # A transaction in which nothing was asked has not begun.
        if self.take_begin() is None:
            await self.run(self._conn.commit)

    async def rollback(self) -> None:
        # The pool asks for it whenever a connection comes back, and there is hardly ever something to roll back.
        self.take_begin()
        if not self.is_idle or self._conn.in_transaction:
            await self.run(self._conn.rollback)


class ReadingConnection(OneTripConnection):
    """A connection that only reads, and does so in place. What takes long is stopped, and done anew in the thread."""

    _until = math.inf

    async def run(self, function: Callable[[], None]) -> None:
        # In its turn, where something is left in the thread.
        if not (self.is_idle and self._is_done_in_place(function)):
            await super().run(function)

    def _is_done_in_place(self, function: Callable[[], None]) -> bool:
        self._until = time.monotonic() + _IN_PLACE_SECONDS
        try:
            function()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT:
                return False
            raise
        finally:
            self._until = math.inf
        return True

    def is_late(self) -> bool:
        """Whether the statement in hand has taken longer than is done in place."""
        return time.monotonic() > self._until


async def connect(path: str, **options: Any) -> OneTripConnection:
    """A connection to that file, with sqlite3's own options."""
    connection = OneTripConnection(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
    await _start(connection)
    return connection


async def connect_to_read(path: str, **options: Any) -> ReadingConnection:
    """The same for a connection that writes nothing: what is asked of it may be done twice."""
    options["check_same_thread"] = False
    connection = ReadingConnection(lambda: sqlite3.connect(path, **options), iter_chunk_size=64)
    await _start(connection)
    await connection.set_progress_handler(connection.is_late, _STEPS)
    return connection


async def _start(connection: aiosqlite.Connection) -> None:
    # As SQLAlchemy does: its thread keeps no process from ending.
    connection._thread.daemon = True  # noqa: SLF001
    await connection
