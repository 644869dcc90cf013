"""From a run to a proposal: candidates chosen on one half of the cases, certified on the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.fitting import fit_calibration
from consensus.benchmark.proposals.candidates import (
    Candidate,
    choice_of,
    search,
    short,
    single,
    table_with,
)
from consensus.benchmark.proposals.figures import (
    figures_of,
    money,
    percent,
    profile_of,
    typical,
)
from consensus.benchmark.proposals.filling import Filled, fill
from consensus.benchmark.proposals.identity import oracle_sha256, prompts_sha256, suite_sha256
from consensus.benchmark.proposals.mixtures import Arm, mixtures
from consensus.benchmark.proposals.model import Figures, Measured, Proposal, RowProposal
from consensus.benchmark.proposals.recording import (
    USUAL_OPTIONS,
    Recording,
    policy_names,
    recording_of,
    task_types,
    type_name,
)
from consensus.benchmark.proposals.serving import NotRecordedError, Served, serve
from consensus.benchmark.recorded import load_run
from consensus.benchmark.run_format import RecordedRun
from consensus.errors import ConsensusError, DataError
from consensus.models.factory import provider_of
from consensus.models.prices import PriceBook
from consensus.orchestrators.calibration import Calibration
from consensus.panel.book import PromptBook
from consensus.policy.audit.model import Audit
from consensus.policy.certificate import Certificate, CertifiedPrice, Parity
from consensus.policy.certifying import Evidence, Ruling, certify, evidence_of, route_sha256
from consensus.policy.consequences import Bars, bar_of
from consensus.policy.route import route_type
from consensus.policy.table import PolicyTable
from consensus.statistics import cases_for_parity, parity

__all__ = ["ProposalSettings", "front", "propose"]

Ints = NDArray[np.int64]

Namer = Callable[[Sequence[Recording], PolicyTable], Mapping[str, Sequence[Candidate]]]
"""Names candidates in place of the search: task type → candidates."""

PANEL_MODELS = 4
"""Models that panels and cascades are made of; every model is tried alone."""

STACK_CASES = 100
"""Calibration cases from which on a logit is fitted; below, blocks, which have fewer numbers."""


@dataclass(frozen=True)
class ProposalSettings:
    """What to look for.

    Attributes:
        frontier: the model that everything is compared with, by the policy's name; None: the
            policy's tier "frontier" if the run has it, else the dearest model.
        seed: of the halves: a case calibrates by sha256(SEED:case_id).
        names: recorded name → the policy's, for models and options.
        models: only these; None: all of the run.
        types: only these task types; None: all.
        variant: of recordings of other prompts.
        grid: Learn-then-Test over all candidates in place of the fixed sequence.
        by: who names candidates; ``search`` unless a ``namer`` does.
        today: the certificates' date.
    """

    today: date
    frontier: str | None = None
    seed: int = 0
    names: Mapping[str, str] = field(default_factory=dict)
    models: tuple[str, ...] | None = None
    types: tuple[str, ...] | None = None
    variant: str | None = None
    grid: bool = False
    by: str = "search"
    namer: Namer | None = None


@dataclass(frozen=True)
class _Tried:
    """A candidate that could be measured."""

    candidate: Candidate
    table: PolicyTable
    served: Served
    cost: float
    """Mean on the calibration half, in dollars; calls where no price is known."""
    quality: float


@dataclass(frozen=True)
class _Type:
    """One task type's run, split in two."""

    recording: Recording
    table: PolicyTable
    filled: Filled
    book: PromptBook
    prices: PriceBook
    frontier: str
    bar: Bars
    learn: Ints
    test: Ints
    priced: bool
    latency_need_s: float | None


