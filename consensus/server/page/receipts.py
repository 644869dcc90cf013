"""A receipt as the page shows it: plain values, and judged text only where it may be seen."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from consensus.ballots import PICO, Answer, Ballot, Failure
from consensus.decisions import Frontier
from consensus.ledger.feedback import Label
from consensus.ledger.receipts import Receipt, ReceiptHop
from consensus.ledger.rows import TEXTUAL
from consensus.ledger.shadows import Shadow
from consensus.models.protocol import CallRecord
from consensus.orchestrators.checks import Judgement
from consensus.panel.book import PromptBook
from consensus.tasks import Generate, Rank, Score

__all__ = ["HIDDEN", "moment_text", "receipt_view", "whole_answer"]

HIDDEN = "not shown"
"""What stands for an answer that is judged text, where no text was asked for."""

FEW = 8
"""Options up to which each is a button of its own."""


def receipt_view(
    receipt: Receipt,
    calls: Sequence[CallRecord],
    *,
    shadow: Shadow | None = None,
    labels: Sequence[Label] = (),
    book: PromptBook | None = None,
    text: bool,
) -> dict[str, Any]:
    """One receipt, with everything that a person needs to judge the decision.

    Args:
        receipt: as the ledger keeps it.
        calls: its attempts.
        shadow: what a stronger route said beside it, after its caller had the answer.
        labels: what people and systems said would have been right.
        book: the prompts in force: framings are shown in their words where the receipt is of these.
        text: whether judged text, rationales and textual answers may be shown. They are not where
            the ledger did not keep them, whatever this says.
    """
    decision = receipt.decision
    readable = text and receipt.text_stored
    # Options of these kinds are judged text; the receipt of any other names declared labels only.
    named = text or decision.kind not in TEXTUAL
    return {
        "id": receipt.receipt_id,
        "created": moment_text(receipt.created_at),
        "type": decision.task_type,
        "kind": decision.kind,
        "task_id": decision.task_id,
        "action": decision.action,
        "outcome": _said(decision.outcome, named=named),
        "probability": decision.probability,
        "calibrated": decision.calibrated,
        "agreement": decision.agreement,
        "partial": decision.partial,
        "tied": list(decision.tied) if named else [],
        "posterior": sorted(decision.posterior.items(), key=lambda item: (-item[1], item[0]))
        if named
        else [],
        "reasons": list(decision.reasons) if named else [],
        "reasons_hidden": 0 if named else len(decision.reasons),
        "text": "shown" if readable else "hidden" if receipt.text_stored else "not kept",
        "task": _task(receipt.task) if readable else [],
        "route": list(decision.route),
        "hops": [_hop(hop, readable=readable, named=named) for hop in receipt.hops],
        "framings": _framings(receipt, book),
        "frontier": None
        if decision.frontier is None
        else _frontier(decision.frontier, named=named),
        "shadow": None if shadow is None else _shadow(shadow, named=named),
        "labels": [_label(one, named=named) for one in labels],
        "asked": _asked(receipt),
        "calls": [_call(call) for call in calls],
        "cost": {"usd": decision.cost.usd, "pico_usd": decision.cost.pico_usd},
        "input_tokens": decision.usage.total_input,
        "output_tokens": decision.usage.output,
        "latency_s": decision.latency_s,
        "policy_version": receipt.policy_version,
        "prices_sha256": receipt.prices_sha256[:12],
        "prompts_sha256": receipt.prompts_sha256[:12],
        "engine_version": receipt.engine_version,
        "sha256": receipt.sha256,
    }


def whole_answer(answer: Answer | None) -> str | None:
    """An answer on paper: a ranking with its order, an object as JSON; None for none."""
    if answer is None or isinstance(answer, str):
        return answer
    if isinstance(answer, float):
        return f"{answer:g}"
    if isinstance(answer, tuple | list) and all(isinstance(item, str) for item in answer):
        return " > ".join(answer)
    return json.dumps(answer, ensure_ascii=False)


def moment_text(seconds: float) -> str:
    """Seconds since 1970 as ISO 8601, UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def _said(answer: Answer | None, *, named: bool) -> str | None:
    return whole_answer(answer) if named or answer is None else HIDDEN


def _task(task: dict[str, Any]) -> list[dict[str, str]]:
    """The task's parts that have something in them, in the constructor's order."""
    shown = []
    for name, value in task.items():
        if name in {"type", "kind", "id"} or value in (None, "", []):
            continue
        if name == "messages":
            shown += [{"name": turn["role"], "text": turn["content"]} for turn in value]
        elif isinstance(value, list) and all(isinstance(item, str) for item in value):
            shown.append({"name": name, "text": "\n".join(value)})
        else:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            shown.append({"name": name, "text": text})
    return shown


