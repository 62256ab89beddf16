"""What the `remote` runner makes of another server's answers, and what it takes in of its webhooks."""

import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson
import pytest
import structlog
from aiohttp import web

from attendee.bots.reports import Report
from attendee.bots.runners.http import Answer, asked
from attendee.bots.runners.port import Done, Order, Placed, Refused, Seen, Taken, Trouble
from attendee.bots.runners.remote import RemoteRunner
from attendee.model import BotEventType, BotId, LaunchId, ProjectId
from attendee.store import bots, tables
from attendee.store.columns import token_hash
from tests.api.serving import HEARTBEAT, LINK, NOON, Client, Served, SetClock, served

_ORDER = Order(
    LaunchId("launch_1"),
    ProjectId("proj_1"),
    BotId("bot_1"),
    {
        "bot_name": "Notes",
        "meeting_url": LINK,
        "join_at": "2026-11-23T12:05:00.000000Z",
        "metadata": {"tenant": "7"},
        "settings": {"recording_settings": {"format": "mp4"}},
        "report_token": "t0ken",
    },
)
_PLACED = Placed(_ORDER.id, _ORDER.project_id, _ORDER.bot_id, {"remote_id": "bot_there", "seen": 1})
_LOST = Placed(_ORDER.id, _ORDER.project_id, _ORDER.bot_id, None)
_TAKEN = Taken({"remote_id": "bot_there", "seen": 0}, "bot_there")
_WEBHOOK_URL = "https://ours.example/runner/v1/remote/bot_1/t0ken"


@dataclass
class Server:
    """Gives out what was laid down, in order; `asked` has what it was asked."""

    answers: list[tuple[int, Any]] = field(default_factory=list)
    asked: list[tuple[str, str, Any]] = field(default_factory=list)
    authorizations: set[str | None] = field(default_factory=set)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.asked.append((request.method, request.path_qs, orjson.loads(body) if body else None))
        self.authorizations.add(request.headers.get("Authorization"))
        status, told = self.answers.pop(0)
        return web.Response(status=status, text=told if isinstance(told, str) else orjson.dumps(told).decode())

    @property
    def paths(self) -> list[str]:
        return [f"{method} {path}" for method, path, _ in self.asked]


@dataclass
class Remote:
    server: Server
    runner: RemoteRunner


@asynccontextmanager
async def _serving(server: Server) -> AsyncIterator[str]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    yield f"http://{host}:{port}"
    await runner.cleanup()


@pytest.fixture
async def remote() -> AsyncIterator[Remote]:
    server = Server()
    async with _serving(server) as url, aiohttp.ClientSession() as http:
        yield Remote(server, RemoteRunner(http, url, "key", "https://ours.example", HEARTBEAT, SetClock()))


async def test_an_order_is_a_new_bot_of_the_api(remote: Remote) -> None:
    """Only with what every server of this API knows, and with the key of the operator's project there."""
    remote.server.answers = [(201, {"id": "bot_there"})]
    assert await remote.runner.stage(_ORDER) == _TAKEN
    assert remote.server.asked == [
        (
            "POST",
            "/api/v1/bots",
            {
                "bot_name": "Notes",
                "meeting_url": LINK,
                "join_at": "2026-11-23T12:05:00.000000Z",
                "metadata": {"tenant": "7"},
                "recording_settings": {"format": "mp4"},
                "deduplication_key": "launch_1",
                "webhooks": [
                    {
                        "url": _WEBHOOK_URL,
                        "triggers": [
                            "bot.state_change",
                            "transcript.update",
                            "chat_messages.update",
                            "participant_events.join_leave",
                            "participant_events.speech_start_stop",
                            "bot_logs.update",
                        ],
                    }
                ],
            },
        )
    ]
    assert remote.server.authorizations == {"Token key"}


@pytest.mark.parametrize(
    "told", [{"webhooks": ["Must be https."]}, {"error": "webhook URL must start with https://"}], ids=["field", "rule"]
)
async def test_a_bot_does_without_what_is_not_taken(remote: Remote, told: Any) -> None:
    """Webhooks that can't reach us are left out, and a time that the other clock holds to be past."""
    past = {"join_at": ["join_at cannot be in the past"]}
    remote.server.answers = [(400, told), (400, past), (201, {"id": "bot_there"})]
    assert await remote.runner.stage(_ORDER) == _TAKEN
    (_, _, first), (_, _, second), (_, _, third) = remote.server.asked
    assert first.keys() - second.keys() == {"webhooks"}
    assert second.keys() - third.keys() == {"join_at"}


