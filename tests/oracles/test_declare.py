"""From a table to an oracle; what a suite may and may not do."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus.errors import SuiteError
from consensus.oracles import Verdict, declare_oracle


def test_every_kind_can_be_declared(tmp_path: Path) -> None:
    (tmp_path / "o.py").write_text("def half(answer, reference):\n    return 0.5\n")
    for table in (
        {"kind": "exact", "normalisation": ["case"]},
        {"kind": "label", "labels": ["a", "b"]},
        {"kind": "numeric", "absolute": 1},
        {"kind": "json_schema", "schema": {"type": "object"}},
        {"kind": "fields", "floor": 0.5},
        {"kind": "ranking", "top_k": 3},
        {"kind": "rubric", "grader": "openai/x"},
        {"kind": "python", "file": "o.py", "function": "half", "graded": True, "floor": 0.4},
    ):
        oracle = declare_oracle(table, tmp_path)
        assert len(oracle.sha256) == 64


def test_an_unknown_kind_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=r"suite\.toml: .*exakt") as caught:
        declare_oracle({"kind": "exakt"}, tmp_path, where="suite.toml")
    assert "\n" not in str(caught.value)


def test_a_file_outside_the_suite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "secret.py").write_text("raise SystemExit")
    suite = tmp_path / "suite"
    suite.mkdir()
    with pytest.raises(SuiteError, match="outside"):
        declare_oracle({"kind": "python", "file": "../secret.py", "function": "f"}, suite)


def test_a_python_oracle_that_raises_or_returns_nonsense_is_an_error_and_no_score(
    tmp_path: Path,
) -> None:
    (tmp_path / "o.py").write_text(
        "def boom(a, r):\n    raise KeyError('x')\n"
        "def text(a, r):\n    return 'yes'\n"
        "def two(a, r):\n    return 2\n"
        "def some(a, r):\n    return 0.5\n"
    )
    for name in ("boom", "text", "two", "some"):
        oracle = declare_oracle({"kind": "python", "file": "o.py", "function": name}, tmp_path)
        with pytest.raises(SuiteError, match=name):
            oracle.judge("a")


def test_a_changed_file_is_another_oracle(tmp_path: Path) -> None:
    table = {"kind": "python", "file": "o.py", "function": "f"}
    (tmp_path / "o.py").write_text("def f(a, r):\n    return a == r\n")
    first = declare_oracle(table, tmp_path)
    (tmp_path / "o.py").write_text("def f(a, r):\n    return a != r\n")
    second = declare_oracle(table, tmp_path)
    assert first.sha256 != second.sha256
    assert first.judge(1, 1) == Verdict(1.0, True)
    assert second.judge(1, 1) == Verdict(0.0, False)
