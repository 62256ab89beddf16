"""Calendars over HTTP."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from attendee.store import tables
from tests.api.serving import CALENDAR, NOON, Client, Served


async def test_a_new_calendar_is_connected_and_due_at_once(api: Served, client: Client) -> None:
    """POST answers 201 with the whole calendar and none of its secrets; its first sync is due now."""
    made = await client.post(
        "/calendars", {**CALENDAR, "client_id": "  client ", "metadata": {"t": "7"}, "deduplication_key": "user-7"}
    )
    assert made.status == 201
    assert re.fullmatch(r"cal_[A-Za-z0-9]{16}", made.json["id"])
    assert made.json == {
        "id": made.json["id"],
        "platform": "google",
        "client_id": "client",
        "platform_uuid": None,
        "state": "connected",
        "metadata": {"t": "7"},
        "deduplication_key": "user-7",
        "connection_failure_data": None,
        "created_at": "2026-11-23T12:00:00.000000Z",
        "updated_at": "2026-11-23T12:00:00.000000Z",
        "last_successful_sync_at": None,
        "last_attempted_sync_at": None,
        "sync": {
            "mode": "poll",
            "next_sync_at": "2026-11-23T12:00:00.000000Z",
            "consecutive_failures": 0,
            "last_error": None,
            "push_error": None,
            "set_aside": 0,
        },
    }
    assert b"s3cret" not in made.raw
    assert b"r3fresh" not in made.raw
    assert (await client.get(f"/calendars/{made.json['id']}")).json == made.json


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"platform": None}, {"platform": ["This field may not be null."]}),
        ({"platform": "yahoo"}, {"platform": ["Must be one of: google, microsoft."]}),
        ({"client_id": ...}, {"client_id": ["This field is required."]}),
        ({"client_secret": " \n"}, {"client_secret": ["This field may not be blank."]}),
        ({"refresh_token": 7}, {"refresh_token": ["Must be a string."]}),
        ({"refresh_token": None}, {"refresh_token": ["This field may not be null."]}),
        ({"refresh_token": "a\x00b"}, {"refresh_token": ["May not contain NUL characters."]}),
        ({"metadata": {}}, {"metadata": ["Must have at least one key."]}),
        ({"metadata": []}, {"metadata": ["Must be an object."]}),
        ({"metadata": {"a": 1}}, {"metadata": ["metadata.a: Must be a string."]}),
        ({"metadata": {"a\x00": "b"}}, {"metadata": ["May not contain NUL characters."]}),
        ({"metadata": {"a": "b" * 1000}}, {"metadata": ["May have at most 1,000 characters as JSON."]}),
        ({"deduplication_key": " "}, {"deduplication_key": ["This field may not be blank."]}),
        (
            {"deduplication_key": "é" * 1001},
            {"deduplication_key": ["May have at most 2,000 bytes in UTF-8."]},
        ),
        (
            {"colour": "red", "platform": "yahoo"},
            {
                "platform": ["Must be one of: google, microsoft."],
                "non_field_errors": [
                    (
                        "Unknown field: colour. The fields here are: platform, client_id, client_secret, "
                        "refresh_token, platform_uuid, metadata, deduplication_key."
                    )
                ],
            },
        ),
    ],
)
async def test_wrong_fields_are_named_in_plain_sentences(
    client: Client, change: dict[str, Any], problem: dict[str, list[str]]
) -> None:
    """Every wrong field is a key of the 400's body, with what would be right; unknown ones are non_field_errors."""
    body = {name: value for name, value in {**CALENDAR, **change}.items() if value is not ...}
    answer = await client.post("/calendars", body)
    assert (answer.status, answer.json) == (400, problem)


async def test_a_deduplication_key_is_unique_in_its_project(api: Served, client: Client) -> None:
    """A second calendar with the key is a 400 under that field; another project may have the same key."""
    await api.a_calendar(deduplication_key="user-7")
    second = await client.post("/calendars", {**CALENDAR, "deduplication_key": "user-7"})
    assert second.status == 400
    assert list(second.json) == ["deduplication_key"]
    other = await api.another_project()
    assert (await other.post("/calendars", {**CALENDAR, "deduplication_key": "user-7"})).status == 201


async def test_a_patch_makes_the_calendar_sync_at_once_and_forgets_its_pause(api: Served, client: Client) -> None:
    """PATCH changes credentials and metadata, raises the version of the credentials and makes a sync due."""
    calendar_id = await api.a_calendar()
    async with api.database.transaction() as tx:
        await tx.execute(
            tables.calendars.update().values(
                due_at=NOON + timedelta(hours=1),
                claimed_until=NOON + timedelta(hours=2),
                attempts=3,
                last_error="No.",
                state="disconnected",
                connection_failure_data={
                    "error": "Consent was withdrawn.",
                    "timestamp": "2026-11-23T11:00:00.000000Z",
                    "code": "consent_revoked",
                },
            )
        )
    shown = (await client.get(f"/calendars/{calendar_id}")).json
    assert shown["state"] == "disconnected"
    assert shown["connection_failure_data"]["code"] == "consent_revoked"
    assert shown["sync"]["next_sync_at"] == "2026-11-23T14:00:00.000000Z"
    assert shown["sync"]["consecutive_failures"] == 3

    api.clock.at = NOON + timedelta(minutes=5)
    changed = await client.patch(f"/calendars/{calendar_id}", {"refresh_token": "new", "metadata": {"a": "b"}})
    assert changed.status == 200
    assert changed.json["state"] == "disconnected"
    assert changed.json["metadata"] == {"a": "b"}
    assert changed.json["sync"]["next_sync_at"] == "2026-11-23T12:05:00.000000Z"
    assert changed.json["updated_at"] == "2026-11-23T12:05:00.000000Z"
    async with api.database.reading() as tx:
        version = await tx.scalar(select(tables.calendars.c.credentials_version))
    assert version == 2


