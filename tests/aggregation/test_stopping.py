from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import stopping as stop
from consensus.aggregation.votes import plurality
from tests.aggregation.strategies import blocked_counts


@given(st.lists(st.integers(0, 5), min_size=2, max_size=4), st.integers(0, 4))
def test_certain_holds_exactly_when_no_completion_changes_the_winner(
    counts: list[int], remaining: int
) -> None:
    winner = plurality(counts).winner
    always = winner >= 0 and all(
        plurality(np.add(counts, np.bincount(rest, minlength=len(counts)))).winner == winner
        for rest in map(list, itertools.product(range(len(counts)), repeat=remaining))
        if rest
    )
    assert bool(stop.certain(counts, remaining)) == bool(always)


def test_certain_counts_weight_not_seats() -> None:
    assert stop.certain([5.0, 1.0], 3.5)
    assert not stop.certain([5.0, 1.0], 4.0)


@given(st.lists(st.integers(0, 5), min_size=2, max_size=4), st.integers(0, 3), st.integers(1, 3))
def test_a_supermajority_is_settled_exactly_when_completions_agree(
    counts: list[int], remaining: int, over: int
) -> None:
    needed = (sum(counts) + remaining) // 2 + over
    outcomes = set()
    for rest in itertools.product(range(len(counts)), repeat=remaining):
        final = np.array(counts)
        for vote in rest:
            final[vote] += 1
        outcomes.add(int(final.argmax()) if final.max() >= needed else -1)
    settled = bool(stop.supermajority_settled(counts, remaining, needed))
    assert settled == (len(outcomes) == 1)


def test_a_quorum_out_of_reach_settles() -> None:
    np.testing.assert_array_equal(stop.quorum_settled([1, 2], [1, 1], 3), [True, False])


def test_a_veto_settles_when_cast_or_out_of_reach() -> None:
    np.testing.assert_array_equal(stop.veto_settled([2, 1, 0], [3, 1, 1], 2), [True, False, True])


@pytest.mark.parametrize(
    ("p", "options", "error", "lead"),
    [(0.8, 2, 0.05, 3), (0.6, 2, 0.05, 8), (0.8, 4, 0.05, 2), (0.9, 2, 0.01, 3)],
)
def test_the_lead_needed_follows_the_formula(
    p: float, options: int, error: float, lead: int
) -> None:
    top = math.log((options - 1) * (1 - error) / error)
    assert lead == math.ceil(top / math.log((options - 1) * p / (1 - p)))
    assert stop.lead_needed(p, options, error) == lead


def test_first_to_lead_by_k_keeps_its_error_with_independent_seats() -> None:
    rng = np.random.default_rng(6)
    p, error = 0.7, 0.05
    k = stop.lead_needed(p, error=error)
    walk = np.where(rng.random((20_000, 400)) < p, 1, -1).cumsum(axis=1)
    first = (np.abs(walk) >= k).argmax(axis=1)
    wrong = walk[np.arange(len(walk)), first] < 0
    assert wrong.mean() <= error
    assert (first + 1).mean() >= stop.wald_bound(p, error=wrong.mean())


def test_the_odds_must_hold_against_each_rival() -> None:
    np.testing.assert_array_equal(
        stop.odds_decided([[0.95, 0.05], [0.94, 0.06], [0.90, 0.04], [1.0, 0.0]], 0.05),
        [True, False, True, True],
    )


def test_the_beta_rule_is_the_incomplete_beta_function() -> None:
    from scipy.special import betainc

    counts = np.array([[a, b] for a in range(13) for b in range(a + 1)])
    expected = 1 - betainc(counts[:, 0] + 1, counts[:, 1] + 1, 0.5)
    np.testing.assert_allclose(stop.beta_confidence(counts), expected, atol=1e-12)


def test_adaptive_consistency_needs_four_votes_of_one_mind() -> None:
    np.testing.assert_array_equal(
        stop.beta_decided([[3, 0], [4, 0], [5, 1], [6, 1]]), [False, True, False, True]
    )


def mode_probability_by_enumeration(
    counts: list[int], shares: list[list[float]], weights: list[float]
) -> float:
    """The exact posterior over all ways in which sorted shares can belong to the answers."""
    leader = int(np.argmax(counts))
    total = hit = 0.0
    for row, weight in zip(shares, weights, strict=True):
        for order in itertools.permutations(range(len(row))):
            mass = weight * math.prod(row[r] ** n for r, n in zip(order, counts, strict=True))
            total += mass
            hit += mass if order[leader] == 0 else 0.0
    return hit / total


@pytest.mark.parametrize("counts", [[3, 1, 0], [4, 0, 0], [2, 1, 1], [6, 3, 1]])
def test_the_type_prior_is_exact_for_up_to_three_answers(counts: list[int]) -> None:
    shares = [[0.8, 0.15, 0.05], [0.5, 0.3, 0.2]]
    weights = [0.7, 0.3]
    prior = stop.TypePrior(np.array(shares), np.array(weights))
    assert stop.prior_confidence(counts, prior) == pytest.approx(
        mode_probability_by_enumeration(counts, shares, weights)
    )


def test_a_task_type_of_easy_cases_stops_earlier_than_the_flat_prior() -> None:
    rng = np.random.default_rng(7)
    history = rng.multinomial(8, [0.95, 0.03, 0.02], size=300)
    prior = stop.fit_type_prior(history)
    assert stop.prior_decided([2, 0, 0], prior)
    assert not stop.beta_decided([2, 0, 0])


