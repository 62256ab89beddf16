"""Deliveries, written in the transaction that makes them true: told if and only if it happened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.clock import written, written_or_none
from attendee.model import BotEventType, BotState, DeliveryId, ProjectId, SubscriptionId, Trigger
from attendee.signing import canonical_json
from attendee.store import deliveries
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar

_IDS_A_BODY = 500


@dataclass(frozen=True, slots=True)
class EventIds:
    """The events that a sync created, updated and deleted."""

    created: Sequence[str] = ()
    updated: Sequence[str] = ()
    deleted: Sequence[str] = ()


async def record_events_update(
    tx: AsyncConnection, calendar: Calendar, changed: EventIds, *, heard_at: datetime | None = None, now: datetime
) -> None:
    """`calendar.events_update` for every subscription that asked for it; `calendar` is as the sync leaves it.

    `heard_at` is when a push made the calendar due, None if none did. The webhook is folded into a delivery of this
    calendar that has never been tried, if there is one.
    """
    trigger = Trigger.CALENDAR_EVENTS_UPDATE
    for subscriber in await deliveries.subscribers(tx, project_id=calendar.project_id, trigger=trigger):
        untried = await deliveries.find_untried(
            tx, subscription_id=subscriber.id, calendar_id=calendar.id, trigger=trigger
        )
        if untried is None:
            body = _calendar_body(calendar, trigger) | {"idempotency_key": deliveries.new_idempotency_key()}
            body["data"]["events"] = _event_ids(changed)
            await _add(tx, calendar, subscriber, body, heard_at=heard_at, now=now)
        else:
            told = orjson.loads(untried.body)
            body = _calendar_body(calendar, trigger) | {"idempotency_key": untried.idempotency_key}
            body["data"]["events"] = _folded(told["data"]["events"], changed)
            await deliveries.replace_body(tx, untried, canonical_json(body))


async def record_state_change(tx: AsyncConnection, calendar: Calendar, *, now: datetime) -> None:
    """`calendar.state_change` for every subscription that asked for it; `calendar` is as it is from now on."""
    trigger = Trigger.CALENDAR_STATE_CHANGE
    for subscriber in await deliveries.subscribers(tx, project_id=calendar.project_id, trigger=trigger):
        body = _calendar_body(calendar, trigger) | {"idempotency_key": deliveries.new_idempotency_key()}
        await _add(tx, calendar, subscriber, body, now=now)


async def record_bot_state_change(
    tx: AsyncConnection,
    bot: Bot,
    *,
    old_state: BotState,
    event_type: BotEventType,
    event_sub_type: str | None,
    event_metadata: dict[str, Any] | None,
    now: datetime,
) -> None:
    """`bot.state_change` for the bot's own subscriptions, or the project's; `bot` is as it is from now on."""
    data = {
        "new_state": bot.state.value,
        "old_state": old_state.value,
        "created_at": written(now),
        "event_type": event_type.value,
        "event_sub_type": event_sub_type,
        "event_metadata": event_metadata,
    }
    await record_from_bot(tx, bot, Trigger.BOT_STATE_CHANGE, data, now=now)


async def record_from_bot(
    tx: AsyncConnection, bot: Bot, trigger: Trigger, data: Mapping[str, Any], *, now: datetime
) -> None:
    """What a bot says, under this trigger, for the bot's own subscriptions, or the project's."""
    for subscriber in await deliveries.subscribers(tx, project_id=bot.project_id, trigger=trigger, bot_id=bot.id):
        key = deliveries.new_idempotency_key()
        body = {
            "idempotency_key": key,
            "trigger": trigger.value,
            "bot_id": bot.id,
            "bot_metadata": bot.metadata,
            "data": data,
        }
        await deliveries.add(
            tx,
            project_id=bot.project_id,
            subscription_id=subscriber.id,
            url=subscriber.url,
            trigger=trigger,
            idempotency_key=key,
            body=canonical_json(body),
            calendar_id=None,
            bot_id=bot.id,
            now=now,
        )


async def record_test(
    tx: AsyncConnection,
    *,
    project_id: ProjectId,
    subscription_id: SubscriptionId,
    url: str,
    trigger: Trigger,
    now: datetime,
) -> DeliveryId:
    """A delivery that says of itself that it is a test; its id."""
    return await deliveries.add(
        tx,
        project_id=project_id,
        subscription_id=subscription_id,
        url=url,
        trigger=trigger,
        idempotency_key=(key := deliveries.new_idempotency_key()),
        body=canonical_json(
            {
                "idempotency_key": key,
                "trigger": trigger.value,
                "calendar_id": None,
                "calendar_deduplication_key": None,
                "calendar_metadata": None,
                "data": {"test": True, "message": "A test sent by hand. Nothing has happened."},
            }
        ),
        calendar_id=None,
        bot_id=None,
        now=now,
    )


def _calendar_body(calendar: Calendar, trigger: Trigger) -> dict[str, Any]:
    return {
        "trigger": trigger.value,
        "calendar_id": calendar.id,
        "calendar_deduplication_key": calendar.deduplication_key,
        "calendar_metadata": calendar.metadata,
        "data": {
            "state": calendar.state.value,
            "connection_failure_data": calendar.connection_failure_data,
            "last_successful_sync_at": written_or_none(calendar.last_successful_sync_at),
            "last_attempted_sync_at": written_or_none(calendar.last_attempted_sync_at),
        },
    }


def _event_ids(changed: EventIds) -> dict[str, Any]:
    left = _IDS_A_BODY
    listed: dict[str, Any] = {}
    # Deleted ones first: a client finds the others by `updated_after` all the same.
    for name in ("deleted", "created", "updated"):
        ids = list(getattr(changed, name))
        listed[name] = ids[:left]
        left -= len(listed[name])
    listed["truncated"] = sum(map(len, (changed.created, changed.updated, changed.deleted))) > _IDS_A_BODY
    return listed


def _folded(told: dict[str, Any], changed: EventIds) -> dict[str, Any]:
    """What a client that has not heard of `told` must hear, now that more has changed."""
    fates = {event_id: fate for fate in ("created", "updated", "deleted") for event_id in told[fate]}
    for event_id in changed.created:
        fates[event_id] = "created"
    for event_id in changed.updated:
        fates[event_id] = "created" if fates.get(event_id) == "created" else "updated"
    for event_id in changed.deleted:
        fates[event_id] = "deleted"
    by_fate: dict[str, list[str]] = {"created": [], "updated": [], "deleted": []}
    for event_id, fate in fates.items():
        by_fate[fate].append(event_id)
    folded = _event_ids(EventIds(**by_fate))
    folded["truncated"] = folded["truncated"] or told["truncated"]
    return folded


async def _add(
    tx: AsyncConnection,
    calendar: Calendar,
    subscriber: deliveries.Subscriber,
    body: dict[str, Any],
    *,
    heard_at: datetime | None = None,
    now: datetime,
) -> None:
    await deliveries.add(
        tx,
        project_id=calendar.project_id,
        subscription_id=subscriber.id,
        url=subscriber.url,
        trigger=Trigger(body["trigger"]),
        idempotency_key=body["idempotency_key"],
        body=canonical_json(body),
        calendar_id=calendar.id,
        bot_id=None,
        heard_at=heard_at,
        now=now,
    )
