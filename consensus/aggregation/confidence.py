"""Stated confidence: what it is worth per seat and task type, often nothing.

With labels: logit p′ = a + b·logit c, fitted per seat (or model) and task type. Confidence that
does not tell right from wrong must not weigh anything, so the slope is shrunk by the positive-part
James–Stein factor 1 − (se/b)², which is 0 up to one standard error, and a negative slope counts
as 0: p′ is then the seat's accuracy. A seat's weight is the log-odds of p′.

Without labels: CISC (Taubenfeld et al. 2025, arXiv:2502.06233): softmax of the confidences within
the question, so that only differences between its own ballots count.

Never pool stated confidence with vote shares or token probabilities before calibration: in the wild
it was .95 in 345 of 539 runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    ConvergenceError,
    FitError,
    FloatArray,
    canonical_sum,
    expit,
    logit,
)
from consensus.aggregation.votes import plurality, tally

__all__ = [
    "CISC_TEMPERATURES",
    "ConfidenceMap",
    "auroc",
    "cisc",
    "confidence_weights",
    "fit_cisc_temperature",
    "fit_confidence",
    "fit_panel",
]

CISC_TEMPERATURES = (0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, float("inf"))
"""Temperatures that :func:`fit_cisc_temperature` tries; inf is the plain vote."""

CLIP = 0.01
"""Stated confidence is held inside [CLIP, 1 − CLIP]: a model's 1.0 is no proof."""


@dataclass(frozen=True)
class ConfidenceMap:
    """A seat's calibrated confidence on one task type.

    Attributes:
        a, b: logit p′ = a + b·logit c; b is 0 where confidence is noise.
        base: p′ where nothing was stated: the seat's smoothed accuracy.
        auroc: chance that a right answer was stated with more confidence than a wrong one; .5
            says that confidence is noise. NaN where all were right or all wrong.
        cases: labelled ballots with a stated confidence.
    """

    a: float
    b: float
    base: float
    auroc: float
    cases: int

    def apply(self, confidence: npt.ArrayLike) -> FloatArray:
        """Probability of being right, given stated confidence; NaN means that none was stated."""
        c = np.asarray(confidence, dtype=np.float64)
        stated = expit(self.a + self.b * logit(np.nan_to_num(c, nan=0.5), clip=CLIP))
        return np.asarray(np.where(np.isnan(c), self.base, stated), dtype=np.float64)


def auroc(confidence: npt.ArrayLike, correct: npt.ArrayLike) -> float:
    """Area under the ROC curve (Mann–Whitney, ties count half); NaN with one class only."""
    c = np.asarray(confidence, dtype=np.float64).ravel()
    y = np.asarray(correct, dtype=np.bool_).ravel()
    right, wrong = np.sort(c[y]), np.sort(c[~y])
    if not right.size or not wrong.size:
        return float("nan")
    below = np.searchsorted(wrong, right, side="left")
    level = np.searchsorted(wrong, right, side="right") - below
    return float((below + 0.5 * level).sum() / (right.size * wrong.size))


