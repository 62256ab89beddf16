"""Bots on their way to a runner: in time, once, called off when their meeting changes, and never forgotten."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from attendee.bots.reports import Impossible
from attendee.bots.runners.port import Refused, Taken, Trouble
from attendee.bots.schedule import ASKED_BEFORE, LaunchTimes
from attendee.errors import ClaimLost
from attendee.model import BotEventType, BotId, BotState, LaunchState, Trigger
from attendee.sandbox.world import Person
from attendee.store import bots, claims, tables
from attendee.store.bots import Bot, NewBot
from attendee.store.columns import token_hash
from tests.bots.crew import HEARTBEAT, LEAD, MEET, Crew, crew
from tests.installation import START, Crash

_ZOOM = "https://acme.zoom.us/j/98765432100?pwd=Zm9v"
_STARTS = START + timedelta(days=1)
_ENDS = _STARTS + timedelta(minutes=30)
_NEXT_WEEK = START + timedelta(days=7)


@pytest.fixture
async def its(database_url: str) -> AsyncIterator[Crew]:
    async with crew(database_url) as made:
        yield made


@pytest.fixture
def ana(its: Crew) -> Person:
    person = its.here.world.add_person("ana@acme.example")
    person.primary.put("meeting", starts=_STARTS, location=MEET)
    return person


def _launch_at(its: Crew, bot: Bot) -> datetime:
    return its.launcher.times.launch_at(bot.id, _STARTS)


async def _deliver_states(its: Crew) -> list[tuple[str, str, str]]:
    told = await its.here.told(Trigger.BOT_STATE_CHANGE)
    return [(one["data"]["old_state"], one["data"]["new_state"], one["data"]["event_type"]) for one in told]


async def test_a_bot_is_handed_to_the_runner_in_time(its: Crew, ana: Person) -> None:
    """Not before, inside the lead, with all it needs; its state, a webhook and its history say so."""
    await its.here.subscribe(triggers=(Trigger.BOT_STATE_CHANGE,))
    bot = await its.scheduled(ana)
    launch_at = _launch_at(its, bot)
    its.here.clock.at = launch_at - ASKED_BEFORE - timedelta(seconds=1)
    await its.work()
    assert its.fleet.orders == []
    its.here.clock.at = launch_at - ASKED_BEFORE
    await its.work()
    assert its.fleet.orders == []
    its.here.clock.at = launch_at
    await its.work()
    (order,) = its.fleet.orders
    token = order.body.pop("report_token")
    assert order.body == {
        "bot_id": bot.id,
        "bot_name": "Notes",
        "meeting_url": MEET,
        "meeting_service": "google_meet",
        "join_at": "2026-12-02T08:30:00.000000Z",
        "metadata": None,
        "settings": {},
        "report_url": f"https://attendee.example/runner/v1/bots/{bot.id}/events",
    }
    taken = await its.bot(bot)
    assert taken is not None
    assert (taken.state, taken.launch_id) == (BotState.STAGED, order.id)
    assert taken.report_token_hash == token_hash(token)
    assert token not in repr(await its.launches()) + repr(await its.here.rows(tables.bots))
    assert await its.steps(bot) == [("staged", None)]
    assert await _deliver_states(its) == [("scheduled", "staged", "staged")]
    (entry,) = await its.here.rows(tables.activity, tables.activity.c.bot_id == bot.id)
    assert (entry.detail["from"], entry.detail["to"]) == ("scheduled", "staged")


async def test_its_calendar_is_asked_just_before(its: Crew, ana: Person) -> None:
    """Nobody is sent to a meeting that was moved or cancelled a minute ago."""
    bot = await its.scheduled(ana)
    ana.primary.move("meeting", starts=_NEXT_WEEK)
    its.here.clock.at = _launch_at(its, bot) - ASKED_BEFORE
    await its.work()
    (calendar,) = await its.here.rows(tables.calendars)
    assert calendar.due_at == its.here.clock()
    await its.sync()
    its.here.clock.at = _STARTS
    await its.work()
    assert its.fleet.told == []
    moved = await its.bot(bot)
    assert moved is not None
    assert (moved.state, moved.join_at) == (BotState.SCHEDULED, _NEXT_WEEK)
    its.here.clock.at = _NEXT_WEEK - LEAD / 2
    await its.work()
    its.here.clock.advance(ASKED_BEFORE)
    await its.work()
    assert len(its.fleet.orders) == 1


async def test_a_platform_that_does_not_answer_makes_no_launch_late(its: Crew, ana: Person) -> None:
    """The calendar is asked, and the launch waits for nothing."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _launch_at(its, bot) - ASKED_BEFORE
    await its.work()
    its.here.clock.at = _launch_at(its, bot)
    await its.work()
    assert len(its.fleet.orders) == 1


