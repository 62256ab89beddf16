"""What happened to an event or a bot, oldest first: its history, and the webhooks that told of it, in sentences."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup, escape
from sqlalchemy import ColumnElement, Row, Select, select

from attendee.dashboard.rendering import local_time, words
from attendee.dashboard.visits import Visit
from attendee.model import ActivityKind, DeliveryState
from attendee.store.bots import Bot
from attendee.store.tables import activity, api_keys, deliveries, delivery_attempts

# More than anybody reads; the newest are shown.
_MOST = 300
# Of a calendar's deliveries the newest are searched for those that name an event.
_DELIVERIES_SEARCHED = 500
_DELIVERIES_SHOWN = 100

Detail = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that happened: when, in which sentence, and whether it was good, bad or something in between."""

    at: datetime
    sentence: Markup
    tone: str = ""


@dataclass(frozen=True, slots=True)
class _Words:
    """What sentences are made with: the viewer's zone, the names of keys, and where the project's pages are."""

    visit: Visit
    keys: Mapping[str, str]

    def when(self, text: str | None) -> Markup:
        at = None if text is None else datetime.fromisoformat(text)
        return Markup("no time") if at is None else local_time(at, zone=self.visit.zone, now=self.visit.now)

    def by(self, detail: Detail) -> Markup:
        key_id = detail.get("by")
        if key_id is None:
            return Markup("")
        return Markup(" with the key <strong>{}</strong>").format(self.keys.get(str(key_id), str(key_id)))

    def link(self, url: str | None) -> Markup:
        return Markup("no link") if url is None else Markup("<code>{}</code>").format(url)

    def bot(self, bot_id: str | None) -> Markup:
        if bot_id is None:
            return Markup("The bot")
        address = f"{self.visit.address}/bots/{bot_id}"
        return Markup('<a href="{}">Bot {}</a>').format(address, bot_id.removeprefix("bot_")[:6])


async def of_event(visit: Visit, event: Row[Any], bot_ids: Sequence[str]) -> list[Told]:
    """The event's history, its bots' with it, beginning with the sync that found it."""
    entries = await _history(visit, activity.c.event_id == event.id)
    known = {row.bot_id for row in entries if row.bot_id is not None} | set(bot_ids)
    found = Told(event.created_at, Markup("Found in the calendar by a sync."), "good")
    said = await _said(visit, entries, names_bots=True)
    return _in_order([found, *said, *await _told_of_event(visit, event, known)])


async def of_bot(visit: Visit, bot: Bot) -> list[Told]:
    """The bot's history."""
    entries = await _history(visit, activity.c.bot_id == bot.id)
    said = await _said(visit, entries, names_bots=False)
    return _in_order([*said, *await _deliveries(visit, deliveries.c.bot_id == bot.id)])


async def of_deleted_bot(visit: Visit, bot_id: str) -> list[Told]:
    """What is left of a bot that was deleted; empty if nothing is known of it."""
    return await _said(visit, await _history(visit, activity.c.bot_id == bot_id), names_bots=False)


async def _history(visit: Visit, of: ColumnElement[bool]) -> Sequence[Row[Any]]:
    query = (
        select(activity)
        .where(of, activity.c.project_id == visit.project.id)
        .order_by(activity.c.number.desc())
        .limit(_MOST)
    )
    return (await visit.tx.execute(query)).all()[::-1]


async def _said(visit: Visit, entries: Sequence[Row[Any]], *, names_bots: bool) -> list[Told]:
    keys = await visit.tx.execute(
        select(api_keys.c.id, api_keys.c.name).where(api_keys.c.project_id == visit.project.id)
    )
    say = _Words(visit, {row.id: row.name for row in keys})
    return [_sentence(say, row, names_bots=names_bots) for row in entries]


def _sentence(say: _Words, row: Row[Any], *, names_bots: bool) -> Told:
    subject = say.bot(row.bot_id) if names_bots else Markup("The bot")
    tell = _SENTENCES.get(row.kind, _any_kind)
    tone, sentence = tell(say, subject, row)
    return Told(row.created_at, sentence, tone)


_Sentence = tuple[str, Markup]


def _event_updated(say: _Words, _: Markup, row: Row[Any]) -> _Sentence:
    parts = []
    moved, links = row.detail.get("moved"), row.detail.get("meeting_url")
    if moved:
        before, after = moved["from"]["start_time"], moved["to"]["start_time"]
        parts.append(
            Markup("Moved from {} to {}.").format(say.when(before), say.when(after))
            if before != after
            else Markup("Now ends {} instead of {}.").format(
                say.when(moved["to"]["end_time"]), say.when(moved["from"]["end_time"])
            )
        )
    if links:
        parts.append(
            Markup("Meeting link changed from {} to {}.").format(say.link(links["from"]), say.link(links["to"]))
        )
    return "", Markup(" ").join(parts or [Markup("Changed: its name, attendees, text or the like.")])


def _bot_deleted(say: _Words, subject: Markup, row: Row[Any]) -> _Sentence:
    reason = str(row.detail.get("reason", "for no reason that is known"))
    why = {
        "event_deleted": "because the event was cancelled or removed",
        "calendar_disconnected": "because the calendar was disconnected",
        "deleted over the API": "over the API",
    }.get(reason, f"({words(reason)})")
    return "bad", Markup("{} was deleted {}{}.").format(subject, why, say.by(row.detail))


