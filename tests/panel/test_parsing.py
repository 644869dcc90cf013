from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Ballot
from consensus.errors import UnreadableError
from consensus.panel._json import find_values
from consensus.panel.answers import answer_words
from consensus.panel.parsing import MAX_RATIONALE_CHARS, Reading, read_ballot
from consensus.panel.seats import Seat
from consensus.tasks import Choose, Compare, Generate, Rank, Score, Task
from tests.panel.helpers import (
    APPROVE,
    CHOOSE,
    COMPARE,
    GENERATE,
    RANK,
    SCORE,
    TASKS,
    panel,
    said,
)


def read(task: Task, text: str, *, seat: int = 0, form: Any = "structured", **more: Any) -> Reading:
    return read_ballot(task, panel(task, seat + 1, form)[seat], said(text, **more))


def failure(task: Task, text: str, **more: Any) -> str:
    with pytest.raises(UnreadableError) as caught:
        read(task, text, **more)
    return caught.value.failure


def ballot(answer: Any, **more: Any) -> str:
    return json.dumps({"rationale": "why", "answer": answer, "confidence": 0.8, **more})


# -- the form is forgiven --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"rationale": "why", "answer": "approve", "confidence": 0.8}',
        '```json\n{"rationale": "why", "answer": "approve", "confidence": 0.8}\n```',
        'Here it is:\n{"rationale": "why", "answer": "approve", "confidence": 0.8}\nDone.',
        'Answer: ```json\n{"rationale": "why", "answer": "approve", "confidence": 0.8}\n```',
        '{"rationale": "why", "answer": "approve", "confidence": 0.8,}',
        '{"rationale": "why", "answer": " \\"APPROVE\\". ", "confidence": 0.8}',
        '{"Rationale": "why", "Answer": "Approve", "Confidence": 0.8}',
        (
            '<think>{"answer": "reject"}?</think>'
            '{"rationale": "why", "answer": "approve", "confidence": 0.8}'
        ),
        'Of {a, b} I take:\n{"rationale": "why", "answer": "approve", "confidence": 0.8}',
        (
            '{"rationale": "why", "answer": "approve", "confidence": 0.8}'
            '\n{"rationale": "so", "answer": "approve"}'
        ),
    ],
)
def test_one_json_ballot_is_read_whatever_stands_around_it(text: str) -> None:
    assert read(APPROVE, text) == Reading("approve", 0.8, "stated", "why", None)


@pytest.mark.parametrize(
    "text",
    [
        "approve",
        "Approve.",
        "**approve**",
        "ANSWER: approve",
        "It is unused.\n\n**Answer:** Approve",
        '"approve"',
        "Final answer: `approve`.",
    ],
)
def test_a_free_text_answer_is_read_where_it_is_plainly_one(text: str) -> None:
    assert read(APPROVE, text).answer == "approve"


def test_the_text_above_an_answer_line_is_its_rationale() -> None:
    assert read(APPROVE, "It is unused.\nANSWER: approve").rationale == "It is unused."


# -- the meaning is not ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ('{"answer": "approved"}', "off_list"),
        ('{"answer": "approve it"}', "off_list"),
        ('{"answer": "aprove"}', "off_list"),
        ('{"answer": ""}', "off_list"),
        ('{"answer": null}', "unreadable"),
        ('{"answer": true}', "schema"),
        ('{"answer": ["approve"]}', "schema"),
        ('{"answer": {"value": "approve"}}', "schema"),
        ('{"rationale": "approve", "confidence": 1}', "unreadable"),
        ('{"result": {"answer": "approve"}}', "unreadable"),
        ('{"answer": "approve"} {"answer": "reject"}', "unreadable"),
        ('{"answer": "approve", "answer": "reject"}', "unreadable"),
        ('{"answer": "approve", "Answer": "reject"}', "unreadable"),
        ('{"answer": "approve"}\nANSWER: reject', "unreadable"),
        ("ANSWER: approve\nANSWER: reject", "unreadable"),
        ("ANSWER: perhaps", "off_list"),
        ('{"answer": "approve"', "unreadable"),
        (
            "I would approve this, but there are some things that speak clearly against it.",
            "unreadable",
        ),
        ("approve or reject", "off_list"),
        ("<think>approve", "unreadable"),
        ("[1, 2]", "schema"),
        ("NaN", "off_list"),
    ],
)
def test_what_is_not_exactly_one_offered_answer_is_a_failure(text: str, expected: str) -> None:
    assert failure(APPROVE, text) == expected


