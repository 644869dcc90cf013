from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from consensus.aggregation import _numerics as nu
from consensus.aggregation._numerics import FloatArray

ROWS = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=1, max_dims=2, max_side=12), elements=st.floats(-1e6, 1e6)
)


@given(ROWS, st.data())
def test_a_canonical_sum_does_not_know_the_order(x: FloatArray, data: st.DataObject) -> None:
    order = list(data.draw(st.permutations(range(x.shape[-1]))))
    np.testing.assert_array_equal(nu.canonical_sum(x), nu.canonical_sum(x[..., order]))


@given(ROWS)
def test_a_row_sums_the_same_alone_and_among_others(x: FloatArray) -> None:
    rows = np.atleast_2d(x)
    together = nu.canonical_sum(np.concatenate([rows[::-1], rows]))
    np.testing.assert_array_equal(together[-1], nu.canonical_sum(rows[-1]))


@given(ROWS, st.data())
def test_softmax_follows_a_permutation_to_the_bit(x: FloatArray, data: st.DataObject) -> None:
    order = list(data.draw(st.permutations(range(x.shape[-1]))))
    np.testing.assert_array_equal(nu.softmax(x)[..., order], nu.softmax(x[..., order]))


def test_softmax_gives_nothing_to_what_is_masked() -> None:
    p = nu.softmax([1.0, 1.0, 99.0], np.array([True, True, False]))
    np.testing.assert_array_equal(p, [0.5, 0.5, 0.0])


def test_the_log_of_zero_is_minus_infinity_and_of_less_an_error() -> None:
    assert nu.as_log([0.0])[0] == -math.inf
    with pytest.raises(ValueError, match="≥ 0"):
        nu.as_log([-0.1])


@given(st.floats(0.01, 0.99), st.floats(0.05, 0.95), st.integers(0, 30))
def test_the_rising_table_is_a_ratio_of_gamma_functions(c: float, rho: float, n: int) -> None:
    s = 1 / rho - 1
    expected = math.lgamma(s * c + n) - math.lgamma(s * c) - n * math.log(s)
    table = nu.rising_table(c, 1 / s, 30)
    assert table.shape == (31,)
    assert table[n] == pytest.approx(expected, abs=1e-8)


def test_without_correlation_the_rising_table_is_a_power() -> None:
    np.testing.assert_allclose(nu.rising_table(0.3, 0.0, 3), np.arange(4) * math.log(0.3))


@given(st.floats(-700, 700))
def test_expit_and_logit_are_each_others_inverse(x: float) -> None:
    p = float(nu.expit(x))
    assert 0.0 <= p <= 1.0
    if abs(x) < 13:
        assert nu.logit(p) == pytest.approx(x, abs=1e-6)


def test_a_mean_leaves_out_what_is_missing() -> None:
    np.testing.assert_array_equal(
        nu.canonical_mean([[1.0, np.nan, 3.0], [np.nan] * 3]), [2.0, np.nan]
    )
