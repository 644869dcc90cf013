from __future__ import annotations

import json
from typing import Any

import pytest

from benchmarks.speed.provider import Bodies, sample

SCHEMA = {
    "type": "object",
    "properties": {
        "rationale": {"type": "string"},
        "answer": {"enum": ["reject", "approve"]},
        "confidence": {"type": "number"},
    },
}


def said(path: bytes, **asked: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        Bodies().answer(path, json.dumps({"model": "m", **asked}).encode())
    )
    return found


def test_a_schema_is_filled_and_says_approve_wherever_it_stands() -> None:
    assert json.loads(sample(SCHEMA))["answer"] == "approve"
    nested = {"$defs": {"b": SCHEMA}, "properties": {"ballot": {"$ref": "#/$defs/b"}}}
    assert json.loads(sample(nested))["ballot"]["answer"] == "approve"


def test_a_choice_whose_schema_leaves_its_words_open_is_a_yes() -> None:
    word = {"type": "string"}
    open_ = {"type": "object", "properties": {"explanation": word, "choice": word}}
    said = json.loads(sample(open_))
    assert said["choice"] == "approve"
    assert said["explanation"] != "approve"


def test_a_message_answers_in_the_form_that_was_asked_for() -> None:
    form = {"format": {"type": "json_schema", "schema": SCHEMA}}
    block = said(b"/v1/messages", output_config=form)["content"][0]
    assert json.loads(block["text"])["answer"] == "approve"
    tool = {"name": "answer", "input_schema": SCHEMA}
    block = said(b"/v1/messages", tools=[tool])["content"][0]
    assert block["input"]["answer"] == "approve"


def test_a_chat_completion_answers_in_the_form_that_was_asked_for() -> None:
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA}}
    message = said(b"/v1/chat/completions", response_format=form)["choices"][0]["message"]
    assert json.loads(message["content"])["answer"] == "approve"
    function = {"name": "f", "parameters": SCHEMA}
    tools = [{"type": "function", "function": function}]
    message = said(b"/v1/chat/completions", tools=tools)["choices"][0]["message"]
    called = message["tool_calls"][0]["function"]
    assert json.loads(called["arguments"])["answer"] == "approve"


@pytest.mark.parametrize("path", [b"/v1/messages", b"/v1/chat/completions"])
def test_every_answer_has_its_own_id_and_a_usage(path: bytes) -> None:
    bodies = Bodies()
    asked = json.dumps({"model": "m"}).encode()
    one, two = (json.loads(bodies.answer(path, asked)) for _ in range(2))
    assert one["id"] != two["id"]
    assert set(one["usage"].values()) & {512}
