"""What any platform's answers need before they can be understood: bounded reading, forgiving JSON, digests.

A platform's own words (paths, field names, reasons) stay in that platform's module.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import aiohttp
import orjson
from yarl import URL

from attendee.outgoing import asked_to_wait, hushed
from attendee.providers.port import ProviderDown, UnexpectedAnswer

MAX_ANSWER_BYTES = 64 * 1024 * 1024

# 45 s is less than a claim lasts (60 s), so a platform that hangs is given up before another worker takes over. The
# limit on connecting leaves out the wait for a free connection of ours: a crowd here is no trouble of the platform's.
TIMEOUT = aiohttp.ClientTimeout(total=45, sock_connect=10)

MAX_TEXT_LENGTH = 8_000

# Nothing but these can differ in an event that looks the same to everybody: they are kept out of the fingerprint.
VOLATILE_KEYS = frozenset(
    {"etag", "updated", "sequence", "reminders", "@odata.etag", "changeKey", "lastModifiedDateTime"}
)

# More than any platform's ids take (Google's have at most 1024 characters), less than an index row of PostgreSQL holds.
_MAX_ID_BYTES = 2_000

# A little deeper than what can be written again (254 levels), so that the event that has it is set aside.
_DEEPEST = 300
_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{}]', re.DOTALL)

# Platforms' stand-ins for "no time" are in the first and the last year that there are. An event that really was there
# could not be counted with either: a moment before its start, and its end in a zone further east, don't exist.
PLACEHOLDER_YEARS = frozenset({1, 9999})
_SHORTEST_TIME = len("2026-12-01T15:00")
_QUOTED_LENGTH = 300


class Unusable(Exception):
    """Why an event can't be stored, as a sentence."""


class FindMeetingUrl(Protocol):
    """`meetings.find_meeting_url`, or the same with hosts of the operator's own."""

    def __call__(self, *, conference: Sequence[str], location: str, body: str, title: str) -> str | None:
        """The first meeting link, normalised; None without one."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer: read to its end, decompressed, of whatever status."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> timedelta | None:
        """How long the platform asks us to wait, at most a day; None without a word that can be understood."""
        return asked_to_wait(self.headers)


async def fetch(
    http: aiohttp.ClientSession,
    method: str,
    url: URL,
    *,
    platform: str,
    headers: Mapping[str, str] | None = None,
    data: Mapping[str, str] | bytes | None = None,
    limits: aiohttp.ClientTimeout = TIMEOUT,
) -> Answer:
    """The whole answer; redirects are not followed. `platform` is its name for people, in messages.

    Raises ProviderDown when there is no whole answer in time, UnexpectedAnswer when it is larger than 64 MiB.
    """
    try:
        async with http.request(
            method, url, headers=headers, data=data, timeout=limits, allow_redirects=False
        ) as response:
            chunks: list[bytes] = []
            length = 0
            async for chunk in response.content.iter_any():
                length += len(chunk)
                if length > MAX_ANSWER_BYTES:
                    response.close()
                    raise UnexpectedAnswer(f"{platform} sent more than {MAX_ANSWER_BYTES // 2**20} MiB in one answer.")
                chunks.append(chunk)
            body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            return Answer(response.status, response.headers, body)
    except TimeoutError as error:
        raise ProviderDown(f"{platform} did not answer in time.") from error
    except aiohttp.ClientConnectorError as error:  # Its text names host and port and what the system said of them.
        raise ProviderDown(f"{platform} can't be reached: {error}") from error
    except (aiohttp.ClientError, OSError) as error:
        raise ProviderDown(f"The connection to {platform} broke ({type(error).__name__}).") from error


def decode_json(body: bytes) -> Any:
    """The value; text in it has no lone surrogates. Raises ValueError when the body is not JSON.

    What the fast decoder refuses (lone surrogates, bytes that are no UTF-8, NaN) goes through a forgiving one; of what
    is nested deeper than anything we could keep, what is too deep becomes null.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body.decode("utf-8-sig", errors="replace")
    try:
        return _forgivingly_decoded(text)
    except RecursionError:
        return _forgivingly_decoded(_without_depths(text))


