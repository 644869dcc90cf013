"""Recorded answers for tests: the real folders, and small ones written by hand."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from consensus.benchmark.recorded import load_run
from consensus.benchmark.run_format.run import RecordedRun

COLUMNS = (
    "case_id",
    "task_kind",
    "label",
    "options",
    "model",
    "variant",
    "sample_idx",
    "answer",
    "confidence",
    "prompt_tokens",
    "completion_tokens",
)


def recorded_data_folder() -> Path:
    """Where the recorded answers are: ``CONSENSUS_DATA``, or beside this checkout."""
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"
    return Path(os.environ.get("CONSENSUS_DATA", str(beside)))


@cache
def real_run(name: str) -> RecordedRun:
    """A real data set, read once a test session."""
    return load_run(recorded_data_folder() / name)


def write_recorded(
    folder: Path,
    cases: Sequence[Mapping[str, Any]],
    answers: Sequence[Mapping[str, Any]],
    *,
    prices: Mapping[str, Mapping[str, float]] | None = None,
    extra_columns: Sequence[str] = (),
) -> Path:
    """Write a folder of recorded answers; an answer's missing columns are blank."""
    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(folder / "cases.jsonl.gz", "wt", encoding="utf-8") as stream:
        for case in cases:
            stream.write(json.dumps(case) + "\n")
    by_id = {case["case_id"]: case for case in cases}
    buffer = io.StringIO(newline="")
    writer = csv.DictWriter(buffer, [*COLUMNS, *extra_columns], restval="")
    writer.writeheader()
    for answer in answers:
        case = by_id.get(answer["case_id"], {})
        defaults = {
            "task_kind": "choice",
            "variant": "base",
            "sample_idx": 0,
            "label": case.get("label", ""),
            "options": case.get("options", ""),
        }
        writer.writerow({**defaults, **answer})
    with gzip.open(folder / "answers.csv.gz", "wt", encoding="utf-8", newline="") as stream:
        stream.write(buffer.getvalue())
    if prices is not None:
        (folder / "prices.json").write_text(json.dumps(prices))
    return folder


def simple_cases(labels: str) -> list[dict[str, Any]]:
    """Cases c0, c1, … of three options, with the labels given as letters."""
    return [
        {"case_id": f"c{i}", "label": label, "options": "A|B|C"} for i, label in enumerate(labels)
    ]


def simple_answers(**models: str) -> list[dict[str, Any]]:
    """Answers of ``model="ABC…"``, a letter a case; ``-`` is blank, ``_`` is no row at all.

    ``model__1`` is its sample 1.
    """
    rows: list[dict[str, Any]] = []
    for key, letters in models.items():
        model, _, sample = key.partition("__")
        for i, letter in enumerate(letters):
            if letter != "_":
                rows.append(
                    {
                        "case_id": f"c{i}",
                        "model": model,
                        "sample_idx": int(sample or 0),
                        "answer": "" if letter == "-" else letter,
                    }
                )
    return rows
