"""A Google that costs next to nothing, as a process of its own: `python -m bench.fake_platform`.

It knows one calendar for everybody. A sync token gets no change, or with `--changes` one changed event each time; a
listing gets `--events` events, four of each series, and every listing has meeting links of its own: what is remembered
of other calendars helps no sync. Under /bench it tells what it was asked.
"""

import argparse
import re
import time
from datetime import timedelta
from string import ascii_lowercase
from typing import Any

import orjson
import uvloop

from attendee import clock
from attendee.clock import written
from bench.loopback import Request, listen

_TOKEN = orjson.dumps({"access_token": "ya29.bench", "expires_in": 3599, "token_type": "Bearer"})
# As many events as Google gives at once, and as many hours as lie in the window that is synced.
_PAGE = 1_000
_HOURS = 600
_OCCURRENCES = 4


class FakePlatform:
    """Answers what a sync and a push channel ask."""

    def __init__(self, *, events: int, changes: bool) -> None:
        starts = range(0, max(1, events), _PAGE)
        self._listing = [
            _page(
                [_event(number, "Weekly planning") for number in range(start, min(start + _PAGE, events))],
                next_page=page if page < len(starts) else None,
            )
            for page, start in enumerate(starts, start=1)
        ]
        self._quiet = _page([])
        self._changes = changes
        self._syncs = 0
        self._first_at = self._last_at = 0.0
        self._channels: list[dict[str, str]] = []

    def answer(self, request: Request) -> bytes:
        path, _, query = request.target.partition("?")
        match request.method, path.rsplit("/", 1)[-1]:
            case "GET", "events":
                page = re.search(r"pageToken=page(\d+)", query)
                return self._own_links(int(page[1])) if page else self._answer_sync(uses_cursor="syncToken=" in query)
            case "POST", "token":
                return _TOKEN
            case "POST", "watch":
                return self._open(orjson.loads(request.body))
            case "GET", "channels":
                return orjson.dumps(self._channels)
            case "GET", "syncs":
                return orjson.dumps({"count": self._syncs, "seconds": self._last_at - self._first_at})
            case "POST", "forget":
                self._syncs = 0
        return b"{}"

    def _answer_sync(self, *, uses_cursor: bool) -> bytes:
        self._last_at = time.perf_counter()
        if not self._syncs:
            self._first_at = self._last_at
        self._syncs += 1
        if not uses_cursor:
            return self._own_links(0)
        if not self._changes:
            return self._quiet
        return _page([_event(0, f"Weekly planning, version {self._syncs}")])

    def _own_links(self, page: int) -> bytes:
        return self._listing[page].replace(b"abc-", _letters(self._syncs, 3).encode() + b"-")

    def _open(self, wanted: dict[str, Any]) -> bytes:
        self._channels.append({"id": wanted["id"], "token": wanted["token"]})
        ends = clock.now() + timedelta(days=7)
        return orjson.dumps(
            {"id": wanted["id"], "resourceId": "resource", "expiration": str(round(ends.timestamp() * 1000))}
        )


def _page(items: list[dict[str, Any]], *, next_page: int | None = None) -> bytes:
    """The last page of an answer, unless another follows."""
    more = {"nextPageToken": f"page{next_page}"} if next_page else {"nextSyncToken": "CPDAlvWDx70CEPDAlvWDx70CGAU="}
    return orjson.dumps(
        {"kind": "calendar#events", "summary": "someone@example.com", "timeZone": "UTC", "items": items} | more
    )


def _event(number: int, title: str) -> dict[str, Any]:
    link = f"https://meet.google.com/abc-{_letters(number // _OCCURRENCES, 4)}-hij"
    start = clock.now().replace(minute=0, second=0, microsecond=0) + timedelta(days=1, hours=number % _HOURS)
    return {
        "kind": "calendar#event",
        "etag": '"3181161784712000"',
        "id": f"benchevent{number:05}",
        "status": "confirmed",
        "htmlLink": "https://www.google.com/calendar/event?eid=YmVuY2g",
        "created": written(start),
        "updated": written(start),
        "summary": title,
        "description": "What we did, what we do next, who needs help. " * 4,
        "creator": {"email": "someone@example.com", "self": True},
        "organizer": {"email": "someone@example.com", "self": True},
        "start": {"dateTime": start.isoformat(), "timeZone": "UTC"},
        "end": {"dateTime": (start + timedelta(minutes=30)).isoformat(), "timeZone": "UTC"},
        "iCalUID": f"benchevent{number:05}@google.com",
        "sequence": 0,
        "attendees": [
            {"email": f"guest{guest}@example.com", "responseStatus": "accepted", "displayName": f"Guest {guest}"}
            for guest in range(5)
        ],
        "hangoutLink": link,
        "conferenceData": {
            "entryPoints": [{"entryPointType": "video", "uri": link}],
            "conferenceId": link[-12:],
        },
        "reminders": {"useDefault": True},
        "eventType": "default",
    }


def _letters(number: int, count: int) -> str:
    """The number in so many letters."""
    return "".join(ascii_lowercase[number // 26**place % 26] for place in reversed(range(count)))


async def _serve(*, events: int, changes: bool, seconds: float) -> None:
    server, address = await listen(FakePlatform(events=events, changes=changes).answer, seconds=seconds)
    print(address, flush=True)  # noqa: T201  # the process that started us reads it
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=0)
    parser.add_argument("--changes", action="store_true")
    parser.add_argument("--seconds", type=float, default=0)
    arguments = parser.parse_args()
    uvloop.run(_serve(events=arguments.events, changes=arguments.changes, seconds=arguments.seconds))
