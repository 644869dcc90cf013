"""Deciding a file of tasks: any line may be bad, any moment may be the last.

A job is one output file under one policy (and task type, and frontier). Its rows are known by
their content, not by their line number: a file that is mended or grown and decided again pays only
for what is new. Each row's decision has an id that follows from job and content, so a decision on
the ledger is never made twice, and the paid answers of one that was cut short are used again.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.decisions import Decision
from consensus.engine import Engine, in_order, refused
from consensus.errors import DataError, FailureClass, ProviderError, TaskError
from consensus.ledger.jobs import Job, PaidCalls
from consensus.ledger.receipts import task_sha256
from consensus.ledger.store import Ledger
from consensus.ledger.workers import take_in_all
from consensus.parquet import ParquetOutput, count_rows, is_parquet, read_rows
from consensus.policy.reload import Setup
from consensus.strangers import numbered_lines
from consensus.tasks import MAX_TASK_BYTES, Task, parse_task

__all__ = ["JobRun", "Line", "Settled", "ask_line", "count_lines", "read_tasks", "unanswered"]

MAX_LINE_BYTES = 6 * MAX_TASK_BYTES
"""The longest line that is read: every byte of a task may be escaped as ``\\u00XX``."""

ANY_LENGTH = 1 << 62
"""A file of tasks is read line by line, however long it is."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a task file: a task, or why it is none.

    ``index`` counts tasks from 0; ``number`` counts lines from 1. ``key`` tells a task by its
    content and by how often the same content stood before.
    """

    index: int
    number: int
    task: Task | None = None
    error: str | None = None
    task_id: str | None = None
    key: int = 0


def count_lines(path: Path) -> int:
    """How many tasks a file holds (its lines that are not blank, or its rows)."""
    if is_parquet(path):
        return count_rows(path)
    return sum(1 for _ in numbered_lines(path, ANY_LENGTH, line=MAX_LINE_BYTES))


def read_tasks(path: Path, *, task_type: str, row: Mapping[str, Any]) -> Iterator[Line]:
    """Read a file of tasks, line by line (JSONL) or row by row (``.parquet``), in flat memory.

    Args:
        path: the file.
        task_type: of every task; a line that says another type is an error of that line.
        row: what the policy's row supplies where a line is silent (``kind``, ``criteria``, …).
    """
    seen: Counter[str] = Counter()
    read = read_rows(path) if is_parquet(path) else _read_lines(path)
    for index, (number, given) in enumerate(read):
        yield _line(given, index, number, path.name, task_type, row, seen)


def _read_lines(path: Path) -> Iterator[tuple[int, object]]:
    """Line numbers and what stands there; an error where that cannot be read."""
    for number, raw in numbered_lines(path, ANY_LENGTH, line=MAX_LINE_BYTES):
        try:
            given = _parse(raw, f"{path.name}:{number}", first=number == 1)
        except TaskError as error:
            yield number, error
        else:
            yield number, given


def _line(
    given: object,
    index: int,
    number: int,
    name: str,
    task_type: str,
    row: Mapping[str, Any],
    seen: Counter[str],
) -> Line:
    where = f"{name}:{number}"
    try:
        if isinstance(given, TaskError):
            raise given
        task = parse_task(complete(given, task_type, row, where=where), where=where)
    except TaskError as error:
        named = given.get("id") if isinstance(given, dict) else None
        return Line(
            index, number, error=str(error), task_id=named if isinstance(named, str) else None
        )
    digest = task_sha256(task)
    seen[digest] += 1
    key = hashlib.sha256(f"{digest}:{task.id or ''}:{seen[digest]}".encode()).digest()[:8]
    return Line(index, number, task, task_id=task.id, key=int.from_bytes(key) >> 1)


def _parse(raw: bytes | None, where: str, *, first: bool) -> object:
    if raw is None:
        raise TaskError(f"the line holds more than {MAX_LINE_BYTES:,} bytes", where=where)
    try:
        text = raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise TaskError(f"is not UTF-8 (byte {error.start})", where=where) from None
    try:
        return json.loads(text, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise TaskError(f"is not JSON: {error.msg} (column {error.colno})", where=where) from None
    except (ValueError, RecursionError) as error:
        raise TaskError(f"is not JSON: {error}", where=where) from None


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def complete(
    given: object, task_type: str, row: Mapping[str, Any], *, where: str | None = None
) -> dict[str, Any]:
    """A line's fields with what the command and the policy's row supply.

    Raises:
        TaskError: the line contradicts the command's type or the row's kind.
    """
    if not isinstance(given, dict):
        raise TaskError(f"a task is an object, not {type(given).__name__}", where=where)
    fields = {str(name): value for name, value in given.items()}
    if fields.setdefault("type", task_type) != task_type:
        raise TaskError(
            f'says type "{fields["type"]}" in a file that is decided as "{task_type}"', where=where
        )
    kind = row.get("kind")
    if kind is not None and fields.setdefault("kind", kind) != kind:
        raise TaskError(
            f'says kind "{fields["kind"]}"; the row of "{task_type}" is of kind {kind}', where=where
        )
    wanted = _FIELDS.get(str(fields.get("kind")), ())
    for name in wanted:
        if name in row and name not in fields:
            fields[name] = row[name]
    return fields


_FIELDS: dict[str, tuple[str, ...]] = {
    "approve": ("criteria",),
    "choose": ("criteria", "options"),
    "compare": ("criteria",),
    "rank": ("criteria",),
    "score": ("criteria", "scale"),
    "generate": ("schema",),
}
"""What a row can supply to a task of each kind."""


UNREACHED = frozenset(
    {
        "auth", "bad_request", "breaker_open", "connection", "not_found", "overloaded",
        "rate_limited", "server_error", "timeout",
    }
)  # fmt: skip
"""Failures with which a provider gave no answer at all."""

HOPELESS = frozenset({"auth", "not_found"})
"""Failures that every further task would meet as well."""


def unanswered(decision: Decision) -> bool:
    """Whether nothing was decided because no provider gave any answer."""
    return (
        decision.action == "abstain"
        and not decision.ballots
        and bool(decision.failures)
        and all(failure.failure in UNREACHED for failure in decision.failures)
    )


async def ask_line(
    engine: Engine,
    setup: Setup,
    line: Line,
    decision_id: str,
    *,
    paid: PaidCalls,
    frontier: str | None = None,
) -> Decision:
    """Decide one line's task under this id; a task that cannot be asked is refused."""
    if line.task is None:
        raise ValueError("the line holds no task")
    try:
        return await engine.decide_row(
            line.task, frontier=frontier, decision_id=decision_id, paid=paid, setup=setup
        )
    except TaskError as error:
        return refused(line.task, error)


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of one line.

    ``pico`` is what it cost in this run, in pico-dollars. ``nobody`` is why no further task can be
    answered either: a message and its class.
    """

    row: dict[str, Any]
    pico: int
    reused: bool
    nobody: tuple[str, FailureClass] | None

    @classmethod
    def of(cls, line: Line, decision: Decision, *, reused: bool) -> Settled:
        """A decision as one line's."""
        pico, nobody = 0, None
        if not reused:
            pico = decision.cost.pico_usd
            if decision.frontier is not None:
                pico += decision.frontier.cost.pico_usd
        if unanswered(decision) and {f.failure for f in decision.failures} <= HOPELESS:
            nobody = decision.failures[0].message, decision.failures[0].failure
        return cls(decision.to_row(index=line.index), pico, reused, nobody)


