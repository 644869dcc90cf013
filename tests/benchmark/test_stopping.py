"""Stopping rules over recorded ballots: the rules, the strategy, the comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from consensus.aggregation import stop_replay
from consensus.benchmark.evidence import Evidence
from consensus.benchmark.fixed_panels import Vote
from consensus.benchmark.measure import measure
from consensus.benchmark.run_format.columns import Member
from consensus.benchmark.stopping_rules import RULES, Walks
from consensus.benchmark.stopping_strategy import Stopping, parse_stopping, walks_of
from consensus.benchmark.stopping_study import RB2_STOPPING, StoppingPlan, compare, render_stopping
from consensus.cli.bench import app
from consensus.errors import DataError
from tests.benchmark.data_fixtures import real_run, recorded_data_folder

N, SEATS, K = 240, 8, 4


def judged(seed: int = 0, *, scored: bool = True) -> Evidence:
    """One model, eight samples a case: it scores four candidates, the right one higher."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, K, N)
    merit = rng.normal(0, 0.7, (N, 1, K))
    merit[np.arange(N), 0, truth] += 1.2
    scores = np.clip(np.round(6 + 1.5 * (merit + rng.normal(0, 0.8, (N, SEATS, K)))), 1, 10)
    top = scores == scores.max(axis=-1, keepdims=True)
    votes = top / top.sum(axis=-1, keepdims=True)
    return Evidence(
        tuple(f"c{i}" for i in range(N)),
        (Member("m", "base"),),
        votes[:, None].astype(np.float32),
        np.ones((N, 1, SEATS), dtype=bool),
        scores[:, None].astype(np.float32) if scored else None,
        np.full((N, 1, SEATS), 0.01),
        np.full((N, 1, SEATS), 2.0),
        {},
        np.ones((N, K), dtype=bool),
        np.eye(K)[truth],
        np.zeros(N, dtype=np.int64),
        ("t",),
        labelled=False,
        sample_is_order=False,
    )


def walks(evidence: Evidence) -> Walks:
    return walks_of(evidence, [(0, s) for s in range(SEATS)])


def made(spec: str, evidence: Evidence) -> Stopping:
    strategy = parse_stopping(spec, SEATS)
    return strategy if strategy.fitted else strategy.fit(evidence)