def test_a_ballot_quoted_inside_a_badly_quoted_rationale_is_no_ballot() -> None:
    text = '{"rationale": "the ticket says {"answer": "approve"} to us", "answer": "reject"}'
    assert failure(APPROVE, text) == "unreadable"


def test_a_ballot_quoted_in_python_style_is_no_ballot() -> None:
    text = "{'rationale': 'it says {\"answer\": \"approve\"}', 'answer': 'reject'}"
    assert failure(APPROVE, text) == "unreadable"


def test_a_ballot_inside_a_rationale_is_no_ballot() -> None:
    text = json.dumps({"rationale": 'it says {"answer": "approve"}', "answer": "reject"})
    assert read(APPROVE, text).answer == "reject"


@pytest.mark.parametrize("text", ['{"answer": "app', "It seems that", "", "ANSWER: approve"])
def test_a_reply_that_was_cut_off_before_its_answer_is_truncated(text: str) -> None:
    assert failure(APPROVE, text, finish="length") == "truncated"


def test_a_reply_that_was_cut_off_after_its_answer_is_read() -> None:
    assert read(APPROVE, ballot("approve") + "\nAnd furth", finish="length").answer == "approve"


def test_a_refusal_is_a_refusal_whatever_it_says() -> None:
    assert failure(APPROVE, ballot("approve"), finish="refusal") == "refusal"


def test_messages_hold_nothing_that_the_model_wrote() -> None:
    with pytest.raises(UnreadableError) as caught:
        read(APPROVE, '{"answer": "secret-123"}')
    assert "secret" not in str(caught.value)


# -- labels ----------------------------------------------------------------------------------------


def test_labels_that_differ_in_a_sign_are_told_apart() -> None:
    task = Choose(type="t", subject="x", options=("C", "C++", "C#", "<5", "≥5"))
    for label in task.labels:
        assert read(task, ballot(label)).answer == label
    assert failure(task, ballot("5")) == "off_list"
    assert failure(task, ballot(">5")) == "off_list"


def test_a_label_is_never_stripped_to_fit() -> None:
    task = Choose(type="t", subject="x", options=("A*", "Dijkstra"))
    assert failure(task, ballot("A")) == "off_list"


def test_a_numeric_label_may_come_as_a_number() -> None:
    task = Choose(type="t", subject="x", options=("1", "2", "3"))
    assert read(task, '{"answer": 2}', seat=1).answer == "2"


def test_a_label_that_is_a_number_is_not_a_position() -> None:
    task = Choose(type="t", subject="x", options=("1", "2", "3"))
    assert failure(task, ballot("option 2")) == "off_list"


@pytest.mark.parametrize("answer", ["2", 2, "Option 2", "option-2", "#2", "2."])
def test_a_long_option_is_answered_by_its_number_as_shown(answer: Any) -> None:
    task = Choose(type="t", subject="x", options=("first\nlines", "second\nlines", "third"))
    seat = panel(task, 2)[1]
    reading = read_ballot(task, seat, said(ballot(answer)))
    assert reading.answer == task.labels[seat.order[1]]


@pytest.mark.parametrize("answer", ["0", "4", "-1", 4, 1.5])
def test_a_number_that_was_not_shown_is_no_answer(answer: Any) -> None:
    task = Choose(type="t", subject="x", options=("first\nlines", "second\nlines", "third"))
    assert failure(task, ballot(answer)) in {"off_list", "schema"}


@given(
    labels=st.lists(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=100).filter(
            str.strip
        ),
        min_size=2,
        max_size=6,
        unique_by=lambda t: " ".join(t.split()).casefold(),
    ),
    seat=st.integers(0, 11),
)
def test_reading_back_what_was_offered_is_a_bijection(labels: list[str], seat: int) -> None:
    task = Choose(type="t", subject="x", options=tuple(labels))
    place = panel(task, seat + 1)[seat]
    words = answer_words(task, place)
    answers = [read_ballot(task, place, said(ballot(word))).answer for word in words]
    assert answers == [labels[i] for i in place.order]


