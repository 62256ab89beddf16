"""The floor of a first sync, as a process of its own: fetch, decode, and one upsert written by hand.

`python -m bench.bare_upsert ADDRESS DATABASE_URL` does it once for each calendar of the database, several at once,
one transaction each, and prints the seconds and the CPU seconds of one. It leaves the events there.
"""

import asyncio
import secrets
import sqlite3
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import asyncpg
import orjson
import uvloop
from yarl import URL

from attendee import clock

_AT_ONCE = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LISTING = "/calendar/v3/calendars/primary/events?singleEvents=true&showDeleted=true&maxResults=1000"
_COLUMNS = {
    "id": "text",
    "project_id": "text",
    "calendar_id": "text",
    "platform_uuid": "text",
    "fingerprint": "text",
    "name": "text",
    "meeting_url": "text",
    "start_time": "timestamptz",
    "end_time": "timestamptz",
    "start_date": "date",
    "end_date": "date",
    "is_deleted": "boolean",
    "attendees": "text",
    "raw": "text",
    "ical_uid": "text",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
_KEPT = {"id", "project_id", "calendar_id", "platform_uuid", "created_at"}
_REPLACED = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEPT)
_INTO = f"INSERT INTO events ({', '.join(_COLUMNS)})"
_ON_CONFLICT = f"ON CONFLICT (id) DO UPDATE SET {_REPLACED}"
# One array a column: cheaper than a hundred executions, and than 1,700 parameters.
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(_COLUMNS.values(), start=1))
_ON_POSTGRESQL = f"{_INTO} SELECT * FROM unnest({_ARRAYS}) {_ON_CONFLICT}"  # noqa: S608  # all of it is ours
_ON_SQLITE = f"{_INTO} VALUES ({', '.join('?' * len(_COLUMNS))}) {_ON_CONFLICT}"

_Row = tuple[Any, ...]
_Store = Callable[[list[_Row]], Awaitable[None]]


def _rows(body: bytes, *, project_id: str, calendar_id: str, instant: Callable[[datetime], Any]) -> list[_Row]:
    now = instant(clock.now())
    return [
        (
            f"evt_{secrets.token_hex(8)}",
            project_id,
            calendar_id,
            item["id"],
            item["etag"],
            item["summary"],
            item["hangoutLink"],
            instant(datetime.fromisoformat(item["start"]["dateTime"])),
            instant(datetime.fromisoformat(item["end"]["dateTime"])),
            None,
            None,
            False,
            orjson.dumps(item["attendees"]).decode(),
            orjson.dumps(item).decode(),
            item["iCalUID"],
            now,
            now,
        )
        for item in orjson.loads(body)["items"]
    ]


async def _measure(
    address: str, calendars: list[tuple[str, str]], *, store: _Store, instant: Callable[[datetime], Any]
) -> dict[str, float]:
    url = URL(address + _LISTING, encoded=True)
    left = iter(calendars)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as http:

        async def sync() -> None:
            for calendar_id, project_id in left:
                async with http.get(url, headers={"Authorization": "Bearer ya29.bench"}) as response:
                    body = await response.read()
                await store(_rows(body, project_id=project_id, calendar_id=calendar_id, instant=instant))

        began, cpu_began = time.perf_counter(), time.process_time()
        await asyncio.gather(*(sync() for _ in range(_AT_ONCE)))
        return {
            "seconds": (time.perf_counter() - began) / len(calendars),
            "cpu_seconds": (time.process_time() - cpu_began) / len(calendars),
        }


async def _on_postgresql(address: str, database_url: str) -> dict[str, float]:
    async with asyncpg.create_pool(database_url, min_size=_AT_ONCE, max_size=_AT_ONCE) as pool:
        calendars = [tuple(row) for row in await pool.fetch("SELECT id, project_id FROM calendars")]

        async def store(rows: list[_Row]) -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute(_ON_POSTGRESQL, *zip(*rows, strict=True))

        return await _measure(address, calendars, store=store, instant=lambda instant: instant)


async def _on_sqlite(address: str, path: str) -> dict[str, float]:
    connection = sqlite3.connect(path, isolation_level=None, timeout=30)
    # As the service has it: what is committed is on the disk.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
    calendars = connection.execute("SELECT id, project_id FROM calendars").fetchall()

    async def store(rows: list[_Row]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_ON_SQLITE, rows)
        connection.execute("COMMIT")

    def microseconds(instant: datetime) -> int:
        return (instant - _EPOCH) // timedelta(microseconds=1)

    try:
        return await _measure(address, calendars, store=store, instant=microseconds)
    finally:
        connection.close()


async def measure(address: str, database_url: str) -> dict[str, float]:
    """Seconds and CPU seconds of one fetch with its upsert."""
    if database_url.startswith("sqlite:///"):
        return await _on_sqlite(address, database_url.removeprefix("sqlite:///"))
    return await _on_postgresql(address, database_url)


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(uvloop.run(measure(sys.argv[1], sys.argv[2]))).decode())
