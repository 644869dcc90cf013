from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.spreadsheet import read_csv, write_csv
from consensus.benchmark.suites import load_suite
from consensus.benchmark.synthetic.accepting import Accepted, accept
from consensus.benchmark.synthetic.batches import Asked, Candidate, asked_of
from consensus.benchmark.synthetic.existing import existing_cases
from consensus.benchmark.synthetic.sheet import (
    COLUMNS,
    Reviewed,
    read_reviewed,
    review_counts,
    write_sheet,
)
from consensus.errors import DataError, SuiteError
from consensus.policy.audit import Audit
from tests.benchmark.synthetic.writers import novel_case, table_of
from tests.policy.audit.audits import audit_of, task_text


def candidates(count: int = 4, **changes: Any) -> list[Candidate]:
    made = []
    for number in range(count):
        case = novel_case(number)
        fields = {
            "id": f"refund/all/usual/000-{number}",
            "task_type": "refund",
            "category": "",
            "adversarial": False,
            "complexity": "low",
            "fields": {"subject": case["subject"]},
            "label": "approve",
            "why": case["why"],
            "model": "scripted/a",
        }
        made.append(Candidate(**(fields | changes)))
    return made


ASKED = {"refund": Asked("approve", "Unused.")}


def reviewed(
    folder: Path,
    *marks: dict[str, str],
    cases: list[Candidate] | None = None,
    asked: dict[str, Asked] | None = None,
) -> list[Reviewed]:
    """A sheet of candidates with a reviewer's marks, row by row, read back."""
    path = folder / "sheet.csv"
    path.unlink(missing_ok=True)
    write_sheet(path, cases or candidates(len(marks)), asked or ASKED)
    rows = [row | mark for (_, row), mark in zip(read_csv(path, COLUMNS), marks, strict=True)]
    write_csv(path, COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    return read_reviewed(path, asked or ASKED)


def accepted(folder: Path, rows: list[Reviewed], audit: Audit, **options: Any) -> Accepted:
    table = options.pop("table", None)
    asked = {name: asked_of(audit, name, table) for name in audit.tasks}
    return accept(rows, folder / "suite", audit=audit, asked=asked, table=table, **options)


# -- the sheet -------------------------------------------------------------------------------------


def test_a_verdict_or_a_label_makes_a_row_reviewed_and_nothing_else_does(tmp_path: Path) -> None:
    rows = reviewed(
        tmp_path,
        {"verdict": "use"},
        {"label": "Reject"},
        {"verdict": "Drop"},
        {"comment": "hm"},
    )
    assert [row.verdict for row in rows] == ["use", "use", "drop", None]
    assert [row.label for row in rows] == ["approve", "reject", "approve", "approve"]
    counts = review_counts(rows)
    assert (counts["confirmed"], counts["corrected"], counts["unreviewed"]) == (1, 1, 1)


def test_new_candidates_are_added_below_and_a_reviewers_marks_stay(tmp_path: Path) -> None:
    reviewed(tmp_path, {"verdict": "use", "comment": "good"})
    new, total = write_sheet(tmp_path / "sheet.csv", candidates(3), ASKED)
    assert (new, total) == (2, 3)
    first = read_reviewed(tmp_path / "sheet.csv", ASKED)[0]
    assert (first.verdict, first.comment) == ("use", "good")


def test_a_mended_text_holds_and_is_said(tmp_path: Path) -> None:
    (row,) = reviewed(tmp_path, {"verdict": "use", "subject": "A lamp, 3 days old."})
    assert row.edited
    assert row.candidate.fields == {"subject": "A lamp, 3 days old."}
    assert not reviewed(tmp_path, {"verdict": "use"})[0].edited


def test_other_line_ends_are_no_mending(tmp_path: Path) -> None:
    case = candidates(1, fields={"subject": "first line\nsecond line"})
    (row,) = reviewed(
        tmp_path, {"verdict": "use", "subject": "first line\r\nsecond line"}, cases=case
    )
    assert not row.edited


def test_a_text_that_begins_as_a_formula_comes_back_as_it_was(tmp_path: Path) -> None:
    case = candidates(1, fields={"subject": '=HYPERLINK("x") and a kettle'})
    (row,) = reviewed(tmp_path, {"verdict": "use"}, cases=case)
    assert row.candidate.fields["subject"] == '=HYPERLINK("x") and a kettle'
    raw = (tmp_path / "sheet.csv").read_text(encoding="utf-8-sig")
    cells = next(iter(csv.DictReader(raw.splitlines())))
    assert cells["subject"].startswith("'=")


@pytest.mark.parametrize(
    ("mark", "message"),
    [
        ({"verdict": "perhaps"}, r"sheet.csv:2: the verdict 'perhaps' is none"),
        ({"label": "pay"}, r"sheet.csv:2: the label 'pay' is none of the answers"),
        ({"task_type": "other"}, r"sheet.csv:2: 'other' is no task type of the audit"),
        ({"complexity": "hard"}, r"sheet.csv:2: 'hard' is no complexity"),
    ],
)
def test_what_a_reviewer_cannot_mean_is_refused_with_its_line(
    tmp_path: Path, mark: dict[str, str], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        reviewed(tmp_path, mark)


def test_a_row_that_stands_twice_is_refused(tmp_path: Path) -> None:
    reviewed(tmp_path, {"verdict": "use"})
    path = tmp_path / "sheet.csv"
    rows = [[row[name] for name in COLUMNS] for _, row in read_csv(path, COLUMNS)]
    write_csv(path, COLUMNS, rows * 2)
    with pytest.raises(DataError, match="stands twice"):
        read_reviewed(path, ASKED)


@pytest.mark.parametrize(
    ("asked", "fields", "proposed", "written", "read"),
    [
        (Asked("score", scale=(1, 5)), {"subject": "an essay"}, 3, "4,5", 4.5),
        (Asked("rank"), {"items": ["x", "y", "z"]}, ["z", "x", "y"], "2>3>1", ["y", "z", "x"]),
        (Asked("compare"), {"a": "x", "b": "y"}, "A", "TIE", "tie"),
        (Asked("generate"), {"prompt": "write"}, "this", "that", "that"),
        (
            Asked("generate", output_schema={"type": "object"}),
            {"prompt": "write"},
            {"a": 1},
            '{"a": 2}',
            {"a": 2},
        ),
    ],
)
def test_labels_of_every_kind_are_written_and_read(
    tmp_path: Path, asked: Asked, fields: dict[str, Any], proposed: Any, written: str, read: Any
) -> None:
    case = candidates(1, fields=fields, label=proposed)
    (kept,) = reviewed(tmp_path, {"verdict": "use"}, cases=case, asked={"refund": asked})
    assert kept.label == proposed
    (own,) = reviewed(tmp_path, {"label": written}, cases=case, asked={"refund": asked})
    assert own.label == read


# -- the suite -------------------------------------------------------------------------------------


def test_only_reviewed_rows_become_cases_with_the_persons_labels(tmp_path: Path) -> None:
    rows = reviewed(tmp_path, {"verdict": "use"}, {"label": "reject"}, {"verdict": "drop"}, {})
    made = accepted(tmp_path, rows, audit_of(tmp_path))
    assert [case.reference for case in made.suite.cases] == ["approve", "reject"]
    assert all(case.tags == ("synthetic",) for case in made.suite.cases)
    assert "1 rows are not reviewed: left out" in made.notes


def test_the_suite_is_one_that_loads(tmp_path: Path) -> None:
    rows = reviewed(tmp_path, {"verdict": "use"})
    made = accepted(tmp_path, rows, audit_of(tmp_path))
    assert load_suite(tmp_path / "suite").sha256 == made.suite.sha256
    assert made.suite.types["refund"].defaults.fields["criteria"].startswith("Unused")


def test_trusted_labels_are_marked_in_the_case_and_in_the_suite(tmp_path: Path) -> None:
    rows = reviewed(tmp_path, {"verdict": "use"}, {})
    made = accepted(tmp_path, rows, audit_of(tmp_path), trust_labels=True)
    assert [case.tags for case in made.suite.cases] == [
        ("synthetic",),
        ("synthetic", "unreviewed"),
    ]
    assert made.suite.description == "Synthetic cases; 1 labels reviewed, 1 unreviewed."
    assert "a model's and nobody's" in (tmp_path / "suite" / "suite.toml").read_text("utf-8")


def test_a_sheet_that_nobody_reviewed_makes_no_suite(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no row is reviewed"):
        accepted(tmp_path, reviewed(tmp_path, {}, {}), audit_of(tmp_path))
    assert not (tmp_path / "suite").exists()


def test_a_suite_that_is_there_is_not_written_over(tmp_path: Path) -> None:
    audit = audit_of(tmp_path)
    accepted(tmp_path, reviewed(tmp_path, {"verdict": "use"}), audit)
    rows = reviewed(tmp_path, {"verdict": "use"}, {"verdict": "use"})
    with pytest.raises(DataError, match="is there already"):
        accepted(tmp_path, rows, audit)
    assert len(accepted(tmp_path, rows, audit, replace_suite=True).suite.cases) == 2


def test_a_row_that_is_no_case_is_refused_with_the_sheets_line(tmp_path: Path) -> None:
    rows = reviewed(tmp_path, {"verdict": "use"}, {"verdict": "use", "subject": ""})
    with pytest.raises(SuiteError, match=r"sheet.csv:3"):
        accepted(tmp_path, rows, audit_of(tmp_path))


def test_weights_make_the_sample_stand_for_the_traffic(tmp_path: Path) -> None:
    parts = "{ unused = { share = 0.8 }, used = { share = 0.2 } }"
    audit = audit_of(tmp_path, task_text("refund", categories=parts, adversarial_share="0.1"))
    strata = [("unused", False)] * 2 + [("unused", True)] + [("used", False)] * 3
    cases = []
    for number, (category, adversarial) in enumerate(strata):
        (one,) = candidates(
            1, id=f"r{number}", category=category, adversarial=adversarial,
            fields={"subject": novel_case(number)["subject"]},
        )  # fmt: skip
        cases.append(one)
    rows = reviewed(tmp_path, *[{"verdict": "use"}] * 6, cases=cases)
    made = accepted(tmp_path, rows, audit)
    weights: dict[tuple[str, bool], float] = {}
    for case in made.suite.cases:
        key = (case.tags[1], "adversarial" in case.tags)
        weights[key] = weights.get(key, 0) + case.weight
    total = sum(weights.values())
    # used × misleading has no case: the rest keeps its proportions
    whole = 0.72 + 0.08 + 0.18
    assert weights["unused", False] / total == pytest.approx(0.72 / whole, abs=1e-5)
    assert weights["unused", True] / total == pytest.approx(0.08 / whole, abs=1e-5)
    assert weights["used", False] / total == pytest.approx(0.18 / whole, abs=1e-5)


def test_task_types_weigh_as_their_traffic(tmp_path: Path) -> None:
    audit = audit_of(
        tmp_path,
        task_text("a", monthly_volume="900"),
        task_text("b", monthly_volume="100"),
    )
    asked = {"a": ASKED["refund"], "b": ASKED["refund"]}
    cases = [candidates(1, id=f"c{n}", task_type="a" if n == 0 else "b")[0] for n in range(4)]
    rows = reviewed(tmp_path, *[{"verdict": "use"}] * 4, cases=cases, asked=asked)
    made = accepted(tmp_path, rows, audit)
    total = sum(case.weight for case in made.suite.cases)
    first = sum(case.weight for case in made.suite.cases if case.type == "a")
    assert first / total == pytest.approx(0.9, abs=1e-5)


def test_the_policys_oracle_and_its_file_come_with_the_suite(tmp_path: Path) -> None:
    (tmp_path / "shape.json").write_text('{"type": "string"}', encoding="utf-8")
    table = table_of(
        tmp_path, 'version = 1\n[oracles.refunds]\nkind = "json_schema"\nfile = "shape.json"\n'
    )
    audit = audit_of(tmp_path, task_text("refund", kind='"generate"', structured="false"))
    case = candidates(1, fields={"prompt": "Write."}, label=None)
    asked = {"refund": Asked("generate")}
    rows = reviewed(tmp_path, {"verdict": "use"}, cases=case, asked=asked)
    made = accepted(tmp_path, rows, audit, table=table)
    assert made.suite.types["refund"].oracle.name == "json_schema"
    assert (tmp_path / "suite" / "shape.json").exists()


def test_a_kind_without_a_usual_oracle_needs_a_declared_one(tmp_path: Path) -> None:
    audit = audit_of(tmp_path, task_text("refund", kind='"score"', scale="[1, 5]"))
    case = candidates(1, label=4)
    rows = reviewed(
        tmp_path, {"verdict": "use"}, cases=case, asked={"refund": Asked("score", scale=(1, 5))}
    )
    with pytest.raises(SuiteError, match=r"audit.toml:9: .*add \[oracles.refunds\]"):
        accepted(tmp_path, rows, audit)


def test_what_was_accepted_counts_in_the_next_plan(tmp_path: Path) -> None:
    accepted(tmp_path, reviewed(tmp_path, {"verdict": "use"}, {"label": "reject"}),
             audit_of(tmp_path))  # fmt: skip
    audit = audit_of(tmp_path, task_text("refund", suite='"suite"'))
    found = existing_cases(audit)
    assert found.counts["refund"]["", False] == 2
    assert novel_case(0)["subject"] in found.texts["refund"]
