"""One calendar's data as one document: all that is kept of it, nothing of another, no secret, bounded memory."""

from datetime import timedelta

from sqlalchemy import event as sqlalchemy_event

from attendee.api import export
from attendee.model import new_id
from attendee.store import tables
from tests.api.serving import CALENDAR, NOON, Served


async def _delivery(api: Served, calendar_id: str) -> None:
    await api.store(
        tables.deliveries,
        id=new_id("whd_"),
        project_id=api.project_id,
        url="https://a.example/hook",
        trigger="calendar.events_update",
        calendar_id=calendar_id,
        idempotency_key=new_id("key_"),
        body='{"data":{"state":"connected"}}',
        state="pending",
        created_at=NOON,
    )


async def test_an_export_has_everything_of_its_calendar_and_no_secret(api: Served) -> None:
    """Events over several batches, each once and as the API shows it; the histories; the webhooks that told of it."""
    calendar_id, other_id = await api.a_calendar(deduplication_key="ana"), await api.a_calendar()
    ids = [await api.an_event(calendar_id) for _ in range(2 * export._ROWS + 3)]
    await api.an_event(other_id, name="Not theirs")
    await api.client.post("/bots", {"bot_name": "Notes", "calendar_event_id": ids[0]})
    await api.store(tables.set_aside_events, calendar_id=calendar_id, platform_uuid="x", reason="No.", created_at=NOON)
    sync = dict.fromkeys(("milliseconds", "requests", "created", "updated", "deleted", "quiet_before"), 0)
    await api.store(
        tables.syncs,
        project_id=api.project_id,
        calendar_id=calendar_id,
        reason="first",
        outcome="changed",
        listed=True,
        started_at=NOON,
        **sync,
    )
    await _delivery(api, calendar_id)
    await _delivery(api, other_id)
    answer = await api.client.get(f"/calendars/{calendar_id}/export")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "application/json")
    exported = answer.json
    assert exported["calendar"] == (await api.client.get(f"/calendars/{calendar_id}")).json
    assert [event["id"] for event in exported["events"]] == sorted(ids)
    (with_bot,) = [event for event in exported["events"] if event["bots"]]
    assert with_bot == (await api.client.get(f"/calendar_events/{ids[0]}")).json
    assert [one["reason"] for one in exported["set_aside_events"]] == ["No."]
    assert [one["kind"] for one in exported["activity"]] == ["bot_created"]
    assert [one["outcome"] for one in exported["syncs"]] == ["changed"]
    assert [one["body"] for one in exported["deliveries"]] == [{"data": {"state": "connected"}}]
    for secret in (CALENDAR["client_secret"], CALENDAR["refresh_token"], "Not theirs", other_id):
        assert secret.encode() not in answer.raw


async def test_an_export_holds_a_batch_at_a_time(api: Served) -> None:
    """No statement asks for more rows than a batch has, however many there are; no transaction lasts for all of it."""
    calendar_id = await api.a_calendar()
    for number in range(export._ROWS + 1):
        await api.an_event(calendar_id, start_time=NOON + timedelta(minutes=number), end_time=NOON + timedelta(days=1))
    began: list[int] = []
    reader = api.database._reader.sync_engine
    sqlalchemy_event.listen(reader, "begin", lambda _: began.append(1))
    answer = await api.client.get(f"/calendars/{calendar_id}/export")
    assert len(answer.json["events"]) == export._ROWS + 1
    assert len(began) >= 9
