"""OpenAI's chat completion as a task, and a decision as its answer (design/server.md)."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from consensus.ballots import Answer, Usage
from consensus.decisions import Decision
from consensus.errors import TaskError
from consensus.server.errors import refuse
from consensus.server.shapes import ChatMessage, ChatRequest

__all__ = ["Asked", "answer", "chunks", "fields_of"]

REFUSED = frozenset(
    {
        "audio", "function_call", "functions", "logprobs", "modalities", "parallel_tool_calls",
        "tool_choice", "tools", "top_logprobs", "web_search_options",
    }
)  # fmt: skip
"""Parameters without which the answer would be another thing than what was asked for."""

HARMLESS: Mapping[str, tuple[object, ...]] = {
    "n": (1, None),
    "logprobs": (False, None),
    "tool_choice": ("none", "auto", None),
    "tools": ([], None),
    "functions": ([], None),
    "modalities": (["text"], None),
}
"""Values that ask for nothing."""

OWN_WORDS = frozenset({"kind", "id", "criteria", "options", "items", "a", "b", "scale", "top"})
"""What ``consensus`` may give: a task's fields, but for its type and its text."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a task: its fields, and what of the request has no place in it."""

    fields: dict[str, Any]
    ignored: tuple[str, ...]


def fields_of(request: ChatRequest, row: Mapping[str, Any]) -> Asked:
    """The task that a request asks for.

    Args:
        request: as it was sent.
        row: what the policy's row supplies (``kind``, ``criteria``, …).

    Raises:
        ApiError: a parameter that changes what is asked for.
        TaskError: the messages make no task of the row's kind.
    """
    own = dict(request.consensus or {})
    if unknown := set(own) - OWN_WORDS:
        name = f"consensus.{min(unknown)}"
        raise refuse(f'"{name}" is none of {", ".join(sorted(OWN_WORDS))}', param=name)
    ignored = _parameters(request)
    kind = own.get("kind") or row.get("kind") or "generate"
    base = {"type": request.model, "kind": kind, **own}
    if kind == "generate":
        return Asked({**base, **_conversation(request)}, tuple(ignored))
    if (request.response_format or {}).get("type", "text") != "text":
        raise refuse(
            f"a task of kind {kind} is answered by one of its options, not by a schema",
            param="response_format",
        )
    judged, left_out = _judgement(request, str(kind), given_criteria="criteria" in {**row, **own})
    return Asked({**judged, **base}, (*ignored, *left_out))


def _parameters(request: ChatRequest) -> list[str]:
    """The names of parameters that are left to the policy."""
    ignored = []
    for name, value in (request.model_extra or {}).items():
        if value in HARMLESS.get(name, (None,)):
            continue
        if name in REFUSED or name == "n":
            raise refuse(f'"{name}" is not supported: a decision is one answer in text', param=name)
        ignored.append(name)
    return sorted(ignored)


def _conversation(request: ChatRequest) -> dict[str, Any]:
    turns = [{"role": m.role, "content": m.text} for m in request.messages if not _is_system(m)]
    system = _system(request)
    fields: dict[str, Any] = {
        "messages": [{"role": "system", "content": system}, *turns] if system else turns
    }
    wanted = request.response_format or {"type": "text"}
    if wanted.get("type") == "json_object":
        fields["schema"] = {"type": "object"}
    elif wanted.get("type") == "json_schema":
        named = wanted.get("json_schema")
        schema = named.get("schema") if isinstance(named, dict) else None
        if not isinstance(schema, dict):
            raise refuse("holds no schema", param="response_format.json_schema.schema")
        fields["schema"] = schema
    elif wanted.get("type") != "text":
        raise refuse("is text, json_object or json_schema", param="response_format.type")
    return fields


