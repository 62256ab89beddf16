"""Another server with the same bots API, which this one hands its bots to: whatever it tells of them is mirrored here.

What becomes of a bot is read from the other server, bot by bot. Its webhooks, where they reach us, only say when.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import quote

import aiohttp
import orjson

from attendee.bots.reports import Report
from attendee.bots.runners.http import Answer, asked
from attendee.bots.runners.port import Done, Order, Placed, Refused, Seen, Taken, Trouble
from attendee.clock import Clock
from attendee.model import FINISHED_BOT_STATES, BotEventType, BotState, LaunchId, Trigger

# A bot that joins sooner than this is asked to join at once: by the other clock it may be late already.
_AT_ONCE = timedelta(seconds=5)
_SAFETY_LOOK = timedelta(seconds=60)
# One that can't be called off before it has joined is to be caught as it does.
_UNTIL_IT_JOINS = timedelta(seconds=10)
# These say nothing of the bot, but of the address or the key: the operator may set them right.
_NOT_ABOUT_THE_BOT = {401, 403, 404, 405}
# Fields that a bot can do without, should the other server not take them as they are, and how it speaks of them.
_OPTIONAL = {"webhooks": "webhook", "join_at": "join_at"}
_TRIGGERS = (
    Trigger.BOT_STATE_CHANGE,
    Trigger.TRANSCRIPT_UPDATE,
    Trigger.CHAT_MESSAGES_UPDATE,
    Trigger.PARTICIPANT_EVENTS_JOIN_LEAVE,
    Trigger.PARTICIPANT_EVENTS_SPEECH_START_STOP,
    Trigger.BOT_LOGS_UPDATE,
)
_FINISHED = {state.value for state in FINISHED_BOT_STATES}
_NOTHING_TO_LEAVE = _FINISHED | {BotState.LEAVING.value, BotState.POST_PROCESSING.value}
# What the other server does with its own runner is its own business.
_MIRRORED = {event.value for event in BotEventType} - {BotEventType.STAGED.value, BotEventType.UNSTAGED.value}


@dataclass(frozen=True, slots=True)
class RemoteRunner:
    """Speaks to the server at `url` with the API key `key`. Webhooks are to reach us at `report_url`.

    `heartbeat` is how long a bot in a meeting may be silent: it is looked at more often than that.
    """

    http: aiohttp.ClientSession
    url: str
    key: str
    report_url: str
    heartbeat: timedelta
    clock: Clock

    look_every: ClassVar[timedelta] = timedelta(seconds=5)

    @property
    def host(self) -> None:
        return None

    async def stage(self, order: Order) -> Taken | Refused | Trouble:
        if order.is_retry:
            found = await self._find(order.id)
            if found is not None:
                return found
        body, token = self._wanted(order), order.body["report_token"]
        answer = await self._ask("POST", "/bots", body, token=token)
        while isinstance(answer, Answer) and answer.status == 400 and (name := _complained_of(answer, body)):
            del body[name]
            answer = await self._ask("POST", "/bots", body, token=token)
        if isinstance(answer, Trouble):
            return answer
        if answer.status < 300:
            return _taken(answer)
        if answer.status == 400 and "deduplication" in answer.told.lower():
            return await self._find(order.id) or answer.trouble()
        if answer.is_final and answer.status not in _NOT_ABOUT_THE_BOT:
            return Refused(answer.told)
        return answer.trouble()

    async def call_off(self, placed: Placed) -> Done | Trouble:
        remote_id = await self._remote_id(placed)
        if not isinstance(remote_id, str):
            return remote_id
        answer = await self._ask("DELETE", _path(remote_id))
        if isinstance(answer, Trouble):
            return answer
        if _is_done(answer):
            return Done()
        # Only a bot that waits there can be deleted: one that is further on has to leave.
        return await self._leave(remote_id) if answer.is_final else answer.trouble()

    async def leave(self, placed: Placed) -> Done | Trouble:
        remote_id = await self._remote_id(placed)
        return await self._leave(remote_id) if isinstance(remote_id, str) else remote_id

    async def look(self, placed: Placed) -> Seen | Trouble:
        reference = placed.reference or {}
        answer = await self._ask("GET", _path(reference["remote_id"]))
        if isinstance(answer, Trouble):
            return answer
        if answer.status == 404:
            return Seen(reference, gone=("remote_bot_gone", "The other server does not have the bot any more."))
        bot = _object(answer)
        if answer.status >= 300 or bot is None:
            return answer.trouble()
        events, state = _objects(bot.get("events")), bot.get("state")
        seen = reference | {"seen": len(events)}
        reports = [
            _report(event, f"remote:{reference['remote_id']}:{number}")
            for number, event in enumerate(events)
            if number >= reference["seen"] and event.get("type") in _MIRRORED
        ]
        if state in _FINISHED:
            told = f"The bot is {state} at the other server, which did not tell how its meeting ended."
            return Seen(seen, reports, gone=("remote_bot_ended", told))
        return Seen(seen, reports, is_alive=True, look_in=self._safety_look if reference.get("is_told") else None)

    @property
    def _safety_look(self) -> timedelta:
        return min(_SAFETY_LOOK, self.heartbeat / 2)

    def _wanted(self, order: Order) -> dict[str, Any]:
        """The bot as the other server is to make it."""
        ours = order.body
        address = f"{self.report_url}/runner/v1/remote/{order.bot_id}/{ours['report_token']}"
        wanted = {
            **ours["settings"],
            "bot_name": ours["bot_name"],
            "meeting_url": ours["meeting_url"],
            "deduplication_key": order.id,
            "webhooks": [{"url": address, "triggers": [trigger.value for trigger in _TRIGGERS]}],
        }
        if ours["metadata"] is not None:
            wanted["metadata"] = ours["metadata"]
        if datetime.fromisoformat(ours["join_at"]) - self.clock() > _AT_ONCE:
            wanted["join_at"] = ours["join_at"]
        return wanted

    async def _remote_id(self, placed: Placed) -> str | Done | Trouble:
        """The bot's id there; Done if an order of which no answer came never arrived."""
        if placed.reference is not None:
            return str(placed.reference["remote_id"])
        found = await self._find(placed.id)
        if isinstance(found, Taken):
            return str(found.remote_id)
        return found or Done()

    async def _find(self, launch_id: LaunchId) -> Taken | Trouble | None:
        """The bot that an earlier try has made, by the key that it was given."""
        answer = await self._ask("GET", f"/bots?deduplication_key={launch_id}")
        if isinstance(answer, Trouble):
            return answer
        page = _object(answer)
        if answer.status >= 300 or page is None:
            return answer.trouble()
        # A server that does not know the filter answers with other bots.
        ids = [bot["id"] for bot in _objects(page.get("results")) if bot.get("deduplication_key") == launch_id]
        return _taken_as(ids[-1]) if ids else None

    async def _leave(self, remote_id: str) -> Done | Trouble:
        answer = await self._ask("POST", f"{_path(remote_id)}/leave")
        if isinstance(answer, Trouble):
            return answer
        if _is_done(answer):
            return Done()
        if answer.status != 400:
            return answer.trouble()
        # It can't leave: it has left, or it has not come yet.
        look = await self._ask("GET", _path(remote_id))
        if isinstance(look, Trouble):
            return look
        state = (_object(look) or {}).get("state")
        return (
            Done()
            if look.status == 404 or state in _NOTHING_TO_LEAVE
            else Trouble(answer.told, again_in=_UNTIL_IT_JOINS)
        )

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, token: str = ""
    ) -> Answer | Trouble:
        headers = {"Authorization": f"Token {self.key}", "Content-Type": "application/json", "User-Agent": "attendee"}
        data = None if body is None else orjson.dumps(body)
        address, hidden = f"{self.url}/api/v1{path}", (self.key, token)
        return await asked(self.http, method, address, data=data, headers=headers, secrets=hidden)


