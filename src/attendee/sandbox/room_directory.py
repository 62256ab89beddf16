"""Every room of the sandbox, found by its code or by a meeting link, and what the calendars say of its meetings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

from attendee.clock import Clock
from attendee.sandbox.calendars import Calendar, Standing
from attendee.sandbox.entries import Details, Entry, as_instant
from attendee.sandbox.room_links import CODE, RoomLinks, stand_in_code
from attendee.sandbox.rooms import Room
from attendee.sandbox.timings import Timings

# A meeting that begins this soon is the one that somebody is early for.
EARLY = timedelta(minutes=15)


@dataclass(slots=True, kw_only=True)
class RoomDirectory:
    """The rooms that somebody has opened or gone to; they live as long as the sandbox."""

    clock: Clock
    calendars: Mapping[str, Calendar]
    timings: Timings
    links: RoomLinks = field(default_factory=RoomLinks)
    rooms: dict[str, Room] = field(default_factory=dict)
    # Code -> the link of the meeting elsewhere that this room stands in for.
    stand_ins: dict[str, str] = field(default_factory=dict)
    is_closed: bool = False
    # Calendar -> how things stood when it was looked through, and what was found: code -> ids of entries.
    _entries: dict[str, tuple[tuple[int, int], dict[str, set[str]]]] = field(default_factory=dict)

    def at(self, code: str) -> Room:
        """The room, new if nobody has asked for it before. Raises ValueError for what is no code."""
        if not CODE.fullmatch(code):
            raise ValueError(f"a room's code has letters, digits and hyphens, 64 at most, unlike {code!r}")
        code = code.lower()
        if code not in self.rooms:
            self.rooms[code] = Room(
                code=code,
                clock=self.clock,
                timings=self.timings,
                find_end=partial(self._find_end, code),
                stands_for=self.stand_ins.get(code),
            )
        return self.rooms[code]

    def at_link(self, link: str) -> Room:
        """The room that the link leads to, or that stands in for it."""
        return self.at(self.code(link))

    def code(self, link: str) -> str:
        """The code of that room, which need not have been opened yet."""
        link = self.links.normalised(link)
        code = self.links.own_code(link)
        if code is None:
            code = stand_in_code(link)
            self.stand_ins[code] = link
        return code

    def code_for(self, details: Details) -> str | None:
        """The code of the room in which an event takes place; None if it has no meeting link."""
        link = self.links.found_in(details)
        return None if link is None else self.code(link)

    def meeting(self, code: str) -> Standing | None:
        """The meeting in that room that is under way by the calendars or about to begin; if several are, the last."""
        now = self.clock()
        found: list[Standing] = []
        for calendar in self.calendars.values():
            ids = self._entries_by_code(calendar).get(code, ())
            found += [
                one
                for one in calendar.between(now, now + EARLY, ids=ids)
                if one.is_live and not one.details.is_all_day and self.code_for(one.details) == code
            ]
        return max(found, key=lambda one: as_instant(one.details.ends, zone=one.details.zone), default=None)

    def title(self, room: Room) -> str | None:
        """What the meeting in the room is called by the calendars now."""
        meeting = self.meeting(room.code)
        return None if meeting is None else meeting.details.title

    def close(self) -> None:
        """Lets go of whoever watches a room."""
        self.is_closed = True
        for room in self.rooms.values():
            for bell in room.bells:
                bell.set()

    def _find_end(self, code: str) -> datetime | None:
        meeting = self.meeting(code)
        return None if meeting is None else as_instant(meeting.details.ends, zone=meeting.details.zone)

    def _entries_by_code(self, calendar: Calendar) -> dict[str, set[str]]:
        """Which entries, or occurrences of them, take place in which rooms; looked through after a change only."""
        # What is a link to an own room depends on the hosts that are known.
        stand = (calendar.change, len(self.links.hosts))
        former_stand, found = self._entries.get(calendar.id, (None, {}))
        if former_stand != stand:
            found = {}
            for entry in calendar.entries.values():
                if isinstance(entry, Entry):
                    overridden = (one.details for one in entry.overrides.values() if one.details)
                    for code in filter(None, map(self.code_for, (entry.details, *overridden))):
                        found.setdefault(code, set()).add(entry.id)
            self._entries[calendar.id] = (stand, found)
        return found
