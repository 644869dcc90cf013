"""A distribution over words from next-token probabilities, against brute force."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.models._local_choices import ChoiceReading, Token, read_choices


def model(answers: Mapping[tuple[str, ...], float]) -> Callable[[tuple[int, ...]], list[Token]]:
    """A model that says these token sequences with these probabilities, then ends its turn."""
    total = sum(answers.values())
    vocabulary = sorted({token for answer in answers for token in answer})
    ids = {token: index + 1 for index, token in enumerate(vocabulary)}

    def next_tokens(path: tuple[int, ...]) -> list[Token]:
        mass: dict[int, float] = {}
        for answer, weight in answers.items():
            numbers = tuple(ids[token] for token in answer)
            if numbers[: len(path)] == path:
                following = numbers[len(path)] if len(numbers) > len(path) else 0
                mass[following] = mass.get(following, 0.0) + weight / total
        whole = sum(mass.values())
        return [
            Token(i, b"" if i == 0 else vocabulary[i - 1].encode(), m / whole)
            for i, m in sorted(mass.items())
        ]

    return next_tokens


def read(choices: Sequence[str], answers: Mapping[tuple[str, ...], float]) -> ChoiceReading:
    return read_choices(choices, model(answers), negligible=1e-6, max_steps=100)


def test_mass_of_a_word_is_summed_over_its_spellings() -> None:
    reading = read(
        ("approve", "reject"),
        {("approve",): 3, ("Appro", "ve"): 2, (" APPROVE", "."): 1, ('"', "Reject", '"'): 2},
    )
    assert reading.probabilities == pytest.approx((0.75, 0.25))
    assert reading.coverage == pytest.approx(1.0)


def test_mass_on_other_words_is_not_covered() -> None:
    reading = read(("yes", "no"), {("yes",): 1, ("maybe",): 3})
    assert reading.coverage == pytest.approx(0.25)


def test_no_mass_on_any_choice_is_no_distribution() -> None:
    reading = read(("yes", "no"), {("perhaps",): 1})
    assert reading.probabilities is None
    assert reading.coverage == 0.0


@pytest.mark.parametrize(
    ("choices", "answers", "expected"),
    [
        (("1", "10"), {("1",): 1, ("1", "0"): 3}, (0.25, 0.75)),
        (("1", "10", "2"), {("10",): 1, ("1",): 1, ("2", "."): 2}, (0.25, 0.25, 0.5)),
        (("bill", "billing"), {("bill", "ing"): 1, ("bill",): 2, ("bill", "."): 1}, (0.75, 0.25)),
        (
            ("bill", "bill dispute"),
            {("bill", " dis", "pute"): 1, ("bill", "\n"): 3},
            (0.75, 0.25),
        ),
        (("refund", "refuse"), {("ref", "und"): 1, ("ref", "use"): 4}, (0.2, 0.8)),
        (("A", "B", "tie"), {("A",): 2, ("B", " is"): 1, ("tie",): 1}, (0.5, 0.25, 0.25)),
    ],
)
def test_choices_with_a_common_beginning_are_told_apart(
    choices: tuple[str, ...],
    answers: Mapping[tuple[str, ...], float],
    expected: tuple[float, ...],
) -> None:
    assert read(choices, answers).probabilities == pytest.approx(expected)


def test_a_single_letter_is_looked_into_before_it_counts_as_a_word() -> None:
    reading = read(("approve", "reject"), {("A", " refund"): 3, ("A", "pprove"): 1, ("re",): 0.0})
    assert reading.coverage == pytest.approx(0.25)


def test_a_longer_word_is_not_its_beginning() -> None:
    assert read(("bill", "post"), {("billiard",): 1, ("post",): 1}).coverage == pytest.approx(0.5)


@pytest.mark.parametrize("written", ["bug_report", "bug report", "Bug-Report", "**Bug report**"])
def test_labels_may_be_written_with_blanks_for_underscores(written: str) -> None:
    reading = read(("bug_report", "question"), {(written,): 1})
    assert reading.probabilities is not None
    assert reading.probabilities[0] == pytest.approx(1.0)


def test_signs_tell_choices_apart_where_nothing_else_does() -> None:
    assert read(("+1", "-1"), {("+", "1"): 3, ("-", "1"): 1}).probabilities == pytest.approx(
        (0.75, 0.25)
    )


def test_characters_of_several_tokens_are_joined() -> None:
    cut = "später".encode()
    tokens = {1: cut[:3], 2: cut[3:], 3: b"jetzt"}

    def next_tokens(path: tuple[int, ...]) -> list[Token]:
        if path == (1,):
            return [Token(2, tokens[2], 1.0)]
        return [Token(1, tokens[1], 0.6), Token(3, tokens[3], 0.4)]

    assert read_choices(("später", "jetzt"), next_tokens).probabilities == pytest.approx((0.6, 0.4))


def test_choices_that_differ_only_in_case_are_refused() -> None:
    with pytest.raises(ValueError, match="told apart"):
        read_choices(("Yes", "yes"), model({("yes",): 1}))


def test_an_unlisted_word_gets_what_an_unlisted_token_can_have_at_most() -> None:
    listed = [Token(1, b"yes", 0.9), Token(2, b"perhaps", 0.06)]
    reading = read_choices(("yes", "no"), lambda _: listed)
    assert reading.probabilities == pytest.approx((0.9 / 0.94, 0.04 / 0.94))


def test_undecided_mass_is_shared_equally_when_no_step_is_left() -> None:
    answers: dict[tuple[str, ...], float] = {("ref", "und"): 1.0, ("ref", "use"): 3.0}
    reading = read_choices(("refund", "refuse"), model(answers), max_steps=1)
    assert reading.probabilities == (0.5, 0.5)
    assert reading.steps == 1


LETTERS = st.text("ab", min_size=1, max_size=4)


@st.composite
def settings(draw: st.DrawFn) -> tuple[tuple[str, ...], dict[tuple[str, ...], float]]:
    words = draw(st.lists(LETTERS, min_size=2, max_size=4, unique=True))
    spoken = draw(st.lists(LETTERS, min_size=1, max_size=6, unique=True))
    answers: dict[tuple[str, ...], float] = {}
    for word in {*spoken, words[0]}:
        cuts = draw(st.sets(st.integers(1, max(1, len(word) - 1)), max_size=2))
        edges = sorted({0, len(word), *(c for c in cuts if c < len(word))})
        tokens = tuple(word[a:b] for a, b in pairwise(edges))
        answers[tokens] = draw(st.floats(0.01, 1.0))
    return tuple(words), answers


@given(settings())
def test_it_agrees_with_brute_force_over_whole_answers(
    case: tuple[tuple[str, ...], dict[tuple[str, ...], float]],
) -> None:
    words, answers = case
    total = sum(answers.values())
    mass = [0.0] * len(words)
    for tokens, weight in answers.items():
        said = "".join(tokens)
        fits = [i for i, word in enumerate(words) if word == said]
        if not fits:
            # A beginning of three letters that only one word has is taken for that word.
            ends = [sum(map(len, tokens[: k + 1])) for k in range(len(tokens))]
            for end in ends:
                fits = [i for i, word in enumerate(words) if word.startswith(said[:end])]
                if len(fits) == 1 and end >= min(3, len(words[fits[0]])):
                    break
                fits = []
        for i in fits:
            mass[i] += weight / total
    reading = read(words, answers)
    assert reading.coverage == pytest.approx(sum(mass))
    assert reading.probabilities is not None
    assert math.fsum(reading.probabilities) == pytest.approx(1.0)
    assert reading.probabilities == pytest.approx([m / sum(mass) for m in mass], abs=1e-9)


@given(settings(), st.randoms(use_true_random=False))
def test_permuting_the_choices_permutes_the_distribution(
    case: tuple[tuple[str, ...], dict[tuple[str, ...], float]], random: object
) -> None:
    words, answers = case
    forward, backward = read(words, answers), read(words[::-1], answers)
    assert forward.probabilities is not None
    assert backward.probabilities is not None
    assert backward.probabilities[::-1] == pytest.approx(forward.probabilities)
