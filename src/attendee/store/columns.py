"""Column types that keep a promise: instants that are aware, JSON that is text, secrets that are sealed."""

import base64
import binascii
import hashlib
import secrets
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import BigInteger, CheckConstraint, DateTime, Dialect, LargeBinary, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_KEY_BYTES = 32
KEY_ID_BYTES = 4
_NONCE_BYTES = 12


class UtcDateTime(TypeDecorator[datetime]):
    """An aware instant in UTC, to the microsecond, on both databases. A naive value is refused.

    SQLite has no type for it and would give naive values back, so there it is a count of microseconds since 1970,
    which also sorts and compares as it should.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        if dialect.name == "sqlite":
            return dialect.type_descriptor(BigInteger())
        return dialect.type_descriptor(DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        if value is None:
            return None
        if value.tzinfo is None:
            message = f"A naive datetime can't be stored: {value!r}."
            raise ValueError(message)
        if dialect.name == "sqlite":
            return (value - _EPOCH) // _MICROSECOND
        return value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None]:  # noqa: ARG002  # the base class names it
        """Not by `process_result_value`, which is asked by way of two functions more for each of a row's many times."""
        return _from_microseconds if dialect.name == "sqlite" else _in_utc


# The instants of a page's events are mostly those of others: all of a sync have one stamp, meetings begin on the hour.
@lru_cache(maxsize=4096)
def _from_microseconds(count: int | None) -> datetime | None:
    return None if count is None else _EPOCH + timedelta(microseconds=count)


def _in_utc(instant: datetime | None) -> datetime | None:
    """Asyncpg answers in UTC, but takes the ends of the calendar for infinity and gives them back naive."""
    return instant if instant is None or instant.tzinfo is UTC else instant.replace(tzinfo=UTC)


class Json(TypeDecorator[Any]):
    """A JSON value, kept as text: both databases give it back as it was, and NUL characters inside stay escaped."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002  # the base class names it
        return None if value is None else orjson.dumps(value).decode()

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002  # the base class names it
        return None if value is None else orjson.loads(value)


class Sealed(bytes):
    """An encrypted secret. It opens only with the key ring, and only as the column and row that it was sealed for."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "Sealed(***)"


class SealedText(TypeDecorator[Sealed]):
    """A column of sealed secrets."""

    impl = LargeBinary
    cache_ok = True

    def process_result_value(self, value: Any, dialect: Dialect) -> Sealed | None:  # noqa: ARG002  # the base class names it
        return None if value is None else Sealed(value)


def token_hash(token: str) -> str:
    """How a key, token or link of ours is kept, which is only ever compared: with 256 random bits it needs no salt."""
    return sha256(token.encode()).hexdigest()


class WrongKey(Exception):
    """A sealed value does not open with any of the keys, or it was sealed for another row."""


class KeyRing:
    """Seals and opens secrets with AES-256-GCM; the first key seals, every key opens.

    Each value carries the id of its key in front, and is bound to its table, column and row: copied to another row, it
    does not open there.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        """`keys` are 32 bytes each, in base64. Raises ValueError, with a text for the operator, for anything else."""
        if not keys:
            message = "at least one key is needed; `attendee encryption generate` makes one"
            raise ValueError(message)
        self._ciphers: dict[bytes, AESGCM] = {}
        for number, text in enumerate(keys, start=1):
            key = _decode_key(text, number=number)
            self._ciphers[_key_id(key)] = AESGCM(key)
        self.sealing_id = next(iter(self._ciphers))

    @staticmethod
    def generate_key() -> str:
        """A new key, in the form that the constructor takes."""
        return base64.b64encode(secrets.token_bytes(_KEY_BYTES)).decode()

    @property
    def names(self) -> Sequence[str]:
        """A name for each key, the sealing one first. It tells an installation from another, and nothing of the key."""
        return [hashlib.sha256(b"name of key " + key_id).hexdigest()[:12] for key_id in self._ciphers]

    def seal(self, secret: str, *, table: str, column: str, row_id: str) -> Sealed:
        nonce = secrets.token_bytes(_NONCE_BYTES)
        sealed = self._ciphers[self.sealing_id].encrypt(nonce, secret.encode(), _bound_to(table, column, row_id))
        return Sealed(self.sealing_id + nonce + sealed)

    def open(self, sealed: Sealed, *, table: str, column: str, row_id: str) -> str:
        """The secret. Raises WrongKey."""
        key_id, rest = bytes(sealed[:KEY_ID_BYTES]), bytes(sealed[KEY_ID_BYTES:])
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            message = f"{table}.{column} was encrypted with a key that is not among ATTENDEE_ENCRYPTION_KEYS."
            raise WrongKey(message)
        try:
            opened = cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _bound_to(table, column, row_id))
        except InvalidTag:
            message = f"{table}.{column} does not open: it was changed, or sealed for another row."
            raise WrongKey(message) from None
        return opened.decode()

    def knows(self, sealed: Sealed) -> bool:
        """Whether the key that sealed it is among these."""
        return bytes(sealed[:KEY_ID_BYTES]) in self._ciphers

    def is_current(self, sealed: Sealed) -> bool:
        """Whether the first key sealed it, as it would now."""
        return bytes(sealed[:KEY_ID_BYTES]) == self.sealing_id

    def __repr__(self) -> str:
        return f"KeyRing({len(self._ciphers)} keys, ***)"


def _decode_key(text: str, *, number: int) -> bytes:
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != _KEY_BYTES:
        message = f"key {number} is not 32 bytes in base64; `attendee encryption generate` makes one"
        raise ValueError(message)
    return key


def _key_id(key: bytes) -> bytes:
    return sha256(b"attendee key id" + key).digest()[:KEY_ID_BYTES]


def _bound_to(table: str, column: str, row_id: str) -> bytes:
    return f"{table}.{column}:{row_id}".encode()


def one_of(column: str, states: type[StrEnum]) -> CheckConstraint:
    """A CHECK that the column holds one of these states and nothing else."""
    allowed = ", ".join(f"'{state.value}'" for state in states)
    return CheckConstraint(f"{column} IN ({allowed})", name=f"{column}_known")
