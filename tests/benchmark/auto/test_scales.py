"""What points are worth, on judges whose scale is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from consensus.benchmark.auto.scales import Scale, by_worth, learn_scales
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.run_format.columns import Member

Floats = NDArray[np.float64]
WIDTH = 4


def judged(scores: Floats, right: NDArray[np.int64]) -> Evidence:
    """One judge, one sample of each case."""
    n = len(scores)
    empty: Any = np.zeros((n, 1, 1))
    return Evidence(
        tuple(f"c{i}" for i in range(n)),
        (Member("judge", "base"),),
        np.eye(WIDTH, dtype=np.float32)[scores.argmax(axis=1)][:, None, None],
        empty == 0,
        scores[:, None, None].astype(np.float32),
        empty,
        empty,
        {},
        np.ones((n, WIDTH), dtype=bool),
        np.eye(WIDTH)[right],
        np.zeros(n, dtype=np.int64),
        ("",),
        False,
        False,
    )


def simulated(cases: int, worth: Any, seed: int = 0) -> Evidence:
    """Scores 1 to 10 at random; an option is right by the softmax of what they are worth."""
    rng = np.random.default_rng(seed)
    scores = rng.integers(1, 11, (cases, WIDTH)).astype(float)
    odds = worth(scores) + rng.gumbel(size=scores.shape)
    return judged(scores, odds.argmax(axis=1))


def step(scale: Scale, score: float) -> float:
    low, high = scale.worth(np.array([score, score + 1.0]))
    return float(high - low)


def test_points_that_tell_more_at_the_top_are_worth_more_there() -> None:
    train = simulated(600, lambda s: 0.1 * s + np.maximum(s - 6, 0.0))
    (scale,) = learn_scales(train, np.ones(600))
    assert step(scale, 7) > 3 * step(scale, 3)
    assert step(scale, 3) == pytest.approx(0.1, abs=0.1)


def test_a_straight_scale_stays_nearly_straight() -> None:
    train = simulated(400, lambda s: 0.5 * s)
    (scale,) = learn_scales(train, np.ones(400))
    assert [step(scale, s) for s in (2, 4, 6, 8)] == pytest.approx([0.5] * 4, abs=0.2)


def test_too_few_cases_leave_points_as_they_are() -> None:
    train = simulated(19, lambda s: s)
    scales = learn_scales(train, np.ones(19))
    assert scales == (Scale(),)
    read = by_worth(train, scales)
    assert train.scores is not None
    assert read.scores is not None
    assert np.array_equal(read.scores, train.scores)


def test_a_scale_stretched_by_a_factor_is_worth_the_same() -> None:
    train = simulated(300, lambda s: 0.1 * s + np.maximum(s - 6, 0.0))
    assert train.scores is not None
    wide = judged(10.0 * train.scores[:, 0, 0].astype(float), train.credit.argmax(axis=1))
    (one,), (other,) = learn_scales(train, np.ones(300)), learn_scales(wide, np.ones(300))
    levels: Floats = np.arange(1.0, 11.0, dtype=np.float64)
    assert one.worth(levels) == pytest.approx(other.worth(10 * levels), abs=1e-3)


def test_an_option_without_a_score_keeps_none() -> None:
    worth = Scale((3.0,), (1.0, 2.0)).worth(np.array([np.nan, 2.0, 5.0]))
    assert np.isnan(worth[0])
    assert worth[1:].tolist() == [2.0, 9.0]
