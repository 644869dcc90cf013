"""Ballots that score every candidate: the whole score, not only who came first.

P(k) ∝ exp(Σ_g mean score of group g for k / T_g): a softmax over mean scores with one temperature a
model, fitted on labelled cases. A temperature belongs to the number of samples that were averaged:
fit it on as many as will be used. The ordinal form makes no assumption on what a point is worth: it
replaces each score by log P(score | right) − log P(score | wrong), made monotone, and goes on from
there. Without labels, z-scores within a ballot make judges comparable.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import (
    FloatArray,
    IntArray,
    canonical_sum,
    option_mask,
    softmax,
)
from consensus.aggregation.features import group_scores
from consensus.aggregation.learned import fit_conditional_logit

__all__ = [
    "OrdinalTable",
    "fit_ordinal",
    "fit_temperatures",
    "ordinal_evidence",
    "score_posterior",
    "standardised",
]


class OrdinalTable(NamedTuple):
    """What each score is worth, per group of seats.

    Attributes:
        levels: (L,) ascending: the scores that occur.
        evidence: (G, L) log-likelihood ratio of right against wrong; never falls with the score.
        groups: (seats,).
    """

    levels: FloatArray
    evidence: FloatArray
    groups: IntArray


def score_posterior(
    scores: npt.ArrayLike,
    groups: npt.ArrayLike,
    temperatures: npt.ArrayLike,
    *,
    options: npt.ArrayLike | None = None,
) -> FloatArray:
    """Softmax over mean scores.

    Args:
        scores: (..., seats, K); NaN = not scored. A group without any score for an option takes
            that option's mean in the group to be its own mean over the options: no evidence.
        groups: (seats,) group 0 … G−1 of each seat.
        temperatures: (G,), in points of score, above 0; inf = the group is not used.
        options: bool (..., K).

    Returns:
        (..., K); uniform over the options where nothing was scored.
    """
    t = np.asarray(temperatures, dtype=np.float64)
    if not (t > 0).all():
        raise ValueError("temperatures must be above 0")
    evidence = canonical_sum(_centred(scores, groups) / t[:, None], axis=-2)
    return softmax(evidence, option_mask(options, evidence.shape))


def fit_temperatures(
    scores: npt.ArrayLike,
    truth: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    options: npt.ArrayLike | None = None,
    l2: float = 1.0,
) -> FloatArray:
    """Temperatures (G,) of :func:`score_posterior` by penalised likelihood.

    A group whose scores point the wrong way gets inf. It is dropped and the rest fitted anew.

    Args:
        scores: (cases, seats, K).
        truth: (cases,) index of the right option, or (cases, K) shares of belief.
        groups: (seats,).
        options: bool (cases, K).
        l2: see :func:`.learned.fit_conditional_logit`.
    """
    x = np.moveaxis(_centred(scores, groups), -2, -1)
    kept = np.arange(x.shape[-1])
    weights = np.zeros(x.shape[-1])
    while kept.size:
        fit = fit_conditional_logit(x[..., kept], truth, options=options, l2=l2)
        if (fit.weights > 0).all():
            weights[kept] = fit.weights
            break
        kept = np.delete(kept, int(fit.weights.argmin()))
    return np.asarray(np.where(weights > 0, 1.0 / np.where(weights > 0, weights, 1.0), np.inf))


def standardised(scores: npt.ArrayLike) -> FloatArray:
    """Z-scores of each ballot (..., seats, K) over its own candidates.

    A ballot that scores all alike says 0 for each; NaN stays NaN.
    """
    s = np.asarray(scores, dtype=np.float64)
    given = ~np.isnan(s)
    count = np.maximum(given.sum(axis=-1, keepdims=True), 1)
    filled = np.where(given, s, 0.0)
    middle = canonical_sum(filled)[..., None] / count
    centred = np.where(given, s - middle, 0.0)
    deviation = np.sqrt(canonical_sum(centred**2)[..., None] / count)
    z = np.where(deviation > 1e-12, centred / np.where(deviation > 1e-12, deviation, 1.0), 0.0)
    return np.asarray(np.where(given, z, np.nan), dtype=np.float64)


def fit_ordinal(
    scores: npt.ArrayLike, truth: npt.ArrayLike, groups: npt.ArrayLike, *, strength: float = 1.0
) -> OrdinalTable:
    """Learn what each score is worth: P(score | right) against P(score | wrong), monotone.

    Args:
        scores: (cases, seats, K).
        truth: (cases,).
        groups: (seats,): seats of a group share a row.
        strength: pseudo-counts a level, in the proportions of all scores.
    """
    from consensus.aggregation.calibration import monotone

    s = np.asarray(scores, dtype=np.float64)
    z = np.asarray(truth, dtype=np.int64)
    of = np.asarray(groups, dtype=np.int64)
    given = ~np.isnan(s)
    levels = np.unique(s[given])
    right = (np.arange(s.shape[-1]) == z[:, None])[:, None, :]
    index = np.searchsorted(levels, np.where(given, s, levels[0]))
    rows = []
    for g in range(int(of.max()) + 1):
        mine = given & (of == g)[None, :, None]
        hit = np.bincount(index[mine & right], minlength=levels.size)
        miss = np.bincount(index[mine & ~right], minlength=levels.size)
        share = (hit + miss + 1.0 / levels.size) / (hit.sum() + miss.sum() + 1.0)
        pseudo = strength * levels.size * share
        p_hit = (hit + pseudo) / (hit + pseudo).sum()
        p_miss = (miss + pseudo) / (miss + pseudo).sum()
        rows.append(monotone(np.log(p_hit / p_miss), hit + miss + pseudo))
    return OrdinalTable(levels, np.stack(rows), of)


def ordinal_evidence(scores: npt.ArrayLike, table: OrdinalTable) -> FloatArray:
    """Replace scores (..., seats, K) by their evidence; use it as scores from there on.

    A score between two known levels is interpolated, one outside takes the nearest.
    """
    s = np.asarray(scores, dtype=np.float64)
    if s.shape[-2] != table.groups.size:
        raise ValueError(f"{s.shape[-2]} seats scored, the table knows {table.groups.size}")
    out = np.empty_like(s)
    for g in range(table.evidence.shape[0]):
        mine = table.groups == g
        out[..., mine, :] = np.interp(s[..., mine, :], table.levels, table.evidence[g])
    return np.asarray(np.where(np.isnan(s), np.nan, out), dtype=np.float64)


def _centred(scores: npt.ArrayLike, groups: npt.ArrayLike) -> FloatArray:
    """Group means (..., G, K) around their own mean over the options; 0 where not given."""
    means = group_scores(scores, groups)
    given = ~np.isnan(means)
    filled = np.where(given, means, 0.0)
    middle = canonical_sum(filled)[..., None] / np.maximum(given.sum(axis=-1, keepdims=True), 1)
    return np.asarray(np.where(given, means - middle, 0.0), dtype=np.float64)
