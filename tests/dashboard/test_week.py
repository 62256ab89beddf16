"""The week's layout: where the clock on the wall stands, in every zone and in the weeks in which it is changed."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attendee.dashboard.week import Entry, Week, bounds, lay_out, monday_of, stylesheet

BERLIN = ZoneInfo("Europe/Berlin")
MONDAY = date(2026, 11, 23)


def entry(name: str, start: datetime, minutes: int) -> Entry:
    return Entry(name, start.astimezone(UTC), start.astimezone(UTC) + timedelta(minutes=minutes), None, None)


def placed(week: Week) -> dict[str, list[tuple[int, str, int]]]:
    """By name: day of the week, clock time at which the block begins, and its quarters."""
    found: dict[str, list[tuple[int, str, int]]] = {}
    for number, day in enumerate(week.days):
        for block in day.blocks:
            minutes = week.hours.start * 60 + block.quarter * 15
            found.setdefault(block.event, []).append(
                (number, f"{minutes // 60:02d}:{minutes % 60:02d}", block.quarters)
            )
    return found


def test_an_event_stands_at_its_local_time() -> None:
    """Nine in the morning in Berlin, whatever that is in UTC."""
    week = lay_out([entry("a", datetime(2026, 11, 24, 9, tzinfo=BERLIN), 60)], monday=MONDAY, zone=BERLIN)
    assert placed(week) == {"a": [(1, "09:00", 4)]}
    week = lay_out(
        [entry("a", datetime(2026, 11, 24, 9, tzinfo=BERLIN), 60)], monday=MONDAY, zone=ZoneInfo("Asia/Kathmandu")
    )
    assert placed(week) == {"a": [(1, "13:45", 4)]}


@pytest.mark.parametrize(
    ("sunday", "hours"),
    [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)],
    ids=["forward", "back"],
)
def test_the_week_in_which_the_clocks_change(sunday: date, hours: int) -> None:
    """Its Sunday has 23 or 25 hours; nine o'clock stays at nine, before the change and after it."""
    monday = monday_of(sunday)
    begins, ends = bounds(monday, BERLIN)
    assert ends.astimezone(UTC) - begins.astimezone(UTC) == timedelta(days=6, hours=hours)
    days = [sunday - timedelta(days=1), sunday]
    entries = [entry(f"{day}", datetime(day.year, day.month, day.day, 9, tzinfo=BERLIN), 60) for day in days]
    assert placed(lay_out(entries, monday=monday, zone=BERLIN)) == {
        f"{day}": [(number, "09:00", 4)] for number, day in zip((5, 6), days, strict=True)
    }


def test_an_event_in_the_hour_that_comes_twice() -> None:
    """It ends on the clock before it began, and can be read all the same."""
    start = datetime(2026, 10, 25, 2, 30, tzinfo=BERLIN)
    week = lay_out([entry("twice", start, 45)], monday=monday_of(start.date()), zone=BERLIN)
    assert placed(week) == {"twice": [(6, "02:30", 2)]}


def test_an_event_over_midnight_is_on_both_days() -> None:
    """From its start to the end of the day, and from the beginning of the next."""
    week = lay_out([entry("late", datetime(2026, 11, 24, 23, tzinfo=BERLIN), 120)], monday=MONDAY, zone=BERLIN)
    assert placed(week) == {"late": [(1, "23:00", 4), (2, "00:00", 4)]}


def test_what_is_all_day_stays_on_its_date() -> None:
    """In every zone, though it is stored as beginning at midnight in UTC; a long event is put beside it."""
    start = datetime(2026, 11, 24, tzinfo=UTC)
    holiday = Entry("holiday", start, start + timedelta(days=1), date(2026, 11, 24), date(2026, 11, 25))
    trip = entry("trip", datetime(2026, 11, 25, 8, tzinfo=UTC), 3 * 24 * 60)
    for name in ("Pacific/Auckland", "America/Los_Angeles", "UTC"):
        week = lay_out([holiday, trip], monday=MONDAY, zone=ZoneInfo(name))
        assert [number for number, day in enumerate(week.days) if "holiday" in day.all_day] == [1]
        assert not placed(week)
    assert [number for number, day in enumerate(week.days) if "trip" in day.all_day] == [2, 3, 4, 5]


def test_hours_of_the_night_are_shown_when_something_happens_then() -> None:
    """Otherwise a working day is."""
    assert lay_out([], monday=MONDAY, zone=BERLIN).hours == range(8, 18)
    early = entry("early", datetime(2026, 11, 24, 5, 30, tzinfo=BERLIN), 30)
    late = entry("late", datetime(2026, 11, 25, 21, tzinfo=BERLIN), 61)
    assert lay_out([early, late], monday=MONDAY, zone=BERLIN).hours == range(5, 23)


@given(
    st.lists(st.tuples(st.integers(-600, 11_000), st.integers(0, 1_600)), max_size=40),
    st.sampled_from(["Europe/Berlin", "Pacific/Apia", "America/St_Johns", "Asia/Kathmandu", "UTC"]),
)
def test_every_block_has_a_place_of_its_own(times: list[tuple[int, int]], zone: str) -> None:
    """Whatever overlaps: inside the hours shown, side by side, in places that the stylesheet knows."""
    start = datetime(2026, 11, 23, tzinfo=ZoneInfo(zone))
    entries = [
        entry(str(number), start + timedelta(minutes=begins), minutes) for number, (begins, minutes) in enumerate(times)
    ]
    week = lay_out(entries, monday=MONDAY, zone=ZoneInfo(zone))
    known = set(stylesheet().replace("{", " ").split())
    for day in week.days:
        taken: dict[tuple[int, int, int], str] = {}
        for block in day.blocks:
            assert block.quarter >= 0
            assert block.quarter + block.quarters <= len(week.hours) * 4
            assert {f".{name}" for name in block.place.split() if name != "slim"} <= known
            if block.lanes < 6:
                for quarter in range(block.quarter, block.quarter + block.quarters):
                    place = (quarter, block.lane, block.lanes)
                    assert place not in taken, "two in one place"
                    taken[place] = block.event
