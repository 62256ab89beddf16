"""What the platforms tell us, and what strangers do: believed for nothing but "look again", and answered at once."""

import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncConnection

from attendee.model import CalendarId, ChannelState
from attendee.sandbox.world import Channel as OpenChannel
from attendee.sandbox.world import Notice, Person, Platform
from attendee.store import tables
from attendee.store.database import Database
from tests.api.serving import Answer, Client, new_app, served_app
from tests.installation import START
from tests.pushing import Pushing, pushing

_GOOGLE = "/external_webhooks/google_calendar"
_MICROSOFT = "/external_webhooks/microsoft_calendar"
_QUIET_TIME = timedelta(minutes=1)


@pytest.fixture
async def it(database_url: str) -> AsyncIterator[Pushing]:
    async with pushing(database_url) as made:
        yield made


async def _told(it: Pushing, *emails: str, platform: Platform) -> list[CalendarId]:
    """A calendar with a live channel for each, quiet for some time; the platforms' own messages are off from now on."""
    ids = []
    for email in emails:
        person = it.here.world.add_person(email, platform=platform)
        person.primary.put("meeting", starts=START + timedelta(days=1))
        ids.append((await it.connect(person)).id)
    it.here.clock.advance(_QUIET_TIME)
    it.here.world.pushes_on = False
    it.here.world.requests.clear()
    return ids


def _open(it: Pushing, email: str) -> OpenChannel:
    (channel,) = [one for one in it.here.world.channels.values() if one.person == email]
    return channel


async def _woken(it: Pushing, ids: list[CalendarId]) -> list[CalendarId]:
    """Those of the calendars that a push has made due now, if their turn had not come by itself."""
    calendars = [await it.here.calendar(id) for id in ids]
    now = it.here.clock()
    return [one.id for one in calendars if one.looks_after_push == 0 and one.due_at is not None and one.due_at <= now]


def _google_message(channel: OpenChannel, **changed: str | None) -> dict[str, str]:
    headers = {
        "X-Goog-Channel-ID": channel.id,
        "X-Goog-Channel-Token": channel.secret,
        "X-Goog-Resource-State": "exists",
        "X-Goog-Message-Number": "7",
    } | {name.replace("_", "-"): value for name, value in changed.items()}
    return {name: value for name, value in headers.items() if value is not None}


def _item(channel: OpenChannel, **changed: Any) -> dict[str, Any]:
    """One notification of Graph's."""
    item = {
        "subscriptionId": channel.id,
        "clientState": channel.secret,
        "changeType": "updated",
        "resource": "Users/1/Events/2",
        "tenantId": "t",
    }
    return item | changed


async def _push(it: Pushing, path: str, **parts: Any) -> Answer:
    """A call as a platform makes it: without a key."""
    return await Client(it.client.session, it.client.address, None).ask("POST", path, **parts)


# The handshake.


async def test_the_handshake_says_the_token_back(it: Pushing) -> None:
    """200 as plain text, decoded, whatever else the request brings."""
    token = "Validation: Testing <b>reachability</b> Request-Id: 1+1 & Ünïcode %41"
    anonymous = Client(it.client.session, it.client.address, None)
    for method, body in itertools.product(("GET", "POST"), (b"", b"{garbage", b'{"value": []}')):
        answer = await anonymous.ask(method, f"{_MICROSOFT}?validationToken={quote(token, safe='')}", data=body)
        assert (answer.status, answer.raw.decode()) == (200, token)
        assert answer.headers["Content-Type"].startswith("text/plain")
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_the_handshake_takes_plus_for_a_space(it: Pushing) -> None:
    """As forms encode it."""
    assert (await _push(it, f"{_MICROSOFT}?validationToken=a+b%2Bc")).raw == b"a b+c"


async def test_the_handshake_echoes_no_flood(it: Pushing) -> None:
    """A token as long as an address may be is no error, but only its beginning is said back."""
    answer = await _push(it, f"{_MICROSOFT}?validationToken={'x' * 15_000}")
    assert answer.status == 200
    assert 0 < len(answer.raw) < 15_000


# Google.


