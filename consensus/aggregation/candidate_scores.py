"""Candidates scored by judges who did not all see the same ones.

Nobody judges its own, so each judge scores another part of the candidates, and a plain mean would
favour whoever met the generous judges. Scores are therefore taken apart: y = judge + candidate +
noise, by least squares (two-way classification with missing cells; Searle, *Linear Models*, 1971).
A judge's location drops out, and what it says of the differences between candidates stays, in
points of the common scale. Candidates that no chain of judges links cannot be compared at all.

The noise is estimated with :data:`NOISE_CASES` pseudo-observations of :data:`NOISE` points, since a
panel has a handful of scores; judges err together, so n of them count as n/(1 + (n − 1)ρ).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from consensus.aggregation._numerics import FloatArray
from consensus.aggregation.paired import Strengths
from consensus.aggregation.top_set import first_probabilities

__all__ = ["CandidateScores", "judge_candidates"]

NOISE = 2.0
"""Points, of a scale from 1 to 10: how far two judges are apart on one candidate."""

NOISE_CASES = 4.0

TIE = 1e-9
"""Points below which two candidates are equally good."""


class CandidateScores(NamedTuple):
    """What the judges' scores say together.

    Attributes:
        quality: (K,) points around the mean of the group; NaN for a candidate that nobody scored.
        first: (K,) probability of being the best; 0 for one that nobody scored.
        leaders: candidates in first place: equals, and the best of each group.
        groups: candidates that judges link, directly or through others.
    """

    quality: FloatArray
    first: FloatArray
    leaders: tuple[int, ...]
    groups: tuple[tuple[int, ...], ...]


def judge_candidates(scores: npt.ArrayLike, *, correlation: float = 0.44) -> CandidateScores:
    """Take judges' scores apart into what is the judge's and what is the candidate's.

    The order of the judges changes no bit.

    Args:
        scores: (judges, K) points, NaN = not judged.
        correlation: ρ of two judges' errors, 0 ≤ ρ < 1.

    Raises:
        ValueError: without a judge who scored two candidates.
    """
    given = np.asarray(scores, dtype=np.float64)
    if given.ndim != 2:
        raise ValueError("scores has the shape (judges, candidates)")
    known = ~np.isnan(given)
    rows = given[known.sum(axis=1) >= 2]
    if not len(rows):
        raise ValueError("no judge scored two candidates")
    rows = rows[np.lexsort(np.nan_to_num(rows, nan=-np.inf).T)]
    known = ~np.isnan(rows)
    width = rows.shape[1]
    laplacian, pull = np.zeros((width, width)), np.zeros(width)
    for row, seen in zip(rows, known, strict=True):
        share = seen.astype(np.float64)
        laplacian += np.diag(share) - np.outer(share, share) / share.sum()
        pull += np.where(seen, row - row[seen].mean(), 0.0)
    inverse = np.linalg.pinv(laplacian, hermitian=True)
    fitted = inverse @ pull
    groups = _groups(known)
    seen_by_any = known.any(axis=0)
    quality = np.where(seen_by_any, fitted, np.nan)
    left = np.where(known, rows - np.where(seen_by_any, fitted, 0.0), np.nan)
    residual = left - np.nanmean(left, axis=1, keepdims=True)
    free = known.sum() - len(rows) - (seen_by_any.sum() - len(groups))
    noise = (np.nansum(residual**2) + NOISE_CASES * NOISE**2) / (max(free, 0) + NOISE_CASES)
    together = 1.0 + (len(rows) - 1) * correlation
    place = np.flatnonzero(seen_by_any)
    part = Strengths(
        fitted[place], together * noise * inverse[np.ix_(place, place)], len(groups) == 1, []
    )
    first = np.zeros(width)
    first[place] = first_probabilities(part)
    leaders = [k for group in groups for k in _best(quality, group)]
    return CandidateScores(quality, first, tuple(sorted(leaders)), groups)


def _groups(known: npt.NDArray[np.bool_]) -> tuple[tuple[int, ...], ...]:
    """Candidates that share a judge, and whom those share one with."""
    groups: list[set[int]] = []
    for row in known:
        met = set(np.flatnonzero(row).tolist())
        apart = [group for group in groups if not group & met]
        groups = [*apart, met.union(*(group for group in groups if group & met))]
    return tuple(sorted(tuple(sorted(group)) for group in groups))


def _best(quality: FloatArray, group: tuple[int, ...]) -> list[int]:
    top = max(float(quality[k]) for k in group)
    return [k for k in group if quality[k] >= top - TIE]
