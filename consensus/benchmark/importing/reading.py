"""From log files to exchanges. Text is parsed, never executed; every size has a bound."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Literal, get_args

from consensus.benchmark.importing import litellm_rows, openai_rows, otel, own_rows
from consensus.benchmark.importing.exchange import BrokenRowError, Exchange, LeftOutError
from consensus.benchmark.run_format.report import ImportReport
from consensus.errors import DataError
from consensus.strangers import open_bounded
from consensus.tasks import MAX_TASK_BYTES

__all__ = ["FORMATS", "LogFormat", "read_logs"]

LogFormat = Literal["auto", "own", "litellm", "openai", "otel"]
FORMATS: tuple[LogFormat, ...] = get_args(LogFormat)

MAX_LINE_BYTES = 6 * MAX_TASK_BYTES
MAX_DOCUMENT_BYTES = 256_000_000
"""An OTLP document that is not a line must fit in memory."""

MAX_FILE_BYTES = 8_000_000_000
"""After decompression."""


def read_logs(
    paths: Sequence[Path], report: ImportReport, *, form: LogFormat = "auto", limit: int = 200_000
) -> list[Exchange]:
    """All exchanges of all files, in order; what cannot be used is counted and named.

    Args:
        paths: JSONL, OTLP JSON documents, each plain or ``.gz``.
        report: counts rows, broken rows (``file:line``) and rows left out by reason.
        form: what the rows are; ``auto`` looks at each.
        limit: the most exchanges that are kept; the rest is counted as left out.

    Raises:
        DataError: a file cannot be read at all.
    """
    questions: dict[str, Mapping[str, Any]] = {}
    for path in paths:
        for _, row in _rows(path, None):
            if openai_rows.is_batch_input(row):
                questions[str(row["custom_id"])] = row["body"]
    found: list[Exchange] = []
    for path in paths:
        for where, row in _rows(path, report):
            if openai_rows.is_batch_input(row):
                continue
            for place, piece in _pieces(row, where, form):
                report.rows += 1
                try:
                    got = _read(piece, place, form, questions)
                except BrokenRowError as error:
                    report.complain(place, str(error))
                except LeftOutError as error:
                    report.filtered[str(error)] += 1
                else:
                    room = max(0, limit - len(found))
                    if len(got) > room:
                        report.filtered[f"beyond the first {limit:,}"] += len(got) - room
                    found.extend(got[:room])
    return found


def _pieces(
    row: Mapping[str, Any], where: str, form: LogFormat
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    if form in ("auto", "otel") and "resourceSpans" in row:
        yield from otel.spans_of(row, where)
    else:
        yield where, row


def _read(
    row: Mapping[str, Any],
    where: str,
    form: LogFormat,
    questions: Mapping[str, Mapping[str, Any]],
) -> list[Exchange]:
    known = _form(row, where) if form == "auto" else form
    try:
        if known == "own":
            return own_rows.read_row(row, where)
        if known == "litellm":
            return litellm_rows.read_row(row, where)
        if known == "openai":
            return openai_rows.read_row(row, where, questions)
        return otel.read_span(row, where)
    except (KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise BrokenRowError(f"not of the form {known} ({type(error).__name__})") from None


def _form(row: Mapping[str, Any], where: str) -> LogFormat:
    if " span " in where or otel.looks_like(row):
        return "otel"
    if litellm_rows.looks_like(row):
        return "litellm"
    if own_rows.looks_like(row):
        return "own"
    if openai_rows.looks_like(row):
        return "openai"
    raise BrokenRowError("a row of no known form")


def _rows(path: Path, report: ImportReport | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """The objects of a file; ``report`` None passes over what is broken (it is counted later)."""
    try:
        with _opened(path) as stream:
            head = stream.read(1)
            while head.isspace():
                head = stream.read(1)
        if head == b"[" or _is_document(path):
            yield from _document(path, report)
            return
        with _opened(path) as stream:
            number = 0
            while raw := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                where = f"{path}:{number}"
                if len(raw) > MAX_LINE_BYTES:
                    while raw and not raw.endswith(b"\n"):
                        raw = stream.readline(MAX_LINE_BYTES)
                    _complain(report, where, f"longer than {MAX_LINE_BYTES:,} bytes")
                elif raw.strip():
                    row = _parse(raw, where, report)
                    if row is not None:
                        yield where, row
    except OSError as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from None


def _opened(path: Path) -> IO[bytes]:
    return open_bounded(path, MAX_FILE_BYTES)


def _is_document(path: Path) -> bool:
    """Whether a file is one JSON object over several lines."""
    with _opened(path) as stream:
        first = stream.readline(MAX_LINE_BYTES)
    try:
        json.loads(first)
    except RecursionError:
        return False
    except ValueError:
        return first.strip() in (b"{", b"[") or (
            first.lstrip().startswith(b"{") and not first.rstrip().endswith(b"}")
        )
    return False


def _document(path: Path, report: ImportReport | None) -> Iterator[tuple[str, dict[str, Any]]]:
    with _opened(path) as stream:
        raw = stream.read(MAX_DOCUMENT_BYTES + 1)
    if len(raw) > MAX_DOCUMENT_BYTES:
        raise DataError(
            f"a JSON document of more than {MAX_DOCUMENT_BYTES:,} bytes",
            where=str(path),
            fix="write one object a line",
        )
    try:
        data = json.loads(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError):
        _complain(report, str(path), "not JSON")
        return
    items = data if isinstance(data, list) else [data]
    for number, item in enumerate(items, 1):
        where = f"{path}:{number}" if isinstance(data, list) else str(path)
        if isinstance(item, dict):
            yield where, item
        else:
            _complain(report, where, "not an object")


def _parse(raw: bytes, where: str, report: ImportReport | None) -> dict[str, Any] | None:
    try:
        row = json.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        _complain(report, where, "not UTF-8")
    except (ValueError, RecursionError):
        _complain(report, where, "not JSON")
    else:
        if isinstance(row, dict):
            return row
        _complain(report, where, "not an object")
    return None


def _complain(report: ImportReport | None, where: str, reason: str) -> None:
    if report is not None:
        report.rows += 1
        report.complain(where, reason)
