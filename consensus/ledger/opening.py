"""From what a user writes to the database that it names."""

from __future__ import annotations

from pathlib import Path

from consensus.errors import LedgerError
from consensus.ledger.database import Database, Durability
from consensus.ledger.place import LedgerServer, ledger_path
from consensus.ledger.postgres import PostgresDatabase
from consensus.ledger.sqlite import SqliteDatabase

__all__ = ["open_database"]


def open_database(
    target: str | Path | LedgerServer,
    *,
    durability: Durability = "process",
    busy_timeout_s: float = 30.0,
    must_exist: bool = False,
) -> Database:
    """The database that a target names. It is touched at its first use, not here.

    Args:
        target: a path, ``:memory:``, or a URL: ``sqlite:///…`` or ``postgresql://…``.
        durability: see :data:`Durability`.
        busy_timeout_s: how long another process's lock is waited for.
        must_exist: refuse to make a new ledger (for commands that only read).

    Raises:
        LedgerError: the target names no database that is supported.
        MissingExtraError: the driver for it is not installed.
    """
    if durability not in ("process", "power"):
        raise LedgerError(f'durability is "process" or "power", not {durability!r}')
    if isinstance(target, Path):
        target = ledger_path(target)
    if isinstance(target, LedgerServer):
        target = target.url
    path: Path | None
    if isinstance(target, Path) or (target != ":memory:" and "://" not in target):
        path = Path(target).absolute()
    elif target == ":memory:":
        path = None
    else:
        from sqlalchemy.engine import make_url
        from sqlalchemy.exc import ArgumentError

        try:
            url = make_url(target)
        except (ArgumentError, ValueError):
            raise LedgerError("the ledger's address is not a URL (write a path instead)") from None
        if url.drivername in ("postgresql", "postgres", "postgresql+psycopg"):
            return PostgresDatabase(
                url, durability=durability, busy_timeout_s=busy_timeout_s, must_exist=must_exist
            )
        if url.drivername not in ("sqlite", "sqlite+pysqlite"):
            raise LedgerError(
                f"a ledger in {url.drivername} is not supported by this version "
                "(write a path, sqlite:///PATH or postgresql://HOST/DATABASE)"
            )
        memory = url.database in (None, "", ":memory:")
        path = None if memory else Path(str(url.database)).absolute()
    return SqliteDatabase(
        path, durability=durability, busy_timeout_s=busy_timeout_s, must_exist=must_exist
    )
