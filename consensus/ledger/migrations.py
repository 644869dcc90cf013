"""How an older ledger becomes today's, on SQLite and on PostgreSQL.

A step takes a ledger from version ``n`` to ``n + 1``. All the steps that a ledger needs run in one
transaction, together with the new version number: a ledger is of one version or of another, never
between. Steps only add; data that was paid for is never dropped.

To add a table: define it in :mod:`consensus.ledger.schema` (that module's types serve both
databases) and append ``new_tables("NAME", …)`` to :data:`MIGRATIONS`. To add a column: define it
there, nullable or with a ``server_default``, and append ``new_columns("TABLE", "COLUMN", …)``.
Steps are never reordered, changed or removed: the place of a step is its version.

Both kinds read today's definitions and leave alone what is there already: a table that a step makes
has every column of today, so a later step that adds one of them finds nothing left to do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["MIGRATIONS", "Step", "latest_version", "new_columns", "new_tables"]

Step: TypeAlias = "Callable[[Connection], None]"


def new_tables(*names: str) -> Step:
    """A step that makes these tables of the schema, with their indexes."""

    def step(connection: Connection) -> None:
        from consensus.ledger import schema

        tables = [schema.metadata.tables[name] for name in names]
        schema.metadata.create_all(connection, tables=tables, checkfirst=True)

    return step


def new_columns(table: str, *names: str) -> Step:
    """A step that adds these columns of the schema to a table, and indexes that need them."""

    def step(connection: Connection) -> None:
        from sqlalchemy import inspect
        from sqlalchemy.schema import CreateColumn

        from consensus.ledger import schema

        found = schema.metadata.tables[table]
        quoted = connection.dialect.identifier_preparer.format_table(found)
        there = {column["name"] for column in inspect(connection).get_columns(table)}
        for name in names:
            if name not in there:
                column = CreateColumn(found.c[name]).compile(dialect=connection.dialect)
                connection.exec_driver_sql(f"ALTER TABLE {quoted} ADD COLUMN {column}")
        for index in found.indexes:
            if any(name in index.columns for name in names):
                index.create(connection, checkfirst=True)

    return step


MIGRATIONS: tuple[Step, ...] = (
    new_tables("shadows", "labels"),
    new_tables("watch_state", "incidents"),
    new_tables("requests"),
)
"""In order: the first takes version 1 to 2, the next 2 to 3, and so on. Append only."""


def latest_version() -> int:
    """The version that a ledger has once every step is done."""
    return 1 + len(MIGRATIONS)
