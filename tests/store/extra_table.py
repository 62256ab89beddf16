"""A database with a table of a test's own in it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy import Table

from attendee.store.database import Database


@asynccontextmanager
async def database_with(url: str, table: Table) -> AsyncGenerator[Database]:
    """The database, which has the table meanwhile."""
    made = Database(url)
    async with made.transaction() as tx:
        await tx.run_sync(table.metadata.create_all)
    yield made
    async with made.transaction() as tx:
        await tx.run_sync(table.metadata.drop_all)
    await made.close()
