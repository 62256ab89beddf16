"""How a bot's reports get to the service through all that can happen on the way."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import aiohttp
import pytest

from attendee.sandbox.faults import Faults
from attendee.sandbox.reports import Reporter
from attendee.sandbox.timings import Timings
from tests.sandbox.application import NOW
from tests.sandbox.bot_service import BotService, ManualTime, taking_reports


@pytest.fixture
def time() -> ManualTime:
    return ManualTime()


@pytest.fixture
async def service(session: aiohttp.ClientSession) -> AsyncIterator[BotService]:
    staged = BotService(session, "", states={"bot_1": "staged"}, tokens={"bot_1": "token"})
    async with taking_reports(staged) as service:
        yield service


@pytest.fixture
async def reporter(service: BotService, time: ManualTime) -> AsyncIterator[Reporter]:
    reporter = Reporter(
        session=service.session,
        address=f"{service.report_url}/bot_1",
        token="token",
        targets=("bot_1",),
        refused=lambda status, state: None,
        faults=Faults(),
        timings=Timings(),
        clock=time,
        pause=time.pause,
    )
    sending = asyncio.create_task(reporter.send())
    yield reporter
    reporter.finish()
    await sending


async def test_reports_are_sent_until_they_are_taken(service: BotService, reporter: Reporter, time: ManualTime) -> None:
    """Cut connections, 5xx and 429 delay a report, longer each time; it keeps its place before the others."""
    service.troubles.extend([None, 503, 429])
    reporter.add("join_requested")
    reporter.add("put_in_waiting_room")
    moments = [await time.next() - NOW for _ in range(3)]
    assert moments == [timedelta(seconds=seconds) for seconds in (0.5, 1.5, 3.5)]
    await reporter.settled()
    assert [status for _, status in service.asked] == [0, 503, 429, 200, 200]
    assert service.types == ["join_requested", "put_in_waiting_room"]
    assert [report.status for report in reporter.reports] == [200, 200]


async def test_reports_are_given_up_in_the_end(service: BotService, reporter: Reporter, time: ManualTime) -> None:
    """After some time of trouble, and at once after a refusal; the next one has its own chance."""
    reporter.timings = Timings(retried_for=timedelta(seconds=3))
    service.troubles.extend([503, 503, 503, 401])
    reporter.add("heartbeat")
    assert [await time.next() - NOW for _ in range(2)] == [timedelta(seconds=0.5), timedelta(seconds=1.5)]
    await reporter.settled()
    for type_ in ("log", "join_requested"):
        reporter.add(type_)
    await reporter.settled()
    assert [report.status for report in reporter.reports] == [None, 401, 200]


async def test_a_heartbeat_waits_in_no_line(service: BotService, reporter: Reporter) -> None:
    """Where other reports wait to be sent, they say as well that the bot is alive."""
    reporter.add("join_requested")
    reporter.beat()
    await reporter.settled()
    reporter.beat()
    await reporter.settled()
    assert [type_ for type_, _ in service.asked] == ["join_requested", "heartbeat"]