async def test_a_bot_that_is_ordered_at_the_last_moment_waits_for_nothing(its: Crew, ana: Person) -> None:
    """Ten seconds before its meeting, and in the middle of it."""
    calendar = await its.here.sync((await its.here.connect(ana)).id)
    event = (await its.here.events(calendar.id))["meeting"]
    its.here.clock.at = _STARTS - timedelta(seconds=10)
    await its.here.order_bot(event)
    await its.work()
    assert len(its.fleet.orders) == 1
    its.here.clock.at = _STARTS + timedelta(minutes=10)
    late = await its.here.order_bot(event)
    await its.work()
    assert len(its.fleet.orders) == 2
    # It still has its ten minutes to come up.
    taken = await its.bot(late)
    assert taken is not None
    assert taken.due_at == its.here.clock() + timedelta(minutes=10)


async def test_a_launch_that_was_missed_is_made_up_for_while_the_meeting_is_on(its: Crew, ana: Person) -> None:
    """Everything was down: better late than never, but not when all have gone."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _ENDS - timedelta(seconds=1)
    await its.work()
    assert [order.bot_id for order in its.fleet.orders] == [bot.id]


async def test_a_launch_that_was_missed_for_good_says_so(its: Crew, ana: Person) -> None:
    """The meeting is over: the bot has failed, with the reason."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _ENDS
    await its.work()
    assert its.fleet.told == []
    assert await its.steps(bot) == [("fatal_error", "bot_not_launched")]


async def test_a_bot_without_a_link_ends_at_its_time(its: Crew, ana: Person) -> None:
    """It has until then to get one."""
    bot = await its.scheduled(ana)
    ana.primary.edit("meeting", location="Room Alder")
    await its.sync()
    its.here.clock.at = _STARTS - timedelta(seconds=1)
    await its.work()
    assert await its.steps(bot) == []
    its.here.clock.at = _STARTS
    await its.work()
    assert await its.steps(bot) == [("fatal_error", "no_meeting_url")]
    assert its.fleet.told == []


async def _join_now(its: Crew) -> Bot:
    new = NewBot("Notes", _ZOOM, None, None, None, None, None, {"zoom_settings": {"sdk": "web"}})
    async with its.here.database.transaction() as tx:
        return await bots.create(
            tx,
            new,
            bot_id=bots.new_bot_id(),
            state=BotState.JOINING,
            project_id=its.here.project_id,
            due_at=its.here.clock(),
            now=its.here.clock(),
        )


async def test_a_bot_without_a_time_starts_at_once(its: Crew) -> None:
    """It is joining from the start, and stays so until it reports."""
    bot = await _join_now(its)
    await its.work()
    (order,) = its.fleet.orders
    assert order.body["join_at"] == "2026-12-01T08:30:00.000000Z"
    assert order.body["settings"] == {"zoom_settings": {"sdk": "web"}}
    assert order.body["meeting_service"] == "zoom"
    assert await its.steps(bot) == []
    assert (await its.report(bot, BotEventType.JOIN_REQUESTED)).state is BotState.JOINING
    assert (await its.report(bot, BotEventType.JOINED_MEETING)).state is BotState.JOINED_NOT_RECORDING


# What becomes of staged bots.


async def test_a_staged_bot_whose_meeting_moves_away_waits_again(its: Crew, ana: Person) -> None:
    """Called off, confirmed, and only then scheduled; launched anew in time, under another id and token."""
    await its.here.subscribe(triggers=(Trigger.BOT_STATE_CHANGE,))
    bot = await its.staged(ana)
    ana.primary.move("meeting", starts=_NEXT_WEEK)
    await its.sync()
    moved = await its.bot(bot)
    assert moved is not None
    assert (moved.state, moved.join_at) == (BotState.STAGED, _NEXT_WEEK)
    assert moved.report_token_hash is None
    await its.work()
    waiting = await its.bot(bot)
    assert waiting is not None
    assert (waiting.state, waiting.launch_id) == (BotState.SCHEDULED, None)
    assert its.fleet.running == {}
    assert await its.steps(bot) == [("staged", None), ("unstaged", None)]
    assert (await _deliver_states(its))[-1] == ("staged", "scheduled", "unstaged")
    its.here.clock.at = _NEXT_WEEK - LEAD / 2
    await its.work()
    its.here.clock.advance(ASKED_BEFORE)
    await its.work()
    first, second = its.fleet.orders
    assert first.id != second.id
    assert first.body["report_token"] != second.body["report_token"]


