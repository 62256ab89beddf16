"""/runner/v1: where the bots that a runner runs say how it goes. Each has a token of its own, for its own bot alone."""

import hmac
from typing import Annotated, Any

import structlog
from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from attendee.api import schemas
from attendee.api.bodies import body_of, documented
from attendee.api.problems import WITHOUT_KEY, BadFields, JsonAnswer, Unauthenticated, declared
from attendee.api.service import Service, bearer
from attendee.bots import reports
from attendee.bots.reports import HEARTBEAT, Impossible, Passed, Report
from attendee.errors import NotFound
from attendee.model import BotEventType, Trigger
from attendee.store import bots, launches
from attendee.store.bots import Bot
from attendee.store.columns import token_hash

router = APIRouter(prefix="/runner/v1", tags=["runners"])

_log = structlog.get_logger(__name__)

_TYPES = (HEARTBEAT, *BotEventType, *Passed)
# The document says it as it is: a token of the bot's, not a key to the API.
_WITH_TOKEN: dict[str, Any] = {"security": [{"ReportToken": []}]}
_PASSED_ON = {
    Trigger.TRANSCRIPT_UPDATE: Passed.TRANSCRIPT,
    Trigger.CHAT_MESSAGES_UPDATE: Passed.CHAT_MESSAGE,
    Trigger.PARTICIPANT_EVENTS_JOIN_LEAVE: Passed.PARTICIPANT_EVENT,
    Trigger.PARTICIPANT_EVENTS_SPEECH_START_STOP: Passed.PARTICIPANT_EVENT,
    Trigger.BOT_LOGS_UPDATE: Passed.LOG,
}


async def _trusted(request: Request, bot_id: str) -> Service:
    """The service, once the token is found to be the bot's own. Raises NotFound and Unauthenticated."""
    return await _trusted_with(request, bot_id, bearer(request.headers.get("authorization")))


async def _trusted_with(request: Request, bot_id: str, token: str) -> Service:
    """The service, once the token is found to be the bot's own. Raises NotFound and Unauthenticated."""
    service: Service = request.app.state.service
    async with service.database.reading() as tx:
        bot = await bots.find(tx, bot_id)
    _check(bot, token)
    return service


def _check(bot: Bot | None, token: str) -> Bot:
    if bot is None:
        raise NotFound("Bot")
    # While its launch is being called off, a bot has no token at all.
    if not hmac.compare_digest(token_hash(token), bot.report_token_hash or ""):
        raise Unauthenticated("This is not the report token of the bot's present launch.")
    return bot


@router.post(
    "/bots/{bot_id}/events",
    response_model=schemas.Reported,
    responses=declared(400, 404, 409),
    openapi_extra=documented(schemas.BotReport) | _WITH_TOKEN,
)
async def report(
    service: Annotated[Service, Depends(_trusted)],
    request: Request,
    bot_id: str,
    body: Annotated[schemas.BotReport, Depends(body_of(schemas.BotReport))],
) -> Response:
    """Takes in what a bot reports. The same id again changes nothing."""
    if body.type not in _TYPES:
        raise BadFields({"type": [f"Must be one of: {', '.join(_TYPES)}."]})
    if body.id is None and body.type != HEARTBEAT:
        raise BadFields({"id": ["This field is required: it makes a repeated report harmless."]})
    token = bearer(request.headers.get("authorization"))
    try:
        state = await _take_in(service, bot_id, token, body)
    except Impossible as impossible:
        _log.warning("impossible_report", bot_id=bot_id, error=str(impossible))
        raise
    return JsonAnswer({"state": state})


async def _take_in(service: Service, bot_id: str, token: str, body: schemas.BotReport) -> str:
    heartbeat, now = service.heartbeat, service.clock()
    async with service.database.transaction() as tx:
        bot = _check(await bots.lock(tx, bot_id), token)
        if body.type == HEARTBEAT:
            await reports.hear(tx, bot, heartbeat=heartbeat, now=now)
        elif body.type in set(Passed):
            kind, data = Passed(body.type), body.data or {}
            await reports.pass_on(tx, bot, kind, data, report_id=body.id or "", heartbeat=heartbeat, now=now)
        else:
            step = Report(body.id or "", BotEventType(body.type), body.sub_type, body.created_at, body.metadata)
            bot = await reports.take_in(tx, bot, step, heartbeat=heartbeat, now=now)
    return bot.state


@router.post(
    "/remote/{bot_id}/{token}",
    response_class=Response,
    responses=declared(400, 404),
    openapi_extra=documented(schemas.RemoteWebhook) | WITHOUT_KEY,
)
async def remote_webhook(
    service: Annotated[Service, Depends(_trusted_with)],
    bot_id: str,
    token: str,
    body: Annotated[schemas.RemoteWebhook, Depends(body_of(schemas.RemoteWebhook))],
) -> Response:
    """A webhook of the server that runs the bot (`BOT_RUNNER=remote`); the address has the bot's token in it.

    It says when to look at the bot, not what has become of it; what was heard and seen in the meeting is passed on.
    """
    heartbeat, now = service.heartbeat, service.clock()
    async with service.database.transaction() as tx:
        bot = _check(await bots.lock(tx, bot_id), token)
        if body.trigger in _PASSED_ON:
            kind, data = _PASSED_ON[Trigger(body.trigger)], body.data or {}
            await reports.pass_on(tx, bot, kind, data, report_id=body.idempotency_key, heartbeat=heartbeat, now=now)
        elif body.trigger == Trigger.BOT_STATE_CHANGE and bot.launch_id is not None:
            await launches.look_now(tx, bot.launch_id, now=now)
    return Response()
