"""OpenTelemetry GenAI spans, as OTLP JSON writes them (a document, or a document a line).

Names are those of the GenAI semantic conventions in force (``gen_ai.provider.name``,
``gen_ai.input.messages``, ``gen_ai.output.messages``, ``gen_ai.system_instructions``,
``gen_ai.usage.*``); the ones before them (``gen_ai.system``, ``gen_ai.prompt.N.content``,
``gen_ai.usage.prompt_tokens``) are read where the new ones are missing. Content may stand on the
span or on its ``gen_ai.client.inference.operation.details`` event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from consensus.ballots import Usage
from consensus.benchmark.importing.exchange import (
    BrokenRowError,
    Exchange,
    LeftOutError,
    conversation,
    count,
    inclusive_usage,
    named_model,
    number,
    text_of,
)

__all__ = ["looks_like", "read_span", "spans_of"]

_CHAT = frozenset({"chat", "text_completion", "generate_content", "completion"})

_PROVIDERS = {
    "aws.bedrock": "bedrock",
    "azure.ai.openai": "azure",
    "azure.ai.inference": "azure_ai",
    "az.ai.openai": "azure",
    "gcp.gemini": "gemini",
    "gcp.vertex_ai": "vertex_ai",
    "gcp.gen_ai": "gemini",
    "mistral_ai": "mistral",
    "x_ai": "xai",
    "ibm.watsonx.ai": "watsonx",
}

_INDEXED = re.compile(r"gen_ai\.(prompt|completion)\.(\d{1,4})\.(role|content)")


def looks_like(row: Mapping[str, Any]) -> bool:
    """Whether a document or a line holds spans."""
    return isinstance(row.get("resourceSpans"), list) or (
        isinstance(row.get("attributes"), Mapping)
        and any(str(key).startswith("gen_ai.") for key in row["attributes"])
    )


def spans_of(document: Mapping[str, Any], where: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every span of a document, with where it stands."""
    if "resourceSpans" not in document:
        yield where, document
        return
    number_ = 0
    for resource in _list(document, "resourceSpans"):
        for scope in _list(resource, "scopeSpans"):
            for span in _list(scope, "spans"):
                number_ += 1
                yield f"{where} span {number_}", span


def _list(holder: object, name: str) -> list[Mapping[str, Any]]:
    values = holder.get(name) if isinstance(holder, Mapping) else None
    return [v for v in values if isinstance(v, Mapping)] if isinstance(values, list) else []


def read_span(span: Mapping[str, Any], where: str) -> list[Exchange]:
    """The exchange of a span.

    Raises:
        BrokenRowError, LeftOutError: it has none.
    """
    given = _attributes(span.get("attributes"))
    for event in _list(span, "events"):
        for name, value in _attributes(event.get("attributes")).items():
            given.setdefault(name, value)
    if not any(name.startswith("gen_ai.") for name in given):
        raise LeftOutError("no GenAI span")
    operation = given.get("gen_ai.operation.name", "chat")
    if operation not in _CHAT:
        raise LeftOutError(f"no chat ({str(operation)[:30]})")
    raw = given.get("gen_ai.provider.name", given.get("gen_ai.system"))
    provider = _PROVIDERS.get(str(raw), str(raw)) if raw else None
    model = named_model(
        given.get("gen_ai.request.model", given.get("gen_ai.response.model")), provider
    )
    served = given.get("gen_ai.response.model")
    common: dict[str, Any] = {
        "messages": _asked(given),
        "served_model": named_model(served, provider) if isinstance(served, str) else None,
        "usage": _usage(given),
        "latency_s": _latency(span),
    }
    failed = given.get("error.type")
    status = span.get("status")
    if failed or (
        isinstance(status, Mapping) and status.get("code") in (2, "STATUS_CODE_ERROR", "ERROR")
    ):
        failure = "timeout" if "timeout" in str(failed).lower() else "server_error"
        return [Exchange(where, model, failure=failure, **common)]
    text = _answered(given)
    reasons = given.get("gen_ai.response.finish_reasons") or []
    reason = reasons[0] if isinstance(reasons, list) and reasons else reasons
    if reason in ("content_filter", "refusal"):
        return [Exchange(where, model, failure="refusal", **common)]
    if reason in ("length", "max_tokens"):
        return [Exchange(where, model, failure="truncated", **common)]
    if not text.strip():
        return [Exchange(where, model, failure="empty", **common)]
    return [Exchange(where, model, output=text, **common)]


