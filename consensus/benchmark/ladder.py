"""A cascade of single calls, accepted by the posterior: `cascade:STEPS`, thresholds fitted.

``cascade:1+2+1+3`` asks the panel's first member, then its second, its first again, its third, and
stops where the leader's posterior passes the step's threshold. Earlier answers stay evidence: the
posterior after each step is fitted on the calibration half on all answers up to there, so that a
weak vote beside a strong one has the weight that it had there. Where members score the options it
is a softmax over each member's mean scores, else blocks of members that err together.

The thresholds are those of a grid that meet the goal on the calibration half, aimed as ``auto``
aims (half a point above the frontier, two per cent below a budget).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation.score_ballots import fit_temperatures, score_posterior
from consensus.benchmark.auto.members import pass_means, rows_of
from consensus.benchmark.auto.search import BUDGET_SLACK, PARITY_MARGIN, Goal
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.fixed_panels import Blocks
from consensus.benchmark.strategy import Outcome, leaders
from consensus.errors import DataError

__all__ = ["LADDER", "Ladder", "parse_ladder"]

Floats = NDArray[np.float64]

LADDER = "cascade:"
_ORDERS = 16
_LEVELS = 24
_MOST_STEPS = 5


@dataclass(frozen=True)
class _Step:
    """What is known after a step: how scores or votes are read, and when to stop there."""

    temperatures: tuple[float, ...] = ()
    blocks: Blocks | None = None
    threshold: float = 0.0


@dataclass(frozen=True)
class Ladder:
    """Single calls one after another, until the posterior suffices.

    Attributes:
        order: the member asked at each step.
        frontier: its answers; only those of calibration cases are looked at.
        goal: what the thresholds are fitted to.
        steps: as fitted.
        expected: on the calibration half, credit and cost over one frontier pass's.
        reached: share of calibration cases that reach each step.
        break_even: the share sent on from the first step at which asking the last at once costs the
            same.
    """

    order: tuple[int, ...]
    frontier: Evidence
    goal: Goal
    name: str = "cascade"
    steps: tuple[_Step, ...] = ()
    expected: tuple[float, float] | None = None
    reached: tuple[float, ...] = ()
    break_even: float | None = None

    @property
    def fitted(self) -> bool:
        """Whether it has thresholds."""
        return bool(self.steps)

    def fit(self, train: Evidence) -> Ladder:
        """Fit the posterior of each step, then the thresholds."""
        self._check(train)
        seats = self._seats()
        parts = [train]
        if int(train.present.shape[2]) > 1:
            parts = list(train.shuffles(_ORDERS, seed=0))
        steps = tuple(_read(parts, seats[: i + 1], train) for i in range(len(seats)))
        walked = [self._walk(part, steps) for part in parts]
        sure, credit, cost = (np.concatenate(column) for column in zip(*walked, strict=True))
        top = self.frontier.take(rows_of(self.frontier, train))
        top_credit, top_cost = pass_means(top)
        if not np.isfinite(cost).all() or not np.isfinite(top_cost):
            raise DataError("a cascade needs the price of every step", where="--panel")
        unit = top_cost if top_cost > 0 else 1.0
        chosen = _choose(sure, credit, cost / unit, self.goal, float(top_credit.mean()))
        steps = tuple(replace(s, threshold=t) for s, t in zip(steps, (*chosen, 0.0), strict=True))
        last = _stops(sure, np.array([*chosen, -np.inf]))
        rows = np.arange(len(last))
        spent = cost.cumsum(axis=1)
        each = cost.mean(axis=0)
        return replace(
            self,
            steps=steps,
            expected=(float(credit[rows, last].mean()), float(spent[rows, last].mean() / unit)),
            reached=tuple(float((last >= i).mean()) for i in range(len(steps))),
            break_even=float(1 - each[0] / each[-1]) if each[-1] > 0 else None,
        )

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """One outcome a sample order."""
        self._check(evidence)
        several = int(evidence.present.shape[2]) > 1
        seats = self._seats()
        members = np.array([m for m, _ in seats])
        samples = np.array([s for _, s in seats])
        levels = np.array([step.threshold for step in self.steps])
        for part in evidence.shuffles(draws, seed=seed) if several else iter([evidence]):
            posterior = [
                _posterior(part, step, seats[: i + 1]) for i, step in enumerate(self.steps)
            ]
            sure = np.stack([p.max(axis=1) for p in posterior], axis=1)
            last = _stops(sure, np.array([*levels[:-1], -np.inf]))
            rows = np.arange(len(part))
            taken = np.arange(len(seats)) <= last[:, None]
            here = np.stack(posterior, axis=1)[rows, last]
            answered = (part.votes[:, members, samples].sum(axis=2) > 0) & taken
            yield Outcome(
                shares=leaders(here, part.valid) * answered.any(axis=1)[:, None],
                calls=(part.present[:, members, samples] & taken).sum(axis=1).astype(float),
                cost=np.where(taken, part.cost[:, members, samples], 0.0).sum(axis=1),
                latency=np.where(taken, part.latency[:, members, samples], 0.0).sum(axis=1),
                escalated=last > 0,
            )

    def describe(self) -> dict[str, Any]:
        """Thresholds, what they did on the calibration half, and the break-even."""
        if not self.steps or self.expected is None:
            return {"strategy": self.name}
        return {
            "strategy": self.name,
            "steps": [m + 1 for m in self.order],
            "thresholds": [round(step.threshold, 4) for step in self.steps[:-1]],
            "expected_accuracy": round(self.expected[0], 4),
            "expected_cost_ratio": round(self.expected[1], 4),
            "reached": [round(share, 4) for share in self.reached],
            "break_even": None if self.break_even is None else round(self.break_even, 4),
        }

    def _seats(self) -> list[tuple[int, int]]:
        return [(m, self.order[:i].count(m)) for i, m in enumerate(self.order)]

    def _check(self, evidence: Evidence) -> None:
        depth = int(evidence.present.shape[2])
        for m, s in self._seats():
            if m >= len(evidence.members):
                raise DataError(
                    f"step {m + 1} is no member",
                    where=self.name,
                    fix=f"1 to {len(evidence.members)}",
                )
            if s >= depth:
                raise DataError(f"asks a member {s + 1} times", where=self.name,
                                fix=f"at most {depth} samples are recorded")  # fmt: skip

    def _walk(self, part: Evidence, steps: Sequence[_Step]) -> tuple[Floats, Floats, Floats]:
        """(rows, steps) probability of the leader, credit if it stops there, cost of the step."""
        seats = self._seats()
        sure, credit = [], []
        for i, step in enumerate(steps):
            p = _posterior(part, step, seats[: i + 1])
            sure.append(p.max(axis=1))
            credit.append((leaders(p, part.valid) * part.credit).sum(axis=1))
        cost = np.stack([part.cost[:, m, s] for m, s in seats], axis=1)
        return np.stack(sure, axis=1), np.stack(credit, axis=1), cost


def parse_ladder(text: str, frontier: Evidence, goal: Goal) -> Ladder:
    """Read ``cascade:1+2+1+3``.

    Raises:
        DataError: for anything that is no list of two to five member numbers.
    """
    rest = text.removeprefix(LADDER)
    try:
        order = tuple(int(number) - 1 for number in rest.split("+"))
    except ValueError:
        order = ()
    if not 2 <= len(order) <= _MOST_STEPS or min(order) < 0:
        raise DataError(
            f'"{rest}" names no steps',
            where="--strategy",
            fix=f"cascade:1+2+1+3 (numbers of the panel's members, 2 to {_MOST_STEPS} steps)",
        )
    return Ladder(order, frontier, goal, name=text)


def _read(parts: Sequence[Evidence], seats: Sequence[tuple[int, int]], train: Evidence) -> _Step:
    """How the answers up to a step are read."""
    if train.scores is None:
        return _Step(blocks=Blocks().fit(train))
    members, samples = (np.array(column) for column in zip(*seats, strict=True))
    groups = np.unique(members, return_inverse=True)[1]
    scores = np.concatenate(
        [part.scores[:, members, samples] for part in parts if part.scores is not None]
    )
    truth = np.concatenate([part.credit for part in parts])
    valid = np.concatenate([part.valid for part in parts])
    right = truth.sum(axis=1) > 0
    share = truth[right] / truth[right].sum(axis=1, keepdims=True)
    found = fit_temperatures(scores[right], share, groups, options=valid[right])
    return _Step(temperatures=tuple(found.tolist()))


def _posterior(part: Evidence, step: _Step, seats: Sequence[tuple[int, int]]) -> Floats:
    members, samples = (np.array(column) for column in zip(*seats, strict=True))
    if step.blocks is not None:
        counts = [int((members == m).sum()) for m in range(len(part.members))]
        return step.blocks.posterior(part, counts)
    if part.scores is None:
        raise DataError("the recording has no scores", where="--strategy")
    groups = np.unique(members, return_inverse=True)[1]
    return np.asarray(
        score_posterior(
            part.scores[:, members, samples], groups, step.temperatures, options=part.valid
        )
    )


def _stops(sure: Floats, levels: Floats) -> NDArray[np.int64]:
    """(rows,) the step at which each case stops; the last level is never missed."""
    return np.asarray((sure >= levels).argmax(axis=1))


def _choose(
    sure: Floats, credit: Floats, cost: Floats, goal: Goal, frontier: float
) -> tuple[float, ...]:
    """The thresholds of a grid that meet the goal at least cost, or with most credit."""
    steps = sure.shape[1]
    grids = [
        np.unique([0.0, *np.quantile(sure[:, i], np.linspace(0, 1, _LEVELS)[1:-1]), 2.0])
        for i in range(steps - 1)
    ]
    found: list[tuple[float, float, tuple[float, ...]]] = []

    def descend(
        i: int, rows: NDArray[np.int64], right: float, spent: float, taken: tuple[float, ...]
    ) -> None:
        spent = spent + float(cost[rows, i].sum())
        if i < steps - 2:
            for level in grids[i]:
                stop = sure[rows, i] >= level
                done = right + float(credit[rows[stop], i].sum())
                descend(i + 1, rows[~stop], done, spent, (*taken, float(level)))
            return
        # The last threshold at once: those that go on are the least sure.
        order = np.argsort(sure[rows, i], kind="stable")
        least = rows[order]
        on = np.searchsorted(sure[least, i], grids[i], side="left")
        here = np.concatenate([[0.0], np.cumsum(credit[least, i])])
        beyond = np.concatenate([[0.0], np.cumsum(credit[least, i + 1])])
        paid = np.concatenate([[0.0], np.cumsum(cost[least, i + 1])])
        for level, k in zip(grids[i].tolist(), on.tolist(), strict=True):
            total = right + beyond[k] + here[-1] - here[k]
            found.append((float(total), spent + float(paid[k]), (*taken, level)))

    descend(0, np.arange(len(sure)), 0.0, 0.0, ())
    n = len(sure)
    points = [(total / n, spent / n, levels) for total, spent, levels in found]
    if goal.kind == "parity":
        enough = [p for p in points if p[0] >= frontier + PARITY_MARGIN]
        if enough:
            return min(enough, key=lambda p: (p[1], -p[0], p[2]))[2]
    if goal.kind == "budget" and goal.ratio is not None:
        within = [p for p in points if p[1] <= goal.ratio * (1 - BUDGET_SLACK)]
        points = within or [min(points, key=lambda p: (p[1], p[2]))]
    return max(points, key=lambda p: (p[0], -p[1], p[2]))[2]
