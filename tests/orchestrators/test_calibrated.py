"""Calibrated aggregators: order, relabelling, unanimity, hops, and the batch functions' numbers."""

from __future__ import annotations

import itertools
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.aggregation.confidence import ConfidenceMap, confidence_weights
from consensus.aggregation.learned import ConditionalLogit
from consensus.aggregation.pools import contextual_calibration, linear_pool, tempered
from consensus.aggregation.posteriors import (
    block_discount,
    block_posterior,
    confusion_block_posterior,
    weighted_posterior,
)
from consensus.ballots import Ballot
from consensus.orchestrators.calibrated import SeatArrays, posterior
from consensus.orchestrators.calibration import Calibration
from consensus.orchestrators.concluding import Conclusion, conclude
from consensus.orchestrators.spec import HopRecord, StrategySpec
from tests.orchestrators.ballot_box import OPTIONS
from tests.orchestrators.calibrations import FITS, MODELS, calibration, judges

A, R = OPTIONS
FAMILIES = sorted(FITS)


def spec(seats: int, **fields: Any) -> StrategySpec:
    fields.setdefault("quorum", 1)
    made = fields.get("calibration")
    if made is not None:
        fields.setdefault("aggregator", made.aggregator)
    return StrategySpec(name="t", orchestrator="vote", models=MODELS, seats=seats, **fields)


def seat(number: int, answer: Any, *, model: str | None = None, **fields: Any) -> Ballot:
    model = model or MODELS[number % 2]
    if fields.get("confidence") is not None:
        fields.setdefault("confidence_source", "stated")
    return Ballot(seat=number, model=model, framing="plain", answer=answer, **fields)


def decided(ballots: list[Ballot], made: Calibration | None, **fields: Any) -> Conclusion:
    hop = HopRecord(
        name="v", spec=spec(len(ballots), calibration=made, **fields), ballots=tuple(ballots)
    )
    return conclude("approve", OPTIONS, [hop])


SEATS = st.lists(
    st.tuples(
        st.sampled_from(MODELS),
        st.sampled_from(OPTIONS),
        st.none() | st.floats(0, 1),
        st.none() | st.floats(0.01, 0.99),
    ),
    min_size=1,
    max_size=7,
)


def ballots_of(seats: list[tuple[str, str, float | None, float | None]]) -> list[Ballot]:
    return [
        seat(
            i,
            answer,
            model=model,
            confidence=confidence,
            distribution=None if chance is None else {A: chance, R: 1 - chance},
        )
        for i, (model, answer, confidence, chance) in enumerate(seats)
    ]


@pytest.mark.parametrize("family", FAMILIES)
@given(seats=SEATS, data=st.data())
def test_order_of_ballots_changes_no_bit(family: str, seats: Any, data: Any) -> None:
    made = calibration(family).at(None)
    shuffled = data.draw(st.permutations(seats))
    first, second = (decided(ballots_of(s), made) for s in (seats, shuffled))
    assert first.posterior == second.posterior
    assert first.calibrated


@pytest.mark.parametrize("family", [None, *FAMILIES])
@given(seats=SEATS, data=st.data())
def test_order_changes_no_bit_of_a_cold_start_either(family: Any, seats: Any, data: Any) -> None:
    shuffled = data.draw(st.permutations(seats))
    found = [decided(ballots_of(s), None, aggregator=family or "scores") for s in (seats, shuffled)]
    assert found[0].posterior == found[1].posterior
    assert not found[0].calibrated


def swapped(made: Calibration) -> Calibration:
    """The same calibration, with the options written the other way round."""
    data = json.loads(made.to_json())
    data["options"].reverse()
    fit = data["fit"]
    if fit["family"] == "blocks":
        fit["confusion"] = [[row[::-1] for row in matrix[::-1]] for matrix in fit["confusion"]]
        fit["prior"].reverse()
    if fit["family"] == "mean":
        fit["bias"] = [row[::-1] for row in fit["bias"]]
    return Calibration.model_validate(data)


