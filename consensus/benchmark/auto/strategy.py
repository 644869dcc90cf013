"""``auto`` as a strategy: calibrate, choose, and then decide cases like any other."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes as voting
from consensus.benchmark.auto.lattice import (
    Beliefs,
    Policy,
    believe,
    choose_caps,
    decide,
    fit_policies,
    fit_stacks,
    lattice_states,
    walk,
)
from consensus.benchmark.auto.search import Candidate, Chosen, Goal, choose, folds_of
from consensus.benchmark.auto.stacking import Slots, posterior
from consensus.benchmark.auto.table import Recipe, State, Table, learn_recipe
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.replay_strategies import Outcome, Single, leaders, seat_counts
from consensus.benchmark.run_format import Member
from consensus.errors import DataError

__all__ = ["Auto", "Stack"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MOST_STATES = 64
MOST_MEMBERS = 6
FOLDS = 4
"""Of small calibration halves; those of ``LARGE`` cases or more need only three."""

LARGE = 1500
L2 = 1.0
ROWS = 2600
"""Rows (cases times sample orders) that a search looks at where orders matter."""

PRICES = (0.003, 0.006, 0.01, 0.015, 0.022, 0.03, 0.04, 0.055, 0.075, 0.1, 0.14, 0.2, 0.3, 0.6)
"""λ: credit that one frontier pass's cost must buy, at the margin."""


