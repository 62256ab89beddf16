"""Deliveries: what was sent to whom, what came back, and sending it again."""

from datetime import datetime, timedelta

import orjson
from sqlalchemy import select
from starlette.responses import Response

from attendee.dashboard import paging
from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import Visit
from attendee.errors import Invalid, NotFound
from attendee.model import DeliveryState, Trigger
from attendee.store import deliveries, subscriptions
from attendee.store.pages import Ordering
from attendee.store.subscriptions import Subscription
from attendee.store.tables import deliveries as table
from attendee.store.tables import delivery_attempts

_LISTING = paging.Listing("deliveries", Ordering(table.c.created_at, table.c.id, descending=True))
_GONE = "gone"


async def show_deliveries(visit: Visit) -> Response:
    query = select(
        table.c.id,
        table.c.subscription_id,
        table.c.url,
        table.c.trigger,
        table.c.calendar_id,
        table.c.bot_id,
        table.c.state,
        table.c.attempts,
        table.c.created_at,
        table.c.finished_at,
        table.c.due_at,
    ).where(table.c.project_id == visit.project.id)
    webhook, trigger, state = visit.asked("webhook"), visit.asked("trigger"), visit.asked("state")
    if webhook == _GONE:
        query = query.where(table.c.subscription_id.is_(None))
    elif webhook:
        query = query.where(table.c.subscription_id == webhook)
    if trigger:
        query = query.where(table.c.trigger == trigger)
    if state:
        query = query.where(table.c.state == state)
    rows = await visit.tx.execute(subscriptions.of_project(visit.project.id))
    return page(
        visit,
        "deliveries.html",
        found=await paging.read(visit, query, _LISTING),
        subscriptions=[Subscription.from_row(row) for row in rows],
        triggers=list(Trigger),
        states=list(DeliveryState),
        webhook=webhook,
        trigger=trigger,
        state=state,
        since=_written(visit, visit.now - timedelta(days=1)),
        redelivered=visit.asked("redelivered"),
    )


async def show_delivery(visit: Visit) -> Response:
    row = (
        await visit.tx.execute(
            select(table).where(table.c.id == visit.part("delivery_id"), table.c.project_id == visit.project.id)
        )
    ).one_or_none()
    if row is None:
        raise NotFound("Delivery")
    attempts = await visit.tx.execute(
        select(delivery_attempts)
        .where(delivery_attempts.c.delivery_id == row.id)
        .order_by(delivery_attempts.c.number.desc())
    )
    subscription = None
    if row.subscription_id is not None:
        subscription = await subscriptions.find(visit.tx, row.subscription_id)
    return page(
        visit,
        "delivery.html",
        delivery=row,
        attempts=attempts.all(),
        subscription=subscription,
        body=orjson.dumps(orjson.loads(row.body), option=orjson.OPT_INDENT_2).decode(),
    )


async def redeliver(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        delivery = await deliveries.redeliver(tx, visit.part("delivery_id"), project_id=visit.project.id, now=visit.now)
    return redirect(f"{visit.address}/deliveries/{delivery.id}", done="redelivery")


async def redeliver_failed(visit: Visit) -> Response:
    """Sends everything again that has failed since a time, as far as there is still somebody to send it to."""
    since = _read(visit, visit.given("since"))
    async with visit.dashboard.database.transaction() as tx:
        count = await deliveries.redeliver_failed(tx, project_id=visit.project.id, since=since, now=visit.now)
    return redirect(f"{visit.address}/deliveries?state=pending&redelivered={count}")


def _written(visit: Visit, at: datetime) -> str:
    return f"{at.astimezone(visit.zone):%Y-%m-%dT%H:%M}"


def _read(visit: Visit, text: str) -> datetime:
    """A time as a form field writes it, in the viewer's zone. Raises Invalid."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise Invalid("since", "Say since when, such as 2026-11-23T09:30.") from None
    if not 1971 <= at.year <= 9998:
        raise Invalid("since", "Say since when, such as 2026-11-23T09:30.")
    return at.replace(tzinfo=visit.zone) if at.tzinfo is None else at
