"""Comparisons by judges that differ: reliability and position effect beside the strengths.

P(the first shown, i, beats the second, j | judge m) = σ(β_m(θ_i − θ_j) + γ_m): β_m is how well the
judge's preferences follow the strengths that all judges agree on (as in BT-σ, arXiv:2602.16610),
γ_m how much it favours what it is shown first (as in Davidson & Beaver 1977).

There are many strengths and few judges, and the joint optimum of both would let the strengths
repeat what the best judge said (Neyman & Scott 1948). So the strengths are integrated out: EM with
a normal approximation of θ (Laplace) and quadrature over each difference, θ ~ N(0, τ²) with τ
learned, log β ~ N(0, spread²), γ ~ N(0, 1), and the mean of log β held at 0 to fix the scale. Items
of different questions can be fitted together: give them different indices, and judges share what
they show across questions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    ConvergenceError,
    FitError,
    FloatArray,
    IntArray,
    expit,
)

__all__ = ["JudgedStrengths", "fit_judges", "judged_posterior"]

_STEPS = 2000
_TOLERANCE = 1e-5


class JudgedStrengths(NamedTuple):
    """The fit.

    Attributes:
        theta: (items,) strengths, mean 0 over items that comparisons link.
        theta_error: (items,) standard errors.
        reliability: (judges,) β, geometric mean 1.
        position: (judges,) γ, log-odds given to the first shown; 0 is no effect.
        position_error: (judges,) standard errors of γ.
        item_spread: τ, deviation of strengths.
        log_likelihood: of the comparisons at the fit, in nats each.
    """

    theta: FloatArray
    theta_error: FloatArray
    reliability: FloatArray
    position: FloatArray
    position_error: FloatArray
    item_spread: float
    log_likelihood: float


class _Data(NamedTuple):
    judge: IntArray
    first: IntArray
    second: IntArray
    outcome: FloatArray
    part: IntArray  # (items,) the linked group of an item
    slot: IntArray  # (items,) its place in the group
    parts: int
    width: int


def fit_judges(
    judge: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    outcome: npt.ArrayLike,
    *,
    judges: int,
    items: int,
    spread: float = 0.5,
) -> JudgedStrengths:
    """Fit comparisons given as columns (n,).

    Args:
        judge: who compared.
        first, second: the items, in the order shown.
        outcome: 1 the first won, 0 the second, ½ a tie.
        judges, items: how many there are.
        spread: prior deviation of log β.

    Raises:
        FitError: without comparisons.
        ConvergenceError: where EM does not reach its tolerance.
    """
    data = _read(judge, first, second, outcome, items)
    if spread <= 0:
        raise ValueError("spread must be above 0")
    theta = np.zeros(items)
    log_beta, gamma, tau = np.zeros(judges), np.zeros(judges), 1.0
    for _ in range(_STEPS):
        theta, inverse = _strengths(data, theta, log_beta, gamma, tau)
        error = np.sqrt(inverse[data.part, data.slot, data.slot])
        new_beta, new_gamma = _judges(data, theta, inverse, log_beta, gamma, spread)
        # Two pseudo-items at 1 keep a handful of items from having no spread at all.
        new_tau = float(np.sqrt(((theta**2 + error**2).sum() + 2.0) / (items + 2.0)))
        shift = float(new_beta.mean())
        new_beta, new_tau, theta = new_beta - shift, new_tau * np.exp(shift), theta * np.exp(shift)
        change = max(
            float(np.abs(new_beta - log_beta).max()),
            float(np.abs(new_gamma - gamma).max()),
            abs(new_tau - tau),
        )
        log_beta, gamma, tau = new_beta, new_gamma, float(new_tau)
        if change < _TOLERANCE:
            return _report(data, theta, log_beta, gamma, tau)
    raise ConvergenceError(
        f"the judges' fit did not converge in {_STEPS} steps", fix="lower the spread"
    )


def judged_posterior(
    fit: JudgedStrengths, judge: npt.ArrayLike, shown_first: npt.ArrayLike, vote: npt.ArrayLike
) -> FloatArray:
    """P(A better than B | votes of the judges on a new pair), without position effect.

    A new pair has strengths of its own: the difference d ~ N(0, 2τ²) of the fit, and each vote
    has likelihood σ(β_m d ± γ_m). Integrated on a grid.

    Args:
        fit: of other pairs.
        judge: (..., votes) who voted.
        shown_first: (..., votes) 1 where A was shown first, 0 where B was.
        vote: (..., votes) 1 for A, 0 for B, ½ a tie, NaN missing.

    Returns:
        (...).
    """
    m = np.asarray(judge, dtype=np.int64)
    y = np.asarray(vote, dtype=np.float64)[..., None]
    side = np.where(np.asarray(shown_first, dtype=np.bool_), 1.0, -1.0)[..., None]
    deviation = float(np.sqrt(2.0) * fit.item_spread)
    grid = np.linspace(-4.0, 4.0, 80) * deviation  # even: no node at 0, none counted twice
    s = fit.reliability[m][..., None] * grid + side * fit.position[m][..., None]
    each = np.where(np.isnan(y), 0.0, np.nan_to_num(y) * s - np.logaddexp(0.0, s))
    logs = np.sort(each, axis=-2).sum(axis=-2) - 0.5 * (grid / deviation) ** 2
    mass = np.exp(logs - logs.max(axis=-1, keepdims=True))
    return np.asarray(mass[..., grid > 0].sum(axis=-1) / mass.sum(axis=-1), dtype=np.float64)


def _read(
    judge: npt.ArrayLike,
    first: npt.ArrayLike,
    second: npt.ArrayLike,
    outcome: npt.ArrayLike,
    items: int,
) -> _Data:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    m, i, j = (np.asarray(a, dtype=np.int64) for a in (judge, first, second))
    y = np.asarray(outcome, dtype=np.float64)
    if not y.size:
        raise FitError("there are no comparisons")
    if not (m.shape == i.shape == j.shape == y.shape == (y.size,)):
        raise ValueError("judge, first, second and outcome have the same shape (comparisons,)")
    if (i == j).any() or not ((y >= 0) & (y <= 1)).all():
        raise ValueError("an item is not compared with itself, and outcomes lie in [0, 1]")
    graph = coo_array((np.ones(y.size), (i, j)), shape=(items, items))
    parts, part = connected_components(graph, directed=False)
    order = np.argsort(part, kind="stable")
    sizes = np.bincount(part, minlength=parts)
    slot = np.empty(items, dtype=np.int64)
    slot[order] = np.arange(items) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return _Data(m, i, j, y, part.astype(np.int64), slot, int(parts), int(sizes.max()))


def _strengths(
    data: _Data, theta: FloatArray, log_beta: FloatArray, gamma: FloatArray, tau: float
) -> tuple[FloatArray, FloatArray]:
    """Mode of θ given the judges, and its covariance by linked group (parts, width, width)."""
    beta, shift = np.exp(log_beta)[data.judge], gamma[data.judge]
    i, j, y = data.first, data.second, data.outcome

    def loss(t: FloatArray) -> float:
        s = beta * (t[i] - t[j]) + shift
        return float((np.logaddexp(0.0, s) - y * s).sum() + 0.5 * (t @ t) / tau**2)

    value = loss(theta)
    for _ in range(100):
        p = expit(beta * (theta[i] - theta[j]) + shift)
        push = beta * (p - y)
        size = len(theta)
        slope = np.bincount(i, push, size) - np.bincount(j, push, size) + theta / tau**2
        curve = _curvature(data, beta**2 * p * (1 - p), tau)
        inverse: FloatArray = np.asarray(np.linalg.inv(curve), dtype=np.float64)
        padded = np.zeros((data.parts, data.width))
        padded[data.part, data.slot] = slope
        step = (inverse @ padded[..., None])[data.part, data.slot, 0]
        decrement = float(slope @ step)
        if decrement <= 1e-12 * max(1.0, y.size):
            return theta, inverse
        scale = 1.0
        while (new := loss(theta - scale * step)) > value and scale > 1e-8:
            scale /= 2.0
        theta, value = theta - scale * step, new
    raise ConvergenceError("the strengths did not converge in 100 steps")


def _curvature(data: _Data, weight: FloatArray, tau: float) -> FloatArray:
    i, j = data.first, data.second
    shape = (data.parts, data.width, data.width)
    a, b, g = data.slot[i], data.slot[j], data.part[i]
    flat = np.zeros(int(np.prod(shape)))
    for row, column, sign in ((a, a, 1.0), (b, b, 1.0), (a, b, -1.0), (b, a, -1.0)):
        at = np.ravel_multi_index((g, row, column), shape)
        flat += np.bincount(at, sign * weight, flat.size)
    curve = flat.reshape(shape)
    places = np.arange(data.width)
    curve[:, places, places] += tau**-2.0
    return curve


def _judges(
    data: _Data,
    theta: FloatArray,
    inverse: FloatArray,
    log_beta: FloatArray,
    gamma: FloatArray,
    spread: float,
) -> tuple[FloatArray, FloatArray]:
    """One Fisher step of (log β, γ) on the likelihood averaged over θ."""
    i, j, m = data.first, data.second, data.judge
    g, a, b = data.part[i], data.slot[i], data.slot[j]
    variance = inverse[g, a, a] + inverse[g, b, b] - 2.0 * inverse[g, a, b]
    nodes, weights = np.polynomial.hermite_e.hermegauss(9)
    weights = weights / weights.sum()
    d = (theta[i] - theta[j])[:, None] + np.sqrt(np.maximum(variance, 0.0))[:, None] * nodes
    x = np.exp(log_beta)[m][:, None] * d  # ∂s/∂ log β
    p = expit(x + gamma[m][:, None])
    push, info = p - data.outcome[:, None], p * (1 - p)
    count = len(log_beta)

    def total(values: FloatArray) -> FloatArray:
        return np.asarray(np.bincount(m, values @ weights, count), dtype=np.float64)

    slope = np.stack([total(push * x) + log_beta / spread**2, total(push) + gamma])
    bb, bg, gg = total(info * x * x) + spread**-2.0, total(info * x), total(info) + 1.0
    det = bb * gg - bg * bg
    step_b = (gg * slope[0] - bg * slope[1]) / det
    step_g = (bb * slope[1] - bg * slope[0]) / det
    return log_beta - np.clip(step_b, -0.5, 0.5), gamma - np.clip(step_g, -0.5, 0.5)


def _report(
    data: _Data, theta: FloatArray, log_beta: FloatArray, gamma: FloatArray, tau: float
) -> JudgedStrengths:
    theta, inverse = _strengths(data, theta, log_beta, gamma, tau)
    i, j, m = data.first, data.second, data.judge
    beta = np.exp(log_beta)
    s = beta[m] * (theta[i] - theta[j]) + gamma[m]
    p = expit(s)
    # Standard error of γ with θ integrated out: I_γγ − I_γθ I_θθ⁻¹ I_θγ.
    judges = len(gamma)
    weight = p * (1 - p)
    cross = np.zeros((judges, data.parts, data.width))
    np.add.at(cross, (m, data.part[i], data.slot[i]), beta[m] * weight)
    np.add.at(cross, (m, data.part[j], data.slot[j]), -beta[m] * weight)
    information = np.diag(np.bincount(m, weight, judges) + 1.0)
    information -= np.einsum("mgs,gst,ngt->mn", cross, inverse, cross, optimize=True)
    y = data.outcome
    return JudgedStrengths(
        theta=theta,
        theta_error=np.sqrt(inverse[data.part, data.slot, data.slot]),
        reliability=beta,
        position=gamma,
        position_error=np.sqrt(np.diag(np.linalg.inv(information))),
        item_spread=tau,
        log_likelihood=float((y * s - np.logaddexp(0.0, s)).mean()),
    )
