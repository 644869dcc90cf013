"""What a run has paid for, kept so that nothing is paid twice (design/runs.md).

Two append-only files. ``tape.jsonl`` holds every completion under its request's content hash;
``attempts.jsonl`` holds every attempt that failed, and every request that ended without an answer.
Figures are made from these two files alone, never from what happens to be in memory: a run that was
killed and run again therefore gives the bytes of one that was not.
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from consensus.ballots import Usage
from consensus.errors import (
    DataError,
    FailureClass,
    GuardError,
    ProviderError,
    RunError,
)
from consensus.ledger.jobs import try_lock
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.models.tape import Paid, Tape

__all__ = ["Answers", "Known", "PaidAnswers", "Told"]

TAPE: Final = "tape.jsonl"
ATTEMPTS: Final = "attempts.jsonl"

_COST = re.compile(rb'"cost_pico":(\d+)')


@dataclass(slots=True)
class Known:
    """What is known of one request: its failed attempts, its answer, or how it ended without."""

    failed: list[Mapping[str, Any]] = field(default_factory=list)
    outcome: tuple[FailureClass, str] | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that became known of a request: its answer, or else a line of the attempts."""

    key: str
    paid: Paid | None = None
    line: Mapping[str, Any] | None = None


class Answers(ABC):
    """What is known of a run's requests; also the gateway's sink.

    Attributes:
        spent_pico: everything that was paid for, in pico-dollars.
        paid_calls: how many answers that was.
    """

    survives_cancellation = True

    def __init__(self) -> None:
        self._known: dict[str, Known] = {}
        self._calls: set[str] = set()
        self.spent_pico = 0
        self.paid_calls = 0

    @abstractmethod
    def recall(self, key: str) -> Paid | None:
        """The answer to a request, with what it cost."""

    @abstractmethod
    def _append(self, line: Mapping[str, Any]) -> None:
        """Keep a failed attempt, or how a request ended."""

    @abstractmethod
    def _answered(self, call: CallRecord) -> None:
        """An answer was paid for."""

    async def record(self, call: CallRecord) -> None:
        """Keep a failed attempt; a paid answer is on the tape already."""
        if call.replayed or call.call_id in self._calls:
            return
        self.spent_pico += call.cost_pico
        if call.failure is None:
            self.paid_calls += 1
            self._answered(call)
            return
        if call.failure == "cancelled" and not call.cost_pico:
            return
        line = {
            "key": call.key,
            "call_id": call.call_id,
            "case": call.decision_id,
            "purpose": call.purpose,
            "attempt": call.attempt,
            "model": call.requested_model,
            "served_model": call.served_model,
            "usage": call.usage.model_dump(exclude_defaults=True),
            "cost_pico": call.cost_pico,
            "price_basis": call.price_basis,
            "failure": call.failure,
            "status": call.status,
            "started_at": round(call.started_at, 3),
            "latency_s": round(call.latency_s, 3),
        }
        self._append(line)
        self._calls.add(call.call_id)
        self._known.setdefault(call.key, Known()).failed.append(line)

    def ended(self, key: str, failure: FailureClass, message: str) -> None:
        """Keep that a request ended without an answer: it is not asked again unless wished."""
        self._append({"key": key, "outcome": failure, "message": message})
        self._known.setdefault(key, Known()).outcome = (failure, message)

    def known(self, request: Request, key: str) -> tuple[Completion, tuple[CallRecord, ...]] | None:
        """The answer to a request with the records of all its attempts; None: not asked yet.

        Raises:
            ProviderError, GuardError: it was asked, and ended without an answer.
        """
        here = self._known.get(key)
        records = [_failed(line) for line in here.failed] if here is not None else []
        paid = self.recall(key)
        if paid is not None:
            completion = paid.completion
            records.append(
                CallRecord(
                    paid.call_id,
                    paid.decision_id,
                    0,
                    "ballot",
                    len(records) + 1,
                    request.model,
                    key,
                    0.0,
                    served_model=completion.served_model,
                    usage=completion.usage,
                    cost_pico=paid.cost_pico or 0,
                    latency_s=completion.latency_s,
                    completion=completion,
                    price_basis=paid.price_basis,
                )
            )
            return completion, tuple(records)
        if here is None or here.outcome is None:
            return None
        failure, message = here.outcome
        error: RunError
        if failure == "guard":
            error = GuardError(message)
        else:
            error = ProviderError(message, failure=failure, model=request.model)
        error.calls = tuple(records)
        raise error


