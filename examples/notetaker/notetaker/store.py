"""What this application remembers: one SQLite file, plain queries, each done before the next begins."""

import hashlib
import json
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from attendee_client.models import Bot, CalendarEvent, latest_change
from attendee_client.webhooks import Webhook
from notetaker.platforms import Consent

# What a bot goes through after the first of these and before the last is "running" for the user.
PLANNED_STATES = ("ready", "scheduled", "staged")
FINISHED_STATES = ("ended", "fatal_error", "data_deleted")

_LOGIN_LIFE = timedelta(minutes=15)
_SESSION_LIFE = timedelta(days=30)
# The service tries a delivery again for about a day; whoever comes later than this is no retry.
_KEEP_DELIVERIES = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class User:
    id: int
    platform: str
    account: str
    email: str
    name: str
    calendar_id: str | None
    calendar_state: str
    failure_code: str | None
    synced_until: datetime | None
    takes_all: bool


@dataclass(frozen=True, slots=True)
class Event:
    """`wanted` is what the user said of this very meeting; `wants_notes` is what follows for it."""

    id: str
    user_id: int
    name: str
    start_time: str
    end_time: str
    all_day: bool
    meeting_url: str | None
    guests: str
    is_deleted: bool
    wanted: bool | None
    bot_id: str | None
    bot_state: str | None
    problem: str | None
    wants_notes: bool


@dataclass(frozen=True, slots=True)
class Delivery:
    webhook: Webhook
    attempts: int


@dataclass(frozen=True, slots=True)
class Session:
    user: User
    csrf_token: str = field(repr=False)


