"""Bots over HTTP."""

import asyncio
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from attendee.meetings import MeetingLinks
from attendee.store import calendars, tables
from tests.api.serving import LINK, NOON, Client, Served, served

SOON = "2026-11-23T13:00:00.000000Z"


async def test_a_bot_with_a_time_is_scheduled(api: Served, client: Client) -> None:
    """201 with the whole bot; its link is normalised, its settings are kept for the runner and not shown."""
    made = await client.post(
        "/bots",
        {
            "bot_name": "Notes",
            "meeting_url": " HTTP://meet.google.com/abc-defg-hij?authuser=1 ",
            "join_at": "2026-11-23T14:00:00+01:00",
            "metadata": {"a": {"b": 1}},
            "deduplication_key": "k",
            "recording_settings": {"format": "mp4"},
            "zoom_settings": None,
        },
    )
    assert made.status == 201, made.raw
    assert re.fullmatch(r"bot_[A-Za-z0-9]{16}", made.json["id"])
    assert made.json == {
        "id": made.json["id"],
        "metadata": {"a": {"b": 1}},
        "meeting_url": LINK,
        "state": "scheduled",
        "events": [],
        "transcription_state": "not_started",
        "recording_state": "not_started",
        "join_at": SOON,
        "deduplication_key": "k",
        "bot_name": "Notes",
        "calendar_event_id": None,
        "remote_id": None,
        "created_at": "2026-11-23T12:00:00.000000Z",
        "updated_at": "2026-11-23T12:00:00.000000Z",
    }
    assert (await client.get(f"/bots/{made.json['id']}")).json == made.json
    async with api.database.reading() as tx:
        row = (await tx.execute(select(tables.bots))).one()
    assert row.settings == {"recording_settings": {"format": "mp4"}}
    assert row.due_at == NOON + timedelta(hours=1)


async def test_a_bot_without_a_time_joins_now(api: Served, client: Client) -> None:
    """Its state is joining, its event join_requested, and the project's webhooks hear of it."""
    await client.post("/webhooks", {"url": "https://a.example/", "triggers": ["bot.state_change"]})
    made = await client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
    assert (made.status, made.json["state"], made.json["join_at"]) == (201, "joining", None)
    assert made.json["events"] == [
        {"type": "join_requested", "sub_type": None, "created_at": "2026-11-23T12:00:00.000000Z"}
    ]
    async with api.database.reading() as tx:
        delivery = (await tx.execute(select(tables.deliveries))).one()
    assert delivery.bot_id == made.json["id"]
    assert '"new_state":"joining","old_state":"ready"' in delivery.body


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ({}, {"bot_name": ["This field is required."]}),
        ({"bot_name": " "}, {"bot_name": ["This field may not be blank."]}),
        ({"bot_name": "🤖"}, {"bot_name": ["May not contain characters above U+FFFF, such as emoji."]}),
        ({"bot_name": "A"}, {"non_field_errors": ["Either meeting_url or calendar_event_id is required."]}),
        ({"bot_name": "A", "meeting_url": "https://example.com/room"}, ["meeting_url"]),
        ({"bot_name": "A", "meeting_url": "\x00"}, {"meeting_url": ["May not contain NUL characters."]}),
        ({"bot_name": "A", "meeting_url": LINK, "join_at": "soon"}, ["join_at"]),
        ({"bot_name": "A", "meeting_url": LINK, "join_at": 1795000000}, {"join_at": ["Must be a string."]}),
        (
            {"bot_name": "A", "meeting_url": LINK, "join_at": "2026-11-23T11:59:59.999999"},
            {"join_at": ["May not be in the past."]},
        ),
        (
            {"bot_name": "A", "meeting_url": LINK, "join_at": "2029-11-23T12:00:00.000001Z"},
            {"join_at": ["May be at most 3 years ahead."]},
        ),
        ({"bot_name": "A", "meeting_url": LINK, "join_at": "9999-12-31T23:59:59-23:00"}, ["join_at"]),
        ({"bot_name": "A", "meeting_url": LINK, "zoom_settings": []}, {"zoom_settings": ["Must be an object."]}),
        ({"bot_name": "A", "meeting_url": LINK, "metadata": "x"}, {"metadata": ["Must be an object."]}),
        ({"bot_name": "A", "meeting_url": LINK, "colour": 1}, ["non_field_errors"]),
        ({"bot_name": "A", "meeting_url": LINK, "calendar_event_id": "evt_1"}, ["error"]),
        ({"bot_name": "A", "join_at": SOON, "calendar_event_id": "evt_1"}, ["error"]),
        ({"bot_name": "A", "calendar_event_id": "evt_1"}, ["error"]),
        (
            {"bot_name": "A", "meeting_url": LINK, "webhooks": [{"url": "https://a.example/", "triggers": ["x"]}, {}]},
            {
                "webhooks": [
                    (
                        "webhooks[0].triggers[0]: Must be one of: calendar.events_update, calendar.state_change, "
                        "bot.state_change, transcript.update, chat_messages.update, participant_events.join_leave, "
                        "participant_events.speech_start_stop, bot_logs.update, async_transcription.state_change, "
                        "zoom_oauth_connection.state_change."
                    ),
                    "webhooks[1].url: This field is required.",
                    "webhooks[1].triggers: This field is required.",
                ]
            },
        ),
        (
            {
                "bot_name": "A",
                "meeting_url": LINK,
                "webhooks": [{"url": "http://a.example/", "triggers": ["bot.state_change"]}],
            },
            {"webhooks": ["webhooks[0].url: Must begin with https://."]},
        ),
        (
            {
                "bot_name": "A",
                "meeting_url": LINK,
                "webhooks": [{"url": "https://a.example/", "triggers": ["bot.state_change"]}] * 2,
            },
            {"webhooks": ["webhooks[1].url: Another webhook of this bot has this url already."]},
        ),
        (
            {
                "bot_name": "A",
                "meeting_url": LINK,
                "webhooks": [
                    {"url": f"https://a.example/{number}", "triggers": ["bot.state_change"]} for number in range(11)
                ],
            },
            {"webhooks": ["May have at most 10 items."]},
        ),
    ],
)
async def test_a_wrong_bot_is_refused(client: Client, body: dict[str, Any], problem: Any) -> None:
    """400, under the field that is wrong, or under error where a rule of the domain refuses it."""
    answer = await client.post("/bots", body)
    assert answer.status == 400
    if isinstance(problem, list):
        assert list(answer.json) == problem
    else:
        assert answer.json == problem