def _path(remote_id: str) -> str:
    return f"/bots/{quote(remote_id, safe='')}"


def _is_done(answer: Answer) -> bool:
    return answer.status < 300 or answer.status == 404


def _complained_of(answer: Answer, body: Mapping[str, Any]) -> str | None:
    """The field that the other server refuses, if it is one that the bot can do without."""
    problems = _object(answer) or {}
    told = str(problems.get("error", "")).lower()
    return next((name for name, word in _OPTIONAL.items() if name in body and (name in problems or word in told)), None)


def _taken(answer: Answer) -> Taken | Trouble:
    bot = _object(answer)
    return _taken_as(bot["id"]) if bot is not None and isinstance(bot.get("id"), str) else answer.trouble()


def _taken_as(remote_id: str) -> Taken:
    return Taken({"remote_id": remote_id, "seen": 0}, remote_id)


def _report(event: Mapping[str, Any], report_id: str) -> Report:
    sub_type = event.get("sub_type")
    return Report(
        report_id,
        BotEventType(event["type"]),
        sub_type if isinstance(sub_type, str) else None,
        _instant(event.get("created_at")),
    )


def _instant(written: object) -> datetime | None:
    try:
        at = datetime.fromisoformat(written) if isinstance(written, str) else None
    except ValueError:
        return None
    return at if at is None or at.tzinfo is not None else at.replace(tzinfo=UTC)


def _object(answer: Answer) -> dict[str, Any] | None:
    try:
        decoded = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return None
    return decoded if isinstance(decoded, dict) else None


def _objects(value: object) -> Sequence[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []
