"""A decision put together from what was asked and measured.

The engine calls this once the hops are run; ``ledger replay`` calls it with a receipt. Both get
the same bytes because there is one function and it looks at nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

from consensus.ballots import Answer, Ballot, Cost, Failure, Usage
from consensus.decisions import Decision, Frontier
from consensus.ledger.receipts import Receipt
from consensus.orchestrators.checks import Judgement
from consensus.orchestrators.concluding import Conclusion, answers_agree, conclude, propose
from consensus.orchestrators.spec import HopRecord, StrategySpec
from consensus.tasks import Rank, Score, Task

__all__ = [
    "assemble",
    "conclude_hops",
    "conclude_receipt",
    "frontier_of",
    "propose_hops",
    "same_outcome",
]

PARTIAL = frozenset({"budget", "deadline"})
"""Failures that mean: cut short by a cap, not by a model."""


def conclude_hops(task: Task, hops: Sequence[HopRecord]) -> Conclusion:
    """What follows from these hops for this task."""
    return conclude(task.kind, task.options, hops, scale=_scale(task), top=_top(task))


def propose_hops(task: Task, hops: Sequence[HopRecord]) -> Conclusion:
    """What the ballots alone would do, before any oracle is asked."""
    return propose(task.kind, task.options, hops, scale=_scale(task), top=_top(task))


def assemble(
    task: Task,
    hops: Sequence[HopRecord],
    *,
    reasons: Sequence[str],
    latency_s: float,
    policy_version: str,
    receipt_id: str | None,
    frontier: Frontier | None = None,
    earlier_pico: int = 0,
    routing_pico: int = 0,
    conclusion: Conclusion | None = None,
) -> Decision:
    """The decision that these hops make, with its exact cost.

    Args:
        task: what was asked.
        hops: every hop that was run, in order; at least one.
        reasons: of the route; the conclusion's follow.
        latency_s: wall time of the whole decision.
        policy_version: of the table that ruled.
        receipt_id: where it is kept, if it is.
        frontier: what the frontier said beside it; whether it agrees is worked out here.
        earlier_pico: what a run that was cut short paid for and this one did not ask again.
        routing_pico: what it cost to find out what the task is about.
        conclusion: what :func:`conclude_hops` says of these hops, where it was asked already.
    """
    if conclusion is None:
        conclusion = conclude_hops(task, hops)
    ballots = tuple(ballot for hop in hops for ballot in hop.ballots)
    failures = tuple(failure for hop in hops for failure in hop.failures)
    judgements = tuple(judgement for hop in hops for judgement in hop.judgements)
    spent: tuple[Ballot | Failure | Judgement, ...] = (*ballots, *failures, *judgements)
    if frontier is not None:
        agrees = same_outcome(task, conclusion.outcome, frontier.outcome)
        frontier = frontier.model_copy(update={"agrees": agrees})
    return Decision(
        action=conclusion.action,
        outcome=conclusion.outcome,
        posterior=conclusion.posterior,
        probability=conclusion.probability,
        agreement=conclusion.agreement,
        tied=conclusion.tied,
        calibrated=conclusion.calibrated,
        ballots=ballots,
        failures=failures,
        cost=Cost.total([Cost(pico_usd=earlier_pico + routing_pico), *(one.cost for one in spent)]),
        usage=Usage.total(one.usage for one in spent),
        latency_s=latency_s,
        reasons=(*reasons, *conclusion.reasons),
        partial=any(failure.failure in PARTIAL for failure in failures)
        or any(judgement.failure in PARTIAL for judgement in judgements),
        task_type=task.type,
        kind=task.kind,
        task_id=task.id,
        strategy=hops[-1].spec.orchestrator,
        route=tuple(hop.name for hop in hops),
        policy_version=policy_version,
        receipt_id=receipt_id,
        frontier=frontier,
    )


def frontier_of(model: str, answer: Ballot | Failure) -> Frontier:
    """One call's answer as the frontier's; ``agrees`` is filled in by :func:`assemble`."""
    return Frontier(
        model=model,
        served_model=answer.served_model,
        outcome=None if isinstance(answer, Failure) else answer.answer,
        cost=answer.cost,
        usage=answer.usage,
        latency_s=answer.latency_s,
        failure=answer.failure if isinstance(answer, Failure) else None,
    )


def conclude_receipt(receipt: Receipt) -> Decision:
    """Draw the decision again from its receipt alone."""
    return assemble(
        receipt.question(),
        [
            HopRecord(
                name=hop.name,
                spec=StrategySpec.model_validate(hop.strategy),
                ballots=hop.ballots,
                failures=hop.failures,
                notes=hop.notes,
                checks=hop.checks,
                judgements=hop.judgements,
            )
            for hop in receipt.hops
        ],
        reasons=tuple(receipt.route.get("reasons", ())),
        latency_s=float(receipt.measured["latency_s"]),
        policy_version=receipt.policy_version,
        receipt_id=receipt.receipt_id,
        frontier=receipt.frontier,
        earlier_pico=int(receipt.measured.get("earlier_pico", 0)),
        routing_pico=int(receipt.measured.get("routing_pico", 0)),
    )


def same_outcome(task: Task, outcome: Answer | None, other: Answer | None) -> bool | None:
    """Whether two outcomes of one task say the same; None where either is none."""
    if outcome is None or other is None:
        return None
    top = _top(task)
    if top is not None and isinstance(outcome, tuple) and isinstance(other, tuple):
        return set(outcome[:top]) == set(other[:top])
    return answers_agree(task.kind, outcome, other, scale=_scale(task))


def _top(task: Task) -> int | None:
    return task.top if isinstance(task, Rank) else None


def _scale(task: Task) -> tuple[float, float] | None:
    return task.scale if isinstance(task, Score) else None
