"""What is answered: by a script, or by itself, sensibly."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from tests.loopback.asking import RequestInfo


@dataclass(frozen=True)
class Reply:
    """One answer, or one fault. Everything left out is what a healthy provider would send.

    Attributes:
        text: the whole text of the answer.
        answer, confidence, rationale: put into the schema's fields of these names.
        fields: other fields of the object; they win over everything.
        probabilities: token → probability of the first token, sent as log-probabilities.
        thinking: a thinking block before the answer (Anthropic).
        reasoning_tokens: of the output, where the API reports them; by default those of thinking.
        finish: the API's own stop reason.
        refusal: refuse, as this API does.
        empty: an answer without any text.
        served_model: the name in the answer.
        usage: fields of the API's own usage, over the counted ones; None as a value removes one.
        no_usage: leave the usage out.
        status: an error status gives the API's error body.
        error_type, error_code, error_message: of the error body.
        retry_after: the header, in seconds or as an HTTP date; ``headers`` are any others.
        latency_s: before the answer; None is the server's own.
        cut: close the connection ``"before"`` anything is sent, or in the middle of the ``"body"``.
        half: send the first half of the answer as if it were all of it; it is billed.
        raw, content_type: send exactly this.
    """

    text: str | None = None
    answer: Any = None
    confidence: float | None = None
    rationale: str | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
    probabilities: Mapping[str, float] | None = None
    thinking: str | None = None
    reasoning_tokens: int | None = None
    finish: str | None = None
    refusal: bool = False
    empty: bool = False
    served_model: str | None = None
    usage: Mapping[str, Any] = field(default_factory=dict)
    no_usage: bool = False
    status: int = 200
    error_type: str | None = None
    error_code: str | None = None
    error_message: str | None = None
    retry_after: float | str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    latency_s: float | None = None
    cut: Literal["before", "body"] | None = None
    half: bool = False
    raw: str | None = None
    content_type: str = "application/json"

    def content(self, asked: RequestInfo, pick: Callable[[RequestInfo], int]) -> str:
        """The text of the answer: the script's, or one that the schema accepts."""
        if self.empty:
            return ""
        if self.text is not None:
            return self.text
        if asked.schema is None:
            if self.answer is not None:
                return str(self.answer)
            if self.probabilities:
                return max(self.probabilities, key=lambda token: self.probabilities[token])  # type: ignore[index]
            if asked.choices:
                return asked.choices[pick(asked) % len(asked.choices)]
            return f"Answer {asked.key[:8]}."
        value = example(asked.schema, pick(asked))
        if isinstance(value, dict):
            known = asked.schema.get("properties") or {}
            if asked.scale is not None and isinstance(value.get("answer"), float):
                value["answer"] = _on_scale(asked.scale, pick(asked))
            for name in ("answer", "confidence", "rationale"):
                mine = getattr(self, name)
                if mine is not None and name in known:
                    value[name] = mine
            value.update(self.fields)
        elif self.answer is not None:
            value = self.answer
        return json.dumps(value, ensure_ascii=False)


Answerer = Callable[[RequestInfo], "Reply | None"]


@dataclass
class Rule:
    """A reply for the requests that match everything named here.

    Attributes:
        model: a pattern (``*haiku*``); ``api``: ``anthropic`` or ``openai``.
        contains: text in the system prompt or any turn; ``regex`` likewise.
        every: each N-th of the matching requests, counted here; ``times``: at most so many.
        nth: only when this very request is asked for the N-th time.
    """

    reply: Reply
    model: str | None = None
    api: str | None = None
    contains: str | None = None
    regex: str | None = None
    every: int | None = None
    times: int | None = None
    nth: int | None = None
    seen: int = 0
    used: int = 0

    def take(self, asked: RequestInfo) -> Reply | None:
        """The reply, if it is this rule's turn."""
        text = f"{asked.system}\n\n{asked.prompt}"
        if (
            (self.model is not None and not fnmatch.fnmatch(asked.model, self.model))
            or (self.api is not None and asked.api != self.api)
            or (self.contains is not None and self.contains not in text)
            or (self.regex is not None and re.search(self.regex, text) is None)
            or (self.nth is not None and asked.nth != self.nth)
        ):
            return None
        self.seen += 1
        if self.every is not None and self.seen % self.every:
            return None
        if self.times is not None and self.used >= self.times:
            return None
        self.used += 1
        return self.reply


