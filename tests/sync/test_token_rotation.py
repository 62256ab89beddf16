"""Microsoft hands out another refresh token with every refresh: none is lost, and none is asked for twice at once."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import aiohttp
import pytest
from sqlalchemy import event as sqlalchemy_event

from attendee.meetings import find_meeting_url
from attendee.model import CalendarId, CalendarState, Platform, Window
from attendee.providers.microsoft import MicrosoftCalendar
from attendee.providers.port import Page
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.world import Person
from attendee.store import calendars, claims, sync_state, tables
from tests.installation import START, Installation, NotDue, installation, until

_TOMORROW = START + timedelta(days=1)
_TOKEN_IS_OLD = timedelta(hours=2)


@pytest.fixture
async def here(database_url: str) -> AsyncIterator[Installation]:
    async with installation(database_url) as made:
        yield made


@pytest.fixture
def mia(here: Installation) -> Person:
    """A person with an event at Microsoft."""
    person = here.world.add_person("mia@acme.example", platform="microsoft")
    person.primary.put("review", starts=_TOMORROW, title="Review")
    return person


class _Crash(BaseException):
    """The process died here: nothing catches that."""


@dataclass
class _Life:
    """What our process does, statement by statement, until it dies before its step number `dies_at` (None: never)."""

    dies_at: int | None
    # "token" and "graph" for an answer that has come; a statement, or "commit", before it is run.
    done: list[str] = field(default_factory=list)
    steps: int = 0

    def take_step(self, what: str) -> None:
        self.steps += 1
        if self.steps == self.dies_at:
            raise _Crash
        self.done.append(what)


@contextmanager
def _watched(here: Installation, life: _Life) -> Iterator[None]:
    """Every statement and commit of ours meanwhile is a step of this life."""

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        life.take_step(statement)

    def before_commit(_connection: Any) -> None:
        life.take_step("commit")

    engine = here.database.engine.sync_engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", before_statement)
    sqlalchemy_event.listen(engine, "commit", before_commit)
    try:
        yield
    finally:
        sqlalchemy_event.remove(engine, "before_cursor_execute", before_statement)
        sqlalchemy_event.remove(engine, "commit", before_commit)


@asynccontextmanager
async def _heard(here: Installation, life: _Life) -> AsyncIterator[None]:
    """Notes every answer of Microsoft's meanwhile."""

    async def note(_session: object, _context: object, end: aiohttp.TraceRequestEndParams) -> None:
        life.done.append("token" if end.url.path.endswith("/token") else "graph")

    trace = aiohttp.TraceConfig()
    trace.on_request_end.append(note)
    former = here.pipeline
    async with aiohttp.ClientSession(trace_configs=[trace]) as http:
        here.pipeline = replace(former, providers={**former.providers, Platform.MICROSOFT: _provider(here, http)})
        try:
            yield
        finally:
            here.pipeline = former


def _provider(here: Installation, http: aiohttp.ClientSession) -> MicrosoftCalendar:
    return MicrosoftCalendar(
        http=http,
        graph_url=f"{here.sandbox.microsoft_url}/v1.0",
        token_url=f"{here.sandbox.microsoft_url}/common/oauth2/v2.0/token",
        find_meeting_url=find_meeting_url,
    )


async def _live(here: Installation, calendar_id: CalendarId, life: _Life) -> bool:
    """One sync of the calendar; False if the process died in it. Then its claim runs out."""
    claimed = await here.claim(calendar_id)
    try:
        async with _heard(here, life):
            with _watched(here, life):
                await here.pipeline.sync_calendar(claimed)
                await here.quiet.settle()
    except (_Crash, BaseExceptionGroup):
        here.quiet._gathered.clear()
        here.clock.advance(claims.LEASE)
        return False
    return True


async def _refresh_token(here: Installation, calendar_id: CalendarId) -> str:
    """The stored refresh token, opened."""
    calendar = await here.calendar(calendar_id)
    return sync_state.open_secret(here.key_ring, calendar, "refresh_token", calendar.refresh_token)


async def _names(here: Installation, calendar_id: CalendarId) -> list[str]:
    return [row.name for row in (await here.events(calendar_id)).values()]


def _steps_that_lose_the_token(done: list[str]) -> set[int]:
    """The steps, counted from 1, between the platform's answer and the end of the commit that stores its token."""
    answered = done.index("token")
    stored = done.index("commit", answered)
    before = len([what for what in done[:answered] if what != "graph"])
    return set(range(before + 1, before + 1 + stored - answered))


