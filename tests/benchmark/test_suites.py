"""A suite is sound as a whole, or every fault of it is named with its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.suites import examine_suite, load_suite
from consensus.errors import SuiteError
from tests.benchmark.suite_fixtures import ALL_KINDS, ONE_OF_EACH, SUITE, refunds, suite_folder


def refusal(folder: Path) -> SuiteError:
    with pytest.raises(SuiteError) as caught:
        load_suite(folder)
    return caught.value


def test_a_suite_of_all_six_kinds_is_read_with_its_oracles(tmp_path: Path) -> None:
    suite = load_suite(suite_folder(tmp_path, ALL_KINDS, ONE_OF_EACH))
    assert {case.id: suite.oracle(case).name for case in suite.cases} == {
        "r": "exact",
        "t": "exact",
        "w": "exact",
        "o": "ranking",
        "m": "numeric",
        "g": "exact",
    }
    assert suite.cases[1].task.options == ("billing", "bug", "other")


@pytest.mark.parametrize(
    ("case", "said", "fix"),
    [
        ({"id": "a", "type": "x", "subject": "s"}, "unknown type 'x'", "refund"),
        ({"type": "refund", "subject": "s"}, 'needs an "id"', None),
        ({"id": "a", "type": "refund", "subject": "s"}, "has no label", '"label"'),
        (
            {"id": "a", "type": "refund", "subject": "s", "label": "yes"},
            "not one of its options",
            "approve, reject",
        ),
        (
            {"id": "a", "type": "refund", "subject": "s", "label": "approve", "lable": 1},
            "unknown key 'lable'",
            "subject",
        ),
        (
            {"id": "a", "type": "refund", "subject": " ", "label": "approve"},
            '"subject": is blank',
            None,
        ),
        (
            {"id": "a", "type": "refund", "kind": "rank", "subject": "s", "label": "approve"},
            "of kind approve",
            None,
        ),
        (
            {"id": "a", "type": "refund", "subject": "s", "label": "approve", "weight": 0},
            "no number above 0",
            None,
        ),
        (
            {"id": "a", "type": "refund", "subject": "s", "label": "approve", "complexity": "hm"},
            "complexity 'hm'",
            "low, medium or high",
        ),
        ('{"id": "a", "type": ', "is not JSON", None),
        ("[1]", "a case is an object", None),
        ('{"id": "a", "weight": NaN}', "NaN is not a JSON value", None),
    ],
)
def test_a_faulty_case_is_named_with_its_line_and_the_fix(
    tmp_path: Path, case: Any, said: str, fix: str | None
) -> None:
    error = refusal(suite_folder(tmp_path, cases=[*refunds(2), case]))
    assert error.where is not None
    assert error.where.endswith("cases.jsonl:3")
    assert said in error.message
    if fix is not None:
        assert fix in str(error.fix)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({**ONE_OF_EACH[3], "label": ["x", "y"]}, "no order of its items"),
        ({**ONE_OF_EACH[4], "label": 9}, "no number from 1 to 5"),
        ({**ONE_OF_EACH[1], "label": {"any_of": ["bug", "nose"]}}, "not one of its options"),
    ],
)
def test_a_label_of_the_wrong_form_for_its_kind_is_refused(
    tmp_path: Path, case: dict[str, Any], said: str
) -> None:
    assert said in refusal(suite_folder(tmp_path, ALL_KINDS, [case])).message


def test_a_label_that_its_own_oracle_would_not_accept_is_refused(tmp_path: Path) -> None:
    toml = (
        ALL_KINDS.split("[types.order]")[0]
        + """
