"""``consensus bench study``: the declared replays over the recorded data sets, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import note

__all__ = ["study"]


def study(
    data: Annotated[
        Path | None,
        typer.Option(
            help="The folder of the recorded data sets. Default: CONSENSUS_DATA, else "
            "../shared/data beside the checkout.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path,
        typer.Option(help="The Markdown file; sections of other writers in it are kept."),
    ] = Path("benchmarks/RESULTS.md"),
    only: Annotated[
        str | None,
        typer.Option(
            help="Only these sections, with commas: rb2, rb2-stopping, medagents, mmlu_pro, prd, "
            "iclr, simulation; with -auto behind it, the search on a data set (rb2-auto).",
            show_default=False,
        ),
    ] = None,
    auto: Annotated[
        bool,
        typer.Option("--auto", help="Also search strategies (rb2-auto …): a quarter of an hour."),
    ] = False,
    date: Annotated[
        str | None,
        typer.Option(
            help="Written into the header. Default: none, and the same bytes every time.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Run the study: fixed replays over the recorded data sets, written as Markdown.

    Nothing is called and nothing is paid; every row names the command that repeats it.

    Example:
      consensus bench study --data ../shared/data --only rb2,iclr
    """
    from consensus.benchmark.study import data_folder, select, write_study

    names = [name.strip() for name in (only or "").split(",") if name.strip()]
    studies = select(names, auto=auto)
    write_study(data_folder(data), out, studies, date=date, progress=note)
    note(f"wrote {out}")
