"""The comparison of stopping rules on recorded samples, as a section of the study's Markdown.

One model at a time answers the same cases up to eight times; every rule sees the same samples in
the same resampled orders, one ballot after the other. Levels are chosen on the calibration half,
figures come from the other half, means over the splits; intervals resample cases in pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation.stopping import wald_bound
from consensus.benchmark.evidence import (
    Evidence,
    calibration_mask,
    complete_cases,
    evidence_of,
    resolve_members,
)
from consensus.benchmark.measure import measure
from consensus.benchmark.replay_settings import ReplaySettings
from consensus.benchmark.replay_strategies import make_strategy
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.stopping_strategy import PREFIX, parse_stopping
from consensus.benchmark.strategy import Strategy
from consensus.benchmark.studies.declared import command_of
from consensus.statistics import BootstrapResult, bootstrap_ratio

__all__ = ["RB2_STOPPING", "Compared", "Pooled", "StoppingPlan", "compare", "render_stopping"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class StoppingPlan:
    """What is compared.

    Attributes:
        folder: of the data set.
        models: each on its own.
        variant: the prompt.
        seats: N, all that may be asked.
        rules: (label, strategy) of each row.
        reference: the strategy that the others are held against, call by call.
        budget: (strategy, calls): the claim on the gain kept.
        rival: strategies of the claim on calls at the reference's accuracy.
        margin: the loss that counts as the same accuracy, as a share.
        splits, draws: halves, and sample orders of each.
    """

    folder: str
    models: tuple[str, ...]
    variant: str
    seats: int
    rules: tuple[tuple[str, str], ...]
    reference: str
    budget: tuple[str, float]
    rival: tuple[str, ...]
    margin: float = 0.005
    splits: int = 20
    draws: int = 16

    def settings(self, model: str, strategy: str, seats: int | None = None) -> ReplaySettings:
        """The replay of one row: against one pass of the same model."""
        return ReplaySettings(
            model,
            (model,),
            strategy,
            seats=self.seats if seats is None else seats,
            variant=self.variant,
            complete=True,
            calibrate=True,
            splits=self.splits,
            draws=self.draws,
        )


@dataclass(frozen=True)
class Pooled:
    """A strategy on the held-out cases of all splits.

    Attributes:
        credit: (n,) credit of each case over n of its split, summed over the splits.
        calls: (n,) the same of calls.
    """

    credit: Floats
    calls: Floats


@dataclass(frozen=True)
class Compared:
    """One model's figures.

    Attributes:
        model: its name.
        cases: on which.
        options: how many each has.
        weight: (n,) 1/n of each split that held the case out, summed.
        fixed: strategy name → N → figures, for ``vote`` and ``scores``.
        rules: strategy → figures.
    """

    model: str
    cases: int
    options: int
    weight: Floats
    fixed: dict[str, dict[int, Pooled]]
    rules: dict[str, Pooled]

    def value(self, values: Floats) -> float:
        """The mean over splits of a pooled column."""
        return float(values.sum() / self.weight.sum())

    def mean(self, values: Floats) -> BootstrapResult:
        """The same with an interval over cases."""
        return bootstrap_ratio(values, self.weight)

    def gain_kept(self, pooled: Pooled) -> BootstrapResult:
        """Share of the gain of all N votes over one ballot."""
        votes = self.fixed["vote"]
        first, whole = votes[min(votes)].credit, votes[max(votes)].credit
        return bootstrap_ratio(pooled.credit - first, whole - first)


def compare(run: RecordedRun, model: str, plan: StoppingPlan) -> Compared:
    """Measure every rule of the plan for one model."""
    members = resolve_members(run, [model], plan.variant)[model]
    part = run.take_cases(np.flatnonzero(complete_cases(run, members)))
    evidence = evidence_of(part, members)
    masks = [calibration_mask(evidence.case_ids, seed) for seed in range(plan.splits)]
    weight = np.sum([~mask / (~mask).sum() for mask in masks], axis=0)
    used = weight > 0

    def pooled(strategy: Strategy) -> Pooled:
        credit, calls = _pool(strategy, evidence, masks, plan.draws)
        return Pooled(credit[used], calls[used])

    fixed = {
        name: {n: pooled(make_strategy(name, n)) for n in range(1, plan.seats + 1)}
        for name in ("vote", "scores")
    }
    rules = {spec: pooled(parse_stopping(spec, plan.seats)) for _, spec in plan.rules}
    options = round(float(evidence.valid.sum(axis=1).mean()))
    return Compared(model, len(evidence), options, weight[used], fixed, rules)


def _pool(
    strategy: Strategy, evidence: Evidence, masks: Sequence[NDArray[np.bool_]], draws: int
) -> tuple[Floats, Floats]:
    """Sums over splits of credit/n and calls/n of each case that was held out."""
    credit, calls = np.zeros(len(evidence)), np.zeros(len(evidence))
    whole = measure(strategy, evidence, draws=draws) if strategy.fitted else None
    for mask in masks:
        rows = np.flatnonzero(~mask)
        if whole is None:
            fitted = strategy.fit(evidence.take(np.flatnonzero(mask)))
            found = measure(fitted, evidence.take(rows), draws=draws)
        else:
            found = whole.take(rows)
        credit[rows] += found.credit / len(rows)
        calls[rows] += found.calls / len(rows)
    return credit, calls


def render_stopping(run: RecordedRun, plan: StoppingPlan) -> str:
    """Measure the plan on a run, and write its section."""
    results = [compare(run, model, plan) for model in plan.models]
    numbers: list[str] = []
    parts = [
        "## Stopping early, on the same samples",
        _intro(plan),
        _fixed(results, plan),
        *(_rules(result, plan, numbers) for result in results),
        _claims(results, plan),
        _floor(results, plan),
    ]
    lines = "\n".join(f"{i}. `{command}`" for i, command in enumerate(numbers, 1))
    parts.append(f"<details><summary>Commands</summary>\n\n{lines}\n\n</details>")
    return "\n\n".join(parts)


_FORMS = (
    "The forms of the lead rules were chosen after looking at all of these cases; only a lead's "
    "spread and its level are fitted on the calibration half."
)


def _intro(plan: StoppingPlan) -> str:
    return (
        f"One model at a time, up to {plan.seats} answers a case, one after the other, in "
        f"{plan.draws} resampled orders. Levels are chosen on one half of the cases, figures are "
        f"from the other, means over {plan.splits} splits; 95 % intervals resample cases, in pairs "
        "for differences. **kept**: share of what a plurality of all "
        f"{plan.seats} gains over one answer. Rules decide by plurality; *score lead* by the sum "
        "of scores, *score and vote lead* by that with half a point for each first place. "
        "`calls=4` spends at most four answers a case on the calibration half, `same=0.99` decides "
        f"as all {plan.seats} would on 99 % of it: neither looks at a label. {_FORMS}"
    )


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _fixed(results: Sequence[Compared], plan: StoppingPlan) -> str:
    sizes = range(1, plan.seats + 1)
    rows = []
    for result in results:
        for name, label in (("vote", "plurality"), ("scores", "mean score")):
            values = [result.value(result.fixed[name][n].credit) for n in sizes]
            rows.append([result.model, label, *(f"{value:.3f}" for value in values)])
    head = ["model", "decided by", *(f"N = {n}" for n in sizes)]
    return "### A fixed number of answers\n\n" + _grid(head, rows)


def _rules(result: Compared, plan: StoppingPlan, numbers: list[str]) -> str:
    reference = result.rules[plan.reference]
    rows = []
    for label, spec in plan.rules:
        numbers.append(command_of(plan.folder, plan.settings(result.model, spec)))
        found = result.rules[spec]
        kept = result.gain_kept(found)
        right = result.mean(found.credit - reference.credit)
        calls = result.mean(found.calls - reference.calls)
        rows.append(
            [
                str(len(numbers)),
                label,
                f"`{spec.removeprefix(PREFIX)}`",
                f"{result.value(found.calls):.2f}",
                f"{result.value(found.credit):.3f}",
                _span(kept, 1.0, "{:.2f}"),
                "–" if spec == plan.reference else _span(calls, 1.0, "{:+.2f}"),
                "–" if spec == plan.reference else _span(right, 100.0, "{:+.1f}"),
            ]
        )
    head = ["#", "rule", "asked for as", "calls", "accuracy", "kept (95 %)"]
    head += ["calls, to Adaptive-Consistency (95 %)", "points, to it (95 %)"]
    return f"### {result.model}, {result.cases} cases\n\n" + _grid(head, rows)


def _span(found: BootstrapResult, scale: float, form: str) -> str:
    value, low, high = (scale * x for x in (found.estimate, *found.interval))
    return f"{form.format(value)} ({form.format(low)} to {form.format(high)})"


def _claims(results: Sequence[Compared], plan: StoppingPlan) -> str:
    spec, budget = plan.budget
    lines = []
    for result in results:
        found = result.rules[spec]
        kept, calls = result.gain_kept(found), result.value(found.calls)
        holds = kept.estimate >= 0.95 and calls <= budget
        wide = kept.interval.low < 0.95 and holds
        lines.append(
            f"- {result.model}: `{spec.removeprefix(PREFIX)}` keeps {_span(kept, 100, '{:.0f}')} % "
            f"of the gain at {calls:.2f} answers a case: at least 95 % at {budget:g} or fewer "
            f"**{'holds' if holds else 'does not hold'}**"
            f"{' in the mean, and the interval reaches below' if wide else ''}."
        )
        for rival in plan.rival:
            ours, theirs = result.rules[rival], result.rules[plan.reference]
            right = result.mean(ours.credit - theirs.credit)
            fewer = result.mean(ours.calls - theirs.calls)
            same = right.interval.low >= -plan.margin
            less = fewer.interval.high < 0
            lines.append(
                f"- {result.model}: `{rival.removeprefix(PREFIX)}` asks "
                f"{_span(fewer, 1, '{:+.2f}')} answers against Adaptive-Consistency as published, "
                f"at {_span(right, 100, '{:+.2f}')} points: fewer at the same accuracy (within "
                f"{100 * plan.margin:g} point) **{'holds' if same and less else 'does not hold'}**."
            )
    lines += _waved(results)
    return (
        "### What holds\n\nBy rule, from the rows above. Adaptive-Consistency is held at its "
        "published level (0.95); with a level chosen in the same way as the others' it is the row "
        "of its own beside them.\n\n" + "\n".join(lines)
    )


def _waved(results: Sequence[Compared]) -> list[str]:
    """What waves keep less of the gain than one answer at a time, as the tables show it."""
    lines = []
    for spec in results[0].rules:
        base = spec.partition(",waves=")[0]
        if base == spec or base not in results[0].rules:
            continue
        shown = [
            tuple(round(r.gain_kept(r.rules[name]).estimate, 2) for name in (base, spec))
            for r in results
        ]
        less = sorted(round(one - waved, 2) for one, waved in shown if one > waved)
        if less:
            lines.append(
                f"- In waves `{spec.removeprefix(PREFIX)}` keeps {less[0]:.2f} to {less[-1]:.2f} "
                f"less of the gain than `{base.removeprefix(PREFIX)}` on {len(less)} of "
                f"{len(results)} models."
            )
    return lines


def _floor(results: Sequence[Compared], plan: StoppingPlan) -> str:
    rows = []
    for result in results:
        one = result.value(result.fixed["vote"][1].credit)
        whole = result.value(result.fixed["vote"][plan.seats].credit)
        bounds = [wald_bound(one, result.options, error) for error in (1 - whole, 0.05, 0.01)]
        rows.append([result.model, f"{one:.3f}", f"{whole:.3f}", *(f"{b:.2f}" for b in bounds)])
    head = ["model", "one answer", f"plurality of {plan.seats}"]
    head += ["bound at its error", "at 5 % error", "at 1 %"]
    return (
        "### Wald's bound\n\nThe fewest answers on average with which any test could reach an "
        "error if a model's answers were independent and equally good on every case. They are not: "
        f"with independent answers a handful would do for 5 %, and all {plan.seats} leave several "
        "times that, because samples of one model err together and more of them do not mend it. "
        "Where the bound lies below one answer, at the error that is really reached, it says "
        "nothing.\n\n" + _grid(head, rows)
    )


RB2_STOPPING = StoppingPlan(
    "rb2_judges_dev",
    ("gpt-5.4-nano", "gpt-5.4-mini", "gpt-5.4", "claude-haiku-4.5", "claude-sonnet-4.6"),
    "base",
    8,
    (
        ("Adaptive-Consistency, as published", "adaptive:beta:level=0.95"),
        ("cannot be caught", "adaptive:certain"),
        ("ESC, window 3", "adaptive:esc:level=3"),
        ("ESC, window 4", "adaptive:esc:level=4"),
        ("SPRT (ConSol)", "adaptive:sprt:level=0.95"),
        ("mixture SPRT (ConSol)", "adaptive:mixture:level=0.95"),
        ("Adaptive-Consistency", "adaptive:beta:calls=4"),
        ("ahead by k", "adaptive:ahead:calls=4"),
        ("block posterior's odds", "adaptive:odds:calls=4"),
        ("prior per task type", "adaptive:prior:calls=4"),
        ("value of a ballot", "adaptive:value:calls=4"),
        ("vote lead", "adaptive:votes:calls=4"),
        ("score lead", "adaptive:scores:calls=4"),
        ("score and vote lead", "adaptive:both:calls=4"),
        ("the same in waves of 3, 2, 2, 1", "adaptive:both:calls=4,waves=3+2"),
        ("Adaptive-Consistency", "adaptive:beta:same=0.99"),
        ("prior per task type", "adaptive:prior:same=0.99"),
        ("vote lead", "adaptive:votes:same=0.99"),
        ("score and vote lead", "adaptive:both:same=0.99"),
    ),
    "adaptive:beta:level=0.95",
    ("adaptive:both:calls=4", 4.0),
    ("adaptive:votes:same=0.99", "adaptive:both:same=0.99"),
)
"""The comparison on the recorded judges."""