async def test_a_bot_for_an_event_follows_it(api: Served, client: Client) -> None:
    """It is scheduled for the event's start with the event's link, is shown with the event, and both are read-only."""
    event_id = await api.an_event(await api.a_calendar())
    made = await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})
    assert made.status == 201, made.raw
    assert made.json["state"] == "scheduled"
    assert (made.json["join_at"], made.json["meeting_url"]) == (SOON, LINK)
    assert made.json["calendar_event_id"] == event_id
    second = await client.post("/bots", {"bot_name": "B", "calendar_event_id": event_id})
    assert second.status == 201
    shown = (await client.get(f"/calendar_events/{event_id}")).json["bots"]
    assert sorted(bot["bot_name"] for bot in shown) == ["A", "B"]
    assert made.json in shown
    for field, value in (("join_at", "2026-11-24"), ("meeting_url", LINK)):
        refused = await client.patch(f"/bots/{made.json['id']}", {field: value})
        assert (refused.status, list(refused.json)) == (400, ["error"])
    renamed = await client.patch(f"/bots/{made.json['id']}", {"bot_name": "C"})
    assert (renamed.status, renamed.json["bot_name"]) == (200, "C")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        ({"is_deleted": True}, "deleted"),
        ({"meeting_url": None}, "no meeting link"),
        ({"start_time": NOON - timedelta(hours=2), "end_time": NOON}, "ended"),
    ],
)
async def test_an_event_that_nobody_can_join_takes_no_bot(
    api: Served, client: Client, event: dict[str, Any], reason: str
) -> None:
    """400 with the reason."""
    event_id = await api.an_event(await api.a_calendar(), **event)
    answer = await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})
    assert answer.status == 400
    assert reason in answer.json["error"]


async def test_an_event_of_a_disconnected_calendar_takes_no_bot(api: Served, client: Client) -> None:
    """Its bots were deleted with the user's consent: one that is asked for too late would go there all the same."""
    calendar_id = await api.a_calendar()
    event_id = await api.an_event(calendar_id)
    lost = {"state": "disconnected", "connection_failure_data": {"error": "Gone.", "code": "consent_revoked"}}
    async with api.database.transaction() as tx:
        await tx.execute(tables.calendars.update().values(lost))
    answer = await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})
    assert answer.status == 400
    assert "disconnected" in answer.json["error"]


async def test_a_meeting_that_no_bot_here_can_join_takes_none(database_url: str) -> None:
    """400 with the services that are joined, for a link of its own, a change of it, and an event's link alike."""
    zoom = "https://acme.zoom.us/j/98765432100"
    refused = {"error": "The bots here can't join meetings of Zoom; they can join Google Meet, Microsoft Teams."}
    async with served(database_url, meeting_links=MeetingLinks(joinable=("teams", "google_meet"))) as api:
        event_id = await api.an_event(await api.a_calendar(), meeting_url=zoom)
        for field, value in (("meeting_url", zoom), ("calendar_event_id", event_id)):
            answer = await api.client.post("/bots", {"bot_name": "A", field: value})
            assert (answer.status, answer.json) == (400, refused)
        made = await api.client.post("/bots", {"bot_name": "A", "meeting_url": LINK, "join_at": SOON})
        assert made.status == 201, made.raw
        changed = await api.client.patch(f"/bots/{made.json['id']}", {"meeting_url": zoom})
        assert (changed.status, changed.json) == (400, refused)


