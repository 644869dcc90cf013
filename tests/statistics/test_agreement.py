"""Agreement against scikit-learn and the published example."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.metrics.agreement import AnnotationTask  # type: ignore[import-untyped]
from nltk.metrics.distance import (  # type: ignore[import-untyped]
    binary_distance,
    interval_distance,
)

from consensus.statistics import cohen_kappa, confusion, krippendorff_alpha, overlap_confusion

N = np.nan
# Krippendorff (2011), section E: four observers, twelve units, missing values.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, N, N, N],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, N, 3],
        [N, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, N],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, N],
    ]
)


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_of_the_published_example(level: str, alpha: float) -> None:
    assert krippendorff_alpha(PUBLISHED, level=level) == pytest.approx(alpha, abs=5e-4)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "distance"), [("nominal", binary_distance), ("interval", interval_distance)]
)
def test_alpha_equals_nltk_on_random_ratings(level: str, distance: object) -> None:
    rng = np.random.default_rng(1)
    for _ in range(10):
        values = rng.integers(1, 5, (4, 20)).astype(float)
        values[rng.random(values.shape) < 0.2] = np.nan
        values[:2, :] = np.nan_to_num(values[:2, :], nan=1)
        rows = [(str(r), str(u), int(v)) for (r, u), v in np.ndenumerate(values) if np.isfinite(v)]
        theirs = AnnotationTask(rows, distance=distance).alpha()
        assert krippendorff_alpha(values, level=level) == pytest.approx(theirs)  # type: ignore[arg-type]


def test_alpha_ignores_the_order_of_raters_and_units() -> None:
    rng = np.random.default_rng(0)
    shuffled = PUBLISHED[rng.permutation(4)][:, rng.permutation(12)]
    assert krippendorff_alpha(shuffled) == pytest.approx(krippendorff_alpha(PUBLISHED))


def test_alpha_is_not_defined_without_variation_or_pairs() -> None:
    assert krippendorff_alpha(np.ones((3, 4))) is None
    assert krippendorff_alpha(np.array([[1, N], [N, 2]])) is None


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=2, max_size=60))
def test_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    first, second = (np.array(side) for side in zip(*pairs, strict=True))
    for weights in ("none", "linear", "quadratic"):
        mine = cohen_kappa(confusion(first, second, 4), weights=weights)
        if mine is None:
            assert len(set(first) | set(second)) == 1
            continue
        theirs = sklearn.cohen_kappa_score(
            first, second, labels=range(4), weights=None if weights == "none" else weights
        )
        assert mine == pytest.approx(theirs)


def test_kappa_of_cohens_textbook_table() -> None:
    assert cohen_kappa([[20, 5], [10, 15]]) == pytest.approx(0.4)


def test_missing_labels_pair_with_nothing() -> None:
    assert confusion([0, -1, 1], [0, 1, -1], 2).tolist() == [[1, 0], [0, 0]]


def test_overlap_of_untied_decisions_is_the_confusion_matrix() -> None:
    first, second = np.array([0, 1, 2, 2]), np.array([0, 2, 2, 1])
    eye = np.eye(3)
    assert (
        overlap_confusion(eye[first], eye[second]).tolist() == confusion(first, second, 3).tolist()
    )


def test_equal_ties_agree_fully_and_half_ties_half() -> None:
    tie = np.array([[0.5, 0.5, 0.0]])
    assert np.trace(overlap_confusion(tie, tie)) == pytest.approx(1)
    one = np.array([[1.0, 0.0, 0.0]])
    table = overlap_confusion(one, tie)
    assert table[0].tolist() == [0.5, 0.5, 0.0]
    assert table.sum() == pytest.approx(1)
