"""Replay: every figure on cases small enough to count by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.evidence import calibration_mask, evidence_of, resolve_members
from consensus.benchmark.recorded import import_recorded
from consensus.benchmark.replay import Replay, Replayer, ReplaySettings, replay
from consensus.benchmark.replay_strategies import FIXED_STRATEGIES
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.sweep import accuracy_by_seats, sweep_votes
from consensus.errors import DataError
from tests.benchmark.data_fixtures import simple_answers, simple_cases, write_recorded

KEYS = {
    "n", "accuracy", "accuracy_strict", "ci95", "frontier_accuracy", "difference",
    "difference_ci95", "agreement", "agreement_kappa", "calls_per_case", "cost_per_case",
    "cost_ratio", "cost_per_correct", "cost_per_quality_point", "latency_p50", "latency_ratio",
    "escalation_rate", "tie_rate", "controls", "chosen",
}  # fmt: skip
PRICES = {name: {"call": cost} for name, cost in [("a", 1.0), ("b", 2.0), ("c", 4.0), ("f", 10.0)]}


def make_run(tmp_path: Path, labels: str, prices: Any = PRICES, **models: Any) -> RecordedRun:
    folder = write_recorded(tmp_path, simple_cases(labels), simple_answers(**models), prices=prices)
    return import_recorded(folder)


def run_replay(run: RecordedRun, panel: str, **settings: Any) -> Replay:
    return replay(run, ReplaySettings(frontier="f", panel=tuple(panel.split(",")), **settings))


@pytest.fixture
def run(tmp_path: Path) -> RecordedRun:
    """Labels AABBC; a: 3 right; b: 3 right; c: 2 right and a failure; f: 4 right."""
    return make_run(tmp_path, "AABBC", a="AABCA", b="ABBBA", c="BAC-C", f="AABBA")


def test_a_majority_by_hand(run: RecordedRun) -> None:
    # A: A,A,B → A. A: A,B,A → A. B: B,B,C → B. B: C,B,fail → tie of B and C. C: A,A,C → A wrong.
    figures = run_replay(run, "a,b,c").figures
    assert set(figures) >= KEYS
    assert figures["n"] == 5
    assert figures["accuracy"] == pytest.approx(3.5 / 5)
    assert figures["accuracy_strict"] == pytest.approx(3 / 5)
    assert figures["tie_rate"] == pytest.approx(1 / 5)
    assert figures["frontier_accuracy"] == pytest.approx(4 / 5)
    assert figures["difference"] == pytest.approx(-0.5 / 5)
    assert figures["agreement"] == pytest.approx(4.5 / 5)
    assert figures["calls_per_case"] == 3
    assert figures["cost_per_case"] == 7
    assert figures["cost_ratio"] == pytest.approx(0.7)
    assert figures["cost_per_correct"] == pytest.approx(10)
    assert figures["cost_per_quality_point"] == pytest.approx(0.1)
    assert figures["latency_p50"] is None
    assert figures["chosen"] is None


def test_the_controls_by_hand(run: RecordedRun) -> None:
    controls = run_replay(run, "a,b,c").figures["controls"]
    assert controls["best_single"] == {"accuracy": 0.6, "cost_per_case": 1.0, "model": "a@base"}
    assert controls["all_frontier"] == {"accuracy": 0.8, "cost_per_case": 10.0}
    assert controls["majority"]["accuracy"] == pytest.approx(0.7)
    # Every case has a seat that is right.
    assert controls["oracle"] == {"accuracy": 1.0, "cost_per_case": 7.0}
    # A coin between a (.6 at 1) and f (.8 at 10) at a cost of 7: two thirds to f.
    assert controls["shuffled"]["accuracy"] == pytest.approx(0.6 + 0.2 * 6 / 9)
    assert controls["shuffled"]["cost_per_case"] == pytest.approx(7)


def test_a_single_pass_counts_blanks_as_wrong(run: RecordedRun) -> None:
    figures = run_replay(run, "c", strategy="single").figures
    assert figures["accuracy"] == pytest.approx(2 / 5)
    assert figures["calls_per_case"] == 1


def test_a_single_pass_is_the_mean_over_samples_or_the_one_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path, "AB", a="AA", a__1="AB", f="AB")
    assert run_replay(run, "a", strategy="single").figures["accuracy"] == pytest.approx(0.75)
    for sample, accuracy in ((0, 0.5), (1, 1.0)):
        settings = ReplaySettings(frontier="a", panel=("a",), strategy="single", sample=sample)
        figures = replay(run, settings).figures
        assert figures["accuracy"] == accuracy


def test_complete_keeps_the_cases_that_all_named_answered(tmp_path: Path) -> None:
    run = make_run(tmp_path, "ABC", a="AB_", b="A-C", f="_BC")
    assert run_replay(run, "a,b", complete=True).figures["n"] == 1
    assert run_replay(run, "b", complete=True).figures["n"] == 2
    everything = run_replay(run, "a", strategy="single").figures
    assert everything["n"] == 3
    assert everything["accuracy"] == pytest.approx(2 / 3)
    assert everything["calls_per_case"] == pytest.approx(2 / 3)


def test_seats_take_models_in_turn_and_samples_in_turn(tmp_path: Path) -> None:
    run = make_run(tmp_path, "A", a="A", a__1="B", b="B", b__1="B", f="A")
    two = run_replay(run, "a,b", seats=2).figures
    # One sample of a (A or B, evenly) with one of b (B): a tie or a loss.
    assert two["cost_per_case"] == 3
    assert two["accuracy"] == pytest.approx(0.25, abs=0.1)
    four = run_replay(run, "a,b", seats=4).figures
    assert (four["cost_per_case"], four["accuracy"]) == (6, 0)


def test_a_part_of_the_samples_is_averaged_over_random_orders(tmp_path: Path) -> None:
    run = make_run(tmp_path, "A", a="A", a__1="A", a__2="B", f="A")
    figures = run_replay(run, "a", seats=1, draws=3000).figures
    assert figures["accuracy"] == pytest.approx(2 / 3, abs=0.03)
    again = run_replay(run, "a", seats=1, draws=3000).figures
    assert again["accuracy"] == figures["accuracy"]


def test_unknown_prices_are_null_and_never_zero(tmp_path: Path) -> None:
    run = make_run(tmp_path, "AB", {"a": {"call": 1.0}, "f": {"call": 2.0}}, a="AB", b="AA", f="AB")
    figures = run_replay(run, "a,b").figures
    for key in ("cost_per_case", "cost_ratio", "cost_per_correct", "cost_per_quality_point"):
        assert figures[key] is None
    assert figures["controls"]["shuffled"] == {"accuracy": None, "cost_per_case": None}
    assert figures["controls"]["best_single"]["cost_per_case"] == 1.0


def test_a_calibration_half_is_the_published_hash() -> None:
    import hashlib

    ids = [f"case/{i}" for i in range(50)]
    digits = [hashlib.sha256(f"7:{c}".encode()).hexdigest()[0] for c in ids]
    assert calibration_mask(ids, 7).tolist() == [digit in "01234567" for digit in digits]


def test_figures_come_from_the_other_half_only(tmp_path: Path) -> None:
    labels = "A" * 40
    ids = [f"c{i}" for i in range(40)]
    mask = calibration_mask(ids, 5)
    # Right exactly where it calibrates: the reported half must be all wrong.
    answers = "".join("A" if calibrates else "B" for calibrates in mask)
    run = make_run(tmp_path, labels, a=answers, f=labels)
    figures = run_replay(run, "a", calibrate=True, split_seed=5).figures
    assert figures["accuracy"] == 0
    assert figures["n"] == int((~mask).sum())


def test_splits_are_averaged(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    answers = "".join(rng.choice(list("AB"), 60))
    run = make_run(tmp_path, "A" * 60, a=answers, f="A" * 60)
    single = [
        run_replay(run, "a", calibrate=True, split_seed=s).figures["accuracy"] for s in range(4)
    ]
    pooled = run_replay(run, "a", calibrate=True, splits=4).figures
    assert pooled["accuracy"] == pytest.approx(np.mean(single))
    assert pooled["ci95"][0] < pooled["accuracy"] < pooled["ci95"][1]


def test_strategies_that_learn_see_the_gold_of_their_half_only(tmp_path: Path) -> None:
    # b is right in one half and wrong in the other; weights must come from the calibration half.
    ids = [f"c{i}" for i in range(80)]
    mask = calibration_mask(ids, 0)
    good = "".join("A" if m else "B" for m in mask)
    bad = "".join("B" if m else "A" for m in mask)
    run = make_run(tmp_path, "A" * 80, a=bad, b=good, c=good, f="A" * 80)
    figures = run_replay(run, "a,b", strategy="weighted", calibrate=True).figures
    assert figures["accuracy"] == 0


_OTHER_DATA = {"debate", "scores", "softmax", "live:scores", "dawid_skene"}
"""Strategies that need a debate, scores, or options that mean the same in every case."""


@pytest.mark.parametrize("name", sorted(set(FIXED_STRATEGIES) - _OTHER_DATA))
def test_a_unanimous_panel_is_never_overruled(name: str, tmp_path: Path) -> None:
    letters = "ABCABCABCABCABCABCABCABC"
    run = make_run(tmp_path, "A" * 24, a=letters, b=letters, c=letters, f="A" * 24)
    panel = "a" if name == "single" else "a,b,c"
    figures = run_replay(run, panel, strategy=name, calibrate=True).figures
    mask = calibration_mask(run.cases.ids, 0)
    expected = np.mean([letter == "A" for letter, m in zip(letters, mask, strict=True) if not m])
    assert figures["accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("name", ["vote", "weighted", "blocks"])
def test_the_order_of_the_panel_decides_nothing(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    models = {m: "".join(rng.choice(list("ABC"), 60)) for m in "abc"}
    run = make_run(tmp_path, "".join(rng.choice(list("ABC"), 60)), f="A" * 60, **models)
    first = run_replay(run, "a,b,c", strategy=name, calibrate=True).figures
    second = run_replay(run, "c,a,b", strategy=name, calibrate=True).figures
    assert first["accuracy"] == pytest.approx(second["accuracy"])
    assert first["tie_rate"] == second["tie_rate"]


def test_a_cascade_pays_the_last_model_only_where_the_first_disagree(tmp_path: Path) -> None:
    run = make_run(tmp_path, "ABC", a="ABA", b="ABB", c="AAC", f="ABC")
    figures = run_replay(run, "a,b,c", strategy="cascade").figures
    assert figures["accuracy"] == 1
    assert figures["escalation_rate"] == pytest.approx(1 / 3)
    assert figures["cost_per_case"] == pytest.approx(3 + 4 / 3)


def test_a_failed_seat_never_makes_the_rest_unanimous(tmp_path: Path) -> None:
    run = make_run(tmp_path, "A", a="B", b="-", c="A", f="A")
    assert run_replay(run, "a,b,c", strategy="cascade").figures["escalation_rate"] == 1


def test_adaptive_stops_where_no_ballot_can_matter(tmp_path: Path) -> None:
    samples = {f"a__{i}" if i else "a": "A" for i in range(8)}
    run = make_run(tmp_path, "A", f="A", **samples)
    figures = run_replay(run, "a", strategy="adaptive", seats=8).figures
    assert figures["accuracy"] == 1
    assert 3 <= figures["calls_per_case"] < 8


def test_score_means_use_the_whole_score(tmp_path: Path) -> None:
    answers = [
        {"case_id": "c0", "model": "a", "answer": "A", "scores_by_letter": "7;6;1"},
        {
            "case_id": "c0",
            "model": "b",
            "answer": "B",
            "scores_by_letter": "2;9;;".rstrip(";") + ";",
        },
        {"case_id": "c0", "model": "f", "answer": "B", "scores_by_letter": "1;9;1"},
    ]
    folder = write_recorded(
        tmp_path, simple_cases("B"), answers, extra_columns=["scores_by_letter"]
    )
    run = import_recorded(folder)
    figures = run_replay(run, "a,b", strategy="scores").figures
    assert (figures["accuracy"], figures["tie_rate"]) == (1, 0)
    assert run_replay(run, "a,b").figures["tie_rate"] == 1


@pytest.mark.parametrize("name", ["mean", "softmax", "stacked", "cisc"])
def test_a_live_aggregator_decides_the_same_whatever_the_order_of_the_panel(
    name: str, tmp_path: Path
) -> None:
    run = graded(tmp_path, 60)
    first = run_replay(run, "a,b", strategy=name, calibrate=True).figures
    second = run_replay(run, "b,a", strategy=name, calibrate=True).figures
    assert first["accuracy"] == pytest.approx(second["accuracy"])
    assert first["tie_rate"] == second["tie_rate"]


def graded(folder: Path, cases: int) -> RecordedRun:
    """a scores well and b at random, with tokens of confidence that say so."""
    rng = np.random.default_rng(1)
    labels = "".join(rng.choice(list("ABC"), cases))
    rows = []
    for i, label in enumerate(labels):
        right = np.array([label == letter for letter in "ABC"])
        for model, skill in (("a", 3.0), ("b", 0.0), ("f", 9.0)):
            scores = np.round(5 + skill * right + rng.normal(size=3), 2)
            rows.append(
                {
                    "case_id": f"c{i}",
                    "model": model,
                    "answer": "ABC"[int(scores.argmax())],
                    "confidence": "0.9" if model == "a" else "0.4",
                    "scores_by_letter": ";".join(f"{s:g}" for s in scores),
                }
            )
    named = write_recorded(folder, simple_cases(labels), rows, extra_columns=["scores_by_letter"])
    return import_recorded(named)


def test_softmax_learns_which_judge_to_read(tmp_path: Path) -> None:
    run = graded(tmp_path, 300)
    learned = run_replay(run, "a,b", strategy="softmax", calibrate=True).figures
    plain = run_replay(run, "a,b", strategy="scores", calibrate=True).figures
    assert learned["accuracy"] > plain["accuracy"]


def test_confidence_within_the_question_breaks_ties(tmp_path: Path) -> None:
    run = graded(tmp_path, 100)
    assert run_replay(run, "a,b", strategy="cisc").figures["tie_rate"] == 0
    assert run_replay(run, "a,b", strategy="vote").figures["tie_rate"] > 0.3


def test_agreement_of_a_strategy_with_itself_is_full(run: RecordedRun) -> None:
    figures = run_replay(run, "f", strategy="single").figures
    assert figures["agreement"] == pytest.approx(1)
    assert figures["agreement_kappa"] == pytest.approx(1)
    assert figures["difference_ci95"] == [0, 0]


def test_the_interval_of_zeros_and_ones_is_wilsons(run: RecordedRun) -> None:
    from consensus.statistics import wilson

    figures = run_replay(run, "f", strategy="single").figures
    assert figures["ci95"] == pytest.approx(list(wilson(4, 5)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"panel": ("zz",)}, 'no answers of "zz" .one of a, b, c, f'),
        ({"frontier": "zz"}, 'no answers of "zz"'),
        ({"variant": "cot"}, 'no answers in variant "cot" .one of base'),
        ({"strategy": "oracle"}, 'unknown strategy "oracle" .one of single'),
        ({"strategy": "weighted"}, "add --calibrate half"),
        ({"strategy": "auto"}, "add --calibrate half"),
        ({"strategy": "scores"}, "no scores"),
        ({"strategy": "single"}, "single is one model"),
        ({"seats": 4}, "at most 3"),
        ({"seats": 0}, "at least one seat"),
        ({"sample": 3}, "no sample 3"),
        ({"splits": 4}, "add --calibrate half"),
        ({"goal": "parity"}, "only auto and cascade"),
        ({"panel": ()}, "names no model"),
        ({"panel": ("a", "a")}, "names a model twice"),
    ],
)
def test_what_cannot_be_replayed_is_said_in_one_line(
    run: RecordedRun, settings: dict[str, Any], message: str
) -> None:
    wanted = {"frontier": "f", "panel": ("a", "b", "c"), **settings}
    with pytest.raises(DataError, match=message) as caught:
        replay(run, ReplaySettings(**wanted))
    assert "\n" not in str(caught.value)


def test_without_a_variant_the_models_meet_in_the_one_they_share(tmp_path: Path) -> None:
    answers = [
        {"case_id": "c0", "model": "a", "variant": "x", "answer": "A"},
        {"case_id": "c0", "model": "a", "variant": "y", "answer": "A"},
        {"case_id": "c0", "model": "b", "variant": "y", "answer": "A"},
        {"case_id": "c0", "model": "c", "variant": "z", "answer": "A"},
    ]
    run = import_recorded(write_recorded(tmp_path, simple_cases("A"), answers))

    def names(*models: str, variant: str | None = None) -> list[list[str]]:
        found = resolve_members(run, models, variant)
        return [[member.name for member in found[model]] for model in models]

    assert names("a", "b") == [["a@y"], ["b@y"]]
    assert names("a", variant="x") == [["a@x"]]
    assert names("a@x", "b") == [["a@x"], ["b@y"]]
    assert names("a", "c") == [["a@x", "a@y"], ["c@z"]]


def test_a_sweep_equals_single_replays(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    models = {}
    for m in "ab":
        for s in range(3):
            models[m if s == 0 else f"{m}__{s}"] = "".join(rng.choice(list("ABC-"), 30))
    run = make_run(tmp_path, "".join(rng.choice(list("ABC"), 30)), f="A" * 30, **models)
    evidence = evidence_of(run, [m for m in run.members if m.model in "ab"])
    sweep = sweep_votes(evidence, [(3, 3), (3, 0), (1, 1)], draws=400)
    assert sweep[0].mean() == pytest.approx(run_replay(run, "a,b", seats=6).figures["accuracy"])
    assert sweep[1].mean() == pytest.approx(run_replay(run, "a", seats=3).figures["accuracy"])
    two = run_replay(run, "a,b", seats=2, draws=400).figures["accuracy"]
    assert sweep[2].mean() == pytest.approx(two, abs=0.02)


def test_the_next_seat_adds_nothing_to_certainty(tmp_path: Path) -> None:
    samples = {f"a__{i}" if i else "a": "AB" for i in range(4)}
    run = make_run(tmp_path, "AA", f="AA", **samples)
    evidence = evidence_of(run, [m for m in run.members if m.model == "a"])
    assert accuracy_by_seats(evidence, 4) == [(n, 0.5) for n in range(1, 5)]


def test_one_replayer_for_many_settings_gives_what_each_alone_gives(tmp_path: Path) -> None:
    run = make_run(tmp_path, "ABCDABCDAB", a="ABCDAAAAAA", b="ABCDBBBBAB", f="ABCDABCDBB")
    asked = [
        ReplaySettings("f", panel, strategy, seats=seats)
        for panel in (("a",), ("a", "b"))
        for strategy, seats in (("vote", 1), ("vote", None), ("adaptive", None))
    ]
    again = Replayer(run)
    found = [again(settings).to_dict() for settings in (*asked, *reversed(asked))]
    alone = [replay(run, settings).to_dict() for settings in asked]
    assert found == [*alone, *reversed(alone)]


def test_stacked_orders_are_the_orders_one_by_one(tmp_path: Path) -> None:
    run = make_run(tmp_path, "ABCDABCDAB", a="ABCDAAAAAA", a__1="AABBABCDAB", f="ABCDABCDBB")
    evidence = evidence_of(run, resolve_members(run, ["a"])["a"])
    (stacked,) = evidence.shuffles(5, seed=3)
    rng = np.random.default_rng(3)
    alone = [evidence.shuffled(rng) for _ in range(5)]
    np.testing.assert_array_equal(stacked.votes, np.concatenate([one.votes for one in alone]))
    np.testing.assert_array_equal(stacked.cost, np.concatenate([one.cost for one in alone]))
