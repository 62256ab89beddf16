"""Bots that another server runs: handed over, mirrored, moved, called off and asked to leave.

The other server is a second installation of ours. Its own runner is in memory; its bots report as a runner's do.
"""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from attendee.bots.runners.port import Order
from attendee.bots.runners.remote import RemoteRunner
from attendee.bots.schedule import LaunchTimes
from attendee.model import Trigger
from attendee.sandbox.world import Person
from attendee.store.columns import KeyRing
from attendee.store.database import Database
from tests.api.serving import HEARTBEAT, LINK
from tests.bots.crew import Fleet
from tests.bots.runners.side import Side, running_side
from tests.installation import START, Installation, installation

_STARTS = START + timedelta(hours=2)
# The other side has half the lead: a bot waits there first.
_LEAD, _THEIR_LEAD = timedelta(minutes=5), timedelta(minutes=1)
_POLLED = timedelta(seconds=5)


@dataclass
class Pair:
    """Our side and theirs. With `is_told` their webhooks reach us; else we have to ask."""

    here: Installation
    ours: Side
    theirs: Side
    fleet: Fleet
    is_told: bool
    ana: Person
    _reports: int = field(default=0)

    async def go_on(self) -> None:
        """Both do what is due, until nothing is; where nobody tells us, we ask some seconds later."""
        if not self.is_told:
            self.here.clock.advance(_POLLED)
        while await self.ours.work_once() + await self.theirs.work_once():
            pass

    async def go_to(self, at: datetime) -> None:
        self.here.clock.at = at
        await self.go_on()

    async def launched(self, join_at: datetime) -> None:
        """The calendar of a bot that joins then has been asked, and the bot is handed over."""
        await self.go_to(join_at - timedelta(minutes=3))
        await self.go_to(join_at - timedelta(minutes=2, seconds=45))

    async def ordered(self) -> str:
        """A bot of ours on Ana's meeting, which they have and have not launched yet."""
        calendar = await self.here.sync((await self.here.connect(self.ana)).id)
        event = (await self.here.events(calendar.id))["meeting"]
        made = await self.ours.client.post(
            "/bots",
            {
                "bot_name": "Notes",
                "calendar_event_id": event.id,
                "metadata": {"tenant": "7"},
                "recording_settings": {"format": "mp4"},
            },
        )
        assert made.status == 201, made.raw
        await self.launched(_STARTS)
        return str(made.json["id"])

    async def joining(self) -> tuple[str, str]:
        """A bot of ours that their fleet has taken, and that says that it joins; its id here and there."""
        bot_id = await self.ordered()
        remote_id = (await self.ours.bot(bot_id))["remote_id"]
        await self.go_to(_STARTS - timedelta(seconds=30))
        assert (await self.theirs.bot(remote_id))["state"] == "staged"
        assert (await self.ours.bot(bot_id))["state"] == "staged"
        await self.report(remote_id, "join_requested")
        return bot_id, remote_id

    async def report(self, remote_id: str, type: str, **more: Any) -> None:
        """What their runner's bot reports to them, and all that follows from it on both sides."""
        order = next(order for order in self.fleet.orders if order.bot_id == remote_id)
        self._reports += 1
        body = {"id": str(self._reports), "type": type, **more}
        token = {"Authorization": f"Bearer {order.body['report_token']}"}
        answer = await self.theirs.client.ask("POST", order.body["report_url"], json=body, headers=token)
        assert answer.status == 200, answer.raw
        await self.go_on()


