"""Many panels by plurality at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.strategy import seat_counts

__all__ = ["accuracy_by_seats", "sweep_votes"]


def sweep_votes(
    evidence: Evidence, settings: Sequence[Sequence[int]], *, draws: int = 16, seed: int = 0
) -> NDArray[np.float64]:
    """Tie-split accuracy of plurality for many panels at once.

    Args:
        evidence: the answers.
        settings: each the number of samples of every member.
        draws: random sample orders; memory does not grow with them.
        seed: of the orders.

    Returns:
        Shape (settings, n): credit of each case under each setting, mean over orders.
    """
    wanted = np.asarray(settings, dtype=np.int64)
    deepest = int(wanted.max())
    n, width = evidence.valid.shape
    members = len(evidence.members)
    total = np.zeros((len(wanted), n))
    number = 0
    for part in evidence.draws(draws, wanted.min(axis=0).tolist(), seed=seed, most=deepest):
        orders = len(part) // n
        step = max(1, 2_000_000 // (orders * n * width))
        # Votes of the first j samples, for every j: a setting is then a sum of M look-ups.
        partial = np.zeros((members, deepest + 1, orders, n, width), dtype=np.float32)
        samples = np.moveaxis(part.votes.reshape(orders, n, *part.votes.shape[1:]), (2, 3), (0, 1))
        np.cumsum(samples, axis=1, out=partial[:, 1:])
        for start in range(0, len(wanted), step):
            block = wanted[start : start + step]
            counts = sum(partial[m, block[:, m]] for m in range(members))
            credit = votes.plurality(counts, evidence.valid).credit
            found = np.einsum("bonk,nk->bn", credit, evidence.credit)
            total[start : start + len(block)] += found
        number += orders
    total /= max(number, 1)
    return total


def accuracy_by_seats(
    evidence: Evidence, most: int, *, draws: int = 32, seed: int = 0
) -> list[tuple[int, float]]:
    """Plurality's accuracy with 1 … ``most`` seats (members in turn): what the next one adds."""
    sizes = list(range(1, most + 1))
    credit = sweep_votes(
        evidence, [seat_counts(size, evidence) for size in sizes], draws=draws, seed=seed
    )
    return [(size, float(row.mean())) for size, row in zip(sizes, credit, strict=True)]
