"""The story: two users connect a calendar each, bots follow its events, one of them withdraws consent.

Every step is asked of the service over REST, or heard from it by webhook, before it is told.
"""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import aiohttp
from rich.console import Console
from rich.markup import escape

from attendee import clock
from attendee.demo.application import GOOGLE, MICROSOFT, Application, Webhook, running_application
from attendee.demo.stage import Stage, StepFailed
from attendee.demo.user import AHEAD, User
from attendee.startup import CannotStart

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
    async with running_application(
        stage.http, service_url=stage.service_url, sandbox_url=stage.sandbox_url
    ) as application:
        story = Story(stage, application)
        for title, step in story.steps():
            await stage.tell(title, step)
        stage.is_told = True
        stage.console.print(f"\nTold in {time.monotonic() - began:.0f} seconds; every step was seen to happen.")
        if not once:
            await story.stay()
    return 0


class Story:
    """Two users, one at each platform, and what becomes of their calendars."""

    def __init__(self, stage: Stage, application: Application) -> None:
        self._stage = stage
        self._application = application
        self._ada = User(stage, application, at=GOOGLE)
        self._mia = User(stage, application, at=MICROSOFT)
        self._users = (self._ada, self._mia)

    def steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[str]]]]:
        return (
            ("An application gets its project", self.set_up),
            ("A user at Google gives consent", self.consent_at_google),
            ("A user at Microsoft gives consent", self.consent_at_microsoft),
            ("The calendars are connected", self.connect),
            ("The events are synced", self.sync),
            ("Bots are scheduled", self.schedule),
            ("An event is moved", self.move),
            ("An occurrence is moved", self.move_occurrence),
            ("An event is cancelled", self.cancel),
            ("An occurrence is deleted", self.delete_occurrence),
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

    async def consent_at_google(self) -> str:
        await self._ada.consent()
        return f"{self._ada.name} gave consent on Google's page; the application has a refresh token"

    async def consent_at_microsoft(self) -> str:
        await self._mia.consent()
        return f"{self._mia.name} gave consent on Microsoft's page; the application has a refresh token"

    async def connect(self) -> str:
        await asyncio.gather(*(user.connect() for user in self._users))
        ids = " and ".join(user.calendar_id for user in self._users)
        return f"Both calendars are connected ([dim]{ids}[/]), and webhooks say that they have news"

    async def sync(self) -> str:
        linked = [await user.read_events() for user in self._users]
        told = [
            f"{len(user.events)} events of {user.name}'s, {len(some)} of them with a meeting link"
            for user, some in zip(self._users, linked, strict=True)
        ]
        return f"The events are synced: {'; '.join(told)}"

    async def schedule(self) -> str:
        await asyncio.gather(*(user.schedule_bots() for user in self._users))
        count = sum(len(user.bots) for user in self._users)
        return f"{count} bots are scheduled, one for each meeting of the next {AHEAD.days} days"

    async def move(self) -> str:
        event = self._ada.single_meetings()[-1]
        return f"{self._ada.name} moved {_title(event)} {await self._ada.move(event)}"

    async def move_occurrence(self) -> str:
        event = self._mia.occurrences()[0]
        return f"{self._mia.name} moved one {_title(event)} of the series {await self._mia.move(event)}"

    async def cancel(self) -> str:
        event = self._ada.single_meetings()[0]
        await self._ada.remove(event)
        return f"{self._ada.name} cancelled {_title(event)}; its bot is gone"

    async def delete_occurrence(self) -> str:
        event = self._mia.occurrences()[1]
        await self._mia.remove(event)
        return f"{self._mia.name} deleted another {_title(event)}; its bot is gone, those of the series stay"

    async def revoke(self) -> str:
        before = [await user.scheduled_bots() for user in self._users]
        code = await self._ada.revoke()
        after = [await user.scheduled_bots() for user in self._users]
        if after != [0, before[1]]:
            raise StepFailed(f"consent was revoked, and of {before} scheduled bots there are now {after}")
        told = f"the calendar is disconnected ([dim]{code}[/]) and its {before[0]} bots are gone"
        return f"{self._ada.name} revoked consent; {told}, {self._mia.name}'s {after[1]} stay"

    async def reconnect(self) -> str:
        await self._ada.consent_again()
        return f"{self._ada.name} gave consent again; the calendar is connected again"

    async def stay(self) -> None:
        """Tells of webhooks as they arrive, for as long as nobody interrupts."""
        console = self._stage.console
        console.print("\nService and sandbox stay up. Open these addresses:\n")
        for user in self._users:
            page = f"{self._stage.sandbox_url}/people/{quote(user.email)}"
            console.print(f"  {page}  [dim]{user.name}'s calendar: change it, and hear of it below[/]")
        console.print(f"  {self._stage.service_url}/docs  [dim]the API; its key is[/] Token {self._application.key}")
        console.print("\nCtrl-C ends it.\n")
        names = {user.calendar_id: user.name for user in self._users}
        while True:
            webhook = await self._application.webhook(lambda _: True)
            at = clock.now().astimezone(self._ada.zone)
            whose = names.get(webhook["calendar_id"], "")
            console.print(f"  [dim]{at:%H:%M:%S}[/]  {whose}  {webhook['trigger']}  [dim]{escape(_detail(webhook))}[/]")


def _title(event: Any) -> str:
    return f"“{escape(event['name'])}”"


def _detail(webhook: Webhook) -> str:
    data = webhook["data"]
    if "events" in data:
        counts = [f"{len(ids)} {what}" for what, ids in data["events"].items() if isinstance(ids, list) and ids]
        return ", ".join(counts) or "no event has changed"
    return json.dumps(data["connection_failure_data"] or data["state"])
