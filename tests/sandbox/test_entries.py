"""The rules of series, and what stays true of a calendar whatever is done to it."""

from datetime import UTC, date, datetime, timedelta
from itertools import islice

import pytest

from attendee.sandbox.entries import Details, Frequency, Rule, Slot, slots
from attendee.sandbox.world import World
from tests.sandbox.application import NOW


def first(rule: Rule, starts: Slot, *, zone: str = "UTC", count: int = 4) -> list[Slot]:
    return list(islice(slots(Details(starts=starts, ends=starts, zone=zone), rule), count))


def test_wall_clock_time_outlasts_summer_time() -> None:
    """Nine o'clock in Berlin is another hour in UTC after the change."""
    found = first(
        Rule(frequency=Frequency.WEEKLY), datetime(2026, 10, 20, 7, tzinfo=UTC), zone="Europe/Berlin", count=2
    )
    assert found == [datetime(2026, 10, 20, 7, tzinfo=UTC), datetime(2026, 10, 27, 8, tzinfo=UTC)]


def test_weekdays_and_intervals() -> None:
    """Every other week on Monday and Thursday, from a Tuesday on."""
    rule = Rule(frequency=Frequency.WEEKLY, interval=2, weekdays=(0, 3))
    assert first(rule, date(2026, 11, 24)) == [
        date(2026, 11, 26),
        date(2026, 12, 7),
        date(2026, 12, 10),
        date(2026, 12, 21),
    ]


def test_months_without_the_day_are_left_out() -> None:
    """As RFC 5545 has it."""
    found = first(Rule(frequency=Frequency.MONTHLY), date(2026, 10, 31), count=3)
    assert found == [date(2026, 10, 31), date(2026, 12, 31), date(2027, 1, 31)]


def test_a_series_ends_by_count_or_date() -> None:
    """The last slot may be that very moment."""
    assert len(first(Rule(frequency=Frequency.DAILY, count=3), NOW, count=9)) == 3
    assert len(first(Rule(frequency=Frequency.DAILY, until=NOW + timedelta(days=2)), NOW, count=9)) == 3


@pytest.mark.parametrize(
    ("starts", "ends"),
    [
        (date(2026, 11, 23), NOW),
        (NOW, NOW - timedelta(minutes=1)),
        (NOW.replace(tzinfo=None), NOW.replace(tzinfo=None)),
    ],
)
def test_impossible_times_are_refused(starts: Slot, ends: Slot) -> None:
    """Mixed, backwards, or without a zone."""
    with pytest.raises(ValueError, match=r"all-day|ends after|no time zone"):
        Details(starts=starts, ends=ends)


def test_every_change_counts_and_is_told(world: World) -> None:
    """The counter only grows, by one for each change; observers hear of each."""
    told: list[int] = []
    world.changed_observers.append(lambda calendar: told.append(calendar.change))
    calendar = world.add_person("ana@acme.example").primary
    calendar.put("one", starts=NOW)
    calendar.move("one", starts=NOW + timedelta(hours=1))
    calendar.put("series", starts=NOW, rule=Rule(frequency=Frequency.DAILY))
    calendar.cancel_occurrence("series", NOW + timedelta(days=1))
    calendar.cancel("one")
    assert told == [1, 2, 3, 4, 5]


def test_a_slot_outside_the_rule_is_no_occurrence(world: World) -> None:
    """Neither is one of another sort, and a single event becomes no series."""
    calendar = world.add_person("ana@acme.example").primary
    calendar.put("series", starts=NOW, rule=Rule(frequency=Frequency.WEEKLY))
    with pytest.raises(KeyError):
        calendar.cancel_occurrence("series", NOW + timedelta(days=1))
    with pytest.raises(KeyError):
        calendar.cancel_occurrence("series", NOW.date())
    with pytest.raises(ValueError, match="does not become"):
        calendar.edit("series", rule=None)


def test_an_event_moves_to_another_calendar(world: World) -> None:
    """Deleted here, new there, under the same id."""
    ana = world.add_person("ana@acme.example")
    team = world.add_calendar(ana, "team@group.calendar.google.com", name="Team")
    ana.primary.put("event", title="Plan", starts=NOW)
    ana.primary.transfer("event", to=team)
    assert not ana.primary.between(NOW, NOW + timedelta(hours=1))[0].is_live
    assert team.get("event").details.title == "Plan"
