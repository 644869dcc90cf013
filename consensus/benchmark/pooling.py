"""Figures of several splits, as one: means, intervals over cases, controls, what was chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.acting import Acting
from consensus.statistics import BootstrapResult, bootstrap_ratio, mean_interval

__all__ = [
    "Split",
    "acting_figures",
    "difference_variance",
    "join_choices",
    "over_splits",
    "paired",
    "pool",
]


@dataclass(frozen=True)
class Split:
    """One split's figures and per-case columns (in the run's case order).

    With a rule for acting: what it did, and what the frontier and the majority did, acting always.
    """

    figures: dict[str, float | None]
    controls: dict[str, dict[str, Any]]
    rows: NDArray[np.int64]
    credit: NDArray[np.float64]
    base: NDArray[np.float64]
    orders: int
    acts: Mapping[str, NDArray[np.float64]] | None = None
    others: Mapping[str, Mapping[str, NDArray[np.float64]]] = field(default_factory=dict)


def pool(splits: Sequence[Split], cases: int, *, seed: int) -> dict[str, Any]:
    """Means over the splits, and intervals over cases.

    A case's credit counts once for every split that held it out, weighed by 1/n of that split: the
    ratio of the two sums over cases is the mean over splits, and cases are what is resampled.
    """
    first = splits[0]
    result: dict[str, Any] = {"n": round(float(np.mean([len(s.rows) for s in splits])))}
    for key in first.figures:
        result[key] = _mean_of([s.figures[key] for s in splits])
    if len(splits) == 1:
        interval = mean_interval(np.clip(first.credit, 0, 1), draws=first.orders)
    else:
        columns = [split.credit for split in splits]
        interval = over_splits(splits, columns, None, cases, seed=seed).interval
    result["ci95"] = list(interval)
    gaps = [split.credit - split.base for split in splits]
    result["difference_ci95"] = list(over_splits(splits, gaps, None, cases, seed=seed).interval)
    result["controls"] = {
        name: _join_controls([s.controls[name] for s in splits]) for name in first.controls
    }
    return result


def over_splits(
    splits: Sequence[Split],
    top: Sequence[NDArray[np.float64]],
    bottom: Sequence[NDArray[np.float64]] | None,
    cases: int,
    *,
    seed: int,
) -> BootstrapResult:
    """A mean over splits of columns over their cases, with an interval over cases.

    Args:
        splits: the splits.
        top: of each split, a number a case.
        bottom: what it is a share of; None: of the cases.
        cases: in the run.
        seed: of the resamples.
    """
    above, below = np.zeros(cases), np.zeros(cases)
    for number, split in enumerate(splits):
        weight = 1 / len(split.rows)
        above[split.rows] += top[number] * weight
        below[split.rows] += weight * (1.0 if bottom is None else bottom[number])
    used = np.zeros(cases, dtype=bool)
    for split in splits:
        used[split.rows] = True
    return bootstrap_ratio(above[used], below[used], seed=seed)


def acting_figures(
    splits: Sequence[Split], cases: int, rule: Acting, *, seed: int
) -> dict[str, Any]:
    """What acting by a rule did: coverage, errors among the acted, losses; and what else would.

    ``loss_per_case`` counts nothing for a case that is left to somebody else; ``review_break_even``
    is what settling one may cost, in the losses' unit, before acting always on the majority would
    have been as good.
    """
    ours = [split.acts or {} for split in splits]

    def mean(top: str, bottom: str | None = None) -> dict[str, Any]:
        below = None if bottom is None else [acts[bottom] for acts in ours]
        if below is not None and not sum(float(column.sum()) for column in below):
            return {"mean": None, "ci95": None}
        above = [acts[top] for acts in ours]
        found = over_splits(splits, above, below, cases, seed=seed)
        return {"mean": found.estimate, "ci95": list(found.interval)}

    coverage, risk, loss = mean("acted"), mean("wrong", "acted"), mean("loss")
    result: dict[str, Any] = {
        "rule": rule.describe(),
        "coverage": coverage["mean"],
        "coverage_ci95": coverage["ci95"],
        "selective_risk": risk["mean"],
        "selective_risk_ci95": risk["ci95"],
        "loss_per_case": loss["mean"],
        "loss_per_case_ci95": loss["ci95"],
    }
    if rule.approve is not None:
        result["false_approve_rate"] = mean("false_approve")["mean"]
        result["false_reject_rate"] = mean("false_reject")["mean"]
    if rule.conformal:
        sets = mean("covered", "drawn")
        result["set_coverage"], result["set_coverage_ci95"] = sets["mean"], sets["ci95"]
    for name in ("frontier", "majority"):
        theirs = [split.others[name] for split in splits]
        alone = over_splits(splits, [t["loss"] for t in theirs], None, cases, seed=seed)
        gaps = [own["loss"] - other["loss"] for own, other in zip(ours, theirs, strict=True)]
        gap = over_splits(splits, gaps, None, cases, seed=seed)
        result[name] = {
            "loss_per_case": alone.estimate,
            "loss_difference": gap.estimate,
            "loss_difference_ci95": list(gap.interval),
        }
    left = 1 - result["coverage"]
    saved = -result["majority"]["loss_difference"]
    result["review_break_even"] = saved / left if left > 1e-9 else None
    return result


def paired(
    ours: Sequence[Split], theirs: Sequence[Split], cases: int, *, seed: int
) -> BootstrapResult:
    """The difference in accuracy of two strategies on the same splits."""
    gaps = [one.credit - other.credit for one, other in zip(ours, theirs, strict=True)]
    return over_splits(ours, gaps, None, cases, seed=seed)


def _join_controls(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    joined: dict[str, Any] = {
        key: _mean_of([part[key] for part in parts]) for key in ("accuracy", "cost_per_case")
    }
    for key in ("model", "models"):
        seen = [part[key] for part in parts if key in part]
        if seen and all(value == seen[0] for value in seen):
            joined[key] = seen[0]
        elif seen:
            flat = {name for value in seen for name in ([value] if key == "model" else value)}
            joined[key] = ", ".join(sorted(flat)) if key == "model" else sorted(flat)
    return joined


def _mean_of(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def difference_variance(splits: Sequence[Split]) -> float:
    """Variance over cases of the difference to the frontier, mean over splits."""
    return float(np.mean([np.var(s.credit - s.base) for s in splits]))


def join_choices(chosen: Sequence[Any]) -> Any:
    """What was chosen: one value, or a list of one a split."""
    if not chosen:
        return None
    return chosen[0] if len(chosen) == 1 else list(chosen)