@pytest.mark.parametrize("family", ["weighted", "blocks", "mean"])
@given(seats=SEATS)
def test_the_order_of_a_calibrations_options_means_nothing(family: str, seats: Any) -> None:
    made = calibration(family).at(None)
    ballots = ballots_of(seats)
    first, second = decided(ballots, made), decided(ballots, swapped(made))
    assert second.posterior == pytest.approx(first.posterior, abs=1e-12)


def open_calibration(family: str) -> Calibration:
    """One for candidates that differ by case."""
    data = json.loads(calibration(family).to_json())
    data |= {"kind": "choose"}
    del data["options"]
    for key in ("confusion", "prior", "bias"):
        data["fit"].pop(key, None)
    if family == "stacked":
        data["fit"]["weights"] = [[1.0, 2.0, 0.5], [1.1], [2.2]]
    return Calibration.model_validate(data)


CHOICES = ("x", "y", "z")


def chosen(seats: list[tuple[str, str]], options: tuple[str, ...], made: Calibration) -> Conclusion:
    ballots = tuple(seat(i, answer, model=model) for i, (model, answer) in enumerate(seats))
    hop = HopRecord(name="v", spec=spec(len(ballots), calibration=made), ballots=ballots)
    return conclude("choose", options, [hop])


@pytest.mark.parametrize("family", FAMILIES)
@given(
    seats=st.lists(
        st.tuples(st.sampled_from(MODELS), st.sampled_from(CHOICES)), min_size=1, max_size=7
    ),
    names=st.permutations(CHOICES),
)
def test_relabelling_candidates_relabels_the_posterior(
    family: str, seats: Any, names: list[str]
) -> None:
    made = open_calibration(family).at(None)
    rename = dict(zip(CHOICES, names, strict=True))
    plain = chosen(seats, CHOICES, made)
    renamed = chosen([(model, rename[answer]) for model, answer in seats], tuple(names), made)
    assert {rename[o]: p for o, p in plain.posterior.items()} == renamed.posterior


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_a_unanimous_panel_is_not_overruled_where_labels_are_alike(
    family: str, number: int
) -> None:
    made = open_calibration(family).at(None)
    result = chosen([(MODELS[i % 2], "y") for i in range(number)], CHOICES, made)
    assert (result.action, result.outcome) == ("act", "y")


def test_a_biased_approvers_yes_is_worth_less_than_its_no() -> None:
    made = calibration("blocks").at(None)
    yes = decided([seat(0, A)], made).posterior[A]
    no = decided([seat(0, R)], made).posterior[R]
    assert yes < no


def test_confidence_moves_the_model_whose_confidence_means_something_only() -> None:
    made = calibration("weighted").at(None)

    def p(model: str, stated: float) -> float:
        return decided([seat(0, A, model=model, confidence=stated)], made).posterior[A]

    assert p(MODELS[0], 0.95) > p(MODELS[0], 0.55) + 0.05
    assert p(MODELS[1], 0.95) == p(MODELS[1], 0.55)


def test_a_model_below_chance_has_no_weight_and_none_against_what_it_says() -> None:
    maps = [{"a": -1.0, "b": 0.0, "base": 0.3}, {"a": 2.0, "b": 0.0, "base": 0.88}]
    made = calibration("weighted", fit={**FITS["weighted"], "maps": maps}).at(None)
    assert decided([seat(0, A)], made).tied == OPTIONS


def test_without_labels_confidence_counts_within_the_question() -> None:
    ballots = [seat(0, A, confidence=0.9), seat(1, R, confidence=0.3)]
    result = decided(ballots, None, aggregator="weighted")
    assert result.posterior[A] > 0.5
    assert any("uncalibrated" in reason for reason in result.reasons)


def test_without_labels_stated_and_token_confidence_are_not_pooled() -> None:
    ballots = [
        seat(0, A, confidence=0.9),
        seat(1, R, confidence=0.3, confidence_source="token_probabilities"),
    ]
    assert decided(ballots, None, aggregator="weighted").tied == OPTIONS


@pytest.mark.parametrize("family", ["weighted", "blocks", "stacked"])
def test_without_a_calibration_plain_votes_are_the_cold_start(family: str) -> None:
    ballots = [seat(i, a) for i, a in enumerate([A, A, R, A, R])]
    cold = decided(ballots, None, aggregator="majority")
    assert decided(ballots, None, aggregator=family).posterior == cold.posterior


