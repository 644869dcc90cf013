"""Content hashes, completions as JSON, and the tape."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Usage
from consensus.errors import DataError
from consensus.models import tape as taping
from consensus.models.protocol import Completion
from consensus.models.tape import (
    CompletionSource,
    Paid,
    PaidSource,
    Tape,
    completion_from_json,
    completion_to_json,
)

KEY = "8489c2d78ab142b5253815f66ca75e0fc877b1516b360af9d5fa985c8f9eaf23"
COMPLETION = Completion(
    text='{"answer":"approve"}',
    served_model="anthropic/claude-haiku-5-5-20260901",
    usage=Usage(input=10, cache_read=5, output=7, reasoning=2),
    finish="stop",
    latency_s=0.75,
    request_id="req_1",
    choice_probabilities=(0.75, 0.25),
    coverage=0.99,
    headers={"x": "y"},
)
PAID = Paid(COMPLETION, "01CALL", "01DECISION", 123, "served")


def texts() -> st.SearchStrategy[str]:
    return st.text(st.characters(), max_size=30)  # surrogates, controls and all


# -- completions as JSON ---------------------------------------------------------------------------


@given(
    text=texts(),
    usage=st.builds(Usage, input=st.integers(0, 10**9), output=st.integers(0, 10**9)),
    latency=st.floats(0, 1e6),
    probabilities=st.none() | st.lists(st.floats(0, 1), max_size=4).map(tuple),
    headers=st.dictionaries(texts(), texts(), max_size=3),
)
def test_a_completion_comes_back_equal(
    text: str,
    usage: Usage,
    latency: float,
    probabilities: tuple[float, ...] | None,
    headers: dict[str, str],
) -> None:
    completion = replace(
        COMPLETION,
        text=text,
        usage=usage,
        latency_s=latency,
        choice_probabilities=probabilities,
        headers=headers,
    )
    line = completion_to_json(completion)
    assert line.isascii()
    assert "\n" not in line
    assert completion_from_json(line) == completion


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("text", None, "text"),
        ("text", 3, "text"),
        ("served_model", None, "served_model"),
        ("usage", [], "usage"),
        ("usage", {"input": -1}, "usage.input"),
        ("usage", {"input": 1.5}, "usage.input"),
        ("usage", {"input": True}, "usage.input"),
        ("usage", {"tokens": 1}, "usage"),
        ("finish", "done", "finish"),
        ("latency_s", "1", "latency_s"),
        ("latency_s", -1, "latency_s"),
        ("request_id", 5, "request_id"),
        ("choice_probabilities", {"a": 1}, "choice_probabilities"),
        ("choice_probabilities", [2.0], "choice_probabilities"),
        ("coverage", True, "coverage"),
        ("headers", {"a": 1}, "headers"),
        ("__class__", "x", "__class__"),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, named: str) -> None:
    data = json.loads(completion_to_json(COMPLETION))
    data[field] = value
    with pytest.raises(DataError, match="here: ") as caught:
        completion_from_json(json.dumps(data), where="here")
    assert named in str(caught.value)


def test_nonfinite_numbers_are_neither_written_nor_read() -> None:
    with pytest.raises(DataError):
        completion_to_json(replace(COMPLETION, coverage=float("nan")))
    with pytest.raises(DataError):
        completion_from_json(completion_to_json(COMPLETION).replace("0.99", "NaN"))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000])
def test_what_is_no_completion_is_refused(text: str) -> None:
    with pytest.raises(DataError):
        completion_from_json(text)


def test_an_error_repeats_no_recorded_text() -> None:
    data = {**json.loads(completion_to_json(COMPLETION)), "text": "the secret", "finish": "odd"}
    with pytest.raises(DataError) as caught:
        completion_from_json(json.dumps(data))
    assert "secret" not in str(caught.value)


# -- the tape --------------------------------------------------------------------------------------


def test_what_was_kept_is_found_by_a_later_process(tmp_path: Path) -> None:
    with Tape(tmp_path / "t.jsonl") as tape:
        tape.keep(KEY, PAID)
        assert tape.recall(KEY) == PAID
    with Tape(tmp_path / "t.jsonl", "replay") as tape:
        assert tape.recall(KEY) == PAID
        assert tape.lookup(KEY) == COMPLETION
        assert tape.lookup("0" * 64) is None
        assert len(tape) == 1


def test_a_tape_is_a_source_that_knows_its_payments(tmp_path: Path) -> None:
    with Tape(tmp_path / "t.jsonl") as tape:
        assert isinstance(tape, CompletionSource)
        assert isinstance(tape, PaidSource)


def test_the_later_of_two_answers_counts(tmp_path: Path) -> None:
    later = replace(PAID, completion=replace(COMPLETION, text="later"))
    with Tape(tmp_path / "t.jsonl", "record") as tape:
        tape.keep(KEY, PAID)
        tape.keep(KEY, later)
    with Tape(tmp_path / "t.jsonl") as tape:
        assert tape.recall(KEY) == later


def test_recording_anew_finds_nothing(tmp_path: Path) -> None:
    with Tape(tmp_path / "t.jsonl") as tape:
        tape.keep(KEY, PAID)
    with Tape(tmp_path / "t.jsonl", "record") as tape:
        assert tape.lookup(KEY) is None


def test_replaying_writes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_bytes(b"")
    with Tape(path, "replay") as tape:
        tape.keep(KEY, PAID)
    assert path.read_bytes() == b""


def test_two_tapes_can_be_joined(tmp_path: Path) -> None:
    other = "a" * 64
    for name, key in (("a", KEY), ("b", other)):
        with Tape(tmp_path / name) as tape:
            tape.keep(key, PAID)
    (tmp_path / "c").write_bytes((tmp_path / "a").read_bytes() + (tmp_path / "b").read_bytes())
    with Tape(tmp_path / "c", "replay") as tape:
        assert tape.recall(KEY) == tape.recall(other) == PAID


def test_two_writers_share_a_tape(tmp_path: Path) -> None:
    keys = [f"{i:064x}" for i in range(20)]
    with Tape(tmp_path / "t") as one, Tape(tmp_path / "t") as two:
        for index, key in enumerate(keys):
            (one if index % 2 else two).keep(key, replace(PAID, call_id=f"call{index}"))
        for index, key in enumerate(keys):
            found = (one if index % 2 else two).recall(key)
            assert found is not None
            assert found.call_id == f"call{index}"
    with Tape(tmp_path / "t", "replay") as tape:
        assert len(tape) == 20


@pytest.mark.parametrize("cut", [1, 2, 30, 80, 200])
def test_a_line_torn_by_a_kill_is_skipped_and_the_tape_goes_on(tmp_path: Path, cut: int) -> None:
    path, other, third = tmp_path / "t", "b" * 64, "c" * 64
    with Tape(path) as tape:
        tape.keep(KEY, PAID)
        tape.keep(other, PAID)
    path.write_bytes(path.read_bytes()[:-cut])
    with Tape(path) as tape:
        assert tape.skipped == 1
        assert tape.recall(KEY) == PAID
        assert tape.recall(other) is None
        tape.keep(third, PAID)
        assert tape.recall(third) == PAID
        tape.keep(other, PAID)
    with Tape(path, "replay") as tape:
        assert tape.recall(KEY) == tape.recall(other) == tape.recall(third) == PAID


WRITER = """
import sys
from tests.models.test_tape import *
tape = Tape(sys.argv[1])
big = replace(PAID, completion=replace(COMPLETION, text="x" * 200_000))
for number in range(1_000_000):
    key = f"{number:064x}"
    tape.keep(key, big)
    print(key, flush=True)
