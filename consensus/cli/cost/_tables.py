"""The tables that the commands of ``consensus cost`` print."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from consensus.benchmark.projection import Line, Projection
    from consensus.ledger.attribution import CostReport

__all__ = ["cost_table", "line_table", "parts_note", "split_words", "write_sheet"]


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

    rows = [(list(one.key), one) for one in report.groups]
    rows.append((["total", *[""] * (len(report.by) - 1)], report.total))
    columns: dict[str, list[str]] = {
        "decisions": [f"{one.decisions:,}" for _, one in rows],
        "calls": [f"{one.calls:,}" for _, one in rows],
        "failed": [f"{one.failures:,}" for _, one in rows],
        "replayed": [f"{one.replayed:,}" for _, one in rows],
        "input": [f"{one.usage.total_input:,}" for _, one in rows],
        "cache read": [f"{one.usage.cache_read:,}" for _, one in rows],
        "written": [f"{one.usage.cache_write + one.usage.cache_write_1h:,}" for _, one in rows],
        "output": [f"{one.usage.output:,}" for _, one in rows],
        "reasoning": [f"{one.usage.reasoning:,}" for _, one in rows],
        "usd": [_dollars(one.cost_pico) for _, one in rows],
        "beside": ["0" if not one.beside_pico else _dollars(one.beside_pico) for _, one in rows],
        "estimated": [
            "0" if not one.estimated_pico else _dollars(one.estimated_pico) for _, one in rows
        ],
        "p50 s": [_number(one.latency_p50_s) for _, one in rows],
        "p95 s": [_number(one.latency_p95_s) for _, one in rows],
        "stronger": [_number(one.escalations) for _, one in rows],
        "escalated": [_number(one.escalated) for _, one in rows],
        "abstained": [_number(one.abstained) for _, one in rows],
        "all-frontier": [
            "" if one.frontier_pico is None else usd(one.frontier_pico / PICO) for _, one in rows
        ],
    }
    if {"requested", "served"} & set(report.by):
        columns["p50 s"][-1] = columns["p95 s"][-1] = ""  # of decisions, unlike those above it
    # A column that says nothing of any group only makes the names beside it fold.
    told = {name: cells for name, cells in columns.items() if not set(cells[:-1]) <= {"", "0"}}
    table = table_of(*report.by, *(f">{name}" for name in told))
    for (key, one), *cells in zip(rows, *told.values(), strict=True):
        add_row(table, *key, *cells, style="bold" if one is report.total else "")
    return table


def parts_note(report: CostReport) -> str | None:
    """Which columns of the table are parts of others; None where it has none of these."""
    usage, said = report.total.usage, []
    if usage.total_input > usage.input:
        said.append("cache read and written are parts of input")
    if usage.reasoning:
        said.append("reasoning is a part of output")
    if report.total.estimated_pico:
        said.append("estimated is a part of usd")
    if report.total.beside_pico:
        said.append(
            "beside is the part of usd that was paid for shadows and for the frontier asked beside "
            "decisions, and is in no saving"
        )
    if not said:
        return None
    text = "; ".join(said)
    return f"{text[0].upper()}{text[1:]}."


def _dollars(pico: int) -> str:
    from consensus.ballots import PICO

    return f"{pico / PICO:.6f}"


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else f"{value:.2f}"


def write_sheet(path: Path, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A flat table as a CSV file that a spreadsheet opens and never executes; ``-`` is stdout."""
    import csv
    import sys

    from consensus.benchmark.spreadsheet import cell, write_csv
    from consensus.cli._console import note

    def text(value: Any) -> str:
        if value is None:
            return ""
        return cell(value) if isinstance(value, str) else str(value)

    lines = [[text(value) for value in row] for row in rows]
    if str(path) == "-":
        csv.writer(sys.stdout, lineterminator="\n").writerows([heads, *lines])
        return
    write_csv(path, heads, lines)
    note(f"wrote {path}")
