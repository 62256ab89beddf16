"""A fleet of bots that takes orders as the contract of the `http` runner has them, under `/fleet`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import aiohttp
import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from attendee.sandbox.faults import Fault, FaultKind, Place
from attendee.sandbox.fleet_bot import FleetBot
from attendee.sandbox.misbehaviour import CUT_EXTENSION, misbehaviour
from attendee.sandbox.orders import Order, WrongOrder, is_signed, parse_order
from attendee.sandbox.reports import TIMEOUT
from attendee.sandbox.world import World

FLEET = "/fleet"

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Taken:
    """An order that was taken, and the answer to it."""

    order: Order
    answer: bytes


class Fleet:
    """Every bot that was ordered, for as long as the server runs: before `start` and after `stop` none lives."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.bots: dict[str, FleetBot] = {}
        self._taken: dict[str, Taken] = {}
        self._session: aiohttp.ClientSession | None = None

    def routes(self) -> list[Route]:
        """All of them, below `/fleet`."""
        return [
            Route("/bots", self._signed(self.order), methods=["POST"]),
            Route("/bots/{bot_id}", self._signed(self.call_off), methods=["DELETE"]),
            Route("/bots/{bot_id}/leave", self._signed(self.leave), methods=["POST"]),
        ]

    async def start(self) -> None:
        """Bots live from now on."""
        # Unlimited, for a thousand bots that report at once must not wait for one that is not answered.
        self._session = aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0))

    async def stop(self) -> None:
        """Ends every bot without a word."""
        await asyncio.gather(*(bot.call_off() for bot in self.bots.values()))
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def settled(self) -> None:
        """Comes back when all that bots have reported so far has been answered or given up."""
        await asyncio.gather(*(bot.reporter.settled() for bot in self.bots.values()))

    async def order(self, request: Request) -> Response:
        """Stages a bot. The same key again is answered the same; another key for a bot that is here replaces it."""
        key = request.headers.get("Idempotency-Key", "")
        if not key:
            return _refused(400, "an order needs an Idempotency-Key")
        self.world.rooms.links.know(request.headers.get("host", ""))
        try:
            order = parse_order(await request.body())
        except WrongOrder as wrong:
            return _refused(400, str(wrong))
        code = self.world.rooms.code(order.meeting_url)
        targets = (order.bot_id, order.bot_name, order.meeting_url, code)
        bad = await self._misbehaviour(request, targets)
        if bad is not None:
            return bad
        taken = self._taken.get(key)
        if taken is None:
            taken = self._taken[key] = Taken(order, self._stage(order))
        elif taken.order != order:
            return _refused(409, "this Idempotency-Key came with another order before")
        if self.world.faults.strike(Place.FLEET, targets, FaultKind.LOST_ANSWER):
            cut: Callable[[], None] = request.scope["extensions"][CUT_EXTENSION]["cut"]
            cut()
        return Response(taken.answer, 201, media_type="application/json")

    async def call_off(self, request: Request) -> Response:
        """The bot is forgotten, wherever it is."""
        bad = await self._misbehaviour(request, self._targets(request))
        if bad is not None:
            return bad
        bot = self.bots.pop(request.path_params["bot_id"], None)
        if bot is None:
            return _unknown()
        await bot.call_off()
        return _json({"bot_id": bot.order.bot_id, "state": "called_off"}, 200)

    async def leave(self, request: Request) -> Response:
        """The bot leaves its meeting, or does not go there."""
        bad = await self._misbehaviour(request, self._targets(request))
        if bad is not None:
            return bad
        bot = self.bots.get(request.path_params["bot_id"])
        if bot is None:
            return _unknown()
        bot.leave()
        return _json({"bot_id": bot.order.bot_id, "state": bot.visitor.presence.value}, 200)

    def _signed(self, handler: Handler) -> Handler:
        """The handler, which is asked only if the request has the right signature, where the fleet has a secret."""

        async def answer(request: Request) -> Response:
            secret = self.world.fleet_secret
            signature = request.headers.get("X-Webhook-Signature", "")
            if secret is not None and not is_signed(await request.body(), signature=signature, secret=secret):
                return _refused(401, "X-Webhook-Signature is not the signature of this body")
            return await handler(request)

        return answer

    def _stage(self, order: Order) -> bytes:
        """The answer to the order. Nothing is waited for, so that a retry finds the order taken or not."""
        assert self._session is not None
        room = self.world.rooms.at_link(order.meeting_url)
        bot = FleetBot(order, world=self.world, room=room, session=self._session)
        former = self.bots.get(order.bot_id)
        if former is not None:
            former.end()
        self.bots[order.bot_id] = bot
        bot.start()
        return orjson.dumps({"bot_id": order.bot_id, "state": "staged", "room": self.world.rooms.links.to(room.code)})

    def _targets(self, request: Request) -> tuple[str, ...]:
        bot_id = request.path_params["bot_id"]
        return self.bots[bot_id].targets if bot_id in self.bots else (bot_id,)

    async def _misbehaviour(self, request: Request, targets: tuple[str, ...]) -> Response | None:
        return await misbehaviour(self.world, request, place=Place.FLEET, targets=targets, refusal=_refusal)


def _refusal(fault: Fault) -> Response:
    match fault.kind:
        case FaultKind.THROTTLED:
            answer = _refused(429, "the fleet is asked too often")
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
            return answer
        case FaultKind.REFUSED:
            return _refused(422, fault.variant or "the fleet takes no such bot")
        case _:
            return _refused(fault.status, "the fleet is out of order")


def _unknown() -> Response:
    return _refused(404, "the fleet has no such bot")


def _refused(status: int, error: str) -> Response:
    return _json({"error": error}, status)


def _json(body: object, status: int) -> Response:
    return Response(orjson.dumps(body), status, media_type="application/json")
