"""Webhooks to fast receivers while others take ten seconds for each of theirs: a project for each receiver."""

import time
from contextlib import AsyncExitStack, ExitStack
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from yarl import URL

from attendee import clock
from attendee.model import ProjectId, Trigger, new_id
from attendee.store import projects, subscriptions
from attendee.store.database import wake_after_commit
from attendee.store.subscriptions import NewSubscription
from attendee.store.tables import deliveries
from bench.loopback import Request, listen
from bench.surroundings import BenchDatabase, Surroundings, until

_FAST = 10
_DELIVERIES_EACH = 100
_SLOW_SECONDS = 10.0
_LONGEST = 60


class _Receivers:
    """Counts what arrived, and when the first and the last of them did."""

    def __init__(self) -> None:
        self.count = 0
        self.first_at = self.last_at = 0.0

    def answer(self, _: Request) -> bytes:
        self.last_at = time.perf_counter()
        if not self.count:
            self.first_at = self.last_at
        self.count += 1
        return b"{}"


async def rate(surroundings: Surroundings, kind: str, *, slow: int) -> float:
    """Webhooks a second to the fast receivers, all of them due at once, and those to the slow ones a little longer."""
    fast = _Receivers()
    async with AsyncExitStack() as servers, surroundings.database(kind) as at_hand:

        async def add(answer: Any, *, seconds: float) -> None:
            server, address = await listen(answer, seconds=seconds)
            servers.callback(server.close)
            await _add_deliveries(surroundings, at_hand, address, now=clock.now())

        for _ in range(slow):
            await add(_Receivers().answer, seconds=_SLOW_SECONDS)
        for _ in range(_FAST):
            await add(fast.answer, seconds=0)
        with ExitStack() as running:
            platform = running.enter_context(surroundings.platform())
            running.enter_context(surroundings.attendee("serve", at_hand, platform.address))

            async def has_all() -> bool:
                return fast.count >= _FAST * _DELIVERIES_EACH

            await until(has_all, seconds=_LONGEST, what="delivering to the fast receivers")
    return (fast.count - 1) / (fast.last_at - fast.first_at)


async def _add_deliveries(surroundings: Surroundings, at_hand: BenchDatabase, address: str, *, now: datetime) -> None:
    url = URL(address)
    async with at_hand.database.transaction() as tx:
        project = await projects.create(tx, address, key_ring=surroundings.key_ring, now=now)
        wanted = NewSubscription(address, [Trigger.CALENDAR_EVENTS_UPDATE])
        made = await subscriptions.create(tx, wanted, project_id=project.id, now=now)
        rows = [_delivery(project.id, made.id, url, now=now) for _ in range(_DELIVERIES_EACH)]
        await tx.execute(insert(deliveries), rows)
        wake_after_commit(tx, deliveries.name)


def _delivery(project_id: ProjectId, subscription_id: str, url: URL, *, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("whd_"),
        "project_id": project_id,
        "subscription_id": subscription_id,
        "url": str(url),
        "host": url.authority,
        "trigger": Trigger.CALENDAR_EVENTS_UPDATE.value,
        "idempotency_key": new_id("key_"),
        "body": '{"trigger":"calendar.events_update"}',
        "state": "pending",
        "created_at": now,
        "due_at": now,
    }
