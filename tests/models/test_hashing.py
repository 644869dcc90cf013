"""The content hash of a request."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.models import hashing
from consensus.models.hashing import (
    _Beginnings,
    canonical_request,
    request_digest,
    request_key,
)
from consensus.models.protocol import Part, Request, Turn

REQUEST = Request(
    model="anthropic/claude-haiku-5-5",
    system="You are a judge — übertreibe nicht.",
    turns=(
        Turn("user", (Part("the shared part", cache=True), Part("the question 🙂"))),
        Turn("assistant", (Part("what?"),)),
        Turn("user", (Part("again"),)),
    ),
    output_schema={
        "type": "object",
        "properties": {"answer": {"enum": ["approve", "reject"]}, "confidence": {"minimum": 0.5}},
    },
    choices=("approve", "reject"),
    max_output_tokens=256,
    temperature=0.5,
    seed=11,
    sample=3,
)
KEY = "8489c2d78ab142b5253815f66ca75e0fc877b1516b360af9d5fa985c8f9eaf23"


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(), max_size=30)  # surrogates, controls and all


def test_a_key_is_the_same_in_every_version_and_process() -> None:
    code = "from tests.models.test_hashing import *; print(request_key(REQUEST))"
    fresh = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "7", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert request_key(REQUEST) == KEY
    assert fresh.stdout.strip() == KEY


def test_the_canonical_form_is_json_in_ascii() -> None:
    assert canonical_request(REQUEST) == (
        b'["consensus/request/1","anthropic/claude-haiku-5-5",'
        b'"You are a judge \\u2014 \\u00fcbertreibe nicht.",'
        b'[["user",["the shared part","the question \\ud83d\\ude42"]],'
        b'["assistant",["what?"]],["user",["again"]]],'
        b'{"type":"object","properties":{"answer":{"enum":["approve","reject"]},'
        b'"confidence":{"minimum":0.5}}},["approve","reject"],256,0.5,11,3]'
    )


@pytest.mark.parametrize(
    "change",
    [
        {"model": "anthropic/claude-opus-5-5"},
        {"system": "You are a judge"},
        {"turns": REQUEST.turns[:1]},
        {"turns": (replace(REQUEST.turns[0], role="assistant"), *REQUEST.turns[1:])},
        {"turns": (Turn("user", (Part("the shared partthe question 🙂"),)), *REQUEST.turns[1:])},
        {"output_schema": None},
        {"output_schema": {}},
        {"choices": ("reject", "approve")},
        {"choices": ()},
        {"max_output_tokens": 257},
        {"temperature": None},
        {"temperature": 0.0},
        {"seed": None},
        {"seed": 0},
        {"sample": 4},
    ],
    ids=str,
)
def test_everything_that_affects_the_answer_is_in_the_key(change: dict[str, Any]) -> None:
    assert request_key(replace(REQUEST, **change)) != KEY


def test_the_order_of_a_schemas_properties_is_in_the_key() -> None:
    schema = REQUEST.output_schema
    assert schema is not None
    other = {**schema, "properties": dict(reversed(schema["properties"].items()))}
    assert other == schema
    assert request_key(replace(REQUEST, output_schema=other)) != KEY


def test_cache_marks_are_not_in_the_key() -> None:
    plain = Turn("user", (Part("the shared part"), Part("the question 🙂", cache=True)))
    assert request_key(replace(REQUEST, turns=(plain, *REQUEST.turns[1:]))) == KEY


def test_a_whole_temperature_may_be_written_either_way() -> None:
    assert request_key(replace(REQUEST, temperature=1)) == request_key(
        replace(REQUEST, temperature=1.0)
    )


@given(
    system=texts(),
    turns=st.lists(
        st.tuples(st.sampled_from(["user", "assistant"]), st.lists(texts(), max_size=3)),
        max_size=3,
    ),
    schema=st.sampled_from([None, {}, REQUEST.output_schema]),
    choices=st.lists(texts(), max_size=2),
    sample=st.integers(0, 3),
)
def test_a_digest_is_the_hash_of_the_canonical_form_and_its_length(
    system: str,
    turns: list[tuple[Literal["user", "assistant"], list[str]]],
    schema: dict[str, Any] | None,
    choices: list[str],
    sample: int,
) -> None:
    request = Request(
        "scripted/a",
        system,
        tuple(Turn(role, tuple(map(Part, parts))) for role, parts in turns),
        output_schema=schema,
        choices=tuple(choices),
        sample=sample,
    )
    canonical = canonical_request(request)
    for _ in range(2):  # before and after its beginning is known
        assert request_digest(request) == (sha256(canonical).hexdigest(), len(canonical))


def test_beginnings_are_forgotten_before_they_fill_the_memory() -> None:
    known = _Beginnings(most_chars=100)
    for number in range(50):
        known.of("scripted/a", "system", "user", f"text {number}")
        assert sum(len(key[1]) + len(key[3]) for key in known._known) <= 115


@given(system=texts(), question=texts())
def test_the_canonical_form_is_never_shorter_than_the_text_sent(system: str, question: str) -> None:
    request = Request("a/b", system, (Turn("user", (Part(question),)),))
    sent = len(system.encode("utf-8", "surrogatepass"))
    sent += len(question.encode("utf-8", "surrogatepass"))
    assert len(canonical_request(request)) >= sent + 16 * len(request.turns)


def test_endings_are_told_apart_by_their_schema() -> None:
    def asked(schema: dict[str, Any]) -> str:
        parts = (Part("shared"), Part("the same ending"))
        return request_key(Request("a/b", "", (Turn("user", parts),), output_schema=schema))

    made = [asked({"type": "object", "title": str(n)}) for n in range(200)]
    assert len(set(made)) == 200  # dicts that are gone may leave their identity to the next


def test_endings_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "_MOST_ENDINGS", 10)
    for number in range(50):
        parts = (Part("shared"), Part(f"ending {number}"))
        request_key(Request("a/b", "", (Turn("user", parts),)))
        assert len(hashing._ENDINGS) <= 10
