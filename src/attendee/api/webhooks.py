"""/webhooks and /webhook_deliveries: who is told of what, and what became of it."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from orjson import Fragment
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.api import schemas
from attendee.api.bodies import body_of, documented
from attendee.api.pagination import AskedPage, Listing, asked_page
from attendee.api.problems import JsonAnswer, declared
from attendee.api.service import Authenticated, Reading, Service
from attendee.clock import written, written_or_none
from attendee.errors import Invalid
from attendee.model import ProjectId
from attendee.store import deliveries, projects, subscriptions, tables
from attendee.store.pages import Ordering, read_page
from attendee.store.subscriptions import NewSubscription, Subscription
from attendee.webhooks import outbox, targets

router = APIRouter(prefix="/api/v1/webhooks", tags=["webhooks"])
deliveries_router = APIRouter(prefix="/api/v1/webhook_deliveries", tags=["webhooks"])

_table = tables.webhook_subscriptions
_LISTING = Listing(
    "webhooks", {"created_at": Ordering(_table.c.created_at, _table.c.id, descending=False)}, "created_at", 25
)
_deliveries = tables.deliveries
_DELIVERIES = Listing(
    "deliveries",
    {"-created_at": Ordering(_deliveries.c.created_at, _deliveries.c.id, descending=True)},
    "-created_at",
    25,
)


@router.post(
    "",
    status_code=201,
    response_model=schemas.WebhookWithSecret,
    responses=declared(400, 429),
    openapi_extra=documented(schemas.NewWebhook),
)
async def create_webhook(
    caller: Authenticated, body: Annotated[schemas.NewWebhook, Depends(body_of(schemas.NewWebhook))]
) -> Response:
    """Subscribes a url to triggers. The answer has the signing secret, which is not shown again."""
    _check_url(body.url, caller.service)
    new = NewSubscription(body.url, tuple(dict.fromkeys(body.triggers)))
    now = caller.service.clock()
    async with caller.service.database.transaction() as tx:
        subscription = await subscriptions.create(
            tx, new, project_id=caller.project_id, most=caller.service.limits.webhooks, now=now
        )
        oldest, *_ = await projects.live_secrets(tx, caller.project_id, key_ring=caller.service.key_ring, now=now)
    return JsonAnswer({**_rendered(subscription), "secret": oldest}, 201)


@router.get("", response_model=schemas.WebhookPage, responses=declared(400, 404))
async def list_webhooks(reader: Reading, page: Annotated[AskedPage, Depends(asked_page(_LISTING))]) -> Response:
    """The project's webhooks, oldest first; those of single bots are not among them."""
    query = subscriptions.of_project(reader.project_id)
    found = await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)
    return page.answer(found, [_rendered(Subscription.from_row(row)) for row in found.rows])


@router.get("/{webhook_id}", response_model=schemas.Webhook, responses=declared(404))
async def read_webhook(reader: Reading, webhook_id: str) -> Response:
    subscription = await subscriptions.get(reader.tx, webhook_id, project_id=reader.project_id)
    return JsonAnswer(_rendered(subscription))


@router.patch(
    "/{webhook_id}",
    response_model=schemas.Webhook,
    responses=declared(400, 404),
    openapi_extra=documented(schemas.WebhookChange),
)
async def change_webhook(
    caller: Authenticated,
    webhook_id: str,
    body: Annotated[schemas.WebhookChange, Depends(body_of(schemas.WebhookChange))],
) -> Response:
    """Changes the webhook. What waits to be delivered goes to the new url, and waits while it is not active."""
    if body.url is not None:
        _check_url(body.url, caller.service)
    async with caller.service.database.transaction() as tx:
        subscription = await subscriptions.get(tx, webhook_id, project_id=caller.project_id, for_update=True)
        changed = await subscriptions.change(
            tx,
            subscription,
            url=body.url,
            triggers=None if body.triggers is None else tuple(dict.fromkeys(body.triggers)),
            is_active=body.is_active,
            now=caller.service.clock(),
        )
    return JsonAnswer(_rendered(changed))


@router.delete("/{webhook_id}", response_class=Response, responses=declared(404))
async def delete_webhook(caller: Authenticated, webhook_id: str) -> Response:
    """Deletes the webhook; what was still to be delivered to it is not."""
    async with caller.service.database.transaction() as tx:
        subscription = await subscriptions.get(tx, webhook_id, project_id=caller.project_id, for_update=True)
        await subscriptions.remove(tx, subscription, now=caller.service.clock())
    return Response()


