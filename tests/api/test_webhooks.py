"""Webhook subscriptions and deliveries over HTTP."""

import asyncio
import base64
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import select

from attendee.store import projects, tables
from attendee.webhooks.targets import refusal
from tests.api.serving import NOON, Client, Served, served

HOOK = {"url": "https://a.example/hooks", "triggers": ["bot.state_change", "calendar.events_update"]}


async def test_the_secret_is_shown_once(api: Served, client: Client) -> None:
    """POST answers with the project's secret in base64; no other answer has it."""
    made = await client.post("/webhooks", {**HOOK, "triggers": ["bot.state_change", "bot.state_change"]})
    assert made.status == 201
    secret = made.json["secret"]
    assert len(base64.b64decode(secret)) == 32
    async with api.database.reading() as tx:
        assert [secret] == await projects.live_secrets(tx, api.project_id, key_ring=api.key_ring, now=NOON)
    shown = await client.get(f"/webhooks/{made.json['id']}")
    assert shown.json == {name: value for name, value in made.json.items() if name != "secret"}
    assert shown.json["triggers"] == ["bot.state_change"]
    assert secret.encode() not in (await client.get("/webhooks")).raw + shown.raw


@pytest.mark.parametrize(
    ("url", "is_refused"),
    [
        ("https://example.com/x", False),
        ("https://example.com:8443/x?y=1", False),
        ("https://8.8.8.8/", False),
        ("https://münchen.example/", False),
        ("http://example.com/", True),
        ("ftp://example.com/", True),
        ("example.com", True),
        ("https://", True),
        ("https:///path", True),
        ("https://exa mple.com/", True),
        ("https://example.com:99999/", True),
        ("https://[::1", True),
        ("https://localhost/", True),
        ("https://LOCALHOST./", True),
        ("https://a.localhost/", True),
        ("https://printer.local/", True),
        ("https://127.0.0.1/", True),
        ("https://127.1/", True),
        ("https://2130706433/", True),
        ("https://0x7f000001/", True),
        ("https://10.1.2.3/", True),
        ("https://192.168.1.1/", True),
        ("https://169.254.169.254/latest/meta-data", True),
        ("https://0.0.0.0/", True),
        ("https://[::1]/", True),
        ("https://[fe80::1%25eth0]/", True),
        ("https://[fd00::1]/", True),
        ("https://[::ffff:10.0.0.1]/", True),
    ],
)
def test_a_webhook_goes_to_a_public_address_over_https(url: str, *, is_refused: bool) -> None:
    """Names are looked at when connecting; addresses and names of this machine are refused here already."""
    assert (refusal(url, allow_insecure=False) is not None) is is_refused


async def test_insecure_webhooks_are_for_local_work(sqlite_url: str) -> None:
    """Plain http and private addresses are accepted when that is allowed, and what is no URL still is not."""
    async with served(sqlite_url, allow_insecure_webhooks=True) as api:
        assert (await api.client.post("/webhooks", {**HOOK, "url": "http://127.0.0.1:9/"})).status == 201
        for url in ("file:///etc/passwd", "http://", "nonsense"):
            answer = await api.client.post("/webhooks", {**HOOK, "url": url})
            assert (answer.status, list(answer.json)) == (400, ["url"])


async def test_a_wrong_webhook_is_refused(client: Client) -> None:
    """Each wrong field by its name, with the triggers that there are."""
    wrong = await client.post("/webhooks", {"url": "", "triggers": ["nonsense"], "secret": "x"})
    assert wrong.status == 400
    assert sorted(wrong.json) == ["non_field_errors", "triggers", "url"]
    assert "calendar.events_update" in wrong.json["triggers"][0]
    empty = await client.post("/webhooks", {**HOOK, "triggers": []})
    assert empty.json == {"triggers": ["May not be empty."]}
    long = await client.post("/webhooks", {**HOOK, "url": "https://a.example/" + "x" * 2000})
    assert list(long.json) == ["url"]


