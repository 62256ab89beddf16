"""What the tests of the fleet hold in their hands: time that moves when told, and a service that orders bots."""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp
from aiohttp import web

from tests.sandbox.application import Answer, ManualClock

JOINED = ("joined_not_recording", "joined_recording", "joined_recording_permission_denied")
ON_THE_WAY = ("joining", "waiting_room")
PASSED_ON = ("heartbeat", "transcript", "chat_message", "participant_event", "log")
# The contract's table, as far as the sandbox's bots go: report -> states that it is possible in, state after it.
TABLE = {
    "join_requested": (("staged",), "joining"),
    "put_in_waiting_room": (("joining",), "waiting_room"),
    "joined_meeting": (ON_THE_WAY, "joined_not_recording"),
    "recording_permission_granted": (
        ("joined_not_recording", "joined_recording_permission_denied"),
        "joined_recording",
    ),
    "recording_permission_denied": (JOINED, "joined_recording_permission_denied"),
    "leave_requested": ((*ON_THE_WAY, *JOINED), "leaving"),
    "left_meeting": (("leaving",), "post_processing"),
    "meeting_ended": ((*ON_THE_WAY, *JOINED, "leaving"), "post_processing"),
    "could_not_join_meeting": (ON_THE_WAY, "fatal_error"),
    "post_processing_completed": (("post_processing",), "ended"),
}


@dataclass
class ManualTime(ManualClock):
    """A clock, and whoever waits for it to reach a moment."""

    sleepers: dict[asyncio.Future[None], datetime] = field(default_factory=dict)
    somebody_sleeps: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def pause(self, until: datetime) -> None:
        if until <= self.moment:
            return
        sleeper = asyncio.get_running_loop().create_future()
        self.sleepers[sleeper] = until
        try:
            async with self.somebody_sleeps:
                self.somebody_sleeps.notify_all()
            await sleeper
        finally:
            self.sleepers.pop(sleeper, None)

    async def next(self) -> datetime:
        """Moves to the first moment that somebody waits for, as soon as somebody does."""
        async with self.somebody_sleeps:
            await self.somebody_sleeps.wait_for(lambda: self.sleepers)
        self.moment = max(self.moment, min(self.sleepers.values()))
        for sleeper, until in list(self.sleepers.items()):
            if until <= self.moment:
                del self.sleepers[sleeper]
                sleeper.set_result(None)
        return self.moment


@dataclass
class BotService:
    """Orders bots of a fleet and takes their reports by the contract's table."""

    session: aiohttp.ClientSession
    fleet_url: str
    report_url: str = ""
    states: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    ids: set[str] = field(default_factory=set)
    reports: list[dict[str, Any]] = field(default_factory=list)
    # Every request for a report, those that were refused or came twice included; 0 is a connection that was cut.
    asked: list[tuple[str, int]] = field(default_factory=list)
    # What the next requests are answered with, whatever they say; None is to cut the connection.
    troubles: deque[int | None] = field(default_factory=deque)
    news: asyncio.Condition = field(default_factory=asyncio.Condition)

    def body(self, bot_id: str, meeting_url: str, **fields: Any) -> dict[str, Any]:
        self.tokens[bot_id] = f"token-of-{bot_id}"
        return {
            "bot_id": bot_id,
            "bot_name": "Nora",
            "meeting_url": meeting_url,
            "meeting_service": "sandbox",
            "join_at": None,
            "metadata": {},
            "settings": {},
            "report_url": f"{self.report_url}/{bot_id}",
            "report_token": self.tokens[bot_id],
        } | fields

    async def order(self, bot_id: str, meeting_url: str, *, key: str | None = None, **fields: Any) -> Answer:
        self.states[bot_id] = "staged"
        return await self.call("POST", "/bots", self.body(bot_id, meeting_url, **fields), key=key or f"key-{bot_id}")

    async def leave(self, bot_id: str) -> Answer:
        self.states[bot_id] = "leaving"
        return await self.call("POST", f"/bots/{bot_id}/leave")

    async def call_off(self, bot_id: str) -> Answer:
        return await self.call("DELETE", f"/bots/{bot_id}")

    async def call(self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str) -> Answer:
        content = None if body is None else json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
        if key:
            headers["Idempotency-Key"] = key
        async with self.session.request(method, f"{self.fleet_url}{path}", data=content, headers=headers) as answer:
            return Answer(answer.status, await answer.text(), dict(answer.headers))

    async def take(self, request: web.Request) -> web.Response:
        bot_id, report = request.match_info["bot_id"], await request.json()
        trouble = self.troubles.popleft() if self.troubles else 0
        if trouble is None:
            assert request.transport is not None
            request.transport.abort()
        status = 0 if trouble is None else trouble or self._record(bot_id, request.headers["Authorization"], report)
        async with self.news:
            self.asked.append((report["type"], status))
            self.news.notify_all()
        return web.json_response({"state": self.states.get(bot_id)}, status=status or 500)

    async def heard(self, type_: str, *, times: int = 1) -> dict[str, Any]:
        """The report of that type, when it has come for the so manieth time."""
        async with self.news:
            await self.news.wait_for(lambda: len(self.of_type(type_)) >= times)
        return self.of_type(type_)[times - 1]

    async def was_asked(self, count: int) -> None:
        """Comes back when so many requests have been answered."""
        async with self.news:
            await self.news.wait_for(lambda: len(self.asked) >= count)

    def of_type(self, type_: str) -> list[dict[str, Any]]:
        return [report for report in self.reports if report["type"] == type_]

    @property
    def types(self) -> list[str]:
        """What was reported and taken, but for what is only passed on."""
        return [report["type"] for report in self.reports if report["type"] not in PASSED_ON]

    def _record(self, bot_id: str, authorization: str, report: dict[str, Any]) -> int:
        if bot_id not in self.states:
            return 404
        if authorization != f"Bearer {self.tokens[bot_id]}":
            return 401
        if report["id"] in self.ids:
            return 200
        if report["type"] not in PASSED_ON:
            possible, after = TABLE[report["type"]]
            if self.states[bot_id] not in possible:
                return 409
            self.states[bot_id] = after
        self.ids.add(report["id"])
        self.reports.append(report)
        return 200


@asynccontextmanager
async def taking_reports(service: BotService) -> AsyncIterator[BotService]:
    """The service, which takes reports on loopback until the end."""
    app = web.Application()
    app.router.add_post("/reports/{bot_id}", service.take)
    # Whoever still reports at the end is cut off.
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    service.report_url = f"http://{host}:{port}/reports"
    yield service
    await runner.cleanup()


def picture(beginning: bytes = b"\x89PNG\r\n\x1a\n", *, length: int = 8) -> str:
    return b64encode(beginning.ljust(length, b"\0")).decode()
