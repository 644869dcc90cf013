"""``consensus audit show``: the task types side by side."""

from __future__ import annotations

import csv
import io
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from consensus.cli._console import print_json, stdout
from consensus.cli.audit._shared import AuditFile, Json, PolicyOption, own_policy, percent

if TYPE_CHECKING:
    from consensus.policy.audit.model import Audit
    from consensus.policy.table import PolicyTable

__all__ = ["show", "show_rows"]


def show(
    audit: AuditFile = Path("audit.toml"),
    *,
    policy: PolicyOption = None,
    as_json: Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV.")] = False,
) -> None:
    """Show every task type: traffic, lengths, consequence, and what its certificate will need.

    "cases" are evaluation cases with which the certificate's bound can clear the floor at 0, 1 and
    2 failures. A run needs twice as many: one half chooses the route, the other certifies it.

    Example:
      consensus audit show --csv > audit.csv
    """
    from consensus.policy.audit.model import load_audit

    loaded = load_audit(audit)
    rows = show_rows(loaded, own_policy(policy))
    if as_json:
        print_json(
            {
                "audit": loaded.source,
                "system": loaded.system,
                "monthly_volume": loaded.monthly_volume,
                "tasks": rows,
            }
        )
    elif as_csv:
        sys.stdout.write(_csv(rows))
    else:
        _table(loaded, rows)


def show_rows(audit: Audit, table: PolicyTable | None) -> list[dict[str, Any]]:
    """One row a task type, in the audit's order."""
    from consensus.policy.audit.needs import certificate_need

    rows = []
    for name, task in audit.tasks.items():
        need = certificate_need(task, table)
        rows.append(
            {
                "type": name,
                "owner": task.owner,
                "kind": task.kind,
                "monthly_volume": task.monthly_volume,
                "share": audit.share(name),
                "input_p50": task.input_tokens.p50,
                "input_p95": task.input_tokens.p95,
                "output_p50": task.output_tokens.p50,
                "output_p95": task.output_tokens.p95,
                "adversarial_share": task.adversarial_share,
                "complexity": task.complexity,
                "consequence": task.consequence,
                "on_wrong": task.on_wrong,
                "oracle": task.oracle,
                "gate": task.gate,
                "structured": task.structured,
                "latency_p95_s": task.latency.p95_s if task.latency else None,
                "interactive": task.latency.interactive if task.latency else None,
                "floor": need.floor,
                "delta": need.delta,
                "cases_0_failures": need.cases[0],
                "cases_1_failure": need.cases[1],
                "cases_2_failures": need.cases[2],
            }
        )
    return rows


def _csv(rows: list[dict[str, Any]]) -> str:
    from consensus.benchmark.spreadsheet import cell

    text = io.StringIO()
    if rows:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow(
                "" if v is None else cell(v) if isinstance(v, str) else v for v in row.values()
            )
    return text.getvalue()


def _table(audit: Audit, rows: list[dict[str, Any]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(
        title=f"{audit.source}: {len(rows)} task types, {audit.monthly_volume:,} requests a month",
        title_justify="left",
        box=None,
        pad_edge=False,
    )
    left = {"type", "owner", "kind", "complexity", "consequence"}
    for name in (
        "type", "owner", "kind", "a month", "share", "in p50/p95", "out p50/p95", "misleading",
        "complexity", "consequence", "floor", "cases 0/1/2",
    ):  # fmt: skip
        table.add_column(name, justify="left" if name in left else "right")
    for row in rows:
        table.add_row(
            escape(row["type"]),
            escape(row["owner"]) or "[red]nobody[/]",
            row["kind"],
            f"{row['monthly_volume']:,}",
            percent(row["share"]),
            f"{row['input_p50']:,}/{row['input_p95']:,}",
            f"{row['output_p50']:,}/{row['output_p95']:,}",
            percent(row["adversarial_share"]),
            row["complexity"],
            row["consequence"],
            f"{row['floor']:g} ±{row['delta']:g}".replace("±", "δ "),
            f"{row['cases_0_failures']}/{row['cases_1_failure']}/{row['cases_2_failures']}",
        )
    stdout().print(table)
