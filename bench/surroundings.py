"""What the budgets are measured in: fresh databases of both kinds, processes of ours, and a fake platform."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson

from attendee.store.columns import KeyRing
from attendee.store.database import Database, migrate
from tests.conftest import PostgresqlCluster

SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"
BOTH = (SQLITE, POSTGRESQL)

_REPOSITORY = Path(__file__).parents[1]
_TICKS = os.sysconf("SC_CLK_TCK")
_STOP_SECONDS = 15
# Thrown away or not, it must flush what it commits as a real one does: that is part of what is measured.
_AS_IN_EARNEST = ("fsync", "synchronous_commit", "full_page_writes")


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours. `told` is the first line that it printed."""

    pid: int
    told: str

    def cpu_seconds(self) -> float:
        """User and system time since it began."""
        # The name in the second field may hold spaces; the fields after it are numbered from the third.
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    def resident_megabytes(self) -> float:
        return self._megabytes("VmRSS")

    def most_resident_megabytes(self) -> float:
        return self._megabytes("VmHWM")

    def _megabytes(self, name: str) -> float:
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) / 1024
        raise LookupError(name)


@dataclass(frozen=True, slots=True)
class Platform:
    """The fake platform, seen from here."""

    address: str
    http: aiohttp.ClientSession

    async def channels(self) -> list[dict[str, str]]:
        """The push channels that were opened: `id` and `token` of each."""
        channels: list[dict[str, str]] = await self._ask("GET", "channels")
        return channels

    async def syncs(self) -> int:
        """How many requests for events came since `forget`."""
        return int((await self._ask("GET", "syncs"))["count"])

    async def seconds(self) -> float:
        """How many seconds passed between the first and the last of them."""
        return float((await self._ask("GET", "syncs"))["seconds"])

    async def forget(self) -> None:
        await self._ask("POST", "forget")

    async def _ask(self, method: str, what: str) -> Any:
        async with self.http.request(method, f"{self.address}/bench/{what}") as response:
            return orjson.loads(await response.read())


@dataclass
class Surroundings:
    """`tell` shows what is being done. Everything lives in `directory`."""

    directory: Path
    http: aiohttp.ClientSession
    tell: Callable[[str], None]
    encryption_key: str = field(default_factory=KeyRing.generate_key, repr=False)
    _cluster: PostgresqlCluster | None = None
    _started: int = 0

    @property
    def key_ring(self) -> KeyRing:
        return KeyRing([self.encryption_key])

    @asynccontextmanager
    async def database(self, kind: str) -> AsyncGenerator["BenchDatabase"]:
        """A fresh database with the schema in place."""
        if kind == SQLITE:
            self._started += 1
            path = self.directory / f"{self._started}.sqlite3"
            url = f"sqlite:///{path}"
        else:
            cluster = await self._start_postgresql()
            name = await asyncio.to_thread(cluster.create_database)
            url = cluster.url(name)
        await migrate(url)
        database = Database(url)
        try:
            yield BenchDatabase(kind, url, database)
        finally:
            await database.close()
            if kind == POSTGRESQL:
                await asyncio.to_thread(cluster.drop_database, name)
            else:
                path.unlink()

    async def _start_postgresql(self) -> PostgresqlCluster:
        if self._cluster is None:
            self.tell("starting a PostgreSQL of its own")
            self._cluster = cluster = PostgresqlCluster()
            await asyncio.to_thread(cluster.create)
            await asyncio.to_thread(cluster.start)
            for setting in _AS_IN_EARNEST:
                await asyncio.to_thread(cluster.execute, f"ALTER SYSTEM SET {setting} = on")
            await asyncio.to_thread(cluster.execute, "SELECT pg_reload_conf()")
        return self._cluster

    def remove_postgresql(self) -> None:
        if self._cluster is not None:
            self._cluster.remove()

    @contextmanager
    def platform(self, *options: str) -> Generator[Platform]:
        """A fake platform with these options of its command line."""
        with self._running([sys.executable, "-m", "bench.fake_platform", *options], {}) as process:
            yield Platform(process.told, self.http)

    @contextmanager
    def attendee(
        self,
        command: str,
        database: "BenchDatabase",
        platform_address: str,
        *,
        options: Sequence[str] = (),
        **settings: str,
    ) -> Generator[Process]:
        """`attendee serve` or `attendee worker`, up; `settings` are variables without their prefix, in lower case."""
        environment = {
            "database_url": database.url,
            "encryption_keys": self.encryption_key,
            "host": "127.0.0.1",
            "port": "0",
            "google_api_url": platform_address,
            "google_token_url": f"{platform_address}/token",
            "allow_insecure_webhooks": "true",
            # Nothing but what is measured is due.
            "sync_interval_seconds": "86400",
            "log_level": "warning",
        } | settings
        with self._running(
            [sys.executable, "-m", "attendee", command, *options],
            {f"ATTENDEE_{name.upper()}": value for name, value in environment.items()},
        ) as process:
            yield process

    async def bare_request(self, platform: Platform) -> dict[str, float]:
        """`seconds` and `cpu_seconds` of a sync's request with nothing around it."""
        return await self.bare("bare_requests", platform.address)

    async def bare(self, module: str, *arguments: str) -> dict[str, float]:
        """What a module of ours that measures a floor prints, run as a process of its own."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", f"bench.{module}", *arguments, cwd=_REPOSITORY, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        if process.returncode:
            message = f"bench.{module} has failed"
            raise RuntimeError(message)
        measured: dict[str, float] = orjson.loads(output)
        return measured

    @contextmanager
    def _running(self, command: Sequence[str], environment: dict[str, str]) -> Generator[Process]:
        self._started += 1
        log = self.directory / f"{self._started}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.upper().startswith("ATTENDEE_")}
        with log.open("wb") as complaints:
            process = subprocess.Popen(  # noqa: S603  # our own programs
                command,
                cwd=_REPOSITORY,
                env=inherited | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
            )
        assert process.stdout is not None
        try:
            line = process.stdout.readline().decode().strip()
            if not line:
                message = f"{' '.join(command)} did not start: {log.read_text()}"
                raise RuntimeError(message)
            told = next((word for word in line.split() if word.startswith("http")), line)
            yield Process(process.pid, told)
            if process.poll() is not None:
                message = f"{' '.join(command)} has ended: {log.read_text()}"
                raise RuntimeError(message)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


@dataclass(frozen=True, slots=True)
class BenchDatabase:
    """A database, and what it is called in the table."""

    kind: str
    url: str
    database: Database


async def until(is_so: Callable[[], Any], *, seconds: float, what: str, every: float = 0.1) -> None:
    """Comes back once the awaitable that `is_so` makes is true, asked `every` so many seconds.

    Raises TimeoutError that says `what` was waited for.
    """
    ends = time.monotonic() + seconds
    while not await is_so():
        if time.monotonic() > ends:
            message = f"{what} did not happen within {seconds:.0f} seconds"
            raise TimeoutError(message)
        await asyncio.sleep(every)
