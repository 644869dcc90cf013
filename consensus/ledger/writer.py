"""One thread that writes, in groups: what waits is committed together, and only then acknowledged.

Callers of any number of event loops and threads put entries on one queue. A commit costs the same
for one row as for a hundred, so under load the thread lets a group gather for a few milliseconds;
an entry that comes alone is written at once. Each event loop is woken once a group.

Rows go in as a few many-row statements and not one by one: Python's driver gives up the GIL at
every statement, and under a busy event loop each time costs up to 5 ms to get it back.
"""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

from consensus.errors import LedgerError
from consensus.ledger.database import Database, LostConnectionError, Statement
from consensus.ledger.rows import CALL_COLUMNS, DECISION_COLUMNS, call_row, decision_row

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Entry", "Gathering", "Writer", "WriterStats"]

T = TypeVar("T")

_log = logging.getLogger("consensus.ledger")

ROWS_A_STATEMENT = 64
ENTRIES_A_GROUP = 1024

MOST_UNWAITED = 63
"""Commits in a row that do not wait for more, after waits that gathered nothing."""

Kind = Literal["call", "receipt", "work"]


@dataclass(slots=True)
class WriterStats:
    """What the thread has done: commits, rows, and groups that failed."""

    commits: int = 0
    rows: int = 0
    failed_groups: int = 0