async def test_a_bot_for_an_event_under_way_is_due_at_once(api: Served, client: Client) -> None:
    """It keeps the event's start as its time, which has passed."""
    event_id = await api.an_event(await api.a_calendar(), start_time=NOON - timedelta(minutes=5))
    made = await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})
    assert (made.status, made.json["join_at"]) == (201, "2026-11-23T11:55:00.000000Z")
    async with api.database.reading() as tx:
        due_at = await tx.scalar(select(tables.bots.c.due_at))
    assert due_at is not None
    assert due_at <= NOON


async def test_a_bot_sees_what_a_sync_is_storing(api: Served, client: Client) -> None:
    """A request that comes while a sync moves the event waits for it, so that the bot has the new time."""
    calendar_id = await api.a_calendar()
    event_id = await api.an_event(calendar_id)
    async with api.database.transaction() as tx:
        await calendars.get(tx, calendar_id, project_id=api.project_id, for_update=True)
        asked = asyncio.create_task(client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id}))
        # Two answers later, the request that came before them has got as far as it can.
        for _ in range(2):
            await client.get("/bots")
        await tx.execute(tables.events.update().values(start_time=NOON, end_time=NOON + timedelta(hours=1)))
    assert (await asked).json["join_at"] == "2026-11-23T12:00:00.000000Z"


