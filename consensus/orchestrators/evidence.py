"""The evidence in ballots: posteriors, a consensus ranking, a middle score.

Thin: it turns ballots into the arrays of :mod:`consensus.aggregation` and back. Sums are exact or
canonical, so the order of ballots cannot change a bit of the result.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from consensus.aggregation.posteriors import block_posterior
from consensus.ballots import Ballot
from consensus.orchestrators.spec import HopRecord

__all__ = ["TIE_TOLERANCE", "consensus_ranking", "leaders", "median_score", "option_posterior"]

TIE_TOLERANCE = 1e-9
"""Probabilities this close share first place."""


def leaders(posterior: Mapping[str, float]) -> tuple[str, ...]:
    """Every option in first place, in the task's order; more than one is a tie."""
    best = max(posterior.values())
    return tuple(option for option, p in posterior.items() if best - p <= TIE_TOLERANCE)


def option_posterior(
    options: Sequence[str], hops: Sequence[HopRecord], escalated: Sequence[bool]
) -> dict[str, float]:
    """Probability of each option after these hops (design/engine.md, cold start).

    Each hop is a block of its own. The last counts in full; an earlier one's log-likelihood is
    discounted by 1 − ρ, since stronger models err on much the same cases as weaker ones.
    """
    log = np.zeros(len(options))
    for hop, stronger in zip(hops, escalated, strict=True):
        cold = hop.spec.cold_start
        accuracy = cold.stronger_accuracy if stronger else cold.accuracy
        discount = 1.0 if hop is hops[-1] else 1.0 - cold.correlation
        log += discount * np.log(_hop_posterior(options, hop, accuracy))
    weights = np.exp(log - log.max())
    total = math.fsum(weights.tolist())
    return dict(zip(options, (weights / total).tolist(), strict=True))


def _hop_posterior(options: Sequence[str], hop: HopRecord, accuracy: float) -> np.ndarray:
    if hop.spec.aggregator == "mean":
        return _mean_of_distributions(options, hop.ballots, accuracy)
    counts = np.array([[sum(1 for b in hop.ballots if b.answer == o) for o in options]])
    return np.asarray(
        block_posterior(counts, accuracy, hop.spec.cold_start.correlation), dtype=np.float64
    )


def _mean_of_distributions(
    options: Sequence[str], ballots: Sequence[Ballot], accuracy: float
) -> np.ndarray:
    """Average the seats' distributions (linear opinion pool, Stone 1961).

    A ballot that is a word and not a distribution counts as ``accuracy`` on its word and the rest
    spread evenly. Probabilities are kept off zero by 1e-6: no finite panel excludes an option.
    """
    rest = (1.0 - accuracy) / (len(options) - 1)
    rows = [
        [b.distribution.get(o, 0.0) for o in options]
        if b.distribution is not None
        else [accuracy if b.answer == o else rest for o in options]
        for b in ballots
    ]
    mean = np.array([math.fsum(column) / len(rows) for column in zip(*rows, strict=True)])
    clipped = np.maximum(mean, 1e-6)
    return np.asarray(clipped / math.fsum(clipped.tolist()), dtype=np.float64)


def consensus_ranking(
    items: Sequence[str], orders: Sequence[tuple[str, ...]]
) -> tuple[tuple[str, ...], ...]:
    """The order of least disagreement (Kemeny 1959) as groups, best first.

    A group of several items is a tie: some optimal order has either before the other.
    """
    from consensus.aggregation.kemeny import kemeny_consensus
    from consensus.aggregation.rankings import pairwise

    place = {item: i for i, item in enumerate(items)}
    wins = pairwise([[place[item] for item in order] for order in orders], len(items))
    return tuple(tuple(items[i] for i in group) for group in kemeny_consensus(wins).groups)


def median_score(values: Sequence[float]) -> float:
    """The median; of an even number, the mean of the two in the middle."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    if len(ordered) % 2:
        return ordered[middle]
    return (ordered[middle - 1] + ordered[middle]) / 2