def _hop(hop: ReceiptHop, *, readable: bool, named: bool) -> dict[str, Any]:
    rule = hop.strategy
    answered: list[Ballot | Failure] = [*hop.ballots, *hop.failures]
    seats = sorted(answered, key=lambda seat: seat.seat)
    return {
        "name": hop.name,
        "orchestrator": rule.get("orchestrator"),
        "aggregator": rule.get("aggregator"),
        "quorum": rule.get("quorum"),
        "configured": hop.seats,
        "valid": len(hop.ballots),
        "seats": [_seat(seat, readable=readable, named=named) for seat in seats],
        "notes": list(hop.notes) if named else [],
        "judgements": [_judgement(one) for one in hop.judgements],
    }


def _framings(receipt: Receipt, book: PromptBook | None) -> list[dict[str, str]]:
    """How the seats were asked, each framing once; nothing where the words have changed since."""
    if book is None or receipt.prompts_sha256 != book.sha256:
        return []
    names = {seat.framing: None for hop in receipt.hops for seat in (*hop.ballots, *hop.failures)}
    return [
        {"name": name, "title": framing.title, "text": framing.body}
        for name in names
        if (framing := book.framings.get(name)) is not None
    ]


def _seat(seat: Ballot | Failure, *, readable: bool, named: bool) -> dict[str, Any]:
    shared = {
        "seat": seat.seat,
        "model": seat.model,
        "served": seat.served_model,
        "framing": seat.framing,
        "order": list(seat.order),
        "input_tokens": seat.usage.total_input,
        "output_tokens": seat.usage.output,
        "usd": seat.cost.usd,
        "latency_s": seat.latency_s,
    }
    if isinstance(seat, Failure):
        # A provider's message may quote the prompt.
        return {
            **shared,
            "failure": seat.failure,
            "message": seat.message if readable else "",
        }
    return {
        **shared,
        "failure": None,
        "role": seat.role,
        "answer": _said(seat.answer, named=named),
        "earlier": [_said(one, named=named) for one in seat.earlier],
        "confidence": seat.confidence,
        "confidence_source": seat.confidence_source,
        "rationale": seat.rationale if readable else "",
    }


def _judgement(one: Judgement) -> dict[str, Any]:
    return {
        "oracle": one.oracle,
        "of": one.of,
        "passed": one.passed,
        "score": one.score,
        "detail": one.detail,
        "failure": one.failure,
        "grader": one.grader,
    }


def _frontier(beside: Frontier, *, named: bool) -> dict[str, Any]:
    return {
        "model": beside.model,
        "served": beside.served_model,
        "outcome": _said(beside.outcome, named=named),
        "agrees": beside.agrees,
        "failure": beside.failure,
        "usd": beside.cost.usd,
        "latency_s": beside.latency_s,
    }


def _shadow(beside: Shadow, *, named: bool) -> dict[str, Any]:
    return {
        "route": beside.route,
        "status": beside.status,
        "outcome": _said(beside.outcome, named=named),
        "agrees": beside.agrees,
        "reason": beside.reason,
        "usd": beside.cost_pico / PICO,
        "latency_s": beside.latency_s,
    }


def _label(one: Label, *, named: bool) -> dict[str, Any]:
    given = one.label
    verdict = {True: "right", False: "wrong"}.get(given) if isinstance(given, bool) else None
    return {
        "label": verdict or _said(None if isinstance(given, bool) else given, named=named),
        "agrees": one.agrees,
        "by": one.given_by,
        "source": one.source,
        "given": moment_text(one.created_at),
        "superseded": one.superseded_at is not None,
    }


def _asked(receipt: Receipt) -> dict[str, Any]:
    """What a label of this receipt may be: one of some, a number, a verdict, or what is typed."""
    task = receipt.question()
    if isinstance(task, Score):
        low, high = task.scale
        return {"by": "number", "low": low, "high": high, "words": f"from {low:g} to {high:g}"}
    if isinstance(task, Rank):
        return {"by": "typing", "words": "a JSON list of its items, best first"}
    if isinstance(task, Generate):
        # A verdict is one on an outcome.
        judged = receipt.decision.outcome is not None
        return {
            "by": "verdict" if judged else "typing",
            "words": "right, wrong, or the answer" if judged else "the answer",
        }
    options = list(task.options)
    few = ", ".join(options) if len(options) <= FEW else "one of its options"
    return {"by": "choice", "options": options, "words": few}


def _call(call: CallRecord) -> dict[str, Any]:
    return {
        "seat": call.seat,
        "purpose": call.purpose,
        "attempt": call.attempt,
        "requested": call.requested_model,
        "served": call.served_model,
        "failure": call.failure,
        "status": call.status,
        "replayed": call.replayed,
        "input_tokens": call.usage.total_input,
        "cached_tokens": call.usage.cache_read,
        "output_tokens": call.usage.output,
        "usd": call.cost_pico / PICO,
        "latency_s": call.latency_s,
    }