@router.post("/{webhook_id}/test", status_code=202, response_model=schemas.Delivery, responses=declared(404, 429))
async def test_webhook(caller: Authenticated, webhook_id: str) -> Response:
    """Sends the webhook a body that says of itself that it is a test."""
    async with caller.service.database.transaction() as tx:
        subscription = await subscriptions.get(tx, webhook_id, project_id=caller.project_id)
        delivery_id = await outbox.record_test(
            tx,
            project_id=caller.project_id,
            subscription_id=subscription.id,
            url=subscription.url,
            trigger=subscription.triggers[0],
            now=caller.service.clock(),
        )
        answer = await _shown_delivery(tx, delivery_id, project_id=caller.project_id)
    return JsonAnswer(answer, 202)


@router.get("/{webhook_id}/deliveries", response_model=schemas.DeliveryPage, responses=declared(400, 404))
async def list_deliveries(
    reader: Reading, webhook_id: str, page: Annotated[AskedPage, Depends(asked_page(_DELIVERIES))]
) -> Response:
    """What was sent to the webhook, or is to be, newest first, with every attempt."""
    subscription = await subscriptions.get(reader.tx, webhook_id, project_id=reader.project_id)
    query = select(_deliveries).where(_deliveries.c.subscription_id == subscription.id)
    found = await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)
    attempts = await _attempts_of(reader.tx, [row.id for row in found.rows])
    return page.answer(found, [_rendered_delivery(row, attempts.get(row.id, [])) for row in found.rows])


@deliveries_router.post(
    "/redeliver_failed",
    status_code=202,
    response_model=schemas.Redelivered,
    responses=declared(400, 429),
    openapi_extra=documented(schemas.RedeliveryOfFailed),
)
async def redeliver_failed(
    caller: Authenticated,
    body: Annotated[schemas.RedeliveryOfFailed, Depends(body_of(schemas.RedeliveryOfFailed))],
) -> Response:
    """Sends everything again that was made since then and given up, to webhooks that are active."""
    async with caller.service.database.transaction() as tx:
        count = await deliveries.redeliver_failed(
            tx, project_id=caller.project_id, since=body.since, now=caller.service.clock()
        )
    return JsonAnswer({"redelivered": count}, 202)


@deliveries_router.post(
    "/{delivery_id}/redeliver", status_code=202, response_model=schemas.Delivery, responses=declared(400, 404, 429)
)
async def redeliver(caller: Authenticated, delivery_id: str) -> Response:
    """Sends a delivery again, with the same body and key."""
    async with caller.service.database.transaction() as tx:
        await deliveries.redeliver(tx, delivery_id, project_id=caller.project_id, now=caller.service.clock())
        answer = await _shown_delivery(tx, delivery_id, project_id=caller.project_id)
    return JsonAnswer(answer, 202)


def _check_url(url: str, service: Service) -> None:
    refusal = targets.refusal(url, allow_insecure=service.allow_insecure_webhooks)
    if refusal is not None:
        raise Invalid("url", refusal)


def _rendered(subscription: Subscription) -> dict[str, Any]:
    return {
        "id": subscription.id,
        "url": subscription.url,
        "triggers": subscription.triggers,
        "is_active": subscription.is_active,
        "failing_since": written_or_none(subscription.failing_since),
        "pause_reason": subscription.pause_reason,
        "created_at": written(subscription.created_at),
        "updated_at": written(subscription.updated_at),
    }


async def _shown_delivery(tx: AsyncConnection, delivery_id: str, *, project_id: ProjectId) -> dict[str, Any]:
    of_project = (_deliveries.c.id == delivery_id, _deliveries.c.project_id == project_id)
    row = (await tx.execute(select(_deliveries).where(*of_project))).one()
    attempts = await _attempts_of(tx, [delivery_id])
    return _rendered_delivery(row, attempts.get(delivery_id, []))


async def _attempts_of(tx: AsyncConnection, delivery_ids: list[str]) -> dict[str, list[dict[str, Any]]]:
    """The attempts of each delivery as an answer shows them, oldest first."""
    table = tables.delivery_attempts
    rows = await tx.execute(select(table).where(table.c.delivery_id.in_(delivery_ids)).order_by(table.c.number))
    attempts: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        attempts.setdefault(row.delivery_id, []).append(
            {
                "started_at": written(row.started_at),
                "milliseconds": row.milliseconds,
                "status": row.status,
                "answer": row.answer,
                "error": row.error,
            }
        )
    return attempts


def _rendered_delivery(row: Row[Any], attempts: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": row.id,
        "webhook_id": row.subscription_id,
        "url": row.url,
        "trigger": row.trigger,
        "calendar_id": row.calendar_id,
        "bot_id": row.bot_id,
        "idempotency_key": row.idempotency_key,
        "state": row.state,
        "body": Fragment(row.body),
        "attempts": attempts,
        "next_attempt_at": written_or_none(row.due_at),
        "created_at": written(row.created_at),
        "finished_at": written_or_none(row.finished_at),
    }
