"""Training: what is learnt, and what is claimed of it."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from consensus.cli.main import app
from consensus.errors import DataError
from consensus.policy.classify.linear import NEVER, load_classifier
from consensus.policy.classify.measuring import measure
from consensus.policy.classify.training import Labelled, threshold_for, train

WORDS = {
    "refund": ["money", "return", "paid", "card", "charge", "refund"],
    "bug": ["crash", "error", "screen", "freeze", "update", "bug"],
    "access": ["password", "login", "locked", "account", "reset", "code"],
}
COMMON = ["please", "help", "the", "my", "since", "today", "again", "thanks"]


def cases(n: int, *, seed: int = 0, noise: float = 0.0) -> Labelled:
    dice = random.Random(seed)
    texts, labels = [], []
    for i in range(n):
        label = list(WORDS)[i % len(WORDS)]
        about = dice.choice(list(WORDS)) if dice.random() < noise else label
        words = dice.choices(WORDS[about], k=4) + dice.choices(COMMON, k=6)
        dice.shuffle(words)
        texts.append(" ".join(words))
        labels.append(label)
    return Labelled(tuple(texts), tuple(labels), "made", f"{seed}{n}{noise}")


def test_what_was_learnt_holds_on_fresh_cases() -> None:
    made = train(cases(120))
    fresh = measure(made, cases(200, seed=1))
    assert fresh.accuracy > 0.97
    assert made.data.trained.accuracy_low <= fresh.accuracy
    assert not fresh.seen_before


def test_held_out_accuracy_is_not_that_of_the_cases_it_was_fitted_on() -> None:
    noisy = cases(150, noise=0.6)
    made = train(noisy)
    own = measure(made, noisy)
    fresh = measure(made, cases(600, seed=7, noise=0.6))
    facts = made.data.trained
    assert own.seen_before
    assert own.accuracy > facts.accuracy
    assert facts.accuracy_low <= fresh.accuracy <= facts.accuracy_high


def test_pure_noise_may_name_no_class() -> None:
    dice = random.Random(3)
    texts = tuple(" ".join(dice.choices(COMMON, k=8)) for _ in range(90))
    made = train(Labelled(texts, tuple(("a", "b", "c")[i % 3] for i in range(90))))
    assert made.data.threshold == NEVER
    assert measure(made, cases(30)).accepted == 0


def test_the_same_cases_give_the_same_file_but_for_the_clock() -> None:
    first, second = train(cases(60)), train(cases(60))
    assert first.data.coefficients == second.data.coefficients
    assert first.data.threshold == second.data.threshold


def test_the_trained_matrix_and_the_served_one_are_the_same(tmp_path: Path) -> None:
    made = train(cases(60))
    (tmp_path / "c.json").write_bytes(made.to_bytes())
    served = load_classifier(tmp_path / "c.json")
    for text in cases(12, seed=5).texts:
        assert served.probabilities(text) == pytest.approx(made.probabilities(text))


def test_two_classes_are_as_good_as_three() -> None:
    three = cases(90)
    chosen = [(t, x) for t, x in zip(three.texts, three.labels, strict=True) if x != "access"]
    texts, labels = zip(*chosen, strict=True)
    made = train(Labelled(texts, labels))
    assert made.probabilities("my card was charged money")["refund"] > 0.7
    assert made.probabilities("crash error")["bug"] > 0.7


def test_a_class_with_too_few_cases_is_named() -> None:
    few = cases(60)
    with pytest.raises(DataError, match=r"rare \(1\)"):
        train(Labelled((*few.texts, "odd"), (*few.labels, "rare")))


def test_one_class_is_refused() -> None:
    with pytest.raises(DataError, match="two classes"):
        train(Labelled(("a",) * 9, ("x",) * 9))


# -- the threshold -------------------------------------------------------------------------------


def test_a_faultless_record_that_is_long_enough_lets_everything_through() -> None:
    top = np.linspace(0.5, 0.99, 60)
    assert threshold_for(top, np.ones(60, bool), target=0.9, delta=0.1) == pytest.approx(0.5)


def test_a_faultless_record_that_is_too_short_shows_nothing() -> None:
    top = np.linspace(0.5, 0.99, 15)
    assert threshold_for(top, np.ones(15, bool), target=0.9, delta=0.1) == NEVER


def test_errors_below_a_probability_are_cut_off_there() -> None:
    top = np.linspace(0.4, 0.99, 200)
    found = threshold_for(top, top > 0.7, target=0.95, delta=0.1)
    assert 0.6 < found <= 0.72


def test_too_low_a_threshold_is_chosen_in_no_more_than_delta_of_draws() -> None:
    # The leader is right with probability p(top) = top, so accuracy above t is known exactly.
    dice = np.random.default_rng(11)
    target, delta, draws = 0.9, 0.2, 400
    wrong = 0
    for _ in range(draws):
        top = dice.uniform(0.5, 1.0, 150)
        found = threshold_for(top, dice.random(150) < top, target=target, delta=delta)
        # of those above t, uniform on (t, 1): mean accuracy (1 + t) / 2
        wrong += found <= 1 and (1 + max(found, 0.5)) / 2 < target
    assert wrong / draws <= delta + 3 * (delta * (1 - delta) / draws) ** 0.5


# -- the commands ---------------------------------------------------------------------------------


def audit(folder: Path, labelled: Labelled) -> Path:
    lines = ['version = 1\nsystem = "desk"\n']
    for name in WORDS:
        own = [t for t, x in zip(labelled.texts, labelled.labels, strict=True) if x == name]
        lines.append(
            f'[tasks.{name}]\nkind = "approve"\ncomplexity = "low"\nconsequence = "low"\n'
            f"structured = true\nmonthly_volume = 10\nexamples = {json.dumps(own)}\n"
            "input_tokens = { p50 = 10, p95 = 20 }\noutput_tokens = { p50 = 5, p95 = 9 }\n"
        )
    path = folder / "audit.toml"
    path.write_text("".join(lines), encoding="utf-8")
    return path


def test_train_and_test_from_the_examples_of_an_audit(tmp_path: Path) -> None:
    source, out = audit(tmp_path, cases(90)), tmp_path / "classifier.json"
    (tmp_path / "later").mkdir()
    later = audit(tmp_path / "later", cases(45, seed=9))
    run = CliRunner().invoke(
        app,
        [
            "policy",
            "classify",
            "train",
            str(source),
            "-o",
            str(out),
            "--json",
            "--saving",
            "0.002",
            "--upkeep",
            "20",
        ],
    )
    assert run.exit_code == 0, run.output
    said = json.loads(run.stdout)
    assert said["break_even_queries_a_month"] == pytest.approx(10_000)
    assert said["classes"] == sorted(WORDS)
    tested = CliRunner().invoke(app, ["policy", "classify", "test", str(out), str(later), "--json"])
    assert tested.exit_code == 0, tested.output
    assert json.loads(tested.stdout)["accuracy"] > 0.9


def test_test_says_so_where_it_is_given_the_training_cases(tmp_path: Path) -> None:
    source, out = audit(tmp_path, cases(60)), tmp_path / "classifier.json"
    CliRunner().invoke(app, ["policy", "classify", "train", str(source), "-o", str(out)])
    run = CliRunner().invoke(app, ["policy", "classify", "test", str(out), str(source)])
    assert run.exit_code == 0, run.output
    assert "trained on these very cases" in run.stderr
