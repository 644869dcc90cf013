"""A strategy over recorded answers: the protocol, what it did, and what all of them need.

A strategy sees one sample order at a time (or several, stacked as further cases): it takes samples
from the front of each member's list, and pays for those that it takes. Failures take their seat,
are paid, and have no vote.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import posteriors
from consensus.benchmark.evidence import Evidence
from consensus.errors import DataError
from consensus.orchestrators.spec import ColdStart

__all__ = [
    "Outcome",
    "Strategy",
    "cold_posterior",
    "front",
    "leaders",
    "mean_scores",
    "seat_counts",
    "spent",
]

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Outcome:
    """What a strategy did on n cases, for one sample order.

    Attributes:
        shares: (n, K) the decision; a tie is shared equally, all zeros is no decision.
        calls: (n,) calls made.
        cost: (n,) dollars, NaN where unknown.
        latency: (n,) seconds: the slowest of what ran side by side, summed over stages.
        escalated: (n,) whether it went beyond its first stage.
        weight: (n,) how much this outcome counts in the mean of its case; None: 1.
        seats: configured seats, of which a quorum and a share are counted.
        tally: (n, K) votes of the seats; None where it cannot be said when to act.
        posterior: (n, K) probability of each option; None likewise.
        quantile: (n,) q̂ of the calibration behind it at the rule's α: inf where it has too few
            cases, NaN where it does not cover who answered; None without a calibration.
    """

    shares: Floats
    calls: Floats
    cost: Floats
    latency: Floats
    escalated: Bools
    weight: Floats | None = None
    seats: int = 1
    tally: Floats | None = None
    posterior: Floats | None = None
    quantile: Floats | None = None


class Strategy(Protocol):
    """One way to obtain and combine answers."""

    @property
    def name(self) -> str:
        """The name it is asked for by."""
        ...

    @property
    def fitted(self) -> bool:
        """False until :meth:`fit` has seen cases to calibrate on; True for what needs none."""
        ...

    def fit(self, train: Evidence) -> Strategy:
        """The strategy, calibrated on cases whose gold it may see."""
        ...

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """Outcomes over random sample orders; it never looks at the gold of ``evidence``."""
        ...

    def describe(self) -> dict[str, Any]:
        """What it is, as JSON values."""
        ...


def seat_counts(seats: int | None, evidence: Evidence) -> tuple[int, ...]:
    """Samples of each member that ``seats`` seats take: members in turn, samples in turn.

    Without ``seats``, one a member.

    Raises:
        DataError: if that is more than the recording has.
    """
    members = len(evidence.members)
    total = members if seats is None else seats
    if total < 1:
        raise DataError("a panel needs at least one seat", where="--seats")
    counts = tuple(total // members + (m < total % members) for m in range(members))
    for member, count, have in zip(
        evidence.members, counts, evidence.present.shape[2] * np.ones(members), strict=True
    ):
        if count > have:
            most = evidence.present.shape[2] * members
            raise DataError(
                f"{total} seats need {count} samples of {member.name}, {have:.0f} recorded",
                where="--seats",
                fix=f"at most {most}",
            )
    return counts


def front(evidence: Evidence, counts: Sequence[int]) -> Evidence:
    """The samples that seats take: the first ``counts[m]`` of each member; the rest is absent."""
    most = max(1, *counts)
    part = replace(
        evidence,
        votes=evidence.votes[:, :, :most].copy(),
        present=evidence.present[:, :, :most].copy(),
        scores=None if evidence.scores is None else evidence.scores[:, :, :most].copy(),
        cost=evidence.cost[:, :, :most].copy(),
        latency=evidence.latency[:, :, :most].copy(),
        extra={name: column[:, :, :most].copy() for name, column in evidence.extra.items()},
    )
    idle = np.arange(most)[None, :] >= np.asarray(counts)[:, None]
    part.present[:, idle] = False
    part.votes[:, idle] = 0
    part.cost[:, idle] = 0
    part.latency[:, idle] = 0
    if part.scores is not None:
        part.scores[:, idle] = np.nan
    for column in part.extra.values():
        column[:, idle] = np.nan
    return part


def spent(part: Evidence, counts: Sequence[int]) -> dict[str, Any]:
    """Calls, cost and latency of seats that all ran side by side."""
    return {
        "calls": part.running.calls(counts),
        "cost": part.running.cost(counts),
        "latency": part.running.latency(counts),
        "escalated": np.zeros(len(part), dtype=bool),
    }


def cold_posterior(tally: Floats, valid: Bools) -> Floats:
    """(n, K) what a policy makes of votes without a calibration: one block that errs together."""
    cold = ColdStart()
    return np.asarray(
        posteriors.block_posterior(
            tally[:, None, :], cold.accuracy, cold.correlation, options=valid
        )
    )


def leaders(values: NDArray[Any], valid: Bools) -> Floats:
    """(n, K) shares of the largest value among the valid options; none where nothing is finite.

    Nothing above the rest is still a tie of all, unless every value is missing.
    """
    known = np.where(valid & np.isfinite(values), values, -np.inf)
    top = known.max(axis=1, keepdims=True)
    close = (known >= top - 1e-9 * np.maximum(1.0, np.abs(top))) & np.isfinite(top)
    return np.asarray(close / np.maximum(close.sum(axis=1, keepdims=True), 1), dtype=float)


def mean_scores(part: Evidence, counts: Sequence[int] | None = None) -> Floats:
    """(n, K) mean score of each option over the seats; NaN where no seat scored it.

    Args:
        part: the answers.
        counts: the samples that each member's seats take; None: all.

    Raises:
        DataError: where the recording has no scores.
    """
    if part.scores is None:
        raise DataError("has no scores to average", where="--strategy scores", fix="vote")
    depth = int(part.present.shape[2])
    total, given = part.running.scores([depth] * len(part.members) if counts is None else counts)
    return np.where(given > 0, total / np.maximum(given, 1), np.nan)
