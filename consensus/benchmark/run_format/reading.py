"""The lines of a run's folder, and answer lines as columns."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.run_format.columns import (
    MAX_CELLS,
    CaseTable,
    Member,
    RowColumns,
    options_of,
)
from consensus.benchmark.run_format.report import ImportReport
from consensus.errors import DataError
from consensus.strangers import numbered_lines, parse_json, read_json

__all__ = [
    "FORMAT",
    "NUMBERS",
    "RowBuilder",
    "answer_lines",
    "case_lines",
    "manifest_of",
    "number_of",
]

FORMAT = 1

MAX_SAMPLE = 1_000_000
MAX_EXTRA_NAMES = 200
MAX_CLASSES = 100

NUMBERS = ("confidence", "prompt_tokens", "completion_tokens", "cost_usd", "latency_s")


class RowBuilder:
    """Collects answer lines into columns; broken ones are counted and named in the report."""

    def __init__(self, cases: CaseTable, report: ImportReport) -> None:
        self.cases, self.report = cases, report
        self._case = {case_id: i for i, case_id in enumerate(cases.ids)}
        self._members: dict[Member, int] = {}
        self._seen: set[tuple[int, int, int]] = set()
        self._keys: list[tuple[int, int, int]] = []
        self._votes: list[NDArray[np.float32]] = []
        self._scores: list[NDArray[np.float32] | None] = []
        self._failure: list[int] = []
        self._classes: dict[str, int] = {"": 0, "unreadable": 1, "off_list": 2}
        self._numbers: list[list[float]] = []
        self._extra: list[Mapping[str, float]] = []
        self._extra_names: set[str] = set()

    def add(self, where: str, line: Mapping[str, Any]) -> None:
        """Take one answer line, or count it as broken."""
        self.report.rows += 1
        try:
            case = self._case[line["case"]]
            member = Member(str(line["model"]), str(line.get("variant") or ""))
            sample = int(line.get("sample") or 0)
            if not 0 <= sample <= MAX_SAMPLE:
                raise ValueError(f"a sample is a number from 0 to {MAX_SAMPLE:,}")
            numbers = [number_of(line.get(key)) for key in NUMBERS]
            extra = {str(k): number_of(v) for k, v in (line.get("extra") or {}).items()}
            self._extra_names |= extra.keys()
            if len(self._extra_names) > MAX_EXTRA_NAMES:
                raise DataError(f"has more than {MAX_EXTRA_NAMES} extra columns", where=where)
            votes, failure = self._vote(case, line.get("answer"), line.get("failure"))
            scores = self._score_row(case, line.get("scores"))
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            self.report.complain(where, "an answer that cannot be read", f"{error}")
            return
        index = self._members.setdefault(member, len(self._members))
        if (case, index, sample) in self._seen:
            self.report.complain(where, "an answer given twice", f"{line['case']} {member.name}")
            return
        self._seen.add((case, index, sample))
        self._keys.append((case, index, sample))
        self._votes.append(votes)
        if len(self._votes) * len(votes) > MAX_CELLS:
            raise DataError("more answers times options than fit a table", where=where)
        self._scores.append(scores)
        if failure not in self._classes and len(self._classes) >= MAX_CLASSES:
            failure = "unreadable"
        self._failure.append(self._classes.setdefault(failure, len(self._classes)))
        self._numbers.append(numbers)
        self._extra.append(extra)
        self.report.kept += 1
        if failure:
            self.report.failures[failure] += 1

    def _vote(self, case: int, answer: Any, failure: Any) -> tuple[NDArray[np.float32], str]:
        votes = np.zeros(self.cases.valid.shape[1], dtype=np.float32)
        options = self.cases.options[case]
        if answer is None or failure:
            return votes, str(failure or "unreadable")
        shares = {answer: 1.0} if isinstance(answer, str) else dict(answer)
        if not set(shares) <= set(options):
            return votes, "off_list"
        for name, share in shares.items():
            votes[options.index(name)] = share
        total = float(votes.sum())
        if not math.isclose(total, 1.0, abs_tol=1e-4) or votes.min() < 0:
            raise ValueError("the shares of a vote must sum to one")
        return votes, ""

    def _score_row(self, case: int, scores: Any) -> NDArray[np.float32] | None:
        if scores is None:
            return None
        if len(scores) != len(self.cases.options[case]):
            raise ValueError("scores must have one number an option")
        row = np.full(self.cases.valid.shape[1], np.nan, dtype=np.float32)
        row[: len(scores)] = [number_of(value) for value in scores]
        return row

    def finish(self) -> tuple[tuple[Member, ...], RowColumns]:
        """The members and the columns, sorted by case, member name and sample."""
        names = sorted(self._members)
        rank = {self._members[m]: i for i, m in enumerate(names)}
        width = self.cases.valid.shape[1]
        keys = np.array(self._keys, dtype=np.int32).reshape(-1, 3)
        keys[:, 1] = [rank[int(i)] for i in keys[:, 1]]
        order = np.lexsort((keys[:, 2], keys[:, 1], keys[:, 0]))
        numbers = np.array(self._numbers, dtype=float).reshape(-1, len(NUMBERS))[order]
        scores = None
        if any(row is not None for row in self._scores):
            blank = np.full(width, np.nan, dtype=np.float32)
            scores = np.array([blank if r is None else r for r in self._scores])[order]
        extra_names = sorted(self._extra_names)
        rows = RowColumns(
            keys[order, 0],
            keys[order, 1],
            keys[order, 2],
            np.array(self._votes, dtype=np.float32).reshape(-1, width)[order],
            scores,
            np.array(self._failure, dtype=np.int8)[order],
            numbers[:, 0],
            numbers[:, 1],
            numbers[:, 2],
            numbers[:, 3],
            numbers[:, 4],
            {n: np.array([x.get(n, np.nan) for x in self._extra])[order] for n in extra_names},
            tuple(self._classes),
        )
        return tuple(names), rows


def number_of(value: Any) -> float:
    """A finite number as it is, None as not a number.

    Raises:
        ValueError: for anything else.
    """
    if value is None:
        return float("nan")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"expected a number, found {value!r}")
    return float(value)


def manifest_of(folder: Path) -> dict[str, Any]:
    """A run's manifest.

    Raises:
        DataError: there is none, or it is of another format.
    """
    path = folder / "manifest.json"
    if not path.exists():
        raise DataError("no run here: manifest.json is missing", where=str(folder))
    try:
        manifest = read_json(path)
    except ValueError:
        raise DataError("is not JSON", where=str(path)) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise DataError(f"is not a run of format {FORMAT}", where=str(path))
    return manifest


def _json_lines(
    path: Path, report: ImportReport, what: str
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if not path.exists():
        raise DataError("is missing", where=str(path))
    for number, raw in numbered_lines(path):
        where = f"{path}:{number}"
        try:
            record = parse_json(raw or b"")
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8 (byte {error.start})", where=where) from None
        except ValueError:
            report.complain(where, f"{what} that is not JSON")
            continue
        if isinstance(record, dict):
            yield where, record
        else:
            report.complain(where, f"{what} that is not an object")


def case_lines(
    path: Path, report: ImportReport
) -> Iterator[tuple[str, Mapping[str, Any], tuple[str, ...]]]:
    """Cases: (``file:line``, record, its options); what is no object is told to the report."""
    for where, record in _json_lines(path, report, "a case"):
        yield where, record, options_of(record)


def answer_lines(folder: Path, report: ImportReport) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Answers: (``file:line``, line); what is no object is told to the report."""
    paths: Sequence[Path] = [
        path for path in (folder / "answers.jsonl.gz", folder / "answers.jsonl") if path.exists()
    ]
    if not paths:
        raise DataError("answers.jsonl is missing", where=str(folder))
    for path in paths:
        yield from _json_lines(path, report, "an answer")
