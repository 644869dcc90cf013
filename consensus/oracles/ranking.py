"""Oracles for rankings: Kendall's tau-b, and overlap of the first k."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from consensus.errors import SuiteError
from consensus.oracles.verdicts import Json, Verdict, content_hash, missing_reference

__all__ = ["Ranking", "kendall_tau_b"]

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Ranking:
    """Agreement of an order with the reference order.

    Args:
        top_k: compare only which items stand among the first k (share in common); None: tau-b over
            the whole order, mapped from [−1, 1] to [0, 1].
        floor: score at which the order is acceptable.

    A reference is a list of items, best first; an item that is itself a list is a tied group.
    """

    top_k: int | None = None
    floor: float = 1.0
    name: str = "ranking"
    graded: bool = field(default=True, init=False)
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if self.top_k is not None and self.top_k < 1:
            raise SuiteError("top_k must be at least 1")
        if not 0 < self.floor <= 1:
            raise SuiteError(f"floor must lie in (0, 1], not {self.floor}")

    @property
    def sha256(self) -> str:
        """Content hash."""
        return content_hash("ranking", 1, {"top_k": self.top_k, "floor": self.floor})

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        if not isinstance(reference, list | tuple) or not reference:
            raise missing_reference(self.name)
        wanted = _places(reference)
        if not isinstance(answer, list | tuple):
            return Verdict(0.0, False, "not an order")
        given = _places(answer)
        if given.keys() != wanted.keys() or len(answer) != len(given):
            return Verdict(0.0, False, "not an order of the same items")
        if self.top_k is None:
            tau = kendall_tau_b(given, wanted)
            score = (tau + 1) / 2
            detail = f"tau-b {tau:.3f}"
        else:
            k = min(self.top_k, len(wanted))
            first = {item for item, place in given.items() if place < k}
            right = {item for item, place in wanted.items() if place < k}
            score = len(first & right) / max(len(right), 1)
            detail = f"{len(first & right)} of {len(right)} in the first {k}"
        return Verdict(score, score >= self.floor - 1e-12, detail)


def kendall_tau_b(a: Mapping[K, int], b: Mapping[K, int]) -> float:
    """Kendall's tau-b (1945) of two places per item, ties counted; 0 where one side is all tied."""
    items = list(a)
    concordant = discordant = tied_a = tied_b = 0
    for i, x in enumerate(items):
        for y in items[i + 1 :]:
            da, db = a[x] - a[y], b[x] - b[y]
            if da == 0 and db == 0:
                continue
            if da == 0:
                tied_a += 1
            elif db == 0:
                tied_b += 1
            elif (da > 0) == (db > 0):
                concordant += 1
            else:
                discordant += 1
    both = concordant + discordant
    scale = ((both + tied_a) * (both + tied_b)) ** 0.5
    return (concordant - discordant) / scale if scale else 0.0


def _places(order: Sequence[Json]) -> dict[Hashable, int]:
    places: dict[Hashable, int] = {}
    at = 0
    for item in order:
        group = item if isinstance(item, list | tuple) else [item]
        for member in group:
            if not isinstance(member, Hashable):
                continue
            places[member] = at
        at += len(group)
    return places