def fit_confidence(
    confidence: npt.ArrayLike,
    correct: npt.ArrayLike,
    *,
    base: float | None = None,
    strength: float = 2.0,
) -> ConfidenceMap:
    """Fit one seat's map on one task type.

    Args:
        confidence: (cases,) in [0, 1]; NaN = none was stated.
        correct: (cases,) whether the ballot was right.
        base: accuracy to shrink the seat's own to, say the panel's; .5 if not given.
        strength: pseudo-cases at ``base``.

    Raises:
        FitError: without cases.
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    c = np.asarray(confidence, dtype=np.float64).ravel()
    y = np.asarray(correct, dtype=np.float64).ravel()
    if c.shape != y.shape:
        raise ValueError("confidence and correct have the same shape (cases,)")
    if not y.size:
        raise FitError("there are no labelled ballots to calibrate confidence on")
    if (np.nan_to_num(c, nan=0.5) < 0).any() or (np.nan_to_num(c, nan=0.5) > 1).any():
        raise ValueError("confidence must lie in [0, 1]")
    centre = 0.5 if base is None else base
    accuracy = float((y.sum() + strength * centre) / (y.size + strength))
    stated = ~np.isnan(c)
    x, z = logit(c[stated], clip=CLIP), y[stated]
    area = auroc(c[stated], z > 0.5)
    if x.size < 3 or np.ptp(x) < 1e-9 or np.isnan(area):
        return ConfidenceMap(float(logit(accuracy)), 0.0, accuracy, area, int(x.size))
    slope, error = _slope(x - x.mean(), z)
    kept = max(0.0, 1.0 - (error / slope) ** 2) if slope > 0 else 0.0
    b = kept * slope
    own = float((z.sum() + strength * centre) / (z.size + strength))
    return ConfidenceMap(_shift(b * x, own), b, accuracy, area, int(x.size))


def fit_panel(
    confidences: npt.ArrayLike,
    correct: npt.ArrayLike,
    groups: npt.ArrayLike | None = None,
    *,
    strength: float = 8.0,
) -> tuple[ConfidenceMap, ...]:
    """Fit one map a group of seats, accuracies shrunk to the whole panel's.

    Args:
        confidences: (cases, seats); NaN = none stated.
        correct: (cases, seats) 0, 1, or NaN where the seat cast no ballot.
        groups: (seats,) 0 … G−1; each seat for itself if not given.
        strength: pseudo-cases at the panel's accuracy.

    Returns:
        G maps.
    """
    c = np.asarray(confidences, dtype=np.float64)
    y = np.asarray(correct, dtype=np.float64)
    of = np.arange(c.shape[1]) if groups is None else np.asarray(groups, dtype=np.int64)
    cast = ~np.isnan(y)
    if not cast.any():
        raise FitError("there are no labelled ballots to calibrate confidence on")
    base = float((y[cast].sum() + 1.0) / (cast.sum() + 2.0))
    maps = []
    for g in range(int(of.max()) + 1):
        mine = cast & (of == g)
        if mine.any():
            maps.append(fit_confidence(c[mine], y[mine], base=base, strength=strength))
        else:
            maps.append(ConfidenceMap(float(logit(base)), 0.0, base, float("nan"), 0))
    return tuple(maps)


def confidence_weights(
    confidences: npt.ArrayLike, maps: Sequence[ConfidenceMap], options: int = 2
) -> FloatArray:
    """Weights log((K−1)p′/(1−p′)) for (..., seats), for :func:`.posteriors.weighted_posterior`.

    Args:
        confidences: (..., seats); NaN = none stated: the seat's accuracy stands in.
        maps: one a seat.
        options: K.
    """
    c = np.asarray(confidences, dtype=np.float64)
    if c.shape[-1] != len(maps):
        raise ValueError(f"{c.shape[-1]} seats, {len(maps)} maps")
    p = np.stack([m.apply(c[..., i]) for i, m in enumerate(maps)], axis=-1)
    return np.asarray(logit(p) + np.log(max(options - 1, 1)), dtype=np.float64)


def cisc(
    votes: npt.ArrayLike, confidences: npt.ArrayLike, options: int, temperature: float = 1.0
) -> FloatArray:
    """Vote shares (..., K) with weights softmax(c/T) within the question; 0 where nobody voted.

    Args:
        votes: (..., seats), −1 = missing.
        confidences: (..., seats) in [0, 1]; one that is missing (NaN) takes the mean of the
            question's others, so that it weighs as an average ballot.
        options: K.
        temperature: T, above 0; inf is the plain vote.
    """
    if not temperature > 0.0:
        raise ValueError("temperature must be above 0")
    v = np.asarray(votes, dtype=np.int64)
    c = np.asarray(confidences, dtype=np.float64)
    cast = v >= 0
    stated = cast & ~np.isnan(c)
    filled = np.where(stated, c, 0.0)
    number = stated.sum(axis=-1, keepdims=True)
    mean = canonical_sum(filled)[..., None] / np.maximum(number, 1)
    x = np.where(stated, filled, mean) / temperature
    e = np.where(cast, np.exp(x - x.max(axis=-1, keepdims=True)), 0.0)
    total = canonical_sum(e)[..., None]
    return tally(v, options, e / np.where(total > 0, total, 1.0))


def fit_cisc_temperature(
    votes: npt.ArrayLike,
    confidences: npt.ArrayLike,
    truth: npt.ArrayLike,
    options: int,
    *,
    temperatures: Sequence[float] = CISC_TEMPERATURES,
) -> float:
    """Pick T by accuracy with ties split; among equals the highest, which is nearest to a vote."""
    z = np.asarray(truth, dtype=np.int64)
    if not z.size:
        raise FitError("there are no labelled cases to fit the temperature on")
    credit = [
        float(plurality(cisc(votes, confidences, options, t)).credit[np.arange(z.size), z].mean())
        for t in temperatures
    ]
    best = max(credit)
    return max(t for t, found in zip(temperatures, credit, strict=True) if found >= best - 1e-12)


def _slope(x: FloatArray, y: FloatArray) -> tuple[float, float]:
    """Slope and its standard error, with a weak prior (0, 10²) against separation."""
    w = np.zeros(2)
    design = np.column_stack([np.ones_like(x), x])
    for _ in range(100):
        p = expit(design @ w)
        gradient = design.T @ (p - y) + 0.01 * w
        curve = (design * (p * (1 - p))[:, None]).T @ design + 0.01 * np.eye(2)
        step = np.linalg.solve(curve, gradient)
        if float(gradient @ step) <= 1e-12:
            return float(w[1]), float(np.sqrt(np.linalg.inv(curve)[1, 1]))
        size = float(min(1.0, 4.0 / max(np.abs(step).max(), 1e-12)))
        now = _loss(w, design, y)
        while _loss(w - size * step, design, y) > now and size > 1e-10:
            size /= 2
        w = w - size * step
    raise ConvergenceError("calibration of stated confidence did not converge in 100 steps")


def _loss(w: FloatArray, design: FloatArray, y: FloatArray) -> float:
    s = design @ w
    return float((np.logaddexp(0.0, s) - y * s).sum() + 0.005 * (w**2).sum())


def _shift(offset: FloatArray, share: float) -> float:
    """The a for which the mean of expit(a + offset) is ``share``, by bisection."""
    low, high = -50.0, 50.0
    for _ in range(100):
        middle = (low + high) / 2
        if float(expit(middle + offset).mean()) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2
