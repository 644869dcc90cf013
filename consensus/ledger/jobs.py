"""Deciding a file, taken up again after a kill without paying twice.

**The scope of a paid answer is its decision.** A job is one file under one policy; each of its rows
has one decision, whose id follows from the job and a number that names the row. An answer is used
again only for the same row of the same job: two rows with the same text are two decisions and are
asked twice, and so are two runs of a finished job. Within a decision every recorded answer is
handed out once, so two seats that ask the very same thing get two answers, as they would have from
the provider.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from consensus.errors import LedgerError
from consensus.ledger.rows import decision_id
from consensus.models.protocol import CallRecord, Completion
from consensus.models.tape import Paid

__all__ = ["CallScope", "DecisionAnswers", "Job", "JobLock", "PaidCalls", "job_identity"]


class CallScope(NamedTuple):
    """Where a paid answer may be used again: within one decision.

    ``frontier`` narrows it to the frontier's call beside the panel (True) or to the panel (False):
    the two have sums of their own, even where they ask the very same thing. ``seat`` narrows it to
    one seat.
    """

    decision_id: str
    frontier: bool | None = None
    seat: int | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """A file being decided.

    ``resumed`` says that an earlier run of it was cut short and is now taken up.
    """

    job_id: str
    created_at: float
    resumed: bool

    def decision_id(self, index: int) -> str:
        """The id of the decision (and of its receipt) on the row that this number names."""
        return decision_id(self.job_id, index)


def job_identity(input_sha256: str, policy_version: str, options: Mapping[str, Any]) -> str:
    """What makes two runs the same job: the file's bytes, the policy, and whatever else decides."""
    text = json.dumps([input_sha256, policy_version, options], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


class PaidCalls:
    """The answers a cut-short job has paid for and not yet used, in memory.

    Holds the calls of unfinished decisions only: as many as were in flight when the job was cut
    short, however long the job is. Not for use by several threads at once.
    """

    def __init__(self, records: Iterable[CallRecord] = ()) -> None:
        self._by_decision: dict[str, deque[CallRecord]] = {}
        for record in records:
            self._by_decision.setdefault(record.decision_id, deque()).append(record)

    def __len__(self) -> int:
        """How many answers can still be handed out."""
        return sum(_is_paid(r) for records in self._by_decision.values() for r in records)

    def lookup(self, key: str, scope: CallScope) -> CallRecord | None:
        """Hand out the earliest unused answer to this request in this scope, once."""
        records = self._by_decision.get(scope.decision_id)
        for record in records or ():
            if _matches(record, key, scope):
                assert records is not None  # noqa: S101 - it is being iterated
                records.remove(record)
                return record
        return None

    def of(self, scope: CallScope) -> DecisionAnswers:
        """These answers as a source that is bound to one scope."""
        return DecisionAnswers(self, scope)

    def unused(self, decision_id: str) -> tuple[CallRecord, ...]:
        """What was recorded for a decision and not handed out: failed attempts, and answers that
        the resumed run did not ask for again. They are paid for, so the decision's cost includes
        them."""
        return tuple(self._by_decision.get(decision_id, ()))

    def forget(self, decision_id: str) -> None:
        """Let go of a decision that is now kept."""
        self._by_decision.pop(decision_id, None)


@dataclass(frozen=True, slots=True)
class DecisionAnswers:
    """The paid answers of one scope, as the gateway asks for them."""

    paid: PaidCalls
    scope: CallScope

    def lookup(self, key: str) -> Completion | None:
        """The next paid answer to this request."""
        record = self.paid.lookup(key, self.scope)
        return None if record is None else record.completion

    def recall(self, key: str) -> Paid | None:
        """The same, with its payment."""
        record = self.paid.lookup(key, self.scope)
        if record is None or record.completion is None:
            return None
        return Paid(
            completion=record.completion,
            call_id=record.call_id,
            decision_id=record.decision_id,
            cost_pico=record.cost_pico,
            price_basis=record.price_basis,
        )


class JobLock:
    """Held by the process that runs a job; let go of by the system if that process dies."""

    def __init__(self, ledger: Path, job_id: str) -> None:
        self.path = ledger.with_name(f"{ledger.name}.{job_id}.lock")
        self._file: int | None = None
        while self._file is None:
            try:
                file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            except OSError as error:
                raise LedgerError(f"{self.path}: cannot be written: {error.strerror}") from None
            if not try_lock(file):
                os.close(file)
                raise LedgerError(
                    f"{ledger}: job {job_id} is being run by another process (wait for it, or end "
                    "it)"
                )
            if _is_at(file, self.path):
                self._file = file
            else:  # its last holder removed it while we opened it: that lock guards nothing
                os.close(file)

    def renew(self) -> None:
        """A lock on a file is not lost while its process lives."""

    def release(self, *, remove: bool = False) -> None:
        """Let another process take the job up; ``remove`` the file of a job that is finished."""
        if self._file is not None:
            if remove:
                self.path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.fstat(file).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def try_lock(file: int) -> bool:
    """Lock an open file for this process; False where another holds it."""
    try:
        import fcntl
    except ImportError:  # no such locks on this system: two runs of one job are the user's care
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_paid(record: CallRecord) -> bool:
    return record.completion is not None and not record.replayed


def _matches(record: CallRecord, key: str, scope: CallScope) -> bool:
    return (
        record.key == key
        and _is_paid(record)
        and scope.seat in (None, record.seat)
        and scope.frontier in (None, record.purpose == "frontier")
    )