async def test_a_url_is_unique_in_its_project(api: Served, client: Client) -> None:
    """A second one is a 400 under url, by POST and by PATCH; another project may have it."""
    await client.post("/webhooks", HOOK)
    second = await client.post("/webhooks", HOOK)
    assert (second.status, list(second.json)) == (400, ["url"])
    third = await client.post("/webhooks", {**HOOK, "url": "https://b.example/"})
    moved = await client.patch(f"/webhooks/{third.json['id']}", {"url": HOOK["url"]})
    assert (moved.status, list(moved.json)) == (400, ["url"])
    assert (await (await api.another_project()).post("/webhooks", HOOK)).status == 201


async def test_a_project_has_ten_webhooks_at_most(client: Client) -> None:
    """Of twelve requests at once ten are accepted; deleting one makes room."""
    answers = await asyncio.gather(
        *(client.post("/webhooks", {**HOOK, "url": f"https://a.example/{number}"}) for number in range(12))
    )
    assert sorted(answer.status for answer in answers) == [201] * 10 + [400] * 2
    assert all(list(answer.json) == ["error"] for answer in answers if answer.status == 400)
    [first, *_] = (await client.get("/webhooks")).json["results"]
    gone = await client.delete(f"/webhooks/{first['id']}")
    assert (gone.status, gone.raw) == (200, b"")
    assert (await client.get(f"/webhooks/{first['id']}")).json == {"error": "Webhook not found"}
    assert (await client.post("/webhooks", {**HOOK, "url": "https://b.example/"})).status == 201


async def test_a_webhook_can_be_changed_and_paused(api: Served, client: Client) -> None:
    """What waits to be delivered goes to the new url, and waits while the webhook is not active."""
    made = (await client.post("/webhooks", HOOK)).json
    path = f"/webhooks/{made['id']}"
    await client.post(f"{path}/test")
    changed = await client.patch(path, {"url": "https://b.example/", "triggers": ["transcript.update"]})
    assert changed.status == 200
    assert (changed.json["url"], changed.json["triggers"]) == ("https://b.example/", ["transcript.update"])
    paused = await client.patch(path, {"is_active": False})
    assert paused.json["is_active"] is False
    [delivery] = (await client.get(f"{path}/deliveries")).json["results"]
    assert (delivery["url"], delivery["state"], delivery["next_attempt_at"]) == ("https://b.example/", "pending", None)
    api.clock.at += timedelta(hours=1)
    await client.patch(path, {"is_active": True})
    [delivery] = (await client.get(f"{path}/deliveries")).json["results"]
    assert delivery["next_attempt_at"] == "2026-11-23T13:00:00.000000Z"
    for body in ({"is_active": "yes"}, {"url": None}, {"triggers": None}):
        refused = await client.patch(path, body)
        assert (refused.status, list(refused.json)) == (400, list(body))


async def test_a_test_says_that_it_is_one(api: Served, client: Client) -> None:
    """202 with a delivery for the first trigger, due now, whose body says that nothing has happened."""
    made = (await client.post("/webhooks", HOOK)).json
    tested = await client.post(f"/webhooks/{made['id']}/test")
    assert tested.status == 202
    assert (tested.json["trigger"], tested.json["state"]) == ("bot.state_change", "pending")
    assert tested.json["body"]["data"]["test"] is True
    assert tested.json["body"]["idempotency_key"] == tested.json["idempotency_key"]
    assert tested.json["next_attempt_at"] == "2026-11-23T12:00:00.000000Z"


