"""When to act: prediction sets with coverage, thresholds with a guarantee on the acted, losses.

Split conformal (Vovk; Papadopoulos et al. 2002; LAC after Sadinle et al. 2019): with scores
1 − p̂(truth) on calibration cases, q̂ the ⌈(n+1)(1−α)⌉-th smallest, the set {k: 1 − p̂(k) ≤ q̂} holds
the truth with probability ≥ 1 − α over a new case. It says nothing of the cases where the set is a
single option: their error can pass α. The claim about acted decisions is
:func:`selective_threshold`'s: fixed-sequence testing as in Trust-or-Escalate (Jung et al. 2024,
arXiv:2407.18370), error among the acted ≤ r with confidence 1 − δ.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    FitError,
    IntArray,
    check_unit,
    option_mask,
)

__all__ = [
    "ActReport",
    "SelectiveThreshold",
    "act_report",
    "approve_threshold",
    "cases_needed",
    "conformal_quantile",
    "prediction_sets",
    "selective_threshold",
    "singleton",
]


class ActReport(NamedTuple):
    """What prediction sets do on labelled cases.

    Attributes:
        coverage: share of cases whose set holds the truth (the guarantee is about this).
        acted: share of cases with a single option.
        error_among_acted: share wrong of those; NaN if there are none. Not bounded by α.
        mean_size: options a set.
        empty: share of empty sets.
    """

    coverage: float
    acted: float
    error_among_acted: float
    mean_size: float
    empty: float


class SelectiveThreshold(NamedTuple):
    """Act iff confidence > ``above``.

    Attributes:
        above: inf where no threshold could be certified.
        acted: share of the calibration cases above it.
        errors, cases: wrong and all calibration cases above it.
        risk, delta: error among the acted ≤ risk with confidence 1 − delta.
    """

    above: float
    acted: float
    errors: int
    cases: int
    risk: float
    delta: float


def approve_threshold(false_approve: float, false_reject: float) -> float:
    """Approve iff P(ok) > this: L_FA/(L_FA + L_FR), the least expected loss."""
    if not (false_approve >= 0 and false_reject >= 0 and false_approve + false_reject > 0):
        raise ValueError("losses must be ≥ 0 and not both 0")
    return false_approve / (false_approve + false_reject)


def cases_needed(alpha: float) -> int:
    """Fewest calibration cases for a finite q̂: ⌈1/α⌉ − 1, 19 at α = .05."""
    check_unit("alpha", alpha)
    return math.ceil(1.0 / alpha - 1e-9) - 1


def conformal_quantile(
    posterior: npt.ArrayLike, truth: npt.ArrayLike, alpha: float = 0.05
) -> float:
    """q̂: the ⌈(n+1)(1−α)⌉-th smallest 1 − p̂(truth); inf with too few cases.

    Args:
        posterior: (cases, K) on calibration cases that no part of the model was fitted on.
        truth: (cases,).
        alpha: allowed miss rate.

    Raises:
        FitError: without cases.
    """
    check_unit("alpha", alpha)
    p = np.asarray(posterior, dtype=np.float64)
    z = np.asarray(truth, dtype=np.int64)
    n = z.size
    if not n:
        raise FitError("there are no calibration cases")
    rank = math.ceil((n + 1) * (1.0 - alpha) - 1e-9)
    if rank > n:
        return math.inf
    return float(np.sort(1.0 - p[np.arange(n), z])[rank - 1])


def prediction_sets(
    posterior: npt.ArrayLike, quantile: float, options: npt.ArrayLike | None = None
) -> BoolArray:
    """Sets {k: 1 − p̂(k) ≤ q̂} as bool (..., K); options that a case lacks are never in."""
    p = np.asarray(posterior, dtype=np.float64)
    inside = 1.0 - p <= quantile + TIE_TOLERANCE
    mask = option_mask(options, p.shape)
    return np.asarray(inside if mask is None else inside & mask, dtype=np.bool_)


def singleton(sets: npt.ArrayLike) -> IntArray:
    """Find the one option of each set (..., K); −1 where there is none or more than one."""
    s = np.asarray(sets, dtype=np.bool_)
    return np.asarray(np.where(s.sum(axis=-1) == 1, s.argmax(axis=-1), -1), dtype=np.int64)


def act_report(sets: npt.ArrayLike, truth: npt.ArrayLike) -> ActReport:
    """Measure sets (cases, K) on labelled cases (cases,)."""
    s = np.asarray(sets, dtype=np.bool_)
    z = np.asarray(truth, dtype=np.int64)
    chosen = singleton(s)
    acted = chosen >= 0
    size = s.sum(axis=1)
    return ActReport(
        coverage=float(s[np.arange(z.size), z].mean()),
        acted=float(acted.mean()),
        error_among_acted=float((chosen != z)[acted].mean()) if acted.any() else math.nan,
        mean_size=float(size.mean()),
        empty=float((size == 0).mean()),
    )


def selective_threshold(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    risk: float = 0.05,
    delta: float = 0.05,
    steps: int = 50,
) -> SelectiveThreshold:
    """Find the lowest confidence above which acting errs at most ``risk``, with 1 − ``delta``.

    Accepts the m most confident cases for m rising in ``steps`` fixed steps from the fewest that
    could pass, tests each by the exact binomial tail P(Bin(m, risk) ≤ errors) ≤ delta, and stops
    at the first failure (fixed-sequence testing: full delta each). Given the confidence of the
    first case left out, the accepted ones are a sample of their own, so each test is exact.

    Args:
        confidence: (cases,) of decisions on calibration cases; equal values stand or fall
            together.
        correct: (cases,) whether they were right.
        risk: most error among the acted.
        delta: chance that the guarantee fails.
        steps: how finely m is stepped.

    Raises:
        FitError: without cases.
    """
    from scipy.special import bdtr

    check_unit("risk", risk)
    check_unit("delta", delta)
    c = np.asarray(confidence, dtype=np.float64).ravel()
    wrong = ~np.asarray(correct, dtype=np.bool_).ravel()
    n = c.size
    if not n:
        raise FitError("there are no calibration cases")
    found = SelectiveThreshold(math.inf, 0.0, 0, 0, risk, delta)
    fewest = math.ceil(math.log(delta) / math.log1p(-risk) - 1e-9)
    if fewest > n:
        return found
    descending = np.sort(c)[::-1]
    for m in np.unique(np.linspace(fewest, n, steps).round().astype(np.int64)).tolist():
        above = -math.inf if m == n else float(descending[m])
        accepted = c > above
        cases = int(accepted.sum())
        if cases < fewest:
            continue  # a block of equal values: decided by confidences alone
        errors = int(wrong[accepted].sum())
        if float(bdtr(errors, cases, risk)) > delta:
            break
        found = SelectiveThreshold(above, cases / n, errors, cases, risk, delta)
    return found
