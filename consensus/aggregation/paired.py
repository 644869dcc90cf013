"""Strengths from comparisons and lists: Bradley–Terry and Plackett–Luce, with ridge.

Bradley & Terry (1952): P(i beats j) = σ(θ_i − θ_j). Plackett (1975), Luce (1959): a list is a row
of choices, each item chosen from those that are left with probability ∝ e^θ. Both are one model,
choices from sets, and one Newton solver; the penalised likelihood ½λ‖θ‖² has one optimum whatever
the data. Without ridge the optimum exists only where every group of items both won and lost
against the rest (Ford 1957): that is checked, not hoped for. A drawn comparison is half a win for
each; equals in a list are each chosen from the set before any of them left (Breslow 1974).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    TIE_TOLERANCE,
    BoolArray,
    ConvergenceError,
    FitError,
    FloatArray,
    expit,
    softmax,
)
from consensus.aggregation.rankings import Order, rank_groups

__all__ = [
    "Strengths",
    "bradley_terry",
    "expected_information",
    "next_pairs",
    "plackett_luce",
    "win_probability",
]

_NEWTON_STEPS = 200


class Strengths(NamedTuple):
    """Fitted strengths.

    Attributes:
        theta: (items,), mean 0; differences are log-odds.
        covariance: (items, items) of theta: the inverse curvature, differences only if ridge 0.
        linked: whether every item is tied to every other by comparisons, through others if need
            be; if not, the place of one group against another is the prior's word alone.
        groups: rank groups, best first; equals are within 1e-6 of each other.
    """

    theta: FloatArray
    covariance: FloatArray
    linked: bool
    groups: list[tuple[int, ...]]


def bradley_terry(wins: npt.ArrayLike, *, ridge: float = 0.1) -> Strengths:
    """Fit W (items, items), W[i, j] = times that i beat j, a draw counting half for each.

    Args:
        wins: from :func:`.rankings.pairwise` (add half of the draws to both sides).
        ridge: λ, precision of a Gaussian prior around 0; 0 is maximum likelihood.

    Raises:
        FitError: without ridge, where the comparisons do not tie the items together.
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    w = np.asarray(wins, dtype=np.float64)
    if w.ndim != 2 or w.shape[0] != w.shape[1] or not (w >= 0).all():
        raise ValueError("wins has the shape (items, items) and is ≥ 0")
    n = len(w)
    i, j = np.triu_indices(n, 1)
    times = w[i, j] + w[j, i]
    met = times > 0
    sets = np.zeros((int(met.sum()), n), dtype=np.bool_)
    rows = np.arange(len(sets))
    sets[rows, i[met]] = True
    sets[rows, j[met]] = True
    return _fit(w.sum(axis=1) - np.diag(w), sets, times[met], w > 0, ridge)