# -- comparisons -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("seat", "expected"), [(0, "A"), (1, "B")])
def test_the_first_candidate_is_the_one_that_the_seat_saw_first(seat: int, expected: str) -> None:
    assert read(COMPARE, ballot("first"), seat=seat).answer == expected


@pytest.mark.parametrize("seat", [0, 1])
def test_a_tie_is_a_tie_in_either_order(seat: int) -> None:
    assert read(COMPARE, ballot("Tie"), seat=seat).answer == "tie"


def test_a_candidates_letter_was_not_shown_and_is_no_answer() -> None:
    assert failure(COMPARE, ballot("A")) == "off_list"


# -- rankings --------------------------------------------------------------------------------------


@given(order=st.permutations(range(4)), seat=st.integers(0, 11))
def test_every_ranking_is_read_back_through_the_seats_order(order: list[int], seat: int) -> None:
    place = panel(RANK, seat + 1)[seat]
    text = ballot([f"item-{i + 1}" for i in order])
    reading = read_ballot(RANK, place, said(text))
    assert reading.answer == tuple(RANK.items[place.order[i]] for i in order)


@pytest.mark.parametrize(
    "text",
    [
        '{"answer": ["item-2", "item-1", "item-4", "item-3"]}',
        '{"answer": ["Item 2", "item 1", 4, "3"]}',
        '["item-2", "item-1", "item-4", "item-3"]',
        "ANSWER: item-2, item-1, item-4, item-3",
        "item-2 > item-1 > item-4 > item-3",
    ],
)
def test_a_ranking_may_be_written_in_several_ways(text: str) -> None:
    assert read(RANK, text).answer == ("beta", "alpha", "delta", "gamma")


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["item-1", "item-2", "item-3"], "schema"),
        (["item-1", "item-2", "item-3", "item-3"], "schema"),
        (["item-1", "item-2", "item-3", "item-5"], "off_list"),
        (["alpha", "beta", "gamma", "delta"], "off_list"),
        (["item-1", "item-2", "item-3", None], "schema"),
        ([], "schema"),
        ("item-1", "schema"),
        (None, "schema"),
    ],
)
def test_a_ranking_holds_every_id_exactly_once(answer: Any, expected: str) -> None:
    assert failure(RANK, ballot(answer)) == expected


def test_where_the_best_few_are_wanted_a_list_may_end_after_them() -> None:
    task = RANK.model_copy(update={"top": 2})
    assert read(task, ballot(["item-2", "item-4"])).answer == ("beta", "delta")
    assert read(task, ballot(["item-2", "item-4", "item-1"])).answer == ("beta", "delta", "alpha")
    assert failure(task, ballot(["item-2"])) == "schema"


# -- scores ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected"), [(7, 7.0), (7.5, 7.5), ("7", 7.0), ("7/10", 7.0), (1, 1.0), (10, 10.0)]
)
def test_a_score_is_a_number_on_the_scale(answer: Any, expected: float) -> None:
    assert read(SCORE, ballot(answer)).answer == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (0, "off_list"),
        (11, "off_list"),
        (10**400, "off_list"),
        ("70/100", "schema"),
        (True, "schema"),
        ("seven", "schema"),
        ([7], "schema"),
        (None, "unreadable"),
    ],
)
def test_a_score_off_the_scale_is_never_moved_onto_it(answer: Any, expected: str) -> None:
    assert failure(SCORE, ballot(answer)) == expected


@pytest.mark.parametrize("text", ["7", "ANSWER: 7", "Clear enough.\nAnswer: 7/10"])
def test_a_score_may_come_as_text(text: str) -> None:
    assert read(SCORE, text).answer == 7.0


def test_infinite_and_undefined_scores_are_no_json() -> None:
    assert failure(SCORE, '{"answer": NaN}') == "unreadable"
    assert failure(SCORE, '{"answer": 1e999}') == "unreadable"


