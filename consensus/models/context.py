"""On whose behalf a call is made, and within what."""

from __future__ import annotations

from dataclasses import dataclass

from consensus.models.observing import CallObserver
from consensus.models.protocol import Budget, Deadline, Purpose
from consensus.models.tape import CompletionSource

__all__ = ["CallContext"]


@dataclass(slots=True, kw_only=True)
class CallContext:
    """On whose behalf a call is made, and within what.

    Attributes:
        budget: shared by everything that must not pass one cap together.
        context_guard: the share of a model's window that input and reserved output may fill.
        fallbacks: models to ask, in order, when the request's own cannot answer.
        paid: answers that this decision has paid for already, before it was cut short. They are
            used before anything is sent, and are not recorded again.
        observer: sees every call made with this context.
        hedge_after_s: an attempt that has no answer after so long is made a second time beside the
            first; the first answer counts. None: never.
    """

    decision_id: str
    seat: int = 0
    purpose: Purpose = "ballot"
    task_type: str = ""
    budget: Budget
    deadline: Deadline
    context_guard: float = 0.8
    fallbacks: tuple[str, ...] = ()
    paid: CompletionSource | None = None
    observer: CallObserver | None = None
    hedge_after_s: float | None = None

    def at(self, seat: int) -> CallContext:
        """This context for one seat."""
        # By hand: ``dataclasses.replace`` takes ten times as long, and this is done for every call.
        return CallContext(
            decision_id=self.decision_id,
            seat=seat,
            purpose=self.purpose,
            task_type=self.task_type,
            budget=self.budget,
            deadline=self.deadline,
            context_guard=self.context_guard,
            fallbacks=self.fallbacks,
            paid=self.paid,
            observer=self.observer,
            hedge_after_s=self.hedge_after_s,
        )
