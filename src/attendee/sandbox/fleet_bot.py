"""The life of one bot of the fleet: it goes to a room in time, lives through what happens there, and reports it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import aiohttp

from attendee.clock import written
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.orders import Order
from attendee.sandbox.pictures import NoPicture, Picture, parse_picture
from attendee.sandbox.reports import Reporter
from attendee.sandbox.rooms import GONE, IN_MEETING, Decision, Line, Move, News, Participant, Presence, Room, Visitor
from attendee.sandbox.timings import rung
from attendee.sandbox.world import World

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# How fast people speak, for the length of what they say.
_WORD = timedelta(milliseconds=350)


class FleetBot:
    """One launch of a bot. `start` it once; from then on it lives by itself."""

    def __init__(self, order: Order, *, world: World, room: Room, session: aiohttp.ClientSession) -> None:
        self.order = order
        self.room = room
        self._world = world
        self._bell = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._picture_trouble: str | None = None
        self._has_work_left = False
        self.targets = (order.bot_id, order.bot_name, order.meeting_url, room.code)
        self.reporter = Reporter(
            session=session,
            address=order.report_url,
            token=order.report_token,
            targets=self.targets,
            refused=self._heed,
            faults=world.faults,
            timings=world.timings,
            clock=world.clock,
            pause=world.pause,
        )
        self.visitor = Visitor(
            id=order.bot_id,
            name=order.bot_name,
            picture=self._picture(),
            since=world.clock(),
            hears=self._hear,
            joins_at=order.join_at,
        )

    @property
    def is_gone(self) -> bool:
        """Whether it has left, or never got in."""
        return self.visitor.presence in GONE

    def start(self) -> None:
        """The bot is staged: its room expects it. A lost one never does anything."""
        self.room.expect(self.visitor)
        if self._world.faults.strike(Place.FLEET, self.targets, FaultKind.LOST_BOT):
            self.room.leave(self.visitor, presence=Presence.LOST, remark="lost by its fleet")
        else:
            self._task = asyncio.get_running_loop().create_task(self._live())

    def leave(self) -> None:
        """Asked to leave by the service, which knows of it: the bot only reports that it has left."""
        if not self.is_gone:
            self.room.leave(self.visitor)
            self.reporter.add("left_meeting")
            self._end(has_work_left=True)

    def end(self) -> None:
        """The bot is gone without a word."""
        self.room.forget(self.visitor)
        if self._task is not None:
            self._task.cancel()

    async def call_off(self) -> None:
        """As `end`, and nothing of it is under way any more."""
        self.end()
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    async def _live(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.reporter.send())
            try:
                await self._arrive()
                await self._knock()
                await self._stay()
                if self._has_work_left:
                    await self._world.pause(self._world.clock() + self._world.timings.post_processing)
                if self._has_work_left:
                    self.reporter.add("post_processing_completed")
            finally:
                self.reporter.finish()

    async def _arrive(self) -> None:
        join_at = self.order.join_at
        while self.visitor.presence is Presence.EXPECTED and join_at is not None and self._world.clock() < join_at:
            await self._wait(until=join_at)
        if self.visitor.presence is Presence.EXPECTED:
            self.reporter.add("join_requested")
            self.room.ask(self.visitor)

    async def _knock(self) -> None:
        answered_at = self._world.clock() + self._world.timings.asking
        while self.visitor.presence is Presence.ASKING:
            if self._world.clock() >= answered_at:
                self.reporter.add("put_in_waiting_room")
                self.room.make_wait(self.visitor)
            else:
                await self._wait(until=answered_at)

    async def _stay(self) -> None:
        """Reminds the room's host of the time, and the service of itself, until the bot is gone."""
        beats_at = self._world.clock() + self._world.timings.heartbeat
        while not self.is_gone:
            self.room.act()
            if self._is_alone_too_long():
                self.reporter.add("leave_requested", sub_type="auto_leave_only_participant_in_meeting")
                self.leave()
            if self._world.clock() >= beats_at:
                beats_at = self._world.clock() + self._world.timings.heartbeat
                self._beat()
            if not self.is_gone:
                moments = (beats_at, self.room.acts_at(), self._leaves_at())
                await self._wait(until=min(moment for moment in moments if moment is not None))

    def _beat(self) -> None:
        if self.visitor.presence not in IN_MEETING:
            return
        if self._world.faults.strike(Place.FLEET, self.targets, FaultKind.CRASH_IN_MEETING):
            self.room.leave(self.visitor, presence=Presence.LOST, remark="crashed")
            self.reporter.drop()
        else:
            self.reporter.beat()

    def _leaves_at(self) -> datetime | None:
        patience = self.order.alone_for
        if patience is None or self.visitor.presence not in IN_MEETING or self.room.participants:
            return None
        return max(self.visitor.since, self.room.alone_since) + patience

    def _is_alone_too_long(self) -> bool:
        leaves_at = self._leaves_at()
        return leaves_at is not None and leaves_at <= self._world.clock()

    def _hear(self, news: News) -> None:
        """Reports what has happened around the bot."""
        match news:
            case Decision.LET_IN:
                self._join()
            case Decision.RECORDING_ALLOWED:
                self.reporter.add("recording_permission_granted")
            case Decision.RECORDING_REFUSED:
                self.reporter.add("recording_permission_denied", sub_type="denied_by_host")
            case Decision.TURNED_AWAY:
                self.reporter.add("could_not_join_meeting", sub_type="request_to_join_denied")
                self._end(has_work_left=False)
            case Decision.REMOVED | Decision.MEETING_ENDED:
                self.reporter.add("meeting_ended")
                self._end(has_work_left=True)
            case Move():
                self.reporter.add("participant_event", data=self._move_data(news))
            case Line(participant=Participant()) if news.is_said:
                self.reporter.add("transcript", data=_speech_data(news))
            case Line():
                self.reporter.add("chat_message", data=_message_data(news))
        self._bell.set()

    def _join(self) -> None:
        self.reporter.add("joined_meeting")
        self._log("info", f"Joined the sandbox's room {self.room.code}.")
        if self._picture_trouble is not None:
            self._log("warning", f"The bot's picture is not shown: {self._picture_trouble}.")
        for participant in self.room.participants.values():
            move = Move(participant=participant, has_come=True)
            self.reporter.add("participant_event", data=self._move_data(move))
        if self.order.greeting is not None:
            self.room.write(self.visitor, self.order.greeting)

    def _heed(self, status: int, state: str | None) -> None:
        """The service refused a report: as a rule it knows no such bot any more, and the bot stops.

        Where it has meanwhile been asked to make the bot leave, the bot learns of that here, and leaves.
        """
        if status == 409 and state == "leaving":
            self.leave()
        elif not self.is_gone or self._has_work_left:
            self.room.leave(self.visitor, remark=f"stopped: the service answered a report with {status}")
            self.reporter.drop()
            self._end(has_work_left=False)

    def _end(self, *, has_work_left: bool) -> None:
        self._has_work_left = has_work_left
        self._bell.set()

    async def _wait(self, *, until: datetime) -> None:
        await rung(self._bell, until=until, pause=self._world.pause)

    def _picture(self) -> Picture | None:
        if self.order.settings.get("bot_image") is None:
            return None
        try:
            return parse_picture(self.order.settings["bot_image"])
        except NoPicture as wrong:
            self._picture_trouble = str(wrong)
            return None

    def _log(self, level: str, message: str) -> None:
        at = self._world.clock()
        entry = {"level": level, "entry_type": "uncategorized", "message": message, "created_at": written(at)}
        self.reporter.add("log", data={"id": f"log_{len(self.reporter.reports)}_{_milliseconds(at)}", **entry})

    def _move_data(self, move: Move) -> dict[str, Any]:
        at = self._world.clock()
        who = move.participant
        return {
            "id": f"event_{who.id}_{'join' if move.has_come else 'leave'}",
            "participant_name": who.name,
            "participant_uuid": who.id,
            "participant_user_uuid": _account(who),
            "participant_is_host": False,
            "event_type": "join" if move.has_come else "leave",
            "event_data": {},
            "timestamp_ms": _milliseconds(at),
        }


def _speech_data(line: Line) -> dict[str, Any]:
    assert line.participant is not None
    return {
        "speaker_name": line.name,
        "speaker_uuid": line.participant.id,
        "speaker_user_uuid": _account(line.participant),
        "speaker_is_host": False,
        "timestamp_ms": _milliseconds(line.at),
        "duration_ms": len(line.text.split()) * _WORD // timedelta(milliseconds=1),
        "transcription": {"transcript": line.text, "words": None},
    }


def _message_data(line: Line) -> dict[str, Any]:
    sender = line.participant
    return {
        "id": line.id,
        "to": "everyone",
        "text": line.text,
        "timestamp": _milliseconds(line.at) // 1000,
        "timestamp_ms": _milliseconds(line.at),
        "sender_name": line.name,
        "sender_uuid": sender.id if sender else None,
        "sender_user_uuid": _account(sender) if sender else None,
        "additional_data": None,
    }


def _account(participant: Participant) -> str:
    """An id of the person's account: the same whenever somebody of that name comes."""
    return str(uuid5(NAMESPACE_URL, participant.name))


def _milliseconds(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(milliseconds=1)
