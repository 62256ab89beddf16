"""One user of the example application: a person at a platform, the connected calendar, and the bots of its meetings."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attendee import clock
from attendee.demo.stage import Stage, StepFailed, until
from attendee.demo.visitor import Visitor, WeekPage
from attendee.model import Platform

# What begins sooner than this is left alone, so that it is still to come when the story ends.
_SOON = timedelta(hours=1)
_MOVED_BY = timedelta(hours=2)
_LASTS = timedelta(minutes=30)


class User:
    """What this person does at the platform and in the application, and what service and application then make of it.

    Everything raises StepFailed when something else is seen.
    """

    def __init__(self, stage: Stage, visitor: Visitor, platform: Platform) -> None:
        self.name = self.email = self.calendar_id = ""
        self.zone = ZoneInfo("UTC")
        self.events: Sequence[Any] = ()
        # By the id of their event.
        self.bots: dict[str, Any] = {}
        self._stage = stage
        self._visitor = visitor
        self._platform = platform

    async def sign_in(self) -> None:
        """Comes to the application, is sent to the platform's consent page, and comes back."""
        people = await self._stage.ask_sandbox("GET", "/people")
        person = next(person for person in people if person["platform"] == self._platform)
        self.name, self.email = person["name"], person["email"]
        self.zone = ZoneInfo(person["calendars"][0]["zone"])
        await self._visitor.sign_in(self._platform, email=self.email)
        calendars = await self._stage.everything("/calendars")
        self.calendar_id = next(one["id"] for one in calendars if one["platform"] == self._platform)

    async def read_events(self) -> Sequence[Any]:
        """Those events that have a meeting link; all of them are kept, once the application shows the week."""

        async def synced() -> bool | None:
            calendar = await self._calendar()
            if calendar["state"] != "connected":
                raise StepFailed(f"{self.name}'s calendar is disconnected: {calendar['connection_failure_data']}")
            return (calendar["last_successful_sync_at"] is not None and bool((await self._week()).starts)) or None

        await until(synced)
        self.events = await self._stage.everything(f"/calendar_events?calendar_id={self.calendar_id}")
        linked = [event for event in self.events if event["meeting_url"]]
        if not linked:
            raise StepFailed(f"of {self.name}'s {len(self.events)} events, none has a meeting link")
        return linked

    async def want_all(self) -> None:
        """Notes for everything that has a link, by one switch."""
        await self._visitor.switch_on("/all")
        await self._see_bots(lambda event: bool(event["meeting_url"]))

    async def want_each_of_the_week(self) -> None:
        """Notes for the meetings on the page, one switch after the other."""
        wanted = [event_id for event_id, status in (await self._week()).statuses.items() if status == "off"]
        for event_id in wanted:
            await self._visitor.switch_on(f"/events/{event_id}/notes")
        await self._see_bots(lambda event: event["id"] in wanted)

    async def meet_now(self) -> str:
        """A meeting that has just begun, in a room of the sandbox; the room's address, once the bot is in it."""
        title, starts = "Stand-up", clock.now()
        new = {"title": title, "starts": starts.isoformat(), "ends": (starts + _LASTS).isoformat(), "with_room": True}
        await self._stage.ask_sandbox("POST", f"/calendars/{quote(self.email)}/events", new)

        async def joined() -> str | None:
            since = quote(clock.written(starts - _LASTS))
            path = f"/calendar_events?calendar_id={self.calendar_id}&start_time_gte={since}"
            for event in await self._stage.everything(path):
                if event["name"] == title and any(bot["state"].startswith("joined") for bot in event["bots"]):
                    return str(event["meeting_url"])
            return None

        return await until(joined)

    async def move(self, event: Any) -> str:
        """The event two hours later; its times before and after, and its bot's, for the reader."""
        start_at = datetime.fromisoformat(event["start_time"])
        goal = start_at + _MOVED_BY
        entry_path, occurrence = await self._entry(event)
        change = {
            "starts": goal.isoformat(),
            "ends": (datetime.fromisoformat(event["end_time"]) + _MOVED_BY).isoformat(),
        }
        await self._stage.ask_sandbox("PATCH", entry_path, change | {"occurrence": occurrence})

        async def moved() -> datetime | None:
            bot, week = await self._bot(event), await self._week()
            if bot is None:
                raise StepFailed("the event was moved, and its bot is gone")
            is_shown = datetime.fromisoformat(week.starts[event["id"]]) == goal
            joins_at = datetime.fromisoformat(bot["join_at"])
            return joins_at if is_shown and joins_at == goal else None

        joins_at = await until(moved)
        return f"from {self._time(start_at)} to {self._time(goal)}; its bot joins at {self._time(joins_at)}"

    async def remove(self, event: Any) -> None:
        """The event, off the calendar; its bot goes with it."""
        entry_path, occurrence = await self._entry(event)
        query = "" if occurrence is None else f"?occurrence={quote(occurrence)}"
        await self._stage.ask_sandbox("DELETE", f"{entry_path}{query}")

        async def removed() -> bool | None:
            is_gone = await self._bot(event) is None
            return (is_gone and (await self._week()).statuses[event["id"]] == "cancelled") or None

        await until(removed)

    async def revoke(self) -> str:
        """Consent withdrawn at the platform; the word that the service has for it, once the user is asked back."""
        await self._stage.ask_sandbox("POST", f"/people/{quote(self.email)}/revoke")

        async def disconnected() -> str | None:
            failure = (await self._calendar())["connection_failure_data"]
            return str(failure["code"]) if failure and (await self._week()).has_alert else None

        return await until(disconnected)

    async def reconnect(self) -> int:
        """Consent given again, for the calendar that is there already; how many bots its meetings have again."""
        await self._visitor.sign_in(self._platform, email=self.email)

        async def connected() -> bool | None:
            return ((await self._calendar())["state"] == "connected" and not (await self._week()).has_alert) or None

        await until(connected)
        await self._see_bots(lambda event: bool(event["meeting_url"]))
        return await self.scheduled_bots()

    async def scheduled_bots(self) -> int:
        """How many bots wait for this user's meetings now."""
        ids = {event["id"] for event in self.events}
        return sum(bot["calendar_event_id"] in ids for bot in await self._waiting_bots())

    def single_meetings(self) -> Sequence[Any]:
        """Meetings of the week with a bot that are no part of a series, the earliest first."""
        return self._meetings(lambda raw: not raw.get("recurringEventId") and not raw.get("seriesMasterId"))

    def occurrences(self) -> Sequence[Any]:
        """Meetings of the week with a bot that are where Microsoft's series has them, the earliest first."""
        return self._meetings(lambda raw: raw.get("type") == "occurrence")

    async def _see_bots(self, is_wanted: Callable[[Any], bool]) -> None:
        """Waits until each such event that is still to come has its scheduled bot."""
        self.events = await self._stage.everything(f"/calendar_events?calendar_id={self.calendar_id}")
        now = clock.now()
        wanted = {
            event["id"]
            for event in self.events
            if is_wanted(event) and not event["is_deleted"] and datetime.fromisoformat(event["start_time"]) > now
        }

        async def seen() -> dict[str, Any] | None:
            bots = {bot["calendar_event_id"]: bot for bot in await self._waiting_bots()}
            return bots if wanted <= bots.keys() else None

        bots = await until(seen)
        self.bots = {event_id: bots[event_id] for event_id in wanted}

    async def _waiting_bots(self) -> Sequence[Any]:
        """Those that are scheduled, and those that the fleet has already."""
        return await self._stage.everything("/bots?states=scheduled&states=staged")

    def _meetings(self, is_wanted: Callable[[dict[str, Any]], bool]) -> Sequence[Any]:
        now = clock.now()
        found = [
            event
            for event in self.events
            if event["id"] in self.bots
            and is_wanted(event["raw"])
            and now + _SOON < datetime.fromisoformat(event["start_time"]) < now + timedelta(days=6)
        ]
        if len(found) < 2:
            raise StepFailed(f"there are not enough meetings of that sort in {self.name}'s calendar")
        return sorted(found, key=lambda event: str(event["start_time"]))

    async def _week(self) -> WeekPage:
        return await self._visitor.week()

    async def _calendar(self) -> Any:
        return await self._stage.ask_service("GET", f"/calendars/{self.calendar_id}")

    async def _bot(self, event: Any) -> Any:
        return await self._stage.ask_service("GET", f"/bots/{self.bots[event['id']]['id']}")

    async def _entry(self, event: Any) -> tuple[str, str | None]:
        """What the event is in the sandbox: the path of its entry, and which occurrence of it, None for a single one.

        It is found as its owner would find it, by its title and its time: an id at the platform is none of the entry.
        """
        path = f"/calendars/{quote(self.email)}/events"
        start_at = datetime.fromisoformat(event["start_time"])
        for one in await self._stage.ask_sandbox("GET", path):
            if one["is_live"] and one["title"] == event["name"] and datetime.fromisoformat(one["starts"]) == start_at:
                return f"{path}/{quote(one['id'])}", one["occurrence"]
        raise StepFailed(f"{self.name}'s calendar in the sandbox has no {event['name']!r} at {start_at}")

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self.zone):%a %H:%M}"
