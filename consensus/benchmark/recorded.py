"""Import of recorded answers (format version 1: ``answers.csv.gz``, ``cases.jsonl.gz``, prices).

Broken rows are named and counted in the run's :class:`ImportReport`, never dropped in silence. A
blank answer, or one outside the case's options, is kept as a failure. ``A/D`` is one vote shared by
A and D. Where cases carry ``label_stable``, only the stable ones are used unless asked otherwise.
"""

from __future__ import annotations

import csv
import gc
import hashlib
import io
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consensus.benchmark.run_format.columns import (
    CaseTable,
    Member,
    Price,
    RowColumns,
    options_of,
    split_options,
)
from consensus.benchmark.run_format.report import ImportReport
from consensus.benchmark.run_format.run import RecordedRun
from consensus.errors import DataError
from consensus.strangers import numbered_lines, open_bounded, parse_json, read_bounded

__all__ = ["import_recorded", "load_run"]

_REQUIRED = ("case_id", "label", "options", "model", "variant", "sample_idx", "answer")
_STANDARD = (
    *_REQUIRED,
    "task_kind",
    "confidence",
    "prompt_tokens",
    "completion_tokens",
    "scores_by_letter",
    "latency_s",
)
_NUMBERS = ("confidence", "prompt_tokens", "completion_tokens", "latency_s")
_CHUNK = 8_192

MAX_CASES = 1_000_000
MAX_ROWS = 50_000_000
MAX_PRICES_BYTES = 4_000_000

_UNREADABLE, _OFF_LIST = 1, 2


def load_run(folder: str | Path, *, unstable: bool = False) -> RecordedRun:
    """Read a run's folder or a folder of recorded answers, whichever it is."""
    path = Path(folder)
    if not path.is_dir():
        raise DataError("no such folder", where=str(path))
    if (path / "manifest.json").exists():
        return RecordedRun.load(path)
    return import_recorded(path, unstable=unstable)


