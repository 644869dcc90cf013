"""The ledger on PostgreSQL: several processes, several machines, the same tables and promises.

A commit is acknowledged when it is on the server's disk (``synchronous_commit``). Whatever must run
alone (migrations, opening a job) holds an advisory lock until its transaction ends; a running job
holds one for as long as its connection lives, so a killed process lets go of it at once.

psycopg and SQLAlchemy are imported inside.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, cast

from consensus.errors import LedgerError, MissingExtraError
from consensus.ledger.database import (
    ANOTHER,
    Database,
    Durability,
    LostConnectionError,
    Statement,
)

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL, Connection, Engine

__all__ = ["PostgresDatabase"]

_WORK = "consensus ledger work"
_JOB = "consensus ledger job "

_UNREACHABLE = ("cannot be reached", "see that the server runs and takes connections from here")
_CAUSES: dict[str, tuple[str, str]] = {
    "28": ("refused the user or the password", "check the URL's variable, PGPASSWORD or ~/.pgpass"),
    "3D": ("there is no such database", "make it: createdb NAME"),
    "3F": ("there is no such schema", "make it: CREATE SCHEMA name"),
    "42501": ("may not be written by this user", "grant it CREATE, SELECT, INSERT and UPDATE"),
    "53100": ("the server's disk is full", "free some space; what was acknowledged is kept"),
    "53300": ("has no connection left", "raise max_connections, or run fewer processes"),
    "53": ("the server lacks resources", "look at its log"),
    "54": ("a record is too large for the database", "shorten the task"),
    "55P03": ("another process has held its lock for too long", f"end that process, or {ANOTHER}"),
    "25006": ("is read-only", f"write to the primary server, or {ANOTHER}"),
    "57": ("the server is starting, stopping or ended the connection", "try again"),
    "58": ("the server's disk refused to read or write", "look at its log"),
    "23": ("holds this record already", "give every record an id of its own"),
    "22": ("a record holds a value that the database cannot", "look for numbers beyond 64 bits"),
    "XX": ("is damaged", "look at the server's log"),
    "08": _UNREACHABLE,
}
"""By how SQLSTATE begins; the longest that fits is said."""


class PostgresDatabase(Database):
    """A ledger in the current schema of a PostgreSQL database.

    Where an application's tables are in the same database, give the ledger a schema of its own:
    ``postgresql://HOST/DATABASE?options=-csearch_path%3Dconsensus``.

    Args:
        url: SQLAlchemy's or libpq's form; standard variables (``PGPASSWORD`` …) fill what it lacks.
        durability: either way a commit is on the server's disk before it is acknowledged;
            ``power`` also refuses a server that runs without ``fsync``.
        busy_timeout_s: how long another process's lock is waited for.
        must_exist: refuse to make tables.

    Raises:
        MissingExtraError: psycopg is not installed.
    """

    mark = "%s"

    def __init__(
        self,
        url: URL,
        *,
        durability: Durability = "process",
        busy_timeout_s: float = 30.0,
        must_exist: bool = False,
    ) -> None:
        try:
            import psycopg  # noqa: F401 - asked for here, so that the error comes early
        except ImportError:
            raise MissingExtraError(
                "a ledger on PostgreSQL needs the driver psycopg",
                fix="pip install 'consensus-engine[postgres]'",
            ) from None
        place = f"{url.host or url.query.get('host') or ''}{f':{url.port}' if url.port else ''}"
        super().__init__(
            f"postgresql://{place}/{url.database or ''}",
            None,
            busy_timeout_s=busy_timeout_s,
            must_exist=must_exist,
        )
        self.durability = durability
        self._url = url.set(drivername="postgresql+psycopg")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection with one snapshot for all its queries."""
        with self.engine().connect() as connection:
            yield connection.execution_options(
                isolation_level="REPEATABLE READ", postgresql_readonly=True
            )

    def check_place(self) -> None:
        """A server's tables cannot be moved away from under us unseen."""

    def begin_work(self, connection: Connection) -> None:
        """Wait until every other process has ended its work; records are not held up."""
        self._lock_transaction(connection)

    def commit(self, connection: Connection, statements: Sequence[Statement]) -> None:
        """Run the statements in one transaction, in two journeys to the server."""
        import psycopg

        driver = _driver(connection)
        try:
            with driver.pipeline():
                for sql, values in statements:
                    driver.execute(sql, [_storable(value) for value in values])
        except psycopg.OperationalError as error:
            if driver.closed:
                raise LostConnectionError from error
            raise
        driver.commit()

    def roll_back(self, connection: Connection) -> bool:
        """Undo what is left of a failed transaction; False where the connection broke."""
        import psycopg

        driver = _driver(connection)
        try:
            driver.rollback()
        except psycopg.Error:
            return False
        return not driver.closed

    def error(self, error: BaseException) -> LedgerError:
        """SQLSTATE in words; what the server says itself may quote values, so it is not shown."""
        import psycopg

        if isinstance(error, LedgerError):
            return LedgerError(*error.args)
        cause: BaseException = getattr(error, "orig", None) or error
        state = (cause.sqlstate or "") if isinstance(cause, psycopg.Error) else ""
        for length in (5, 2):
            if state[:length] in _CAUSES:
                what, fix = _CAUSES[state[:length]]
                return LedgerError(f"{self.where}: {what} ({fix})")
        if isinstance(cause, psycopg.OperationalError) and not state:
            what, fix = _refusal(str(cause))
            return LedgerError(f"{self.where}: {what} ({fix})")
        said = f"SQLSTATE {state}" if state else type(cause).__name__
        return LedgerError(f"{self.where}: a record could not be kept or read ({said})")

    def blames_one_record(self, error: BaseException) -> bool:
        """Whether one record is at fault and not the server."""
        import psycopg

        cause: BaseException = getattr(error, "orig", None) or error
        if isinstance(cause, psycopg.Error):
            state = cause.sqlstate
            if state is None:
                return not isinstance(cause, psycopg.OperationalError)
            return state[:2] in ("22", "23", "54")
        return True

    def hold_job(self, job_id: str, *, shared: bool = False) -> AdvisoryLock:
        """An advisory lock, on a connection of its own."""
        return AdvisoryLock(self, job_id, shared=shared)

    def is_held(self, job_id: str) -> bool:
        """Whether a session holds its advisory lock alone; nothing is held for longer than this."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine().connect() as connection:
                free = connection.exec_driver_sql(
                    f"SELECT pg_try_advisory_xact_lock_shared({_LOCK})", (_key(_JOB + job_id),)
                ).scalar()
                connection.rollback()
        except SQLAlchemyError as error:
            raise self.error(error) from error
        return not free

    # -- within ------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """The server is there or it is not."""

    def _opened(self) -> None:
        """There is nothing to remember."""

    def _begin_migration(self, connection: Connection) -> None:
        self._lock_transaction(connection)

    def _none_yet(self) -> None:
        if self.must_exist:
            raise LedgerError(f"{self.where}: there is no ledger here ({ANOTHER})")

    def _lock_transaction(self, connection: Connection) -> None:
        connection.exec_driver_sql(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s || current_schema(), 0))", (_WORK,)
        )

    def _make_engine(self) -> Engine:
        from sqlalchemy import create_engine, event

        ours: dict[str, Any] = {
            "application_name": "consensus",
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        engine = create_engine(
            self._url,
            connect_args={key: ours[key] for key in ours.keys() - self._url.query.keys()},
            pool_pre_ping=True,
            hide_parameters=True,
        )

        @event.listens_for(engine, "connect")
        def _configure(connection: psycopg.Connection[Any], _record: object) -> None:
            self._configure(connection)

        return engine

    def _configure(self, driver: psycopg.Connection[Any]) -> None:
        row = driver.execute(
            "SELECT current_setting('synchronous_commit'), current_setting('fsync'), "
            "current_schema()"
        ).fetchone()
        synchronous, fsync, schema = row or ("off", "off", None)
        if schema is None:
            raise LedgerError(
                f"{self.where}: the schema of its search_path does not exist "
                "(make it: CREATE SCHEMA name)"
            )
        if fsync == "off" and self.durability == "power":
            raise LedgerError(
                f'{self.where}: the server runs with fsync = off, so durability = "power" cannot '
                'be kept (turn fsync on, or write durability = "process")'
            )
        if synchronous == "off":  # a stronger setting of the server's own is left as it is
            driver.execute("SET synchronous_commit = on")
        driver.execute(f"SET lock_timeout = {int(self.busy_timeout_s * 1000)}")
        driver.commit()


_LOCK = "%s # hashtextextended(current_schema(), 0)"
"""An advisory lock's number, in this schema."""


