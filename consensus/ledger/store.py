"""The ledger: every call and every decision, on disk before it is used.

``await ledger.record(call)`` returns when the attempt is committed, and raises where it could not
be: nothing is ever decided on an answer that is not kept. See design/ledger.md for what survives
what, and for the scope in which a paid answer is used again.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from consensus.errors import LedgerError
from consensus.ledger.database import Durability, HeldJob
from consensus.ledger.jobs import CallScope, Job, PaidCalls, job_identity
from consensus.ledger.opening import open_database
from consensus.ledger.place import LedgerServer
from consensus.ledger.receipts import Receipt
from consensus.ledger.rows import call_from_row, decision_id
from consensus.ledger.writer import Entry, Writer, WriterStats, submit_and_wait
from consensus.models.ids import new_id
from consensus.models.protocol import CallRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from consensus.ledger.feedback import Waiting

__all__ = ["Ledger", "NullLedger"]

T = TypeVar("T")

SHORTEST_PREFIX = 6
"""Characters of a receipt's id that must be given at least."""


class Ledger:
    """Calls, decisions and jobs in one SQLite file, or in a PostgreSQL database.

    Opening it costs nothing: the tables are made and brought to today's schema by the first use, in
    the writer's own thread (or by :meth:`open`). One ledger serves any number of event loops and
    threads, and several processes may have the same ledger open, with PostgreSQL on any machine.

    Args:
        target: a path, ``sqlite:///PATH``, ``postgresql://USER@HOST/DATABASE``, or ``:memory:``
            (for tests; gone when closed).
        durability: ``process``: what was acknowledged survives kill -9. ``power``: a power cut too.
            On PostgreSQL a commit is always on the server's disk before it is acknowledged;
            ``power`` also refuses a server that runs without ``fsync``.
        store_text: where false, judged text is never written, and what models answered only until
            the decision is: it is then erased.
        busy_timeout_s: how long another process's lock is waited for before a record fails.
        group_s: how far apart commits are at least; what comes in between is committed together.
        must_exist: refuse to make a new file.

    Raises:
        LedgerError: always one line with the path and what to do.
    """

    survives_cancellation = True
    """``record`` waits for its commit even when it is cancelled: nobody need shield it."""

    def __init__(
        self,
        target: str | Path | LedgerServer,
        *,
        durability: Durability = "process",
        store_text: bool = True,
        busy_timeout_s: float = 30.0,
        group_s: float = 0.005,
        must_exist: bool = False,
    ) -> None:
        self._database = open_database(
            target, durability=durability, busy_timeout_s=busy_timeout_s, must_exist=must_exist
        )
        self.store_text = store_text
        self._group_s = group_s
        self._writer: Writer | None = None
        self._process = os.getpid()
        self._closed = False
        self._locks: dict[str, HeldJob] = {}

    # -- life --------------------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The file; None in memory and on a server."""
        return self._database.path

    @property
    def where(self) -> str:
        """The place as messages name it; never with a user or a password."""
        return self._database.where

    @property
    def stats(self) -> WriterStats:
        """What the writer has done since it started."""
        return WriterStats() if self._writer is None else self._writer.stats

    def open(self) -> Self:
        """Open the file now rather than at the first record."""
        self._work(_nothing)
        return self

    def start(self) -> Self:
        """Begin to open the file, in the writer's thread, and return at once.

        The first record then need not wait for it. If it cannot be opened, that record says so.
        """
        self._running().put(Entry("work", _nothing))
        return self

    def close(self) -> None:
        """Write what is queued, then close the file. Blocks; closing twice is harmless."""
        self._closed = True
        if self._writer is not None and self._process == os.getpid():
            self._writer.stop()
            self._writer.join()
            self._writer = None
        for lock in self._locks.values():
            lock.release()
        self._locks.clear()

    async def aclose(self) -> None:
        """Write what is queued, then close the file."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.open)
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # -- keeping -----------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Return once records can be kept, so that nothing is paid for that could not be.

        Waits for the first opening, and after a failure for a write that succeeds; else not.
        """
        writer = self._running()
        if writer.sound:
            return

        def touch(connection: Connection) -> None:
            if not writer.sound:  # of a hundred who wait, the first one looks
                _touch(connection)

        entry = Entry("work", touch, asyncio.get_running_loop())
        writer.put(entry)
        await entry.wait()

    async def record(self, call: CallRecord) -> None:
        """Keep one attempt; returns when it is committed.

        Cancelling waits for the commit and then raises: a paid answer is never lost to it.
        """
        entry = Entry("call", call, asyncio.get_running_loop())
        self._running().put(entry)
        await entry.wait()

    async def keep(self, receipt: Receipt) -> None:
        """Keep one decision; returns when it is committed. An id can be kept once."""
        entry = Entry("receipt", self._stored_form(receipt), asyncio.get_running_loop())
        self._running().put(entry)
        await entry.wait()

    def record_here(self, call: CallRecord) -> None:
        """:meth:`record` for a thread without an event loop; blocks."""
        entry = Entry("call", call)
        self._running().put(entry)
        entry.wait_here()

    def keep_here(self, receipt: Receipt) -> None:
        """:meth:`keep` for a thread without an event loop; blocks."""
        entry = Entry("receipt", self._stored_form(receipt))
        self._running().put(entry)
        entry.wait_here()

    # -- finding -----------------------------------------------------------------------------------

    def receipt(self, receipt_id: str) -> Receipt:
        """The receipt with this id, or with an id that begins so (six characters at least).

        Raises:
            LedgerError: there is none, or there are several.
            DataError: it is damaged, or of a newer version.
        """
        from sqlalchemy import select

        from consensus.ledger.schema import decisions

        wanted = decisions.c.receipt_id
        query = select(wanted, decisions.c.receipt)

        def find(connection: Connection) -> list[tuple[str, bytes]]:
            exact = connection.execute(query.where(wanted == receipt_id)).all()
            if exact or len(receipt_id) < SHORTEST_PREFIX:
                return [(row[0], row[1]) for row in exact]
            last = receipt_id[:-1] + chr(ord(receipt_id[-1]) + 1)
            begins = query.where(wanted >= receipt_id, wanted < last).limit(2)
            return [(row[0], row[1]) for row in connection.execute(begins)]

        found = self.read(find)
        if not found:
            raise LedgerError(
                f"{self.where}: no receipt {receipt_id!r} (consensus ledger list shows them)"
            )
        if len(found) > 1:
            raise LedgerError(
                f"{self.where}: several receipts begin with {receipt_id!r} (write more of the id)"
            )
        return Receipt.from_bytes(found[0][1], where=f"{self.where}: receipt {found[0][0]}")

    def calls_of(self, decision_id: str) -> tuple[CallRecord, ...]:
        """Every attempt of a decision, in the order in which they started."""
        from sqlalchemy import select

        from consensus.ledger.schema import calls

        query = (
            select(calls)
            .where(calls.c.decision_id == decision_id)
            .order_by(calls.c.started_at, calls.c.seat, calls.c.attempt, calls.c.call_id)
        )
        rows = self.read(lambda connection: connection.execute(query).mappings().all())
        return tuple(call_from_row(row, where=self.where) for row in rows)

    def lookup(self, key: str, scope: CallScope) -> CallRecord | None:
        """The earliest paid answer to this request in this scope; None where there is none.

        One query. To take up a job use :meth:`paid_calls`, which hands out each answer once.
        """
        from sqlalchemy import select

        from consensus.ledger.schema import calls

        query = select(calls).where(
            calls.c.decision_id == scope.decision_id,
            calls.c.key == key,
            calls.c.completion.is_not(None),
            calls.c.replayed.is_(False),
        )
        if scope.seat is not None:
            query = query.where(calls.c.seat == scope.seat)
        if scope.frontier is not None:
            query = query.where((calls.c.purpose == "frontier") == scope.frontier)
        query = query.order_by(calls.c.started_at, calls.c.call_id).limit(1)
        row = self.read(lambda connection: connection.execute(query).mappings().first())
        return None if row is None else call_from_row(row, where=self.where)

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a query in a read transaction, in this thread.

        Raises:
            LedgerError: whatever the database said, in words.
        """
        from sqlalchemy.exc import SQLAlchemyError

        self._running()
        if self._database.private:
            return self._work(query)
        try:
            with self._database.reading() as connection:
                return query(connection)
        except SQLAlchemyError as error:
            raise self._database.error(error) from error

    # -- jobs --------------------------------------------------------------------------------------

    def open_job(
        self,
        *,
        input_sha256: str,
        policy_version: str,
        options: Mapping[str, Any] | None = None,
    ) -> Job:
        """Begin deciding a file, or take up the unfinished run of the same one.

        Args:
            input_sha256: of the file's bytes.
            policy_version: hash of the policy table.
            options: whatever else changes the decisions (task type, frontier …); plain JSON.

        Raises:
            LedgerError: another process is running this very job.
        """
        from sqlalchemy import insert, select

        from consensus.ledger.schema import jobs

        identity = job_identity(input_sha256, policy_version, options or {})
        unfinished = (
            select(jobs.c.job_id, jobs.c.created_at)
            .where(jobs.c.identity == identity, jobs.c.finished_at.is_(None))
            .order_by(jobs.c.created_at.desc())
            .limit(1)
        )

        def begin(connection: Connection) -> Job:
            row = connection.execute(unfinished).first()
            if row is not None:
                return Job(row[0], row[1], resumed=True)
            job = Job(new_id(), time.time(), resumed=False)
            connection.execute(
                insert(jobs).values(
                    job_id=job.job_id,
                    identity=identity,
                    input_sha256=input_sha256,
                    policy_version=policy_version,
                    created_at=job.created_at,
                )
            )
            return job

        job = self._work(begin)
        held = self._database.hold_job(job.job_id)
        if held is not None:
            self._locks[job.job_id] = held
        return job

    def finish_job(self, job: Job) -> None:
        """Every row of the file is decided and written out: the next run of it is a new job."""
        from sqlalchemy import update

        from consensus.ledger.schema import calls, jobs

        def finish(connection: Connection) -> None:
            connection.execute(
                update(jobs).where(jobs.c.job_id == job.job_id).values(finished_at=time.time())
            )
            if not self.store_text:
                left = calls.c.job_id == job.job_id, calls.c.completion.is_not(None)
                connection.execute(update(calls).where(*left).values(completion=None))

        self._work(finish)
        lock = self._locks.pop(job.job_id, None)
        if lock is not None:
            lock.release(remove=True)

    def leave_job(self, job: Job) -> None:
        """Let another process take the job up; it stays as unfinished as it is."""
        lock = self._locks.pop(job.job_id, None)
        if lock is not None:
            lock.release(remove=True)

    def hold(self, name: str, *, shared: bool = False) -> None:
        """Hold a name until :meth:`let_go`, or until this process dies; one process at a time.

        On a server several may hold it as ``shared``, and nobody alone then.

        Raises:
            LedgerError: another process holds it.
        """
        self.open()
        held = self._database.hold_job(name, shared=shared)
        if held is not None:
            self._locks[name] = held

    def renew(self, name: str) -> None:
        """See that a name, or a job, is still held; take it again where a connection was lost.

        Raises:
            LedgerError: it is not, and cannot be now.
        """
        lock = self._locks.get(name)
        if lock is not None:
            lock.renew()

    def is_held(self, name: str) -> bool:
        """Whether a process holds a name for itself.

        Raises:
            LedgerError: that cannot be told now.
        """
        return self._database.is_held(name)

    def let_go(self, name: str) -> None:
        """Let another process hold a name."""
        lock = self._locks.pop(name, None)
        if lock is not None:
            lock.release(remove=True)

    def paid_calls(self, job_id: str) -> PaidCalls:
        """What was paid for in a job's unfinished decisions, in one query."""
        from sqlalchemy import select

        from consensus.ledger.schema import calls, decisions

        kept = select(decisions.c.receipt_id).where(decisions.c.receipt_id == calls.c.decision_id)
        query = (
            select(calls)
            .where(calls.c.job_id == job_id, ~kept.exists())
            .order_by(calls.c.started_at, calls.c.call_id)
        )
        rows = self.read(lambda connection: connection.execute(query).mappings().all())
        return PaidCalls(call_from_row(row, where=self.where) for row in rows)

    def finished(self, job_id: str) -> set[int]:
        """The rows of a job whose decision is kept."""
        from sqlalchemy import select

        from consensus.ledger.schema import decisions

        query = select(decisions.c.task_index).where(decisions.c.job_id == job_id)
        return self.read(lambda connection: set(connection.scalars(query)))

    def decision_rows(self, job_id: str) -> Iterator[tuple[int, dict[str, Any]]]:
        """A job's kept decisions as rows of its output file, in input order.

        They are read as they are asked for, so memory stays flat; ``dict()`` of it is by row.
        """
        for index in sorted(self.finished(job_id)):
            receipt = self.receipt(decision_id(job_id, index))
            yield index, receipt.decision.to_row(index=index)

    # -- people ------------------------------------------------------------------------------------

    def queue(
        self, *, task_type: str | None = None, audit: float = 0.0, limit: int | None = None
    ) -> tuple[Waiting, ...]:
        """Decisions that wait for a person, the oldest first: see :func:`feedback.queue`."""
        from consensus.ledger.feedback import queue

        return queue(self, task_type=task_type, audit=audit, limit=limit)

    def work(self, work: Callable[[Connection], T]) -> T:
        """Write in the writer's thread, in a transaction of its own; block for the result."""
        return self._work(work)

    # -- within ------------------------------------------------------------------------------------

    def _stored_form(self, receipt: Receipt) -> Receipt:
        return receipt if self.store_text else receipt.without_text()

    def _work(self, work: Callable[[Connection], T]) -> T:
        return submit_and_wait(self._running(), work)

    def _running(self) -> Writer:
        """The writer, started at the first use and again in a forked child."""
        if self._process != os.getpid():
            self._writer, self._process = None, os.getpid()
            self._database.forget()
            self._locks.clear()
        if self._writer is None:
            if self._closed:
                raise LedgerError(f"{self.where}: the ledger is closed")
            self._writer = Writer(self._database, group_s=self._group_s, keep_text=self.store_text)
            weakref.finalize(self, self._writer.stop)
        return self._writer


def _nothing(_: Connection) -> None:
    """Work that only needs the file to be open."""


def _touch(connection: Connection) -> None:
    """Work that changes nothing, and fails where nothing can be written."""
    from sqlalchemy import update

    from consensus.ledger.schema import meta

    key, value = meta.c.key, meta.c.value
    connection.execute(update(meta).where(key == "created_at").values(value=value))


class NullLedger:
    """Keeps nothing: where no ledger is wanted."""

    path: Path | None = None
    where = "no ledger"
    store_text = False
    survives_cancellation = True

    async def record(self, call: CallRecord) -> None:
        """Let it go."""

    async def keep(self, receipt: Receipt) -> None:
        """Let it go."""

    def lookup(self, key: str, scope: CallScope) -> None:
        """Nothing is ever found."""
        return

    def close(self) -> None:
        """There is nothing to close."""

    async def aclose(self) -> None:
        """There is nothing to close."""
