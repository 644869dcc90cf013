"""Learned stacking: what the seats' answers say, weighed by what they said on labelled cases.

Two shapes of task. *Choose among candidates* (options differ by case, their order means nothing):
a conditional logit, P(k) ∝ exp(w · x_k), with features per option and weights shared by all options
(McFadden 1974), so that relabelling options permutes the posterior. *Fixed labels* (approve or
reject, a diagnosis): a multinomial logit on the case's features, or naive Bayes on the seats'
confusion matrices, tempered because seats are not independent (Wolpert 1992 for stacking).

Small n is the normal case: weights are shrunk by a Gaussian prior on standardised features, towards
``centre`` if a better guess than 0 is at hand, and ``choose_l2`` picks its strength by folds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    BoolArray,
    ConvergenceError,
    FitError,
    FloatArray,
    IntArray,
    canonical_sum,
    log_softmax,
    option_mask,
    softmax,
)
from consensus.aggregation.posteriors import confusion_from_gold

__all__ = [
    "L2_GRID",
    "ConditionalLogit",
    "MultinomialLogit",
    "NaiveBayes",
    "choose_l2",
    "fit_conditional_logit",
    "fit_multinomial_logit",
    "fit_naive_bayes",
]

L2_GRID = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Prior precisions that :func:`choose_l2` tries."""

_NEWTON_STEPS = 200


@dataclass(frozen=True)
class ConditionalLogit:
    """Shared weights over the options' features.

    Attributes:
        weights: (F,), on the features as given.
        l2: precision of the prior it was fitted with.
        loss: mean log loss on the cases of the fit, in nats.
        cases: how many there were.
    """

    weights: FloatArray
    l2: float
    loss: float
    cases: int

    def predict(self, features: npt.ArrayLike, options: npt.ArrayLike | None = None) -> FloatArray:
        """Posterior (..., K) from features (..., K, F); 0 for options the case lacks."""
        x = np.asarray(features, dtype=np.float64)
        scores = canonical_sum(x * self.weights)
        return softmax(scores, option_mask(options, scores.shape))


@dataclass(frozen=True)
class MultinomialLogit:
    """Class-conditional weights over a case's features.

    Attributes:
        weights: (F, K), on the features as given.
        intercept: (K,).
        l2: precision of the prior it was fitted with.
        loss: mean log loss on the cases of the fit, in nats.
        cases: how many there were.
    """

    weights: FloatArray
    intercept: FloatArray
    l2: float
    loss: float
    cases: int

    def predict(self, features: npt.ArrayLike) -> FloatArray:
        """Posterior (..., K) from features (..., F)."""
        x = np.asarray(features, dtype=np.float64)
        return softmax(canonical_sum(x[..., None, :] * self.weights.T) + self.intercept)


@dataclass(frozen=True)
class NaiveBayes:
    """Seats' confusion matrices, multiplied and tempered.

    Attributes:
        confusion: (seats, K, K).
        prior: (K,).
        power: exponent on the likelihood, ≤ 1: how far the seats are from independent.
        held_out: (cases, K) leave-one-out posteriors of the cases of the fit.
    """

    confusion: FloatArray
    prior: FloatArray
    power: float
    held_out: FloatArray

    def predict(self, votes: npt.ArrayLike) -> FloatArray:
        """Posterior (..., K) from votes (..., seats); −1 is no evidence."""
        v = np.asarray(votes, dtype=np.int64)
        if v.shape[-1] != self.confusion.shape[0]:
            raise ValueError(f"{v.shape[-1]} seats voted, {self.confusion.shape[0]} are known")
        by_answer = np.moveaxis(np.log(self.confusion), 2, 1)
        evidence = by_answer[np.arange(v.shape[-1]), np.maximum(v, 0)]
        total = canonical_sum(np.where((v >= 0)[..., None], evidence, 0.0), axis=-2)
        return softmax(self.power * total + np.log(self.prior))