@pytest.fixture(params=["told", "polled"])
async def pair(
    request: pytest.FixtureRequest, database_url: str, sqlite_template: Path, tmp_path: Path
) -> AsyncIterator[Pair]:
    """Both sides; theirs takes our address for its webhooks, or refuses it."""
    is_told = request.param == "told"
    path = tmp_path / "theirs.sqlite3"
    shutil.copy(sqlite_template, path)
    fleet, their_database = Fleet(), Database(f"sqlite:///{path}")
    async with (
        installation(database_url, lead=_LEAD) as here,
        running_side(
            their_database,
            key_ring=KeyRing([KeyRing.generate_key()]),
            clock=here.clock,
            runner_of=lambda *_: fleet,
            times=LaunchTimes(_THEIR_LEAD),
            allow_insecure_webhooks=is_told,
        ) as theirs,
        running_side(
            here.database,
            key_ring=here.key_ring,
            clock=here.clock,
            runner_of=lambda http, address: RemoteRunner(
                http, theirs.client.address, theirs.client.key or "", address, HEARTBEAT, here.clock
            ),
            project_id=here.project_id,
        ) as ours,
    ):
        ana = here.world.add_person("ana@acme.example")
        ana.primary.put("meeting", starts=_STARTS, location=LINK)
        yield Pair(here, ours, theirs, fleet, is_told, ana)
    await their_database.close()


async def test_a_bot_is_made_there_as_it_is_here(pair: Pair) -> None:
    """With its settings and its time; ours is staged as soon as theirs is there, and shows what it is called there."""
    bot_id = await pair.ordered()
    ours = await pair.ours.bot(bot_id)
    theirs = await pair.theirs.bot(ours["remote_id"])
    assert (ours["state"], theirs["state"]) == ("staged", "scheduled")
    for name in ("bot_name", "meeting_url", "join_at", "metadata"):
        assert theirs[name] == ours[name]
    (launch,) = await pair.ours.launches()
    assert theirs["deduplication_key"] == launch.id
    await pair.go_to(_STARTS - timedelta(seconds=30))
    (order,) = pair.fleet.orders
    assert order.body["settings"] == {"recording_settings": {"format": "mp4"}}


async def test_every_state_is_mirrored(pair: Pair) -> None:
    """In order, with what they say of it and when it happened there; the other side's own staging is not ours."""
    bot_id, remote_id = await pair.joining()
    for report in (
        "put_in_waiting_room",
        "joined_meeting",
        "recording_permission_granted",
        "recording_paused",
        "recording_resumed",
        "began_joining_breakout_room",
        "joined_breakout_room",
        "began_leaving_breakout_room",
        "left_breakout_room",
        "recording_permission_denied",
        "meeting_ended",
        "post_processing_completed",
    ):
        await pair.report(remote_id, report, sub_type=f"sub of {report}")
        ours, theirs = await pair.ours.bot(bot_id), await pair.theirs.bot(remote_id)
        for name in ("state", "recording_state", "transcription_state"):
            assert ours[name] == theirs[name], report
        assert ours["events"][1:] == theirs["events"][1:]
    assert ours["state"] == "ended"
    assert [step["type"] for step in ours["events"][:2]] == ["staged", "join_requested"]
    assert await pair.ours.launches() == []


@pytest.mark.parametrize("how", ["could_not_join_meeting", "fatal_error"])
async def test_a_bot_that_fails_there_fails_here(pair: Pair, how: str) -> None:
    """With their reason."""
    bot_id, remote_id = await pair.joining()
    await pair.report(remote_id, how, sub_type="meeting_not_found")
    ours = await pair.ours.bot(bot_id)
    assert ours["state"] == "fatal_error"
    assert (ours["events"][-1]["type"], ours["events"][-1]["sub_type"]) == (how, "meeting_not_found")


async def test_a_bot_joins_at_once_where_it_is_to_join_now(pair: Pair) -> None:
    """A time that is past, or about to be, is not sent along: the other server would refuse it."""
    made = await pair.ours.client.post("/bots", {"bot_name": "Notes", "meeting_url": LINK})
    await pair.go_on()
    ours = await pair.ours.bot(made.json["id"])
    theirs = await pair.theirs.bot(ours["remote_id"])
    assert (ours["state"], theirs["state"], theirs["join_at"]) == ("joining", "joining", None)
    await pair.report(ours["remote_id"], "joined_meeting")
    assert await pair.ours.life(made.json["id"]) == ["join_requested", "joined_meeting"]


