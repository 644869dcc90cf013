"""Every fault that must not reach a decision is found: file, line, key and a fix."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import pytest

from consensus.errors import PolicyError
from consensus.models.prices import PriceBook
from consensus.policy import Finding, check, load_policy, parse_policy
from consensus.policy._check_fallbacks import check_windows
from consensus.policy._checking import Findings, follow_rows
from consensus.policy.check import reached_models
from tests.policy.books import TIERS, Book, Window, table_of, write
from tests.policy.classify.test_linear import DATA

PRICED = {"input": 1.0, "output": 1.0}


def found(folder: Path, text: str, book: Book | PriceBook | None = None) -> list[Finding]:
    """Findings of a policy; of one that cannot even be parsed, those of its shape."""
    table, faults = parse_policy(write(folder, text))
    if table is None:
        return faults
    return check(table, prices=book or Book(), today=date(2026, 11, 22))


def seen(faults: Sequence[Finding]) -> list[tuple[str, str, str, int | None]]:
    return [(f.level, f.code, f.key, f.line) for f in faults]


@pytest.mark.parametrize(
    ("text", "code", "key", "line", "said"),
    [
        ('[tasks.t]\noracle = "exact"\n', "unknown-name", "tasks.t.oracle", 8, "oracles.exact"),
        (
            '[oracles.shape]\nkind = "json_schema"\nschema = {}\n[tasks.t]\ngate = "shap"\n',
            "unknown-name",
            "tasks.t.gate",
            11,
            'did you mean "shape"?',
        ),
        ('[tasks.t]\nfallback = ["small"]\n', "cycle", "tasks.t.fallback.0", 8, "another tier"),
        (
            '[tasks.t]\nmodels = ["x/s1"]\nfallback = ["x/s1"]\n',
            "cycle",
            "tasks.t.fallback",
            9,
            "take it out",
        ),
        ('[tasks.t]\nescalate_to = ["small"]\n', "cycle", "tasks.t.escalate_to.0", 8, "stronger"),
        (
            (
                '[tasks.t]\nstrategy = "a"\n[strategies.a]\norchestrator = "vote"\n'
                'escalate_to = ["b"]\n[strategies.b]\norchestrator = "vote"\nescalate_to = ["a"]\n'
            ),
            "cycle",
            "strategies.a.escalate_to",
            11,
            'take "a" out',
        ),
        ("[tasks.t]\nmin_agreement = 1.5\n", "shape", "tasks.t.min_agreement", 8, "less than"),
        (
            '[tasks.t]\n[[tasks.t.when]]\ncategory = "hard"\ntier = "frontier"\n',
            "classifier",
            "tasks.t.when.0.category",
            9,
            "add [classifier]",
        ),
    ],
)
def test_a_fault_is_an_error_with_line_and_fix(
    tmp_path: Path, text: str, code: str, key: str, line: int, said: str
) -> None:
    faults = [f for f in found(tmp_path, TIERS + text) if f.level == "error"]
    assert seen(faults) == [("error", code, key, line)]
    assert faults[0].file == str(tmp_path / "policy.toml")
    assert said in f"{faults[0].message} {faults[0].fix}"


def test_a_floor_above_one_is_an_error_with_its_line(tmp_path: Path) -> None:
    text = "[tasks.t]\n[tasks.t.certificate]\nfloor = 1.2\n"
    faults = [f for f in found(tmp_path, TIERS + text) if f.key.endswith("certificate.floor")]
    assert [(f.level, f.line) for f in faults] == [("error", 9)]
    assert "less than or equal to 1" in faults[0].message


def test_a_tier_without_models_is_an_error_with_its_line(tmp_path: Path) -> None:
    faults = found(tmp_path, '[tiers]\nsmall = []\n[defaults]\ntier = "small"\n')
    assert ("error", "no-models", "tiers.small", 2) in seen(faults)


def test_a_model_that_was_retired_is_an_error_where_it_is_named(tmp_path: Path) -> None:
    book = PriceBook()
    retired = "openai/gpt-4o-mini-search-preview-2025-03-11"
    assert book.price(retired).deprecation_date == date(2026, 7, 23)
    faults = found(tmp_path, f'[tiers]\nold = ["{retired}"]\n[defaults]\ntier = "old"\n', book)
    assert ("error", "retired", "tiers.old.0", 2) in seen(faults)


def test_a_model_without_a_price_is_an_error_where_it_is_named(tmp_path: Path) -> None:
    faults = found(tmp_path, TIERS + '[tasks.t]\nfallback = ["x/new"]\n', Book(unpriced=("x/new",)))
    assert ("error", "no-price", "tasks.t.fallback.0", 8) in seen(faults)


def test_a_smaller_window_behind_an_escalation_is_an_error_at_the_strategy(tmp_path: Path) -> None:
    text = (
        '[tasks.t]\nescalate_to = ["panel"]\n[strategies.panel]\norchestrator = "vote"\n'
        'tier = "mid"\nseats = 3\nfallback = ["x/tiny"]\n'
    )
    faults = found(tmp_path, TIERS + text, Book(windows={"x/tiny": Window(max_input=8_000)}))
    assert ("error", "window", "strategies.panel.fallback", 13) in seen(faults)


def test_an_escalation_that_writes_less_than_is_asked_for_is_an_error(tmp_path: Path) -> None:
    text = '[tasks.t]\nmax_output_tokens = 4_000\nescalate_to = ["frontier"]\n'
    faults = found(tmp_path, TIERS + text, Book(windows={"x/f": Window(max_output=2_000)}))
    assert ("error", "window", "tasks.t.max_output_tokens", 8) in seen(faults)
    assert any("(frontier) writes at most 2,000" in f.message for f in faults)


def test_rows_that_fall_back_to_each_other_are_a_warning(tmp_path: Path) -> None:
    text = (
        '[tasks.a]\nmodels = ["x/m1"]\nfallback = ["y/n1"]\n'
        '[tasks.b]\nmodels = ["y/n1"]\nfallback = ["x/m1"]\n'
    )
    faults = [f for f in found(tmp_path, TIERS + text) if f.code == "cycle"]
    assert seen(faults) == [("warning", "cycle", "tasks.b.fallback", 12)]
    assert "tasks.a" in faults[0].message


def test_rows_with_one_common_fallback_are_no_finding(tmp_path: Path) -> None:
    text = (
        '[tasks.a]\nmodels = ["x/m1"]\nfallback = ["y/n1"]\n'
        '[tasks.b]\nmodels = ["x/m2"]\nfallback = ["y/n1"]\n'
    )
    assert [f for f in found(tmp_path, TIERS + text) if f.code == "cycle"] == []


# -- the classifier ------------------------------------------------------------------------------


def with_classifier(folder: Path, rows: str = "", **changes: object) -> list[Finding]:
    (folder / "c.json").write_text(json.dumps({**DATA, **changes}), encoding="utf-8")
    declared = '[classifier]\nkind = "tfidf"\nfile = "c.json"\n'
    return found(folder, TIERS + declared + rows)


ROWS = '[tasks.refund]\nkind = "approve"\n[tasks.bug]\nkind = "approve"\n'


def test_a_classifier_whose_classes_are_rows_has_no_fault(tmp_path: Path) -> None:
    assert with_classifier(tmp_path, ROWS) == []


def test_a_category_that_the_classifier_never_says_is_an_error(tmp_path: Path) -> None:
    rule = '[[tasks.bug.when]]\ncategory = "refnd"\ntier = "mid"\n'
    (fault,) = (f for f in with_classifier(tmp_path, ROWS + rule) if f.level == "error")
    assert (fault.code, fault.key, fault.line) == ("unknown-name", "tasks.bug.when.0.category", 15)
    assert fault.fix == 'did you mean "refund"?'


def test_a_class_that_nothing_uses_is_a_warning(tmp_path: Path) -> None:
    faults = with_classifier(tmp_path, '[tasks.refund]\nkind = "approve"\n')
    assert seen(faults) == [("warning", "classifier", "classifier", 7)]


def test_a_classifier_that_never_names_a_class_is_a_warning(tmp_path: Path) -> None:
    (fault,) = with_classifier(tmp_path, ROWS, threshold=1.01)
    assert (fault.level, fault.line) == ("warning", 9)


def test_a_classifier_that_is_none_stops_the_load(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_bytes(b"\x80\x04pickle")
    path = write(tmp_path, TIERS + '[classifier]\nkind = "tfidf"\nfile = "c.json"\n')
    with pytest.raises(PolicyError, match=r"policy\.toml:9: classifier\.file: .*is not JSON"):
        load_policy(path, prices=Book())


def test_a_classifying_model_needs_a_price(tmp_path: Path) -> None:
    text = '[classifier]\nkind = "model"\nmodel = "x/new"\nclasses = { a = "x", b = "y" }\n'
    faults = found(tmp_path, TIERS + text, Book(unpriced=("x/new",)))
    assert ("error", "no-price", "classifier.model", 9) in seen(faults)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "tfidf"', "needs file"),
        ('kind = "model"\nmodel = "x/m"', "at least two classes"),
        ('kind = "model"\nmodel = "x/m"\nclasses = { a = "only" }', "at least two classes"),
        ('kind = "tfidf"\nfile = "c.json"\nmodel = "x/m"', "takes neither"),
        ('kind = "bert"', "tfidf"),
        ('kind = "tfidf"\nfile = "c.json"\nthreshold = 1.5', "less than or equal to 1"),
    ],
)
def test_a_half_declared_classifier_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    faults = found(tmp_path, f"{TIERS}[classifier]\n{text}\n")
    assert [f.code for f in faults] == ["shape"]
    assert said in faults[0].message


def test_every_hop_is_held_against_its_own_window(tmp_path: Path) -> None:
    table = table_of(tmp_path, TIERS + '[tasks.t]\nfallback = ["x/m1"]\nescalate_to = ["mid"]\n')
    faults = Findings(table)
    for resolved, hops in follow_rows(table, Findings(table)):
        check_windows(faults, resolved, hops, Book())
    assert faults.items == []


def test_models_that_a_table_can_reach_are_those_of_rows_fallbacks_shadows_and_graders(
    tmp_path: Path,
) -> None:
    rows = """
[tiers]
small = ["x/s1", "x/s2"]
mid = ["x/m1"]
frontier = ["x/f1"]
unused = ["x/u1"]
[oracles.grade]
kind = "rubric"
grader = "x/g1"
floor = 4
[tasks.t]
models = ["x/own"]
fallback = ["x/m1"]
escalate_to = ["small"]
gate = "grade"
shadow = { share = 0.1, route = "frontier" }
"""
    table = table_of(tmp_path, rows)
    assert set(reached_models(table)) == {"x/own", "x/m1", "x/s1", "x/f1", "x/g1"}