def plackett_luce(
    orders: Sequence[Order],
    items: int,
    weights: Sequence[float] | None = None,
    *,
    ridge: float = 0.1,
    unlisted: Literal["unknown", "below"] = "unknown",
) -> Strengths:
    """Fit orders (best first; an inner sequence is a group of equals; partial lists allowed).

    Args:
        orders: as in :mod:`.rankings`.
        items: how many there are.
        weights: of the orders; 1 if not given.
        ridge: λ, precision of a Gaussian prior around 0; 0 is maximum likelihood.
        unlisted: ``below``: an item that a top-k list leaves out was there and not chosen.

    Raises:
        FitError: without ridge, where the orders do not tie the items together.
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    mass = [1.0] * len(orders) if weights is None else list(weights)
    chosen = np.zeros(items)
    beat = np.zeros((items, items), dtype=np.bool_)
    found: dict[bytes, float] = {}
    for order, weight in zip(orders, mass, strict=True):
        stages = [[e] if isinstance(e, int | np.integer) else list(e) for e in order]
        listed = [item for stage in stages for item in stage]
        if len(set(listed)) != len(listed):
            raise ValueError("an order lists an item twice")
        if listed and (min(listed) < 0 or max(listed) >= items):
            raise ValueError(f"an order lists an item that is not one of the {items}")
        left = np.zeros(items, dtype=np.bool_)
        left[listed if unlisted == "unknown" else slice(None)] = True
        for stage in stages:
            after = left.copy()
            after[stage] = False
            if after.any():  # the last group is chosen from nothing but itself
                chosen[stage] += weight
                key = left.tobytes()
                found[key] = found.get(key, 0.0) + weight * len(stage)
                beat[stage] |= after
            left = after
    sets = np.array([np.frombuffer(key, dtype=np.bool_) for key in found], dtype=np.bool_)
    times = np.array(list(found.values()))
    return _fit(chosen, sets.reshape(len(found), items), times, beat, ridge)


def win_probability(strengths: Strengths) -> FloatArray:
    """P(i beats j) at the fitted strengths, (items, items); ½ on the diagonal."""
    return expit(strengths.theta[:, None] - strengths.theta[None, :])


def expected_information(strengths: Strengths) -> FloatArray:
    """Nats that one more comparison of i and j is expected to tell, (items, items), diagonal 0.

    Mutual information of the outcome and the strengths (Houlsby et al. 2011, BALD), with θ normal
    around the fit: entropy of the mean outcome less the mean entropy, by 31-point quadrature.
    """
    d = strengths.theta[:, None] - strengths.theta[None, :]
    spread = np.diag(strengths.covariance)
    variance = spread[:, None] + spread[None, :] - 2.0 * strengths.covariance
    nodes, weights = np.polynomial.hermite_e.hermegauss(31)
    weights = weights / weights.sum()
    p = expit(d[..., None] + np.sqrt(np.maximum(variance, 0.0))[..., None] * nodes)
    gain = _entropy((p * weights).sum(axis=-1)) - (_entropy(p) * weights).sum(axis=-1)
    gain = np.maximum((gain + gain.T) / 2.0, 0.0)
    np.fill_diagonal(gain, 0.0)
    return np.asarray(gain, dtype=np.float64)


def next_pairs(strengths: Strengths, allowed: npt.ArrayLike | None = None) -> list[tuple[int, int]]:
    """Every pair i < j whose comparison is expected to tell most; more than one is a tie.

    ``allowed`` (items, items) leaves pairs out, such as those asked often enough.
    """
    gain = np.triu(expected_information(strengths), 1)
    may = np.triu(np.ones_like(gain, dtype=np.bool_), 1)
    if allowed is not None:
        may &= np.asarray(allowed, dtype=np.bool_)
    if not may.any():
        return []
    best = gain[may].max()
    i, j = np.nonzero(may & (gain >= best - TIE_TOLERANCE))
    return list(zip(i.tolist(), j.tolist(), strict=True))


def _fit(
    chosen: FloatArray, sets: BoolArray, times: FloatArray, beat: BoolArray, ridge: float
) -> Strengths:
    if ridge < 0:
        raise ValueError("ridge must not be negative")
    linked, strong = _linked(beat)
    if ridge == 0 and not strong:
        raise FitError(
            "some items never lost or never won against the rest: their strength has no bound",
            fix="add comparisons, or a ridge above 0",
        )
    n = len(chosen)
    theta = np.zeros(n)
    gauge = np.full((n, n), 1.0 / n)  # fixes the mean, which the choices do not
    value = _loss(theta, chosen, sets, times, ridge)
    for _ in range(_NEWTON_STEPS):
        p = softmax(np.broadcast_to(theta, sets.shape), sets) if len(sets) else np.zeros((0, n))
        slope = times @ p - chosen + ridge * theta
        weighted = times[:, None] * p
        curve = np.diag(weighted.sum(axis=0)) - p.T @ weighted + ridge * np.eye(n)
        step = np.linalg.solve(curve + gauge, slope)
        decrement = float(slope @ step)
        if decrement <= 1e-18 * max(1.0, float(times.sum())):
            covariance = np.linalg.inv(curve + gauge)
            if ridge == 0:
                covariance -= gauge
            theta = theta - theta.mean()
            return Strengths(theta, covariance, linked, _groups(theta))
        size = 1.0
        while True:
            trial = theta - size * step
            new = _loss(trial, chosen, sets, times, ridge)
            if new <= value - 1e-4 * size * decrement or size < 1e-6:
                theta, value = trial, new
                break
            size /= 2.0
    raise ConvergenceError(
        f"strengths did not converge in {_NEWTON_STEPS} steps", fix="raise the ridge"
    )


def _loss(
    theta: FloatArray, chosen: FloatArray, sets: BoolArray, times: FloatArray, ridge: float
) -> float:
    masked = np.where(sets, theta, -np.inf)
    top = masked.max(axis=1) if len(sets) else np.zeros(0)
    logs = top + np.log(np.exp(masked - top[:, None]).sum(axis=1))
    return float(times @ logs - chosen @ theta + 0.5 * ridge * (theta @ theta))


def _groups(theta: FloatArray) -> list[tuple[int, ...]]:
    return rank_groups(np.round(theta, 6))


def _linked(beat: BoolArray) -> tuple[bool, bool]:
    """Whether the comparison graph is connected, and whether it is so along wins both ways."""
    itself = np.eye(len(beat), dtype=np.bool_)
    either, along = beat | beat.T | itself, beat | itself
    for via in range(len(beat)):
        either |= either[:, via, None] & either[None, via, :]
        along |= along[:, via, None] & along[None, via, :]
    return bool(either.all()), bool(along.all())


def _entropy(p: FloatArray) -> FloatArray:
    q = np.clip(p, 1e-15, 1 - 1e-15)
    return np.asarray(-(q * np.log(q) + (1 - q) * np.log1p(-q)), dtype=np.float64)
