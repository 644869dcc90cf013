"""The importer: whole data sets, and rows that are broken in every way."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.recorded import import_recorded, load_run
from consensus.errors import DataError
from tests.benchmark.data_fixtures import (
    real_run,
    recorded_data_folder,
    simple_answers,
    simple_cases,
    write_recorded,
)


@pytest.mark.needs("recorded-data")
@pytest.mark.parametrize(
    ("name", "cases", "rows"),
    [
        ("rb2_judges_dev", 655, 115_142),
        ("medagents", 6_796, 92_941),
        ("mmlu_pro", 11_343, 382_452),
        ("iclr_review", 500, 3_000),
        ("prd_vicuna80", 800, 8_000),
    ],
)
def test_every_data_set_imports_whole(name: str, cases: int, rows: int) -> None:
    run = real_run(name)
    assert (len(run.cases), run.report.rows) == (cases, rows)
    assert not run.report.broken
    assert len(run.rows) + run.report.filtered["answers to cases left out"] == rows


@pytest.mark.needs("recorded-data")
def test_unstable_labels_are_left_out_unless_asked_for() -> None:
    assert real_run("mmlu_pro").report.filtered["label not stable"] == 689
    assert any("not stable" in note for note in real_run("mmlu_pro").report.notes)
    assert len(import_recorded(recorded_data_folder() / "mmlu_pro", unstable=True).cases) == 12_032


@pytest.mark.needs("recorded-data")
def test_gold_is_never_among_what_an_engine_is_shown() -> None:
    for name in ("rb2_judges_dev", "medagents", "iclr_review", "prd_vicuna80", "mmlu_pro"):
        run = real_run(name)
        shown = {key for i in range(0, len(run.cases), 97) for key in run.cases.visible(i)}
        assert shown <= {"options", "option_texts", "question", "text"}


@pytest.mark.needs("recorded-data")
def test_presentation_orders_are_known_as_such() -> None:
    assert real_run("prd_vicuna80").sample_is_order
    assert not real_run("rb2_judges_dev").sample_is_order


def test_a_tie_is_half_a_vote_each(tmp_path: Path) -> None:
    answers = [{"case_id": "c0", "model": "m", "answer": "A/C"}]
    run = import_recorded(write_recorded(tmp_path, simple_cases("A"), answers))
    assert run.rows.votes.tolist() == [[0.5, 0, 0.5]]


def test_an_option_whose_name_holds_a_slash_is_no_tie(tmp_path: Path) -> None:
    cases = [{"case_id": "c0", "label": "yes/no", "options": "yes/no|maybe"}]
    answers = [{"case_id": "c0", "model": "m", "answer": "yes/no"}]
    run = import_recorded(write_recorded(tmp_path, cases, answers))
    assert run.rows.votes.tolist() == [[1, 0]]


def test_blank_and_off_list_answers_are_kept_as_failures(tmp_path: Path) -> None:
    run = import_recorded(write_recorded(tmp_path, simple_cases("ABC"), simple_answers(m="-ZC")))
    assert run.report.failures == {"unreadable": 1, "off_list": 1}
    assert [run.rows.failure_classes[code] for code in run.rows.failure] == [
        "unreadable",
        "off_list",
        "",
    ]
    assert run.rows.votes.sum() == 1
    assert not run.report.broken


BROKEN: dict[str, tuple[dict[str, Any], str]] = {
    "unknown case": ({"case_id": "c9", "options": "A|B|C"}, "not in cases"),
    "other label": ({"label": "B"}, "label that differs"),
    "other options": ({"options": "A|B"}, "options that differ"),
    "bad sample": ({"sample_idx": "one"}, "sample number"),
    "negative sample": ({"sample_idx": "-1"}, "sample number"),
    "no model": ({"model": ""}, "without a model"),
    "tokens": ({"prompt_tokens": "many"}, "prompt_tokens is not a number"),
    "negative tokens": ({"completion_tokens": "-5"}, "completion_tokens is not a number"),
    "infinite": ({"confidence": "inf"}, "confidence is not a number"),
    "scores": ({"scores_by_letter": "1;x;3"}, "scores"),
    "too few scores": ({"scores_by_letter": "1;2"}, "scores"),
    "twice": ({"sample_idx": 0}, "given twice"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_row_is_named_with_its_line_and_counted(tmp_path: Path, what: str) -> None:
    change, message = BROKEN[what]
    good = {"case_id": "c0", "model": "m", "answer": "A"}
    bad = {**good, "sample_idx": 1, **change}
    folder = write_recorded(
        tmp_path, simple_cases("A"), [good, bad], extra_columns=["scores_by_letter"]
    )
    run = import_recorded(folder)
    assert len(run.rows) == 1
    assert sum(run.report.broken.values()) == 1
    assert message in run.report.messages[0]
    assert run.report.messages[0].startswith(f"{folder / 'answers.csv.gz'}:3: ")


def test_a_row_with_a_missing_column_is_broken(tmp_path: Path) -> None:
    folder = write_recorded(tmp_path, simple_cases("AB"), simple_answers(m="AB"))
    path = folder / "answers.csv.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\r\n")
    lines[2] = lines[2].rsplit(",", 1)[0]
    path.write_bytes(gzip.compress("\r\n".join(lines).encode()))
    report = import_recorded(folder).report
    assert report.broken == {"a row with the wrong number of columns": 1}
    assert report.kept == 1


def test_messages_stop_and_counting_goes_on(tmp_path: Path) -> None:
    answers = [{"case_id": "zz", "model": "m", "sample_idx": i, "answer": "A"} for i in range(50)]
    folder = write_recorded(tmp_path, simple_cases("A"), [*simple_answers(m="A"), *answers])
    report = import_recorded(folder).report
    assert sum(report.broken.values()) == 50
    assert len(report.messages) == report.limit < 50


def test_broken_cases_are_named_and_their_answers_counted(tmp_path: Path) -> None:
    cases = [
        *simple_cases("AB"),
        {"case_id": "c2", "label": "Z", "options": "A|B|C"},
        {"case_id": "c0", "label": "A", "options": "A|B|C"},
    ]
    folder = write_recorded(tmp_path, cases, simple_answers(m="ABA"))
    with gzip.open(folder / "cases.jsonl.gz", "at") as stream:
        stream.write("{not json\n[1]\n")
    run = import_recorded(folder)
    assert len(run.cases) == 2
    assert run.report.broken == {
        "a case whose label is not among its options": 1,
        "a case_id given twice": 1,
        "a case that is not JSON": 1,
        "a case that is not an object": 1,
        "answers to a broken case": 1,
    }


def test_text_with_unicode_line_ends_does_not_split_a_case(tmp_path: Path) -> None:
    cases = [{**simple_cases("A")[0], "question": "one\u2028two\x85three"}]
    folder = write_recorded(tmp_path, cases, simple_answers(m="A"))
    raw = gzip.decompress((folder / "cases.jsonl.gz").read_bytes()).decode()
    raw = raw.replace("\\u2028", "\u2028").replace("\\u0085", "\x85")
    (folder / "cases.jsonl.gz").write_bytes(gzip.compress(raw.encode()))
    assert not import_recorded(folder).report.broken


def test_costs_come_from_tokens_and_unknown_prices_are_not_zero(tmp_path: Path) -> None:
    tokens = {"prompt_tokens": 1000, "completion_tokens": 500}
    answers: list[dict[str, Any]] = [
        {"case_id": "c0", "model": "priced", "answer": "A", **tokens},
        {"case_id": "c0", "model": "unpriced", "answer": "A", **tokens},
        {"case_id": "c0", "model": "by_call", "answer": "A"},
        {"case_id": "c0", "model": "untold", "answer": "A"},
    ]
    prices = {
        "priced": {"input": 2.0, "output": 10.0},
        "by_call": {"call": 0.25},
        "untold": {"input": 1.0, "output": 1.0},
    }
    run = import_recorded(write_recorded(tmp_path, simple_cases("A"), answers, prices=prices))
    cost = dict(zip([run.members[m].model for m in run.rows.member], run.cost(), strict=True))
    assert cost["priced"] == pytest.approx(0.002 + 0.005)
    assert cost["by_call"] == 0.25
    assert np.isnan(cost["unpriced"])
    assert np.isnan(cost["untold"])


@pytest.mark.parametrize(
    "table", ["[]", '{"m": {"input": 1}}', '{"m": {"input": -1, "output": 1}}', "{", '{"m": 3}']
)
def test_a_price_table_that_is_none_is_an_error_of_that_file(tmp_path: Path, table: str) -> None:
    folder = write_recorded(tmp_path, simple_cases("A"), simple_answers(m="A"))
    (folder / "prices.json").write_text(table)
    with pytest.raises(DataError, match=r"prices\.json"):
        import_recorded(folder)


def test_a_file_cut_short_is_an_error(tmp_path: Path) -> None:
    folder = write_recorded(tmp_path, simple_cases("A" * 500), simple_answers(m="A" * 500))
    path = folder / "answers.csv.gz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(DataError, match="cannot be read whole"):
        import_recorded(folder)


def test_missing_files_and_columns_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        load_run(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"answers\.csv\.gz is missing"):
        load_run(tmp_path)
    folder = write_recorded(tmp_path, simple_cases("A"), simple_answers(m="A"))
    (folder / "answers.csv.gz").write_bytes(gzip.compress(b"case_id,answer\nc0,A\n"))
    with pytest.raises(DataError, match="lacks the column label"):
        import_recorded(folder)


def test_the_order_of_rows_never_matters(tmp_path: Path) -> None:
    answers = simple_answers(m="ABC", m__1="CBA", z="AAA")
    first = import_recorded(write_recorded(tmp_path / "a", simple_cases("ABC"), answers))
    second = import_recorded(write_recorded(tmp_path / "b", simple_cases("ABC"), answers[::-1]))
    assert first.members == second.members
    assert np.array_equal(first.rows.votes, second.rows.votes)
    assert np.array_equal(first.rows.case, second.rows.case)
