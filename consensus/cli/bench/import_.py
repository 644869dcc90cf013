"""``consensus bench import``: existing logs as cases and recorded answers, and what they cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import note, print_json, stdout
from consensus.errors import DataError

if TYPE_CHECKING:
    from consensus.benchmark.importing import Imported
    from consensus.policy.table import PolicyTable

__all__ = ["import_"]


def import_(
    files: Annotated[
        list[Path],
        typer.Argument(
            help="Logs, JSONL or OTLP JSON, plain or .gz. A batch's input file beside its output.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder for what is made of them.", show_default=False)],
    types: Annotated[
        Path | None,
        typer.Option(help="The reviewed types.toml of an earlier import.", show_default=False),
    ] = None,
    form: Annotated[
        str, typer.Option("--format", help="auto, own, litellm, openai or otel.")
    ] = "auto",
    models: Annotated[
        str | None,
        typer.Option(
            help="Models whose price for the same tokens is worked out. Default: the first of each "
            "tier of the policy.",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        Path | None,
        typer.Option(help="Folder or file of the policy: tiers and prices; else as elsewhere."),
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option(
            help="The model whose recorded answer stands for a missing label. Default: whichever "
            "answered first.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most calls that are read.")] = 200_000,
    strict: Annotated[
        bool, typer.Option("--strict", help="A broken row is an error, not a counted warning.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> int:
    """Make cases and recorded answers of the logs you have, and say what they cost.

    Reads our own rows (a task, "model", "answer"), LiteLLM's standard logging payload, OpenAI
    request and response logs and batch files, and OpenTelemetry GenAI spans. Nothing is called, and
    nothing in a log is executed. Task types are guessed: review OUT/types.toml, then import again
    with --types OUT/types.toml. OUT is a run (bench replay reads it), OUT/suite a draft suite.

    Example:
      consensus bench import litellm.jsonl --out imported
    """
    from consensus.benchmark.importing import FORMATS, import_traffic
    from consensus.models.prices import PriceBook
    from consensus.policy.load import load_policy

    if form not in FORMATS:
        raise DataError(f'unknown "{form}"', where="--format", fix=f"one of {', '.join(FORMATS)}")
    table = load_policy(policy)
    frontier = table.tiers.get("frontier", ())
    imported = import_traffic(
        files,
        out,
        prices=PriceBook(overrides=table.price_overrides()),
        alternatives=_alternatives(table, models),
        grader=frontier[0] if frontier else "anthropic/claude-opus-5-5",
        types=types,
        form=form,
        reference=reference,
        limit=limit,
    )
    if as_json:
        print_json(_as_json(imported))
    else:
        _show(imported)
    broken = sum(imported.report.broken.values())
    if broken:
        note(f"warning: {broken:,} broken rows are left out")
        for message in imported.report.messages:
            note(f"  {message}")
    for why, count in sorted(imported.report.filtered.items()):
        note(f"left out: {count:,} ({why})")
    for text in imported.report.notes:
        note(f"note: {text}")
    return 1 if broken and strict else 0


def _alternatives(table: PolicyTable, models: str | None) -> list[str]:
    if models is not None:
        return [name.strip() for name in models.split(",") if name.strip()]
    return list(dict.fromkeys(tier[0] for tier in table.tiers.values() if tier))


def _as_json(imported: Imported) -> dict[str, Any]:
    return {
        "folder": str(imported.folder),
        "cases": imported.cases,
        "answers": imported.answers,
        "labelled": imported.labelled,
        "referenced": imported.referenced,
        "types": [
            {"group": g.key, "name": g.name, "kind": g.kind, "calls": len(g.members), "why": g.why}
            for g in imported.groups
        ],
        "costs": [cost.to_json() for cost in imported.costs],
        "report": imported.report.to_dict(),
    }


def _show(imported: Imported) -> None:
    from rich.table import Table

    kinds = {group.name: (group.kind, group.why) for group in imported.groups}
    alternatives = sorted({model for cost in imported.costs for model in cost.would_cost})
    table = Table(
        title=f"{imported.answers:,} answers to {imported.cases:,} cases", title_justify="left"
    )
    table.add_column("type")
    table.add_column("guess")
    table.add_column("calls", justify="right")
    table.add_column("tokens in", justify="right")
    table.add_column("out", justify="right")
    table.add_column("cost $", justify="right")
    for model in alternatives:
        table.add_column(f"same tokens, {model} $", justify="right")
    for cost in imported.costs:
        kind, why = kinds[cost.name]
        table.add_row(
            cost.name,
            f"{kind}: {why}",
            f"{cost.calls:,}",
            f"{cost.input_tokens:,}",
            f"{cost.output_tokens:,}",
            _money(cost.cost_usd, cost.priced, cost.calls),
            *(
                f"{cost.would_cost[model]:.4f}" if model in cost.would_cost else "not known"
                for model in alternatives
            ),
        )
    stdout().print(table)
    if alternatives:
        note(
            "same tokens: today's price map for as many tokens; another model counts tokens and "
            "writes answers of its own length"
        )
    uncounted = sum(cost.uncounted for cost in imported.costs)
    if uncounted:
        note(f"{uncounted:,} calls have no token counts and are in no such sum")
    note(f"review {imported.folder}/types.toml, then import again with --types")


def _money(usd: float, priced: int, calls: int) -> str:
    if not priced:
        return "not known"
    return f"{usd:.4f}" if priced == calls else f"{usd:.4f} ({priced:,} of {calls:,})"
