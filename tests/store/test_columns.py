"""Secrets that open nowhere else, instants that come back as they went, and keys that rotate."""

import base64
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, insert, select
from sqlalchemy.exc import StatementError

from attendee.model import Credentials
from attendee.store import tables
from attendee.store.columns import Json, KeyRing, Sealed, SealedText, UtcDateTime, WrongKey
from attendee.store.database import Database
from tests.installation import KEY_RING, installation
from tests.store.extra_table import database_with

_SECRET = "1//0refresh-token"
_PLACE = {"table": "calendars", "column": "refresh_token", "row_id": "cal_1"}

_values = Table(
    "values_of_a_test",
    MetaData(),
    Column("id", Integer, primary_key=True),
    Column("at", UtcDateTime),
    Column("json", Json),
    Column("sealed", SealedText),
)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with database_with(database_url, _values) as made:
        yield made


def test_a_sealed_secret_opens_where_it_was_sealed() -> None:
    """And it is nowhere to be seen in what is stored; sealed twice, it looks different each time."""
    sealed = KEY_RING.seal(_SECRET, **_PLACE)
    assert KEY_RING.open(sealed, **_PLACE) == _SECRET
    assert _SECRET.encode() not in bytes(sealed)
    assert sealed != KEY_RING.seal(_SECRET, **_PLACE)


@pytest.mark.parametrize("elsewhere", [{"table": "channels"}, {"column": "client_secret"}, {"row_id": "cal_2"}])
def test_a_sealed_secret_opens_nowhere_else(elsewhere: dict[str, str]) -> None:
    """Copied into another row, column or table it is worth nothing."""
    sealed = KEY_RING.seal(_SECRET, **_PLACE)
    with pytest.raises(WrongKey):
        KEY_RING.open(sealed, **(_PLACE | elsewhere))


@pytest.mark.parametrize("place", range(0, 45, 4))
def test_a_changed_sealed_secret_does_not_open(place: int) -> None:
    """Whichever byte was changed: the key's id, the nonce or what is encrypted."""
    sealed = bytearray(KEY_RING.seal(_SECRET, **_PLACE))
    sealed[place] ^= 1
    with pytest.raises(WrongKey):
        KEY_RING.open(Sealed(sealed), **_PLACE)


def test_keys_rotate() -> None:
    """A new key in front seals from now on, the old one still opens; without it what it sealed is lost."""
    old, new = KeyRing.generate_key(), KeyRing.generate_key()
    sealed = KeyRing([old]).seal(_SECRET, **_PLACE)
    rotated = KeyRing([new, old])
    assert rotated.open(sealed, **_PLACE) == _SECRET
    assert KeyRing([new]).open(rotated.seal(_SECRET, **_PLACE), **_PLACE) == _SECRET
    with pytest.raises(WrongKey):
        KeyRing([new]).open(sealed, **_PLACE)


@pytest.mark.parametrize("keys", [[], [""], ["not base64!"], [base64.b64encode(b"short").decode()]])
def test_no_key_ring_is_made_of_unusable_keys(keys: list[str]) -> None:
    """The refusal says what to do, and does not repeat the key."""
    with pytest.raises(ValueError, match="attendee encryption generate") as refused:
        KeyRing(keys)
    assert "c2hvcnQ" not in str(refused.value)


def test_secrets_are_not_printed() -> None:
    """Neither sealed ones nor keys nor credentials, however they get into a log."""
    key = KeyRing.generate_key()
    sealed = KeyRing([key]).seal(_SECRET, **_PLACE)
    shown = f"{sealed!r} {[sealed]} {KeyRing([key])!r} {Credentials('client', 'client-secret', _SECRET)}"
    assert shown.count("***") == 4
    for secret in (_SECRET, "client-secret", key, str(bytes(sealed))):
        assert secret not in shown


async def test_a_sync_leaves_no_open_secret_in_the_database(database_url: str) -> None:
    """Client secret, refresh token, access token and signing secret are all sealed."""
    async with installation(database_url) as here:
        ana = here.world.add_person("ana@acme.example")
        refresh_token = here.world.authorise(ana)
        await here.sync((await here.connect(ana, refresh_token=refresh_token)).id)
        (access_token,) = here.world.grants.access_tokens
        stored = [
            bytes(value) if isinstance(value, bytes) else str(value).encode()
            for table in tables.metadata.sorted_tables
            for row in await here.rows(table)
            for value in row
        ]
    for secret in ("sandbox-secret", refresh_token, access_token):
        assert not [value for value in stored if secret.encode() in value]


@pytest.mark.parametrize(
    "at",
    [
        datetime(2026, 12, 1, 8, 30, 0, 123_457, tzinfo=UTC),
        datetime(1, 1, 1, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 12, 1, 8, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
        None,
    ],
)
async def test_instants_come_back_as_they_went(database: Database, at: datetime | None) -> None:
    """To the microsecond, in UTC, on both databases."""
    async with database.transaction() as tx:
        await tx.execute(insert(_values).values(id=1, at=at))
    async with database.reading() as tx:
        stored = await tx.scalar(select(_values.c.at))
    assert stored == at
    assert stored is None or stored.tzinfo is UTC


async def test_instants_sort_and_compare(database: Database) -> None:
    """Across the years before 1970 too."""
    instants = [datetime(year, 6, 1, tzinfo=UTC) for year in (1900, 1969, 1970, 2026)]
    async with database.transaction() as tx:
        await tx.execute(insert(_values), [{"id": id, "at": at} for id, at in enumerate(reversed(instants))])
    async with database.reading() as tx:
        assert list(await tx.scalars(select(_values.c.at).order_by(_values.c.at))) == instants
        later = select(_values.c.at).where(_values.c.at > instants[1]).order_by(_values.c.at)
        assert list(await tx.scalars(later)) == instants[2:]


async def test_naive_datetimes_are_refused(database: Database) -> None:
    """A time without a zone is a mistake of ours, found at once."""
    naive = datetime(2026, 12, 1)  # noqa: DTZ001  # the mistake itself
    async with database.transaction() as tx:
        with pytest.raises(StatementError, match="naive"):
            await tx.execute(insert(_values).values(id=1, at=naive))


async def test_json_comes_back_as_it_went(database: Database) -> None:
    """NUL characters and large numbers included, which PostgreSQL's own type would refuse or change."""
    value = {"text": "NUL \x00, ü and \U0001f40c", "number": 2**63 - 1, "list": [None, True, 1.5]}
    async with database.transaction() as tx:
        await tx.execute(insert(_values).values(id=1, json=value, sealed=KEY_RING.seal(_SECRET, **_PLACE)))
    async with database.reading() as tx:
        row = (await tx.execute(select(_values))).one()
    assert row.json == value
    assert KEY_RING.open(row.sealed, **_PLACE) == _SECRET


@given(st.text(st.characters(codec="utf-8")))
def test_every_text_can_be_sealed(secret: str) -> None:
    """Empty ones and those in any script."""
    assert KEY_RING.open(KEY_RING.seal(secret, **_PLACE), **_PLACE) == secret
