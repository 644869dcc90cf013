"""``consensus cost``: what decisions cost, before launch and after.

One command a file; this wires them.
"""

from __future__ import annotations

import typer

from consensus.cli.cost import project, report

__all__ = ["app"]

app = typer.Typer(
    name="cost",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="What decisions cost: projected from the audit before launch, reported from the ledger "
    "after.",
)

app.command("project")(project.project)
app.command("report")(report.report)
