"""The story: a user connects a calendar, bots follow its events, the user withdraws consent.

Every step is asked of the service over REST, or heard from it by webhook, before it is told.
"""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import aiohttp
from rich.console import Console
from rich.markup import escape

from attendee import clock
from attendee.demo.application import CLIENT, Application, Webhook, running_application
from attendee.demo.stage import Stage, StepFailed, until
from attendee.startup import CannotStart

_AHEAD = timedelta(days=7)
_MOVED_BY = timedelta(hours=2)
_INTERRUPTED = 130


async def tell_story(*, once: bool) -> int:
    """The exit status: 0 once the story is told (with `once`, else once it is interrupted), 130 if it never was.

    Raises CannotStart, naming the step, when one did not happen. Nothing is left behind in any case.
    """
    with interrupted() as stop, TemporaryDirectory(prefix="attendee-demo-") as directory:
        console = Console(highlight=False, soft_wrap=True)
        # Every request has a connection of its own, so that the servers can end without waiting for us.
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as http:
            stage = Stage(Path(directory), console, http)
            playing = asyncio.create_task(_play(stage, once=once))
            lost = asyncio.create_task(stage.lost_process())
            stopped = asyncio.create_task(stop.wait())
            tasks: Sequence[asyncio.Task[Any]] = (playing, lost, stopped)
            try:
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                if playing.done():
                    return playing.result()
                if lost.done():
                    raise CannotStart(lost.result())
                return 0 if stage.is_told else _INTERRUPTED
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await stage.end()
                console.print("Everything has ended; nothing was left behind.")


