"""The run folder: what is written is what is read, also after a crash."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from consensus.benchmark.recorded import import_recorded, load_run
from consensus.benchmark.run_format.columns import Price
from consensus.benchmark.run_format.run import RecordedRun
from consensus.benchmark.run_format.writing import RunWriter
from consensus.errors import DataError
from tests.benchmark.data_fixtures import real_run, simple_answers, simple_cases, write_recorded

CASE = {"case_id": "c0", "task_kind": "choice", "label": "A", "options": ["A", "B"]}


def same(first: RecordedRun, second: RecordedRun) -> bool:
    for field in dataclasses.fields(first.rows):
        a, b = getattr(first.rows, field.name), getattr(second.rows, field.name)
        if isinstance(a, np.ndarray) and not np.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return False
    return (
        first.members == second.members
        and first.cases.ids == second.cases.ids
        and first.cases.options == second.cases.options
        and np.array_equal(first.cases.credit, second.cases.credit)
        and dict(first.prices) == dict(second.prices)
        and first.sample_is_order == second.sample_is_order
    )


@pytest.mark.needs("recorded-data")
@pytest.mark.parametrize("name", ["iclr_review", "prd_vicuna80"])
def test_a_saved_run_is_read_back_as_it_was(name: str, tmp_path: Path) -> None:
    run = real_run(name)
    again = load_run(run.save(tmp_path / "run"))
    assert same(run, again)
    assert {k: v.tolist() for k, v in run.rows.extra.items()}.keys() == again.rows.extra.keys()


def test_scores_ties_failures_and_prices_survive(tmp_path: Path) -> None:
    answers: list[dict[str, Any]] = [
        {"case_id": "c0", "model": "m", "answer": "A/B", "scores_by_letter": "5;5;1"},
        {"case_id": "c0", "model": "m", "sample_idx": 1, "answer": "", "scores_by_letter": ";2;"},
        {"case_id": "c0", "model": "m", "sample_idx": 2, "answer": "Z", "prompt_tokens": 7},
    ]
    folder = write_recorded(
        tmp_path / "source",
        simple_cases("A"),
        answers,
        prices={"m": {"input": 1, "output": 2}},
        extra_columns=["scores_by_letter"],
    )
    run = import_recorded(folder)
    assert same(run, RecordedRun.load(run.save(tmp_path / "run")))


def test_the_same_run_is_written_as_the_same_bytes(tmp_path: Path) -> None:
    folder = write_recorded(tmp_path / "s", simple_cases("AB"), simple_answers(m="AB", k="BB"))
    run = import_recorded(folder)
    first, second = run.save(tmp_path / "1"), run.save(tmp_path / "2")
    for name in ("manifest.json", "cases.jsonl", "answers.jsonl.gz"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_run_is_never_written_over_another(tmp_path: Path) -> None:
    folder = write_recorded(tmp_path / "s", simple_cases("A"), simple_answers(m="A"))
    run = import_recorded(folder)
    run.save(tmp_path / "run")
    with pytest.raises(DataError, match="holds a run already"):
        run.save(tmp_path / "run")


def test_a_live_run_goes_on_after_a_torn_line_without_paying_twice(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with RunWriter(folder, name="live", prices={"m": Price(1.0, 2.0)}) as writer:
        writer.case(CASE)
        writer.answer({"case": "c0", "model": "m", "sample": 0, "answer": "A", "cost_usd": 0.5})
    with (folder / "answers.jsonl").open("a") as stream:
        stream.write('{"case": "c0", "model": "m", "sam')
    with RunWriter(folder, name="live", prices={"m": Price(1.0, 2.0)}) as writer:
        assert writer.done == {("c0", "m", "", 0)}
        writer.case(CASE)
        writer.answer({"case": "c0", "model": "m", "sample": 1, "answer": "B"}, durable=True)
    run = RecordedRun.load(folder)
    assert not run.report.broken
    assert run.rows.votes.tolist() == [[1, 0], [0, 1]]
    assert run.cost().tolist()[0] == 0.5


def test_an_open_answer_may_be_right_in_part(tmp_path: Path) -> None:
    case = {"case_id": "c0", "options": ["x", "y", "z"], "credits": {"x": 1, "y": 0.5}}
    with RunWriter(tmp_path, name="open") as writer:
        writer.case(case)
        writer.answer({"case": "c0", "model": "m", "answer": "y"})
    assert RecordedRun.load(tmp_path).cases.credit.tolist() == [[1, 0.5, 0]]


@pytest.mark.parametrize(
    "line",
    [
        {"case": "c9", "model": "m", "answer": "A"},
        {"case": "c0", "answer": "A"},
        {"case": "c0", "model": "m", "answer": {"A": 0.7}},
        {"case": "c0", "model": "m", "answer": "A", "cost_usd": "cheap"},
        {"case": "c0", "model": "m", "answer": "A", "scores": [1]},
    ],
)
def test_a_broken_answer_line_is_named_and_counted(tmp_path: Path, line: dict[str, object]) -> None:
    with RunWriter(tmp_path, name="r") as writer:
        writer.case(CASE)
        writer.answer({"case": "c0", "model": "ok", "answer": "A"})
        writer.answer(line)
    report = RecordedRun.load(tmp_path).report
    assert sum(report.broken.values()) == 1
    assert "answers.jsonl:2" in report.messages[0]


def test_a_folder_of_another_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps({"format": 99}))
    with pytest.raises(DataError, match=r"manifest\.json: is not a run of format 1"):
        load_run(tmp_path)
