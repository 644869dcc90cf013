"""Rows of logs as their writers write them, cut down to what matters."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TRIAGE = "Classify the ticket as billing, bug or other. Answer with one word, nothing else, please."
SCORING = "Give the essay a mark from 1 to 10. Answer with the number alone and with nothing else."

WORDS = ("bug", "Billing", "other.")


def write(path: Path, rows: Iterable[Any]) -> Path:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def litellm(index: int, system: str = TRIAGE, answer: str | None = None, **over: Any) -> Any:
    """A standard logging payload, as litellm's callbacks hand it out (1.9x)."""
    row = {
        "id": f"chatcmpl-{index}",
        "call_type": "acompletion",
        "cache_hit": None,
        "status": "success",
        "custom_llm_provider": "openai",
        "startTime": 1795316395.0,
        "endTime": 1795316396.5,
        "response_time": 1.5,
        "model": "gpt-4o-mini",
        "metadata": {"usage_object": None},
        "response_cost": 1.35e-05,
        "prompt_tokens": 1000,
        "completion_tokens": 100,
        "request_tags": [],
        "messages": [
            {"role": "system", "content": system},
            {"role": "user", "content": f"Ticket {index}: it does not work"},
        ],
        "response": {
            "id": f"chatcmpl-{index}",
            "model": "gpt-4o-mini-2024-07-18",
            "object": "chat.completion",
            "choices": [
                {
                    "finish_reason": "stop",
                    "index": 0,
                    "message": {
                        "content": WORDS[index % 3] if answer is None else answer,
                        "role": "assistant",
                        "tool_calls": None,
                        "function_call": None,
                    },
                }
            ],
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 100,
                "prompt_tokens_details": {"cached_tokens": 400},
            },
        },
        "model_parameters": {},
        "model_map_information": {"model_map_key": "gpt-4o-mini"},
        "error_information": {"error_class": ""},
    }
    return {**row, **over}


def body(index: int, model: str = "gpt-4o-mini") -> dict[str, Any]:
    return {
        "model": model,
        "messages": [
            {"role": "developer", "content": TRIAGE},
            {"role": "user", "content": [{"type": "text", "text": f"Ticket {index}: broken"}]},
        ],
    }


def chat(index: int, text: str | None = None, **choice: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": WORDS[index % 3] if text is None else text}
    return {
        "id": f"chatcmpl-{index}",
        "object": "chat.completion",
        "model": "gpt-4o-mini-2024-07-18",
        "choices": [{"index": 0, "finish_reason": "stop", "message": message, **choice}],
        "usage": {
            "prompt_tokens": 500,
            "completion_tokens": 10,
            "completion_tokens_details": {"reasoning_tokens": 4},
        },
    }


def attribute(key: str, value: Any) -> dict[str, Any]:
    if isinstance(value, list):
        return {
            "key": key,
            "value": {"arrayValue": {"values": [{"stringValue": v} for v in value]}},
        }
    kind = "intValue" if isinstance(value, int) else "stringValue"
    return {"key": key, "value": {kind: str(value)}}


def otlp(*spans: dict[str, Any]) -> dict[str, Any]:
    return {"resourceSpans": [{"scopeSpans": [{"spans": list(spans)}]}]}


def span(index: int, **over: Any) -> dict[str, Any]:
    """A span by the conventions in force."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "anthropic",
        "gen_ai.request.model": "claude-haiku-5-5",
        "gen_ai.response.model": "claude-haiku-5-5-20260901",
        "gen_ai.usage.input_tokens": 900,
        "gen_ai.usage.cache_read.input_tokens": 300,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.system_instructions": json.dumps([{"type": "text", "content": TRIAGE}]),
        "gen_ai.input.messages": json.dumps(
            [{"role": "user", "parts": [{"type": "text", "content": f"Ticket {index}: broken"}]}]
        ),
        "gen_ai.output.messages": json.dumps(
            [
                {
                    "role": "assistant",
                    "parts": [{"type": "text", "content": WORDS[index % 3]}],
                    "finish_reason": "stop",
                }
            ]
        ),
        **over,
    }
    return {
        "name": "chat claude-haiku-5-5",
        "startTimeUnixNano": "1795316395000000000",
        "endTimeUnixNano": "1795316397500000000",
        "attributes": [attribute(k, v) for k, v in attributes.items() if v is not None],
        "status": {},
    }


def own(index: int, **over: Any) -> dict[str, Any]:
    return {
        "id": f"case-{index}",
        "type": "refund",
        "kind": "approve",
        "subject": f"Case {index}",
        "model": "openai/gpt-4o-mini",
        "answer": "approve" if index % 2 else "reject",
        "label": "approve",
        "prompt_tokens": 100,
        "completion_tokens": 10,
        **over,
    }
