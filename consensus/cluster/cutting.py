"""How work and limits are divided among workers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from consensus.cluster.crew import AHEAD
from consensus.models.sharing import MACHINE_PROVIDERS
from consensus.policy.table import PolicyTable

__all__ = ["cut", "divided", "most_workers"]

LARGEST_BLOCK, SMALLEST_BLOCK = 256, 8

T = TypeVar("T")


def cut(groups: Iterable[Sequence[T]], each: int, workers: int) -> Iterator[list[T]]:
    """Blocks of a worker's share, cut as they are wanted; the first ones small.

    A short file then reaches every worker, and a long one costs few journeys. What is of one group
    is in one block.
    """
    largest = min(max(each, SMALLEST_BLOCK), LARGEST_BLOCK)
    size, begun = min(SMALLEST_BLOCK, largest), 0
    block: list[T] = []
    for group in groups:
        block += group
        if len(block) < size:
            continue
        yield block
        block = []
        begun += 1
        if begun % (AHEAD * workers) == 0:
            size = min(2 * size, largest)
    if block:
        yield block


def most_workers(table: PolicyTable) -> int:
    """The most workers among which every provider's calls at once can be divided."""
    if table.limits is not None:
        return 1 << 30
    settings = table.provider_settings()
    counts = [s.at_once(name) for name, s in settings.items() if name not in MACHINE_PROVIDERS]
    return min([*counts, 100])


def divided(table: PolicyTable, workers: int) -> str:
    """What becomes of the providers' limits, in a sentence."""
    if table.limits is not None:
        return f"{workers} workers; limits are shared through {table.limits.shared}"
    if workers == 1:
        return "1 worker; it has the limits of every provider"
    return (
        f"{workers} workers; each keeps to 1/{workers} of every provider's limits ([limits] shared "
        "in the policy lets one use what another leaves)"
    )
