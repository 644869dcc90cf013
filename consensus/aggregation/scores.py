"""Scores on a scale: judges that differ in leniency, range and noise.

s_im = a_m + b_m θ_i + ε_m, ε_m ~ N(0, σ_m²), θ_i ~ N(0, 1): one-factor analysis with missing
scores, fitted by EM (Rubin & Thayer 1982). Judges' a, b and σ² are shrunk to the panel's, so that a
judge with few scores is taken for an average one. A case's score is then the precision-weighted
reading of its ballots, on the panel's mean scale, with its standard error. Without history: median,
trimmed mean, or the mean of each judge's z-scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    ConvergenceError,
    FitError,
    FloatArray,
    canonical_mean,
    canonical_sum,
)

__all__ = [
    "Estimates",
    "ScoreModel",
    "TieRates",
    "fit_scores",
    "median",
    "tie_rates",
    "trimmed_mean",
    "z_mean",
]


class Estimates(NamedTuple):
    """Scores of cases.

    Attributes:
        score: (...) on the panel's mean scale.
        error: (...) standard error; without any ballot, the spread of cases.
    """

    score: FloatArray
    error: FloatArray


class TieRates(NamedTuple):
    """How often scores do not tell candidates apart.

    Attributes:
        ballots: share of ballots whose best score is given to more than one candidate.
        cases: share of cases whose best mean score is shared.
    """

    ballots: float
    cases: float


@dataclass(frozen=True)
class ScoreModel:
    """What is known of the judges.

    Attributes:
        location, slope, noise: (seats,) a, b and σ of each judge.
        centre, scale: mean location and slope: the scale on which cases are reported.
        cases: how many it rests on.
    """

    location: FloatArray
    slope: FloatArray
    noise: FloatArray
    centre: float
    scale: float
    cases: int

    def estimate(self, scores: npt.ArrayLike) -> Estimates:
        """Read scores (..., seats), NaN = missing, in the light of who gave them."""
        s = np.asarray(scores, dtype=np.float64)
        if s.shape[-1] != self.slope.size:
            raise ValueError(f"{s.shape[-1]} seats scored, {self.slope.size} are known")
        given = ~np.isnan(s)
        weight = np.where(given, self.slope / self.noise**2, 0.0)
        precision = 1.0 + canonical_sum(weight * self.slope)
        residual = np.where(given, s - self.location, 0.0)
        theta = canonical_sum(weight * residual) / precision
        return Estimates(
            np.asarray(self.centre + self.scale * theta, dtype=np.float64),
            np.asarray(self.scale / np.sqrt(precision), dtype=np.float64),
        )


def fit_scores(
    scores: npt.ArrayLike,
    *,
    strength: float = 4.0,
    tolerance: float = 1e-7,
    most_steps: int = 5000,
) -> ScoreModel:
    """Fit judges to scores (cases, seats), NaN = missing. No truth is needed.

    Args:
        scores: of the same seats over cases of one task type.
        strength: pseudo-cases by which each judge is shrunk to the panel's slope and noise.
        tolerance: largest change of a case's θ that ends the iteration.
        most_steps: after which it gives up.

    Raises:
        FitError: with fewer than two seats or three cases that two seats scored, or no spread.
        ConvergenceError: after ``most_steps``.
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2:
        raise ValueError("scores has the shape (cases, seats)")
    given = ~np.isnan(s)
    filled = np.where(given, s, 0.0)
    number = given.sum(axis=0)
    if s.shape[1] < 2 or (given.sum(axis=1) >= 2).sum() < 3 or not number.all():
        raise FitError("judges are told apart by three cases or more that two of them scored")
    spread = float(np.std(s[given]))
    if spread < 1e-12:
        raise FitError("all scores are the same")
    share = number / number.sum()
    location = filled.sum(axis=0) / number
    theta = canonical_mean(np.where(given, s - location, np.nan))
    theta = np.nan_to_num(theta) / max(float(np.nanstd(theta)), 1e-9)
    slope = np.full(s.shape[1], spread * 0.7)
    noise = np.full(s.shape[1], (spread * 0.7) ** 2)
    for _ in range(most_steps):
        weight = np.where(given, slope / noise, 0.0)
        precision = 1.0 + weight @ slope
        now = (weight * (filled - location)).sum(axis=1) / precision
        square = now**2 + 1.0 / precision
        # Each judge's regression on θ, with pseudo-cases at the panel's slope and noise. Judges
        # count there by their cases, so that one with few is not shrunk towards itself.
        panel_slope = float(slope @ share)
        panel_noise = float(np.exp(np.log(noise) @ share))
        first = given.T @ now
        second = given.T @ square
        cross = filled.T @ now
        total = filled.sum(axis=0)
        left = second - first**2 / number + strength
        slope = (cross - first * total / number + strength * panel_slope) / left
        location = (total - slope * first) / number
        residual = np.where(given, filled - location, 0.0)
        error = (residual**2).sum(axis=0) - 2 * slope * (residual.T @ now) + slope**2 * second
        noise = (np.maximum(error, 0.0) + strength * panel_noise) / (number + strength)
        noise = np.maximum(noise, (1e-3 * spread) ** 2)
        if np.abs(now - theta).max() < tolerance:
            flip = -1.0 if slope.mean() < 0 else 1.0
            slope = flip * slope
            return ScoreModel(
                location,
                slope,
                np.sqrt(noise),
                float(canonical_mean(location)),
                float(canonical_mean(slope)),
                int(s.shape[0]),
            )
        theta = now
    raise ConvergenceError(
        f"the score model did not converge in {most_steps} steps", fix="raise strength"
    )


