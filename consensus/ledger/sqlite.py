"""The ledger's SQLite file: made privately, in WAL, and SQLite's errors in words."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from consensus.errors import LedgerError
from consensus.ledger.database import ANOTHER, Database, Durability, Statement
from consensus.ledger.jobs import JobLock

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = ["SqliteDatabase"]

_CAUSES: dict[str, tuple[str, str]] = {
    "SQLITE_FULL": ("the disk is full", "free some space; what was acknowledged is kept"),
    "SQLITE_IOERR": ("the disk refused to read or write", "check the disk and its quota"),
    "SQLITE_READONLY": ("may not be written", f"make it and its folder writable, or {ANOTHER}"),
    "SQLITE_PERM": ("may not be opened", f"make it and its folder writable, or {ANOTHER}"),
    "SQLITE_CANTOPEN": ("cannot be opened", f"make its folder writable, or {ANOTHER}"),
    "SQLITE_CORRUPT": ("is damaged", f"restore it from a copy, or move it away, or {ANOTHER}"),
    "SQLITE_NOTADB": ("is not a ledger", f"move it away, or {ANOTHER}"),
    "SQLITE_CONSTRAINT": ("holds this record already", "give every record an id of its own"),
    "SQLITE_TOOBIG": ("a record is too large for the database", "shorten the task"),
}


class SqliteDatabase(Database):
    """A ledger in one file, or in memory where there is no path.

    Args:
        path: the file; None: in memory, for tests.
        durability: what was acknowledged survives kill -9 (``process``) or a power cut too.
        busy_timeout_s: how long another process's lock is waited for.
        must_exist: refuse to make a new file.
    """

    def __init__(
        self,
        path: Path | None,
        *,
        durability: Durability = "process",
        busy_timeout_s: float = 30.0,
        must_exist: bool = False,
    ) -> None:
        super().__init__(
            ":memory:" if path is None else str(path),
            path,
            busy_timeout_s=busy_timeout_s,
            must_exist=must_exist,
        )
        self.durability = durability
        self.private = path is None
        self._inode: int | None = None
        self._look_again = 0.0

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

    def begin_work(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has kept every other writer out."""

    def writing(self) -> Connection:
        """The writer's connection, whose transactions keep other writers out from their start."""
        return super().writing().execution_options(begin="BEGIN IMMEDIATE")

    def commit(self, connection: Connection, statements: Sequence[Statement]) -> None:
        """Run the statements in one transaction.

        A lone statement is its own: three times fewer waits for the GIL.
        """
        driver = _driver(connection)
        if len(statements) > 1:
            driver.execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            driver.execute(sql, values)
        if len(statements) > 1:
            driver.execute("COMMIT")

    def roll_back(self, connection: Connection) -> bool:
        """Undo what is left of a failed transaction."""
        driver = _driver(connection)
        if driver.in_transaction:
            driver.rollback()
        return True

    def error(self, error: BaseException) -> LedgerError:
        """SQLite's extended result codes in words."""
        if isinstance(error, LedgerError):
            return LedgerError(*error.args)
        cause: BaseException = getattr(error, "orig", None) or error
        name = getattr(cause, "sqlite_errorname", None) or ""
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            return LedgerError(
                f"{self.where}: another process has held its lock for more than "
                f"{self.busy_timeout_s:g} s (end that process, or {ANOTHER})"
            )
        for prefix, (what, fix) in _CAUSES.items():
            if name.startswith(prefix):
                return LedgerError(f"{self.where}: {what} ({fix})")
        if isinstance(cause, OSError):
            return LedgerError(f"{self.where}: {cause.strerror or 'cannot be opened'} ({ANOTHER})")
        said = name or type(cause).__name__
        return LedgerError(f"{self.where}: a record could not be kept or read ({said})")

    def blames_one_record(self, error: BaseException) -> bool:
        """Whether one record is at fault and not the file."""
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

    def hold_job(self, job_id: str, *, shared: bool = False) -> JobLock | None:
        """A lock on a file beside the ledger; None in memory. Nothing is held by several."""
        return None if self.path is None else JobLock(self.path, job_id)

    def is_held(self, job_id: str) -> bool:
        """Whether its file is locked."""
        try:
            held = self.hold_job(job_id)
        except LedgerError:
            return True
        if held is not None:
            held.release(remove=True)
        return False

    # -- within ------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        if self.path is not None:
            _make_file(self.path, must_exist=self.must_exist)

    def _begin_migration(self, connection: Connection) -> None:
        """BEGIN IMMEDIATE has kept everybody else out."""

    def _none_yet(self) -> None:
        """A file without tables is one whose making was cut short."""

    def _opened(self) -> None:
        self._inode = self.path.stat().st_ino if self.path is not None else None

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


def _driver(connection: Connection) -> sqlite3.Connection:
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)  # noqa: S101 - made by this module
    return driver


def _make_file(path: Path, *, must_exist: bool) -> None:
    """Make the file before SQLite does: its journal takes over the file's permissions."""
    where = str(path)
    if must_exist:
        if not path.exists():
            raise LedgerError(f"{where}: there is no ledger here ({ANOTHER})")
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
        raise LedgerError(f"{where}: {error.strerror} ({ANOTHER})") from None


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
