"""OpenAI Chat Completions, as the API speaks it: what it refuses, answers, and how it streams."""

from __future__ import annotations

import fnmatch
import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

from tests.loopback.accounting import Bill, PrefixCache
from tests.loopback.asking import RequestInfo, flat, tokens
from tests.loopback.replies import Reply

ERRORS: Mapping[int, tuple[str, str | None]] = {
    400: ("invalid_request_error", None),
    401: ("invalid_request_error", "invalid_api_key"),
    403: ("invalid_request_error", "unsupported_country_region_territory"),
    404: ("invalid_request_error", "model_not_found"),
    408: ("timeout", None),
    413: ("invalid_request_error", None),
    429: ("requests", "rate_limit_exceeded"),
    500: ("server_error", None),
    503: ("service_unavailable", None),
    529: ("server_error", None),
}
REQUEST_ID = "x-request-id"
_REASONING = ("o1*", "o3*", "o4*", "gpt-5", "gpt-5-mini*", "gpt-5-nano*")


def refuse(asked: RequestInfo) -> Reply | None:
    """The API's own refusal of a request that it does not take, or None."""
    if not asked.api_key:
        return Reply(status=401, error_message="You didn't provide an API key.")
    body = asked.body
    if not asked.model:
        return _bad("you must provide a model parameter")
    if not body.get("messages"):
        return _bad("[] is too short - 'messages'")
    if body.get("top_logprobs") is not None and not asked.wants_logprobs:
        return _bad("top_logprobs: logprobs must be true")
    if int(body.get("top_logprobs") or 0) > 20:
        return _bad("top_logprobs: must be at most 20")
    if _is(asked.model, _REASONING):
        for name in ("temperature", "logprobs", "max_tokens"):
            if body.get(name) is not None and not (name == "temperature" and body[name] == 1):
                return Reply(
                    status=400,
                    error_code="unsupported_parameter",
                    error_message=f"Unsupported parameter: '{name}'",
                )
    strict = ((body.get("response_format") or {}).get("json_schema") or {}).get("strict")
    if strict and asked.schema is not None:
        wrong = _not_strict(asked.schema)
        if wrong:
            return Reply(status=400, error_code="invalid_json_schema", error_message=wrong)
    return None


def bill(asked: RequestInfo, cache: PrefixCache) -> tuple[Bill, list[str]]:
    """What the prompt costs in tokens, and what it leaves in the cache."""
    parts = [json.dumps(asked.body.get("tools") or "")]
    parts += [f"{m.get('role')}\n{flat(m.get('content'))}\n" for m in asked.body["messages"]]
    return cache.openai(asked.model, "".join(parts))


def answer(
    asked: RequestInfo, reply: Reply, text: str, bill_: Bill, served: str
) -> tuple[dict[str, Any], int]:
    """The completion, and its output tokens."""
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    finish = reply.finish or "stop"
    if reply.refusal:
        message.update(content=None, refusal="I'm sorry, I can't help with that.")
    elif asked.tool and text:
        call = {
            "id": f"call_{asked.key[:24]}",
            "type": "function",
            "function": {"name": asked.tool, "arguments": text},
        }
        message.update(content=None, tool_calls=[call])
        finish = reply.finish or "tool_calls"
    thought = reply.reasoning_tokens or 0
    output = max(1, tokens(text) + thought)
    usage: dict[str, Any] = {
        "prompt_tokens": bill_.total,
        "completion_tokens": output,
        "total_tokens": bill_.total + output,
        "prompt_tokens_details": {"cached_tokens": bill_.read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }
    usage.update(reply.usage)
    completion: dict[str, Any] = {
        "id": f"chatcmpl-{asked.key[:24]}",
        "object": "chat.completion",
        "created": 1_795_300_000,
        "model": served,
        "choices": [
            {
                "index": 0,
                "message": message,
                "logprobs": _logprobs(asked, reply, text) if asked.wants_logprobs else None,
                "finish_reason": finish,
            }
        ],
        "usage": {name: value for name, value in usage.items() if value is not None},
        "service_tier": "default",
        "system_fingerprint": None,
    }
    if reply.no_usage:
        del completion["usage"]
    return completion, output


def error(reply: Reply, asked: RequestInfo, request_id: str) -> dict[str, Any]:
    """The body of an error. Like the real one it quotes the key and the input."""
    kind, code = ERRORS.get(reply.status, ("server_error", None))
    message = reply.error_message or (
        f"status {reply.status}: Incorrect API key provided: {asked.api_key}. {asked.last[:200]}"
    )
    return {
        "error": {
            "message": message,
            "type": reply.error_type or kind,
            "param": None,
            "code": reply.error_code or code,
        }
    }


def headers(limit: int, left: int) -> dict[str, str]:
    """The rate-limit headers of every answer."""
    return {
        "x-ratelimit-limit-requests": str(limit),
        "x-ratelimit-remaining-requests": str(left),
        "x-ratelimit-reset-requests": "60ms",
        "openai-version": "2020-10-01",
    }


def stream(completion: dict[str, Any], *, with_usage: bool) -> Iterator[bytes]:
    """The completion as server-sent events."""
    choice = completion["choices"][0]
    base = {**completion, "object": "chat.completion.chunk", "usage": None}
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    text = message.get("content") or ""
    middle = len(text) // 2
    deltas += [{"content": part} for part in (text[:middle], text[middle:]) if part]
    for i, call in enumerate(message.get("tool_calls") or ()):
        deltas.append({"tool_calls": [{"index": i, **call}]})
    if message.get("refusal"):
        deltas.append({"refusal": message["refusal"]})
    for delta in deltas:
        part = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        yield _data({**base, "choices": [part]})
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}
    yield _data({**base, "choices": [end]})
    if with_usage:
        yield _data({**base, "choices": [], "usage": completion.get("usage")})
    yield b"data: [DONE]\n\n"


def _logprobs(asked: RequestInfo, reply: Reply, text: str) -> dict[str, Any]:
    top = int(asked.body.get("top_logprobs") or 0)
    first = text.split(" ", maxsplit=1)[0] if text else ""
    given = reply.probabilities or {first: 0.8}
    if reply.probabilities is None:
        others = {word.split(" ")[0] for word in asked.choices} - {first}
        given = {**given, **{word: 0.15 / len(others) for word in sorted(others)}}
    ranked = sorted(given.items(), key=lambda item: -item[1])
    listed = [_token(token, probability) for token, probability in ranked]
    taken = next((t for t in listed if t["token"] == first), listed[0])
    content = [{**taken, "top_logprobs": listed[:top]}]
    rest = text[len(taken["token"]) :]
    if rest:
        content.append({**_token(rest, 0.99), "top_logprobs": [_token(rest, 0.99)][:top]})
    return {"content": content, "refusal": None}


def _token(token: str, probability: float) -> dict[str, Any]:
    logprob = math.log(probability) if probability > 0 else -9999.0
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def _not_strict(schema: Any) -> str | None:
    if isinstance(schema, list):
        return next((wrong for part in schema if (wrong := _not_strict(part))), None)
    if not isinstance(schema, dict):
        return None
    if schema.get("type") == "object":
        if schema.get("additionalProperties") is not False:
            return "'additionalProperties' is required to be supplied and to be false"
        if set(schema.get("required", ())) != set(schema.get("properties", {})):
            return "'required' is required to include every key in properties"
    return next((wrong for part in schema.values() if (wrong := _not_strict(part))), None)


def _bad(message: str) -> Reply:
    return Reply(status=400, error_message=message)


def _is(model: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatch(model, pattern) for pattern in patterns)


def _data(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()