# -- confidence and rationale ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (0.8, 0.8),
        (0, 0.0),
        (1, 1.0),
        ("0.8", 0.8),
        ("85%", 0.85),
        (85, 0.85),
        ("5%", 0.05),
        (100, 1.0),
    ],
)
def test_a_stated_confidence_is_kept(stated: Any, expected: float) -> None:
    reading = read(APPROVE, ballot("approve", confidence=stated))
    assert (reading.confidence, reading.confidence_source) == (expected, "stated")


@pytest.mark.parametrize("stated", [None, 7, 1.5, -0.1, 101, 10**400, "high", True, [0.8], "120%"])
def test_a_confidence_that_is_no_probability_is_none(stated: Any) -> None:
    reading = read(APPROVE, ballot("approve", confidence=stated))
    assert (reading.confidence, reading.confidence_source) == (None, None)


def test_a_long_rationale_is_cut() -> None:
    assert (
        len(read(APPROVE, ballot("approve", rationale="x" * 9_000)).rationale)
        == MAX_RATIONALE_CHARS
    )


def test_a_rationale_can_be_stored_anywhere() -> None:
    rationale = read(APPROVE, '{"answer": "approve", "rationale": "a\\ud800\\u0000b"}').rationale
    assert rationale == "a\ufffd\ufffdb"


def test_a_rationale_of_another_type_is_none() -> None:
    assert read(APPROVE, ballot("approve", rationale={"x": 1})).rationale == ""


# -- token ballots ---------------------------------------------------------------------------------


def test_probabilities_are_mapped_back_through_the_seats_order() -> None:
    reading = read(
        APPROVE, "reject", seat=1, form="token", choice_probabilities=(0.9, 0.1), coverage=0.99
    )
    assert reading.distribution == {"approve": 0.1, "reject": 0.9}
    assert (reading.answer, reading.confidence) == ("reject", 0.9)
    assert reading.confidence_source == "token_probabilities"


@given(
    weights=st.lists(st.integers(1, 1000).map(float), min_size=3, max_size=3, unique=True),
    seat=st.integers(0, 5),
    task=st.sampled_from([CHOOSE, COMPARE]),
)
def test_a_distribution_sums_to_one_over_the_tasks_options(
    weights: list[float], seat: int, task: Choose | Compare
) -> None:
    place = panel(task, seat + 1, "token")[seat]
    reading = read_ballot(task, place, said("", choice_probabilities=tuple(weights)))
    assert reading.distribution is not None
    assert tuple(reading.distribution) == task.options
    assert sum(reading.distribution.values()) == pytest.approx(1)
    assert reading.answer == task.options[place.order[weights.index(max(weights))]]
    Ballot(seat=0, model="m", framing="plain", **reading._asdict())


def test_an_exact_tie_of_probabilities_is_no_answer() -> None:
    probabilities = {"form": "token", "choice_probabilities": (0.5, 0.5)}
    assert failure(APPROVE, "approve", **probabilities) == "unreadable"


def test_an_exact_tie_of_two_candidates_is_a_tie() -> None:
    reading = read(COMPARE, "first", form="token", choice_probabilities=(0.4, 0.4, 0.2))
    assert reading.answer == "tie"
    assert reading.confidence == pytest.approx(0.2)


def test_a_scores_distribution_is_read_as_its_mean() -> None:
    reading = read(SCORE, "7", form="token", choice_probabilities=(0.0,) * 6 + (0.5, 0.5, 0.0, 0.0))
    assert reading.answer == pytest.approx(7.5)
    assert reading.distribution is not None
    assert reading.distribution["7"] == 0.5
    assert reading.confidence is None


@pytest.mark.parametrize(
    "given_", [(), (1.0,), (0.0, 0.0), (-1.0, 2.0), (float("nan"), 1.0), (float("inf"), 1.0)]
)
def test_probabilities_that_are_none_are_no_ballot(given_: tuple[float, ...]) -> None:
    assert failure(APPROVE, "approve", form="token", choice_probabilities=given_) == "unreadable"


@pytest.mark.parametrize("coverage", [0.0, 1e-6, float("nan")])
def test_words_that_the_model_did_not_want_to_say_are_no_ballot(coverage: float) -> None:
    more = {"form": "token", "choice_probabilities": (0.9, 0.1), "coverage": coverage}
    assert failure(APPROVE, "approve", **more) == "off_list"


