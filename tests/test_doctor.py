"""`attendee doctor`: one line and one cure for each finding, and a status that a script can act on."""

import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from attendee import clock
from attendee.doctor import Finding, Verdict, examine
from attendee.model import Trigger
from attendee.settings import Settings
from attendee.store import deliveries, tables, upkeep
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from tests.api.serving import new_app, new_project, served_app
from tests.command_line import CommandLine
from tests.installation import KEY_RING, Installation, installation

_KEY = KeyRing.generate_key()


def _examined(database_url: str, **settings: object) -> AsyncIterator[Finding]:
    chosen = Settings.model_validate({"database_url": database_url, "encryption_keys": _KEY, **settings})
    return examine(chosen, clock=clock.now)


async def _findings(database_url: str, **settings: object) -> dict[str, Finding]:
    return {finding.what: finding async for finding in _examined(database_url, **settings)}


def _prepared(database_url: str) -> AbstractAsyncContextManager[Installation]:
    """An installation whose secrets open with the key that is examined."""
    return installation(database_url, key_ring=KeyRing([_KEY]))


async def test_a_healthy_installation_has_nothing_bad(database_url: str) -> None:
    """Notes say what could be better, each with what to do."""
    found = await _findings(database_url)
    assert {finding.verdict for finding in found.values()} == {Verdict.GOOD, Verdict.NOTE}
    assert found["bots"].verdict is Verdict.NOTE
    assert "bot_not_launched" in found["bots"].told
    assert found["push"].verdict is Verdict.NOTE
    assert all(finding.cure for finding in found.values() if finding.verdict is Verdict.NOTE)


