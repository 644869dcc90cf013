"""What a run has paid for, kept so that nothing is paid twice (design/runs.md).

Two append-only files. ``tape.jsonl`` holds every completion under its request's content hash;
``attempts.jsonl`` holds every attempt that failed, and every request that ended without an answer.
Figures are made from these two files alone, never from what happens to be in memory: a run that was
killed and run again therefore gives the bytes of one that was not.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from consensus.ballots import Usage
from consensus.errors import (
    BudgetError,
    ConsensusError,
    DataError,
    FailureClass,
    GuardError,
    ProviderError,
    RunError,
)
from consensus.ledger.jobs import try_lock
from consensus.models.context import CallContext
from consensus.models.gateway import Gateway
from consensus.models.protocol import Budget, CallRecord, Completion, Request
from consensus.models.tape import Tape, request_key

__all__ = ["HaltedError", "Known", "PaidAnswers", "RunBudget", "RunCaller"]

TAPE: Final = "tape.jsonl"
ATTEMPTS: Final = "attempts.jsonl"

HALTING: Final[frozenset[FailureClass]] = frozenset({"auth", "not_found"})
"""About the declaration and not about the case: the next case would meet the same."""

BUSY: Final[frozenset[FailureClass]] = frozenset({"breaker_open", "rate_limited", "overloaded"})
"""About the hour and not about the case: worth waiting for, and never a case's failure."""

WAITS_S: Final = (5.0, 15.0, 30.0, 60.0, 120.0)
"""How long a busy provider is waited for, beyond the gateway's own retries."""

_COST = re.compile(rb'"cost_pico":(\d+)')


class HaltedError(ConsensusError):
    """A model cannot be asked at all now; its open questions stay open."""

    def __init__(self, model: str, failure: FailureClass, message: str) -> None:
        self.model, self.failure = model, failure
        super().__init__(message)


class RunBudget(Budget):
    """The whole run's purse. Who finds it fully reserved may wait until a call has settled."""

    __slots__ = ("_settled",)

    def __init__(self, cap_pico: int | None, *, spent_pico: int = 0) -> None:
        super().__init__(cap_pico)
        self.spent = spent_pico
        self._settled = asyncio.Event()

    def settle(self, reserved_pico: int, actual_pico: int) -> None:
        """Give a reservation back, book what was spent, wake who waits."""
        super().settle(reserved_pico, actual_pico)
        self._settled.set()
        self._settled = asyncio.Event()

    async def settled(self) -> None:
        """Wait for the next call to settle."""
        await self._settled.wait()


@dataclass(slots=True)
class Known:
    """What is known of one request: its failed attempts, its answer, or how it ended without."""

    failed: list[dict[str, Any]] = field(default_factory=list)
    outcome: tuple[FailureClass, str] | None = None


class PaidAnswers:
    """The tape and the attempts of one run folder; also the gateway's sink.

    Only one process may hold a folder.

    Attributes:
        tape: the gateway's tape.
        spent_pico: everything paid for in this folder so far, in pico-dollars.

    Raises:
        DataError: the folder cannot be written, or another process runs it.
    """

    survives_cancellation = True

    def __init__(self, folder: Path) -> None:
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
        self._known: dict[str, Known] = {}
        self._calls: set[str] = set()
        self.spent_pico = 0
        self.paid_calls = 0
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

    # -- the gateway's sink ------------------------------------------------------------------------

    async def record(self, call: CallRecord) -> None:
        """Keep a failed attempt; a paid answer is on the tape already."""
        if call.replayed or call.call_id in self._calls:
            return
        self.spent_pico += call.cost_pico
        if call.failure is None:
            self.paid_calls += 1
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

    # -- what is there -----------------------------------------------------------------------------

    def known(self, request: Request, key: str) -> tuple[Completion, tuple[CallRecord, ...]] | None:
        """The answer to a request with the records of all its attempts; None: not asked yet.

        Raises:
            ProviderError, GuardError: it was asked, and ended without an answer.
        """
        here = self._known.get(key)
        records = [_failed(line) for line in here.failed] if here is not None else []
        paid = self.tape.recall(key)
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
                known = self._known.setdefault(str(line["key"]), Known())
                if "outcome" in line:
                    known.outcome = (
                        None
                        if line["outcome"] is None
                        else (line["outcome"], str(line.get("message", "")))
                    )
                else:
                    _failed(line)
                    known.failed.append(line)
                    self._calls.add(str(line["call_id"]))
                    self.spent_pico += int(line["cost_pico"])
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f"is no record of an attempt: {error}", where=f"{self.path}:{number}"
                ) from None

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


class RunCaller:
    """What a seat or a grader asks through: what is there first, then the gateway; never twice.

    Args:
        gateway: its tape and sink are those of ``paid``.
        paid: what the run folder holds.
        waits_s: how long a busy provider is waited for.
    """

    def __init__(
        self, gateway: Gateway, paid: PaidAnswers, *, waits_s: tuple[float, ...] = WAITS_S
    ) -> None:
        self._gateway = gateway
        self._paid = paid
        self._waits_s = waits_s
        self._flights: dict[str, asyncio.Future[None]] = {}
        self.sent = 0

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        """One answer. Equal requests that meet share one call.

        Raises:
            HaltedError: the model cannot be asked now (key, name, or a provider that stays busy).
            RunError: as the gateway's; ended requests raise what they ended with.
        """
        key = request_key(request)
        while True:
            found = self._paid.known(request, key)
            if found is not None:
                return found
            flight = self._flights.get(key)
            if flight is None:
                break
            await asyncio.shield(flight)
        flight = self._flights[key] = asyncio.get_running_loop().create_future()
        try:
            answered = await self._ask(request, key, ctx)
        finally:
            del self._flights[key]
            flight.set_result(None)
        # An answer too long for the tape is used as it came.
        return self._paid.known(request, key) or answered

    async def _ask(
        self, request: Request, key: str, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        waits = iter(self._waits_s)
        while True:
            try:
                self.sent += 1
                return await self._gateway.call(request, ctx)
            except BudgetError:
                self.sent -= 1
                budget = ctx.budget
                if not isinstance(budget, RunBudget) or budget.reserved == 0:
                    raise
                await budget.settled()
            except GuardError as error:
                self.sent -= 1
                self._paid.ended(key, error.failure, error.message)
                raise
            except ProviderError as error:
                if error.failure in HALTING:
                    raise HaltedError(request.model, error.failure, error.message) from error
                if error.failure not in BUSY:
                    self._paid.ended(key, error.failure, error.message)
                    self._paid.known(request, key)  # raises with the attempts as they are kept
                    raise
                wait = next(waits, None)
                if wait is None:
                    raise HaltedError(request.model, error.failure, error.message) from error
                await asyncio.sleep(wait)
