"""Features per option for the conditional logit: votes, scores, distributions, confidence.

Every function gives (..., K, F) with what a group of seats (a model, say) says *for* each option;
a group that was not asked, or failed, says 0 for all of them: no evidence. Names go with columns,
so that fitted weights can be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FloatArray, IntArray, canonical_mean, canonical_sum
from consensus.aggregation._numerics import logit as log_odds
from consensus.aggregation.pools import FLOOR, linear_pool
from consensus.aggregation.votes import tally

__all__ = [
    "Features",
    "confidence_features",
    "distribution_features",
    "group_scores",
    "join",
    "score_features",
    "vote_features",
]


class Features(NamedTuple):
    """Columns per option.

    Attributes:
        values: (..., K, F).
        names: (F,) what each column says.
    """

    values: FloatArray
    names: tuple[str, ...]


def vote_features(
    votes: npt.ArrayLike,
    options: int,
    groups: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    pairs: bool = True,
) -> Features:
    """Vote shares: per group the share of its seats for the option, and products of two groups'.

    The products let a fit say that two weak models that agree outweigh a strong one, or do not;
    votes of groups that err together then count for what their agreement has been worth.

    Args:
        votes: (..., seats), −1 = missing.
        options: K.
        groups: (seats,) group 0 … G−1 of each seat.
        names: of the groups.
        pairs: add the products.
    """
    v = np.asarray(votes, dtype=np.int64)
    of, labels = _groups(groups, v.shape[-1], names)
    shares = [
        tally(v[..., of == g], options) / max(int((of == g).sum()), 1) for g in range(len(labels))
    ]
    columns = [*shares]
    titles = [f"votes:{label}" for label in labels]
    for g, share in enumerate(shares):
        if (of == g).sum() > 1:
            columns.append(share**2)
            titles.append(f"votes²:{labels[g]}")
    if pairs:
        for g, h in itertools.combinations(range(len(labels)), 2):
            columns.append(shares[g] * shares[h])
            titles.append(f"votes:{labels[g]}×{labels[h]}")
    return Features(np.stack(columns, axis=-1), tuple(titles))


def score_features(
    scores: npt.ArrayLike, groups: npt.ArrayLike, *, names: Sequence[str] | None = None
) -> Features:
    """Scores per candidate: per group the mean score, and the share of its seats' first places.

    Args:
        scores: (..., seats, K); NaN = not scored. Means are centred on the case, so that a
            group that was not asked (all NaN) says 0.
        groups: (seats,).
        names: of the groups.
    """
    s = np.asarray(scores, dtype=np.float64)
    of, labels = _groups(groups, s.shape[-2], names)
    means = group_scores(s, groups)
    centred = means - canonical_mean(means)[..., None]
    top = np.where(np.isnan(s), -np.inf, s)
    best = top.max(axis=-1, keepdims=True)
    first = (top >= best) & np.isfinite(best)
    credit = first / np.maximum(first.sum(axis=-1, keepdims=True), 1)
    columns, titles = [], []
    for g, label in enumerate(labels):
        columns.append(np.nan_to_num(centred[..., g, :], nan=0.0))
        titles.append(f"score:{label}")
        mine = of == g
        columns.append(canonical_sum(credit[..., mine, :], axis=-2) / max(int(mine.sum()), 1))
        titles.append(f"first:{label}")
    return Features(np.stack(columns, axis=-1), tuple(titles))


def distribution_features(
    distributions: npt.ArrayLike,
    groups: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
    floor: float = FLOOR,
) -> Features:
    """Distributions: per group the log of their mean, centred on the case.

    Args:
        distributions: (..., seats, K); NaN rows = missing.
        groups: (seats,).
        names: of the groups.
        floor: least probability.
    """
    d = np.asarray(distributions, dtype=np.float64)
    of, labels = _groups(groups, d.shape[-2], names)
    columns = []
    for g in range(len(labels)):
        logs = np.log(np.maximum(linear_pool(d[..., of == g, :]), floor))
        columns.append(np.nan_to_num(logs - canonical_mean(logs)[..., None], nan=0.0))
    return Features(np.stack(columns, axis=-1), tuple(f"log p:{label}" for label in labels))


def confidence_features(
    votes: npt.ArrayLike,
    confidences: npt.ArrayLike,
    options: int,
    groups: npt.ArrayLike,
    *,
    names: Sequence[str] | None = None,
) -> Features:
    """Stated confidence: per group the mean log-odds of those who voted for the option.

    Args:
        votes: (..., seats), −1 = missing.
        confidences: (..., seats) in [0, 1]; NaN = not stated, which says 0.
        options: K.
        groups: (seats,).
        names: of the groups.
    """
    v = np.asarray(votes, dtype=np.int64)
    c = np.asarray(confidences, dtype=np.float64)
    of, labels = _groups(groups, v.shape[-1], names)
    stated = np.where(np.isnan(c), 0.0, log_odds(np.nan_to_num(c, nan=0.5), clip=0.01))
    columns = [
        tally(v[..., of == g], options, stated[..., of == g]) / max(int((of == g).sum()), 1)
        for g in range(len(labels))
    ]
    return Features(np.stack(columns, axis=-1), tuple(f"confidence:{label}" for label in labels))


def join(*parts: Features) -> Features:
    """Set features side by side."""
    return Features(
        np.concatenate([part.values for part in parts], axis=-1),
        tuple(itertools.chain.from_iterable(part.names for part in parts)),
    )


def group_scores(scores: npt.ArrayLike, groups: npt.ArrayLike) -> FloatArray:
    """Mean score per group: (..., seats, K) → (..., G, K); NaN where a group gave none."""
    s = np.asarray(scores, dtype=np.float64)
    of, labels = _groups(groups, s.shape[-2], None)
    return np.stack(
        [canonical_mean(s[..., of == g, :], axis=-2) for g in range(len(labels))], axis=-2
    )


def _groups(
    groups: npt.ArrayLike, seats: int, names: Sequence[str] | None
) -> tuple[IntArray, tuple[str, ...]]:
    of = np.asarray(groups, dtype=np.int64)
    if of.shape != (seats,) or not seats:
        raise ValueError(f"groups has the shape ({seats},)")
    number = int(of.max()) + 1
    labels = tuple(names) if names is not None else tuple(str(g) for g in range(number))
    if len(labels) != number:
        raise ValueError(f"{len(labels)} names for {number} groups")
    return of, labels
