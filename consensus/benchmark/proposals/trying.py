"""Candidates measured on a run as they would be served, and which of them are worth a test."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.proposals.candidates import Candidate, search, table_with
from consensus.benchmark.proposals.figures import figures_of, typical
from consensus.benchmark.proposals.halves import TypeRun
from consensus.benchmark.proposals.mixtures import Arm, mixtures
from consensus.benchmark.proposals.model import Measured
from consensus.benchmark.proposals.recording import USUAL_OPTIONS, policy_names
from consensus.benchmark.proposals.serving import Served, serve
from consensus.benchmark.proposals.settings import ProposalSettings
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import ConsensusError, DataError
from consensus.orchestrators.calibration import Calibration
from consensus.policy.table import PolicyTable

__all__ = [
    "Tried",
    "coins",
    "first_line",
    "front",
    "in_time",
    "searched",
    "sequence_of",
    "try_candidate",
]

PANEL_MODELS = 4
"""Models that panels and cascades are made of; every model is tried alone."""

STACK_CASES = 100
"""Calibration cases from which on a logit is fitted; below, blocks, which have fewer numbers."""


@dataclass(frozen=True)
class Tried:
    """A candidate that could be measured."""

    candidate: Candidate
    table: PolicyTable
    served: Served
    cost: float
    """Mean on the calibration half, in dollars; calls where no price is known."""
    quality: float


def try_candidate(split: TypeRun, candidate: Candidate) -> Tried:
    """Measure one candidate on all cases.

    Raises:
        NotRecordedError: the run does not hold what it would ask.
    """
    table = table_with(split.filled.table, split.recording, candidate)
    served = serve(split.recording, table, split.book)
    cost = served.usd if split.priced else served.calls
    return Tried(
        candidate,
        table,
        served,
        float(cost[split.learn].mean()),
        float(served.credit[split.learn].mean()),
    )


def searched(run: RecordedRun, split: TypeRun, settings: ProposalSettings) -> list[Candidate]:
    """Candidates of the search: singles, votes, cascades, and panels fitted on the first half."""
    recording = split.recording
    cost = typical(recording) if split.priced else dict.fromkeys(recording.models, 1.0)
    keep = _worth_a_seat(split, cost)
    fitted = []
    for models in _stacks(keep, split.frontier):
        calibration = _fit(run, split, settings, models)
        if calibration is not None:
            fitted.append((models, calibration))
    return list(search(recording, cost, split.frontier, keep=keep, fitted=fitted))


def _worth_a_seat(split: TypeRun, cost: Mapping[str, float]) -> list[str]:
    """Models for panels: those that no cheaper one beats on the calibration half, then the best."""
    recording = split.recording
    quality = {}
    for model in recording.models:
        framing = (recording.framings or ("",))[0]
        first = [recording.given(case, model, framing)[:1] for case in split.learn.tolist()]
        worth = [
            recording.worth(case, samples[0].answer) if samples and samples[0].answer is not None
            else 0.0
            for case, samples in zip(split.learn.tolist(), first, strict=True)
        ]  # fmt: skip
        quality[model] = float(np.mean(worth))
    others = [model for model in recording.models if model != split.frontier]
    if split.priced:
        others = [model for model in others if cost[model] < cost[split.frontier]]
    best = sorted(others, key=lambda m: (-quality[m], cost[m], m))
    undominated = [
        m for m in others
        if not any(cost[o] <= cost[m] and quality[o] > quality[m] for o in others)
    ]  # fmt: skip
    ordered = sorted(undominated, key=lambda m: (-quality[m], m))
    ordered += [m for m in best if m not in ordered]
    return sorted(ordered[:PANEL_MODELS], key=lambda m: (cost[m], m))


def _stacks(keep: Sequence[str], frontier: str) -> list[tuple[str, ...]]:
    """Sets of models that are worth a calibration."""
    sets: list[tuple[str, ...]] = [(model, frontier) for model in keep[:2]]
    if len(keep) >= 2:
        sets += [(*keep[:2], frontier)]
    if len(keep) >= 3:
        sets += [tuple(keep[:3])]
    return sets


def _family(split: TypeRun) -> Literal["scores", "stacked", "blocks"]:
    if split.recording.asked_for_scores:
        return "scores"
    return "stacked" if split.learn.size >= STACK_CASES else "blocks"


def _fit(
    run: RecordedRun, split: TypeRun, settings: ProposalSettings, models: Sequence[str]
) -> Calibration | None:
    """A calibration of one seat a model, from the calibration half alone; None where none fits."""
    recording = split.recording
    if recording.kind not in ("approve", "choose", "compare") or split.learn.size < 30:
        return None
    called = {**USUAL_OPTIONS.get(recording.kind, {}), **policy_names(run, settings.names)}
    recorded = {called[model]: model for model in run.models()}
    variant = settings.variant if recording.framings is None else recording.framings[0]
    try:
        return fit_calibration(
            run,
            [recorded[model] for model in models],
            aggregator=_family(split),
            variant=variant,
            task_type=recording.stratum or None,
            names=called,
            seed=settings.seed,
            fitted_on=settings.today.isoformat(),
        ).calibration.model_copy(update={"task_type": recording.task_type})
    except (ConsensusError, ValueError, ArithmeticError):
        return None


def coins(
    split: TypeRun, tried: Sequence[Tried], top: Tried, progress: Callable[[str], None]
) -> list[Tried]:
    """Mixtures of what was measured, measured as they would be served."""
    arms = [Arm(t.candidate, t.served.credit[split.learn], t.cost) for t in tried]
    beside = Arm(top.candidate, top.served.credit[split.learn], top.cost)
    found = []
    name = split.recording.task_type
    for candidate in mixtures(name, arms, beside, split.bar, split.test.size):
        progress(f"{name}: {candidate.name}")
        found.append(try_candidate(split, candidate))
    return found


def in_time(split: TypeRun, tried: Sequence[Tried], left_out: list[Measured]) -> list[Tried]:
    """What its callers can wait for, by the calibration half; where no time is known, everything.

    Raises:
        DataError: nothing of the run is fast enough.
    """
    need = split.latency_need_s
    if need is None:
        return list(tried)
    quick = []
    slow: dict[str, float] = {}
    for one in tried:
        figures = figures_of(one.served.take(split.learn), priced=split.priced)
        if figures.latency_p95_s is None or figures.latency_p95_s <= need:
            quick.append(one)
            continue
        slow[one.candidate.name] = figures.latency_p95_s
        left_out.append(
            Measured(
                name=one.candidate.name,
                source=one.candidate.source,
                row=dict(one.candidate.row),
                calibration=figures,
                left_out=f"its p95 is over the {need:g} s that callers have",
            )
        )
    if not quick:
        best = min(slow, key=lambda name: (slow[name], name))
        raise DataError(
            f"no route answers within the {need:g} s asked for; the fastest, {best}, "
            f"has a p95 of {slow[best]:.2f} s",
            where=split.recording.task_type,
            fix="a faster model in the run, or a longer latency in the audit",
        )
    return quick


def first_line(error: Exception) -> str:
    """An error in one line."""
    return str(error).splitlines()[0][:300]


def sequence_of(tried: Sequence[Tried]) -> list[Tried]:
    """What is worth a test, from the best and dearest to the cheapest."""
    by_name = {f"{len(t.candidate.row):02d} {t.candidate.name}": t for t in reversed(tried)}
    ordered = front(
        sorted(by_name),
        {name: t.cost for name, t in by_name.items()},
        {name: t.quality for name, t in by_name.items()},
    )
    return [by_name[name] for name in ordered]


def front(
    names: Sequence[str], cost: Mapping[str, float], quality: Mapping[str, float]
) -> list[str]:
    """The frontier of quality and cost, downward: what nothing cheaper equals.

    Of several that cost the same, the best; of equals, the first named.
    """
    found: list[str] = []
    for name in sorted(names, key=lambda n: (cost[n], -quality[n])):
        if not found or quality[name] > quality[found[-1]] + 1e-12:
            found.append(name)
    return found[::-1]
