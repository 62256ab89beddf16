"""Webhook deliveries as rows: who is to be told, what is still untried, what each attempt brought."""

import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from urllib.parse import urlsplit

from sqlalchemy import Row, bindparam, case, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import ClaimLost, NotAllowed, NotFound
from attendee.model import BotId, DeliveryId, DeliveryState, ProjectId, SubscriptionId, Trigger, new_id
from attendee.store import claims
from attendee.store.database import wake_after_commit
from attendee.store.tables import deliveries, delivery_attempts, webhook_subscriptions

_ANSWER_CHARACTERS = 500
_ANEW: dict[str, Any] = {
    "state": DeliveryState.PENDING.value,
    "finished_at": None,
    # The delays between tries grow anew; one that has been tried never counts as untried again.
    "attempts": case((deliveries.c.attempts > 0, 1), else_=0),
}


@dataclass(frozen=True, slots=True)
class Subscriber:
    """A subscription that asked for a trigger."""

    id: SubscriptionId
    url: str


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook for one subscription, as stored. `body` is what is signed and sent."""

    id: DeliveryId
    project_id: ProjectId
    subscription_id: SubscriptionId | None
    url: str
    host: str
    trigger: str
    calendar_id: str | None
    bot_id: str | None
    idempotency_key: str
    body: str
    state: DeliveryState
    created_at: datetime
    finished_at: datetime | None
    heard_at: datetime | None
    due_at: datetime | None
    claim_id: str | None
    claimed_until: datetime | None
    attempts: int
    wakes: int

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        values = dict(row._mapping)
        values["state"] = DeliveryState(values["state"])
        return cls(**values)


@dataclass(frozen=True, slots=True)
class Attempt:
    """What one attempt brought: a status and the beginning of the answer, or the error that kept it from one."""

    started_at: datetime
    milliseconds: int
    status: int | None
    answer: str | None
    error: str | None


_subscriptions = webhook_subscriptions.c
_SUBSCRIPTIONS = select(
    _subscriptions.id, _subscriptions.url, _subscriptions.bot_id, _subscriptions.is_active, _subscriptions.triggers
).where(_subscriptions.project_id == bindparam("of_project"))
_OF_PROJECT = _SUBSCRIPTIONS.where(_subscriptions.bot_id.is_(None))
_OF_PROJECT_OR_BOT = _SUBSCRIPTIONS.where(
    _subscriptions.bot_id.is_(None) | (_subscriptions.bot_id == bindparam("of_bot"))
)


async def subscribers(
    tx: AsyncConnection, *, project_id: ProjectId, trigger: Trigger, bot_id: BotId | None = None
) -> list[Subscriber]:
    """The active subscriptions that asked for the trigger: the bot's own if it has any, else the project's."""
    if bot_id is None:
        rows = (await tx.execute(_OF_PROJECT, {"of_project": project_id})).all()
    else:
        rows = (await tx.execute(_OF_PROJECT_OR_BOT, {"of_project": project_id, "of_bot": bot_id})).all()
    of_bot = [row for row in rows if row.bot_id is not None]
    return [
        Subscriber(SubscriptionId(row.id), row.url)
        for row in of_bot or rows
        if row.is_active and trigger.value in row.triggers
    ]


async def find_untried(
    tx: AsyncConnection, *, subscription_id: SubscriptionId, calendar_id: str, trigger: Trigger
) -> Delivery | None:
    """A delivery of this calendar that no attempt has been made at, locked; None if there is none."""
    row = (
        await tx.execute(
            select(deliveries)
            .where(
                deliveries.c.subscription_id == subscription_id,
                deliveries.c.calendar_id == calendar_id,
                deliveries.c.trigger == trigger.value,
                deliveries.c.state == DeliveryState.PENDING.value,
                deliveries.c.attempts == 0,
            )
            .order_by(deliveries.c.created_at)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
    ).one_or_none()
    return None if row is None else Delivery.from_row(row)


async def replace_body(tx: AsyncConnection, delivery: Delivery, body: str) -> None:
    """Gives an untried delivery, locked by `find_untried`, another body."""
    await tx.execute(update(deliveries).where(deliveries.c.id == delivery.id).values(body=body))


async def add(
    tx: AsyncConnection,
    *,
    project_id: ProjectId,
    subscription_id: SubscriptionId,
    url: str,
    trigger: Trigger,
    idempotency_key: str,
    body: str,
    calendar_id: str | None,
    bot_id: str | None,
    now: datetime,
    heard_at: datetime | None = None,
) -> DeliveryId:
    """A delivery that is due now. `heard_at` is when the push that led to it made its calendar due."""
    delivery_id = DeliveryId(new_id("whd_"))
    await tx.execute(
        insert(deliveries).values(
            id=delivery_id,
            project_id=project_id,
            subscription_id=subscription_id,
            url=url,
            host=_host(url),
            trigger=trigger.value,
            calendar_id=calendar_id,
            bot_id=bot_id,
            idempotency_key=idempotency_key,
            body=body,
            state=DeliveryState.PENDING.value,
            created_at=now,
            heard_at=heard_at,
            due_at=now,
        )
    )
    wake_after_commit(tx, deliveries.name)
    return delivery_id


def new_idempotency_key() -> str:
    return str(uuid.uuid4())


async def settle_attempt(
    tx: AsyncConnection,
    delivery: Delivery,
    attempt: Attempt,
    *,
    state: DeliveryState,
    next_due_at: datetime | None,
    now: datetime,
) -> None:
    """Keeps the attempt and what follows from it: delivered, failed for good, or due again. Raises ClaimLost.

    What was decided while the attempt was under way holds: a subscription that was paused or deleted, a redelivery that
    was asked for. What has arrived has arrived all the same.
    """
    current = (
        await tx.execute(
            select(deliveries)
            .where(deliveries.c.id == delivery.id, deliveries.c.claim_id == delivery.claim_id)
            .with_for_update()
        )
    ).one_or_none()
    if current is None:
        raise ClaimLost(delivery.id)
    was_woken = current.wakes != delivery.wakes
    if state is not DeliveryState.DELIVERED and was_woken:
        state, next_due_at = DeliveryState(current.state), current.due_at
    finished_at = None if state is DeliveryState.PENDING else current.finished_at or now
    await tx.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery.id)
        .values(state=state.value, finished_at=finished_at, due_at=next_due_at, claim_id=None, claimed_until=None)
    )
    answer = None if attempt.answer is None else attempt.answer.replace("\x00", "")[:_ANSWER_CHARACTERS]
    await tx.execute(
        insert(delivery_attempts).values(
            delivery_id=delivery.id,
            started_at=attempt.started_at,
            milliseconds=attempt.milliseconds,
            status=attempt.status,
            answer=answer,
            error=attempt.error,
        )
    )


async def redeliver(tx: AsyncConnection, delivery_id: str, *, project_id: ProjectId, now: datetime) -> Delivery:
    """Makes a delivery due now, with the same body and key.

    Raises NotFound, and NotAllowed when its subscription is gone or paused.
    """
    row = (
        await tx.execute(
            select(deliveries)
            .where(deliveries.c.id == delivery_id, deliveries.c.project_id == project_id)
            .with_for_update()
        )
    ).one_or_none()
    if row is None:
        raise NotFound("Webhook delivery")
    # A bot's own subscription has no page to switch it on again, where it was paused by us.
    active = await tx.scalar(
        select(webhook_subscriptions.c.is_active | webhook_subscriptions.c.bot_id.is_not(None)).where(
            webhook_subscriptions.c.id == row.subscription_id
        )
    )
    if not active:
        message = "The webhook of this delivery is deleted or not active, so there is nobody to deliver it to."
        raise NotAllowed(message)
    await tx.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**_ANEW))
    await claims.wake(tx, deliveries, delivery_id, now=now)
    stored = await tx.execute(select(deliveries).where(deliveries.c.id == delivery_id))
    return Delivery.from_row(stored.one())


async def redeliver_failed(tx: AsyncConnection, *, project_id: ProjectId, since: datetime, now: datetime) -> int:
    """Makes due now what a project has failed to deliver since then to subscriptions that are active; how many."""
    active = select(webhook_subscriptions.c.id).where(
        webhook_subscriptions.c.project_id == project_id, webhook_subscriptions.c.is_active
    )
    done = await tx.execute(
        update(deliveries)
        .where(
            deliveries.c.project_id == project_id,
            deliveries.c.state == DeliveryState.FAILED.value,
            deliveries.c.created_at >= since,
            deliveries.c.subscription_id.in_(active),
        )
        .values(**_ANEW, due_at=now, wakes=deliveries.c.wakes + 1)
    )
    wake_after_commit(tx, deliveries.name)
    return done.rowcount


async def hold(tx: AsyncConnection, subscription_id: SubscriptionId) -> None:
    """Keeps what is pending for a subscription that was paused; it is due again with `resume`."""
    await tx.execute(_pending_of(subscription_id).values(due_at=None, wakes=deliveries.c.wakes + 1))


async def resume(tx: AsyncConnection, subscription_id: SubscriptionId, *, now: datetime) -> None:
    """Makes everything pending for a subscription due now: it is active again."""
    await tx.execute(_pending_of(subscription_id).values(due_at=now, wakes=deliveries.c.wakes + 1))
    wake_after_commit(tx, deliveries.name)


async def retarget(tx: AsyncConnection, subscription_id: SubscriptionId, *, url: str) -> None:
    """What is pending for a subscription goes to its new address."""
    await tx.execute(_pending_of(subscription_id).values(url=url, host=_host(url)))


async def abandon(tx: AsyncConnection, subscription_id: SubscriptionId, *, now: datetime) -> None:
    """Ends everything pending for a subscription that is about to be deleted; the record of it stays."""
    await tx.execute(
        _pending_of(subscription_id).values(
            state=DeliveryState.FAILED.value, finished_at=now, due_at=None, wakes=deliveries.c.wakes + 1
        )
    )


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2].lower()


def _pending_of(subscription_id: SubscriptionId) -> Any:
    return update(deliveries).where(
        deliveries.c.subscription_id == subscription_id, deliveries.c.state == DeliveryState.PENDING.value
    )
