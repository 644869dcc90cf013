"""The sheet is a fair sample, hides what the oracle said, and is read back strictly."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.review import COLUMNS, read_sheet, sample_sheet
from consensus.cli.main import run as run_command
from consensus.errors import DataError

LEVELS = ("low", "medium", "high")


def made_run(folder: Path, sizes: dict[tuple[str, str, bool], int]) -> Path:
    """A run with so many answers of each (type, complexity, passed), each to its own case."""
    run = folder / "run"
    run.mkdir(parents=True, exist_ok=True)
    cases, answers = [], []
    for (kind, level, passed), count in sizes.items():
        for i in range(count):
            name = f"{kind}-{level}-{passed}-{i:04d}"
            cases.append(
                {
                    "case_id": name,
                    "task_kind": "approve",
                    "task_type": kind,
                    "complexity": level,
                    "options": ["approve", "reject"],
                    "subject": f"=HYPERLINK({i})",
                    "reference": "approve",
                }
            )
            answers.append(
                {
                    "case": name,
                    "model": "m",
                    "variant": "plain",
                    "sample": 0,
                    "answer": "approve" if passed else "reject",
                    "passed": passed,
                }
            )
    for name, rows in (("cases.jsonl", cases), ("answers.jsonl", answers)):
        (run / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return run


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def filled(text: str, verdict: Callable[[dict[str, str]], str]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS)
    writer.writeheader()
    for row in rows_of(text):
        writer.writerow({**row, "verdict": verdict(row)})
    return out.getvalue()


def passed(row: dict[str, str]) -> bool:
    return "-True-" in row["item"]


SIZES = {
    ("a", "low", True): 80,
    ("a", "low", False): 8,
    ("a", "high", True): 20,
    ("b", "low", True): 3,
    ("b", "low", False): 1,
}


def test_every_stratum_is_drawn_from_and_each_chance_is_recorded(tmp_path: Path) -> None:
    text, strata = sample_sheet(made_run(tmp_path, SIZES), n=20)
    rows = rows_of(text)
    assert len(rows) == sum(strata.values()) == 20
    assert len(strata) == 5
    by_stratum = defaultdict(list)
    for row in rows:
        by_stratum[row["stratum"]].append(row)
    for group in by_stratum.values():
        size = int(group[0]["stratum_size"])
        assert float(group[0]["probability"]) == pytest.approx(len(group) / size)
    assert sum(int(group[0]["stratum_size"]) for group in by_stratum.values()) == 112


def test_the_same_seed_draws_the_same_sheet_and_another_seed_another(tmp_path: Path) -> None:
    run = made_run(tmp_path, SIZES)
    assert sample_sheet(run, n=20, seed=3) == sample_sheet(run, n=20, seed=3)
    assert sample_sheet(run, n=20, seed=3)[0] != sample_sheet(run, n=20, seed=4)[0]


def test_the_sheet_shows_neither_the_oracles_word_nor_the_label(tmp_path: Path) -> None:
    run = made_run(tmp_path, {("a", "low", True): 5, ("a", "low", False): 5})
    rows = rows_of(sample_sheet(run, n=10)[0])
    assert all(row["reference"] == "" for row in rows)
    assert not any("accept" in value for row in rows for value in row.values())
    assert all(
        r["reference"] == "approve" for r in rows_of(sample_sheet(run, n=4, references=True)[0])
    )


def test_a_cell_is_never_a_formula(tmp_path: Path) -> None:
    rows = rows_of(sample_sheet(made_run(tmp_path, SIZES), n=20)[0])
    assert all(value[:1] not in ("=", "+", "-", "@") for row in rows for value in row.values())


def test_fewer_answers_wanted_than_strata_make_coarser_strata(tmp_path: Path) -> None:
    sizes = {(kind, level, ok): 6 for kind in "abcd" for level in LEVELS for ok in (True, False)}
    assert len(sample_sheet(made_run(tmp_path, sizes), n=8)[1]) == 8
    assert len(sample_sheet(made_run(tmp_path, sizes), n=3)[1]) == 2


def test_more_answers_wanted_than_there_are_draw_all(tmp_path: Path) -> None:
    text, _ = sample_sheet(made_run(tmp_path, SIZES), n=5_000)
    assert len({row["item"] for row in rows_of(text)}) == 112


def test_full_agreement_and_full_disagreement_are_read_back(tmp_path: Path) -> None:
    run = made_run(tmp_path, SIZES)
    text, _ = sample_sheet(run, n=30)
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(filled(text, lambda r: "acceptable" if passed(r) else "Not  acceptable"))
    review = read_sheet(run, sheet)
    assert review.agreement.share == 1.0
    assert review.agreement.low < 1.0
    assert not review.disagreements
    sheet.write_text(filled(text, lambda r: "no" if passed(r) else "yes"))
    review = read_sheet(run, sheet)
    assert review.agreement.share == 0.0
    assert len(review.disagreements) == 30


def test_agreement_is_weighted_by_the_chance_of_being_drawn(tmp_path: Path) -> None:
    run = made_run(tmp_path, {("a", "low", True): 90, ("a", "low", False): 10})
    text, strata = sample_sheet(run, n=20)
    # the root of the size: 15 of 90 and 5 of 10; people reject every failure's verdict
    assert sorted(strata.values()) == [5, 15]
    sheet = tmp_path / "sheet.csv"
    sheet.write_text(filled(text, lambda r: "acceptable"))
    review = read_sheet(run, sheet)
    assert review.agreement.share == pytest.approx(0.9)
    assert review.right_passes is not None
    assert review.right_failures is not None
    assert (review.right_passes.share, review.right_failures.share) == (1.0, 0.0)


def test_rows_left_empty_are_counted_and_their_stratum_still_weighs_as_much(
    tmp_path: Path,
) -> None:
    run = made_run(tmp_path, {("a", "low", True): 90, ("a", "low", False): 10})
    text, _ = sample_sheet(run, n=20)
    seen: Counter[bool] = Counter()

    def sparse(row: dict[str, str]) -> str:
        seen[passed(row)] += 1
        return "" if passed(row) and seen[True] > 4 else "acceptable"

    sheet = tmp_path / "sheet.csv"
    sheet.write_text(filled(text, sparse))
    review = read_sheet(run, sheet)
    assert (review.judged, review.empty) == (9, 11)
    assert review.agreement.share == pytest.approx(0.9)
    assert review.notes == ["11 rows are still empty"]


def test_the_interval_holds_the_truth_as_often_as_it_says(tmp_path: Path) -> None:
    sizes = {("a", "low", True): 400, ("a", "high", True): 100, ("b", "low", False): 100}
    run = made_run(tmp_path, sizes)
    dice = random.Random(7)
    wrong = {
        f"{kind}-{level}-{ok}-{i:04d}"
        for (kind, level, ok), count in sizes.items()
        for i in range(count)
        if dice.random() < (0.1 if ok else 0.4)
    }
    truth = 1 - len(wrong) / 600
    sheet = tmp_path / "sheet.csv"
    held, total = 0, 0.0
    for seed in range(30):
        text, _ = sample_sheet(run, n=60, seed=seed)
        sheet.write_text(
            filled(
                text,
                lambda r: "yes" if passed(r) != (r["item"].split("/")[0] in wrong) else "no",
            )
        )
        agreement = read_sheet(run, sheet).agreement
        held += agreement.low <= truth <= agreement.high
        total += agreement.share
    assert total / 30 == pytest.approx(truth, abs=0.02)
    assert held >= 26


@pytest.mark.parametrize(
    ("change", "said", "line"),
    [
        ({"verdict": "perhaps"}, "the verdict 'perhaps' is none", 2),
        ({"item": "other/m/plain/0"}, "no answer of this run", 2),
        ({"check": "0" * 12}, "another one now", 2),
        ({"probability": "2"}, "was changed", 2),
        ({"stratum_size": "7"}, "was changed", 2),
    ],
)
def test_a_changed_row_is_refused_with_its_line(
    tmp_path: Path, change: dict[str, str], said: str, line: int
) -> None:
    run = made_run(tmp_path, SIZES)
    text, _ = sample_sheet(run, n=5)
    rows = [{**row, "verdict": "yes"} for row in rows_of(text)]
    rows[0] |= change
    sheet = tmp_path / "sheet.csv"
    with sheet.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(DataError) as caught:
        read_sheet(run, sheet)
    assert said in str(caught.value)
    assert str(caught.value.where) == f"{sheet}:{line}"


def test_a_row_twice_a_missing_column_and_no_verdict_at_all_are_refused(tmp_path: Path) -> None:
    run = made_run(tmp_path, SIZES)
    text, _ = sample_sheet(run, n=5)
    sheet = tmp_path / "sheet.csv"
    for content, said in (
        (text, "no verdict"),
        (text + text.splitlines()[1] + "\n", "twice"),
        (text.replace("verdict,", "judgement,", 1), "no column 'verdict'"),
        (text + "a,b\n", "2 cells"),
    ):
        sheet.write_text(content)
        with pytest.raises(DataError, match=said):
            read_sheet(run, sheet)


def test_a_spreadsheets_semicolons_decimal_commas_and_byte_order_mark_are_understood(
    tmp_path: Path,
) -> None:
    run = made_run(tmp_path, SIZES)
    text, _ = sample_sheet(run, n=20)
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, delimiter=";")
    writer.writeheader()
    for row in rows_of(text):
        changed: dict[str, Any] = {
            "verdict": "YES",
            "probability": row["probability"].replace(".", ","),
        }
        writer.writerow({**row, **changed})
    sheet = tmp_path / "sheet.csv"
    sheet.write_text("\ufeff" + out.getvalue(), encoding="utf-8")
    assert read_sheet(run, sheet).judged == 20


def test_the_command_writes_a_sheet_once_and_reads_it_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = made_run(tmp_path, SIZES)
    sheet = tmp_path / "sheet.csv"
    write = ["bench", "review", str(run), "--out", str(sheet), "--n", "12"]
    assert run_command(write) == 0
    assert run_command(write) == 1
    text = sheet.read_text(encoding="utf-8-sig")
    sheet.write_text(filled(text, lambda r: "yes" if passed(r) else "no"))
    capsys.readouterr()
    assert run_command(["bench", "review", str(run), "--read", str(sheet), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["agreement"]["share"] == 1.0


def test_an_unjudged_run_has_nothing_to_review(tmp_path: Path) -> None:
    run = made_run(tmp_path, {("a", "low", True): 1})
    (run / "answers.jsonl").write_text('{"case": "x", "failure": "ungraded"}\n')
    with pytest.raises(DataError, match="no judged answer"):
        sample_sheet(run, n=5)