def whole_votes(seed: int) -> np.ndarray[Any, Any]:
    """Votes (cases, seats) without ties."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((N, SEATS)) < 0.6, 0, rng.integers(1, K, (N, SEATS)))


def of_votes(votes: np.ndarray[Any, Any]) -> Walks:
    return Walks(np.eye(K)[votes], None, np.ones((N, K), dtype=bool))


@pytest.mark.parametrize(
    ("name", "level", "rule"),
    [
        ("certain", 0.0, stop_replay.certain_rule()),
        ("ahead", 3.0, stop_replay.ahead_rule(3)),
        ("beta", 0.95, stop_replay.beta_rule(0.95)),
        ("sprt", 0.9, stop_replay.sprt_rule(0.75, 0.1, 0.1)),
        ("mixture", 0.9, stop_replay.mixture_sprt_rule(0.1)),
    ],
)
def test_rules_stop_where_the_walk_of_recorded_votes_stops(
    name: str, level: float, rule: stop_replay.Rule
) -> None:
    votes = whole_votes(1)
    stops = RULES[name]().stops(of_votes(votes), level)
    stops[:, -1] = True
    expected = stop_replay.stop_times(votes, K, rule).calls
    assert (stops.argmax(axis=1) + 1 == expected).all()


@pytest.mark.parametrize("window", [2, 3, 4])
def test_esc_stops_where_its_own_walk_stops(window: int) -> None:
    votes = whole_votes(2)
    stops = RULES["esc"]().stops(of_votes(votes), window)
    stops[:, -1] = True
    expected = stop_replay.window_stop_times(votes, K, window).calls
    assert (stops.argmax(axis=1) + 1 == expected).all()


@pytest.mark.parametrize("name", ["odds", "prior", "value"])
def test_fitted_rules_stop_where_the_walk_of_recorded_votes_stops(name: str) -> None:
    votes = whole_votes(3)
    seen = of_votes(votes)
    truth = np.eye(K)[np.zeros(N, dtype=int)]
    rule: Any = RULES[name]().fit(seen, truth)
    level = {"odds": np.log(19.0), "prior": 0.9, "value": -0.004}[name]
    walk: Mapping[str, Any] = {
        "odds": lambda: stop_replay.odds_rule(rule.p, rule.rho, 0.05),
        "prior": lambda: stop_replay.prior_rule(rule.prior, 0.9),
        "value": lambda: stop_replay.value_rule(
            1.0 - np.eye(K), 0.004, p=rule.p, rho=rule.rho, horizon=5
        ),
    }
    stops = rule.stops(seen, level)
    stops[:, -1] = True
    expected = stop_replay.stop_times(votes, K, walk[name]()).calls
    assert (stops.argmax(axis=1) + 1 == expected).mean() > 0.99


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_highest_level_decides_as_the_whole_panel(name: str) -> None:
    evidence = judged()
    strategy = made(f"adaptive:{name}:same=1", evidence)
    # Three of them stop by rule at any level.
    if name in ("esc", "sprt", "odds"):
        return
    every = replace(strategy, chosen=np.inf if RULES[name]().levels is None else strategy.chosen)
    found = measure(every, evidence, draws=2)
    totals = (
        walks(evidence).tally[:, -1]
        if name not in ("scores", "both")
        else RULES[name]().totals(walks(evidence))[:, -1]
    )
    best = totals >= totals.max(axis=1, keepdims=True) - 1e-9
    expected = (best * evidence.credit).sum(axis=1) / best.sum(axis=1)
    np.testing.assert_allclose(found.credit, expected, atol=0.01)


def test_certainty_loses_nothing_against_the_whole_panel() -> None:
    evidence = judged()
    found = measure(made("adaptive:certain", evidence), evidence, draws=4)
    np.testing.assert_allclose(found.credit, measure(Vote(SEATS), evidence).credit, atol=1e-9)
    assert found.calls.mean() < SEATS


@pytest.mark.parametrize("name", ["votes", "scores", "both", "prior", "value"])
def test_a_budget_of_calls_is_kept_on_the_half_it_was_chosen_on(name: str) -> None:
    evidence = judged()
    strategy = made(f"adaptive:{name}:calls=4", evidence)
    assert 2.5 < measure(strategy, evidence, draws=16).calls.mean() <= 4.05


def test_scores_keep_more_of_the_gain_than_votes_do_at_the_same_budget() -> None:
    train, later = judged(1), judged(2)
    right = {
        name: measure(made(f"adaptive:{name}:calls=3", train), later, draws=16).credit.mean()
        for name in ("beta", "scores")
    }
    assert right["scores"] > right["beta"]


def test_more_agreement_asked_for_means_more_calls() -> None:
    evidence = judged()
    calls = [
        measure(made(f"adaptive:scores:same={share}", evidence), evidence, draws=8).calls.mean()
        for share in (0.9, 0.97, 0.999)
    ]
    assert calls[0] < calls[1] < calls[2]


def test_the_label_is_not_looked_at_where_calls_or_agreement_choose() -> None:
    evidence = judged()
    hidden = replace(evidence, credit=np.roll(evidence.credit, 1, axis=1))
    for wish in ("calls=4", "same=0.98"):
        seen, unseen = (made(f"adaptive:both:{wish}", e).chosen for e in (evidence, hidden))
        assert seen == unseen


def test_waves_stop_only_at_their_ends() -> None:
    evidence = judged()
    strategy = made("adaptive:both:calls=4,waves=3+2", evidence)
    (outcome, *_) = strategy.runs(evidence, draws=1, seed=0)
    assert set(outcome.calls.tolist()) <= {3.0, 5.0, 7.0, 8.0}
    assert (outcome.latency == 2.0 * np.ceil((outcome.calls - 3) / 2 + 1)).all()
    np.testing.assert_allclose(outcome.cost, 0.01 * outcome.calls)


def test_a_failed_ballot_is_a_call_without_a_vote() -> None:
    evidence = judged(scored=False)
    evidence.votes[:] = 0
    found = measure(made("adaptive:beta:level=0.95", evidence), evidence, draws=2)
    assert (found.calls == SEATS).all()
    assert (found.credit == 0).all()


def test_scores_that_were_not_recorded_are_an_error() -> None:
    with pytest.raises(DataError, match="no scores"):
        parse_stopping("adaptive:scores", SEATS).fit(judged(scored=False))


def test_a_rule_that_learns_does_not_run_unfitted() -> None:
    with pytest.raises(DataError, match="calibrate half"):
        next(parse_stopping("adaptive:scores", SEATS).runs(judged(), draws=1, seed=0))


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("adaptive:luck", "unknown stopping rule"),
        ("adaptive:beta:depth=3", "unknown option"),
        ("adaptive:beta:level=high", "no such value"),
        ("adaptive:beta:calls=0", "no such value"),
        ("adaptive:beta:waves=3+0", "no such value"),
        ("adaptive:beta:waves=", "no such value"),
    ],
)
def test_a_wrong_spec_is_one_clear_line(spec: str, said: str) -> None:
    with pytest.raises(DataError, match=said):
        parse_stopping(spec, SEATS)


PLAN = StoppingPlan(
    "rb2_judges_dev",
    ("gpt-5.4-mini",),
    "base",
    8,
    (
        ("Adaptive-Consistency, as published", "adaptive:beta:level=0.95"),
        ("score and vote lead", "adaptive:both:calls=4"),
        ("vote lead", "adaptive:votes:same=0.99"),
    ),
    "adaptive:beta:level=0.95",
    ("adaptive:both:calls=4", 4.0),
    ("adaptive:votes:same=0.99",),
    splits=3,
    draws=4,
)


@pytest.mark.needs("recorded-data")
def test_fewer_answers_than_adaptive_consistency_do_as_well_on_recorded_judges() -> None:
    found = compare(real_run("rb2_judges_dev"), "gpt-5.4-mini", PLAN)
    ours, theirs = (found.rules[spec] for spec in ("adaptive:votes:same=0.99", PLAN.reference))
    fewer = found.mean(ours.calls - theirs.calls)
    assert fewer.interval.high < -1.0
    assert abs(found.mean(ours.credit - theirs.credit).estimate) < 0.005


@pytest.mark.needs("recorded-data")
def test_the_section_has_a_row_a_rule_and_its_command_repeats_it() -> None:
    text = render_stopping(real_run("rb2_judges_dev"), PLAN)
    (row,) = (line for line in text.splitlines() if line.startswith("| 2 |"))
    calls, accuracy = (cell.strip() for cell in row.split("|")[4:6])
    done = CliRunner().invoke(
        app,
        [
            *("replay", "--data", str(recorded_data_folder() / "rb2_judges_dev")),
            *("--frontier", "gpt-5.4-mini", "--panel", "gpt-5.4-mini", "--variant", "base"),
            *("--strategy", "adaptive:both:calls=4", "--seats", "8", "--complete"),
            *("--calibrate", "half", "--splits", "3", "--draws", "4", "--json"),
        ],
    )
    assert done.exit_code == 0, done.output
    figures = json.loads(done.stdout)
    assert f"{figures['calls_per_case']:.2f}" == calls
    assert f"{figures['accuracy']:.3f}" == accuracy


def test_every_rule_of_the_plan_is_one_that_exists() -> None:
    specs = [spec for _, spec in RB2_STOPPING.rules]
    assert len({parse_stopping(spec, 8).name for spec in specs}) == len(specs)
    assert {RB2_STOPPING.reference, RB2_STOPPING.budget[0], *RB2_STOPPING.rival} <= set(specs)
