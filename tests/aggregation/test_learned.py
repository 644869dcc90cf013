from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consensus.aggregation import learned
from consensus.aggregation._numerics import ConvergenceError, FitError, FloatArray, IntArray
from consensus.aggregation.calibration import log_loss


def choices(
    cases: int, weights: FloatArray, *, options: int = 4, seed: int = 0
) -> tuple[FloatArray, IntArray]:
    """Features of shuffled candidates, and a truth that follows the model."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(cases, options, len(weights)))
    gumbel = rng.gumbel(size=(cases, options))
    return x, np.asarray((x @ weights + gumbel).argmax(axis=1), dtype=np.int64)


def test_the_conditional_logit_finds_the_weights_that_made_the_data() -> None:
    weights = np.array([1.5, -0.7, 0.0])
    x, z = choices(20_000, weights)
    fit = learned.fit_conditional_logit(x, z, l2=0.1)
    np.testing.assert_allclose(fit.weights, weights, atol=0.05)
    assert fit.loss == pytest.approx(log_loss(fit.predict(x), z))


def test_the_conditional_logit_is_the_optimum_of_its_objective() -> None:
    from scipy.optimize import minimize

    x, z = choices(60, np.array([1.0, 0.5]), seed=3)
    spread = np.sqrt(((x - x.mean(axis=1, keepdims=True)) ** 2).mean(axis=(0, 1)))

    def objective(w: FloatArray) -> float:
        scores = x @ w
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        return float(-logs[np.arange(60), z].sum() + 0.5 * 2.0 * ((w * spread) ** 2).sum())

    reference = minimize(objective, np.zeros(2), tol=1e-12)
    fit = learned.fit_conditional_logit(x, z, l2=2.0)
    np.testing.assert_allclose(fit.weights, reference.x, atol=1e-4)


def test_two_options_are_logistic_regression_on_the_difference() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(300, 2, 3))
    difference = x[:, 1] - x[:, 0]
    z = (difference @ [1.0, -0.5, 0.2] + rng.logistic(size=300) > 0).astype(np.int64)
    fit = learned.fit_conditional_logit(x, z, l2=1e-9)
    p = 1 / (1 + np.exp(-difference @ fit.weights))
    np.testing.assert_allclose(difference.T @ (p - z), 0.0, atol=1e-4)  # the score equations


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(4)))
def test_relabelling_options_permutes_the_prediction_to_the_bit(order: list[int]) -> None:
    x, z = choices(50, np.array([1.0, 0.3, 0.2]), seed=5)
    fit = learned.fit_conditional_logit(x, z)
    np.testing.assert_array_equal(fit.predict(x)[:, order], fit.predict(x[:, order]))


def test_a_separable_handful_of_cases_does_not_make_certainty() -> None:
    x = np.array([[[1.0], [0.0]]] * 5)
    fit = learned.fit_conditional_logit(x, [0] * 5, l2=1.0)
    assert 0.6 < fit.predict(x)[0, 0] < 0.98


def test_shrinkage_goes_to_the_centre_where_data_are_few() -> None:
    x, z = choices(3, np.array([1.0]), seed=6)
    fit = learned.fit_conditional_logit(x, z, l2=1e6, centre=[2.0])
    np.testing.assert_allclose(fit.weights, [2.0], atol=1e-3)


def test_missing_options_take_no_part() -> None:
    x, z = choices(200, np.array([1.2]), options=3, seed=7)
    wide = np.concatenate([x, np.full((200, 1, 1), 99.0)], axis=1)
    mask = np.array([True, True, True, False])
    narrow = learned.fit_conditional_logit(x, z)
    masked = learned.fit_conditional_logit(wide, z, options=np.tile(mask, (200, 1)))
    np.testing.assert_allclose(masked.weights, narrow.weights, rtol=1e-6)
    assert (masked.predict(wide, mask)[:, 3] == 0).all()


def test_beliefs_may_be_shared() -> None:
    x, z = choices(100, np.array([1.0]), seed=8)
    hard = learned.fit_conditional_logit(x, z)
    soft = learned.fit_conditional_logit(x, np.eye(4)[z])
    np.testing.assert_allclose(soft.weights, hard.weights)


def test_case_weights_repeat_cases() -> None:
    x, z = choices(40, np.array([1.0]), seed=9)
    twice = learned.fit_conditional_logit(np.concatenate([x, x]), np.concatenate([z, z]))
    heavy = learned.fit_conditional_logit(x, z, case_weights=np.full(40, 2.0))
    np.testing.assert_allclose(heavy.weights, twice.weights, rtol=1e-6)


def test_folds_choose_little_shrinkage_for_signal_and_much_for_noise() -> None:
    x, z = choices(600, np.array([3.0]), seed=10)
    noise = np.random.default_rng(11).integers(0, 4, 600)
    assert learned.choose_l2(x, z) < learned.choose_l2(x, noise)


def test_no_cases_are_refused() -> None:
    with pytest.raises(FitError, match="no cases"):
        learned.fit_conditional_logit(np.zeros((0, 2, 1)), np.zeros(0, dtype=int))


def test_a_truth_that_the_case_does_not_offer_is_refused() -> None:
    with pytest.raises(FitError, match="does not have"):
        learned.fit_conditional_logit(np.zeros((1, 2, 1)), [1], options=np.array([[True, False]]))


def test_no_prior_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="l2"):
        learned.fit_conditional_logit(np.zeros((1, 2, 1)), [1], l2=0.0)


def test_a_fit_that_cannot_converge_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "_NEWTON_STEPS", 1)
    x, z = choices(100, np.array([2.0]), seed=12)
    with pytest.raises(ConvergenceError, match="did not converge"):
        learned.fit_conditional_logit(x, z)


def test_the_multinomial_logit_solves_its_score_equations() -> None:
    rng = np.random.default_rng(13)
    x = rng.normal(size=(400, 3)) * [1.0, 5.0, 0.2] + [0.0, 3.0, -1.0]
    z = (x @ rng.normal(size=(3, 3)) + rng.gumbel(size=(400, 3))).argmax(axis=1)
    fit = learned.fit_multinomial_logit(x, z, 3, l2=1e-6)
    residual = fit.predict(x) - np.eye(3)[z]
    np.testing.assert_allclose(residual.mean(axis=0), 0.0, atol=1e-4)
    np.testing.assert_allclose(x.T @ residual / 400, 0.0, atol=1e-3)


def test_the_multinomial_logit_learns_prevalence_from_nothing_else() -> None:
    z = np.array([0] * 90 + [1] * 10)
    fit = learned.fit_multinomial_logit(np.zeros((100, 1)), z, 2)
    assert fit.predict([[0.0]])[0, 0] == pytest.approx(0.9, abs=0.01)


def panel(cases: int, *, copies: int, seed: int) -> tuple[IntArray, IntArray]:
    """One seat of accuracy .85, and one of .65 that is polled ``copies`` times over."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 2, cases)
    strong = np.where(rng.random(cases) < 0.85, truth, 1 - truth)
    weak = np.where(rng.random(cases) < 0.65, truth, 1 - truth)
    return np.column_stack([strong, *[weak] * copies]), truth


