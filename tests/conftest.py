"""What every test can have: a fresh database of either kind, and no way out to the internet."""

import asyncio
import ipaddress
import itertools
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import asyncpg
import pytest
import structlog

from attendee.store.account_tables import users
from attendee.store.database import migrate
from tests.browser import Browser, running_browser

_SUPERUSER = "attendee"
_POSTGRESQL_SETTINGS = """
listen_addresses = '127.0.0.1'
port = {port}
unix_socket_directories = '{directory}'
max_connections = 200
# The cluster is thrown away after the tests: what a power cut would do to it is nobody's concern.
fsync = off
synchronous_commit = off
full_page_writes = off
"""
# Whoever is still connected goes first; foreign keys are not followed, since all rows of all tables go.
_HANG_UP = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_EMPTY = "; ".join(
    (
        _HANG_UP,
        "SELECT version_num FROM alembic_version",
        "SET session_replication_role = replica",
        *(str(table.delete()) for table in users.metadata.tables.values()),
    )
)


class InternetRefused(Exception):
    """A test wanted to look up a name or to reach an address that is not this machine's."""


def pytest_configure() -> None:
    """Closes the way to the internet for the whole process, and takes SIGTERM as Ctrl-C so that fixtures end.

    What is logged has plain tracebacks: to print the values of all variables takes longer than most tests.
    """
    sys.addaudithook(_refuse_the_internet)
    structlog.configure(processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()])
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def _refuse_the_internet(event: str, arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.sendto"}:
        address = arguments[1]
        # Addresses of Unix sockets are no tuples.
        if isinstance(address, tuple) and not _is_this_machine(address[0]):
            raise InternetRefused(address)
    elif event in {"socket.getaddrinfo", "socket.gethostbyname"}:
        host = arguments[0]
        if not _is_this_machine(host) and not _is_numeric(host):
            raise InternetRefused(host)


def _is_this_machine(host: str | bytes | None) -> bool:
    name = host.decode() if isinstance(host, bytes) else host
    if not name or name == "localhost" or name.endswith(".localhost"):
        return True
    if not _is_numeric(name):
        return False
    address = ipaddress.ip_address(name)
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback or address.is_unspecified


def _is_numeric(host: str | bytes | None) -> bool:
    try:
        ipaddress.ip_address(host.decode() if isinstance(host, bytes) else host or "")
    except ValueError:
        return False
    return True


class PostgresqlCluster:
    """A PostgreSQL server of our own in a temporary directory; its superuser needs no password."""

    def __init__(self) -> None:
        self._programs = _postgresql_programs()
        self._directory = Path(tempfile.mkdtemp(prefix="attendee-postgresql-"))
        self._data = self._directory / "data"
        self._log = self._directory / "log"
        self._account = _account_for_postgresql()
        self._port = _free_port()
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        """The address of a database in this cluster; it stays the same when the server is restarted."""
        return f"postgresql://{_SUPERUSER}@127.0.0.1:{self._port}/{database}"

    def create(self) -> None:
        """Lays the cluster out on disk; it is not running yet."""
        if self._account is not None:
            shutil.chown(self._directory, self._account.pw_uid, self._account.pw_gid)
        self._run("initdb", f"--username={_SUPERUSER}", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync")
        with (self._data / "postgresql.conf").open("a") as settings:
            settings.write(_POSTGRESQL_SETTINGS.format(port=self._port, directory=self._directory))

    def start(self) -> None:
        """Starts the server; it takes connections when this returns. Raises RuntimeError with its log."""
        self._run("pg_ctl", "start", "--wait", "--silent", f"--log={self._log}")

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stops the server under its clients: `immediate` is as good as pulling the plug."""
        self._run("pg_ctl", "stop", "--wait", "--silent", f"--mode={mode}")

    def restart(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        self.stop(mode)
        self.start()

    def remove(self) -> None:
        """Stops the server if it runs, and deletes everything it stored."""
        try:
            if (self._data / "postmaster.pid").exists():
                self.stop("immediate")
        finally:
            shutil.rmtree(self._directory)

    def create_database(self) -> str:
        """The name of a new database with nothing in it."""
        name = f"test_{next(self._numbers)}"
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')
        return name

    def drop_database(self, name: str) -> None:
        """Drops it, whoever is still connected to it."""
        self.execute(f'DROP DATABASE "{name}" WITH (FORCE)')

    def execute(self, statement: str, *, database: str = "postgres") -> None:
        """Runs statements as the superuser; a single one is outside of any transaction."""

        async def run() -> None:
            connection = await asyncpg.connect(self.url(database))
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        _complete(run())

    def _run(self, program: str, *arguments: str) -> None:
        account = self._account
        done = subprocess.run(
            [self._programs / program, f"--pgdata={self._data}", *arguments],
            cwd=self._directory,
            # PGHOST, PGPORT and their like belong to some other server.
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            user=None if account is None else account.pw_uid,
            group=None if account is None else account.pw_gid,
            extra_groups=None if account is None else [],
        )
        if done.returncode != 0:
            log = self._log.read_text() if self._log.exists() else ""
            message = f"{program} ended with {done.returncode}: {done.stdout}{done.stderr}{log}"
            raise RuntimeError(message)


def _postgresql_programs() -> Path:
    """The directory of initdb and pg_ctl; Debian keeps them out of PATH. Raises RuntimeError."""
    in_path = shutil.which("initdb")
    if in_path is not None:
        return Path(in_path).resolve().parent
    installed = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(installed, key=lambda program: int(program.parts[-3]), default=None)
    if newest is None:
        message = "There is no PostgreSQL here: run tests/install-postgresql, as `make test` does."
        raise RuntimeError(message)
    return newest.parent


def _account_for_postgresql() -> pwd.struct_passwd | None:
    """The account that runs the server; None means our own. PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    known = {account.pw_name: account for account in pwd.getpwall()}
    return known.get("postgres") or known["nobody"]


def _free_port() -> int:
    """A port nobody listens on, below those that the system gives to clients: they can't take it during a restart."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), k=100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    message = "None of a hundred ports was free."
    raise RuntimeError(message)


def _complete(work: Coroutine[Any, Any, None]) -> None:
    # With a factory, the runner leaves the current event loop alone, which is pytest-asyncio's.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(work)


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[PostgresqlCluster]:
    """A running server for the whole session, one for each process of pytest-xdist."""
    cluster = PostgresqlCluster()
    try:
        cluster.create()
        cluster.start()
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(scope="session")
def postgresql_databases(postgresql_cluster: PostgresqlCluster) -> list[str]:
    """The names of databases with the schema in place and nothing in them: one at most."""
    return []


@pytest.fixture
def postgresql_url(postgresql_cluster: PostgresqlCluster, postgresql_databases: list[str]) -> Iterator[str]:
    """A PostgreSQL database with the schema in place and nothing in it."""
    if not postgresql_databases:
        postgresql_databases.append(postgresql_cluster.create_database())
        _complete(migrate(postgresql_cluster.url(postgresql_databases[0])))
    name = postgresql_databases.pop()
    yield postgresql_cluster.url(name)
    # A tenth of what it costs to copy a database for each test.
    with suppress(asyncpg.PostgresError):
        postgresql_cluster.execute(_EMPTY, database=name)
        # Not where the test has broken the schema on purpose: that database has been used up.
        postgresql_databases.append(name)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the schema in place, to be copied."""
    path = tmp_path_factory.mktemp("template") / "attendee.sqlite3"
    _complete(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A fresh SQLite database with the schema in place."""
    path = tmp_path / "attendee.sqlite3"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh database with the schema in place; the test runs once on each kind."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


# On PostgreSQL only where there is time for it: it refuses texts that SQLite takes, but each example costs more.
@pytest.fixture(params=["sqlite", "postgresql"] if "FUZZ" in os.environ else ["sqlite"])
def fuzzed_url(request: pytest.FixtureRequest) -> str:
    """A fresh database for what is made up: SQLite, and with `make fuzz` PostgreSQL too."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """A real browser; what its pages complain of fails the test."""
    async with running_browser() as browser:
        yield browser