@pytest.mark.parametrize(
    ("status", "told", "outcome"),
    [
        (400, {"meeting_url": [f"Unknown, says {_WEBHOOK_URL}"]}, Refused),
        (402, "Pay first", Refused),
        (401, {"detail": "Invalid API key"}, Trouble),
        (404, "no such page", Trouble),
        (429, "slowly", Trouble),
        (500, "oops t0ken", Trouble),
        (201, "not JSON", Trouble),
    ],
)
async def test_a_refusal_ends_the_bot_if_it_is_about_the_bot(
    remote: Remote, status: int, told: Any, outcome: type
) -> None:
    """A wrong key or address is the operator's, who may set it right; the bot's token is in no message."""
    remote.server.answers = [(status, told)]
    answered = await remote.runner.stage(_ORDER)
    assert isinstance(answered, outcome)
    assert str(status) in str(answered)
    assert "t0ken" not in str(answered)


class _Bomb(Server):
    """Kilobytes that unpack to megabytes."""

    async def answer(self, request: web.Request) -> web.Response:
        del request
        return web.Response(body=gzip.compress(bytes(16 * 2**20)), headers={"Content-Encoding": "gzip"})


async def test_of_an_answer_without_measure_only_the_beginning_is_read() -> None:
    """Of another server's as of a fleet's: what it says of a bot takes kilobytes, and a process has not that much."""
    async with _serving(_Bomb()) as url, aiohttp.ClientSession() as http:
        answer = await asked(http, "GET", url, data=None, headers={}, secrets=())
    assert isinstance(answer, Answer)
    assert (answer.status, len(answer.body)) == (200, 4 * 2**20)


async def test_an_earlier_try_is_found(remote: Remote) -> None:
    """Before another bot is made, and where the other server says that there is one."""
    listed = {"results": [{"id": "bot_other", "deduplication_key": "x"}]}
    ours = {"results": [*listed["results"], {"id": "bot_there", "deduplication_key": "launch_1"}]}
    again = Order(_ORDER.id, _ORDER.project_id, _ORDER.bot_id, _ORDER.body, is_retry=True)
    remote.server.answers = [(200, ours)]
    assert await remote.runner.stage(again) == _TAKEN
    assert remote.server.paths == ["GET /api/v1/bots?deduplication_key=launch_1"]
    remote.server.answers = [(200, listed), (201, {"id": "bot_there"})]
    assert await remote.runner.stage(again) == _TAKEN
    taken = {"error": "Deduplication key already in use."}
    remote.server.answers = [(400, taken), (200, ours)]
    assert await remote.runner.stage(_ORDER) == _TAKEN
    remote.server.answers = [(400, taken), (200, listed)]
    assert isinstance(await remote.runner.stage(_ORDER), Trouble)
    remote.server.answers = [(503, "later")]
    assert isinstance(await remote.runner.stage(again), Trouble)


async def test_a_call_off_without_an_id_looks_for_the_bot_first(remote: Remote) -> None:
    """The order may have arrived, though no answer did."""
    remote.server.answers = [(200, {"results": []})]
    assert await remote.runner.call_off(_LOST) == Done()
    remote.server.answers = [(200, {"results": [{"id": "bot_there", "deduplication_key": "launch_1"}]}), (200, "")]
    assert await remote.runner.call_off(_LOST) == Done()
    assert remote.server.paths[1:] == ["GET /api/v1/bots?deduplication_key=launch_1", "DELETE /api/v1/bots/bot_there"]
    remote.server.answers = [(500, "oops")]
    assert isinstance(await remote.runner.call_off(_LOST), Trouble)


@pytest.mark.parametrize(
    ("answers", "is_done"),
    [
        ([(404, "gone")], True),
        ([(400, "joining"), (200, {})], True),
        ([(400, "ended"), (400, "ended"), (200, {"state": "ended"})], True),
        ([(400, "leaving"), (400, "leaving"), (200, {"state": "leaving"})], True),
        ([(400, "joining"), (404, "gone")], True),
        ([(400, "joining"), (400, "gone"), (404, "gone")], True),
        ([(400, "staged"), (400, "staged"), (200, {"state": "staged"})], False),
        ([(400, "joining"), (502, "oops")], False),
        ([(503, "later")], False),
    ],
)
async def test_a_call_off_is_done_when_nobody_will_come(
    remote: Remote, answers: list[tuple[int, Any]], *, is_done: bool
) -> None:
    """Deleted, gone, or leaving; a bot that can do neither yet is asked again until it can."""
    remote.server.answers = answers
    outcome = await remote.runner.call_off(_PLACED)
    assert (outcome == Done()) is is_done
    assert remote.server.answers == []


