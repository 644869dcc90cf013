"""What the ledger asks of a database, whichever it is: SQLite's file or PostgreSQL's server.

SQLAlchemy is imported inside: nothing here is heavy until a ledger is opened.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from consensus.errors import LedgerError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

__all__ = [
    "ANOTHER",
    "Database",
    "Durability",
    "HeldJob",
    "LostConnectionError",
    "Statement",
]

Durability: TypeAlias = Literal["process", "power"]
"""What an acknowledged record survives: the death of the process, or of the machine."""

Statement: TypeAlias = "tuple[str, Sequence[Any]]"
"""SQL with the database's own marks, and its values."""

ANOTHER = "name another place with --ledger or CONSENSUS_LEDGER"
"""What helps where a place cannot be used."""


_BESIDE = "consensus_"
"""How tables begin that may stand beside the ledger's: those of shared limits."""


class LostConnectionError(Exception):
    """The connection broke before anything of a transaction was committed: it may be repeated."""


class HeldJob(Protocol):
    """A job that this process runs and no other may."""

    def renew(self) -> None:
        """Take it again where it was lost.

        Raises:
            LedgerError: that cannot be done now.
        """
        ...

    def release(self, *, remove: bool = False) -> None:
        """Let another process take the job up; ``remove`` what stood for the lock."""
        ...


class Database(ABC):
    """One ledger's database: an engine for readers, and write connections on demand.

    Attributes:
        where: the place as messages name it; never with a user or a password.
        path: the file; None in memory and on a server.
        private: only the connection of the writer sees it (``:memory:``).
        mark: what stands for a value in a statement.
    """

    mark = "?"
    private = False

    def __init__(
        self, where: str, path: Path | None, *, busy_timeout_s: float, must_exist: bool
    ) -> None:
        self.where = where
        self.path = path
        self.busy_timeout_s = busy_timeout_s
        self.must_exist = must_exist
        self._engine: Engine | None = None

    def engine(self) -> Engine:
        """The engine, with the tables made and brought to today's schema at the first call.

        Raises:
            LedgerError: naming the place and what to do.
        """
        if self._engine is None:
            self._prepare()
            engine = self._make_engine()
            try:
                with engine.connect() as connection:
                    self._bring_up(connection)
            except Exception as error:
                engine.dispose()
                raise self.error(error) from error
            self._engine = engine
            self._opened()
        return self._engine

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection whose queries all see the ledger as it is now."""
        with self.engine().connect() as connection:
            yield connection

    def writing(self) -> Connection:
        """The writer's connection; the caller closes it."""
        return self.engine().connect()

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

    @abstractmethod
    def check_place(self) -> None:
        """Raise where what is written would not be found again."""

    @abstractmethod
    def begin_work(self, connection: Connection) -> None:
        """At the beginning of a transaction: from here on no other process works in it."""

    @abstractmethod
    def commit(self, connection: Connection, statements: Sequence[Statement]) -> None:
        """Run the statements in one transaction.

        Raises:
            LostConnectionError: nothing of it was committed, and another connection may do it.
        """

    @abstractmethod
    def roll_back(self, connection: Connection) -> bool:
        """Undo what is left of a failed transaction; False where the connection is of no use."""

    @abstractmethod
    def error(self, error: BaseException) -> LedgerError:
        """One line for whatever the database said: the place, what is wrong, what to do.

        Never the statement and its values: they hold judged text.
        """

    @abstractmethod
    def blames_one_record(self, error: BaseException) -> bool:
        """Whether one record is at fault (a duplicate, a number too big), not the database."""

    @abstractmethod
    def hold_job(self, job_id: str, *, shared: bool = False) -> HeldJob | None:
        """Hold a job for this process; None where no other process could take it up.

        Args:
            job_id: its id, or any other name.
            shared: beside others that hold it so.

        Raises:
            LedgerError: another process runs it.
        """

    @abstractmethod
    def is_held(self, job_id: str) -> bool:
        """Whether a process holds this for itself.

        Raises:
            LedgerError: that cannot be told now.
        """

    # -- within ------------------------------------------------------------------------------------

    @abstractmethod
    def _make_engine(self) -> Engine: ...

    @abstractmethod
    def _prepare(self) -> None:
        """Before the engine is made."""

    @abstractmethod
    def _opened(self) -> None:
        """After the tables are there."""

    @abstractmethod
    def _begin_migration(self, connection: Connection) -> None:
        """At the beginning of the transaction that makes or changes tables."""

    def _bring_up(self, connection: Connection) -> None:
        """Make the tables, or take them from an older version to today's, in one transaction."""
        from sqlalchemy import update

        from consensus.ledger import migrations, schema

        latest = migrations.latest_version()
        current = self._version(connection, latest)
        connection.rollback()
        if current == latest:
            return
        connection = connection.execution_options(begin="BEGIN IMMEDIATE")
        with connection.begin():
            self._begin_migration(connection)
            current = self._version(connection, latest)  # another process may have been first
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

    def _version(self, connection: Connection, latest: int) -> int | None:
        """The schema's version; None where there are no tables at all."""
        from sqlalchemy import inspect, select

        from consensus.ledger import schema

        names = set(inspect(connection).get_table_names())
        names = {name for name in names if not name.startswith(_BESIDE)}
        if "meta" not in names:
            if names:
                raise LedgerError(f"{self.where}: is a database of something else ({ANOTHER})")
            self._none_yet()
            return None
        found = connection.scalar(
            select(schema.meta.c.value).where(schema.meta.c.key == "schema_version")
        )
        if found is None or not found.isdigit():
            raise LedgerError(f"{self.where}: is a database of something else ({ANOTHER})")
        if int(found) > latest:
            raise LedgerError(
                f"{self.where}: was written by a newer version (schema {found}; this one knows "
                f"{latest}) (upgrade consensus-engine, or {ANOTHER})"
            )
        return int(found)

    @abstractmethod
    def _none_yet(self) -> None:
        """There are no tables: refuse, or say nothing and have them made."""
