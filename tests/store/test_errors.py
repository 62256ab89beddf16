"""What a database refuses is told without the values that it refused: they are people's data, and secrets."""

import traceback
from typing import Any

import pytest
from sqlalchemy import func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError

from attendee.store import tables
from attendee.store.database import Database
from tests.installation import START

_SECRET = "pl4nted-s3cret"
_PROJECT: dict[str, Any] = {"id": "proj_1", "name": _SECRET, "created_at": START}


@pytest.mark.parametrize(
    "statement",
    [
        # The same unique name again, no name, a parent that is not there, a CHECK, a value of no such kind.
        insert(tables.projects).values(_PROJECT | {"id": "proj_2"}),
        insert(tables.projects).values(_PROJECT | {"id": _SECRET, "name": None}),
        insert(tables.api_keys).values(id="key_1", project_id=_SECRET, name="x", key_hash="x", created_at=START),
        insert(tables.calendars).values(
            id=_SECRET,
            project_id="proj_1",
            platform="yahoo",
            client_id="x",
            client_secret=_SECRET.encode(),
            refresh_token=b"x",
            state="connected",
            created_at=START,
            updated_at=START,
        ),
        update(tables.projects).values(name=_SECRET + "\x00"),
        update(tables.projects).values(name=_SECRET + "\ud800"),
        select(func.abs(text(":value")).params(value=_SECRET)),
    ],
    ids=["unique", "not null", "foreign key", "check", "NUL", "surrogate", "wrong type"],
)
async def test_no_error_of_the_database_tells_a_value(database_url: str, statement: Any) -> None:
    """Neither the error, nor what caused it, nor the traceback that is logged."""
    database = Database(database_url)
    try:
        async with database.transaction() as tx:
            await tx.execute(insert(tables.projects).values(_PROJECT))
        try:
            async with database.transaction() as tx:
                await tx.execute(statement)
        except (SQLAlchemyError, UnicodeError) as trouble:
            told = "".join(traceback.format_exception(trouble)) + str(trouble)
            assert _SECRET not in told
    finally:
        await database.close()