async def test_a_misspelt_setting_is_noted(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTENDEE_WORKERS_CONCURRENCY", "64")
    noted = (await _findings(database_url))["settings"]
    assert noted == Finding(
        "settings",
        Verdict.NOTE,
        "ATTENDEE_WORKERS_CONCURRENCY sets nothing.",
        "ATTENDEE_WORKER_CONCURRENCY is the setting that it resembles.",
    )


async def test_what_can_not_be_reached_is_bad(database_url: str) -> None:
    """The public address and the runner, each with its cure."""
    nobody = "http://127.0.0.1:9"
    found = await _findings(database_url, public_url=nobody, bot_runner="http", bot_runner_url=nobody)
    for what in ("push", "bots"):
        assert found[what].verdict is Verdict.BAD
        assert nobody in found[what].told
        assert found[what].cure


async def test_a_runner_that_answers_is_good(database_url: str) -> None:
    """Whatever it answers: that it does is what counts."""
    async with _prepared(database_url) as here:
        found = await _findings(database_url, bot_runner="http", bot_runner_url=here.sandbox.fleet_url)
        assert found["bots"].verdict is Verdict.GOOD


async def test_a_failing_oauth_client_is_one_finding(database_url: str) -> None:
    """However many calendars it has: the fault is the operator's, and is told once."""
    async with _prepared(database_url) as here:
        for name in ("ana", "ben", "cem"):
            await here.connect(here.world.add_person(f"{name}@acme.example"))
        async with here.database.transaction() as tx:
            expired = "The client secret has expired (Trace ID: 7f)."
            await tx.execute(update(tables.calendars).values(last_error=expired, is_operators_fault=True))
            another = tables.calendars.c.id.in_(select(tables.calendars.c.id).limit(1))
            await tx.execute(update(tables.calendars).where(another).values(last_error=expired.replace("7f", "80")))
        found = [finding async for finding in _examined(database_url)]
    (told,) = [finding for finding in found if finding.what in {"calendars", "oauth clients"}]
    assert told.verdict is Verdict.BAD
    assert "Google refuses the OAuth client sandbox-client, for 3 calendars" in told.told
    assert "The client secret has expired" in told.told


async def test_each_client_is_told_of_once_whatever_its_calendars_say(database_url: str) -> None:
    """Their errors differ in a word or two; a line for each would bury the rest."""
    async with _prepared(database_url) as here:
        for name in ("ana", "ben", "cem"):
            calendar = await here.connect(here.world.add_person(f"{name}@acme.example"))
            async with here.database.transaction() as tx:
                of_this = tables.calendars.c.id == calendar.id
                await tx.execute(update(tables.calendars).where(of_this).values(last_error=f"No answer to {name}."))
        chosen = Settings.model_validate({"database_url": database_url, "encryption_keys": _KEY})
        told = [one.told async for one in examine(chosen, clock=clock.now) if one.what == "calendars"]
    assert len(told) == 1
    assert "3 calendars" in told[0]


async def test_the_public_address_has_to_lead_to_us(sqlite_url: str) -> None:
    """Not to another installation, and to nothing else that answers; a platform's handshake has to come through."""
    database = Database(sqlite_url)
    for key, verdict, word in (
        (_KEY, Verdict.GOOD, "handshake"),
        (KeyRing.generate_key(), Verdict.BAD, "another installation"),
    ):
        async with served_app(new_app(database, key_ring=KeyRing([key]))) as address:
            found = await _findings(sqlite_url, public_url=address)
        assert (found["push"].verdict, word in found["push"].told) == (verdict, True)
    async with _prepared(sqlite_url) as here:
        found = await _findings(sqlite_url, public_url=here.sandbox.google_url)
        assert (found["push"].verdict, "something else" in found["push"].told) == (Verdict.BAD, True)
    await database.close()


async def test_a_command_that_can_not_be_run_is_bad(sqlite_url: str) -> None:
    """Found out now, and not when the first bot is late."""
    for command, verdict in (((sys.executable, "bot.py"), Verdict.GOOD), (("/nowhere/bot",), Verdict.BAD)):
        found = await _findings(sqlite_url, bot_runner="process", bot_runner_command=command)
        assert found["bots"].verdict is verdict


async def test_a_fleet_that_seems_to_refuse_the_key_is_noted(sqlite_url: str) -> None:
    """Not as a fault: it may have refused no more than a request that it doesn't know. The key is not told."""
    database = Database(sqlite_url)
    async with served_app(new_app(database)) as address:
        runner = {"bot_runner": "http", "bot_runner_url": f"{address}/api/v1/bots", "bot_runner_key": "s3cret"}
        found = (await _findings(sqlite_url, **runner))["bots"]
    await database.close()
    assert (found.verdict, "401" in found.told, "s3cret" in str(found)) == (Verdict.NOTE, True, False)


async def test_another_server_has_to_take_our_key(sqlite_url: str) -> None:
    """That it answers is not enough."""
    database, key_ring = Database(sqlite_url), KeyRing([_KEY])
    _, key = await new_project(database, key_ring, name="bots")
    async with served_app(new_app(database, key_ring=key_ring)) as address:
        for given, verdict in ((key, Verdict.GOOD), ("wrong", Verdict.BAD)):
            runner = {"bot_runner": "remote", "bot_runner_url": address, "bot_runner_key": given}
            assert (await _findings(sqlite_url, **runner))["bots"].verdict is verdict
    await database.close()


async def test_upkeep_that_fails_is_bad(sqlite_url: str) -> None:
    """The tables grow, and nobody would see it."""
    async with _prepared(sqlite_url) as here:
        async with here.database.transaction() as tx:
            await upkeep.begin(tx, now=clock.now())
        assert (await _findings(sqlite_url))["retention"].verdict is Verdict.GOOD
        async with here.database.transaction() as tx:
            await tx.execute(update(tables.upkeep).where(tables.upkeep.c.id == "events").values(attempts=9))
        found = await _findings(sqlite_url)
    assert (found["retention"].verdict, "events" in found["retention"].told) == (Verdict.BAD, True)


async def test_work_that_nobody_does_is_bad(database_url: str) -> None:
    """There is no worker, or too few."""
    async with _prepared(database_url) as here:
        here.clock.at = clock.now() - timedelta(hours=1)
        await here.connect(here.world.add_person("ana@acme.example"))
        found = await _findings(database_url)
    assert found["workers"].verdict is Verdict.BAD
    assert "attendee worker" in (found["workers"].cure or "")


async def test_a_receiver_that_refuses_is_named(database_url: str) -> None:
    """By its address, with how many webhooks it has not taken."""
    async with _prepared(database_url) as here:
        subscription = await here.subscribe()
        async with here.database.transaction() as tx:
            await deliveries.add(
                tx,
                project_id=here.project_id,
                subscription_id=subscription.id,
                url=subscription.url,
                trigger=Trigger.CALENDAR_EVENTS_UPDATE,
                idempotency_key="key",
                body="{}",
                calendar_id=None,
                bot_id=None,
                now=clock.now(),
            )
            await tx.execute(update(tables.deliveries).values(attempts=3))
        found = await _findings(database_url)
    assert found["webhooks"].verdict is Verdict.BAD
    assert subscription.url in found["webhooks"].told


async def test_a_webhook_that_paused_itself_is_named(database_url: str) -> None:
    """With why, and how it is resumed."""
    async with _prepared(database_url) as here:
        await here.subscribe()
        async with here.database.transaction() as tx:
            paused = {"is_active": False, "pause_reason": "gone", "paused_at": here.clock()}
            await tx.execute(update(tables.webhook_subscriptions).values(**paused))
        found = await _findings(database_url)
    assert found["webhooks"].verdict is Verdict.BAD
    assert "it answered 410" in found["webhooks"].told
    assert "resume" in (found["webhooks"].cure or "")


async def test_keys_that_do_not_open_are_bad_and_the_rest_is_looked_at(database_url: str) -> None:
    """The first finding says which setting; nothing is changed."""
    async with installation(database_url):
        assert KEY_RING is not None
        found = await _findings(database_url)
    assert found["database"].verdict is Verdict.BAD
    assert "ATTENDEE_ENCRYPTION_KEYS" in found["database"].told + (found["database"].cure or "")
    assert "bots" in found


@pytest.fixture
def attendee(tmp_path: Path) -> CommandLine:
    return CommandLine(tmp_path)


def test_the_command_prints_lines_and_fails_if_something_is_bad(attendee: CommandLine) -> None:
    """Status 0 with notes, 1 with something bad; `--json` is one document."""
    healthy = attendee.run("doctor")
    assert (healthy.returncode, healthy.stderr) == (0, "")
    assert "ATTENDEE_BOT_RUNNER is none" in healthy.stdout
    assert {finding["verdict"] for finding in attendee.document("doctor")["findings"]} == {"good", "note"}
    ill = attendee.run("doctor", BOT_RUNNER="http", BOT_RUNNER_URL="http://127.0.0.1:9")
    assert ill.returncode == 1
    assert "BAD   bots" in ill.stdout