async def test_a_look_takes_in_what_is_new(remote: Remote) -> None:
    """What was seen is not taken in again; what is not known, or of no use, is passed over."""
    events = [
        {"type": "join_requested", "sub_type": None, "created_at": "2026-11-23T12:00:00Z"},
        {"type": "staged", "sub_type": None, "created_at": "2026-11-23T12:00:00Z"},
        {"type": "teleported", "sub_type": None, "created_at": "2026-11-23T12:00:01Z"},
        {"type": "joined_meeting", "sub_type": None, "created_at": "2026-11-23T12:00:02"},
        {"type": "leave_requested", "sub_type": "auto", "created_at": "yesterday"},
    ]
    remote.server.answers = [(200, {"id": "bot_there", "state": "leaving", "events": events})]
    reports = [
        Report("remote:bot_there:3", BotEventType.JOINED_MEETING, None, datetime(2026, 11, 23, 12, 0, 2, tzinfo=UTC)),
        Report("remote:bot_there:4", BotEventType.LEAVE_REQUESTED, "auto", None),
    ]
    assert await remote.runner.look(_PLACED) == Seen({"remote_id": "bot_there", "seen": 5}, reports, is_alive=True)


async def test_a_bot_that_has_ended_there_has_ended(remote: Remote) -> None:
    """Even if it never said how; a server that can't answer says nothing of the bot."""
    remote.server.answers = [(200, {"state": "ended", "events": []})]
    seen = await remote.runner.look(_PLACED)
    assert isinstance(seen, Seen)
    assert seen.gone is not None
    assert seen.gone[0] == "remote_bot_ended"
    assert not seen.is_alive
    for status, told in ((200, "not JSON"), (401, "key"), (503, "later")):
        remote.server.answers = [(status, told)]
        assert isinstance(await remote.runner.look(_PLACED), Trouble)


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    async with served(database_url) as up:
        yield up


async def _tell(api: Served, bot_id: str, *, token: str = "t0ken", **body: Any) -> int:
    anonymous = Client(api.client.session, api.client.address, None)
    told = {"idempotency_key": "1", "bot_id": "bot_there", "bot_metadata": None, "data": {}} | body
    return (await anonymous.ask("POST", f"/runner/v1/remote/{bot_id}/{token}", json=told)).status


@pytest.fixture
async def bot_id(api: Served) -> str:
    """A bot that is on its way, with a token and without a launch."""
    made = await api.client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
    async with api.database.transaction() as tx:
        values = {"report_token_hash": token_hash("t0ken")}
        await bots.change(tx, BotId(made.json["id"]), values=values, now=NOON)
    return str(made.json["id"])


async def test_a_webhook_is_trusted_by_the_token_in_its_address(api: Served, bot_id: str) -> None:
    """Nobody else's is; a deleted bot is 404, so that the other server stops; what is not known changes nothing."""
    for trigger in ("bot.state_change", "transcript.update", "async_transcription.state_change", "new.trigger"):
        assert await _tell(api, bot_id, trigger=trigger) == 200
        assert await _tell(api, bot_id, trigger=trigger, token="other") == 401
        assert await _tell(api, "bot_gone", trigger=trigger) == 404
    assert await _tell(api, bot_id, trigger=1) == 400
    async with api.database.reading() as tx:
        bot = await bots.find(tx, bot_id)
    assert bot is not None
    assert (bot.state, bot.reported_at) == ("joining", NOON)


async def test_the_token_in_an_address_is_never_logged(api: Served, bot_id: str) -> None:
    """Not even when the service fails at it."""
    async with api.database.transaction() as tx:
        await tx.run_sync(tables.bot_reports.drop)
    with structlog.testing.capture_logs() as logs:
        assert await _tell(api, bot_id, trigger="transcript.update") == 500
    (entry,) = logs
    assert entry["path"] == f"/runner/v1/remote/{bot_id}/***"
