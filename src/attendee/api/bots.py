"""/bots: make, read, change, delete; and a bot as every answer shows it."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.api import activity, schemas
from attendee.api.bodies import body_of, documented
from attendee.api.filters import TextParameter, TimeParameter, equals, read_states, read_time, storable
from attendee.api.pagination import AskedPage, Listing, asked_page
from attendee.api.problems import BadFields, JsonAnswer, declared
from attendee.api.service import Authenticated, Reading, Service
from attendee.bots import following
from attendee.bots.lifecycle import CAN_LEAVE, moved
from attendee.bots.steps import life_of, step
from attendee.clock import written, written_or_none
from attendee.errors import Invalid, NotAllowed
from attendee.model import ActivityKind, BotEventType, BotState, CalendarId, CalendarState, EventId, ProjectId
from attendee.store import bots, launches, subscriptions, sync_state, tables
from attendee.store.activity import Entry, record
from attendee.store.bots import Bot, BotEvent, NewBot
from attendee.store.pages import Ordering, read_page
from attendee.store.subscriptions import NewSubscription
from attendee.sync.schedule import poll_for_bot
from attendee.webhooks import outbox, targets

router = APIRouter(prefix="/api/v1/bots", tags=["bots"])

_table = tables.bots
_LISTING = Listing(
    "bots", {"created_at": Ordering(_table.c.created_at, _table.c.id, descending=False)}, "created_at", 25
)
# Of the table; the rest of it is nobody's business, or large.
SHOWN = (
    _table.c.id,
    _table.c.metadata,
    _table.c.meeting_url,
    _table.c.state,
    _table.c.transcription_state,
    _table.c.recording_state,
    _table.c.join_at,
    _table.c.deduplication_key,
    _table.c.name,
    _table.c.event_id,
    _table.c.remote_id,
    _table.c.created_at,
    _table.c.updated_at,
)
_MOST_YEARS_AHEAD = 3
_READ_ONLY = "{} is read-only for a bot with a calendar_event_id: it follows the event."


@router.post(
    "",
    status_code=201,
    response_model=schemas.Bot,
    responses=declared(400, 429),
    openapi_extra=documented(schemas.NewBot),
)
async def create_bot(
    caller: Authenticated, body: Annotated[schemas.NewBot, Depends(body_of(schemas.NewBot))]
) -> Response:
    """Makes a bot for a meeting link, now or at a time, or for an event of a calendar, which it then follows."""
    service, now = caller.service, caller.service.clock()
    meeting_url = _checked_link(body, service)
    _check_join_at(body.join_at, now=now)
    own = _own_subscriptions(body, service)
    calendar_id: CalendarId | None = None
    join_at = body.join_at
    async with service.database.transaction() as tx:
        # First, as everywhere: whoever locks the project locks nothing before it.
        await bots.check_quota(tx, caller.project_id, most=service.limits.bots)
        if body.calendar_event_id is not None:
            event = await _event_to_join(tx, body.calendar_event_id, project_id=caller.project_id, now=now)
            calendar_id, meeting_url, join_at = event.calendar_id, event.meeting_url, event.start_time
            _check_joinable(event.meeting_url, service)
        new = NewBot(
            name=body.bot_name,
            meeting_url=meeting_url,
            join_at=join_at,
            event_id=None if body.calendar_event_id is None else EventId(body.calendar_event_id),
            calendar_id=calendar_id,
            deduplication_key=body.deduplication_key,
            metadata=body.metadata,
            settings=body.settings(),
        )
        bot_id = bots.new_bot_id()
        state, due_at = BotState.JOINING, now
        if join_at is not None:
            has_event = new.event_id is not None
            state = BotState.SCHEDULED
            due_at = service.launch_times.first_due(bot_id, join_at=join_at, has_link=True, has_event=has_event)
        bot = await bots.create(
            tx, new, bot_id=bot_id, state=state, project_id=caller.project_id, due_at=due_at, now=now
        )
        await _look_sooner(tx, bot, service, now=now)
        await subscriptions.create_for_bot(tx, own, bot_id=bot.id, project_id=caller.project_id, now=now)
        detail = {"join_at": written_or_none(join_at), "meeting_url": meeting_url, "by": caller.key_id}
        entry = Entry(ActivityKind.BOT_CREATED, detail, bot.event_id, bot.id)
        await record(tx, [entry], project_id=caller.project_id, calendar_id=calendar_id, now=now)
        if bot.state is BotState.JOINING:
            await _tell_that_it_joins(tx, bot, now=now)
        steps = await bots.events_of(tx, [bot.id])
    return JsonAnswer(rendered(bot, steps.get(bot.id, ())), 201)


@router.get("", response_model=schemas.BotPage, responses=declared(400, 404))
async def list_bots(
    reader: Reading,
    *,
    page: Annotated[AskedPage, Depends(asked_page(_LISTING))],
    states: Annotated[
        list[str] | None, Query(description="May repeat.", json_schema_extra={"items": {"enum": list(BotState)}})
    ] = None,
    deduplication_key: TextParameter = None,
    meeting_url: TextParameter = None,
    join_at_after: TimeParameter = None,
    join_at_before: TimeParameter = None,
    calendar_event_id: TextParameter = None,
) -> Response:
    """The project's bots, oldest first. Both bounds of `join_at` are exclusive."""
    query = select(*SHOWN).where(_table.c.project_id == reader.project_id)
    if states:
        query = query.where(_table.c.state.in_([state.value for state in read_states("states", states, BotState)]))
    if deduplication_key:
        query = query.where(equals(_table.c.deduplication_key, deduplication_key))
    if meeting_url:
        # Stored normalised, so that a client finds its bot by the link as it knows it.
        known = reader.service.meeting_links.normalise_meeting_url(meeting_url)
        query = query.where(equals(_table.c.meeting_url, meeting_url if known is None else known.url))
    if join_at_after:
        query = query.where(_table.c.join_at > read_time("join_at_after", join_at_after))
    if join_at_before:
        query = query.where(_table.c.join_at < read_time("join_at_before", join_at_before))
    if calendar_event_id:
        query = query.where(equals(_table.c.event_id, calendar_event_id))
    found = await read_page(reader.tx, query, ordering=page.ordering, position=page.position, size=page.size)
    steps = await bots.events_of(reader.tx, [row.id for row in found.rows])
    return page.answer(found, [rendered(row, steps.get(row.id, ())) for row in found.rows])


