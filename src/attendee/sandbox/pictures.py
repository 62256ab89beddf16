"""The pictures that bots bring along: taken only if they are what they say, and shown as nothing but pictures."""

from __future__ import annotations

import binascii
from base64 import b64decode
from dataclasses import dataclass
from typing import Any

BEGINNINGS = {"image/png": b"\x89PNG\r\n\x1a\n", "image/jpeg": b"\xff\xd8\xff"}
LARGEST = 2 * 1024 * 1024


class NoPicture(Exception):
    """What should be a picture is none that is shown; the text says why."""


@dataclass(frozen=True, slots=True)
class Picture:
    """The bytes of an image, and the type under which they are to be served."""

    type: str
    content: bytes


def parse_picture(bot_image: Any) -> Picture:
    """The picture in a bot's `bot_image`: `{"type": "image/png", "data": "<base64>"}`. Raises NoPicture."""
    if not isinstance(bot_image, dict) or not isinstance(bot_image.get("data"), str):
        raise NoPicture('a picture is an object with "type" and "data"')
    type_ = bot_image.get("type")
    if type_ not in BEGINNINGS:
        raise NoPicture(f"a picture's type is one of {', '.join(BEGINNINGS)}")
    try:
        content = b64decode(bot_image["data"], validate=True)
    except binascii.Error:
        raise NoPicture("a picture's data is base64") from None
    if len(content) > LARGEST:
        raise NoPicture(f"a picture has at most {LARGEST} bytes")
    if not content.startswith(BEGINNINGS[type_]):
        raise NoPicture(f"the picture's data is no {type_}")
    return Picture(type_, content)
