"""One attempt at a delivery: sign, post, keep what came of it."""

import time
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee import metrics
from attendee.backoff import jittered
from attendee.clock import Clock
from attendee.model import DeliveryState, PauseReason, SubscriptionId
from attendee.outgoing import Answered, Outgoing, Unanswered
from attendee.signing import signature_headers
from attendee.store import deliveries, projects, subscriptions
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from attendee.store.deliveries import Attempt, Delivery

log = structlog.get_logger(__name__)

# A receiver that restarts is served within seconds, one that was down over night the next day: 36 hours in all.
_DELAYS = (
    *(timedelta(seconds=seconds) for seconds in (2, 5, 15, 30, 60)),
    *(timedelta(minutes=minutes) for minutes in (5, 15, 60)),
    *(timedelta(hours=hours) for hours in (3, 6, 12, 14)),
)
# By what deliveries share the places in flight: a receiver of a project, the project, a host that many projects use.
RECEIVERS = (("project_id", "host"), ("project_id",), ("host",))
# The receiver's word that it will never take anything again.
_GONE = 410
# So many tries lie more than twenty minutes apart.
_OFTEN = 8


def retry_delay(attempts: int) -> timedelta | None:
    """How long to wait after so many attempts, jittered; None when enough has been tried."""
    if attempts > len(_DELAYS):
        return None
    return jittered(_DELAYS[attempts - 1])


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
        outcome = await self.outgoing.post(
            delivery.url, body=delivery.body, headers=headers, tenant=delivery.project_id
        )
        attempt = _attempt(outcome, started_at=started_at, milliseconds=round((time.monotonic() - started) * 1000))
        asked = outcome.retry_after if isinstance(outcome, Answered) else None
        await self._record(delivery, attempt, asked)

    async def _record(self, delivery: Delivery, attempt: Attempt, asked_to_wait: timedelta | None) -> None:
        now = self.clock()
        delay = retry_delay(delivery.attempts)
        if delay is not None and asked_to_wait is not None:
            # The later of the two: who asks for a second over and over is still tried ever less often.
            delay = max(delay, asked_to_wait)
        if attempt.status is not None and 200 <= attempt.status < 300:  # the 2xx of HTTP
            state, next_due_at = DeliveryState.DELIVERED, None
        elif delay is None:
            state, next_due_at = DeliveryState.FAILED, None
        else:
            state, next_due_at = DeliveryState.PENDING, now + delay
        paused = None
        async with self.database.transaction() as tx:
            # The subscription first, as whoever changes one takes them: two that wait for each other would both fail.
            if delivery.subscription_id is not None:
                paused = await _note(tx, delivery.subscription_id, delivery, attempt, state=state, now=now)
            await deliveries.settle_attempt(tx, delivery, attempt, state=state, next_due_at=next_due_at, now=now)
        metrics.deliveries.labels("retried" if state is DeliveryState.PENDING else state.value).inc()
        metrics.delivery_seconds.observe(attempt.milliseconds / 1000)
        if state is DeliveryState.DELIVERED and delivery.heard_at is not None and delivery.attempts == 1:
            metrics.push_to_webhook_seconds.observe((now - delivery.heard_at).total_seconds())
        if paused is not None:
            log.warning(
                "webhook_paused",
                reason=paused.value,
                webhook=delivery.subscription_id,
                project=delivery.project_id,
                host=delivery.host,
            )


async def _note(
    tx: AsyncConnection,
    subscription_id: SubscriptionId,
    delivery: Delivery,
    attempt: Attempt,
    *,
    state: DeliveryState,
    now: datetime,
) -> PauseReason | None:
    if state is DeliveryState.DELIVERED:
        await subscriptions.note_arrival(tx, subscription_id)
        return None
    return await subscriptions.note_failure(
        tx,
        subscription_id,
        is_gone=attempt.status == _GONE,
        tried_often=delivery.attempts >= _OFTEN,
        now=now,
    )


def _attempt(outcome: Answered | Unanswered, *, started_at: datetime, milliseconds: int) -> Attempt:
    match outcome:
        case Answered(status, text):
            return Attempt(started_at, milliseconds, status, text, None)
        case Unanswered(error):
            return Attempt(started_at, milliseconds, None, None, error)