@router.get("/{bot_id}", response_model=schemas.Bot, responses=declared(404))
async def read_bot(reader: Reading, bot_id: str) -> Response:
    bot = await bots.get(reader.tx, bot_id, project_id=reader.project_id)
    steps = await bots.events_of(reader.tx, [bot.id])
    return JsonAnswer(rendered(bot, steps.get(bot.id, ())))


@router.patch(
    "/{bot_id}",
    response_model=schemas.Bot,
    responses=declared(400, 404),
    openapi_extra=documented(schemas.BotChange),
)
async def change_bot(
    caller: Authenticated, bot_id: str, body: Annotated[schemas.BotChange, Depends(body_of(schemas.BotChange))]
) -> Response:
    """Changes the bot; all but `metadata` only while it is scheduled. Fields that are not listed here are ignored."""
    service, now = caller.service, caller.service.clock()
    given = body.model_fields_set
    meeting_url = None if body.meeting_url is None else _normalised(body.meeting_url, service)
    _check_join_at(body.join_at, now=now)
    async with service.database.transaction() as tx:
        bot = await bots.get(tx, bot_id, project_id=caller.project_id, for_update=True)
        if given - {"metadata"} and bot.state is not BotState.SCHEDULED:
            message = f"Only metadata can be changed once a bot is no longer scheduled; this one is {bot.state}."
            raise NotAllowed(message)
        followed = sorted(given & {"join_at", "meeting_url"})
        if followed and bot.event_id is not None:
            raise NotAllowed(_READ_ONLY.format(" and ".join(followed)))
        values = _changed_columns(bot, body, meeting_url=meeting_url)
        if values:
            changed = await bots.change(tx, bot.id, values=values, now=now)
            if given - {"metadata"} and bot.launch_id is not None:
                # It is being handed to the runner just now, as it was.
                await following.call_off_launch(tx, bot, now=now)
            elif body.join_at is not None:
                due_at = following.due_at(changed, times=service.launch_times)
                changed = await bots.change(tx, bot.id, values={"due_at": due_at}, now=now)
            bot = changed
            detail = {"fields": sorted(given), "by": caller.key_id}
            entry = Entry(ActivityKind.BOT_UPDATED, detail, bot.event_id, bot.id)
            await record(tx, [entry], project_id=caller.project_id, calendar_id=bot.calendar_id, now=now)
        steps = await bots.events_of(tx, [bot.id])
    return JsonAnswer(rendered(bot, steps.get(bot.id, ())))