async def test_a_staged_bot_whose_meeting_moves_a_little_is_staged_anew(its: Crew, ana: Person) -> None:
    """The new time is within the lead: it goes to the runner again at once."""
    bot = await its.staged(ana)
    ana.primary.move("meeting", starts=_STARTS - timedelta(minutes=1))
    await its.sync()
    await its.work()
    again = await its.bot(bot)
    assert again is not None
    assert (again.state, again.launch_id) == (BotState.STAGED, its.fleet.orders[1].id)
    assert its.fleet.orders[1].body["join_at"] == "2026-12-02T08:29:00.000000Z"
    assert [call for call, _ in its.fleet.told] == ["stage", "call_off", "stage"]


async def test_a_staged_bot_goes_to_its_new_link(its: Crew, ana: Person) -> None:
    """Never to both."""
    bot = await its.staged(ana)
    ana.primary.edit("meeting", location=_ZOOM)
    await its.sync()
    await its.work()
    assert [order.body["meeting_url"] for order in its.fleet.orders] == [MEET, _ZOOM]
    assert [call for call, _ in its.fleet.told] == ["stage", "call_off", "stage"]
    again = await its.bot(bot)
    assert again is not None
    assert again.state is BotState.STAGED


async def test_a_staged_bot_that_loses_its_link_waits_for_another(its: Crew, ana: Person) -> None:
    """Until its time; with a link again it goes."""
    bot = await its.staged(ana)
    ana.primary.edit("meeting", location="Room Alder")
    await its.sync()
    await its.work()
    waiting = await its.bot(bot)
    assert waiting is not None
    assert (waiting.state, waiting.meeting_url, waiting.due_at) == (BotState.SCHEDULED, None, _STARTS)
    ana.primary.edit("meeting", location=_ZOOM)
    await its.sync()
    await its.work()
    again = await its.bot(bot)
    assert again is not None
    assert again.state is BotState.STAGED


@pytest.mark.parametrize("how", ["cancelled", "disconnected"])
async def test_a_staged_bot_goes_with_its_event_or_calendar(its: Crew, ana: Person, how: str) -> None:
    """Gone at once, its key free; the runner is told, and no webhook is."""
    await its.here.subscribe(triggers=(Trigger.BOT_STATE_CHANGE,))
    bot = await its.staged(ana)
    said = await _deliver_states(its)
    if how == "cancelled":
        ana.primary.delete("meeting")
    else:
        its.here.world.revoke(ana)
    await its.sync()
    assert await its.bot(bot) is None
    assert its.fleet.running != {}
    await its.work()
    assert its.fleet.running == {}
    assert await its.launches() == []
    assert await _deliver_states(its) == said
    entries = await its.here.rows(tables.activity, tables.activity.c.bot_id == bot.id)
    assert max(entries, key=lambda entry: entry.number).kind == "bot_deleted"


async def test_a_change_that_does_not_concern_a_staged_bot_leaves_it_with_its_runner(its: Crew, ana: Person) -> None:
    """Another title, another end."""
    bot = await its.staged(ana)
    ana.primary.edit("meeting", title="Another")
    await its.sync()
    await its.work()
    assert await its.bot(bot) == bot
    assert [call for call, _ in its.fleet.told] == ["stage"]


async def test_a_bot_that_has_begun_to_join_is_let_be(its: Crew, ana: Person) -> None:
    """A report that came before the change decides."""
    bot = await its.staged(ana)
    await its.report(bot, BotEventType.JOIN_REQUESTED)
    ana.primary.delete("meeting")
    await its.sync()
    await its.work()
    joining = await its.bot(bot)
    assert joining is not None
    assert joining.state is BotState.JOINING
    assert [call for call, _ in its.fleet.told] == ["stage"]


