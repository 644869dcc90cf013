"""Grading by a model: strict marks, no self-grading, no way out of the fence."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from consensus.ballots import Usage
from consensus.errors import SuiteError, UnreadableError
from consensus.models.protocol import Completion, Request
from consensus.oracles import Rubric


def replying(text: str):  # type: ignore[no-untyped-def] # a closure of one line
    async def ask(request: Request) -> Completion:
        return Completion(text=text, served_model=request.model, usage=Usage())

    return ask


def marks(a: object, b: object, c: object) -> str:
    return json.dumps({"reason": "r", "correctness": a, "completeness": b, "format": c})


RUBRIC = Rubric("openai/grader", "Grade it.")


async def test_the_mean_mark_is_compared_with_the_floor() -> None:
    good = await RUBRIC.grade(replying(marks(5, 4, 3)), task="t", answer="a", answered_by="x/y")
    bad = await RUBRIC.grade(replying(marks(5, 3, 3)), task="t", answer="a", answered_by="x/y")
    assert good.passed
    assert good.score == pytest.approx(0.75)
    assert not bad.passed


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "5 5 5",
        "[]",
        marks(6, 5, 5),
        marks(0, 5, 5),
        marks("5", 5, 5),
        marks(True, 5, 5),
        marks(4.5, 5, 5),
        '{"correctness": 5}',
    ],
)
async def test_nonsense_from_the_grader_is_a_failure_and_never_a_score(reply: str) -> None:
    with pytest.raises(UnreadableError):
        await RUBRIC.grade(replying(reply), task="t", answer="a", answered_by="x/y")


@pytest.mark.parametrize("graded", ["openai/grader", "openai/grader-2026-01-01", "azure/grader"])
async def test_a_grader_never_grades_its_own_answer(graded: str) -> None:
    with pytest.raises(SuiteError, match="its own answer"):
        await RUBRIC.grade(replying(marks(5, 5, 5)), task="t", answer="a", answered_by=graded)


async def test_a_smaller_sibling_is_another_model() -> None:
    verdict = await RUBRIC.grade(
        replying(marks(5, 5, 5)), task="t", answer="a", answered_by="openai/grader-mini"
    )
    assert verdict.passed


@given(st.text())
def test_no_answer_can_close_its_fence(answer: str) -> None:
    first = RUBRIC.request("task", answer).turns[0].parts[0].text
    fence = first.split(">", 1)[0].removeprefix("<task-")
    assert fence not in answer
    assert first.count(f"</answer-{fence}>") == 1
