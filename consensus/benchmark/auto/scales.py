"""What a judge's points are worth: a step tells more at one end of the scale than at the other.

The worth of a score is a chain of straight pieces, ``slope[0]·s + Σ slope[i]·max(s − knot[i], 0)``,
in log-odds of being the right option; a conditional logit on the means of these pieces over a
member's samples, with a prior that the chain is straight. On rb2 a point near the top of the scale
tells two to three times what a point near its bottom tells.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.stacking import Slots, fit_weights
from consensus.benchmark.evidence import Evidence

__all__ = ["Scale", "by_worth", "learn_scales"]

Floats = NDArray[np.float64]

QUANTILES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98)
"""Of a member's scores: where its scale may bend."""

STRAIGHT = 50.0
"""Precision of the prior that it does not, in cases."""

SLOPE = 0.5
"""Precision of the prior of the slope as a whole."""

FEWEST = 20
"""Cases below which points are taken as they are."""


@dataclass(frozen=True)
class Scale:
    """One member's scale.

    Attributes:
        knots: where it may bend.
        slopes: the slope below the first knot, and what each knot adds.
    """

    knots: tuple[float, ...] = ()
    slopes: tuple[float, ...] = (1.0,)

    def worth(self, scores: Floats) -> Floats:
        """What scores are worth; NaN stays NaN."""
        return np.asarray(sum(s * p for s, p in zip(self.slopes, self.pieces(scores), strict=True)))

    def pieces(self, scores: Floats) -> list[Floats]:
        """The functions that the slopes weigh."""
        return [scores, *(np.maximum(scores - knot, 0.0) for knot in self.knots)]


def learn_scales(train: Evidence, weights: Floats) -> tuple[Scale, ...]:
    """Each member's scale on calibration cases; none without scores.

    Args:
        train: the cases.
        weights: (n,) theirs.
    """
    if train.scores is None:
        return ()
    scores = train.scores.astype(float)
    return tuple(_learn(scores[:, m], train, weights) for m in range(scores.shape[1]))


def by_worth(train: Evidence, scales: tuple[Scale, ...]) -> Evidence:
    """The same answers with what their scores are worth in the place of the scores."""
    if train.scores is None:
        return train
    worth = [scale.worth(train.scores[:, m].astype(float)) for m, scale in enumerate(scales)]
    return replace(train, scores=np.stack(worth, axis=1).astype(np.float32))


def _learn(scores: Floats, train: Evidence, weights: Floats) -> Scale:
    given = scores[np.isfinite(scores) & train.valid[:, None]]
    if not given.size:
        return Scale()
    bends = np.unique(np.quantile(given, QUANTILES, method="nearest"))
    knots = tuple(k for k in bends.tolist() if given.min() < k < given.max())
    scale = Scale(knots, (1.0,) * (1 + len(knots)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # an option that nobody scored has no mean
        x = np.stack([np.nanmean(piece, axis=1) for piece in scale.pieces(scores)], axis=-1)
    whole = (np.isfinite(x).all(axis=2) | ~train.valid).all(axis=1)
    whole &= train.credit.max(axis=1) > 0
    if whole.sum() < FEWEST:
        return Scale()
    valid = train.valid[whole]
    size = valid.sum(axis=1).astype(np.int64)
    start = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.int64)
    slots = Slots(start, size, np.ones(int(size.sum())), train.credit[whole][valid])
    prior = np.array([SLOPE] + [STRAIGHT] * len(knots))
    fitted = fit_weights(slots, x[whole][valid], weights[whole], l2=prior)
    return Scale(knots, tuple(fitted.tolist()))
