from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest

from consensus.ballots import Ballot, Failure, Usage
from consensus.errors import (
    BudgetError,
    DeadlineError,
    FailureClass,
    GuardError,
    PromptError,
    ProviderError,
    RunError,
)
from consensus.models.gateway import CallContext
from consensus.models.protocol import Budget, CallRecord, Completion, Deadline, Request
from consensus.panel.asking import ask
from consensus.panel.rendering import render
from consensus.tasks import Task
from tests.panel.helpers import APPROVE, CHOOSE, GENERATE, book, panel, said

GOOD = '{"rationale": "why", "answer": "approve", "confidence": 0.8}'


def record(completion: Completion | None = None, **more: Any) -> CallRecord:
    return CallRecord(
        call_id=more.pop("call_id", "call"),
        decision_id="d",
        seat=0,
        purpose="ballot",
        attempt=1,
        requested_model="scripted/a",
        key="k",
        started_at=0.0,
        usage=completion.usage if completion else Usage(input=3),
        cost_pico=more.pop("cost_pico", 7),
        latency_s=0.25,
        **more,
    )


@dataclass
class Scripted:
    """A gateway that gives these answers, or raises these errors, in turn."""

    answers: list[Completion | RunError | BaseException]
    asked: list[tuple[Request, CallContext]] = field(default_factory=list)
    ids: Any = field(default_factory=lambda: count(1))

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        self.asked.append((request, ctx))
        answer = self.answers[len(self.asked) - 1]
        if isinstance(answer, RunError):
            answer.calls = (record(call_id=f"c{next(self.ids)}"),)
            raise answer
        if isinstance(answer, BaseException):
            raise answer
        return answer, (record(answer, call_id=f"c{next(self.ids)}"),)


def context() -> CallContext:
    return CallContext(
        decision_id="d",
        seat=99,
        purpose="ballot",
        task_type="t",
        budget=Budget(None),
        deadline=Deadline(None),
    )


async def asked(
    *answers: Completion | BaseException,
    task: Task = APPROVE,
    form: Any = "structured",
    **more: Any,
) -> tuple[Ballot | Failure, Scripted]:
    gateway = Scripted(list(answers))
    seat = panel(task, 2, form)[1]
    return await ask(task, seat, gateway, context(), book(), **more), gateway


async def test_a_good_answer_is_a_ballot_of_its_seat() -> None:
    ballot, gateway = await asked(said(GOOD))
    assert isinstance(ballot, Ballot)
    assert (ballot.seat, ballot.model, ballot.framing) == (1, "scripted/a", "rule-by-rule")
    assert (ballot.answer, ballot.confidence, ballot.rationale) == ("approve", 0.8, "why")
    assert (ballot.order, ballot.served_model) == ((1, 0), "scripted/a")
    assert (ballot.calls, ballot.cost.pico_usd, ballot.latency_s) == (("c1",), 7, 0.25)
    assert ballot.usage == Usage(input=10, output=5)
    assert len(gateway.asked) == 1


async def test_the_context_is_that_of_the_seat_and_the_callers_own_is_untouched() -> None:
    own = context()
    gateway = Scripted([said("nonsense, of some length"), said(GOOD)])
    await ask(APPROVE, panel(APPROVE, 2)[1], gateway, own, book())
    assert [(ctx.seat, ctx.purpose) for _, ctx in gateway.asked] == [(1, "ballot"), (1, "repair")]
    assert (own.seat, own.purpose) == (99, "ballot")


@pytest.mark.parametrize("text", ["nonsense", '{"answer": "maybe"}', '{"answer": 3.5}', "{"])
async def test_an_unreadable_answer_is_repaired_once(text: str) -> None:
    ballot, _ = await asked(said(text), said(GOOD))
    assert isinstance(ballot, Ballot)
    assert (ballot.calls, ballot.cost.pico_usd, ballot.latency_s) == (("c1", "c2"), 14, 0.5)
    assert ballot.usage == Usage(input=20, output=10)


