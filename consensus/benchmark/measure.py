"""A strategy run over evidence, as per-case means; and the figures of a set of cases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.acting import ACTED, Acting, acted_columns
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.fixed_panels import Single
from consensus.benchmark.strategy import Outcome, Strategy
from consensus.statistics import cohen_kappa

__all__ = ["Measured", "figures", "frontier_passes", "measure"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """Means over sample orders, a row a case.

    Attributes:
        credit: (n,) right answers, ties split.
        strict: (n,) decisions that are one option, and right.
        tie: (n,) decisions that are tied.
        calls, cost, latency: (n,) means; cost and latency are NaN where unknown.
        escalated: (n,).
        joint: (n, K+1, K+1) the decision against the frontier's answer; the last row and column
            stand for none. None where no frontier was given.
        gold: (n,) the option that is most right.
        latencies: (orders, n) latency of every order; NaN where a case was not run.
        acts: what acting did, by the columns of :data:`.acting.ACTED`; None without a rule.
    """

    credit: Floats
    strict: Floats
    tie: Floats
    calls: Floats
    cost: Floats
    latency: Floats
    escalated: Floats
    joint: Floats | None
    gold: NDArray[np.int64]
    latencies: NDArray[np.float32]
    acts: Mapping[str, Floats] | None = None

    def __len__(self) -> int:
        return len(self.credit)

    def take(self, rows: NDArray[np.int64]) -> Measured:
        """Some of the cases."""
        columns: dict[str, Any] = {
            name: getattr(self, name)[rows]
            for name in ("credit", "strict", "tie", "calls", "cost", "latency", "escalated", "gold")
        }
        joint = None if self.joint is None else self.joint[rows]
        acts = self.acts and {name: values[rows] for name, values in self.acts.items()}
        return replace(self, **columns, joint=joint, latencies=self.latencies[:, rows], acts=acts)


def frontier_passes(frontier: Evidence) -> tuple[Floats, Floats]:
    """The frontier's recorded passes: shares (passes, n, K) and whether they exist (passes, n)."""
    n, members, samples, width = frontier.votes.shape
    shares = np.moveaxis(frontier.votes.reshape(n, members * samples, width), 1, 0)
    return shares.astype(float), frontier.present.reshape(n, -1).T.astype(float)


def measure(
    strategy: Strategy,
    evidence: Evidence,
    frontier: Evidence | None = None,
    *,
    draws: int = 64,
    seed: int = 0,
    acting: Acting | None = None,
) -> Measured:
    """Run a strategy over random sample orders and average by case.

    A case on which nothing ran (no recorded sample) counts as wrong and free. An outcome may hold
    several orders, stacked as further cases.
    """
    n = len(evidence)
    joint = None if frontier is None else _Joint(frontier)
    sums = {name: np.zeros(n) for name in (*_SUMMED, *(ACTED if acting else ()))}
    total = np.zeros(n)
    latencies = []
    for outcome in strategy.runs(evidence, draws=draws, seed=seed):
        orders = len(outcome.calls) // n
        weight = np.ones((orders, n))
        if outcome.weight is not None:
            weight = outcome.weight.reshape(orders, n)
        total += weight.sum(axis=0)
        columns = _per_case(outcome, evidence.credit)
        if acting is not None:
            valid = np.tile(evidence.valid, (orders, 1))
            credit = np.tile(evidence.credit, (orders, 1))
            columns |= acted_columns(outcome, valid, credit, acting)
        for name, values in columns.items():
            folded = values.reshape(orders, n)
            sums[name] += np.where(weight > 0, weight * folded, 0.0).sum(axis=0)
        waited = outcome.latency.reshape(orders, n)
        latencies.append(np.where(weight > 0, waited, np.nan).astype(np.float32))
        if joint is not None:
            joint.add(outcome.shares.reshape(orders, n, -1), weight)
    scale = 1 / np.maximum(total, 1e-12)
    return Measured(
        **{name: sums[name] * scale for name in _SUMMED},
        acts={name: sums[name] * scale for name in ACTED} if acting else None,
        joint=None if joint is None else joint.table() * scale[:, None, None],
        gold=np.asarray(evidence.credit.argmax(axis=1)),
        latencies=np.concatenate(latencies),
    )


_SUMMED = ("credit", "strict", "tie", "calls", "cost", "latency", "escalated")


def _per_case(outcome: Outcome, credit: Floats) -> dict[str, Floats]:
    folded = outcome.shares.reshape(-1, *credit.shape)
    right = np.einsum("onk,nk->on", folded, credit).ravel()
    tied = (outcome.shares > 1e-12).sum(axis=1) > 1
    return {
        "credit": right,
        "strict": np.where(tied, 0.0, right),
        "tie": tied.astype(float),
        "calls": outcome.calls,
        "cost": outcome.cost,
        "latency": outcome.latency,
        "escalated": outcome.escalated.astype(float),
    }


