"""Runs a migration on the connection that `database.migrate` or `make migration` hands in."""

import asyncio
import os
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection

from attendee.store.account_tables import users
from attendee.store.database import Database


def _render(kind: str, thing: Any, autogenerate: Any) -> str | Literal[False]:
    """A migration names our own column types, which know both databases."""
    if kind == "type" and type(thing).__module__ == "attendee.store.columns":
        autogenerate.imports.add("from attendee.store import columns")
        return f"columns.{type(thing).__name__}()"
    return False


def _run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=users.metadata,
        render_item=_render,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


async def _run_from_command_line() -> None:
    database = Database(os.environ["ATTENDEE_DATABASE_URL"])
    async with database.transaction() as tx:
        await tx.run_sync(_run)
    await database.close()


connection = context.config.attributes.get("connection")
if connection is not None:
    _run(connection)
else:
    asyncio.run(_run_from_command_line())
