"""Calls and receipts to keep, and a conclusion that looks at nothing but the receipt."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from consensus.ballots import Answer, Ballot, Cost, Failure, Usage
from consensus.decisions import Decision, Frontier
from consensus.ledger.receipts import Receipt, ReceiptHop
from consensus.models.ids import new_id
from consensus.models.protocol import CallRecord, Completion
from consensus.tasks import Approve, Task

ANSWER = '{"answer":"approve","confidence":0.9,"rationale":"it was unused"}'


def call(
    decision_id: str = "d",
    *,
    seat: int = 0,
    key: str = "k",
    text: str | None = ANSWER,
    **fields: Any,
) -> CallRecord:
    """A paid answer; ``text=None``: an attempt that failed."""
    usage = Usage(input=500, cache_read=20, cache_write=3, cache_write_1h=2, output=90, reasoning=7)
    given: dict[str, Any] = {
        "call_id": new_id(),
        "decision_id": decision_id,
        "seat": seat,
        "purpose": "ballot",
        "attempt": 1,
        "requested_model": "openai/gpt-5.4-nano",
        "key": key,
        "started_at": time.time(),
        "served_model": "openai/gpt-5.4-nano-2026-03-05",
        "usage": usage,
        "cost_pico": 123_456_789,
        "latency_s": 0.42,
        "status": 200,
        "request_id": "req_1",
        "task_type": "refund_approval",
        "price_basis": "served",
    }
    if text is None:
        given |= {"failure": "overloaded", "status": 529, "served_model": None, "cost_pico": 0}
        given |= {"usage": Usage(), "price_basis": "none", "request_id": None}
    given |= fields
    if text is not None:
        given["completion"] = Completion(
            text=text,
            served_model=given["served_model"],
            usage=given["usage"],
            latency_s=given["latency_s"],
            request_id=given["request_id"],
        )
    return CallRecord(**given)


def ballot(record: CallRecord, answer: Answer = "approve", **fields: Any) -> Ballot:
    """The ballot that a call's answer holds."""
    given: dict[str, Any] = {
        "seat": record.seat,
        "model": record.requested_model,
        "framing": "plain",
        "served_model": record.served_model,
        "calls": (record.call_id,),
        "usage": record.usage,
        "cost": Cost(pico_usd=record.cost_pico),
        "latency_s": record.latency_s,
        "answer": answer,
        "confidence": 0.9,
        "confidence_source": "stated",
        "rationale": "it was unused",
    }
    return Ballot(**(given | fields))


def failure(record: CallRecord, **fields: Any) -> Failure:
    """The failure of a seat whose call came to nothing."""
    given: dict[str, Any] = {
        "seat": record.seat,
        "model": record.requested_model,
        "framing": "sceptic",
        "calls": (record.call_id,),
        "cost": Cost(pico_usd=record.cost_pico),
        "failure": "overloaded",
    }
    return Failure(**(given | fields))


def conclude(receipt: Receipt) -> Decision:
    """Plurality over the last hop: what a receipt's decision follows from, in miniature."""
    task = receipt.question()
    ballots = tuple(b for hop in receipt.hops for b in hop.ballots)
    failures = tuple(f for hop in receipt.hops for f in hop.failures)
    votes = Counter(str(b.answer) for b in receipt.hops[-1].ballots)
    total = sum(votes.values())
    leader = max(sorted(votes), key=lambda option: votes[option]) if votes else None
    outcome = next((b.answer for b in receipt.hops[-1].ballots if str(b.answer) == leader), None)
    return Decision(
        action="act" if outcome is not None else "abstain",
        outcome=outcome,
        posterior={option: votes[option] / total for option in sorted(votes)},
        probability=votes[leader] / total if leader is not None else None,
        agreement=votes[leader] / receipt.hops[-1].seats if leader is not None else 0.0,
        ballots=ballots,
        failures=failures,
        cost=Cost.total(seat.cost for seat in (*ballots, *failures)),
        usage=sum((seat.usage for seat in (*ballots, *failures)), Usage()),
        latency_s=float(receipt.measured["latency_s"]),
        reasons=tuple(receipt.route["reasons"]),
        task_type=task.type,
        kind=task.kind,
        task_id=task.id,
        strategy="vote",
        route=tuple(hop.name for hop in receipt.hops),
        policy_version=receipt.policy_version,
        receipt_id=receipt.receipt_id,
        frontier=receipt.frontier,
    )


def receipt_of(
    records: list[CallRecord],
    *,
    receipt_id: str = "d",
    task: Task | None = None,
    answers: list[Answer] | None = None,
    frontier: Frontier | None = None,
    hops: int = 1,
    **fields: Any,
) -> Receipt:
    """The receipt of a decision over these calls; failed calls are failed seats."""
    task = task or Approve(
        type="refund_approval", id="t-1", subject="Unused, 12 days old.", criteria="Within 30 days."
    )
    panel = [record for record in records if record.purpose != "frontier"]
    said = iter(answers or ["approve"] * len(panel))
    run = ReceiptHop(
        name="vote",
        strategy={"name": "vote", "models": ["openai/gpt-5.4-nano"], "quorum": 1},
        seats=max(len(panel), 1),
        ballots=tuple(ballot(r, next(said)) for r in panel if r.failure is None),
        failures=tuple(failure(r) for r in panel if r.failure is not None),
    )
    earlier = [
        ReceiptHop(name=f"small-{i}", strategy={"name": "single"}, seats=1) for i in range(hops - 1)
    ]
    blank = Decision(
        action="abstain",
        task_type=task.type,
        kind=task.kind,
        latency_s=0.5,
        policy_version="policy-1",
        receipt_id=receipt_id,
        frontier=frontier,
        route=("vote",),
    )
    draft = Receipt.make(
        task=task,
        hops=[*earlier, run],
        decision=blank,
        route_reasons=("the row refund_approval",),
        prices_sha256="a" * 64,
        prompts_sha256="b" * 64,
        **fields,
    )
    return draft.model_copy(update={"decision": conclude(draft)})
