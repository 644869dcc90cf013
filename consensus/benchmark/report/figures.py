"""The figures of a report's sections, each from the run's arrays to plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.measure import Measured, figures, measure_single
from consensus.benchmark.report.scope import Scope
from consensus.benchmark.strategy import seat_counts
from consensus.benchmark.sweep import sweep_votes
from consensus.statistics import (
    aurc,
    bootstrap_ratio,
    cohen_kappa,
    convex_hull,
    coverage_at_risk,
    error_correlation,
    krippendorff_alpha,
    mean_interval,
    panel_dependence,
    pareto,
    risk_coverage,
)

__all__ = [
    "MOST_SEATS",
    "agreement_matrix",
    "by_seats",
    "dependence",
    "mark_pareto",
    "model_rows",
    "risk_curve",
]

MOST_SEATS = 15
"""Accuracy against seats is shown up to here."""

MATRIX = 12
"""So many models stand in the agreement matrix: more cannot be read."""

ORDERS = 12
"""Random orders of the panel's models behind accuracy against seats."""

Floats = NDArray[np.float64]
Row = dict[str, Any]


def known(value: float | None) -> float | None:
    """A number, or None where it is not one."""
    return None if value is None or not np.isfinite(value) else float(value)


def interval(credit: Floats) -> list[float]:
    """95 % interval of a mean credit, as a list."""
    return list(mean_interval(np.clip(credit, 0.0, 1.0)))


def model_rows(
    scope: Scope, evidence: Evidence, top: Evidence
) -> tuple[list[Row], dict[str, Measured]]:
    """One pass of every model: accuracy, agreement, cost; and its per-case columns."""
    run = scope.run
    index = {member: i for i, member in enumerate(run.members)}
    spent = run.cost()
    base = measure_single(top, top)
    rows: list[Row] = []
    singles: dict[str, Measured] = {}
    for m, member in enumerate(scope.members):
        measured = measure_single(evidence, top, members=[m])
        values = figures(measured, base, labelled=evidence.labelled)
        here = run.rows.member == index[member]
        failed = Counter(run.rows.failure_classes[i] for i in run.rows.failure[here].tolist() if i)
        role = "frontier" if member == scope.frontier else ""
        role = role or ("panel" if member in scope.panel else "")
        rows.append(
            {
                "name": scope.name(member),
                "member": member.name,
                "role": role,
                "accuracy": values["accuracy"],
                "ci95": interval(measured.credit),
                "agreement": values["agreement"],
                "kappa": values["agreement_kappa"],
                "cost_per_case": values["cost_per_case"],
                "cost_ratio": values["cost_ratio"],
                "cost_per_correct": values["cost_per_correct"],
                "latency_p50": values["latency_p50"],
                "answers": int(here.sum()),
                "failures": dict(sorted(failed.items())),
                "prompt_tokens": _sum(run.rows.prompt_tokens[here]),
                "completion_tokens": _sum(run.rows.completion_tokens[here]),
                "usd": _sum(spent[here]),
            }
        )
        singles[member.name] = _light(measured)
    return rows, singles


def _light(measured: Measured) -> Measured:
    """Without the tables, which for many models are hundreds of megabytes."""
    from dataclasses import replace

    return replace(measured, joint=None)


def _sum(values: Floats) -> float | None:
    return known(float(values.sum())) if values.size else None


def mark_pareto(rows: Sequence[Row]) -> list[list[float]]:
    """Set ``pareto`` on every row; return the hull's corners as (cost, accuracy).

    What is learned is measured on half of the cases, so it takes no part.
    """
    priced = [r for r in rows if r["cost_per_case"] is not None and not r.get("learned")]
    for row in rows:
        row["pareto"] = None
    for row in priced:
        row["pareto"] = False
    if not priced:
        return []
    costs = [row["cost_per_case"] for row in priced]
    right = [row["accuracy"] for row in priced]
    for i in pareto(costs, right).tolist():
        priced[i]["pareto"] = True
    hull = convex_hull(costs, right)
    return [[float(c), float(q)] for c, q in zip(hull.cost, hull.quality, strict=True)]


def by_seats(evidence: Evidence, frontier: Measured, *, seed: int) -> Row:
    """Plurality's accuracy with 1 … N seats: mean over random orders of the panel's models."""
    members = len(evidence.members)
    # What every member has on most cases is what a seat can count on.
    depth = int(evidence.typical.min())
    most = min(MOST_SEATS, members * max(1, depth))
    sizes = list(range(1, most + 1))
    rng = np.random.default_rng(seed)
    number = ORDERS if members > 1 else 1
    # One order of models is as good as another: the seats are drawn, not picked.
    orders = [rng.permutation(members).tolist() for _ in range(number)]
    credit = np.zeros((len(sizes), len(evidence)))
    cost = np.zeros(len(sizes))
    mean_cost = _mean_cost(evidence)
    draws = 2 if len(evidence) > 3000 else 8
    for turn, order in enumerate(orders):
        part = evidence.only(order)
        counts = [seat_counts(size, part) for size in sizes]
        credit += sweep_votes(part, counts, draws=draws, seed=seed + turn) / number
        cost += np.array([np.dot(c, mean_cost[order]) for c in counts]) / number
    return {
        "seats": sizes,
        "accuracy": [float(row.mean()) for row in credit],
        "ci95": [interval(row) for row in credit],
        "gain": [None, *(float(v) for v in np.diff(credit.mean(axis=1)))],
        "cost_per_case": [known(value) for value in cost],
        "frontier_accuracy": float(frontier.credit.mean()),
        "orders": number,
    }


