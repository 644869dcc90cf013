"""What could be chosen: single models, whole panels, policies; each with its honest credit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.auto.confusions import CONFUSIONS, honest_shares
from consensus.benchmark.auto.lattice import Beliefs, Policy, fit_policies, walk
from consensus.benchmark.auto.learning import by_case
from consensus.benchmark.auto.members import mean_pass_cost
from consensus.benchmark.auto.playing import fixed_shares
from consensus.benchmark.auto.search import CAUTION, Candidate, lead_over
from consensus.benchmark.auto.table import State, Table
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.run_format.columns import Member

__all__ = ["PRICES", "adaptive_candidates", "fixed_candidates", "plain_candidates", "seat_names"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PRICES = (0.003, 0.006, 0.01, 0.015, 0.022, 0.03, 0.04, 0.055, 0.075, 0.1, 0.14, 0.2, 0.3, 0.6)
"""λ: credit that one frontier pass's cost must buy, at the margin."""


def plain_candidates(part: Evidence, unit: str) -> list[Candidate]:
    """One pass of each member; cost in ``unit`` (dollars or calls)."""
    found = []
    for m, member in enumerate(part.members):
        count = np.maximum(part.available[:, m], 1)
        credit = np.nansum(part.pass_credit()[:, m], axis=1) / count
        cost = mean_pass_cost(part, m, unit) * float((part.available[:, m] > 0).mean())
        detail = {"model": member.name, "text": f"one pass of {member.name}"}
        found.append(Candidate("single", detail, credit, cost, m))
    return found


def fixed_candidates(
    part: Evidence,
    table: Table,
    beliefs: Mapping[State, Beliefs],
    states: Sequence[State],
    caps: State,
    fold: Ints,
    weights: Floats,
    *,
    balanced: bool,
) -> list[Candidate]:
    """Whole panels: one seat a member, and all that the lattice reaches.

    Voted, scored, stacked; where all cases have the same labels, also by confusion matrices, if
    these lead the plurality of the same seats by ``CAUTION`` standard errors.

    Args:
        part: the calibration cases.
        table: theirs.
        beliefs: honest posteriors of every state.
        states: of the lattice.
        caps: its last.
        fold: (n,) of the cases.
        weights: (n,) likewise.
        balanced: each label weighs the same together.
    """
    found = []
    panels = {tuple(min(1, cap) for cap in caps), caps} & set(states)
    for m, cap in enumerate(caps):
        panels |= {tuple(cap * (i == m) for i in range(len(caps)))} & set(states)
    for state in sorted(panels):
        if sum(state) < 2:
            continue
        seats = {part.members[m].name: count for m, count in enumerate(state) if count}
        cost = float(np.nanmean(table.spent(state, "cost")))
        voted = by_case(table, _credit(table, fixed_shares(table, None, "vote", state)))
        for kind, text in _KINDS:
            if kind == "scores" and part.scores is None:
                continue
            if kind == "stack":
                credit = by_case(table, beliefs[state].credit)
            elif kind in CONFUSIONS:
                if not table.labelled:
                    continue
                read = honest_shares(kind, table.evidence, state, fold, balanced=balanced)
                if read is None:
                    continue
                credit = by_case(table, _credit(table, read))
                lead, error = lead_over(voted, credit, weights)
                if lead <= CAUTION * error:
                    continue
            else:
                credit = by_case(table, _credit(table, fixed_shares(table, None, kind, state)))
            detail = {"seats": seats, "text": f"{text} of {seat_names(seats)}"}
            found.append(Candidate(kind, detail, credit, cost, state))
    return found


_KINDS: tuple[tuple[Any, str], ...] = (
    ("vote", "the plurality"),
    ("scores", "the mean score"),
    ("stack", "the stacked posterior"),
    ("blocks", "confusion matrices"),
    ("crowd", "confusion matrices, learned without labels,"),
)


def _credit(table: Table, shares: Floats) -> Floats:
    """(R,) of a decision."""
    return np.asarray((shares * table.credit).sum(axis=1))


def seat_names(seats: Mapping[str, int]) -> str:
    """Who has how many seats, for a reader."""
    return " + ".join(f"{count} × {name}" for name, count in seats.items())


def adaptive_candidates(
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
    if any(table.means) or table.labelled:
        credit = _smooth(np.nanmean(cost, axis=1)) @ credit
    # A policy fitted on half of the cases is noisier and asks more: the whole one tells the cost.
    for i, policy in enumerate(final):
        cost[i] = walk(table, beliefs, every, policy).cost
    return [
        Candidate(
            "adaptive",
            _adaptive_detail(policy, share, table.caps, members),
            by_case(table, credit[i]),
            float(np.nanmean(cost[i])),
            policy,
        )
        for i, (share, policy) in enumerate(zip(PRICES, final, strict=False))
    ]


def _smooth(costs: Floats, reach: int = 2) -> Floats:
    """(P, P) what makes a curve of P noisy points of rising cost a local straight line.

    Neighbouring prices give nearly the same policy: the luckiest of them is no better than the
    others, and taking it would promise too much.
    """
    x = np.log(np.maximum(costs, 1e-300))
    rank = np.argsort(np.argsort(x, kind="stable"), kind="stable")
    smoother = np.zeros((len(x), len(x)))
    for i in range(len(x)):
        near = np.abs(rank - rank[i]) <= reach
        away = x[near] - x[i]
        design = np.column_stack([np.ones(len(away)), away])
        smoother[i, near] = np.linalg.pinv(design)[0]
    return smoother


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
            f"price of a frontier pass, of at most {seat_names(seats)}; "
            "the stacked posterior decides"
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
