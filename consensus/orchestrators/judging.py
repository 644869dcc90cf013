"""Asking an oracle about an answer, live: code at once, a rubric through its grading model.

Whatever goes wrong gives a judgement without a verdict and never an exception, so that a broken
oracle stops an action and not the engine; lost records and our own bugs alone are raised.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from consensus.ballots import Answer, Ballot, Cost, Usage
from consensus.errors import ConsensusError, LedgerError, RunError, SuiteError
from consensus.models.context import CallContext
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.oracles import Oracle, PythonOracle, Rubric, Verdict
from consensus.oracles.rubric import same_model
from consensus.orchestrators.checks import Judgement, answer_sha256
from consensus.panel.asking import Caller
from consensus.tasks import Compare, Generate, Score, Task

__all__ = ["describe_task", "judge_answer", "plain", "served_by"]


def plain(answer: Answer) -> Any:
    """The answer as a JSON value."""
    return list(answer) if isinstance(answer, tuple) else answer


def describe_task(task: Task) -> str:
    """The task as a grader reads it."""
    if isinstance(task, Generate):
        return "\n\n".join(f"{message.role}: {message.content}" for message in task.messages)
    parts = [f"kind: {task.kind}"]
    if task.criteria:
        parts.append(f"criteria: {task.criteria}")
    if task.subject:
        parts.append(f"subject: {task.subject}")
    if isinstance(task, Compare):
        parts += [f"A: {task.a}", f"B: {task.b}"]
    elif isinstance(task, Score):
        parts.append(f"scale: {task.scale[0]:g} to {task.scale[1]:g}")
    elif task.options:
        parts += [f"option: {option}" for option in task.options]
    return "\n\n".join(parts)


def served_by(ballots: Iterable[Ballot]) -> tuple[str, ...]:
    """Every model that had a part in these ballots, as asked for and as served."""
    found: dict[str, None] = {}
    for ballot in ballots:
        found |= dict.fromkeys(name for name in (ballot.model, ballot.served_model) if name)
    return tuple(found)


async def judge_answer(
    name: str,
    oracle: Oracle,
    task: Task,
    answer: Answer,
    *,
    answered_by: Sequence[str],
    caller: Caller,
    context: CallContext,
) -> Judgement:
    """What the oracle says of an answer to a task.

    Args:
        name: the oracle's, in the policy.
        oracle: one that needs no reference.
        task: what was asked; a grader and a function with a ``task`` parameter see it.
        answer: what is judged.
        answered_by: the models behind the answer; a grader among them gives no verdict.
        caller: makes the grader's call.
        context: of the grader's call: its purse, deadline and place.

    Raises:
        LedgerError: the grading was paid for and could not be kept.
    """
    started = time.perf_counter()
    spent: list[CallRecord] = []
    said = Judgement(oracle=name, oracle_sha256=oracle.sha256, answer=answer_sha256(answer))
    update: dict[str, Any]
    try:
        if isinstance(oracle, Rubric):
            verdict = await _grade(oracle, task, answer, answered_by, caller, context, spent)
        else:
            verdict = await _run(oracle, task, answer, context)
        update = {"passed": verdict.passed, "score": verdict.score, "detail": verdict.detail}
    except LedgerError:
        raise
    except RunError as error:
        spent.extend(record for record in error.calls if record not in spent)
        update = {"detail": error.message, "failure": error.failure}
    except ConsensusError as error:
        update = {"detail": getattr(error, "message", str(error))}
    update |= {
        "grader": next((r.served_model for r in reversed(spent) if r.served_model), None),
        "calls": tuple(record.call_id for record in spent),
        "usage": sum((record.usage for record in spent), Usage()),
        "cost": Cost(pico_usd=sum(record.cost_pico for record in spent)),
        "latency_s": time.perf_counter() - started,
    }
    return said.model_copy(update=update)


async def _grade(
    rubric: Rubric,
    task: Task,
    answer: Answer,
    answered_by: Sequence[str],
    caller: Caller,
    context: CallContext,
    spent: list[CallRecord],
) -> Verdict:
    own = next((model for model in answered_by if same_model(rubric.grader, model)), None)

    async def ask(request: Request) -> Completion:
        completion, records = await caller.call(request, replace(context, purpose="grade"))
        spent.extend(records)
        return completion

    return await rubric.grade(
        ask,
        task=describe_task(task),
        answer=plain(answer),
        answered_by=own or next(iter(answered_by), ""),
    )


async def _run(oracle: Oracle, task: Task, answer: Answer, context: CallContext) -> Verdict:
    """Code's verdict: the user's own in a thread, so that it may wait without stopping others.

    A thread cannot be stopped from outside: past the deadline it is left to end by itself, and what
    it says then counts for nothing.
    """
    context.deadline.check()
    if not isinstance(oracle, PythonOracle):
        try:
            return oracle.judge(plain(answer))
        except RecursionError:
            raise SuiteError("the answer is nested too deeply to be judged") from None
    left = context.deadline.left()
    work = asyncio.to_thread(
        oracle.judge, plain(answer), task=task.model_dump(mode="json", by_alias=True)
    )
    try:
        return await asyncio.wait_for(work, None if left == float("inf") else left)
    except TimeoutError:
        context.deadline.check()
        raise SuiteError("gave no verdict in time") from None
