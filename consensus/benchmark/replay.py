"""Replay: any strategy over recorded answers, at no cost, against one pass of a frontier model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto import Auto, Goal, Stack, parse_goal
from consensus.benchmark.controls import control_figures
from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.ladder import LADDER, parse_ladder
from consensus.benchmark.measure import Measured, figures, measure
from consensus.benchmark.pooling import (
    Split,
    acting_figures,
    difference_variance,
    join_choices,
    paired,
    pool,
)
from consensus.benchmark.replay_debate import debate_figures
from consensus.benchmark.replay_live import Live
from consensus.benchmark.replay_scope import Scope, Scopes
from consensus.benchmark.replay_settings import ReplaySettings, check_settings
from consensus.benchmark.replay_strategies import make_strategy
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.stopping_strategy import PREFIX, parse_stopping
from consensus.benchmark.strategy import Strategy
from consensus.benchmark.verdict import Verdict, verdict
from consensus.errors import DataError
from consensus.statistics import Interval

__all__ = ["Replay", "ReplaySettings", "Replayer", "replay"]


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


class Replayer:
    """Replays over one run; what settings have in common is worked out once.

    Settings with the same ``seed`` and ``draws`` also see the same sample orders, so that they
    differ by what they do with the answers and not by luck.
    """

    def __init__(self, run: RecordedRun) -> None:
        self.run = run
        self._scopes = Scopes(run)

    def __call__(self, settings: ReplaySettings) -> Replay:
        """Replay one strategy.

        Raises:
            DataError: for a model, variant, sample, strategy or goal that cannot be had, and where
                a strategy that learns is given nothing to learn from.
        """
        check_settings(settings)
        scope = self._scopes.of(settings)
        strategy = _strategy(settings, scope)
        result, splits, chosen = _measured(strategy, scope, settings)
        result["chosen"] = join_choices(chosen) if strategy.name == "auto" else None
        notes = [*self.run.report.notes[:5]]
        if scope.unpriced:
            notes.append(f"no known cost: {', '.join(scope.unpriced)}")
        learned = chosen[0] if len(chosen) == 1 else strategy.describe()
        result["strategy"] = learned if strategy.name != "auto" else {"strategy": "auto"}
        result["members"] = [member.name for member in scope.members]
        result["frontier"] = [member.name for member in scope.frontier.members]
        if settings.acting is not None:
            rule = settings.acting.of_options(scope.options)
            result["acting"] = acting_figures(splits, len(scope.panel), rule, seed=settings.seed)
        if settings.against is not None:
            result["against"] = self._against(settings, scope, splits)
        if strategy.name == "debate":
            result["debate"] = debate_figures(scope.panel, seed=settings.seed)
        ruling = verdict(
            result,
            result["controls"],
            Interval(*result["difference_ci95"]),
            n=int(result["n"]),
            name=settings.strategy,
            variance=difference_variance(splits),
            epsilon=settings.epsilon,
        )
        ratio = result["cost_ratio"]
        dearer = ratio is not None and ratio > 1
        if strategy.name == "single" and ruling.ruling == "pays" and dearer:
            ruling = self._against_cheaper_methods(settings, scope, ruling)
        return Replay(result, ruling, tuple(notes))

    def _against(
        self, settings: ReplaySettings, scope: Scope, splits: Sequence[Split]
    ) -> dict[str, Any]:
        """Another strategy on the same cases, and the paired difference to it."""
        other = replace(settings, strategy=str(settings.against), against=None, acting=None)
        if not (other.strategy == "auto" or other.strategy.startswith(LADDER)):
            other = replace(other, goal=None)
        check_settings(other)
        figures, theirs, chosen = _measured(_strategy(other, scope), scope, other)
        gap = paired(splits, theirs, len(scope.panel), seed=settings.seed)
        return {
            "strategy": other.strategy,
            "accuracy": figures["accuracy"],
            "difference_to_frontier": figures["difference"],
            "cost_ratio": figures["cost_ratio"],
            "calls_per_case": figures["calls_per_case"],
            "difference": gap.estimate,
            "difference_ci95": list(gap.interval),
            "chosen": chosen[0] if len(chosen) == 1 else None,
        }

    def _against_cheaper_methods(
        self, settings: ReplaySettings, scope: Scope, ruling: Verdict
    ) -> Verdict:
        """A dearer way to ask a model pays only if no cheaper way to ask it does as much.

        Measured in pairs against every other recorded variant of the same model that answered
        nearly all of the cases, at no higher cost.
        """
        own = scope.members[0]
        rivals = [
            member
            for member in self.run.members
            if member.model == own.model
            and member != own
            and member not in scope.frontier.members
            and _asked_alike(self.run, own, member)
        ]
        best: tuple[float, str] | None = None
        for rival in rivals:
            pair = replace(settings, frontier=rival.name, panel=(own.name,), variant=None)
            against = self._scopes.of(pair)
            figures, _, _ = _measured(_strategy(pair, against), against, pair)
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


def replay(run: RecordedRun, settings: ReplaySettings) -> Replay:
    """Replay one strategy; of many, ask one :class:`Replayer`.

    Raises:
        DataError: as :class:`Replayer` does.
    """
    return Replayer(run)(settings)


def _measured(
    strategy: Strategy, scope: Scope, settings: ReplaySettings
) -> tuple[dict[str, Any], list[Split], list[Any]]:
    """The figures, the splits that they come from, and what each split chose."""
    splits, chosen = _evaluate(strategy, scope, settings)
    return pool(splits, len(scope.panel), seed=settings.seed), splits, chosen


def _asked_alike(run: RecordedRun, own: Member, other: Member) -> bool:
    """Whether ``other`` was asked nine in ten of the cases that ``own`` was."""
    rows, members = run.rows, run.members
    ours = np.unique(rows.case[rows.member == members.index(own)])
    theirs = rows.case[rows.member == members.index(other)]
    return bool(np.isin(ours, theirs).mean() >= 0.9)


def _strategy(settings: ReplaySettings, scope: Scope) -> Strategy:
    if settings.strategy != "auto":
        strategy: Strategy
        if settings.strategy == "stack":
            strategy = Stack(settings.seats, _balanced(settings, scope), settings.seed)
        elif settings.strategy.startswith(LADDER):
            strategy = parse_ladder(settings.strategy, scope.frontier, _goal(settings, scope))
        elif settings.strategy.startswith(PREFIX):
            strategy = parse_stopping(settings.strategy, settings.seats)
        else:
            strategy = make_strategy(settings.strategy, settings.seats)
        if strategy.name == "single" and len({m.model for m in scope.members}) > 1:
            raise DataError(
                f"single is one model, {len(settings.panel)} are named",
                where="--panel",
                fix="name one",
            )
        if not strategy.fitted and not settings.calibrate:
            raise DataError(
                f'"{settings.strategy}" learns from labelled cases',
                where="--strategy",
                fix="add --calibrate half",
            )
        return strategy
    return Auto(
        frontier=scope.frontier,
        goal=_goal(settings, scope),
        seats=settings.seats,
        balanced=_balanced(settings, scope),
        seed=settings.seed,
        learned=scope.learned,
    )


def _goal(settings: ReplaySettings, scope: Scope) -> Goal:
    """The goal asked for; else parity, or quality where no cost is known that could be saved."""
    if settings.goal is not None:
        return parse_goal(settings.goal)
    known = np.isfinite(scope.frontier_measured.cost.mean())
    return Goal("parity" if known else "quality")


def _balanced(settings: ReplaySettings, scope: Scope) -> bool:
    if settings.objective is not None:
        return settings.objective == "balanced"
    return scope.kind in ("approval", "approve")


def _evaluate(
    strategy: Strategy, scope: Scope, settings: ReplaySettings
) -> tuple[list[Split], list[Any]]:
    panel, everything = scope.panel, np.arange(len(scope.panel))
    rule = settings.acting and settings.acting.of_options(scope.options)
    others = scope.acted_always(settings, rule) if rule else {}
    if isinstance(strategy, Live) and rule:
        strategy = replace(strategy, alpha=rule.alpha)
    whole: Measured | None = None
    if strategy.fitted:
        whole = measure(
            strategy, panel, scope.frontier, draws=settings.draws, seed=settings.seed, acting=rule
        )
    majority, oracle = scope.controls(settings)
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
                scope.frontier.take(evaluate),
                draws=settings.draws,
                seed=settings.seed,
                acting=rule,
            )
        base = scope.frontier_measured.take(evaluate)
        values = figures(measured, base, labelled=panel.labelled)
        controls = control_figures(
            singles=scope.singles,
            panel=[member.name for member in scope.members],
            frontier=scope.frontier_measured,
            majority=majority,
            oracle=oracle,
            cost=values["cost_per_case"],
            evaluate=evaluate,
            calibrate=calibrate,
        )
        splits.append(
            Split(
                values,
                controls,
                evaluate,
                measured.credit,
                base.credit,
                len(measured.latencies),
                measured.acts,
                {
                    name: {key: column[evaluate] for key, column in acts.items()}
                    for name, acts in others.items()
                },
            )
        )
    return splits, chosen
