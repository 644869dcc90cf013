"""``consensus ledger replay``: a decision drawn again from its receipt alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    ReceiptArgument,
    opened,
    print_json,
    say,
)

if TYPE_CHECKING:
    from consensus.decisions import Decision
    from consensus.ledger.receipts import Receipt

__all__ = ["replay"]


def replay(
    receipt_id: ReceiptArgument,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Draw a decision again from its receipt alone; exit 1 if a single byte differs."""
    from consensus.ledger.receipts import replay as draw_again

    with opened(ledger, policy) as book:
        receipt = book.receipt(receipt_id)
    result = draw_again(receipt, _conclude)
    if as_json:
        print_json(
            {
                "receipt_id": receipt.receipt_id,
                "identical": result.identical,
                "differences": list(result.differences),
                "decision": result.decision.to_row(index=receipt.task_index or 0),
            }
        )
    elif result.identical:
        size = len(result.decision.canonical_json().encode())
        say(f"{receipt.receipt_id}: the same decision, byte for byte ({size:,} bytes)")
    else:
        say(f"{receipt.receipt_id}: another decision; it differs in")
        for path in result.differences:
            say(f"  {path}")
    if not result.identical:
        raise typer.Exit(1)


def _conclude(receipt: Receipt) -> Decision:
    from consensus.assembly import conclude_receipt

    return conclude_receipt(receipt)