@contextmanager
def interrupted() -> Generator[asyncio.Event]:
    """An event that Ctrl-C, SIGTERM and a closed terminal set. Impatience does not cut the ending short."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    for one in signals:
        loop.add_signal_handler(one, stop.set)
    try:
        yield stop
    finally:
        for one in signals:
            loop.remove_signal_handler(one)


async def _play(stage: Stage, *, once: bool) -> int:
    began = time.monotonic()
    stage.console.print("\n[bold]attendee[/]: calendars in sync, and bots that follow their events\n")
    await stage.tell("The sandbox starts", stage.start_sandbox)
    await stage.tell("The service starts", stage.start_service)
    google_url = f"{stage.sandbox_url}/google"
    async with running_application(stage.http, service_url=stage.service_url, google_url=google_url) as application:
        story = Story(stage, application)
        for title, step in story.steps():
            await stage.tell(title, step)
        stage.is_told = True
        stage.console.print(f"\nTold in {time.monotonic() - began:.0f} seconds; every step was seen to happen.")
        if not once:
            await story.stay()
    return 0


class Story:
    """One user, one calendar, and what becomes of both."""

    def __init__(self, stage: Stage, application: Application) -> None:
        self._stage = stage
        self._application = application
        self._person: dict[str, Any] = {}
        self._zone = ZoneInfo("UTC")
        self._refresh_token = ""
        self._calendar_id = ""
        self._events: Sequence[Any] = ()
        # By the id of their event.
        self._bots: dict[str, Any] = {}

    def steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[str]]]]:
        return (
            ("An application gets its project", self.set_up),
            ("A user gives consent", self.consent),
            ("The calendar is connected", self.connect),
            ("The events are synced", self.sync),
            ("Bots are scheduled", self.schedule),
            ("An event is moved", self.move),
            ("An event is cancelled", self.cancel),
            ("Consent is revoked", self.revoke),
            ("Consent is given again", self.reconnect),
        )

    async def set_up(self) -> str:
        project = await self._stage.run("projects", "create", "demo")
        key, webhook = await asyncio.gather(
            self._stage.run("keys", "create", "--project", project["name"]),
            self._stage.run(
                *("webhooks", "create", "--project", project["name"], "--url", f"{self._application.url}/webhooks"),
                *("--trigger", "calendar.events_update", "--trigger", "calendar.state_change"),
            ),
        )
        self._application.key = key["key"]
        self._application.webhook_secret = webhook["secret"]
        return "An application has a project, a key to the API, and a webhook"

    async def consent(self) -> str:
        people = await self._sandbox("GET", "/people")
        self._person = next(person for person in people if person["platform"] == "google")
        self._zone = ZoneInfo(self._person["calendars"][0]["zone"])
        self._refresh_token = await self._application.ask_consent(self._person["email"])
        return f"{self._name} gave consent on Google's page; the application exchanged the code for a refresh token"

    async def connect(self) -> str:
        new = CLIENT | {
            "platform": "google",
            "refresh_token": self._refresh_token,
            "deduplication_key": self._person["email"],
        }
        calendar = await self._application.call("POST", "/calendars", new)
        self._calendar_id = calendar["id"]
        await self._application.webhook(self._is_events_update)
        calendar = await self._calendar()
        if calendar["state"] != "connected" or calendar["last_successful_sync_at"] is None:
            raise StepFailed(f"the calendar is {calendar['state']}: {calendar['connection_failure_data']}")
        return f"The calendar is connected ([dim]{self._calendar_id}[/]), and a webhook says that it has news"

    async def sync(self) -> str:
        self._events = await self._application.everything(f"/calendar_events?calendar_id={self._calendar_id}")
        linked = [event for event in self._events if event["meeting_url"]]
        if not linked:
            raise StepFailed(f"{len(self._events)} events were synced, none of them with a meeting link")
        return f"{len(self._events)} events are synced, {len(linked)} of them with a meeting link"

    async def schedule(self) -> str:
        now = clock.now()
        for event in self._events:
            if event["meeting_url"] and now < datetime.fromisoformat(event["start_time"]) < now + _AHEAD:
                new = {
                    "bot_name": "Notetaker",
                    "calendar_event_id": event["id"],
                    "deduplication_key": event["id"],
                }
                self._bots[event["id"]] = await self._application.call("POST", "/bots", new)
        wrong = [bot for bot in self._bots.values() if bot["state"] != "scheduled"]
        if wrong or not self._bots:
            raise StepFailed(f"of {len(self._bots)} bots, {len(wrong)} are not scheduled")
        return f"{len(self._bots)} bots are scheduled, one for each meeting of the next {_AHEAD.days} days"

    async def move(self) -> str:
        event = self._single_meetings()[-1]
        start_at = datetime.fromisoformat(event["start_time"])
        goal = start_at + _MOVED_BY
        change = {
            "starts": goal.isoformat(),
            "ends": (datetime.fromisoformat(event["end_time"]) + _MOVED_BY).isoformat(),
        }
        await self._sandbox("PATCH", self._entry(event), change)
        await self._application.webhook(lambda one: event["id"] in _event_ids(one, "updated"))
        bot = await self._application.call("GET", f"/bots/{self._bots[event['id']]['id']}")
        if bot is None or datetime.fromisoformat(bot["join_at"]) != goal:
            raise StepFailed(f"the event was moved to {goal}, but its bot is {bot}")
        return (
            f"{self._name} moved {_title(event)} from {self._time(start_at)} to {self._time(goal)}; "
            f"its bot joins at {self._time(datetime.fromisoformat(bot['join_at']))}"
        )

    async def cancel(self) -> str:
        event = self._single_meetings()[0]
        await self._sandbox("DELETE", self._entry(event))
        await self._application.webhook(lambda one: event["id"] in _event_ids(one, "deleted"))
        bot = await self._application.call("GET", f"/bots/{self._bots[event['id']]['id']}")
        if bot is not None:
            raise StepFailed(f"the event is cancelled, but its bot is {bot['state']}")
        return f"{self._name} cancelled {_title(event)}; its bot is gone"

    async def revoke(self) -> str:
        before = await self._application.everything("/bots?states=scheduled")
        await self._sandbox("POST", f"/people/{quote(self._person['email'])}/revoke")
        webhook = await self._application.webhook(
            lambda one: one["trigger"] == "calendar.state_change" and one["calendar_id"] == self._calendar_id
        )
        after = await self._application.everything("/bots?states=scheduled")
        state = webhook["data"]["state"]
        if state != "disconnected" or after:
            raise StepFailed(f"consent was revoked, but the calendar is {state} and {len(after)} bots are scheduled")
        code = webhook["data"]["connection_failure_data"]["code"]
        told = f"the calendar is disconnected ([dim]{code}[/]) and its {len(before)} bots are gone"
        return f"{self._name} revoked consent; {told}"

    async def reconnect(self) -> str:
        self._refresh_token = await self._application.ask_consent(self._person["email"])
        change = {"refresh_token": self._refresh_token}
        await self._application.call("PATCH", f"/calendars/{self._calendar_id}", change)

        async def connected() -> bool | None:
            return (await self._calendar())["state"] == "connected" or None

        await until(connected)
        return f"{self._name} gave consent again; the calendar is connected again"

    async def stay(self) -> None:
        """Tells of webhooks as they arrive, for as long as nobody interrupts."""
        console, page = self._stage.console, f"{self._stage.sandbox_url}/people/{quote(self._person['email'])}"
        console.print("\nService and sandbox stay up. Open these addresses:\n")
        console.print(f"  {page}  [dim]the calendar: change it, and hear of it below[/]")
        console.print(f"  {self._stage.service_url}/docs  [dim]the API; its key is[/] Token {self._application.key}")
        console.print("\nCtrl-C ends it.\n")
        while True:
            webhook = await self._application.webhook(lambda _: True)
            at = clock.now().astimezone(self._zone)
            console.print(f"  [dim]{at:%H:%M:%S}[/]  {webhook['trigger']}  [dim]{escape(_detail(webhook))}[/]")

    @property
    def _name(self) -> str:
        return str(self._person["name"])

    async def _calendar(self) -> Any:
        return await self._application.call("GET", f"/calendars/{self._calendar_id}")

    async def _sandbox(self, method: str, path: str, body: Any = None) -> Any:
        url = f"{self._stage.sandbox_url}/sandbox/api{path}"
        async with self._stage.http.request(method, url, json=body) as answer:
            if answer.status >= 400:
                raise StepFailed(f"the sandbox answered {method} {path} with {answer.status}: {await answer.text()}")
            return await answer.json()

    def _entry(self, event: Any) -> str:
        return f"/calendars/{quote(self._person['calendars'][0]['id'])}/events/{quote(event['platform_uuid'])}"

    def _single_meetings(self) -> Sequence[Any]:
        """Meetings with a bot that are no part of a series and don't begin at once, the earliest first."""
        soon = clock.now() + timedelta(hours=1)
        singles = sorted(
            (
                event
                for event in self._events
                if event["id"] in self._bots
                and "recurringEventId" not in event["raw"]
                and datetime.fromisoformat(event["start_time"]) > soon
            ),
            key=lambda event: str(event["start_time"]),
        )
        if not singles:
            raise StepFailed("there is no single meeting with a bot in the calendar")
        return singles

    def _is_events_update(self, webhook: Webhook) -> bool:
        return (webhook["trigger"], webhook["calendar_id"]) == ("calendar.events_update", self._calendar_id)

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self._zone):%a %H:%M}"


def _event_ids(webhook: Webhook, what: str) -> Sequence[str]:
    events = webhook["data"].get("events", {})
    ids: Sequence[str] = events.get(what, ())
    return ids


def _title(event: Any) -> str:
    return f"“{escape(event['name'])}”"


def _detail(webhook: Webhook) -> str:
    data = webhook["data"]
    if "events" in data:
        counts = [f"{len(ids)} {what}" for what, ids in data["events"].items() if isinstance(ids, list) and ids]
        return ", ".join(counts) or "no event has changed"
    return json.dumps(data["connection_failure_data"] or data["state"])