async def test_the_rotated_token_is_stored_before_anything_else(here: Installation, mia: Person) -> None:
    """Between the answer that brings it and the commit that keeps it there is no request and no other table."""
    calendar = await here.connect(mia)
    given = await _refresh_token(here, calendar.id)
    life = _Life(dies_at=None)
    assert await _live(here, calendar.id, life)

    answered = life.done.index("token")
    committed = life.done.index("commit", answered)
    between = [what for what in life.done[answered + 1 : committed] if not what.startswith("BEGIN")]
    assert between, "it is stored"
    assert all("calendars" in statement for statement in between)
    assert "graph" not in life.done[:committed]
    assert "graph" in life.done[committed:]
    kept = await _refresh_token(here, calendar.id)
    assert kept != given
    assert list(here.world.grants.refresh_tokens)[-1] == kept


@pytest.mark.parametrize("is_changed", [True, False], ids=["changed", "quiet"])
async def test_the_process_dies_anywhere_around_a_refresh(here: Installation, mia: Person, *, is_changed: bool) -> None:
    """Whichever statement it dies at, the next sync has a token that works: Microsoft lets the old one live on."""
    calendar = await here.sync((await here.connect(mia)).id)
    dies_at, has_died = 0, True
    while has_died:
        dies_at += 1
        here.clock.advance(_TOKEN_IS_OLD)
        if is_changed:
            mia.primary.edit("review", title=f"Review {dies_at}")
        life = _Life(dies_at=dies_at)
        has_died = not await _live(here, calendar.id, life)

        synced = await here.sync(calendar.id)
        assert (synced.state, synced.last_error, synced.attempts) == (CalendarState.CONNECTED, None, 0), dies_at
        assert await _names(here, calendar.id) == [f"Review {dies_at}" if is_changed else "Review"]
        assert await _refresh_token(here, calendar.id) in here.world.grants.refresh_tokens
    assert "token" in life.done
    assert dies_at > len(_steps_that_lose_the_token(life.done))


async def test_a_token_that_dies_with_its_use_is_lost_only_on_its_way_into_the_database(
    here: Installation, mia: Person
) -> None:
    """Were the old token to die at once, nothing but death before the very commit that stores the new one loses it.

    No design can do without that gap. The calendar then says so, and works again with the user's next consent.
    """
    lost: set[int] = set()
    dies_at, has_died = 0, True
    while has_died:
        dies_at += 1
        here.world.grants.old_refresh_tokens_die = False
        calendar = await here.sync((await here.connect(mia)).id)
        here.clock.advance(_TOKEN_IS_OLD)
        mia.primary.edit("review", title=f"Review {dies_at}")
        here.world.grants.old_refresh_tokens_die = True
        life = _Life(dies_at=dies_at)
        has_died = not await _live(here, calendar.id, life)

        synced = await here.sync(calendar.id)
        if synced.state is CalendarState.DISCONNECTED:
            lost.add(dies_at)
            assert synced.connection_failure_data is not None
            assert synced.connection_failure_data["code"] == "consent_revoked"
            synced = await _patched(here, calendar.id, refresh_token=here.world.authorise(mia))
            synced = await here.sync(calendar.id)
        assert (synced.state, synced.last_error) == (CalendarState.CONNECTED, None), dies_at
        assert await _names(here, calendar.id) == [f"Review {dies_at}"]
    assert lost == _steps_that_lose_the_token(life.done)
    assert lost < set(range(1, dies_at))


async def _patched(
    here: Installation, calendar_id: CalendarId, *, refresh_token: str | None = None, client_secret: str | None = None
) -> calendars.Calendar:
    """The calendar after `PATCH /calendars/{id}` with new credentials."""
    async with here.database.transaction() as tx:
        calendar = await calendars.get(tx, calendar_id, project_id=here.project_id, for_update=True)
        return await calendars.update_credentials(
            tx,
            calendar,
            client_secret=client_secret,
            refresh_token=refresh_token,
            metadata=None,
            key_ring=here.key_ring,
            now=here.clock(),
        )


class _TokenDiesAfterListing(MicrosoftCalendar):
    """Microsoft, where the access token is withdrawn as soon as the window has been listed."""

    world_of: Installation
    person: Person

    async def page(self, access_token: str, position: str, *, calendar: str | None, window: Window) -> Page:
        page = await super().page(access_token, position, calendar=calendar, window=window)
        if page.lists_window and page.next_position is None:
            self.world_of.world.grants.expire_access_tokens(self.person.email)
        return page


