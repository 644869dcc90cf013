"""How a run asks: nothing twice, within its cap, and on whom it gives up (design/runs.md)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Final

from consensus.ballots import Failure
from consensus.benchmark.judging import judge
from consensus.benchmark.paid import Answers
from consensus.benchmark.plan import Job
from consensus.benchmark.results import Answered
from consensus.errors import (
    BudgetError,
    ConsensusError,
    FailureClass,
    GuardError,
    ProviderError,
)
from consensus.models.context import CallContext
from consensus.models.gateway import Gateway
from consensus.models.hashing import request_key
from consensus.models.protocol import Budget, CallRecord, Completion, Deadline, Request
from consensus.oracles import Oracle
from consensus.panel.asking import Caller, ask
from consensus.panel.book import PromptBook

__all__ = ["HaltedError", "RunBudget", "RunCaller", "answer"]

UNASKED: Final = frozenset({"budget", "deadline", "cancelled"})
"""A seat that ended so was not asked: its question stays open."""

HALTING: Final[frozenset[FailureClass]] = frozenset({"auth", "not_found"})
"""About the declaration and not about the case: the next case would meet the same."""

BUSY: Final[frozenset[FailureClass]] = frozenset({"breaker_open", "rate_limited", "overloaded"})
"""About the hour and not about the case: worth waiting for, and never a case's failure."""

WAITS_S: Final = (5.0, 15.0, 30.0, 60.0, 120.0)
"""How long a busy provider is waited for, beyond the gateway's own retries."""


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


async def answer(
    job: Job,
    oracle: Oracle | None,
    caller: Caller,
    budget: Budget,
    *,
    book: PromptBook,
    context_guard: float,
) -> Answered | None:
    """One job: asked and judged; None where the budget did not allow it.

    Args:
        oracle: the case's; None: the answer is not judged.

    Raises:
        HaltedError: the model, or the oracle's grader, cannot be asked now.
        SuiteError: the oracle broke.
    """
    ctx = CallContext(
        decision_id=job.case.id,
        seat=job.seat.index,
        task_type=job.case.type,
        budget=budget,
        deadline=Deadline(None),
        context_guard=context_guard,
    )
    seat = await ask(job.case.task, job.seat, caller, ctx, book)
    if isinstance(seat, Failure):
        return None if seat.failure in UNASKED else Answered(job, seat)
    if oracle is None:
        return Answered(job, seat)
    try:
        judged = await judge(
            job.case,
            oracle,
            seat.answer,
            served=seat.served_model or job.model,
            caller=caller,
            ctx=replace(ctx, purpose="grade"),
        )
    except BudgetError:
        return None
    return Answered(job, seat, judged)


class RunCaller:
    """What a seat or a grader asks through: what is there first, then the gateway; never twice.

    Args:
        gateway: its tape and sink are those of ``paid``.
        paid: what the run folder holds, or what a worker has been told.
        waits_s: how long a busy provider is waited for.
    """

    def __init__(
        self, gateway: Gateway, paid: Answers, *, waits_s: tuple[float, ...] = WAITS_S
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
