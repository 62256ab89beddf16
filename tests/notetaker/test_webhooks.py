"""Webhooks as a network brings them: twice, late, in the wrong order, or from somebody else."""

import random
from datetime import timedelta
from typing import Any

import pytest

from attendee.demo.visitor import Visitor, WeekPage
from attendee.model import CalendarId
from attendee.sandbox.world import Person
from tests.notetaker.running import Running


async def truth(notetaker: Running, calendar_id: CalendarId) -> tuple[dict[str, str], set[str]]:
    """When the service says that the events start, and which of them have a scheduled bot."""
    events = (await notetaker.client.get(f"/calendar_events?calendar_id={calendar_id}")).json["results"]
    bots = (await notetaker.client.get("/bots?states=scheduled")).json["results"]
    assert len(bots) == len({bot["calendar_event_id"] for bot in bots}), "an event has two bots"
    starts = {event["id"]: event["start_time"] for event in events}
    return starts, {bot["calendar_event_id"] for bot in bots}


def planned(week: WeekPage) -> set[str]:
    return {event_id for event_id, status in week.statuses.items() if status == "planned"}


async def change_a_week(notetaker: Running, person: Person, calendar_id: CalendarId) -> list[dict[str, Any]]:
    """All that can happen to a calendar, a sync after each; the webhooks that tell of it."""
    world, calendar, clock = notetaker.here.world, person.primary, notetaker.here.clock
    told = []

    async def sync() -> None:
        clock.advance(timedelta(minutes=1))
        await notetaker.sync(calendar_id)
        told.extend(await notetaker.news())

    calendar.move("meeting1", starts=clock() + timedelta(days=1, hours=3))
    await sync()
    calendar.delete("meeting2")
    await sync()
    calendar.put("new", title="New", starts=clock() + timedelta(days=2), location="https://zoom.us/j/98765432199")
    await sync()
    world.revoke(person)
    await sync()
    fresh = {"client_secret": "sandbox-secret", "refresh_token": world.authorise(person)}
    assert (await notetaker.client.patch(f"/calendars/{calendar_id}", fresh)).status == 200
    await sync()
    calendar.move("meeting3", starts=clock() + timedelta(days=3, hours=5))
    await sync()
    return told


@pytest.mark.parametrize("seed", range(4))
async def test_webhooks_twice_late_and_out_of_order(
    notetaker: Running, person: Person, visitor: Visitor, seed: int
) -> None:
    """However the webhooks come, in the end the application shows what the service has, and no event has two bots."""
    calendar_id = await notetaker.sign_in(person, visitor)
    await visitor.switch_on("/all")
    await notetaker.work()
    late = await notetaker.news()
    late += await change_a_week(notetaker, person, calendar_id)
    triggers = [body["trigger"] for body in late]
    assert (triggers.count("calendar.events_update"), triggers.count("calendar.state_change")) == (6, 1)
    await notetaker.deliver_badly(late, random.Random(seed))

    starts, with_bots = await truth(notetaker, calendar_id)
    week = await visitor.week()
    assert week.starts.items() <= starts.items()
    assert len(week.statuses) == 7
    assert sorted(week.statuses.values()) == ["cancelled", *["planned"] * 6]
    assert planned(week) == with_bots
    assert not week.has_alert


async def test_one_delivery_is_worked_off_once(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """A webhook that comes again with its key asks the service nothing."""
    await notetaker.sign_in(person, visitor)
    (first,) = await notetaker.news()
    assert await notetaker.deliver(first) == 204
    await notetaker.work()
    person.primary.delete("meeting1")
    await notetaker.sync(first["calendar_id"])
    assert await notetaker.deliver(first) == 204
    await notetaker.work()
    assert "cancelled" not in (await visitor.week()).statuses.values()
    (second,) = await notetaker.news()
    assert await notetaker.deliver(second) == 204
    await notetaker.work()
    assert "cancelled" in (await visitor.week()).statuses.values()


async def test_forged_webhook_is_refused(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """A wrong signature, none at all, and a changed body are 403, and nothing of them is stored."""
    await notetaker.sign_in(person, visitor)
    (news,) = await notetaker.news()
    assert await notetaker.deliver(news, secret="b3RoZXI=") == 403
    async with notetaker.here.http.post(f"{notetaker.url}/webhooks", data=b"{}") as answer:
        assert answer.status == 403
    assert notetaker.office.store.due_deliveries(now=notetaker.here.clock()) == []


async def test_webhook_is_answered_while_the_service_is_away(
    notetaker: Running, person: Person, visitor: Visitor
) -> None:
    """It is stored and answered; what could not be asked is asked again later, in a process that may be another."""
    await notetaker.sign_in(person, visitor)
    calendar_id = (await notetaker.news())[0]["calendar_id"]
    person.primary.delete("meeting1")
    await notetaker.sync(calendar_id)
    (news,) = await notetaker.news()
    with notetaker.service_is_away():
        assert await notetaker.deliver(news) == 204
        await notetaker.work()
    assert "cancelled" not in (await visitor.week()).statuses.values()
    notetaker.here.clock.advance(timedelta(seconds=2))
    await notetaker.work()
    assert "cancelled" in (await visitor.week()).statuses.values()


async def test_bots_are_planned_running_and_done(notetaker: Running, person: Person, visitor: Visitor) -> None:
    """The user sees how far each bot is; a state that comes late is not believed over what the service says now."""
    calendar_id = await notetaker.sign_in(person, visitor)
    _, with_bots = await truth(notetaker, calendar_id)
    assert not with_bots
    event_id = next(iter((await visitor.week()).statuses))
    await visitor.switch_on(f"/events/{event_id}/notes")
    await notetaker.work()
    (bot,) = (await notetaker.client.get("/bots")).json["results"]
    assert planned(await visitor.week()) == {event_id}
    for state, shown in (("joined_recording", "running"), ("ended", "done")):
        await notetaker.set_bot_state(bot["id"], state)
        body = {"trigger": "bot.state_change", "bot_id": bot["id"], "idempotency_key": state}
        assert await notetaker.deliver({**body, "data": {"new_state": "joining"}}) == 204
        await notetaker.work()
        assert (await visitor.week()).statuses[event_id] == shown
