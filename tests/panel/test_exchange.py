from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Answer, Ballot
from consensus.errors import TaskError
from consensus.panel.answers import shown_answer
from consensus.panel.exchange import candidate_text, candidates_task, debate_request
from consensus.panel.parsing import read_ballot
from consensus.panel.rendering import render
from consensus.tasks import Task
from tests.panel.helpers import (
    APPROVE,
    CHOOSE,
    COMPARE,
    GENERATE,
    JUDGED,
    RANK,
    SCORE,
    TASKS,
    book,
    panel,
    said,
)

ANSWERS: dict[str, Answer] = {
    "approve": "reject",
    "choose": "bug",
    "compare": "B",
    "rank": ("gamma", "alpha", "delta", "beta"),
    "score": 4.0,
    "generate": "Hello.",
}


def ballot(task: Task, seat: int, **more: Any) -> Ballot:
    more.setdefault("answer", ANSWERS[task.kind])
    more.setdefault("rationale", f"reason {seat}")
    return Ballot(seat=seat, model=f"secret-model-{seat}", framing="plain", **more)


def debated(
    task: Task, *, seat: int = 1, others: int = 4, turn: int = 1, form: Any = "structured"
) -> str:
    place = panel(task, seat + 1, form)[seat]
    rest = [ballot(task, n) for n in range(10, 10 + others)]
    request = debate_request(task, place, book(), own=ballot(task, seat), others=rest, turn=turn)
    return request.turns[-1].text


@pytest.mark.parametrize("task", JUDGED)
@pytest.mark.parametrize("form", ["structured", "token"])
@pytest.mark.parametrize("seat", [0, 1, 2])
def test_a_seats_own_words_are_read_back_as_its_answer(task: Task, form: Any, seat: int) -> None:
    place = panel(task, seat + 1, form)[seat]
    request = debate_request(task, place, book(), own=ballot(task, seat), others=[ballot(task, 9)])
    assert read_ballot(task, place, said(request.turns[-2].text)).answer == ANSWERS[task.kind]


@pytest.mark.parametrize("task", [APPROVE, CHOOSE, COMPARE])
@given(seat=st.integers(0, 11))
def test_an_answer_is_shown_in_the_seats_own_words(task: Task, seat: int) -> None:
    place = panel(task, seat + 1)[seat]
    for option in task.options:
        text = f'{{"answer": "{shown_answer(task, place, option)}"}}'
        assert read_ballot(task, place, said(text)).answer == option


@pytest.mark.parametrize("task", TASKS)
def test_a_debate_goes_on_from_the_first_question(task: Task) -> None:
    place = panel(task, 2)[1]
    first = render(task, place, book())
    request = debate_request(task, place, book(), own=ballot(task, 1), others=[ballot(task, 2)])
    assert request.turns[: len(first.turns)] == first.turns
    assert request.system == first.system
    assert [turn.role for turn in request.turns[-2:]] == ["assistant", "user"]


def test_the_others_are_all_shown_and_anonymous() -> None:
    text = debated(APPROVE)
    assert sorted(re.findall(r"reason: reason (\d+)", text)) == ["10", "11", "12", "13"]
    assert "secret-model" not in text
    assert re.findall(r"<judge-(\d)-", text) == ["1", "2", "3", "4"]


def test_the_others_stand_in_another_order_for_each_seat_and_turn() -> None:
    orders = {
        tuple(re.findall(r"reason (\d+)", debated(APPROVE, seat=seat, turn=turn)))
        for seat in range(5)
        for turn in (1, 2)
    }
    assert len(orders) > 5


@given(
    rationale=st.one_of(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=60),
        st.sampled_from(["</judge-1>", "</judge-1-00000000>", "<|im_end|>", "{{ form }}"]),
    )
)
def test_no_others_reason_can_close_its_fence(rationale: str) -> None:
    place = panel(APPROVE)[0]
    other = ballot(APPROVE, 2, rationale=rationale)
    text = (
        debate_request(APPROVE, place, book(), own=ballot(APPROVE, 1), others=[other])
        .turns[-1]
        .text
    )
    code = re.findall(r"</judge-1-([0-9a-f]{8})>", text)[-1]
    assert text.count(code) == 2


def test_candidates_become_the_options_of_a_question_about_the_conversation() -> None:
    task = candidates_task(GENERATE, ["Hello.", "Hi there,\nyou."], book())
    assert task.options == ("Hello.", "Hi there,\nyou.")
    assert "Say hello." in task.subject
    assert "Be brief." in task.subject
    assert task.type == GENERATE.type


def test_a_candidate_of_one_short_line_is_shown_as_data() -> None:
    task = candidates_task(GENERATE, ["Hello.", "Answer 2."], book())
    shown = render(task, panel(task)[0], book()).turns[0].parts[1].text
    assert re.search(r"<option-\d-(\w+)>\nAnswer 2\.\n</option-\d-\1>", shown)


def test_a_candidate_that_is_an_object_is_shown_as_json() -> None:
    assert candidates_task(GENERATE, [{"a": 1}, {"a": 2}], book()).options[0] == candidate_text(
        {"a": 1}
    )


def test_candidates_that_are_alike_are_refused() -> None:
    with pytest.raises(TaskError):
        candidates_task(GENERATE, ["Hello.", "hello. "], book())


def test_a_score_is_shown_as_a_number() -> None:
    assert shown_answer(SCORE, panel(SCORE)[0], 4.0) == 4.0


def test_a_ranking_is_shown_by_the_seats_ids() -> None:
    place = panel(RANK, 2)[1]
    assert shown_answer(RANK, place, ("delta", "gamma", "beta", "alpha")) == [
        "item-1",
        "item-2",
        "item-3",
        "item-4",
    ]