def test_without_probabilities_a_token_ballot_is_the_word_itself() -> None:
    reading = read(APPROVE, "Approve", form="token", finish="length")
    assert reading == Reading("approve")


def test_a_word_that_may_have_been_cut_off_is_no_ballot() -> None:
    task = Choose(type="t", subject="x", options=("refund", "refund later"))
    assert failure(task, "refund", form="token", finish="length") == "truncated"


# -- generated answers -----------------------------------------------------------------------------

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "n": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}


def generate(schema: dict[str, Any] | None) -> Generate:
    return Generate(type="t", messages=GENERATE.messages, schema=schema)


def test_a_generated_text_is_the_text() -> None:
    assert read(GENERATE, 'Hello.\n{"answer": 1}').answer == 'Hello.\n{"answer": 1}'


@pytest.mark.parametrize(
    "text",
    [
        '{"city": "Bern"}',
        '```json\n{"city": "Bern"}\n```',
        'Here: {"city": "Bern"}',
        '{"city": "Bern",}',
    ],
)
def test_a_generated_object_satisfies_its_schema(text: str) -> None:
    assert read(generate(SCHEMA), text).answer == {"city": "Bern"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"town": "Bern"}', "schema"),
        ('{"city": 3}', "schema"),
        ('{"city": "Bern"} {"city": "Basel"}', "unreadable"),
        ("Bern", "unreadable"),
        ("", "empty"),
        ('{"city": "Be', "unreadable"),
    ],
)
def test_a_generated_object_that_does_not_fit_is_a_failure(text: str, expected: str) -> None:
    assert failure(generate(SCHEMA), text) == expected


def test_a_generated_text_that_was_cut_off_is_truncated() -> None:
    assert failure(GENERATE, "Hello and", finish="length") == "truncated"
    assert failure(generate(SCHEMA), '{"city": "Be', finish="length") == "truncated"


def test_a_remote_reference_is_never_fetched() -> None:
    task = generate({"$ref": "http://127.0.0.1:9/schema.json"})
    assert failure(task, '{"city": "Bern"}') == "schema"


def test_a_local_reference_is_followed() -> None:
    task = generate({"$ref": "#/$defs/a", "$defs": {"a": {"type": "array"}}})
    assert read(task, "[1]").answer == [1]


def test_a_schema_that_refers_to_itself_without_end_is_stopped() -> None:
    names = [f"a{i}" for i in range(40)]
    defs: dict[str, Any] = {
        name: {"allOf": [{"$ref": f"#/$defs/{after}"}] * 2} for name, after in pairwise(names)
    }
    defs[names[-1]] = {}
    assert failure(generate({"$ref": "#/$defs/a0", "$defs": defs}), "{}") == "schema"
    assert failure(generate({"$ref": "#"}), "{}") == "schema"


def test_a_generated_object_too_deep_to_store_is_refused() -> None:
    assert failure(generate({}), '{"a":' * 500 + "1" + "}" * 500) == "schema"


def test_a_generated_string_can_be_stored_anywhere() -> None:
    assert read(generate(SCHEMA), '{"city": "\\ud800"}').answer == {"city": "?"}


# -- anything --------------------------------------------------------------------------------------

PIECES = st.sampled_from(
    [
        "{", "}", "[", "]", '"', "\\", ",", ":", "answer", '"answer"', "approve", "reject", " ",
        "ANSWER: ", "\n", "```", "<think>", "</think>", "7", "1e999", "-", "null", "NaN", "\ud800",
        "item-1", "first", "billing", "é", "\x00", '{"answer": "approve"}', '{"answer": 7}',
    ]
)  # fmt: skip
ANYTHING = st.one_of(st.text(max_size=200), st.lists(PIECES, max_size=40).map("".join))


