"""auto: on simulated judges whose best use is known, and on the recorded sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.aggregation.learned import fit_conditional_logit
from consensus.benchmark.auto.lattice import choose_caps, lattice_states
from consensus.benchmark.auto.search import Candidate, Goal, choose, folds_of, parse_goal
from consensus.benchmark.auto.stacking import Slots, fit_weights, posterior
from consensus.benchmark.recorded import import_recorded
from consensus.benchmark.replay import Replay, ReplaySettings, replay
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from tests.benchmark.data_fixtures import (
    real_run,
    simple_answers,
    simple_cases,
    write_recorded,
)

RNG = np.random.default_rng


def simulated(
    tmp_path: Path,
    cases: int,
    judges: dict[str, tuple[float, float]],
    *,
    copies: dict[str, str] | None = None,
    seed: int = 0,
) -> RecordedRun:
    """Judges of given (accuracy, price a call) that err independently; copies repeat another."""
    rng = RNG(seed)
    labels = rng.choice(list("ABC"), cases)
    models: dict[str, str] = {}
    for name, (accuracy, _) in judges.items():
        if copies and name in copies:
            models[name] = models[copies[name]]
            continue
        wrong = np.array([rng.choice([o for o in "ABC" if o != label]) for label in labels])
        models[name] = "".join(np.where(rng.random(cases) < accuracy, labels, wrong))
    prices = {name: {"call": price} for name, (_, price) in judges.items()}
    folder = write_recorded(
        tmp_path, simple_cases("".join(labels)), simple_answers(**models), prices=prices
    )
    return import_recorded(folder)


def auto(run: RecordedRun, frontier: str, panel: str, goal: str | None, **more: Any) -> Replay:
    settings = ReplaySettings(
        frontier=frontier,
        panel=tuple(panel.split(",")),
        strategy="auto",
        goal=goal,
        calibrate=True,
        **more,
    )
    return replay(run, settings)


def test_the_fast_fit_equals_the_aggregators_conditional_logit() -> None:
    rng = RNG(1)
    cases, options, features = 60, 4, 3
    x = rng.normal(size=(cases, options, features))
    truth = rng.integers(0, options, cases)
    slots = Slots(
        np.arange(0, cases * options, options),
        np.full(cases, options),
        np.ones(cases * options),
        np.eye(options)[truth].ravel(),
    )
    mine = fit_weights(slots, x.reshape(-1, features), np.ones(cases), l2=2.0)
    theirs = fit_conditional_logit(x, truth, l2=2.0)
    assert mine == pytest.approx(theirs.weights, abs=1e-4)
    p = posterior(slots, x.reshape(-1, features) @ theirs.weights).reshape(cases, options)
    assert p == pytest.approx(theirs.predict(x))


def test_options_that_nobody_named_may_share_a_slot() -> None:
    rng = RNG(2)
    x = np.zeros((50, 6, 1))
    votes = rng.integers(0, 6, 50)
    x[np.arange(50), votes, 0] = 1
    truth = np.where(rng.random(50) < 0.6, votes, rng.integers(0, 6, 50))
    whole = fit_conditional_logit(x, truth, l2=1.0).weights
    credit = np.column_stack([truth == votes, (truth != votes) / 5]).astype(float).ravel()
    slots = Slots(np.arange(0, 100, 2), np.full(50, 2), np.tile([1.0, 5.0], 50), credit)
    short = fit_weights(slots, np.tile([[1.0], [0.0]], (50, 1)), np.ones(50), l2=1.0)
    assert short == pytest.approx(whole, abs=1e-4)


def test_quality_takes_the_best_member_where_the_rest_only_repeat_noise(tmp_path: Path) -> None:
    judges = {"good": (0.85, 1.0), "bad": (0.4, 1.0), "worse": (0.36, 1.0)}
    run = simulated(tmp_path, 400, judges)
    result = auto(run, "good", "good,bad,worse", "quality", splits=4)
    best = result.figures["controls"]["best_single"]["accuracy"]
    assert result.figures["accuracy"] >= best - 0.005


def test_quality_uses_independent_equals(tmp_path: Path) -> None:
    judges = dict.fromkeys("abcde", (0.7, 1.0))
    run = simulated(tmp_path, 600, judges)
    result = auto(run, "a", "a,b,c,d,e", "quality")
    # Five independent judges of .7 with two ways to be wrong: plurality is right on about .88.
    assert result.figures["accuracy"] > 0.83


def test_copies_of_one_judge_do_not_outvote_a_better_one(tmp_path: Path) -> None:
    judges = {"weak": (0.6, 1.0), "copy1": (0.6, 1.0), "copy2": (0.6, 1.0), "good": (0.8, 1.0)}
    run = simulated(tmp_path, 500, judges, copies={"copy1": "weak", "copy2": "weak"})
    crowd = replay(run, ReplaySettings(frontier="good", panel=tuple(judges), calibrate=True))
    chosen = auto(run, "good", ",".join(judges), "quality")
    assert crowd.figures["accuracy"] < 0.65
    assert chosen.figures["accuracy"] > 0.75


def test_a_stacked_panel_weighs_what_plurality_cannot(tmp_path: Path) -> None:
    judges = {"weak": (0.6, 1.0), "copy1": (0.6, 1.0), "copy2": (0.6, 1.0), "good": (0.8, 1.0)}
    run = simulated(tmp_path, 500, judges, copies={"copy1": "weak", "copy2": "weak"})
    settings = ReplaySettings(
        frontier="good", panel=tuple(judges), strategy="stack", calibrate=True
    )
    figures = replay(run, settings).figures
    assert figures["accuracy"] > 0.75
    assert figures["calls_per_case"] == 4
    assert figures["chosen"] is None
    with pytest.raises(DataError, match="add --calibrate half"):
        replay(run, ReplaySettings(frontier="good", panel=tuple(judges), strategy="stack"))


def test_parity_finds_the_cheap_equal(tmp_path: Path) -> None:
    judges = {"cheap": (0.9, 1.0), "dear": (0.87, 20.0)}
    run = simulated(tmp_path, 500, judges)
    result = auto(run, "dear", "cheap,dear", "parity")
    assert result.figures["cost_ratio"] <= 0.2
    assert result.figures["difference"] > -0.03


def test_one_model_is_an_answer(tmp_path: Path) -> None:
    judges = {"frontier": (0.95, 10.0), "poor": (0.34, 9.0)}
    run = simulated(tmp_path, 300, judges)
    chosen = auto(run, "frontier", "frontier,poor", "quality").figures["chosen"]
    assert [part["kind"] for part in chosen["parts"]] == ["single"]
    assert chosen["parts"][0]["model"] == "frontier@base"


@pytest.mark.parametrize("ratio", [0.2, 0.5, 1.0])
def test_a_budget_is_kept_and_beats_a_coin(tmp_path: Path, ratio: float) -> None:
    judges = {"a": (0.7, 1.0), "b": (0.7, 1.0), "dear": (0.9, 20.0)}
    run = simulated(tmp_path, 800, judges)
    result = auto(run, "dear", "a,b,dear", f"budget:{ratio}", splits=2)
    assert result.figures["cost_ratio"] <= ratio * 1.03
    coin = result.figures["controls"]["shuffled"]["accuracy"]
    assert result.figures["accuracy"] >= coin - 0.005


def test_a_budget_below_everything_takes_the_cheapest_and_says_so(tmp_path: Path) -> None:
    run = simulated(tmp_path, 200, {"a": (0.8, 5.0), "b": (0.9, 10.0)})
    chosen = auto(run, "b", "a,b", "budget:0.1").figures["chosen"]
    assert chosen["parts"][0]["model"] == "a@base"
    assert "nothing is as cheap" in chosen["notes"][-1]


def test_members_without_a_price_take_no_part_in_comparisons_of_cost(tmp_path: Path) -> None:
    run = simulated(tmp_path, 300, {"a": (0.8, 1.0), "b": (0.8, 1.0), "free?": (0.95, 1.0)})
    prices = {name: price for name, price in run.prices.items() if name != "free?"}
    run = RecordedRun(run.name, run.cases, run.members, run.rows, prices, run.report)
    result = auto(run, "b", "a,b,free?", "parity")
    assert result.figures["cost_ratio"] is not None
    assert "left out, without a known price: free?@base" in result.figures["chosen"]["notes"]


def test_without_prices_calls_are_the_cost_and_quality_the_goal(tmp_path: Path) -> None:
    run = simulated(tmp_path, 300, {"a": (0.8, 1.0), "b": (0.8, 1.0)})
    run = RecordedRun(run.name, run.cases, run.members, run.rows, {}, run.report)
    figures = auto(run, "b", "a,b", None).figures
    assert figures["chosen"]["goal"] == "quality"
    assert figures["chosen"]["expected"]["cost_unit"] == "calls"
    assert figures["cost_per_case"] is None


def test_seats_limit_the_calls(tmp_path: Path) -> None:
    run = simulated(tmp_path, 300, dict.fromkeys("abcd", (0.7, 1.0)))
    assert auto(run, "a", "a,b,c,d", "quality", seats=2).figures["calls_per_case"] <= 2


def test_the_reported_half_is_never_learned_from(tmp_path: Path) -> None:
    run = simulated(tmp_path, 300, {"a": (0.7, 1.0), "b": (0.7, 1.0), "c": (0.7, 1.0)})
    first = auto(run, "a", "a,b,c", "quality").figures["chosen"]
    from consensus.benchmark.evidence import calibration_mask

    held = ~calibration_mask(run.cases.ids, 0)
    credit = run.cases.credit.copy()
    credit[held] = np.roll(credit[held], 1, axis=1)
    cases = type(run.cases)(
        run.cases.ids, run.cases.options, run.cases.valid, credit, run.cases.kinds,
        run.cases.strata, run.cases.records,
    )  # fmt: skip
    other = RecordedRun(run.name, cases, run.members, run.rows, run.prices, run.report)
    assert auto(other, "a", "a,b,c", "quality").figures["chosen"] == first


def test_the_order_of_the_panel_and_of_the_cases_changes_nothing(tmp_path: Path) -> None:
    run = simulated(tmp_path, 240, {"a": (0.7, 1.0), "b": (0.75, 2.0), "c": (0.8, 5.0)})
    first = auto(run, "c", "a,b,c", "parity").figures
    second = auto(run, "c", "c,b,a", "parity").figures
    third = auto(run.take_cases(RNG(0).permutation(240)), "c", "a,b,c", "parity").figures
    for other in (second, third):
        assert other["accuracy"] == pytest.approx(first["accuracy"], abs=1e-6)
        assert other["cost_per_case"] == pytest.approx(first["cost_per_case"], rel=1e-6)


def test_balanced_weighs_rare_labels_alike(tmp_path: Path) -> None:
    rng = RNG(3)
    labels = np.where(rng.random(600) < 0.85, "no", "yes")
    says = np.where(rng.random(600) < np.where(labels == "yes", 0.6, 0.2), "yes", "no")
    cases = [
        {"case_id": f"c{i}", "label": str(label), "options": "no|yes", "task_kind": "approval"}
        for i, label in enumerate(labels)
    ]
    answers = [
        {"case_id": f"c{i}", "model": model, "answer": str(answer), "task_kind": "approval"}
        for i, answer in enumerate(says)
        for model in ("m",)
    ] + [
        {"case_id": f"c{i}", "model": "never", "answer": "no", "task_kind": "approval"}
        for i in range(600)
    ]
    run = import_recorded(write_recorded(tmp_path, cases, answers))
    balanced = auto(run, "never", "m,never", "quality").figures
    plain = auto(run, "never", "m,never", "quality", objective="accuracy").figures
    assert balanced["balanced_accuracy"] > 0.62
    assert plain["accuracy"] > 0.8
    assert plain["balanced_accuracy"] < 0.55


@pytest.mark.parametrize(
    "text", ["cheap", "budget", "budget:", "budget:0", "budget:-1", "budget:x"]
)
def test_unknown_goals_are_refused(text: str) -> None:
    with pytest.raises(DataError, match="parity, quality or budget:RATIO"):
        parse_goal(text)


def test_goals_are_read() -> None:
    assert parse_goal("budget:0.4") == Goal("budget", 0.4)
    assert parse_goal("parity") == Goal("parity")


def test_folds_do_not_depend_on_the_order_of_cases() -> None:
    ids = [f"case/{i}" for i in range(30)]
    order = RNG(0).permutation(30)
    assert folds_of([ids[i] for i in order], 4).tolist() == folds_of(ids, 4)[order].tolist()


def test_caps_spend_the_lattice_on_what_is_cheap() -> None:
    caps = choose_caps([8, 8, 8], [0.08, 0.26, 1.0], states=64, seats=None)
    assert caps == (4, 3, 2)
    assert len(lattice_states(caps, None)) == 59
    assert max(sum(s) for s in lattice_states(caps, 3)) == 3


def test_a_single_model_is_preferred_within_noise() -> None:
    rng = RNG(0)
    base = (rng.random(200) < 0.8).astype(float)
    flipped = base.copy()
    flipped[rng.choice(200, 6, replace=False)] = 1.0
    flipped[np.flatnonzero(base == 1)[:4]] = 0.0
    single = Candidate("single", {}, base, 1.0, 0)
    panel = Candidate("stack", {}, flipped, 3.0, 1)
    picked = choose(
        [single, panel],
        Goal("quality"),
        weights=np.ones(200),
        frontier_credit=base,
        frontier_cost=1.0,
    )
    assert picked.parts == ((single, 1.0),)


@pytest.mark.needs("recorded-data")
def test_auto_reaches_parity_on_rb2_well_below_the_frontiers_cost() -> None:
    result = auto(
        real_run("rb2_judges_dev"),
        "gpt-5.4",
        "gpt-5.4-nano,gpt-5.4-mini,gpt-5.4",
        "parity",
        variant="base",
        splits=3,
        split_seed=200,
        draws=8,
    )
    assert result.figures["cost_ratio"] < 0.45
    assert result.figures["difference"] > -0.03
    assert result.figures["accuracy"] > result.figures["controls"]["shuffled"]["accuracy"]
