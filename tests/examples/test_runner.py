"""The runner of examples/runner, started as its reader would start it, and ordered by an installation of ours."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from attendee.bots.runners.http import HttpRunner
from attendee.model import ProjectId
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from tests.api.serving import LINK, SetClock
from tests.bots.runners.side import Side, running_side

_PROGRAM = Path(__file__).parents[2] / "examples" / "runner" / "runner.py"


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """Where the runner listens; it is stopped as its reader would stop it."""
    with subprocess.Popen(
        [sys.executable, _PROGRAM],
        env={"PATH": os.environ["PATH"], "RUNNER_KEY": "key", "RUNNER_PORT": "0", "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        process.terminate()
    assert process.returncode == 0


@pytest.fixture
async def side(database_url: str, address: str) -> AsyncIterator[Side]:
    database, clock = Database(database_url), SetClock()

    async def secrets_of(_: ProjectId) -> list[str]:
        return ["c2VjcmV0"]

    async with running_side(
        database,
        key_ring=KeyRing([KeyRing.generate_key()]),
        clock=clock,
        runner_of=lambda http, _: HttpRunner(http, address, "key", secrets_of, clock),
    ) as made:
        yield made
    await database.close()


async def _is(side: Side, bot_id: str, state: str) -> None:
    while (await side.bot(bot_id))["state"] != state:
        await side.work_once()


async def test_its_bots_live_a_whole_life(side: Side) -> None:
    """Ordered, in the meeting, asked to leave, ended: each step as the runner reported it, and nothing left to tell."""
    made = await side.client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
    bot_id = made.json["id"]
    await _is(side, bot_id, "joined_not_recording")
    assert (await side.client.post(f"/bots/{bot_id}/leave")).status == 200
    await _is(side, bot_id, "ended")
    steps = ["join_requested", "joined_meeting", "leave_requested", "left_meeting", "post_processing_completed"]
    assert await side.life(bot_id) == steps
    assert await side.launches() == []


async def test_it_starts_a_bot_once(side: Side, address: str) -> None:
    """The same order again changes nothing, a call-off ends the bot, and an order without the key is refused."""
    made = await side.client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
    bot_id = made.json["id"]
    await _is(side, bot_id, "joined_not_recording")
    (launch,) = await side.launches()
    order: dict[str, Any] = json.loads(launch.body) | {"report_token": "of another try"}
    with_key = {"Authorization": "Bearer key"}
    async with aiohttp.ClientSession(address) as http:
        assert (await http.post("/bots", json=order)).status == 401
        assert (await http.post("/bots", json=order, headers=with_key)).status == 200
        # Started twice, the first one could no longer be told to leave.
        assert (await side.client.post(f"/bots/{bot_id}/leave")).status == 200
        await _is(side, bot_id, "ended")
        for _ in range(2):
            assert (await http.delete(f"/bots/{bot_id}", headers=with_key)).status == 200
