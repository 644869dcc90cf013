"""Rows of OpenAI logs: request and response, and batch files. Anthropic's bodies are read too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from consensus.ballots import Usage
from consensus.benchmark.importing.exchange import (
    BrokenRowError,
    Exchange,
    LeftOutError,
    conversation,
    count,
    named_model,
    number,
    openai_usage,
    text_of,
)

__all__ = ["is_batch_input", "looks_like", "read_answer", "read_row", "schema_of"]

_FAILURES = {
    400: "bad_request",
    401: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    413: "request_too_large",
    429: "rate_limited",
    503: "overloaded",
    529: "overloaded",
}


def looks_like(row: Mapping[str, Any]) -> bool:
    """Whether a row is one of these."""
    if "custom_id" in row:
        return True
    if isinstance(row.get("request"), Mapping) and ("response" in row or "error" in row):
        return True
    return "messages" in row and ("choices" in row or isinstance(row.get("response"), Mapping))


def is_batch_input(row: Mapping[str, Any]) -> bool:
    """A line of a batch's input: the question to an answer that stands in another file."""
    return "custom_id" in row and isinstance(row.get("body"), Mapping) and "response" not in row


def read_row(
    row: Mapping[str, Any], where: str, questions: Mapping[str, Mapping[str, Any]]
) -> list[Exchange]:
    """The exchanges of a row; ``questions`` are the bodies of batch inputs by ``custom_id``."""
    if "custom_id" in row:
        body = questions.get(str(row["custom_id"]))
        if body is None:
            raise BrokenRowError("an answer of a batch whose input file was not given")
        request: Mapping[str, Any] = body
    else:
        given = row.get("request", row)
        request = given if isinstance(given, Mapping) else {}
        if isinstance(request.get("body"), Mapping):
            request = request["body"]
    response = row.get("response", row if "choices" in row else None)
    status = None
    if isinstance(response, Mapping) and isinstance(response.get("body"), Mapping):
        status = response.get("status_code", response.get("status"))
        response = response["body"]
    asked = _asked(request)
    latency = next(
        (n for key in ("latency_s", "duration_s", "response_time") if (n := number(row.get(key)))),
        None,
    )
    common: dict[str, Any] = {
        "messages": asked,
        "schema": schema_of(request),
        "latency_s": latency,
        "recorded_usd": number(row.get("cost_usd")),
    }
    error = row.get("error") or (response.get("error") if isinstance(response, Mapping) else None)
    if error or (isinstance(status, int) and status >= 400) or not isinstance(response, Mapping):
        if not error and status is None:
            raise BrokenRowError("neither an answer nor an error")
        failure = _FAILURES.get(status or 0, "server_error")
        return [Exchange(where, named_model(request.get("model")), failure=failure, **common)]
    model = named_model(request.get("model", response.get("model")))
    provider = model.split("/", 1)[0]
    served = response.get("model")
    answers, usage = read_answer(response)
    return [
        Exchange(
            where,
            model,
            output=output,
            failure=failure,
            served_model=named_model(served, provider) if isinstance(served, str) else None,
            # one bill for all choices: the first one carries it
            usage=usage if index == 0 or usage is None else Usage(),
            **common,
        )
        for index, (output, failure) in enumerate(answers)
    ]


def _asked(request: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    messages = request.get("messages", request.get("input", request.get("prompt")))
    asked = conversation(messages)
    system = request.get("instructions", request.get("system"))
    text = text_of(system) if system else ""
    if text:
        rest = [m for m in asked if m[0] != "system"]
        return (("system", "\n\n".join(filter(None, [text, *_systems(asked)]))), *rest)
    return asked


def _systems(messages: tuple[tuple[str, str], ...]) -> list[str]:
    return [text for role, text in messages if role == "system"]


def schema_of(request: Mapping[str, Any]) -> dict[str, Any] | None:
    """The JSON Schema that a request asks for, if any."""
    form = request.get("response_format")
    if isinstance(form, Mapping) and isinstance(form.get("json_schema"), Mapping):
        schema = form["json_schema"].get("schema")
    else:
        text = request.get("text")
        inner = text.get("format") if isinstance(text, Mapping) else None
        schema = inner.get("schema") if isinstance(inner, Mapping) else None
    return dict(schema) if isinstance(schema, Mapping) else None


def read_answer(
    body: Mapping[str, Any],
) -> tuple[list[tuple[str | None, str | None]], Usage | None]:
    """(text, failure) of each choice of a response's body, and its usage.

    Raises:
        BrokenRowError: it is no response.
        LeftOutError: it calls a tool.
    """
    if isinstance(body.get("choices"), list):
        found = [_choice(choice) for choice in body["choices"]]
        if not found:
            raise BrokenRowError("an answer without choices")
        return found, openai_usage(body.get("usage"))
    if isinstance(body.get("output"), list):
        return [_responses(body)], openai_usage(body.get("usage"))
    if isinstance(body.get("content"), list) and "stop_reason" in body:
        return [_anthropic(body)], _anthropic_usage(body.get("usage"))
    raise BrokenRowError("the response is none of a known form")


def _choice(choice: object) -> tuple[str | None, str | None]:
    message = choice.get("message") if isinstance(choice, Mapping) else None
    if not isinstance(choice, Mapping) or not isinstance(message, Mapping):
        if isinstance(choice, Mapping) and isinstance(choice.get("text"), str):
            return choice["text"], None
        raise BrokenRowError("a choice without a message")
    if message.get("tool_calls") or message.get("function_call"):
        raise LeftOutError("the answer calls a tool")
    if message.get("refusal"):
        return None, "refusal"
    return _ended(text_of(message.get("content")), choice.get("finish_reason"))


def _ended(text: str, finish: object) -> tuple[str | None, str | None]:
    if finish in ("content_filter", "refusal"):
        return None, "refusal"
    if finish in ("length", "max_tokens", "max_output_tokens"):
        return None, "truncated"
    return (text, None) if text.strip() else (None, "empty")


def _responses(body: Mapping[str, Any]) -> tuple[str | None, str | None]:
    texts = []
    for item in body["output"]:
        if not isinstance(item, Mapping):
            raise BrokenRowError("an output that is not an object")
        if item.get("type") == "message":
            parts = item.get("content")
            if isinstance(parts, list) and any(
                isinstance(p, Mapping) and p.get("type") == "refusal" for p in parts
            ):
                return None, "refusal"
            texts.append(text_of(parts))
        elif item.get("type") != "reasoning":
            raise LeftOutError("the answer calls a tool")
    incomplete = body.get("incomplete_details")
    reason = incomplete.get("reason") if isinstance(incomplete, Mapping) else None
    return _ended("\n".join(texts), reason)


def _anthropic(body: Mapping[str, Any]) -> tuple[str | None, str | None]:
    if body.get("stop_reason") == "tool_use":
        raise LeftOutError("the answer calls a tool")
    return _ended(text_of(body["content"]), body.get("stop_reason"))


def _anthropic_usage(data: object) -> Usage | None:
    """Anthropic counts the cache apart from the input."""
    if not isinstance(data, Mapping):
        return None
    return Usage(
        input=count(data.get("input_tokens")),
        cache_read=count(data.get("cache_read_input_tokens")),
        cache_write=count(data.get("cache_creation_input_tokens")),
        output=count(data.get("output_tokens")),
    )
