"""Upgrades: data of every schema comes through, and the version before goes on working meanwhile."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, MetaData, Table, TextClause, bindparam, delete, insert, select, text, update

from attendee import store
from attendee.model import CalendarState
from attendee.store import tables
from attendee.store.bots import Bot
from attendee.store.calendars import Calendar
from attendee.store.columns import UtcDateTime
from attendee.store.database import Database, SchemaOutdated, migrate
from tests.conftest import PostgresqlCluster

# Each schema has a file of rows in what is new in it.
_DATA = Path(__file__).parents[1] / "data" / "schemas"
# All there ever were: a version was released with each of them, or may have been run from a clone.
SCHEMAS = sorted(path.name[:4] for path in (Path(store.__file__).parent / "migrations" / "versions").glob("[0-9]*.py"))
_AT = datetime(2026, 12, 1, 8, 30, tzinfo=UTC)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without a schema."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'attendee.sqlite3'}"
        return
    cluster: PostgresqlCluster = request.getfixturevalue("postgresql_cluster")
    name = cluster.create_database()
    yield cluster.url(name)
    cluster.drop_database(name)


async def write_rows(database: Database, schema: str, *, number: str) -> None:
    """A set of rows, written in the words of that version."""
    async with database.transaction() as tx:
        for name in SCHEMAS[: SCHEMAS.index(schema) + 1]:
            lines = [line for line in (_DATA / f"{name}.sql").read_text().splitlines() if not line.startswith("--")]
            for statement in "\n".join(lines).replace("{n}", number).split(";"):
                if statement.strip():
                    await tx.execute(_bound(statement))


def _bound(statement: str) -> TextClause:
    given = [bindparam("at", _AT, type_=UtcDateTime()), bindparam("sealed", b"sealed")]
    return text(statement).bindparams(*(one for one in given if f":{one.key}" in statement))


def reflected(connection: Connection) -> dict[str, Table]:
    """The tables as they are, whatever this version's code says of them."""
    metadata = MetaData()
    metadata.reflect(connection)
    return dict(metadata.tables)


async def stored(database: Database, of_then: dict[str, Table]) -> dict[str, list[Any]]:
    """All rows, as far as the version of those tables can see them."""
    async with database.reading() as tx:
        return {name: sorted(map(repr, await tx.execute(select(table)))) for name, table in of_then.items()}


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_data_comes_through_and_the_version_before_works_on(empty_url: str, schema: str) -> None:
    """Nothing that was stored is changed by an upgrade; what the old version writes and reads still fits."""
    await migrate(empty_url, to=schema)
    database = Database(empty_url)
    try:
        await write_rows(database, schema, number="1")
        async with database.reading() as tx:
            of_then = await tx.run_sync(reflected)
        del of_then["alembic_version"]
        before = await stored(database, of_then)
        assert [name for name, rows in before.items() if not rows] == [], "no row of these"
        if schema != SCHEMAS[-1]:
            with pytest.raises(SchemaOutdated, match=rf"What it would do: {int(schema) + 1:04} "):
                await database.check_schema()
    finally:
        await database.close()

    await migrate(empty_url)
    database = Database(empty_url)
    try:
        await database.check_schema()
        assert await stored(database, of_then) == before
        async with database.reading() as tx:
            (calendar,) = await tx.execute(select(tables.calendars).where(tables.calendars.c.id == "cal_1"))
            (bot,) = await tx.execute(select(tables.bots))
        assert (Calendar.from_row(calendar).state, Bot.from_row(bot).event_id) == (CalendarState.CONNECTED, "evt_1")

        await write_rows(database, schema, number="2")
        async with database.transaction() as tx:
            for table in of_then.values():
                columns = [column for column in table.columns if not column.primary_key]
                if columns:
                    await tx.execute(update(table).values({column: column for column in columns}))
            await tx.execute(delete(of_then["projects"]).where(of_then["projects"].c.id == "proj_2"))
        left = await stored(database, {name: table for name, table in of_then.items() if "project_id" in table.c})
        assert left == {name: before[name] for name in left}
    finally:
        await database.close()


async def test_a_later_versions_schema_is_worked_with_and_left_alone(empty_url: str) -> None:
    """While a new version is rolled out, and after going back from it; one that shuts earlier versions out does so."""
    await migrate(empty_url)
    database = Database(empty_url)
    try:
        async with database.reading() as tx:
            version = (await tx.run_sync(reflected))["alembic_version"]
        async with database.transaction() as tx:
            await tx.execute(update(version).values(version_num="9999"))
        await database.check_schema()
        await migrate(empty_url)
        async with database.transaction() as tx:
            assert await tx.scalar(select(version)) == "9999"
            await tx.execute(delete(version))
            await tx.execute(insert(version).values(version_num="b0001"))
        with pytest.raises(SchemaOutdated, match="b0001, is not known to this version"):
            await database.check_schema()
    finally:
        await database.close()
