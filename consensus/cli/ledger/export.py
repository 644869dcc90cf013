"""``consensus ledger export``: labelled receipts as a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from consensus.cli._time import moment
from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    Since,
    opened,
    print_json,
    say,
)

__all__ = ["export"]


def export(
    out: Annotated[Path, typer.Option(help="The run's folder, to be made.", show_default=False)],
    labelled: Annotated[
        bool, typer.Option("--labelled", help="The receipts that have a label.")
    ] = False,
    task_type: Annotated[
        str | None, typer.Option("--type", help="Only of this type.", show_default=False)
    ] = None,
    since: Since = None,
    unweighted: Annotated[
        bool,
        typer.Option(
            "--unweighted",
            help="Also labels of which nobody knows the chance, with weight 1: a biased sample of "
            "whatever made somebody look.",
        ),
    ] = False,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Write labelled receipts as a run, for bench fit, bench replay and policy propose.

    Each label is a case, each seat's answer a row; a case's weight is one over the chance that it
    had to be looked at. Models are asked nothing.

    Example:
      consensus ledger export --labelled --type refund_approval --out runs/labelled
      consensus bench fit --data runs/labelled --panel A,B,C --out strategies/refunds.json
    """
    from consensus.benchmark.labelled import export_labelled

    if not labelled:
        raise typer.BadParameter("say what: --labelled")
    with opened(ledger, policy) as book:
        found = export_labelled(
            book, out, task_type=task_type, since=moment(since), unweighted=unweighted
        )
    if as_json:
        print_json({"out": str(out), **found.to_json()})
        return
    say(f"{found.cases:,} labelled cases, {found.answers:,} answers: {out}")
    for reason, count in sorted(found.left_out.items()):
        say(f"  left out: {count:,}: {reason}")
