"""Conditional logits on ragged cases, fast enough to fit one for every state of a lattice.

The model is that of :func:`consensus.aggregation.learned.fit_conditional_logit`: P(k) ∝ exp(w·x_k)
with a Gaussian prior on the weights of features scaled to unit spread within cases (the tests hold
the two against each other). What is added is what thousands of fits need: options that nobody
named share one slot with their number as multiplicity, slots lie flat without padding, and a fit
may start from a neighbour's weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import ConvergenceError

__all__ = ["Slots", "fit_weights", "posterior"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_STEPS = 100


@dataclass(frozen=True)
class Slots:
    """Options of R cases, laid flat: a slot is one option, or all that nobody named.

    Attributes:
        start: (R,) where each case's slots begin; every case has at least one.
        size: (R,) how many it has.
        multiplicity: (N,) options in a slot.
        credit: (N,) mean credit of the options in a slot.
    """

    start: Ints
    size: Ints
    multiplicity: Floats
    credit: Floats

    @cached_property
    def case(self) -> Ints:
        """(N,) the case of each slot."""
        return np.repeat(np.arange(len(self.start)), self.size)

    @cached_property
    def log_multiplicity(self) -> Floats:
        """(N,) the offset of each slot."""
        return np.asarray(np.log(self.multiplicity))

    @cached_property
    def truth(self) -> Floats:
        """(N,) share of the truth in each slot; zeros for a case without any right option."""
        mass = self.credit * self.multiplicity
        total = self.sum(mass)[self.case]
        return np.divide(mass, total, out=np.zeros_like(mass), where=total > 0)

    def sum(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sums by case: (N,) → (R,) or (N, F) → (R, F)."""
        return np.asarray(np.add.reduceat(values, self.start, axis=0))

    def largest(self, values: Floats) -> Floats:
        """Maxima by case."""
        return np.asarray(np.maximum.reduceat(values, self.start))

    def take(self, cases: Ints) -> tuple[Slots, Ints]:
        """Some of the cases, and which flat rows they are."""
        size = self.size[cases]
        start = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
        rows = np.arange(int(size.sum())) + np.repeat(self.start[cases] - start, size)
        return Slots(start, size, self.multiplicity[rows], self.credit[rows]), rows


def posterior(slots: Slots, scores: Floats) -> Floats:
    """(N,) probability of each slot (all of its options together) from its score."""
    u = scores + slots.log_multiplicity
    e = np.exp(u - slots.largest(u)[slots.case])
    return np.asarray(e / slots.sum(e)[slots.case])


def fit_weights(
    slots: Slots,
    features: Floats,
    weights: Floats,
    *,
    l2: float | Floats = 1.0,
    start: Floats | None = None,
) -> Floats:
    """Fit the weights (F,) by penalised maximum likelihood (Newton with halving steps).

    Args:
        slots: the cases.
        features: (N, F).
        weights: (R,) of the cases, ≥ 0.
        l2: precision of the prior, centred on 0; one number, or one a feature.
        start: where to begin; the optimum is unique, so it changes only the time.

    Raises:
        ConvergenceError: where Newton's method does not reach its tolerance.
    """
    case = slots.case
    truth = slots.truth
    live = np.where(slots.sum(truth) > 0, weights, 0.0)
    by_slot = live[case]
    size = slots.sum(slots.multiplicity)
    middle = slots.sum(features * slots.multiplicity[:, None]) / size[:, None]
    centred = features - middle[case]
    share = (slots.multiplicity / size[case])[:, None]
    scale = np.sqrt((centred**2 * share).sum(axis=0) / len(slots.start))
    scale[scale < 1e-9] = 1.0
    x = centred / scale
    w = np.zeros(x.shape[1]) if start is None else start * scale

    def value(w: Floats) -> tuple[float, Floats]:
        u = x @ w + slots.log_multiplicity
        shifted = u - slots.largest(u)[case]
        e = np.exp(shifted)
        total = slots.sum(e)
        log_p = shifted - np.log(total)[case] - slots.log_multiplicity
        loss = -float((by_slot * truth * log_p).sum()) + 0.5 * float((l2 * w) @ w)
        return loss, e / total[case]

    diagonal = np.diag_indices(len(w))
    loss, p = value(w)
    before = np.inf
    curve = np.empty((len(w), len(w)))
    fresh = False
    for _ in range(_STEPS):
        slope = x.T @ (by_slot * (p - truth)) + l2 * w
        if not fresh:
            weighted = x * p[:, None]
            mean = slots.sum(weighted)
            curve = (weighted * by_slot[:, None]).T @ x - (mean * live[:, None]).T @ mean
            curve[diagonal] += l2
        step = np.linalg.solve(curve, slope)
        gain = float(slope @ step)
        # The curvature is the dear part: it is kept while steps with it still converge fast.
        fresh = gain < 0.05 * before
        before = gain
        if gain <= 1e-8 * max(1.0, abs(loss)):
            return np.asarray(w / scale)
        size_of_step = 1.0
        while True:
            new, new_p = value(w - size_of_step * step)
            if new <= loss - 0.25 * size_of_step * gain:
                break
            size_of_step /= 2
            if size_of_step < 1e-10:
                raise ConvergenceError("a stacked model found no descent", fix="raise l2")
        w, loss, p = w - size_of_step * step, new, new_p
    raise ConvergenceError(f"a stacked model did not converge in {_STEPS} steps", fix="raise l2")
