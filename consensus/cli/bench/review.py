"""``consensus bench review``: hold the oracle against people, on a sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.errors import DataError

if TYPE_CHECKING:
    from consensus.benchmark.review import Agreement, Review

__all__ = ["review"]


def review(
    run: Annotated[
        Path, typer.Argument(help="A folder of bench run or bench import.", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Write a sheet (CSV) with an empty verdict column.", show_default=False),
    ] = None,
    read: Annotated[
        Path | None, typer.Option(help="Read a filled sheet back.", show_default=False)
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, help="How many answers the sheet holds.")] = 50,
    seed: Annotated[int, typer.Option(help="Of the sample.")] = 0,
    references: Annotated[
        bool,
        typer.Option(
            "--references",
            help="Show the suite's labels in the sheet: it then checks the matching, not the "
            "labels.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Draw a sample of judged answers for people to judge, or read their verdicts back.

    The sample is stratified by task type, complexity, the oracle's word and model; each row holds
    its chance of being drawn, and agreement is weighted by it. The sheet does not show what the
    oracle said. Fill "verdict" with "acceptable" or "not acceptable"; leave the rest as it is.

    Example:
      consensus bench review runs/refunds --out sheet.csv --n 60
      consensus bench review runs/refunds --read sheet.csv
    """
    from consensus.benchmark.review import read_sheet, sample_sheet

    if out is not None and read is not None:
        raise typer.BadParameter("give either --out or --read")
    if out is not None:
        if out.exists():
            raise DataError("is there already", where=str(out), fix="name another file with --out")
        text, strata = sample_sheet(run, n=n, seed=seed, references=references)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\ufeff" + text, encoding="utf-8", newline="")
        if as_json:
            print_json({"sheet": str(out), "rows": sum(strata.values()), "strata": strata})
        else:
            note(f"{sum(strata.values())} answers of {len(strata)} strata are in {out}")
        return 0
    if read is None:
        raise typer.BadParameter("give --out for a new sheet, or --read for a filled one")
    result = read_sheet(run, read)
    if as_json:
        print_json(result.to_json())
    else:
        _show(result)
    return 0


def _show(result: Review) -> None:
    from rich.table import Table

    table = Table(title=f"{result.judged} answers judged", title_justify="left", box=None)
    table.add_column("")
    table.add_column("share", justify="right")
    table.add_column("95 %", justify="right")
    table.add_column("answers", justify="right")
    rows: list[tuple[str, Agreement | None]] = [
        ("people and oracle agree", result.agreement),
        ("of what it passes, acceptable", result.right_passes),
        ("of what it fails, not acceptable", result.right_failures),
        *((f"agree on {name}", value) for name, value in result.by_type.items()),
    ]
    for name, value in rows:
        if value is not None:
            table.add_row(
                name,
                f"{100 * value.share:.1f} %",
                f"{100 * value.low:.1f} to {100 * value.high:.1f}",
                str(value.n),
            )
    out = stdout()
    out.print(table)
    for item in result.disagreements[:20]:
        out.print(f"{item['item']}: the oracle says {item['oracle']}", markup=False)
    for text in result.notes:
        note(f"note: {text}")
