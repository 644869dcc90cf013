"""Sheets that people fill in: CSV that spreadsheets show as text, never run, and hand back."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from consensus.errors import DataError
from consensus.strangers import read_bounded

__all__ = ["MAX_CELL", "MAX_SHEET_BYTES", "cell", "plain_cell", "read_csv", "write_csv"]

MAX_CELL = 30_000
"""Spreadsheets cut cells off at 32,767 characters."""

MAX_SHEET_BYTES = 200_000_000

_FORMULA = ("=", "+", "-", "@", "\t")


def cell(text: str) -> str:
    """A cell that a spreadsheet shows and never executes as a formula."""
    clean = "".join(c for c in text if c.isprintable() or c in "\n\t")
    if len(clean) > MAX_CELL:
        clean = clean[:MAX_CELL] + " … (cut off)"
    return "'" + clean if clean[:1] in _FORMULA else clean


def plain_cell(text: str) -> str:
    """The text that :func:`cell` made a cell of."""
    return text[1:] if text[:1] == "'" and text[1:2] in _FORMULA else text


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write a sheet whole, in the form that spreadsheets open without questions.

    Raises:
        DataError: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("\ufeff" + text.getvalue(), encoding="utf-8", newline="")
        part.replace(path)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(path)) from None


def read_csv(path: Path, required: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """The rows of a sheet by column, each with its ``file:line``; empty rows are left out.

    Raises:
        DataError: naming ``file:line``: unreadable, not UTF-8, a column missing, a torn row.
    """
    raw = read_bounded(path, MAX_SHEET_BYTES)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 (byte {error.start})", where=str(path), fix="save it as CSV UTF-8"
        ) from None
    # Some spreadsheets write semicolons where the comma is the decimal sign.
    head = text.partition("\n")[0]
    delimiter = ";" if head.count(";") > head.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    found: list[tuple[str, dict[str, str]]] = []
    try:
        columns = next(reader, [])
        missing = [name for name in required if name not in columns]
        if missing:
            raise DataError(f"has no column {missing[0]!r}", where=f"{path}:1")
        for values in reader:
            if not any(values):
                continue
            where = f"{path}:{reader.line_num}"
            if len(values) != len(columns):
                raise DataError(
                    f"has {len(values)} cells where there are {len(columns)} columns", where=where
                )
            found.append((where, dict(zip(columns, values, strict=True))))
    except csv.Error as error:
        raise DataError(f"is no CSV: {error}", where=f"{path}:{reader.line_num}") from None
    return found