async def test_the_right_token_wakes_its_calendar(it: Pushing) -> None:
    """The calendar is due in this instant, and no other."""
    ana, ben = await _told(it, "ana@acme.example", "ben@acme.example", platform=Platform.GOOGLE)
    answer = await _push(it, _GOOGLE, headers=_google_message(_open(it, "ana@acme.example")))
    assert (answer.status, answer.raw) == (200, b"")
    assert await _woken(it, [ana, ben]) == [ana]


async def test_what_can_not_be_trusted_is_answered_quietly(it: Pushing) -> None:
    """As if it were known: who asks learns nothing, and nothing is woken."""
    ids = await _told(it, "ana@acme.example", platform=Platform.GOOGLE)
    channel = _open(it, "ana@acme.example")
    wrongs: list[dict[str, str | None]] = [
        {"X_Goog_Channel_Token": "wrong"},
        {"X_Goog_Channel_Token": ""},
        {"X_Goog_Channel_Token": None},
        {"X_Goog_Channel_Token": "\u00fcml\u00e4ut"},
        {"X_Goog_Channel_ID": "00000000-0000-4000-8000-000000000000"},
        {"X_Goog_Channel_ID": "x" * 7000},
        {"X_Goog_Channel_ID": None},
        {"X_Goog_Channel_ID": None, "X_Goog_Channel_Token": None, "X_Goog_Resource_State": None},
    ]
    for wrong in wrongs:
        answer = await _push(it, _GOOGLE, headers=_google_message(channel, **wrong))
        assert (answer.status, answer.raw) == (200, b""), wrong
    assert await _woken(it, ids) == []


async def test_another_channels_token_is_no_token(it: Pushing) -> None:
    """Each channel has a secret of its own."""
    ids = await _told(it, "ana@acme.example", "ben@acme.example", platform=Platform.GOOGLE)
    bens = _open(it, "ben@acme.example").secret
    await _push(it, _GOOGLE, headers=_google_message(_open(it, "ana@acme.example"), X_Goog_Channel_Token=bens))
    assert await _woken(it, ids) == []


async def test_the_greeting_of_a_channel_wakes_nothing(it: Pushing) -> None:
    """`sync` is the first message of every channel: nothing has changed."""
    ids = await _told(it, "ana@acme.example", platform=Platform.GOOGLE)
    message = _google_message(_open(it, "ana@acme.example"), X_Goog_Resource_State="sync")
    assert (await _push(it, _GOOGLE, headers=message)).status == 200
    assert await _woken(it, ids) == []


async def test_a_channel_of_one_platform_is_none_of_the_other(it: Pushing) -> None:
    """Google's names and secrets do nothing at Microsoft's address."""
    ids = await _told(it, "ana@acme.example", platform=Platform.GOOGLE)
    answer = await _push(it, _MICROSOFT, json={"value": [_item(_open(it, "ana@acme.example"))]})
    assert answer.status == 202
    assert await _woken(it, ids) == []


# Microsoft.


async def test_each_item_is_trusted_by_its_own_secret(it: Pushing) -> None:
    """One POST tells of several subscriptions: the good ones are served, the others dropped without a word."""
    emails = [f"{name}@acme.example" for name in ("ana", "ben", "cem", "dee")]
    ids = await _told(it, *emails, platform=Platform.MICROSOFT)
    ana, ben, cem, dee = (_open(it, email) for email in emails)
    items = [
        _item(ana),
        _item(ben, clientState=ana.secret),
        _item(cem, clientState=None),
        _item(dee),
        _item(dee, changeType="deleted"),
        _item(ana, subscriptionId="00000000-0000-4000-8000-000000000000"),
    ]
    answer = await _push(it, _MICROSOFT, json={"value": items})
    assert (answer.status, answer.raw) == (202, b"")
    assert await _woken(it, ids) == [ids[0], ids[3]]


async def test_a_subscription_that_must_be_authorised_anew_is_renewed_at_once(it: Pushing) -> None:
    """Its messages are held back until then; the calendar itself has not changed."""
    ids = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    await _notice(it, "ana@acme.example", Notice.REAUTHORIZATION_REQUIRED)
    assert await _woken(it, ids) == []
    await it.work()
    assert it.here.world.requests["ana@acme.example", "renew"] == 1