def _asked(given: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    messages = _json(given.get("gen_ai.input.messages"))
    if messages is None:
        indexed = _indexed(given, "prompt")
        if not indexed:
            raise LeftOutError("its text was not captured")
        return conversation(indexed)
    asked = conversation(messages)
    instructions = _json(given.get("gen_ai.system_instructions"))
    if instructions:
        text = text_of(instructions)
        rest = [m for m in asked if m[0] != "system"]
        return (("system", text), *rest)
    return asked


def _answered(given: Mapping[str, Any]) -> str:
    messages = _json(given.get("gen_ai.output.messages"))
    if messages is None:
        indexed = _indexed(given, "completion")
        if not indexed:
            raise LeftOutError("its text was not captured")
        messages = indexed
    if isinstance(messages, str):
        return messages
    if not isinstance(messages, list) or not messages:
        return ""
    first = messages[0]
    if not isinstance(first, Mapping):
        raise BrokenRowError("an output message is not an object")
    parts = first.get("parts", first.get("content"))
    if isinstance(parts, list) and any(
        isinstance(p, Mapping) and p.get("type") == "tool_call" for p in parts
    ):
        raise LeftOutError("the answer calls a tool")
    return text_of(parts)


def _indexed(given: Mapping[str, Any], what: str) -> list[dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for name, value in given.items():
        match = _INDEXED.fullmatch(name)
        if match and match[1] == what:
            found.setdefault(int(match[2]), {})[match[3]] = value
    return [found[index] for index in sorted(found)]


def _usage(given: Mapping[str, Any]) -> Usage | None:
    def first(*names: str) -> int:
        return next((count(given[name]) for name in names if name in given), 0)

    prompt = first("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")
    output = first("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")
    if not prompt and not output:
        return None
    return inclusive_usage(
        prompt,
        output,
        first("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
        first(
            "gen_ai.usage.cache_creation.input_tokens",
            "gen_ai.usage.cache_creation_input_tokens",
        ),
        first("gen_ai.usage.reasoning.output_tokens"),
    )


def _latency(span: Mapping[str, Any]) -> float | None:
    try:
        start, end = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])
    except (KeyError, TypeError, ValueError):
        return None
    return number((end - start) / 1e9)


def _attributes(given: object) -> dict[str, Any]:
    if isinstance(given, Mapping):
        return {str(key): value for key, value in given.items()}
    if not isinstance(given, list):
        return {}
    return {
        str(item.get("key")): _value(item.get("value"))
        for item in given
        if isinstance(item, Mapping)
    }


def _value(any_value: object, depth: int = 0) -> Any:
    """OTLP's AnyValue as a plain one."""
    if not isinstance(any_value, Mapping) or depth > 32:
        return any_value
    for name in ("stringValue", "boolValue", "doubleValue", "bytesValue"):
        if name in any_value:
            return any_value[name]
    if "intValue" in any_value:
        return count(any_value["intValue"])
    array = any_value.get("arrayValue")
    if isinstance(array, Mapping):
        values = array.get("values")
        return [_value(v, depth + 1) for v in values] if isinstance(values, list) else []
    pairs = any_value.get("kvlistValue")
    if isinstance(pairs, Mapping):
        return {
            str(pair.get("key")): _value(pair.get("value"), depth + 1)
            for pair in _list(pairs, "values")
        }
    return None


def _json(value: Any) -> Any:
    """A structured attribute: as it is, or as the JSON text that most SDKs write."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
