"""``consensus cost report``: what was spent, on what, by whom; and against all-frontier."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from consensus.models.rates import ModelPrice
    from consensus.policy.table import PolicyTable

__all__ = ["report"]


def report(
    since: Annotated[
        str | None,
        typer.Option(
            help="From this moment on: 2026-11-22, 2026-11-22T08:30, or an age: 90m, 24h, 7d.",
            show_default=False,
        ),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Before this moment, written alike.", show_default=False)
    ] = None,
    by: Annotated[
        str,
        typer.Option(
            help="What to group by, with commas: type, route, requested, served, owner, day."
        ),
    ] = "type",
    frontier: Annotated[
        str | None,
        typer.Option(
            help="The model to compare with. Default: the first of the policy's tier frontier.",
            show_default=False,
        ),
    ] = None,
    ledger: Annotated[
        Path | None, typer.Option(help="The ledger's file.", show_default=False)
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(
            help="Folder or file; strategies/ here, else the shipped defaults. Owners and prices "
            "come from it.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    csv: Annotated[
        Path | None, typer.Option(help="Write the groups as a CSV file.", show_default=False)
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write one self-contained page.", show_default=False)
    ] = None,
) -> None:
    """Report what was spent: by type, route, model, owner or day; each call is counted once.

    The groups add up to what was paid, to the last pico-dollar. Against all-frontier it compares
    by arithmetic: one frontier call for each decision, with the mean tokens of its own calls.

    Example:
      consensus cost report --since 7d --by owner,type
      consensus cost report --by day --csv days.csv --html costs.html
    """
    from consensus.benchmark.projection import render_costs
    from consensus.benchmark.projection.words import cost_notes, cost_verdict
    from consensus.cli._console import note, stdout
    from consensus.cli._files import write_text
    from consensus.cli._time import moment
    from consensus.cli.cost._tables import cost_table, parts_note, write_sheet
    from consensus.ledger.attribution import attribute
    from consensus.ledger.page import safe_json
    from consensus.ledger.place import ledger_path
    from consensus.ledger.store import Ledger
    from consensus.policy.load import load_policy

    start, end = moment(since), moment(until, "--until")
    if start is not None and end is not None and start >= end:
        raise typer.BadParameter("--since is not before --until")
    table = load_policy(policy)
    names = [name.strip() for name in by.split(",") if name.strip()]
    with Ledger(ledger_path(ledger, policy=policy), must_exist=True) as book:
        found = attribute(
            book,
            by=names,  # type: ignore[arg-type]
            since=start,
            until=end,
            owners=_owners(table),
            frontier=_frontier(table, frontier),
        )
    if html is not None:
        write_text(html, render_costs(found))
    if csv is not None:
        write_sheet(csv, *found.table())
    if "-" in (str(html), str(csv)):
        return  # stdout has what was asked for, and nothing else
    if as_json:
        typer.echo(safe_json(found.to_json()))
        return
    out = stdout()
    if found.total.calls or found.total.replayed or found.total.decisions:
        out.print(cost_table(found))
        if (parts := parts_note(found)) is not None:
            out.print(parts, style="dim", markup=False, soft_wrap=True)
    else:
        note("nothing was decided in this time")
    _, head, rest = cost_verdict(found)
    out.print(f"\n{head}. {rest}", markup=False)
    for line in cost_notes(found):
        out.print(line, markup=False)


def _owners(table: PolicyTable) -> Mapping[str, str | None]:
    return {name: row.owner for name, row in table.tasks.items()}


def _frontier(table: PolicyTable, named: str | None) -> tuple[str, ModelPrice] | None:
    from consensus.models.prices import PriceBook
    from consensus.policy.estimate import frontier_model

    model = named or frontier_model(table)
    if model is None:
        return None
    return model, PriceBook(table.price_overrides()).price(model)