class PaidAnswers(Answers):
    """The tape and the attempts of one run folder.

    Only one process may hold a folder.

    Attributes:
        tape: the gateway's tape.

    Raises:
        DataError: the folder cannot be written, or another process runs it.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.path = folder / ATTEMPTS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise DataError(f"cannot be written: {error.strerror}", where=str(self.path)) from None
        if not try_lock(self._file):
            os.close(self._file)
            raise DataError(
                "is being run by another process", where=str(folder), fix="wait for it, or end it"
            )
        self._read()
        self.tape = Tape(folder / TAPE)
        self._count_tape(folder / TAPE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the files, and of the folder."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self.tape.close()

    def forgive(self) -> int:
        """Forget failures that a provider caused, so that they are asked again; how many."""
        count = 0
        for key, known in self._known.items():
            if known.outcome is not None and known.outcome[0] != "guard":
                if self.tape.lookup(key) is None:
                    self._append({"key": key, "outcome": None})
                known.outcome = None
                count += 1
        return count

    def take(self, told: Told) -> None:
        """Keep what another process, which asked for this run, has learnt.

        Raises:
            DataError: the folder cannot be written.
        """
        if told.paid is not None:
            self.spent_pico += told.paid.cost_pico or 0
            self.paid_calls += 1
            if self.tape.lookup(told.key) is None:
                self.tape.keep(told.key, told.paid)
        elif told.line is not None and told.line.get("call_id") not in self._calls:
            self._append(told.line)
            self._remember(told.line)

    def recall(self, key: str) -> Paid | None:
        """The answer to a request, with what it cost."""
        return self.tape.recall(key)

    def _answered(self, call: CallRecord) -> None:
        """The gateway has put it on the tape."""

    def asked(self, key: str) -> bool:
        """Whether a request has its answer, or has ended without one."""
        known = self._known.get(key)
        return (known is not None and known.outcome is not None) or self.tape.lookup(
            key
        ) is not None

    # -- the file ----------------------------------------------------------------------------------

    def _append(self, line: Mapping[str, Any]) -> None:
        data = (json.dumps(line, ensure_ascii=True, separators=(",", ":")) + "\n").encode()
        before = os.lseek(self._file, 0, os.SEEK_END)
        try:
            written = os.write(self._file, data)
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            # Half a line that others follow would make the whole folder unreadable.
            os.ftruncate(self._file, before)
            raise DataError(f"cannot be written: {error.strerror}", where=str(self.path)) from None

    def _read(self) -> None:
        data = self.path.read_bytes()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):  # a kill tore the last line
            os.truncate(self._file, whole)
        for number, raw in enumerate(data[:whole].splitlines(), 1):
            try:
                line = json.loads(raw)
                self._remember(line)
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"is no record of an attempt: {error}", where=f"{self.path}:{number}"
                ) from None

    def _remember(self, line: Mapping[str, Any]) -> None:
        known = self._known.setdefault(str(line["key"]), Known())
        if "outcome" in line:
            outcome = line["outcome"]
            known.outcome = None if outcome is None else (outcome, str(line.get("message", "")))
            return
        _failed(line)
        known.failed.append(line)
        self._calls.add(str(line["call_id"]))
        self.spent_pico += int(line["cost_pico"])

    def _count_tape(self, path: Path) -> None:
        if not path.exists():
            return
        with path.open("rb") as stream:
            for line in stream:
                cost = _COST.search(line[:4096])
                if cost is not None and line.endswith(b"\n"):
                    self.spent_pico += int(cost[1])
                    self.paid_calls += 1


def _failed(line: Mapping[str, Any]) -> CallRecord:
    return CallRecord(
        line["call_id"],
        line["case"],
        0,
        line["purpose"],
        line["attempt"],
        line["model"],
        line["key"],
        line["started_at"],
        served_model=line["served_model"],
        usage=Usage(**line["usage"]),
        cost_pico=line["cost_pico"],
        latency_s=line["latency_s"],
        failure=line["failure"],
        status=line["status"],
        price_basis=line["price_basis"],
    )
