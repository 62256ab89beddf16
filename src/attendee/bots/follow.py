"""What a change of an event does to a bot that waits for it. Pure: the pipeline carries it out."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a bot needs to know of its event. `url` is None while the event has no meeting link."""

    start_at: datetime
    url: str | None


@dataclass(frozen=True, slots=True)
class Keep:
    """Nothing that concerns the bot has changed."""


@dataclass(frozen=True, slots=True)
class Follow:
    """The bot goes with its event: where it is to join, and when.

    With `calls_off` the runner has been told of the old place or time, or is about to be: that is called off first, and
    the bot waits, or is launched anew, once the runner has confirmed it.
    """

    join_at: datetime
    meeting_url: str | None
    calls_off: bool


@dataclass(frozen=True, slots=True)
class Delete:
    """The event is gone, and its waiting bot with it; with `calls_off` its launch too."""

    calls_off: bool


def follow(bot: Meeting, event: Meeting | None, *, is_launched: bool) -> Keep | Follow | Delete:
    """What becomes of a bot that waits, from where and when it is to join now and what its event has become.

    `event` is None for one that was cancelled or removed, or whose calendar is lost. `is_launched` says that the runner
    has been told of the bot, or is about to be.
    """
    if event is None:
        return Delete(calls_off=is_launched)
    if event == bot:
        return Keep()
    return Follow(event.start_at, event.url, calls_off=is_launched)
