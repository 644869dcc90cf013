"""Anthropic Messages, as the API speaks it: what it refuses, what it answers, how it streams."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator
from typing import Any

from tests.loopback.accounting import Bill, PrefixCache, Segment
from tests.loopback.asking import RequestInfo, flat, tokens
from tests.loopback.replies import Reply

ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
REQUEST_ID = "request-id"

_CACHE_MINIMUM = (("claude-haiku-4-5*", 4096), ("claude-*-5-5*", 512), ("claude-*", 1024))
_NO_SAMPLING = ("claude-*-5-5*", "claude-opus-5*", "claude-sonnet-5*", "claude-opus-4-[78]*")
_NO_PREFILL = (*_NO_SAMPLING, "claude-*-4-6*")
_NO_FORCED_TOOL = ("claude-opus-5-5*", "claude-sonnet-5-5*", "claude-fable-5-1*")
_NO_NATIVE_SCHEMA = ("claude-3*", "claude-opus-4-1*")
_UNENFORCEABLE = {"minimum", "maximum", "minLength", "maxLength", "maxItems", "multipleOf"}


def refuse(asked: RequestInfo) -> Reply | None:
    """The API's own refusal of a request that it does not take, or None."""
    if not asked.api_key:
        return Reply(status=401, error_message="x-api-key header is required")
    if "anthropic-version" not in asked.headers:
        return _bad("anthropic-version: header is required")
    body, model = asked.body, asked.model
    if not model:
        return _bad("model: Field required")
    if not asked.path.endswith("/count_tokens") and not isinstance(body.get("max_tokens"), int):
        return _bad("max_tokens: Field required")
    if "temperature" in body and _is(model, _NO_SAMPLING):
        return _bad("temperature: sampling parameters are not supported for this model")
    return _bad_messages(asked) or _bad_schema(asked)


def bill(asked: RequestInfo, cache: PrefixCache) -> tuple[Bill, list[str]]:
    """What the prompt costs in tokens, by class, and what it leaves in the cache."""
    minimum = next((m for pattern, m in _CACHE_MINIMUM if _is(asked.model, (pattern,))), 1024)
    return cache.anthropic(asked.model, _segments(asked), minimum)


def answer(
    asked: RequestInfo, reply: Reply, text: str, bill_: Bill, served: str
) -> tuple[dict[str, Any], int]:
    """The message, and its output tokens."""
    blocks: list[dict[str, Any]] = []
    if reply.thinking is not None:
        block = {"type": "thinking", "thinking": reply.thinking, "signature": "c2lnbmF0dXJl"}
        blocks.append(block)
    stop = "refusal" if reply.refusal else "end_turn"
    if asked.tool and text and not reply.refusal:
        stop = "tool_use"
        blocks.append(
            {
                "type": "tool_use",
                "id": f"toolu_{asked.key[:24]}",
                "name": asked.tool,
                "input": json.loads(text),
            }
        )
    elif text and not reply.refusal:
        blocks.append({"type": "text", "text": text, "citations": None})
    thought = tokens(reply.thinking or "")
    if reply.reasoning_tokens is not None:
        thought = reply.reasoning_tokens
    output = max(1, tokens(text) + thought)
    usage: dict[str, Any] = {
        "input_tokens": bill_.fresh,
        "cache_creation_input_tokens": bill_.write_5m + bill_.write_1h,
        "cache_read_input_tokens": bill_.read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": bill_.write_5m,
            "ephemeral_1h_input_tokens": bill_.write_1h,
        },
        "output_tokens": output,
        "service_tier": "standard",
    }
    if thought:
        usage["output_tokens_details"] = {"thinking_tokens": thought}
    usage.update(reply.usage)
    message = {
        "id": f"msg_{asked.key[:24]}",
        "type": "message",
        "role": "assistant",
        "model": served,
        "content": blocks,
        "stop_reason": reply.finish or stop,
        "stop_sequence": None,
        "usage": {name: value for name, value in usage.items() if value is not None},
    }
    if reply.refusal:
        message["stop_details"] = {"type": "refusal", "category": None, "explanation": None}
    if reply.no_usage:
        del message["usage"]
    return message, output


def error(reply: Reply, asked: RequestInfo, request_id: str) -> dict[str, Any]:
    """The body of an error."""
    kind = reply.error_type or ERROR_TYPES.get(reply.status, "api_error")
    message = reply.error_message or _prose(reply.status, asked)
    return {
        "type": "error",
        "error": {"type": kind, "message": message},
        "request_id": request_id,
    }


