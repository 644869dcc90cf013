from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.content_free import INPUTS, TAG, write_content_free
from consensus.benchmark.suites import load_suite
from consensus.errors import DataError
from consensus.tasks import Approve

SUITE = """version = 1
name = "s"
[types.refund]
kind = "approve"
criteria = '''Only "unused" goods.
Nothing else.'''
[types.open]
kind = "score"
scale = [0, 10]
oracle = { kind = "numeric", absolute = 1 }
"""

CASES: list[dict[str, Any]] = [
    {"id": "a", "type": "refund", "subject": "Sealed box.", "label": "approve"},
    {"id": "b", "type": "open", "subject": "A text.", "label": 3},
]


def suite(folder: Path, text: str = SUITE) -> Path:
    folder.mkdir()
    (folder / "suite.toml").write_text(text, encoding="utf-8")
    lines = [json.dumps(case) for case in CASES if f"types.{case['type']}" in text]
    (folder / "cases.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_the_same_question_is_asked_about_nothing(tmp_path: Path) -> None:
    source = suite(tmp_path / "s")
    assert write_content_free(source, tmp_path / "free") == ("refund",)
    made = load_suite(tmp_path / "free")
    tasks = [case.task for case in made.cases]
    assert [task.subject for task in tasks if isinstance(task, Approve)] == list(INPUTS)
    original = load_suite(source).cases[0].task
    assert isinstance(original, Approve)
    assert {task.criteria for task in tasks if isinstance(task, Approve)} == {original.criteria}
    assert all(TAG in case.tags for case in made.cases)


def test_a_folder_with_a_suite_is_not_written_over(tmp_path: Path) -> None:
    source = suite(tmp_path / "s")
    with pytest.raises(DataError, match="holds a suite already"):
        write_content_free(source, source)


def test_a_suite_without_fixed_options_has_no_label_bias_to_measure(tmp_path: Path) -> None:
    text = 'version = 1\nname = "s"\n[types.open]\nkind = "score"\nscale = [0, 10]\n'
    text += 'oracle = { kind = "numeric", absolute = 1 }\n'
    with pytest.raises(DataError, match="no task type with fixed options"):
        write_content_free(suite(tmp_path / "s", text), tmp_path / "free")
