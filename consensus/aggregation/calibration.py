"""Whether probabilities mean what they say, and how to mend them.

Mending: temperature scaling (Guo et al. 2017), Platt's sigmoid with his smoothed targets (1999),
isotonic regression by pooling adjacent violators (Ayer et al. 1955; Zadrozny & Elkan 2002).
Measuring: reliability curve, expected calibration error over bins of equal mass or width, Brier
score with Murphy's decomposition (1973; within-bin terms after Stephenson et al. 2008), log loss.
Measure on other cases than those of the fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    ConvergenceError,
    FitError,
    FloatArray,
    expit,
    log_softmax,
)
from consensus.aggregation._numerics import logit as log_odds

__all__ = [
    "BrierParts",
    "Isotonic",
    "Platt",
    "Reliability",
    "brier",
    "brier_parts",
    "ece",
    "fit_isotonic",
    "fit_platt",
    "fit_temperature",
    "log_loss",
    "monotone",
    "reliability",
]

Bins = Literal["mass", "width"]


class Reliability(NamedTuple):
    """A reliability curve: one entry a bin that holds anything, ascending.

    Attributes:
        predicted: mean probability.
        observed: share that came true.
        cases: how many.
    """

    predicted: FloatArray
    observed: FloatArray
    cases: FloatArray


class BrierParts(NamedTuple):
    """Brier = reliability − resolution + uncertainty + within, exactly.

    Attributes:
        brier: mean squared error.
        reliability: squared distance of bins from the diagonal (0 is best).
        resolution: how far the bins' outcomes spread around the base rate (more is better).
        uncertainty: base rate · (1 − base rate).
        within: what is lost by binning: spread of the forecasts inside bins, less twice their
            covariance with the outcomes.
    """

    brier: float
    reliability: float
    resolution: float
    uncertainty: float
    within: float


@dataclass(frozen=True)
class Platt:
    """p′ = 1/(1+exp(−(a + b·logit p)))."""

    a: float
    b: float

    def apply(self, probability: npt.ArrayLike) -> FloatArray:
        """Map probabilities of any shape."""
        return expit(self.a + self.b * log_odds(probability))


@dataclass(frozen=True)
class Isotonic:
    """A monotone map through fitted points, linear between them, flat outside.

    Attributes:
        knots: ascending probabilities.
        values: their calibrated counterparts, never falling.
    """

    knots: FloatArray
    values: FloatArray

    def apply(self, probability: npt.ArrayLike) -> FloatArray:
        """Map probabilities of any shape."""
        return np.asarray(
            np.interp(np.asarray(probability, dtype=np.float64), self.knots, self.values)
        )


def fit_temperature(
    posterior: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    options: npt.ArrayLike | None = None,
    spread: float = 2.0,
) -> float:
    """Temperature T for :func:`.pools.tempered` that minimises log loss: p′ ∝ p^(1/T).

    Args:
        posterior: (cases, K).
        truth: (cases,).
        options: bool (cases, K).
        spread: standard deviation of a prior on log T around 0: weak, but a handful of cases that
            are all right does not make the next one certain.

    Raises:
        FitError: without cases.
    """
    from scipy.optimize import minimize_scalar

    p = np.asarray(posterior, dtype=np.float64)
    z = np.asarray(truth, dtype=np.int64)
    if not len(p):
        raise FitError("there are no cases to calibrate on")
    logs = np.log(np.maximum(p, 1e-12))
    mask = None if options is None else np.asarray(options, dtype=np.bool_)
    rows = np.arange(len(p))

    def loss(log_t: float) -> float:
        fitted = log_softmax(logs * np.exp(-log_t), mask)
        return float(-fitted[rows, z].sum() + 0.5 * (log_t / spread) ** 2)

    found = minimize_scalar(loss, bounds=(-6.0, 6.0), method="bounded", options={"xatol": 1e-7})
    if not found.success:
        raise ConvergenceError("the temperature did not converge")
    return float(np.exp(found.x))


def fit_platt(probability: npt.ArrayLike, outcome: npt.ArrayLike, *, l2: float = 1e-3) -> Platt:
    """Fit Platt's sigmoid on log-odds, with his targets (n₊+1)/(n₊+2) and 1/(n₋+2).

    Args:
        probability: (cases,).
        outcome: (cases,) 0 or 1.
        l2: precision of the prior on (a, b) around the identity (0, 1).

    Raises:
        FitError: without cases.
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    x = log_odds(np.asarray(probability, dtype=np.float64).ravel())
    y = np.asarray(outcome, dtype=np.float64).ravel()
    if not x.size:
        raise FitError("there are no cases to calibrate on")
    positive, negative = float((y > 0.5).sum()), float((y <= 0.5).sum())
    target = np.where(y > 0.5, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.column_stack([np.ones_like(x), x])
    start = np.array([0.0, 1.0])
    w = start.copy()

    def loss(v: FloatArray) -> float:
        s = design @ v
        fit = np.logaddexp(0.0, s) - target * s
        return float(fit.sum() + 0.5 * l2 * ((v - start) ** 2).sum())

    for _ in range(100):
        p = expit(design @ w)
        slope = design.T @ (p - target) + l2 * (w - start)
        curve = (design * (p * (1 - p))[:, None]).T @ design + l2 * np.eye(2)
        step = np.linalg.solve(curve, slope)
        if float(slope @ step) <= 1e-12 * max(1.0, x.size):
            return Platt(float(w[0]), float(w[1]))
        size, now = 1.0, loss(w)
        while loss(w - size * step) > now and size > 1e-10:
            size /= 2
        w = w - size * step
    raise ConvergenceError("Platt's sigmoid did not converge in 100 steps")


def fit_isotonic(probability: npt.ArrayLike, outcome: npt.ArrayLike) -> Isotonic:
    """Fit the monotone map of least squares (pool adjacent violators); equal inputs are pooled.

    Raises:
        FitError: without cases.
    """
    x = np.asarray(probability, dtype=np.float64).ravel()
    y = np.asarray(outcome, dtype=np.float64).ravel()
    if not x.size:
        raise FitError("there are no cases to calibrate on")
    knots, where, count = np.unique(x, return_inverse=True, return_counts=True)
    mean = np.bincount(where.reshape(-1), weights=y) / count
    return Isotonic(knots, monotone(mean, count))


def monotone(values: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
    """Nearest never-falling sequence in weighted least squares: pool adjacent violators, O(n)."""
    y = np.asarray(values, dtype=np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, dtype=np.float64)
    means: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for value, mass in zip(y.tolist(), w.tolist(), strict=True):
        means.append(value)
        masses.append(mass)
        sizes.append(1)
        while len(means) > 1 and means[-2] >= means[-1]:
            total = masses[-2] + masses[-1]
            means[-2] = (means[-2] * masses[-2] + means[-1] * masses[-1]) / total
            masses[-2], sizes[-2] = total, sizes[-2] + sizes[-1]
            del means[-1], masses[-1], sizes[-1]
    return np.repeat(np.array(means), np.array(sizes, dtype=np.int64))


def reliability(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, *, bins: int = 10, by: Bins = "mass"
) -> Reliability:
    """Reliability curve of forecasts (cases,) of events (cases,) that are 0 or 1.

    Args:
        probability: the forecasts.
        outcome: what happened.
        bins: at most so many.
        by: ``mass``: bins of equally many cases, equal forecasts kept together; ``width``: equal
            steps of [0, 1].
    """
    p, y, index = _binned(probability, outcome, bins, by)
    count = np.bincount(index).astype(np.float64)
    held = count > 0
    sums = np.bincount(index, weights=p)
    hits = np.bincount(index, weights=y)
    return Reliability(sums[held] / count[held], hits[held] / count[held], count[held])


def ece(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, *, bins: int = 10, by: Bins = "mass"
) -> float:
    """Expected calibration error: mean |predicted − observed| over the bins, by their size.

    Biased upwards on few cases: bins of n/bins cases scatter around the truth.
    """
    curve = reliability(probability, outcome, bins=bins, by=by)
    gap = np.abs(curve.predicted - curve.observed)
    return float((gap * curve.cases).sum() / curve.cases.sum())


def brier(posterior: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Mean squared error: of (cases,) forecasts against 0/1, or of (cases, K) against an index.

    The second form sums over the options and lies in [0, 2].
    """
    p = np.asarray(posterior, dtype=np.float64)
    if p.ndim == 1:
        return float(((p - np.asarray(truth, dtype=np.float64)) ** 2).mean())
    right = np.arange(p.shape[1]) == np.asarray(truth, dtype=np.int64)[:, None]
    return float(((p - right) ** 2).sum(axis=1).mean())


def brier_parts(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, *, bins: int = 10, by: Bins = "mass"
) -> BrierParts:
    """Decompose the Brier score of forecasts (cases,) of events (cases,)."""
    p, y, _ = _binned(probability, outcome, bins, by)
    curve = reliability(probability, outcome, bins=bins, by=by)
    share = curve.cases / curve.cases.sum()
    base = float(y.mean())
    calibration = float((share * (curve.predicted - curve.observed) ** 2).sum())
    resolution = float((share * (curve.observed - base) ** 2).sum())
    uncertainty = base * (1.0 - base)
    total = float(((p - y) ** 2).mean())
    within = total - (calibration - resolution + uncertainty)
    return BrierParts(total, calibration, resolution, uncertainty, within)


def log_loss(posterior: npt.ArrayLike, truth: npt.ArrayLike, *, floor: float = 1e-12) -> float:
    """Mean −log P(truth) in nats: of (cases,) forecasts of 0/1 events, or of (cases, K)."""
    p = np.asarray(posterior, dtype=np.float64)
    if p.ndim == 1:
        y = np.asarray(truth, dtype=np.float64)
        given = np.where(y > 0.5, p, 1.0 - p)
    else:
        given = p[np.arange(len(p)), np.asarray(truth, dtype=np.int64)]
    return float(-np.log(np.maximum(given, floor)).mean())


def _binned(
    probability: npt.ArrayLike, outcome: npt.ArrayLike, bins: int, by: Bins
) -> tuple[FloatArray, FloatArray, npt.NDArray[np.int64]]:
    p = np.asarray(probability, dtype=np.float64).ravel()
    y = np.asarray(outcome, dtype=np.float64).ravel()
    if p.shape != y.shape or not p.size:
        raise ValueError("probability and outcome have the same shape (cases,), and cases")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probabilities must lie in [0, 1]")
    if by == "width":
        return p, y, np.minimum((p * bins).astype(np.int64), bins - 1)
    edges = np.quantile(p, np.linspace(0, 1, bins + 1)[1:-1], method="inverted_cdf")
    return p, y, np.searchsorted(np.unique(edges), p, side="left").astype(np.int64)
