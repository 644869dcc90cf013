"""One worker process of a benchmark run: it asks, and tells the driver what it has paid for.

Nothing of it is on this machine's disk. The driver puts every answer on the run's own tape as it
arrives, and assembles the run from there as if it had asked itself.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from consensus.benchmark.calling import HaltedError, RunBudget, RunCaller, answer
from consensus.benchmark.paid import Answers, Told
from consensus.benchmark.plan import Job
from consensus.cluster.budget import CapError, Funds, held_to
from consensus.cluster.lease import Driver, end_all, ended_with
from consensus.cluster.shipping import Shipment
from consensus.cluster.worker import FarTill, said
from consensus.errors import ConsensusError, FailureClass
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.gateway import Gateway
from consensus.models.protocol import CallRecord
from consensus.models.sharing import Divided, Sharing
from consensus.models.tape import Paid
from consensus.oracles import Rubric
from consensus.orchestrators.together import together
from consensus.panel.book import PromptBook

__all__ = ["Asker", "AskerSetup", "Ended", "Question"]


@dataclass(frozen=True, slots=True)
class Question:
    """One job, and the answers that its earlier parts have (to be repaired, or graded)."""

    job: Job
    known: tuple[Told, ...] = ()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a block ended.

    Attributes:
        sent: calls that were made.
        halted: models that cannot be asked now, with the class and the message of why.
        capped: jobs for which there was no money.
        error: the class and the line of what ended the block.
    """

    sent: int = 0
    halted: Mapping[str, tuple[FailureClass, str]] | None = None
    capped: tuple[int, ...] = ()
    error: tuple[str, str] | None = None


STOPPED = Ended(error=("ConsensusError", "the run was stopped"))


@dataclass(frozen=True, slots=True)
class AskerSetup:
    """What every worker of a run is told. It holds no key and no password.

    Attributes:
        shipment: the policy.
        rubrics: by task type; other oracles ask nobody, and the driver goes by them.
        context_guard: how much of a model's window a question may fill.
        concurrency: jobs at once for each provider in this worker.
        processes: how many workers there are.
        cap_pico: what the run may cost; None: no cap.
        waits_s: how long a busy provider is waited for.
        driver: whose workers they are; None: nobody's that could be told.
    """

    shipment: Shipment
    rubrics: Mapping[str, Rubric]
    context_guard: float
    concurrency: int
    processes: int
    cap_pico: int | None = None
    waits_s: tuple[float, ...] | None = None
    driver: Driver | None = None


class _Block(Answers):
    """What is known of a block's requests, and what of it the driver has still to be told."""

    def __init__(self, questions: Sequence[Question]) -> None:
        super().__init__()
        self._paid: dict[str, Paid] = {}
        for question in questions:
            self._paid |= {told.key: told.paid for told in question.known if told.paid}
        self._news: list[Told] = []
        self._told = asyncio.Event()

    def recall(self, key: str) -> Paid | None:
        return self._paid.get(key)

    def _answered(self, call: CallRecord) -> None:
        assert call.completion is not None  # noqa: S101 - it did not fail
        paid = Paid(
            call.completion, call.call_id, call.decision_id, call.cost_pico, call.price_basis
        )
        self._paid[call.key] = paid
        self._tell(Told(call.key, paid))

    def _append(self, line: Mapping[str, Any]) -> None:
        self._tell(Told(str(line["key"]), line=line))

    def _tell(self, told: Told) -> None:
        self._news.append(told)
        self._told.set()

    async def news(self, until: asyncio.Future[Any]) -> AsyncIterator[list[Told]]:
        """What becomes known, until that is done."""
        until.add_done_callback(lambda _: self._told.set())
        while not until.done():
            await self._told.wait()
            self._told.clear()
            if self._news:
                news, self._news = self._news, []
                yield news
        if self._news:
            yield self._news


_BLOCK: ContextVar[_Block] = ContextVar("block")


class _Sink:
    """Hands records to the block for which the call was made."""

    survives_cancellation = True

    async def record(self, call: CallRecord) -> None:
        await _BLOCK.get().record(call)


class Asker:
    """A process of its own, by Ray. Its keys are those of its environment."""

    def __init__(self, setup: AskerSetup, till: Any = None) -> None:
        self._setup = setup
        self._till = till
        self._running: set[asyncio.Future[Any]] = set()
        self._book: PromptBook | None = None
        self._gateway: Gateway | None = None
        self._sharing: Sharing | None = None
        self._watching: asyncio.Task[None] | None = None
        self._places: dict[str, asyncio.Semaphore] = defaultdict(
            lambda: asyncio.Semaphore(setup.concurrency)
        )

    async def begin(self) -> tuple[str, str] | None:
        """Read the policy; the class and the line of why it cannot work."""
        folder = Path(tempfile.mkdtemp(prefix="consensus-worker-"))
        try:
            rules = self._setup.shipment.read(folder)
            table = rules.table
            sharing = table.sharing() or Divided.among(self._setup.processes)
            if self._setup.cap_pico is not None:
                sharing = held_to(Funds(FarTill(self._till), self._setup.cap_pico), sharing)
            clients = ClientFactory(table.provider_settings(), rules.prices)
            self._gateway = Gateway(clients, rules.prices, sink=_Sink(), sharing=sharing)
            self._book, self._sharing = rules.book, sharing
        except ConsensusError as error:
            return said(error)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        if self._setup.driver is not None:
            watch = ended_with(self._setup.driver, None, self.stop)
            self._watching = asyncio.create_task(watch)
        return None

    async def process_id(self) -> int:
        """The process's id on its machine."""
        return os.getpid()

    async def ask(self, questions: Sequence[Question]) -> AsyncIterator[list[Told] | Ended]:
        """Ask a block; what becomes known, as it does; at last how it ended."""
        block = _Block(questions)
        _BLOCK.set(block)
        asking = asyncio.ensure_future(self._asked(questions, block))
        self._running.add(asking)
        try:
            async for news in block.news(asking):
                yield news
            yield STOPPED if asking.cancelled() else asking.result()
        finally:
            asking.cancel()
            self._running.discard(asking)

    async def _asked(self, questions: Sequence[Question], block: _Block) -> Ended:
        gateway, book, setup = self._gateway, self._book, self._setup
        assert gateway is not None  # noqa: S101 - begin() came first
        assert book is not None  # noqa: S101
        caller = RunCaller(gateway, block)
        if setup.waits_s is not None:
            caller = RunCaller(gateway, block, waits_s=setup.waits_s)
        budget = RunBudget(None)
        halted: dict[str, tuple[FailureClass, str]] = {}
        capped: list[int] = []

        async def one(job: Job) -> None:
            async with self._places[provider_of(job.model)]:
                if job.model in halted:
                    return
                rubric = setup.rubrics.get(job.case.type)
                guard = setup.context_guard
                try:
                    await answer(job, rubric, caller, budget, book=book, context_guard=guard)
                except HaltedError as error:
                    halted.setdefault(error.model, (error.failure, str(error)))
                except CapError:
                    capped.append(job.index)

        error = None
        try:
            await together(one(question.job) for question in questions)
        except ConsensusError as ended:
            error = said(ended)
        return Ended(caller.sent - len(capped), halted, tuple(capped), error)  # those were not made

    async def stop(self) -> None:
        """End what runs."""
        await end_all(self._running, self._watching)
        if self._gateway is not None:
            await self._gateway.aclose()
        if self._sharing is not None:
            await self._sharing.aclose()
