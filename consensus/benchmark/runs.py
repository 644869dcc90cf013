"""Live runs: a suite put to models, judged, kept, and taken up again where it was left.

See ``design/runs.md``. :func:`open_run` checks everything that can be checked before a call is
made; :class:`Run` then estimates or runs.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tomllib
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, Self

from consensus._version import __version__
from consensus.ballots import PICO
from consensus.batching import Batching
from consensus.benchmark.calling import HaltedError, RunBudget, RunCaller, answer
from consensus.benchmark.judging import grader_clash
from consensus.benchmark.paid import PaidAnswers
from consensus.benchmark.plan import Job, Plan, make_jobs
from consensus.benchmark.results import Answered, figures, write_results
from consensus.benchmark.suites import Suite
from consensus.errors import DataError, SuiteError
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.gateway import Gateway
from consensus.models.hashing import request_key
from consensus.models.prices import PriceBook
from consensus.models.protocol import ModelClient
from consensus.models.sharing import Sharing
from consensus.oracles import PythonOracle, Rubric
from consensus.panel.book import PromptBook
from consensus.panel.rendering import render
from consensus.policy.table import PolicyTable
from consensus.strangers import read_json

__all__ = ["Elsewhere", "Run", "RunOutcome", "open_run", "prepare"]

RUN_FORMAT = 1

Progress = Callable[[Job, Answered | None], None]
"""Told of every job that is done, or was left open (None)."""


@dataclass(slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        jobs: how many answers the plan wants.
        answers: how many there are now; the run is complete when there are all.
        over_budget: jobs that the cap left open.
        halted: models that could not be asked now, with why.
        models: figures by model (:func:`~consensus.benchmark.results.figures`).
        spent_pico: everything paid in this folder so far, in pico-dollars.
        sent: calls that were made this time.
    """

    folder: Path
    jobs: int
    answers: int = 0
    over_budget: int = 0
    halted: dict[str, HaltedError] = field(default_factory=dict)
    models: dict[str, dict[str, Any]] = field(default_factory=dict)
    spent_pico: int = 0
    sent: int = 0

    @property
    def complete(self) -> bool:
        """Whether every question has its answer or its failure."""
        return self.answers == self.jobs


class Elsewhere(Protocol):
    """Asks a run's questions in other processes."""

    def asked(
        self, run: Run, outcome: RunOutcome, cap_pico: int | None, concurrency: int
    ) -> AsyncGenerator[Job, None]:
        """The jobs of which all that is wanted is in ``run.paid``, as they come to be so.

        Whom it found it cannot ask, and how many calls it made, it writes into the outcome.
        """