async def test_a_subscription_that_was_removed_is_opened_anew(it: Pushing) -> None:
    """Until then the calendar is polled; it is looked at, since changes may have gone untold."""
    (calendar_id,) = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    former = _open(it, "ana@acme.example")
    await _notice(it, "ana@acme.example", Notice.SUBSCRIPTION_REMOVED)
    assert it.here.world.channels == {}
    assert (await it.shown(calendar_id))["mode"] == "poll"
    assert await _woken(it, [calendar_id]) == [calendar_id]
    (channel,) = await it.channels()
    assert channel.state is ChannelState.WANTED
    await it.work()
    assert _open(it, "ana@acme.example").id != former.id
    assert (await it.shown(calendar_id))["mode"] == "push"


async def test_missed_notifications_are_made_up_for(it: Pushing) -> None:
    """The calendar is looked at."""
    ids = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    await _notice(it, "ana@acme.example", Notice.MISSED)
    assert await _woken(it, ids) == ids


async def test_lifecycle_messages_need_the_secret(it: Pushing) -> None:
    """A stranger can't make us drop a channel or renew one."""
    (calendar_id,) = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    channel, before = _open(it, "ana@acme.example"), await it.channels()
    for notice in Notice:
        item = _item(channel, clientState="guessed", lifecycleEvent=notice.value)
        assert (await _push(it, _MICROSOFT, json={"value": [item]})).status == 202
    assert await it.channels() == before
    assert await _woken(it, [calendar_id]) == []


async def _notice(it: Pushing, email: str, notice: Notice) -> None:
    it.here.world.notify_watchers(it.here.world.people[email], notice)
    await it.here.sandbox.pushed()


# Hostile callers.

_DEEP = b'{"value":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
_HOSTILE: Mapping[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "not JSON": (b"value=1", 400),
    "not UTF-8": (b'{"value": "\xff\xfe"}', 400),
    "lone surrogate": (b'{"value": [{"subscriptionId": "\\ud800", "clientState": "\\udfff"}]}', 400),
    "a list": (b"[]", 400),
    "a number": (b"7", 400),
    "null": (b"null", 400),
    "no value": (b"{}", 400),
    "value is an object": (b'{"value": {"0": {}}}', 400),
    "too many items": (b'{"value": [' + b",".join([b"{}"] * 1001) + b"]}", 400),
    "deep": (_DEEP, 400),
    "deep item": (b'{"value": [{"subscriptionId": ' + b"[" * 500 + b"]" * 500 + b"}]}", 202),
    "too large": (b" " * (2 * 1024 * 1024), 413),
    "items of every type": (b'{"value": [null, 7, "x", [], true, {}, 1e400]}', 400),
    "items of every kind": (b'{"value": [null, 7, "x", [], true, {}, {"subscriptionId": {}, "clientState": []}]}', 202),
    "ids of every type": (
        b'{"value": [{"subscriptionId": 7, "clientState": 7}, {"subscriptionId": null, "lifecycleEvent": {}}]}',
        202,
    ),
    "NUL": (b'{"value": [{"subscriptionId": "a\\u0000b", "clientState": "\\u0000"}]}', 202),
    "NUL secret": (b'{"value": [{"subscriptionId": "ID", "clientState": "\\u0000\\ud83d\\ude00"}]}', 202),
    "secret of another type": (b'{"value": [{"subscriptionId": "ID", "clientState": {"a": 1}}]}', 202),
    "lifecycle of another type": (
        b'{"value": [{"subscriptionId": "ID", "clientState": "SECRET", "lifecycleEvent": ["missed"]}]}',
        202,
    ),
    "long id": (b'{"value": [{"subscriptionId": "' + b"x" * 500_000 + b'", "clientState": "x"}]}', 202),
}


