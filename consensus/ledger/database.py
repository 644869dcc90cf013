"""Opening the ledger's SQLite file: privately, in WAL, at today's schema; and its errors in words.

SQLAlchemy is imported inside: nothing here is heavy until a ledger is opened.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from consensus.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["Database", "Durability", "ledger_error"]

Durability: TypeAlias = Literal["process", "power"]
"""What an acknowledged record survives: the death of the process, or of the machine."""

_ANOTHER = "name another place with --ledger or CONSENSUS_LEDGER"
_CAUSES: dict[str, tuple[str, str]] = {
    "SQLITE_FULL": ("the disk is full", "free some space; what was acknowledged is kept"),
    "SQLITE_IOERR": ("the disk refused to read or write", "check the disk and its quota"),
    "SQLITE_READONLY": ("may not be written", f"make it and its folder writable, or {_ANOTHER}"),
    "SQLITE_PERM": ("may not be opened", f"make it and its folder writable, or {_ANOTHER}"),
    "SQLITE_CANTOPEN": ("cannot be opened", f"make its folder writable, or {_ANOTHER}"),
    "SQLITE_CORRUPT": ("is damaged", f"restore it from a copy, or move it away, or {_ANOTHER}"),
    "SQLITE_NOTADB": ("is not a ledger", f"move it away, or {_ANOTHER}"),
    "SQLITE_CONSTRAINT": ("holds this record already", "give every record an id of its own"),
    "SQLITE_TOOBIG": ("a record is too large for the database", "shorten the task"),
}


class Database:
    """One ledger's file: an engine for readers, and write connections on demand.

    Args:
        target: a path, an ``sqlite:///…`` URL, or ``:memory:``.
        durability: see :data:`Durability`.
        busy_timeout_s: how long another process's lock is waited for.
        must_exist: refuse to make a new ledger (for commands that only read).
    """

    def __init__(
        self,
        target: str | Path,
        *,
        durability: Durability = "process",
        busy_timeout_s: float = 30.0,
        must_exist: bool = False,
    ) -> None:
        if durability not in ("process", "power"):
            raise LedgerError(f'durability is "process" or "power", not {durability!r}')
        self.path = _path_of(target)
        self.where = ":memory:" if self.path is None else str(self.path)
        self.durability = durability
        self.busy_timeout_s = busy_timeout_s
        self.must_exist = must_exist
        self._engine: Engine | None = None
        self._inode: int | None = None
        self._look_again = 0.0

    def engine(self) -> Engine:
        """The engine, with the file made and brought to today's schema at the first call.

        Raises:
            LedgerError: naming the path and what to do.
        """
        if self._engine is None:
            if self.path is not None:
                _prepare(self.path, must_exist=self.must_exist)
            engine = self._make_engine()
            try:
                with engine.connect() as connection:
                    bring_up(connection, self.where)
            except Exception as error:
                engine.dispose()
                raise ledger_error(error, self) from error
            self._engine = engine
            self._inode = self.path.stat().st_ino if self.path is not None else None
        return self._engine

    def check_place(self) -> None:
        """Refuse to write into a file that was removed or replaced: nobody would find it again.

        Looks once a second; a look at every commit would cost as much as the commit.
        """
        now = time.monotonic()
        if self.path is None or now < self._look_again:
            return
        try:
            found = self.path.stat().st_ino
        except FileNotFoundError:
            found = None
        if found == self._inode:
            self._look_again = now + 1.0
        else:
            raise LedgerError(
                f"{self.where}: was removed or replaced while it was in use (start again)"
            )

    def dispose(self) -> None:
        """Close every connection; the next use opens them again."""
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def forget(self) -> None:
        """Drop the connections without closing them: in a forked child they are the parent's."""
        if self._engine is not None:
            self._engine.dispose(close=False)
            self._engine = None

    def _make_engine(self) -> Engine:
        from sqlalchemy import create_engine, event
        from sqlalchemy.pool import QueuePool, StaticPool

        engine = create_engine(
            "sqlite://" if self.path is None else f"sqlite:///{self.path}",
            connect_args={
                "timeout": self.busy_timeout_s,
                "isolation_level": None,
                "check_same_thread": False,
            },
            poolclass=StaticPool if self.path is None else QueuePool,
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: sqlite3.Connection, _record: object) -> None:
            self._configure(connection)

        @event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

        return engine

    def _configure(self, connection: sqlite3.Connection) -> None:
        _to_wal(connection, self.busy_timeout_s)
        for pragma in (
            f"synchronous = {'FULL' if self.durability == 'power' else 'NORMAL'}",
            "cache_size = -16000",
            "journal_size_limit = 67108864",
            "secure_delete = ON",
            # A ledger may come from a stranger: nothing in its schema may run functions.
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")


def bring_up(connection: Connection, where: str) -> None:
    """Make the tables, or take them from an older version to today's, in one transaction."""
    from sqlalchemy import inspect, select, update

    from consensus.ledger import migrations, schema

    latest = migrations.latest_version()

    def version() -> int | None:
        names = set(inspect(connection).get_table_names())
        if "meta" not in names:
            if names:
                raise LedgerError(f"{where}: is a database of something else ({_ANOTHER})")
            return None
        found = connection.scalar(
            select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
        )
        if found is None or not found.isdigit():
            raise LedgerError(f"{where}: is a database of something else ({_ANOTHER})")
        if int(found) > latest:
            raise LedgerError(
                f"{where}: was written by a newer version (schema {found}; this one knows "
                f"{latest}) (upgrade consensus-engine, or {_ANOTHER})"
            )
        return int(found)

    current = version()
    connection.rollback()
    if current == latest:
        return
    connection = connection.execution_options(begin="BEGIN IMMEDIATE")
    with connection.begin():
        current = version()  # another process may have been first
        if current is None:
            schema.metadata.create_all(connection)
            connection.execute(
                schema.meta.insert(),
                [
                    {"key": "schema_version", "value": str(latest)},
                    {"key": "created_at", "value": repr(time.time())},
                ],
            )
            return
        for step in migrations.MIGRATIONS[current - 1 :]:
            step(connection)
        connection.execute(
            update(schema.meta)
            .where(schema.meta.c.key == "schema_version")
            .values(value=str(latest))
        )


def ledger_error(error: BaseException, database: Database) -> LedgerError:
    """One line for whatever the database said: the path, what is wrong, what to do.

    Never the statement and its values: they hold judged text.
    """
    if isinstance(error, LedgerError):
        return LedgerError(*error.args)
    cause: BaseException = getattr(error, "orig", None) or error
    name = getattr(cause, "sqlite_errorname", None) or ""
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return LedgerError(
            f"{database.where}: another process has held its lock for more than "
            f"{database.busy_timeout_s:g} s (end that process, or {_ANOTHER})"
        )
    for prefix, (what, fix) in _CAUSES.items():
        if name.startswith(prefix):
            return LedgerError(f"{database.where}: {what} ({fix})")
    if isinstance(cause, OSError):
        return LedgerError(f"{database.where}: {cause.strerror or 'cannot be opened'} ({_ANOTHER})")
    said = name or type(cause).__name__
    return LedgerError(f"{database.where}: a record could not be kept or read ({said})")


def is_of_one_record(error: BaseException) -> bool:
    """Whether one record is to blame (a duplicate, a number too big), and not the database."""
    cause: BaseException = getattr(error, "orig", None) or error
    if isinstance(cause, sqlite3.Error):
        return isinstance(
            cause,
            sqlite3.IntegrityError
            | sqlite3.DataError
            | sqlite3.InterfaceError
            | sqlite3.ProgrammingError,
        )
    return True


def _path_of(target: str | Path) -> Path | None:
    if isinstance(target, Path):
        return target.absolute()
    if target == ":memory:":
        return None
    if "://" not in target:
        return Path(target).absolute()
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(target)
    except ArgumentError:
        raise LedgerError("the ledger's address is not a URL (write a path instead)") from None
    if url.get_backend_name() != "sqlite":
        raise LedgerError(
            f"a ledger in {url.get_backend_name()} is not supported by this version "
            "(write a path or sqlite:///PATH)"
        )
    return None if url.database in (None, "", ":memory:") else Path(str(url.database)).absolute()


def _prepare(path: Path, *, must_exist: bool) -> None:
    """Make the file before SQLite does: its journal takes over the file's permissions."""
    where = str(path)
    if must_exist:
        if not path.exists():
            raise LedgerError(f"{where}: there is no ledger here ({_ANOTHER})")
        return
    try:
        folder = path.parent
        if not folder.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if folder.name == ".consensus":
                (folder / ".gitignore").write_text("*\n")
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise LedgerError(f"{where}: {error.strerror} ({_ANOTHER})") from None


def _to_wal(connection: sqlite3.Connection, patience_s: float) -> None:
    """Switch to WAL. SQLite does not wait for a lock here, so we do."""
    end = time.monotonic() + patience_s
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            busy: Any = getattr(error, "sqlite_errorname", "")
            if not busy.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or time.monotonic() > end:
                raise
            time.sleep(0.01)
        else:
            return
