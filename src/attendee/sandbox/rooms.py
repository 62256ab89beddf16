"""The meeting rooms: who is in them, what their host decides, and what is said there.

Plain calls in the caller's task. Whoever is in a room hears at once of what happens around it; pages are woken.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TypeAlias

from attendee.clock import Clock
from attendee.sandbox.pictures import Picture
from attendee.sandbox.timings import Timings

LINES_KEPT = 50
FORMER_BOTS_KEPT = 8


class Presence(StrEnum):
    """How far a bot has come."""

    EXPECTED = "expected"
    ASKING = "asking"
    WAITING = "waiting"
    PRESENT = "present"
    RECORDING = "recording"
    NOT_ALLOWED_TO_RECORD = "not_allowed_to_record"
    LEFT = "left"
    TURNED_AWAY = "turned_away"
    LOST = "lost"


IN_MEETING = frozenset({Presence.PRESENT, Presence.RECORDING, Presence.NOT_ALLOWED_TO_RECORD})
GONE = frozenset({Presence.LEFT, Presence.TURNED_AWAY, Presence.LOST})


class Decision(StrEnum):
    """What becomes of a bot by the host's word."""

    LET_IN = "let_in"
    TURNED_AWAY = "turned_away"
    RECORDING_ALLOWED = "recording_allowed"
    RECORDING_REFUSED = "recording_refused"
    REMOVED = "removed"
    MEETING_ENDED = "meeting_ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Participant:
    """A person in the room."""

    id: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A person has come or gone."""

    participant: Participant
    has_come: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What a person wrote, or said aloud; a bot's own line has no participant."""

    id: str
    participant: Participant | None
    name: str
    text: str
    is_said: bool
    at: datetime


News: TypeAlias = Decision | Move | Line


@dataclass(slots=True, eq=False, kw_only=True)
class Visitor:
    """A bot as the room sees it. `hears` is called with all that concerns it, in the order in which it happens."""

    id: str
    name: str
    picture: Picture | None
    since: datetime
    hears: Callable[[News], None]
    presence: Presence = Presence.EXPECTED
    joins_at: datetime | None = None
    remark: str | None = None


