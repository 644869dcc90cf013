"""Recorded debates, on cases small enough to count by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from consensus.benchmark.recorded import import_recorded
from consensus.benchmark.replay import ReplaySettings, replay
from consensus.errors import DataError
from tests.benchmark.data_fixtures import real_run, simple_cases, write_recorded

LABELS = "AAAABBBB"
BLIND = {"a": "AABBBBAA", "b": "AAAABBBB", "c": "AAABBBBA", "f": "AAAABBBB"}
TOKENS = {"a": 1000, "b": 2000, "c": 4000, "f": 9000}
DEBATED = "AAABBABB"


def row(case: int, model: str, answer: str, variant: str, tokens: int) -> dict[str, Any]:
    return {
        "case_id": f"c{case}",
        "model": model,
        "answer": answer,
        "variant": variant,
        "prompt_tokens": tokens,
        "completion_tokens": 0,
    }


def recording(folder: Path) -> Any:
    """The debate of ``a`` costs seven blind answers of it; b costs two, c four."""
    rows = [
        row(case, model, letter, "blind", TOKENS[model])
        for model, letters in BLIND.items()
        for case, letter in enumerate(letters)
    ]
    rows += [row(case, "a", letter, "talk", 7000) for case, letter in enumerate(DEBATED)]
    prices = {name: {"input": 1.0, "output": 1.0} for name in "abcf"}
    return import_recorded(write_recorded(folder, simple_cases(LABELS), rows, prices=prices))


def debated(folder: Path, *panel: str) -> dict[str, Any]:
    settings = ReplaySettings(frontier="f@blind", panel=panel, strategy="debate")
    return replay(recording(folder), settings).figures


def test_flips_are_counted_both_ways(tmp_path: Path) -> None:
    figures = debated(tmp_path, "a@blind", "b@blind", "c@blind", "a@talk")
    found = figures["debate"]
    # Blind: c2, c3, c6, c7 wrong. Debated: c3, c5 wrong.
    assert found["flips"]["wrong_to_right"] == 3
    assert found["flips"]["right_to_wrong"] == 1
    assert found["flips"]["changed"] == 4
    assert found["difference"] == pytest.approx(2 / 8)
    assert figures["accuracy"] == pytest.approx(6 / 8)


def test_the_same_money_buys_the_plain_votes_beside_it(tmp_path: Path) -> None:
    found = debated(tmp_path, "a@blind", "b@blind", "c@blind", "a@talk")["debate"]
    assert found["cost_ratio"] == pytest.approx(7)
    plain = found["plain_votes"]
    assert plain["members"] == ["a@blind", "b@blind", "c@blind"]
    assert plain["cost_per_case"] == pytest.approx(0.007)
    assert plain["accuracy"] == pytest.approx(6 / 8)  # a and c err together on c3 and c7
    assert found["dearest_single"]["member"] == "c@blind"


def test_a_debate_is_the_cost_of_its_record_alone(tmp_path: Path) -> None:
    figures = debated(tmp_path, "a@blind", "a@talk")
    assert figures["cost_per_case"] == pytest.approx(0.007)
    assert figures["debate"]["plain_votes"]["members"] == ["a@blind"]


def test_a_debate_without_its_own_blind_answers_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="a@VARIANT"):
        debated(tmp_path, "b@blind", "a@talk")


@pytest.mark.needs("recorded-data")
def test_on_medagents_a_persona_debate_costs_many_blind_answers() -> None:
    panel = ("gpt-4o-mini@hard_zero_shot", "gpt-4o-mini@multipersona2")
    settings = ReplaySettings(frontier="DeepSeek-V3@hard_zero_shot", panel=panel, strategy="debate")
    found = replay(real_run("medagents"), settings).figures["debate"]
    assert found["cost_ratio"] > 20
    assert found["flips"]["right_to_wrong"] > 10
