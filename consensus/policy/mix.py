"""A row that mixes strategies: a coin that is a hash, so that a task always falls the same way.

A mixture reaches prices and qualities between those of its strategies (the convex hull), which is
what ``auto`` may choose. The coin looks at the task's id, or at its content where it has none, and
at nothing that could change between two attempts: a file that is resumed, a receipt and a replay
all see the same strategy.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence

from consensus.models.coins import coin as salted
from consensus.policy.rows import Mixed
from consensus.tasks import Task

__all__ = ["COIN", "coin", "coin_of", "toss"]

COIN = "mix-0"
"""Stands before the id in the hash. It must differ from the seeds that split cases into halves, or
a half would see one strategy more often than the other half."""


def coin(key: str) -> float:
    """A number in [0, 1) from sha256(``mix-0:KEY``): its first 8 bytes, big-endian, over 2⁶⁴."""
    return salted(key, salt=COIN)


def coin_of(task: Task) -> float:
    """The coin of a task: of its id, else of its whole content as sorted JSON."""
    if task.id is not None:
        return coin(task.id)
    content = task.model_dump(mode="json", by_alias=True, exclude={"id"})
    return coin(json.dumps(content, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def toss(mix: Sequence[Mixed], thrown: float) -> int:
    """The place in the mixture that a coin falls on: shares laid end to end from 0.

    Args:
        mix: shares that sum to 1.
        thrown: in [0, 1), from :func:`coin`.
    """
    for place in range(len(mix) - 1):
        if thrown < math.fsum(part.share for part in mix[: place + 1]):
            return place
    return len(mix) - 1
