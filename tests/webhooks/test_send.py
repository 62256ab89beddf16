"""From the outbox to the receiver: signed, tried until it arrives, never lost, never under another key."""

import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert
from structlog.testing import capture_logs

from attendee.errors import ClaimLost
from attendee.model import CalendarId, DeliveryState, PauseReason, Trigger
from attendee.store import claims, deliveries, projects, subscriptions, tables
from attendee.store.subscriptions import Subscription
from attendee.webhooks import outbox
from attendee.webhooks.send import Sender, retry_delay
from tests.installation import START, Installation, installation
from tests.webhooks.receiver import Receiver, claim_deliveries, running_receiver, running_sender, send_due


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with running_receiver() as made:
        yield made


@pytest.fixture
async def sender(here: Installation) -> AsyncIterator[Sender]:
    async with running_sender(here) as made:
        yield made


@pytest.fixture
async def subscription(here: Installation, receiver: Receiver) -> Subscription:
    """A subscription to which one delivery is due."""
    made = await here.subscribe(receiver.url)
    ana = here.world.add_person("ana@acme.example", name="Ana Müller")
    ana.primary.put("meeting", starts=START + timedelta(days=1))
    await here.sync((await here.connect(ana, metadata={"name": "Ana Müller"})).id)
    return made


async def _delivery(here: Installation) -> Any:
    (row,) = await here.rows(tables.deliveries)
    return row


async def _attempts(here: Installation) -> list[Any]:
    return await here.rows(tables.delivery_attempts)


async def _stored(here: Installation) -> Subscription:
    """The project's subscription."""
    (row,) = await here.rows(tables.webhook_subscriptions, tables.webhook_subscriptions.c.bot_id.is_(None))
    return Subscription.from_row(row)


async def _a_delivery(here: Installation, subscription: Subscription) -> None:
    async with here.database.transaction() as tx:
        await outbox.record_test(
            tx,
            project_id=here.project_id,
            subscription_id=subscription.id,
            url=subscription.url,
            trigger=Trigger.CALENDAR_EVENTS_UPDATE,
            now=here.clock(),
        )


async def _change(here: Installation, subscription: Subscription, **fields: Any) -> Subscription:
    async with here.database.transaction() as tx:
        return await subscriptions.change(tx, subscription, now=here.clock(), **fields)