async def test_a_runner_that_can_not_be_told_holds_the_bot(its: Crew, ana: Person) -> None:
    """It is staged until the runner has confirmed, and never at two places; the call is made again and again."""
    bot = await its.staged(ana)
    ana.primary.move("meeting", starts=_STARTS - timedelta(minutes=1))
    await its.sync()
    its.fleet.answers = [Trouble("down"), Trouble("down")]
    for _ in range(2):
        await its.work()
        held = await its.bot(bot)
        assert held is not None
        assert held.state is BotState.STAGED
        its.here.clock.advance(timedelta(seconds=5))
    await its.work()
    assert [call for call, _ in its.fleet.told] == ["stage", "call_off", "call_off", "call_off", "stage"]


async def test_a_bot_that_moves_while_the_runner_takes_it_is_taken_back(its: Crew, ana: Person) -> None:
    """The sync comes between the order and its answer."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _launch_at(its, bot) - ASKED_BEFORE
    await its.work()
    its.here.clock.at = _launch_at(its, bot)
    ana.primary.move("meeting", starts=_NEXT_WEEK)
    its.fleet.meanwhile = its.sync
    await its.work()
    assert its.fleet.running == {}
    assert [call for call, _ in its.fleet.told] == ["stage", "call_off"]
    waiting = await its.bot(bot)
    assert waiting is not None
    assert (waiting.state, waiting.join_at, waiting.launch_id) == (BotState.SCHEDULED, _NEXT_WEEK, None)
    assert await its.steps(bot) == []


async def test_a_bot_that_goes_while_the_runner_takes_it_is_taken_back(its: Crew, ana: Person) -> None:
    """Its event was cancelled between the order and its answer."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS - timedelta(seconds=15)
    ana.primary.delete("meeting")
    its.fleet.meanwhile = its.sync
    await its.work()
    assert await its.bot(bot) is None
    assert (its.fleet.running, await its.launches()) == ({}, [])


async def test_a_bot_that_reports_before_the_runner_has_answered_goes_on(its: Crew, ana: Person) -> None:
    """A quick bot: its report is taken in, and the answer undoes nothing of it."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.meanwhile = lambda: its.report(bot, BotEventType.JOIN_REQUESTED)
    await its.work()
    joining = await its.bot(bot)
    assert joining is not None
    assert joining.state is BotState.JOINING
    assert await its.steps(bot) == [("staged", None), ("join_requested", None)]
    (launch,) = await its.launches()
    assert launch.state is LaunchState.TAKEN


async def test_a_bot_that_ends_before_the_runner_has_answered_has_ended(its: Crew, ana: Person) -> None:
    """There is nothing left that the answer could say."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.meanwhile = lambda: its.report(bot, BotEventType.FATAL_ERROR)
    with pytest.raises(ClaimLost):
        await its.work()
    ended = await its.bot(bot)
    assert ended is not None
    assert (ended.state, ended.due_at) == (BotState.FATAL_ERROR, None)
    assert await its.launches() == []


# When the runner, or we, fail.


async def test_a_runner_that_fails_is_asked_again_for_the_same(its: Crew, ana: Person) -> None:
    """Under the same id and with the same body, until it takes the bot."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.answers = [Trouble("It answered 503"), Trouble("no answer", retry_after=timedelta(seconds=30))]
    await its.work()
    its.here.clock.advance(timedelta(seconds=2))
    await its.work()
    its.here.clock.advance(timedelta(seconds=29))
    await its.work()
    assert len(its.fleet.orders) == 2
    its.here.clock.advance(timedelta(seconds=1))
    await its.work()
    assert len(its.fleet.orders) == 3
    assert len(set(its.fleet.ids)) == 1
    assert len({orjson.dumps(order.body) for order in its.fleet.orders}) == 1
    taken = await its.bot(bot)
    assert taken is not None
    assert taken.state is BotState.STAGED


async def test_a_runner_that_fails_to_the_end_is_given_up_on(its: Crew, ana: Person) -> None:
    """The bot says why; the runner, which may have taken it after all, is told that it is off."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.answers = [Trouble("It answered 503 busy")] * 2
    await its.work()
    its.here.clock.at = _ENDS
    await its.stage()
    await its.work()
    assert await its.steps(bot) == [("fatal_error", "bot_not_launched")]
    (step,) = await its.here.rows(tables.bot_events)
    assert "It answered 503 busy" in step.metadata["reason"]
    assert its.fleet.told[-1] == ("call_off", bot.id)
    assert await its.launches() == []


