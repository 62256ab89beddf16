"""Passwords: what is accepted, and how they are kept and compared. Both take long by design, so they run in threads."""

import asyncio
import functools
import secrets

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from attendee.errors import Invalid

LEAST_CHARACTERS = 10
# Nobody's password, and long enough to keep somebody from having us hash megabytes.
_MOST_CHARACTERS = 1_000
# Each takes 64 MiB while it is being made.
_AT_ONCE = 2

_hasher = PasswordHasher()


class Passwords:
    """Makes and compares hashes, a few at a time."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def hashed(self, password: str) -> str:
        """What is stored of a password."""
        async with self._room:
            return await asyncio.to_thread(_hasher.hash, password)

    async def is_right(self, password: str, password_hash: str | None) -> bool:
        """Whether it is the password. Without a hash to compare with, it takes as long and is wrong."""
        async with self._room:
            return await asyncio.to_thread(_is_right, password[:_MOST_CHARACTERS], password_hash)


def check_new(password: str, *, again: str) -> None:
    """Raises Invalid for a password that can't be taken. Length is all that is asked for: it is what helps."""
    if len(password) < LEAST_CHARACTERS:
        raise Invalid(
            "password", f"A password has at least {LEAST_CHARACTERS} characters; a few words make a good one."
        )
    if len(password) > _MOST_CHARACTERS:
        raise Invalid("password", f"A password has at most {_MOST_CHARACTERS} characters.")
    if password != again:
        raise Invalid("again", "The two passwords are not the same.")


def _is_right(password: str, password_hash: str | None) -> bool:
    try:
        _hasher.verify(password_hash or _nobodys_hash(), password)
    except (VerificationError, InvalidHashError):
        return False
    return password_hash is not None


@functools.cache
def _nobodys_hash() -> str:
    return _hasher.hash(secrets.token_urlsafe(32))
