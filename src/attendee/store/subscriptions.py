"""Webhook subscriptions: where a project, or one of its bots, wants to be told of what."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import Row, Select, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.errors import Invalid, NotFound
from attendee.model import BotId, PauseReason, ProjectId, SubscriptionId, Trigger, new_id
from attendee.store import deliveries
from attendee.store.limits import WEBHOOKS, check_room
from attendee.store.tables import webhook_subscriptions

MOST_A_BOT = 10
FAILING_FOR = timedelta(days=5)

_DUPLICATE_URL = "A webhook with this url exists in the project already; change its triggers instead."


@dataclass(frozen=True, slots=True)
class Subscription:
    """A webhook endpoint and what it is told of. With `bot_id` it hears of that bot only."""

    id: SubscriptionId
    project_id: ProjectId
    bot_id: BotId | None
    url: str
    triggers: tuple[Trigger, ...]
    is_active: bool
    failing_since: datetime | None
    pause_reason: PauseReason | None
    paused_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def from_row(cls, row: Row[Any]) -> Self:
        values = dict(row._mapping)
        values["triggers"] = tuple(Trigger(trigger) for trigger in values["triggers"])
        reason = values["pause_reason"]
        values["pause_reason"] = None if reason is None else PauseReason(reason)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class NewSubscription:
    url: str
    triggers: Sequence[Trigger]


def of_project(project_id: ProjectId) -> Select[Any]:
    """The query for the subscriptions of a project; those of its bots are not among them."""
    return select(webhook_subscriptions).where(
        webhook_subscriptions.c.project_id == project_id, webhook_subscriptions.c.bot_id.is_(None)
    )


async def create(
    tx: AsyncConnection,
    new: NewSubscription,
    *,
    project_id: ProjectId,
    most: int = WEBHOOKS,
    now: datetime,
) -> Subscription:
    """A new, active subscription. Raises Invalid for a url that is taken, NotAllowed when the project has its fill."""
    await check_room(tx, of_project(project_id), project_id=project_id, most=most, what="webhooks")
    try:
        async with tx.begin_nested():
            stored = await tx.execute(
                insert(webhook_subscriptions)
                .values(_values(new, project_id=project_id, bot_id=None, now=now))
                .returning(*webhook_subscriptions.c)
            )
            return Subscription.from_row(stored.one())
    except IntegrityError:
        raise Invalid("url", _DUPLICATE_URL) from None


async def create_for_bot(
    tx: AsyncConnection, wanted: Sequence[NewSubscription], *, bot_id: BotId, project_id: ProjectId, now: datetime
) -> None:
    """Subscriptions that hear of this bot, instead of the project's. They go with the bot."""
    if wanted:
        values = [_values(new, project_id=project_id, bot_id=bot_id, now=now) for new in wanted]
        await tx.execute(insert(webhook_subscriptions), values)


async def get(
    tx: AsyncConnection, subscription_id: str, *, project_id: ProjectId, for_update: bool = False
) -> Subscription:
    """The project's subscription. Raises NotFound, for another project's and for a bot's own too."""
    query = of_project(project_id).where(webhook_subscriptions.c.id == subscription_id)
    if for_update:
        query = query.with_for_update(key_share=True)
    row = (await tx.execute(query)).one_or_none()
    if row is None:
        raise NotFound("Webhook")
    return Subscription.from_row(row)


async def find(tx: AsyncConnection, subscription_id: SubscriptionId) -> Subscription | None:
    """The subscription of whatever project or bot; None if it was deleted."""
    row = (
        await tx.execute(select(webhook_subscriptions).where(webhook_subscriptions.c.id == subscription_id))
    ).one_or_none()
    return None if row is None else Subscription.from_row(row)