async def test_deliveries_show_every_attempt_and_can_be_repeated(api: Served, client: Client) -> None:
    """With status, time taken and the answer, or why there was none; redelivering is 202 and due now."""
    made = (await client.post("/webhooks", HOOK)).json
    delivery = (await client.post(f"/webhooks/{made['id']}/test")).json
    await api.store(
        tables.delivery_attempts,
        delivery_id=delivery["id"],
        started_at=NOON,
        milliseconds=12,
        status=500,
        answer="no",
    )
    await api.store(
        tables.delivery_attempts, delivery_id=delivery["id"], started_at=NOON, milliseconds=10000, error="No answer."
    )
    async with api.database.transaction() as tx:
        await tx.execute(tables.deliveries.update().values(state="failed", finished_at=NOON, due_at=None, attempts=2))
    [listed] = (await client.get(f"/webhooks/{made['id']}/deliveries")).json["results"]
    assert listed["state"] == "failed"
    assert listed["attempts"] == [
        {"started_at": "2026-11-23T12:00:00.000000Z", "milliseconds": 12, "status": 500, "answer": "no", "error": None},
        {
            "started_at": "2026-11-23T12:00:00.000000Z",
            "milliseconds": 10000,
            "status": None,
            "answer": None,
            "error": "No answer.",
        },
    ]
    again = await client.post(f"/webhook_deliveries/{delivery['id']}/redeliver")
    assert again.status == 202
    assert (again.json["state"], again.json["body"]) == ("pending", delivery["body"])
    await client.patch(f"/webhooks/{made['id']}", {"is_active": False})
    refused = await client.post(f"/webhook_deliveries/{delivery['id']}/redeliver")
    assert (refused.status, list(refused.json)) == (400, ["error"])


async def test_all_that_failed_since_a_time_is_sent_again(api: Served, client: Client) -> None:
    """What is older, has arrived, or went to a webhook that is paused since, is left alone."""
    made = (await client.post("/webhooks", HOOK)).json
    for _ in range(3):
        await client.post(f"/webhooks/{made['id']}/test")
    old, new, arrived = (await client.get(f"/webhooks/{made['id']}/deliveries")).json["results"]
    table = tables.deliveries
    async with api.database.transaction() as tx:
        await tx.execute(table.update().values(state="failed", finished_at=NOON, due_at=None))
        await tx.execute(table.update().where(table.c.id == old["id"]).values(created_at=NOON - timedelta(days=2)))
        await tx.execute(table.update().where(table.c.id == arrived["id"]).values(state="delivered"))
    since = {"since": "2026-11-23T00:00:00Z"}
    again = await client.post("/webhook_deliveries/redeliver_failed", since)
    assert (again.status, again.json) == (202, {"redelivered": 1})
    async with api.database.reading() as tx:
        pending = await tx.scalars(select(table.c.id).where(table.c.state == "pending"))
        assert pending.all() == [new["id"]]
    async with api.database.transaction() as tx:
        await tx.execute(table.update().values(state="failed", finished_at=NOON, due_at=None))
    await client.patch(f"/webhooks/{made['id']}", {"is_active": False})
    assert (await client.post("/webhook_deliveries/redeliver_failed", since)).json == {"redelivered": 0}
    first = {"since": "0001-01-01T00:01:00.0+01:01"}
    assert (await client.post("/webhook_deliveries/redeliver_failed", first)).status == 202
    for wrong in ({}, {"since": "yesterday"}, {"since": None}):
        refused = await client.post("/webhook_deliveries/redeliver_failed", wrong)
        assert (refused.status, list(refused.json)) == (400, ["since"])


async def test_a_body_of_a_delivery_is_shown_as_it_is_sent(api: Served, client: Client) -> None:
    """The stored text goes into the answer untouched."""
    made = (await client.post("/webhooks", HOOK)).json
    await client.post(f"/webhooks/{made['id']}/test")
    async with api.database.reading() as tx:
        body = await tx.scalar(select(tables.deliveries.c.body))
    answer = await client.get(f"/webhooks/{made['id']}/deliveries")
    assert body is not None
    assert body.encode() in answer.raw
    assert orjson.loads(body) == answer.json["results"][0]["body"]