# -- the same numbers as the batch functions -------------------------------------------------------

PANEL = [(MODELS[0], A, 0.9, 0.8), (MODELS[1], R, None, 0.3), (MODELS[0], A, 0.6, None)]
VOTES = np.array([0, 1, 0])
GROUPS = np.array([0, 1, 0])


def batch(family: str) -> Any:
    fit = FITS[family]
    if family == "weighted":
        maps = [ConfidenceMap(**fit["maps"][g], auroc=0.5, cases=1) for g in GROUPS]
        weights = confidence_weights([0.9, np.nan, 0.6], maps)
        return weighted_posterior(VOTES, weights * block_discount(3, fit["correlation"]), 2)
    if family == "blocks":
        return confusion_block_posterior(
            [[2, 0], [0, 1]],
            fit["confusion"],
            fit["within"],
            fit["prior"],
            discount=float(block_discount(2, fit["between"])),
        )
    if family == "mean":
        rows = np.array([[0.8, 0.2], [0.3, 0.7], [0.7, 0.3]])
        return linear_pool(contextual_calibration(rows, np.array(fit["bias"])[GROUPS]))
    # Shares of each model, their product, two constants, each model's share for each label.
    x = np.array([[1, 0, 0, 1, 0, 1, 0, 0, 0], [0, 1, 0, 0, 1, 0, 0, 0, 1]], dtype=float)
    weights = np.array([1.0, 2.0, 0.5, 0.2, -0.2, 0.3, -0.3, 0.4, -0.1])
    return ConditionalLogit(weights, 1, 0, 1).predict(x)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_live_posterior_is_that_of_the_batch_functions(family: str) -> None:
    live = decided(ballots_of(PANEL), calibration(family).at(None)).posterior
    assert list(live.values()) == pytest.approx(tempered(batch(family), 1.25).tolist(), abs=1e-14)


@pytest.mark.parametrize("family", FAMILIES)
def test_one_case_has_the_same_bits_alone_and_among_others(family: str) -> None:
    made = calibration(family)
    rng = np.random.default_rng(3)
    votes = rng.integers(2, size=(40, 4))
    rows = rng.dirichlet([1, 1], size=(40, 4))
    confidence = rng.random((40, 4))
    groups = np.array([0, 0, 1, 1])
    whole = posterior(made, 0, [0, 1], SeatArrays(votes, groups, rows, confidence))
    for case in range(40):
        alone = SeatArrays(votes[case], groups, rows[case], confidence[case])
        np.testing.assert_array_equal(posterior(made, 0, [0, 1], alone), whole[case])


def test_symmetric_blocks_take_the_options_that_a_case_has() -> None:
    made = open_calibration("blocks").at(None)
    seats = [(MODELS[0], "x"), (MODELS[1], "y")]
    live = chosen(seats, CHOICES, made).posterior
    expected = block_posterior(
        [[1, 0, 0], [0, 1, 0]],
        [0.7, 0.88],
        [0.5, 0.4],
        discount=float(block_discount(2, 0.3)),
    )
    assert list(live.values()) == pytest.approx(tempered(expected, 1.25).tolist(), abs=1e-14)


# -- what the calibration has not seen -------------------------------------------------------------


def test_a_calibrated_decision_says_on_how_many_cases() -> None:
    result = decided([seat(0, A), seat(1, A)], calibration().at(None))
    assert result.calibrated
    assert any("(calibrated on 100 cases)" in reason for reason in result.reasons)


@pytest.mark.parametrize("family", FAMILIES)
def test_an_unseen_model_counts_as_at_a_cold_start_and_is_named(family: str) -> None:
    made = calibration(family).at(None)
    known = [seat(0, A), seat(1, A)]
    with_stranger = decided([*known, seat(2, R, model="scripted/new")], made)
    assert not with_stranger.calibrated
    assert with_stranger.posterior[A] < decided(known, made).posterior[A]
    assert any("has not seen scripted/new" in reason for reason in with_stranger.reasons)


