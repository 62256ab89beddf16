"""The comparison alone: stored events and the platform's word go in, changes come out."""

from datetime import UTC, datetime, timedelta

import pytest

from attendee.model import Cancelled, EventId, KnownEvent, RemoteEvent, RemoteItem, SetAside, Window
from attendee.sync.diff import Changes, absent, compare

_NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
_HOUR = timedelta(hours=1)
_WINDOW = Window(_NOON - timedelta(days=1), _NOON + timedelta(days=28))
_BEYOND = _WINDOW.until + timedelta(days=3)


def _remote(id: str, *, start_at: datetime = _NOON, fingerprint: str = "same") -> RemoteEvent:
    return RemoteEvent(id, "Planning", start_at, start_at + _HOUR, None, None, None, (), None, "{}", fingerprint)


def _known(id: str, *, start_at: datetime = _NOON, is_deleted: bool = False) -> KnownEvent:
    return KnownEvent(EventId(f"evt_{id}"), id, "same", is_deleted, start_at, start_at + _HOUR, None)


def _changes(*items: RemoteItem, lists_window: bool = False) -> Changes:
    return Changes({item.platform_uuid: item for item in items}, _WINDOW, "cursor", lists_window, is_fresh=lists_window)


def test_a_new_event_of_the_window_is_created() -> None:
    """It gets an id of ours."""
    (touched,) = compare({}, _changes(_remote("new"))).touched
    assert touched.id.startswith("evt_")
    assert (touched.before, touched.after) == (None, _remote("new"))


def test_an_unknown_event_beyond_the_window_does_not_drift_in() -> None:
    """The listing that reaches so far is to find it, together with all others there."""
    assert compare({}, _changes(_remote("far", start_at=_BEYOND))).touched == []


def test_a_known_event_is_followed_beyond_the_window() -> None:
    """It has only moved."""
    before, after = _known("moved"), _remote("moved", start_at=_BEYOND, fingerprint="other")
    difference = compare({"moved": before}, _changes(after))
    assert difference.updated == [before.id]


def test_the_same_fingerprint_is_no_change() -> None:
    """Nothing is stored, whatever else the platform sends."""
    assert compare({"calm": _known("calm")}, _changes(_remote("calm"))).touched == []


def test_a_cancelled_event_is_deleted_once() -> None:
    """Told again, or of an event that nobody has seen, a cancellation changes nothing."""
    known = {"live": _known("live"), "gone": _known("gone", is_deleted=True)}
    difference = compare(known, _changes(Cancelled("live"), Cancelled("gone"), Cancelled("never-seen")))
    assert difference.deleted == ["evt_live"]
    assert len(difference.touched) == 1


def test_a_deleted_event_that_is_back_is_updated() -> None:
    """Also when it looks as it did before it was cancelled."""
    known = {"back": _known("back", is_deleted=True)}
    difference = compare(known, _changes(_remote("back")))
    assert (difference.created, difference.updated) == ([], ["evt_back"])


def test_what_is_set_aside_leaves_the_stored_event_alone() -> None:
    """An event that has become unreadable keeps what is known of it."""
    unreadable = SetAside("odd", "It has no start.")
    difference = compare({"odd": _known("odd")}, _changes(unreadable, _remote("new")))
    assert difference.set_aside == [unreadable]
    assert len(difference.created) == len(difference.touched) == 1
    assert difference.come_good == ["new"]


def test_a_listing_clears_all_that_was_set_aside() -> None:
    """It shows everything that there is: what it doesn't set aside is no longer so."""
    assert compare({}, _changes(_remote("new"), lists_window=True)).come_good is None


def test_only_what_the_listing_should_have_had_is_absent() -> None:
    """Deleted events are not missed, nor those outside of the window."""
    known = {
        event.platform_uuid: event
        for event in (
            _known("listed"),
            _known("lacking"),
            _known("deleted", is_deleted=True),
            _known("far", start_at=_BEYOND),
            _known("past", start_at=_WINDOW.start_at - 2 * _HOUR),
        )
    }
    assert [event.platform_uuid for event in absent(known, {"listed"}, window=_WINDOW)] == ["lacking"]


@pytest.mark.parametrize(
    ("start_at", "end_at", "overlaps"),
    [
        (_WINDOW.start_at - _HOUR, _WINDOW.start_at, False),
        (_WINDOW.start_at - _HOUR, _WINDOW.start_at + _HOUR, True),
        (_WINDOW.start_at, _WINDOW.start_at, True),
        (_WINDOW.until - _HOUR, _WINDOW.until + _HOUR, True),
        (_WINDOW.until, _WINDOW.until + _HOUR, False),
    ],
)
def test_the_windows_edges_are_the_platforms(start_at: datetime, end_at: datetime, *, overlaps: bool) -> None:
    """What ends as the window begins is outside, as is what begins when it ends."""
    assert _WINDOW.overlaps(start_at, end_at) is overlaps
