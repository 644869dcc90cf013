"""The front door: one task in, one decision out (design/engine.md)."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from consensus.assembly import assemble, conclude_hops, frontier_of, receipt_hops
from consensus.ballots import Ballot, Failure
from consensus.decisions import Decision, Frontier
from consensus.errors import DeclarationError
from consensus.ledger.receipts import Receipt
from consensus.ledger.store import Ledger
from consensus.models.factory import ClientFactory
from consensus.models.gateway import CallContext, Gateway
from consensus.models.ids import new_id
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, Deadline, ModelClient
from consensus.orchestrators import ORCHESTRATORS, HopRecord
from consensus.panel.asking import ask
from consensus.panel.book import PromptBook, load_prompts
from consensus.panel.seats import Seat, build_panel
from consensus.policy.load import load_policy
from consensus.policy.route import Hop, Route, route
from consensus.policy.table import PolicyTable
from consensus.tasks import KINDS, Task, parse_task

__all__ = ["Engine"]

FRONTIER_SEAT = 1_000_000
"""The frontier's place beside the panel: never that of a seat."""

LOOKAHEAD = 4
"""How many times ``concurrency`` finished decisions may wait for a slow one before them."""


@dataclass(slots=True)
class _PanelSession:
    """One hop's panel, its prompts and its purse."""

    task: Task
    panel: Sequence[Seat]
    book: PromptBook
    gateway: Gateway
    context: CallContext

    async def ask(self, seat: Seat) -> Ballot | Failure:
        return await ask(self.task, seat, self.gateway, self.context, self.book)


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
    ) -> None:
        self.table = load_policy(policy)
        self.book = load_prompts(_prompts_folder(policy, prompts))
        self.prices = PriceBook(overrides=self.table.price_overrides())
        self._own_ledger = not isinstance(ledger, Ledger)
        self._ledger = _open_ledger(ledger, self.table)
        self._clients = clients
        self._gateway: Gateway | None = None

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close connections and the ledger; what was acknowledged is on disk."""
        if self._gateway is not None:
            await self._gateway.aclose()
            self._gateway = None
        if self._own_ledger and self._ledger is not None:
            await self._ledger.aclose()

    def _start(self) -> Gateway:
        if self._gateway is None:
            settings = self.table.provider_settings()
            self._gateway = Gateway(
                ClientFactory(settings, self.prices, overrides=self._clients or {}),
                self.prices,
                settings,
                sink=self._ledger,
            )
        return self._gateway

    # -- one -----------------------------------------------------------------------------------------

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
        started = time.perf_counter()
        way = route(self.table, task)
        context = CallContext(
            decision_id=new_id(),
            task_type=task.type,
            budget=Budget(way.budget_pico),
            deadline=Deadline(way.deadline_s),
        )
        if frontier is None:
            hops = await self._walk(task, way, context)
            latency, beside = time.perf_counter() - started, None
        else:
            self.prices.price(frontier)
            async with asyncio.TaskGroup() as group:
                asked = group.create_task(self._ask_frontier(task, context, frontier))
                hops = await self._walk(task, way, context)
                latency = time.perf_counter() - started
            beside = frontier_of(frontier, asked.result())
        return await self._finish(task, way, hops, context.decision_id, latency, beside)

    async def _walk(self, task: Task, way: Route, context: CallContext) -> list[HopRecord]:
        """Run hops until one suffices."""
        done: list[HopRecord] = []
        seats = 0
        for hop in way.hops:
            done.append(await self._run_hop(task, hop, context, first_seat=seats))
            seats += hop.seats
            if hop is not way.hops[-1] and conclude_hops(task, done).action == "act":
                break
        return done

    async def _run_hop(
        self, task: Task, hop: Hop, context: CallContext, *, first_seat: int
    ) -> HopRecord:
        spec = hop.strategy
        panel = build_panel(
            task,
            models=spec.models,
            seats=spec.seats,
            framings=spec.framings,
            book=self.book,
            ballot=spec.ballot,
            temperature=spec.temperature,
            first_seat=first_seat,
        )
        own = replace(context, context_guard=spec.context_guard, fallbacks=spec.fallbacks)
        session = _PanelSession(task, panel, self.book, self._start(), own)
        poll = await ORCHESTRATORS[spec.orchestrator](task, spec, session)
        return HopRecord(name=hop.name, spec=spec, ballots=poll.ballots, failures=poll.failures)

    async def _ask_frontier(
        self, task: Task, context: CallContext, model: str
    ) -> Ballot | Failure:
        """One plain call of the frontier model, as a team without an engine would make it."""
        seat = build_panel(
            task,
            models=(model,),
            seats=1,
            framings=("plain",),
            book=self.book,
            ballot="auto",
            temperature=None,
            first_seat=FRONTIER_SEAT,
        )[0]
        beside = replace(context, purpose="frontier", budget=Budget(None))
        return await ask(task, seat, self._start(), beside, self.book)

    async def _finish(
        self,
        task: Task,
        way: Route,
        hops: Sequence[HopRecord],
        decision_id: str,
        latency_s: float,
        frontier: Frontier | None,
    ) -> Decision:
        """Put the decision together and keep its receipt before anyone sees it."""
        decision = assemble(
            task,
            hops,
            reasons=way.reasons,
            latency_s=latency_s,
            policy_version=self.table.version_hash,
            receipt_id=decision_id if self._ledger is not None else None,
            frontier=frontier,
        )
        if self._ledger is not None:
            await self._ledger.keep(
                Receipt.of(
                    task,
                    decision,
                    receipt_id=decision_id,
                    hops=receipt_hops(hops),
                    policy_version=self.table.version_hash,
                    route={"reasons": list(way.reasons)},
                    measured={"latency_s": latency_s},
                    prices_sha256=self.prices.sha256,
                    prompts_sha256=self.book.sha256,
                )
            )
        return decision

    # -- many ----------------------------------------------------------------------------------------

    async def decide_many(
        self,
        tasks: Iterable[Task | Mapping[str, Any]] | AsyncIterable[Task | Mapping[str, Any]],
        *,
        frontier: str | None = None,
        concurrency: int = 100,
    ) -> AsyncIterator[Decision]:
        """Decide tasks, at most ``concurrency`` at once; decisions come in input order.

        Tasks are read as they are needed, so an endless stream takes constant memory. A task that
        cannot be asked gives a decision that abstains and says why in ``error``; the others go on.
        Leaving the loop early cancels what is still running.
        """
        if concurrency < 1:
            raise ValueError("concurrency must be at least 1")
        places = asyncio.Semaphore(concurrency)
        running: deque[asyncio.Task[Decision]] = deque()

        async def one(given: Task | Mapping[str, Any]) -> Decision:
            try:
                return await self._decide_given(given, frontier)
            finally:
                places.release()

        try:
            async for given in _aiter(tasks):
                while running and (running[0].done() or len(running) >= LOOKAHEAD * concurrency):
                    yield await running.popleft()
                await places.acquire()
                running.append(asyncio.create_task(one(given)))
            while running:
                yield await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

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


async def _aiter(
    items: Iterable[Task | Mapping[str, Any]] | AsyncIterable[Task | Mapping[str, Any]],
) -> AsyncIterator[Task | Mapping[str, Any]]:
    if isinstance(items, AsyncIterable):
        async for item in items:
            yield item
    else:
        for item in items:
            yield item


def _prompts_folder(
    policy: str | Path | PolicyTable | None, prompts: str | Path | None
) -> Path | None:
    """The project's own prompts: named, beside the policy, or in the current folder."""
    if prompts is not None:
        return Path(prompts)
    beside = [Path(policy).parent] if isinstance(policy, str | Path) else []
    for folder in (*beside, Path.cwd()):
        if any((folder / "prompts" / part).is_dir() for part in ("framings", "templates")):
            return folder / "prompts"
    return None


def _open_ledger(ledger: Ledger | str | Path | bool | None, table: PolicyTable) -> Ledger | None:
    raise NotImplementedError
