"""The OpenAPI document is true: what it does not declare is not answered, and what it declares is taken.

`make fuzz` tries many more requests; `FUZZ` is how many for each route.
"""

import asyncio
import os
import shutil
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import load_all_checks
from schemathesis.specs.openapi.checks import positive_data_acceptance

from attendee.api import openapi
from attendee.model import new_id
from attendee.store import tables
from attendee.store.limits import Limits
from tests.api.serving import NOON, Served, served

_EXAMPLES = int(os.environ.get("FUZZ") or 2)

# What makes sense as a body and still is refused, since no schema can say it: rules of more than one field, which link
# leads to a meeting, which name is taken, NUL characters, and the state that a bot is in.
_WITH_RULES = {
    "POST /api/v1/bots",
    "PATCH /api/v1/bots/{bot_id}",
    "POST /api/v1/bots/{bot_id}/leave",
    "POST /api/v1/calendars",
    "PATCH /api/v1/calendars/{calendar_id}",
    "POST /api/v1/webhooks",
    "PATCH /api/v1/webhooks/{webhook_id}",
    "POST /external_webhooks/microsoft_calendar",
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
    client = backstage.api.client
    case.call_and_validate(
        base_url=client.address,
        headers={"Authorization": f"Token {client.key}"},
        excluded_checks=[positive_data_acceptance] if case.operation.label in _WITH_RULES else [],
    )
