"""Push channels: when they are opened, renewed and stopped, and how little their failures matter."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest

from attendee.errors import ClaimLost
from attendee.model import CalendarId, CalendarState, ChannelState
from attendee.sandbox.faults import FaultKind, Place
from attendee.sandbox.microsoft_ids import calendar_id
from attendee.sandbox.world import Person, Platform
from attendee.store import calendars, claims, tables
from attendee.store.channels import Channel
from tests.installation import START, installation, until
from tests.pushing import Pushing, pushing

_A_DAY = timedelta(days=1)
_LINK = "https://meet.google.com/abc-defg-hij"


@pytest.fixture
async def it(database_url: str) -> AsyncIterator[Pushing]:
    async with pushing(database_url) as made:
        yield made


@pytest.fixture(params=list(Platform), ids=lambda platform: platform.value)
def ana(it: Pushing, request: pytest.FixtureRequest) -> Person:
    """Somebody with one event, tomorrow."""
    person = it.here.world.add_person("ana@acme.example", platform=request.param)
    person.primary.put("meeting", starts=START + _A_DAY, location=_LINK)
    return person


async def _only_channel(it: Pushing) -> Channel:
    (channel,) = await it.channels()
    return channel


async def _wait_for_renewal(it: Pushing) -> Channel:
    """The channel as it is when it falls due again; nothing else has been done meanwhile."""
    channel = await _only_channel(it)
    assert channel.due_at is not None
    it.here.clock.at = channel.due_at
    return channel


async def _wake_channels(it: Pushing) -> None:
    async with it.here.database.transaction() as tx:
        for channel in await it.channels():
            await claims.wake(tx, tables.channels, channel.id, now=it.here.clock())


async def _due(it: Pushing, calendar_id: CalendarId) -> bool:
    calendar = await it.here.calendar(calendar_id)
    return calendar.due_at is not None and calendar.due_at <= it.here.clock()


async def test_a_channel_is_opened_after_the_first_sync(it: Pushing, ana: Person) -> None:
    """The first sync asks for one; once it is open the calendar is looked at again, and shown as told of changes."""
    calendar = await it.here.connect(ana)
    assert await it.sync_due() == [calendar.id]
    assert (await it.shown(calendar.id))["mode"] == "poll"
    assert it.here.world.channels == {}
    assert (await _only_channel(it)).state is ChannelState.WANTED

    assert await it.keep_due() == 1
    (open_at_platform,) = it.here.world.channels.values()
    channel = await _only_channel(it)
    assert channel.state is ChannelState.LIVE
    assert channel.platform_channel_id == open_at_platform.id
    assert channel.expires_at == open_at_platform.expires_at
    assert open_at_platform.secret is not None
    assert len(open_at_platform.secret) >= 32
    assert open_at_platform.secret not in str(channel.secret)
    shown = await it.shown(calendar.id)
    assert (shown["mode"], shown["push_error"]) == ("push", None)
    assert await _due(it, calendar.id), "what changed before it was open was told to nobody"

    await it.work()
    assert not await _due(it, calendar.id)
    assert len(await it.channels()) == 1, "a later sync asks for no other"


async def test_a_calendar_that_is_not_the_primary_one_is_told_too(it: Pushing, ana: Person) -> None:
    """Under the id that its platform gives it, whatever characters are in that."""
    team = it.here.world.add_calendar(ana, "team#1@group.calendar.google.com", name="Team")
    named = team.id if ana.platform is Platform.GOOGLE else calendar_id(ana.email, team.id)
    calendar = await it.connect(ana, platform_uuid=named)
    assert await it.shown(calendar.id) | {"next_sync_at": None} == {
        "mode": "push",
        "next_sync_at": None,
        "consecutive_failures": 0,
        "last_error": None,
        "push_error": None,
        "set_aside": 0,
    }
    it.here.clock.advance(timedelta(minutes=1))
    team.put("new", starts=START + _A_DAY)
    await it.here.sandbox.pushed()
    assert await _due(it, calendar.id)


async def test_nobody_asks_for_a_channel_without_a_public_address(database_url: str) -> None:
    """Then there is no row, and nothing to be done."""
    async with installation(database_url) as here:
        ana = here.world.add_person("ana@acme.example")
        await here.sync((await here.connect(ana)).id)
        assert await here.rows(tables.channels) == []


async def test_an_address_that_is_taken_away_ends_channels(it: Pushing, ana: Person) -> None:
    """Without PUBLIC_URL a channel that falls due is forgotten; with it again there is another."""
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    await replace(it, keeper=replace(it.keeper, public_url=None)).keep_due()
    assert await it.channels() == []
    expires_at = (await it.here.calendar(calendar.id)).push_until
    assert expires_at is not None
    it.here.clock.at = expires_at + _A_DAY
    await it.work()
    assert (await it.shown(calendar.id))["mode"] == "push"


async def test_a_channel_is_renewed_well_before_its_end(it: Pushing, ana: Person) -> None:
    """With a fifth of its life left at least, and without a moment in which the calendar is not told of changes."""
    calendar = await it.connect(ana)
    first = await _wait_for_renewal(it)
    assert first.expires_at is not None
    assert first.expires_at - it.here.clock() > (first.expires_at - START) / 5
    it.here.world.requests.clear()
    await it.work()

    renewed = await _only_channel(it)
    assert renewed.expires_at is not None
    assert renewed.expires_at > first.expires_at
    (open_at_platform,) = it.here.world.channels.values()
    assert (open_at_platform.id, open_at_platform.expires_at) == (renewed.platform_channel_id, renewed.expires_at)
    assert (await it.here.calendar(calendar.id)).push_until == renewed.expires_at
    asked = {kind: it.here.world.requests[ana.email, kind] for kind in ("watch", "renew", "stop")}
    if ana.platform is Platform.GOOGLE:
        assert renewed.platform_channel_id != first.platform_channel_id
        assert asked == {"watch": 1, "renew": 0, "stop": 1}
    else:
        assert renewed.platform_channel_id == first.platform_channel_id
        assert asked == {"watch": 0, "renew": 1, "stop": 0}

    it.here.clock.advance(timedelta(minutes=1))
    ana.primary.edit("meeting", title="Moved rooms")
    await it.here.sandbox.pushed()
    assert await _due(it, calendar.id), "what it tells is believed"


async def test_the_old_channel_is_believed_until_it_is_stopped(it: Pushing) -> None:
    """Google's channels overlap: both are open for a while, and what comes through the old one counts."""
    ana = it.here.world.add_person("ana@acme.example")
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    await it.sync_due()
    await it.keep_due()
    assert len(it.here.world.channels) == 2
    old, new = sorted(await it.channels(), key=lambda channel: channel.state is ChannelState.LIVE)
    assert (old.state, new.state) == (ChannelState.STOPPING, ChannelState.LIVE)
    await it.sync_due()
    it.here.clock.advance(timedelta(minutes=1))
    del it.here.world.channels[str(new.platform_channel_id)]
    ana.primary.put("new", starts=START + _A_DAY)
    await it.here.sandbox.pushed()
    assert await _due(it, calendar.id)


