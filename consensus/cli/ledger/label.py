"""``consensus ledger label``: what would have been right, for one receipt or a file of them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli.ledger._shared import Json, LedgerOption, PolicyOption, opened, print_json, say

if TYPE_CHECKING:
    from consensus.ledger.feedback import Label
    from consensus.ledger.store import Ledger

__all__ = ["label"]

COLUMNS = ("receipt_id", "label", "by", "source", "probability")


def label(
    receipt_id: Annotated[
        str | None,
        typer.Argument(metavar="[RECEIPT]", help="A receipt's id, or how it begins."),
    ] = None,
    value: Annotated[
        str | None,
        typer.Argument(
            metavar="[LABEL]",
            help="An option, a number on the scale, a JSON list of items. Of generated answers "
            "also right or wrong.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(
            help="A CSV file instead, with the columns receipt_id and label, and if you like by, "
            "source, probability.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Who says so, where the file does not.", show_default=False)
    ] = None,
    source: Annotated[str, typer.Option(help="How it came about, likewise.")] = "human",
    probability: Annotated[
        float | None,
        typer.Option(
            help="The chance that this decision had to be looked at (1: all are), likewise. "
            "Without it a label corrects and alarms, and proves nothing about the others.",
            show_default=False,
        ),
    ] = None,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Say what would have been right. A later label supersedes, and the earlier one is kept.

    Bad lines of a file are named, the others kept; exit 1. Giving the same file again changes
    nothing.

    Example:
      consensus ledger label 01JD3XKQ reject --by ada
      consensus ledger label --file reviewed.csv --probability 0.05
    """
    given = {"by": by, "source": source, "probability": probability}
    if (file is None) == (receipt_id is None) or (receipt_id is None) != (value is None):
        raise typer.BadParameter("give RECEIPT and LABEL, or --file FILE.csv")
    with opened(ledger, policy) as book:
        if file is None:
            lines: Iterator[dict[str, Any]] = iter(
                [{"receipt_id": receipt_id, "label": value, **given}]
            )
            kept, errors = _give(book, lines, stop=True)
        else:
            kept, errors = _give(book, _lines(file, given), stop=False)
    if as_json:
        print_json({"labels": [one.to_json() for one in kept], "errors": errors})
    else:
        for one in kept:
            said = {True: "agrees", False: "disagrees", None: "no outcome to compare"}[one.agrees]
            say(f"{one.receipt_id}: {one.label!s:.60} ({said})")
        for error in errors:
            say(f"error: {error}")
    if errors:
        raise typer.Exit(1)


def _give(
    book: Ledger, lines: Iterator[dict[str, Any]], *, stop: bool
) -> tuple[list[Label], list[str]]:
    from consensus.errors import DataError, LedgerError, TaskError
    from consensus.ledger.feedback import give_label

    kept: list[Label] = []
    errors: list[str] = []
    for line in lines:
        try:
            if "error" in line:
                raise DataError(line["error"])
            kept.append(
                give_label(
                    book,
                    line["receipt_id"],
                    line["label"],
                    by=line["by"],
                    source=line["source"],
                    probability=line["probability"],
                    typed=True,
                )
            )
        except (DataError, LedgerError, TaskError) as error:
            if stop:
                raise
            where = line["where"]
            errors.append(f"{where}: {error}")
    return kept, errors


def _lines(path: Path, given: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The lines of a CSV file, each with its place; what cannot be read has an ``error``."""
    from consensus.errors import DataError

    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            names = reader.fieldnames or ()
            if not {"receipt_id", "label"} <= set(names) or set(names) - set(COLUMNS):
                raise DataError(
                    f"its columns are {', '.join(names) or 'none'}",
                    where=f"{path}:1",
                    fix=f"receipt_id and label, and of {', '.join(COLUMNS[2:])} what you like",
                )
            for row in reader:
                yield _line(row, f"{path}:{reader.line_num}", given)
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except UnicodeDecodeError as error:
        raise DataError(f"is not UTF-8 (byte {error.start})", where=str(path)) from None
    except csv.Error as error:
        raise DataError(f"is not CSV: {error}", where=str(path)) from None


def _line(row: dict[str | Any, Any], where: str, given: dict[str, Any]) -> dict[str, Any]:
    line: dict[str, Any] = {"where": where, **given}
    if None in row or None in row.values():
        return {**line, "error": "has not as many cells as there are columns"}
    line |= {name: cell.strip() for name, cell in row.items() if cell.strip()}
    if not line.get("receipt_id") or "label" not in line:
        return {**line, "error": "receipt_id or label is empty"}
    if isinstance(line["probability"], str):
        try:
            line["probability"] = float(line["probability"])
        except ValueError:
            return {**line, "error": f"probability {line['probability']!r} is no number"}
    return line