@router.delete("/{bot_id}", response_class=Response, responses=declared(400, 404))
async def delete_bot(caller: Authenticated, bot_id: str) -> Response:
    """Deletes a bot that is still scheduled."""
    async with caller.service.database.transaction() as tx:
        bot = await bots.get(tx, bot_id, project_id=caller.project_id, for_update=True)
        if bot.state is not BotState.SCHEDULED:
            message = f"Only a scheduled bot can be deleted; this one is {bot.state}."
            raise NotAllowed(message)
        now = caller.service.clock()
        entry = await following.delete(tx, bot, reason="deleted over the API", by=caller.key_id, now=now)
        await record(tx, [entry], project_id=caller.project_id, calendar_id=bot.calendar_id, now=now)
    return Response()


@router.post("/{bot_id}/leave", response_model=schemas.Bot, responses=declared(400, 404, 429))
async def leave_meeting(caller: Authenticated, bot_id: str) -> Response:
    """Lets a bot leave that is in its meeting, or on its way into it."""
    now, heartbeat = caller.service.clock(), caller.service.heartbeat
    async with caller.service.database.transaction() as tx:
        bot = await bots.get(tx, bot_id, project_id=caller.project_id, for_update=True)
        if bot.state not in CAN_LEAVE:
            message = f"Only a bot in a meeting, or on its way into one, can leave; this one is {bot.state}."
            raise NotAllowed(message)
        # One that is still to be launched, or has not been heard of, keeps the time at which it is given up.
        due_at = bot.due_at if bot.reported_at is None else now + heartbeat
        life = moved(life_of(bot), BotState.LEAVING)
        bot = await step(tx, bot, BotEventType.LEAVE_REQUESTED, life, due_at=due_at, now=now)
        if bot.launch_id is not None:
            await launches.ask_leave(tx, bot.launch_id, now=now)
        steps = await bots.events_of(tx, [bot.id])
    return JsonAnswer(rendered(bot, steps.get(bot.id, ())))


@router.get("/{bot_id}/activity", response_model=schemas.ActivityPage, responses=declared(400, 404))
async def read_bot_activity(
    reader: Reading, bot_id: str, page: Annotated[AskedPage, Depends(asked_page(activity.LISTING))]
) -> Response:
    """What happened to the bot, oldest first."""
    await bots.get(reader.tx, bot_id, project_id=reader.project_id)
    found = await activity.read_history(reader, page, column=tables.activity.c.bot_id, id=bot_id)
    return page.answer(found, [activity.rendered(row) for row in found.rows])


def rendered(bot: Bot | Row[Any], steps: Sequence[BotEvent]) -> dict[str, Any]:
    """A bot, or a row of the columns `SHOWN`, as an answer."""
    return {
        "id": bot.id,
        "metadata": bot.metadata,
        "meeting_url": bot.meeting_url,
        "state": bot.state,
        "events": [
            {"type": step.type, "sub_type": step.sub_type, "created_at": written(step.created_at)} for step in steps
        ],
        "transcription_state": bot.transcription_state,
        "recording_state": bot.recording_state,
        "join_at": written_or_none(bot.join_at),
        "deduplication_key": bot.deduplication_key,
        "bot_name": bot.name,
        "calendar_event_id": bot.event_id,
        "remote_id": bot.remote_id,
        "created_at": written(bot.created_at),
        "updated_at": written(bot.updated_at),
    }


def _checked_link(body: schemas.NewBot, service: Service) -> str | None:
    """The meeting link, normalised; None if it is the event's. Raises BadFields, NotAllowed and Invalid."""
    if body.calendar_event_id is None:
        if body.meeting_url is None:
            raise BadFields({"non_field_errors": ["Either meeting_url or calendar_event_id is required."]})
        return _normalised(body.meeting_url, service)
    for name, value in (("meeting_url", body.meeting_url), ("join_at", body.join_at)):
        if value is not None:
            message = f"{name} can't be given together with calendar_event_id: it is the event's."
            raise NotAllowed(message)
    return None


def _normalised(meeting_url: str, service: Service) -> str:
    found = service.meeting_links.normalise_meeting_url(meeting_url) if storable(meeting_url) else None
    if found is None:
        message = "Must be a meeting link of a service that is known here (Zoom, Google Meet, Teams and others)."
        raise Invalid("meeting_url", message)
    _check_joinable(found.url, service)
    return found.url


