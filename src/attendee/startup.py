"""What must be in place before a command may begin: the database with its schema, and the keys to what it holds."""

import asyncio
import os
import sqlite3
import tempfile
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
from alembic.util import CommandError
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.clock import now
from attendee.settings import Settings, WrongSetting
from attendee.store import projects, resealing
from attendee.store.columns import KeyRing, WrongKey
from attendee.store.database import AlreadyServed, Database, SchemaOutdated, SoleServer, migrate

_SQLITE_FILE = "attendee.sqlite3"
_KEY_FILE = "encryption.key"
_CONNECT_SECONDS = 10
# A process that ends, or a short command that brings the schema up, lets go of the file within this time.
_WAIT_FOR_FILE_SECONDS = 2.0
_ASK_AGAIN_SECONDS = 0.1


class CannotStart(Exception):
    """Something that a command needs is missing. The text is one line that says what, and what to do about it."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A database with this version's schema, and the keys that open what is sealed in it."""

    database: Database
    key_ring: KeyRing


@asynccontextmanager
async def opened(settings: Settings) -> AsyncGenerator[Opened]:
    """For the short commands, which work beside a serving process. Raises WrongSetting and CannotStart.

    A SQLite file is made, and its schema brought up, if need be.
    """
    async with _reachable(settings) as (database, url):
        if database.is_sqlite:
            await _bring_sqlite_up(database, url)
        else:
            await _check_schema(database)
        yield Opened(database, await _find_key_ring(settings, database))


@asynccontextmanager
async def opened_to_serve(settings: Settings) -> AsyncGenerator[Opened]:
    """For a process that serves or works. Raises WrongSetting and CannotStart.

    A SQLite file is made and brought up too, and nobody else can serve it until the end.
    """
    async with _reachable(settings) as (database, url):
        if not database.is_sqlite:
            await _check_schema(database)
            yield Opened(database, await _find_key_ring(settings, database))
            return
        alone = await _held_alone(database)
        try:
            await _migrate(url)
            yield Opened(database, await _find_key_ring(settings, database))
        finally:
            alone.release()


async def bring_schema_up(settings: Settings) -> None:
    """Brings the schema up to this version's, or leaves it so. Raises WrongSetting and CannotStart."""
    async with _reachable(settings) as (database, url):
        if database.is_sqlite:
            await _bring_sqlite_up(database, url)
        else:
            await _migrate(url)


def uses_sqlite(settings: Settings) -> bool:
    return _sqlite_path(_database_url(settings)) is not None


async def check_schema(settings: Settings) -> None:
    """Raises CannotStart, with what is to be done, unless the schema is up to date. Changes nothing."""
    path = _sqlite_path(_database_url(settings))
    if path is not None and not path.exists():
        # To look into it would make it.
        raise CannotStart(f"There is no database at {path} yet: run `attendee migrate` first.")
    async with _reachable(settings) as (database, _):
        await _check_schema(database)


@asynccontextmanager
async def _reachable(settings: Settings) -> AsyncGenerator[tuple[Database, str]]:
    """The database, asked once whether it is there, and its URL. What it refuses in here is told as CannotStart."""
    url = _database_url(settings)
    try:
        database = Database(url)
    except ValueError as wrong:
        raise WrongSetting(f"ATTENDEE_DATABASE_URL is wrong: {wrong}") from None
    with _told_in_one_line():
        if settings.database_url is None:
            settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = _sqlite_path(url)
        if path is not None:
            # The asynchronous driver's thread outlives a file that can't be opened, and complains after us.
            sqlite3.connect(path).close()
        try:
            async with asyncio.timeout(_CONNECT_SECONDS), database.reading():
                pass
            yield database, url
        finally:
            await database.close()


def _database_url(settings: Settings) -> str:
    if settings.database_url is not None:
        return settings.database_url.get_secret_value()
    return f"sqlite:///{settings.data_dir / _SQLITE_FILE}"


def _sqlite_path(url: str) -> Path | None:
    try:
        parsed = make_url(url)
    except SQLAlchemyError:
        return None
    is_file = parsed.get_backend_name() == "sqlite" and parsed.database
    return Path(parsed.database or "") if is_file else None


