"""Replay: any strategy over recorded answers, at no cost, against one pass of a frontier model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes
from consensus.benchmark.auto import Auto, Goal, Stack, parse_goal
from consensus.benchmark.controls import control_figures, oracle_credit
from consensus.benchmark.evidence import (
    Evidence,
    calibration_mask,
    complete_cases,
    evidence_of,
    resolve_members,
)
from consensus.benchmark.measure import Measured, figures, measure, measure_single
from consensus.benchmark.replay_debate import debate_figures
from consensus.benchmark.replay_strategies import Strategy, Vote, make_strategy
from consensus.benchmark.run_format import Member, RecordedRun
from consensus.benchmark.stopping_strategy import PREFIX, parse_stopping
from consensus.benchmark.verdict import Verdict, verdict
from consensus.errors import DataError
from consensus.statistics import Interval, bootstrap_ratio, mean_interval

__all__ = ["Replay", "ReplaySettings", "accuracy_by_seats", "replay", "sweep_votes"]

Objective = Literal["accuracy", "balanced"]


@dataclass(frozen=True)
class ReplaySettings:
    """What to replay.

    Attributes:
        frontier: the model that the strategy is compared with, one pass of it.
        panel: the models that have seats.
        strategy: its name.
        seats: all seats, members in turn, samples in turn; None: one a member (for ``auto``: as
            many as it finds worth asking).
        variant: prompt or method; None: the one that the models share (see ``resolve_members``).
        complete: only cases that every model named has answered in full.
        sample: only this sample of every model.
        goal: for ``auto``: ``parity``, ``quality`` or ``budget:RATIO``.
        calibrate: learn on a half of the cases and report on the other.
        splits: how many such halves; figures are means over them.
        split_seed: the first split's seed.
        draws: random sample orders where not all samples are used.
        seed: of sample orders and intervals.
        objective: for ``auto``: accuracy, or the mean over the labels of the accuracy on each;
            None: balanced for approvals, where the labels are what matters and not how common
            they are here.
        epsilon: the loss that still counts as parity in the verdict, as a share.
    """

    frontier: str
    panel: tuple[str, ...]
    strategy: str = "vote"
    seats: int | None = None
    variant: str | None = None
    complete: bool = False
    sample: int | None = None
    goal: str | None = None
    calibrate: bool = False
    splits: int = 1
    split_seed: int = 0
    draws: int = 64
    seed: int = 0
    objective: Objective | None = None
    epsilon: float = 0.01


@dataclass(frozen=True)
class Replay:
    """A replay's figures.

    Attributes:
        figures: every key of the published output.
        verdict: the ruling and its sentence.
        notes: what a reader must know: cases left out, what was assumed.
    """

    figures: dict[str, Any]
    verdict: Verdict
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """The published output, with the verdict and the notes."""
        return {
            **self.figures,
            "verdict": {
                "ruling": self.verdict.ruling,
                "sentence": self.verdict.sentence,
                "more_cases": self.verdict.more_cases,
            },
            "notes": list(self.notes),
        }


@dataclass(frozen=True)
class _Setting:
    """A run, reduced to what one replay needs."""

    panel: Evidence
    frontier: Evidence
    singles: Mapping[str, Measured]
    panel_names: tuple[str, ...]
    frontier_measured: Measured
    majority: Measured
    oracle: NDArray[np.float64]
    kind: str


def replay(run: RecordedRun, settings: ReplaySettings) -> Replay:
    """Replay one strategy.

    Raises:
        DataError: for a model, variant, sample, strategy or goal that cannot be had, and where a
            strategy that learns is given nothing to learn from.
    """
    _check(settings)
    found = resolve_members(run, [settings.frontier, *settings.panel], settings.variant)
    members = _panel_members(found, settings.panel)
    notes = [*run.report.notes[:5]]
    cases = _cases(run, found, settings, members)
    part = run.take_cases(cases)
    setting = _prepare(part, members, found[settings.frontier], settings)
    strategy = _strategy(settings, setting)
    if strategy.name == "single" and len({m.model for m in members}) > 1:
        raise DataError(
            f"single is one model, {len(settings.panel)} are named", where="--panel", fix="name one"
        )
    rows, chosen = _evaluate(strategy, setting, settings)
    result = _pool(rows, len(cases), settings)
    result["chosen"] = _join_choices(chosen) if strategy.name == "auto" else None
    if any(not np.isfinite(m.cost.mean()) for m in setting.singles.values()):
        unpriced = sorted(n for n, m in setting.singles.items() if not np.isfinite(m.cost.mean()))
        notes.append(f"no known cost: {', '.join(unpriced)}")
    learned = chosen[0] if len(chosen) == 1 else strategy.describe()
    result["strategy"] = learned if strategy.name != "auto" else {"strategy": "auto"}
    result["members"] = [member.name for member in members]
    result["frontier"] = [member.name for member in found[settings.frontier]]
    if strategy.name == "debate":
        result["debate"] = debate_figures(setting.panel, seed=settings.seed)
    interval = Interval(*result["difference_ci95"])
    ruling = verdict(
        result,
        result["controls"],
        interval,
        n=int(result["n"]),
        name=settings.strategy,
        variance=_difference_variance(rows),
        epsilon=settings.epsilon,
    )
    ratio = result["cost_ratio"]
    if strategy.name == "single" and ruling.ruling == "pays" and ratio is not None and ratio > 1:
        ruling = _against_cheaper_methods(run, settings, members[0], found, ruling)
    return Replay(result, ruling, tuple(notes))


def _against_cheaper_methods(
    run: RecordedRun,
    settings: ReplaySettings,
    own: Member,
    found: Mapping[str, tuple[Member, ...]],
    ruling: Verdict,
) -> Verdict:
    """A dearer way to ask a model pays only if no cheaper way to ask it does as much.

    Measured in pairs against every other recorded variant of the same model that answered nearly
    all of the cases, at no higher cost.
    """
    rivals = [
        member
        for member in run.members
        if member.model == own.model
        and member != own
        and member not in found[settings.frontier]
        and _asked_alike(run, own, member)
    ]
    best: tuple[float, str] | None = None
    for rival in rivals:
        pair = replace(settings, frontier=rival.name, panel=(own.name,), variant=None)
        figures = _pair(run, pair)
        low, high = figures["difference_ci95"]
        ratio = figures["cost_ratio"]
        if ratio is None or ratio < 1 or low > 0:
            continue
        said = (
            f"{rival.name} costs less and is not shown to be worse: "
            f"{100 * figures['difference']:+.1f} points to it, 95 % {100 * low:+.1f} to "
            f"{100 * high:+.1f}, at {ratio:.2f} of its cost"
        )
        best = min(best or (np.inf, ""), (figures["difference"], said))
    if best is None:
        return ruling
    stand = ruling.sentence.removeprefix("pays: ")
    return Verdict("does not pay", f"does not pay: {stand}; {best[1]}")


def _pair(run: RecordedRun, settings: ReplaySettings) -> dict[str, Any]:
    """The figures of one single against another, without a ruling."""
    found = resolve_members(run, [settings.frontier, *settings.panel])
    members = _panel_members(found, settings.panel)
    cases = _cases(run, found, settings, members)
    setting = _prepare(run.take_cases(cases), members, found[settings.frontier], settings)
    rows, _ = _evaluate(_strategy(settings, setting), setting, settings)
    return _pool(rows, len(cases), settings)


def _asked_alike(run: RecordedRun, own: Member, other: Member) -> bool:
    """Whether ``other`` was asked nine in ten of the cases that ``own`` was."""
    rows, members = run.rows, run.members
    ours = np.unique(rows.case[rows.member == members.index(own)])
    theirs = rows.case[rows.member == members.index(other)]
    return bool(np.isin(ours, theirs).mean() >= 0.9)


def _check(settings: ReplaySettings) -> None:
    if not settings.panel:
        raise DataError("names no model", where="--panel")
    if len(set(settings.panel)) < len(settings.panel):
        raise DataError("names a model twice", where="--panel", fix="use --seats for more samples")
    if settings.splits < 1:
        raise DataError("must be at least 1", where="--splits")
    if settings.splits > 1 and not settings.calibrate:
        raise DataError("several splits need a half to split off", where="--splits",
                        fix="add --calibrate half")  # fmt: skip
    if settings.strategy == "auto" and not settings.calibrate:
        raise DataError("auto chooses on labelled cases", where="--strategy",
                        fix="add --calibrate half")  # fmt: skip
    if settings.goal is not None and settings.strategy != "auto":
        raise DataError("only auto has a goal", where="--goal", fix="--strategy auto")


def _panel_members(
    found: Mapping[str, tuple[Member, ...]], panel: Sequence[str]
) -> tuple[Member, ...]:
    members: list[Member] = []
    for name in panel:
        for member in found[name]:
            if member in members:
                raise DataError(f"names {member.name} twice", where="--panel")
            members.append(member)
    return tuple(members)


def _cases(
    run: RecordedRun,
    found: Mapping[str, tuple[Member, ...]],
    settings: ReplaySettings,
    members: Sequence[Member],
) -> NDArray[np.int64]:
    named = sorted({member for group in found.values() for member in group})
    index = {member: i for i, member in enumerate(run.members)}
    if settings.complete:
        keep = complete_cases(run, named)
    else:
        # All cases that anybody answered under these variants: who is missing there has failed.
        variants = {member.variant for member in named}
        here = np.isin(
            run.rows.member, [i for member, i in index.items() if member.variant in variants]
        )
        keep = np.zeros(len(run.cases), dtype=bool)
        keep[run.rows.case[here]] = True
    if settings.sample is not None:
        wanted = np.isin(run.rows.member, [index[m] for m in (*members, *named)])
        if not (run.rows.sample[wanted] == settings.sample).any():
            most = int(run.rows.sample[wanted].max())
            raise DataError(f"no sample {settings.sample}", where="--sample", fix=f"0 to {most}")
    rows = np.flatnonzero(keep)
    if not rows.size:
        raise DataError("no case is answered by every model named", where=run.name)
    return rows


def _prepare(
    run: RecordedRun,
    members: Sequence[Member],
    frontier: Sequence[Member],
    settings: ReplaySettings,
) -> _Setting:
    panel = evidence_of(run, members, sample=settings.sample)
    top = evidence_of(run, frontier, sample=settings.sample)
    singles = {
        member.name: measure_single(panel, top, members=[m]) for m, member in enumerate(members)
    }
    for m, member in enumerate(frontier):
        singles.setdefault(member.name, measure_single(top, top, members=[m]))
    draws = min(settings.draws, 16)
    return _Setting(
        panel,
        top,
        singles,
        tuple(member.name for member in members),
        measure_single(top, top),
        measure(Vote(_vote_seats(settings, panel)), panel, draws=draws, seed=settings.seed),
        oracle_credit(panel, _vote_seats(settings, panel), draws=draws, seed=settings.seed),
        run.cases.kinds[0],
    )


def _vote_seats(settings: ReplaySettings, panel: Evidence) -> int | None:
    """Seats of the controls: the strategy's own; ``auto``'s limit may pass what is recorded."""
    if settings.strategy != "auto" or settings.seats is None:
        return settings.seats
    return min(settings.seats, len(panel.members) * int(panel.present.shape[2]))


def _strategy(settings: ReplaySettings, setting: _Setting) -> Strategy:
    if settings.strategy != "auto":
        strategy: Strategy
        if settings.strategy == "stack":
            strategy = Stack(settings.seats, _balanced(settings, setting), settings.seed)
        elif settings.strategy.startswith(PREFIX):
            strategy = parse_stopping(settings.strategy, settings.seats)
        else:
            strategy = make_strategy(settings.strategy, settings.seats)
        if not strategy.fitted and not settings.calibrate:
            raise DataError(
                f'"{settings.strategy}" learns from labelled cases',
                where="--strategy",
                fix="add --calibrate half",
            )
        return strategy
    return Auto(
        frontier=setting.frontier,
        goal=_goal(settings, setting),
        seats=settings.seats,
        balanced=_balanced(settings, setting),
        seed=settings.seed,
    )


def _goal(settings: ReplaySettings, setting: _Setting) -> Goal:
    """The goal asked for; else parity, or quality where no cost is known that could be saved."""
    if settings.goal is not None:
        return parse_goal(settings.goal)
    known = np.isfinite(setting.frontier_measured.cost.mean())
    return Goal("parity" if known else "quality")


def _balanced(settings: ReplaySettings, setting: _Setting) -> bool:
    if settings.objective is not None:
        return settings.objective == "balanced"
    return setting.kind in ("approval", "approve")


@dataclass(frozen=True)
class _Split:
    """One split's figures and per-case columns (in the run's case order)."""

    figures: dict[str, float | None]
    controls: dict[str, dict[str, Any]]
    rows: NDArray[np.int64]
    credit: NDArray[np.float64]
    base: NDArray[np.float64]
    orders: int


def _evaluate(
    strategy: Strategy, setting: _Setting, settings: ReplaySettings
) -> tuple[list[_Split], list[Any]]:
    panel, everything = setting.panel, np.arange(len(setting.panel))
    whole: Measured | None = None
    if strategy.fitted:
        whole = measure(strategy, panel, setting.frontier, draws=settings.draws, seed=settings.seed)
    splits, chosen = [], []
    for seed in range(settings.split_seed, settings.split_seed + settings.splits):
        calibrate: NDArray[np.int64] | None = None
        evaluate = everything
        if settings.calibrate:
            mask = calibration_mask(panel.case_ids, seed)
            calibrate, evaluate = np.flatnonzero(mask), np.flatnonzero(~mask)
            if calibrate.size < 2 or evaluate.size < 2:
                raise DataError("too few cases to split", where="--calibrate")
        if whole is not None:
            measured = whole.take(evaluate)
        else:
            fitted = strategy.fit(panel.take(everything if calibrate is None else calibrate))
            chosen.append(fitted.describe())
            measured = measure(
                fitted,
                panel.take(evaluate),
                setting.frontier.take(evaluate),
                draws=settings.draws,
                seed=settings.seed,
            )
        base = setting.frontier_measured.take(evaluate)
        values = figures(measured, base, labelled=panel.labelled)
        controls = control_figures(
            singles=setting.singles,
            panel=setting.panel_names,
            frontier=setting.frontier_measured,
            majority=setting.majority,
            oracle=setting.oracle,
            cost=values["cost_per_case"],
            evaluate=evaluate,
            calibrate=calibrate,
        )
        splits.append(
            _Split(
                values, controls, evaluate, measured.credit, base.credit, len(measured.latencies)
            )
        )
    return splits, chosen


def _pool(splits: Sequence[_Split], cases: int, settings: ReplaySettings) -> dict[str, Any]:
    """Means over the splits, and intervals over cases.

    A case's credit counts once for every split that held it out, weighed by 1/n of that split: the
    ratio of the two sums over cases is the mean over splits, and cases are what is resampled.
    """
    first = splits[0]
    result: dict[str, Any] = {"n": round(float(np.mean([len(s.rows) for s in splits])))}
    for key in first.figures:
        result[key] = _mean_of([s.figures[key] for s in splits])
    credit, gap, weight = np.zeros(cases), np.zeros(cases), np.zeros(cases)
    for split in splits:
        credit[split.rows] += split.credit / len(split.rows)
        gap[split.rows] += (split.credit - split.base) / len(split.rows)
        weight[split.rows] += 1 / len(split.rows)
    used = weight > 0
    if len(splits) == 1:
        interval = mean_interval(np.clip(first.credit, 0, 1), draws=first.orders)
    else:
        interval = bootstrap_ratio(credit[used], weight[used], seed=settings.seed).interval
    result["ci95"] = list(interval)
    difference = bootstrap_ratio(gap[used], weight[used], seed=settings.seed)
    result["difference_ci95"] = list(difference.interval)
    result["controls"] = {
        name: _join_controls([s.controls[name] for s in splits]) for name in first.controls
    }
    return result


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


def _difference_variance(splits: Sequence[_Split]) -> float:
    return float(np.mean([np.var(s.credit - s.base) for s in splits]))


def _join_choices(chosen: Sequence[Any]) -> Any:
    if not chosen:
        return None
    return chosen[0] if len(chosen) == 1 else list(chosen)


def sweep_votes(
    evidence: Evidence, settings: Sequence[Sequence[int]], *, draws: int = 16, seed: int = 0
) -> NDArray[np.float64]:
    """Tie-split accuracy of plurality for many panels at once.

    Args:
        evidence: the answers.
        settings: each the number of samples of every member.
        draws: random sample orders; memory does not grow with them.
        seed: of the orders.

    Returns:
        Shape (settings, n): credit of each case under each setting, mean over orders.
    """
    wanted = np.asarray(settings, dtype=np.int64)
    deepest = int(wanted.max())
    n, members = len(evidence), len(evidence.members)
    total = np.zeros((len(wanted), n))
    number = 0
    step = max(1, 8_000_000 // (n * evidence.valid.shape[1]))
    for part in evidence.draws(draws, wanted.min(axis=0).tolist(), seed=seed, most=deepest):
        # Votes of the first j samples, for every j: a setting is then a sum of M look-ups.
        partial = np.zeros((members, deepest + 1, n, evidence.valid.shape[1]), dtype=np.float32)
        np.cumsum(np.moveaxis(part.votes, 0, 2), axis=1, out=partial[:, 1:])
        for start in range(0, len(wanted), step):
            block = wanted[start : start + step]
            counts = sum(partial[m, block[:, m]] for m in range(members))
            credit = votes.plurality(counts, evidence.valid).credit
            total[start : start + len(block)] += (credit * evidence.credit).sum(axis=2)
        number += 1
    return total / max(number, 1)


def accuracy_by_seats(
    evidence: Evidence, most: int, *, draws: int = 32, seed: int = 0
) -> list[tuple[int, float]]:
    """Plurality's accuracy with 1 … ``most`` seats (members in turn): what the next one adds."""
    from consensus.benchmark.replay_strategies import seat_counts

    sizes = list(range(1, most + 1))
    credit = sweep_votes(
        evidence, [seat_counts(size, evidence) for size in sizes], draws=draws, seed=seed
    )
    return [(size, float(row.mean())) for size, row in zip(sizes, credit, strict=True)]
