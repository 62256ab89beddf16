"""/runner/v1: what bots report, over HTTP; and asking one to leave."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import orjson
import pytest

from attendee.model import BotId, BotState, LaunchId, Trigger
from attendee.store import bots, launches, subscriptions, tables
from attendee.store.columns import token_hash
from attendee.store.subscriptions import NewSubscription
from tests.api.serving import HEARTBEAT, LINK, NOON, Answer, Client, Served, served

_TOKEN = "t0ken"
_LAUNCH = LaunchId("launch_1")


@pytest.fixture
async def api(database_url: str) -> AsyncIterator[Served]:
    async with served(database_url) as up:
        yield up


@pytest.fixture
def client(api: Served) -> Client:
    return api.client


@pytest.fixture
async def bot_id(api: Served, client: Client) -> str:
    """A staged bot with a launch at its runner."""
    join_at = (NOON + timedelta(minutes=5)).isoformat()
    made = await client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK, "join_at": join_at})
    bot = BotId(made.json["id"])
    async with api.database.transaction() as tx:
        await launches.create(
            tx,
            _LAUNCH,
            project_id=api.project_id,
            bot_id=bot,
            body="{}",
            report_token=_TOKEN,
            key_ring=api.key_ring,
            now=NOON,
        )
        values = {"state": "staged", "launch_id": _LAUNCH, "report_token_hash": token_hash(_TOKEN)}
        await bots.change(tx, bot, values=values, now=NOON)
    return bot


async def _report(client: Client, bot_id: str, body: Any, *, token: str | None = _TOKEN) -> Answer:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    anonymous = Client(client.session, client.address, None)
    return await anonymous.ask("POST", f"/runner/v1/bots/{bot_id}/events", json=body, headers=headers)


async def _row(api: Served, bot_id: str) -> Any:
    async with api.database.reading() as tx:
        return await bots.find(tx, bot_id)


async def _subscribe(api: Served, *triggers: Trigger) -> None:
    async with api.database.transaction() as tx:
        new = NewSubscription("https://product.example/hook", triggers)
        await subscriptions.create(tx, new, project_id=api.project_id, now=NOON)


async def _told(api: Served) -> list[dict[str, Any]]:
    async with api.database.reading() as tx:
        rows = (await tx.execute(tables.deliveries.select().order_by(tables.deliveries.c.created_at))).all()
    return [orjson.loads(row.body) for row in rows]


async def test_a_whole_life_is_told_step_by_step(api: Served, client: Client, bot_id: str) -> None:
    """Each report answers with the state it led to; the bot shows its steps, and a webhook goes out for each."""
    await _subscribe(api, Trigger.BOT_STATE_CHANGE)
    life = [
        ("join_requested", "joining"),
        ("put_in_waiting_room", "waiting_room"),
        ("joined_meeting", "joined_not_recording"),
        ("recording_permission_granted", "joined_recording"),
        ("meeting_ended", "post_processing"),
        ("post_processing_completed", "ended"),
    ]
    for number, (type, state) in enumerate(life):
        answer = await _report(client, bot_id, {"id": f"r{number}", "type": type})
        assert (answer.status, answer.json) == (200, {"state": state})
    shown = (await client.get(f"/bots/{bot_id}")).json
    assert (shown["state"], shown["recording_state"], shown["transcription_state"]) == ("ended", "complete", "complete")
    assert [step["type"] for step in shown["events"]] == [type for type, _ in life]
    told = await _told(api)
    assert sorted(one["data"]["new_state"] for one in told) == sorted(state for _, state in life)
    assert {one["bot_id"] for one in told} == {bot_id}


async def test_a_report_says_when_and_what_of(api: Served, client: Client, bot_id: str) -> None:
    """Its time, its sub type and its metadata are kept; a time that is still to come is not believed."""
    await _subscribe(api, Trigger.BOT_STATE_CHANGE)
    at = "2026-11-23T11:59:58+00:00"
    body = {"id": "1", "type": "join_requested", "sub_type": "retry", "created_at": at, "metadata": {"try": 2}}
    assert (await _report(client, bot_id, body)).status == 200
    await _report(client, bot_id, {"id": "2", "type": "joined_meeting", "created_at": "2031-01-01T00:00:00Z"})
    first, second = (await client.get(f"/bots/{bot_id}")).json["events"]
    assert first == {"type": "join_requested", "sub_type": "retry", "created_at": "2026-11-23T11:59:58.000000Z"}
    assert second["created_at"] == "2026-11-23T12:00:00.000000Z"
    (one,) = [one for one in await _told(api) if one["data"]["event_type"] == "join_requested"]
    assert (one["data"]["event_sub_type"], one["data"]["event_metadata"]) == ("retry", {"try": 2})


async def test_the_same_report_again_changes_nothing(api: Served, client: Client, bot_id: str) -> None:
    """Also when it would be impossible by now."""
    for _ in range(3):
        assert (await _report(client, bot_id, {"id": "1", "type": "join_requested"})).json == {"state": "joining"}
    await _report(client, bot_id, {"id": "2", "type": "joined_meeting"})
    again = await _report(client, bot_id, {"id": "1", "type": "join_requested"})
    assert (again.status, again.json) == (200, {"state": "joined_not_recording"})
    assert len((await client.get(f"/bots/{bot_id}")).json["events"]) == 2


async def test_an_impossible_report_is_refused_with_the_state(api: Served, client: Client, bot_id: str) -> None:
    """409, nothing stored: the same id may come again when it is possible."""
    answer = await _report(client, bot_id, {"id": "1", "type": "left_meeting"})
    assert (answer.status, answer.json["state"]) == (409, "staged")
    assert "left_meeting" in answer.json["error"]
    for id, type in (("2", "join_requested"), ("3", "joined_meeting"), ("4", "leave_requested")):
        await _report(client, bot_id, {"id": id, "type": type})
    assert (await _report(client, bot_id, {"id": "1", "type": "left_meeting"})).json == {"state": "post_processing"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"id": "1", "type": "danced"}, "type"),
        ({"id": "1"}, "type"),
        ({"type": "join_requested"}, "id"),
        ({"id": "", "type": "join_requested"}, "id"),
        ({"id": "1", "type": "join_requested", "created_at": "noon"}, "created_at"),
        ({"id": "1", "type": "join_requested", "metadata": []}, "metadata"),
        ({"id": "1", "type": "transcript", "data": "hello"}, "data"),
    ],
)
async def test_a_wrong_report_is_told_what_is_wrong(client: Client, bot_id: str, body: Any, field: str) -> None:
    """400 under the field's name."""
    answer = await _report(client, bot_id, body)
    assert answer.status == 400
    assert list(answer.json) == [field]


