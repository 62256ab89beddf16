"""One user of the application: a person at a platform, the connected calendar, and the bots of its meetings."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

from attendee import clock
from attendee.demo.application import CLIENT, Application, ConsentPage, Webhook
from attendee.demo.stage import Stage, StepFailed, until

AHEAD = timedelta(days=7)
# What begins sooner than this is left alone, so that it is still to come when the story ends.
_SOON = timedelta(hours=1)
_MOVED_BY = timedelta(hours=2)


class User:
    """What this person does at the platform, and what the application then sees of it.

    Everything raises StepFailed when something else is seen.
    """

    def __init__(self, stage: Stage, application: Application, *, at: ConsentPage) -> None:
        self.name = self.email = self.calendar_id = ""
        self.zone = ZoneInfo("UTC")
        self.events: Sequence[Any] = ()
        # By the id of their event.
        self.bots: dict[str, Any] = {}
        self._stage = stage
        self._application = application
        self._at = at
        self._refresh_token = ""

    async def consent(self) -> None:
        """Comes to the application and is sent to the platform's consent page."""
        people = await self._stage.ask_sandbox("GET", "/people")
        person = next(person for person in people if person["platform"] == self._at.platform)
        self.name, self.email = person["name"], person["email"]
        self.zone = ZoneInfo(person["calendars"][0]["zone"])
        self._refresh_token = await self._application.ask_consent(self.email, at=self._at)

    async def connect(self) -> None:
        """The application hands the credentials over, and hears that there is news."""
        new = CLIENT | {
            "platform": self._at.platform,
            "refresh_token": self._refresh_token,
            "deduplication_key": self.email,
        }
        self.calendar_id = (await self._application.call("POST", "/calendars", new))["id"]
        await self._application.webhook(lambda one: self._is_told_of(one, "calendar.events_update"))
        calendar = await self._calendar()
        if calendar["state"] != "connected" or calendar["last_successful_sync_at"] is None:
            raise StepFailed(f"{self.name}'s calendar is {calendar['state']}: {calendar['connection_failure_data']}")

    async def read_events(self) -> Sequence[Any]:
        """Those events that have a meeting link; all of them are kept."""
        self.events = await self._application.everything(f"/calendar_events?calendar_id={self.calendar_id}")
        linked = [event for event in self.events if event["meeting_url"]]
        if not linked:
            raise StepFailed(f"of {self.name}'s {len(self.events)} events, none has a meeting link")
        return linked

    async def schedule_bots(self) -> None:
        """A bot for each meeting of the next days."""
        now = clock.now()
        for event in self.events:
            if event["meeting_url"] and now < datetime.fromisoformat(event["start_time"]) < now + AHEAD:
                new = {"bot_name": "Notetaker", "calendar_event_id": event["id"], "deduplication_key": event["id"]}
                self.bots[event["id"]] = await self._application.call("POST", "/bots", new)
        wrong = [bot for bot in self.bots.values() if bot["state"] != "scheduled"]
        if wrong or not self.bots:
            raise StepFailed(f"of {len(self.bots)} bots for {self.name}, {len(wrong)} are not scheduled")

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
        await self._application.webhook(lambda one: event["id"] in _event_ids(one, "updated"))
        bot = await self._bot(event)
        if bot is None or datetime.fromisoformat(bot["join_at"]) != goal:
            raise StepFailed(f"the event was moved to {goal}, but its bot is {bot}")
        joins_at = datetime.fromisoformat(bot["join_at"])
        return f"from {self._time(start_at)} to {self._time(goal)}; its bot joins at {self._time(joins_at)}"

    async def remove(self, event: Any) -> None:
        """The event, off the calendar; its bot goes with it."""
        entry_path, occurrence = await self._entry(event)
        query = "" if occurrence is None else f"?occurrence={quote(occurrence)}"
        await self._stage.ask_sandbox("DELETE", f"{entry_path}{query}")
        await self._application.webhook(lambda one: event["id"] in _event_ids(one, "deleted"))
        bot = await self._bot(event)
        if bot is not None:
            raise StepFailed(f"the event is gone, but its bot is {bot['state']}")

    async def revoke(self) -> str:
        """Consent withdrawn at the platform; the word that the application gets for it."""
        await self._stage.ask_sandbox("POST", f"/people/{quote(self.email)}/revoke")
        webhook = await self._application.webhook(lambda one: self._is_told_of(one, "calendar.state_change"))
        if webhook["data"]["state"] != "disconnected":
            raise StepFailed(f"consent was revoked, but the calendar is {webhook['data']['state']}")
        return str(webhook["data"]["connection_failure_data"]["code"])

    async def consent_again(self) -> None:
        """A new refresh token for the calendar that is there already."""
        self._refresh_token = await self._application.ask_consent(self.email, at=self._at)
        change = {"refresh_token": self._refresh_token}
        await self._application.call("PATCH", f"/calendars/{self.calendar_id}", change)

        async def connected() -> bool | None:
            return (await self._calendar())["state"] == "connected" or None

        await until(connected)

    async def scheduled_bots(self) -> int:
        """How many bots of this user's meetings are scheduled now."""
        ids = {bot["id"] for bot in self.bots.values()}
        return sum(bot["id"] in ids for bot in await self._application.everything("/bots?states=scheduled"))

    def single_meetings(self) -> Sequence[Any]:
        """Meetings with a bot that are no part of a series, the earliest first."""
        return self._meetings(lambda raw: not raw.get("recurringEventId") and not raw.get("seriesMasterId"))

    def occurrences(self) -> Sequence[Any]:
        """Meetings with a bot that are where Microsoft's series has them, the earliest first."""
        return self._meetings(lambda raw: raw.get("type") == "occurrence")

    def _is_told_of(self, webhook: Webhook, trigger: str) -> bool:
        return (webhook["trigger"], webhook["calendar_id"]) == (trigger, self.calendar_id)

    def _meetings(self, is_wanted: Callable[[dict[str, Any]], bool]) -> Sequence[Any]:
        soon = clock.now() + _SOON
        found = [
            event
            for event in self.events
            if event["id"] in self.bots
            and is_wanted(event["raw"])
            and datetime.fromisoformat(event["start_time"]) > soon
        ]
        if len(found) < 2:
            raise StepFailed(f"there are not enough meetings of that sort in {self.name}'s calendar")
        return sorted(found, key=lambda event: str(event["start_time"]))

    async def _calendar(self) -> Any:
        return await self._application.call("GET", f"/calendars/{self.calendar_id}")

    async def _bot(self, event: Any) -> Any:
        return await self._application.call("GET", f"/bots/{self.bots[event['id']]['id']}")

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


def _event_ids(webhook: Webhook, what: str) -> Sequence[str]:
    """The ids of the events that the webhook says were `created`, `updated` or `deleted`."""
    ids: Sequence[str] = webhook["data"].get("events", {}).get(what, ())
    return ids
