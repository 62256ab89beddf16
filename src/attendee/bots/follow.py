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
    """The bot goes with its event: where it is to join, and when."""

    join_at: datetime
    meeting_url: str | None


@dataclass(frozen=True, slots=True)
class Delete:
    """The event is gone, and its waiting bot with it."""


def follow(bot: Meeting, event: Meeting | None) -> Keep | Follow | Delete:
    """What becomes of a bot that waits, from where and when it is to join now and what its event has become.

    `event` is None for one that was cancelled or removed, or whose calendar is lost.
    """
    if event is None:
        return Delete()
    if event == bot:
        return Keep()
    return Follow(event.start_at, event.url)