async def test_a_channel_that_the_platform_lost_is_opened_anew(it: Pushing, ana: Person) -> None:
    """One that is gone when it is to be renewed is replaced in the same turn."""
    calendar = await it.connect(ana)
    lost = await _only_channel(it)
    it.here.world.channels.clear()
    await _wake_channels(it)
    await it.work()
    (open_at_platform,) = it.here.world.channels.values()
    assert open_at_platform.id != lost.platform_channel_id
    assert (await _only_channel(it)).platform_channel_id == open_at_platform.id
    assert (await it.shown(calendar.id))["mode"] == "push"


async def test_a_refused_channel_is_a_warning(it: Pushing, ana: Person) -> None:
    """The sync is a good one, the calendar is polled and says why; the channel is tried again ever more seldom."""
    ana.primary.can_be_watched = False
    calendar = await it.connect(ana, platform_uuid=ana.primary.id)
    synced = await it.here.calendar(calendar.id)
    assert (synced.last_error, synced.attempts, synced.state) == (None, 0, CalendarState.CONNECTED)
    shown = await it.shown(calendar.id)
    assert (shown["mode"], shown["last_error"], shown["consecutive_failures"]) == ("poll", None, 0)
    assert shown["push_error"]

    gaps: list[timedelta] = []
    for _ in range(10):
        await _wait_for_renewal(it)
        await it.work()
        channel = await _only_channel(it)
        assert channel.due_at is not None
        gaps.append(channel.due_at - it.here.clock())
    assert gaps == sorted(gaps)
    assert gaps[0] < timedelta(minutes=10)
    assert gaps[-1] == _A_DAY

    ana.primary.can_be_watched = True
    await _wait_for_renewal(it)
    await it.work()
    shown = await it.shown(calendar.id)
    assert (shown["mode"], shown["push_error"]) == ("push", None)


