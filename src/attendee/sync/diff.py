"""What a pull changes, decided without asking anyone: stored events and the platform's word go in, changes come out."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from attendee.model import (
    Cancelled,
    EventId,
    KnownEvent,
    PlatformCalendar,
    RemoteEvent,
    RemoteItem,
    SetAside,
    Touched,
    Window,
    new_id,
)


@dataclass(frozen=True, slots=True)
class Changes:
    """Everything that one pull learned.

    `items` hold each platform id once, as it was told last. `lists_window` says that they are a whole listing of
    `window`, and not only what changed; then `known` is what was stored before it. `is_fresh` says that the window is a
    new one and the cursor begins with it. `unasked` counts stored events which the listing lacked and which nobody has
    asked the platform about yet, so that nothing is known of them. `platform_calendars` are the user's calendars, None
    where they were not read.
    """

    items: Mapping[str, RemoteItem]
    window: Window
    cursor: str | None
    lists_window: bool
    is_fresh: bool
    known: Mapping[str, KnownEvent] | None = None
    unasked: int = 0
    platform_calendars: Sequence[PlatformCalendar] | None = None

    @property
    def are_quiet(self) -> bool:
        return not self.items and not self.lists_window


@dataclass(frozen=True, slots=True)
class Difference:
    """What has to be stored."""

    touched: Sequence[Touched]
    set_aside: Sequence[SetAside]
    come_good: Collection[str] | None

    @property
    def created(self) -> list[EventId]:
        return [one.id for one in self.touched if one.before is None]

    @property
    def updated(self) -> list[EventId]:
        return [one.id for one in self.touched if one.before is not None and one.after is not None]

    @property
    def deleted(self) -> list[EventId]:
        return [one.id for one in self.touched if one.after is None]


def compare(known: Mapping[str, KnownEvent], changes: Changes) -> Difference:
    """What becomes of the stored events of a calendar.

    Outside the window a known event is still followed, since it has only moved, but nothing unknown comes in: it would
    drift into the window unseen by the listing that is to find it. One first seen cancelled is not stored.
    """
    touched: list[Touched] = []
    set_aside: list[SetAside] = []
    for platform_uuid, item in changes.items.items():
        before = known.get(platform_uuid)
        match item:
            case SetAside():
                set_aside.append(item)
            case Cancelled():
                if before is not None and not before.is_deleted:
                    touched.append(Touched(before.id, before, None))
            case RemoteEvent():
                if before is None:
                    if changes.window.overlaps(item.start_at, item.end_at):
                        touched.append(Touched(EventId(new_id("evt_")), None, item))
                elif before.is_deleted or before.fingerprint != item.fingerprint:
                    touched.append(Touched(before.id, before, item))
    come_good = None
    if not changes.lists_window:
        come_good = [uuid for uuid, item in changes.items.items() if not isinstance(item, SetAside)]
    return Difference(touched, set_aside, come_good)


def absent(known: Mapping[str, KnownEvent], listed_ids: Collection[str], *, window: Window) -> list[KnownEvent]:
    """The stored events that a listing of the window should have had and lacks: gone, or moved out of the window."""
    return [
        event
        for event in known.values()
        if not event.is_deleted
        and event.platform_uuid not in listed_ids
        and window.overlaps(event.start_at, event.end_at)
    ]
