"""A row of a policy, replayed as the engine would serve it: whatever its keys say.

The row's own route, panel, stopping rule, aggregator, losses, veto, prediction sets, cascade and
gate decide; only the calls are not made (:mod:`.proposals.serving`). What a recording cannot hold
(a debate's answers to others, a judge's choice among candidates) is one clear error. Beside it
stands one pass of the frontier on the same cases.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import evidence_of, resolve_members
from consensus.benchmark.measure import measure_single
from consensus.benchmark.proposals.recording import Recording, recording_of, task_types
from consensus.benchmark.proposals.serving import NotRecordedError, Served, serve
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.models.prices import PriceBook
from consensus.orchestrators.spec import Losses
from consensus.panel.book import PromptBook
from consensus.policy.table import PolicyTable
from consensus.statistics import bootstrap_ratio, paired_bootstrap, wilson

__all__ = ["replay_row"]

Floats = NDArray[np.float64]

_INSTEAD = {
    "debate": "a recorded debate is a variant of its model: --strategy debate",
    "best_of_n": "recorded scores of candidates choose among them: --strategy scores",
    "pairs": "recorded comparisons: --strategy pairs",
}
"""What replays instead, by orchestrator, where no recording can hold what the row asks for."""


def replay_row(
    run: RecordedRun,
    table: PolicyTable,
    row: str,
    *,
    frontier: str,
    folder: Path,
    book: PromptBook,
    variant: str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Replay the row of a task type.

    Args:
        run: recorded answers.
        table: the policy; its models are named as the recording names them, with ``recorded/`` in
            front where that name has no provider, and with ``@VARIANT`` for one of several ways in
            which a model was asked.
        row: the task type. Cases of that type, where the recording knows types; else all.
        frontier: the model compared with, as the recording names it.
        folder: of the run.
        book: the prompts.
        variant: of models that are named without one.
        seed: of the intervals.

    Returns:
        JSON values: figures as of other replays (what is not acted upon is not right), and under
        ``acting`` coverage, errors among the acted, losses.

    Raises:
        DataError: no such row, an answer that was not recorded, several kinds under one type.
        PolicyError: the row cannot be followed.
    """
    if row not in table.tasks:
        known = ", ".join(sorted(table.tasks)) or "none"
        raise DataError(f'the policy has no row "{row}"', where="--row", fix=f"one of {known}")
    if row not in task_types(run):
        cases = replace(run.cases, strata=tuple(row for _ in run.cases.strata))
        run = replace(run, cases=cases)
    recording = recording_of(
        _apart(run, variant),
        row,
        folder=folder,
        book=book,
        prices=PriceBook(overrides=table.price_overrides()),
    )
    try:
        served = serve(recording, table, book)
    except NotRecordedError as error:
        kind = table.tasks[row].strategy
        fix = _INSTEAD.get(kind or "") or f"recorded: {', '.join(recording.models)}"
        raise DataError(str(error), where=f"--row {row}", fix=fix) from None
    base = _frontier(run, recording, frontier, variant)
    return _figures(recording, served, base, table.tasks[row].losses, row, frontier, seed)


def _apart(run: RecordedRun, variant: str | None) -> RecordedRun:
    """Each way in which a model was asked as a model of its own, where it was asked in several.

    A seat of the engine names a model; a recording of somebody else's prompts may have six of one.
    """
    usual = {m: resolve_members(run, [m], variant)[m] for m in run.models()} if variant else {}

    def named(member: Member) -> Member:
        alone = len(run.variants(member.model)) == 1 or usual.get(member.model) == (member,)
        return member if alone else Member(member.name, member.variant)

    members = tuple(named(member) for member in run.members)
    prices = {
        new.model: run.prices[old.model]
        for old, new in zip(run.members, members, strict=True)
        if old.model in run.prices
    }
    return replace(run, members=members, prices=prices)


def _frontier(
    run: RecordedRun, recording: Recording, frontier: str, variant: str | None
) -> tuple[Floats, Floats]:
    """(n,) credit and cost of one pass on the recording's cases."""
    members = resolve_members(run, [frontier], variant)[frontier]
    place = {case: i for i, case in enumerate(run.cases.ids)}
    rows = np.array([place[case] for case in recording.case_ids], dtype=np.int64)
    measured = measure_single(evidence_of(run.take_cases(rows), members))
    return measured.credit, measured.cost


def _figures(
    recording: Recording,
    served: Served,
    base: tuple[Floats, Floats],
    losses: Any,
    row: str,
    frontier: str,
    seed: int,
) -> dict[str, Any]:
    credit, cost = base
    gap = paired_bootstrap(served.credit, credit, seed=seed)
    interval = wilson(float(served.credit.sum()), len(served))
    paid, theirs = _known(served.usd.mean()), _known(cost.mean())
    return {
        "strategy": {"strategy": "row", "row": row, "kind": recording.kind},
        "n": len(served),
        "accuracy": float(served.credit.mean()),
        "ci95": list(interval),
        "frontier_accuracy": float(credit.mean()),
        "difference": gap.estimate,
        "difference_ci95": list(gap.interval),
        "calls_per_case": float(served.calls.mean()),
        "cost_per_case": paid,
        "cost_ratio": paid / theirs if paid is not None and theirs else None,
        "latency_p50": _known(np.median(served.latency_s)),
        "latency_p95_by_hop": served.step_p95_s(),
        "escalation_rate": float((served.hops > 1).mean()),
        "gated": float(served.gated.mean()),
        "acting": _acting(recording, served, losses, seed),
        "frontier": [frontier],
        "notes": list(recording.notes),
        "left_out": recording.left_out,
    }


def _acting(recording: Recording, served: Served, losses: Any, seed: int) -> dict[str, Any]:
    acted = served.acted.astype(float)
    wrong = acted * (1.0 - served.credit)
    worth = Losses() if losses is None else Losses.model_validate(losses.model_dump())
    approved = np.array([said == "approve" for said in served.outcomes])
    price = np.where(approved, worth.false_approve, worth.false_reject)
    ones = np.ones(len(served))
    coverage = bootstrap_ratio(acted, ones, seed=seed)
    loss = bootstrap_ratio(wrong * price, ones, seed=seed)
    found: dict[str, Any] = {
        "coverage": coverage.estimate,
        "coverage_ci95": list(coverage.interval),
        "selective_risk": None,
        "selective_risk_ci95": None,
        "loss_per_case": loss.estimate,
        "loss_per_case_ci95": list(loss.interval),
    }
    if acted.any():
        risk = bootstrap_ratio(wrong, acted, seed=seed)
        found |= {"selective_risk": risk.estimate, "selective_risk_ci95": list(risk.interval)}
    if recording.kind == "approve":
        found["false_approve_rate"] = float((wrong * approved).mean())
        found["false_reject_rate"] = float((wrong * ~approved).mean())
    return found


def _known(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