def propose(
    folder: str | Path,
    table: PolicyTable,
    settings: ProposalSettings,
    *,
    book: PromptBook,
    audit: Audit | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Proposal:
    """Propose a row for every task type of a run.

    Args:
        folder: a run of ``consensus bench``, or a folder of recorded answers.
        table: the policy in force; its rows say what stays.
        settings: see :class:`ProposalSettings`.
        book: the project's prompts.
        audit: volumes, and consequences of task types without a row.
        progress: told what is being done.

    Raises:
        DataError: the run cannot be read, or has nothing of what was asked for.
    """
    path = Path(folder)
    run = load_run(path)
    prices = PriceBook(overrides=table.price_overrides())
    skipped: dict[str, str] = {}
    recordings = _recordings(run, path, table, settings, book, prices, skipped)
    named: Mapping[str, Sequence[Candidate]] | None = None
    if settings.namer is not None:
        named = settings.namer(recordings, table)
    rows = []
    frontier = ""
    notes = _notes(run, path)
    for recording in recordings:
        name = recording.task_type
        progress(f"{name}: {len(recording):,} cases, {len(recording.models)} models")
        try:
            left = _left_out(recording)
            if left:
                notes.append(f"{name}: {left}")
            frontier = _frontier(recording, table, settings)
            known, unpriced = _comparable(recording, frontier)
            if unpriced:
                notes.append(f"{name}: no known price, left out: {', '.join(unpriced)}")
            split = _split(known, path, table, book, prices, frontier, settings, audit)
            given = None if named is None else named.get(name, ())
            rows.append(_propose_row(run, split, settings, audit, given, progress))
        except (DataError, NotRecordedError) as error:
            skipped[name] = str(error)
    if not rows and not skipped:
        raise DataError("has no task type to propose a row for", where=str(path))
    rows.sort(key=lambda row: (-(row.saving_usd or 0.0), -(row.monthly_volume or 0), row.task_type))
    return Proposal(
        policy=table.source,
        policy_version=table.version_hash,
        run=str(folder),
        frontier=settings.frontier or frontier,
        by=settings.by,
        seed=settings.seed,
        date=settings.today.isoformat(),
        rows=tuple(rows),
        skipped=skipped,
        notes=tuple(notes),
    )


def _notes(run: RecordedRun, path: Path) -> list[str]:
    notes = [*run.report.notes[:5]]
    if not (path / "run.json").exists():
        notes.append(
            "these answers were not made with this project's prompts: the figures are the "
            "recording's, and policy check will ask for a run of consensus bench"
        )
    return notes


def _left_out(recording: Recording) -> str:
    """That some cases have no answer of some model; empty where all have.

    Raises:
        DataError: the run is of decisions of production, so that who was asked hung on the case:
            what a cascade escalated is what its first models could not answer.
    """
    if not recording.left_out:
        return ""
    total = recording.left_out + len(recording)
    said = f"{recording.left_out:,} of {total:,} cases were not answered by every model"
    if recording.source.get("kind") == "ledger":
        raise DataError(
            f"{said}, and those that were (what was escalated, say) are no random part of "
            "production: nothing can be proposed from them",
            where=recording.name,
            fix="consensus policy refresh --labelled certifies the row that serves from all of its "
            "decisions; or --models: only those that every decision asked",
        )
    return f"{said} and are left out; the rest may not be a random part of them"


def _recordings(
    run: RecordedRun,
    path: Path,
    table: PolicyTable,
    settings: ProposalSettings,
    book: PromptBook,
    prices: PriceBook,
    skipped: dict[str, str],
) -> list[Recording]:
    found = []
    strata = {type_name(run, stratum): stratum for stratum in task_types(run)}
    for name in settings.types or ():
        if name not in strata:
            raise DataError(
                f'has no cases of type "{name}"',
                where=str(path),
                fix=f"one of {', '.join(sorted(strata))}",
            )
    for name, stratum in sorted(strata.items()):
        if settings.types is not None and name not in settings.types:
            continue
        try:
            found.append(
                recording_of(
                    run,
                    stratum,
                    folder=path,
                    book=book,
                    prices=prices,
                    names=settings.names,
                    variant=settings.variant,
                    models=settings.models,
                )
            )
        except DataError as error:
            skipped[name] = str(error)
    return found


def _frontier(recording: Recording, table: PolicyTable, settings: ProposalSettings) -> str:
    """The model to compare with: as asked, the policy's, else the dearest of the run."""
    if settings.frontier is not None:
        for name in (settings.frontier, f"recorded/{settings.frontier}"):
            if name in recording.models:
                return name
        raise DataError(
            f'"{settings.frontier}" did not answer the cases of "{recording.task_type}"',
            where="--frontier",
            fix=f"one of {', '.join(recording.models)}",
        )
    for model in table.tiers.get("frontier", ()):
        if model in recording.models:
            return model
    cost = typical(recording)
    priced = [model for model in sorted(recording.models) if math.isfinite(cost[model])]
    return max(priced or sorted(recording.models), key=lambda model: cost[model])


def _comparable(recording: Recording, frontier: str) -> tuple[Recording, list[str]]:
    """The recording without models whose price is not known, where the frontier's is."""
    cost = typical(recording)
    unpriced = [model for model in recording.models if not math.isfinite(cost[model])]
    if not unpriced or frontier in unpriced:
        return recording, []
    return recording.only([m for m in recording.models if m not in unpriced]), unpriced


def _split(
    recording: Recording,
    folder: Path,
    table: PolicyTable,
    book: PromptBook,
    prices: PriceBook,
    frontier: str,
    settings: ProposalSettings,
    audit: Audit | None,
) -> _Type:
    mask = calibration_mask(recording.case_ids, settings.seed)
    learn, test = np.flatnonzero(mask), np.flatnonzero(~mask)
    if learn.size < 2 or test.size < 2:
        raise DataError(f"{len(recording)} cases are too few to split", where=recording.name)
    name = recording.task_type
    asked = audit.tasks.get(name) if audit is not None else None
    filled = fill(table, recording, asked, folder)
    row = filled.table.tasks[name]
    if row.consequence is None:
        row = row.model_copy(update={"consequence": table.defaults.consequence})
    bar = bar_of(
        table.certificates,
        row,
        floor=asked.floor if asked is not None else None,
        delta=asked.delta if asked is not None else None,
    )
    priced = all(math.isfinite(cost) for cost in typical(recording).values())
    needs = [
        need.p95_s
        for need in (row.latency_need, asked.latency if asked is not None else None)
        if need is not None
    ]
    return _Type(
        recording,
        table,
        filled,
        book,
        prices,
        frontier,
        bar,
        learn,
        test,
        priced,
        min(needs, default=None),
    )


# -- one task type ---------------------------------------------------------------------------------


def _propose_row(
    run: RecordedRun,
    split: _Type,
    settings: ProposalSettings,
    audit: Audit | None,
    named: Sequence[Candidate] | None,
    progress: Callable[[str], None],
) -> RowProposal:
    recording, table = split.recording, split.table
    left_out: list[Measured] = []
    plain = single(recording, split.frontier)
    top = _try(split, plain)
    row = table.tasks.get(recording.task_type)
    now: _Tried | None = None
    tried = [top]
    if row is not None:
        current = Candidate("the row in force", choice_of(row), source="current")
        try:
            now = _try(split, current)
            tried.append(now)
        except (NotRecordedError, ConsensusError) as error:
            left_out.append(Measured(name=current.name, source="current", row=dict(current.row),
                                     left_out=_line(error)))  # fmt: skip
    candidates = named if named is not None else list(_searched(run, split, settings))
    for candidate in candidates:
        if candidate.row == plain.row:
            continue
        try:
            tried.append(_try(split, candidate))
        except (NotRecordedError, ConsensusError, ValueError) as error:
            left_out.append(Measured(name=candidate.name, source=candidate.source,
                                     row=dict(candidate.row), left_out=_line(error)))  # fmt: skip
    if named is None:
        tried += _coins(split, tried, top, progress)
    quick = _in_time(split, tried, left_out)
    sequence = _sequence(quick)
    credits_ = [t.served.credit[split.test] for t in sequence]
    cheaper = next((i for i, t in enumerate(sequence) if t.cost < top.cost), len(sequence))
    ruling = certify(credits_, split.bar, cheaper=cheaper, grid=settings.grid)
    chosen = _serving(ruling, sequence, [one for one in (now, top) if one in quick])
    return _row_proposal(
        split, settings, audit, ruling, sequence, chosen, now, top, quick, left_out
    )


def _coins(
    split: _Type, tried: Sequence[_Tried], top: _Tried, progress: Callable[[str], None]
) -> list[_Tried]:
    """Mixtures of what was measured, measured as they would be served."""
    arms = [Arm(t.candidate, t.served.credit[split.learn], t.cost) for t in tried]
    beside = Arm(top.candidate, top.served.credit[split.learn], top.cost)
    found = []
    name = split.recording.task_type
    for candidate in mixtures(name, arms, beside, split.bar, split.test.size):
        progress(f"{name}: {candidate.name}")
        found.append(_try(split, candidate))
    return found


def _in_time(split: _Type, tried: Sequence[_Tried], left_out: list[Measured]) -> list[_Tried]:
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


def _line(error: Exception) -> str:
    return str(error).splitlines()[0][:300]


def _try(split: _Type, candidate: Candidate) -> _Tried:
    """Measure one candidate on all cases.

    Raises:
        NotRecordedError: the run does not hold what it would ask.
    """
    table = table_with(split.filled.table, split.recording, candidate)
    served = serve(split.recording, table, split.book)
    cost = served.usd if split.priced else served.calls
    return _Tried(
        candidate,
        table,
        served,
        float(cost[split.learn].mean()),
        float(served.credit[split.learn].mean()),
    )


def _searched(run: RecordedRun, split: _Type, settings: ProposalSettings) -> list[Candidate]:
    recording = split.recording
    cost = typical(recording) if split.priced else dict.fromkeys(recording.models, 1.0)
    keep = _worth_a_seat(split, cost)
    fitted = []
    for models in _stacks(keep, split.frontier):
        calibration = _fit(run, split, settings, models)
        if calibration is not None:
            fitted.append((models, calibration))
    return list(search(recording, cost, split.frontier, keep=keep, fitted=fitted))


def _worth_a_seat(split: _Type, cost: Mapping[str, float]) -> list[str]:
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


def _family(split: _Type) -> Literal["scores", "stacked", "blocks"]:
    if split.recording.asked_for_scores:
        return "scores"
    return "stacked" if split.learn.size >= STACK_CASES else "blocks"


def _fit(
    run: RecordedRun, split: _Type, settings: ProposalSettings, models: Sequence[str]
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


def _sequence(tried: Sequence[_Tried]) -> list[_Tried]:
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


def _serving(ruling: Ruling, sequence: Sequence[_Tried], fast: Sequence[_Tried]) -> _Tried:
    """Who serves: the route ruled for; uncertifiable: the row in force; failed: the frontier.

    Args:
        ruling: of the sequence.
        sequence: the best and dearest first.
        fast: of the row in force and the frontier, in this order, what callers can wait for; the
            best of the rest where that is neither.
    """
    if ruling.chosen is not None:
        return sequence[ruling.chosen]
    if not fast:
        return sequence[0]
    return fast[0] if ruling.status == "uncertifiable" else fast[-1]


def _row_proposal(
    split: _Type,
    settings: ProposalSettings,
    audit: Audit | None,
    ruling: Ruling,
    sequence: Sequence[_Tried],
    chosen: _Tried,
    now: _Tried | None,
    top: _Tried,
    tried: Sequence[_Tried],
    left_out: Sequence[Measured],
) -> RowProposal:
    recording, table, test = split.recording, split.table, split.test
    name = recording.task_type
    evidence = evidence_of(chosen.served.credit[test], split.bar)
    hoped = ruling.evidence[ruling.hoped] if ruling.hoped is not None else None
    needs = evidence.needs if ruling.chosen is not None or hoped is None else hoped.needs
    against = _parity(split, chosen, top)
    certificate = _certificate(split, settings, ruling, chosen, evidence, needs, against)
    new = _with_latencies(split, chosen)
    if ruling.status == "provisional":
        new["shadow"] = {"share": table.certificates.shadow_share, "route": split.frontier}
    old_row = table.tasks.get(name)
    expected = figures_of(chosen.served.take(test), priced=split.priced)
    before = None if now is None else figures_of(now.served.take(test), priced=split.priced)
    frontier = figures_of(top.served.take(test), priced=split.priced)
    asked = audit.tasks.get(name) if audit is not None else None
    volume = asked.monthly_volume if asked is not None else None
    base = before or frontier
    saving = None
    if volume is not None and base.usd is not None and expected.usd is not None:
        saving = volume * (base.usd - expected.usd)
    fitted = chosen.candidate.fitted
    old = None
    if old_row is not None:
        old = choice_of(old_row)
        if old_row.shadow is not None and "shadow" in new:
            old["shadow"] = old_row.shadow.model_dump(mode="json")
    profile = None
    if split.priced:
        agreed = chosen.served.agreement(top.served, recording.tasks)[test]
        profile = profile_of(chosen.served.take(test), top.served.take(test), agreed)
    return RowProposal(
        task_type=name,
        kind=recording.kind,
        consequence=asked.consequence if asked is not None else None,
        status=ruling.status,
        old=old,
        new=new,
        why=tuple(_why(split, ruling, sequence, chosen, top, evidence, needs, against)),
        certificate=certificate,
        profile=profile,
        expected=expected,
        before=before,
        frontier=frontier,
        candidates=(*_measured(split, tried), *left_out),
        monthly_volume=volume,
        saving_usd=saving,
        calibration_file=None if fitted is None else str(chosen.candidate.row["calibration"]),
        calibration=None if fitted is None else fitted.model_dump(mode="json"),
        strategies={k: dict(v) for k, v in chosen.candidate.strategies.items()},
        given=dict(split.filled.keys),
        oracles={k: dict(v) for k, v in split.filled.oracles.items()},
        oracle_files=dict(split.filled.files),
        servable=_servable(chosen.table, name, split.prices) or _late(split, expected),
    )  # fmt: skip


def _measured(split: _Type, tried: Sequence[_Tried]) -> list[Measured]:
    return [
        Measured(
            name=one.candidate.name,
            source=one.candidate.source,
            row=dict(one.candidate.row),
            calibration=figures_of(one.served.take(split.learn), priced=split.priced),
            evaluation=figures_of(one.served.take(split.test), priced=split.priced),
        )
        for one in sorted(tried, key=lambda t: (t.cost, -t.quality, t.candidate.name))
    ]


def _with_latencies(split: _Type, chosen: _Tried) -> dict[str, Any]:
    """A candidate's row; a cascade's with the p95 of each step, by which a check goes.

    Not where their sum is more than callers have: most tasks do not take every step, so the
    profile's own percentile of whole decisions is what then counts.
    """
    row = dict(chosen.candidate.row)
    steps = chosen.served.take(split.test).step_p95_s()
    plain = chosen.table.tasks[split.recording.task_type].when is None
    in_time = split.latency_need_s is None or sum(steps) <= split.latency_need_s
    if plain and in_time and steps and row.get("strategy") == "cascade" and "cascade" in row:
        row["cascade"] = {**row["cascade"], "p95_s": [_seconds(step) for step in steps]}
    return row


def _seconds(value: float) -> float:
    """Three significant digits, at least a millisecond."""
    return max(0.001, float(f"{value:.3g}"))


def _late(split: _Type, expected: Figures) -> str:
    """Why what was fast enough on the calibration half is not on the other; "" where it is."""
    need, found = split.latency_need_s, expected.latency_p95_s
    if need is None or found is None or found <= need:
        return ""
    return f"its p95 is {found:.2f} s on the evaluation half, and its callers have {need:g} s"


def _servable(table: PolicyTable, task_type: str, prices: PriceBook) -> str:
    """Why a strict load would refuse the row; "" where it would not."""
    for model in route_type(table, task_type).models:
        try:
            provider_of(model)
            prices.price(model)
        except ConsensusError as error:
            return (
                f"{model}: {_line(error)}; name it as the policy does: --as {model}=PROVIDER/MODEL"
            )
    return ""


def _parity(split: _Type, chosen: _Tried, top: _Tried) -> Parity | None:
    ours, theirs = chosen.served.credit[split.test], top.served.credit[split.test]
    margin = split.table.certificates.parity_margin
    found = parity(ours, theirs, epsilon=margin, alpha=split.bar.delta)
    needs = found.more_cases or 0
    if found.more_cases is None and not found.passes:
        variance = max(float(np.var(ours - theirs)), 1 / (ours.size + 1))
        wanted = cases_for_parity(variance, epsilon=margin, alpha=split.bar.delta)
        needs = max(0, (wanted or 0) - ours.size)
    return Parity(
        frontier=split.frontier,
        n=int(ours.size),
        difference=_round(found.difference),
        lower=_round(found.lower),
        margin=margin,
        needs=needs,
    )


def _certificate(
    split: _Type,
    settings: ProposalSettings,
    ruling: Ruling,
    chosen: _Tried,
    evidence: Evidence,
    needs: int,
    against: Parity | None,
) -> Certificate:
    recording, bar = split.recording, split.bar
    models = route_type(chosen.table, recording.task_type).models
    served = {model: names for model, names in recording.served.items() if model in models}
    prices = {}
    for model in models:
        if split.prices.knows(model):
            rates = split.prices.price(model).per_million()
            prices[model] = CertifiedPrice(input=rates["input"], output=rates["output"])
    bound = _round(evidence.bound)
    if evidence.bound >= bar.floor > bound:
        bound = evidence.bound
    return Certificate(
        status=ruling.status,
        n=evidence.n,
        passes=_round(evidence.passes),
        bound=bound,
        floor=bar.floor,
        delta=bar.delta,
        needs=0 if ruling.status in ("certified", "failed") else needs,
        method=evidence.method + (", learn-then-test" if settings.grid else ""),
        route=route_sha256(chosen.table, recording.task_type),
        oracle=oracle_sha256(recording),
        prompts=prompts_sha256(recording),
        suite=suite_sha256(recording),
        served=served,
        prices=prices,
        parity=against,
        run=recording.name,
        date=settings.today,
        max_age_days=split.table.certificates.max_age_days,
    )


def _round(value: float) -> float:
    return round(value, 6)


# -- in words --------------------------------------------------------------------------------------


def _why(
    split: _Type,
    ruling: Ruling,
    sequence: Sequence[_Tried],
    chosen: _Tried,
    top: _Tried,
    evidence: Evidence,
    needs: int,
    against: Parity | None,
) -> list[str]:
    bar = split.bar
    stand = (
        f"{chosen.candidate.name}: {evidence.passes:g} of {evidence.n:,} acceptable on the "
        f"evaluation half, lower bound {percent(evidence.bound)} at δ = {bar.delta:g}"
    )
    said = []
    if ruling.status == "certified":
        said.append(f"{stand}: clears the floor of {percent(bar.floor)}")
    elif ruling.status == "provisional":
        said.append(
            f"{stand}: below the floor of {percent(bar.floor)}, above {percent(bar.provisional)}; "
            f"it serves with a shadow share of {percent(split.table.certificates.shadow_share)}"
        )
    elif ruling.status == "uncertifiable":
        who = sequence[ruling.hoped].candidate.name if ruling.hoped is not None else "no route"
        said.append(
            f"nothing clears the floor of {percent(bar.floor)} on {evidence.n:,} cases; {who} "
            f"needs about {needs:,} more evaluation cases ({2 * needs:,} more in the run)"
        )
        said.append(f"until then: {stand}")
    else:
        who = "the frontier" if chosen is top else chosen.candidate.name
        said.append(
            f"no route can clear the floor of {percent(bar.floor)} at the rates seen: "
            f"{who} serves, and a person should look at the oracle or the floor"
        )
        said.append(stand)
    if ruling.chosen is not None and ruling.chosen + 1 < len(sequence):
        after = sequence[ruling.chosen + 1]
        failed = ruling.evidence[ruling.chosen + 1]
        said.append(
            f"the next cheaper one did not: {after.candidate.name}, {failed.passes:g} of "
            f"{failed.n:,}, bound {percent(failed.bound)}"
        )
    if chosen is not top:
        said += _beside_the_frontier(split, chosen, top, against)
    said += split.filled.notes
    return said


def _beside_the_frontier(
    split: _Type, chosen: _Tried, top: _Tried, against: Parity | None
) -> list[str]:
    said = []
    if against is not None:
        shown = "parity is shown" if against.shown else (
            f"parity is not shown (needs about {against.needs:,} more cases)"
            if against.needs
            else "parity is not shown"
        )  # fmt: skip
        said.append(
            f"against one call of {short(split.frontier)}: {100 * against.difference:+.1f} points "
            f"(at least {100 * against.lower:+.1f}); {shown} within {100 * against.margin:g}"
        )
    ours, theirs = (
        float((t.served.usd if split.priced else t.served.calls)[split.test].mean())
        for t in (chosen, top)
    )
    said.append(f"{money(ours, priced=split.priced)} a decision, "
                f"the frontier {money(theirs, priced=split.priced)}")  # fmt: skip
    return said