async def change(
    tx: AsyncConnection,
    subscription: Subscription,
    *,
    url: str | None = None,
    triggers: Sequence[Trigger] | None = None,
    is_active: bool | None = None,
    now: datetime,
) -> Subscription:
    """Replaces what is not None. What is still to be delivered follows: to the new url, held, or let go again.

    Raises Invalid for a url that is taken.
    """
    values: dict[str, Any] = {"updated_at": now}
    if url is not None:
        values["url"] = url
        if url != subscription.url:
            values["failing_since"] = None
    if triggers is not None:
        values["triggers"] = [trigger.value for trigger in triggers]
    if is_active is not None:
        values["is_active"] = is_active
        if is_active and not subscription.is_active:
            values |= {"failing_since": None, "pause_reason": None, "paused_at": None}
    try:
        async with tx.begin_nested():
            stored = await tx.execute(
                update(webhook_subscriptions)
                .where(webhook_subscriptions.c.id == subscription.id)
                .values(**values)
                .returning(*webhook_subscriptions.c)
            )
            changed = Subscription.from_row(stored.one())
    except IntegrityError:
        raise Invalid("url", _DUPLICATE_URL) from None
    if changed.url != subscription.url:
        await deliveries.retarget(tx, changed.id, url=changed.url)
    if changed.is_active and not subscription.is_active:
        await deliveries.resume(tx, changed.id, now=now)
    elif subscription.is_active and not changed.is_active:
        await deliveries.hold(tx, changed.id)
    return changed


async def note_arrival(tx: AsyncConnection, subscription_id: SubscriptionId) -> None:
    """The receiver takes what it is sent."""
    table = webhook_subscriptions
    await tx.execute(
        update(table)
        .where(table.c.id == subscription_id, table.c.failing_since.is_not(None))
        .values(failing_since=None)
    )


async def note_failure(
    tx: AsyncConnection, subscription_id: SubscriptionId, *, is_gone: bool, tried_often: bool, now: datetime
) -> PauseReason | None:
    """The receiver has not taken a delivery. Pauses its subscription, and says why, if that is to be the last.

    `is_gone` is its own word; failing alone pauses one after `FAILING_FOR`, and only on a delivery that was tried
    often: one failure today does not prolong an outage of last week. What is pending waits, as in any pause; a bot's
    own subscription, which nobody could switch on again, gives it up. To be called before the delivery is touched.
    """
    table = webhook_subscriptions
    row = (await tx.execute(select(table).where(table.c.id == subscription_id, table.c.is_active))).one_or_none()
    if row is None:
        return None
    since = row.failing_since or now
    if is_gone:
        reason = PauseReason.GONE
    elif tried_often and now - since >= FAILING_FOR:
        reason = PauseReason.FAILING
    else:
        if row.failing_since is None:
            await tx.execute(update(table).where(table.c.id == subscription_id).values(failing_since=since))
        return None
    paused = await tx.execute(
        update(table)
        .where(table.c.id == subscription_id, table.c.is_active)
        .values(is_active=False, failing_since=since, pause_reason=reason.value, paused_at=now, updated_at=now)
    )
    if paused.rowcount == 0:
        return None
    if row.bot_id is None:
        await deliveries.hold(tx, subscription_id)
    else:
        await deliveries.abandon(tx, subscription_id, now=now)
    return reason


async def remove(tx: AsyncConnection, subscription: Subscription, *, now: datetime) -> None:
    """Deletes the subscription; what was still to be delivered to it has failed, and the record of it stays."""
    await deliveries.abandon(tx, subscription.id, now=now)
    await tx.execute(delete(webhook_subscriptions).where(webhook_subscriptions.c.id == subscription.id))


def _values(new: NewSubscription, *, project_id: ProjectId, bot_id: BotId | None, now: datetime) -> dict[str, Any]:
    return {
        "id": new_id("webhook_"),
        "project_id": project_id,
        "bot_id": bot_id,
        "url": new.url,
        "triggers": [trigger.value for trigger in new.triggers],
        "is_active": True,
        "created_at": now,
        "updated_at": now,
    }
