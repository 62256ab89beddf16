"""The client against the service itself: every call, typed answers, and lists that end."""

import inspect
import json
import re
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from attendee_client import Client, NotFound, Refused, UnexpectedAnswer, api, models
from attendee_client.models import latest_change, read, written
from tests.api.serving import CALENDAR, LINK, NOON, Served
from tests.clients.speaking import Speaking

_OPENAPI = json.loads((Path(__file__).parents[2] / "docs" / "openapi.json").read_text())
_CREDENTIALS: dict[str, Any] = {name: value for name, value in CALENDAR.items() if name != "platform"}


def test_every_route_has_a_call() -> None:
    """No route of the API is missing, and no call goes to a route that there is not."""
    given = {"updated_after": None, "since": datetime(2026, 1, 1, tzinfo=UTC)}
    made = set()
    for function in vars(api).values():
        if not inspect.isfunction(function) or function.__module__ != api.__name__:
            continue
        if function.__name__.startswith("_") or function is api.next_page:
            continue
        parameters = inspect.signature(function).parameters.values()
        needed = [one.name for one in parameters if one.default is inspect.Parameter.empty]
        call = function(**{name: given.get(name, f"{{{name}}}") for name in needed})
        path = re.sub("%7B|%7D", lambda found: {"%7B": "{", "%7D": "}"}[found[0]], call.path.partition("?")[0])
        made.add((call.method, path))
    routes = {
        (method.upper(), path)
        for path, operations in _OPENAPI["paths"].items()
        for method in operations
        if path.startswith("/api/v1")
    }
    assert made == routes


@pytest.mark.parametrize(
    ("model", "schema"),
    [
        (models.Calendar, "Calendar"),
        (models.CalendarSync, "CalendarSync"),
        (models.ConnectionFailure, "ConnectionFailure"),
        (models.PlatformCalendar, "PlatformCalendar"),
        (models.CalendarEvent, "CalendarEvent"),
        (models.Attendee, "Attendee"),
        (models.Bot, "Bot"),
        (models.BotStep, "BotStep"),
        (models.ActivityEntry, "ActivityEntry"),
        (models.Webhook, "WebhookWithSecret"),
        (models.Delivery, "Delivery"),
        (models.DeliveryAttempt, "DeliveryAttempt"),
    ],
)
def test_models_have_no_field_that_the_service_has_not(model: Any, schema: str) -> None:
    """Each field is one that the OpenAPI document promises."""
    promised = _OPENAPI["components"]["schemas"][schema]
    assert {one.name for one in fields(model)} <= set(promised["properties"])


async def test_a_calendar_from_its_creation_to_its_end(client: Speaking) -> None:
    """Times are instants, what is not there is None, and what a rule refuses says which field it is about."""
    made = await client.do(api.create_calendar(platform="google", **_CREDENTIALS, deduplication_key="user-7"))
    assert (made.platform, made.state, made.created_at, made.connection_failure_data) == (
        "google",
        "connected",
        NOON,
        None,
    )
    with pytest.raises(Refused) as refused:
        await client.do(api.create_calendar(platform="google", **_CREDENTIALS, deduplication_key="user-7"))
    assert (refused.value.status, list(refused.value.body)) == (400, ["deduplication_key"])

    (found,) = await client.each(api.calendars(deduplication_key="user-7"))
    changed = await client.do(api.change_calendar(found.id, metadata={"tenant": "7"}))
    assert (changed.id, changed.metadata) == (made.id, {"tenant": "7"})
    assert (await client.do(api.sync_calendar(made.id))).sync.next_sync_at == NOON
    assert await client.do(api.platform_calendars(made.id)) == ()
    assert "exported_at" in await client.do(api.export_calendar(made.id))
    await client.do(api.delete_calendar(made.id))
    assert await client.find(api.calendar(made.id)) is None
    with pytest.raises(NotFound):
        await client.do(api.calendar(made.id))


async def test_lists_are_walked_to_their_end(client: Speaking, service: Served) -> None:
    """Page by page, with the filters of the first, nothing twice and nothing left out."""
    calendar_id, other = await service.a_calendar(), await service.a_calendar()
    wanted = [await service.an_event(calendar_id) for _ in range(5)]
    await service.an_event(other)
    pages = await client.pages(api.calendar_events(calendar_id=calendar_id, ordering="updated_at", page_size=2))
    assert [len(page.results) for page in pages] == [2, 2, 1]
    assert [event.id for page in pages for event in page.results] == wanted


async def test_changes_since_the_last_time(client: Speaking, service: Served) -> None:
    """From the largest `updated_at` on, to the microsecond; the last one comes again, and nothing is missed."""
    calendar_id = await service.a_calendar()
    first = await service.an_event(calendar_id)
    seen = latest_change(await client.each(api.changed_events(calendar_id, updated_after=None)), before=None)
    assert seen == NOON + timedelta(microseconds=1)
    second = await service.an_event(calendar_id)
    changed = await client.each(api.changed_events(calendar_id, updated_after=seen))
    assert [event.id for event in changed] == [first, second]
    assert latest_change([], before=seen) == seen
    assert latest_change(changed, before=seen) == changed[-1].updated_at