@dataclass(frozen=True)
class _Model:
    """What was learned: enough to decide new cases."""

    members: tuple[int, ...]
    caps: State
    unit: str
    recipe: Recipe
    used: frozenset[str]
    stacks: Mapping[State, Floats]
    expected: Mapping[State, float]
    scored: bool


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
    """

    frontier: Evidence
    goal: Goal
    seats: int | None = None
    balanced: bool = False
    seed: int = 0
    chosen: Chosen | None = None
    model: _Model | None = None
    frontier_cost: float = 1.0
    frontier_credit: float = 0.0
    notes: tuple[str, ...] = ()
    name: str = "auto"

    @property
    def fitted(self) -> bool:
        """Whether :meth:`fit` has chosen."""
        return self.chosen is not None

    def fit(self, train: Evidence) -> Auto:
        """Search on calibration cases.

        Everything is compared by what it does on cases it was not fitted on: posteriors come from
        folds, and policies from the other half of them.
        """
        weights = _case_weights(train, balanced=self.balanced)
        top = self.frontier.take(_rows_of(self.frontier, train))
        top_credit, top_cost = _pass_means(top)
        members, unit, notes = _members(train, self.goal, top_cost)
        part = train.only(members)
        if unit == "calls":
            top_cost = 1.0
        costs = [_mean_pass_cost(part, m, unit) for m in range(len(members))]
        caps = choose_caps(
            np.maximum(part.typical, 1).tolist(), costs, states=MOST_STATES, seats=self.seats
        )
        table, recipe = _calibration_table(part, caps, unit, weights, self.seed)
        states = lattice_states(caps, self.seats)
        row_weights = weights[table.case] / table.orders
        scored = part.scores is not None
        every = np.arange(len(table))
        folds = FOLDS if len(train) < LARGE else 3
        fold = folds_of(train.case_ids, folds)[table.case]
        table.used = _useful(table, fold, row_weights, caps)
        stacks = fit_stacks(table, every, row_weights, states, l2=L2)
        expected = {
            s: float(np.nanmean(table.spent(s, "cost"))) if len(table) else 0.0 for s in states
        }
        beliefs = _honest_beliefs(table, states, stacks, expected, fold, row_weights)
        model = _Model(tuple(members), caps, unit, recipe, table.used, stacks, expected, scored)
        prices = [price / top_cost for price in PRICES] if top_cost > 0 else [0.0]
        candidates = [
            *_plain_candidates(part, unit),
            *_fixed_candidates(part, table, beliefs, states, caps),
            *_adaptive_candidates(table, beliefs, fold, row_weights, prices, part.members),
        ]
        chosen = choose(
            candidates,
            self.goal,
            weights=weights,
            frontier_credit=top_credit,
            frontier_cost=top_cost,
        )
        return replace(
            self,
            chosen=chosen,
            model=model,
            frontier_cost=top_cost,
            frontier_credit=float(np.average(top_credit, weights=weights)),
            notes=notes,
        )

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
        number = 1 if _fixed_orders(part, model.caps) else min(draws, 16)
        orders = _orders(part, model.caps, number, seed)
        table = Table(orders, model.recipe, model.caps, model.unit, scored=model.scored)
        table.used = model.used
        if candidate.kind == "adaptive":
            shares, spent = _follow(table, model, candidate.key)
        else:
            shares = _fixed_shares(table, model, candidate.kind, candidate.key)
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
        ratio = self.chosen.cost / self.frontier_cost if self.frontier_cost > 0 else None
        expected = {
            "accuracy": round(self.chosen.credit, 4),
            "frontier_accuracy": round(self.frontier_credit, 4),
            "cost_ratio": None if ratio is None else round(ratio, 4),
            "cost_unit": "calls" if self.model.unit == "calls" else "usd",
        }
        return {
            "summary": _sentence(parts, expected),
            "goal": self.goal.kind if self.goal.ratio is None else f"budget:{self.goal.ratio:g}",
            "parts": parts,
            "expected": expected,
            "objective": "balanced" if self.balanced else "accuracy",
            "notes": [note for note in (*self.notes, self.chosen.note) if note],
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
        weights = _case_weights(train, balanced=self.balanced)
        table, recipe = _calibration_table(train, caps, "calls", weights, self.seed)
        row_weights = weights[table.case] / table.orders
        table.used = _useful(table, folds_of(train.case_ids, FOLDS)[table.case], row_weights, caps)
        stacks = fit_stacks(table, np.arange(len(table)), row_weights, [caps], l2=L2)
        model = _Model(
            tuple(range(len(caps))),
            caps,
            "calls",
            recipe,
            table.used,
            stacks,
            {caps: float(table.spent(caps, "cost").mean())},
            train.scores is not None,
        )
        seats = {m.name: count for m, count in zip(train.members, caps, strict=True) if count}
        detail = {"seats": seats, "text": f"the stacked posterior of {_names(seats)}"}
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


def _case_weights(train: Evidence, *, balanced: bool) -> Floats:
    if not balanced:
        return np.ones(len(train))
    gold = train.credit.argmax(axis=1)
    classes, index, counts = np.unique(gold, return_inverse=True, return_counts=True)
    return np.asarray(len(train) / (len(classes) * counts[index]))


def _rows_of(everything: Evidence, part: Evidence) -> Ints:
    place = {case_id: i for i, case_id in enumerate(everything.case_ids)}
    return np.array([place[case_id] for case_id in part.case_ids], dtype=np.int64)


def _pass_means(top: Evidence) -> tuple[Floats, float]:
    """Credit of one frontier pass by case, and its mean cost (NaN if unknown)."""
    count = np.maximum(top.available.sum(axis=1), 1)
    credit = np.nansum(top.pass_credit(), axis=(1, 2)) / count
    return credit, float((top.cost.sum(axis=(1, 2)) / count).mean())


def _mean_pass_cost(part: Evidence, m: int, unit: str) -> float:
    if unit == "calls":
        return 1.0
    here = part.present[:, m]
    return float(part.cost[:, m][here].mean()) if here.any() else 0.0


def _members(
    train: Evidence, goal: Goal, frontier_cost: float
) -> tuple[list[int], str, tuple[str, ...]]:
    """Which members take part, and what cost is counted in."""
    everyone = list(range(len(train.members)))
    costs = [float(train.cost[:, m][train.present[:, m]].mean()) if train.present[:, m].any()
             else np.nan for m in everyone]  # fmt: skip
    priced = [m for m in everyone if np.isfinite(costs[m])]
    notes: list[str] = []
    if not priced or not np.isfinite(frontier_cost):
        unit = "calls"
        kept = everyone
        notes.append("no prices: a call counts as one unit of cost")
        if goal.kind != "quality" and priced:
            notes.append("the frontier has no known price")
    elif len(priced) == len(everyone):
        unit, kept = "dollars", everyone
    elif goal.kind == "quality":
        unit, kept = "calls", everyone
        notes.append("some prices are unknown: a call counts as one unit of cost")
    else:
        unit, kept = "dollars", priced
        names = ", ".join(train.members[m].name for m in everyone if m not in priced)
        notes.append(f"left out, without a known price: {names}")
    if len(kept) > MOST_MEMBERS:
        credit = np.nan_to_num(train.pass_credit()).mean(axis=(0, 2))
        by_accuracy = sorted(kept, key=lambda m: (-credit[m], train.members[m].name))
        best_so_far, frontier = -np.inf, []
        for m in sorted(kept, key=lambda m: (np.nan_to_num(costs[m]), -credit[m])):
            if credit[m] > best_so_far:
                best_so_far = credit[m]
                frontier.append(m)
        # Those that nothing else beats in both, the best first; then the next best.
        ranked = [*sorted(frontier, key=lambda m: -credit[m]), *by_accuracy]
        kept = sorted(list(dict.fromkeys(ranked))[:MOST_MEMBERS])
        notes.append(f"searched over the {MOST_MEMBERS} most promising of the members")
    return kept, unit, tuple(notes)


def _fixed_orders(part: Evidence, caps: State) -> bool:
    """Whether no choice among samples is left: one sample each."""
    return max(caps) == 1 and int(part.typical.max()) <= 1


def _orders(part: Evidence, caps: State, number: int, seed: int) -> list[Evidence]:
    if _fixed_orders(part, caps):
        return [part.compact(1)]
    rng = np.random.default_rng(seed)
    return [part.shuffled(rng, max(caps)) for _ in range(number)]


def _calibration_table(
    part: Evidence, caps: State, unit: str, weights: Floats, seed: int
) -> tuple[Table, Recipe]:
    number = int(np.clip(ROWS // max(1, len(part)), 2, 8))
    recipe = learn_recipe(part, weights)
    orders = _orders(part, caps, number, seed)
    return Table(orders, recipe, caps, unit, scored=part.scores is not None), recipe


def _useful(table: Table, fold: Ints, weights: Floats, caps: State) -> frozenset[str]:
    """The optional features that lower the log loss on held-out folds by two standard errors.

    Small calibration halves cannot carry them; large ones gain a point by them.
    """
    state = tuple(min(1, cap) for cap in caps)
    plain: Floats | None = None
    best, margin = frozenset[str](), 0.0
    for used in table.options():
        table.used = used
        loss = np.zeros(len(table))
        fitted: dict[State, Floats] | None = None
        for f in range(int(fold.max()) + 1):
            inside, outside = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
            fitted = fit_stacks(table, outside, weights, [state], l2=L2, near=fitted)
            slots, flat = table.slots.take(inside)
            share = posterior(slots, table.design(state)[flat] @ fitted[state])
            loss[inside] = -slots.sum(
                slots.truth * np.log(np.maximum(share / slots.multiplicity, 1e-12))
            )
        by_case = _by_case(table, loss * weights) * table.orders
        if plain is None:
            plain = by_case
            continue
        gain = plain - by_case
        lower = float(gain.mean() - 2 * gain.std() / np.sqrt(len(gain)))
        if lower > margin:
            best, margin = used, lower
    return best


def _honest_beliefs(
    table: Table,
    states: Sequence[State],
    stacks: Mapping[State, Floats],
    expected: Mapping[State, float],
    fold: Ints,
    weights: Floats,
) -> dict[State, Beliefs]:
    """Posteriors of every row from models that did not see its case."""
    parts: list[dict[State, Beliefs]] = []
    rows: list[Ints] = []
    for f in range(int(fold.max()) + 1):
        inside, outside = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        fitted = fit_stacks(table, outside, weights, states, l2=L2, near=stacks)
        parts.append({s: believe(table, s, fitted[s], inside, expected[s]) for s in states})
        rows.append(inside)
    back = np.argsort(np.concatenate(rows))
    return {
        s: Beliefs(
            np.empty(0),
            *(
                np.concatenate([getattr(part[s], name) for part in parts])[back]
                for name in ("basis", "cost_basis", "top", "credit")
            ),
        )
        for s in states
    }


def _by_case(table: Table, values: Floats) -> Floats:
    return np.asarray(values.reshape(table.orders, table.cases).mean(axis=0))


def _plain_candidates(part: Evidence, unit: str) -> list[Candidate]:
    found = []
    for m, member in enumerate(part.members):
        count = np.maximum(part.available[:, m], 1)
        credit = np.nansum(part.pass_credit()[:, m], axis=1) / count
        cost = _mean_pass_cost(part, m, unit) * float((part.available[:, m] > 0).mean())
        detail = {"model": member.name, "text": f"one pass of {member.name}"}
        found.append(Candidate("single", detail, credit, cost, m))
    return found


def _fixed_candidates(
    part: Evidence,
    table: Table,
    beliefs: Mapping[State, Beliefs],
    states: Sequence[State],
    caps: State,
) -> list[Candidate]:
    """Whole panels: one seat a member, and all that the lattice reaches; voted, scored, stacked."""
    found = []
    panels = {tuple(min(1, cap) for cap in caps), caps} & set(states)
    for m, cap in enumerate(caps):
        panels |= {tuple(cap * (i == m) for i in range(len(caps)))} & set(states)
    for state in sorted(panels):
        if sum(state) < 2:
            continue
        seats = {part.members[m].name: count for m, count in enumerate(state) if count}
        cost = float(np.nanmean(table.spent(state, "cost")))
        for kind, text in _KINDS:
            if kind == "scores" and part.scores is None:
                continue
            if kind == "stack":
                credit = beliefs[state].credit
            else:
                shares = _fixed_shares(table, None, kind, state)
                credit = (shares * table.credit).sum(axis=1)
            detail = {"seats": seats, "text": f"{text} of {_names(seats)}"}
            found.append(Candidate(kind, detail, _by_case(table, credit), cost, state))
    return found


_KINDS: tuple[tuple[Any, str], ...] = (
    ("vote", "the plurality"),
    ("scores", "the mean score"),
    ("stack", "the stacked posterior"),
)


def _names(seats: Mapping[str, int]) -> str:
    return " + ".join(f"{count} × {name}" for name, count in seats.items())


def _adaptive_candidates(
    table: Table,
    beliefs: Mapping[State, Beliefs],
    fold: Ints,
    weights: Floats,
    prices: Sequence[float],
    members: Sequence[Member],
) -> list[Candidate]:
    """Policies at every price; measured on the half of the folds that they were not fitted on."""
    if len(beliefs) < 2:
        return []
    halves = (np.flatnonzero(fold % 2 == 0), np.flatnonzero(fold % 2 == 1))
    credit = np.zeros((len(prices), len(table)))
    cost = np.zeros((len(prices), len(table)))
    for own, other in (halves, halves[::-1]):
        learn = {s: _part(b, own) for s, b in beliefs.items()}
        check = {s: _part(b, other) for s, b in beliefs.items()}
        for i, policy in enumerate(fit_policies(table, learn, own, weights[own], prices)):
            done = walk(table, check, other, policy)
            credit[i, other], cost[i, other] = done.credit, done.cost
    every = np.arange(len(table))
    final = fit_policies(table, beliefs, every, weights, prices)
    # A policy fitted on half of the cases is noisier and asks more: the whole one tells the cost.
    for i, policy in enumerate(final):
        cost[i] = walk(table, beliefs, every, policy).cost
    return [
        Candidate(
            "adaptive",
            _adaptive_detail(policy, share, table.caps, members),
            _by_case(table, credit[i]),
            float(np.nanmean(cost[i])),
            policy,
        )
        for i, (share, policy) in enumerate(zip(PRICES, final, strict=False))
    ]


def _adaptive_detail(
    policy: Policy, share: float, caps: State, members: Sequence[Member]
) -> dict[str, Any]:
    seats = {member.name: cap for member, cap in zip(members, caps, strict=True) if cap}
    first = members[policy.first].name
    return {
        "first": first,
        "at_most": seats,
        "points_per_frontier_pass": round(100 * share, 2),
        "text": (
            f"ask {first} first, then whoever is expected to add {100 * share:g} points for the "
            f"price of a frontier pass, of at most {_names(seats)}; the stacked posterior decides"
        ),
    }


def _part(beliefs: Beliefs, rows: Ints) -> Beliefs:
    return Beliefs(
        np.empty(0),
        beliefs.basis[rows],
        beliefs.cost_basis[rows],
        beliefs.top[rows],
        beliefs.credit[rows],
    )


def _fixed_shares(table: Table, model: _Model | None, kind: str, state: State) -> Floats:
    """(R, K) the decision of a whole panel."""
    if kind == "vote":
        counts = np.sum([table.votes[m][:, :c].sum(axis=1) for m, c in enumerate(state)], axis=0)
        return np.asarray(voting.plurality(counts, table.valid).credit)
    if kind == "scores":
        parts = [s[:, :c] for s, c in zip(table.scores, state, strict=True) if s is not None]
        return leaders(_nan_mean(np.concatenate(parts, axis=1)), table.valid)
    if model is None:
        raise ValueError("a stacked panel needs its model")
    rows = np.arange(len(table))
    here = believe(table, state, model.stacks[state], rows, model.expected[state])
    return _leaders(table.slots, table.option, table.valid, here.slots)


def _nan_mean(scores: Floats) -> Floats:
    given = np.isfinite(scores)
    count = given.sum(axis=1)
    total = np.where(given, scores, 0.0).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _leaders(slots: Slots, option: Ints, valid: NDArray[np.bool_], each: Floats) -> Floats:
    """(R, K) the leading options, ties shared; a slot nobody named stands for all its options."""
    top = slots.largest(each)
    near = each >= (top * (1 - 1e-9) - 1e-12)[slots.case]
    named = option >= 0
    shares = np.zeros(valid.shape)
    shares[slots.case[near & named], option[near & named]] = 1.0
    unnamed = slots.case[near & ~named]
    if unnamed.size:
        known = np.zeros(valid.shape, dtype=bool)
        known[slots.case[named], option[named]] = True
        shares[unnamed] += valid[unnamed] & ~known[unnamed]
    return np.asarray(shares / np.maximum(shares.sum(axis=1, keepdims=True), 1))


def _follow(table: Table, model: _Model, policy: Policy) -> tuple[Floats, dict[str, Floats]]:
    """Run a policy on new cases: beliefs are worked out only where it comes."""
    size = len(table)
    shares = np.zeros(table.valid.shape)
    spent = {name: np.zeros(size) for name in ("called", "dollars", "latency", "escalated")}
    members = len(table.caps)

    def pay(rows: Ints, m: int, sample: int) -> None:
        for name in ("called", "dollars", "latency"):
            spent[name][rows] += getattr(table, name)[m][rows, sample]

    every = np.arange(size)
    first = tuple(int(i == policy.first) for i in range(members))
    pay(every, policy.first, 0)
    waiting: dict[State, list[Ints]] = {first: [every]}
    while waiting:
        state = min(waiting, key=lambda s: (sum(s), s))
        rows = np.sort(np.concatenate(waiting.pop(state)))
        here = believe(table, state, model.stacks[state], rows, model.expected[state])
        choice = decide(policy, state, here)
        stop = choice < 0
        if stop.any():
            slots, flat = table.slots.take(rows)
            found = _leaders(slots, table.option[flat], table.valid[rows], here.slots)
            shares[rows[stop]] = found[stop]
        for m in np.unique(choice[~stop]).tolist():
            go = rows[choice == m]
            spent["escalated"][go] = 1.0
            pay(go, m, state[m])
            after = tuple(count + (i == m) for i, count in enumerate(state))
            waiting.setdefault(after, []).append(go)
    return shares, spent
