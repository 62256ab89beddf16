"""Events over HTTP."""

from datetime import date, datetime, timedelta

import pytest

from attendee.model import ActivityKind, EventId
from attendee.store.activity import Entry, record
from tests.api.serving import NOON, Client, Served


async def test_an_event_is_shown_whole(api: Served, client: Client) -> None:
    """With its times to the microsecond, its bots, and the platform's own object byte for byte."""
    calendar_id = await api.a_calendar()
    event_id = await api.an_event(calendar_id)
    bot = (await client.post("/bots", {"bot_name": "A", "calendar_event_id": event_id})).json
    answer = await client.get("/calendar_events")
    assert answer.status == 200
    [event] = answer.json["results"]
    assert event == {
        "id": event_id,
        "calendar_id": calendar_id,
        "platform_uuid": event_id,
        "meeting_url": "https://meet.google.com/abc-defg-hij",
        "name": "Weekly",
        "start_time": "2026-11-23T13:00:00.000000Z",
        "end_time": "2026-11-23T14:00:00.000000Z",
        "all_day": False,
        "start_date": None,
        "end_date": None,
        "is_deleted": False,
        "attendees": [{"email": "a@x.org", "name": "A"}],
        "ical_uid": None,
        "raw": {"id": "theirs", "nested": {"z": 1, "a": [1.5, "\x00"]}},
        "bots": [bot],
        "created_at": "2026-11-23T12:00:00.000000Z",
        "updated_at": "2026-11-23T12:00:00.000001Z",
    }
    assert rb'{"id":"theirs","nested":{"z":1,"a":[1.50,"\u0000"]}}' in answer.raw
    assert (await client.get(f"/calendar_events/{event_id}")).json == event


async def test_an_all_day_event_has_its_dates(api: Served, client: Client) -> None:
    """It begins and ends at UTC midnight of them."""
    midnight = datetime.combine(date(2026, 11, 24), datetime.min.time(), NOON.tzinfo)
    event_id = await api.an_event(
        await api.a_calendar(),
        start_time=midnight,
        end_time=midnight + timedelta(days=1),
        start_date=date(2026, 11, 24),
        end_date=date(2026, 11, 25),
    )
    event = (await client.get(f"/calendar_events/{event_id}")).json
    assert (event["all_day"], event["start_date"], event["end_date"]) == (True, "2026-11-24", "2026-11-25")
    assert event["start_time"] == "2026-11-24T00:00:00.000000Z"


async def test_events_are_filtered(api: Served, client: Client) -> None:
    """All filters together, inclusive bounds, any offset, a zone left out, a date alone, and a plus that got lost."""
    calendar_id = await api.a_calendar(deduplication_key="user-7")
    other_calendar = await api.a_calendar(deduplication_key="user-8")
    names = {}
    for hour, (name, calendar) in enumerate((("a", calendar_id), ("b", calendar_id), ("c", other_calendar))):
        start = NOON + timedelta(hours=hour)
        event_id = await api.an_event(
            calendar,
            start_time=start,
            end_time=start + timedelta(hours=1),
            updated_at=start,
            is_deleted=name == "b",
        )
        names[event_id] = name

    async def found(query: str) -> str:
        answer = await client.get(f"/calendar_events?{query}")
        assert answer.status == 200, answer.raw
        return "".join(names[event["id"]] for event in answer.json["results"])

    assert await found("") == "cba"
    assert await found(f"calendar_id={calendar_id}") == "ba"
    assert await found("calendar_deduplication_key=user-8") == "c"
    assert await found(f"calendar_deduplication_key=user-8&calendar_id={calendar_id}") == ""
    for unknown in ("calendar_id=cal_none", "calendar_deduplication_key=none", "event_id=%00", "calendar_id=%FF"):
        assert await found(unknown) == ""
    assert await found(f"event_id={next(iter(names))}&unknown=1") == "a"
    for at in ("2026-11-23T13:00:00.000000Z", "2026-11-23T13:00", "2026-11-23T14:00:00+01:00", "20261123T130000z"):
        assert await found(f"updated_after={at}") == "cb"
        assert await found(f"updated_at_gte={at}") == "cb"
    assert await found("updated_after=2026-11-23T14:00:00%2B01:00") == "cb"
    assert await found("updated_after=2026-11-23T14:00:00+0100") == "cb"
    assert await found("updated_after=2026-11-23T13:00:00.000001Z") == "c"
    assert await found("updated_after=2026-11-24") == ""
    assert await found("updated_after=2026-11-23&updated_after=") == "cba"
    assert await found("start_time_gte=2026-11-23T13:00:00Z&end_time_lte=2026-11-23T14:00:00Z") == "b"
    assert await found("end_time_lte=0001-01-01T00:00:00%2B01:00") == ""
    assert await found("end_time_lte=9999-12-31T23:59:59-01:00") == "cba"
    assert await found("ordering=updated_at") == "abc"
    assert await found("ordering=-start_time") == "cba"
    assert await found("ordering=end_time") == "abc"
    assert len(await found("ordering=-created_at")) == 3


@pytest.mark.parametrize(
    "query",
    [
        "updated_after=yesterday",
        "updated_at_gte=1795000000",
        "start_time_gte=2026-13-01",
        "updated_after=99999-01-01",
        "updated_after=%D9%A2%D9%A0%D9%A2%D9%A6-11-23",
        "ordering=name",
        "ordering=--start_time",
        "page_size=1e2",
    ],
)
async def test_a_bad_parameter_is_named_with_what_it_may_be(client: Client, query: str) -> None:
    """400 with error."""
    answer = await client.get(f"/calendar_events?{query}")
    assert answer.status == 400
    assert list(answer.json) == ["error"]
    assert answer.json["error"].startswith(query.partition("=")[0])


async def test_the_history_of_an_event_is_oldest_first(api: Served, client: Client) -> None:
    """Everything that was recorded of it and of its bots, in pages."""
    calendar_id = await api.a_calendar()
    event_id = await api.an_event(calendar_id)
    kinds = [ActivityKind.EVENT_CREATED, ActivityKind.EVENT_UPDATED, ActivityKind.EVENT_DELETED]
    async with api.database.transaction() as tx:
        await record(
            tx,
            [Entry(kind, {"why": kind.value}, EventId(event_id)) for kind in kinds],
            project_id=api.project_id,
            calendar_id=None,
            now=NOON,
        )
    path = f"/calendar_events/{event_id}/activity"
    whole = (await client.get(path)).json["results"]
    assert [entry["kind"] for entry in whole] == [kind.value for kind in kinds]
    assert whole[0] == {
        "kind": "event_created",
        "calendar_id": None,
        "calendar_event_id": event_id,
        "bot_id": None,
        "detail": {"why": "event_created"},
        "created_at": "2026-11-23T12:00:00.000000Z",
    }
    page = (await client.get(path + "?page_size=2")).json
    assert page["results"] == whole[:2]
    rest = (await client.ask("GET", page["next"])).json
    assert (rest["results"], rest["next"]) == (whole[2:], None)
    assert (await client.ask("GET", rest["previous"])).json["results"] == whole[:2]
