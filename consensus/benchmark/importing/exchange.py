"""One recorded call of a model, whatever log it came from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from consensus.ballots import Usage

__all__ = [
    "BrokenRowError",
    "Exchange",
    "LeftOutError",
    "count",
    "named_model",
    "number",
    "text_of",
]


class BrokenRowError(ValueError):
    """A row that cannot be used: counted and named."""


class LeftOutError(ValueError):
    """A row that is sound and of no use here (an embedding, a tool call): counted by reason."""


@dataclass(slots=True)
class Exchange:
    """A question and what one model answered.

    Attributes:
        where: ``file:line``.
        model: as LiteLLM names it.
        messages: (role, text) in order; the system message first, where there is one.
        output: the answer's text; None with ``failure``.
        failure: the class of what went wrong.
        usage: None where the log has no tokens.
        recorded_usd: what the log says it cost.
        latency_s: wall time of the call.
        schema: the JSON Schema that was asked for.
        task: our own task's fields, where the row is of our own shape; messages are empty then.
        task_type, label, case_id, sample, variant: what the row itself says.
    """

    where: str
    model: str
    messages: tuple[tuple[str, str], ...] = ()
    output: Any = None
    failure: str | None = None
    served_model: str | None = None
    usage: Usage | None = None
    recorded_usd: float | None = None
    latency_s: float | None = None
    schema: dict[str, Any] | None = None
    task: dict[str, Any] = field(default_factory=dict)
    task_type: str | None = None
    label: Any = None
    case_id: str | None = None
    sample: int | None = None
    variant: str = "recorded"
    confidence: float | None = None

    @property
    def system(self) -> str:
        """The system message, or nothing."""
        return self.messages[0][1] if self.messages and self.messages[0][0] == "system" else ""

    @property
    def prompt(self) -> str:
        """Everything but the system message, as one text."""
        rest = [m for m in self.messages if m[0] != "system"]
        if len(rest) == 1:
            return rest[0][1]
        return "\n\n".join(f"{role}: {text}" for role, text in rest)


def text_of(content: object) -> str:
    """The text of a message's content: a text, or the text parts of a list.

    Raises:
        LeftOutError: it holds what is no text (images, audio, tool results).
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        texts = []
        for part in content:
            if isinstance(part, str):
                texts.append(part)
                continue
            if not isinstance(part, Mapping):
                raise BrokenRowError("a message's content is neither text nor parts")
            kind = part.get("type")
            text = part.get("text", part.get("content"))
            if kind in (None, "text", "input_text", "output_text") and isinstance(text, str):
                texts.append(text)
            elif kind in ("thinking", "redacted_thinking", "reasoning", "refusal"):
                continue
            else:
                raise LeftOutError(f"holds parts that are no text ({str(kind)[:30]})")
        return "\n".join(texts)
    raise BrokenRowError("a message's content is neither text nor parts")


def conversation(messages: object) -> tuple[tuple[str, str], ...]:
    """(role, text) of a list of chat messages, or of a bare prompt; system messages joined first.

    Raises:
        BrokenRowError: it is no conversation.
        LeftOutError: it holds tool calls, or what is no text.
    """
    if isinstance(messages, str):
        return (("user", messages),)
    if not isinstance(messages, list) or not messages:
        raise BrokenRowError("no messages")
    system: list[str] = []
    rest: list[tuple[str, str]] = []
    for message in messages:
        if not isinstance(message, Mapping):
            raise BrokenRowError("a message is not an object")
        role = message.get("role", "user")
        if role in ("tool", "function") or message.get("tool_calls"):
            raise LeftOutError("a conversation with tools")
        content = message.get("content")
        if content is None and isinstance(message.get("parts"), list):
            content = message["parts"]
        text = text_of(content)
        if role in ("system", "developer"):
            system.append(text)
        elif role in ("user", "assistant", "model"):
            rest.append(("assistant" if role == "model" else role, text))
        else:
            raise BrokenRowError(f"a message of the unknown role {str(role)[:30]!r}")
    if not rest or rest[-1][0] != "user":
        raise LeftOutError("the conversation does not end with a user's message")
    head = [("system", "\n\n".join(system))] if any(system) else []
    return (*head, *rest)


def number(value: object) -> float | None:
    """A finite number from 0 up, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def count(value: object) -> int:
    """A count of tokens; 0 for anything that is none. OTLP writes integers as text."""
    if isinstance(value, str) and value.isdigit():
        value = int(value[:12])
    found = number(value)
    return int(found) if found is not None and found < 1e9 else 0


def openai_usage(data: object) -> Usage | None:
    """Usage as OpenAI and LiteLLM write it: cached tokens are part of the prompt's."""
    if not isinstance(data, Mapping):
        return None
    prompt = count(data.get("prompt_tokens", data.get("input_tokens")))
    output = count(data.get("completion_tokens", data.get("output_tokens")))
    if not prompt and not output:
        return None
    before = data.get("prompt_tokens_details", data.get("input_tokens_details"))
    after = data.get("completion_tokens_details", data.get("output_tokens_details"))
    read = count(before.get("cached_tokens")) if isinstance(before, Mapping) else 0
    write = count(data.get("cache_creation_input_tokens"))
    thought = count(after.get("reasoning_tokens")) if isinstance(after, Mapping) else 0
    return inclusive_usage(prompt, output, read, write, thought)


def inclusive_usage(prompt: int, output: int, read: int, write: int, thought: int) -> Usage:
    """Disjoint classes from a prompt count that includes the cache's share."""
    if read + write > prompt:  # this writer keeps them apart
        prompt += read + write
    return Usage(
        input=prompt - read - write,
        cache_read=read,
        cache_write=write,
        output=output,
        reasoning=min(thought, output),
    )


def named_model(model: object, provider: str | None = None) -> str:
    """A model's name with its provider, as LiteLLM writes it.

    Raises:
        BrokenRowError: there is no name.
    """
    if not isinstance(model, str) or not model.strip() or len(model) > 256:
        raise BrokenRowError("no model")
    name = model.strip()
    if provider:
        return name if name.startswith(f"{provider}/") else f"{provider}/{name}"
    if "/" in name:
        return name
    return f"anthropic/{name}" if name.startswith("claude") else f"openai/{name}"
