"""The tables that the commands of ``consensus cost`` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from consensus.benchmark.projection import Line, Projection
    from consensus.ledger.attribution import CostReport

__all__ = ["cost_table", "line_table", "split_words", "write_sheet"]


def line_table(first: str, lines: Iterable[Line], total: Line | None = None) -> Table:
    """The before-and-after table, a line each, dollars a month."""
    from consensus.benchmark.projection.words import usd
    from consensus.benchmark.report.words import share, span
    from consensus.ledger.page import add_row, table_of

    table = table_of(
        first, ">share", ">before", ">after", ">95 %", ">best", ">worst", ">saved", ">a year",
        ">escalated", "measured by", "route",
    )  # fmt: skip
    for line in [*lines, *([total] if total is not None else [])]:
        source = line.source or ("mixed" if line.assumed_share else "measured")
        between = (
            f"{usd(line.interval.low)}–{usd(line.interval.high)}" if line.interval else "assumed"
        )
        escalated = "" if line.escalation is None else share(line.escalation)
        if line.escalation_interval is not None:
            escalated += f" ({span(list(line.escalation_interval))})"
        add_row(
            table,
            line.name,
            share(line.share, 0),
            usd(line.before) + ("" if line.before_measured else "*"),
            usd(line.after),
            between,
            usd(line.best),
            usd(line.worst),
            usd(line.saved),
            usd(line.saved * 12),
            escalated,
            f"{source}, n = {line.n:,}" if line.n else source,
            line.route,
            style="bold" if line is total else "",
        )
    return table


def split_words(found: Projection) -> tuple[str, str]:
    """The month's cost by class of token and by what it bought, a sentence each."""
    from consensus.benchmark.projection.html import ROLES, TOKENS
    from consensus.benchmark.projection.words import usd

    parts, roles = found.total.parts.to_json(), found.total.roles.to_json()
    return (
        "by token: " + ", ".join(f"{label} {usd(parts[name])}" for name, label in TOKENS),
        "by purpose: " + ", ".join(f"{label} {usd(roles[name])}" for name, label in ROLES),
    )


def cost_table(report: CostReport) -> Table:
    """The ledger's groups and their total."""
    from consensus.ballots import PICO
    from consensus.benchmark.projection.words import usd
    from consensus.ledger.page import add_row, table_of

    heads = (
        "decisions", "calls", "failed", "replayed", "input", "cached", "output", "reasoning",
        "usd", "p50 s", "p95 s", "stronger", "escalated", "abstained", "all-frontier*",
    )  # fmt: skip
    table = table_of(*report.by, *(f">{head}" for head in heads))
    total = [""] * (len(report.by) - 1)
    for one, key in [*((g, list(g.key)) for g in report.groups), (report.total, ["total", *total])]:
        used = one.usage
        counts = (one.escalations, one.escalated, one.abstained)
        times = (one.latency_p50_s, one.latency_p95_s)
        add_row(
            table,
            *key,
            f"{one.decisions:,}",
            f"{one.calls:,}",
            f"{one.failures:,}",
            f"{one.replayed:,}",
            f"{used.total_input:,}",
            f"{used.cache_read:,}",
            f"{used.output:,}",
            f"{used.reasoning:,}",
            f"{one.cost_pico / PICO:.6f}",
            *("" if value is None else f"{value:.2f}" for value in times),
            *("" if value is None else f"{value:,}" for value in counts),
            "" if one.frontier_pico is None else usd(one.frontier_pico / PICO),
            style="bold" if one is report.total else "",
        )
    return table


def write_sheet(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A flat table as a CSV file that a spreadsheet opens and never executes."""
    from consensus.benchmark.spreadsheet import cell, write_csv
    from consensus.cli._console import note

    def text(value: Any) -> str:
        if value is None:
            return ""
        return cell(value) if isinstance(value, str) else str(value)

    write_csv(path, heads, [[text(value) for value in row] for row in rows])
    note(f"wrote {path}")
