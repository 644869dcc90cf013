"""A benchmark run whose questions are asked by worker processes on Ray (design/cluster.md)."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from consensus.benchmark.calling import HaltedError, RunBudget, answer
from consensus.benchmark.paid import PaidAnswers, Told
from consensus.benchmark.plan import Job
from consensus.benchmark.runs import Run, RunOutcome
from consensus.cluster.asker import Asker, AskerSetup, Ended, Question
from consensus.cluster.budget import Till
from consensus.cluster.connecting import connected
from consensus.cluster.crew import DEATHS, Crew, Slot, raised
from consensus.cluster.cutting import cut, divided, most_workers
from consensus.cluster.lease import this_driver
from consensus.cluster.shipping import pack
from consensus.errors import ConsensusError, DataError
from consensus.models.context import CallContext
from consensus.models.factory import provider_of
from consensus.models.hashing import request_key
from consensus.models.protocol import CallRecord, Completion, Request
from consensus.oracles import Rubric
from consensus.orchestrators.together import in_order

__all__ = ["RunOnRay"]

OFTEN = 100


class _OpenError(ConsensusError):
    """A request of a job has no answer yet."""


class _Looking:
    """Answers from what is paid for, and asks nobody."""

    def __init__(self, paid: PaidAnswers) -> None:
        self._paid = paid
        self.found: list[Told] = []

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        key = request_key(request)
        known = self._paid.known(request, key)
        if known is None:
            raise _OpenError("not asked yet")
        self.found.append(Told(key, self._paid.recall(key)))
        return known


class _Askers(Crew):
    """Workers that ask."""

    worker = Asker
    kept = "what it had told of is kept"

    def __init__(
        self, setup: AskerSetup, paid: PaidAnswers, till: Till | None, say: Callable[[str], None]
    ) -> None:
        super().__init__(setup.processes, till=till, say=say)
        self._given = setup
        self._paid = paid

    def _setup(self, slot: Slot) -> AskerSetup:
        return self._given

    async def ask(self, questions: Sequence[Question]) -> Ended | None:
        """Have a block asked, keeping what comes; None where the worker died over it."""

        async def work(actor: Any) -> Ended:
            stream = actor.ask.options(num_returns="streaming").remote(list(questions))
            async for arrived in stream:
                said: list[Told] | Ended = await arrived
                if isinstance(said, Ended):
                    return said
                for told in said:
                    self._paid.take(told)
            raise DataError("a worker ended a block without a word", where="ray")

        return await self._tried(work)


@dataclass
class RunOnRay:
    """Workers that ask the questions of a run.

    Attributes:
        policy: what the run's table was read from; shipped to the workers.
        workers: how many processes; None: one for each CPU of the cluster.
        say: told, in a line, what the user should know.
        crew: the workers, while they are there.
    """

    policy: str | Path | None = None
    workers: int | None = None
    say: Callable[[str], None] = lambda _: None
    crew: _Askers | None = None

    async def asked(
        self, run: Run, outcome: RunOutcome, cap_pico: int | None, concurrency: int
    ) -> AsyncGenerator[Job, None]:
        """As :meth:`consensus.benchmark.runs.Elsewhere.asked`."""
        left: list[Question] = []
        for number, job in enumerate(run.jobs):
            if number % OFTEN == 0:
                await asyncio.sleep(0)  # ^C is heard while a long run is looked through
            question = await _open(run, job)
            if question is None:
                yield job
            else:
                left.append(question)
        if not left:
            return
        with connected(self.workers) as there:  # at once where the caller is connected
            many = min(there, most_workers(run.table), concurrency)
            self.say(divided(run.table, many))
            till = None
            if cap_pico is not None:
                till = Till(cap_pico, spent_pico=run.paid.spent_pico, processes=many)
            each = max(1, concurrency // many)
            types = {name: given.oracle for name, given in run.suite.types.items()}
            setup = AskerSetup(
                pack(run, self.policy),
                {name: oracle for name, oracle in types.items() if isinstance(oracle, Rubric)},
                run.context_guard,
                each,
                many,
                cap_pico,
                run.waits_s,
                this_driver(),
            )
            async with _Askers(setup, run.paid, till, self.say) as crew:
                self.crew = crew

                async def block(questions: list[Question]) -> list[Job]:
                    return await _asked(run, outcome, crew, questions)

                blocks = cut(_groups(run, left), each, many)
                async with aclosing(in_order(blocks, block, crew.places)) as ended:
                    async for jobs in ended:
                        for job in jobs:
                            yield job


async def _asked(
    run: Run, outcome: RunOutcome, crew: _Askers, questions: list[Question]
) -> list[Job]:
    """Have a block asked; its jobs of which all is known then."""
    jobs = [question.job for question in questions]
    ended = None
    for _ in range(DEATHS):
        wanted = [q for q in questions if q.job.model not in outcome.halted]
        ended = await crew.ask(wanted) if wanted else Ended()
        looked = {job.index: await _open(run, job) for job in jobs}
        questions = [question for question in looked.values() if question is not None]
        if ended is not None:
            break
    if ended is None:
        raise DataError(
            f"{DEATHS} workers died one after another over the same cases, the first of them "
            f'"{jobs[0].case.id}" (is there memory enough? what is finished is kept)',
            where=str(run.folder),
        )
    outcome.sent += ended.sent
    for model, (failure, message) in (ended.halted or {}).items():
        outcome.halted.setdefault(model, HaltedError(model, failure, message))
    if ended.error is not None:
        raise raised(*ended.error)
    return [job for job in jobs if looked[job.index] is None]


async def _open(run: Run, job: Job) -> Question | None:
    """What is still to be asked of a job; None where all is known."""
    looking = _Looking(run.paid)
    oracle = run.suite.oracle(job.case)
    try:
        await answer(
            job,
            oracle if isinstance(oracle, Rubric) else None,
            looking,
            RunBudget(0),
            book=run.book,
            context_guard=run.context_guard,
        )
    except _OpenError:
        return Question(job, tuple(looking.found))
    return None


def _groups(run: Run, questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Questions that can come to equal requests together, for one worker to pay for once.

    That is all of equal tasks. Models on this machine stand last, one after another, unless
    answers are graded: then a model's answer may be another's too.
    """
    apart = not run.graders
    groups: dict[tuple[str, str], list[Question]] = defaultdict(list)
    for question in questions:
        job = question.job
        task = job.case.task.model_dump_json(exclude={"id", "type"})
        here = apart and provider_of(job.model) == "local"
        groups[job.model if here else "", sha256(task.encode()).hexdigest()].append(question)
    for _, group in sorted(groups.items(), key=lambda item: item[0][0]):
        yield group
