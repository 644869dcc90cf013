"""Kinds of classifiers on the same cases."""

from __future__ import annotations

import numpy as np
import pytest

from consensus.policy.classify.comparing import COVERAGES, Rival, compare
from consensus.policy.classify.embedding import Embedded
from consensus.policy.classify.training import held_out, train
from tests.loopback.embeddings import vector
from tests.policy.classify.test_training import cases


def rival(name: str, hits: list[int], leaders: list[float] | None = None) -> Rival:
    sure = None if leaders is None else np.array(leaders)
    return Rival(name, np.array(hits, dtype=bool), sure, 0.0, 0.0, 0.0)


def test_a_rival_is_paired_with_the_first_case_by_case() -> None:
    first, second = compare(
        [rival("a", [1, 1, 0, 0, 0, 0, 0, 0]), rival("b", [0, 1, 1, 1, 1, 1, 1, 0])]
    )
    assert (first.gained, first.lost, first.p_value) == (0, 0, 1.0)
    assert (second.gained, second.lost) == (5, 1)
    assert second.p_value == pytest.approx(2 * (1 + 6) / 2**6)
    assert second.accuracy == 0.75
    assert second.interval.low < 0.75 < second.interval.high


def test_the_curve_keeps_the_surest_and_shares_the_credit_of_ties() -> None:
    (row,) = compare([rival("a", [1, 1, 1, 0, 0], [0.9, 0.8, 0.5, 0.5, 0.1])])
    assert row.curve is not None
    assert dict(zip(COVERAGES, row.curve, strict=True)) == pytest.approx(
        {1.0: 0.6, 0.8: 0.75, 0.6: 2.5 / 3, 0.4: 1.0, 0.2: 1.0}
    )


def test_the_order_of_cases_means_nothing() -> None:
    hits, leaders = [1, 0, 1, 0, 1, 1], [0.5, 0.5, 0.5, 0.9, 0.2, 0.5]
    (row,) = compare([rival("a", hits, leaders)])
    (turned,) = compare([rival("a", hits[::-1], leaders[::-1])])
    assert row.curve == pytest.approx(turned.curve)


def test_a_rival_without_probabilities_has_no_curve() -> None:
    (row,) = compare([rival("asked", [1, 0])])
    assert row.curve is None
    assert row.to_json()["accuracy_at_coverage"] is None


def test_held_out_cases_are_those_by_which_training_measures_itself() -> None:
    shown = cases(90)
    embedded = Embedded(tuple(map(vector, shown.texts)), None, (0.01,) * 90)
    held = held_out(shown, embedded=embedded)
    made = train(shown, kind="embedding", embedder="a/b", embedded=embedded)
    assert made.data.trained.accuracy == held.hits.mean()
    assert ((held.leaders() > 0) & (held.leaders() <= 1)).all()