class _Joint:
    """Decisions against the mean of the frontier's passes, summed over sample orders.

    A decision for one option meets a pass as the product of the two, so that all orders may be
    added up first; only where both are tied are their shares matched (see ``overlap_confusion``).
    """

    def __init__(self, frontier: Evidence) -> None:
        shares, self._exists = frontier_passes(frontier)
        none = 1 - shares.sum(axis=2, keepdims=True)
        self._passes = np.concatenate([shares, none], axis=2)
        self._seen = np.maximum(self._exists.sum(axis=0), 1)
        here = self._exists[:, :, None]
        self._mean = (self._passes * here).sum(axis=0) / self._seen[:, None]
        self._torn = ((self._passes > 1e-12).sum(axis=2) > 1) & (self._exists > 0)
        n, width = self._mean.shape
        self._single = np.zeros((n, width))
        self._matched = np.zeros((n, width, width))

    def add(self, shares: Floats, weight: Floats) -> None:
        """Decisions (orders, n, K) with their weights (orders, n)."""
        mine = np.concatenate([shares, 1 - shares.sum(axis=2, keepdims=True)], axis=2)
        torn = ((mine > 1e-12).sum(axis=2) > 1) & self._torn.any(axis=0)
        self._single += np.where(torn[:, :, None], 0.0, mine * weight[:, :, None]).sum(axis=0)
        order, case = np.nonzero(torn)
        if not len(case):
            return
        table = np.zeros((len(case), *self._matched.shape[1:]))
        diagonal = np.arange(table.shape[1])
        held = mine[order, case]
        for theirs, here in zip(self._passes[:, case], self._exists[:, case], strict=True):
            shared = np.minimum(held, theirs)
            left, right = held - shared, theirs - shared
            mass = left.sum(axis=1)
            scale = np.divide(here, mass, out=np.zeros(len(mass)), where=mass > 1e-12)
            table[:, diagonal, diagonal] += shared * here[:, None]
            table += (left * scale[:, None])[:, :, None] * right[:, None, :]
        table *= (weight[order, case] / self._seen[case])[:, None, None]
        np.add.at(self._matched, case, table)

    def table(self) -> Floats:
        """(n, K+1, K+1) the sums."""
        return np.asarray(self._matched + self._single[:, :, None] * self._mean[:, None, :])


def figures(measured: Measured, frontier: Measured, *, labelled: bool) -> dict[str, float | None]:
    """The figures of one set of cases; None where they cannot be known."""
    accuracy = float(measured.credit.mean())
    cost = _mean(measured.cost)
    base_cost = _mean(frontier.cost)
    latency, base_latency = _median(measured.latencies), _median(frontier.latencies)
    agreement, kappa = _agreement(measured)
    return {
        "accuracy": accuracy,
        "accuracy_strict": float(measured.strict.mean()),
        "balanced_accuracy": _balanced(measured) if labelled else None,
        "frontier_accuracy": float(frontier.credit.mean()),
        "frontier_balanced_accuracy": _balanced(frontier) if labelled else None,
        "difference": accuracy - float(frontier.credit.mean()),
        "agreement": agreement,
        "agreement_kappa": kappa,
        "calls_per_case": float(measured.calls.mean()),
        "cost_per_case": cost,
        "frontier_cost_per_case": base_cost,
        "cost_ratio": _over(cost, base_cost),
        "cost_per_correct": _over(cost, accuracy),
        "cost_per_quality_point": _over(cost, 100 * accuracy),
        "latency_p50": latency,
        "latency_ratio": _over(latency, base_latency),
        "escalation_rate": float(measured.escalated.mean()),
        "tie_rate": float(measured.tie.mean()),
    }


def measure_single(
    evidence: Evidence, frontier: Evidence | None = None, *, members: list[int] | None = None
) -> Measured:
    """One pass of one member (or of the mean of several)."""
    part = evidence if members is None else evidence.only(members)
    return measure(Single(), part, frontier)


def _mean(values: Floats) -> float | None:
    mean = float(values.mean())
    return mean if np.isfinite(mean) else None


def _median(values: NDArray[np.float32]) -> float | None:
    """Median over cases and orders that ran; None where one of them has no time."""
    ran = values[:, ~np.isnan(values).all(axis=0)]
    if ran.size == 0 or ran.shape[1] < values.shape[1]:
        return None
    return float(np.nanmedian(ran))


def _over(part: float | None, whole: float | None) -> float | None:
    return None if part is None or not whole else part / whole


def _balanced(measured: Measured) -> float:
    classes = np.unique(measured.gold)
    return float(np.mean([measured.credit[measured.gold == c].mean() for c in classes]))


def _agreement(measured: Measured) -> tuple[float | None, float | None]:
    if measured.joint is None:
        return None, None
    table = measured.joint.sum(axis=0, dtype=float)
    options = len(table) - 1
    return float(np.trace(table[:options, :options]) / len(measured)), cohen_kappa(table)
