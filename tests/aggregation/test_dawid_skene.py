from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest

from consensus.aggregation._numerics import ConvergenceError, FitError, FloatArray, IntArray
from consensus.aggregation.dawid_skene import dawid_skene, dawid_skene_sparse


def crowd(
    cases: int, seats: int, options: int, seed: int, *, missing: float = 0.0
) -> tuple[IntArray, IntArray, FloatArray]:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, options, cases)
    confusion = 0.55 * np.eye(options) + 0.45 * rng.dirichlet(np.ones(options), (seats, options))
    draw = rng.random((cases, seats, 1))
    votes = (confusion[np.arange(seats), truth[:, None]].cumsum(axis=-1) > draw).argmax(axis=-1)
    votes[rng.random(votes.shape) < missing] = -1
    return votes, truth, confusion


def crowd_kit(
    votes: IntArray, options: int, steps: int, gold: IntArray | None = None
) -> tuple[FloatArray, FloatArray]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pandas as pd
        from crowdkit.aggregation import DawidSkene

        case, seat = np.nonzero(votes >= 0)
        data = pd.DataFrame({"task": case, "worker": seat, "label": votes[case, seat]})
        known = None
        if gold is not None:
            at = np.flatnonzero(gold >= 0)
            known = pd.Series(gold[at], index=at)
        model = DawidSkene(n_iter=steps, tol=-1.0).fit(data, known)
        posterior = model.probas_.sort_index()[list(range(options))].to_numpy()
        prior = model.priors_.sort_index().to_numpy()
    return posterior, prior


def test_it_gives_crowd_kits_answers() -> None:
    votes, _, _ = crowd(400, 6, 3, 1, missing=0.1)
    votes = votes[(votes >= 0).any(axis=1)]
    ours = dawid_skene(votes, 3, tolerance=1e-5)
    posterior, prior = crowd_kit(votes, 3, ours.steps)
    np.testing.assert_allclose(ours.posterior, posterior, atol=1e-7)
    np.testing.assert_allclose(ours.prior, prior, atol=1e-7)


def test_it_gives_crowd_kits_answers_with_gold() -> None:
    votes, truth, _ = crowd(300, 5, 3, 2)
    gold = np.where(np.arange(300) < 60, truth, -1)
    ours = dawid_skene(votes, 3, gold=gold, tolerance=1e-5)
    posterior, _ = crowd_kit(votes, 3, ours.steps, gold)
    np.testing.assert_allclose(ours.posterior, posterior, atol=1e-7)
    assert (ours.posterior[np.arange(60), truth[:60]] == 1.0).all()


def test_it_finds_the_confusion_matrices_without_gold() -> None:
    votes, truth, confusion = crowd(20_000, 8, 3, 3)
    fit = dawid_skene(votes, 3, tolerance=1e-8)
    np.testing.assert_allclose(fit.confusion, confusion, atol=0.04)
    assert (fit.posterior.argmax(axis=1) == truth).mean() > 0.95


def test_a_tighter_tolerance_never_ends_at_a_lower_likelihood() -> None:
    votes, _, _ = crowd(200, 5, 3, 4)
    fits = [dawid_skene(votes, 3, tolerance=10.0**-digits) for digits in range(1, 8)]
    assert fits[0].steps < fits[-1].steps
    assert all(
        later.log_likelihood >= earlier.log_likelihood - 1e-12
        for earlier, later in itertools.pairwise(fits)
    )


def test_a_seat_that_always_answers_the_opposite_is_used_for_what_it_says() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 2000)
    good = np.where(rng.random((2000, 3)) < 0.85, truth[:, None], 1 - truth[:, None])
    votes = np.column_stack([good, 1 - truth])
    fit = dawid_skene(votes, 2, tolerance=1e-9)
    assert (fit.posterior.argmax(axis=1) == truth).mean() > 0.99


def test_gold_turns_a_panel_that_is_wrong_together() -> None:
    rng = np.random.default_rng(6)
    truth = rng.integers(0, 2, 3000)
    votes = np.where(rng.random((3000, 5)) < 0.35, truth[:, None], 1 - truth[:, None])
    gold = np.where(np.arange(3000) < 600, truth, -1)
    blind = dawid_skene(votes, 2, tolerance=1e-9)
    led = dawid_skene(votes, 2, gold=gold, tolerance=1e-9)
    later = slice(600, None)
    assert (blind.posterior.argmax(axis=1) == truth)[later].mean() < 0.5
    assert (led.posterior.argmax(axis=1) == truth)[later].mean() > 0.5


def test_a_case_without_votes_keeps_the_prior() -> None:
    votes, _, _ = crowd(200, 4, 3, 7)
    votes[5] = -1
    fit = dawid_skene(votes, 3, tolerance=1e-10, most_steps=3000)
    np.testing.assert_allclose(fit.posterior[5], fit.prior, atol=1e-3)


def test_triples_and_a_matrix_are_the_same_votes() -> None:
    votes, _, _ = crowd(100, 5, 3, 8, missing=0.3)
    case, seat = np.nonzero(votes >= 0)
    order = np.random.default_rng(9).permutation(case.size)
    sparse = dawid_skene_sparse(
        case[order], seat[order], votes[case, seat][order], cases=100, seats=5, options=3
    )
    np.testing.assert_allclose(sparse.posterior, dawid_skene(votes, 3).posterior, atol=1e-9)


def test_permuting_seats_and_labels_permutes_the_fit() -> None:
    votes, _, _ = crowd(150, 5, 3, 10)
    seats, labels = [3, 1, 4, 0, 2], np.array([2, 0, 1])
    before = dawid_skene(votes, 3)
    after = dawid_skene(labels[votes][:, seats], 3)
    np.testing.assert_allclose(after.posterior[:, labels], before.posterior, atol=1e-9)


def test_smoothing_keeps_seats_from_being_perfect() -> None:
    votes = np.repeat(np.arange(20)[:, None] % 2, 3, axis=1)
    assert dawid_skene(votes, 2).confusion.min() < 1e-6
    assert dawid_skene(votes, 2, smoothing=1.0).confusion.min() > 0.05


def test_not_converging_raises() -> None:
    votes, _, _ = crowd(200, 4, 3, 11)
    with pytest.raises(ConvergenceError, match="2 steps"):
        dawid_skene(votes, 3, tolerance=1e-15, most_steps=2)


def test_no_votes_are_refused() -> None:
    with pytest.raises(FitError, match="no votes"):
        dawid_skene(np.full((3, 2), -1), 2)


def test_an_answer_outside_the_options_is_refused() -> None:
    with pytest.raises(ValueError, match="−1 … 1"):
        dawid_skene([[0, 2]], 2)


def test_steps_are_counted_from_one() -> None:
    votes, _, _ = crowd(50, 3, 2, 1)
    assert dawid_skene(votes, 2, tolerance=math.inf).steps == 2


def test_a_thousand_votes_on_a_case_overflow_nothing() -> None:
    votes = np.zeros((4, 1000), dtype=np.int64)
    votes[2:] = 1
    belief = dawid_skene(votes, 2, smoothing=0.01).posterior
    assert belief == pytest.approx(np.array([[1, 0], [1, 0], [0, 1], [0, 1]]))


def test_it_gives_up_after_as_many_steps_as_it_may_take() -> None:
    votes, _, _ = crowd(50, 3, 2, 1)
    needed = dawid_skene(votes, 2).steps
    assert dawid_skene(votes, 2, most_steps=needed).steps == needed
    with pytest.raises(ConvergenceError):
        dawid_skene(votes, 2, most_steps=needed - 1)
