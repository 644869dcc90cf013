from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.benchmark.spreadsheet import MAX_CELL, cell, plain_cell, read_csv, write_csv
from consensus.errors import DataError

TEXTS = st.text(st.characters(exclude_categories=["C", "Z"]), max_size=30)


@given(TEXTS)
def test_a_cell_is_never_a_formula_and_comes_back_as_it_was(text: str) -> None:
    made = cell(text)
    assert made[:1] not in ("=", "+", "-", "@", "\t")
    assert plain_cell(made) == text or text[:1] == "'"


def test_a_long_cell_says_that_it_was_cut() -> None:
    made = cell("x" * (MAX_CELL + 1))
    assert made.endswith("(cut off)")
    assert len(made) < 32_767


def test_a_sheet_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "sheet.csv"
    write_csv(path, ("a", "b"), [("1", "two\nlines"), ("ä", '"')])
    assert [row for _, row in read_csv(path, ("a", "b"))] == [
        {"a": "1", "b": "two\nlines"},
        {"a": "ä", "b": '"'},
    ]


def test_semicolons_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text("a;b\n1;2\n", encoding="utf-8")
    assert read_csv(path, ("b",)) == [(f"{path}:2", {"a": "1", "b": "2"})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a\n1\n", "has no column 'b'"),
        (b"a,b\n1\n", "has 1 cells where there are 2 columns"),
        (b"a,b\n\xff,1\n", "is not UTF-8"),
    ],
)
def test_what_is_no_such_sheet_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "sheet.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_csv(path, ("a", "b"))
