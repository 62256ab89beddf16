"""Pages: both ways, under inserts and deletions, and cursors that are not ours."""

import base64
from datetime import timedelta
from typing import Any

import orjson
import pytest
from sqlalchemy import delete

from attendee.store import tables
from tests.api.serving import NOON, Client, Served


async def _walk(client: Client, start: str, link: str) -> tuple[list[list[str]], str]:
    """The names on every page from `start` on, and the address of the last page."""
    pages, address = [], start
    while True:
        page = await _page(client, address)
        pages.append([event["name"] for event in page["results"]])
        if page[link] is None:
            return pages, address
        address = page[link]


async def _page(client: Client, address: str) -> dict[str, Any]:
    answer = await client.ask("GET", address)
    assert answer.status == 200, answer.raw
    page: dict[str, Any] = answer.json
    return page


@pytest.mark.parametrize("ordering", ["-updated_at", "updated_at", "start_time", "-end_time", "created_at"])
async def test_a_walk_meets_every_event_once_in_both_directions(api: Served, client: Client, ordering: str) -> None:
    """Also where many events share the value that orders them: ids break the ties."""
    calendar_id = await api.a_calendar()
    for number in range(11):
        await api.an_event(calendar_id, name=str(number), updated_at=NOON + timedelta(seconds=number // 4))
    start = f"/api/v1/calendar_events?ordering={ordering}&page_size=3&calendar_id={calendar_id}"
    whole = await _page(client, f"/api/v1/calendar_events?ordering={ordering}")
    names = [event["name"] for event in whole["results"]]
    forwards, last = await _walk(client, start, "next")
    assert forwards == [names[0:3], names[3:6], names[6:9], names[9:11]]
    backwards, first = await _walk(client, last, "previous")
    assert backwards == forwards[::-1]
    assert (await _walk(client, first, "next"))[0] == forwards


async def test_rows_that_come_and_go_move_nothing(api: Served, client: Client) -> None:
    """Between two pages others are inserted before and after, and the row at the border is deleted."""
    calendar_id = await api.a_calendar()
    for number in range(9):
        await api.an_event(calendar_id, name=str(number), updated_at=NOON + timedelta(minutes=number))
    first = await _page(client, "/api/v1/calendar_events?page_size=3")
    assert [event["name"] for event in first["results"]] == ["8", "7", "6"]
    await api.an_event(calendar_id, name="newest", updated_at=NOON + timedelta(hours=1))
    await api.an_event(calendar_id, name="5.5", updated_at=NOON + timedelta(minutes=5, seconds=30))
    await _delete_events(api, "6")
    second = await _page(client, first["next"])
    assert [event["name"] for event in second["results"]] == ["5.5", "5", "4"]
    back = await _page(client, second["previous"])
    assert [event["name"] for event in back["results"]] == ["newest", "8", "7"]
    assert back["previous"] is None
    assert (await _page(client, back["next"]))["results"] == second["results"]


async def test_a_page_that_has_become_empty_finds_its_way_back(api: Served, client: Client) -> None:
    """Everything beyond the cursor is gone: the page is empty, and its link misses nothing on the other side."""
    calendar_id = await api.a_calendar()
    for number in range(4):
        await api.an_event(calendar_id, name=str(number))
    first = await _page(client, "/api/v1/calendar_events?ordering=updated_at&page_size=2")
    last = await _page(client, first["next"])
    await _delete_events(api, "2", "3")
    empty = await _page(client, first["next"])
    assert (empty["results"], empty["next"]) == ([], None)
    assert (await _page(client, empty["previous"]))["results"] == first["results"]

    await api.an_event(calendar_id, name="4")
    await _delete_events(api, "0", "1")
    empty = await _page(client, last["previous"])
    assert (empty["results"], empty["previous"]) == ([], None)
    assert [event["name"] for event in (await _page(client, empty["next"]))["results"]] == ["4"]


async def _delete_events(api: Served, *names: str) -> None:
    async with api.database.transaction() as tx:
        await tx.execute(delete(tables.events).where(tables.events.c.name.in_(names)))


async def test_links_name_the_host_of_the_request_and_carry_its_filters(api: Served, client: Client) -> None:
    """Absolute addresses with every parameter, repeated ones too; only the cursor is another."""
    for number in range(3):
        api.clock.at += timedelta(seconds=1)
        await client.post("/bots", {"bot_name": str(number), "meeting_url": "https://zoom.us/j/12345678901"})
    query = "states=joining&states=ended&page_size=1&join_at_after="
    answer = await client.ask("GET", f"/api/v1/bots/?{query}", headers={"Host": "bots.example:81"})
    link = answer.json["next"]
    assert link.startswith(f"http://bots.example:81/api/v1/bots?{query}&cursor=")
    second = await _page(client, client.address + link.removeprefix("http://bots.example:81"))
    assert [bot["bot_name"] for bot in second["results"]] == ["1"]
    assert second["next"].count("cursor=") == 1


async def test_a_cursor_keeps_its_ordering(api: Served, client: Client) -> None:
    """A client that takes only the cursor out of a link goes on in the same order."""
    calendar_id = await api.a_calendar()
    for number in range(3):
        await api.an_event(calendar_id, name=str(number))
    first = await _page(client, "/api/v1/calendar_events?ordering=updated_at&page_size=1")
    cursor = first["next"].rpartition("cursor=")[2]
    rest = await _page(client, f"/api/v1/calendar_events?cursor={cursor}")
    assert [event["name"] for event in rest["results"]] == ["1", "2"]


def _packed(*parts: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(list(parts))).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "%00",
        "%C3%A9",
        "eyJ9",
        "W10",
        "=" * 5,
        _packed("bots", "created_at", 1, "bot_1", False, False),
        _packed("calendar_events", "name", 1, "evt_1", False, False),
        _packed("calendar_events", [], 1, "evt_1", False, False),
        _packed("calendar_events", "-updated_at", 1.5, "evt_1", False, False),
        _packed("calendar_events", "-updated_at", True, "evt_1", False, False),
        _packed("calendar_events", "-updated_at", "1", "evt_1", False, False),
        _packed("calendar_events", "-updated_at", 10**18, "evt_1", False, False),
        _packed("calendar_events", "-updated_at", 1, 7, False, False),
        _packed("calendar_events", "-updated_at", 1, "evt_\x00", False, False),
        _packed("calendar_events", "-updated_at", 1, "evt_1", 0, False),
        _packed("calendar_events", "-updated_at", 1, "evt_1", False),
        _packed("calendar_events", "-updated_at", 1, "evt_1", False, False) + "AAAA",
    ],
)
async def test_a_cursor_that_is_not_ours_is_a_404(client: Client, cursor: str) -> None:
    """Whatever it is, the answer is {"detail": "Invalid cursor"}."""
    answer = await client.get(f"/calendar_events?cursor={cursor}")
    assert (answer.status, answer.json) == (404, {"detail": "Invalid cursor"})


@pytest.mark.parametrize("cursor", [-1, True, "1", 2**64])
async def test_a_cursor_of_a_history_holds_a_number(api: Served, client: Client, cursor: Any) -> None:
    """Of the size that the database has."""
    event_id = await api.an_event(await api.a_calendar())
    forged = _packed("activity", "created_at", 1, cursor, False, False) if cursor != 2**64 else "MTg0"
    answer = await client.get(f"/calendar_events/{event_id}/activity?cursor={forged}")
    assert answer.status == 404
