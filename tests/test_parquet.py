"""Tasks and decisions as Parquet."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("pyarrow")

import pyarrow as pa
import pyarrow.parquet as pq

from consensus.errors import DataError
from consensus.jobs import JobRun, count_lines, read_tasks
from consensus.tasks import Approve, Choose
from tests.engine_fixtures import engine_of

ROW = """
[tasks.refund]
kind = "approve"
criteria = "Unused."
[tasks.triage]
kind = "choose"
"""


def write(path: Path, rows: list[dict[str, Any]], **options: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **options)
    return path


def test_rows_are_the_tasks_that_the_same_lines_would_be(tmp_path: Path) -> None:
    rows = [{"id": f"t{i}", "subject": f"s{i % 3}"} for i in range(3000)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    write(tmp_path / "t.parquet", rows, row_group_size=700)
    row = {"kind": "approve", "criteria": "Unused."}
    lines = list(read_tasks(tmp_path / "t.jsonl", task_type="refund", row=row))
    assert list(read_tasks(tmp_path / "t.parquet", task_type="refund", row=row)) == lines
    assert count_lines(tmp_path / "t.parquet") == 3000


def test_a_null_is_a_field_that_is_not_there(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        [
            {"subject": "a", "criteria": None, "options": ["x", "y"]},
            {"subject": "b", "criteria": "Own.", "options": None},
        ],
    )
    first, second = read_tasks(path, task_type="triage", row={"kind": "choose", "criteria": "Row."})
    assert first.task == Choose(type="triage", subject="a", criteria="Row.", options=("x", "y"))
    assert second.task is None
    assert str(second.error).startswith("t.parquet:2: ")


def test_a_damaged_file_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(b"no parquet at all")
    with pytest.raises(DataError, match="it is no Parquet file"):
        count_lines(path)
    with pytest.raises(DataError, match="cannot be read"):
        list(read_tasks(tmp_path / "none.parquet", task_type="refund", row={}))


async def test_decisions_go_out_as_parquet_with_the_columns_of_jsonl(tmp_path: Path) -> None:
    source = write(tmp_path / "t.parquet", [{"subject": "a"}, {"subject": " "}, {"subject": "c"}])
    engine, _ = engine_of(tmp_path, ROW, lambda request: "approve")
    async with engine:
        for name in ("out.parquet", "out.jsonl"):
            run = JobRun(engine, source, tmp_path / name, "refund")
            rows = [row async for row in run.rows()]
    table = pq.read_table(tmp_path / "out.parquet")
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert table.column_names == [*lines[0], "frontier"]
    for found, line in zip(table.to_pylist(), lines, strict=True):
        assert found["action"] == line["action"]
        assert found["outcome"] == line["outcome"]
        assert dict(found["posterior"]) == line["posterior"]
        assert [b["answer"] for b in json.loads(found["ballots"])] == [
            b["answer"] for b in line["ballots"]
        ]
        assert found["error"] == line["error"]
    assert rows[1]["error"] is not None
    assert Approve(type="refund", subject="a", criteria="Unused.").kind == "approve"