def test_an_unseen_seat_is_a_cold_block_at_one_less_the_correlation() -> None:
    made = calibration().at(None)
    known = decided([seat(0, A), seat(1, A)], made).posterior
    both = decided([seat(0, A), seat(1, A), seat(2, R, model="scripted/new")], made).posterior
    odds = known[A] / known[R] * ((1 - 0.85) / 0.85) ** (1 - 0.44)
    assert both[A] / both[R] == pytest.approx(odds)


def test_a_panel_of_strangers_is_a_whole_cold_start() -> None:
    ballots = [seat(i, a, model="scripted/new") for i, a in enumerate([A, A, R])]
    found = decided(ballots, calibration().at(None), aggregator="majority").posterior
    assert found == pytest.approx(decided(ballots, None, aggregator="majority").posterior)


def test_a_calibration_for_other_options_is_not_used_and_that_is_said() -> None:
    made = calibration(kind="choose", options=["yes", "no"]).at(None)
    result = decided([seat(0, A), seat(1, A)], made)
    assert not result.calibrated
    assert any("for other tasks" in reason for reason in result.reasons)


def test_without_a_stage_of_just_these_models_it_is_not_called_calibrated() -> None:
    whole = calibration().stages[:1]
    made = calibration(stages=[stage.model_dump() for stage in whole]).at(None)
    assert decided([seat(0, A), seat(1, A)], made).calibrated
    alone = decided([seat(0, A)], made)
    assert not alone.calibrated
    assert any("no cases on which just these" in reason for reason in alone.reasons)


def test_a_failed_model_leaves_the_stage_of_the_others() -> None:
    made = calibration("stacked").at(None)
    alone = decided([seat(0, A)], made)
    assert alone.calibrated
    weights = np.array([1.1, 0.1, -0.1, 0.2, -0.2])
    x = np.array([[1, 1, 0, 1, 0], [0, 0, 1, 0, 0]], dtype=float)
    expected = tempered(ConditionalLogit(weights, 1, 0, 1).predict(x), 1.25)
    assert list(alone.posterior.values()) == pytest.approx(expected.tolist())


# -- hops ------------------------------------------------------------------------------------------


def hop_of(number: int, answer: str, made: Calibration | None, **fields: Any) -> HopRecord:
    ballot = seat(number, answer, **fields)
    return HopRecord(name=f"h{number}", spec=spec(1, calibration=made), ballots=(ballot,))


@pytest.mark.parametrize("family", FAMILIES)
def test_an_escalation_that_the_calibration_covers_is_one_panel_with_it(family: str) -> None:
    made = calibration(family).at(None)
    hops = [hop_of(0, A, made), hop_of(1, R, None)]
    together = decided([seat(0, A), seat(1, R)], made)
    result = conclude("approve", OPTIONS, hops)
    assert result.posterior == together.posterior
    assert result.calibrated


def test_an_escalation_beyond_it_is_a_block_with_the_earlier_one_discounted() -> None:
    made = calibration().at(None)
    first = hop_of(0, A, made)
    second = hop_of(1, R, None, model="scripted/frontier")
    result = conclude("approve", OPTIONS, [first, second])
    before = conclude("approve", OPTIONS, [first]).posterior
    alone = conclude("approve", OPTIONS, [second, second]).posterior
    assert not result.calibrated
    assert any("not every hop" in reason for reason in result.reasons)
    weak = result.posterior[R] / result.posterior[A]
    discounted = (before[R] / before[A]) ** (1 - 0.44)
    strong = block_posterior([[0, 1]], 0.9, 0.44)
    assert weak == pytest.approx(discounted * strong[1] / strong[0])
    assert alone[R] > 0.5


# -- prediction sets -------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "action"), [(0.4, "act"), (0.05, "escalate")])
def test_conformal_acts_on_a_set_of_one_option_only(alpha: float, action: str) -> None:
    made = calibration().at(alpha)
    ballots = [seat(0, A), seat(1, A)]
    result = decided(ballots, made, alpha=alpha, conformal=True)
    quantile = made.stages[0].quantile
    assert quantile is not None
    assert (result.action == "act") == (1 - result.posterior[R] > quantile)
    assert result.action == action
    if action == "escalate":
        assert any("prediction set at α = 0.05 holds 2" in reason for reason in result.reasons)


