"""The pages of the meeting rooms: who is in one, live, and the buttons of its host and of people who join."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from attendee.sandbox.calendars import Standing
from attendee.sandbox.entries import as_instant
from attendee.sandbox.rendering import page, read_form, render
from attendee.sandbox.room_words import act
from attendee.sandbox.rooms import GONE, IN_MEETING, Participant, Presence, Room
from attendee.sandbox.world import World

WORDS = {
    Presence.EXPECTED: "expected",
    Presence.ASKING: "asks to join",
    Presence.WAITING: "in the waiting room",
    Presence.PRESENT: "in the meeting",
    Presence.RECORDING: "recording",
    Presence.NOT_ALLOWED_TO_RECORD: "in the meeting, may not record",
    Presence.LEFT: "left",
    Presence.TURNED_AWAY: "turned away",
    Presence.LOST: "lost",
}
# Which buttons a bot's tile has: the action, what stands on the button, and how the button looks.
BUTTONS = {
    Presence.WAITING: (("let-in", "Let in", ""), ("turn-away", "Turn away", "plain danger")),
    Presence.PRESENT: (
        ("allow-recording", "Allow recording", ""),
        ("refuse-recording", "Refuse recording", "plain"),
        ("remove", "Remove", "plain danger"),
    ),
    Presence.RECORDING: (("refuse-recording", "Stop recording", "plain"), ("remove", "Remove", "plain danger")),
    Presence.NOT_ALLOWED_TO_RECORD: (
        ("allow-recording", "Allow recording", ""),
        ("remove", "Remove", "plain danger"),
    ),
}
# A picture is shown by pages only as an image; opened by itself it can do nothing either.
PICTURE_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cache-Control": "no-store",
}


class RoomPages:
    """Every page of a room."""

    def __init__(self, world: World) -> None:
        self.world = world

    def routes(self) -> list[Route]:
        """All of them, at the root."""
        return [
            Route("/rooms", self.open, methods=["POST"]),
            Route("/rooms/{code}", self._in_room(self.room)),
            Route("/rooms/{code}/live", self._in_room(self.live)),
            Route("/rooms/{code}/bots/{bot_id}/picture", self._in_room(self.picture)),
            Route("/rooms/{code}/{action}", self._in_room(self.act), methods=["POST"]),
        ]

    async def open(self, request: Request) -> Response:
        """A new room, or the one whose code or link was typed."""
        rooms = self.world.rooms
        typed = (await read_form(request)).get("room", "").strip() or rooms.links.new()
        try:
            room = rooms.at_link(typed) if "/" in typed else rooms.at(typed)
        except ValueError as wrong:
            return page("problem.html", status=400, problem=f"That does not work: {wrong}.", back="/")
        return RedirectResponse(_address(room, None), 303)

    async def room(self, request: Request, room: Room) -> Response:
        """Who is in the room now, and what may be done."""
        me = _me(request, room)
        values = _values(room, me=me, meeting=self.world.rooms.meeting(room.code))
        return page("room.html", **values, link=self.world.rooms.links.to(room.code))

    async def live(self, request: Request, room: Room) -> Response:
        """The changing part of the page, now and at every change, as server-sent events."""

        async def changes() -> AsyncIterator[str]:
            with room.watched() as bell:
                while not self.world.rooms.is_closed:
                    me = _me(request, room)
                    values = _values(room, me=me, meeting=self.world.rooms.meeting(room.code))
                    lines = render("room_live.html", **values).splitlines()
                    yield "".join(f"data: {line}\n" for line in lines) + "\n"
                    await bell.wait()
                    bell.clear()

        return StreamingResponse(changes(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def picture(self, request: Request, room: Room) -> Response:
        """A bot's picture, as nothing but a picture."""
        visitor = room.visitors.get(request.path_params["bot_id"])
        if visitor is None or visitor.picture is None:
            return page("problem.html", status=404, problem="That bot has brought no picture.", back="/")
        return Response(visitor.picture.content, media_type=visitor.picture.type, headers=PICTURE_HEADERS)

    async def act(self, request: Request, room: Room) -> Response:
        """What a button does; back to the room after it."""
        form = await read_form(request)
        address = _address(room, form.get("participant"))
        try:
            joined = act(room, request.path_params["action"], form)
        except KeyError as missing:
            problem = f"That is not possible: {missing.args[0]}."
            return page("problem.html", status=404, problem=problem, back=address)
        except ValueError as wrong:
            return page("problem.html", status=400, problem=f"That does not work: {wrong}.", back=address)
        return RedirectResponse(_address(room, joined.id) if joined else address, 303)

    def _in_room(
        self, handler: Callable[[Request, Room], Awaitable[Response]]
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            try:
                room = self.world.rooms.at(request.path_params["code"])
            except ValueError as wrong:
                return page("problem.html", status=404, problem=f"There is no such room: {wrong}.", back="/")
            return await handler(request, room)

        return answer


def _me(request: Request, room: Room) -> Participant | None:
    """The person whose page it is, as long as that person is in the room."""
    return room.participants.get(request.query_params.get("as", ""))


def _values(room: Room, *, me: Participant | None, meeting: Standing | None) -> dict[str, Any]:
    zone = ZoneInfo(meeting.details.zone if meeting else "UTC")
    return {
        "room": room,
        "me": me,
        "live_address": _address(room, me.id if me else None, "/live"),
        "tiles": [
            {
                "visitor": visitor,
                "is_in": visitor.presence in IN_MEETING,
                "is_gone": visitor.presence in GONE,
                "words": WORDS[visitor.presence],
                "buttons": BUTTONS.get(visitor.presence, ()),
            }
            for visitor in sorted(room.visitors.values(), key=lambda one: one.presence in GONE)
        ],
        "zone": zone,
        "meeting": None if meeting is None else {"title": meeting.details.title, "times": _times(meeting, zone)},
    }


def _times(meeting: Standing, zone: ZoneInfo) -> str:
    starts, ends = (as_instant(moment, zone=zone.key) for moment in (meeting.details.starts, meeting.details.ends))
    return f"{starts.astimezone(zone):%H:%M}–{ends.astimezone(zone):%H:%M}"


def _address(room: Room, participant_id: str | None, below: str = "") -> str:
    me = participant_id if participant_id in room.participants else None
    return f"/rooms/{room.code}{below}" + (f"?{urlencode({'as': me})}" if me else "")
