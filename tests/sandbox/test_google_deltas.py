"""The promise that every client of Google's builds on: what the deltas tell adds up to what a full listing shows."""

import random
from datetime import timedelta
from typing import Any

import pytest

from attendee.sandbox.calendars import Calendar
from attendee.sandbox.entries import Entry, EntryState, Frequency, Rule
from attendee.sandbox.world import Person
from tests.sandbox.application import NOW, GoogleClient

RULES = (
    None,
    Rule(frequency=Frequency.DAILY, count=9),
    Rule(frequency=Frequency.WEEKLY, weekdays=(1, 3)),
    Rule(frequency=Frequency.MONTHLY),
)
ROUNDS = 25


def live_entries(calendar: Calendar) -> list[Entry]:
    return [one for one in calendar.entries.values() if isinstance(one, Entry) and one.state is EntryState.LIVE]


def change_something(calendar: Calendar, chance: random.Random) -> None:
    """One thing that a person might do."""
    starts = NOW + timedelta(hours=chance.randrange(-48, 900))
    entries = live_entries(calendar)
    if not entries or chance.random() < 0.3:
        calendar.put(title=str(chance.random()), starts=starts, rule=chance.choice(RULES))
        return
    entry = chance.choice(entries)
    # A series that was moved beyond its end has no slots any more, a single event never had any.
    slots = [one for one in calendar.slots(entry)[:6] if calendar.occurrence(entry.id, one).details is not None]
    acts = ["move", "edit", "cancel", "delete"] + (["move one", "cancel one", "split"] if slots else [])
    match chance.choice(acts):
        case "move":
            calendar.move(entry.id, starts=starts)
        case "edit":
            calendar.edit(entry.id, title=str(chance.random()))
        case "cancel":
            calendar.cancel(entry.id)
        case "delete":
            calendar.delete(entry.id)
        case "move one":
            calendar.move_occurrence(entry.id, chance.choice(slots), starts=starts)
        case "cancel one":
            calendar.cancel_occurrence(entry.id, chance.choice(slots))
        case "split":
            calendar.split(entry.id, chance.choice(slots), title=str(chance.random()))


async def whole_listing(google: GoogleClient) -> tuple[dict[str, Any], str]:
    answer = (await google.events(singleEvents="true", maxResults="2500")).json
    return {item["id"]: item for item in answer["items"]}, answer["nextSyncToken"]


@pytest.mark.parametrize("seed", range(6))
async def test_deltas_add_up_to_the_listing(google: GoogleClient, ana: Person, seed: int) -> None:
    """Whatever is done to a calendar, and however the deltas are cut into pages."""
    chance = random.Random(seed)
    view, token = await whole_listing(google)
    for _ in range(ROUNDS):
        for _ in range(chance.randrange(3)):
            change_something(ana.primary, chance)
        page = {"singleEvents": "true", "syncToken": token, "maxResults": str(chance.choice((7, 250, 2500)))}
        answer = (await google.events(**page)).json
        items = list(answer["items"])
        while "nextPageToken" in answer:
            answer = (await google.events(**page, pageToken=answer["nextPageToken"])).json
            items += answer["items"]
        token = answer["nextSyncToken"]
        for item in items:
            if item["status"] == "cancelled":
                view.pop(item["id"], None)
            else:
                view[item["id"]] = item
    listed, _ = await whole_listing(google)
    assert len(listed) < 2500
    assert view == listed
