"""What a scrape says: what this process did and how the database is, and nothing of any tenant."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.schema import DropTable

from attendee.api.operations import create_operations
from attendee.bots import steps
from attendee.store import tables
from tests.api.serving import Client, served_app
from tests.bots.crew import MEET
from tests.installation import START
from tests.pushing import Pushing, pushing
from tests.webhooks.receiver import running_receiver, running_sender, send_due


@pytest.fixture
async def there(database_url: str) -> AsyncIterator[Pushing]:
    async with pushing(database_url) as made:
        yield made


async def _scraped(client: Client) -> tuple[str, dict[tuple[str, tuple[str, ...]], float]]:
    """The text, and each sample by its name and the values of its labels, in the order of their names."""
    answer = await client.ask("GET", "/metrics", headers={"Authorization": "none"})
    assert answer.status == 200
    text = answer.raw.decode()
    return text, {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_story_is_counted_without_a_word_of_who_it_was(there: Pushing) -> None:
    """A sync, a push, its webhook, a bot and a failure; ids, names, addresses and titles are in no label."""
    here = there.here
    async with running_receiver() as receiver, running_sender(here) as sender:
        await here.subscribe(receiver.url)
        ana = here.world.add_person("ana@acme.example")
        ana.primary.put("meeting", starts=START + timedelta(hours=4), title="Layoffs", location=MEET)
        _, before = await _scraped(there.client)
        calendar = await there.connect(ana, metadata={"tenant": "hush"}, deduplication_key="ana")
        await send_due(here, sender)
        await there.pass_poll(calendar.id)
        await here.order_bot((await here.events(calendar.id))["meeting"])
        here.clock.advance(timedelta(minutes=1))
        ana.primary.edit("meeting", title="Lay-offs")
        await here.sandbox.pushed()
        await there.sync_due()
        here.clock.advance(timedelta(seconds=2))
        await send_due(here, sender)
        await there.client.get(f"/calendars/{calendar.id}")
        here.world.revoke(ana)
        here.clock.advance(timedelta(hours=2))
        await there.sync_due()
        here.clock.advance(timedelta(hours=2))
        text, after = await _scraped(there.client)

    def more(name: str, *labels: str) -> float:
        return after.get((name, labels), 0) - before.get((name, labels), 0)

    assert more("attendee_syncs_total", "changed", "google") == 2
    assert more("attendee_syncs_total", "disconnected", "google") == 1
    assert more("attendee_sync_failures_total", "consent_revoked", "google") == 1
    assert more("attendee_sync_seconds_count", "google") >= 3
    assert more("attendee_pushes_total", "google") == 1
    assert more("attendee_deliveries_total", "delivered") == 2
    assert more("attendee_push_to_webhook_seconds_count") == 1
    assert more("attendee_push_to_webhook_seconds_sum") == 2
    assert more("attendee_requests_total", "GET", "/api/v1/calendars/{calendar_id}", "200") == 1
    assert after["attendee_database_up", ()] == 1
    assert after["attendee_due_work", ("deliveries",)] == 1
    assert after["attendee_due_age_seconds", ("deliveries",)] == 7200
    assert after["attendee_calendars_in_trouble", ()] == 1
    assert after["attendee_bots", ("scheduled",)] == 0
    for secret in (calendar.id, here.project_id, "ana", "acme", "hush", "ay-offs", "ayoffs", "sandbox-client", "meet."):
        assert secret not in text.lower(), secret


async def test_bots_that_live_are_counted_by_their_state(there: Pushing) -> None:
    """Every state has a figure, also where there are none."""
    here = there.here
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(hours=1), location=MEET)
    calendar = await there.connect(ana)
    await here.order_bot((await here.events(calendar.id))["meeting"])
    _, scraped = await _scraped(there.client)
    assert (scraped["attendee_bots", ("scheduled",)], scraped["attendee_bots", ("joining",)]) == (1, 0)


async def test_what_was_rolled_back_is_not_counted(there: Pushing) -> None:
    """A bot that came into a state counts once that is stored."""
    here = there.here
    ana = here.world.add_person("ana@acme.example")
    ana.primary.put("meeting", starts=START + timedelta(hours=1), location=MEET)
    calendar = await there.connect(ana)
    bot = await here.order_bot((await here.events(calendar.id))["meeting"])

    async def end(trouble: Exception | None = None) -> None:
        async with here.database.transaction() as tx:
            await steps.end(tx, bot, sub_type="bot_not_launched", reason="It was late.", now=here.clock())
            if trouble is not None:
                raise trouble

    async def count() -> float:
        return (await _scraped(there.client))[1].get(("attendee_bot_states_total", ("fatal_error",)), 0)

    before = await count()
    with pytest.raises(ZeroDivisionError):
        await end(ZeroDivisionError())
    assert await count() == before
    await end()
    assert await count() == before + 1


async def test_a_worker_tells_too_and_so_does_a_process_without_its_database(there: Pushing) -> None:
    """What the process has counted is told all the same; that the database is away is one of the figures."""
    here = there.here
    async with served_app(create_operations(database=here.database, clock=here.clock)) as address:
        client = Client(here.http, address, None)
        assert (await client.ask("GET", "/healthz")).json == {"status": "ok"}
        assert (await _scraped(client))[1]["attendee_database_up", ()] == 1
        async with here.database.transaction() as tx:
            await tx.execute(DropTable(tables.upkeep))
        _, scraped = await _scraped(client)
    assert scraped["attendee_database_up", ()] == 0
    assert "attendee_build_info" in {name for name, _ in scraped}
