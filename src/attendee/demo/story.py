"""The story: two users of the example application connect a calendar each, bots follow its events, consent is revoked.

Every step is asked of the service over REST, and seen in the application, before it is told.
"""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import quote

import aiohttp
from rich.console import Console
from rich.markup import escape

from attendee.demo.stage import Stage, StepFailed
from attendee.demo.user import User
from attendee.demo.visitor import Visitor
from attendee.model import Platform
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
    await stage.tell("The example application starts", stage.start_example)
    async with AsyncExitStack() as leaving:
        visitors = [Visitor(stage.example_url) for _ in range(2)]
        for visitor in visitors:
            leaving.push_async_callback(visitor.close)
        story = Story(stage, *visitors)
        for title, step in story.steps():
            await stage.tell(title, step)
        stage.is_told = True
        stage.console.print(f"\nTold in {time.monotonic() - began:.0f} seconds; every step was seen to happen.")
        if not once:
            await story.stay()
    return 0


class Story:
    """Two users, one at each platform, and what becomes of their calendars."""

    def __init__(self, stage: Stage, ada: Visitor, mia: Visitor) -> None:
        self._stage = stage
        self._ada = User(stage, ada, Platform.GOOGLE)
        self._mia = User(stage, mia, Platform.MICROSOFT)
        self._users = (self._ada, self._mia)

    def steps(self) -> Sequence[tuple[str, Callable[[], Awaitable[str]]]]:
        return (
            ("A user at Google gives consent", self.consent_at_google),
            ("A user at Microsoft gives consent", self.consent_at_microsoft),
            ("The events are synced", self.sync),
            ("Bots are scheduled for all meetings", self.schedule_all),
            ("Bots are scheduled one by one", self.schedule_each),
            ("A bot joins a meeting that starts now", self.join),
            ("An event is moved", self.move),
            ("An occurrence is moved", self.move_occurrence),
            ("An event is cancelled", self.cancel),
            ("An occurrence is deleted", self.delete_occurrence),
            ("Consent is revoked", self.revoke),
            ("Consent is given again", self.reconnect),
        )

    async def consent_at_google(self) -> str:
        await self._ada.sign_in()
        return _connected(self._ada, at="Google")

    async def consent_at_microsoft(self) -> str:
        await self._mia.sign_in()
        return _connected(self._mia, at="Microsoft")

    async def sync(self) -> str:
        linked = [await user.read_events() for user in self._users]
        told = [
            f"{len(user.events)} events of {user.name}'s, {len(some)} of them with a meeting link"
            for user, some in zip(self._users, linked, strict=True)
        ]
        return f"The events are synced: {'; '.join(told)}"

    async def schedule_all(self) -> str:
        await self._ada.want_all()
        return f"{self._ada.name} wants notes of all meetings: {len(self._ada.bots)} bots are scheduled for four weeks"

    async def schedule_each(self) -> str:
        await self._mia.want_each_of_the_week()
        return f"{self._mia.name} picked meetings of this week: {len(self._mia.bots)} bots are scheduled for them"

    async def join(self) -> str:
        room = await self._ada.meet_now()
        return f"{self._ada.name} has a meeting that starts now; its bot has joined, and is in the room at {room}"

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
        count = await self._ada.reconnect()
        return f"{self._ada.name} gave consent again; the calendar is connected again, and {count} bots are scheduled"

    async def stay(self) -> None:
        """Leaves everything to whoever opens the addresses, until somebody interrupts."""
        console, sandbox_url = self._stage.console, self._stage.sandbox_url
        people = " or ".join(user.name for user in self._users)
        console.print("\nEverything stays up. Open these addresses:\n")
        console.print(f"  {self._stage.example_url}  [dim]sign in as {people}, and switch notes on and off[/]")
        for user in self._users:
            page = f"{sandbox_url}/people/{quote(user.email)}"
            console.print(f"  {page}  [dim]{user.name}'s calendar: change it, and see the other page follow[/]")
        console.print(f"  {self._stage.service_url}/docs  [dim]the API; its key is[/] Token {self._stage.key}")
        console.print("\nCtrl-C ends it.\n")
        await asyncio.Event().wait()


def _connected(user: User, *, at: str) -> str:
    return f"{user.name} gave consent on {at}'s page; the calendar is connected ([dim]{user.calendar_id}[/])"


def _title(event: Any) -> str:
    return f"“{escape(event['name'])}”"
