"""Every call and every decision, kept: receipts, replay, resuming a killed job."""

from __future__ import annotations

from consensus.ledger.jobs import CallScope, Job, PaidCalls
from consensus.ledger.receipts import Conclude, Receipt, ReceiptHop, Replay, replay
from consensus.ledger.store import Ledger, NullLedger

__all__ = [
    "CallScope",
    "Conclude",
    "Job",
    "Ledger",
    "NullLedger",
    "PaidCalls",
    "Receipt",
    "ReceiptHop",
    "Replay",
    "replay",
]
