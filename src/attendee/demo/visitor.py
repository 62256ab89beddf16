"""Somebody at a browser, for the example application: follows its links, agrees on consent pages, presses its switches.

The cookies of one visitor are nobody else's.
"""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import aiohttp

from attendee.demo.stage import StepFailed


class Visitor:
    """All of it raises StepFailed where an answer is no page."""

    def __init__(self, application_url: str) -> None:
        self._url = application_url
        # `unsafe` takes cookies of addresses such as 127.0.0.1 too. Every request has a connection of its own, so that
        # the servers can end without waiting for us.
        self._http = aiohttp.ClientSession(
            cookie_jar=aiohttp.CookieJar(unsafe=True), connector=aiohttp.TCPConnector(force_close=True), trust_env=False
        )

    async def close(self) -> None:
        await self._http.close()

    async def sign_in(self, platform: str, *, email: str) -> "WeekPage":
        """From the application to the consent page, where this visitor agrees to everything, and back."""
        form = ConsentForm()
        page_url, text = await self._load("GET", f"{self._url}/auth/{platform}", params={"email": email})
        form.feed(text)
        _, text = await self._load("POST", page_url, data=[*form.fields, ("decision", "allow")])
        return _week(text)

    async def week(self) -> "WeekPage":
        """The application's page, as it is now."""
        return _week((await self._load("GET", f"{self._url}/"))[1])

    async def switch_on(self, path: str) -> None:
        """The switch whose form goes to this path."""
        token = (await self.week()).csrf_token
        await self._load("POST", self._url + path, data={"csrf_token": token, "wanted": "true", "week": "0"})

    async def _load(self, method: str, url: str, **options: Any) -> tuple[str, str]:
        """The page that all redirects lead to: its address and its text."""
        async with self._http.request(method, url, **options) as answer:
            text = await answer.text()
            if answer.status >= 400:
                raise StepFailed(f"{answer.url.path} was answered with {answer.status}")
            return str(answer.url), text


class ConsentForm(HTMLParser):
    """The fields that a browser would send for a form that nobody has touched."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        is_left_out = "disabled" in attributes or (
            attributes.get("type") in {"radio", "checkbox"} and "checked" not in attributes
        )
        name = attributes.get("name")
        if tag == "input" and name is not None and not is_left_out:
            self.fields.append((name, attributes.get("value") or ""))


class WeekPage(HTMLParser):
    """What the application shows of a week: by event, its start and its status; and whether it asks to reconnect."""

    def __init__(self) -> None:
        super().__init__()
        self.csrf_token = ""
        self.starts: dict[str, str] = {}
        self.statuses: dict[str, str] = {}
        self.has_alert = False
        self._event_id = ""

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        attributes: Mapping[str, str] = {name: value or "" for name, value in attrs}
        if tag == "input" and attributes.get("name") == "csrf_token":
            self.csrf_token = attributes["value"]
        elif tag == "article":
            self._event_id = attributes["id"]
            self.statuses[self._event_id] = attributes["data-status"]
        elif tag == "time":
            self.starts[self._event_id] = attributes["datetime"]
        elif attributes.get("role") == "alert":
            self.has_alert = True


def _week(text: str) -> WeekPage:
    page = WeekPage()
    page.feed(text)
    if not page.csrf_token:
        raise StepFailed("the example application did not let its user in")
    return page
