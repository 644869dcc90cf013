"""``consensus bench report``: a run's figures as one page to read, as Markdown, and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._console import stdout
from consensus.cli._files import write_text

__all__ = ["report"]


def report(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run of consensus bench, or a folder of recorded answers.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The HTML file. Default, where no other form is asked for: report.html in the "
            "run's folder; for recorded answers NAME-report.html here.",
            show_default=False,
        ),
    ] = None,
    json: Annotated[
        str | None,
        typer.Option(help="A JSON file with the same figures; - for stdout.", show_default=False),
    ] = None,
    markdown: Annotated[
        str | None,
        typer.Option(help="A Markdown file with the same; - for stdout.", show_default=False),
    ] = None,
    frontier: Annotated[
        str | None,
        typer.Option(
            help="The model to compare with. Default: the dearest; without prices the slowest, "
            "without times the most accurate.",
            show_default=False,
        ),
    ] = None,
    panel: Annotated[
        str | None,
        typer.Option(
            help="The models that have seats, with commas. Default: all that cost less.",
            show_default=False,
        ),
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="Whose verdict stands at the top; as for bench replay.")
    ] = "vote",
    goal: Annotated[
        str | None,
        typer.Option(
            help="For auto: parity, quality or budget:RATIO, as for bench replay.",
            show_default=False,
        ),
    ] = None,
    seats: Annotated[
        int | None,
        typer.Option(
            help="All its seats. Default: one a model; for a vote an odd number, at least three, "
            "where there are enough samples.",
            show_default=False,
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option(
            help="Prompt or method. Default: the one that all models share and that has most "
            "answers; the framings of a live run are counted together.",
            show_default=False,
        ),
    ] = None,
    all_cases: Annotated[
        bool,
        typer.Option(
            "--all-cases",
            help="Also cases that some model has not answered; a missing answer is wrong.",
        ),
    ] = False,
    readings: Annotated[int, typer.Option(min=0, max=100, help="Cases to read, of each sort.")] = 4,
    unstable: Annotated[
        bool, typer.Option("--unstable", help="Also use cases whose label_stable is false.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of sample orders and intervals.")] = 0,
) -> int:
    """Write a run's report: the verdict, cost against accuracy, controls, and cases to read.

    The HTML is one file that asks nothing of a network. Equal runs give equal bytes.

    Example:
      consensus bench report runs/refunds --out refunds.html --json refunds.json
      consensus bench report ../shared/data/rb2_judges_dev --frontier gpt-5.4 --panel gpt-5.4-mini
    """
    from consensus.benchmark.report import (
        ReportSettings,
        build_report,
        render_html,
        render_markdown,
        to_json,
    )

    names = [name.strip() for name in (panel or "").split(",") if name.strip()]
    data = build_report(
        run,
        ReportSettings(
            frontier=frontier,
            panel=tuple(names) or None,
            variant=variant,
            strategy=strategy,
            goal=goal,
            seats=seats,
            all_cases=all_cases,
            readings=readings,
            seed=seed,
        ),
        unstable=unstable,
    )
    to_stdout = "-" in {json, markdown}
    if out is None and json is None and markdown is None:
        live = (run / "manifest.json").exists()
        out = run / "report.html" if live else Path(f"{data['name']}-report.html")
    if out is not None:
        write_text(str(out), render_html(data))
    if json is not None:
        write_text(json, to_json(data))
    if markdown is not None:
        write_text(markdown, render_markdown(data))
    if not to_stdout:
        stdout().print(data["verdict"]["sentence"], markup=False)
    return 0
