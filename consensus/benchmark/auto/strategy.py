"""``auto`` as a strategy: calibrate, choose, and then decide cases like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.candidates import (
    PRICES,
    adaptive_candidates,
    fixed_candidates,
    plain_candidates,
    seat_names,
)
from consensus.benchmark.auto.confusions import (
    CONFUSIONS,
    fit_confusions,
    shares_by_confusions,
)
from consensus.benchmark.auto.lattice import choose_caps, fit_stacks, lattice_states
from consensus.benchmark.auto.learning import (
    FOLDS,
    L2,
    LARGE,
    calibration_table,
    honest_beliefs,
    useful_sets,
)
from consensus.benchmark.auto.members import (
    case_weights,
    choose_members,
    fixed_orders,
    mean_pass_cost,
    pass_means,
    rows_of,
    sample_orders,
)
from consensus.benchmark.auto.playing import Model, fixed_shares, follow
from consensus.benchmark.auto.search import Candidate, Chosen, Goal, choose, folds_of
from consensus.benchmark.auto.serving import serve
from consensus.benchmark.auto.table import State, Table
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.fixed_panels import Single
from consensus.benchmark.strategy import Outcome, seat_counts
from consensus.errors import DataError
from consensus.orchestrators.calibration import Calibration

__all__ = ["Auto", "Learned", "Stack"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_STATES = 84
MOST_LEARNED = 20

Learned = dict[object, tuple[Model, list[Candidate]]]


@dataclass(frozen=True)
class Auto:
    """Search single models, votes, score means, stacked panels and adaptive cascades.

    Attributes:
        frontier: the frontier's answers on all cases; only those of the calibration cases are
            looked at.
        goal: what to look for.
        seats: most calls a case; None: no limit.
        balanced: weigh cases so that every label counts alike.
        seed: of the sample orders.
        learned: what earlier searches of the same cases learned: it is the same for every goal.
    """

    frontier: Evidence
    goal: Goal
    seats: int | None = None
    balanced: bool = False
    seed: int = 0
    chosen: Chosen | None = None
    plain: Chosen | None = None
    model: Model | None = None
    frontier_cost: float = 1.0
    frontier_credit: float = 0.0
    notes: tuple[str, ...] = ()
    name: str = "auto"
    learned: Learned = field(default_factory=dict, repr=False, compare=False)

    @property
    def fitted(self) -> bool:
        """Whether :meth:`fit` has chosen."""
        return self.chosen is not None

    def fit(self, train: Evidence) -> Auto:
        """Search on calibration cases.

        Everything is compared by what it does on cases it was not fitted on: posteriors come from
        folds, and policies from the other half of them.
        """
        weights = case_weights(train, balanced=self.balanced)
        top = self.frontier.take(rows_of(self.frontier, train))
        top_credit, top_cost = pass_means(top)
        members, unit, notes = choose_members(train, self.goal, top_cost)
        if unit == "calls":
            top_cost = 1.0
        key = (train.case_ids, tuple(members), unit, self.seats, self.balanced, self.seed)
        if key not in self.learned:
            if len(self.learned) >= MOST_LEARNED:
                self.learned.pop(next(iter(self.learned)))
            self.learned[key] = self._learn(train.only(members), members, unit, weights, top_cost)
        model, candidates = self.learned[key]

        def pick(from_these: Sequence[Candidate]) -> Chosen:
            return choose(
                from_these,
                self.goal,
                weights=weights,
                frontier_credit=top_credit,
                frontier_cost=top_cost,
            )

        return replace(
            self,
            chosen=pick(candidates),
            plain=pick([c for c in candidates if c.kind != "adaptive"]),
            model=model,
            frontier_cost=top_cost,
            frontier_credit=float(np.average(top_credit, weights=weights)),
            notes=notes,
        )

    def _learn(
        self, part: Evidence, members: Sequence[int], unit: str, weights: Floats, top_cost: float
    ) -> tuple[Model, list[Candidate]]:
        """Everything that could be chosen, whatever the goal."""
        costs = [mean_pass_cost(part, m, unit) for m in range(len(members))]
        caps = choose_caps(
            np.maximum(part.typical, 1).tolist(), costs, states=MOST_STATES, seats=self.seats
        )
        table, recipe = calibration_table(part, caps, unit, weights, self.seed)
        states = lattice_states(caps, self.seats)
        row_weights = weights[table.case] / table.orders
        scored = part.scores is not None
        every = np.arange(len(table))
        folds = FOLDS if len(part) < LARGE else 3
        case_fold = folds_of(part.case_ids, folds)
        fold = case_fold[table.case]
        table.used = useful_sets(table, fold, row_weights, caps)
        stacks = fit_stacks(table, every, row_weights, states, l2=L2)
        expected = {
            s: float(np.nanmean(table.spent(s, "cost"))) if len(table) else 0.0 for s in states
        }
        beliefs = honest_beliefs(table, states, stacks, expected, fold, row_weights, part)
        fixed = fixed_candidates(
            part, table, beliefs, states, caps, case_fold, weights, balanced=self.balanced
        )
        confusions: dict[tuple[str, State], Calibration] = {
            (c.kind, c.key): fit_confusions(
                c.kind, table.evidence[0], c.key, balanced=self.balanced
            )
            for c in fixed
            if c.kind in CONFUSIONS
        }
        model = Model(
            tuple(members),
            part.members,
            caps,
            unit,
            recipe,
            table.used,
            stacks,
            expected,
            scored,
            confusions,
        )
        prices = [price / top_cost for price in PRICES] if top_cost > 0 else [0.0]
        candidates = [
            *plain_candidates(part, unit),
            *fixed,
            *adaptive_candidates(table, beliefs, fold, row_weights, prices, part.members),
        ]
        return model, candidates

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """Outcomes of what was chosen; a coin's two sides are both run, with their shares."""
        if self.chosen is None or self.model is None:
            raise DataError("auto has not chosen", where="--strategy", fix="add --calibrate half")
        part = evidence.only(self.model.members)
        for candidate, share in self.chosen.parts:
            outcomes = list(self._play(candidate, part, draws, seed))
            total = sum(_weight(o) for o in outcomes)
            for i, outcome in enumerate(outcomes):
                scale = np.divide(share, total, out=np.zeros(len(part)), where=total > 0)
                weight = _weight(outcome) * scale
                if i == 0:
                    weight = np.where(total > 0, weight, share)
                yield replace(outcome, weight=weight)

    def _play(
        self, candidate: Candidate, part: Evidence, draws: int, seed: int
    ) -> Iterator[Outcome]:
        model = self.model
        if model is None:
            return
        if candidate.kind == "single":
            yield from Single().runs(part.only([candidate.key]), draws=draws, seed=seed)
            return
        number = 1 if fixed_orders(part, model.caps) else min(draws, 16)
        orders = sample_orders(part, model.caps, number, seed)
        table = Table(orders, model.recipe, model.caps, model.unit, scored=model.scored)
        table.used = model.used
        if candidate.kind == "adaptive":
            shares, spent = follow(table, model, candidate.key)
        else:
            if candidate.kind in CONFUSIONS:
                fit = model.confusions[candidate.kind, candidate.key]
                shares = np.concatenate(
                    [shares_by_confusions(fit, order, candidate.key) for order in orders]
                )
            else:
                shares = fixed_shares(table, model, candidate.kind, candidate.key)
            spent = {name: table.spent(candidate.key, name) for name in ("called", "dollars")}
            spent["latency"] = np.max(
                [
                    table.latency[m][:, :count].max(axis=1)
                    for m, count in enumerate(candidate.key)
                    if count
                ],
                axis=0,
            )
            spent["escalated"] = np.zeros(len(table))
        for o in range(table.orders):
            rows = slice(o * table.cases, (o + 1) * table.cases)
            yield Outcome(
                shares[rows],
                spent["called"][rows],
                spent["dollars"][rows],
                spent["latency"][rows],
                spent["escalated"][rows] > 0,
            )

    def describe(self) -> dict[str, Any]:
        """What was chosen, and what it is expected to do."""
        if self.chosen is None or self.model is None:
            return {"strategy": "auto", "goal": self.goal.kind}
        parts = [
            {**candidate.detail, "kind": candidate.kind, "share": round(share, 4)}
            for candidate, share in self.chosen.parts
        ]
        expected = self._expected(self.chosen)
        members = self.model.named
        plain = self.plain or self.chosen
        return {
            "summary": _sentence(parts, expected),
            "goal": self.goal.kind if self.goal.ratio is None else f"budget:{self.goal.ratio:g}",
            "parts": parts,
            "expected": expected,
            "serve": serve(self.chosen, members, balanced=self.balanced),
            "serve_fixed": {
                **serve(plain, members, balanced=self.balanced),
                "expected": self._expected(plain),
            },
            "objective": "balanced" if self.balanced else "accuracy",
            "notes": [note for note in (*self.notes, self.chosen.note) if note],
        }

    def _expected(self, chosen: Chosen) -> dict[str, Any]:
        ratio = chosen.cost / self.frontier_cost if self.frontier_cost > 0 else None
        unit = "calls" if self.model is not None and self.model.unit == "calls" else "usd"
        return {
            "accuracy": round(chosen.credit, 4),
            "frontier_accuracy": round(self.frontier_credit, 4),
            "cost_ratio": None if ratio is None else round(ratio, 4),
            "cost_unit": unit,
        }


