"""The floor of a page, as a process of its own: the rows by hand from the driver, spliced into one answer.

`python -m bench.bare_page DATABASE_URL` reads the newest hundred events of the only project again and again, and
prints the seconds and the CPU seconds of one page.
"""

import sqlite3
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import orjson
import uvloop

_COUNT = 1_000
_WARM_UP = 50
_SHOWN = (
    "id, calendar_id, platform_uuid, meeting_url, name, start_time, end_time, start_date, end_date, is_deleted, "
    "attendees, ical_uid, raw, created_at, updated_at"
)
_NAMES = _SHOWN.split(", ")
_SPLICED = {"attendees", "raw"}


def _query(mark: str) -> str:
    return (
        f"SELECT {_SHOWN} FROM events WHERE project_id = {mark} "  # noqa: S608  # all of it is ours
        "ORDER BY updated_at DESC, id DESC LIMIT 101"
    )


def _answer(rows: Sequence[Iterable[Any]]) -> bytes:
    results = [
        {name: orjson.Fragment(value) if name in _SPLICED else value for name, value in zip(_NAMES, row, strict=True)}
        for row in rows[:100]
    ]
    return orjson.dumps({"results": results})


async def _on_postgresql(database_url: str) -> dict[str, float]:
    connection = await asyncpg.connect(database_url)
    project_id = await connection.fetchval("SELECT id FROM projects")
    # asyncpg keeps it prepared after the first time, as it does for the service.
    query = _query("$1")
    for number in range(_COUNT + _WARM_UP):
        if number == _WARM_UP:
            began, cpu_began = time.perf_counter(), time.process_time()
        _answer(await connection.fetch(query, project_id))
    measured = _each(began, cpu_began)
    await connection.close()
    return measured


def _on_sqlite(path: str) -> dict[str, float]:
    connection = sqlite3.connect(path)
    (project_id,) = connection.execute("SELECT id FROM projects").fetchone()
    query = _query("?")
    for number in range(_COUNT + _WARM_UP):
        if number == _WARM_UP:
            began, cpu_began = time.perf_counter(), time.process_time()
        _answer(connection.execute(query, (project_id,)).fetchall())
    measured = _each(began, cpu_began)
    connection.close()
    return measured


def _each(began: float, cpu_began: float) -> dict[str, float]:
    return {
        "seconds": (time.perf_counter() - began) / _COUNT,
        "cpu_seconds": (time.process_time() - cpu_began) / _COUNT,
    }


def measure(database_url: str) -> dict[str, float]:
    """Seconds and CPU seconds of one page."""
    if database_url.startswith("sqlite:///"):
        return _on_sqlite(database_url.removeprefix("sqlite:///"))
    return uvloop.run(_on_postgresql(database_url))


if __name__ == "__main__":
    sys.stdout.write(orjson.dumps(measure(sys.argv[1])).decode())