def test_conformal_without_cover_never_acts() -> None:
    ballots = [seat(0, A), seat(1, A, model="scripted/new")]
    result = decided(ballots, calibration().at(0.4), alpha=0.4, conformal=True)
    assert result.action == "escalate"
    assert any("no calibration covers" in reason for reason in result.reasons)


def test_with_too_few_cases_no_set_is_small_enough() -> None:
    made = calibration().at(0.001)
    result = decided([seat(0, R), seat(1, R)], made, alpha=0.001, conformal=True)
    assert result.action == "escalate"


# -- scores ----------------------------------------------------------------------------------------


def scored(
    values: dict[str, float], made: Calibration | None, scale: Any = (0, 10), **fields: Any
) -> Conclusion:
    ballots = tuple(seat(i, v, model=m) for i, (m, v) in enumerate(values.items()))
    hop = HopRecord(name="v", spec=spec(len(ballots), calibration=made, **fields), ballots=ballots)
    return conclude("score", (), [hop], scale=scale)


def test_a_lenient_judges_score_is_read_as_what_it_says() -> None:
    made = judges()
    lenient = scored({MODELS[0]: 8.0}, made)
    strict = scored({MODELS[1]: 4.0}, made)
    assert lenient.outcome == strict.outcome == 6.0
    assert lenient.calibrated
    assert (strict.probability or 0) > (lenient.probability or 1)


def test_a_ballot_backs_the_score_that_it_means_and_not_the_number_that_it_wrote() -> None:
    result = scored({MODELS[0]: 8.0, MODELS[1]: 4.0}, judges())
    assert (result.outcome, result.agreement) == (6.0, 1.0)


def test_the_precise_judge_has_more_to_say() -> None:
    result = scored({MODELS[0]: 9.0, MODELS[1]: 4.0}, judges(), min_agreement=0.3)
    # θ = Σ bᵢ(sᵢ − aᵢ)/σᵢ² / (1 + Σ bᵢ²/σᵢ²) = .25/17.25, on a scale of 6 + 1.5 θ.
    assert result.outcome == pytest.approx(6.0 + 1.5 * 0.25 / 17.25)


def test_an_unseen_judge_is_an_average_one_and_is_named() -> None:
    result = scored({"scripted/new": 6.0}, judges())
    assert result.outcome == pytest.approx(6.0)
    assert any("average judge" in reason for reason in result.reasons)


def test_on_another_scale_the_median_stands_and_that_is_said() -> None:
    result = scored({MODELS[0]: 60.0, MODELS[1]: 80.0}, judges(), scale=(0, 100))
    assert result.outcome == 70.0
    assert not result.calibrated
    assert any("another scale" in reason for reason in result.reasons)


def test_a_score_never_leaves_its_scale() -> None:
    assert scored({MODELS[1]: 10.0}, judges()).outcome <= 10.0  # type: ignore[operator]


@given(st.permutations([(0, 7.0), (1, 4.5), (0, 9.0), (1, 3.0), (0, 8.5)]))
def test_the_order_of_judges_changes_no_bit(order: list[tuple[int, float]]) -> None:
    def outcome(rows: list[tuple[int, float]]) -> Any:
        ballots = tuple(seat(i, v, model=MODELS[m]) for i, (m, v) in enumerate(rows))
        hop = HopRecord(name="v", spec=spec(5, calibration=judges()), ballots=ballots)
        return conclude("score", (), [hop], scale=(0, 10)).outcome

    assert outcome(order) == outcome(sorted(order))


def test_every_family_stands_in_the_table_of_aggregators() -> None:
    from typing import get_args

    from consensus.orchestrators.spec import AGGREGATORS, LEARNING, Aggregator

    assert set(AGGREGATORS) == set(get_args(Aggregator))
    assert set(AGGREGATORS) >= LEARNING | set(FAMILIES)
    assert len(list(itertools.chain(AGGREGATORS))) == 7