async def test_hostile_bodies_are_refused_in_peace(it: Pushing) -> None:
    """Never a failure of ours, and never a calendar woken or a channel touched."""
    (calendar_id,) = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    channel, before = _open(it, "ana@acme.example"), await it.channels()
    for name, (body, status) in _HOSTILE.items():
        answer = await _push(it, _MICROSOFT, data=body.replace(b"ID", channel.id.encode()))
        assert answer.status == status, name
        # The address for messages without a body reads none, but takes no flood either.
        assert (await _push(it, _GOOGLE, data=body)).status == (413 if status == 413 else 200), name
    assert await it.channels() == before
    assert await _woken(it, [calendar_id]) == []


async def test_a_thousand_items_cost_few_statements(it: Pushing) -> None:
    """However much a stranger makes up, it is looked up at once."""
    (calendar_id,) = await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    channel = _open(it, "ana@acme.example")
    items = [_item(channel, subscriptionId=f"made-up-{number}") for number in range(999)]
    with it.here.statements() as statements:
        assert (await _push(it, _MICROSOFT, json={"value": [*items, _item(channel)]})).status == 202
    assert len(statements) < 10
    assert await _woken(it, [calendar_id]) == [calendar_id]


@pytest.mark.parametrize("platform", list(Platform))
async def test_a_push_asks_no_platform(it: Pushing, platform: Platform) -> None:
    """It is answered out of our own database; the looking comes after."""
    ids = await _told(it, "ana@acme.example", platform=platform)
    await _tell(it, it.here.world.people["ana@acme.example"])
    assert await _woken(it, ids) == ids
    assert not it.here.world.requests


async def _tell(it: Pushing, person: Person) -> None:
    """The message that this person's platform sends of a change."""
    channel = _open(it, person.email)
    if person.platform is Platform.GOOGLE:
        assert (await _push(it, _GOOGLE, headers=_google_message(channel))).status == 200
    else:
        assert (await _push(it, _MICROSOFT, json={"value": [_item(channel)]})).status == 202


async def test_a_disconnected_calendar_is_not_woken(it: Pushing) -> None:
    """A message that is still on its way when consent is withdrawn asks nothing of the platform."""
    (calendar_id,) = await _told(it, "ana@acme.example", platform=Platform.GOOGLE)
    channel = _open(it, "ana@acme.example")
    it.here.world.revoke(it.here.world.people["ana@acme.example"])
    it.here.clock.advance(timedelta(hours=2))
    await it.sync_due()
    await _push(it, _GOOGLE, headers=_google_message(channel))
    assert (await it.here.calendar(calendar_id)).due_at is None


class _ShakyDatabase(Database):
    """A database that takes no writes while it `fails`."""

    fails = False

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[AsyncConnection]:
        if self.fails:
            raise OperationalError("BEGIN", {}, ConnectionError("gone"))
        async with super().transaction() as tx:
            yield tx


@pytest.mark.parametrize("platform", list(Platform))
async def test_what_can_not_be_kept_is_not_acknowledged(it: Pushing, database_url: str, platform: Platform) -> None:
    """While the database takes no writes a push is answered with an error, so that the platform sends it again."""
    ids = await _told(it, "ana@acme.example", platform=platform)
    channel = _open(it, "ana@acme.example")
    parts: dict[str, Any] = {"json": {"value": [_item(channel)]}}
    path = _MICROSOFT
    if platform is Platform.GOOGLE:
        path, parts = _GOOGLE, {"headers": _google_message(channel)}
    shaky = _ShakyDatabase(database_url)
    async with served_app(new_app(shaky, key_ring=it.here.key_ring, clock=it.here.clock)) as address:
        anonymous = Client(it.client.session, address, None)
        shaky.fails = True
        assert (await anonymous.ask("POST", path, **parts)).status >= 500
        assert await _woken(it, ids) == []
        shaky.fails = False
        assert (await anonymous.ask("POST", path, **parts)).status < 300
        assert await _woken(it, ids) == ids
    await shaky.close()


async def test_the_channels_row_says_nothing_in_the_clear(it: Pushing) -> None:
    """A secret that the platform sends with each message is sealed where it is stored."""
    await _told(it, "ana@acme.example", platform=Platform.MICROSOFT)
    secret = _open(it, "ana@acme.example").secret
    assert secret is not None
    assert secret not in str([tuple(row) for row in await it.here.rows(tables.channels)])