@dataclass(slots=True, eq=False, kw_only=True)
class Room:
    """One room. `stands_for` is the link of a meeting elsewhere that is played here.

    `find_end` tells when the meeting under way ends by the calendars, None if they know of none.
    """

    code: str
    clock: Clock
    timings: Timings
    find_end: Callable[[], datetime | None]
    stands_for: str | None = None
    # The host lets bots in and allows recording without being asked.
    is_open: bool = True
    visitors: dict[str, Visitor] = field(default_factory=dict)
    participants: dict[str, Participant] = field(default_factory=dict)
    lines: deque[Line] = field(default_factory=lambda: deque(maxlen=LINES_KEPT))
    ends_at: datetime | None = None
    alone_since: datetime = field(init=False)
    bells: set[asyncio.Event] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.alone_since = self.clock()

    def expect(self, visitor: Visitor) -> None:
        """Makes the bot known; one of the same id that was here before is forgotten."""
        self.visitors.pop(visitor.id, None)
        self.visitors[visitor.id] = visitor
        former = [one for one in self.visitors.values() if one.presence in GONE]
        for one in former[:-FORMER_BOTS_KEPT]:
            del self.visitors[one.id]
        self._ring()

    def ask(self, visitor: Visitor) -> None:
        """The bot asks to join."""
        self._place(visitor, Presence.ASKING)

    def make_wait(self, visitor: Visitor) -> None:
        """The bot is put into the waiting room."""
        self._place(visitor, Presence.WAITING)

    def leave(self, visitor: Visitor, *, presence: Presence = Presence.LEFT, remark: str | None = None) -> None:
        """The bot is gone of its own accord; `remark` says why."""
        visitor.remark = remark
        self._place(visitor, presence)
        if not any(one.presence not in GONE for one in self.visitors.values()):
            self.ends_at = None  # The next meeting in this room has an end of its own.

    def forget(self, visitor: Visitor) -> None:
        """The bot is called off: not even its name is left."""
        if self.visitors.get(visitor.id) is visitor:
            self.leave(visitor)
            del self.visitors[visitor.id]
            self._ring()

    def let_in(self, visitor_id: str) -> None:
        """The host lets a bot in. Raises KeyError if none of that id waits; so do the other decisions."""
        visitor = self._visitor(visitor_id, Presence.WAITING)
        self._place(visitor, Presence.PRESENT)
        visitor.hears(Decision.LET_IN)
        if self.is_open and visitor.presence is Presence.PRESENT:
            self.allow_recording(visitor_id)

    def turn_away(self, visitor_id: str) -> None:
        """The host turns a bot away that waits."""
        visitor = self._visitor(visitor_id, Presence.WAITING)
        self.leave(visitor, presence=Presence.TURNED_AWAY)
        visitor.hears(Decision.TURNED_AWAY)

    def allow_recording(self, visitor_id: str) -> None:
        """The host allows a bot to record."""
        visitor = self._visitor(visitor_id, Presence.PRESENT, Presence.NOT_ALLOWED_TO_RECORD)
        self._place(visitor, Presence.RECORDING)
        visitor.hears(Decision.RECORDING_ALLOWED)

    def refuse_recording(self, visitor_id: str) -> None:
        """The host forbids a bot to record, whether or not it does."""
        visitor = self._visitor(visitor_id, Presence.PRESENT, Presence.RECORDING)
        self._place(visitor, Presence.NOT_ALLOWED_TO_RECORD)
        visitor.hears(Decision.RECORDING_REFUSED)

    def remove(self, visitor_id: str) -> None:
        """The host removes a bot from the meeting."""
        visitor = self._visitor(visitor_id, *IN_MEETING)
        self.leave(visitor, remark="removed by the host")
        visitor.hears(Decision.REMOVED)

    def end(self) -> None:
        """The meeting is over: everybody leaves. Bots whose time has not come yet are still expected."""
        for visitor in list(self.visitors.values()):
            if visitor.presence not in GONE and visitor.presence is not Presence.EXPECTED:
                self.leave(visitor, remark="the meeting ended")
                visitor.hears(Decision.MEETING_ENDED)
        self.participants.clear()
        self.alone_since = self.clock()
        self.ends_at = None
        self._ring()

    def set_open(self, *, is_open: bool) -> None:
        """Whether the host lets bots in by itself. Whoever waits when it is switched on is let in after the moment."""
        self.is_open = is_open
        self._ring()

    def join(self, name: str) -> Participant:
        """A person comes in. Raises ValueError without a name."""
        if not name.strip():
            raise ValueError("a person needs a name to join")
        participant = Participant(id=secrets.token_hex(4), name=name.strip()[:60])
        self.participants[participant.id] = participant
        self._tell(Move(participant=participant, has_come=True))
        return participant

    def go(self, participant_id: str) -> None:
        """A person leaves. Raises KeyError."""
        participant = self._participant(participant_id)
        del self.participants[participant_id]
        if not self.participants:
            self.alone_since = self.clock()
        self._tell(Move(participant=participant, has_come=False))

    def utter(self, participant_id: str, text: str, *, is_said: bool) -> None:
        """A person writes a line in the chat, or says it aloud. Raises KeyError, and ValueError without a text."""
        if not text.strip():
            raise ValueError("there is nothing to say in an empty line")
        participant = self._participant(participant_id)
        self._tell(self._keep(participant, participant.name, text, is_said=is_said))

    def write(self, visitor: Visitor, text: str) -> None:
        """A bot writes a line in the chat."""
        self._keep(None, visitor.name, text, is_said=False)
        self._ring()

    def act(self) -> None:
        """What the host does by itself now: lets in those who have waited long enough, ends the meeting at its end."""
        now = self.clock()
        self.ends_at = self.find_end() or self.ends_at
        if self.ends_at is not None and self.ends_at <= now:
            self.end()
            return
        for visitor in self._waiting():
            if self.is_open and visitor.since + self.timings.waiting <= now:
                self.let_in(visitor.id)

    def acts_at(self) -> datetime | None:
        """When the host will next do something by itself, as far as can be seen now."""
        moments = [one.since + self.timings.waiting for one in self._waiting() if self.is_open]
        return min([*moments, *([self.ends_at] if self.ends_at else [])], default=None)

    @contextmanager
    def watched(self) -> Iterator[asyncio.Event]:
        """A bell that rings at every change in the room."""
        bell = asyncio.Event()
        self.bells.add(bell)
        try:
            yield bell
        finally:
            self.bells.discard(bell)

    def _waiting(self) -> list[Visitor]:
        return [one for one in self.visitors.values() if one.presence is Presence.WAITING]

    def _visitor(self, visitor_id: str, *presences: Presence) -> Visitor:
        visitor = self.visitors.get(visitor_id)
        if visitor is None:
            raise KeyError(f"there is no bot {visitor_id!r} in this room")
        if visitor.presence not in presences:
            raise KeyError(f"the bot would have to be {' or '.join(presences)}, and is {visitor.presence}")
        return visitor

    def _participant(self, participant_id: str) -> Participant:
        if participant_id not in self.participants:
            raise KeyError("that person is not in the room")
        return self.participants[participant_id]

    def _place(self, visitor: Visitor, presence: Presence) -> None:
        visitor.presence, visitor.since = presence, self.clock()
        self._ring()

    def _keep(self, participant: Participant | None, name: str, text: str, *, is_said: bool) -> Line:
        line = Line(
            id=f"msg_{secrets.token_hex(8)}",
            participant=participant,
            name=name,
            text=text.strip()[:1000],
            is_said=is_said,
            at=self.clock(),
        )
        self.lines.append(line)
        return line

    def _tell(self, news: Move | Line) -> None:
        for visitor in list(self.visitors.values()):
            if visitor.presence in IN_MEETING:
                visitor.hears(news)
        self._ring()

    def _ring(self) -> None:
        for bell in self.bells:
            bell.set()