async def test_a_repair_shows_the_reply_what_was_wrong_and_the_form() -> None:
    _, gateway = await asked(said('{"answer": "maybe"}'), said(GOOD))
    first, again = gateway.asked[0][0], gateway.asked[1][0]
    assert again.turns[:1] == first.turns
    assert [turn.role for turn in again.turns] == ["user", "assistant", "user"]
    assert again.turns[1].text == '{"answer": "maybe"}'
    assert "none of the 2 that were offered" in again.turns[2].text
    assert '"answer": "reject" or "approve"' in again.turns[2].text
    assert again.output_schema == first.output_schema


async def test_an_empty_reply_makes_no_turn_of_its_own() -> None:
    ballot, gateway = await asked(said(""), said(GOOD))
    assert isinstance(ballot, Ballot)
    again = gateway.asked[1][0]
    assert [turn.role for turn in again.turns] == ["user"]
    assert again.turns[0].parts[:-1] == gateway.asked[0][0].turns[0].parts


async def test_a_second_unreadable_answer_is_a_failure_with_both_calls() -> None:
    failure, gateway = await asked(said("{"), said('{"answer": "maybe"}'))
    assert isinstance(failure, Failure)
    assert (failure.failure, failure.calls, failure.cost.pico_usd) == ("off_list", ("c1", "c2"), 14)
    assert len(gateway.asked) == 2


@pytest.mark.parametrize(
    ("completion", "expected"),
    [
        (said("", finish="refusal"), "refusal"),
        (said('{"answer": "app', finish="length"), "truncated"),
    ],
)
async def test_refusals_and_cut_replies_are_not_asked_for_again(
    completion: Completion, expected: FailureClass
) -> None:
    failure, gateway = await asked(completion)
    assert isinstance(failure, Failure)
    assert (failure.failure, len(gateway.asked)) == (expected, 1)


async def test_a_tie_of_probabilities_is_not_asked_for_again() -> None:
    failure, gateway = await asked(said("reject", choice_probabilities=(0.5, 0.5)), form="token")
    assert isinstance(failure, Failure)
    assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    "error",
    [
        ProviderError("the provider is overloaded", failure="overloaded", retryable=True),
        GuardError("the window is too small"),
        BudgetError("no money is left"),
        DeadlineError("no time is left"),
    ],
)
async def test_an_error_while_running_is_a_failure_with_what_was_paid(error: RunError) -> None:
    failure, _ = await asked(error)
    assert isinstance(failure, Failure)
    assert (failure.failure, failure.message) == (error.failure, error.message)
    assert (failure.calls, failure.cost.pico_usd, failure.served_model) == (("c1",), 7, None)
    assert failure.usage == Usage(input=3)


async def test_a_repair_that_fails_says_what_came_before() -> None:
    failure, _ = await asked(said("{"), BudgetError("no money is left"))
    assert isinstance(failure, Failure)
    assert failure.failure == "budget"
    assert "offered; its repair failed: no money is left" in failure.message
    assert failure.calls == ("c1", "c2")
    assert failure.served_model == "scripted/a"


async def test_a_failures_message_holds_nothing_that_was_judged_or_said() -> None:
    failure, _ = await asked(said('{"answer": "canary-1"}'), said('{"answer": "canary-2"}'))
    assert isinstance(failure, Failure)
    assert "canary" not in failure.message
    assert "Lamp" not in failure.message


@pytest.mark.parametrize(
    "error", [asyncio.CancelledError(), RuntimeError("a bug"), PromptError("x")]
)
async def test_cancellation_bugs_and_wrong_declarations_are_raised(error: BaseException) -> None:
    with pytest.raises(type(error)):
        await asked(error)


async def test_a_request_given_is_sent_in_place_of_the_rendered_one() -> None:
    seat = panel(APPROVE, 2)[1]
    other = render(CHOOSE, panel(CHOOSE)[0], book())
    ballot, gateway = await asked(said(GOOD), request=other)
    assert isinstance(ballot, Ballot)
    assert gateway.asked[0][0] is other
    assert ballot.seat == seat.index


async def test_a_generated_text_is_a_ballot() -> None:
    ballot, _ = await asked(said("Hello."), task=GENERATE)
    assert isinstance(ballot, Ballot)
    assert ballot.answer == "Hello."


async def test_a_generation_is_repaired_without_a_form() -> None:
    ballot, gateway = await asked(said(" "), said("Hello."), task=GENERATE)
    assert isinstance(ballot, Ballot)
    assert gateway.asked[1][0].turns[-1].text.startswith("Say hello.")
