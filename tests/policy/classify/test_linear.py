"""A classifier as data: what it says of a text, and what is refused as one."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus import Approve, Compare, Generate, Rank
from consensus.errors import DataError
from consensus.policy.classify import MAX_CHARS, Classifier, load_classifier, text_of, words_of
from consensus.policy.classify.linear import ClassifierData, softmax, tfidf
from consensus.policy.classify.text import clipped

FACTS = {
    "cases": 10,
    "folds": 2,
    "accuracy": 0.9,
    "accuracy_low": 0.6,
    "accuracy_high": 1.0,
    "majority": 0.5,
    "log_loss": 0.3,
    "target": 0.9,
    "delta": 0.1,
    "coverage": 0.5,
    "accepted": 5,
    "accepted_accuracy": 1.0,
    "accepted_low": 0.5,
    "accepted_high": 1.0,
}
DATA: dict[str, Any] = {
    "format": "consensus-classifier",
    "version": 1,
    "kind": "tfidf",
    "classes": ["refund", "bug"],
    "threshold": 0.7,
    "vocabulary": ["crash", "money", "the"],
    "idf": [2.0, 2.0, 1.0],
    "coefficients": [[-2.0, 2.0, 0.0], [2.0, -2.0, 0.0]],
    "intercepts": [0.0, 0.0],
    "trained": FACTS,
}


def made(**changes: Any) -> Classifier:
    return Classifier(ClassifierData.model_validate(json.loads(json.dumps({**DATA, **changes}))))


def written(folder: Path, data: object) -> Path:
    path = folder / "classifier.json"
    path.write_text(data if isinstance(data, str) else json.dumps(data), encoding="utf-8")
    return path


def test_the_probability_is_that_of_the_formula() -> None:
    # One word of the vocabulary: the vector is (0, 1, 0), the scores are 2 and -2.
    assert made().probabilities("Money!")["refund"] == pytest.approx(softmax([2.0, -2.0])[0])


def test_a_text_of_unknown_words_gets_the_prior() -> None:
    assert made(intercepts=[1.0, 0.0]).probabilities("zzz") == pytest.approx(
        {"refund": 0.7310586, "bug": 0.2689414}
    )


@given(st.text(max_size=300))
def test_probabilities_sum_to_one_for_any_text(text: str) -> None:
    assert sum(made().probabilities(text).values()) == pytest.approx(1.0)


def test_a_word_said_ten_thousand_times_weighs_no_more_than_one_vector_can() -> None:
    calm = made().probabilities("the crash")
    stuffed = made().probabilities("the crash " + "money " * 10_000)
    # The most that one class can get is what its word alone gets.
    assert stuffed["refund"] <= made().probabilities("money")["refund"]
    assert calm["bug"] > 0.8


def test_what_stands_beyond_the_limit_is_not_read() -> None:
    middle = "x " * MAX_CHARS + "money " * 500 + "x " * MAX_CHARS
    assert made().probabilities(middle) == made().probabilities("x")


def test_a_long_text_is_read_at_both_ends_and_never_longer_than_the_limit() -> None:
    text = clipped("a" * 50_000 + "z" * 50_000, 1000)
    assert (len(text), text[0], text[-1]) == (1000, "a", "z")


def test_criteria_and_system_messages_are_the_products_words_and_not_read() -> None:
    assert (
        text_of(Approve(type="x", subject="A refund.", criteria="Within 30 days.")) == "A refund."
    )
    chat = Generate(
        type="x",
        messages=[{"role": "system", "content": "You are X."}, {"role": "user", "content": "Hi."}],
    )
    assert text_of(chat) == "Hi."


def test_all_judged_parts_are_read() -> None:
    assert text_of(Compare(type="x", subject="s", a="one", b="two")) == "s\none\ntwo"
    assert text_of(Rank(type="x", items=["one", "two"])) == "one\ntwo"


def test_words_have_one_spelling() -> None:
    assert words_of("ＭＯＮＥＹ Money") == Counter({"money": 2, "money money": 1})


def test_tfidf_has_length_one() -> None:
    vector = tfidf({"a": 3, "b": 1, "unknown": 9}, {"a": 1.5, "b": 2.0})
    assert sum(v * v for v in vector.values()) == pytest.approx(1.0)
    assert set(vector) == {"a", "b"}


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    path.write_bytes(made().to_bytes())
    assert load_classifier(path).probabilities("crash") == made().probabilities("crash")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "pickle"}, "is no classifier"),
        ({"version": 2}, "version"),
        ({"coefficients": [[1.0, 2.0, 3.0]]}, "one row of coefficients"),
        ({"coefficients": [[1.0, 2.0], [1.0]]}, "one row of coefficients"),
        ({"idf": [1.0]}, "one column and one idf"),
        ({"classes": ["a", "a"]}, "a class twice"),
        ({"intercepts": [float("inf"), 0.0]}, "finite"),
        ({"kind": "embedding"}, "which embedding"),
        ({"temperature": 0.0}, "temperature"),
        ({"code": "import os"}, "code"),
    ],
)
def test_what_is_no_classifier_is_refused_with_its_file(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said) as caught:
        load_classifier(written(tmp_path, {**DATA, **change}))
    assert "classifier.json" in str(caught.value)


def test_a_file_that_is_no_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not JSON"):
        load_classifier(written(tmp_path, "\x80\x04pickle"))


def test_a_file_that_is_absent_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        load_classifier(tmp_path / "none.json")
