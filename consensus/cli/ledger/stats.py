"""``consensus ledger stats``: sums by task type and served model."""

from __future__ import annotations

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

__all__ = ["stats"]


def stats(
    since: Since = None,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Sum up by task type and served model: decisions, calls, tokens, cost, failures."""
    from consensus.ledger.queries import type_stats

    with opened(ledger, policy) as book:
        found = type_stats(book, since=moment(since))
    if as_json:
        print_json([one.to_json() for one in found])
        return
    from consensus.ledger.page import add_row, table_of

    heads = ("decisions", "calls", "failed", "input", "cached", "written", "output", "usd", "s")
    table = table_of("type", "model", *(f">{head}" for head in heads))
    for one in found:
        said = f"{one.acted} acted, {one.escalated} escalated, {one.abstained} abstained"
        if one.escalations:
            said += f"; {one.escalations} asked a stronger route"
        row = [one.task_type, said, f"{one.decisions:,}", *[""] * 6]
        add_row(table, *row, f"{one.cost_pico / PICO:.6f}", "", style="bold")
        for model in one.models:
            used = model.usage
            add_row(
                table,
                "",
                model.served_model,
                f"{model.decisions:,}",
                f"{model.calls:,}",
                f"{model.failures:,}",
                f"{used.input:,}",
                f"{used.cache_read:,}",
                f"{used.cache_write + used.cache_write_1h:,}",
                f"{used.output:,}",
                f"{model.cost_pico / PICO:.6f}",
                f"{model.latency_s:.2f}",
            )
    console().print(table)