@dataclass(frozen=True)
class Stack:
    """A whole panel, side by side, decided by the stacked posterior.

    Attributes:
        seats: all seats, members in turn; None: one a member.
        balanced: weigh cases so that every label counts alike.
        seed: of the sample orders it is calibrated on.
    """

    seats: int | None = None
    balanced: bool = False
    seed: int = 0
    name: str = "stack"
    fitted: bool = False

    def fit(self, train: Evidence) -> Auto:
        """Fit the posterior of this one panel."""
        caps = seat_counts(self.seats, train)
        weights = case_weights(train, balanced=self.balanced)
        table, recipe = calibration_table(train, caps, "calls", weights, self.seed)
        row_weights = weights[table.case] / table.orders
        table.used = useful_sets(
            table, folds_of(train.case_ids, FOLDS)[table.case], row_weights, caps
        )
        stacks = fit_stacks(table, np.arange(len(table)), row_weights, [caps], l2=L2)
        model = Model(
            tuple(range(len(caps))),
            train.members,
            caps,
            "calls",
            recipe,
            table.used,
            stacks,
            {caps: float(table.spent(caps, "cost").mean())},
            train.scores is not None,
        )
        seats = {m.name: count for m, count in zip(train.members, caps, strict=True) if count}
        detail = {"seats": seats, "text": f"the stacked posterior of {seat_names(seats)}"}
        panel = Candidate("stack", detail, np.zeros(0), 0.0, caps)
        chosen = Chosen(((panel, 1.0),), 0.0, 0.0)
        return Auto(train, Goal("quality"), chosen=chosen, model=model, name="stack")

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """It has to be fitted first."""
        raise DataError('"stack" learns from labelled cases', where="--strategy",
                        fix="add --calibrate half")  # fmt: skip

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": "stack", "seats": self.seats}


def _sentence(parts: Sequence[Mapping[str, Any]], expected: Mapping[str, Any]) -> str:
    texts = [
        (f"{part['share']:.0%} of cases: " if len(parts) > 1 else "") + str(part["text"])
        for part in parts
    ]
    return (
        f"{'; '.join(texts)} (expected accuracy {expected['accuracy']:.3f} against "
        f"{expected['frontier_accuracy']:.3f}, cost ratio {expected['cost_ratio']})"
    )


def _weight(outcome: Outcome) -> Floats:
    return np.ones(len(outcome.calls)) if outcome.weight is None else outcome.weight
