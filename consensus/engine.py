"""The front door: one task in, one decision out (design/engine.md)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Iterable,
    Mapping,
)
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from consensus.assembly import assemble, frontier_of
from consensus.ballots import Cost
from consensus.batching import Batching
from consensus.collecting import Collecting
from consensus.decisions import Decision, Frontier
from consensus.errors import ConsensusError, DeclarationError
from consensus.ledger.feedback import Label, LabelValue, give_label
from consensus.ledger.jobs import CallScope, PaidCalls
from consensus.ledger.place import ledger_path
from consensus.ledger.receipts import Receipt
from consensus.ledger.store import Ledger
from consensus.ledger.watch import Watcher
from consensus.ledger.watch.metrics import WatchMetrics
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.gateway import CallContext, Gateway
from consensus.models.ids import new_id
from consensus.models.observing import CallObserver
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, Deadline, ModelClient
from consensus.models.sharing import Divided
from consensus.models.tape import PaidSource, Tape
from consensus.orchestrators.together import both, in_order
from consensus.panel.book import PromptBook
from consensus.policy.check import reached_models
from consensus.policy.classify import asked_models, classify, needs_class, retyped
from consensus.policy.load import find_policy
from consensus.policy.oracles import graders
from consensus.policy.reload import POLL_S, PolicyStatus, Rules, Setup, Succession
from consensus.policy.route import Route, route
from consensus.policy.table import PolicyTable
from consensus.shadowing import ShadowCounts, Shadowing
from consensus.tasks import KINDS, Task, parse_task
from consensus.telemetry import Telemetry
from consensus.walking import Walk, Windows, ask_frontier, walk

__all__ = ["Engine", "in_order", "refused"]


class Engine:
    """Decides judgement tasks by a policy table, and keeps a receipt of each.

    Args:
        policy: a folder of ``*.toml``, one file, a :class:`PolicyTable`, or None: the project's
            ``strategies/`` in the current folder, else the packaged defaults.
        prompts: a folder with framings and templates over the packaged ones; None looks for
            ``prompts/`` beside the policy, then in the current folder.
        ledger: a path, a :class:`Ledger`, or False to keep none; None: ``$CONSENSUS_LEDGER``, the
            policy's ``[ledger]``, else ``.consensus/ledger.db``.
        clients: provider name → client, in place of the real ones (tests, your own transport).
        tape: a :class:`~consensus.models.tape.Tape`, or a file: answers recorded there are given
            again without a call, and new ones are recorded.
        telemetry: where decisions are traced and counted; None: the process's own OpenTelemetry, if
            it has set one up.
        shadow_grace_s: how long closing waits for shadows (a row's ``shadow`` share) that are still
            being answered; what then still runs is cut off, and what it cost is kept.
        batch: ask Anthropic's and OpenAI's models through their batch endpoints: for many decisions
            at once that can wait a day. Stopping rules and deadlines are then off.
        reload: look at the files of policy and prompts every so many seconds (True: 2), and put
            what has changed in force between decisions. A decision goes by one table, one price
            book and one book of prompts from its beginning to its end. A file that is broken keeps
            the old table, and :attr:`policy_status` says so.
        watch: hold what the ledger keeps against each row's profile, every ``[watch] every_s``:
            incidents are told as ``[alarms]`` says, and rows that allow it are demoted, in force at
            once (design/watching.md).
        processes: how many processes decide under this policy side by side. Where the policy names
            no store that they share (``[limits] shared``), each keeps to its part of every
            provider's limits.
        dedicated: this process does little else than decide, so Python's garbage collector is
            arranged for that until the engine is closed (:mod:`consensus.collecting`): with a
            thousand calls in flight half of the CPU is otherwise its own.

    Use it as ``async with Engine(...) as engine``. Making one reads and checks the whole policy:
    a broken row, an unknown model or a missing price is a
    :class:`~consensus.errors.DeclarationError` here and not at the first decision.
    """

    def __init__(
        self,
        policy: str | Path | PolicyTable | None = None,
        *,
        prompts: str | Path | None = None,
        ledger: Ledger | str | Path | bool | None = None,
        clients: Mapping[str, ModelClient] | None = None,
        tape: Tape | str | Path | None = None,
        reload: bool | float = False,
        telemetry: Telemetry | None = None,
        shadow_grace_s: float = 5.0,
        batch: Batching | None = None,
        watch: bool = False,
        processes: int = 1,
        dedicated: bool = False,
    ) -> None:
        if reload and batch is not None:
            raise DeclarationError("reload and batch exclude each other: a batch goes by one table")
        if reload < 0:
            raise DeclarationError(f"reload must be true or a number of seconds, not {reload}")
        self._rules = Succession(policy, prompts, self._open_gateway)
        self._every_s = POLL_S if reload is True else float(reload)
        self._watching: asyncio.Task[None] | None = None
        self._watch, self._policy = watch, policy
        self._guarding: asyncio.Task[None] | None = None
        self._watcher: Watcher | None = None
        self._own_ledger = not isinstance(ledger, Ledger)
        self._ledger = _open_ledger(ledger, self.table)
        self._sharing = self.table.sharing() or Divided.among(processes)
        self._clients = clients
        self._batch = batch
        self._own_tape = isinstance(tape, str | Path)
        self._tape = Tape(tape) if isinstance(tape, str | Path) else tape
        self._preparing: dict[str, asyncio.Lock] = {}
        self._windows = Windows()
        self._shadow_grace_s = shadow_grace_s
        self._collecting = Collecting() if dedicated else None
        self._shadowing = None if self._ledger is None else Shadowing(self._ledger, self._prepare)
        self.telemetry = telemetry or Telemetry()

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections and the ledger; what was acknowledged is on disk."""
        await self.release()
        if self._collecting is not None:
            self._collecting.restore()
        if self._own_ledger and self._ledger is not None:
            await self._ledger.aclose()
        if self._own_tape and self._tape is not None:
            self._tape.close()

    async def release(self) -> None:
        """Close connections and local models; the next decision opens them again.

        Shadows that are still being answered are waited for, and cut off after their grace.
        """
        if self._shadowing is not None:
            await self._shadowing.settle(self._shadow_grace_s)
        running = [task for task in (self._watching, self._guarding) if task is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        self._watching = self._guarding = None
        await self._rules.release()
        if self._sharing is not None:
            await self._sharing.aclose()

    def _start(self) -> Setup:
        if self._every_s and self._watching is None:
            self._watching = asyncio.create_task(self._rules.watch(self._every_s))
        if self._watch and self._guarding is None and self.watcher is not None:
            self._guarding = asyncio.create_task(self.watcher.run())
        return self._rules.setup

    @property
    def watcher(self) -> Watcher | None:
        """What holds production against the profiles; None where no ledger is kept."""
        if self._watcher is None and self._ledger is not None:
            metrics = self.telemetry.metrics
            self._watcher = Watcher(
                self._ledger,
                lambda: self.table,
                prices=lambda: self.prices,
                policy=None if isinstance(self._policy, PolicyTable) else find_policy(self._policy),
                reload=None if self._batch is not None else self.reload,
                metrics=None if metrics is None else WatchMetrics(metrics.registry),
            )
        return self._watcher

    def _open_gateway(self, rules: Rules) -> Gateway:
        if self._ledger is not None:
            self._ledger.start()
        settings = rules.table.provider_settings()
        if self._batch is not None:
            return self._batch.gateway(
                settings,
                rules.prices,
                clients=self._clients,
                sink=self._ledger,
                tape=self._tape,
                sharing=self._sharing,
            )
        clients = ClientFactory(settings, rules.prices, overrides=self._clients or {})
        return Gateway(
            clients, rules.prices, sink=self._ledger, tape=self._tape, sharing=self._sharing
        )

    def _route(self, table: PolicyTable, task: Task, *, category: str | None = None) -> Route:
        way = route(table, task, category=category)
        return way if self._batch is None else self._batch.planned(way)

    @property
    def table(self) -> PolicyTable:
        """The policy in force."""
        return self._rules.rules.table

    @property
    def prices(self) -> PriceBook:
        """The price book in force."""
        return self._rules.rules.prices

    @property
    def book(self) -> PromptBook:
        """The prompts in force."""
        return self._rules.rules.book

    @property
    def policy_status(self) -> PolicyStatus:
        """Which table is in force, and why a newer one is not."""
        return self._rules.status

    async def reload(self) -> PolicyStatus:
        """Read policy and prompts again and, if they are sound, put them in force.

        Decisions that have begun end under the old table. Connections, limits and breakers of every
        provider whose settings are the same go on. What is broken does not raise: the old table
        stays in force, and the status that is returned says why.
        """
        return await self._rules.reload()

    @asynccontextmanager
    async def pinned(self) -> AsyncIterator[Setup]:
        """Hold on to the rules in force: what is decided with them goes by no newer table."""
        async with self._start().held() as setup:
            yield setup

    @property
    def ledger(self) -> Ledger | None:
        """Where decisions are kept; None where none are."""
        return self._ledger

    @property
    def shadows(self) -> ShadowCounts:
        """What became of the decisions that were drawn for a stronger route to answer too."""
        return ShadowCounts() if self._shadowing is None else self._shadowing.counts

    async def feedback(
        self,
        receipt_id: str,
        label: LabelValue,
        *,
        by: str | None = None,
        source: str = "human",
        probability: float | None = None,
    ) -> Label:
        """Say what would have been right; a later label supersedes, and history is kept.

        Args:
            receipt_id: ``decision.receipt_id``.
            label: an answer of the task's own: an option, a list of items, a number on the scale.
                Of a ``generate`` task also True or False: whether its outcome is acceptable.
            by: who says so.
            source: how it came about: ``human``, ``outcome``, a system's name.
            probability: the chance that this decision had to be looked at (1: all are). Without it
                a label corrects and alarms, and proves nothing about decisions without one.

        Raises:
            DeclarationError: no ledger is kept, or the label is no answer to that task.
            LedgerError: there is no such receipt, or the label could not be kept.
        """
        if self._ledger is None:
            raise DeclarationError("feedback needs a ledger", fix="leave ledger=False out")
        return await asyncio.to_thread(
            give_label,
            self._ledger,
            receipt_id,
            label,
            by=by,
            source=source,
            probability=probability,
        )

    # -- one ---------------------------------------------------------------------------------------

    async def decide(self, task: Task, *, frontier: str | None = None) -> Decision:
        """Decide one task.

        Args:
            task: what is to be judged.
            frontier: a model to ask once beside the panel, for comparison; it never changes the
                decision, and its cost stands apart in ``decision.frontier``.

        Raises:
            DeclarationError: the task does not fit its row, or ``frontier`` has no known price.
            LedgerError: a paid answer could not be kept; nothing is decided on lost evidence.

        A provider's trouble is not an exception: it is in ``decision.failures``.
        Cancelling it cancels every call of it; answers already paid for still reach the ledger.
        """
        return await self._decide(task, frontier=frontier, decision_id=new_id())

    async def decide_row(
        self,
        task: Task,
        *,
        frontier: str | None,
        decision_id: str,
        paid: PaidCalls,
        setup: Setup | None = None,
    ) -> Decision:
        """Decide one row of a job: under its own id, with what it has already paid for.

        ``setup`` is what the whole job goes by (:meth:`pinned`); what is in force where None.
        """
        decision = await self._decide(
            task, frontier=frontier, decision_id=decision_id, earlier=paid, setup=setup
        )
        paid.forget(decision_id)
        return decision

    async def _decide(
        self,
        task: Task,
        *,
        frontier: str | None,
        decision_id: str,
        earlier: PaidCalls | None = None,
        setup: Setup | None = None,
    ) -> Decision:
        with self.telemetry.decision(task.type, task.kind, decision_id) as watch:
            async with (setup or self._start()).held() as rules:
                own = _Own(decision_id, earlier, watch.observer)
                decision = await self._decide_by(rules, task, frontier, own)
            watch.decided(decision)
        return decision

    async def _decide_by(
        self,
        setup: Setup,
        task: Task,
        frontier: str | None,
        own: _Own,
    ) -> Decision:
        """Decide under these rules, whatever is in force before it is done."""
        decision_id, earlier = own.decision_id, own.earlier
        if frontier is not None:
            setup.prices.price(frontier)
        if self._ledger is not None:
            await self._ledger.ready()
        task, way, spent = await self._routed(setup, task, own)
        named = (*way.models, *graders(setup.table, way), *([frontier] if frontier else ()))
        await self._prepare(setup, named)
        started = time.perf_counter() - spent.seconds
        context = _context(task, way, own, spent)
        panel = walk(task, way, context, setup, windows=self._windows, started=started)
        if frontier is None:
            walked = await panel
            beside = None
        else:
            its = replace(context, paid=own.paid(frontier=True))
            walked, answer = await both(panel, ask_frontier(setup, task, its, frontier))
            beside = frontier_of(frontier, answer)
        unused = () if earlier is None else earlier.unused(decision_id)
        earlier_pico = sum(call.cost_pico for call in unused if call.purpose != "frontier")
        if beside is not None:
            more = sum(call.cost_pico for call in unused if call.purpose == "frontier")
            beside = beside.model_copy(update={"cost": beside.cost + Cost(pico_usd=more)})
        measured: dict[str, Any] = {"latency_s": walked.latency_s}
        if earlier_pico:
            measured["earlier_pico"] = earlier_pico
        if spent.pico:
            measured["routing_pico"] = spent.pico
        return await self._finish(setup, task, way, walked, own, measured, beside)

    async def _routed(self, setup: Setup, task: Task, own: _Own) -> tuple[Task, Route, _Spent]:
        """The task under its type, its route, and what it took to find that out.

        Only what depends on the content is classified; a call that this takes has the cap and the
        deadline of the row that holds without it, and is part of the decision's own.
        """
        table = setup.table
        if not needs_class(table, task):
            return task, self._route(table, task), _NOTHING
        plain = self._route(table, task)
        await self._prepare(setup, asked_models(table))
        began = time.perf_counter()
        context = _context(task, plain, own, _NOTHING)
        seen = await classify(setup, task, context)
        if seen is None:
            return task, plain, _NOTHING
        spent = _Spent(time.perf_counter() - began, seen.cost_pico)
        task, why_not = retyped(table, task, seen)
        way = self._route(table, task, category=seen.label)
        said = (seen.reason, *([why_not] if why_not else ()))
        return task, replace(way, reasons=(*said, *way.reasons)), spent

    async def warm(self) -> None:
        """Open the ledger, and load what the policy's rows call, before anybody waits for it.

        Providers' libraries and models on this machine. What cannot be loaded is said by the first
        call of it, with everything that belongs to it.
        """
        async with self.pinned() as setup:
            if self._ledger is not None:
                await self._ledger.ready()
            models = reached_models(setup.table)
            await self._prepare(setup, models)
            for model in models:
                with suppress(ConsensusError):
                    load = getattr(setup.gateway.clients.client(model), "load", None)
                    if load is not None:
                        await load(model)

    async def _prepare(self, setup: Setup, models: Iterable[str]) -> None:
        """Load the providers' libraries before any deadline runs: some take seconds to import.

        Decisions that start together all wait for the one that loads; if it is cancelled, the next
        takes over.
        """
        gateway = setup.gateway
        for provider, model in {provider_of(model): model for model in models}.items():
            if provider in setup.prepared:
                continue
            async with self._preparing.setdefault(provider, asyncio.Lock()):
                if provider in setup.prepared:
                    continue
                try:
                    prepare = getattr(gateway.clients.client(model), "prepare", None)
                except ConsensusError:
                    prepare = None  # said by the call itself, with everything that belongs to it
                if prepare is not None:
                    await prepare()
                setup.prepared.add(provider)
                if self._collecting is not None:
                    self._collecting.arrange()

    async def _finish(
        self,
        setup: Setup,
        task: Task,
        way: Route,
        walked: Walk,
        own: _Own,
        measured: dict[str, Any],
        frontier: Frontier | None,
    ) -> Decision:
        """Put the decision together and keep its receipt before anyone sees it."""
        reasons = (*way.reasons, *walked.reasons)
        decision = assemble(
            task,
            walked.hops,
            reasons=reasons,
            latency_s=measured["latency_s"],
            policy_version=setup.table.version_hash,
            receipt_id=own.decision_id if self._ledger is not None else None,
            frontier=frontier,
            earlier_pico=measured.get("earlier_pico", 0),
            routing_pico=measured.get("routing_pico", 0),
            conclusion=walked.conclusion,
        )
        if self._ledger is not None:
            await self._ledger.keep(
                Receipt.make(
                    task=task,
                    hops=walked.hops,
                    decision=decision,
                    route_reasons=reasons,
                    measured=measured,
                    prices_sha256=setup.prices.sha256,
                    prompts_sha256=setup.book.sha256,
                )
            )
        if self._shadowing is not None:
            await self._shadowing.offer(setup, task, way, decision, own.observer)
        return decision

    # -- many --------------------------------------------------------------------------------------

    async def decide_many(
        self,
        tasks: Iterable[Task | Mapping[str, Any]] | AsyncIterable[Task | Mapping[str, Any]],
        *,
        frontier: str | None = None,
        concurrency: int = 100,
    ) -> AsyncGenerator[Decision, None]:
        """Decide tasks, at most ``concurrency`` at once; decisions come in input order.

        Tasks are read as they are needed, so an endless stream takes constant memory. A task that
        cannot be asked gives a decision that abstains and says why in ``error``; the others go on.
        Leaving the loop early cancels what is still running.
        """

        async def one(given: Task | Mapping[str, Any]) -> Decision:
            return await self._decide_given(given, frontier)

        async with aclosing(in_order(tasks, one, concurrency)) as decisions:
            async for decision in decisions:
                yield decision

    async def _decide_given(
        self, given: Task | Mapping[str, Any], frontier: str | None
    ) -> Decision:
        try:
            task = parse_task(dict(given)) if isinstance(given, Mapping) else given
            return await self.decide(task, frontier=frontier)
        except DeclarationError as error:
            return refused(given, error)


def refused(given: Task | Mapping[str, Any], error: DeclarationError) -> Decision:
    """The decision on a task that cannot be asked."""
    data = given if isinstance(given, Mapping) else given.model_dump(include={"type", "kind", "id"})
    kind, name = data.get("kind"), data.get("id")
    return Decision(
        action="abstain",
        error=str(error),
        reasons=(f"not asked: {error}",),
        task_type=str(data.get("type", "")),
        kind=kind if kind in KINDS else "approve",
        task_id=name if isinstance(name, str) else None,
    )


@dataclass(frozen=True, slots=True)
class _Spent:
    """What was spent before the first hop."""

    seconds: float = 0.0
    pico: int = 0


_NOTHING = _Spent()


@dataclass(frozen=True, slots=True)
class _Own:
    """What is one decision's own: its id, what it has paid for already, who watches its calls."""

    decision_id: str
    earlier: PaidCalls | None
    observer: CallObserver | None

    def paid(self, *, frontier: bool) -> PaidSource | None:
        """What it paid for before it was cut short: its panel's, or its frontier's."""
        if self.earlier is None:
            return None
        return self.earlier.of(CallScope(self.decision_id, frontier=frontier))


def _context(task: Task, way: Route, own: _Own, spent: _Spent) -> CallContext:
    budget = Budget(way.budget_pico)
    budget.settle(0, spent.pico)
    left = None if way.deadline_s is None else max(0.0, way.deadline_s - spent.seconds)
    return CallContext(
        decision_id=own.decision_id,
        seat=0,
        purpose="ballot",
        task_type=task.type,
        budget=budget,
        deadline=Deadline(left),
        paid=own.paid(frontier=False),
        observer=own.observer,
    )


def _open_ledger(ledger: Ledger | str | Path | bool | None, table: PolicyTable) -> Ledger | None:
    if ledger is False:
        return None
    if isinstance(ledger, Ledger):
        return ledger
    settings = table.ledger
    path = ledger if isinstance(ledger, str | Path) else ledger_path(None, declared=settings.place)
    return Ledger(path, durability=settings.durability, store_text=settings.store_text)