def headers(limit: int, left: int) -> dict[str, str]:
    """The rate-limit headers of every answer."""
    return {
        "anthropic-ratelimit-requests-limit": str(limit),
        "anthropic-ratelimit-requests-remaining": str(left),
        "anthropic-ratelimit-requests-reset": "2026-11-22T00:01:00Z",
        "anthropic-organization-id": "0e0e0e0e-0000-4000-8000-000000000000",
    }


def stream(message: dict[str, Any]) -> Iterator[bytes]:
    """The message as server-sent events."""
    usage = message.get("usage") or {}
    opened = {**message, "content": [], "stop_reason": None, "usage": {**usage, "output_tokens": 1}}
    yield _event("message_start", {"message": opened})
    yield _event("ping", {})
    for index, block in enumerate(message["content"]):
        kind = block["type"]
        if kind == "tool_use":
            start = {**block, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": part}
                for part in _halves(json.dumps(block["input"]))
            ]
        elif kind == "thinking":
            start = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [
                {"type": "thinking_delta", "thinking": block["thinking"]},
                {"type": "signature_delta", "signature": block["signature"]},
            ]
        else:
            start = {**block, "text": ""}
            deltas = [{"type": "text_delta", "text": part} for part in _halves(block["text"])]
        yield _event("content_block_start", {"index": index, "content_block": start})
        for delta in deltas:
            yield _event("content_block_delta", {"index": index, "delta": delta})
        yield _event("content_block_stop", {"index": index})
    ending = {"stop_reason": message["stop_reason"], "stop_sequence": None}
    yield _event("message_delta", {"delta": ending, "usage": usage})
    yield _event("message_stop", {})


def _segments(asked: RequestInfo) -> Iterator[Segment]:
    body = asked.body
    for name in ("tools", "output_config"):
        if body.get(name):
            yield Segment(json.dumps(body[name], sort_keys=True))
    contents = [body.get("system"), *(m.get("content") for m in body.get("messages") or ())]
    for content in contents:
        for block in [content] if isinstance(content, str) else content or ():
            if isinstance(block, str):
                yield Segment(block)
            elif block.get("cache_control"):
                yield Segment(flat([block]), block["cache_control"].get("ttl", "5m"))
            else:
                yield Segment(flat([block]))


def _bad_messages(asked: RequestInfo) -> Reply | None:
    messages = asked.body.get("messages")
    if not messages:
        return _bad("messages: at least one message is required")
    markers = 0
    for i, message in enumerate(messages):
        content = message.get("content")
        for block in content if isinstance(content, list) else [{"type": "text", "text": content}]:
            if not block.get("text"):
                return _bad(f"messages.{i}: text content blocks must be non-empty")
            markers += bool(block.get("cache_control"))
    if markers > 4:
        return _bad(f"A maximum of 4 blocks with cache_control may be provided. Found {markers}.")
    if messages[-1].get("role") == "assistant" and _is(asked.model, _NO_PREFILL):
        return _bad("This model does not support assistant message prefill.")
    return None


def _bad_schema(asked: RequestInfo) -> Reply | None:
    forced = (asked.body.get("tool_choice") or {}).get("type") in {"tool", "any"}
    if forced and _is(asked.model, _NO_FORCED_TOOL):
        return _bad("tool_choice: forced tool use is not supported for this model")
    if not asked.body.get("output_config") or asked.schema is None:
        return None
    if _is(asked.model, _NO_NATIVE_SCHEMA):
        return _bad("output_config.format: not supported for this model")
    wrong = _unenforceable(asked.schema)
    return _bad(f"output_config.format.schema: {wrong}") if wrong else None


def _unenforceable(schema: Any) -> str | None:
    if isinstance(schema, dict):
        found = _UNENFORCEABLE & set(schema)
        if found and isinstance(schema.get("type"), str):
            return f"properties {sorted(found)} are not supported"
        if schema.get("type") == "object" and schema.get("additionalProperties") is not False:
            return "additionalProperties must be explicitly set to false"
    parts = schema.values() if isinstance(schema, dict) else schema
    if isinstance(schema, dict | list):
        return next((wrong for part in parts if (wrong := _unenforceable(part))), None)
    return None


def _bad(message: str) -> Reply:
    return Reply(status=400, error_message=message)


def _prose(status: int, asked: RequestInfo) -> str:
    # Like the real one it quotes the key and the input: nobody may repeat this.
    return f"status {status} for key {asked.api_key}: {asked.last[:200]}"


def _is(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(model, pattern) for pattern in patterns)


def _event(name: str, data: dict[str, Any]) -> bytes:
    return f"event: {name}\ndata: {json.dumps({'type': name, **data})}\n\n".encode()


def _halves(text: str) -> list[str]:
    middle = len(text) // 2
    return [part for part in (text[:middle], text[middle:]) if part]
