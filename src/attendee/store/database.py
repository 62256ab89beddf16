"""One database behind a URL: SQLite on a laptop, PostgreSQL for many machines, the same code above it."""

import asyncio
import fcntl
import re
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import RevisionError
from sqlalchemy import URL, Connection, ExceptionContext, event, make_url, text
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    DisconnectionError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import QueuePool

from attendee.store import sqlite_driver

_MIGRATIONS = Path(__file__).parent / "migrations"
# The short commands of the command line write beside a serving process: they wait in line this long.
_SQLITE_BUSY_MILLISECONDS = 30_000
_SQLITE_READERS = 8
_SQLITE_WRITER_CACHE_KILOBYTES = 8_000
_POSTGRESQL_CONNECTIONS = 20
# What a statement carries is people's data: it stays out of errors, and so out of logs.
_ENGINE: dict[str, Any] = {"max_overflow": 0, "hide_parameters": True}
_CONNECTION_SECONDS = 60
# Where PostgreSQL and its driver begin to quote a value, or the row that it is in.
_WITH_VALUE = re.compile(r"(invalid input [^:]*:|out of range:|\nDETAIL: |\nHINT: ).*", re.DOTALL)
_WAKES = "wakes"
_CALLS = "calls"
# The name under which processes on one PostgreSQL tell each other of work.
_CHANNEL = "attendee"
# A wake-up for every kind of work.
EVERYTHING = "*"
_LISTEN_AGAIN_SECONDS = 1.0
# Everything that is the database's, or of the way to it, and may be better the next time.
TROUBLE = (SQLAlchemyError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
# Codes of PostgreSQL's: it stops, stopped or starts (57P01 to 57P03), is out of disk, memory or connections (53...), or
# only reads for now; somebody else has the lock; two transactions got in each other's way (40...).
_UNAVAILABLE = ("57P", "53", "25006", "55P03", "40")

log = structlog.get_logger(__name__)


class SchemaOutdated(Exception):
    """The database's schema is not one that this version can work with: `attendee migrate` brings an earlier one up."""


class AlreadyServed(Exception):
    """Another process serves this SQLite file."""


class Database:
    """Gives out transactions. Wake-ups asked for inside one (`wake_after_commit`) are told once it has committed.

    SQLite has one writer at a time by nature, so one connection of ours writes, and writers wait in line for it
    instead of spinning on the file's lock; readers have their own connections and never wait.
    """

    def __init__(self, url: str) -> None:
        """`url` is sqlite:///FILE or postgresql://...; `sslmode` in it is understood. Raises ValueError."""
        parsed = _with_driver(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._url = parsed
        self._listeners: list[Callable[[str], None]] = []
        self._untold: set[str] = set()
        self._telling: asyncio.Task[None] | None = None
        if self.is_sqlite:
            writing = {"async_creator_fn": sqlite_driver.connect}
            reading = {"async_creator_fn": sqlite_driver.connect_to_read}
            self._writer = create_async_engine(parsed, connect_args=writing, pool_size=1, **_ENGINE)
            self._reader = create_async_engine(parsed, connect_args=reading, pool_size=_SQLITE_READERS, **_ENGINE)
            self._to_write, self._to_read = asyncio.Semaphore(1), asyncio.Semaphore(_SQLITE_READERS)
            _prepare_sqlite(self._writer, begin="BEGIN IMMEDIATE", query_only=False)
            _prepare_sqlite(self._reader, begin="BEGIN", query_only=True)
        else:
            self._writer = create_async_engine(
                parsed.difference_update_query(["sslmode"]),
                pool_size=_POSTGRESQL_CONNECTIONS,
                connect_args=_postgresql_arguments(parsed),
                **_ENGINE,
            )
            # On the same connections. In a transaction each statement would see the latest state of the data as well:
            # its beginning and its end would only be two round trips more.
            self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")
            self._to_write = self._to_read = asyncio.Semaphore(_POSTGRESQL_CONNECTIONS)
            event.listen(self._writer.sync_engine, "handle_error", _keep_values_out)
            event.listen(self._writer.sync_engine, "checkout", _refuse_closed)

    @property
    def engine(self) -> AsyncEngine:
        """The engine that writes: for migrations, and for tests that stop it between two statements."""
        return self._writer

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        """A transaction that may write: committed at the end, rolled back by an exception."""
        async with self._connected() as connection:
            wakes: set[str] = set()
            connection.info[_WAKES] = wakes
            calls: list[Callable[[], None]] = []
            connection.info[_CALLS] = calls
            async with connection.begin():
                yield connection
        for call in calls:
            call()
        for work in wakes:
            self.wake_here(work)
        if wakes and not self.is_sqlite:
            self._tell_others(wakes)

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[AsyncConnection]:
        """Only reads: on SQLite all from one state of the data, on PostgreSQL each statement from the latest."""
        async with _in_line(self._to_read), self._reader.connect() as connection, connection.begin():
            yield connection

    @asynccontextmanager
    async def autocommit(self) -> AsyncGenerator[AsyncConnection]:
        """For one statement that writes, or several of which each may stand without the others.

        On PostgreSQL each is a transaction of its own, which saves two round trips; SQLite has to begin one anyway.
        """
        # What PostgreSQL is asked without a transaction is committed at once, whether it reads or writes.
        async with self.transaction() if self.is_sqlite else self.reading() as connection:
            yield connection

    @asynccontextmanager
    async def _connected(self) -> AsyncGenerator[AsyncConnection]:
        async with _in_line(self._to_write), self._writer.connect() as connection:
            yield connection

    def on_wake(self, tell: Callable[[str], None]) -> None:
        """Calls `tell` with the name of a table whenever a committed transaction made work in it due."""
        self._listeners.append(tell)

    def wake_here(self, work: str) -> None:
        """Tells this process alone that work in the table `work` may be due."""
        for tell in self._listeners:
            tell(work)

    def _tell_others(self, wakes: set[str]) -> None:
        """Tells the processes beside us, after the commit and many wake-ups at once. Lost, they find the work later."""
        self._untold |= wakes
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._notify())

    async def _notify(self) -> None:
        try:
            while self._untold:
                works, self._untold = self._untold, set()
                async with self._connected() as connection, connection.begin():
                    await connection.execute(text("SELECT pg_notify(:channel, :works)"), _notice(works))
        except TROUBLE as trouble:
            log.warning("notify_failed", error=str(trouble))

    async def listen(self, stop: asyncio.Event) -> None:
        """Passes on what other processes on the same PostgreSQL make due, until `stop` is set.

        A lost connection is made again, and everything is looked at then: what was said meanwhile was not heard.
        """
        if self.is_sqlite:
            return
        while not stop.is_set():
            try:
                await self._listen_once(stop)
            except TROUBLE as trouble:
                log.warning("listen_failed", error=str(trouble))
                await _sleep(_LISTEN_AGAIN_SECONDS, stop)

    async def _listen_once(self, stop: asyncio.Event) -> None:
        lost = asyncio.Event()

        def heard(_connection: Any, _process: int, _channel: str, works: Any) -> None:
            for work in works.split(","):
                self.wake_here(work)

        async with self._connected() as connection:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None, "asyncpg's own connection"
            driver.add_termination_listener(lambda _: lost.set())
            await driver.add_listener(_CHANNEL, heard)
            try:
                self.wake_here(EVERYTHING)
                waits = [asyncio.create_task(event.wait()) for event in (lost, stop)]
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                for wait in waits:
                    wait.cancel()
            finally:
                if not lost.is_set():
                    await driver.remove_listener(_CHANNEL, heard)
                else:
                    await connection.invalidate()

    async def mark(self) -> object:
        """Something that is another after every commit, of whatever process, and is cheap to ask for."""
        if not self.is_sqlite:
            async with self.reading() as tx:
                return await tx.scalar(text("SELECT CAST(txid_current_snapshot() AS text)"))
        try:
            # Every commit is appended to this file, or begins it anew.
            log_file = Path(f"{self._url.database}-wal").stat()  # noqa: ASYNC240  # takes no longer than a function call
        except FileNotFoundError:
            return None
        return log_file.st_mtime_ns, log_file.st_size

    def connections(self) -> dict[str, tuple[int, int]]:
        """For each pool of connections how many are in use, and how many there can be."""
        engines = {"write": self._writer, "read": self._reader} if self.is_sqlite else {"all": self._writer}
        sizes = (1, _SQLITE_READERS) if self.is_sqlite else (_POSTGRESQL_CONNECTIONS,)
        return {name: (_in_use(engine), size) for (name, engine), size in zip(engines.items(), sizes, strict=True)}

    async def empty_log(self) -> None:
        """Moves what SQLite has committed into the file, so that the log beside it keeps nothing that was deleted.

        Who reads or writes just now keeps some of it there until the next time.
        """
        async with self._reader.connect() as connection:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection is not None, "aiosqlite's own connection"
            try:
                # Waiting for readers it would hold up who writes.
                await raw.driver_connection.execute_fetchall("PRAGMA busy_timeout = 0")
                await raw.driver_connection.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                await raw.driver_connection.execute_fetchall(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MILLISECONDS}")

    async def close(self) -> None:
        if self._telling is not None:
            await asyncio.gather(self._telling, return_exceptions=True)
        await self._writer.dispose()
        await self._reader.dispose()

    async def check_schema(self) -> None:
        """Raises SchemaOutdated unless the schema is this version's, or a later one.

        Migrations only add, so that the version before goes on working while a new one is rolled out.
        """
        async with self.reading() as tx:
            steps = await tx.run_sync(_steps)
        if steps:
            message = (
                "The database's schema is not the one of this version: run `attendee migrate` first. "
                f"What it would do: {'; '.join(steps)}."
            )
            raise SchemaOutdated(message)

    @property
    def file(self) -> Path:
        """The file of a SQLite database."""
        assert self._url.database is not None, "a SQLite URL without a file is refused by __init__"
        return Path(self._url.database)

    def hold_alone(self) -> "SoleServer":
        """The right to serve this SQLite file. Raises AlreadyServed while another process has it."""
        return SoleServer(self.file.with_name(self.file.name + ".lock"))


class SoleServer:
    """Held by the one process that serves a SQLite file; the system lets go of it when the process ends."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            message = f"Another attendee process already serves {path.name.removesuffix('.lock')}."
            raise AlreadyServed(message) from None

    def release(self) -> None:
        self._file.close()


@asynccontextmanager
async def _in_line(places: asyncio.Semaphore) -> AsyncGenerator[None]:
    """One of the places, first come, first served. Raises NoConnectionFree.

    The pool alone gives what comes back to whoever asks at that moment, and lets those who waited wait anew.
    """
    try:
        async with asyncio.timeout(_CONNECTION_SECONDS):
            await places.acquire()
    except TimeoutError:
        raise NoConnectionFree(f"No connection was free within {_CONNECTION_SECONDS} seconds.") from None
    try:
        yield
    finally:
        places.release()


def is_away(trouble: Exception) -> bool:
    """Whether the database or the way to it is what failed, and not what was asked of it.

    Most of what asyncpg says of a lost connection comes as a DBAPIError of no particular kind.
    """
    if not isinstance(trouble, DBAPIError):
        return isinstance(trouble, OSError | NoConnectionFree)
    code = str(getattr(trouble.orig, "sqlstate", ""))
    is_of_the_way = isinstance(trouble, OperationalError | InterfaceError) or code.startswith(_UNAVAILABLE)
    return is_of_the_way or trouble.connection_invalidated


def wake_after_commit(tx: AsyncConnection, work: str) -> None:
    """Notes that this transaction makes work in the table `work` due; told to the listeners after the commit."""
    tx.info[_WAKES].add(work)


def call_after_commit(tx: AsyncConnection, call: Callable[[], None]) -> None:
    """Notes what is to be counted or told once this transaction has committed, and only then. It must not raise."""
    tx.info[_CALLS].append(call)


async def migrate(url: str, *, to: str = "head") -> None:
    """Brings the schema up to this version's, or to an earlier revision; a later version's is left as it is.

    Safe to run twice, and from two processes at once on PostgreSQL.
    """
    database = Database(url)
    try:
        async with database.transaction() as tx:
            await tx.run_sync(_upgrade, to)
    finally:
        await database.close()


def _upgrade(connection: Connection, to: str) -> None:
    if connection.dialect.name == "postgresql":
        # One at a time: two machines of a new version may start in the same second.
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7338117)")
    if _is_later(_revision(connection)):
        return
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


def _steps(connection: Connection) -> Sequence[str]:
    """What is missing of this version's schema, in order: each migration's number and what it does."""
    revision, known = _revision(connection), _migrations()
    if _is_later(revision):
        return ()
    try:
        missing = list(known.iterate_revisions("head", revision or "base"))
    except RevisionError:
        message = f"The database's schema, {revision}, is not known to this version: run the version that made it."
        raise SchemaOutdated(message) from None
    return [f"{one.revision} {(one.doc or '').rstrip('.')}" for one in reversed(missing)]


def _revision(connection: Connection) -> str | None:
    """The number of the last migration that the database has seen; None if it has seen none."""
    return MigrationContext.configure(connection).get_current_revision()


def _is_later(revision: str | None) -> bool:
    """Whether a later version made the schema, which only adds to ours.

    Migrations are numbered; one that no earlier version could work with has a name that is no number.
    """
    return revision is not None and revision.isdigit() and revision > str(_migrations().get_current_head())


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _with_driver(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        message = "not a database URL; sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME is"
        raise ValueError(message) from None
    backend = parsed.drivername.partition("+")[0]
    if backend == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            message = "SQLite needs a file: sqlite:///FILE"
            raise ValueError(message)
        return parsed.set(drivername="sqlite+aiosqlite")
    if backend in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+asyncpg")
    message = f"{backend} is not a database that is known here; sqlite and postgresql are"
    raise ValueError(message)


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    arguments: dict[str, Any] = {"server_settings": {"application_name": "attendee", "timezone": "UTC", "jit": "off"}}
    mode = url.query.get("sslmode")
    if mode is not None:
        arguments["ssl"] = mode
    return arguments


def _refuse_closed(connection: Any, _record: object, _fairy: object) -> None:
    """Lets the pool make a new connection where the server has closed the one at hand.

    The driver knows that without asking. A ping would cost three round trips, as much as most transactions do.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError


def _keep_values_out(context: ExceptionContext) -> None:
    """Takes what PostgreSQL and its driver tell of the values of a row out of an error, all the way down.

    The detail of a constraint that was violated is the row itself; what is refused as a value is quoted.
    """
    error: BaseException | None = context.original_exception
    while error is not None:
        text = str(error)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = error.hint = None
        told = _WITH_VALUE.sub(r"\1 ***", str(error))
        if told != text:
            error.args = (told,)
            if context.sqlalchemy_exception is not None:
                before = str(context.sqlalchemy_exception.args[0])
                context.sqlalchemy_exception.args = (before.replace(text, told),)
        error = error.__cause__


def _prepare_sqlite(engine: AsyncEngine, *, begin: str, query_only: bool) -> None:
    def connected(connection: Any, _record: object) -> None:
        # The driver must not open transactions of its own: it would make them deferred, and two of those that both
        # read and then write can't both go on.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_SQLITE_BUSY_MILLISECONDS}")
        cursor.execute("PRAGMA journal_mode = WAL")
        # In WAL mode NORMAL loses nothing to a crash of the process, and only the last commits to a power cut;
        # FULL costs a disk flush a commit and keeps those too. Acknowledged means kept, so FULL.
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        # What is deleted is overwritten: its pages stay in the file, and would keep people's events there.
        cursor.execute("PRAGMA secure_delete = ON")
        if query_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            # Who syncs goes round all the calendars: with the 2 MB that SQLite keeps by itself it reads them anew.
            cursor.execute(f"PRAGMA cache_size = -{_SQLITE_WRITER_CACHE_KILOBYTES}")
        cursor.close()

    def begun(connection: Connection) -> None:
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite_driver.OneTripConnection), "our own driver's"
        driver.begin_with_next(begin)

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "begin", begun)


def _in_use(engine: AsyncEngine) -> int:
    pool = engine.pool
    assert isinstance(pool, QueuePool), "the engines are made with pools that have a size"
    return pool.checkedout()


def _notice(works: set[str]) -> dict[str, str]:
    return {"channel": _CHANNEL, "works": ",".join(sorted(works))}


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
