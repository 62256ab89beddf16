"""Graph's ids: opaque, long, case-sensitive, and with another face for whoever asks for immutable ones.

Everything that they name is inside, so that no table has to remember what was given out: the mailbox, the calendar
(not in immutable ids, which outlive a move to another calendar), the entry, and for an occurrence its slot.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import uuid
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import IntEnum
from functools import lru_cache

from attendee.sandbox.entries import Slot

BEGINNINGS = {1: b"\x00\x03\x24\x00", 2: b"\x00\x09\x00\x2e", 3: b"\x00\x03\x24\x01"}  # AAMkA, AAkAL, AAMkA
DIGEST_SIZE = 16
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Real ids are 120 to 200 characters long; zeros at the end give them their usual `AAA=`.
SHORTEST = 92
UUIDS = uuid.UUID("5d9f8a1c-3c55-4f3e-9c1f-6b3f7a0f6c11")
UNSUITABLE = re.compile(r"[/+\s]")


class Form(IntEnum):
    """What an id is the id of."""

    EVENT = 1
    IMMUTABLE_EVENT = 2
    CALENDAR = 3


@dataclass(frozen=True, slots=True)
class Named:
    """What an id says. `folder` is a digest of the calendar's own id, empty in immutable ids."""

    form: Form
    mailbox: bytes
    folder: bytes
    name: str
    slot: Slot | None


@lru_cache(maxsize=65_536)
def event_id(mailbox: str, calendar_id: str, name: str, *, slot: Slot | None = None, immutable: bool = False) -> str:
    """The id of an event, or of the occurrence of a series in that slot."""
    form = Form.IMMUTABLE_EVENT if immutable else Form.EVENT
    return _written(form, digest(mailbox), b"" if immutable else digest(calendar_id), name, slot)


@lru_cache(maxsize=4096)
def calendar_id(mailbox: str, name: str) -> str:
    """The id of a calendar; there is no immutable form of it."""
    return _written(Form.CALENDAR, digest(mailbox), b"", name, None)


@lru_cache(maxsize=65_536)
def parse_id(text: str) -> Named | None:
    """What the id names; None if it is none: cut off, in lower case, or made up."""
    try:
        raw = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
        form = next(form for form, beginning in BEGINNINGS.items() if raw.startswith(beginning))
        mailbox, folder = raw[4:20], raw[20:36]
        end = 37 + raw[36]
        name, slot = raw[37:end].decode(), _slot(raw[end : end + 9])
    except (binascii.Error, StopIteration, IndexError, ValueError, OverflowError):
        return None
    named = Named(Form(form), mailbox, folder.strip(b"\0") and folder, name, slot)
    return named if _written(named.form, mailbox, named.folder, name, slot) == text else None


def is_suitable(text: str) -> bool:
    """False for what no id of Graph contains: what Outlook's own clients and EWS put into theirs."""
    return UNSUITABLE.search(text) is None


@lru_cache(maxsize=4096)
def digest(text: str) -> bytes:
    """A short fingerprint."""
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_SIZE).digest()


@lru_cache(maxsize=4096)
def user_id(email: str) -> str:
    """The object id of an account."""
    return str(uuid.uuid5(UUIDS, email))


@lru_cache(maxsize=4096)
def tenant_id(email: str) -> str:
    """The id of the organisation behind the address."""
    return str(uuid.uuid5(UUIDS, email.partition("@")[2]))


def _written(form: Form, mailbox: bytes, folder: bytes, name: str, slot: Slot | None) -> str:
    encoded = name.encode()
    raw = BEGINNINGS[form] + mailbox + folder.ljust(DIGEST_SIZE, b"\0") + bytes([len(encoded)]) + encoded
    raw = (raw + _slot_bytes(slot)).ljust(SHORTEST, b"\0")
    raw += b"\0" * ((2 - len(raw)) % 3)  # One `=` at the end, always.
    return base64.urlsafe_b64encode(raw).decode()


def _slot_bytes(slot: Slot | None) -> bytes:
    if slot is None:
        return b"\0" * 9
    if isinstance(slot, datetime):
        return b"\1" + ((slot - EPOCH) // timedelta(microseconds=1)).to_bytes(8, signed=True)
    return b"\2" + slot.toordinal().to_bytes(8)


def _slot(raw: bytes) -> Slot | None:
    number = int.from_bytes(raw[1:], signed=True)
    match raw[0]:
        case 1:
            return EPOCH + timedelta(microseconds=number)
        case 2:
            return date.fromordinal(number)
        case _:
            return None