@pytest.mark.parametrize("kind", [FaultKind.SERVER_ERROR, FaultKind.NOT_JSON, FaultKind.THROTTLED])
async def test_a_renewal_that_fails_costs_nothing_yet(it: Pushing, ana: Person, kind: FaultKind) -> None:
    """The channel is live until its end, so the calendar is; the next attempt renews it."""
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    await it.sync_due()
    it.here.world.faults.switch_on(ana.email, kind, times=1)
    await it.keep_due()
    shown = await it.shown(calendar.id)
    assert shown["mode"] == "push"
    assert shown["push_error"]
    failed = await _wait_for_renewal(it)
    assert failed.state is ChannelState.LIVE
    await it.work()
    assert (await _only_channel(it)).last_error is None


async def test_a_token_that_is_too_old_is_left_to_the_calendar(it: Pushing, ana: Person) -> None:
    """No channel refreshes a token: it makes the calendar sync, which does, and is kept with what that got."""
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    it.here.world.requests.clear()
    assert await it.keep_due() == 1
    assert sum(it.here.world.requests.values()) == 0
    assert await _due(it, calendar.id)
    assert await it.sync_due() == [calendar.id]
    it.here.clock.advance(timedelta(seconds=5))
    await it.work()
    asked = it.here.world.requests
    assert asked[ana.email, "watch"] + asked[ana.email, "renew"] == 1
    assert (await _only_channel(it)).attempts == 0


async def test_a_token_that_never_gets_better_is_asked_for_ever_more_seldom(it: Pushing, ana: Person) -> None:
    """A calendar that fails is not driven to its platform by its channel."""
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    it.here.world.faults.switch_on(ana.email, FaultKind.SERVER_ERROR, place=Place.TOKENS)
    began_at = it.here.clock()
    while it.here.clock() < began_at + _A_DAY:
        await it.work()
        due = [(await it.here.calendar(calendar.id)).due_at, *(channel.due_at for channel in await it.channels())]
        it.here.clock.at = min(at for at in due if at is not None)
    assert it.here.world.requests[ana.email, "token"] < 150


async def test_a_deleted_calendar_stops_its_channel(it: Pushing, ana: Person) -> None:
    """Soon after, with credentials that were kept sealed until then, and are gone with it."""
    calendar = await it.connect(ana)
    assert (await it.client.delete(f"/calendars/{calendar.id}")).status == 200
    stopping = await _only_channel(it)
    assert (stopping.state, stopping.calendar_id) == (ChannelState.STOPPING, None)
    assert stopping.credentials is not None
    assert "sandbox-secret" not in str(stopping.credentials)
    assert len(it.here.world.channels) == 1, "the request itself asked nobody"

    it.here.world.faults.switch_on(ana.email, FaultKind.SERVER_ERROR, times=1)
    await it.work()
    assert len(it.here.world.channels) == 1
    await _wait_for_renewal(it)
    await it.work()
    assert it.here.world.channels == {}
    assert await it.channels() == []


