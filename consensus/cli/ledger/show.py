"""``consensus ledger show``: one decision, whole."""

from __future__ import annotations

from consensus.ballots import PICO
from consensus.cli.ledger._shared import (
    Json,
    LedgerOption,
    PolicyOption,
    ReceiptArgument,
    console,
    opened,
    print_json,
    say,
)

__all__ = ["show"]


def show(
    receipt_id: ReceiptArgument,
    ledger: LedgerOption = None,
    policy: PolicyOption = None,
    as_json: Json = False,
) -> None:
    """Show one decision: the task, the reasons, every ballot, every call and what it cost."""
    from consensus.ledger.feedback import labels_of
    from consensus.ledger.page import answer_text, receipt_json, show_receipt, when
    from consensus.ledger.shadows import shadow_of

    with opened(ledger, policy) as book:
        receipt = book.receipt(receipt_id)
        calls = book.calls_of(receipt.receipt_id)
        labels = labels_of(book, receipt.receipt_id)
        shadow = shadow_of(book, receipt.receipt_id)
    if as_json:
        later = {
            "labels": [one.to_json() for one in labels],
            "shadow": None if shadow is None else shadow.to_json(),
        }
        print_json({**receipt_json(receipt, calls), **later})
        return
    show_receipt(receipt, calls, console())
    if shadow is not None:
        agrees = {True: "agrees", False: "disagrees", None: "not comparable"}[shadow.agrees]
        outcome = answer_text(shadow.outcome) or shadow.reason or "its answer is in its calls"
        say(
            f"shadow {shadow.route}: {shadow.status}, {outcome} ({agrees}; drawn with probability "
            f"{shadow.inclusion:g}) · ${shadow.cost_pico / PICO:.6f} · {shadow.latency_s:.2f} s"
        )
    for one in labels:
        by = f" by {one.given_by}" if one.given_by else ""
        held = "" if one.superseded_at is None else "; superseded"
        say(f"label {answer_text(one.label)} ({one.source}{by}, {when(one.created_at)}{held})")
