"""How often is a certificate false? Counted over many splits, with the whole recording as truth.

Each split chooses on its calibration half and certifies on the other. A certificate is false where
the route's rate over *all* cases is below the floor. The other half alone would be no truth: halves
of one data set are anticorrelated, so that a lucky half has an unlucky one beside it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.evidence import calibration_mask
from consensus.benchmark.proposals.propose import front
from consensus.policy.certifying import clears
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
    """

    task_type: str
    floor: float
    delta: float
    runs: int
    certified: int
    false: int
    naive: int


@dataclass(frozen=True)
class Tally:
    """Cells pooled: every run counts, certificate or not."""

    runs: int
    certified: int
    false: int
    naive: int

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
) -> list[TruthCell]:
    """Certify on every split against every floor, and count what was false.

    Args:
        task_type: for the cells.
        case_ids: n of them; halves go by their hash, as everywhere.
        credits_, costs: of each candidate on every case, (n,).
        floors: to be cleared.
        delta: chance allowed.
        splits: seeds ``first_seed`` … are used.
    """
    names = sorted(credits_)
    truth = {name: float(credits_[name].mean()) for name in names}
    counts = {floor: [0, 0, 0] for floor in floors}
    for seed in range(first_seed, first_seed + splits):
        mask = calibration_mask(case_ids, seed)
        cost = {name: float(costs[name][mask].mean()) for name in names}
        quality = {name: float(credits_[name][mask].mean()) for name in names}
        sequence = front(names, cost, quality)
        held = [credits_[name][~mask] for name in sequence]
        bounds = [rate_bound(values, delta=delta).bound for values in held]
        rates = [float(values.mean()) for values in held]
        for floor in floors:
            passed = sum(clears(bounds, floor))
            if passed:
                counts[floor][0] += 1
                counts[floor][1] += truth[sequence[passed - 1]] < floor
            good = [name for name, rate in zip(sequence, rates, strict=True) if rate >= floor]
            counts[floor][2] += bool(good) and truth[good[-1]] < floor
    return [
        TruthCell(task_type, floor, delta, splits, certified, false, naive)
        for floor, (certified, false, naive) in counts.items()
    ]


def tally(cells: Sequence[TruthCell]) -> Tally:
    """Pool cells."""
    return Tally(
        sum(cell.runs for cell in cells),
        sum(cell.certified for cell in cells),
        sum(cell.false for cell in cells),
        sum(cell.naive for cell in cells),
    )
