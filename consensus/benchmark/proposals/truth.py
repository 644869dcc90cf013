"""How often is a certificate false? Counted over many splits, with the whole recording as truth.

Each split chooses on its calibration half and certifies on the other. A certificate is false where
the route's rate over *all* cases is below the floor. The other half alone would be no truth: halves
of one data set are anticorrelated, so that a lucky half has an unlucky one beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.proposals.trying import front
from consensus.policy.certifying import clears
from consensus.policy.mix import coin
from consensus.statistics import clopper_pearson, rate_bound

__all__ = ["Tally", "TruthCell", "false_certificates", "tally"]

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TruthCell:
    """One task type, one floor, one delta, over all splits.

    Attributes:
        certified: splits that ended in a certificate; ``false`` of them for a route below the floor
            on all cases.
        naive: splits in which the cheapest route whose *rate* reaches the floor on the evaluation
            half is below it on all cases: what a point estimate would have done.
        coins: certificates that went to a coin between two routes; ``coins_false`` of them false.
    """

    task_type: str
    floor: float
    delta: float
    runs: int
    certified: int
    false: int
    naive: int
    coins: int = 0
    coins_false: int = 0


@dataclass(frozen=True)
class Tally:
    """Cells pooled: every run counts, certificate or not."""

    runs: int
    certified: int
    false: int
    naive: int
    coins: int = 0
    coins_false: int = 0

    @property
    def share(self) -> float:
        """False certificates over runs."""
        return self.false / self.runs if self.runs else 0.0

    def interval(self) -> tuple[float, float]:
        """Exact 95 % interval of the share, as if runs were independent: splits of one data set
        are not, so it is rather too narrow."""
        low, high = clopper_pearson(self.false, self.runs) if self.runs else (0.0, 1.0)
        return float(low), float(high)


def false_certificates(
    task_type: str,
    case_ids: Sequence[str],
    credits_: Mapping[str, Floats],
    costs: Mapping[str, Floats],
    *,
    floors: Sequence[float],
    delta: float,
    splits: int = 200,
    first_seed: int = 0,
    coins: Sequence[float] = (),
) -> list[TruthCell]:
    """Certify on every split against every floor, and count what was false.

    Args:
        task_type: for the cells.
        case_ids: n of them; halves go by their hash, as everywhere.
        credits_, costs: of each candidate on every case, (n,).
        floors: to be cleared.
        delta: chance allowed.
        splits: seeds ``first_seed`` … are used.
        coins: shares with which every two neighbours of a split's front are mixed, as further
            routes: a case falls to one of the two by the coin that would serve it.
    """
    counts = {floor: [0, 0, 0, 0, 0] for floor in floors}
    thrown = np.array([coin(case) for case in case_ids])
    rows = sorted(credits_)
    known, prices = dict(credits_), dict(costs)
    truth = {name: float(credits_[name].mean()) for name in rows}
    for seed in range(first_seed, first_seed + splits):
        mask = calibration_mask(case_ids, seed)
        cost = {name: float(costs[name][mask].mean()) for name in rows}
        quality = {name: float(credits_[name][mask].mean()) for name in rows}
        sequence = front(rows, cost, quality)
        for dear, cheap in pairwise(sequence) if coins else ():
            for share in coins:
                name = _mixed(known, prices, dear, cheap, thrown, share)
                truth.setdefault(name, float(known[name].mean()))
                cost[name] = float(prices[name][mask].mean())
                quality[name] = float(known[name][mask].mean())
        if coins:
            sequence = front(sorted(cost), cost, quality)
        held = [known[name][~mask] for name in sequence]
        bounds = [rate_bound(values, delta=delta).bound for values in held]
        rates = [float(values.mean()) for values in held]
        for floor in floors:
            passed = sum(clears(bounds, floor))
            if passed:
                chosen = sequence[passed - 1]
                false, mixed = truth[chosen] < floor, chosen not in credits_
                counts[floor][0] += 1
                counts[floor][1] += false
                counts[floor][3] += mixed
                counts[floor][4] += mixed and false
            good = [name for name, rate in zip(sequence, rates, strict=True) if rate >= floor]
            counts[floor][2] += bool(good) and truth[good[-1]] < floor
    return [
        TruthCell(task_type, floor, delta, splits, *counted) for floor, counted in counts.items()
    ]


def _mixed(
    known: dict[str, Floats],
    prices: dict[str, Floats],
    dear: str,
    cheap: str,
    thrown: Floats,
    share: float,
) -> str:
    """The name of a coin that gives ``share`` of the cases to the dearer of two routes; its credit
    and cost are added to what is known."""
    name = f"mix: {share:.0%} {dear}, {1 - share:.0%} {cheap}"
    if name not in known:
        falls = thrown < share
        known[name] = np.where(falls, known[dear], known[cheap])
        prices[name] = np.where(falls, prices[dear], prices[cheap])
    return name


def tally(cells: Sequence[TruthCell]) -> Tally:
    """Pool cells."""
    return Tally(
        sum(cell.runs for cell in cells),
        sum(cell.certified for cell in cells),
        sum(cell.false for cell in cells),
        sum(cell.naive for cell in cells),
        sum(cell.coins for cell in cells),
        sum(cell.coins_false for cell in cells),
    )
