"""From a ballot to a verdict: what an answer is called, and what its case's oracle says of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

from consensus.ballots import Answer, Cost
from consensus.benchmark.cases import Case
from consensus.errors import RunError, SuiteError
from consensus.models.context import CallContext
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.oracles import Oracle, Rubric, Verdict
from consensus.orchestrators.judging import describe_task, plain
from consensus.panel.answers import scale_text
from consensus.panel.asking import Caller
from consensus.tasks import Generate, Rank, Score, Task

__all__ = ["Judged", "describe_task", "grader_clash", "judge", "option_name", "plain"]


@dataclass(frozen=True, slots=True)
class Judged:
    """An answer's verdict, or why there is none.

    Attributes:
        verdict: None where the grader gave no marks: never a score then.
        ungraded: why not.
        cost: of the grading.
        grader: the model that served it; None where no model was asked.
    """

    verdict: Verdict | None
    ungraded: str = ""
    cost: Cost = field(default_factory=Cost)
    grader: str | None = None


def option_name(task: Task, answer: Answer) -> str:
    """The name under which equal answers are counted together.

    The options' own words; a number as a person writes it; an order as the items' numbers
    (``2>1>3``); a text or an object by the hash of its canonical JSON.
    """
    if isinstance(task, Score):
        return scale_text(float(answer))  # type: ignore[arg-type]
    if isinstance(task, Rank):
        place = {item: str(number) for number, item in enumerate(task.items, 1)}
        return ">".join(place[item] for item in answer)  # type: ignore[union-attr]
    if isinstance(task, Generate):
        text = json.dumps(answer, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
        return "answer-" + hashlib.sha256(text.encode()).hexdigest()[:12]
    return str(answer)


async def judge(
    case: Case, oracle: Oracle, answer: Answer, *, served: str, caller: Caller, ctx: CallContext
) -> Judged:
    """Have one answer judged by its case's oracle; a rubric's grader is asked through ``caller``.

    Raises:
        SuiteError: the oracle is broken.
        HaltedError: the grader cannot be asked now.
    """
    if not isinstance(oracle, Rubric):
        try:
            return Judged(oracle.judge(answer, case.reference))
        except SuiteError as error:
            raise SuiteError(
                f'the oracle of "{case.type}" failed on case "{case.id}": {error.message}',
                where=error.where or case.where,
                fix=error.fix,
            ) from error
    spent: list[CallRecord] = []

    async def ask(request: Request) -> Completion:
        try:
            completion, records = await caller.call(request, ctx)
        except RunError as error:
            spent.extend(error.calls)
            raise
        spent.extend(records)
        return completion

    try:
        verdict = await oracle.grade(
            ask,
            task=describe_task(case.task),
            answer=plain(answer),
            answered_by=served,
            reference=case.reference,
        )
    except RunError as error:
        if error.failure == "budget":
            raise
        return Judged(None, error.failure, _cost(spent), _grader(spent))
    except SuiteError as error:
        return Judged(None, error.message, _cost(spent))
    return Judged(verdict, "", _cost(spent), _grader(spent))


def _cost(records: list[CallRecord]) -> Cost:
    return Cost(pico_usd=sum(record.cost_pico for record in records))


def _grader(records: list[CallRecord]) -> str | None:
    return next((r.served_model for r in reversed(records) if r.served_model), None)


async def grader_clash(rubric: Rubric, model: str) -> bool:
    """Whether this model is the rubric's own grader, under whatever name."""

    async def never(request: Request) -> Completion:
        raise _NoClashError

    try:
        await rubric.grade(never, task="", answer="", answered_by=model)
    except SuiteError:
        return True
    except _NoClashError:
        return False
    raise AssertionError("a grade without a call")


class _NoClashError(Exception):
    pass
