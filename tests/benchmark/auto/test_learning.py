"""What is learned across folds: nothing of a case decides what is believed of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.benchmark.auto.lattice import fit_stacks
from consensus.benchmark.auto.learning import L2, calibration_table, honest_beliefs
from consensus.benchmark.auto.search import folds_of
from consensus.benchmark.evidence import Evidence
from tests.benchmark.auto.test_scales import simulated

STATE = (1,)


def believed(part: Evidence) -> NDArray[np.float64]:
    """(n,) the probability of each case's leader, honestly."""
    weights = np.ones(len(part))
    table, _ = calibration_table(part, STATE, "calls", weights, 0)
    fold = folds_of(part.case_ids, 4)
    stacks = fit_stacks(table, np.arange(len(table)), weights, [STATE], l2=L2)
    return honest_beliefs(table, [STATE], stacks, {STATE: 1.0}, fold, weights, part)[STATE].top


def test_labels_of_a_fold_change_nothing_of_what_is_believed_of_it() -> None:
    part = simulated(160, lambda s: 0.1 * s + np.maximum(s - 6, 0.0))
    own = folds_of(part.case_ids, 4) == 0
    credit = part.credit.copy()
    credit[own] = np.roll(credit[own], 1, axis=1)
    one, other = believed(part), believed(replace(part, credit=credit))
    assert other[own] == pytest.approx(one[own], abs=1e-3)
    assert np.abs(other - one)[~own].max() > 0.01