@pytest.mark.parametrize("field", ["client_secret", "refresh_token", "metadata"])
async def test_a_patch_refuses_null(api: Served, client: Client, field: str) -> None:
    """Null can't be told from 'forget it', so it is refused."""
    calendar_id = await api.a_calendar()
    answer = await client.patch(f"/calendars/{calendar_id}", {field: None})
    assert (answer.status, answer.json) == (400, {field: ["This field may not be null."]})


async def test_a_patch_of_nothing_only_syncs(api: Served, client: Client) -> None:
    """An empty PATCH is fine, and a field that can't be changed is an unknown one."""
    calendar_id = await api.a_calendar()
    assert (await client.patch(f"/calendars/{calendar_id}", {})).status == 200
    answer = await client.patch(f"/calendars/{calendar_id}", {"client_id": "other"})
    assert answer.status == 400
    assert list(answer.json) == ["non_field_errors"]


async def test_a_deleted_calendar_takes_its_events_and_scheduled_bots_with_it(api: Served, client: Client) -> None:
    """DELETE is 200 and empty; a bot that is in a meeting stays, without its event."""
    calendar_id = await api.a_calendar()
    event_id = await api.an_event(calendar_id)
    waiting = (await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})).json["id"]
    meeting = (await client.post("/bots", {"bot_name": "B", "calendar_event_id": event_id})).json["id"]
    async with api.database.transaction() as tx:
        await tx.execute(
            tables.bots.update().where(tables.bots.c.id == meeting).values(state="joined_recording", due_at=None)
        )
    gone = await client.delete(f"/calendars/{calendar_id}")
    assert (gone.status, gone.raw) == (200, b"")
    assert (await client.get(f"/calendars/{calendar_id}")).json == {"error": "Calendar not found"}
    assert (await client.get(f"/calendar_events/{event_id}")).status == 404
    assert (await client.get(f"/bots/{waiting}")).status == 404
    left = await client.get(f"/bots/{meeting}")
    assert left.json["calendar_event_id"] is None


async def test_a_sync_can_be_asked_for(api: Served, client: Client) -> None:
    """POST /sync is 202 and makes a sync due now."""
    calendar_id = await api.a_calendar()
    async with api.database.transaction() as tx:
        await tx.execute(tables.calendars.update().values(due_at=NOON + timedelta(hours=1)))
    asked = await client.post(f"/calendars/{calendar_id}/sync")
    assert asked.status == 202
    assert asked.json["sync"]["next_sync_at"] == "2026-11-23T12:00:00.000000Z"


async def test_calendars_are_listed_newest_first_and_found_by_their_key(api: Served, client: Client) -> None:
    """The filter by deduplication key gives the one calendar, or an empty page for a key that nobody has."""
    ids = []
    for number in range(3):
        api.clock.at = NOON + timedelta(seconds=number)
        ids.append(await api.a_calendar(deduplication_key=f"user-{number}"))
    listed = (await client.get("/calendars")).json
    assert [calendar["id"] for calendar in listed["results"]] == ids[::-1]
    assert (listed["next"], listed["previous"]) == (None, None)
    found = (await client.get("/calendars?deduplication_key=user-1")).json["results"]
    assert [calendar["id"] for calendar in found] == [ids[1]]
    for unknown in ("nobody", "%00"):
        assert (await client.get(f"/calendars?deduplication_key={unknown}")).json["results"] == []


async def test_platform_calendars_are_shown_as_last_read(api: Served, client: Client) -> None:
    """All calendars that the user has at the platform, in its order; none while they have not been read."""
    calendar_id = await api.a_calendar()
    path = f"/calendars/{calendar_id}/platform_calendars"
    assert (await client.get(path)).json == {"results": []}
    for position, name in ((1, "Team"), (0, "Ana")):
        await api.store(
            tables.platform_calendars,
            calendar_id=calendar_id,
            position=position,
            platform_uuid=f"{name.lower()}@acme.example",
            name=name,
            is_primary=position == 0,
        )
    answer = await client.get(path)
    assert answer.status == 200
    assert answer.json == {
        "results": [
            {"platform_uuid": "ana@acme.example", "name": "Ana", "primary": True},
            {"platform_uuid": "team@acme.example", "name": "Team", "primary": False},
        ]
    }
    assert (await client.delete(f"/calendars/{calendar_id}")).status == 200
    assert (await client.get(path)).status == 404


async def test_the_sync_of_a_calendar_is_told(api: Served, client: Client) -> None:
    """A live channel means push; events that can't be stored are counted."""
    calendar_id = await api.a_calendar()
    async with api.database.transaction() as tx:
        await tx.execute(update(tables.calendars).values(push_until=NOON + timedelta(days=1)))
    await api.store(
        tables.set_aside_events, calendar_id=calendar_id, platform_uuid="x", reason="No start.", created_at=NOON
    )
    sync = (await client.get(f"/calendars/{calendar_id}")).json["sync"]
    assert (sync["mode"], sync["set_aside"]) == ("push", 1)
    api.clock.at = NOON + timedelta(days=1)
    assert (await client.get(f"/calendars/{calendar_id}")).json["sync"]["mode"] == "poll"
