"""Settings → Webhooks: who is told of what, and the secret that signs it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

from starlette.responses import Response

from attendee.dashboard.rendering import page, redirect
from attendee.dashboard.visits import Visit
from attendee.errors import Invalid
from attendee.model import Trigger
from attendee.store import projects, subscriptions, tables
from attendee.store.subscriptions import NewSubscription, Subscription
from attendee.webhooks import outbox, targets

# What the service itself tells of, and what it passes on when a runner reports it.
_OWN = {
    Trigger.CALENDAR_EVENTS_UPDATE: "Events of a calendar were created, changed or deleted.",
    Trigger.CALENDAR_STATE_CHANGE: "A calendar has become disconnected.",
    Trigger.BOT_STATE_CHANGE: "A bot has joined, left, failed or ended.",
}
_PASSED_ON = [trigger for trigger in Trigger if trigger not in _OWN]
_OVERLAPS = {"24": timedelta(hours=24), "1": timedelta(hours=1), "0": timedelta(0)}


async def show_webhooks(visit: Visit) -> Response:
    return await _list(visit, secrets=())


async def show_new(visit: Visit) -> Response:
    usual = [Trigger.CALENDAR_EVENTS_UPDATE, Trigger.CALENDAR_STATE_CHANGE]
    chosen = visit.form.getlist("trigger") if visit.problem else usual
    return page(visit, "webhook_new.html", own=_OWN, passed_on=_PASSED_ON, chosen=chosen, url=visit.given("url"))


async def create(visit: Visit) -> Response:
    new = NewSubscription(_url(visit), _triggers(visit))
    async with visit.dashboard.database.transaction() as tx:
        made = await subscriptions.create(
            tx, new, project_id=visit.project.id, most=visit.dashboard.most_webhooks, now=visit.now
        )
    return redirect(_address(visit, made.id), done="created")


async def show_webhook(visit: Visit) -> Response:
    subscription = await subscriptions.get(visit.tx, visit.part("webhook_id"), project_id=visit.project.id)
    chosen = visit.form.getlist("trigger") if visit.problem else list(subscription.triggers)
    url = visit.given("url") if visit.problem else subscription.url
    return page(
        visit,
        "webhook.html",
        subscription=subscription,
        own=_OWN,
        passed_on=_PASSED_ON,
        chosen=chosen,
        url=url or subscription.url,
    )


async def change(visit: Visit) -> Response:
    url, triggers = _url(visit), _triggers(visit)
    async with visit.dashboard.database.transaction() as tx:
        subscription = await subscriptions.get(
            tx, visit.part("webhook_id"), project_id=visit.project.id, for_update=True
        )
        await subscriptions.change(tx, subscription, url=url, triggers=triggers, now=visit.now)
    return redirect(_address(visit, subscription.id), done="changed")


async def pause(visit: Visit) -> Response:
    return await _set_active(visit, is_active=False)


async def resume(visit: Visit) -> Response:
    return await _set_active(visit, is_active=True)


async def delete(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        subscription = await subscriptions.get(
            tx, visit.part("webhook_id"), project_id=visit.project.id, for_update=True
        )
        await subscriptions.remove(tx, subscription, now=visit.now)
    return redirect(f"{visit.address}/settings/webhooks", done="deleted")


async def send_test(visit: Visit) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        subscription = await subscriptions.get(tx, visit.part("webhook_id"), project_id=visit.project.id)
        delivery_id = await outbox.record_test(
            tx,
            project_id=visit.project.id,
            subscription_id=subscription.id,
            url=subscription.url,
            trigger=subscription.triggers[0],
            now=visit.now,
        )
    return redirect(f"{visit.address}/deliveries/{delivery_id}", done="test")


async def show_secret(visit: Visit) -> Response:
    """The page once more, with the signing secrets on it. A form, so that no address shows them."""
    async with visit.dashboard.database.reading() as tx:
        secrets = await projects.live_secrets(tx, visit.project.id, key_ring=visit.dashboard.key_ring, now=visit.now)
        return await _list(replace(visit, tx=tx), secrets=secrets)


async def rotate_secret(visit: Visit) -> Response:
    overlap = _OVERLAPS.get(visit.given("overlap"))
    if overlap is None:
        raise Invalid("overlap", "The overlap is 24 hours, 1 hour or none.")
    async with visit.dashboard.database.transaction() as tx:
        await projects.rotate_secret(
            tx, visit.project.id, overlap=overlap, key_ring=visit.dashboard.key_ring, now=visit.now
        )
    return redirect(f"{visit.address}/settings/webhooks", done="rotated")


async def _list(visit: Visit, *, secrets: Sequence[str]) -> Response:
    rows = await visit.tx.execute(
        subscriptions.of_project(visit.project.id).order_by(
            tables.webhook_subscriptions.c.created_at, tables.webhook_subscriptions.c.id
        )
    )
    return page(
        visit,
        "webhooks.html",
        subscriptions=[Subscription.from_row(row) for row in rows],
        secrets=secrets,
        overlap_ends_at=await projects.overlap_ends_at(visit.tx, visit.project.id, now=visit.now),
        most=visit.dashboard.most_webhooks,
    )


async def _set_active(visit: Visit, *, is_active: bool) -> Response:
    async with visit.dashboard.database.transaction() as tx:
        subscription = await subscriptions.get(
            tx, visit.part("webhook_id"), project_id=visit.project.id, for_update=True
        )
        await subscriptions.change(tx, subscription, is_active=is_active, now=visit.now)
    return redirect(_address(visit, subscription.id), done="resumed" if is_active else "paused")


def _url(visit: Visit) -> str:
    url = visit.given("url")
    refusal = targets.refusal(url, allow_insecure=visit.dashboard.allow_insecure_webhooks)
    if refusal is not None:
        raise Invalid("url", f"The address can't be used. {refusal}")
    return url


def _triggers(visit: Visit) -> tuple[Trigger, ...]:
    known = {trigger.value for trigger in Trigger}
    chosen = tuple(Trigger(text) for text in dict.fromkeys(visit.form.getlist("trigger")) if text in known)
    if not chosen:
        raise Invalid("triggers", "Tick at least one thing that this address is to be told of.")
    return chosen


def _address(visit: Visit, webhook_id: str) -> str:
    return f"{visit.address}/settings/webhooks/{webhook_id}"
