"""One calendar of the sandbox: its entries, the counter that grows with every change, and what people do to them."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from attendee.clock import Clock
from attendee.sandbox.entries import (
    Details,
    Entry,
    EntryState,
    Guest,
    Occurrence,
    OddEntry,
    Override,
    Rule,
    Slot,
    as_instant,
    as_slot,
    at_slot,
    occurrence,
    slots_through,
)

# How far a series without end is laid out: this many occurrences after now. Google lays out hundreds, into the 2040s.
SLOTS_BEYOND_NOW = 200

ID_ALPHABET = "abcdefghijklmnopqrstuv0123456789"


def new_entry_id() -> str:
    """An id of the letters that Google allows, and long enough never to meet another."""
    return "".join(secrets.choice(ID_ALPHABET) for _ in range(26))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A single event or one occurrence as a person sees it in the calendar; `slot` names the occurrence."""

    entry: Entry
    slot: Slot | None
    details: Details
    is_live: bool

    def overlaps(self, start: datetime, end: datetime, *, zone: str) -> bool:
        """Whether any of it lies between the two moments."""
        return as_instant(self.details.ends, zone=zone) > start and as_instant(self.details.starts, zone=zone) < end


@dataclass(slots=True, kw_only=True)
class Calendar:
    """A calendar and all its entries, cancelled ones included. Every method that changes something tells `changed`."""

    id: str
    owner: str
    clock: Clock
    changed: Callable[[Calendar], None]
    name: str = ""
    zone: str = "UTC"
    is_primary: bool = False
    can_be_watched: bool = True
    is_gone: bool = False
    change: int = 0
    # Raised by `expire_cursors`: a cursor that carries an older number is refused.
    cursor_generation: int = 0
    updated_at: datetime = field(init=False)
    entries: dict[str, Entry | OddEntry] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.updated_at = self.clock()

    def put(
        self, id: str | None = None, *, starts: Slot, ends: Slot | None = None, rule: Rule | None = None, **details: Any
    ) -> Entry:
        """The entry with this id, created or replaced; half an hour or a day long unless told.

        `details` are the other fields of `Details`.
        """
        usual = timedelta(minutes=30) if isinstance(starts, datetime) else timedelta(days=1)
        zone = details.pop("zone", self.zone)
        written = Details(starts=starts, ends=starts + usual if ends is None else ends, zone=zone, **details)
        entry_id = id or new_entry_id()
        before = self.entries.get(entry_id)
        now = self.clock()
        return self._store(
            Entry(
                id=entry_id,
                uid=before.uid if isinstance(before, Entry) else entry_id,
                number=before.number if before else len(self.entries),
                details=written,
                rule=rule,
                overrides=before.overrides if isinstance(before, Entry) else {},
                former=before.former if isinstance(before, Entry) else {},
                change=self.change,
                created_at=before.created_at if isinstance(before, Entry) else now,
                updated_at=now,
                sequence=before.sequence + 1 if isinstance(before, Entry) else 0,
            ),
            before=before if isinstance(before, Entry) else None,
        )

    def put_raw(self, id: str, item: object) -> OddEntry:
        """Any JSON value, delivered as it is in every listing and delta: for events that no sane platform sends."""
        before = self.entries.get(id)
        self.change += 1
        self.updated_at = self.clock()
        number = before.number if before else len(self.entries)
        entry = OddEntry(id=id, item=item, number=number, change=self.change, updated_at=self.updated_at)
        self.entries[id] = entry
        self.changed(self)
        return entry

    def get(self, id: str) -> Entry:
        """The entry. Raises KeyError if there is none, or only an odd one."""
        entry = self.entries[id]
        if not isinstance(entry, Entry):
            raise KeyError(id)
        return entry

    def edit(self, id: str, **changes: Any) -> Entry:
        """The entry with other details (the fields of `Details`, and `rule`); of a series this is every occurrence."""
        before = self.get(id)
        rule = changes.pop("rule", before.rule)
        entry = replace(before, details=replace(before.details, **changes), rule=rule, sequence=before.sequence + 1)
        return self._store(entry, before=before)

    def move(self, id: str, *, starts: Slot, ends: Slot | None = None) -> Entry:
        """The entry at another time, as long as before unless `ends` says otherwise."""
        before = self.get(id).details
        return self.edit(id, starts=starts, ends=starts + before.length if ends is None else ends)

    def cancel(self, id: str) -> Entry:
        """The entry, cancelled with all its details kept: what an organizer sees of it."""
        before = self.get(id)
        return self._store(replace(before, state=EntryState.CANCELLED, sequence=before.sequence + 1), before=before)

    def delete(self, id: str) -> Entry:
        """The entry, of which platforms from now on say hardly more than that it is gone."""
        before = self.get(id)
        return self._store(replace(before, state=EntryState.DELETED), before=before)

    def forget(self, id: str) -> None:
        """Drops every trace of an entry without any change to tell of, as platforms do some time after a deletion."""
        del self.entries[id]

    def respond(self, id: str, response: str) -> Entry:
        """The entry with another answer of the calendar's owner, who becomes a guest if need be."""
        before = self.get(id).details
        others = [guest for guest in before.guests if guest.email != self.owner]
        own = next((guest for guest in before.guests if guest.email == self.owner), Guest(email=self.owner))
        return self.edit(id, guests=(*others, replace(own, response=type(own.response)(response))))

    def edit_occurrence(self, id: str, slot: Slot, **changes: Any) -> Entry:
        """The series with other details in one occurrence. Raises KeyError for a slot that the rule doesn't give."""
        before = self.get(id)
        current = self.occurrence(id, slot).details or at_slot(before.details, as_slot(slot))
        return self._override(before, as_slot(slot), replace(current, **changes))

    def move_occurrence(self, id: str, slot: Slot, *, starts: Slot, ends: Slot | None = None) -> Entry:
        """The series with one occurrence at another time; the occurrence keeps its slot."""
        length = self.get(id).details.length
        return self.edit_occurrence(id, slot, starts=starts, ends=starts + length if ends is None else ends)

    def cancel_occurrence(self, id: str, slot: Slot) -> Entry:
        """The series without one of its occurrences. Raises KeyError for a slot that the rule doesn't give."""
        self.occurrence(id, slot)
        return self._override(self.get(id), as_slot(slot), None)

    def split(self, id: str, slot: Slot, **changes: Any) -> Entry:
        """The new series that "this and following" makes of the old one, which ends before that slot."""
        before, at = self.get(id), as_slot(slot)
        kept = [other for other in self.slots(before) if _instant(before, other) < _instant(before, at)]
        rule = before.rule
        if rule is None or self.occurrence(id, slot).details is None:
            raise KeyError(slot)
        stamp = at.strftime("%Y%m%dT%H%M%S")
        if kept:
            self._store(replace(before, rule=replace(rule, until=kept[-1], count=None)), before=before)
        else:
            self.delete(id)
        details = replace(at_slot(before.details, at), **changes)
        left = rule.count - len(kept) if rule.count is not None else None
        fields = {name: getattr(details, name) for name in Details.__dataclass_fields__}
        return self.put(f"{id}_R{stamp}", rule=replace(rule, count=left), **fields)

    def transfer(self, id: str, *, to: Calendar) -> Entry:
        """The entry in another calendar, under the same id; here it is deleted."""
        entry = self.delete(id)
        fields = {name: getattr(entry.details, name) for name in Details.__dataclass_fields__}
        return to.put(id, rule=entry.rule, **fields)

    def slots(self, entry: Entry, *, end: datetime | None = None) -> list[Slot]:
        """The slots of a series: those before `end`, or as far as the series is laid out."""
        if end is not None:
            return slots_through(entry, end, beyond=0)
        return slots_through(entry, self.clock(), beyond=SLOTS_BEYOND_NOW)

    def occurrence(self, id: str, slot: Slot) -> Occurrence:
        """One occurrence as it stands. Raises KeyError for a slot that the rule doesn't give."""
        entry, wanted = self.get(id), as_slot(slot)
        if wanted not in entry.overrides:
            is_same_sort = isinstance(wanted, datetime) != entry.details.is_all_day
            just_after = _instant(entry, wanted) + timedelta(seconds=1)
            if not is_same_sort or wanted not in self.slots(entry, end=just_after):
                raise KeyError(slot)
        return occurrence(entry, wanted)

    def occurrences(self, entry: Entry, *, end: datetime | None = None) -> Iterator[Occurrence]:
        """Every occurrence whose slot lies before `end` (or as far as laid out), and every changed one."""
        found = self.slots(entry, end=end)
        yield from (occurrence(entry, slot) for slot in found)
        seen = set(found)
        yield from (occurrence(entry, slot) for slot in entry.overrides if slot not in seen)

    def between(self, start: datetime, end: datetime, *, ids: Collection[str] | None = None) -> list[Standing]:
        """What stands in the calendar from `start` to `end`, by time; cancelled entries are marked, not left out.

        With `ids` only those entries are looked at, as far as there are any.
        """
        found: list[Standing] = []
        for entry in self.entries.values() if ids is None else [self.entries[id] for id in ids if id in self.entries]:
            if not isinstance(entry, Entry):
                continue
            if entry.rule is None:
                found.append(Standing(entry=entry, slot=None, details=entry.details, is_live=_is_live(entry)))
                continue
            for one in self.occurrences(entry, end=end):
                details = one.details or at_slot(entry.details, one.slot)
                is_live = one.details is not None and _is_live(entry)
                found.append(Standing(entry=entry, slot=one.slot, details=details, is_live=is_live))
        inside = [one for one in found if one.overlaps(start, end, zone=self.zone)]
        return sorted(inside, key=lambda one: as_instant(one.details.starts, zone=self.zone))

    def expire_cursors(self) -> None:
        """Every cursor handed out so far is refused from now on."""
        self.cursor_generation += 1

    def touch(self) -> None:
        """Tells watchers of a change where there is none, as platforms do now and then."""
        self.changed(self)

    def _store(self, entry: Entry, *, before: Entry | None) -> Entry:
        if before is not None and (before.rule is None) != (entry.rule is None):
            raise ValueError("a single event does not become a series, nor the other way: delete it and put a new one")
        self.change += 1
        self.updated_at = self.clock()
        stored = replace(entry, change=self.change, updated_at=self.updated_at)
        if before is not None and before.rule is not None:
            stored = self._with_former_slots(stored, before)
        self.entries[stored.id] = stored
        self.changed(self)
        return stored

    def _with_former_slots(self, entry: Entry, before: Entry) -> Entry:
        """The series, knowing which of its slots are no more: their ids were given out, and are cancelled each."""
        now_given = set(self.slots(entry))
        former = {slot: change for slot, change in before.former.items() if slot not in now_given}
        former |= {slot: entry.change for slot in self.slots(before) if slot not in now_given}
        overrides = {slot: override for slot, override in entry.overrides.items() if slot in now_given}
        return replace(entry, former=former, overrides=overrides)

    def _override(self, before: Entry, slot: Slot, details: Details | None) -> Entry:
        self.change += 1
        self.updated_at = self.clock()
        override = Override(details=details, change=self.change, updated_at=self.updated_at)
        stored = replace(before, overrides={**before.overrides, slot: override})
        self.entries[before.id] = stored
        self.changed(self)
        return stored


def _is_live(entry: Entry) -> bool:
    return entry.state is EntryState.LIVE


def _instant(entry: Entry, slot: Slot) -> datetime:
    return as_instant(slot, zone=entry.details.zone)
