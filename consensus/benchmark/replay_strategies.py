"""Strategies over recorded answers, by the names that they are asked for by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from consensus.benchmark.fixed_panels import Blocks, Scores, Single, Vote, Weighted
from consensus.benchmark.replay_debate import Debate
from consensus.benchmark.replay_live import Cisc, Crowd, Live
from consensus.benchmark.staged_panels import Adaptive, Cascade
from consensus.benchmark.strategy import Strategy
from consensus.errors import DataError

__all__ = ["FIXED_STRATEGIES", "make_strategy"]

FIXED_STRATEGIES: Mapping[str, Callable[[int | None], Strategy]] = {
    "single": lambda _: Single(),
    "vote": Vote,
    "scores": Scores,
    "weighted": Weighted,
    "blocks": Blocks,
    "adaptive": Adaptive,
    "cascade": Cascade,
    "mean": partial(Live, "mean", "mean"),
    "softmax": partial(Live, "scores", "softmax"),
    "stacked": partial(Live, "stacked", "stacked"),
    "live:mean": partial(Live, "mean", "live:mean"),
    "live:scores": partial(Live, "scores", "live:scores"),
    "live:stacked": partial(Live, "stacked", "live:stacked"),
    "live:weighted": partial(Live, "weighted", "live:weighted"),
    "live:blocks": partial(Live, "blocks", "live:blocks"),
    "cisc": Cisc,
    "dawid_skene": Crowd,
    "debate": Debate,
}
"""Strategies by name; each takes the number of seats. ``stack`` and ``auto`` have further options
and are made in :mod:`consensus.benchmark.replay`."""


def make_strategy(name: str, seats: int | None) -> Strategy:
    """Make a strategy by its name.

    Raises:
        DataError: for an unknown name; the message lists those that exist.
    """
    try:
        return FIXED_STRATEGIES[name](seats)
    except KeyError:
        more = ("adaptive:RULE", "cascade:STEPS", "stack", "auto")
        known = ", ".join([*FIXED_STRATEGIES, *more])
        raise DataError(
            f'unknown strategy "{name}"', where="--strategy", fix=f"one of {known}"
        ) from None