def _mean_cost(evidence: Evidence) -> Floats:
    """(M,) mean cost of an answer."""
    count = np.maximum(evidence.present.sum(axis=(0, 2)), 1)
    return np.asarray(evidence.cost.sum(axis=(0, 2)) / count)


def dependence(evidence: Evidence, *, seed: int) -> Row | None:
    """How many independent votes the panel's first answers are worth; None where undefined."""
    errors = 1 - evidence.pass_credit()[:, :, 0]
    if errors.shape[1] < 2:
        return None
    try:
        found = panel_dependence(errors, seed=seed)
    except ValueError:
        return None
    return {
        "seats": found.seats,
        "rho": known(found.rho),
        "n_eff": known(found.n_eff),
        "n_eff_ci95": [known(found.n_eff_interval.low), known(found.n_eff_interval.high)],
    }


def agreement_matrix(scope: Scope, evidence: Evidence) -> Row:
    """How often two models give the same answer, and how much they err together.

    A cell is the chance that one random pass of each agrees; the diagonal that two different
    passes of one model do (None where most cases have a single one). Where there are too many
    models, the frontier and the most accurate ones stand in it.
    """
    credit = np.nan_to_num(np.nanmean(_filled(evidence), axis=2), nan=0.0)
    order = sorted(
        range(len(scope.members)),
        key=lambda m: (scope.members[m] != scope.frontier, -credit[:, m].mean(), m),
    )[:MATRIX]
    part = evidence.only(order)
    number = np.maximum(part.present.sum(axis=2), 1)
    share = part.votes.sum(axis=2, dtype=float) / number[..., None]
    same_options = _one_meaning(scope)
    size = len(order)
    agree: list[list[float | None]] = [[None] * size for _ in order]
    kappa: list[list[float | None]] = [[None] * size for _ in order]
    with_none = np.concatenate([share, 1 - share.sum(axis=2, keepdims=True)], axis=2)
    for i in range(size):
        for j in range(i):
            value = float((share[:, i] * share[:, j]).sum(axis=1).mean())
            agree[i][j] = agree[j][i] = value
            if same_options:
                table = with_none[:, i].T @ with_none[:, j]
                kappa[i][j] = kappa[j][i] = known(cohen_kappa(table))
        agree[i][i] = _self_agreement(part, i)
    phi = error_correlation(1 - credit[:, order])
    return {
        "models": [scope.name(scope.members[m]) for m in order],
        "of": len(scope.members),
        "agreement": agree,
        "kappa": kappa if same_options else None,
        "error_correlation": [
            [None if i == j else known(float(phi[i, j])) for j in range(size)] for i in range(size)
        ],
        "alpha": _alpha(part) if same_options and size > 1 else None,
    }


def _filled(evidence: Evidence) -> Floats:
    """Credit of each pass; a case without any pass of a member counts as wrong."""
    credit = evidence.pass_credit()
    empty = ~np.isfinite(credit).any(axis=2)
    credit[empty, 0] = 0.0
    return credit


def _one_meaning(scope: Scope) -> bool:
    """Whether an option's place means the same name in every case."""
    names: dict[int, str] = {}
    return all(
        names.setdefault(k, name) == name
        for options in set(scope.run.cases.options)
        for k, name in enumerate(options)
    )


def _self_agreement(part: Evidence, m: int) -> float | None:
    count = part.present[:, m].sum(axis=1).astype(float)
    several = count > 1
    if several.mean() < 0.5:  # a few repeated cases are no sample of the model
        return None
    votes_ = part.votes[several, m].astype(float)
    total = votes_.sum(axis=1)
    pairs = (total**2).sum(axis=1) - (votes_**2).sum(axis=(1, 2))
    count = count[several]
    return float((pairs / (count * (count - 1))).mean())


def _alpha(part: Evidence) -> float | None:
    first = part.votes[:, :, 0]
    clear = first.max(axis=2) > 0.999
    values = np.where(clear, first.argmax(axis=2), np.nan)
    return known(krippendorff_alpha(values.T))


def risk_curve(evidence: Evidence, *, seats: int | None = None) -> Row | None:
    """Risk against coverage when the panel's own agreement decides which cases are decided.

    Confidence is the leader's share of the configured seats; a case counts from the share on at
    which it would be decided. None where there is only one seat.
    """
    counts = seat_counts(seats, evidence)
    total = sum(counts)
    if total < 2:
        return None
    taken = [evidence.votes[:, m, :c].sum(axis=1, dtype=float) for m, c in enumerate(counts)]
    tally = np.sum(taken, axis=0)
    share = votes.plurality(tally, evidence.valid).credit
    credit = np.asarray((share * evidence.credit).sum(axis=1))
    confidence = np.asarray(votes.agreement(tally, total), dtype=float)
    curve = risk_coverage(confidence, credit)
    ends = np.flatnonzero(np.append(curve.threshold[:-1] != curve.threshold[1:], True))
    return {
        "seats": total,
        "threshold": [float(v) for v in curve.threshold[ends]],
        "coverage": [float(v) for v in curve.coverage[ends]],
        "risk": [float(v) for v in curve.risk[ends]],
        "aurc": aurc(confidence, credit),
        "coverage_at": {
            f"{risk:g}": coverage_at_risk(confidence, credit, risk=risk)
            for risk in (0.01, 0.05, 0.1)
        },
    }


def difference(measured: Measured, base: Measured, *, seed: int) -> tuple[float, list[float]]:
    """Difference in accuracy to the frontier with its paired 95 % interval."""
    gap = measured.credit - base.credit
    found = bootstrap_ratio(gap, np.ones_like(gap), seed=seed)
    return found.estimate, list(found.interval)
