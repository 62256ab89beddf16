"""The port behind which whatever runs bots is found.

Nothing here is raised: what a runner makes of a call is a value, which `staging` stores and acts on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, runtime_checkable

from attendee.bots.reports import Report
from attendee.model import BotId, LaunchId, ProjectId


@dataclass(frozen=True, slots=True)
class Order:
    """A bot that is to be launched. `body` is the whole order, the token of its reports in it.

    `id` is the same on every try of one launch; with `is_retry`, an earlier try may have reached the runner.
    """

    id: LaunchId
    project_id: ProjectId
    bot_id: BotId
    body: dict[str, Any]
    is_retry: bool = False

    def __repr__(self) -> str:
        return f"Order({self.id!r}, {self.bot_id!r}, ***)"


@dataclass(frozen=True, slots=True)
class Placed:
    """A launch that the runner has, or may have, taken. `reference` is what it gave to find the bot again by."""

    id: LaunchId
    project_id: ProjectId
    bot_id: BotId
    reference: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Taken:
    """The runner has the bot. `remote_id` is the bot's name at another server, None elsewhere."""

    reference: dict[str, Any] | None = None
    remote_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The runner won't run this bot, however often it is asked."""

    reason: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """Nothing is known to have come of it: to be tried again, not before `retry_after` where the runner said so.

    `again_in` is when trying again makes sense, where that is known, however often it was tried before.
    """

    error: str
    retry_after: timedelta | None = None
    again_in: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Done:
    """The runner has done it, or has nothing left to do it to."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What a look at a bot has shown: reports that are made in its place, and whether it is gone for good, and why.

    With `is_alive` the look is as good as a heartbeat. `look_in` is for a bot that is to be looked at less often.
    """

    reference: dict[str, Any] | None
    reports: Sequence[Report] = ()
    gone: tuple[str, str] | None = None
    is_alive: bool = False
    look_in: timedelta | None = None


class Runner(Protocol):
    """Runs bots. Each call ends within 45 seconds, and may be made again after a crash."""

    @property
    def host(self) -> str | None:
        """The machine that its bots are bound to; None where every worker reaches all of them."""

    async def stage(self, order: Order) -> Taken | Refused | Trouble:
        """Hands a bot over; the same order again starts nothing new."""

    async def call_off(self, placed: Placed) -> Done | Trouble:
        """Takes a bot back before its meeting, or ends one that is not expected any more."""

    async def leave(self, placed: Placed) -> Done | Trouble:
        """Asks a bot to leave its meeting."""


@runtime_checkable
class WatchedRunner(Runner, Protocol):
    """A runner whose bots have to be looked at, because they can't tell everything by themselves."""

    @property
    def look_every(self) -> timedelta: ...

    async def look(self, placed: Placed) -> Seen | Trouble:
        """What has become of a bot since the last look."""