@dataclass
class JobRun:
    """One run of a job: decides what is not yet decided, writes every row in input order.

    Attributes:
        engine: with a ledger, which is what makes a job resumable.
        source: the file of tasks.
        output: the file of decisions; written beside itself and put in place at the end of each
            row, so what is there is always whole rows.
    """

    engine: Engine
    source: Path
    output: Path
    task_type: str
    frontier: str | None = None
    concurrency: int = 100
    fresh: bool = False
    spent_pico: int = 0
    reused: int = 0
    bad_lines: int = 0
    actions: Counter[str] = field(default_factory=Counter)

    async def rows(self) -> AsyncGenerator[dict[str, Any], None]:
        """Decide the file; each row as it is written.

        One table and one book of prompts rule the whole file: an engine that reloads holds on to
        those that were in force when the job began.

        Raises:
            DataError: the input cannot be read, or the output not written.
            ProviderError: a key is missing or wrong, or a model does not exist: no task could be
                answered, so the job stops at once. Rows that nobody answered are asked again when
                it is run again.
            LedgerError: a record could not be kept, or another process runs this job.
        """
        if self.output.exists() and self.source.exists() and self.output.samefile(self.source):
            raise DataError("is the input as well as the output", where=str(self.output))
        ledger = self.engine.ledger
        if ledger is None:
            raise DataError("a job needs a ledger", fix="leave ledger=False out")
        async with self.engine.pinned() as setup, aclosing(self._job(ledger, setup)) as rows:
            async for row in rows:
                yield row

    async def _job(self, ledger: Ledger, setup: Setup) -> AsyncGenerator[dict[str, Any], None]:
        job = ledger.open_job(
            input_sha256="",
            policy_version=setup.table.version_hash,
            options=self._identity(setup),
        )
        take_in_all(ledger, job.job_id)
        if self.fresh and job.resumed:
            ledger.finish_job(job)
            job = ledger.open_job(
                input_sha256="",
                policy_version=setup.table.version_hash,
                options=self._identity(setup),
            )
        done = ledger.finished(job.job_id)
        paid = ledger.paid_calls(job.job_id)
        try:
            async with aclosing(self._decide(ledger, setup, job, done, paid)) as rows:
                output = ParquetOutput if is_parquet(self.output) else _Output
                with output(self.output) as out:
                    async for row in rows:
                        out.write(row)
                        yield row
        finally:
            ledger.leave_job(job)

    def _identity(self, setup: Setup) -> dict[str, Any]:
        return {
            "output": str(self.output.resolve()),
            "type": self.task_type,
            "frontier": self.frontier,
            "prompts": setup.book.sha256,
        }

    async def _decide(
        self, ledger: Ledger, setup: Setup, job: Job, done: set[int], paid: PaidCalls
    ) -> AsyncGenerator[dict[str, Any], None]:
        async def one(line: Line) -> Settled:
            known, decision_id = self._known(ledger, setup, job, line, done)
            if known is not None:
                return known
            decision = await ask_line(
                self.engine, setup, line, decision_id, paid=paid, frontier=self.frontier
            )
            return Settled.of(line, decision, reused=False)

        lines = self._lines(setup)
        async with aclosing(in_order(lines, one, self.concurrency)) as decided:
            async for settled in decided:
                yield self._counted(settled)

    def _supplied(self, setup: Setup) -> dict[str, Any]:
        """What the policy's row supplies where a line is silent."""
        row = setup.table.tasks.get(self.task_type)
        return {} if row is None else row.task_defaults()

    def _lines(self, setup: Setup) -> Iterator[Line]:
        return read_tasks(self.source, task_type=self.task_type, row=self._supplied(setup))

    def _known(
        self, ledger: Ledger, setup: Setup, job: Job, line: Line, done: set[int]
    ) -> tuple[Settled | None, str]:
        """What is known of a line without asking, or the id under which it is to be decided."""
        if line.task is None:
            kind = self._supplied(setup).get("kind")
            given = {"type": self.task_type, "id": line.task_id, "kind": kind}
            decision = refused(given, TaskError(str(line.error)))
            return Settled.of(line, decision, reused=False), ""
        key = line.key
        while key in done:
            kept = ledger.receipt(job.decision_id(key)).decision
            if not unanswered(kept):
                return Settled.of(line, kept, reused=True), ""
            key += 1  # nobody could be reached then; it is asked again under a new id
        return None, job.decision_id(key)

    def _counted(self, settled: Settled) -> dict[str, Any]:
        """Count a line in.

        Raises:
            ProviderError: no further task could be answered either.
        """
        if settled.nobody is not None:
            message, failure = settled.nobody
            raise ProviderError(
                f"nobody can answer: {message} (what is finished is kept; mend it and run the same "
                "command again)",
                failure=failure,
            )
        if settled.row["error"] is not None:
            self.bad_lines += 1
        else:
            self.actions[settled.row["action"]] += 1
        self.reused += settled.reused
        self.spent_pico += settled.pico
        return settled.row


class _Output:
    """A file of rows that replaces the old one only when it is whole."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.partial = path.with_name(path.name + ".partial")

    def __enter__(self) -> _Output:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.partial.open("w", encoding="utf-8", newline="\n")
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(self.path)) from None
        return self

    def write(self, row: dict[str, Any]) -> None:
        try:
            self._file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(self.path)) from None

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        try:
            self._file.close()  # writes what a full disk has not taken yet
            if kind is None:
                self.partial.replace(self.path)
        except OSError as error:
            if kind is None:
                raise DataError(
                    f"cannot be written: {error.strerror}", where=str(self.path)
                ) from None
