"""The work after the answer: deliveries that have come, and bots that are missing or too many."""

import asyncio
import logging
from contextlib import suppress
from datetime import timedelta

from notetaker import webhooks
from notetaker.bots import arrange_bots
from notetaker.office import Office

logger = logging.getLogger(__name__)

# Without a bell it looks again after this, for what was put off.
_LOOK_AGAIN_SECONDS = 5
_LONGEST_PAUSE = timedelta(minutes=10)


async def work(office: Office) -> None:
    """Works until it is cancelled. What it had not done by then is found again after the next start."""
    while True:
        office.bell.clear()
        await work_off(office)
        with suppress(TimeoutError):
            await asyncio.wait_for(office.bell.wait(), _LOOK_AGAIN_SECONDS)


async def work_off(office: Office) -> None:
    """Does what is due now, one after another. What fails is put off, a little longer each time, and stops no other."""
    for delivery in office.store.due_deliveries(now=office.now()):
        try:
            await webhooks.handle(office, delivery.webhook)
        except Exception:
            logger.exception("Webhook %s could not be worked off; it is tried again.", delivery.webhook.idempotency_key)
            pause = min(timedelta(seconds=2**delivery.attempts), _LONGEST_PAUSE)
            office.store.put_off(delivery, until=office.now() + pause)
        else:
            logger.info("Worked off %s %s", delivery.webhook.trigger, delivery.webhook.idempotency_key)
            office.store.settle_delivery(delivery, now=office.now())
    try:
        await arrange_bots(office)
    except Exception:
        logger.exception("Bots could not be arranged; it is tried again.")