async def test_requests_of_one_sync_refresh_once_between_them(here: Installation, mia: Person) -> None:
    """Absent events are asked for together; when the token dies under all of them, it is replaced once."""
    for number in range(20):
        mia.primary.put(f"event{number}", starts=_TOMORROW)
    calendar = await here.sync((await here.connect(mia)).id)
    provider = _TokenDiesAfterListing(
        http=here.http,
        graph_url=f"{here.sandbox.microsoft_url}/v1.0",
        token_url=f"{here.sandbox.microsoft_url}/common/oauth2/v2.0/token",
        find_meeting_url=find_meeting_url,
    )
    provider.world_of, provider.person = here, mia
    here.pipeline = replace(here.pipeline, providers={Platform.MICROSOFT: provider})
    for number in range(20):
        mia.primary.delete(f"event{number}")
    here.world.requests.clear()
    here.world.faults.switch_on(mia.email, FaultKind.LATENCY, seconds=0.005)
    synced = await here.sync(calendar.id)
    assert synced.last_error is None
    assert here.world.requests[mia.email, "token"] == 1
    assert here.world.busiest[mia.email] == 2
    assert sum(row.is_deleted for row in (await here.events(calendar.id)).values()) == 20


async def test_one_calendar_is_never_refreshed_twice_at_once(here: Installation, mia: Person) -> None:
    """While a refresh hangs, nobody else gets hold of the calendar, however often it is woken."""
    calendar = await here.connect(mia)
    here.world.faults.switch_on(mia.email, FaultKind.HANG, place=Place.TOKENS)
    under_way = asyncio.create_task(here.sync(calendar.id))
    await until(lambda: here.world.faults.hanging)
    for _ in range(3):
        here.clock.advance(timedelta(seconds=15))
        with pytest.raises(NotDue):
            await here.sync(calendar.id)
    here.world.faults.switch_off()
    assert (await under_way).last_error is None
    assert here.world.requests[mia.email, "token"] == 1


async def test_new_credentials_end_the_life_of_the_access_token(here: Installation, mia: Person) -> None:
    """The cached one may be another account's: the next sync asks for its own, though the old one was still good."""
    noa = here.world.add_person("noa@acme.example", platform="microsoft")
    noa.primary.put("retro", starts=_TOMORROW, title="Retro")
    calendar = await here.sync((await here.connect(mia)).id)
    assert calendar.access_token is not None
    patched = await _patched(here, calendar.id, refresh_token=here.world.authorise(noa))
    assert patched.access_token is None
    await here.sync(calendar.id)
    rows = await here.rows(tables.events)
    assert {row.name: row.is_deleted for row in rows} == {"Review": True, "Retro": False}


async def test_new_credentials_win_over_a_refresh_under_way(here: Installation, mia: Person) -> None:
    """What Microsoft hands out for the old ones is thrown away; the next sync uses what the user has just allowed."""
    calendar = await here.connect(mia)
    here.world.faults.switch_on(mia.email, FaultKind.HANG, place=Place.TOKENS)
    under_way = asyncio.create_task(here.sync(calendar.id))
    await until(lambda: here.world.faults.hanging)
    allowed = here.world.authorise(mia)
    await _patched(here, calendar.id, refresh_token=allowed)
    here.world.faults.switch_off()
    let_go = await under_way

    assert await _refresh_token(here, calendar.id) == allowed
    assert let_go.access_token is None
    assert (let_go.claim_id, let_go.last_attempted_sync_at) == (None, None)
    assert let_go.due_at == here.clock()
    assert await here.rows(tables.events) == []

    synced = await here.sync(calendar.id)
    assert (synced.state, synced.last_error) == (CalendarState.CONNECTED, None)
    assert await _names(here, calendar.id) == ["Review"]
    grants = here.world.grants
    assert grants.refresh_tokens[await _refresh_token(here, calendar.id)] is grants.refresh_tokens[allowed]


async def test_a_refusal_of_the_old_credentials_does_not_hit_the_new_ones(here: Installation, mia: Person) -> None:
    """A refresh under way that ends with a revocation disconnects nothing once the user has consented again."""
    calendar = await here.sync((await here.connect(mia)).id)
    here.clock.advance(_TOKEN_IS_OLD)
    here.world.faults.switch_on(mia.email, FaultKind.HANG, place=Place.TOKENS)
    under_way = asyncio.create_task(here.sync(calendar.id))
    await until(lambda: here.world.faults.hanging)
    here.world.revoke(mia)
    await _patched(here, calendar.id, refresh_token=here.world.authorise(mia))
    here.world.faults.switch_off()
    assert (await under_way).state is CalendarState.CONNECTED
    synced = await here.sync(calendar.id)
    assert (synced.state, synced.last_error) == (CalendarState.CONNECTED, None)
