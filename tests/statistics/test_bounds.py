from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from consensus.statistics import (
    beta_lcb,
    betting_lcb,
    cases_for_floor,
    cases_to_certify,
    certification_chance,
    fixed_sequence,
    floor_p_value,
    hoeffding_bentkus_lcb,
    hoeffding_bentkus_p,
    learn_then_test,
    passes_needed,
    rate_bound,
)


@pytest.mark.parametrize("delta", [0.01, 0.05, 0.10])
def test_a_route_of_92_is_certified_against_95_in_at_most_delta_of_runs_at_every_n(
    delta: float,
) -> None:
    chances = [certification_chance(n, 0.92, 0.95, delta=delta) for n in range(1, 2001)]
    assert max(chances) <= delta


def test_the_chance_at_the_floor_itself_never_passes_delta() -> None:
    assert all(certification_chance(n, 0.95, 0.95, delta=0.05) <= 0.05 for n in range(1, 1500))


def test_a_point_estimate_passes_a_92_against_95_in_half_of_the_runs_of_20() -> None:
    assert binom.sf(math.ceil(0.95 * 20) - 1, 20, 0.92) == pytest.approx(0.52, abs=0.005)


@pytest.mark.parametrize("floor", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("n", [1, 22, 59, 149, 459, 1000])
def test_passes_needed_is_where_the_exact_bound_first_reaches_the_floor(
    floor: float, n: int
) -> None:
    needed = passes_needed(n, floor, delta=0.05)
    if needed is None:
        assert beta_lcb(n, n, delta=0.05) < floor
    else:
        assert beta_lcb(needed, n, delta=0.05) >= floor
        assert needed == 0 or beta_lcb(needed - 1, n, delta=0.05) < floor


def test_simulated_runs_of_a_true_92_are_certified_in_at_most_delta() -> None:
    rng = np.random.default_rng(92)
    for n in (60, 150, 400):
        bounds = [rate_bound(rng.random(n) < 0.92, delta=0.05).bound >= 0.95 for _ in range(2000)]
        assert np.mean(bounds) <= 0.05


@pytest.mark.parametrize("bound", [betting_lcb, hoeffding_bentkus_lcb])
@pytest.mark.parametrize("draw", ["thirds", "uniform", "rare zeros"])
def test_bounds_of_graded_credits_lie_above_the_truth_in_at_most_delta_of_runs(
    bound: object, draw: str
) -> None:
    rng = np.random.default_rng(7)
    above = 0
    for _ in range(400):
        n = int(rng.integers(5, 120))
        if draw == "thirds":
            values, truth = (
                rng.choice([1 / 3, 2 / 3, 1.0], n, p=[0.1, 0.2, 0.7]),
                0.1 / 3 + 0.4 / 3 + 0.7,
            )
        elif draw == "uniform":
            values, truth = rng.random(n), 0.5
        else:
            values, truth = np.where(rng.random(n) < 0.06, 0.0, 0.98), 0.94 * 0.98
        above += bound(values, delta=0.1) > truth  # type: ignore[operator]
    assert above / 400 <= 0.1 + 2 * math.sqrt(0.1 * 0.9 / 400)


def test_betting_is_sharper_than_hoeffding_and_bentkus_on_steady_credits() -> None:
    values = np.full(100, 0.9)
    assert betting_lcb(values, delta=0.05) > hoeffding_bentkus_lcb(values, delta=0.05) > 0.7


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40), st.randoms())
def test_a_graded_bound_does_not_depend_on_the_order_of_the_cases(
    values: list[float], random: object
) -> None:
    other = list(values)
    random.shuffle(other)  # type: ignore[attr-defined]
    assert betting_lcb(values, delta=0.05) == betting_lcb(other, delta=0.05)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_graded_bound_lies_below_the_mean(values: list[float]) -> None:
    assert 0 <= betting_lcb(values, delta=0.05) <= np.mean(values) + 1e-9
    assert 0 <= hoeffding_bentkus_lcb(values, delta=0.05) <= np.mean(values) + 1e-6


def test_credits_of_0_and_1_get_the_exact_bound() -> None:
    exact = rate_bound([1] * 59, delta=0.05)
    assert exact.method == "clopper-pearson"
    assert exact.bound == beta_lcb(59, 59)
    assert rate_bound([1, 0.5, 1], delta=0.05).method == "betting"


def test_no_case_bounds_nothing() -> None:
    assert rate_bound([], delta=0.05).bound == 0
    assert floor_p_value([], 0.9) == 1
    assert hoeffding_bentkus_p([], 0.9) == 1


def test_the_p_value_and_the_bound_of_0_and_1_agree() -> None:
    for passes in range(50, 61):
        values = [1] * passes + [0] * (60 - passes)
        assert (floor_p_value(values, 0.9) <= 0.05) == (rate_bound(values, delta=0.05).bound >= 0.9)


def test_a_fixed_sequence_stops_at_the_first_failure_and_looks_no_further() -> None:
    def p_values() -> object:
        yield from (0.01, 0.04, 0.2)
        raise AssertionError("looked past a failure")

    assert fixed_sequence(p_values(), delta=0.05) == 2  # type: ignore[arg-type]


def test_a_fixed_sequence_rejects_any_true_hypothesis_in_at_most_delta_of_runs() -> None:
    rng = np.random.default_rng(3)
    truths = [0.97, 0.95, 0.93, 0.96]  # the second and third are at or below the floor
    false = 0
    for _ in range(2000):
        p = [floor_p_value(rng.random(300) < t, 0.95) for t in truths]
        false += fixed_sequence(p, delta=0.1) >= 2
    assert false / 2000 <= 0.1


def test_learn_then_test_is_holms_procedure() -> None:
    assert learn_then_test([0.01, 0.04, 0.03, 0.005], delta=0.05) == (True, False, False, True)
    assert learn_then_test([], delta=0.05) == ()


@pytest.mark.parametrize(
    ("floor", "delta", "n"), [(0.9, 0.1, 22), (0.95, 0.05, 59), (0.99, 0.01, 459)]
)
def test_a_route_that_never_fails_needs_the_known_numbers(
    floor: float, delta: float, n: int
) -> None:
    assert cases_to_certify(1.0, floor, delta=delta) == n == cases_for_floor(floor, delta=delta)


def test_the_planned_cases_give_the_planned_power() -> None:
    planned = cases_to_certify(0.97, 0.95, delta=0.05)
    assert planned is not None
    assert certification_chance(planned, 0.97, 0.95, delta=0.05) >= 0.8
    assert certification_chance(planned // 2, 0.97, 0.95, delta=0.05) < 0.8


def test_no_number_of_cases_certifies_a_route_below_its_floor() -> None:
    assert cases_to_certify(0.95, 0.95, delta=0.05) is None


@pytest.mark.parametrize("bad", [[0.5, 1.2], [math.nan], [[0.5]]])
def test_credits_outside_0_and_1_are_refused(bad: list[object]) -> None:
    with pytest.raises(ValueError, match="credits"):
        rate_bound(bad, delta=0.05)  # type: ignore[arg-type]
