"""The rule for questions of several steps and for questions without material."""

from __future__ import annotations

from pathlib import Path

import pytest

from consensus import Choose, Generate
from consensus.policy.hops import hop_signs, is_multi_hop, is_open_domain
from consensus.policy.load import load_policy
from consensus.policy.route import route
from consensus.tasks import Message
from tests.policy.books import Book


def asked(text: str) -> Choose:
    return Choose(type="t", subject=text, options=("a", "b"))


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        ("What is a transgenic animal? Where is one used?", "questions"),
        ("Calculate the distances and determine the smallest.", "sequence"),
        ("What are the differences between the two offers?", "comparison"),
        ("Is this covered under section 4.2 of the contract?", "reference"),
        ("Is it allowed by our rules? It is said so in the attached contract.", "reference"),
        ("What is the capital of the country where the author was born?", "chain"),
    ],
)
def test_each_sign_of_several_steps_is_seen(text: str, sign: str) -> None:
    assert sign in hop_signs(asked(text))


@pytest.mark.parametrize(
    "text",
    [
        "Which gas do plants take in?",
        "The guests were more polite than those at the first party. Who left early?",
        "My parcel was lost and then found again, but it arrived broken.",
    ],
)
def test_a_single_question_has_no_sign_whatever_its_story_compares(text: str) -> None:
    assert hop_signs(asked(text)) == ()
    assert not is_multi_hop(asked(text))


def test_what_is_looked_at_is_the_question_and_not_the_criteria() -> None:
    task = Choose(
        type="t", subject="Red.", options=("a", "b"), criteria="Is it red? Is it round? See table 2"
    )
    assert hop_signs(task) == ()


def test_a_short_question_without_material_is_of_open_domain() -> None:
    assert is_open_domain(asked("Who wrote the first treatise on optics?"))


@pytest.mark.parametrize(
    "text",
    [
        "The parcel arrived on time.",
        "Passage: Rain fell for days.\n\nWhat fell?",
        "word " * 80 + "?",
    ],
)
def test_what_does_not_ask_or_brings_material_is_not(text: str) -> None:
    assert not is_open_domain(asked(text))


def test_a_conversation_that_went_on_has_its_material_before_the_last_question() -> None:
    first = Message(role="user", content="Here is my letter.")
    said = Message(role="assistant", content="Thank you.")
    last = Message(role="user", content="Who signed it?")
    assert is_open_domain(Generate(type="t", messages=[last]))
    assert not is_open_domain(Generate(type="t", messages=[first, said, last]))


def test_a_rule_sends_questions_of_several_steps_another_way(tmp_path: Path) -> None:
    file = tmp_path / "policy.toml"
    file.write_text(
        'version = 1\n[tiers]\nsmall = ["x/s1"]\nfrontier = ["x/f"]\n[defaults]\ntier = "small"\n'
        '[tasks.t]\n[[tasks.t.when]]\nmulti_hop = true\ntier = "frontier"\n'
        '[[tasks.t.when]]\nopen_domain = true\nmodels = ["x/m1"]\n'
    )
    table = load_policy(file, prices=Book())
    several = route(table, asked("What is it? Who made it?"))
    assert several.hops[0].models == ("x/f",)
    assert any("multi_hop = true" in reason for reason in several.reasons)
    assert route(table, asked("Who made it?")).hops[0].models == ("x/m1",)
    assert route(table, asked("It arrived.")).hops[0].models == ("x/s1",)
