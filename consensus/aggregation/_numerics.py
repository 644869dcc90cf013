"""Sums that do not depend on order, and the few special functions that the live path needs.

Floating-point addition is not associative: the same ballots in another order can differ in the last
bit, and a decision on a knife's edge would flip. Every sum over seats, blocks or options therefore
runs over sorted values, and ties are called with :data:`TIE_TOLERANCE`.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from consensus.errors import DataError

__all__ = [
    "TIE_TOLERANCE",
    "BoolArray",
    "ConvergenceError",
    "FitError",
    "FloatArray",
    "IntArray",
    "as_log",
    "canonical_mean",
    "canonical_sum",
    "expit",
    "leading",
    "log_softmax",
    "logit",
    "option_mask",
    "rising_table",
    "softmax",
]

FloatArray: TypeAlias = npt.NDArray[np.float64]
IntArray: TypeAlias = npt.NDArray[np.int64]
BoolArray: TypeAlias = npt.NDArray[np.bool_]

TIE_TOLERANCE = 1e-9
"""Two values tie when they differ by no more than this times max(1, the larger's size)."""


class FitError(DataError):
    """The records cannot carry the model that was asked of them."""


class ConvergenceError(FitError):
    """An iteration did not reach its tolerance; its last iterate is never returned."""


def canonical_sum(values: npt.ArrayLike, axis: int = -1) -> FloatArray:
    """Sum along ``axis`` in ascending order of value: bit-equal under any permutation of it."""
    # One memory layout: numpy adds pairwise along contiguous rows and one by one along others.
    array = np.asarray(np.moveaxis(np.asarray(values), axis, -1), dtype=np.float64, order="C")
    if array.shape[-1] <= 2:  # addition commutes
        return np.asarray(array.sum(axis=-1), dtype=np.float64)
    return np.asarray(np.sort(array, axis=-1).sum(axis=-1), dtype=np.float64)


def canonical_mean(values: npt.ArrayLike, axis: int = -1) -> FloatArray:
    """Mean along ``axis`` without NaN, in canonical order; NaN where nothing is left."""
    array = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(array)
    count = valid.sum(axis=axis)
    total = canonical_sum(np.where(valid, array, 0.0), axis=axis)
    return np.asarray(np.where(count > 0, total / np.maximum(count, 1), np.nan), dtype=np.float64)


def option_mask(options: npt.ArrayLike | None, shape: tuple[int, ...]) -> BoolArray | None:
    """Check a mask of the options that a case has, against the shape (..., K)."""
    if options is None:
        return None
    mask = np.asarray(options, dtype=np.bool_)
    if mask.shape[-1] != shape[-1]:
        raise ValueError(f"options has {mask.shape[-1]} columns for {shape[-1]} options")
    if not mask.any(axis=-1).all():
        raise ValueError("options leaves a case without any option")
    return mask


def log_softmax(scores: npt.ArrayLike, options: BoolArray | None = None) -> FloatArray:
    """Log of the normalised exponential over the last axis; −inf outside ``options``."""
    x = np.asarray(scores, dtype=np.float64, order="C")
    if options is not None:
        x = np.where(options, x, -np.inf)
    shifted = x - x.max(axis=-1, keepdims=True)
    total = canonical_sum(np.exp(shifted))
    return np.asarray(shifted - np.log(total)[..., None], dtype=np.float64)


def softmax(scores: npt.ArrayLike, options: BoolArray | None = None) -> FloatArray:
    """Normalised exponential over the last axis; exactly 0 outside ``options``."""
    x = np.asarray(scores, dtype=np.float64, order="C")
    if options is not None:
        x = np.where(options, x, -np.inf)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / canonical_sum(e)[..., None], dtype=np.float64)


def as_log(probabilities: npt.ArrayLike) -> FloatArray:
    """Log with log 0 = −inf and no warning.

    Raises:
        ValueError: where a value is negative or not a number.
    """
    p = np.asarray(probabilities, dtype=np.float64, order="C")
    if not (p >= 0.0).all():
        raise ValueError("probabilities must be numbers ≥ 0")
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(p), dtype=np.float64)


def logit(probability: npt.ArrayLike, clip: float = 1e-6) -> FloatArray:
    """log(p/(1−p)), with p held inside [clip, 1−clip]."""
    p = np.clip(np.asarray(probability, dtype=np.float64), clip, 1.0 - clip)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def expit(x: npt.ArrayLike) -> FloatArray:
    """1/(1+e^−x), without overflow."""
    z = np.asarray(x, dtype=np.float64)
    e = np.exp(-np.abs(z))
    return np.asarray(np.where(z >= 0, 1.0, e) / (1.0 + e), dtype=np.float64)


def rising_table(base: npt.ArrayLike, step: npt.ArrayLike, longest: int) -> FloatArray:
    """Σ_{j<n} log(base + j·step) for n = 0 … longest.

    With base = C and step = 1/s this is log Γ(sC+n) − log Γ(sC) − n·log s: the term of a Dirichlet
    multinomial, and at step = 0 that of a plain multinomial, without a limit to take.

    Returns:
        Array of the broadcast shape of ``base`` and ``step`` with one more axis, 0 … longest.
    """
    b = np.asarray(base, dtype=np.float64)[..., None]
    t = np.asarray(step, dtype=np.float64)[..., None]
    terms = as_log(b + np.arange(longest) * t)
    table = np.zeros((*terms.shape[:-1], longest + 1))
    np.cumsum(terms, axis=-1, out=table[..., 1:])
    return table


def leading(values: npt.ArrayLike, options: BoolArray | None = None) -> BoolArray:
    """Mark every option within :data:`TIE_TOLERANCE` of the largest value of the last axis."""
    x = np.asarray(values, dtype=np.float64)
    if options is not None:
        x = np.where(options, x, -np.inf)
    top = x.max(axis=-1, keepdims=True)
    return np.asarray(x >= top - TIE_TOLERANCE * np.maximum(1.0, np.abs(top)), dtype=np.bool_)


def check_unit(name: str, value: Any, *, low: float = 0.0, high: float = 1.0) -> FloatArray:
    """Return ``value`` as floats strictly between ``low`` and ``high``."""
    array = np.asarray(value, dtype=np.float64)
    if not ((array > low) & (array < high)).all():
        raise ValueError(f"{name} must lie strictly between {low:g} and {high:g}")
    return array
