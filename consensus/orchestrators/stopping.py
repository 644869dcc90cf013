"""When a panel has said enough: the live form of ``aggregation.stopping``.

``margin`` is exact: it concludes again for every way in which the seats still unasked could change
the matter, and stops only if none does. The others trade certainty for price, each as its paper
says; they settle what the *panel* would say (``adaptive``) or how sure its posterior is, and a stop
is told in the reasons.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from consensus.aggregation.stop_scores import lead_ballots, lead_level, lead_standing
from consensus.aggregation.stop_value import approval_losses, plain_losses, worth_asking
from consensus.aggregation.stopping import ahead, beta_decided, lead_needed, odds_decided
from consensus.ballots import Ballot
from consensus.orchestrators.concluding import Conclusion, conclude
from consensus.orchestrators.evidence import score_rows, vote_shares
from consensus.orchestrators.spec import HopRecord, Losses, Poll, Stopping, StrategySpec
from consensus.tasks import Task

__all__ = ["CLOSED", "only_counts", "settled"]

CLOSED = frozenset({"approve", "choose", "compare"})
"""Kinds with a closed set of answers: only their panels can be stopped early."""

CONFIDENCE = 0.95

EDGE = 1e-9
"""Differences below this are none."""

RIVALS = 3
"""How many runners-up ``margin`` tries; the others are further behind."""


def settled(task: Task, spec: StrategySpec, poll: Poll, remaining: int) -> str | None:
    """Why no further ballot is needed, or None.

    Args:
        task: of a closed kind.
        spec: with a stopping rule.
        poll: what has come back so far.
        remaining: seats still unasked, at least 1.
    """
    stop = spec.stop or Stopping()
    if len(poll.ballots) < max(stop.min_ballots or 1, spec.quorum):
        return None
    counts = vote_shares(task.options, poll.ballots).sum(axis=0)
    confidence = stop.confidence or CONFIDENCE
    if stop.rule == "margin":
        if not only_counts(spec):
            return None
        return _margin(task, spec, poll, remaining, counts)
    if stop.rule == "ahead_by_k":
        lead = lead_needed(spec.cold_start.accuracy, len(task.options), 1 - confidence)
        return f"one option leads by {lead}" if ahead(counts, lead) else None
    if stop.rule == "posterior":
        conclusion = _conclude(task, spec, poll)
        sure = bool(conclusion.posterior) and bool(
            odds_decided(list(conclusion.posterior.values()), 1 - confidence)
        )
        return f"the posterior passes {confidence:g} against every rival" if sure else None
    if stop.rule == "adaptive":
        done = bool(beta_decided(counts, confidence))
        return f"the panel's answer is settled at {confidence:g}" if done else None
    if stop.rule == "lead":
        return _lead(task, stop, poll, remaining, confidence)
    return _value(task, spec, counts, poll, remaining)


def _lead(task: Task, stop: Stopping, poll: Poll, remaining: int, confidence: float) -> str | None:
    """The lead in standard deviations of what remains; a ballot without scores adds none."""
    votes = vote_shares(task.options, poll.ballots)
    scores = np.nan_to_num(score_rows(task.options, poll.ballots))
    totals = lead_ballots(votes, scores, stop.evidence).sum(axis=0)
    standing = float(lead_standing(totals, remaining, stop.spread or 0.0))
    level = lead_level(confidence) if stop.level is None else stop.level
    if standing < level - EDGE:
        return None
    what = "votes and scores" if stop.evidence == "both" else stop.evidence
    return f"the lead in {what} is {standing:.2f} times what the rest may move it"


def only_counts(spec: StrategySpec) -> bool:
    """Whether a strategy's outcome follows from counts, so that ``margin`` can be certain of it.

    A mean moves no further than to the surest ballots that could still come, which are tried. What
    learned aggregators and confidences make of ballots not yet seen, no finite number of trials can
    bound.
    """
    return spec.aggregator in ("majority", "mean") and spec.calibration is None


def _margin(
    task: Task, spec: StrategySpec, poll: Poll, remaining: int, counts: np.ndarray
) -> str | None:
    now = _conclude(task, spec, poll)
    by_votes = np.argsort(-counts, kind="stable")[: RIVALS + 1]
    for place in by_votes:
        more = _alike(poll, task.options[int(place)], remaining, spec.seats)
        if not _same(now, _conclude(task, spec, more)):
            return None
    return "the seats left cannot change the decision"


def _alike(poll: Poll, answer: str, times: int, after: int) -> Poll:
    """The poll, had every seat left voted for this answer, and surely."""
    first = poll.ballots[0]
    extra = tuple(
        first.model_copy(
            update={"seat": 2 * 10**6 + after + i, "answer": answer, "distribution": {answer: 1.0}}
        )
        for i in range(times)
    )
    return Poll(ballots=(*poll.ballots, *extra), failures=poll.failures)


def _same(a: Conclusion, b: Conclusion) -> bool:
    return a.action == b.action and a.outcome == b.outcome


def _conclude(task: Task, spec: StrategySpec, poll: Poll) -> Conclusion:
    hop = HopRecord(name=spec.name, spec=spec, ballots=poll.ballots, failures=poll.failures)
    return conclude(task.kind, task.options, [hop])


def _value(
    task: Task, spec: StrategySpec, counts: np.ndarray, poll: Poll, remaining: int
) -> str | None:
    """Stop when one more ballot costs more than it can save.

    Losses are in dollars here: that is what they are compared with.
    """
    price = float(np.mean([_usd(b) for b in poll.ballots]))
    losses = spec.losses or Losses()
    table = (
        approval_losses(losses.false_approve, losses.false_reject)
        if task.kind == "approve"
        else plain_losses(len(task.options), losses.false_approve)
    )
    cold = spec.cold_start
    more = worth_asking(
        counts[None, :],
        table,
        price=price,
        remaining=remaining,
        p=cold.accuracy,
        rho=cold.correlation,
    )
    if int(more) > 0:
        return None
    return f"another ballot costs ${price:.6f}, more than it could save"


def _usd(ballot: Ballot) -> float:
    return ballot.cost.usd


def wave_sizes(waves: Sequence[int], seats: int) -> list[int]:
    """How many seats each wave asks; the last declared number repeats. (3, 2), 8 → 3, 2, 2, 1."""
    sizes: list[int] = []
    left = seats
    while left > 0:
        size = min(waves[min(len(sizes), len(waves) - 1)], left)
        sizes.append(size)
        left -= size
    return sizes