async def test_a_meeting_that_is_prolonged_gives_its_runner_more_time(its: Crew, ana: Person) -> None:
    """The end is looked up when it counts."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.answers = [Trouble("busy")]
    await its.work()
    ana.primary.move("meeting", starts=_STARTS, ends=_ENDS + timedelta(hours=1))
    await its.sync()
    its.here.clock.at = _ENDS
    await its.work()
    taken = await its.bot(bot)
    assert taken is not None
    assert taken.state is BotState.STAGED


async def test_a_bot_that_the_runner_refuses_has_failed(its: Crew, ana: Person) -> None:
    """With what it answered; it is not asked again."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    its.fleet.answers = [Refused('422 {"error": "no such region"}')]
    await its.work()
    assert await its.steps(bot) == [("fatal_error", "bot_not_launched")]
    (step,) = await its.here.rows(tables.bot_events)
    assert "no such region" in step.metadata["reason"]
    assert await its.launches() == []
    assert len(its.fleet.told) == 1


async def test_a_bot_that_does_not_come_up_has_failed(its: Crew, ana: Person) -> None:
    """Staged, and nothing heard of it ten minutes after it was to join; a heartbeat alone is no coming up."""
    bot = await its.staged(ana)
    its.here.clock.at = _STARTS + timedelta(minutes=10) - timedelta(seconds=1)
    await its.work()
    assert await its.steps(bot) == [("staged", None)]
    its.here.clock.advance(timedelta(seconds=1))
    await its.work()
    assert await its.steps(bot) == [("staged", None), ("fatal_error", "bot_not_launched")]
    assert its.fleet.told[-1] == ("call_off", bot.id)


async def test_a_bot_that_falls_silent_in_its_meeting_has_failed(its: Crew, ana: Person) -> None:
    """Each report gives it another heartbeat's time."""
    bot = await its.staged(ana)
    its.here.clock.at = _STARTS
    for step in (BotEventType.JOIN_REQUESTED, BotEventType.JOINED_MEETING):
        await its.report(bot, step)
    its.here.clock.advance(HEARTBEAT - timedelta(seconds=1))
    await its.work()
    await its.report(bot, BotEventType.RECORDING_PERMISSION_GRANTED)
    its.here.clock.advance(HEARTBEAT - timedelta(seconds=1))
    await its.work()
    recording = await its.bot(bot)
    assert recording is not None
    assert recording.state is BotState.JOINED_RECORDING
    its.here.clock.advance(timedelta(seconds=1))
    await its.work()
    assert (await its.steps(bot))[-1] == ("fatal_error", "heartbeat_timeout")
    assert its.fleet.told[-1] == ("call_off", bot.id)
    lost = await its.bot(bot)
    assert lost is not None
    with pytest.raises(Impossible):
        await its.report(lost, BotEventType.MEETING_ENDED)


async def test_a_bot_that_nobody_could_hear_is_not_given_up_at_once(its: Crew, ana: Person) -> None:
    """We were down for longer than it may be silent: it has a heartbeat's time to be heard again."""
    bot = await its.staged(ana)
    its.here.clock.at = _STARTS
    for step in (BotEventType.JOIN_REQUESTED, BotEventType.JOINED_MEETING):
        await its.report(bot, step)
    its.here.clock.advance(HEARTBEAT + timedelta(minutes=1))
    await its.work()
    assert (await its.report(bot, BotEventType.MEETING_ENDED)).state is BotState.POST_PROCESSING
    its.here.clock.advance(timedelta(hours=25))
    await its.work()
    its.here.clock.advance(HEARTBEAT)
    await its.work()
    assert (await its.steps(bot))[-1] == ("fatal_error", "heartbeat_timeout")


async def test_a_service_that_is_always_late_gives_a_silent_bot_up_all_the_same(its: Crew, ana: Person) -> None:
    """Found late time after time, the bot has had its chances to be heard; one that was heard has them anew."""
    bot = await its.staged(ana)
    its.here.clock.at = _STARTS
    for step in (BotEventType.JOIN_REQUESTED, BotEventType.JOINED_MEETING):
        await its.report(bot, step)
    late = HEARTBEAT + timedelta(minutes=1)
    for _ in range(2):
        its.here.clock.advance(late)
        await its.work()
    await its.report(bot, BotEventType.RECORDING_PERMISSION_GRANTED)
    for _ in range(2):
        its.here.clock.advance(late)
        await its.work()
        assert (await its.steps(bot))[-1][0] == "recording_permission_granted"
    its.here.clock.advance(late)
    await its.work()
    assert (await its.steps(bot))[-1] == ("fatal_error", "heartbeat_timeout")


