"""The first page of a project: how it stands, what needs somebody's attention, and what comes next."""

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, func, select
from starlette.responses import Response

from attendee.dashboard import bots, calendars, charts, cures
from attendee.dashboard.rendering import page
from attendee.dashboard.visits import Visit
from attendee.model import DeliveryState, SyncOutcome
from attendee.store import subscriptions
from attendee.store.subscriptions import Subscription
from attendee.store.tables import api_keys, deliveries, syncs, webhook_subscriptions
from attendee.store.tables import bots as bots_table

_SHOWN = 8
_DAY = timedelta(days=1)
# A receiver that restarts needs nobody.
_A_WHILE = timedelta(minutes=10)


async def show_overview(visit: Visit) -> Response:
    tx, project_id, now = visit.tx, visit.project.id, visit.now
    total, disconnected, troubled = await calendars.count(tx, project_id)
    synced = await charts.read_day(
        tx,
        syncs,
        at="started_at",
        state="outcome",
        failures={SyncOutcome.FAILED, SyncOutcome.DISCONNECTED},
        project_id=project_id,
        now=now,
    )
    delivered = await charts.read_day(
        tx,
        deliveries,
        at="created_at",
        state="state",
        failures={DeliveryState.FAILED},
        project_id=project_id,
        now=now,
    )
    next_bots = (
        await tx.execute(
            bots.with_event(project_id)
            .where(bots.IS_SCHEDULED, bots_table.c.join_at >= now - timedelta(minutes=5))
            .order_by(bots_table.c.join_at, bots_table.c.id)
            .limit(_SHOWN)
        )
    ).all()
    return page(
        visit,
        "overview.html",
        total=total,
        disconnected=disconnected,
        troubled=troubled,
        synced=synced,
        delivered=delivered,
        next_bots=next_bots,
        tone_of=bots.tone_of,
        faulty_clients=await calendars.faulty_clients(visit, limit=_SHOWN),
        client_cure=cures.CLIENT,
        receivers=await _receivers(visit),
        attention=await calendars.in_trouble(visit, limit=_SHOWN),
        failed_bots=await _failed_bots(visit),
        setup=await _setup(visit, has_calendar=total > 0),
    )


async def _failed_bots(visit: Visit) -> list[Row[Any]]:
    """Bots that have failed within the last day, the latest first."""
    query = (
        bots.with_event(visit.project.id)
        .where(bots.HAS_FAILED, bots_table.c.updated_at >= visit.now - _DAY)
        .order_by(bots_table.c.updated_at.desc(), bots_table.c.id.desc())
        .limit(_SHOWN)
    )
    return list((await visit.tx.execute(query)).all())


async def _receivers(visit: Visit) -> list[Subscription]:
    """Webhooks that were paused by us, and those that have failed for a while."""
    table = webhook_subscriptions
    failing = table.c.is_active & (table.c.failing_since <= visit.now - _A_WHILE)
    query = subscriptions.of_project(visit.project.id).where(table.c.pause_reason.is_not(None) | failing)
    return [Subscription.from_row(row) for row in await visit.tx.execute(query.order_by(table.c.failing_since))]


async def _setup(visit: Visit, *, has_calendar: bool) -> dict[str, bool]:
    """What a new project still needs, and whether it has it."""
    of_project = visit.project.id
    keys = await visit.tx.scalar(
        select(func.count())
        .select_from(api_keys)
        .where(api_keys.c.project_id == of_project, api_keys.c.disabled_at.is_(None))
    )
    hooks = await visit.tx.scalar(
        select(func.count())
        .select_from(webhook_subscriptions)
        .where(webhook_subscriptions.c.project_id == of_project, webhook_subscriptions.c.bot_id.is_(None))
    )
    return {"key": bool(keys), "webhook": bool(hooks), "calendar": has_calendar}