def decode_object(answer: Answer, *, platform: str) -> dict[str, Any]:
    """The object that the answer's body is. Raises UnexpectedAnswer for any other body."""
    try:
        body = decode_json(answer.body)
    except ValueError as error:
        raise UnexpectedAnswer(f"{platform} sent something that isn't JSON.") from error
    if not isinstance(body, dict):
        raise UnexpectedAnswer(f"{platform} sent JSON that is no object.")
    return body


def _forgivingly_decoded(text: str) -> Any:
    return _scrub(json.loads(text, parse_int=_parse_int, parse_constant=lambda _: None))


def _without_depths(text: str) -> str:
    """The JSON with `null` for everything that is nested too deeply, so that nothing around it is lost."""
    kept: list[str] = []
    depth = kept_until = 0
    for mark in _STRING_OR_BRACKET.finditer(text):
        if mark[0] in {"[", "{"}:
            depth += 1
            if depth == _DEEPEST + 1:
                kept += text[kept_until : mark.start()], "null"
        elif mark[0] in {"]", "}"}:
            depth -= 1
            if depth == _DEEPEST:
                kept_until = mark.end()
    if depth <= _DEEPEST:
        kept.append(text[kept_until:])
    return "".join(kept)


def _parse_int(digits: str) -> int | float:
    # As orjson does: what doesn't fit 64 bits becomes a float, since it couldn't be written again otherwise.
    return int(digits) if len(digits) < 19 else float(digits)


def _scrub(value: Any) -> Any:
    if isinstance(value, str):
        return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_scrub(entry) for entry in value]
    if isinstance(value, dict):
        return {_scrub(key): _scrub(entry) for key, entry in value.items()}
    return value


def parse_id(value: object) -> str | None:
    """The platform's id of something as it is; None for what can't be one (not text, empty, absurdly long, dots)."""
    # A dot or two as a part of an address are taken out of it on the way, and something else would be asked for.
    if not isinstance(value, str) or not value or "\0" in value or value in {".", ".."}:
        return None
    return value if len(value.encode(errors="replace")) <= _MAX_ID_BYTES else None


def parse_text(value: object) -> str:
    """Text as PostgreSQL can hold it, whole: a number becomes its digits, what is no scalar the empty text."""
    if isinstance(value, str):
        return value.replace("\0", "")
    return str(value) if isinstance(value, int | float) else ""


def parse_time(text: object) -> datetime | None:
    """The time as it is written, naive where it has no offset; None for anything that isn't one."""
    # Python would read a date alone as its midnight, which nobody has said; RFC 3339's small t and z it doesn't know.
    if not isinstance(text, str) or len(text) < _SHORTEST_TIME:
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def rfc3339(instant: datetime) -> str:
    """The instant as both platforms take it in a request: whole seconds, UTC, Z."""
    return instant.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def find_zone(name: object) -> ZoneInfo | None:
    """The zone of this IANA name."""
    if not isinstance(name, str) or not name:
        return None
    try:
        return ZoneInfo(name)
    except (LookupError, OSError, ValueError):  # OSError: the name of a folder of zones, or one too long for a file.
        return None


def objects_in(value: object) -> list[dict[str, Any]]:
    """The objects in what should be a list of them."""
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def cut(text: str) -> str:
    """The text as far as it is kept."""
    return text[:MAX_TEXT_LENGTH]


def with_texts_cut(item: dict[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """The item with the texts under these keys cut; itself where all are short."""
    long = {key: cut(text) for key in keys if isinstance(text := item.get(key), str) and len(text) > MAX_TEXT_LENGTH}
    return {**item, **long} if long else item


def dump_raw(item: dict[str, Any]) -> str:
    """The item as JSON, in its own order. Raises TypeError for what JSON can't hold (254 levels, lone surrogates)."""
    return orjson.dumps(item).decode()


def fingerprint(item: dict[str, Any], *derived: object) -> str:
    """A digest (128 bits, hexadecimal) over the item without its volatile keys, and over what was derived from it."""
    visible = {key: value for key, value in item.items() if key not in VOLATILE_KEYS}
    return blake2b(orjson.dumps([visible, derived], option=orjson.OPT_SORT_KEYS), digest_size=16).hexdigest()


def quoted(text: object, *, secrets: Iterable[str] = ()) -> str:
    """A platform's own words for one of our messages: one short line, without the secrets that it may have echoed."""
    return hushed(" ".join(parse_text(text).split()), secrets)[:_QUOTED_LENGTH]