async def test_a_bot_leaves_there_when_it_is_asked_to_here(pair: Pair) -> None:
    """At once here; there it says itself when it has left, and both end."""
    bot_id, remote_id = await pair.joining()
    await pair.report(remote_id, "joined_meeting")
    assert (await pair.ours.client.post(f"/bots/{bot_id}/leave")).json["state"] == "leaving"
    await pair.go_on()
    assert (await pair.theirs.bot(remote_id))["state"] == "leaving"
    assert ("leave", remote_id) in pair.fleet.told
    await pair.report(remote_id, "left_meeting")
    await pair.report(remote_id, "post_processing_completed")
    assert (await pair.ours.bot(bot_id))["state"] == "ended"
    assert await pair.ours.life(bot_id) == await pair.theirs.life(remote_id)


async def test_a_bot_moves_there_when_its_meeting_moves(pair: Pair) -> None:
    """It is deleted there, waits here for its new time, and is made there again."""
    bot_id = await pair.ordered()
    first = (await pair.ours.bot(bot_id))["remote_id"]
    moved_to = _STARTS + timedelta(hours=3)
    pair.ana.primary.put("meeting", starts=moved_to, location=LINK)
    for calendar_id in pair.here.people:
        await pair.here.sync(calendar_id)
    await pair.go_on()
    waiting = await pair.ours.bot(bot_id)
    assert (waiting["state"], waiting["remote_id"]) == ("scheduled", None)
    assert (await pair.theirs.client.get(f"/bots/{first}")).status == 404
    await pair.launched(moved_to)
    again = await pair.ours.bot(bot_id)
    assert again["remote_id"] not in {first, None}
    assert (await pair.theirs.bot(again["remote_id"]))["join_at"] == again["join_at"]
    assert again["join_at"].startswith(moved_to.isoformat()[:19])


async def test_a_bot_is_deleted_there_when_its_meeting_is_cancelled(pair: Pair) -> None:
    """Nobody goes to a meeting that is off."""
    bot_id = await pair.ordered()
    remote_id = (await pair.ours.bot(bot_id))["remote_id"]
    pair.ana.primary.cancel("meeting")
    for calendar_id in pair.here.people:
        await pair.here.sync(calendar_id)
    await pair.go_on()
    for side, id in ((pair.ours, bot_id), (pair.theirs, remote_id)):
        assert (await side.client.get(f"/bots/{id}")).status == 404
    assert await pair.ours.launches() == []
    assert pair.fleet.orders == []


async def test_a_bot_that_can_not_be_deleted_there_leaves(pair: Pair) -> None:
    """Once it is on its way there, it can't be called off any more: it is caught as it joins, soon."""
    bot_id = await pair.ordered()
    remote_id = (await pair.ours.bot(bot_id))["remote_id"]
    await pair.go_to(_STARTS - timedelta(seconds=30))
    pair.ana.primary.cancel("meeting")
    for calendar_id in pair.here.people:
        await pair.here.sync(calendar_id)
    for _ in range(8):
        pair.here.clock.advance(timedelta(seconds=10))
        await pair.go_on()
    assert (await pair.theirs.bot(remote_id))["state"] == "staged"
    (launch,) = await pair.ours.launches()
    assert "can leave; this one is staged" in (launch.last_error or "")
    await pair.report(remote_id, "join_requested")
    pair.here.clock.advance(timedelta(seconds=10))
    await pair.go_on()
    assert (await pair.theirs.bot(remote_id))["state"] == "leaving"
    assert await pair.ours.launches() == []