def _bot_state_changed(_: _Words, subject: Markup, row: Row[Any]) -> _Sentence:
    detail = row.detail
    state = str(detail.get("to", ""))
    reasons = [words(str(detail[name])) for name in ("sub_type", "reason") if detail.get(name)]
    why = Markup(" ({})").format(": ".join(reasons)) if reasons else Markup("")
    tone = "bad" if state == "fatal_error" else "good" if state in {"joined_recording", "ended"} else "busy"
    was = words(str(detail.get("from", "")))
    return tone, Markup("{} went from {} to <strong>{}</strong>{}.").format(subject, was, words(state), why)


_SENTENCES: Mapping[str, Callable[[_Words, Markup, Row[Any]], _Sentence]] = {
    ActivityKind.EVENT_CREATED: lambda _say, _bot, _row: ("good", Markup("Found in the calendar.")),
    ActivityKind.EVENT_UPDATED: _event_updated,
    ActivityKind.EVENT_DELETED: lambda _say, _bot, _row: ("bad", Markup("Cancelled, or removed from the calendar.")),
    ActivityKind.EVENT_RESTORED: lambda _say, _bot, _row: ("good", Markup("Back in the calendar.")),
    ActivityKind.BOT_CREATED: lambda say, bot, row: (
        "good",
        Markup("{} was created{}, to join {} at {}.").format(
            bot,
            say.by(row.detail),
            say.link(row.detail.get("meeting_url")),
            say.when(row.detail["join_at"]) if row.detail.get("join_at") else "once",
        ),
    ),
    ActivityKind.BOT_UPDATED: lambda say, bot, row: (
        "",
        Markup("{} was changed{}: {}.").format(
            bot, say.by(row.detail), ", ".join(words(one) for one in row.detail.get("fields", ()))
        ),
    ),
    ActivityKind.BOT_MOVED: lambda say, bot, row: (
        "",
        Markup("{} moved with the event, from {} to {}.").format(
            bot, say.when(row.detail.get("from")), say.when(row.detail.get("to"))
        ),
    ),
    ActivityKind.BOT_RELINKED: lambda say, bot, row: (
        "",
        Markup("{} got the event’s new link: {} instead of {}.").format(
            bot, say.link(row.detail.get("to")), say.link(row.detail.get("from"))
        ),
    ),
    ActivityKind.BOT_DELETED: _bot_deleted,
    ActivityKind.BOT_STATE_CHANGED: _bot_state_changed,
}


def _any_kind(say: _Words, subject: Markup, row: Row[Any]) -> _Sentence:
    """For a kind that has no sentence of its own: its words, and whatever is known besides."""
    name = words(row.kind)
    if row.bot_id is not None and name.startswith("bot "):
        begin = Markup("{} {}").format(subject, name.removeprefix("bot "))
    else:
        begin = escape(name[:1].upper() + name[1:])
    known = ", ".join(
        f"{words(key)}: {value}" for key, value in row.detail.items() if value is not None and key != "by"
    )
    return "busy", Markup("{}{}{}.").format(begin, say.by(row.detail), f" ({known})" if known else "")


async def _told_of_event(visit: Visit, event: Row[Any], bot_ids: set[str]) -> list[Told]:
    """The webhooks that named the event, or that told of one of its bots."""
    newest = (
        select(deliveries.c.id, deliveries.c.body)
        .where(deliveries.c.calendar_id == event.calendar_id)
        .order_by(deliveries.c.created_at.desc())
        .limit(_DELIVERIES_SEARCHED)
        .subquery()
    )
    naming_it = select(newest.c.id).where(newest.c.body.contains(event.id, autoescape=True))
    # Two queries in one, because no index answers both.
    of_bots = select(deliveries.c.id).where(deliveries.c.bot_id.in_(bot_ids))
    return await _deliveries(visit, deliveries.c.id.in_(naming_it.union_all(of_bots) if bot_ids else naming_it))


async def _deliveries(visit: Visit, of: ColumnElement[bool]) -> list[Told]:
    columns = (deliveries.c.id, deliveries.c.trigger, deliveries.c.url, deliveries.c.state, deliveries.c.created_at)
    query: Select[Any] = (
        select(*columns)
        .where(of, deliveries.c.project_id == visit.project.id)
        .order_by(deliveries.c.created_at.desc())
        .limit(_DELIVERIES_SHOWN)
    )
    rows = (await visit.tx.execute(query)).all()
    tried = (
        select(delivery_attempts)
        .where(delivery_attempts.c.delivery_id.in_([row.id for row in rows]))
        .order_by(delivery_attempts.c.number)
    )
    attempts = {row.delivery_id: row for row in await visit.tx.execute(tried)} if rows else {}
    return [_told_of_delivery(visit, row, attempts.get(row.id)) for row in rows]


def _told_of_delivery(visit: Visit, row: Row[Any], last: Row[Any] | None) -> Told:
    if last is None:
        answer = "not tried yet"
    elif last.status is not None:
        answer = f"answered {last.status} after {last.milliseconds} ms"
    else:
        answer = str(last.error).rstrip(".")
    tone = {DeliveryState.DELIVERED: "good", DeliveryState.FAILED: "bad"}.get(DeliveryState(row.state), "busy")
    sentence = Markup('Webhook <a href="{}">{}</a> to <code>{}</code>: {}.').format(
        f"{visit.address}/deliveries/{row.id}", row.trigger, row.url, answer
    )
    return Told(row.created_at, sentence, tone)


def _in_order(told: Sequence[Told]) -> list[Told]:
    return sorted(told, key=lambda one: one.at)