def fit_conditional_logit(
    features: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    options: npt.ArrayLike | None = None,
    l2: float = 1.0,
    centre: npt.ArrayLike | None = None,
    case_weights: npt.ArrayLike | None = None,
) -> ConditionalLogit:
    """Fit P(k) ∝ exp(w · x_k) by penalised maximum likelihood (Newton; the optimum is unique).

    Args:
        features: (cases, K, F); what is the same for all options of a case has no effect.
        truth: (cases,) index of the right option, or (cases, K) shares of belief.
        options: bool (cases, K).
        l2: precision of the Gaussian prior on weights of features scaled to unit spread within
            cases; like l2 many standardised pseudo-cases, above 0.
        centre: (F,) mean of the prior, on the features as given; 0 if not given.
        case_weights: (cases,) ≥ 0.

    Raises:
        FitError: without cases.
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 3:
        raise ValueError("features has the shape (cases, options, features)")
    mask = option_mask(options, x.shape[:-1])
    y = _beliefs(truth, x.shape[0], x.shape[1], mask)
    if l2 <= 0.0:
        raise ValueError("l2 must be above 0: a separable sample has no finite optimum")
    weights = _case_weights(case_weights, x.shape[0])
    live = np.ones(x.shape[:-1], np.bool_) if mask is None else np.broadcast_to(mask, x.shape[:-1])
    x = np.where(live[..., None], x, 0.0)
    scale = _spread(x, live)
    x = x / scale
    start = np.zeros(x.shape[-1]) if centre is None else np.asarray(centre, np.float64) * scale
    w, loss = _newton(x, y, live, weights, start, l2)
    return ConditionalLogit(w / scale, l2, loss, x.shape[0])


def fit_multinomial_logit(
    features: npt.ArrayLike,
    truth: npt.ArrayLike,
    classes: int,
    *,
    l2: float = 1.0,
    case_weights: npt.ArrayLike | None = None,
) -> MultinomialLogit:
    """Fit P(k) ∝ exp(b_k + w_k · x) by penalised maximum likelihood (L-BFGS).

    Args:
        features: (cases, F).
        truth: (cases,) class indices, or (cases, classes) shares of belief.
        classes: K.
        l2: precision of the Gaussian prior on weights of features scaled to unit deviation. The
            intercept's prior is a hundredth of it: prevalence is learned, but never to certainty.
        case_weights: (cases,) ≥ 0.

    Raises:
        FitError: without cases.
        ConvergenceError: where the optimiser gives up.
    """
    from scipy.optimize import minimize

    x = np.asarray(features, dtype=np.float64)
    if x.ndim != 2:
        raise ValueError("features has the shape (cases, features)")
    y = _beliefs(truth, x.shape[0], classes, None)
    if l2 <= 0.0:
        raise ValueError("l2 must be above 0: a separable sample has no finite optimum")
    weights = _case_weights(case_weights, x.shape[0])
    middle = x.mean(axis=0)
    deviation = x.std(axis=0)
    deviation[deviation < 1e-12] = 1.0
    z = np.column_stack([(x - middle) / deviation, np.ones(len(x))])
    penalty = np.full((z.shape[1], 1), l2)
    penalty[-1] = 0.01 * l2

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        w = flat.reshape(z.shape[1], classes)
        logs = log_softmax(z @ w)
        loss = -float((weights[:, None] * y * logs).sum()) + 0.5 * float((penalty * w * w).sum())
        slope = z.T @ (weights[:, None] * (np.exp(logs) - y)) + penalty * w
        return loss, slope.ravel()

    result = minimize(
        objective,
        np.zeros(z.shape[1] * classes),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 20000, "ftol": 1e-14, "gtol": 1e-7 * max(1, len(x))},
    )
    _, slope = objective(result.x)
    if not np.abs(slope).max() <= 1e-4 * max(1.0, float(weights.sum())):
        raise ConvergenceError("the multinomial logit did not converge", fix="raise l2")
    w = result.x.reshape(z.shape[1], classes)
    loss = -float((weights[:, None] * y * log_softmax(z @ w)).sum() / weights.sum())
    own = w[:-1] / deviation[:, None]
    return MultinomialLogit(own, w[-1] - middle @ own, l2, loss, x.shape[0])


def fit_naive_bayes(
    votes: npt.ArrayLike,
    truth: npt.ArrayLike,
    classes: int,
    *,
    strength: float = 4.0,
    prior: npt.ArrayLike | None = None,
) -> NaiveBayes:
    """Fit the seats' confusion matrices and the power that makes their product honest.

    The power is chosen by leave-one-out log loss, which is exact and cheap here: taking a case out
    changes one count a seat. At most 1: agreement beyond independence is not believed.

    Args:
        votes: (cases, seats), −1 = missing.
        truth: (cases,).
        classes: K.
        strength: Dirichlet pseudo-votes a row, see :func:`.posteriors.confusion_from_gold`.
        prior: (K,); the classes' smoothed shares if not given.
    """
    v = np.asarray(votes, dtype=np.int64)
    z = np.asarray(truth, dtype=np.int64)
    if v.ndim != 2 or z.shape != v.shape[:1]:
        raise ValueError("votes is (cases, seats) and truth (cases,)")
    if not len(z) or z.min() < 0 or z.max() >= classes:
        raise FitError("naive Bayes needs cases, each with a known class")
    confusion = confusion_from_gold(v, z, classes, strength=strength)
    if prior is None:
        shares = np.bincount(z, minlength=classes) + 1.0
        prior = shares / shares.sum()
    pi = np.asarray(prior, dtype=np.float64)
    seats = np.arange(v.shape[1])
    answers = np.maximum(v, 0)
    evidence = np.moveaxis(np.log(confusion), 2, 1)[seats, answers]
    rows = np.zeros((v.shape[1], classes))
    case, seat = np.nonzero(v >= 0)
    np.add.at(rows, (seat, z[case]), 1.0)
    total = rows[seats, z[:, None]] + strength
    # Take the case itself out of the one row that counts it.
    own = confusion[seats, z[:, None], answers]
    without = np.maximum(own * total - 1.0, 1e-9) / np.maximum(total - 1.0, 1e-9)
    evidence[np.arange(len(z))[:, None], seats, z[:, None]] = np.log(without)
    likelihood = canonical_sum(np.where((v >= 0)[..., None], evidence, 0.0), axis=-2)

    def loss(power: float) -> float:
        logs = log_softmax(power * likelihood + np.log(pi))
        return -float(logs[np.arange(len(z)), z].mean())

    power = _least(loss, 0.0, 1.0)
    return NaiveBayes(confusion, pi, power, softmax(power * likelihood + np.log(pi)))


def choose_l2(
    features: npt.ArrayLike,
    truth: npt.ArrayLike,
    *,
    options: npt.ArrayLike | None = None,
    grid: Sequence[float] = L2_GRID,
    folds: int = 5,
    centre: npt.ArrayLike | None = None,
) -> float:
    """Pick the prior precision of a conditional logit by cross-validated log loss.

    Case i belongs to fold i mod ``folds``. Of precisions whose loss ties, the greatest is taken.
    """
    x = np.asarray(features, dtype=np.float64)
    mask = option_mask(options, x.shape[:-1])
    y = _beliefs(truth, x.shape[0], x.shape[1], mask)
    fold: IntArray = np.arange(len(x)) % max(2, min(folds, len(x)))
    losses = []
    for l2 in grid:
        total = 0.0
        for part in np.unique(fold):
            held = fold == part
            model = fit_conditional_logit(
                x[~held],
                y[~held],
                options=None if mask is None else mask[~held],
                l2=l2,
                centre=centre,
            )
            p = model.predict(x[held], None if mask is None else mask[held])
            total -= float((y[held] * np.log(np.maximum(p, 1e-300))).sum())
        losses.append(total / len(x))
    best = min(losses)
    return max(l2 for l2, loss in zip(grid, losses, strict=True) if loss <= best + 1e-9)


def _newton(
    x: FloatArray, y: FloatArray, live: BoolArray, weights: FloatArray, start: FloatArray, l2: float
) -> tuple[FloatArray, float]:
    # Only rows of options that exist, in order of case: sums over a case are runs of rows.
    rows, target = x[live], y[live]
    number = live.sum(axis=1)
    starts = np.cumsum(number) - number
    row_weights = np.repeat(weights, number)

    def penalised(w: FloatArray) -> tuple[float, FloatArray]:
        scores = rows @ w
        scores -= np.repeat(np.maximum.reduceat(scores, starts), number)
        mass = np.exp(scores)
        total = np.add.reduceat(mass, starts)
        logs = scores - np.repeat(np.log(total), number)
        fit = -float((row_weights * target) @ logs)
        return fit + 0.5 * l2 * float(((w - start) ** 2).sum()), np.exp(logs)

    w = start.copy()
    value, p = penalised(w)
    for _ in range(_NEWTON_STEPS):
        slope = rows.T @ (row_weights * (p - target)) + l2 * (w - start)
        pulled = rows * p[:, None]
        middle = np.add.reduceat(pulled, starts, axis=0)
        curve = rows.T @ (pulled * row_weights[:, None]) - middle.T @ (middle * weights[:, None])
        curve[np.diag_indices_from(curve)] += l2
        step = np.linalg.solve(curve, slope)
        decrement = float(slope @ step)
        if decrement <= 1e-12 * max(1.0, abs(value)):
            fit = value - 0.5 * l2 * float(((w - start) ** 2).sum())
            return w, fit / float(weights.sum())
        size = 1.0
        while True:
            trial = w - size * step
            new, new_p = penalised(trial)
            if new <= value - 0.25 * size * decrement + 1e-13 * abs(value):
                w, value, p = trial, new, new_p
                break
            size /= 2.0
            if size < 1e-12:
                raise ConvergenceError("the conditional logit found no descent", fix="raise l2")
    raise ConvergenceError(
        f"the conditional logit did not converge in {_NEWTON_STEPS} steps", fix="raise l2"
    )


def _beliefs(truth: npt.ArrayLike, cases: int, options: int, mask: BoolArray | None) -> FloatArray:
    z = np.asarray(truth)
    if not cases:
        raise FitError("there are no cases to learn from")
    if z.shape == (cases, options):
        y = z.astype(np.float64)
        if not ((y >= 0).all() and np.allclose(y.sum(axis=1), 1.0)):
            raise ValueError("shares of belief must be ≥ 0 and sum to 1")
    elif z.shape == (cases,):
        index = z.astype(np.int64)
        if index.min() < 0 or index.max() >= options:
            raise FitError(f"truth must lie in 0 … {options - 1} for every case")
        y = np.zeros((cases, options))
        y[np.arange(cases), index] = 1.0
    else:
        raise ValueError(f"truth has the shape ({cases},) or ({cases}, {options})")
    if mask is not None and (np.where(mask, 0.0, y) > 0).any():
        raise FitError("the truth of a case is an option that the case does not have")
    return y


def _case_weights(weights: npt.ArrayLike | None, cases: int) -> FloatArray:
    if weights is None:
        return np.ones(cases)
    w = np.asarray(weights, dtype=np.float64)
    if w.shape != (cases,) or (w < 0).any() or not w.sum() > 0:
        raise ValueError("case_weights has the shape (cases,), is ≥ 0 and not all 0")
    return w


def _spread(x: FloatArray, live: BoolArray) -> FloatArray:
    """Root mean square of each feature around its case's mean; 1 where it never varies."""
    count = live.sum(axis=1, keepdims=True)[..., None]
    centred = np.where(live[..., None], x - x.sum(axis=1, keepdims=True) / count, 0.0)
    spread = np.sqrt((centred**2).sum(axis=(0, 1)) / live.sum())
    return np.asarray(np.where(spread < 1e-12, 1.0, spread), dtype=np.float64)


def _least(function: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import minimize_scalar

    result = minimize_scalar(
        function, bounds=(low, high), method="bounded", options={"xatol": 1e-6}
    )
    if not result.success:
        raise ConvergenceError("the search for the best power did not converge")
    return float(result.x)
