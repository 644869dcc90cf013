"""Recorded debates beside the blind answers they started from, and beside what their money buys.

The panel's last member is a debate (a variant that a recording calls so); the others answered
blind. Its decision is what is replayed. Told with it, always: flips for better and for worse
against its own model's blind answer, the price against one such answer, and the plain vote that the
same money buys from the blind members, cheapest first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.aggregation import votes
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.strategy import Outcome, Strategy
from consensus.errors import DataError
from consensus.statistics import mcnemar, paired_bootstrap

__all__ = ["Debate", "debate_figures"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Debate:
    """The recorded debate of the panel's last member: one sample, its own cost and time."""

    seats: int | None = None
    name: str = "debate"
    fitted: bool = True

    def fit(self, train: Evidence) -> Strategy:
        """Nothing to calibrate."""
        return self

    def runs(self, evidence: Evidence, *, draws: int, seed: int) -> Iterator[Outcome]:
        """Its recorded passes, each once."""
        _check(evidence)
        last = len(evidence.members) - 1
        for s in range(evidence.present.shape[2]):
            yield Outcome(
                shares=evidence.votes[:, last, s].astype(float),
                calls=evidence.present[:, last, s].astype(float),
                cost=evidence.cost[:, last, s],
                latency=evidence.latency[:, last, s],
                escalated=np.ones(len(evidence), dtype=bool),
                weight=evidence.present[:, last, s].astype(float),
            )

    def describe(self) -> dict[str, Any]:
        """What it is."""
        return {"strategy": self.name}


def debate_figures(evidence: Evidence, *, seed: int = 0) -> dict[str, Any]:
    """Flips, price, and the plain vote of the same money, on the cases that all of them answered.

    Args:
        evidence: blind members, and a debate last; its model has a blind member too.
        seed: of the interval.

    Returns:
        JSON values: ``blind`` and ``debated`` (accuracy, dollars a case), ``flips`` (counts,
        McNemar's exact p), ``difference`` with its interval over cases, ``cost_ratio``,
        ``plain_votes`` (its members, accuracy, dollars a case, the debate's difference to it) and
        ``dearest_single`` likewise; null where no cost is known or nothing can be bought.
    """
    own = _check(evidence)
    last = len(evidence.members) - 1
    rows = np.flatnonzero(evidence.present[:, :, 0].all(axis=1))
    part = evidence.take(rows)
    credit = np.einsum("nmk,nk->nm", part.votes[:, :, 0].astype(float), part.credit)
    price = part.cost[:, :, 0].mean(axis=0)
    before, after = credit[:, own], credit[:, last]
    flips = mcnemar(after > 0.5, before > 0.5)
    answers = part.votes[:, [own, last], 0].argmax(axis=2)
    gap = paired_bootstrap(after, before, seed=seed)
    return {
        "n": len(rows),
        "blind": _side(part, own, before, price),
        "debated": _side(part, last, after, price),
        "flips": {
            "changed": int((answers[:, 0] != answers[:, 1]).sum()),
            "wrong_to_right": flips.only_first,
            "right_to_wrong": flips.only_second,
            "p_value": flips.p_value,
        },
        "difference": gap.estimate,
        "difference_ci95": list(gap.interval),
        "cost_ratio": _ratio(price[last], price[own]),
        "plain_votes": _plain_votes(part, price, after, seed),
        "dearest_single": _dearest_single(part, price, after, seed),
    }


def _check(evidence: Evidence) -> int:
    """The place of the blind member of the debate's own model.

    Raises:
        DataError: where there is none.
    """
    *blind, debated = evidence.members
    own = [i for i, member in enumerate(blind) if member.model == debated.model]
    if not own:
        raise DataError(
            f"the last member, {debated.name}, is the debate; its model's blind answers are wanted",
            where="--panel",
            fix=f"{debated.model}@VARIANT,…,{debated.name}",
        )
    return own[0]


def _side(part: Evidence, member: int, credit: Floats, price: Floats) -> dict[str, Any]:
    return {
        "member": part.members[member].name,
        "accuracy": float(credit.mean()),
        "cost_per_case": _known(price[member]),
    }


def _plain_votes(
    part: Evidence, price: Floats, debated: Floats, seed: int
) -> dict[str, Any] | None:
    """The most blind members, cheapest first and in odd number, that the debate's cost pays for."""
    last = len(part.members) - 1
    if not np.isfinite(price[last]):
        return None
    ordered = sorted((m for m in range(last) if np.isfinite(price[m])), key=lambda m: price[m])
    fits = [n for n in range(1, len(ordered) + 1, 2) if price[ordered[:n]].sum() <= price[last]]
    if not fits:
        return None
    chosen = ordered[: fits[-1]]
    counts = part.votes[:, chosen, 0].sum(axis=1, dtype=float)
    credit = (np.asarray(votes.plurality(counts, part.valid).credit) * part.credit).sum(axis=1)
    gap = paired_bootstrap(debated, credit, seed=seed)
    return {
        "members": [part.members[m].name for m in chosen],
        "accuracy": float(credit.mean()),
        "cost_per_case": float(price[chosen].sum()),
        "difference": gap.estimate,
        "difference_ci95": list(gap.interval),
    }


def _dearest_single(
    part: Evidence, price: Floats, debated: Floats, seed: int
) -> dict[str, Any] | None:
    """One blind pass of the dearest member that the debate pays for: chosen by price alone."""
    last = len(part.members) - 1
    paid = [m for m in range(last) if np.isfinite(price[m]) and price[m] <= price[last]]
    if not paid:
        return None
    best = max(paid, key=lambda m: price[m])
    credit = np.einsum("nk,nk->n", part.votes[:, best, 0].astype(float), part.credit)
    gap = paired_bootstrap(debated, credit, seed=seed)
    return {
        **_side(part, best, credit, price),
        "difference": gap.estimate,
        "difference_ci95": list(gap.interval),
    }


def _ratio(one: float, other: float) -> float | None:
    return float(one / other) if np.isfinite(one) and np.isfinite(other) and other > 0 else None


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
