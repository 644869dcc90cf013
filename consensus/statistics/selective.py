"""Deciding only where it is safe: risk against coverage.

Sources: El-Yaniv & Wiener (JMLR 2010) for the curve; Geifman, Uziel & El-Yaniv (ICLR 2019) for
its area (AURC) and the excess over the best possible order (E-AURC).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["RiskCoverage", "aurc", "coverage_at_risk", "excess_aurc", "risk_coverage"]


class RiskCoverage(NamedTuple):
    """Risk at every coverage 1/n … 1.

    Attributes:
        coverage: shape (n,), share of cases decided, most confident first.
        risk: shape (n,), expected share of errors among them.
        threshold: shape (n,), the least confidence among them.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    threshold: NDArray[np.float64]


def risk_coverage(confidence: ArrayLike, credit: ArrayLike) -> RiskCoverage:
    """The curve of selective risk.

    Cases of equal confidence have no order: within such a group the risk is the expectation over
    random orders, so the order of the input never matters.

    Args:
        confidence: shape (n,), finite.
        credit: shape (n,), within [0, 1]; 1 is right.
    """
    scores = np.asarray(confidence, dtype=float)
    right = np.asarray(credit, dtype=float)
    if scores.shape != right.shape or scores.ndim != 1 or scores.size == 0:
        raise ValueError("confidence and credit must be vectors of one length, at least 1")
    if not np.all(np.isfinite(scores)):
        raise ValueError("confidence must be finite")
    levels, group = np.unique(-scores, return_inverse=True)
    size = np.bincount(group)
    errors = np.bincount(group, weights=1 - right)
    rate = np.repeat(errors / size, size)
    position = np.arange(1, scores.size + 1)
    return RiskCoverage(
        position / scores.size, np.cumsum(rate) / position, np.repeat(-levels, size)
    )


def aurc(confidence: ArrayLike, credit: ArrayLike) -> float:
    """Area under the risk-coverage curve: the mean risk over coverages 1/n … 1. Lower is better."""
    return float(risk_coverage(confidence, credit).risk.mean())


def excess_aurc(confidence: ArrayLike, credit: ArrayLike) -> float:
    """AURC above that of the best order (every right case before every wrong one)."""
    return aurc(confidence, credit) - aurc(credit, credit)


def coverage_at_risk(confidence: ArrayLike, credit: ArrayLike, *, risk: float) -> float:
    """Largest coverage whose risk is at most ``risk``; 0 where there is none.

    Only thresholds that a rule can apply count: a group of equal confidence is decided whole. This
    is a description of the cases given, not a guarantee for others.
    """
    curve = risk_coverage(confidence, credit)
    ends = np.append(curve.threshold[:-1] != curve.threshold[1:], True)
    good = ends & (curve.risk <= risk + 1e-12)
    return float(curve.coverage[good].max()) if good.any() else 0.0