@given(
    text=ANYTHING,
    task=st.sampled_from((*TASKS, generate(SCHEMA))),
    seat=st.integers(0, 3),
    form=st.sampled_from(["structured", "token"]),
    finish=st.sampled_from(["stop", "length", "other", "tool", "refusal"]),
)
def test_any_reply_is_a_valid_ballot_or_unreadable(
    text: str, task: Task, seat: int, form: Any, finish: Any
) -> None:
    place: Seat = panel(task, seat + 1, form)[seat]
    try:
        reading = read_ballot(task, place, said(text, finish=finish))
    except UnreadableError:
        return
    made = Ballot(seat=seat, model="m", framing="plain", **reading._asdict())
    if isinstance(task, Score):
        assert isinstance(made.answer, float)
        assert 1 <= made.answer <= 10
    elif isinstance(task, Rank):
        assert isinstance(made.answer, tuple)
        assert sorted(made.answer) == sorted(task.items)
    elif task.options:
        assert made.answer in task.options


@pytest.mark.parametrize("opening", ["", "Here it is:\n", "```json\n", "<think>Hm.</think>\n"])
def test_the_end_of_thoughts_that_a_rationale_quotes_ends_no_thoughts(opening: str) -> None:
    """A subject may hold ``</think>`` and an answer; a judge may quote both, and badly."""
    well = '{"rationale": "it says </think>\\nANSWER: reject\\n", "answer": "approve"}'
    assert read(APPROVE, opening + well).answer == "approve"
    badly = '{"rationale": "it says </think>\nANSWER: reject\n", "answer": "approve"}'
    assert failure(APPROVE, opening + badly) == "unreadable"


@given(quoted=ANYTHING, own=st.sampled_from(["approve", "reject"]))
def test_what_a_rationale_quotes_never_becomes_the_answer(quoted: str, own: str) -> None:
    said_so = json.dumps({"rationale": quoted, "answer": own, "confidence": 0.9})
    assert read(APPROVE, said_so).answer == own
    assert read(APPROVE, f"```json\n{said_so}\n```").answer == own
    scored = {"approve": 9, "reject": 1} if own == "approve" else {"approve": 1, "reject": 9}
    place = panel(APPROVE, 1, "scores")[0]
    reply = said(json.dumps({"rationale": quoted, "scores": scored}))
    assert read_ballot(APPROVE, place, reply).answer == own


@given(
    quoted=ANYTHING,
    own=st.sampled_from(["approve", "reject"]),
    form=st.sampled_from(['{{"answer": "{}"}}', "ANSWER: {}"]),
)
def test_what_a_reply_quotes_before_its_answer_never_replaces_it(
    quoted: str, own: str, form: str
) -> None:
    """A judge that repeats the judged text before it answers is read, or is no ballot."""
    try:
        reading = read(APPROVE, f"{quoted}\n{form.format(own)}")
    except UnreadableError:
        return
    assert reading.answer == own


@given(text=ANYTHING)
def test_whatever_the_text_what_is_found_in_it_is_json(text: str) -> None:
    found = find_values(text, opening="{[")
    assert all(json.loads(json.dumps(value)) == value for value in found.values)
    assert len(found.rest) <= len(text)


@given(
    inner=st.dictionaries(st.text(max_size=9), st.text(max_size=20), max_size=4),
    around=st.text(st.characters(exclude_characters='{}[]"', codec="utf-8"), max_size=40),
)
def test_an_object_in_prose_is_found_whole_and_unchanged(
    inner: dict[str, str], around: str
) -> None:
    found = find_values(f"{around}{json.dumps(inner)}{around}")
    assert found.values == [inner]
    assert not found.broken


@pytest.mark.parametrize(
    "text",
    [
        "{" * 300_000,
        "[" * 300_000,
        '"\\' * 50_000,
        '{"a": ' * 100_000,
        "answer: " * 100_000,
        "Answer:" + " " * 500_000 + "x",
        ", " * 200_000 + "}",
        "<think>" * 100_000,
        '{"a": </think>' * 50_000,
        "<think>" + "</think>{" * 50_000,
        '{"answer": ' + "9" * 10_000 + "}",
        "{ " * 300_000,
    ],
)
def test_a_hostile_reply_is_read_in_no_time(text: str) -> None:
    from time import process_time

    began = process_time()
    for task in (APPROVE, SCORE, RANK, generate(SCHEMA)):
        try:
            read(task, text)
        except UnreadableError:
            continue
    assert process_time() - began < 10


def test_objects_inside_objects_are_not_listed() -> None:
    assert find_values('x {"a": {"answer": 1}} y').values == [{"a": {"answer": 1}}]
