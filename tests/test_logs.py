"""What a log line looks like, in a process of its own: how a process logs is the whole process's affair."""

import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Row, Table

from attendee import logs
from attendee.sandbox.faults import FaultKind
from attendee.store import tables
from attendee.store.calendars import Calendar
from attendee.store.channels import Channel
from attendee.sync.watch import ChannelKeeper
from attendee.worker import Job, _Loop
from tests.bots.crew import MEET
from tests.installation import START, Installation, installation

_PROGRAM = """
import logging
import structlog
from attendee import logs

logs.configure(format="json", level="info")
log = structlog.get_logger("attendee.test")
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    log.info("synced", events=3, refresh_token="hush", webhook_secret="hush")
    log.info("refused", error="No calendar of ana@acme.example; see https://acme.zoom.us/j/987?pwd=hush.")
    logging.getLogger("library").warning("it took %d s", 5)
log.debug("too much")
logging.getLogger("uvicorn.error").info("Started server process")
password = "hush"
try:
    raise RuntimeError("lost")
except RuntimeError:
    log.exception("failed")
"""


_HOSTILE_PROGRAM = """
import structlog
from attendee import logs

logs.configure(format="{format}", level="info")
structlog.get_logger("attendee.test").warning("odd", name="a\\n2026-01-01 [error] forged\\r\\x1b[2J\\u202e")
"""


def test_lines_are_json_without_secrets() -> None:
    """Ours and those of libraries are alike: the request's id is on them, no secret is, and chatter is left out."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stdout == ""
    ours, refused, library, failure = (_line(line) for line in done.stderr.splitlines())
    assert (ours["message"], ours["level"], ours["request_id"], ours["events"]) == ("synced", "info", "r-1", 3)
    assert (ours["refresh_token"], ours["webhook_secret"]) == ("***", "***")
    assert refused["error"] == "No calendar of ***; see https://acme.zoom.us/***"
    assert (library["message"], library["logger"], library["request_id"]) == ("it took 5 s", "library", "r-1")
    assert "RuntimeError: lost" in failure["exception"]
    assert "hush" not in done.stderr.replace('password = "hush"', "")


@pytest.mark.parametrize("format", ["console", "json"])
def test_no_text_forges_a_line(format: str) -> None:  # noqa: A002  # named as the setting is
    """Whatever an event or a header is called: one message is one line, and the terminal obeys nobody."""
    program = _HOSTILE_PROGRAM.format(format=format)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert len(done.stderr.splitlines()) == 1
    assert "forged" in done.stderr
    assert not {"\r", "\x1b[2J"} & set(done.stderr)


def test_a_story_is_logged_without_a_word_of_who_it_was(sqlite_url: str) -> None:
    """A sync, a platform in trouble, faults of ours: ids of the work are on each line, and nothing personal is."""
    program = "import asyncio, sys; from tests.test_logs import tell_story; asyncio.run(tell_story(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", program, sqlite_url], capture_output=True, text=True, check=True)
    lines = [_line(line) for line in done.stderr.splitlines()]
    assert {"channel_not_opened", "sync_failed", "work_failed"} <= {line["message"] for line in lines}
    assert all(line["work"] in {"calendars", "channels"} and line["id"] and line["run"] for line in lines)
    for secret in ("ana", "acme.example", "layoffs", "abc-defg-hij", "sandbox-secret"):
        assert secret not in done.stderr.lower(), secret


async def tell_story(database_url: str) -> None:
    """What the test above reads the log of."""
    logs.configure(format="json", level="info")
    async with installation(database_url, wants_push=True) as here:
        keeper = ChannelKeeper(
            here.database, here.pipeline.providers, here.key_ring, here.clock, "https://ana.acme.example/hook"
        )
        ana = here.world.add_person("ana@acme.example", name="Ana")
        ana.primary.put("m", starts=START + timedelta(hours=1), title="Layoffs", location=MEET)
        calendar = await here.connect(ana)

        async def sync(row: Row[Any]) -> None:
            await here.pipeline.sync_calendar(Calendar.from_row(row))

        async def keep(row: Row[Any]) -> None:
            await keeper.keep(Channel.from_row(row))

        async def fail(_row: Row[Any]) -> None:
            fail_now(None)

        async def sync_and_fail(row: Row[Any]) -> None:
            await replace(here.pipeline, settle_quiet=fail_now).sync_calendar(Calendar.from_row(row))

        def fail_now(_quiet: object) -> None:
            raise RuntimeError(f"Of ana@acme.example: {MEET}")

        await _work(here, tables.calendars, sync)
        here.world.faults.switch_on(ana.email, FaultKind.SERVER_ERROR)
        await _work(here, tables.channels, keep)
        here.world.faults.switch_off()
        here.clock.advance(timedelta(hours=1))
        await _work(here, tables.calendars, sync_and_fail)
        here.clock.advance(timedelta(hours=1))
        await _work(here, tables.calendars, fail)
        assert (await here.calendar(calendar.id)).last_error is not None


async def _work(here: Installation, table: Table, run: Callable[[Row[Any]], Awaitable[None]]) -> None:
    loop = _Loop(Job(table, (), run, at_once=10), database=here.database, clock=here.clock)
    await loop._claim()
    await loop._finish()


def _line(text: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(text)
    assert parsed.pop("timestamp").endswith("Z")
    return parsed
