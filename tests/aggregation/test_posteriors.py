from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation import posteriors as post
from consensus.aggregation._numerics import FloatArray
from tests.aggregation.strategies import blocked_counts


def dirichlet_multinomial(counts: list[int], centre: list[float], rho: float) -> float:
    """Log-likelihood by the gamma functions of the definition, up to the count's constant."""
    s = 1 / rho - 1
    total = math.lgamma(s) - math.lgamma(s + sum(counts))
    for n, c in zip(counts, centre, strict=True):
        total += math.lgamma(s * c + n) - math.lgamma(s * c)
    return total


def test_the_documented_posteriors_come_out() -> None:
    assert post.block_posterior([[4, 0]], 0.8, 0.44)[0] == pytest.approx(0.914, abs=5e-4)
    assert post.block_posterior([[8, 2]], 0.8, 0.44)[0] == pytest.approx(0.735, abs=5e-4)


def test_independence_would_claim_much_more() -> None:
    assert post.block_posterior([[4, 0]], 0.8, 0.0)[0] == pytest.approx(0.996, abs=5e-4)


def beta_binomial_cases(cases: int, seats: int, p: float, rho: float, seed: int) -> FloatArray:
    """How many of a case's seats are right, when errors correlate by rho."""
    rng = np.random.default_rng(seed)
    s = 1 / rho - 1
    return rng.binomial(seats, rng.beta(s * p, s * (1 - p), cases)).astype(np.float64)


@pytest.mark.parametrize(("right", "seats", "claimed"), [(4, 4, 0.914), (8, 10, 0.735)])
def test_a_simulation_gives_the_posterior_back_within_two_points(
    right: int, seats: int, claimed: float
) -> None:
    correct = beta_binomial_cases(400_000, seats, 0.8, 0.44, seed=1)
    leader_right = (correct == right).sum()
    leader_wrong = (correct == seats - right).sum()
    observed = leader_right / (leader_right + leader_wrong)
    assert observed == pytest.approx(claimed, abs=0.02)


@pytest.mark.parametrize(("seats", "claimed"), [(1, 0.80), (3, 0.82), (9, 0.83), (101, 0.84)])
def test_correlated_majorities_gain_as_little_as_claimed(seats: int, claimed: float) -> None:
    correct = beta_binomial_cases(200_000, seats, 0.8, 0.44, seed=2)
    assert (correct > seats / 2).mean() == pytest.approx(claimed, abs=0.01)


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.02, 0.9))
def test_the_posterior_is_the_dirichlet_multinomial_of_the_definition(
    counts: FloatArray, p: float, rho: float
) -> None:
    options = counts.shape[1]
    logs = np.zeros(options)
    for k in range(options):
        centre = [p if v == k else (1 - p) / (options - 1) for v in range(options)]
        for block in counts.astype(int).tolist():
            logs[k] += dirichlet_multinomial(block, centre, rho)
    expected = np.exp(logs - logs.max())
    expected /= expected.sum()
    np.testing.assert_allclose(post.block_posterior(counts, p, rho), expected, atol=1e-9)


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.0, 0.9))
def test_a_symmetric_confusion_matrix_gives_the_symmetric_posterior(
    counts: FloatArray, p: float, rho: float
) -> None:
    blocks, options = counts.shape
    confusion = post.symmetric_confusion(np.full(blocks, p), options)
    np.testing.assert_allclose(
        post.confusion_block_posterior(counts, confusion, rho),
        post.block_posterior(counts, p, rho),
        atol=1e-9,
    )


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.0, 0.9), st.data())
def test_permuting_blocks_keeps_every_bit(
    counts: FloatArray, p: float, rho: float, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(counts.shape[0])))
    np.testing.assert_array_equal(
        post.block_posterior(counts, p, rho), post.block_posterior(counts[list(order)], p, rho)
    )


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.0, 0.9), st.data())
def test_relabelling_options_permutes_the_posterior_to_the_bit(
    counts: FloatArray, p: float, rho: float, data: st.DataObject
) -> None:
    order = list(data.draw(st.permutations(range(counts.shape[1]))))
    np.testing.assert_array_equal(
        post.block_posterior(counts, p, rho)[order],
        post.block_posterior(counts[:, order], p, rho),
    )


