"""``consensus ledger list``: decisions, the latest first."""

from __future__ import annotations

from typing import Annotated

import typer

from consensus.ballots import PICO
from consensus.cli._time import moment
from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    Since,
    console,
    opened,
    print_json,
)

__all__ = ["list_"]


def list_(
    task_type: Annotated[str | None, typer.Option("--type", help="Only of this type.")] = None,
    action: Annotated[
        str | None, typer.Option(help="Only these: act, escalate or abstain.")
    ] = None,
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """List decisions, the latest first. Judged text is not shown; `show` shows it."""
    from consensus.ledger.queries import list_decisions

    if action not in (None, "act", "escalate", "abstain"):
        raise typer.BadParameter(f"{action!r} is not act, escalate or abstain")
    with opened(ledger, policy) as book:
        found = list_decisions(
            book, task_type=task_type, action=action, since=moment(since), limit=limit
        )
    if as_json:
        print_json([decision.to_json() for decision in found])
        return
    from consensus.ledger.page import add_row, table_of, when

    table = table_of("receipt", "when", "type", "id", "action", "outcome", ">P", ">usd", ">s")
    for one in found:
        add_row(
            table,
            one.receipt_id,
            when(one.created_at),
            one.task_type,
            one.task_id or "",
            one.action,
            "" if one.outcome is None else str(one.outcome),
            "" if one.probability is None else f"{one.probability:.3f}",
            f"{one.cost_pico / PICO:.6f}",
            f"{one.latency_s:.2f}",
        )
    console().print(table)