async def test_a_quiet_meeting_is_not_a_dead_bot(pair: Pair) -> None:
    """As long as the other server says that the bot is well, it is; then silence counts here as it does there."""
    bot_id, remote_id = await pair.joining()
    await pair.report(remote_id, "joined_meeting")
    for _ in range(10):
        pair.here.clock.advance(timedelta(seconds=60))
        heard_at = pair.here.clock()
        await pair.report(remote_id, "heartbeat")
    assert (await pair.ours.bot(bot_id))["state"] == "joined_not_recording"
    pair.here.clock.at = heard_at + HEARTBEAT
    await pair.theirs.work()
    await pair.go_on()
    ours = await pair.ours.bot(bot_id)
    assert (ours["state"], ours["events"][-1]["sub_type"]) == ("fatal_error", "heartbeat_timeout")


async def test_what_was_heard_in_the_meeting_is_passed_on(pair: Pair) -> None:
    """Where their webhooks reach us, each under its own trigger, once; the API has no other way to it."""
    heard = {
        Trigger.TRANSCRIPT_UPDATE: ("transcript", {"text": "Hello"}),
        Trigger.CHAT_MESSAGES_UPDATE: ("chat_message", {"text": "Hi"}),
        Trigger.PARTICIPANT_EVENTS_JOIN_LEAVE: ("participant_event", {"event_type": "join"}),
        Trigger.PARTICIPANT_EVENTS_SPEECH_START_STOP: ("participant_event", {"event_type": "speech_start"}),
        Trigger.BOT_LOGS_UPDATE: ("log", {"message": "up"}),
    }
    await pair.here.subscribe("http://127.0.0.1:1/hook", triggers=tuple(heard))
    bot_id, remote_id = await pair.joining()
    await pair.report(remote_id, "joined_meeting")
    for trigger, (type, data) in heard.items():
        await pair.report(remote_id, type, data=data)
        told = await pair.here.told(trigger)
        assert [(one["bot_id"], one["data"]) for one in told] == ([(bot_id, data)] if pair.is_told else [])


async def test_who_is_told_asks_less_often(pair: Pair) -> None:
    """Not before something was heard: that the other server took our address does not say that it reaches us."""
    bot_id = await pair.ordered()
    remote_id = (await pair.ours.bot(bot_id))["remote_id"]
    pair.here.clock.advance(_POLLED)
    await pair.go_on()
    assert await _next_look(pair) == _POLLED
    await pair.go_to(_STARTS - timedelta(seconds=30))
    await pair.report(remote_id, "join_requested")
    assert await _next_look(pair) == (timedelta(seconds=60) if pair.is_told else _POLLED)


async def _next_look(pair: Pair) -> timedelta:
    (launch,) = await pair.ours.launches()
    due_in: timedelta = launch.due_at - pair.here.clock()
    return due_in


async def test_a_bot_that_is_deleted_there_has_ended_here(pair: Pair) -> None:
    """Somebody took it out of the other server."""
    bot_id = await pair.ordered()
    remote_id = (await pair.ours.bot(bot_id))["remote_id"]
    assert (await pair.theirs.client.delete(f"/bots/{remote_id}")).status == 200
    pair.here.clock.advance(_POLLED)
    await pair.go_on()
    ours = await pair.ours.bot(bot_id)
    assert (ours["state"], ours["events"][-1]["sub_type"]) == ("fatal_error", "remote_bot_gone")


async def test_a_bot_is_made_there_once(pair: Pair) -> None:
    """However often we did not hear their answer: it is found by its deduplication key, and called off by it."""
    bot_id = await pair.ordered()
    (launch,) = await pair.ours.launches()
    body: dict[str, Any] = {
        "bot_name": "Notes",
        "meeting_url": LINK,
        "metadata": None,
        "settings": {},
        "join_at": "2026-12-01T10:30:00.000000Z",
        "report_token": "t0ken",
    }
    runner = pair.ours.stager.runner
    for is_retry in (True, False):
        order = Order(launch.id, launch.project_id, launch.bot_id, body, is_retry=is_retry)
        assert await runner.stage(order) == await runner.stage(order)
    remote_id = (await pair.ours.bot(bot_id))["remote_id"]
    listed = (await pair.theirs.client.get("/bots")).json["results"]
    assert [bot["id"] for bot in listed] == [remote_id]
