"""What can be made to go wrong, for one calendar, person or client, a number of times or until it is switched off."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

EVERYTHING = "*"


class Place(StrEnum):
    """Where a fault strikes.

    Calendar API and pushes know calendar ids and e-mail addresses as targets, the token endpoint e-mail addresses and
    client ids, the fleet of bots a bot's id and name, its meeting link and the code of its room.
    """

    CALENDAR = "calendar"
    TOKENS = "tokens"
    PUSHES = "pushes"
    FLEET = "fleet"


class FaultKind(StrEnum):
    """The ways to go wrong."""

    LATENCY = "latency"  # answers after `seconds`
    HANG = "hang"  # no answer until it is switched off
    THROTTLED = "throttled"  # 429, or the platform's other form named by `variant`; with Retry-After if `retry_after`
    SERVER_ERROR = "server_error"  # `status`, 503 unless told
    REFUSED = "refused"  # one of the platform's refusals, named by `variant`
    NOT_JSON = "not_json"  # 200 with a page of HTML
    TRUNCATED = "truncated"  # JSON that ends in the middle
    WRONG_TYPES = "wrong_types"  # JSON of another shape
    RESET = "reset"  # the connection is cut without an answer
    EXPIRED_CURSOR = "expired_cursor"  # 410 for what carries a cursor; `variant="bare"` leaves the reason out
    EMPTY_LISTING = "empty_listing"  # a full listing without any event
    EMPTY_PAGES = "empty_pages"  # a page without items before the others
    STALE = "stale"  # what changed can't be read yet: the answer to a cursor is empty
    DROPPED_PUSHES = "dropped_pushes"  # no message is sent
    LOST_ANSWER = "lost_answer"  # the fleet takes the order, then cuts the connection
    LOST_BOT = "lost_bot"  # the fleet takes the order, and the bot never reports
    CRASH_IN_MEETING = "crash_in_meeting"  # instead of its next heartbeat the bot is gone
    DUPLICATE_REPORTS = "duplicate_reports"  # a report is sent twice
    REPORTS_OUT_OF_ORDER = "reports_out_of_order"  # two reports are sent the other way round


FLEET_KINDS = frozenset(
    {
        FaultKind.LOST_ANSWER,
        FaultKind.LOST_BOT,
        FaultKind.CRASH_IN_MEETING,
        FaultKind.DUPLICATE_REPORTS,
        FaultKind.REPORTS_OUT_OF_ORDER,
    }
)


@dataclass(slots=True, kw_only=True)
class Fault:
    """One fault that is switched on. `times` is how often it still strikes; None is until it is switched off."""

    target: str
    kind: FaultKind
    place: Place
    times: int | None = None
    seconds: float = 1.0
    status: int = 503
    variant: str | None = None
    retry_after: int | None = None
    released: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class Faults:
    """All faults that are switched on."""

    active: list[Fault] = field(default_factory=list)
    hanging: list[Fault] = field(default_factory=list)

    def switch_on(
        self,
        target: str,
        kind: FaultKind,
        *,
        place: Place | None = None,
        times: int | None = None,
        seconds: float = 1.0,
        status: int = 503,
        variant: str | None = None,
        retry_after: int | None = None,
    ) -> Fault:
        """The fault, on from now. The target is a calendar id, an e-mail address, a client id, or `*` for all."""
        usual = Place.FLEET if kind in FLEET_KINDS else Place.CALENDAR
        if kind is FaultKind.DROPPED_PUSHES:
            usual = Place.PUSHES
        fault = Fault(
            target=target,
            kind=kind,
            place=place or usual,
            times=times,
            seconds=seconds,
            status=status,
            variant=variant,
            retry_after=retry_after,
        )
        self.active.append(fault)
        return fault

    def switch_off(self, target: str | None = None, kind: FaultKind | None = None) -> None:
        """Switches off what matches; everything without arguments. What hangs by it is let go."""
        for fault in [*self.active, *self.hanging]:
            if target in (None, fault.target) and kind in (None, fault.kind):
                fault.released.set()
                if fault in self.active:
                    self.active.remove(fault)

    async def hang(self, fault: Fault) -> None:
        """Comes back when the fault is switched off."""
        self.hanging.append(fault)
        try:
            await fault.released.wait()
        finally:
            self.hanging.remove(fault)

    def strike(self, place: Place, targets: tuple[str, ...], *kinds: FaultKind) -> Fault | None:
        """The first fault of these kinds that is on for one of the targets, one time of it used up; else None."""
        for fault in self.matching(place, targets):
            if fault.kind in kinds:
                self.use(fault)
                return fault
        return None

    def matching(self, place: Place, targets: tuple[str, ...]) -> Iterator[Fault]:
        """The faults that are on for one of the targets, in the order in which they were switched on."""
        return (
            fault
            for fault in list(self.active)
            if fault.place is place and (fault.target in targets or fault.target == EVERYTHING)
        )

    def use(self, fault: Fault) -> None:
        """Counts one strike; the last one ends it, but what hangs by it goes on hanging."""
        if fault.times is not None:
            fault.times -= 1
            if fault.times <= 0 and fault in self.active:
                self.active.remove(fault)
