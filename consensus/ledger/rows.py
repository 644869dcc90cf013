"""Records as rows, and rows as records.

The order of the columns is that of :mod:`consensus.ledger.schema`; a test holds the two together.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from json.encoder import encode_basestring_ascii as _quoted
from typing import Any

from consensus.ballots import Usage
from consensus.errors import DataError
from consensus.ledger.receipts import Receipt
from consensus.models.protocol import CallRecord, Completion

__all__ = [
    "CALL_COLUMNS",
    "DECISION_COLUMNS",
    "SECONDS_A_DAY",
    "TEXTUAL",
    "call_from_row",
    "call_row",
    "decision_id",
    "decision_row",
    "job_of",
]

CALL_COLUMNS = (
    "decision_id",
    "call_id",
    "job_id",
    "seat",
    "purpose",
    "attempt",
    "requested_model",
    "served_model",
    "input_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_1h_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_pico",
    "price_basis",
    "latency_s",
    "failure",
    "status",
    "request_id",
    "key",
    "task_type",
    "replayed",
    "started_at",
    "day",
    "completion",
)

DECISION_COLUMNS = (
    "receipt_id",
    "job_id",
    "task_index",
    "task_id",
    "task_type",
    "kind",
    "action",
    "outcome",
    "probability",
    "agreement",
    "ballots",
    "failures",
    "hops",
    "partial",
    "cost_pico",
    "frontier_cost_pico",
    "frontier_agrees",
    "latency_s",
    "policy_version",
    "strategy",
    "route",
    "created_at",
    "day",
    "text_stored",
    "sha256",
    "receipt",
)

SECONDS_A_DAY = 86_400

TEXTUAL = frozenset({"rank", "generate"})
"""Kinds whose outcome is judged text, which lists do not show."""


def decision_id(job_id: str, index: int) -> str:
    """The id of the decision on one row of a job: the same each time the job is taken up again.

    ``index`` is any number from 0 that names the row within the job.
    """
    return f"{job_id}.{index:07d}"


def job_of(identifier: str) -> tuple[str | None, int | None]:
    """The job and the row that a decision's id names; nothing for a decision on its own."""
    job, dot, index = identifier.rpartition(".")
    if not dot or not index.isdigit():
        return None, None
    return job, int(index)


def call_row(call: CallRecord) -> tuple[Any, ...]:
    """One attempt as a row of ``calls``."""
    usage, identifier, completion = call.usage, call.decision_id, call.completion
    return (
        identifier,
        call.call_id,
        job_of(identifier)[0] if "." in identifier else None,
        call.seat,
        call.purpose,
        call.attempt,
        call.requested_model,
        call.served_model,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.cache_write_1h,
        usage.output,
        usage.reasoning,
        call.cost_pico,
        call.price_basis,
        call.latency_s,
        call.failure,
        call.status,
        call.request_id,
        call.key,
        call.task_type,
        call.replayed,
        call.started_at,
        int(call.started_at // SECONDS_A_DAY),
        None if completion is None else _answer_to_json(completion),
    )


def call_from_row(row: Mapping[Any, Any], *, where: str | None = None) -> CallRecord:
    """A row of ``calls`` as the attempt it was.

    Raises:
        DataError: its answer cannot be read.
    """
    usage = Usage(
        input=row["input_tokens"],
        cache_read=row["cache_read_tokens"],
        cache_write=row["cache_write_tokens"],
        cache_write_1h=row["cache_write_1h_tokens"],
        output=row["output_tokens"],
        reasoning=row["reasoning_tokens"],
    )
    return CallRecord(
        call_id=row["call_id"],
        decision_id=row["decision_id"],
        seat=row["seat"],
        purpose=row["purpose"],
        attempt=row["attempt"],
        requested_model=row["requested_model"],
        key=row["key"],
        started_at=row["started_at"],
        served_model=row["served_model"],
        usage=usage,
        cost_pico=row["cost_pico"],
        latency_s=row["latency_s"],
        failure=row["failure"],
        status=row["status"],
        request_id=row["request_id"],
        completion=None if row["completion"] is None else _answer(row, usage, where),
        task_type=row["task_type"],
        replayed=bool(row["replayed"]),
        price_basis=row["price_basis"],
    )


def _answer_to_json(completion: Completion) -> str:
    """What a call's other columns do not hold of its answer; ASCII, so any text has its bytes.

    Written by hand where nothing but text came back: a generic encoder takes five times longer,
    and this is done for every call. A provider's headers are not kept.
    """
    text = _quoted(completion.text)
    if completion.choice_probabilities is None and completion.coverage is None:
        return f'{{"text":{text},"finish":"{completion.finish}"}}'
    probabilities = json.dumps(completion.choice_probabilities)
    return (
        f'{{"text":{text},"finish":"{completion.finish}",'
        f'"choice_probabilities":{probabilities},"coverage":{json.dumps(completion.coverage)}}}'
    )


def _answer(row: Mapping[Any, Any], usage: Usage, where: str | None) -> Completion:
    try:
        data = json.loads(row["completion"])
        probabilities = data.get("choice_probabilities")
        return Completion(
            text=data["text"],
            served_model=row["served_model"] or row["requested_model"],
            usage=usage,
            finish=data["finish"],
            latency_s=row["latency_s"],
            request_id=row["request_id"],
            choice_probabilities=None if probabilities is None else tuple(probabilities),
            coverage=data.get("coverage"),
        )
    except (AttributeError, KeyError, TypeError, ValueError):
        raise DataError(f"the answer of call {row['call_id']} is damaged", where=where) from None


def decision_row(receipt: Receipt) -> tuple[Any, ...]:
    """One receipt as a row of ``decisions``."""
    decision, frontier = receipt.decision, receipt.frontier
    job_id, task_index = receipt.job_id, receipt.task_index
    if job_id is None:
        job_id, task_index = job_of(receipt.receipt_id)
    stored, digest = receipt.pack()
    shown = decision.outcome is not None and decision.kind not in TEXTUAL
    return (
        receipt.receipt_id,
        job_id,
        task_index,
        decision.task_id,
        decision.task_type,
        decision.kind,
        decision.action,
        json.dumps(decision.outcome) if shown else None,
        decision.probability,
        decision.agreement,
        len(decision.ballots),
        len(decision.failures),
        len(receipt.hops),
        decision.partial,
        decision.cost.pico_usd,
        None if frontier is None else frontier.cost.pico_usd,
        None if frontier is None else frontier.agrees,
        decision.latency_s,
        decision.policy_version,
        decision.strategy,
        json.dumps(decision.route),
        receipt.created_at,
        int(receipt.created_at // SECONDS_A_DAY),
        receipt.text_stored,
        digest,
        stored,
    )
