"""Ballots as distributions: linear, logarithmic and tempered pools, and label bias taken out.

Where a provider gives token probabilities a ballot is a distribution over the options. The linear
pool is their mean (Stone 1961); the logarithmic pool their geometric mean (Genest & Zidek 1986),
raised by the number of independent opinions that the panel is worth: 1 says that all seats repeat
one opinion, n that they are independent, n_eff = n/(1+(n−1)ρ) is what they are.

Label bias: contextual calibration divides by the answer to a content-free question (Zhao et al.
2021, arXiv:2102.09690); batch calibration by the mean answer over a batch of cases (Zhou et al.
2023, arXiv:2309.17249), in log space, so that no label is favoured before the case is read.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    BoolArray,
    FloatArray,
    as_log,
    canonical_mean,
    canonical_sum,
    option_mask,
    softmax,
)

__all__ = [
    "FLOOR",
    "batch_calibration",
    "batch_prior",
    "contextual_calibration",
    "linear_pool",
    "log_pool",
    "tempered",
]

FLOOR = 1e-4
"""Least probability that a single ballot can give an option in a logarithmic pool: one seat's
rounded zero must not be a veto."""


def linear_pool(distributions: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> FloatArray:
    """Mean of distributions (..., seats, K); seats of NaN rows are missing.

    Args:
        distributions: each row sums to 1, or is all NaN.
        weights: (..., seats), ≥ 0; equal if not given.

    Returns:
        (..., K); NaN where no seat answered.
    """
    d, present = _ballots(distributions)
    w = present.astype(np.float64)
    if weights is not None:
        w = w * np.asarray(weights, dtype=np.float64)
        if (w < 0.0).any():
            raise ValueError("weights must not be negative")
    total = canonical_sum(w)[..., None]
    pooled = canonical_sum(np.where(present[..., None], d, 0.0) * w[..., None], axis=-2)
    with np.errstate(invalid="ignore"):
        mean = np.where(total > 0.0, pooled / np.where(total > 0.0, total, 1.0), np.nan)
    return np.asarray(mean, dtype=np.float64)


def log_pool(
    distributions: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    *,
    evidence: npt.ArrayLike = 1.0,
    options: npt.ArrayLike | None = None,
    floor: float = FLOOR,
) -> FloatArray:
    """Weighted geometric mean of distributions (..., seats, K), raised to ``evidence``.

    Args:
        distributions: each row sums to 1, or is all NaN (missing).
        weights: (..., seats), ≥ 0; only their ratios count.
        evidence: number of independent opinions, ≥ 0; broadcast over the cases.
        options: bool (..., K); the others get exactly 0.
        floor: least probability a ballot gives an option, see :data:`FLOOR`.

    Returns:
        (..., K); NaN where no seat answered.
    """
    d, present = _ballots(distributions)
    mask = option_mask(options, d.shape)
    w = present.astype(np.float64)
    if weights is not None:
        w = w * np.asarray(weights, dtype=np.float64)
        if (w < 0.0).any():
            raise ValueError("weights must not be negative")
    total = canonical_sum(w)[..., None]
    logs = as_log(np.maximum(np.where(present[..., None], d, 1.0), floor))
    mean = canonical_sum(logs * w[..., None], axis=-2) / np.where(total > 0.0, total, 1.0)
    pooled = softmax(mean * np.asarray(evidence, dtype=np.float64)[..., None], mask)
    return np.asarray(np.where(total > 0.0, pooled, np.nan), dtype=np.float64)


def tempered(distribution: npt.ArrayLike, temperature: npt.ArrayLike) -> FloatArray:
    """Raise a distribution (..., K) to 1/temperature and normalise; zeros and NaN rows stay.

    ``temperature`` above 1 flattens, below 1 sharpens; it is broadcast over the cases.
    """
    t = np.asarray(temperature, dtype=np.float64)[..., None]
    if not (t > 0.0).all():
        raise ValueError("temperature must be above 0")
    d = np.asarray(distribution, dtype=np.float64)
    missing = np.isnan(d).any(axis=-1, keepdims=True)
    logs = as_log(np.where(missing, 1.0, d))
    return np.asarray(np.where(missing, np.nan, softmax(logs / t)), dtype=np.float64)


def contextual_calibration(
    distributions: npt.ArrayLike, content_free: npt.ArrayLike, *, floor: float = FLOOR
) -> FloatArray:
    """Divide each ballot by its seat's answer to content-free inputs, and normalise.

    Args:
        distributions: (..., seats, K) or (..., K); NaN rows stay.
        content_free: (seats, K) or (K,): the mean answer to inputs such as ``N/A``.
    """
    return _divide(distributions, np.asarray(content_free, dtype=np.float64), floor)


def batch_prior(distributions: npt.ArrayLike, *, floor: float = FLOOR) -> FloatArray:
    """Mean answer of each seat over a batch: (cases, seats, K) → (seats, K).

    Fitted on one batch, it can be kept for the cases that come later.
    """
    d = np.asarray(distributions, dtype=np.float64)
    mean = canonical_mean(d, axis=0)
    if np.isnan(mean).any():
        raise ValueError("a seat answered no case of the batch")
    return np.maximum(mean, floor)


def batch_calibration(
    distributions: npt.ArrayLike,
    prior: npt.ArrayLike | None = None,
    *,
    floor: float = FLOOR,
) -> FloatArray:
    """Divide ballots (cases, seats, K) by each seat's mean answer over the batch, and normalise.

    Assumes that the batch's true labels are not far from balanced; ``prior`` is an earlier
    :func:`batch_prior` where it is.
    """
    bias = batch_prior(distributions, floor=floor) if prior is None else prior
    return _divide(distributions, np.asarray(bias, dtype=np.float64), floor)


def _ballots(distributions: npt.ArrayLike) -> tuple[FloatArray, BoolArray]:
    d = np.asarray(distributions, dtype=np.float64)
    if d.ndim < 2:
        raise ValueError("distributions have the shape (..., seats, options)")
    hole = np.isnan(d)
    missing: BoolArray = np.asarray(hole.any(axis=-1), dtype=np.bool_)
    if (missing & ~hole.all(axis=-1)).any():
        raise ValueError("a ballot's distribution is either whole or missing")
    with np.errstate(invalid="ignore"):
        off = np.abs(d.sum(axis=-1) - 1.0) > 1e-6  # false for NaN
    if off.any():
        raise ValueError("each ballot's distribution must sum to 1")
    return d, np.logical_not(missing)


def _divide(distributions: npt.ArrayLike, bias: FloatArray, floor: float) -> FloatArray:
    d = np.asarray(distributions, dtype=np.float64)
    missing = np.isnan(d).any(axis=-1, keepdims=True)
    logs = as_log(np.where(missing, 1.0, d)) - as_log(np.maximum(bias, floor))
    return np.asarray(np.where(missing, np.nan, softmax(logs)), dtype=np.float64)
