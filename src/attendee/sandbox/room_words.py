"""What people press on a room's page and programs say in JSON, as calls on the room: both have the same words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from attendee.sandbox.rooms import Participant, Room

# What the host says of one bot.
DECISIONS: Mapping[str, Callable[[Room, str], None]] = {
    "let-in": Room.let_in,
    "turn-away": Room.turn_away,
    "allow-recording": Room.allow_recording,
    "refuse-recording": Room.refuse_recording,
    "remove": Room.remove,
}


def act(room: Room, action: str, words: Mapping[str, Any]) -> Participant | None:
    """Does it; whoever joins by it is the answer. Raises KeyError for what is not there, ValueError for wrong words."""
    if action in DECISIONS:
        DECISIONS[action](room, str(words.get("bot", "")))
        return None
    match action:
        case "join":
            return room.join(str(words.get("name", "")))
        case "leave":
            room.go(str(words.get("participant", "")))
        case "write" | "say":
            room.utter(str(words.get("participant", "")), str(words.get("text", "")), is_said=action == "say")
        case "open" | "close":
            room.set_open(is_open=action == "open")
        case "end":
            room.end()
        case _:
            raise KeyError(f"nothing is called {action!r} here")
    return None