def text_of(moment: datetime) -> str:
    """An instant in UTC as the service writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Store:
    def __init__(self, path: Path) -> None:
        # Requests run in one thread, but a server may start and end in others.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.executescript("PRAGMA journal_mode = WAL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;")
        self._db.executescript((Path(__file__).parent / "schema.sql").read_text())

    def close(self) -> None:
        self._db.close()

    # Logins and sessions.

    def begin_login(self, platform: str, *, now: datetime) -> tuple[str, str]:
        """The state and the PKCE verifier of a login that begins now."""
        state, verifier = secrets.token_urlsafe(32), secrets.token_urlsafe(48)
        self._db.execute("DELETE FROM logins WHERE expires_at < ?", (text_of(now),))
        self._db.execute(
            "INSERT INTO logins VALUES (?, ?, ?, ?)", (state, platform, verifier, text_of(now + _LOGIN_LIFE))
        )
        return state, verifier

    def take_login(self, state: str, *, platform: str, now: datetime) -> str | None:
        """The verifier of the login with this state, which is over with that; None if there is none."""
        query = "DELETE FROM logins WHERE state = ? AND platform = ? AND expires_at > ? RETURNING verifier"
        row = self._db.execute(query, (state, platform, text_of(now))).fetchone()
        return None if row is None else str(row["verifier"])

    def begin_session(self, user: User, *, now: datetime) -> str:
        """The id for the cookie."""
        id = secrets.token_urlsafe(32)
        self._db.execute("DELETE FROM sessions WHERE expires_at < ?", (text_of(now),))
        self._db.execute(
            "INSERT INTO sessions VALUES (?, ?, ?, ?)",
            (_digest(id), user.id, secrets.token_urlsafe(32), text_of(now + _SESSION_LIFE)),
        )
        return id

    def find_session(self, id: str, *, now: datetime) -> Session | None:
        query = "SELECT user_id, csrf_token FROM sessions WHERE digest = ? AND expires_at > ?"
        row = self._db.execute(query, (_digest(id), text_of(now))).fetchone()
        return None if row is None else Session(self.get_user(row["user_id"]), row["csrf_token"])

    def end_session(self, id: str) -> None:
        self._db.execute("DELETE FROM sessions WHERE digest = ?", (_digest(id),))

    # Users and their calendars.

    def save_login(self, platform: str, consent: Consent, *, calendar_id: str) -> User:
        """The user, whose calendar is being connected from now on. What was known of another calendar is forgotten."""
        known = "SELECT id FROM users WHERE platform = ? AND account = ? AND calendar_id <> ?"
        query = """
            INSERT INTO users (platform, account, email, name, calendar_id) VALUES (?, ?, ?, ?, ?)
            ON CONFLICT (platform, account) DO UPDATE SET
                email = excluded.email, name = excluded.name, calendar_id = excluded.calendar_id,
                calendar_state = 'connecting', failure_code = NULL,
                synced_until = CASE WHEN calendar_id = excluded.calendar_id THEN synced_until END
            RETURNING id"""
        with self._transaction():
            self._db.execute(f"DELETE FROM events WHERE user_id IN ({known})", (platform, consent.account, calendar_id))
            (row,) = self._db.execute(
                query, (platform, consent.account, consent.email, consent.name, calendar_id)
            ).fetchall()
        return self.get_user(row["id"])

    def get_user(self, id: int) -> User:
        return _user(self._db.execute("SELECT * FROM users WHERE id = ?", (id,)).fetchone())

    def find_user_of_calendar(self, calendar_id: str | None) -> User | None:
        row = self._db.execute("SELECT * FROM users WHERE calendar_id = ?", (calendar_id,)).fetchone()
        return None if row is None else _user(row)

    def mark_connected(self, user: User) -> None:
        self._db.execute("UPDATE users SET calendar_state = 'connected', failure_code = NULL WHERE id = ?", (user.id,))

    def mark_disconnected(self, user: User, *, code: str) -> None:
        query = "UPDATE users SET calendar_state = 'disconnected', failure_code = ? WHERE id = ?"
        self._db.execute(query, (code, user.id))

    def take_all(self, user: User, *, wanted: bool) -> None:
        self._db.execute("UPDATE users SET takes_all = ? WHERE id = ?", (wanted, user.id))

    def forget_user(self, user: User) -> None:
        self._db.execute("DELETE FROM users WHERE id = ?", (user.id,))

    # Events and their bots.

    def save_events(self, user: User, events: Sequence[CalendarEvent]) -> None:
        """Stores events as the service gives them, and how far that goes. What the user said of them stays."""
        query = """
            INSERT INTO events (id, user_id, name, start_time, end_time, all_day, meeting_url, guests, is_deleted,
                                bot_id, bot_state)
            VALUES (:id, :user_id, :name, :start_time, :end_time, :all_day, :meeting_url, :guests, :is_deleted,
                    :bot_id, :bot_state)
            ON CONFLICT (id) DO UPDATE SET
                name = :name, start_time = :start_time, end_time = :end_time, all_day = :all_day,
                meeting_url = :meeting_url, guests = :guests, is_deleted = :is_deleted,
                bot_id = :bot_id, bot_state = :bot_state, problem = NULL"""
        with self._transaction():
            for event in events:
                bot = _bot_of(event)
                row = {
                    "id": event.id,
                    "user_id": user.id,
                    "name": event.name or "(no title)",
                    "start_time": text_of(event.start_time),
                    "end_time": text_of(event.end_time),
                    "all_day": event.all_day,
                    "meeting_url": event.meeting_url,
                    "guests": ", ".join(one.name or one.email for one in event.attendees if one.email != user.email),
                    "is_deleted": event.is_deleted,
                    "bot_id": bot and bot.id,
                    "bot_state": bot and bot.state,
                }
                self._db.execute(query, row)
            # Never this application's own clock: what was changed while it asked would be missed.
            until = latest_change(events, before=None)
            if until is not None:
                query = "UPDATE users SET synced_until = MAX(COALESCE(synced_until, ''), ?) WHERE id = ?"
                self._db.execute(query, (text_of(until), user.id))

    def events_between(self, user: User, start: datetime, end: datetime) -> Sequence[Event]:
        """Those that overlap the time, the earliest first."""
        query = f"{_EVENTS} WHERE user_id = ? AND start_time < ? AND end_time > ? ORDER BY start_time, name, id"
        return [_event(row) for row in self._db.execute(query, (user.id, text_of(end), text_of(start)))]

    def events_without_bot(self, *, now: datetime) -> Sequence[Event]:
        """Meetings that shall get notes and have no bot yet, of connected calendars."""
        query = f"""{_EVENTS} WHERE calendar_state = 'connected' AND COALESCE(wanted, takes_all) AND NOT is_deleted
            AND meeting_url IS NOT NULL AND end_time > ? AND bot_id IS NULL AND problem IS NULL ORDER BY start_time"""
        return [_event(row) for row in self._db.execute(query, (text_of(now),))]

    def events_with_unwanted_bot(self) -> Sequence[Event]:
        """Meetings that shall get no notes, yet have a bot that is planned or at work."""
        query = f"""{_EVENTS} WHERE NOT COALESCE(wanted, takes_all) AND bot_id IS NOT NULL
            AND bot_state NOT IN ('leaving', 'post_processing', 'ended', 'fatal_error', 'data_deleted')"""
        return [_event(row) for row in self._db.execute(query)]

    def find_event_of_bot(self, bot_id: str | None) -> Event | None:
        row = self._db.execute(f"{_EVENTS} WHERE bot_id = ?", (bot_id,)).fetchone()
        return None if row is None else _event(row)

    def want_notes(self, user: User, event_id: str, *, wanted: bool) -> bool:
        """Whether the user has that event."""
        query = "UPDATE events SET wanted = ?, problem = NULL WHERE id = ? AND user_id = ?"
        return self._db.execute(query, (wanted, event_id, user.id)).rowcount == 1

    def save_bot(self, event: Event, bot: Bot | None) -> None:
        """The event's bot as it is now, or that there is none."""
        query = "UPDATE events SET bot_id = ?, bot_state = ? WHERE id = ?"
        self._db.execute(query, (bot and bot.id, bot and bot.state, event.id))

    def note_problem(self, event: Event, problem: str) -> None:
        """Why there can be no bot; nothing is tried until the event or the user's wish changes."""
        self._db.execute("UPDATE events SET problem = ? WHERE id = ?", (problem, event.id))

    # Webhooks that have arrived.

    def add_delivery(self, webhook: Webhook, *, now: datetime) -> None:
        """Stores it, to be worked off. One that was there already changes nothing, whether it has been or not."""
        query = "INSERT OR IGNORE INTO deliveries (idempotency_key, body, due_at, arrived_at) VALUES (?, ?, ?, ?)"
        body = json.dumps(asdict(webhook))
        self._db.execute(query, (webhook.idempotency_key, body, text_of(now), text_of(now)))

    def due_deliveries(self, *, now: datetime) -> Sequence[Delivery]:
        query = "SELECT * FROM deliveries WHERE due_at <= ? ORDER BY arrived_at"
        rows = self._db.execute(query, (text_of(now),)).fetchall()
        return [Delivery(Webhook(**json.loads(row["body"])), row["attempts"]) for row in rows]

    def settle_delivery(self, delivery: Delivery, *, now: datetime) -> None:
        self._db.execute(
            "UPDATE deliveries SET due_at = NULL WHERE idempotency_key = ?", (delivery.webhook.idempotency_key,)
        )
        forgotten = text_of(now - _KEEP_DELIVERIES)
        self._db.execute("DELETE FROM deliveries WHERE due_at IS NULL AND arrived_at < ?", (forgotten,))

    def put_off(self, delivery: Delivery, *, until: datetime) -> None:
        query = "UPDATE deliveries SET due_at = ?, attempts = attempts + 1 WHERE idempotency_key = ?"
        self._db.execute(query, (text_of(until), delivery.webhook.idempotency_key))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


_EVENTS = """SELECT events.*, COALESCE(wanted, takes_all) AS wants_notes
    FROM events JOIN users ON users.id = events.user_id"""


def _user(row: sqlite3.Row) -> User:
    until = row["synced_until"] and datetime.fromisoformat(row["synced_until"])
    return User(**{**dict(row), "takes_all": bool(row["takes_all"]), "synced_until": until})


def _event(row: sqlite3.Row) -> Event:
    flags = {name: bool(row[name]) for name in ("all_day", "is_deleted", "wants_notes")}
    wanted = None if row["wanted"] is None else bool(row["wanted"])
    return Event(**{**dict(row), **flags, "wanted": wanted})


def _bot_of(event: CalendarEvent) -> Bot | None:
    """Our bot for the event as it is now: one at work, or else one that has done its work at this very time."""
    ours = [bot for bot in event.bots if bot.deduplication_key == event.id]
    at_work = [bot for bot in ours if bot.state not in FINISHED_STATES]
    done = [bot for bot in ours if bot.join_at == event.start_time]
    return next(iter(at_work + done), None)


def _digest(session_id: str) -> str:
    return hashlib.sha256(session_id.encode()).hexdigest()