class AdvisoryLock:
    """Held by the process that runs a job, on a connection of its own.

    The server lets go of it when that connection ends: at once where the process is killed, within
    a minute where its machine vanishes. A second run would then write the same ids and be refused.
    """

    def __init__(self, database: PostgresDatabase, job_id: str, *, shared: bool = False) -> None:
        self._database, self._job_id, self._shared = database, job_id, shared
        self._connection: Connection | None = None
        self._take()

    def renew(self) -> None:
        """Take it again where its connection was lost.

        Raises:
            LedgerError: the server cannot be reached, or another process has it.
        """
        from sqlalchemy.exc import SQLAlchemyError

        connection = self._connection
        if connection is not None:
            try:
                connection.exec_driver_sql("SELECT 1")
            except SQLAlchemyError:
                self._connection = None
                with suppress(SQLAlchemyError):
                    connection.close()
            else:
                return
        self._take()

    def _take(self) -> None:
        from sqlalchemy.exc import SQLAlchemyError

        database, job_id = self._database, self._job_id
        how = "_shared" if self._shared else ""
        try:
            connection = database.engine().connect().execution_options(isolation_level="AUTOCOMMIT")
            for setting, value in (("idle", 30), ("interval", 10), ("count", 3)):
                connection.exec_driver_sql(f"SET tcp_keepalives_{setting} = {value}")
            held = connection.exec_driver_sql(
                f"SELECT pg_try_advisory_lock{how}({_LOCK})", (_key(_JOB + job_id),)
            ).scalar()
        except SQLAlchemyError as error:
            raise database.error(error) from error
        # Out of the pool: whoever got this connection next would hold the job too.
        connection.detach()
        if not held:
            connection.close()
            raise LedgerError(
                f"{database.where}: job {job_id} is being run by another process (wait for it, or "
                "end it)"
            )
        self._connection = connection

    def release(self, *, remove: bool = False) -> None:
        """Let another process take the job up. There is nothing to remove."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _key(text: str) -> int:
    """64 bits, as advisory locks are named."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big", signed=True)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    return cast("psycopg.Connection[Any]", connection.connection.driver_connection)


def _storable(value: Any) -> Any:
    """PostgreSQL's text has no NUL; a provider's odd request id must not cost a paid answer."""
    return value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value


def _refusal(said: str) -> tuple[str, str]:
    """What libpq said while connecting: it passes the server's words on without their code."""
    if "password" in said or "authentication" in said:
        return _CAUSES["28"]
    if "does not exist" in said and "database" in said:
        return _CAUSES["3D"]
    if "too many clients" in said or "remaining connection slots" in said:
        return _CAUSES["53300"]
    if "starting up" in said or "shutting down" in said:
        return _CAUSES["57"]
    return _UNREACHABLE
