"""Best of n over recorded comparisons: judges choose among candidates, and nobody judges its own.

A recording of rankings holds candidates with their authors, and what judges said of each pair. The
live rule is replayed: a judge's comparisons of what it wrote itself are left out, and the candidate
of the greatest strength is chosen (ties share). Beside it: the same with the judges' own left in,
always the frontier's answer, and any candidate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.replay_pairs import RecordedRanking
from consensus.errors import DataError
from consensus.orchestrators.ranking import fit_strengths
from consensus.orchestrators.spec import ColdStart
from consensus.statistics import BootstrapResult, paired_bootstrap

__all__ = ["replay_best"]

Floats = NDArray[np.float64]


def replay_best(
    rankings: Sequence[RecordedRanking], judges: Sequence[str], frontier: str, *, seed: int = 0
) -> dict[str, Any]:
    """Choose the best candidate of every recorded list.

    Args:
        rankings: at least two.
        judges: the panel.
        frontier: whose answer is taken always, beside it.
        seed: of the intervals.

    Returns:
        JSON values: ``best``, the share of lists in which the chosen candidate is (one of) the
        reference's best; ``own_judged`` and ``always_frontier`` likewise, with paired differences
        to them; ``any`` candidate; ``self_preference``, how much oftener a judge prefers what it
        wrote than the other judges do, on the same pairs.

    Raises:
        DataError: a judge compared nothing, or there are fewer than two lists.
    """
    known = sorted({judge for ranking in rankings for judge, _, _ in ranking.said})
    for judge in judges:
        if judge not in known:
            raise DataError(f'"{judge}" compared nothing here', where="--panel",
                            fix=f"one of {', '.join(known)}")  # fmt: skip
    if len(rankings) < 2:
        raise DataError("needs at least two recorded rankings", where="--data")
    chosen = np.array([_credit(r, _choose(r, judges, own=False)) for r in rankings])
    own = np.array([_credit(r, _choose(r, judges, own=True)) for r in rankings])
    spread = np.array([_credit(r, np.ones(len(r.items))) for r in rankings])
    found: dict[str, Any] = {
        "strategy": "best_of_n",
        "n": len(rankings),
        "members": list(judges),
        "candidates": float(np.mean([len(r.items) for r in rankings])),
        "best": float(chosen.mean()),
        "own_judged": _beside(chosen, own, seed),
        "any": _beside(chosen, spread, seed),
        "always_frontier": None,
        "self_preference": _self_preference(rankings, judges, seed),
    }
    theirs = [np.array([_wrote(frontier, item) for item in r.items], dtype=float) for r in rankings]
    if all(row.sum() == 1 for row in theirs):
        alone = np.array([_credit(r, row) for r, row in zip(rankings, theirs, strict=True)])
        found["always_frontier"] = {"model": frontier, **_beside(chosen, alone, seed)}
    return found


def _wrote(judge: str, item: str) -> bool:
    """Whether a judge is the author: names agree up to punctuation and a version behind."""
    one, other = ("".join(c for c in name.lower() if c.isalnum()) for name in (judge, item))
    return one.startswith(other) or other.startswith(one)


def _choose(ranking: RecordedRanking, judges: Sequence[str], *, own: bool) -> Floats:
    """(items,) 1 where the judges put an item first; several are tied."""
    place = {item: i for i, item in enumerate(ranking.items)}
    wins = np.zeros((len(place), len(place)))
    for (judge, one, other), better in ranking.said.items():
        if judge not in judges or (not own and (_wrote(judge, one) or _wrote(judge, other))):
            continue
        i, j = place[one], place[other]
        share = 0.5 if not better else float(better == one)
        wins[i, j] += share
        wins[j, i] += 1 - share
    fitted = fit_strengths(wins, ColdStart().correlation)
    if not fitted.linked:
        raise DataError(
            "nobody but its author compared some candidate with the others",
            where="--panel",
            fix="name more judges",
        )
    theta = np.asarray(fitted.theta)
    return np.asarray(theta >= theta.max() - 1e-9, dtype=float)


def _credit(ranking: RecordedRanking, chosen: Floats) -> float:
    merit = np.array([ranking.merit[item] for item in ranking.items])
    best = merit >= merit.max() - 1e-9
    return float((chosen * best).sum() / chosen.sum())


def _beside(ours: Floats, theirs: Floats, seed: int) -> dict[str, Any]:
    gap = paired_bootstrap(ours, theirs, seed=seed)
    return {
        "best": float(theirs.mean()),
        "difference": gap.estimate,
        "difference_ci95": list(gap.interval),
    }


def _self_preference(
    rankings: Sequence[RecordedRanking], judges: Sequence[str], seed: int
) -> dict[str, Any] | None:
    """Over lists: a judge's share for its own answer, less the other judges' on the same pairs."""
    gaps = []
    for ranking in rankings:
        mine: list[float] = []
        others: list[float] = []
        for (judge, one, other), better in ranking.said.items():
            for item, rival in ((one, other), (other, one)):
                authors = [j for j in judges if _wrote(j, item)]
                if judge not in judges or not authors or _wrote(judge, rival):
                    continue
                share = 0.5 if not better else float(better == item)
                (mine if judge in authors else others).append(share)
        if mine and others:
            gaps.append(float(np.mean(mine) - np.mean(others)))
    if len(gaps) < 2:
        return None
    found: BootstrapResult = paired_bootstrap(gaps, seed=seed)
    return {"points": found.estimate, "ci95": list(found.interval)}