def _check_joinable(meeting_url: str, service: Service) -> None:
    refusal = service.meeting_links.why_not_joinable(meeting_url)
    if refusal is not None:
        raise NotAllowed(refusal)


def _check_join_at(join_at: datetime | None, *, now: datetime) -> None:
    if join_at is None:
        return
    if join_at < now:
        raise Invalid("join_at", "May not be in the past.")
    if join_at > _years_later(now, _MOST_YEARS_AHEAD):
        raise Invalid("join_at", f"May be at most {_MOST_YEARS_AHEAD} years ahead.")


def _years_later(at: datetime, years: int) -> datetime:
    try:
        return at.replace(year=at.year + years)
    except ValueError:
        # From 29 February.
        return at.replace(year=at.year + years, day=28) + timedelta(days=1)


def _own_subscriptions(body: schemas.NewBot, service: Service) -> list[NewSubscription]:
    own: dict[str, NewSubscription] = {}
    for number, webhook in enumerate(body.webhooks or ()):
        refusal = targets.refusal(webhook.url, allow_insecure=service.allow_insecure_webhooks)
        if webhook.url in own:
            refusal = "Another webhook of this bot has this url already."
        if refusal is not None:
            raise Invalid("webhooks", f"webhooks[{number}].url: {refusal}")
        own[webhook.url] = NewSubscription(webhook.url, tuple(dict.fromkeys(webhook.triggers)))
    return list(own.values())


async def _event_to_join(tx: AsyncConnection, event_id: str, *, project_id: ProjectId, now: datetime) -> Any:
    """The event, which no sync changes before this transaction has ended. Raises NotAllowed with the reason."""
    events = tables.events.c
    of_project = (events.id == event_id, events.project_id == project_id)
    calendar_id = await tx.scalar(select(events.calendar_id).where(*of_project))
    # Locked before the event is read: a sync that moves it, or disconnects the calendar and deletes its bots, either
    # is seen here, or sees the new bot.
    calendars = tables.calendars.c
    calendar_state = await tx.scalar(
        select(calendars.state).where(calendars.id == calendar_id).with_for_update(key_share=True)
    )
    event = (
        await tx.execute(
            select(events.calendar_id, events.is_deleted, events.meeting_url, events.start_time, events.end_time).where(
                *of_project
            )
        )
    ).one_or_none()
    if event is None:
        raise NotAllowed("The calendar event does not exist; calendar_event_id must be the id of one.")
    if event.is_deleted:
        raise NotAllowed("The calendar event is deleted.")
    if event.meeting_url is None:
        raise NotAllowed("The calendar event has no meeting link.")
    if event.end_time <= now:
        raise NotAllowed("The calendar event has ended.")
    if calendar_state == CalendarState.DISCONNECTED:
        # Such bots have been deleted, and who heard late of it must not make them anew: nobody would move them.
        raise NotAllowed("The event's calendar is disconnected; its events can have bots once it has synced again.")
    return event


async def _look_sooner(tx: AsyncConnection, bot: Bot, service: Service, *, now: datetime) -> None:
    """A polled calendar is looked at more often from now on, if the bot is about to join."""
    if bot.calendar_id is None or bot.join_at is None:
        return
    at = poll_for_bot(bot.join_at, intervals=service.intervals, now=now)
    if at is not None:
        await sync_state.turn_no_later(tx, bot.calendar_id, at, now=now)


async def _tell_that_it_joins(tx: AsyncConnection, bot: Bot, *, now: datetime) -> None:
    await bots.record_event(tx, bot.id, type=BotEventType.JOIN_REQUESTED, now=now)
    await outbox.record_bot_state_change(
        tx,
        bot,
        old_state=BotState.READY,
        event_type=BotEventType.JOIN_REQUESTED,
        event_sub_type=None,
        event_metadata=None,
        now=now,
    )


def _changed_columns(bot: Bot, body: schemas.BotChange, *, meeting_url: str | None) -> dict[str, Any]:
    given = body.model_fields_set
    values: dict[str, Any] = {}
    if body.bot_name is not None:
        values["name"] = body.bot_name
    if meeting_url is not None:
        values["meeting_url"] = meeting_url
    if body.join_at is not None:
        values["join_at"] = body.join_at
    if "metadata" in given:
        values["metadata"] = body.metadata
    settings = {name: getattr(body, name) for name in ("bot_image", "recording_settings") if name in given}
    if settings:
        merged = bot.settings | settings
        values["settings"] = {name: value for name, value in merged.items() if value is not None}
    return values