@dataclass(slots=True)
class Run:
    """A run folder that is held by this process. Made by :func:`open_run`."""

    folder: Path
    suite: Suite
    plan: Plan
    jobs: list[Job]
    book: PromptBook
    table: PolicyTable
    prices: PriceBook
    paid: PaidAnswers
    clients: Mapping[str, ModelClient] | None = None
    waits_s: tuple[float, ...] | None = None
    _caller: RunCaller | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.paid.close()

    @property
    def context_guard(self) -> float:
        """How much of a model's window a question may fill."""
        return self.table.defaults.context_guard or 0.8

    @property
    def graders(self) -> tuple[str, ...]:
        """Models that mark answers by a rubric."""
        oracles = (self.suite.types[name].oracle for name in {c.type for c in self.suite.cases})
        return tuple(sorted({o.grader for o in oracles if isinstance(o, Rubric)}))

    async def go(
        self,
        *,
        max_usd: float | None = None,
        concurrency: int = 100,
        progress: Progress | None = None,
        batch: Batching | None = None,
        elsewhere: Elsewhere | None = None,
    ) -> RunOutcome:
        """Ask what is not yet asked, judge it, and write the results.

        Whatever ends it, what was answered is on disk, and the results are written from it.

        Args:
            max_usd: the most that this folder may ever cost, earlier parts included.
            concurrency: jobs under way at once for each provider, within its own limits.
            progress: told of every job.
            batch: ask through the providers' batch endpoints; a batch holds as many calls as there
                are jobs under way at once.
            elsewhere: who asks in other processes; what it leaves open is asked here.

        Raises:
            SuiteError: an oracle broke.
            DataError: the folder cannot be written.
        """
        for name in {case.type for case in self.suite.cases}:
            oracle = self.suite.types[name].oracle
            if isinstance(oracle, PythonOracle):
                oracle.prepare()
        cap = None if max_usd is None else round(max_usd * PICO)
        outcome = RunOutcome(self.folder, len(self.jobs))
        answers: dict[int, Answered] = {}
        sharing = self.table.sharing()
        gateway = self._gateway(batch, sharing)
        caller = RunCaller(gateway, self.paid)
        if self.waits_s is not None:
            caller = RunCaller(gateway, self.paid, waits_s=self.waits_s)

        async def one(job: Job, budget: RunBudget, *, known: bool = False) -> None:
            answered = None
            if known or job.model not in outcome.halted:
                try:
                    answered = await answer(
                        job,
                        self.suite.oracle(job.case),
                        caller,
                        budget,
                        book=self.book,
                        context_guard=self.context_guard,
                    )
                    outcome.over_budget += answered is None
                except HaltedError as error:
                    outcome.halted.setdefault(error.model, error)
            if answered is not None:
                answers[job.index] = answered
            if progress is not None:
                progress(job, answered)

        async def lane(jobs: list[Job], budget: RunBudget) -> None:
            waiting = iter(jobs)

            async def worker() -> None:
                for job in waiting:
                    await one(job, budget)

            async with asyncio.TaskGroup() as group:
                for _ in range(min(concurrency, len(jobs))):
                    group.create_task(worker())

        try:
            if elsewhere is not None:
                async with aclosing(elsewhere.asked(self, outcome, cap, concurrency)) as asked:
                    async for job in asked:
                        await one(job, RunBudget(0), known=True)
            left = [job for job in self.jobs if job.index not in answers]
            budget = RunBudget(cap, spent_pico=self.paid.spent_pico)
            async with asyncio.TaskGroup() as group:
                for jobs in by_provider(left).values():
                    group.create_task(lane(self._known_first(jobs), budget))
        except BaseExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            outcome.sent += caller.sent
            try:
                self._keep(outcome, answers)
            finally:
                await gateway.aclose()
                if sharing is not None:
                    await sharing.aclose()
        return outcome

    def _keep(self, outcome: RunOutcome, answers: Mapping[int, Answered]) -> None:
        """Write the results of what was answered."""
        outcome.spent_pico = self.paid.spent_pico
        outcome.answers = len(answers)
        outcome.models = figures(answers.values(), self.plan.models)
        write_results(self.folder, self.suite, list(answers.values()), self._manifest(outcome))

    def _gateway(self, batch: Batching | None, sharing: Sharing | None) -> Gateway:
        """Live, or in batches; with the limits and the budget that the policy shares."""
        settings, tape = self.table.provider_settings(), self.paid.tape
        if batch is not None:
            return batch.gateway(
                settings,
                self.prices,
                clients=self.clients,
                sink=self.paid,
                tape=tape,
                sharing=sharing,
            )
        clients = ClientFactory(settings, self.prices, overrides=self.clients or {})
        return Gateway(clients, self.prices, sink=self.paid, tape=tape, sharing=sharing)

    def _known_first(self, jobs: Sequence[Job]) -> list[Job]:
        """What is paid for already goes ahead: a run that is cut short still shows all of it."""

        def is_open(job: Job) -> bool:
            request = render(job.case.task, job.seat, self.book)
            return not self.paid.asked(request_key(request))

        return sorted(jobs, key=is_open)

    def _manifest(self, outcome: RunOutcome) -> dict[str, Any]:
        prices = {}
        for model in (*self.plan.models, *self.graders):
            rates = self.prices.price(model).per_million()
            prices[model] = {"input": rates["input"], "output": rates["output"]}
        notes = []
        if not outcome.complete:
            open_ = outcome.jobs - outcome.answers
            notes.append(f"{open_:,} of {outcome.jobs:,} questions are still open")
        return {
            "format": RUN_FORMAT,
            "name": self.suite.name,
            "prices": prices,
            "sample_is_order": False,
            "state": "complete" if outcome.complete else "partial",
            "source": {
                "suite": self.suite.name,
                "revision": self.suite.revision,
                "suite_sha256": self.suite.sha256,
                "oracles": {n: t.oracle.sha256 for n, t in sorted(self.suite.types.items())},
                "graders": list(self.graders),
                "prompts_sha256": self.book.sha256,
                "prices_sha256": self.prices.sha256,
                "plan": self.plan.to_json(),
                "consensus": __version__,
            },
            "models": outcome.models,
            "spent_usd": self.paid.spent_pico / PICO,
            "report": {"notes": notes},
        }