async def test_a_delivery_arrives_signed_and_is_over(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Both signatures verify over the bytes that came; after a 2xx nothing is sent any more."""
    here.clock.advance(timedelta(seconds=1))
    receiver.answers.append((202, "thanks"))
    assert await send_due(here, sender) == 1
    async with here.database.reading() as tx:
        (secret,) = await projects.live_secrets(tx, here.project_id, key_ring=here.key_ring, now=here.clock())
    (body,), (headers,) = receiver.bodies, receiver.headers
    key = base64.b64decode(secret)
    assert headers["X-Webhook-Signature"] == base64.b64encode(hmac.digest(key, body, hashlib.sha256)).decode()
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    assert headers["webhook-signature"] == "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert headers["webhook-id"] == receiver.parsed[0]["idempotency_key"]
    assert headers["webhook-timestamp"] == str(int(here.clock().timestamp()))
    assert headers["Content-Type"] == "application/json"
    assert "Ana Müller".encode() in body

    delivery, (attempt,) = await _delivery(here), await _attempts(here)
    assert (delivery.state, delivery.finished_at, delivery.due_at) == (DeliveryState.DELIVERED, here.clock(), None)
    assert (attempt.status, attempt.answer, attempt.error) == (202, "thanks", None)
    assert attempt.started_at == here.clock()
    here.clock.advance(timedelta(days=3))
    assert await send_due(here, sender) == 0


async def test_while_secrets_rotate_both_sign(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """The older signs the single header, so that receivers may change to the new one at any time between."""
    new = base64.b64encode(b"n" * 32).decode()
    sealed = here.key_ring.seal(new, table="signing_secrets", column="secret", row_id="sec_new")
    row = {"id": "sec_new", "project_id": here.project_id, "secret": sealed}
    async with here.database.transaction() as tx:
        later = here.clock() + timedelta(seconds=1)
        await tx.execute(insert(tables.signing_secrets).values(**row, created_at=later))
        old, _ = await projects.live_secrets(tx, here.project_id, key_ring=here.key_ring, now=here.clock())
    await send_due(here, sender)
    (body,), (headers,) = receiver.bodies, receiver.headers
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    signatures = [
        base64.b64encode(hmac.digest(base64.b64decode(secret), signed, hashlib.sha256)).decode()
        for secret in (old, new)
    ]
    assert headers["webhook-signature"] == " ".join(f"v1,{signature}" for signature in signatures)
    single = base64.b64encode(hmac.digest(base64.b64decode(old), body, hashlib.sha256)).decode()
    assert headers["X-Webhook-Signature"] == single


@pytest.mark.parametrize("status", [302, 400, 429, 500, 503])
async def test_only_2xx_is_an_arrival(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription, status: int
) -> None:
    """Everything else is tried again with the same body and key, redirects included, which are not followed."""
    receiver.answers.append((status, "x" * 2000))
    await send_due(here, sender)
    delivery, (attempt,) = await _delivery(here), await _attempts(here)
    assert delivery.state == DeliveryState.PENDING
    assert here.clock() < delivery.due_at <= here.clock() + timedelta(seconds=5)
    assert (attempt.status, attempt.answer) == (status, "x" * 500)
    assert len(receiver.bodies) == 1
    here.clock.at = delivery.due_at
    await send_due(here, sender)
    assert (await _delivery(here)).state == DeliveryState.DELIVERED
    assert receiver.bodies[0] == receiver.bodies[1]
    assert receiver.headers[0]["webhook-id"] == receiver.headers[1]["webhook-id"]
    assert len(await _attempts(here)) == 2


@pytest.mark.parametrize(
    ("asked", "wait"),
    [
        ("1", None),
        ("600", timedelta(minutes=10)),
        ("Tue, 01 Dec 2026 09:30:00 GMT", timedelta(hours=1)),
        ("99999999", timedelta(days=1)),
        ("later", None),
    ],
)
async def test_a_receiver_is_left_alone_as_long_as_it_asks(
    here: Installation,
    receiver: Receiver,
    sender: Sender,
    subscription: Subscription,
    *,
    asked: str,
    wait: timedelta | None,
) -> None:
    """In seconds or until a date, for a day at most; never sooner than without a word."""
    receiver.answers.append((503, "busy"))
    receiver.says = {"Retry-After": asked, "Date": "Tue, 01 Dec 2026 08:30:00 GMT"}
    await send_due(here, sender)
    due_in = (await _delivery(here)).due_at - here.clock()
    if wait is None:
        assert timedelta(seconds=1.5) < due_in < timedelta(seconds=2.5)
    else:
        assert due_in == wait


async def test_asking_for_time_buys_no_more_tries(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Who says "in nine hours" for ever is given up after as many tries as anybody."""
    receiver.says = {"Retry-After": "32400"}
    tries = 0
    while (delivery := await _delivery(here)).state == DeliveryState.PENDING and delivery.due_at is not None:
        receiver.answers.append((429, ""))
        here.clock.at = max(here.clock(), delivery.due_at)
        tries += await send_due(here, sender)
    assert 10 <= tries <= 13


async def test_a_receiver_that_is_gone_pauses_its_subscription(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """410 is its own word. What is pending waits, nothing new is made, and all of it goes out once it is resumed."""
    receiver.answers.append((410, "moved away"))
    await send_due(here, sender)
    paused = await _stored(here)
    assert (paused.is_active, paused.pause_reason, paused.paused_at) == (False, PauseReason.GONE, here.clock())
    delivery, (attempt,) = await _delivery(here), await _attempts(here)
    assert (delivery.state, delivery.due_at, delivery.claim_id) == (DeliveryState.PENDING, None, None)
    assert (attempt.status, attempt.answer) == (410, "moved away")

    here.clock.advance(timedelta(days=9))
    assert await send_due(here, sender) == 0
    resumed = await _change(here, paused, is_active=True)
    assert (resumed.pause_reason, resumed.paused_at, resumed.failing_since) == (None, None, None)
    assert await send_due(here, sender) == 1
    assert (await _delivery(here)).state == DeliveryState.DELIVERED
    assert receiver.bodies[0] == receiver.bodies[1]


async def test_a_bots_own_receiver_that_is_gone_is_given_up(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Nobody can resume it, so that its deliveries end; one by one they can be sent again by hand."""
    (event,) = await here.rows(tables.events)
    bot = await here.order_bot(event)
    await _change(here, subscription, is_active=False)
    own = subscriptions.NewSubscription(receiver.url, (Trigger.BOT_STATE_CHANGE,))
    async with here.database.transaction() as tx:
        await subscriptions.create_for_bot(tx, [own], bot_id=bot.id, project_id=here.project_id, now=here.clock())
        for _ in range(2):
            await outbox.record_from_bot(tx, bot, Trigger.BOT_STATE_CHANGE, {}, now=here.clock())
    receiver.answers.append((410, ""))
    first, second = await claim_deliveries(here)
    await sender.send(first)
    of_bot = await here.rows(tables.deliveries, tables.deliveries.c.bot_id == bot.id)
    assert [one.state for one in of_bot] == [DeliveryState.FAILED] * 2
    await sender.send(second)
    async with here.database.transaction() as tx:
        await outbox.record_from_bot(tx, bot, Trigger.BOT_STATE_CHANGE, {}, now=here.clock())
        await deliveries.redeliver(tx, first.id, project_id=here.project_id, now=here.clock())
    assert await send_due(here, sender) == 1, "the one that was asked for, and nothing new"
    of_bot = await here.rows(tables.deliveries, tables.deliveries.c.bot_id == bot.id)
    assert [one.state for one in of_bot] == [DeliveryState.DELIVERED] * 2


async def test_five_days_of_nothing_but_failures_pause_the_subscription(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Told in one line of the log, which does not have the address; a single arrival begins the count anew."""
    receiver.answers.extend([(500, "")] * 200)
    began_at = here.clock()
    pending = tables.deliveries.c.state == DeliveryState.PENDING
    with capture_logs() as lines:
        while (stored := await _stored(here)).is_active:
            waiting = await here.rows(tables.deliveries, pending)
            if not waiting:
                await _a_delivery(here, subscription)
                continue
            here.clock.at = max(here.clock(), waiting[0].due_at)
            await send_due(here, sender)
    assert stored.pause_reason is PauseReason.FAILING
    assert stored.failing_since == began_at
    assert timedelta(days=5) <= here.clock() - began_at < timedelta(days=6)
    (line,) = [line for line in lines if line["event"] == "webhook_paused"]
    assert (line["reason"], line["webhook"], line["log_level"]) == ("failing", subscription.id, "warning")
    assert "/hook" not in str(line)

    assert len(await here.rows(tables.deliveries, pending)) == 1
    receiver.answers.clear()
    await _change(here, stored, is_active=True)
    assert await send_due(here, sender) == 1
    assert (await _stored(here)).failing_since is None
    assert await here.rows(tables.deliveries, pending) == []


async def test_an_outage_of_last_week_does_not_judge_the_one_of_today(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """With nothing to send in between, the first failures pause nothing: only a delivery that was tried often does."""
    receiver.answers.extend([(500, "")] * 6)
    await send_due(here, sender)
    here.clock.advance(timedelta(days=6))
    for _ in range(5):
        await send_due(here, sender)
        here.clock.advance(timedelta(minutes=10))
    assert (await _stored(here)).failing_since == START
    await send_due(here, sender)
    assert (await _stored(here)).is_active
    assert (await _stored(here)).failing_since is None
    assert (await _delivery(here)).state == DeliveryState.DELIVERED


async def test_odd_answers_are_kept_as_far_as_they_go(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """NUL characters and all: no answer keeps its attempt from being recorded."""
    receiver.answers.append((500, "\x00oh \U0001f40c"))
    await send_due(here, sender)
    (attempt,) = await _attempts(here)
    assert attempt.answer == "oh \U0001f40c"


async def test_a_receiver_that_is_away_is_tried_for_more_than_a_day(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """The delays grow from seconds to hours; then it is over, and the record says so."""
    await _change(here, subscription, url="http://127.0.0.1:1/nobody")
    began_at, delays = here.clock(), []
    while (delivery := await _delivery(here)).state == DeliveryState.PENDING:
        here.clock.at = max(here.clock(), delivery.due_at)
        await send_due(here, sender)
        due_at = (await _delivery(here)).due_at
        if due_at is not None:
            delays.append(due_at - here.clock())
    assert delays[0] < timedelta(seconds=5)
    assert delays[-1] > timedelta(hours=8)
    assert here.clock() - began_at > timedelta(days=1)
    assert (delivery.state, delivery.finished_at) == (DeliveryState.FAILED, here.clock())
    attempts = await _attempts(here)
    assert len(attempts) == len(delays) + 1
    assert all(attempt.status is None and attempt.error for attempt in attempts)


def test_delays_grow_and_are_jittered() -> None:
    """A thousand deliveries that failed together don't come again together."""
    middles = []
    attempts = 1
    while retry_delay(attempts) is not None:
        drawn = [delay for _ in range(200) if (delay := retry_delay(attempts)) is not None]
        assert max(drawn) / min(drawn) > 1.1
        middles.append((max(drawn) + min(drawn)) / 2)
        attempts += 1
    assert middles == sorted(middles)
    assert len(middles) >= 10


async def test_a_sender_that_dies_loses_nothing(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Killed in the middle of an attempt: another sends it once the claim has ended, under the same key."""
    (taken,) = await claim_deliveries(here)
    assert await send_due(here, sender) == 0, "it is being sent"
    here.clock.advance(claims.LEASE)
    assert await send_due(here, sender) == 1
    assert receiver.parsed[0]["idempotency_key"] == taken.idempotency_key
    assert (await _delivery(here)).state == DeliveryState.DELIVERED
    with pytest.raises(ClaimLost):
        await sender.send(taken)
    assert len(await _attempts(here)) == 1, "who lost the claim records nothing"


async def test_a_paused_subscription_gets_its_deliveries_later(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Nothing is sent while it is paused; afterwards what was pending is, to where it points then."""
    paused = await _change(here, subscription, is_active=False, url=receiver.url + "?old")
    here.clock.advance(timedelta(days=3))
    assert await send_due(here, sender) == 0
    await _change(here, paused, is_active=True, url=receiver.url)
    assert await send_due(here, sender) == 1
    assert (await _delivery(here)).state == DeliveryState.DELIVERED


async def test_a_pause_during_an_attempt_holds(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """An attempt that fails meanwhile makes nothing due."""
    (taken,) = await claim_deliveries(here)
    await _change(here, subscription, is_active=False)
    receiver.answers.append((500, ""))
    await sender.send(taken)
    delivery = await _delivery(here)
    assert (delivery.state, delivery.due_at) == (DeliveryState.PENDING, None)


async def test_what_arrives_while_it_is_asked_for_again_is_delivered(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """A pause that is lifted, or a redelivery, in the middle of a good attempt doesn't keep it from being recorded."""
    (taken,) = await claim_deliveries(here)
    paused = await _change(here, subscription, is_active=False)
    await _change(here, paused, is_active=True)
    await sender.send(taken)
    assert len(await _attempts(here)) == 1
    assert (await _delivery(here)).claim_id is None


async def test_a_redelivery_is_the_same_again(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """Same body, same key, though it had arrived."""
    await send_due(here, sender)
    async with here.database.transaction() as tx:
        await deliveries.redeliver(tx, (await _delivery(here)).id, project_id=here.project_id, now=here.clock())
    assert await send_due(here, sender) == 1
    assert receiver.bodies[0] == receiver.bodies[1]
    assert len(await _attempts(here)) == 2


@pytest.mark.parametrize("status", [200, 500])
async def test_a_deleted_subscription_ends_its_deliveries(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription, status: int
) -> None:
    """Also one that is being tried at that moment: nothing is left pending for nobody, and the record stays."""
    (taken,) = await claim_deliveries(here)
    async with here.database.transaction() as tx:
        await subscriptions.remove(tx, subscription, now=here.clock())
    ended = await _delivery(here)
    assert (ended.state, ended.subscription_id, ended.due_at) == (DeliveryState.FAILED, None, None)
    receiver.answers.append((status, ""))
    await sender.send(taken)
    assert (await _delivery(here)).state != DeliveryState.PENDING
    here.clock.advance(timedelta(days=3))
    assert await send_due(here, sender) == 0


async def test_a_paused_subscription_is_told_nothing_new(
    here: Installation, receiver: Receiver, sender: Sender, subscription: Subscription
) -> None:
    """What happens during the pause makes no delivery: the client asks by `updated_after` when it is back."""
    await send_due(here, sender)
    await _change(here, subscription, is_active=False)
    (calendar,) = await here.rows(tables.calendars)
    here.world.people["ana@acme.example"].primary.put("late", starts=START + timedelta(days=1))
    await here.sync(CalendarId(calendar.id))
    assert len(await here.rows(tables.deliveries)) == 1
