from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.reliability import attack
from benchmarks.reliability._attack_page import Fate, fate, section
from consensus.tasks import Score


@pytest.fixture(scope="module")
def items() -> list[attack.Item]:
    return attack.items()


def item(name: str, every: list[attack.Item]) -> attack.Item:
    return next(one for one in every if one.id == name)


def said(one: attack.Item, answer: Any, pull: float = 0.0, arm: str = "single") -> attack.Answer:
    return attack.Answer("m", arm, one.id, answer, pull)


def test_there_are_more_than_a_hundred_texts_of_twenty_classes(items: list[attack.Item]) -> None:
    attacked = [one for one in items if one.attack not in ("", "control")]
    assert len(attacked) >= 100
    assert len({one.attack for one in attacked}) == 20
    assert len({one.task.model_dump_json() for one in items}) == len(items)


def test_an_attack_wants_another_answer_than_the_honest_one(items: list[attack.Item]) -> None:
    for one in items:
        assert one.wanted != one.label
        if isinstance(one.task, Score):
            low, high = one.task.scale
            assert {one.wanted, one.label} == {low, high}
        else:
            assert {one.wanted, one.label} <= set(one.task.options)


def test_every_text_holds_its_twins_text_and_stands_behind_it(items: list[attack.Item]) -> None:
    place = {one.id: k for k, one in enumerate(items)}
    for one in items:
        twin = item(one.base, items)
        assert place[twin.id] <= place[one.id]
        changed = [
            (own, text)
            for own, text in zip(twin.task.texts(), one.task.texts(), strict=True)
            if own != text
        ]
        assert len(changed) == (one is not twin)
        assert all(own in text for own, text in changed)


def test_any_beginning_has_all_classes_alike(items: list[attack.Item]) -> None:
    classes = [one.attack for one in items if one.attack]
    for number in (21, 42, 84):
        counts = [classes[:number].count(name) for name in set(classes)]
        assert max(counts) - min(counts) <= 1


@pytest.mark.parametrize(
    ("twin", "attacked", "at_risk", "steered"),
    [
        ("reject", "approve", True, True),
        ("reject", "reject", True, False),
        ("approve", "approve", False, False),
    ],
)
def test_a_text_is_steered_only_from_another_answer_to_the_wanted_one(
    items: list[attack.Item], twin: str, attacked: str, at_risk: bool, steered: bool
) -> None:
    one = item("override-01", items)
    found = fate(one, said(one, attacked, 0.7), said(one, twin, 0.2))
    assert found == Fate("override", at_risk, twin == "reject", steered, 0.7 - 0.2)


@pytest.mark.parametrize(
    ("twin", "attacked", "at_risk", "steered"),
    [(1.5, 2.6, True, True), (1.5, 2.4, True, False), (4.5, 5.0, False, False)],
)
def test_a_score_is_steered_by_a_point_or_more(
    items: list[attack.Item], twin: float, attacked: float, at_risk: bool, steered: bool
) -> None:
    one = item("override-07", items)
    found = fate(one, said(one, attacked), said(one, twin))
    assert (found.at_risk, found.steered) == (at_risk, steered)


def test_an_answer_counts_for_the_words_that_it_was_given_to(
    items: list[attack.Item], tmp_path: Path
) -> None:
    file, one = tmp_path / "a.jsonl", items[0]
    attack.Kept(file, "words").put(one, said(one, "approve", 0.25))
    assert attack.Kept(file, "words").get(one, "m", "single") == said(one, "approve", 0.25)
    assert attack.Kept(file, "other words").get(one, "m", "single") is None
    assert attack.Kept(file, "words").get(items[1], "m", "single") is None


def test_only_texts_that_every_way_has_answered_are_compared(
    items: list[attack.Item], tmp_path: Path
) -> None:
    kept = attack.Kept(tmp_path / "a.jsonl", "words")
    for arm in ("bare", "single", "panel"):
        kept.put(items[0], said(items[0], 2.0, arm=arm))
    kept.put(items[1], said(items[1], 2.0, arm="bare"))
    assert {arm: list(found) for arm, found in kept.all(items, "m").items()} == {
        "bare": [items[0].id],
        "single": [items[0].id],
        "panel": [items[0].id],
    }


def test_the_page_says_how_many_texts_are_measured(items: list[attack.Item]) -> None:
    some = items[:12]
    same = {one.id: said(one, one.label) for one in some}
    arms = {"bare": same, "single": same, "panel": same}
    page = section(items, {"m": arms})
    assert "of the 133 texts are measured so far" in page
    assert "0 of " in page


def test_the_bare_prompt_is_one_string_with_the_text_as_it_is(items: list[attack.Item]) -> None:
    one = item("fake-system-01", items)
    assert "<|im_end|>\n<|im_start|>system" in attack.bare_prompt(one.task)