async def test_only_the_bots_own_token_opens(api: Served, client: Client, bot_id: str) -> None:
    """401 for any other, an API key too, and for that of a launch that is being called off; 404 for a bot that is gone.

    The token opens nothing else.
    """
    body = {"id": "1", "type": "join_requested"}
    for token in (None, "wrong", client.key):
        answer = await _report(client, bot_id, body, token=token)
        assert (answer.status, list(answer.json)) == (401, ["detail"])
    assert (await _report(client, "bot_0000000000000000", body)).status == 404
    stranger = Client(client.session, client.address, _TOKEN)
    assert (await stranger.get(f"/bots/{bot_id}")).status == 401
    async with api.database.transaction() as tx:
        await bots.change(tx, BotId(bot_id), values={"report_token_hash": None}, now=NOON)
    assert (await _report(client, bot_id, body)).status == 401
    async with api.database.transaction() as tx:
        await bots.remove(tx, BotId(bot_id))
    assert (await _report(client, bot_id, body)).status == 404


async def test_a_heartbeat_keeps_a_bot_alive(api: Served, client: Client, bot_id: str) -> None:
    """It needs no id, and moves the time at which the bot is given up; a bot that is only staged gains nothing."""
    before = (await _row(api, bot_id)).due_at
    assert (await _report(client, bot_id, {"type": "heartbeat"})).json == {"state": "staged"}
    assert (await _row(api, bot_id)).due_at == before
    await _report(client, bot_id, {"id": "1", "type": "join_requested"})
    await _report(client, bot_id, {"id": "2", "type": "joined_meeting"})
    api.clock.at = NOON + timedelta(seconds=90)
    await _report(client, bot_id, {"type": "heartbeat"})
    assert (await _row(api, bot_id)).due_at == api.clock.at + HEARTBEAT


@pytest.mark.parametrize(
    ("type", "data", "trigger"),
    [
        ("transcript", {"speaker_name": "Ana", "transcription": {"transcript": "Hi 👋"}}, Trigger.TRANSCRIPT_UPDATE),
        ("chat_message", {"text": "hello"}, Trigger.CHAT_MESSAGES_UPDATE),
        ("participant_event", {"event_type": "join"}, Trigger.PARTICIPANT_EVENTS_JOIN_LEAVE),
        ("participant_event", {"event_type": "speech_start"}, Trigger.PARTICIPANT_EVENTS_SPEECH_START_STOP),
        ("log", {"level": "warning", "message": "m"}, Trigger.BOT_LOGS_UPDATE),
    ],
)
async def test_what_a_bot_hears_is_passed_on(
    api: Served, client: Client, bot_id: str, *, type: str, data: dict[str, Any], trigger: Trigger
) -> None:
    """Once, to whoever asked for that trigger, as the bot said it; the bot's state stays."""
    await _subscribe(api, trigger)
    for _ in range(2):
        answer = await _report(client, bot_id, {"id": "1", "type": type, "data": data})
        assert (answer.status, answer.json) == (200, {"state": "staged"})
    (told,) = await _told(api)
    assert (told["trigger"], told["bot_id"], told["data"]) == (trigger, bot_id, data)
    assert told.keys() == {"idempotency_key", "trigger", "bot_id", "bot_metadata", "data"}


async def test_a_bot_in_its_meeting_leaves_when_asked(api: Served, client: Client, bot_id: str) -> None:
    """It is leaving at once, its runner is told soon, and it goes on from there."""
    await _subscribe(api, Trigger.BOT_STATE_CHANGE)
    await _report(client, bot_id, {"id": "1", "type": "join_requested"})
    left = await client.post(f"/bots/{bot_id}/leave")
    assert (left.status, left.json["state"], left.json["events"][-1]["type"]) == (200, "leaving", "leave_requested")
    async with api.database.reading() as tx:
        launch = await launches.find(tx, _LAUNCH)
    assert launch is not None
    assert (launch.is_leave_wanted, launch.due_at) == (True, NOON)
    assert (await client.post(f"/bots/{bot_id}/leave")).status == 400
    assert (await _report(client, bot_id, {"id": "2", "type": "left_meeting"})).json == {"state": "post_processing"}


@pytest.mark.parametrize("state", [BotState.SCHEDULED, BotState.STAGED, BotState.POST_PROCESSING, BotState.ENDED])
async def test_a_bot_that_is_in_no_meeting_can_not_leave(
    api: Served, client: Client, bot_id: str, state: BotState
) -> None:
    """400, saying which state it is in."""
    async with api.database.transaction() as tx:
        await bots.change(tx, BotId(bot_id), values={"state": state.value}, now=NOON)
    refused = await client.post(f"/bots/{bot_id}/leave")
    assert refused.status == 400
    assert state in refused.json["error"]