async def test_of_eight_requests_at_once_with_one_key_one_makes_a_bot(api: Served, client: Client) -> None:
    """The database's index decides: one 201, seven 400 with error; the key is free again when the bot has ended."""
    body = {"bot_name": "A", "meeting_url": LINK, "join_at": SOON, "deduplication_key": "k"}
    answers = await asyncio.gather(*(client.post("/bots", body) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [201] + [400] * 7
    assert all(list(answer.json) == ["error"] for answer in answers if answer.status == 400)
    other = await api.another_project()
    assert (await other.post("/bots", body)).status == 201
    async with api.database.transaction() as tx:
        await tx.execute(tables.bots.update().values(state="ended", due_at=None))
    assert (await client.post("/bots", body)).status == 201


async def test_a_bot_of_its_own_webhooks_keeps_them_for_itself(api: Served, client: Client) -> None:
    """They hear of the bot instead of the project's, are not listed with those, and triggers given twice count once."""
    await client.post("/webhooks", {"url": "https://a.example/", "triggers": ["bot.state_change"]})
    own = {"url": "https://b.example/", "triggers": ["bot.state_change", "bot.state_change"]}
    await client.post("/bots", {"bot_name": "A", "meeting_url": LINK, "webhooks": [own]})
    async with api.database.reading() as tx:
        urls = (await tx.execute(select(tables.deliveries.c.url))).scalars().all()
        triggers = await tx.scalar(
            select(tables.webhook_subscriptions.c.triggers).where(tables.webhook_subscriptions.c.bot_id.is_not(None))
        )
    assert urls == ["https://b.example/"]
    assert triggers == ["bot.state_change"]
    assert len((await client.get("/webhooks")).json["results"]) == 1


async def test_a_scheduled_bot_can_be_changed(api: Served, client: Client) -> None:
    """Its new time is when it falls due; settings are replaced one by one; unknown fields are ignored."""
    made = await client.post(
        "/bots",
        {"bot_name": "A", "meeting_url": LINK, "join_at": SOON, "bot_image": {"a": 1}, "zoom_settings": {"b": 2}},
    )
    path = f"/bots/{made.json['id']}"
    changed = await client.patch(
        path,
        {
            "join_at": "2026-11-24",
            "meeting_url": "https://zoom.us/j/12345678901",
            "metadata": {"x": 1},
            "recording_settings": {"c": 3},
            "bot_image": None,
            "state": "ended",
        },
    )
    assert changed.status == 200, changed.raw
    assert changed.json["join_at"] == "2026-11-24T00:00:00.000000Z"
    assert changed.json["meeting_url"] == "https://zoom.us/j/12345678901"
    assert (changed.json["metadata"], changed.json["state"]) == ({"x": 1}, "scheduled")
    async with api.database.reading() as tx:
        row = (await tx.execute(select(tables.bots))).one()
    assert row.settings == {"zoom_settings": {"b": 2}, "recording_settings": {"c": 3}}
    assert row.due_at == NOON.replace(hour=0, day=24)
    for body in ({"join_at": None}, {"bot_name": ""}, {"meeting_url": "x"}, {"join_at": "2020-01-01"}):
        refused = await client.patch(path, body)
        assert (refused.status, list(refused.json)) == (400, list(body))


async def test_of_a_bot_that_is_no_longer_scheduled_only_metadata_can_be_changed(client: Client) -> None:
    """Changing more, or deleting it, is 400 with the state that it is in."""
    made = await client.post("/bots", {"bot_name": "A", "meeting_url": LINK})
    path = f"/bots/{made.json['id']}"
    changed = await client.patch(path, {"metadata": {"x": 1}, "unknown": 1})
    assert (changed.status, changed.json["metadata"]) == (200, {"x": 1})
    for refused in (await client.patch(path, {"bot_name": "B", "metadata": {}}), await client.delete(path)):
        assert refused.status == 400
        assert "joining" in refused.json["error"]
    assert (await client.get(path)).json["metadata"] == {"x": 1}


async def test_a_deleted_bot_is_gone_but_for_the_history_of_its_event(api: Served, client: Client) -> None:
    """DELETE is 200 and empty; the bot is 404, out of its event, its key free; the event's activity has its story."""
    event_id = await api.an_event(await api.a_calendar())
    body = {"bot_name": "A", "calendar_event_id": event_id, "deduplication_key": "k"}
    bot_id = (await client.post("/bots", body)).json["id"]
    await client.patch(f"/bots/{bot_id}", {"bot_name": "B"})
    own = (await client.get(f"/bots/{bot_id}/activity")).json
    assert [entry["kind"] for entry in own["results"]] == ["bot_created", "bot_updated"]
    gone = await client.delete(f"/bots/{bot_id}")
    assert (gone.status, gone.raw) == (200, b"")
    assert (await client.get(f"/bots/{bot_id}")).json == {"error": "Bot not found"}
    assert (await client.get(f"/bots/{bot_id}/activity")).status == 404
    assert (await client.get(f"/calendar_events/{event_id}")).json["bots"] == []
    assert (await client.post("/bots", body)).status == 201
    history = (await client.get(f"/calendar_events/{event_id}/activity")).json["results"]
    assert [entry["kind"] for entry in history] == ["bot_created", "bot_updated", "bot_deleted", "bot_created"]
    assert {entry["bot_id"] for entry in history[:3]} == {bot_id}
    assert {entry["calendar_event_id"] for entry in history} == {event_id}


async def test_bots_are_filtered(api: Served, client: Client) -> None:
    """States may repeat, both bounds of join_at are exclusive, a link is found in any of its forms."""
    event_id = await api.an_event(await api.a_calendar())
    ids = {}
    for name, more in {
        "now": {"meeting_url": LINK},
        "early": {
            "meeting_url": "https://zoom.us/j/12345678901",
            "join_at": "2026-11-23T12:30",
            "deduplication_key": "k",
        },
        "late": {"meeting_url": LINK, "join_at": "2026-11-23T14:00"},
        "event": {"calendar_event_id": event_id},
    }.items():
        api.clock.at += timedelta(seconds=1)
        ids[(await client.post("/bots", {"bot_name": name, **more})).json["id"]] = name

    async def found(query: str) -> list[str]:
        answer = await client.get(f"/bots?{query}")
        assert answer.status == 200, answer.raw
        return [ids[bot["id"]] for bot in answer.json["results"]]

    assert await found("") == ["now", "early", "late", "event"]
    assert await found("states=joining") == ["now"]
    assert await found("states=joining&states=scheduled") == ["now", "early", "late", "event"]
    assert await found("states=ended") == []
    assert await found("deduplication_key=k") == ["early"]
    assert await found("deduplication_key=%00") == []
    assert await found("meeting_url=http%3A%2F%2Fmeet.google.com%2Fabc-defg-hij%3Fx%3D1") == ["now", "late", "event"]
    assert await found("meeting_url=nonsense") == []
    assert await found("join_at_after=2026-11-23T12:30:00Z&join_at_before=2026-11-23T14:00:00Z") == ["event"]
    assert await found("join_at_after=2026-11-23T13:29:59+01:00") == ["early", "late", "event"]
    assert await found(f"calendar_event_id={event_id}&unknown=1") == ["event"]
    assert await found("calendar_event_id=evt_none") == []


@pytest.mark.parametrize(
    "query",
    ["states=running", "join_at_after=x", "join_at_before=0000-01-01", "page_size=0", "page_size=501", "page_size=x"],
)
async def test_a_bad_parameter_is_named(client: Client, query: str) -> None:
    """400 with error, naming the parameter and what it may be."""
    answer = await client.get(f"/bots?{query}")
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith(query.partition("=")[0])
