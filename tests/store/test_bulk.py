"""Many rows by one statement come to the same as one after the other."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime

import pytest
from sqlalchemy import Boolean, Column, Date, Integer, MetaData, String, Table, select

from attendee.store.bulk import Bulk
from attendee.store.columns import Json, UtcDateTime
from attendee.store.database import Database
from tests.store.extra_table import database_with

_rows = Table(
    "rows_of_a_test",
    MetaData(),
    Column("id", String, primary_key=True),
    Column("at", UtcDateTime),
    Column("day", Date),
    Column("is_kept", Boolean),
    Column("count", Integer),
    Column("detail", Json),
)
_NAMES = [column.name for column in _rows.c]
_AT = datetime(2026, 11, 25, 22, 43, 5, 123_456, UTC)
_FIRST = ("a", _AT, date(2026, 11, 25), True, 3, {"from": ["x", None]})
_SECOND = ("b", None, None, None, None, None)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    async with database_with(database_url, _rows) as made:
        yield made


async def test_rows_come_back_as_they_went(database: Database) -> None:
    """Of every kind of column, and without a value too."""
    async with database.transaction() as tx:
        await Bulk(_rows, _NAMES).store(tx, [_FIRST, _SECOND])
        assert (await tx.execute(select(_rows).order_by(_rows.c.id))).all() == [_FIRST, _SECOND]


async def test_only_the_columns_that_are_named_are_replaced(database: Database) -> None:
    """A row that is there keeps the rest; one that is not comes in whole."""
    upsert = Bulk(_rows, _NAMES, replacing=("count", "detail"))
    async with database.transaction() as tx:
        await upsert.store(tx, [_FIRST])
        await upsert.store(tx, [("a", None, None, False, 4, {}), _SECOND])
        found = (await tx.execute(select(_rows).order_by(_rows.c.id))).all()
    assert found == [(*_FIRST[:4], 4, {}), _SECOND]


async def test_no_rows_are_no_statement(database: Database) -> None:
    """Nothing is asked of the database, which could make nothing of it."""
    async with database.transaction() as tx:
        await Bulk(_rows, _NAMES).store(tx, [])
        assert (await tx.execute(select(_rows))).all() == []
