"""What scores of several judges weigh together, whatever the number of samples of each.

The model: of a case's options, the right one is scored higher by ``lift`` of its judge on average;
what a judge's mean over infinitely many samples has beyond that varies with covariance ``between``
(judges err together); each sample adds noise of variance ``within``. The best linear score of the
options from any panel is then Fisher's discriminant with V = between + diag(within / samples): a
handful of numbers, learned once from all calibration cases, stands for the weights of every state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import Evidence

__all__ = ["Judges", "centred_means", "learn_judges"]

Floats = NDArray[np.float64]

SMALLEST = 1e-3
"""Least eigenvalue of ``between``, relative to the greatest."""


@dataclass(frozen=True)
class Judges:
    """Moments of the members' scores.

    Attributes:
        lift: (M,) mean score of a right option over a wrong one, in points of the scale.
        between: (M, M) covariance of the members' lasting errors, points squared.
        within: (M,) variance of one sample about its member's own mean.
    """

    lift: Floats
    between: Floats
    within: Floats

    def weights(self, counts: Sequence[int]) -> Floats:
        """(M,) weight of each member's mean score, 0 for one without samples."""
        used = [m for m, count in enumerate(counts) if count]
        noise = np.diag([self.within[m] / counts[m] for m in used])
        result = np.zeros(len(counts))
        result[used] = np.linalg.solve(self.between[np.ix_(used, used)] + noise, self.lift[used])
        return result


def centred_means(scores: Floats, valid: NDArray[np.bool_]) -> Floats:
    """(n, K) mean over samples of (n, S, K) scores, less its mean over the case's options.

    An option that nobody scored gets the mean of the others; what is no option is 0.
    """
    given = np.isfinite(scores) & valid[:, None]
    count = given.sum(axis=1)
    mean = np.where(given, scores, 0.0).sum(axis=1) / np.maximum(count, 1)
    known = count > 0
    middle = np.where(known, mean, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    # What is left out is at the middle, so that centring leaves it there.
    return np.asarray(np.where(known, mean - middle[:, None], 0.0))


def learn_judges(train: Evidence, weights: Floats) -> Judges | None:
    """The moments on calibration cases; None without scores.

    Args:
        train: the cases.
        weights: (n,) theirs.
    """
    if train.scores is None:
        return None
    scores, valid = train.scores.astype(float), train.valid
    members = scores.shape[1]
    free = np.maximum(valid.sum(axis=1) - 1, 0) * weights
    truth = train.credit / np.maximum(train.credit.sum(axis=1, keepdims=True), 1e-12)
    truth = np.where(valid, truth - truth.sum(axis=1, keepdims=True)
                     / np.maximum(valid.sum(axis=1, keepdims=True), 1), 0.0)  # fmt: skip
    spread = max(float((weights[:, None] * truth**2).sum()), 1e-12)
    means = [centred_means(scores[:, m], valid) for m in range(members)]
    lift = np.array([float((weights[:, None] * x * truth).sum()) / spread for x in means])
    errors = np.stack([x - up * truth for x, up in zip(means, lift, strict=True)])
    total = np.einsum("ank,bnk,n->ab", errors, errors, weights)
    total /= max(float(free.sum()), 1e-12)
    within = np.array([_noise(scores[:, m], valid, means[m], weights) for m in range(members)])
    passes = np.maximum(np.isfinite(scores).any(axis=3).sum(axis=2), 1)
    between = total - np.diag(within * np.mean(1 / passes, axis=0))
    values, vectors = np.linalg.eigh(between)
    least = SMALLEST * max(float(values[-1]), 1e-12)
    return Judges(lift, (vectors * np.maximum(values, least)) @ vectors.T, within)


def _noise(scores: Floats, valid: NDArray[np.bool_], mean: Floats, weights: Floats) -> float:
    """Variance of one sample's centred scores about their mean over samples, unbiased."""
    scored = np.isfinite(scores) | ~valid[:, None]
    whole = np.asarray(scored.all(axis=2) & valid.any(axis=1, keepdims=True))
    passes = whole.sum(axis=1)
    squares = np.zeros(len(scores))
    for s in range(scores.shape[1]):
        apart = centred_means(scores[:, [s]], valid) - mean
        squares += np.where(whole[:, s], (apart**2).sum(axis=1), 0.0)
    free = np.maximum(valid.sum(axis=1) - 1, 0) * np.maximum(passes - 1, 0)
    several = passes > 1
    total = float((free * weights)[several].sum())
    return float((squares * weights)[several].sum()) / total if total > 0 else 0.0