async def test_a_bot_for_an_event(client: Speaking, service: Served) -> None:
    """It is in its event, is found by its key, and leaves with what was said of it."""
    event_id = await service.an_event(await service.a_calendar())
    order = api.create_bot(
        bot_name="Notes",
        calendar_event_id=event_id,
        deduplication_key=event_id,
        settings={"recording_settings": {"format": "mp4"}},
    )
    bot = await client.do(order)
    event = await client.do(api.calendar_event(event_id))
    assert (event.bots, event.attendees[0].name, event.raw["id"]) == ((bot,), "A", "theirs")
    assert (bot.state, bot.join_at, bot.meeting_url) == ("scheduled", event.start_time, LINK)
    assert await client.each(api.bots(states=["scheduled", "staged"], deduplication_key=event_id)) == [bot]
    with pytest.raises(Refused, match="Deduplication key already in use"):
        await client.do(order)
    renamed = await client.do(api.change_bot(bot.id, bot_name="More notes"))
    assert (renamed.bot_name, renamed.events) == ("More notes", bot.events)
    await client.do(api.delete_bot(bot.id))
    assert await client.find(api.bot(bot.id)) is None
    kinds = [entry.kind for entry in await client.each(api.event_activity(event_id))]
    assert (kinds[0], kinds[-1]) == ("bot_created", "bot_deleted")


async def test_a_bot_for_a_link_leaves(client: Speaking) -> None:
    """At a time that the caller gives in a zone of theirs, or now; one in its meeting is asked to leave."""
    later = datetime(2026, 11, 24, 9, tzinfo=timezone(timedelta(hours=9)))
    planned = await client.do(api.create_bot(bot_name="Notes", meeting_url=LINK, join_at=later))
    assert planned.join_at == later
    moved = await client.do(api.change_bot(planned.id, join_at=later + timedelta(hours=1)))
    assert moved.join_at == later + timedelta(hours=1)
    (entry, *_) = await client.each(api.bot_activity(planned.id))
    assert entry.bot_id == planned.id
    joining = await client.do(api.create_bot(bot_name="Notes", meeting_url=LINK))
    assert (joining.state, joining.events[0].type) == ("joining", "join_requested")
    assert (await client.do(api.leave(joining.id))).state == "leaving"


async def test_a_webhook_and_its_deliveries(client: Speaking) -> None:
    """The secret is shown once; a test is a delivery, which can be sent again."""
    made = await client.do(api.create_webhook(url="https://product.example/hook", triggers=["bot.state_change"]))
    assert made.secret is not None
    assert await client.do(api.webhook(made.id)) == read(models.Webhook, _without_secret(made))
    changed = await client.do(api.change_webhook(made.id, is_active=False))
    assert (changed.is_active, [one.id for one in await client.each(api.webhooks())]) == (False, [made.id])
    await client.do(api.change_webhook(made.id, is_active=True))
    tested = await client.do(api.test_webhook(made.id))
    (delivery,) = await client.each(api.deliveries(made.id))
    assert (delivery.id, delivery.state, delivery.attempts) == (tested.id, "pending", ())
    assert (await client.do(api.redeliver(delivery.id))).idempotency_key == delivery.idempotency_key
    assert await client.do(api.redeliver_failed(since=datetime(2026, 1, 1, tzinfo=UTC))) == 0
    await client.do(api.delete_webhook(made.id))
    assert await client.each(api.webhooks()) == []


def _without_secret(webhook: models.Webhook) -> dict[str, Any]:
    whole = {one.name: getattr(webhook, one.name) for one in fields(webhook) if one.name != "secret"}
    return whole | {name: written(whole[name]) for name in ("created_at", "updated_at")}


def test_ids_stay_in_their_place() -> None:
    """An id from somewhere else can't lead a request to another path."""
    assert api.bot("../webhooks?x=/").path == "/api/v1/bots/..%2Fwebhooks%3Fx%3D%2F"


def test_the_next_page_is_the_same_servers() -> None:
    """Behind a proxy its address may be another one, and the key must not go there."""
    page = models.Page[models.Bot]((), "http://elsewhere.example/api/v1/bots?cursor=c")
    following = api.next_page(api.bots(), page)
    assert following is not None
    assert following.path == "/api/v1/bots?cursor=c"


def test_times_have_a_zone() -> None:
    """What has none is refused before anything is sent: nobody knows which instant it is."""
    naive = datetime(2026, 11, 23, 9, 30, tzinfo=UTC).replace(tzinfo=None)
    with pytest.raises(ValueError, match="has no time zone"):
        api.changed_events("cal_1", updated_after=naive)


def test_what_is_no_answer_of_attendees_is_said() -> None:
    """The text names what was expected."""
    with pytest.raises(UnexpectedAnswer, match=r"no PlatformCalendar of attendee's: KeyError 'primary'"):
        read(models.PlatformCalendar, {"platform_uuid": "1", "name": "Work"})
    with pytest.raises(UnexpectedAnswer, match="TypeError"):
        read(models.PlatformCalendar, {"platform_uuid": 1, "name": "Work", "primary": True})
    with pytest.raises(UnexpectedAnswer, match="no list of results"):
        api.bots().read({"detail": "?"})


def test_an_address_without_a_scheme_is_refused() -> None:
    """When the client is made, not when it is first used."""
    with pytest.raises(ValueError, match="is no address of a service"):
        Client("attendee.example.com", "key")
