"""The calls that the service knows, as values: what to ask, and how to read the answer.

A client makes them: `client.do(api.bot(bot_id))`, or `client.each(api.bots())` for lists.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote, urlencode, urlsplit

from attendee_client.errors import UnexpectedAnswer
from attendee_client.models import (
    ActivityEntry,
    Bot,
    Calendar,
    CalendarEvent,
    Delivery,
    Page,
    PlatformCalendar,
    Webhook,
    read,
    written,
)

_BASE = "/api/v1"

_Result_co = TypeVar("_Result_co", covariant=True)
_Model = TypeVar("_Model")

Platform = Literal["google", "microsoft"]
Json = Mapping[str, Any]


@dataclass(frozen=True)
class Call(Generic[_Result_co]):
    """`path` with its query. A repeatable one does no harm if it is made again because its answer was lost."""

    method: str
    path: str
    read: Callable[[Any], _Result_co]
    body: Json | None = None
    is_repeatable: bool = True


def next_page(call: Call[Page[_Model]], page: Page[_Model]) -> Call[Page[_Model]] | None:
    """The call for the page after this one; None if it is the last. It goes to the same server as all others."""
    if page.next is None:
        return None
    address = urlsplit(page.next)
    return replace(call, path=f"{address.path}?{address.query}")


# Calendars.


def create_calendar(
    *,
    platform: Platform,
    client_id: str,
    client_secret: str,
    refresh_token: str,
    platform_uuid: str | None = None,
    deduplication_key: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Call[Calendar]:
    """Connects a calendar: the user's primary one, unless `platform_uuid` names another. Its first sync starts at once.

    A `deduplication_key` that is taken is refused under that name: `calendars` finds the one that has it.
    """
    body = {
        "platform": platform,
        "client_id": client_id,
        "client_secret": client_secret,
        "refresh_token": refresh_token,
        "platform_uuid": platform_uuid,
        "deduplication_key": deduplication_key,
        "metadata": metadata,
    }
    return Call("POST", f"{_BASE}/calendars", _one(Calendar), _given(body), is_repeatable=False)


def calendars(*, deduplication_key: str | None = None, page_size: int | None = None) -> Call[Page[Calendar]]:
    """The newest first."""
    return _list("/calendars", Calendar, deduplication_key=deduplication_key, page_size=page_size)


def calendar(calendar_id: str) -> Call[Calendar]:
    return Call("GET", _path("calendars", calendar_id), _one(Calendar))


def change_calendar(
    calendar_id: str,
    *,
    client_secret: str | None = None,
    refresh_token: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> Call[Calendar]:
    """New credentials or metadata; syncs at once. This is how a disconnected calendar is connected again."""
    body = {"client_secret": client_secret, "refresh_token": refresh_token, "metadata": metadata}
    return Call("PATCH", _path("calendars", calendar_id), _one(Calendar), _given(body))


def delete_calendar(calendar_id: str) -> Call[None]:
    """With its events and the bots that wait for them."""
    return Call("DELETE", _path("calendars", calendar_id), _nothing)


def sync_calendar(calendar_id: str) -> Call[Calendar]:
    """Asks for a sync now."""
    return Call("POST", _path("calendars", calendar_id, "sync"), _one(Calendar))


def platform_calendars(calendar_id: str) -> Call[tuple[PlatformCalendar, ...]]:
    """The calendars that the user has at the platform, as last read there."""
    return Call("GET", _path("calendars", calendar_id, "platform_calendars"), _results(PlatformCalendar))


def export_calendar(calendar_id: str) -> Call[Json]:
    """All that is kept of the calendar, as one document; no secret is in it."""
    return Call("GET", _path("calendars", calendar_id, "export"), lambda document: read(dict, document))


# Events.


def calendar_events(
    *,
    calendar_id: str | None = None,
    calendar_deduplication_key: str | None = None,
    updated_after: datetime | None = None,
    start_time_gte: datetime | None = None,
    end_time_lte: datetime | None = None,
    ordering: str | None = None,
    page_size: int | None = None,
) -> Call[Page[CalendarEvent]]:
    """Cancelled ones too. All bounds are inclusive; `ordering` is such as `start_time` or `-updated_at`."""
    return _list(
        "/calendar_events",
        CalendarEvent,
        calendar_id=calendar_id,
        calendar_deduplication_key=calendar_deduplication_key,
        updated_after=updated_after,
        start_time_gte=start_time_gte,
        end_time_lte=end_time_lte,
        ordering=ordering,
        page_size=page_size,
    )


def changed_events(calendar_id: str, *, updated_after: datetime | None) -> Call[Page[CalendarEvent]]:
    """What has changed since `latest_change` was this (None: everything), the oldest change first.

    So one can keep how far one is after each page. The last event comes again, since the bound is inclusive.
    """
    return calendar_events(calendar_id=calendar_id, updated_after=updated_after, ordering="updated_at")


def calendar_event(event_id: str) -> Call[CalendarEvent]:
    return Call("GET", _path("calendar_events", event_id), _one(CalendarEvent))


def event_activity(event_id: str) -> Call[Page[ActivityEntry]]:
    """What happened to the event and its bots, the oldest first."""
    return _list(f"/calendar_events/{quote(event_id, safe='')}/activity", ActivityEntry)


# Bots.


def create_bot(
    *,
    bot_name: str,
    calendar_event_id: str | None = None,
    meeting_url: str | None = None,
    join_at: datetime | None = None,
    deduplication_key: str | None = None,
    metadata: Json | None = None,
    webhooks: Sequence[Json] | None = None,
    settings: Mapping[str, Json] | None = None,
) -> Call[Bot]:
    """A bot that follows an event, or one for a meeting link, now or at `join_at`.

    `settings` are those objects that are handed to the runner, such as `{"recording_settings": {...}}`.
    """
    body = {
        "bot_name": bot_name,
        "calendar_event_id": calendar_event_id,
        "meeting_url": meeting_url,
        "join_at": None if join_at is None else written(join_at),
        "deduplication_key": deduplication_key,
        "metadata": metadata,
        "webhooks": webhooks,
    }
    return Call("POST", f"{_BASE}/bots", _one(Bot), _given(body) | dict(settings or {}), is_repeatable=False)


def bots(
    *,
    states: Sequence[str] = (),
    deduplication_key: str | None = None,
    calendar_event_id: str | None = None,
    meeting_url: str | None = None,
    join_at_after: datetime | None = None,
    join_at_before: datetime | None = None,
    page_size: int | None = None,
) -> Call[Page[Bot]]:
    """The oldest first; both bounds are exclusive."""
    return _list(
        "/bots",
        Bot,
        states=states,
        deduplication_key=deduplication_key,
        calendar_event_id=calendar_event_id,
        meeting_url=meeting_url,
        join_at_after=join_at_after,
        join_at_before=join_at_before,
        page_size=page_size,
    )


def bot(bot_id: str) -> Call[Bot]:
    return Call("GET", _path("bots", bot_id), _one(Bot))


def change_bot(
    bot_id: str,
    *,
    join_at: datetime | None = None,
    meeting_url: str | None = None,
    bot_name: str | None = None,
    metadata: Json | None = None,
    settings: Mapping[str, Json] | None = None,
) -> Call[Bot]:
    """All but `metadata` only while it is scheduled. `settings` are `bot_image` and `recording_settings`."""
    body = {
        "join_at": None if join_at is None else written(join_at),
        "meeting_url": meeting_url,
        "bot_name": bot_name,
        "metadata": metadata,
    }
    return Call("PATCH", _path("bots", bot_id), _one(Bot), _given(body) | dict(settings or {}))


def delete_bot(bot_id: str) -> Call[None]:
    """Only while it is scheduled."""
    return Call("DELETE", _path("bots", bot_id), _nothing)


def leave(bot_id: str) -> Call[Bot]:
    """Lets a bot leave its meeting."""
    return Call("POST", _path("bots", bot_id, "leave"), _one(Bot))


def bot_activity(bot_id: str) -> Call[Page[ActivityEntry]]:
    """What happened to the bot, the oldest first."""
    return _list(f"/bots/{quote(bot_id, safe='')}/activity", ActivityEntry)


# Webhooks.


def create_webhook(*, url: str, triggers: Sequence[str]) -> Call[Webhook]:
    """The answer has the signing secret, which is not shown again."""
    body = {"url": url, "triggers": list(triggers)}
    return Call("POST", f"{_BASE}/webhooks", _one(Webhook), body, is_repeatable=False)


def webhooks() -> Call[Page[Webhook]]:
    """The oldest first."""
    return _list("/webhooks", Webhook)


def webhook(webhook_id: str) -> Call[Webhook]:
    return Call("GET", _path("webhooks", webhook_id), _one(Webhook))


def change_webhook(
    webhook_id: str, *, url: str | None = None, triggers: Sequence[str] | None = None, is_active: bool | None = None
) -> Call[Webhook]:
    body = {"url": url, "triggers": None if triggers is None else list(triggers), "is_active": is_active}
    return Call("PATCH", _path("webhooks", webhook_id), _one(Webhook), _given(body))


def delete_webhook(webhook_id: str) -> Call[None]:
    return Call("DELETE", _path("webhooks", webhook_id), _nothing)


def test_webhook(webhook_id: str) -> Call[Delivery]:
    """Sends a body that says of itself that it is a test."""
    return Call("POST", _path("webhooks", webhook_id, "test"), _one(Delivery), is_repeatable=False)


def deliveries(webhook_id: str) -> Call[Page[Delivery]]:
    """What was sent, or is to be, the newest first."""
    return _list(f"/webhooks/{quote(webhook_id, safe='')}/deliveries", Delivery)


def redeliver(delivery_id: str) -> Call[Delivery]:
    """Sends it again, with the same body and key."""
    return Call("POST", _path("webhook_deliveries", delivery_id, "redeliver"), _one(Delivery), is_repeatable=False)


def redeliver_failed(*, since: datetime) -> Call[int]:
    """Sends everything again that was made since then and given up; how many that was."""
    body = {"since": written(since)}
    return Call("POST", _path("webhook_deliveries", "redeliver_failed"), _redelivered, body, is_repeatable=False)


def _path(*parts: str) -> str:
    return "/".join((_BASE, *(quote(part, safe="") for part in parts)))


def _list(path: str, model: type[_Model], **filters: Any) -> Call[Page[_Model]]:
    given = {
        name: written(value) if isinstance(value, datetime) else value
        for name, value in filters.items()
        if value is not None
    }
    return Call("GET", f"{_BASE}{path}?{urlencode(given, doseq=True)}", _page(model))


def _given(body: Json) -> dict[str, Any]:
    """What the caller left out is left out of the request too."""
    return {name: value for name, value in body.items() if value is not None}


def _redelivered(content: Any) -> int:
    if not isinstance(content, Mapping) or not isinstance(content.get("redelivered"), int):
        raise UnexpectedAnswer("there is no count of deliveries in the answer")
    return int(content["redelivered"])


def _one(model: type[_Model]) -> Callable[[Any], _Model]:
    return lambda content: read(model, content)


def _results(model: type[_Model]) -> Callable[[Any], tuple[_Model, ...]]:
    def results(content: Any) -> tuple[_Model, ...]:
        if not isinstance(content, Mapping) or not isinstance(content.get("results"), list):
            raise UnexpectedAnswer("there is no list of results in the answer")
        return tuple(read(model, one) for one in content["results"])

    return results


def _page(model: type[_Model]) -> Callable[[Any], Page[_Model]]:
    results = _results(model)
    return lambda content: Page(results(content), content.get("next"))


def _nothing(_: Any) -> None:
    return None
