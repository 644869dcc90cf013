"""Asking a stronger route beside a share of the decisions, after their callers have the answer.

The share is drawn by a hash of the decision's id, so nothing about a task makes it likelier to be
drawn. A shadow changes no decision and makes no caller wait: it has its own budget and deadline,
few run at once, few may wait, and what finds no place is dropped and counted. What was drawn is on
the ledger in every case: answered, or why not.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from contextvars import Context, copy_context
from dataclasses import dataclass, field, replace
from typing import cast

from consensus.assembly import conclude_hops, same_outcome
from consensus.decisions import Decision
from consensus.errors import ConsensusError, LedgerError
from consensus.ledger.shadows import Shadow, keep_shadow
from consensus.ledger.store import Ledger
from consensus.models.coins import drawn
from consensus.models.gateway import CallContext, Gateway
from consensus.models.observing import CallObserver
from consensus.models.prices import PriceBook
from consensus.models.protocol import Budget, CallRecord, Completion, Deadline, Request
from consensus.panel.book import PromptBook
from consensus.policy.oracles import graders
from consensus.policy.reload import Setup
from consensus.policy.resolve import resolve, shadow_hop
from consensus.policy.route import Route
from consensus.policy.table import PolicyTable
from consensus.tasks import Task
from consensus.walking import Windows, walk

__all__ = ["ShadowCounts", "Shadowing"]

log = logging.getLogger("consensus.shadowing")

AT_ONCE = 16
"""Shadows that run together: enough to keep up, too few to take the limits from the decisions."""

MOST_WAITING = 256
"""Shadows that may wait for a place; each holds its task in memory."""

Prepare = Callable[[Setup, Iterable[str]], Awaitable[None]]


@dataclass(slots=True)
class ShadowCounts:
    """What became of the decisions that were drawn since the engine was made."""

    drawn: int = 0
    answered: int = 0
    undecided: int = 0
    failed: int = 0
    dropped: int = 0
    cancelled: int = 0


@dataclass(slots=True, eq=False)
class _Drawn:
    """A decision that was drawn, and the rules it holds until its shadow is kept."""

    setup: Setup
    task: Task
    way: Route
    decision: Decision
    shadow: Shadow
    observer: CallObserver | None = None
    trace: Context = field(default_factory=copy_context)
    hold: AsyncExitStack = field(default_factory=AsyncExitStack)


class Shadowing:
    """An engine's shadows: those that wait, those that run.

    Args:
        ledger: where they are kept; without one none are asked.
        prepare: loads the libraries of models before a deadline runs.
    """

    def __init__(
        self,
        ledger: Ledger,
        prepare: Prepare,
        *,
        at_once: int = AT_ONCE,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.counts = ShadowCounts()
        self._ledger, self._prepare = ledger, prepare
        self._at_once, self._most_waiting = at_once, most_waiting
        self._waiting: deque[_Drawn] = deque()
        self._unkept: deque[_Drawn] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._settling = False

    async def offer(
        self,
        setup: Setup,
        task: Task,
        way: Route,
        decision: Decision,
        observer: CallObserver | None = None,
    ) -> None:
        """Toss the coin for a decision that is kept; never waits for a model.

        To be called while ``setup`` is held: what is drawn then holds it too. Its calls are seen by
        ``observer``, in the trace that is current now.
        """
        declared = way.row.shadow
        name = decision.receipt_id
        if declared is None or name is None or not drawn(name, declared.share):
            return
        self.counts.drawn += 1
        shadow = Shadow(
            receipt_id=name,
            task_type=task.type,
            route=declared.route,
            inclusion=declared.share,
            status="dropped",
            reason="too many shadows were waiting",
            policy_version=decision.policy_version,
        )
        one = _Drawn(setup, task, way, decision, shadow, observer)
        if self._settling:
            one.shadow = _cancelled(one)
            self._unkept.append(one)
        elif len(self._waiting) >= self._most_waiting:
            self._unkept.append(one)
        else:
            await one.hold.enter_async_context(setup.held())
            self._waiting.append(one)
        self._fill()

    async def settle(self, grace_s: float) -> None:
        """Wait until nothing is left, at most ``grace_s`` seconds, then cut off what still runs.

        Returns when every shadow that was drawn is kept, with what was paid for it.
        """
        self._settling = True
        end = time.monotonic() + grace_s
        try:
            while self._running and (left := end - time.monotonic()) > 0:
                await asyncio.wait(self._running, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # A caller who goes away must not leave shadows running, or payments unaccounted for.
            await asyncio.shield(asyncio.ensure_future(self._cut_off()))

    async def _cut_off(self) -> None:
        late = [*self._waiting]
        self._waiting.clear()
        await asyncio.sleep(0)  # one that is cancelled before it began would never be kept
        for running in self._running:
            running.cancel()
        while self._running:
            await asyncio.gather(*self._running, return_exceptions=True)
        for one in late:
            async with one.hold:
                await self._keep(one, _cancelled(one))
        await self._keep_dropped()
        self._settling = False

    def _fill(self) -> None:
        """Start as many as have a place; what was dropped is kept when one of them is done."""
        while len(self._running) < self._at_once and (self._waiting or self._unkept):
            if self._waiting:
                one = self._waiting.popleft()
                # Whoever makes room for it belongs to another decision, and to another trace.
                running = asyncio.create_task(self._run(one), context=one.trace)
            else:
                running = asyncio.create_task(self._keep_dropped())
            self._running.add(running)
            running.add_done_callback(self._ended)
            if not self._waiting:
                break

    def _ended(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._fill()

    async def _run(self, one: _Drawn) -> None:
        async with one.hold:
            try:
                shadow = await self._ask(one)
            except asyncio.CancelledError:
                shadow = _cancelled(one)
            except ConsensusError as error:
                shadow = replace(one.shadow, status="failed", reason=str(error))
            except Exception as error:  # noqa: BLE001 - it must not end the process or the next one
                # Not its message: that may hold judged text.
                log.error("a shadow of type %s failed: %s", one.task.type, type(error).__name__)
                shadow = replace(one.shadow, status="failed", reason=type(error).__name__)
            await self._keep(one, shadow)
            await self._keep_dropped()

    async def _ask(self, one: _Drawn) -> Shadow:
        table, task, row = one.setup.table, one.task, one.way.row
        hop = shadow_hop(table, resolve(table, task.type, kind=task.kind))
        if hop is None:
            raise LookupError("the row's shadow")
        way = Route(task.type, row, (hop,), ())
        await self._prepare(one.setup, (*way.models, *graders(table, way)))
        context = CallContext(
            decision_id=one.shadow.receipt_id,
            purpose="shadow",
            task_type=task.type,
            budget=Budget(one.way.budget_pico),
            deadline=Deadline(one.way.deadline_s),
            observer=one.observer,
        )
        beside = _Beside(one.setup)
        walked = await walk(
            task, way, context, beside, windows=Windows(), started=time.perf_counter()
        )
        conclusion = conclude_hops(task, walked.hops)
        latency_s = walked.latency_s
        if conclusion.outcome is not None:
            return replace(
                one.shadow,
                status="answered",
                outcome=conclusion.outcome,
                agrees=same_outcome(task, one.decision.outcome, conclusion.outcome),
                latency_s=latency_s,
                reason=None,
            )
        said = any(ran.ballots for ran in walked.hops)
        failures = sorted({str(f.failure) for ran in walked.hops for f in ran.failures})
        return replace(
            one.shadow,
            status="undecided" if said else "failed",
            latency_s=latency_s,
            reason=", ".join(failures) if failures else "no outcome",
        )

    async def _keep(self, one: _Drawn, shadow: Shadow) -> None:
        status = shadow.status
        setattr(self.counts, status, getattr(self.counts, status) + 1)
        keep = asyncio.to_thread(keep_shadow, self._ledger, shadow, kind=one.task.kind)
        keeping = asyncio.ensure_future(keep)
        try:
            try:
                await asyncio.shield(keeping)
            except asyncio.CancelledError:
                await keeping  # closing cuts off models, and not the record of what they cost
        except LedgerError as error:
            log.error("a shadow could not be kept: %s", error)

    async def _keep_dropped(self) -> None:
        while self._unkept:
            one = self._unkept.popleft()
            await self._keep(one, one.shadow)


def _cancelled(one: _Drawn) -> Shadow:
    return replace(one.shadow, status="cancelled", reason="the engine was closed first")


@dataclass(frozen=True, slots=True)
class _Beside:
    """The rules of a decision, its gateway replaced by one whose calls are all a shadow's."""

    setup: Setup

    @property
    def table(self) -> PolicyTable:
        return self.setup.table

    @property
    def book(self) -> PromptBook:
        return self.setup.book

    @property
    def gateway(self) -> Gateway:
        return cast("Gateway", _ShadowCalls(self.setup.gateway))


@dataclass(frozen=True, slots=True)
class _ShadowCalls:
    """The part of a gateway that a walk uses. Repairs, rounds and gradings of a shadow are paid as
    the shadow's: by their own purposes they would count as the decision's."""

    inner: Gateway

    @property
    def prices(self) -> PriceBook:
        return self.inner.prices

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        return await self.inner.call(request, replace(ctx, purpose="shadow"))