def import_recorded(folder: str | Path, *, unstable: bool = False) -> RecordedRun:
    """Read a folder of recorded answers.

    Args:
        folder: holds ``answers.csv.gz`` and ``cases.jsonl.gz`` (or the same uncompressed), and
            ``prices.json`` where prices are known.
        unstable: also use cases whose ``label_stable`` is false.

    Raises:
        DataError: for a file that is missing, cut short, or not of this format at all.
    """
    path = Path(folder)
    answers, cases_file = _find(path, "answers.csv"), _find(path, "cases.jsonl")
    report = ImportReport()
    with _collector_paused():
        records, left_out = _cases(cases_file, report, unstable)
        reader, chunks = _answers(answers, records, left_out, report)
    # What was offered is what the answers say was offered; a case's own list may hold texts.
    offered = {i: text for i, text in enumerate(reader.options) if text is not None}
    cases = CaseTable.build(
        (
            (where, record, split_options(offered[i]) if i in offered else _own_options(record))
            for i, (where, record) in enumerate(records)
        ),
        report,
    )
    if not len(cases):
        raise DataError("holds no usable case", where=str(cases_file))
    members, rows = _stack(chunks, reader, cases, report)
    kinds = set(cases.kinds)
    order = kinds == {"pairwise"}
    if order:
        report.notes.append("samples are presentation orders: 0 as shown, 1 swapped")
    source = {
        "folder": path.name,
        "answers_sha256": _digest(answers),
        "cases_sha256": _digest(cases_file),
    }
    return RecordedRun(
        path.name, cases, members, rows, _prices(path / "prices.json"), report, source, order
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Reading makes millions of strings and no cycles; looking for cycles would double its time."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def _find(folder: Path, name: str) -> Path:
    for path in (folder / f"{name}.gz", folder / name):
        if path.exists():
            return path
    raise DataError(f"{name}.gz is missing", where=str(folder))


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _cases(
    path: Path, report: ImportReport, unstable: bool
) -> tuple[list[tuple[str, Mapping[str, Any]]], set[str]]:
    left_out: set[str] = set()
    records: list[tuple[str, Mapping[str, Any]]] = []
    for number, raw in numbered_lines(path):
        where = f"{path}:{number}"
        if len(records) >= MAX_CASES:
            raise DataError(f"holds more than {MAX_CASES:,} cases", where=str(path))
        try:
            record = parse_json(raw or b"")
        except UnicodeDecodeError as error:
            raise DataError(f"is not UTF-8 (byte {error.start})", where=where) from None
        except ValueError:
            report.complain(where, "a case that is not JSON")
            continue
        if not isinstance(record, dict):
            report.complain(where, "a case that is not an object")
        elif record.get("label_stable") is False and not unstable:
            left_out.add(str(record.get("case_id")))
            report.filtered["label not stable"] += 1
        else:
            records.append((where, record))
    if left_out:
        report.notes.append(
            f"{len(left_out):,} cases whose label is not stable are left out (label_stable)"
        )
    return records, left_out


def _own_options(record: Mapping[str, Any]) -> tuple[str, ...]:
    """Options of a case without answers; a list that lacks the label holds texts of A, B, C, …."""
    options = options_of(record)
    if isinstance(record.get("options"), list) and record.get("label") not in options:
        return tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ"[: len(options)])
    return options


def _prices(path: Path) -> dict[str, Price]:
    if not path.exists():
        return {}
    try:
        table = parse_json(read_bounded(path, MAX_PRICES_BYTES))
        prices = {}
        for model, entry in table.items():
            numbers = {
                key: float(entry[key]) for key in ("input", "output", "call") if key in entry
            }
            usable = "call" in numbers or {"input", "output"} <= set(numbers)
            if not usable or not all(math.isfinite(v) and v >= 0 for v in numbers.values()):
                raise DataError(
                    f'price of "{model}" is not usable',
                    where=str(path),
                    fix='{"input": $ per million tokens, "output": …} or {"call": $ per call}',
                )
            prices[str(model)] = Price(**numbers)
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise DataError("is not a table of prices", where=str(path)) from None
    return prices


class _BrokenRowError(Exception):
    """A row that is no answer; counted and named, then the next row is read."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail


class _Reader:
    """Turns chunks of CSV rows into column chunks. Repeated texts are parsed once."""

    def __init__(
        self,
        path: Path,
        header: list[str],
        records: Sequence[tuple[str, Mapping[str, Any]]],
        left_out: set[str],
        report: ImportReport,
    ) -> None:
        self.path, self.left_out, self.report = path, left_out, report
        self.column = {name: i for i, name in enumerate(header)}
        self.width = len(header)
        self.extra_names = [name for name in header if name not in _STANDARD]
        self.case_index: dict[str, int] = {}
        for i, (_, record) in enumerate(records):
            self.case_index.setdefault(str(record.get("case_id")), i)
        self.gold = [record.get("label") for _, record in records]
        self.options: list[str | None] = [None] * len(records)
        self.members: dict[tuple[str, str], int] = {}
        self.vote_ids: dict[tuple[str, str], int] = {}
        self.vote_shares: list[dict[int, float]] = []
        self.vote_failure: list[int] = []
        self.score_ids: dict[tuple[str, str], int] = {}
        self.score_rows: list[list[float] | None] = []
        self.seen: set[int] = set()
        self.unfit: set[str] = set()
        self.numbers: set[str] = set()
        self.score_column = self.column.get("scores_by_letter")
        self.number_columns = [(self.column[n], n) for n in _NUMBERS if n in self.column]

    def vote(self, offered: str, answer: str) -> int:
        """Index of the vote of an answer under the options offered."""
        key = (offered, answer)
        found = self.vote_ids.get(key)
        if found is None:
            options = split_options(offered)
            shares: dict[int, float] = {}
            failure = 0
            if not answer.strip():
                failure = _UNREADABLE
            else:
                # An option's own name may hold a slash; only an unknown name is a tie.
                names = {answer} if answer in options else set(answer.split("/"))
                if names <= set(options):
                    shares = {options.index(name): 1 / len(names) for name in names}
                else:
                    failure = _OFF_LIST
            found = self.vote_ids[key] = len(self.vote_shares)
            self.vote_shares.append(shares)
            self.vote_failure.append(failure)
        return found

    def scores(self, offered: str, text: str) -> int:
        """Index of the parsed scores; None there if they are not one number an option."""
        key = (offered, text)
        found = self.score_ids.get(key)
        if found is None:
            row: list[float] | None
            try:
                row = [float(part) if part else math.nan for part in text.split(";")]
            except ValueError:
                row = None
            if row is not None and (
                len(row) != len(split_options(offered)) or any(math.isinf(s) for s in row)
            ):
                row = None
            found = self.score_ids[key] = len(self.score_rows)
            self.score_rows.append(row)
        return found

    def take(self, rows: list[list[str]], lines: list[int]) -> dict[str, Any] | None:
        """Columns of the good rows of one chunk; None if there are none."""
        good: list[list[str]] = []
        keys: list[tuple[int, int, int, int, int]] = []
        for row, line in zip(rows, lines, strict=True):
            if not row:
                continue
            self.report.rows += 1
            key = self._key(row, line)
            if key is not None:
                good.append(row)
                keys.append(key)
        return self._columns(good, keys) if good else None

    def _key(self, row: list[str], line: int) -> tuple[int, int, int, int, int] | None:
        """Case, member, sample, vote and scores of a row; None after counting a broken one."""
        try:
            return self._read(row, line)
        except _BrokenRowError as error:
            self.report.complain(f"{self.path}:{line}", error.reason, error.detail)
            return None

    def _read(self, row: list[str], line: int) -> tuple[int, int, int, int, int] | None:
        at = self.column
        if len(row) != self.width:
            found = f"{len(row)} of {self.width}"
            raise _BrokenRowError("a row with the wrong number of columns", found)
        case_id = row[at["case_id"]]
        case = self.case_index.get(case_id)
        if case is None:
            if case_id not in self.left_out:
                raise _BrokenRowError("an answer to a case that is not in cases", case_id)
            self.report.filtered["answers to cases left out"] += 1
            return None
        offered = self._offered(case, row[at["options"]], case_id)
        if row[at["label"]] != self.gold[case]:
            raise _BrokenRowError("a label that differs from the case's", case_id)
        model, sample = row[at["model"]], row[at["sample_idx"]]
        if not model or not sample.isdecimal() or len(sample) > 4:
            raise _BrokenRowError("a row without a model or a sample number", case_id)
        score = -1
        if self.score_column is not None and row[self.score_column]:
            score = self.scores(offered, row[self.score_column])
            if self.score_rows[score] is None:
                raise _BrokenRowError("scores that are not one number an option", case_id)
        for index, name in self.number_columns:
            text = row[index]
            if text and text not in self.numbers and not self._number(text):
                raise _BrokenRowError(f"{name} is not a number", case_id)
        member = self.members.setdefault((model, row[at["variant"]]), len(self.members))
        key = (member * len(self.options) + case) * 10_000 + int(sample)
        if key in self.seen:
            detail = f"{case_id} {model} sample {sample}"
            raise _BrokenRowError("an answer given twice", detail)
        self.seen.add(key)
        vote = self.vote(offered, row[at["answer"]])
        if self.vote_failure[vote] == _OFF_LIST and len(self.report.notes) < self.report.limit:
            self.report.notes.append(
                f"{self.path}:{line}: an answer outside the options, kept as a failure"
            )
        return case, member, int(sample), vote, score

    def _offered(self, case: int, text: str, case_id: str) -> str:
        known = self.options[case]
        if known is None:
            if not text:
                raise _BrokenRowError("a row without options", case_id)
            self.options[case] = known = text
        elif known != text:
            raise _BrokenRowError("options that differ from the case's first answer", case_id)
        return known

    def _number(self, text: str) -> bool:
        try:
            value = float(text)
        except ValueError:
            return False
        if math.isfinite(value) and value >= 0:
            self.numbers.add(text)
            return True
        return False

    def _columns(
        self, rows: list[list[str]], keys: list[tuple[int, int, int, int, int]]
    ) -> dict[str, Any]:
        columns: Sequence[tuple[str, ...]] = list(zip(*rows, strict=True))
        at = self.column
        chunk: dict[str, Any] = {
            name: np.array(values, dtype=np.int32)
            for name, values in zip(
                ("case", "member", "sample", "vote", "score"), zip(*keys, strict=True), strict=True
            )
        }
        for name in _NUMBERS:
            index = at.get(name)
            chunk[name] = (
                np.full(len(rows), np.nan) if index is None else _floats(columns[index], float)
            )
        for name in self.extra_names:
            # An extra column of words is of no use to a figure; it stays in the source.
            chunk[f"extra:{name}"] = _floats(columns[at[name]], _lenient(self.unfit, name))
        return chunk


def _lenient(unfit: set[str], name: str) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            return float(text)
        except ValueError:
            unfit.add(name)
            return float("nan")

    return parse


def _floats(texts: Sequence[str], parse: Callable[[str], float]) -> NDArray[np.float64]:
    known: dict[str, float] = {"": float("nan")}
    result = np.empty(len(texts))
    for i, text in enumerate(texts):
        value = known.get(text)
        if value is None:
            value = known[text] = parse(text)
        result[i] = value
    return result


def _answers(
    path: Path,
    records: Sequence[tuple[str, Mapping[str, Any]]],
    left_out: set[str],
    report: ImportReport,
) -> tuple[_Reader, list[dict[str, Any]]]:
    with io.TextIOWrapper(open_bounded(path), encoding="utf-8", newline="") as text:
        return _read_answers(path, csv.reader(text), records, left_out, report)


def _read_answers(
    path: Path,
    stream: Any,
    records: Sequence[tuple[str, Mapping[str, Any]]],
    left_out: set[str],
    report: ImportReport,
) -> tuple[_Reader, list[dict[str, Any]]]:
    try:
        header: list[str] = next(stream, [])
        missing = [name for name in _REQUIRED if name not in header]
        if missing:
            raise DataError(
                f"lacks the column {missing[0]}", where=str(path), fix="see the format's columns"
            )
        reader = _Reader(path, header, records, left_out, report)
        chunks = []
        while True:
            rows, lines = [], []
            for row in islice(stream, _CHUNK):
                rows.append(row)
                lines.append(stream.line_num)
            if not rows:
                break
            if report.rows > MAX_ROWS:
                raise DataError(f"holds more than {MAX_ROWS:,} rows", where=str(path))
            chunk = reader.take(rows, lines)
            if chunk is not None:
                chunks.append(chunk)
    except csv.Error as error:
        raise DataError(f"is not CSV: {error}", where=f"{path}:{stream.line_num}") from None
    except UnicodeDecodeError:
        raise DataError("is not UTF-8", where=f"{path}:{stream.line_num}") from None
    if not chunks:
        raise DataError("holds no usable answer", where=str(path))
    return reader, chunks


def _stack(
    chunks: list[dict[str, Any]], reader: _Reader, cases: CaseTable, report: ImportReport
) -> tuple[tuple[Member, ...], RowColumns]:
    joined = {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}
    place = np.full(len(reader.options), -1, dtype=np.int32)
    for new, case_id in enumerate(cases.ids):
        place[reader.case_index[case_id]] = new
    joined["case"] = place[joined["case"]]
    orphans = int((joined["case"] < 0).sum())
    if orphans:
        report.broken["answers to a broken case"] += orphans
    names = sorted(reader.members)
    rank = np.empty(len(names), dtype=np.int32)
    for new, member in enumerate(names):
        rank[reader.members[member]] = new
    joined["member"] = rank[joined["member"]]
    order = np.lexsort((joined["sample"], joined["member"], joined["case"]))[orphans:]
    joined = {name: column[order] for name, column in joined.items()}
    width = cases.valid.shape[1]
    table = np.zeros((len(reader.vote_shares), width), dtype=np.float32)
    for i, shares in enumerate(reader.vote_shares):
        for option, share in shares.items():
            if option < width:
                table[i, option] = share
    votes = table[joined["vote"]]
    failure = np.array(reader.vote_failure, dtype=np.int8)[joined["vote"]]
    scores = None
    if reader.score_rows:
        table = np.full((len(reader.score_rows) + 1, width), np.nan, dtype=np.float32)
        for i, row in enumerate(reader.score_rows):
            if row is not None:
                table[i, : min(len(row), width)] = row[:width]
        scores = table[joined["score"]]  # -1 is the last row: no scores
    report.kept = len(order)
    for code, name in ((_UNREADABLE, "unreadable"), (_OFF_LIST, "off_list")):
        count = int((failure == code).sum())
        if count:
            report.failures[name] = count
    extra = {
        name: joined[f"extra:{name}"] for name in reader.extra_names if name not in reader.unfit
    }
    report.notes += [f"the column {n} is not numbers and is left out" for n in sorted(reader.unfit)]
    columns = RowColumns(
        joined["case"],
        joined["member"],
        joined["sample"],
        votes,
        scores,
        failure,
        joined["confidence"],
        joined["prompt_tokens"],
        joined["completion_tokens"],
        np.full(len(order), np.nan),
        joined["latency_s"],
        extra,
    )
    return tuple(Member(*name) for name in names), columns