[types.order]
kind = "rank"
oracle = { kind = "ranking", floor = 1.0 }
"""
    )
    tied = {"id": "o", "type": "order", "items": ["x", "y", "z"], "label": [["x", "y"], "z"]}
    assert "would not pass its oracle" in refusal(suite_folder(tmp_path, toml, [tied])).message


def test_an_id_given_twice_names_both_lines(tmp_path: Path) -> None:
    twice = refunds(2)
    twice[1]["id"] = twice[0]["id"]
    error = refusal(suite_folder(tmp_path, cases=twice))
    assert "cases.jsonl:1" in error.message
    assert str(error.where).endswith("cases.jsonl:2")


@pytest.mark.parametrize(
    ("toml", "line", "said"),
    [
        (SUITE + 'oracle = { kind = "nose" }', 7, "kind"),
        (SUITE + 'colour = "red"', 7, "types.refund.colour"),
        (SUITE + "scale = [1, 5]", 7, "of no use to a approve task"),
        (SUITE + '[types.mark]\nkind = "score"\nscale = [1, 5]', 7, "has no oracle"),
        (SUITE.replace("version = 1", "version = 2"), 2, "version"),
        ("version = ", None, "is not TOML"),
    ],
)
def test_a_broken_declaration_is_named_with_its_line(
    tmp_path: Path, toml: str, line: int | None, said: str
) -> None:
    error = refusal(suite_folder(tmp_path, toml))
    assert said in error.message
    assert str(error.where).endswith("suite.toml" if line is None else f"suite.toml:{line}")


def test_a_python_oracle_that_does_not_parse_is_refused_and_nothing_of_it_runs(
    tmp_path: Path,
) -> None:
    toml = SUITE + 'oracle = { kind = "python", file = "o.py", function = "judge" }'
    root = suite_folder(tmp_path, toml)
    (root / "o.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\ndef judge(:\n")
    error = refusal(root)
    assert str(error.where).endswith("o.py:2")
    assert "does not parse" in error.message
    assert "suite.toml:7" in error.message
    assert not (tmp_path / "ran").exists()


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    faulty = [{"id": f"a{i}", "type": "refund", "subject": "s"} for i in range(3)]
    suite, problems = examine_suite(suite_folder(tmp_path, cases=[*refunds(1), *faulty]))
    assert suite is None
    assert [str(p.where).rpartition(":")[2] for p in problems] == ["2", "3", "4"]


def test_a_type_supplies_what_its_cases_leave_out_and_weights_multiply(tmp_path: Path) -> None:
    toml = SUITE + 'weight = 3.0\ncomplexity = "high"\ntags = ["money"]'
    own = {**refunds(1)[0], "weight": 2, "tags": ["adversarial"]}
    case = load_suite(suite_folder(tmp_path, toml, [own])).cases[0]
    assert case.task.criteria == "Unused, and bought within 30 days."  # type: ignore[union-attr]
    assert (case.weight, case.complexity, case.tags) == (6.0, "high", ("money", "adversarial"))


def test_the_hash_follows_what_changes_figures_and_nothing_else(tmp_path: Path) -> None:
    def digest(name: str, toml: str, cases: list[dict[str, Any]]) -> str:
        return load_suite(suite_folder(tmp_path / name, toml, cases)).sha256

    cases = refunds(3)
    plain = digest("a", SUITE, cases)
    noted = [{**cases[2], "note": "last"}, cases[0], cases[1]]
    assert digest("b", "# a comment\n" + SUITE + 'description = "d"', noted) == plain
    assert digest("c", SUITE.replace("30 days", "31 days"), cases) != plain
    assert digest("d", SUITE, [{**cases[0], "label": "approve"}, *cases[1:]]) != plain
    assert digest("e", SUITE + 'oracle = {kind="exact", normalisation=["case"]}', cases) != plain


def test_remarks_name_small_types_skewed_labels_and_missing_adversaries(tmp_path: Path) -> None:
    same = [{**case, "label": "approve"} for case in refunds(12)]
    remarks = " | ".join(load_suite(suite_folder(tmp_path / "a", SUITE, same)).remarks())
    assert 'have the label "approve"' in remarks
    assert "adversarial" in remarks
    small = " | ".join(load_suite(suite_folder(tmp_path / "b", SUITE, refunds(3))).remarks())
    assert "refund has 3 cases" in small


def test_an_oracle_file_outside_the_suite_is_refused(tmp_path: Path) -> None:
    toml = SUITE + 'oracle = { kind = "python", file = "../o.py", function = "judge" }'
    (tmp_path / "o.py").write_text("def judge(a, r): return True\n")
    assert "outside its folder" in refusal(suite_folder(tmp_path, toml)).message