"""


def test_a_process_killed_while_it_records_loses_nothing_acknowledged(tmp_path: Path) -> None:
    path = tmp_path / "t"
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    ) as process:
        assert process.stdout is not None
        acknowledged = [process.stdout.readline().strip() for _ in range(25)]
        process.kill()
        acknowledged += process.stdout.read().split()
    with Tape(path, "replay") as tape:
        assert len(acknowledged) >= 25
        assert all(tape.lookup(key) is not None for key in acknowledged if len(key) == 64)
        assert tape.skipped <= 1


def test_a_line_over_the_bound_is_neither_written_nor_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, other = tmp_path / "t", "b" * 64
    with Tape(path) as tape:
        tape.keep(KEY, replace(PAID, completion=replace(COMPLETION, text="x" * 5000)))
        tape.keep(other, PAID)
    monkeypatch.setattr(taping, "MAX_LINE_BYTES", 2000)
    with Tape(path) as tape:
        assert tape.skipped == 1
        assert tape.recall(other) == PAID
        size = path.stat().st_size
        tape.keep("c" * 64, replace(PAID, completion=replace(COMPLETION, text="y" * 5000)))
        assert path.stat().st_size == size


def test_lines_of_other_writers_are_read_however_they_are_spaced(tmp_path: Path) -> None:
    row = {"completion": json.loads(completion_to_json(COMPLETION)), "key": KEY}
    (tmp_path / "t").write_text(json.dumps(row) + "\n\nnot json\n[1]\n" + '{"key": 5}\n')
    with Tape(tmp_path / "t", "replay") as tape:
        assert tape.skipped == 3
        assert tape.recall(KEY) == Paid(COMPLETION)


@pytest.mark.parametrize(
    "row",
    [
        {"completion": {"text": "x"}},
        {"completion": None},
        {"cost_pico": -5},
        {"cost_pico": 1.5},
        {"price_basis": "free"},
        {"call_id": 7},
    ],
    ids=str,
)
def test_an_edited_line_is_an_error_that_names_the_file(
    tmp_path: Path, row: dict[str, Any]
) -> None:
    good = {"key": KEY, "completion": json.loads(completion_to_json(COMPLETION))}
    path = tmp_path / "t"
    path.write_text(json.dumps({**good, **row}) + "\n")
    with Tape(path, "replay") as tape, pytest.raises(DataError, match=str(path)):
        tape.recall(KEY)


def test_a_replay_needs_its_tape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent"):
        Tape(tmp_path / "absent", "replay")


def test_a_folder_is_no_tape(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be opened"):
        Tape(tmp_path)


def test_an_unknown_mode_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="record_missing"):
        Tape(tmp_path / "t", "play")  # type: ignore[arg-type]
