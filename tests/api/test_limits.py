"""What one project may have and how often it may ask: exact with many requests at once and several processes."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import func, select, update

from attendee.model import BotState
from attendee.store import tables
from attendee.store.database import Database
from attendee.store.limits import Limits, Posts, TooManyPosts
from tests.api.serving import CALENDAR, LINK, NOON, Answer, Client, served

_MOST = 250


async def test_processes_share_one_allowance(database_url: str) -> None:
    """Together they let through no more than the limit, nearly all of it, and the next minute begins anew."""
    async with served(database_url) as api:
        databases = [Database(database_url) for _ in range(3)]
        processes = [Posts(database, _MOST) for database in databases]

        async def tried(number: int, *, now: Any) -> bool:
            try:
                await processes[number % 3].count(api.project_id, now=now)
            except TooManyPosts:
                return False
            return True

        for minute in (NOON, NOON + timedelta(minutes=1), NOON + timedelta(minutes=5)):
            now = minute + timedelta(seconds=29)
            passed = await asyncio.gather(*(tried(number, now=now) for number in range(400)))
            assert _MOST - 3 * _MOST // 100 <= sum(passed) <= _MOST
            assert not await tried(0, now=now)
        async with api.database.reading() as tx:
            kept = await tx.scalar(select(func.count()).select_from(tables.post_counts))
        assert kept == 1
        for database in databases:
            await database.close()


async def test_a_project_that_posts_too_often_is_told_when_to_come_back(database_url: str) -> None:
    """Only its POSTs are counted, bad ones too, and no other project feels it."""
    async with served(database_url, limits=Limits(posts_per_minute=3)) as api:
        api.clock.at = NOON + timedelta(seconds=12.5)
        other = await api.another_project()
        stranger = Client(api.client.session, api.client.address, "nobody's")
        answers = [await api.client.post("/calendars", body) for body in (CALENDAR, {}, CALENDAR, CALENDAR, {})]
        assert [answer.status for answer in answers] == [201, 400, 201, 429, 429]
        assert answers[-1].headers["Retry-After"] == "48"
        assert list(answers[-1].json) == ["detail"]
        assert "3 POSTs a minute" in answers[-1].json["detail"]
        assert (await api.client.get("/calendars")).status == 200
        assert (await other.post("/calendars", CALENDAR)).status == 201
        assert (await stranger.post("/calendars", CALENDAR)).status == 401
        api.clock.at += timedelta(seconds=48)
        assert (await api.client.post("/calendars", CALENDAR)).status == 201


_KINDS: list[tuple[str, Callable[[int], dict[str, Any]]]] = [
    ("calendars", lambda _: CALENDAR),
    ("bots", lambda _: {"bot_name": "Notes", "meeting_url": LINK}),
    ("webhooks", lambda n: {"url": f"https://x.example/{n}", "triggers": ["calendar.state_change"]}),
]


@pytest.mark.parametrize(("kind", "body"), _KINDS, ids=[kind for kind, _ in _KINDS])
async def test_quotas_hold_with_many_requests_at_once(
    database_url: str, kind: str, body: Callable[[int], dict[str, Any]]
) -> None:
    """Exactly as many as are allowed get in; the others are told why, and what to do; another project has its own."""
    async with served(database_url, limits=Limits(calendars=3, webhooks=3, bots=3)) as api:
        attempts: list[Awaitable[Answer]] = [api.client.post(f"/{kind}", body(number)) for number in range(8)]
        answers = await asyncio.gather(*attempts)
        assert Counter(answer.status for answer in answers) == {201: 3, 400: 5}
        refusals = {answer.raw for answer in answers if answer.status == 400}
        assert len(refusals) == 1
        assert b'{"error":"A project has at most 3 ' in refusals.pop()
        other = await api.another_project()
        assert (await other.post(f"/{kind}", body(0))).status == 201


async def test_bots_that_have_finished_make_room(database_url: str) -> None:
    """The quota is for those that still have something before them."""
    async with served(database_url, limits=Limits(bots=1)) as api:
        bot = {"bot_name": "Notes", "meeting_url": LINK}
        assert (await api.client.post("/bots", bot)).status == 201
        assert (await api.client.post("/bots", bot)).status == 400
        async with api.database.transaction() as tx:
            await tx.execute(update(tables.bots).values(state=BotState.ENDED.value))
        assert (await api.client.post("/bots", bot)).status == 201
