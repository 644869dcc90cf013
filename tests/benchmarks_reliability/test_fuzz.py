from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.reliability._fuzz_targets import TARGETS
from benchmarks.reliability.fuzz import shaped
from consensus.errors import ConsensusError
from consensus.resources import packaged

DEEP = b"[" * 100_000
HUGE = "1" + "0" * 400
FOUND: list[tuple[str, int, bytes]] = [
    ("tape", 0, b'{"text":"","served_model":"m","usage":{},"finish":"stop","latency_s":%s}'),
    ("tape", 0, b'{"text":"","served_model":"m","usage":{},"finish":"stop","coverage":%s}'),
    ("anthropic", 0, b'{"content": [], "stop_reason": []}'),
    ("anthropic", 0, b'{"content": [], "stop_reason": {}}'),
    ("anthropic", 0, DEEP),
    ("anthropic", 2, b"{}"),
    ("anthropic", 2, b"null"),
    ("anthropic", 2, b'{"message": []}'),
    ("anthropic", 2, b'{"message": {"content": [], "id": 7}}'),
    ("anthropic", 5, b"8"),
    ("anthropic", 5, b'{"error": {"error": "x"}}'),
    ("chat", 1, DEEP),
    (
        "chat",
        1,
        b"""{"choices": [{"message": {"content": ""},
        "logprobs": {"content": [{"token": "approve", "logprob": -%s}]}}]}""",
    ),
    ("batches", 0, b'{"custom_id": "a", "response": [], "error": "x"}'),
    ("batches", 0, b'{"custom_id": "a", "response": {"status_code": 200, "body": {"choices": 1}}}'),
    ("batches", 0, b'{"custom_id": "a", "response": {"status_code": 500, "body": {"error": "x"}}}'),
    ("batches", 0, DEEP),
    ("keys", 0, b"a = " + DEEP),
    ("keys", 1, b"a = " + DEEP),
    ("keys", 0, b"a" * 1_000_000),
    ("policy", 0, b"a" * 1_000_000),
    ("calibrations", 2, DEEP),
    ("bodies", 11, b"""{"model": "t", "messages": [{"role": "user", "content": "x"}],
     "response_format": {"type": "json_schema", "json_schema": true}}"""),
    ("recorded", 1, b'{"case_id": "c1", "label": "A", "options": "A|B"}\n' + DEEP),
    ("recorded", 2, b'{"m": {"input": %s, "output": 1}}'),
    ("recorded", 2, DEEP),
    ("recorded", 0, b"\xff"),
    ("recorded", 193, b"[]\n"),
    ("recorded", 193, DEEP),
    ("recorded", 192, b"case_id\n\xff\n"),
    ("runs", 0, DEEP),
    ("runs", 0, b'{"format": 1, "prices": [1]}'),
    ("runs", 0, b'{"format": 1, "prices": {"m": {"x": 1}}}'),
    ("runs", 0, b'{"format": 1, "prices": {"m": 1}}'),
    ("runs", 1, DEEP),
    ("runs", 2, DEEP),
    ("prompts", 4, (packaged("prompts") / "scores.md").read_bytes() + b"{% if 1e999 %}{% endif %}"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "pick", "data"), FOUND)
def test_what_the_fuzzer_once_broke_a_reader_with_is_refused_or_read(
    target: str, pick: int, data: bytes
) -> None:
    with suppress(ConsensusError):
        TARGETS[target].read(data.replace(b"%s", HUGE.encode()), pick)


def _answer(**more: Any) -> bytes:
    from benchmarks.reliability._fuzz_targets import _RUN_ANSWERS

    return json.dumps({**json.loads(_RUN_ANSWERS.splitlines()[0]), **more}).encode()


@pytest.mark.parametrize(
    "more",
    [
        {"sample": 10**12},
        {"sample": 1e308},
        {"sample": -1},
        {"extra": [1]},
        {"confidence": 10**400},
        {"answer": 7},
        {"answer": {"": 10**400}},
        {"scores": {"a": 1}},
        {"model": {}},
        {"variant": []},
    ],
)
def test_an_answer_line_that_is_none_is_counted_and_breaks_nothing(more: dict[str, Any]) -> None:
    TARGETS["runs"].read(_answer(**more), 2)


def test_a_run_of_many_classes_of_failure_is_read() -> None:
    lines = [_answer(answer=None, failure=f"f{k}", sample=k) for k in range(300)]
    TARGETS["runs"].read(b"\n".join(lines), 2)


def test_a_column_for_every_line_is_refused_before_the_table_is_made() -> None:
    lines = [_answer(sample=k, extra={f"x{k}": 1}) for k in range(400)]
    with pytest.raises(ConsensusError, match="extra columns"):
        TARGETS["runs"].read(b"\n".join(lines), 2)


@pytest.mark.parametrize("name", TARGETS)
def test_a_target_reads_an_honest_example(name: str) -> None:
    read = 0
    for honest in TARGETS[name].seeds:
        for pick in (*range(12), 195, 196):
            try:
                TARGETS[name].read(honest, pick)
            except ConsensusError:
                continue
            read += 1
    assert read


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(min_size=3, max_size=60))
def test_a_target_raises_the_projects_own_errors_and_no_others(name: str, data: bytes) -> None:
    target = TARGETS[name]
    content, pick = shaped(data, list(target.seeds), text=target.text)
    with suppress(ConsensusError):
        target.read(content, pick)
