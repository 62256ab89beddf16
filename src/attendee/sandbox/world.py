"""The state of the whole sandbox: people, calendars, consents, push channels, rooms, faults, and a count of requests.

Platform-neutral: `google.py` and its like give it their shapes. All of it is plain calls, for tests and the demo.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from attendee.clock import Clock
from attendee.sandbox.calendars import Calendar
from attendee.sandbox.faults import Faults
from attendee.sandbox.grants import DEFAULT_CLIENT_ID, Grants
from attendee.sandbox.room_directory import RoomDirectory
from attendee.sandbox.timings import Pause, Timings, pause_by


class Platform(StrEnum):
    """Where a person has the account."""

    GOOGLE = "google"
    MICROSOFT = "microsoft"


class AccountState(StrEnum):
    """A deleted account has no tokens any more; with the calendar off only the calendar API refuses."""

    ACTIVE = "active"
    DELETED = "deleted"
    CALENDAR_OFF = "calendar_off"


class Role(StrEnum):
    """What a person may see and do in a calendar."""

    OWNER = "owner"
    WRITER = "writer"
    READER = "reader"
    FREE_BUSY = "free_busy"


# Asked for where a caller names no scopes: enough for calendars and the address.
USUAL_SCOPES = {
    Platform.GOOGLE: (
        "https://www.googleapis.com/auth/calendar.readonly",
        "https://www.googleapis.com/auth/userinfo.email",
        "openid",
    ),
    Platform.MICROSOFT: ("offline_access", "User.Read", "Calendars.Read"),
}

# The beginnings that each platform's tokens have.
REFRESH_TOKEN_PREFIXES = {Platform.GOOGLE: "1//0", Platform.MICROSOFT: "0.A"}


class Notice(StrEnum):
    """What a platform has to say about a channel itself; only Microsoft does."""

    REAUTHORIZATION_REQUIRED = "reauthorizationRequired"
    SUBSCRIPTION_REMOVED = "subscriptionRemoved"
    MISSED = "missed"


@dataclass(slots=True, kw_only=True)
class Person:
    """An account at one of the platforms, and the calendars in its list with what it may do in each."""

    email: str
    name: str
    platform: Platform
    state: AccountState = AccountState.ACTIVE
    calendars: dict[str, Calendar] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    @property
    def primary(self) -> Calendar:
        """The person's own first calendar; its id is the e-mail address."""
        return self.calendars[self.email]


@dataclass(slots=True, kw_only=True)
class Channel:
    """Somebody who wants to hear when a calendar changes; `resource` is the platform's name for what is watched."""

    id: str
    platform: Platform
    resource: str
    resource_id: str
    calendar: Calendar
    person: str
    client_id: str
    address: str
    secret: str | None
    expires_at: datetime
    messages: int = 0


@dataclass(slots=True)
class World:
    """All of it. `changed_observers` hear of every change in a calendar, at once and in the caller's task."""

    clock: Clock
    timings: Timings = field(default_factory=Timings)
    # How the fleet's bots wait, if not by the clock.
    own_pause: Pause | None = None
    # In base64. With it the fleet listens only to what it signs.
    fleet_secret: str | None = None
    people: dict[str, Person] = field(default_factory=dict)
    calendars: dict[str, Calendar] = field(default_factory=dict)
    channels: dict[str, Channel] = field(default_factory=dict)
    faults: Faults = field(default_factory=Faults)
    grants: Grants = field(init=False)
    rooms: RoomDirectory = field(init=False)
    # (calendar id, e-mail address or client id; kind of request) -> how many came in.
    requests: Counter[tuple[str, str]] = field(default_factory=Counter)
    # E-mail address -> the most requests that its mailbox has had at once, those refused for that included.
    busiest: Counter[str] = field(default_factory=Counter)
    pushes_on: bool = True
    changed_observers: list[Callable[[Calendar], None]] = field(default_factory=list)
    notice_observers: list[Callable[[Person, Notice], None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.grants = Grants(self.clock)
        self.rooms = RoomDirectory(clock=self.clock, calendars=self.calendars, timings=self.timings)

    @property
    def pause(self) -> Pause:
        """How the fleet's bots wait."""
        return self.own_pause or pause_by(self.clock)

    def add_person(
        self, email: str, *, name: str | None = None, platform: Platform | str = Platform.GOOGLE, zone: str = "UTC"
    ) -> Person:
        """The new person, with an empty primary calendar."""
        shown = name or email.partition("@")[0].replace(".", " ").title()
        person = Person(email=email, name=shown, platform=Platform(platform))
        self.people[email] = person
        self.add_calendar(person, email, name=shown, zone=zone, is_primary=True)
        return person

    def add_calendar(
        self,
        person: Person,
        id: str,
        *,
        name: str,
        zone: str = "UTC",
        role: Role = Role.OWNER,
        is_primary: bool = False,
        can_be_watched: bool = True,
    ) -> Calendar:
        """One more calendar in the person's list."""
        calendar = Calendar(
            id=id,
            owner=person.email,
            clock=self.clock,
            changed=self._tell,
            name=name,
            zone=zone,
            is_primary=is_primary,
            can_be_watched=can_be_watched,
        )
        self.calendars[id] = calendar
        self.share(calendar, person, role=role)
        return calendar

    def share(self, calendar: Calendar, person: Person, *, role: Role) -> None:
        """Puts the calendar into somebody's list, or changes what they may do in it."""
        person.calendars[calendar.id] = calendar
        person.roles[calendar.id] = role

    def unshare(self, calendar: Calendar, person: Person) -> None:
        """Takes the calendar out of somebody's list."""
        del person.calendars[calendar.id]
        del person.roles[calendar.id]

    def remove_calendar(self, calendar: Calendar) -> None:
        """Deletes the calendar from every list; who watches it hears of it once more."""
        del self.calendars[calendar.id]
        for person in self.people.values():
            if calendar.id in person.calendars:
                self.unshare(calendar, person)
        calendar.is_gone = True
        self._tell(calendar)

    def authorise(
        self, person: Person, *, client_id: str = DEFAULT_CLIENT_ID, scopes: tuple[str, ...] | None = None
    ) -> str:
        """A refresh token, as if the person had gone through the consent page."""
        allowed = USUAL_SCOPES[person.platform] if scopes is None else scopes
        grant = self.grants.grant(person.email, client_id=client_id, scopes=allowed)
        return self.grants.issue_refresh_token(grant, prefix=REFRESH_TOKEN_PREFIXES[person.platform])

    def revoke(self, person: Person) -> None:
        """Withdraws the person's consent to every client; all tokens die."""
        self.grants.revoke(person.email)

    def notify_watchers(self, person: Person, notice: Notice) -> None:
        """Has the platform tell everybody who watches a calendar of this person something about the channel."""
        for observer in self.notice_observers:
            observer(person, notice)

    def _tell(self, calendar: Calendar) -> None:
        for observer in self.changed_observers:
            observer(calendar)
