"""A choice as data that an engine can serve: strategies with shares, and whose coin it is."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from consensus.benchmark.auto.search import Candidate, Chosen
from consensus.benchmark.run_format.columns import Member

__all__ = ["SEED", "coin", "serve", "side_of"]

SEED = "mix-0"
"""Stands before the task's id in the coin; no number, for those cut calibration halves."""

_AGGREGATORS = {
    "vote": "majority",
    "scores": "scores",
    "stack": "stacked",
    "blocks": "blocks",
    "crowd": "blocks",
}
_FITTED = {"stack": (), "blocks": (), "crowd": ("--no-labels",)}
"""Kinds whose row needs a calibration, and what ``consensus bench fit`` is told beside."""


def serve(chosen: Chosen, members: Sequence[Member], *, balanced: bool = False) -> dict[str, Any]:
    """The mix: ``share`` and ``strategy`` of each part, cheapest first, and the coin's text.

    Args:
        chosen: what was chosen.
        members: the members that the candidates' keys count.
        balanced: whether the choice was for each label alike.
    """
    parts = sorted(chosen.parts, key=lambda part: part[0].cost)
    return {
        "mix": [
            {"share": round(share, 4), "strategy": _strategy(candidate, members, balanced)}
            for candidate, share in parts
        ],
        "coin": f"sha256({SEED}:task_id)" if len(parts) > 1 else None,
    }


def _strategy(candidate: Candidate, members: Sequence[Member], balanced: bool) -> dict[str, Any]:
    if candidate.kind == "adaptive":
        keys = ("first", "at_most", "points_per_frontier_pass")
        return {"strategy": "adaptive", **{key: candidate.detail[key] for key in keys}}
    if candidate.kind == "single":
        seats = [members[candidate.key]]
    else:
        counts = zip(members, candidate.key, strict=True)
        seats = [member for member, count in counts for _ in range(count)]
    result: dict[str, Any] = {
        "strategy": "single" if candidate.kind == "single" else "vote",
        "models": [member.model for member in seats],
        "variants": [member.variant for member in seats],
        "seats": len(seats),
    }
    if candidate.kind != "single":
        result["aggregator"] = _AGGREGATORS[candidate.kind]
    if candidate.kind in _FITTED:
        told = [*_FITTED[candidate.kind], *(("--balanced",) if balanced else ())]
        result["fit"] = ["--aggregator", result["aggregator"], *told]
    return result


def coin(task_id: str, seed: str = SEED) -> float:
    """The task's own number in [0, 1): the same in replay, in service and after a restart."""
    digest = hashlib.sha256(f"{seed}:{task_id}".encode()).hexdigest()
    return int(digest[:16], 16) / 2**64


def side_of(task_id: str, shares: Sequence[float], seed: str = SEED) -> int:
    """Which part of a mix a task falls on: the first whose cumulated share exceeds its coin."""
    thrown, total = coin(task_id, seed), 0.0
    for index, share in enumerate(shares):
        total += share
        if thrown < total:
            return index
    return len(shares) - 1
