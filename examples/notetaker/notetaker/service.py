"""The calls to the service that this application needs, and nothing else of its API."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import aiohttp

Json = dict[str, Any]


class ServiceRefused(Exception):
    """The service answered 4xx: asking again in the same way is no use."""

    def __init__(self, status: int, body: Json) -> None:
        super().__init__(f"{status}: {body}")
        self.status = status
        self.body = body


class ServiceTrouble(Exception):
    """The service can't be reached, or asks to be left alone for a while: worth asking again."""


class Service:
    """Speaks with the service as one project. All methods raise ServiceRefused and ServiceTrouble."""

    def __init__(self, http: aiohttp.ClientSession, url: str, api_key: str) -> None:
        self._http = http
        self._base = f"{url}/api/v1"
        self._headers = {"Authorization": f"Token {api_key}"}

    async def create_calendar(self, new: Json) -> Json:
        return await self._ask("POST", "/calendars", body=new)

    async def find_calendar(self, calendar_id: str) -> Json | None:
        return await self._find(f"/calendars/{calendar_id}")

    async def find_calendar_by_key(self, deduplication_key: str) -> Json | None:
        found = await self._ask("GET", "/calendars", query={"deduplication_key": deduplication_key})
        return next(iter(found["results"]), None)

    async def change_calendar(self, calendar_id: str, change: Json) -> Json:
        return await self._ask("PATCH", f"/calendars/{calendar_id}", body=change)

    async def delete_calendar(self, calendar_id: str) -> None:
        await self._ask("DELETE", f"/calendars/{calendar_id}")

    async def event_pages(self, calendar_id: str, *, updated_after: str | None) -> AsyncIterator[Sequence[Json]]:
        """The calendar's events that changed at or after that instant (None: all), those changed first at the front."""
        query = {"calendar_id": calendar_id, "ordering": "updated_at"}
        if updated_after is not None:
            query["updated_after"] = updated_after
        page = await self._ask("GET", "/calendar_events", query=query)
        yield page["results"]
        while page["next"]:
            page = await self._ask("GET", page["next"].removeprefix(self._base))
            yield page["results"]

    async def create_bot(self, new: Json) -> Json:
        return await self._ask("POST", "/bots", body=new)

    async def find_bot(self, bot_id: str) -> Json | None:
        return await self._find(f"/bots/{bot_id}")

    async def find_bot_by_key(self, deduplication_key: str) -> Json | None:
        """The newest bot with this key; the older ones have finished."""
        found = await self._ask("GET", "/bots", query={"deduplication_key": deduplication_key})
        return found["results"][-1] if found["results"] else None

    async def delete_bot(self, bot_id: str) -> None:
        await self._ask("DELETE", f"/bots/{bot_id}")

    async def leave(self, bot_id: str) -> Json:
        return await self._ask("POST", f"/bots/{bot_id}/leave")

    async def _find(self, path: str) -> Json | None:
        try:
            return await self._ask("GET", path)
        except ServiceRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def _ask(
        self, method: str, path: str, *, query: Mapping[str, str] | None = None, body: Json | None = None
    ) -> Json:
        try:
            async with self._http.request(
                method, self._base + path, params=query, json=body, headers=self._headers
            ) as answer:
                if answer.status >= 500 or answer.status == 429:
                    raise ServiceTrouble(f"{method} {path} was answered with {answer.status}")
                content: Json = await answer.json(content_type=None) or {}
        except (aiohttp.ClientError, TimeoutError, ValueError) as trouble:
            raise ServiceTrouble(f"{method} {path}: {trouble!r}") from trouble
        if answer.status >= 400:
            raise ServiceRefused(answer.status, content)
        return content
