"""One attempt at a delivery: sign, post, keep what came of it."""

import random
import time
from dataclasses import dataclass
from datetime import datetime, timedelta

from attendee.clock import Clock
from attendee.model import DeliveryState
from attendee.outgoing import Answered, Outgoing, Unanswered
from attendee.signing import signature_headers
from attendee.store import deliveries, projects
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.deliveries import Attempt, Delivery

# A receiver that restarts is served within seconds, one that was down over night the next day: 36 hours in all.
_DELAYS = (
    *(timedelta(seconds=seconds) for seconds in (2, 5, 15, 30, 60)),
    *(timedelta(minutes=minutes) for minutes in (5, 15, 60)),
    *(timedelta(hours=hours) for hours in (3, 6, 12, 14)),
)
_JITTER = 0.2


def retry_delay(attempts: int) -> timedelta | None:
    """How long to wait after so many attempts, jittered; None when enough has been tried."""
    if attempts > len(_DELAYS):
        return None
    return _DELAYS[attempts - 1] * (1 + _JITTER * (2 * random.random() - 1))  # noqa: S311  # spreads load, guards nothing


@dataclass(frozen=True, slots=True)
class Sender:
    """Carries deliveries to their receivers."""

    database: Database
    outgoing: Outgoing
    key_ring: KeyRing
    clock: Clock

    async def send(self, delivery: Delivery) -> None:
        """Tries a claimed delivery once and settles the claim. Raises ClaimLost."""
        async with self.database.reading() as tx:
            secrets = await projects.live_secrets(tx, delivery.project_id, key_ring=self.key_ring, now=self.clock())
        started_at, started = self.clock(), time.monotonic()
        headers = signature_headers(
            delivery.body, message_id=delivery.idempotency_key, secrets=secrets, now=started_at
        ) | {"Content-Type": "application/json", "User-Agent": "attendee"}
        outcome = await self.outgoing.post(delivery.url, body=delivery.body, headers=headers)
        attempt = _attempt(outcome, started_at=started_at, milliseconds=round((time.monotonic() - started) * 1000))
        await self._record(delivery, attempt)

    async def _record(self, delivery: Delivery, attempt: Attempt) -> None:
        now = self.clock()
        delay = retry_delay(delivery.attempts)
        if attempt.status is not None and 200 <= attempt.status < 300:  # the 2xx of HTTP
            state, next_due_at = DeliveryState.DELIVERED, None
        elif delay is None:
            state, next_due_at = DeliveryState.FAILED, None
        else:
            state, next_due_at = DeliveryState.PENDING, now + delay
        async with self.database.transaction() as tx:
            await deliveries.settle_attempt(tx, delivery, attempt, state=state, next_due_at=next_due_at, now=now)


def _attempt(outcome: Answered | Unanswered, *, started_at: datetime, milliseconds: int) -> Attempt:
    match outcome:
        case Answered(status, text):
            return Attempt(started_at, milliseconds, status, text, None)
        case Unanswered(error):
            return Attempt(started_at, milliseconds, None, None, error)
