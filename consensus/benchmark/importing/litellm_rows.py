"""Rows of LiteLLM's standard logging payload, as its callbacks write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.benchmark.importing.exchange import (
    BrokenRowError,
    Exchange,
    LeftOutError,
    conversation,
    named_model,
    number,
    openai_usage,
)
from consensus.benchmark.importing.openai_rows import read_answer, schema_of

__all__ = ["looks_like", "read_row"]

REDACTED = "redacted-by-litellm"

_CHAT = frozenset(
    {
        "completion",
        "acompletion",
        "text_completion",
        "atext_completion",
        "responses",
        "aresponses",
        "anthropic_messages",
        "aanthropic_messages",
        "",
    }
)

_FAILURES = {
    "RateLimitError": "rate_limited",
    "Timeout": "timeout",
    "AuthenticationError": "auth",
    "PermissionDeniedError": "auth",
    "NotFoundError": "not_found",
    "BadRequestError": "bad_request",
    "ContextWindowExceededError": "request_too_large",
    "ContentPolicyViolationError": "refusal",
    "ServiceUnavailableError": "overloaded",
    "APIConnectionError": "connection",
}


def looks_like(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of these, bare or inside a callback's own wrapping."""
    inner = row.get("standard_logging_object")
    if isinstance(inner, Mapping):
        return True
    return "call_type" in row and ("response_cost" in row or "model_map_information" in row)


def read_row(row: Mapping[str, Any], where: str) -> list[Exchange]:
    """The exchanges of a row.

    Raises:
        BrokenRowError, LeftOutError: it has none.
    """
    inner = row.get("standard_logging_object")
    payload: Mapping[str, Any] = inner if isinstance(inner, Mapping) else row
    call_type = payload.get("call_type") or ""
    if call_type not in _CHAT:
        raise LeftOutError(f"no chat ({str(call_type)[:30]})")
    provider = payload.get("custom_llm_provider")
    model = named_model(payload.get("model"), provider if isinstance(provider, str) else None)
    asked = payload.get("messages")
    if asked == REDACTED or (isinstance(asked, list) and _redacted(asked)):
        raise LeftOutError("its text was redacted")
    if isinstance(asked, Mapping) and isinstance(asked.get("messages"), list):
        asked = asked["messages"]
    parameters = payload.get("model_parameters")
    common: dict[str, Any] = {
        "messages": conversation(asked),
        "schema": schema_of(parameters) if isinstance(parameters, Mapping) else None,
        "recorded_usd": number(payload.get("response_cost")),
        "latency_s": _latency(payload),
        "task_type": _tagged(payload),
    }
    if payload.get("status") == "failure":
        information = payload.get("error_information")
        name = information.get("error_class") if isinstance(information, Mapping) else None
        return [Exchange(where, model, failure=_FAILURES.get(str(name), "server_error"), **common)]
    response = payload.get("response")
    served = None
    if isinstance(response, Mapping):
        answers, usage = read_answer(response)
        served = response.get("model")
    elif isinstance(response, str) and response != REDACTED:
        answers, usage = [(response, None)], None
    else:
        raise BrokenRowError("no response")
    metadata = payload.get("metadata")
    usage = usage or openai_usage(
        metadata.get("usage_object") if isinstance(metadata, Mapping) else None
    )
    usage = usage or openai_usage(payload)
    output, failure = answers[0]
    return [
        Exchange(
            where,
            model,
            output=output,
            failure=failure,
            served_model=named_model(served, model.split("/", 1)[0])
            if isinstance(served, str)
            else None,
            usage=usage,
            **common,
        )
    ]


def _redacted(messages: list[Any]) -> bool:
    return any(isinstance(m, Mapping) and m.get("content") == REDACTED for m in messages)


def _latency(payload: Mapping[str, Any]) -> float | None:
    taken = number(payload.get("response_time"))
    if taken:
        return taken
    start, end = number(payload.get("startTime")), number(payload.get("endTime"))
    return end - start if start is not None and end is not None and end >= start else None


def _tagged(payload: Mapping[str, Any]) -> str | None:
    """A request tag ``task_type:NAME``: the user's own word for what this was."""
    tags = payload.get("request_tags")
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, str) and tag.startswith("task_type:"):
            return tag.removeprefix("task_type:").strip() or None
    return None
