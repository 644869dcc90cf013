"""Agreement of orders."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from consensus.oracles import Ranking
from consensus.oracles.ranking import kendall_tau_b


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=8))
def test_tau_b_equals_scipys(pairs: list[tuple[int, int]]) -> None:
    a = dict(enumerate(x for x, _ in pairs))
    b = dict(enumerate(y for _, y in pairs))
    if len(set(a.values())) == 1 or len(set(b.values())) == 1:
        assert kendall_tau_b(a, b) == 0.0  # scipy says NaN
        return
    expected = kendalltau(list(a.values()), list(b.values())).statistic
    assert kendall_tau_b(a, b) == pytest.approx(expected)


def test_the_same_order_passes_and_its_reverse_scores_nothing() -> None:
    oracle = Ranking()
    assert oracle.judge(["a", "b", "c"], ["a", "b", "c"]).passed
    assert oracle.judge(["c", "b", "a"], ["a", "b", "c"]).score == 0.0


def test_only_a_permutation_of_the_same_items_is_an_order() -> None:
    for answer in (["a", "b"], ["a", "b", "b"], ["a", "b", "x"], "abc"):
        assert not Ranking(floor=0.01).judge(answer, ["a", "b", "c"]).passed


def test_top_k_looks_only_at_who_is_among_the_first() -> None:
    oracle = Ranking(top_k=2)
    for order in itertools.permutations("abcd"):
        result = oracle.judge(list(order), list("abcd"))
        assert result.passed == (set(order[:2]) == {"a", "b"})