def by_provider(jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """The jobs of each provider, in the order in which they are begun.

    By case, so that a run that is cut short has all models on the same cases; but models that run
    on this machine one after the other, because changing between them means loading them again.
    """
    lanes: dict[str, list[Job]] = defaultdict(list)
    for job in jobs:
        lanes[provider_of(job.model)].append(job)
    for provider, lane in lanes.items():
        if provider == "local":
            lane.sort(key=lambda job: job.model)
    return lanes


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    return errors


async def open_run(
    suite: Suite,
    plan: Plan,
    folder: str | Path,
    *,
    table: PolicyTable,
    prices: PriceBook,
    book: PromptBook,
    clients: Mapping[str, ModelClient] | None = None,
    retry_failed: bool = False,
    waits_s: tuple[float, ...] | None = None,
) -> Run:
    """Open a run folder, a new one or one to go on with.

    A folder that was begun with other models, framings or samples of the same suite is continued
    with both: nothing that was paid for is lost.

    Args:
        suite: what is asked.
        plan: who is asked, and how.
        folder: made if needed.
        table: providers and their limits.
        prices: of all models, graders included.
        book: the prompts.
        clients: provider → client, in place of the real ones.
        retry_failed: ask again what ended without an answer before.
        waits_s: how long a busy provider is waited for; None for the usual waits.

    Raises:
        DataError: the folder holds another run, or another process holds it.
        PriceError: a model has no known price.
        SuiteError: a model would grade its own answers, or no framing suits a kind.
        PromptError: an unknown framing.
    """
    path = Path(folder)
    plan, jobs = await prepare(suite, plan, path, prices=prices, book=book)
    paid = PaidAnswers(path)
    try:
        if retry_failed:
            paid.forgive()
        _keep(path, suite, plan, book)
    except OSError as error:
        paid.close()
        raise DataError(
            f"cannot be written: {error.strerror}", where=str(error.filename or path)
        ) from None
    except BaseException:
        paid.close()
        raise
    return Run(path, suite, plan, jobs, book, table, prices, paid, clients, waits_s)


async def prepare(
    suite: Suite, plan: Plan, folder: Path, *, prices: PriceBook, book: PromptBook
) -> tuple[Plan, list[Job]]:
    """The plan that this folder would have, and its jobs; everything is checked, nothing written.

    Raises:
        As :func:`open_run`.
    """
    plan = _joined(folder, suite, plan, book)
    for model in plan.models:
        provider_of(model)
        prices.price(model)
    jobs = make_jobs(suite, plan, book)
    for name, given in suite.types.items():
        if isinstance(given.oracle, Rubric):
            prices.price(given.oracle.grader)
            for model in plan.models:
                if await grader_clash(given.oracle, model):
                    raise SuiteError(
                        f'{model} would grade its own answers to "{name}"',
                        where=str(suite.folder / "suite.toml"),
                        fix="name another grader, or leave this model out",
                    )
    return plan, jobs


def _joined(folder: Path, suite: Suite, plan: Plan, book: PromptBook) -> Plan:
    """The plan together with what the folder was asked for before."""
    where = folder / "run.json"
    if not where.exists():
        foreign = [n for n in ("manifest.json", "answers.jsonl") if (folder / n).exists()]
        if foreign:
            raise DataError(
                f"holds {foreign[0]}, and no live run", where=str(folder), fix="name another folder"
            )
        return plan
    try:
        data = read_json(where)
        earlier = Plan.from_json(data["plan"])
        identity = data["suite_sha256"], data["prompts_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(where)) from None
    if identity[0] != suite.sha256:
        raise DataError(
            "this run was begun with another suite, or with this one before it was changed",
            where=str(folder),
            fix="name another folder with --out",
        )
    if identity[1] != book.sha256:
        raise DataError(
            "the prompts were changed since this run was begun: its answers are to other questions",
            where=str(folder),
            fix="name another folder with --out",
        )
    return plan.union(earlier)


def _keep(folder: Path, suite: Suite, plan: Plan, book: PromptBook) -> None:
    """Write what identifies the run, and a copy of the suite with the files of its oracles."""
    where = folder / "run.json"
    started = datetime.now(UTC).isoformat(timespec="seconds")
    if where.exists():
        started = json.loads(where.read_text(encoding="utf-8"))["started"]
    data = {
        "format": RUN_FORMAT,
        "suite": suite.name,
        "suite_sha256": suite.sha256,
        "prompts_sha256": book.sha256,
        "plan": plan.to_json(),
        "started": started,
        "consensus": __version__,
    }
    part = where.with_suffix(".json.part")
    part.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    part.replace(where)
    copy = folder / "suite"
    if not copy.exists() and suite.folder.resolve() != copy.resolve():
        half = folder / "suite.part"
        shutil.rmtree(half, ignore_errors=True)
        for name in ("suite.toml", "cases.jsonl", *_oracle_files(suite.folder / "suite.toml")):
            target = half / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(suite.folder / name, target)
        half.replace(copy)


def _oracle_files(path: Path) -> list[str]:
    """The files that a suite's oracles name; they lie in its folder (that was checked)."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    tables = [data.get("oracle"), *(t.get("oracle") for t in data.get("types", {}).values())]
    return sorted({t["file"] for t in tables if isinstance(t, dict) and "file" in t})