@dataclass
class Script:
    """Rules, asked in order; the first that matches answers. Else ``default`` does.

    Attributes:
        answers: which value of a closed set is given by default: the ``first``, or one by the
            ``hash`` of the request.
        served: name in the request → name in the answer.
        latency_s: of every answer that does not say otherwise.
    """

    rules: list[Rule] = field(default_factory=list)
    default: Reply = field(default_factory=Reply)
    answers: Literal["first", "hash"] = "first"
    served: dict[str, str] = field(default_factory=dict)
    latency_s: float = 0.0

    def __call__(self, asked: RequestInfo) -> Reply:
        for rule in self.rules:
            reply = rule.take(asked)
            if reply is not None:
                return reply
        return self.default

    def pick(self, asked: RequestInfo) -> int:
        """Which value of a closed set is the default answer."""
        if self.answers == "first":
            return 0
        return int.from_bytes(hashlib.sha256(asked.key.encode()).digest()[:4])

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Script:
        """``{"rules": [{"model": …, "contains": …, "reply": {…}}], "default": {…}, "served": {…},
        "answers": "hash", "latency_s": 0.3}``; an unknown key is an error."""
        plain = {k: v for k, v in data.items() if k not in {"rules", "default"}}
        rules = [_rule(rule) for rule in data.get("rules", ())]
        return cls(rules=rules, default=reply_from_json(data.get("default", {})), **plain)


def reply_from_json(data: Mapping[str, Any]) -> Reply:
    """A reply of its fields by name."""
    unknown = set(data) - {f.name for f in fields(Reply)}
    if unknown:
        raise ValueError(f"a reply has no {', '.join(sorted(unknown))}")
    return replace(Reply(), **data)


def _rule(data: Mapping[str, Any]) -> Rule:
    plain = {k: v for k, v in data.items() if k != "reply"}
    return Rule(reply=reply_from_json(data.get("reply", {})), **plain)


def example(schema: Mapping[str, Any], pick: int = 0, root: Mapping[str, Any] | None = None) -> Any:
    """A value that the schema accepts; ``pick`` chooses among the values of closed sets."""
    root = schema if root is None else root
    if "$ref" in schema:
        target: Any = root
        for step in str(schema["$ref"]).removeprefix("#/").split("/"):
            target = target[step]
        return example(target, pick, root)
    if "const" in schema:
        return schema["const"]
    if schema.get("enum"):
        return schema["enum"][pick % len(schema["enum"])]
    for several in ("anyOf", "oneOf", "allOf"):
        if schema.get(several):
            return example(schema[several][0], pick, root)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object" or "properties" in schema:
        return {
            name: _confidence(part) if name == "confidence" else example(part, pick, root)
            for name, part in (schema.get("properties") or {}).items()
        }
    if kind == "array":
        return _array(schema, pick, root)
    if kind in {"number", "integer"}:
        return _number(schema, pick, whole=kind == "integer")
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return "ok".ljust(int(schema.get("minLength", 0)), ".")


def _on_scale(scale: tuple[float, float], pick: int) -> float:
    low, high = scale
    return low + (high - low) * (pick % 11) / 10 if pick else (low + high) / 2


def _confidence(part: Mapping[str, Any]) -> float:
    return 80 if part.get("maximum") == 100 or part.get("type") == "integer" else 0.8


def _array(schema: Mapping[str, Any], pick: int, root: Mapping[str, Any]) -> list[Any]:
    items = schema.get("items") or {}
    closed = items.get("enum")
    if closed:  # an order of the items: all of them, rotated
        turn = pick % len(closed)
        return [*closed[turn:], *closed[:turn]]
    return [example(items, pick, root) for _ in range(max(1, int(schema.get("minItems", 1))))]


def _number(schema: Mapping[str, Any], pick: int, *, whole: bool) -> float | int:
    low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
    high = schema.get("maximum", schema.get("exclusiveMaximum", low + 1))
    value = float(low + high) / 2
    return round(value) if whole else value
