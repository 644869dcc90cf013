"""Exact, label and numeric oracles."""

from __future__ import annotations

import pytest

from consensus.errors import SuiteError
from consensus.oracles import Exact, Label, Numeric


def test_exact_does_not_normalise_unless_declared() -> None:
    assert not Exact().judge("Paris ", "Paris").passed
    assert Exact(("space",)).judge("Paris ", "Paris").passed


def test_normalisation_is_the_same_in_whatever_order_it_was_declared() -> None:
    a = Exact(("case", "punctuation", "space", "articles"))
    b = Exact(("articles", "space", "punctuation", "case"))
    assert a.judge("  The EIFFEL-tower!", "eiffeltower").passed
    assert b.judge("  The EIFFEL-tower!", "eiffeltower").passed
    assert a.sha256 == b.sha256


def test_any_of_accepts_each_of_its_values_and_no_other() -> None:
    oracle = Exact()
    assert oracle.judge("b", {"any_of": ["a", "b"]}).passed
    assert not oracle.judge("c", {"any_of": ["a", "b"]}).passed


def test_true_is_not_one() -> None:
    assert not Exact().judge(True, 1).passed
    assert Exact().judge(1.0, 1).passed


def test_a_missing_reference_is_an_error_and_never_a_score() -> None:
    for oracle in (Exact(), Label(("a", "b")), Numeric()):
        with pytest.raises(SuiteError, match="reference"):
            oracle.judge("a", None)


def test_a_label_outside_the_set_is_wrong_and_said_to_be() -> None:
    result = Label(("a", "b")).judge("c", "a")
    assert not result.passed
    assert "outside" in result.detail


def test_a_reference_outside_the_set_is_the_suites_error() -> None:
    with pytest.raises(SuiteError, match="not one of"):
        Label(("a", "b")).judge("a", "c")


@pytest.mark.parametrize(
    ("answer", "passed"),
    [
        (10.4, True),
        ("10.4", True),
        ("1,0.6", False),
        (10.6, False),
        ("ten", False),
        (float("nan"), False),
    ],
)
def test_numeric_tolerance(answer: object, passed: bool) -> None:
    assert Numeric(absolute=0.5).judge(answer, 10).passed is passed


def test_a_changed_tolerance_is_another_oracle() -> None:
    assert Numeric(absolute=0.5).sha256 != Numeric(absolute=0.4).sha256
