"""What the first samples of each member add up to, so that any panel is one look-up a member.

``counts`` (M,) is everywhere the number of samples that each member's seats take; seats run side by
side. A sweep over thousands of panels pays for the sums once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Running"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Running:
    """Sums over the first samples of each member; the arrays are an evidence's own.

    The sums stand member and sample first (M, S, n, …), where a look-up is one piece of memory.
    """

    votes: NDArray[np.float32]
    present: NDArray[np.bool_]
    given: NDArray[np.float32] | None
    paid: Floats
    waited: Floats
    credit: Floats

    def tallies(self, counts: Sequence[int]) -> Floats:
        """(n, M, K) votes of each member."""
        nothing = np.zeros_like(self._votes[0, 0])
        parts = [self._votes[m, c - 1] if c else nothing for m, c in enumerate(counts)]
        return np.stack(parts, axis=1)

    def tally(self, counts: Sequence[int]) -> Floats:
        """(n, K) votes of all members."""
        return _added(self._votes, counts)

    def scores(self, counts: Sequence[int]) -> tuple[Floats, Floats]:
        """(n, K) sum of scores and how many were given, over all members."""
        total, given = self._scores
        return _added(total, counts), _added(given, counts)

    def best(self, counts: Sequence[int]) -> Floats:
        """(n,) credit of the best answer."""
        return _greatest(self._best, counts)

    def calls(self, counts: Sequence[int]) -> Floats:
        """(n,) calls made."""
        return _added(self._calls, counts)

    def cost(self, counts: Sequence[int]) -> Floats:
        """(n,) dollars, NaN where one of them is unknown."""
        return _added(self._cost, counts)

    def latency(self, counts: Sequence[int]) -> Floats:
        """(n,) seconds of the slowest."""
        return _greatest(self._latency, counts)

    @cached_property
    def _votes(self) -> Floats:
        return _first(self.votes).cumsum(axis=1, dtype=float)

    @cached_property
    def _scores(self) -> tuple[Floats, Floats]:
        if self.given is None:
            raise ValueError("there are no scores")
        scores = _first(self.given)
        known = np.isfinite(scores)
        total = np.where(known, scores, 0.0).cumsum(axis=1, dtype=float)
        return total, known.cumsum(axis=1, dtype=float)

    @cached_property
    def _best(self) -> Floats:
        credit = _first(np.einsum("nmsk,nk->nms", self.votes, self.credit))
        return np.asarray(np.maximum.accumulate(credit, axis=1))

    @cached_property
    def _calls(self) -> Floats:
        return _first(self.present).cumsum(axis=1, dtype=float)

    @cached_property
    def _cost(self) -> Floats:
        return _first(self.paid).cumsum(axis=1)

    @cached_property
    def _latency(self) -> Floats:
        return np.asarray(np.maximum.accumulate(_first(self.waited), axis=1))


def _first(values: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(np.moveaxis(values, 0, 2))


def _added(sums: Floats, counts: Sequence[int]) -> Floats:
    result: Floats = np.zeros_like(sums[0, 0])
    for m, count in enumerate(counts):
        if count:
            result += sums[m, count - 1]
    return result


def _greatest(peaks: Floats, counts: Sequence[int]) -> Floats:
    result: Floats = np.zeros_like(peaks[0, 0])
    for m, count in enumerate(counts):
        if count:
            np.maximum(result, peaks[m, count - 1], out=result)
    return result
