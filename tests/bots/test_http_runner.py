"""The fleet over HTTP: what it is sent, and what its answers are taken for."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import orjson
import pytest
from aiohttp import web

from attendee.bots.runners.http import HttpRunner
from attendee.bots.runners.port import Done, Order, Placed, Refused, Taken, Trouble
from attendee.model import BotId, LaunchId, ProjectId
from attendee.signing import signature_headers

_NOW = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)
_SECRET = "c2VjcmV0"
_ORDER = Order(
    LaunchId("launch_1"),
    ProjectId("proj_1"),
    BotId("bot_1"),
    {"bot_name": "Nöt", "bot_id": "bot_1", "report_token": "t"},
)
_PLACED = Placed(_ORDER.id, _ORDER.project_id, _ORDER.bot_id, None)


@dataclass
class _Fleet:
    """Keeps what it is asked, and answers as it is told."""

    status: int = 200
    text: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append((request.method, request.path, dict(request.headers), await request.read()))
        return web.Response(status=self.status, text=self.text, headers=self.headers)


@pytest.fixture
async def fleet() -> _Fleet:
    return _Fleet()


@pytest.fixture
async def runner(fleet: _Fleet) -> AsyncIterator[HttpRunner]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", fleet.answer)
    serving = web.AppRunner(app)
    await serving.setup()
    site = web.TCPSite(serving, "127.0.0.1", 0)
    await site.start()
    (address,) = [name[:2] for name in serving.addresses]

    async def secrets_of(project_id: ProjectId) -> list[str]:
        assert project_id == _ORDER.project_id
        return [_SECRET]

    async with aiohttp.ClientSession() as http:
        yield HttpRunner(http, f"http://127.0.0.1:{address[1]}/fleet", "fleet-key", secrets_of, lambda: _NOW)
    await serving.cleanup()


async def test_an_order_is_signed_and_sent_under_one_key(fleet: _Fleet, runner: HttpRunner) -> None:
    """The same on every try: body, signature and idempotency key. It can be checked after the body was parsed, too."""
    assert await runner.stage(_ORDER) == Taken()
    await runner.stage(_ORDER)
    first, second = fleet.asked
    assert first == second
    method, path, headers, body = first
    assert (method, path, headers["Idempotency-Key"]) == ("POST", "/fleet/bots", "launch_1")
    assert headers["Authorization"] == "Bearer fleet-key"
    assert headers["Content-Type"] == "application/json"
    assert orjson.loads(body) == _ORDER.body
    assert body == orjson.dumps(_ORDER.body, option=orjson.OPT_SORT_KEYS)
    signed = signature_headers(body.decode(), message_id="launch_1", secrets=[_SECRET], now=_NOW)
    assert signed.items() <= headers.items()


async def test_a_bot_is_called_off_and_asked_to_leave_by_its_id(fleet: _Fleet, runner: HttpRunner) -> None:
    """Signed too, and under no idempotency key: they are other requests."""
    assert await runner.call_off(_PLACED) == Done()
    assert await runner.leave(_PLACED) == Done()
    assert [(method, path) for method, path, *_ in fleet.asked] == [
        ("DELETE", "/fleet/bots/bot_1"),
        ("POST", "/fleet/bots/bot_1/leave"),
    ]
    for *_, headers, body in fleet.asked:
        assert "X-Webhook-Signature" in headers
        assert "Idempotency-Key" not in headers
        assert body == b""


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_any_2xx_takes_the_bot(fleet: _Fleet, runner: HttpRunner, status: int) -> None:
    fleet.status = status
    assert await runner.stage(_ORDER) == Taken()


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422])
async def test_a_4xx_is_a_refusal_with_the_answer(fleet: _Fleet, runner: HttpRunner, status: int) -> None:
    """It would be the same the next time."""
    fleet.status, fleet.text = status, '{"error": "no"}' + "x" * 1000
    outcome = await runner.stage(_ORDER)
    assert isinstance(outcome, Refused)
    assert outcome.reason.startswith(f'{status} {{"error": "no"}}')
    assert len(outcome.reason) < 600


@pytest.mark.parametrize("status", [301, 302, 307, 408, 425, 429, 500, 502, 503])
async def test_everything_else_is_trouble(fleet: _Fleet, runner: HttpRunner, status: int) -> None:
    """Tried again, when the fleet wants to be; a redirect is not followed."""
    fleet.status, fleet.headers = status, {"Retry-After": "17", "Location": "/elsewhere"}
    for outcome in (await runner.stage(_ORDER), await runner.call_off(_PLACED), await runner.leave(_PLACED)):
        assert isinstance(outcome, Trouble)
        assert outcome.retry_after == timedelta(seconds=17)
        assert str(status) in outcome.error
    assert "/elsewhere" not in [path for _, path, *_ in fleet.asked]


@pytest.mark.parametrize("status", [404, 410])
async def test_a_fleet_that_knows_nothing_of_a_bot_has_called_it_off(
    fleet: _Fleet, runner: HttpRunner, status: int
) -> None:
    fleet.status = status
    assert await runner.call_off(_PLACED) == Done()
    assert await runner.leave(_PLACED) == Done()


@pytest.mark.parametrize("status", [400, 401, 403, 409])
async def test_a_call_off_that_is_refused_is_not_confirmed(fleet: _Fleet, runner: HttpRunner, status: int) -> None:
    """A wrong key of ours must not make two bots of one."""
    fleet.status = status
    assert isinstance(await runner.call_off(_PLACED), Trouble)


async def test_a_fleet_that_is_away_is_trouble(fleet: _Fleet) -> None:
    """Nothing listens there."""

    async def no_secrets(_: ProjectId) -> list[Any]:
        return [_SECRET]

    async with aiohttp.ClientSession() as http:
        runner = HttpRunner(http, "http://127.0.0.1:9", None, no_secrets, lambda: _NOW)
        outcome = await runner.stage(_ORDER)
    assert isinstance(outcome, Trouble)
    assert "can't be reached" in outcome.error
    assert "report_token" not in repr(_ORDER)