def _judgement(
    request: ChatRequest, kind: str, *, given_criteria: bool
) -> tuple[dict[str, Any], list[str]]:
    """Subject and criteria of the messages, and which messages found no place."""
    last = len(request.messages) - 1
    if request.messages[last].role != "user":
        raise TaskError('"messages": must end with a user\'s message: what is judged')
    text = request.messages[last].text
    fields: dict[str, Any] = {"subject": text}
    own = request.consensus or {}
    parts = {"compare": ("a", "b"), "rank": ("items",)}.get(kind, ())
    if parts and not all(part in own for part in parts):
        fields = _object(text, kind, parts)
    left_out = []
    for index, message in enumerate(request.messages[:last]):
        if not _is_system(message) or given_criteria or "criteria" in fields:
            left_out.append(f"messages[{index}]")
    if not given_criteria and (system := _system(request)):
        fields.setdefault("criteria", system)
    return fields, left_out


def _object(text: str, kind: str, parts: tuple[str, ...]) -> dict[str, Any]:
    """The fields of a task that are more than one text."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    allowed = {"subject", "criteria", "top", *parts} - ({"top"} if kind != "rank" else set())
    if not isinstance(given, dict) or not set(parts) <= set(given) <= allowed:
        raise TaskError(
            f'the last message of a task of kind {kind} is a JSON object with "'
            + '", "'.join(parts)
            + '", or the request gives them in "consensus"'
        )
    return given


def _is_system(message: ChatMessage) -> bool:
    return message.role in {"system", "developer"}


def _system(request: ChatRequest) -> str:
    return "\n\n".join(m.text for m in request.messages if _is_system(m))


# -- the answer ------------------------------------------------------------------------------------


def answer(decision: Decision, *, model: str, identity: str, ignored: tuple[str, ...]) -> Any:
    """A decision as a chat completion."""
    text, refusal = _said(decision)
    message = {"role": "assistant", "content": text, "refusal": refusal}
    return {
        **_head(decision, model=model, identity=identity, kind="chat.completion"),
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _usage(decision.usage),
        "consensus": _behind(decision, ignored),
    }


def chunks(
    decision: Decision,
    *,
    model: str,
    identity: str,
    ignored: tuple[str, ...],
    usage: bool,
) -> Iterator[dict[str, Any]]:
    """A decision as the chunks of a streamed chat completion; the caller adds ``[DONE]``."""
    head = _head(decision, model=model, identity=identity, kind="chat.completion.chunk")
    text, refusal = _said(decision)
    said = {"content": text} if refusal is None else {"refusal": refusal}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return {**head, "choices": [choice], **({"usage": None} if usage else {})}

    yield chunk({"role": "assistant", "content": "", "refusal": None})
    yield chunk(said)
    yield {**chunk({}, "stop"), "consensus": _behind(decision, ignored)}
    if usage:
        yield {**head, "choices": [], "usage": _usage(decision.usage)}


def _head(decision: Decision, *, model: str, identity: str, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{identity}",
        "object": kind,
        "created": int(time.time()),
        "model": model,
        "system_fingerprint": decision.policy_version,
    }


def _said(decision: Decision) -> tuple[str | None, str | None]:
    """The outcome as text; where there is none, why not."""
    if decision.action == "act" and decision.outcome is not None:
        return _text(decision.outcome), None
    why = decision.reasons[-1] if decision.reasons else "no reason was given"
    return None, f"No outcome ({decision.action}): {why}"


def _text(outcome: Answer) -> str:
    if isinstance(outcome, str):
        return outcome
    if isinstance(outcome, float) and outcome.is_integer():
        return str(int(outcome))
    return json.dumps(outcome, ensure_ascii=False)


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.total_input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total_input + usage.output,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def _behind(decision: Decision, ignored: tuple[str, ...]) -> dict[str, Any]:
    data = decision.model_dump(
        mode="json",
        include={"action", "kind", "outcome", "probability", "posterior", "agreement", "route",
                 "reasons", "receipt_id"},
    )  # fmt: skip
    served = sorted({b.served_model for b in decision.ballots if b.served_model})
    return {
        **data,
        "cost": {"usd": decision.cost.usd},
        "served_models": served,
        "ignored": list(ignored),
    }