async def test_a_bot_that_has_ended_owes_nothing(its: Crew, ana: Person) -> None:
    """Its launch is forgotten, and it is never due again."""
    bot = await its.staged(ana)
    for step in (
        BotEventType.JOIN_REQUESTED,
        BotEventType.JOINED_MEETING,
        BotEventType.MEETING_ENDED,
        BotEventType.POST_PROCESSING_COMPLETED,
    ):
        await its.report(bot, step)
    ended = await its.bot(bot)
    assert ended is not None
    assert (ended.state, ended.due_at, ended.launch_id) == (BotState.ENDED, None, None)
    assert await its.launches() == []
    await its.report(ended, BotEventType.DATA_DELETED)


_TO_STAGE = range(1, 60)


@pytest.mark.parametrize("work", ["launch", "stage", "call_off"])
async def test_a_crash_anywhere_costs_a_repetition_and_never_a_bot(its: Crew, ana: Person, work: str) -> None:
    """The process dies before each statement and commit in turn; the next worker does it, under the same id."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _launch_at(its, bot) - ASKED_BEFORE
    await its.work()
    its.here.clock.at = _launch_at(its, bot)
    if work != "launch":
        await its.launch()
    if work == "call_off":
        await its.stage()
        ana.primary.delete("meeting")
        await its.sync()
    for step in _TO_STAGE:
        its.here.clock.advance(claims.LEASE if step > 1 else timedelta())
        try:
            with its.here.dying_at(step):
                did = await (its.launch() if work == "launch" else its.stage())
        except Crash:
            continue
        if did:
            break
    assert did, "it never got through"
    assert step > 5, "it died at several places"
    await its.work()
    assert len(set(its.fleet.ids)) == 1
    after = await its.bot(bot)
    if work == "call_off":
        assert after is None
        assert (its.fleet.running, await its.launches()) == ({}, [])
    else:
        assert after is not None
        assert after.state is BotState.STAGED
        assert await its.steps(bot) == [("staged", None)]
        assert its.fleet.running == {bot.id: after.launch_id}
        (launch,) = await its.launches()
        assert (launch.state, launch.due_at) == (LaunchState.TAKEN, None)


async def test_a_worker_that_lost_its_launch_tells_nothing(its: Crew, ana: Person) -> None:
    """Its answer comes after another worker's: the bot was staged by that one, once."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS
    await its.launch()
    (slow,) = await its.claim_launches()
    its.here.clock.advance(claims.LEASE)
    await its.stage()
    with pytest.raises(ClaimLost):
        await its.stager.carry_out(slow)
    assert await its.steps(bot) == [("staged", None)]
    assert len(set(its.fleet.ids)) == 1


async def test_what_a_runner_gives_to_find_its_bot_is_kept(its: Crew, ana: Person) -> None:
    """Also when the bot was taken back before the answer came: it has to be found to be ended."""
    bot = await its.scheduled(ana)
    its.here.clock.at = _STARTS - timedelta(seconds=15)
    its.fleet.answers = [Taken({"remote": "r1"}, remote_id="r1"), Trouble("down")]
    ana.primary.delete("meeting")
    its.fleet.meanwhile = its.sync
    await its.work()
    (launch,) = await its.launches()
    assert (launch.state, launch.reference) == (LaunchState.CALLING_OFF, {"remote": "r1"})
    assert await its.bot(bot) is None


# When.


def test_launches_of_one_minute_are_spread_inside_the_lead() -> None:
    """Each bot has its own place, the same at each reckoning; together they fill the first third evenly."""
    times = LaunchTimes(LEAD)
    join_at = datetime(2026, 12, 1, 12, tzinfo=UTC)
    leads = sorted(join_at - times.launch_at(BotId(f"bot_{number}"), join_at) for number in range(3_000))
    assert LEAD * 2 / 3 <= leads[0] < leads[-1] <= LEAD
    tenths = [sum(1 for lead in leads if LEAD - lead < LEAD / 3 * (tenth + 1) / 10) for tenth in range(10)]
    assert all(abs(count - 300 * (tenth + 1)) < 120 for tenth, count in enumerate(tenths))


@pytest.mark.parametrize("lead", [None, timedelta(0)])
def test_without_a_runner_or_a_lead_a_bot_is_due_when_it_joins(lead: timedelta | None) -> None:
    times = LaunchTimes(lead)
    due: Any = times.first_due("bot_1", join_at=_STARTS, has_link=True, has_event=False)
    assert due == _STARTS