@given(
    st.integers(2, 6), st.integers(1, 12), st.integers(1, 4), st.floats(0.55, 0.99),
    st.floats(0.0, 0.95),
)  # fmt: skip
def test_a_unanimous_panel_is_never_overruled(
    options: int, votes: int, blocks: int, p: float, rho: float
) -> None:
    counts = np.zeros((blocks, options))
    counts[:, 1] = votes
    posterior = post.block_posterior(counts, p, rho)
    assert posterior[1] > np.delete(posterior, 1).max()


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.0, 0.9), st.data())
def test_one_more_vote_never_lowers_its_option(
    counts: FloatArray, p: float, rho: float, data: st.DataObject
) -> None:
    block = data.draw(st.integers(0, counts.shape[0] - 1))
    option = data.draw(st.integers(0, counts.shape[1] - 1))
    more = counts.copy()
    more[block, option] += 1
    before = post.block_posterior(counts, p, rho)[option]
    assert post.block_posterior(more, p, rho)[option] >= before - 1e-12


@given(blocked_counts(), st.floats(0.55, 0.95), st.floats(0.0, 0.9))
def test_one_case_and_many_give_the_same_bits(counts: FloatArray, p: float, rho: float) -> None:
    many = np.stack([counts, counts[::-1], counts])
    np.testing.assert_array_equal(
        post.block_posterior(many, p, rho)[2], post.block_posterior(counts, p, rho)
    )


def test_nobody_voting_leaves_the_prior() -> None:
    posterior = post.block_posterior([[0, 0, 0]], 0.8, 0.4, prior=[0.5, 0.3, 0.2])
    np.testing.assert_allclose(posterior, [0.5, 0.3, 0.2], atol=1e-12)


def test_an_option_that_a_case_lacks_has_probability_zero_and_changes_the_chance_level() -> None:
    mask = np.array([[True, True, False], [True, True, True]])
    counts = np.array([[[2, 1, 0]], [[2, 1, 0]]])
    posterior = post.block_posterior(counts, 0.8, 0.3, options=mask)
    assert posterior[0, 2] == 0.0
    np.testing.assert_allclose(posterior[0, :2], post.block_posterior([[2, 1]], 0.8, 0.3))
    np.testing.assert_allclose(posterior[1], post.block_posterior([[2, 1, 0]], 0.8, 0.3))


def test_half_a_vote_is_half_of_the_next_votes_evidence() -> None:
    def odds(n: float) -> float:
        first, second = post.block_posterior([[n, 0]], 0.8, 0.44).tolist()
        return math.log(first / second)

    assert odds(1.5) == pytest.approx((odds(1) + odds(2)) / 2)


def test_blocks_of_like_evidence_multiply() -> None:
    one = post.block_posterior([[3, 0]], 0.8, 0.44)
    two = post.block_posterior([[3, 0], [3, 0]], 0.8, 0.44)
    np.testing.assert_allclose(two, one**2 / (one**2).sum())


def test_fully_correlated_blocks_are_worth_one() -> None:
    discount = float(post.block_discount(2, 1.0))
    two = post.block_posterior([[3, 0], [3, 0]], 0.8, 0.44, discount=discount)
    np.testing.assert_allclose(two, post.block_posterior([[3, 0]], 0.8, 0.44))


def test_the_cold_start_pools_blocks_that_may_err_together() -> None:
    pooled = post.cold_start_posterior([[2, 0], [2, 0]])
    np.testing.assert_array_equal(pooled, post.cold_start_posterior([[4, 0]]))
    assert pooled[0] < post.block_posterior([[2, 0], [2, 0]])[0]


