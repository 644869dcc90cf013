"""Ballots that score every option, and confidence normalised within the question."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.orchestrators.concluding import Conclusion, conclude
from consensus.orchestrators.spec import HopRecord
from tests.orchestrators.ballot_box import ballot, spec

OPTIONS = ("p", "q", "r")
Rows = list[tuple[int, int, int]]

rows = st.lists(st.tuples(*[st.integers(1, 10)] * 3), min_size=1, max_size=6)


def said(given: Rows, options: tuple[str, ...] = OPTIONS, **fields: Any) -> Conclusion:
    """Every row is a seat's scores; it votes for its best, the first of several."""
    ballots = tuple(
        ballot(
            i,
            options[row.index(max(row))],
            scores=dict(zip(options, map(float, row), strict=True)),
        )
        for i, row in enumerate(given)
    )
    fields.setdefault("aggregator", "scores")
    hop = HopRecord(name="v", spec=spec(len(given), quorum=1, **fields), ballots=ballots)
    return conclude("choose", options, [hop])


def test_the_whole_score_decides_where_votes_are_split() -> None:
    given = [(9, 2, 2), (6, 7, 2), (9, 3, 1), (5, 6, 1)]
    assert said(given, aggregator="majority").tied == ("p", "q")
    found = said(given)
    assert max(found.posterior, key=found.posterior.__getitem__) == "p"
    assert found.tied == ()


def test_a_panel_that_agrees_and_knows_no_second_is_worth_its_votes() -> None:
    given = [(9, 2, 2), (7, 3, 3), (6, 1, 1)]
    votes = said(given, aggregator="majority").posterior
    assert said(given).posterior == pytest.approx(votes)


def test_a_generous_judge_weighs_no_more_than_a_strict_one() -> None:
    assert said([(10, 4, 4), (3, 4, 3)]).tied == ("p", "q")


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_scored_ballots_changes_no_bit(given: Rows, random: Any) -> None:
    shuffled = list(given)
    random.shuffle(shuffled)
    assert said(shuffled).posterior == said(given).posterior


@given(rows, st.permutations(range(3)))
def test_other_names_for_the_options_change_nothing(given: Rows, order: list[int]) -> None:
    first = said(given).posterior
    moved = [tuple(row[i] for i in order) for row in given]
    second = said(moved, tuple(OPTIONS[i] for i in order)).posterior  # type: ignore[arg-type]
    assert second == pytest.approx({name: first[name] for name in second})


@given(rows)
def test_an_option_that_every_seat_scores_highest_leads(given: Rows) -> None:
    best = [(11, b, c) for _, b, c in given]
    found = said(best).posterior
    assert max(found, key=found.__getitem__) == "p"


@given(rows)
def test_the_posterior_is_one_whatever_the_scores(given: Rows) -> None:
    assert sum(said(given).posterior.values()) == pytest.approx(1.0)


def confident(answers: list[tuple[str, float]], **fields: Any) -> Conclusion:
    ballots = tuple(
        ballot(i, answer, confidence=c, confidence_source="stated")
        for i, (answer, c) in enumerate(answers)
    )
    hop = HopRecord(
        name="v", spec=spec(len(answers), quorum=1, aggregator="cisc", **fields), ballots=ballots
    )
    return conclude("choose", OPTIONS, [hop])


def test_the_surer_half_of_a_split_panel_leads() -> None:
    found = confident([("p", 0.9), ("q", 0.5), ("p", 0.8), ("q", 0.6)])
    assert found.posterior["p"] > found.posterior["q"]


def test_a_low_temperature_follows_the_surest_seat_and_a_high_one_the_votes() -> None:
    answers = [("p", 0.99), ("q", 0.6), ("q", 0.6)]
    sharp = confident(answers, confidence_temperature=0.05).posterior
    flat = confident(answers, confidence_temperature=1000.0).posterior
    assert sharp["p"] > sharp["q"]
    assert flat["q"] > flat["p"]


@given(st.lists(st.tuples(st.sampled_from(OPTIONS), st.floats(0, 1)), min_size=1, max_size=6),
       st.randoms(use_true_random=False))  # fmt: skip
def test_the_order_of_confident_ballots_changes_no_bit(
    answers: list[tuple[str, float]], random: Any
) -> None:
    shuffled = list(answers)
    random.shuffle(shuffled)
    assert confident(shuffled).posterior == confident(answers).posterior


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_a_unanimous_panel_is_never_overruled_by_its_confidence(stated: list[float]) -> None:
    found = confident([("q", c) for c in stated]).posterior
    assert max(found, key=found.__getitem__) == "q"