@contextmanager
def _told_in_one_line() -> Generator[None]:
    try:
        yield
    except (sqlite3.Error, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as trouble:
        raise CannotStart(f"The database can't be used: {_first_line(trouble)}") from trouble
    except TimeoutError:
        raise CannotStart(f"The database can't be reached: no answer within {_CONNECT_SECONDS} seconds") from None
    except OSError as trouble:
        raise CannotStart(f"The database can't be reached: {_first_line(trouble)}") from trouble


def _first_line(trouble: BaseException) -> str:
    text = str(getattr(trouble, "orig", None) or trouble).strip()
    return text.splitlines()[0] if text else type(trouble).__name__


async def _check_schema(database: Database) -> None:
    try:
        await database.check_schema()
    except SchemaOutdated as outdated:
        raise CannotStart(str(outdated)) from None


async def _bring_sqlite_up(database: Database, url: str) -> None:
    """Alone, so that the schema never changes under a process of another version; a current one is left alone."""
    if await _is_current(database):
        return
    try:
        alone = await _held_alone(database)
    except CannotStart:
        # Whoever held the file may have been another short command, which has brought the schema up.
        if await _is_current(database):
            return
        raise
    try:
        await _migrate(url)
    finally:
        alone.release()


async def _is_current(database: Database) -> bool:
    try:
        await database.check_schema()
    except SchemaOutdated:
        return False
    return True


async def _held_alone(database: Database) -> SoleServer:
    for _ in range(round(_WAIT_FOR_FILE_SECONDS / _ASK_AGAIN_SECONDS)):
        try:
            return database.hold_alone()
        except AlreadyServed as held:
            refusal = held
        await asyncio.sleep(_ASK_AGAIN_SECONDS)
    raise CannotStart(f"{refusal} Stop it first; SQLite allows one, PostgreSQL many.")


async def _migrate(url: str) -> None:
    try:
        await migrate(url)
    except CommandError as refusal:
        raise CannotStart(
            f"The schema can't be brought up to this version, perhaps because a newer one made it: {refusal}"
        ) from None


async def _find_key_ring(settings: Settings, database: Database) -> KeyRing:
    """The keys, which open what is stored; with SQLite a key is made if there is none. Otherwise changes nothing."""
    if settings.encryption_keys is not None:
        key_ring = KeyRing([key.get_secret_value() for key in settings.encryption_keys])
        wrong = (
            "The stored secrets don't open with ATTENDEE_ENCRYPTION_KEYS: the key that they were made with is missing."
        )
    elif database.is_sqlite:
        path = settings.data_dir / _KEY_FILE
        key_ring = await _key_ring_in(path, database)
        wrong = f"The stored secrets don't open with {path}: put back the file that they were made with."
    else:
        raise WrongSetting(
            "ATTENDEE_ENCRYPTION_KEYS is not set: with PostgreSQL it must hold a key; "
            "`attendee encryption generate` makes one"
        )
    async with database.reading() as tx:
        await _check_opens(key_ring, tx, wrong=wrong)
    return key_ring


async def _key_ring_in(path: Path, database: Database) -> KeyRing:
    key = _stored_key(path)
    if key is None:
        # SQLite has one transaction that may write at a time, so two commands at once don't make two keys.
        async with database.transaction() as tx:
            key = _stored_key(path)
            if key is None:
                key = KeyRing.generate_key()
                wrong = f"{path} is missing, and the stored secrets don't open without it: put it back."
                await _check_opens(KeyRing([key]), tx, wrong=wrong)
                _store_key(path, key)
    try:
        return KeyRing([key])
    except ValueError:
        raise CannotStart(f"{path} is damaged: it must hold 32 bytes in base64. Put the original back.") from None


async def _check_opens(key_ring: KeyRing, tx: AsyncConnection, *, wrong: str) -> None:
    try:
        await resealing.check_keys(tx, key_ring)
        for project in await projects.all_projects(tx):
            await projects.live_secrets(tx, project.id, key_ring=key_ring, now=now())
    except WrongKey:
        raise CannotStart(wrong) from None


def _stored_key(path: Path) -> str | None:
    return path.read_text(errors="replace") if path.exists() else None


def _store_key(path: Path, key: str) -> None:
    """Writes the key for its owner alone, whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # Made with mode 0600.
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    Path(scratch).replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        # What is sealed with the key from now on is lost without it, so it has to outlast a power cut too.
        os.fsync(directory)
    finally:
        os.close(directory)