def test_an_accuracy_no_better_than_chance_is_refused() -> None:
    with pytest.raises(ValueError, match="p must lie"):
        post.block_posterior([[1, 0]], 0.5, 0.3)


@pytest.mark.parametrize("rho", [-0.1, 1.0])
def test_an_impossible_correlation_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="rho"):
        post.block_posterior([[1, 0]], 0.8, rho)


def test_negative_counts_are_refused() -> None:
    with pytest.raises(ValueError, match="not negative"):
        post.block_posterior([[-1, 2]], 0.8, 0.3)


def test_independent_seats_follow_bayes_by_hand() -> None:
    confusion = np.array([[[0.9, 0.1], [0.3, 0.7]], [[0.6, 0.4], [0.2, 0.8]]])
    prior = np.array([0.4, 0.6])
    unnormalised = prior * confusion[0, :, 0] * confusion[1, :, 1]
    np.testing.assert_allclose(
        post.independent_posterior([0, 1], confusion, prior), unnormalised / unnormalised.sum()
    )


def test_a_missing_vote_is_no_evidence() -> None:
    confusion = post.symmetric_confusion([0.9, 0.6], 3)
    np.testing.assert_allclose(
        post.independent_posterior([1, -1], confusion),
        post.independent_posterior([1], confusion[:1]),
    )


def test_an_approver_that_says_yes_to_everything_carries_no_information() -> None:
    yes_man = np.array([[[0.97, 0.03], [0.97, 0.03]]])
    np.testing.assert_allclose(post.independent_posterior([0], yes_man), [0.5, 0.5])


@given(st.permutations(range(6)))
def test_permuting_independent_seats_keeps_every_bit(order: list[int]) -> None:
    rng = np.random.default_rng(3)
    confusion = rng.dirichlet([1, 1, 1], (6, 3))
    votes = np.array([0, 1, 2, 1, -1, 0])
    np.testing.assert_array_equal(
        post.independent_posterior(votes, confusion),
        post.independent_posterior(votes[order], confusion[order]),
    )


def test_nitzan_paroush_weights_equal_bayes_with_symmetric_errors() -> None:
    accuracy = np.array([0.9, 0.6, 0.7])
    votes = np.array([[0, 1, 2], [1, 1, -1]])
    np.testing.assert_allclose(
        post.weighted_posterior(votes, post.nitzan_paroush(accuracy, 3), 3),
        post.independent_posterior(votes, post.symmetric_confusion(accuracy, 3)),
    )


def test_a_seat_at_chance_weighs_nothing() -> None:
    assert post.nitzan_paroush(0.25, 4) == pytest.approx(0.0)


def test_gold_confusion_approaches_the_truth_with_many_cases() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, 3, 20_000)
    confusion = np.array([[0.8, 0.15, 0.05], [0.1, 0.7, 0.2], [0.3, 0.1, 0.6]])
    votes = np.array([rng.choice(3, p=confusion[z]) for z in truth])[:, None]
    found = post.confusion_from_gold(votes, truth, 3)
    np.testing.assert_allclose(found[0], confusion, atol=0.02)


def test_gold_confusion_of_a_seat_without_cases_is_the_panels_own_accuracy() -> None:
    votes = np.column_stack([np.zeros(50, dtype=int), np.full(50, -1)])
    found = post.confusion_from_gold(votes, np.zeros(50, dtype=int), 2)
    assert found[1, 0, 0] == pytest.approx(51 / 52)
    np.testing.assert_allclose(found.sum(axis=-1), 1.0)


def test_an_unsmoothed_confusion_matrix_is_refused() -> None:
    with pytest.raises(ValueError, match="smoothed"):
        post.independent_posterior([0], [[[1.0, 0.0], [0.0, 1.0]]])


@pytest.mark.parametrize("shape", [(2, 2), (1, 3), (2,)])
def test_counts_of_other_blocks_or_answers_than_the_confusion_are_refused(
    shape: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match="do not fit"):
        post.confusion_block_posterior(np.ones(shape), [[[0.8, 0.2], [0.2, 0.8]]])