async def test_what_a_deleted_calendar_left_is_forgotten_after_a_day(it: Pushing, ana: Person) -> None:
    """A platform that can't be told to stop gets a day; then the credentials are gone all the same."""
    calendar = await it.connect(ana)
    it.here.world.faults.switch_on(ana.email, FaultKind.SERVER_ERROR)
    await it.client.delete(f"/calendars/{calendar.id}")
    deleted_at = it.here.clock()
    await it.work()
    while await it.channels():
        await _wait_for_renewal(it)
        await it.work()
    assert timedelta(hours=23) < it.here.clock() - deleted_at <= _A_DAY


async def test_a_calendar_deleted_while_its_channel_is_opened_leaves_none(it: Pushing, ana: Person) -> None:
    """What the platform opens after the deletion is stopped at once: nobody else knows of it."""
    calendar = await it.here.connect(ana)
    await it.sync_due()
    await _delete_while_keeping(it, calendar.id, ana)
    await it.work()
    assert it.here.world.channels == {}
    assert await it.channels() == []


async def test_a_calendar_deleted_while_its_channel_is_renewed_leaves_none(it: Pushing, ana: Person) -> None:
    """The deletion wins: neither the old nor the new channel stays open."""
    calendar = await it.connect(ana)
    await _wait_for_renewal(it)
    await it.sync_due()
    await _delete_while_keeping(it, calendar.id, ana)
    assert (await _only_channel(it)).state is ChannelState.STOPPING
    await it.work()
    assert it.here.world.channels == {}
    assert await it.channels() == []


async def _delete_while_keeping(it: Pushing, calendar_id: CalendarId, person: Person) -> None:
    it.here.world.faults.switch_on(person.email, FaultKind.HANG, times=1)
    keeping = asyncio.create_task(it.keep_due())
    await until(lambda: it.here.world.faults.hanging)
    assert (await it.client.delete(f"/calendars/{calendar_id}")).status == 200
    it.here.world.faults.switch_off()
    with pytest.raises(ClaimLost):
        await keeping


async def test_consent_that_is_withdrawn_ends_the_channel(it: Pushing, ana: Person) -> None:
    """The calendar is no longer told of changes; once it is back it gets another channel."""
    calendar = await it.connect(ana)
    it.here.world.revoke(ana)
    it.here.clock.advance(timedelta(hours=2))
    await it.work()
    disconnected = await it.here.calendar(calendar.id)
    assert (disconnected.state, disconnected.push_until) == (CalendarState.DISCONNECTED, None)
    assert await it.channels() == []

    again = {"refresh_token": it.here.world.authorise(ana)}
    assert (await it.client.patch(f"/calendars/{calendar.id}", again)).status == 200
    await it.work()
    assert (await it.shown(calendar.id))["mode"] == "push"


async def test_a_calendar_that_is_gone_stops_its_channel(it: Pushing) -> None:
    """Where the token is still good, Google is told that nobody listens any more."""
    ana = it.here.world.add_person("ana@acme.example")
    team = it.here.world.add_calendar(ana, "team@group.calendar.google.com", name="Team")
    calendar = await it.connect(ana, platform_uuid=team.id)
    assert len(it.here.world.channels) == 1
    it.here.clock.advance(timedelta(minutes=1))
    it.here.world.remove_calendar(team)
    await it.here.sandbox.pushed()
    await it.work()
    async with it.here.database.reading() as tx:
        found = await calendars.find(tx, calendar.id)
    assert found is not None
    assert found.state is CalendarState.DISCONNECTED
    assert it.here.world.channels == {}
    assert await it.channels() == []