def test_a_task_type_of_even_splits_does_not_stop_where_the_flat_prior_does() -> None:
    rng = np.random.default_rng(8)
    prior = stop.fit_type_prior(rng.multinomial(40, [0.51, 0.49], size=300))
    assert stop.beta_decided([4, 0])
    assert not stop.prior_decided([4, 0], prior)


def test_a_type_prior_is_a_mixture_of_descending_shares() -> None:
    rng = np.random.default_rng(9)
    prior = stop.fit_type_prior(rng.multinomial(10, [0.5, 0.2, 0.1] + [0.025] * 8, size=50))
    assert prior.shares.shape[1] == 6
    assert prior.weights.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(prior.shares.sum(axis=1), 1.0)
    assert (np.diff(prior.shares, axis=1) <= 1e-12).all()


def test_a_history_without_votes_is_refused() -> None:
    with pytest.raises(ValueError, match="holds votes"):
        stop.fit_type_prior(np.zeros((3, 2)))


def test_walds_test_stops_at_its_bounds() -> None:
    # 0.75 against 0.5: each vote for the leader adds ln 1.5, each against takes ln 2.
    bound = math.ceil(math.log(19) / math.log(1.5))
    assert stop.sprt_decided([bound, 0])
    assert not stop.sprt_decided([bound - 1, 0])
    assert stop.sprt_decided([13, 13])  # an even split is a decision too


def test_the_mixture_test_is_its_integral() -> None:
    from scipy.integrate import quad

    for a, b in [(5, 0), (6, 1), (9, 3), (7, 0)]:
        ratio = 2 * quad(lambda t, a=a, b=b: t**a * (1 - t) ** b, 0.5, 1)[0] * 2 ** (a + b)
        assert bool(stop.mixture_sprt_decided([a, b])) == (ratio >= 20)


def test_the_mixture_test_keeps_its_level_on_an_even_panel_watched_forever() -> None:
    rng = np.random.default_rng(10)
    ones = (rng.random((2000, 200)) < 0.5).cumsum(axis=1)
    for_first = np.stack([ones, np.arange(1, 201) - ones], axis=-1)
    stopped = stop.mixture_sprt_decided(for_first) & (for_first[..., 0] > for_first[..., 1])
    assert stopped.any(axis=1).mean() <= 0.05


def test_walds_bound_is_below_every_rule_that_keeps_the_error() -> None:
    assert stop.wald_bound(0.8, 2, 0.05) == pytest.approx(0.9 * math.log(19) / (0.6 * math.log(4)))
    assert stop.wald_bound(0.8, 4, 0.05) < stop.wald_bound(0.8, 2, 0.05)


@given(blocked_counts(), st.data())
def test_rules_do_not_depend_on_the_options_order(counts: np.ndarray, data: st.DataObject) -> None:
    order = list(data.draw(st.permutations(range(counts.shape[1]))))
    total = counts.sum(axis=0)
    prior = stop.TypePrior(np.array([[0.7, 0.2, 0.1]]), np.array([1.0]))
    for value in (
        lambda c: stop.certain(c, 2),
        lambda c: stop.ahead(c, 3),
        stop.beta_decided,
        stop.sprt_decided,
        stop.mixture_sprt_decided,
        lambda c: stop.prior_confidence(c, prior),
    ):
        np.testing.assert_array_equal(value(total), value(total[order]))


def test_a_lead_is_what_the_first_has_more_than_the_second() -> None:
    assert not stop.ahead([3, 2], 2)
    assert stop.ahead([4, 2], 2)


def test_a_lone_option_leads_by_all_that_it_has() -> None:
    assert stop.ahead([3.0], 3)
    assert not stop.ahead([3.0], 4)


def test_a_confidence_that_just_meets_its_threshold_decides() -> None:
    assert stop.beta_decided([1, 0], 0.75)


def test_a_type_that_is_always_unanimous_is_settled_for_certain() -> None:
    prior = stop.TypePrior(np.array([[1.0, 0.0]]), np.array([1.0]))
    assert stop.prior_decided([1, 0], prior, 1.0)


def test_a_case_with_one_vote_is_part_of_the_type() -> None:
    prior = stop.fit_type_prior([[1, 0], [3, 3], [0, 0]])
    assert sorted(prior.weights) == [0.5, 0.5]


def test_answers_beyond_the_ranks_are_lumped_into_the_last() -> None:
    prior = stop.fit_type_prior([[4, 3, 2, 1]], pseudo=0.0, ranks=2)
    assert prior.shares == pytest.approx(np.array([[4.0, 2.0]]) / 6.0)


def test_walds_test_goes_on_at_a_draw() -> None:
    assert not stop.sprt_decided([5, 5])
    assert stop.sprt_decided([40, 40])  # far more draws than three of four would leave


def test_half_a_vote_for_the_second_counts_as_a_whole_one_in_the_mixture_test() -> None:
    for first in range(4, 30):
        half, whole = (stop.mixture_sprt_decided([first, second]) for second in (2.5, 3))
        assert bool(half) == bool(whole)


def test_an_error_of_more_than_a_half_bounds_nothing() -> None:
    with pytest.raises(ValueError, match="error"):
        stop.wald_bound(0.7, error=0.6)


def test_an_error_of_five_per_cent_is_the_odds_default() -> None:
    assert stop.odds_decided([0.96, 0.04])
    assert not stop.odds_decided([0.94, 0.06])


def test_half_a_vote_is_spread_over_the_options_of_a_unanimous_history() -> None:
    assert stop.fit_type_prior([[2, 0]]).shares == pytest.approx(np.array([[0.9, 0.1]]))