class Entry:
    """One thing to write, and who waits for it: a future of an event loop, or a thread's event."""

    __slots__ = ("done", "error", "event", "future", "kind", "loop", "payload", "result", "writer")

    def __init__(
        self,
        kind: Kind,
        payload: Any,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.kind = kind
        self.payload = payload
        self.loop = loop
        self.future: asyncio.Future[None] | None = None if loop is None else loop.create_future()
        self.event = threading.Event() if loop is None else None
        self.error: LedgerError | None = None
        self.result: Any = None
        self.done = False
        self.writer: Writer | None = None

    async def wait(self) -> None:
        """Wait until it is on disk.

        Cancelling does not lose it: the wait goes on until it is written (a second cancellation
        ends the wait, not the writing), then the cancellation is raised. So the queue never holds
        more than callers are waiting for.
        """
        assert self.loop is not None and self.future is not None  # noqa: PT018, S101 - see record()
        try:
            await self.future
        except asyncio.CancelledError:
            if not self.done:
                self.future = self.loop.create_future()
                await self.future
            if self.error is not None and self._news(self.error):
                _log.error("a cancelled call could not be kept: %s", self.error)
            raise
        if self.error is not None:
            self._news(self.error)
            raise self.error

    def _news(self, error: LedgerError) -> bool:
        """Whether nobody was told this since the last commit; from now on somebody was."""
        writer, said = self.writer, str(error)
        if writer is None or writer.told == said:
            return writer is None
        writer.told = said
        return True

    def wait_here(self) -> Any:
        """Block this thread until it is on disk; the result, where it has one."""
        assert self.event is not None  # noqa: S101 - made without a loop
        self.event.wait()
        if self.error is not None:
            raise self.error
        return self.result


_STOP = object()


class Gathering:
    """When to wait for more entries before a commit.

    A commit begins ``group_s`` after the last one at the earliest. But a caller that writes one
    record after another only loses by waiting: where a wait gathered nothing, the next few commits
    do not wait, twice as many each time.
    """

    __slots__ = ("_group_s", "_last", "_penalty", "_skip", "_waited")

    def __init__(self, group_s: float) -> None:
        self._group_s = group_s
        self._last = 0.0
        self._waited = False
        self._penalty = self._skip = 0

    def wait(self) -> None:
        """Wait, if that is likely to gather more."""
        left = self._last + self._group_s - time.monotonic()
        self._waited = left > 0 and self._skip == 0
        if self._waited:
            time.sleep(left)
        elif left > 0:
            self._skip -= 1

    def gathered(self, entries: int) -> None:
        """A group of so many is about to be committed."""
        self._last = time.monotonic()
        if entries > 1:
            self._penalty = self._skip = 0
        elif self._waited:
            self._penalty = min(2 * self._penalty + 1, MOST_UNWAITED)
            self._skip = self._penalty


class Writer:
    """The thread, its queue and its connection.

    Args:
        database: opened by the thread itself, at the first entry: an event loop never waits for
            a disk. If it cannot be opened, the entries at hand fail and the next ones try again.
        group_s: how long after a commit the next one begins at the earliest.
        keep_text: where false, answers are erased once their decision is kept.

    Attributes:
        sound: whether the last write succeeded, or failed by one record's own fault.
        told: what somebody was told since the last commit of why it fails: a full disk under a
            hundred calls is one line and not a hundred.
    """

    def __init__(self, database: Database, *, group_s: float, keep_text: bool) -> None:
        self.stats = WriterStats()
        self.told: str | None = None
        self.sound = False
        self._database = database
        self._group_s = group_s
        self._keep_text = keep_text
        self._queue: SimpleQueue[Any] = SimpleQueue()
        self._gate = threading.Lock()
        self._stopped = False
        self._process = os.getpid()
        self._connection: Connection | None = None
        self._thread = threading.Thread(target=self._run, name="consensus-ledger", daemon=True)
        self._thread.start()

    def put(self, entry: Entry) -> None:
        """Queue an entry; never waits for a disk.

        Raises:
            LedgerError: the writer was stopped.
        """
        with self._gate:
            if self._stopped:
                raise LedgerError(f"{self._database.where}: the ledger is closed")
            entry.writer = self
            self._queue.put(entry)

    def stop(self) -> None:
        """Write what is queued, then end. Returns at once; see :meth:`join`."""
        if self._process != os.getpid():  # a forked child's copy: the thread is not here
            return
        with self._gate:
            self._stopped = True
            self._queue.put(_STOP)

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        gathering = Gathering(self._group_s)
        stopping = False
        while not stopping:
            first = self._queue.get()
            if first is not _STOP:
                gathering.wait()
            entries = [] if first is _STOP else [first]
            stopping = first is _STOP
            try:
                while len(entries) < ENTRIES_A_GROUP or stopping:
                    entry = self._queue.get_nowait()
                    if entry is _STOP:
                        stopping = True
                    else:
                        entries.append(entry)
            except Empty:
                pass
            if entries:
                gathering.gathered(len(entries))
                self._write(entries)
                _settle(entries)
        self._let_go()

    def _write(self, entries: Sequence[Entry]) -> None:
        start = 0
        for i, entry in enumerate(entries):
            if entry.kind == "work":
                self._write_records(entries[start:i])
                self._do(entry)
                start = i + 1
        self._write_records(entries[start:])

    def _do(self, entry: Entry) -> None:
        for again in (True, False):
            done = False
            try:
                connection = self._open()
                self._database.check_place()
                with connection.begin():
                    self._database.begin_work(connection)
                    entry.result = entry.payload(connection)
                    done = True
                self.stats.commits += 1
                self.sound = True
            except Exception as error:  # noqa: BLE001 - whoever waits is told; the thread lives on
                lost = getattr(error, "connection_invalidated", False)
                if lost:
                    self._drop()
                if lost and again and not done:  # before its commit: nothing has happened yet
                    continue
                self._failed([entry], error)
            return

    def _write_records(self, entries: Sequence[Entry], *, again: bool = True) -> None:
        """Write calls and receipts in one transaction; where one is to blame, it alone fails."""
        if not entries:
            return
        try:
            connection = self._open()
            self._database.check_place()
        except Exception as error:  # noqa: BLE001 - whoever waits is told; the thread lives on
            self.sound = False
            self._failed(entries, error)
            return
        rows, good = self._rows(entries)
        try:
            self._commit(connection, rows)
        except LostConnectionError as error:
            self._drop()
            if again:
                self._write_records(good, again=False)
            else:
                self.sound = False
                self._failed(good, error.__cause__ or error)
        except Exception as error:  # noqa: BLE001 - whoever waits is told; the thread lives on
            if not self._database.roll_back(connection):
                self._drop()
            blamed = self._database.blames_one_record(error)
            if len(good) > 1 and blamed:
                for entry in good:
                    self._write_records([entry])
            else:
                self.sound = self.sound and blamed
                self._failed(good, error)

    def _rows(self, entries: Sequence[Entry]) -> tuple[_Rows, list[Entry]]:
        """Entries as rows, and those that could be made into rows."""
        rows = _Rows([], [], [])
        good: list[Entry] = []
        for entry in entries:
            try:
                rows.add(entry)
            except Exception as error:  # noqa: BLE001 - this record alone cannot be written
                self._failed([entry], error)
            else:
                good.append(entry)
        return rows, good

    def _commit(self, connection: Connection, rows: _Rows) -> None:
        statements = rows.statements(self._database.mark, keep_text=self._keep_text)
        if not statements:
            return
        self._database.commit(connection, statements)
        self.told = None
        self.sound = True
        self.stats.commits += 1
        self.stats.rows += len(rows.calls) + len(rows.replayed) + len(rows.receipts)

    def _failed(self, entries: Sequence[Entry], error: BaseException) -> None:
        self.stats.failed_groups += 1
        for entry in entries:
            entry.error = self._database.error(error)
            entry.error.__cause__ = error

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = self._database.writing()
        return self._connection

    def _drop(self) -> None:
        """Let go of a connection that is of no use any more."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None

    def _let_go(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._database.dispose()


def submit_and_wait(writer: Writer, work: Callable[[Connection], T]) -> T:
    """Run ``work`` in the writer's thread, in a transaction of its own; block for its result."""
    entry = Entry("work", work)
    writer.put(entry)
    result: T = entry.wait_here()
    return result


class _Rows(NamedTuple):
    """A group, as rows of its tables."""

    calls: list[tuple[Any, ...]]
    replayed: list[tuple[Any, ...]]
    receipts: list[tuple[Any, ...]]

    def add(self, entry: Entry) -> None:
        if entry.kind == "call":
            rows = self.replayed if entry.payload.replayed else self.calls
            rows.append(call_row(entry.payload))
        else:
            self.receipts.append(decision_row(entry.payload))

    def statements(self, mark: str, *, keep_text: bool) -> list[Statement]:
        found = [
            *_inserts("calls", CALL_COLUMNS, self.calls, mark),
            # A replayed answer is the call that was already paid for: kept once.
            *_inserts("calls", CALL_COLUMNS, self.replayed, mark, " ON CONFLICT DO NOTHING"),
            *_inserts("decisions", DECISION_COLUMNS, self.receipts, mark),
        ]
        if self.receipts and not keep_text:
            found.extend(_erasures(self.receipts, mark))
        return found


def _inserts(
    table: str,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    mark: str,
    conflict: str = "",
) -> list[Statement]:
    group = f"({','.join([mark] * len(columns))})"
    head = f"INSERT INTO {table} ({','.join(columns)}) VALUES "  # noqa: S608 - names only
    found: list[Statement] = []
    for start in range(0, len(rows), ROWS_A_STATEMENT):
        chunk = rows[start : start + ROWS_A_STATEMENT]
        sql = f"{head}{','.join([group] * len(chunk))}{conflict}"
        found.append((sql, [value for row in chunk for value in row]))
    return found


def _erasures(receipts: Sequence[tuple[Any, ...]], mark: str) -> list[Statement]:
    """Statements that erase the answers of decisions that are now kept without text."""
    found: list[Statement] = []
    for start in range(0, len(receipts), ROWS_A_STATEMENT):
        ids = [row[0] for row in receipts[start : start + ROWS_A_STATEMENT]]
        marks = ",".join([mark] * len(ids))
        sql = f"UPDATE calls SET completion = NULL WHERE decision_id IN ({marks})"  # noqa: S608 - marks only
        found.append((sql, ids))
    return found


def _settle(entries: Sequence[Entry]) -> None:
    """Tell everyone, waking each event loop once."""
    by_loop: dict[asyncio.AbstractEventLoop, list[Entry]] = {}
    for entry in entries:
        if entry.loop is not None:
            by_loop.setdefault(entry.loop, []).append(entry)
        elif entry.event is not None:
            entry.done = True
            entry.event.set()
    for loop, waiting in by_loop.items():
        try:
            loop.call_soon_threadsafe(_wake, waiting)
        except RuntimeError:  # that loop is closed: nobody waits there any more
            continue


def _wake(entries: Sequence[Entry]) -> None:
    for entry in entries:
        entry.done = True
        future = entry.future
        if future is not None and not future.done():
            future.set_result(None)
