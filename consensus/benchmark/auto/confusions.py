"""Whole panels read by what each member makes of each label, where all cases have the same labels.

The confusion matrices are those of a policy row's aggregator ``blocks``: fitted as ``consensus
bench fit`` fits them and read as a live decision reads them. With labels (``blocks``) or without
(``crowd``, Dawid & Skene 1979, as ``bench fit --no-labels``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark._fit_closed import calibrated_posteriors
from consensus.benchmark.auto.table import State
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.replay_live import calibrate_panel, labelled_panel
from consensus.benchmark.strategy import front, leaders
from consensus.errors import DataError
from consensus.orchestrators.calibration import Calibration

__all__ = ["CONFUSIONS", "fit_confusions", "honest_shares", "shares_by_confusions"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONFUSIONS = ("blocks", "crowd")
"""Kinds of candidates: learned with labels, and from votes alone."""


def fit_confusions(kind: str, order: Evidence, state: State, *, balanced: bool) -> Calibration:
    """The calibration of a panel, from the first samples of one order.

    Raises:
        DataError: no case has one right option, or a member no readable answer.
    """
    part, counts = _seated(order, state)
    return calibrate_panel(part, counts, "blocks", balanced=balanced, gold=kind == "blocks")


def shares_by_confusions(calibration: Calibration, order: Evidence, state: State) -> Floats:
    """(n, K) the leading options of one order, ties shared; nothing where nobody can be read."""
    part, counts = _seated(order, state)
    p, _ = calibrated_posteriors(calibration, labelled_panel(part, counts))
    readable = part.votes.sum(axis=(1, 2, 3)) > 0
    return np.asarray(leaders(p, part.valid) * readable[:, None])


def honest_shares(
    kind: str, orders: Sequence[Evidence], state: State, fold: Ints, *, balanced: bool
) -> Floats | None:
    """(orders · n, K) decisions on cases that the fit did not see; None where there is no fit.

    Args:
        kind: with or without labels.
        orders: of the calibration cases; the first is fitted on.
        state: seats of each member.
        fold: (n,) of the cases.
        balanced: each label weighs the same together.
    """
    shares = np.zeros((len(orders), *orders[0].valid.shape))
    for f in range(int(fold.max()) + 1):
        inside, outside = np.flatnonzero(fold == f), np.flatnonzero(fold != f)
        try:
            fit = fit_confusions(kind, orders[0].take(outside), state, balanced=balanced)
        except DataError:
            return None
        for o, order in enumerate(orders):
            shares[o, inside] = shares_by_confusions(fit, order.take(inside), state)
    return shares.reshape(-1, shares.shape[-1])


def _seated(order: Evidence, state: State) -> tuple[Evidence, tuple[int, ...]]:
    """The members that have seats, and how many."""
    who = [m for m, count in enumerate(state) if count]
    counts = tuple(state[m] for m in who)
    return front(order.only(who), counts), counts