def test_naive_bayes_tempers_seats_that_say_the_same() -> None:
    votes, truth = panel(3000, copies=6, seed=14)
    fit = learned.fit_naive_bayes(votes, truth, 2)
    assert fit.power < 0.7
    fresh, answers = panel(3000, copies=6, seed=15)
    untempered = learned.NaiveBayes(fit.confusion, fit.prior, 1.0, fit.held_out)
    assert log_loss(fit.predict(fresh), answers) < log_loss(untempered.predict(fresh), answers)


def test_naive_bayes_leaves_independent_seats_untempered() -> None:
    rng = np.random.default_rng(16)
    truth = rng.integers(0, 2, 5000)
    votes = np.where(rng.random((5000, 3)) < 0.75, truth[:, None], 1 - truth[:, None])
    assert learned.fit_naive_bayes(votes, truth, 2).power > 0.95


def test_leave_one_out_posteriors_are_those_of_a_fit_without_the_case() -> None:
    rng = np.random.default_rng(17)
    truth = rng.integers(0, 2, 40)
    votes = np.where(rng.random((40, 3)) < 0.8, truth[:, None], 1 - truth[:, None])
    votes[3, 1] = -1
    fit = learned.fit_naive_bayes(votes, truth, 2, prior=[0.5, 0.5])
    rest = np.arange(40) != 3
    again = learned.fit_naive_bayes(votes[rest], truth[rest], 2, prior=[0.5, 0.5])
    alone = learned.NaiveBayes(again.confusion, fit.prior, fit.power, again.held_out)
    np.testing.assert_allclose(fit.held_out[3], alone.predict(votes[3]), atol=0.005)


def test_naive_bayes_wants_a_class_for_each_case() -> None:
    with pytest.raises(FitError, match="known class"):
        learned.fit_naive_bayes([[0]], [-1], 2)


def test_weak_copies_do_not_outvote_a_strong_seat_once_stacked() -> None:
    from consensus.aggregation.features import vote_features

    votes, truth = panel(1500, copies=4, seed=18)
    groups = [0, 1, 1, 1, 1]
    fit = learned.fit_conditional_logit(vote_features(votes, 2, groups).values, truth)
    fresh, answers = panel(4000, copies=4, seed=19)
    stacked = fit.predict(vote_features(fresh, 2, groups).values).argmax(axis=1)
    assert (stacked == answers).mean() >= (fresh[:, 0] == answers).mean() - 1e-9


def test_the_prior_of_naive_bayes_is_the_smoothed_shares_of_its_cases() -> None:
    found = learned.fit_naive_bayes([[0, 0], [0, 1], [0, 0], [1, 1]], [0, 0, 0, 1], 2)
    assert found.prior == pytest.approx([4 / 6, 2 / 6])


def test_the_held_out_beliefs_of_naive_bayes_tell_a_seat_by_its_own_errors() -> None:
    truth = np.array([0] * 40 + [1] * 40)
    votes = np.where(np.arange(80) % 4 == 0, 0, truth)[:, None]  # says 0 too often, 1 never wrongly
    found = learned.fit_naive_bayes(votes, truth, 2, prior=[0.5, 0.5])
    whole = found.predict(votes)
    assert np.abs(found.held_out - whole).max() < 0.05


def test_a_model_is_fitted_for_each_precision_and_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[float] = []
    real = learned.fit_conditional_logit

    def counting(*given: object, l2: float, **more: object) -> object:
        fitted.append(l2)
        return real(*given, l2=l2, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(learned, "fit_conditional_logit", counting)
    x, z = choices(30, np.array([1.0]), seed=1)
    learned.choose_l2(x, z, grid=(0.1, 1.0), folds=3)
    assert fitted == [0.1] * 3 + [1.0] * 3


def test_of_precisions_that_fit_alike_the_greatest_is_taken() -> None:
    assert learned.choose_l2(np.zeros((6, 2, 1)), [0, 1] * 3, grid=(0.1, 10.0, 1.0)) == 10.0
