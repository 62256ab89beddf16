"""The OpenAPI document is true: what it does not declare is not answered, and what it declares is taken.

`make fuzz` tries many more requests; `FUZZ` is how many for each route.
"""

import asyncio
import os
import re
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from attendee.api import openapi
from attendee.model import BotState, new_id
from attendee.store import tables
from attendee.store.limits import Limits
from tests.api.serving import NOON, Served, served

_EXAMPLES = int(os.environ.get("FUZZ") or 2)

_NUL = r"May not contain NUL characters\."
_BOT = (
    _NUL,
    r"May not contain characters above U\+FFFF, such as emoji\.",
    r"Must be a meeting link of a service that is known here .*",
    r"May not be in the past\.|May be at most 3 years ahead\.",
)
_WEBHOOK = (
    _NUL,
    r"May have at most 2,000 bytes in UTF-8\.",
    r"Must be(gin with http:// or https://| a URL.*)\.",
    r"Must name a host, .*",
    r"A webhook with this url exists in the project already; .*",
)
_CALENDAR = (
    _NUL,
    r"May have at most (1,000 characters as JSON|2,000 bytes in UTF-8)\.",
    r"This field may not be blank\.",
)
# Why what is sound by the document is refused all the same, since no schema can say it: rules of more than one field,
# which link leads to a meeting, which name is taken, NUL characters, and the state that a bot is in. For any other
# reason it may not be.
_RULES = {
    "POST /api/v1/bots": (
        *_BOT,
        *_WEBHOOK,
        *_CALENDAR,
        r"(join_at|meeting_url) can't be given together with calendar_event_id: it is the event's\.",
        r"Another webhook of this bot has this url already\.",
        r"Deduplication key already in use: .*",
    ),
    "PATCH /api/v1/bots/{bot_id}": (
        *_BOT,
        r"(join_at|meeting_url|join_at and meeting_url) is read-only for a bot with a calendar_event_id: .*",
    ),
    "POST /api/v1/bots/{bot_id}/leave": (r"Only a bot in a meeting, or on its way into one, can leave; .*",),
    "POST /api/v1/calendars": (*_CALENDAR, r"A calendar with this deduplication key exists in the project already\."),
    "PATCH /api/v1/calendars/{calendar_id}": _CALENDAR,
    "POST /api/v1/webhooks": _WEBHOOK,
    "PATCH /api/v1/webhooks/{webhook_id}": _WEBHOOK,
    # Either the query string has the token of a handshake, or there are messages in the body.
    "POST /external_webhooks/microsoft_calendar": (r"The body is not JSON\.",),
}

load_all_checks()
schema = schemathesis.openapi.from_dict(openapi.document())


class Backstage:
    """The API, served in a thread of its own, since the requests of schemathesis wait for their answers."""

    def __init__(self, database_url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._serving = served(
            database_url, limits=Limits(posts_per_minute=10**9, webhooks=10**6), allow_insecure_webhooks=True
        )
        self.api: Served = self._run(self._serving.__aenter__())
        self.ids: dict[str, str] = {}

    def furnish(self) -> None:
        """One of everything anew, for routes with an id."""
        self.ids = self._run(self._furnished())

    def close(self) -> None:
        self._run(self._serving.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _furnished(self) -> dict[str, str]:
        api = self.api
        calendar = await api.a_calendar()
        event = await api.an_event(calendar)
        bot = await api.client.post("/bots", {"bot_name": "Notes", "calendar_event_id": event})
        hook = await api.client.post(
            "/webhooks", {"url": f"http://127.0.0.1:9/{event}", "triggers": ["bot.state_change"]}
        )
        delivery = await api.store(
            tables.deliveries,
            id=new_id("whd_"),
            project_id=api.project_id,
            subscription_id=hook.json["id"],
            url="https://a.example/",
            trigger="bot.state_change",
            idempotency_key=new_id("key_"),
            body="{}",
            state="failed",
            attempts=1,
            created_at=NOON - timedelta(hours=1),
            finished_at=NOON,
        )
        return {
            "calendar_id": calendar,
            "event_id": event,
            "bot_id": bot.json["id"],
            "webhook_id": hook.json["id"],
            "delivery_id": delivery,
        }


@pytest.fixture(scope="module")
def backstage(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backstage]:
    path = tmp_path_factory.mktemp("contract") / "attendee.sqlite3"
    shutil.copy(sqlite_template, path)
    backstage = Backstage(f"sqlite:///{path}")
    yield backstage
    backstage.close()


@schema.parametrize()
@settings(
    max_examples=_EXAMPLES,
    derandomize="FUZZ" not in os.environ,
    database=None,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
def test_the_api_keeps_to_its_document(case: schemathesis.Case[Any], backstage: Backstage) -> None:
    """Every check that schemathesis has, on every route, with what the document allows and with what it does not."""
    if not backstage.ids or case.method == "DELETE":
        backstage.furnish()
    is_sound = case.meta is None or case.meta.generation.mode.is_positive
    for name in case.path_parameters if is_sound else ():
        case.path_parameters[name] = backstage.ids.get(name, case.path_parameters[name])
    if is_sound and case.operation.label == "POST /api/v1/bots" and isinstance(case.body, dict):
        _send_somewhere(case.body, backstage.ids["event_id"])
    client = backstage.api.client
    response = case.call(base_url=client.address, headers={"Authorization": f"Token {client.key}"})
    excluded: list[Any] = []
    if response.status_code == 400 and _is_ruled_out(case.operation.label, response.json()):
        excluded.append(positive_data_acceptance)
    if case.operation.label == "GET /api/v1/bots" and _is_sound_as_sent(str(response.request.url)):
        excluded.append(negative_data_rejection)
    case.validate_response(response, excluded_checks=excluded)


def _send_somewhere(order: dict[str, Any], event_id: str) -> None:
    """Made-up ids lead to no event, and made-up texts to no meeting: two rules that hid all others."""
    if order.get("calendar_event_id") is not None:
        order["calendar_event_id"] = event_id
    elif order.get("meeting_url") is None:
        order["meeting_url"] = "https://meet.google.com/abc-defg-hij"


def _is_sound_as_sent(url: str) -> bool:
    """What was made to be no list of states can be one in a query string, where everything is text."""
    sent = parse_qs(urlsplit(url).query, keep_blank_values=True)
    states = sent.pop("states", [])
    return (
        bool(states)
        and set(states) <= set(BotState)
        and sent.keys() <= {"deduplication_key", "meeting_url", "calendar_event_id"}
    )


def _is_ruled_out(label: str, problem: dict[str, Any]) -> bool:
    reasons = [reason for said in problem.values() for reason in (said if isinstance(said, list) else [said])]
    # "webhooks[0].url: " and the like say where it is.
    rule = re.compile(rf"([\w.\[\]]+: )?({'|'.join(_RULES.get(label, ('(?!)',)))})", re.DOTALL)
    return all(rule.fullmatch(reason) for reason in reasons)
