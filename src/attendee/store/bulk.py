"""Many rows by one statement of their own: SQLAlchemy's way of writing them costs more than the databases'.

Its statement is built once, a column's values are converted together, and the driver takes the rows as they are:
PostgreSQL an array for each column, SQLite the rows one after the other.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ARRAY, ColumnElement, Dialect, Table, Update, bindparam, column, func
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import TypeEngine


class Bulk:
    """An INSERT of many rows with values for these columns.

    With `replacing` a row whose id is there already gets its values in these columns instead.
    """

    def __init__(self, table: Table, names: Sequence[str], *, replacing: Collection[str] = ()) -> None:
        self._columns = [table.c[name] for name in names]
        self._converters: dict[str, list[Any]] = {}
        into = f"INSERT INTO {table.name} ({', '.join(names)})"
        replaced = ", ".join(f"{name} = excluded.{name}" for name in replacing)
        on_conflict = f" ON CONFLICT (id) DO UPDATE SET {replaced}" if replaced else ""
        kinds = [column.type.compile(postgresql.dialect()) for column in self._columns]  # type: ignore[no-untyped-call]
        arrays = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(kinds, start=1))
        self._on_postgresql = f"{into} SELECT * FROM unnest({arrays}){on_conflict}"  # noqa: S608  # all of it is ours
        self._on_sqlite = f"{into} VALUES ({', '.join('?' * len(names))}){on_conflict}"

    async def store(self, tx: AsyncConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Writes the rows, whose values are in the order of the columns."""
        if not rows:
            return
        values = [
            column if convert is None else [convert(value) for value in column]
            for column, convert in zip(zip(*rows, strict=True), self._converters_of(tx.dialect), strict=True)
        ]
        if tx.dialect.name == "sqlite":
            await tx.exec_driver_sql(self._on_sqlite, list(zip(*values, strict=True)))
        else:
            await tx.exec_driver_sql(self._on_postgresql, tuple(values))

    def _converters_of(self, dialect: Dialect) -> Sequence[Any]:
        """What makes the driver's value of each column's; None where it is the same."""
        converters = self._converters.get(dialect.name)
        if converters is None:
            converters = [column.type.dialect_impl(dialect).bind_processor(dialect) for column in self._columns]
            self._converters[dialect.name] = converters
        return converters


class BulkUpdate:
    """An UPDATE of many rows, each with values of its own.

    `kinds` are the values' names, which no column may have, and their types; `build` makes the statement of them.
    """

    def __init__(
        self, kinds: Mapping[str, TypeEngine[Any]], build: Callable[[Mapping[str, ColumnElement[Any]]], Update]
    ) -> None:
        self._names = tuple(kinds)
        self._on_sqlite = build({name: bindparam(name, type_=kind) for name, kind in kinds.items()})
        arrays = func.unnest(*(bindparam(name, type_=ARRAY(kind)) for name, kind in kinds.items()))
        rows = arrays.table_valued(*(column(name, kind) for name, kind in kinds.items())).render_derived()
        self._on_postgresql = build(dict(rows.c.items()))

    async def store(self, tx: AsyncConnection, rows: Sequence[Sequence[Any]]) -> None:
        """Updates the rows, whose values are in the order of their names."""
        if not rows:
            return
        if tx.dialect.name == "sqlite":
            await tx.execute(self._on_sqlite, [dict(zip(self._names, row, strict=True)) for row in rows])
        else:
            columns = map(list, zip(*rows, strict=True))
            await tx.execute(self._on_postgresql, dict(zip(self._names, columns, strict=True)))
