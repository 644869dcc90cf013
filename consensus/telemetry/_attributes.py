"""What is written on a span: figures, names and classes; text only where it was asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from consensus.ballots import PICO, Usage
from consensus.decisions import Decision
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.telemetry import conventions as names

if TYPE_CHECKING:
    from consensus.models.context import CallContext

__all__ = [
    "attempt_attributes",
    "call_attributes",
    "completion_attributes",
    "decision_attributes",
    "error_type",
    "metric_attributes",
    "request_content",
    "response_content",
    "usage_attributes",
]

Attributes = dict[str, Any]


def metric_attributes(request: Request) -> Attributes:
    """What both client metrics say of a call."""
    provider, model = names.provider_name(request.model)
    return {
        names.OPERATION_NAME: names.CHAT,
        names.PROVIDER_NAME: provider,
        names.REQUEST_MODEL: model,
    }


def call_attributes(request: Request, ctx: CallContext) -> Attributes:
    """What is known before a call."""
    found = metric_attributes(request)
    found |= {
        names.REQUEST_MAX_TOKENS: request.max_output_tokens,
        names.OUTPUT_TYPE: "json" if request.output_schema is not None else "text",
        "consensus.decision.id": ctx.decision_id,
        "consensus.task.type": ctx.task_type,
        "consensus.seat": ctx.seat,
        "consensus.purpose": ctx.purpose,
        "consensus.sample": request.sample,
    }
    if request.temperature is not None:
        found[names.REQUEST_TEMPERATURE] = request.temperature
    if request.seed is not None:
        found[names.REQUEST_SEED] = request.seed
    return found


def completion_attributes(completion: Completion, records: Sequence[CallRecord]) -> Attributes:
    """What is known of a call that was answered; usage and cost are of all its attempts."""
    _, served = names.provider_name(completion.served_model)
    found = usage_attributes(records)
    found |= {
        names.RESPONSE_MODEL: served,
        names.RESPONSE_FINISH_REASONS: [completion.finish],
    }
    if completion.request_id is not None:
        found[names.RESPONSE_ID] = completion.request_id
    if completion.batch is not None:
        found["consensus.batch.id"] = completion.batch
    if records and records[-1].replayed:
        found["consensus.replayed"] = True
    if records and records[-1].requested_model != records[0].requested_model:
        found["consensus.fallback"] = records[-1].requested_model
    return found


def usage_attributes(records: Sequence[CallRecord]) -> Attributes:
    """Tokens (input with what was cached, as the conventions ask), cost and attempts."""
    usage = sum((record.usage for record in records), Usage())
    found: Attributes = {
        names.USAGE_INPUT: usage.total_input,
        names.USAGE_OUTPUT: usage.output,
        "consensus.attempts": len(records),
        "consensus.cost.usd": sum(record.cost_pico for record in records) / PICO,
    }
    if usage.cache_read:
        found[names.USAGE_CACHE_READ] = usage.cache_read
    if usage.cache_write or usage.cache_write_1h:
        found[names.USAGE_CACHE_WRITE] = usage.cache_write + usage.cache_write_1h
    if usage.reasoning:
        found[names.USAGE_REASONING] = usage.reasoning
    return found


def attempt_attributes(record: CallRecord) -> Attributes:
    """What is told of an attempt that failed."""
    found: Attributes = {
        names.ERROR_TYPE: record.failure or "_OTHER",
        names.REQUEST_MODEL: names.provider_name(record.requested_model)[1],
        "consensus.attempt": record.attempt,
    }
    if record.status is not None:
        found["http.response.status_code"] = record.status
    return found


def decision_attributes(decision: Decision) -> Attributes:
    """What is told of a decision: never its outcome, which may quote what was judged."""
    found: Attributes = {
        "consensus.decision.action": decision.action,
        "consensus.decision.agreement": decision.agreement,
        "consensus.decision.calibrated": decision.calibrated,
        "consensus.decision.partial": decision.partial,
        "consensus.strategy": decision.strategy,
        "consensus.route": list(decision.route),
        "consensus.policy.version": decision.policy_version,
        "consensus.cost.usd": decision.cost.usd,
        "consensus.ballots": len(decision.ballots),
        "consensus.failures": len(decision.failures),
    }
    if decision.probability is not None:
        found["consensus.decision.probability"] = decision.probability
    if decision.receipt_id is not None:
        found["consensus.receipt.id"] = decision.receipt_id
    if decision.frontier is not None:
        found["consensus.frontier.cost.usd"] = decision.frontier.cost.usd
        if decision.frontier.agrees is not None:
            found["consensus.frontier.agrees"] = decision.frontier.agrees
    return found


def error_type(error: BaseException) -> str:
    """An error's class of failure, else the name of its class; never its message."""
    failure = getattr(error, "failure", None)
    if isinstance(failure, str):
        return failure
    return "cancelled" if type(error).__name__ == "CancelledError" else type(error).__qualname__


def request_content(request: Request) -> Attributes:
    """What was sent, in the conventions' JSON."""
    found: Attributes = {
        names.INPUT_MESSAGES: _json([_message(turn.role, turn.text) for turn in request.turns])
    }
    if request.system:
        found[names.SYSTEM_INSTRUCTIONS] = _json([{"type": "text", "content": request.system}])
    return found


def response_content(completion: Completion) -> Attributes:
    """What came back, in the conventions' JSON."""
    message = {**_message("assistant", completion.text), "finish_reason": completion.finish}
    return {names.OUTPUT_MESSAGES: _json([message])}


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text}]}


def _json(value: Sequence[Mapping[str, Any]]) -> str:
    return json.dumps(value, ensure_ascii=False)