def median(scores: npt.ArrayLike) -> FloatArray:
    """Median of scores (..., seats) without NaN; of an even number, the middle of two."""
    s = np.sort(np.asarray(scores, dtype=np.float64), axis=-1)  # NaN goes last
    number = (~np.isnan(s)).sum(axis=-1, keepdims=True)
    low = np.take_along_axis(s, np.maximum((number - 1) // 2, 0), axis=-1)
    high = np.take_along_axis(s, np.minimum(number // 2, s.shape[-1] - 1), axis=-1)
    middle = np.where(number > 0, (low + high) / 2.0, np.nan)
    return np.asarray(middle[..., 0], dtype=np.float64)


def trimmed_mean(scores: npt.ArrayLike, trim: float = 0.2) -> FloatArray:
    """Mean of scores (..., seats) without NaN and without the ``trim`` share at each end.

    The number left out at each end is rounded down: of four at .2, none.
    """
    if not 0.0 <= trim < 0.5:
        raise ValueError("trim must lie in [0, .5)")
    s = np.sort(np.asarray(scores, dtype=np.float64), axis=-1)
    number = (~np.isnan(s)).sum(axis=-1, keepdims=True)
    cut = np.floor(number * trim + TIE_TOLERANCE)
    place = np.arange(s.shape[-1])
    kept = (place >= cut) & (place < number - cut)
    return canonical_mean(np.where(kept, s, np.nan))


def z_mean(scores: npt.ArrayLike) -> FloatArray:
    """Mean over seats of each seat's z-scores over the cases: (cases, seats) → (cases,).

    A seat that gives every case the same says 0; NaN is left out.
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.ndim != 2:
        raise ValueError("scores has the shape (cases, seats)")
    middle = canonical_mean(s, axis=0)
    deviation = np.sqrt(canonical_mean((s - middle) ** 2, axis=0))
    flat = ~(deviation > 1e-12)
    return canonical_mean(np.where(flat & ~np.isnan(s), 0.0, (s - middle) / (deviation + flat)))


def tie_rates(scores: npt.ArrayLike) -> TieRates:
    """How often scores per candidate (cases, seats, K) leave the best one open.

    Ballots and cases without any score are left out; NaN where none is left.
    """
    s = np.asarray(scores, dtype=np.float64)
    means = canonical_mean(s, axis=-2)
    return TieRates(_shared_best(s), _shared_best(means))


def _shared_best(values: FloatArray) -> float:
    held = ~np.isnan(values).all(axis=-1)
    if not held.any():
        return float("nan")
    x = np.where(np.isnan(values), -np.inf, values)[held]
    top = x.max(axis=-1, keepdims=True)
    close = x >= top - TIE_TOLERANCE * np.maximum(1.0, np.abs(top))
    return float((close.sum(axis=-1) > 1).mean())
