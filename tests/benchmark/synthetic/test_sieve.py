from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.benchmark.synthetic.batches import Asked, Candidate
from consensus.benchmark.synthetic.sieve import Sieve, normalised, shingles, unusable
from consensus.oracles import Exact, Ranking

LETTERS = ["a", "b", "c", "d", "e", "f"]
TEXT = "Order of twelve days ago: a kettle, still sealed, and the customer changed her mind."


def test_the_same_words_in_other_clothes_are_a_duplicate() -> None:
    sieve = Sieve([TEXT])
    shouted = TEXT.upper().replace(",", " ;  ")
    assert sieve.refuses(shouted) == "duplicate"


def test_one_changed_word_is_no_second_case() -> None:
    assert Sieve([TEXT]).refuses(TEXT.replace("mind", "plans")) == "near duplicate"


def test_another_story_passes() -> None:
    other = "Running shoes worn on two runs last week; they feel too narrow for his left foot."
    assert Sieve([TEXT]).refuses(other) is None


def test_two_words_are_too_short() -> None:
    assert Sieve().refuses("A kettle.") == "too short"


def test_a_threshold_of_its_own_holds() -> None:
    changed = TEXT.replace("mind", "plans")
    assert Sieve([TEXT], near=0.99).refuses(changed) is None


@given(st.text(min_size=1, max_size=200))
def test_whatever_was_added_is_refused(text: str) -> None:
    sieve = Sieve([text])
    assert sieve.refuses(text) in {"duplicate", "too short"}


@given(st.lists(st.sampled_from(LETTERS), min_size=3, max_size=14), st.data())
def test_near_duplicates_are_those_of_the_brute_force_definition(
    words: list[str], data: st.DataObject
) -> None:
    others = data.draw(
        st.lists(st.lists(st.sampled_from(LETTERS), min_size=3, max_size=14), max_size=5)
    )
    text, known = " ".join(words), [" ".join(other) for other in others]
    mine = shingles(text)
    near = any(len(mine & shingles(k)) / len(mine | shingles(k)) >= 0.7 for k in known)
    same = normalised(text) in {normalised(k) for k in known}
    expected = "duplicate" if same else "near duplicate" if near else None
    assert Sieve(known).refuses(text) == expected


def candidate(kind_fields: dict[str, Any], label: Any) -> Candidate:
    return Candidate("x", "refund", "", False, "low", kind_fields, label)


@pytest.mark.parametrize(
    ("asked", "fields", "label"),
    [
        (Asked("approve"), {"subject": "A kettle."}, "maybe"),
        (Asked("approve"), {}, "approve"),
        (Asked("choose", options=("x", "y")), {"subject": "A kettle."}, "z"),
        (Asked("score", scale=(1, 5)), {"subject": "A kettle."}, 9),
        (Asked("compare"), {"a": "only one"}, "A"),
    ],
)
def test_what_is_no_case_is_unusable(asked: Asked, fields: dict[str, Any], label: Any) -> None:
    oracle = None if asked.kind == "score" else Exact()
    found = unusable(candidate(fields, label), asked, oracle)
    assert found is not None or asked.kind == "score"


def test_an_order_that_leaves_an_item_out_is_unusable() -> None:
    made = candidate({"items": ["a b", "c d", "e f"]}, ["a b", "c d"])
    assert unusable(made, Asked("rank"), Ranking()) is not None


def test_a_case_with_a_label_that_its_oracle_accepts_is_usable() -> None:
    asked = Asked("approve", criteria="Unused.")
    assert unusable(candidate({"subject": "A kettle."}, "approve"), asked, Exact()) is None
