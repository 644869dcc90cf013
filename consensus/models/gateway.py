"""Every call of every model goes through here (design/calls.md).

In this order: an answer that is already paid for; else the window guard, the budget, the breaker,
the provider's queue, the client; then the bill and the record, which is on disk before the answer
is used. What fails and may be repeated is repeated; what is exhausted goes to the next fallback.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from time import time
from typing import TYPE_CHECKING

from consensus.errors import ConsensusError, DataError, GuardError, ProviderError
from consensus.models import retry as retrying
from consensus.models._attempts import Attempts, kept
from consensus.models._billing import Biller
from consensus.models._fitting import Fitting
from consensus.models._hedging import hedged
from consensus.models._lanes import Hop, Lanes
from consensus.models.breaker import BreakerSettings
from consensus.models.context import CallContext
from consensus.models.factory import ClientFactory, ProviderSettings
from consensus.models.hashing import request_digest, request_key
from consensus.models.ids import new_id
from consensus.models.limits import ProviderLimits
from consensus.models.protocol import CallRecord, CallSink, Completion, Request
from consensus.models.retry import RetryPolicy
from consensus.models.tape import CompletionSource, Paid, PaidSource, Tape

if TYPE_CHECKING:
    from consensus.models.prices import PriceBook
    from consensus.models.sharing import Sharing

__all__ = ["CallContext", "Gateway"]


class Gateway:
    """The one way to a model.

    Args:
        clients: who reaches which provider.
        prices: of all models; a model without a price is never called.
        limits: by provider; a provider that is not named gets those of its settings.
        sink: where records go; an answer is used only after its record was kept.
        tape: answers recorded before, and those still to be recorded, by its mode.
        retry: for providers whose settings name no ``max_attempts`` of their own.
        sharing: limits and a budget kept together with other processes; it belongs to whoever
            made it.
        breaker: when breakers open; the cool-down comes from each provider's settings.
    """

    def __init__(
        self,
        clients: ClientFactory,
        prices: PriceBook,
        limits: Mapping[str, ProviderLimits] | None = None,
        sink: CallSink | None = None,
        tape: Tape | None = None,
        retry: RetryPolicy | None = None,
        *,
        breaker: BreakerSettings | None = None,
        sharing: Sharing | None = None,
    ) -> None:
        self.clients = clients
        self.prices = prices
        self._sink = sink
        self._tape = tape
        self._lanes = Lanes(
            clients, limits or {}, retry or RetryPolicy(), breaker or BreakerSettings(), sharing
        )
        self._sharing = sharing
        self._biller = Biller(prices)
        self._fitting = Fitting(clients, prices)
        purse = None if sharing is None else sharing.purse
        self._attempts = Attempts(clients, self._fitting, self._biller, sink, tape, purse)

    def successor(self, settings: Mapping[str, ProviderSettings], prices: PriceBook) -> Gateway:
        """A gateway for other settings and prices, beside this one.

        Clients, limits and breakers of every provider whose settings are the same are shared, so
        neither a connection nor a count is lost. Each of the two is closed by itself; a client that
        both hold is closed with the second.
        """
        made = Gateway(
            self.clients.successor(settings, prices),
            prices,
            sink=self._sink,
            tape=self._tape,
            sharing=self._sharing,
        )
        made._lanes = self._lanes.successor(made.clients)
        return made

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        """One answer, with the records of every attempt that it took, in order.

        The last record is the answer's own; ``request.model`` may differ from the record's where a
        fallback answered. Cancelling it leaves nothing running, and loses no record.

        Raises:
            ProviderError: no model answered; the error is that of the model that was asked first.
            GuardError: the request does not fit the window, and no fallback answered either.
            BudgetError: the next attempt could pass the cap.
            DeadlineError: no time is left.
            DeclarationError: a price, key or package is missing, or a replayed tape lacks it.
            LedgerError: a record could not be kept; the answer is not used.
            Every one of them carries the records of the attempts made as ``calls``.
        """
        if ctx.observer is None:
            return await self._answer(request, ctx)
        with ctx.observer.call(request, ctx) as watch:
            completion, records = await self._answer(request, ctx)
            watch.answered(completion, records)
            return completion, records

    async def _answer(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        records: list[CallRecord] = []
        try:
            return await self._call(request, ctx, records), tuple(records)
        except ConsensusError as error:
            error.calls = tuple(records)
            raise
        except asyncio.CancelledError as error:
            # Who cancelled it may want to know what it has cost.
            error.calls = tuple(records)  # type: ignore[attr-defined]
            raise

    async def aclose(self) -> None:
        """Close the clients. Tape and sink belong to whoever made them."""
        await self.clients.aclose()

    def breaker_states(self) -> dict[str, str]:
        """The state of every model's breaker so far."""
        return self._lanes.breaker_states()

    # -- a call over its models --------------------------------------------------------------------

    async def _call(
        self, request: Request, ctx: CallContext, records: list[CallRecord]
    ) -> Completion:
        # A row's fallbacks serve its whole panel, and a model cannot stand in for itself.
        if request.model in ctx.fallbacks:
            others = tuple(model for model in ctx.fallbacks if model != request.model)
            ctx = replace(ctx, fallbacks=others)
        key, size = request_digest(request)
        if self._tape is not None or ctx.paid is not None:
            found = await self._recalled(request, key, ctx, records)
            if found is not None:
                return found
        ctx.deadline.check()
        try:
            return await self._ask(request, key, size, ctx, records, last=not ctx.fallbacks)
        except (ProviderError, GuardError) as error:
            if not ctx.fallbacks:
                raise
            first = error
        for index, model in enumerate(ctx.fallbacks, start=1):
            other = replace(request, model=model)
            key, size = request_digest(other)
            last = index == len(ctx.fallbacks)
            try:
                return await self._ask(other, key, size, ctx, records, last=last)
            except (ProviderError, GuardError) as error:
                first.add_note(f"fallback {model}: {error.failure}")
        raise first

    async def _ask(
        self,
        request: Request,
        key: str,
        size: int,
        ctx: CallContext,
        records: list[CallRecord],
        *,
        last: bool,
    ) -> Completion:
        """Ask one model, as often as its policy allows.

        An open breaker sends a call on to its fallback; the ``last`` model's is waited for, as
        often as an attempt could be, because nobody else can answer.
        """
        lane = self._lanes[request.model]
        hop = Hop(request, key, size, lane, self.prices.price(request.model))
        if not self._fitting.fits(hop, ctx.context_guard):
            await self._fitting.count(hop, ctx.context_guard, ctx.deadline)
        attempt = 1
        while True:
            try:
                if ctx.hedge_after_s is None:
                    return await self._attempts.make(hop, ctx, records, again=attempt > 1)
                return await hedged(self._attempts, hop, ctx, records, again=attempt > 1)
            except ProviderError as error:
                wish = error.retry_after_s
                if wish and error.failure in _PAUSING:
                    lane.limits.pause(min(wish, lane.retry.max_wait_s))
                wait = lane.retry.delay(error, attempt, left_s=ctx.deadline.left(), patient=last)
                if wait is None:
                    raise
            await retrying.sleep(wait)
            ctx.deadline.check()
            attempt += 1

    # -- answers that are there --------------------------------------------------------------------

    async def _recalled(
        self, request: Request, key: str, ctx: CallContext, records: list[CallRecord]
    ) -> Completion | None:
        """The answer of an earlier call of this request, or of this decision's fallbacks."""
        tape = self._tape
        replaying = tape is not None and not tape.writable
        paid = self._find(ctx.paid, key)
        from_tape = False
        if paid is None and tape is not None:
            paid = tape.recall(key)
            from_tape = paid is not None
        for model in ctx.fallbacks if paid is None else ():
            other = replace(request, model=model)
            other_key = request_key(other)
            paid = self._find(ctx.paid, other_key)
            if paid is None and tape is not None:
                found = tape.recall(other_key)
                # Another decision's answer must not keep this one from asking its own model.
                if found is not None and (replaying or found.decision_id == ctx.decision_id):
                    paid, from_tape = found, True
            if paid is not None:
                request, key = other, other_key
                break
        if paid is None:
            if tape is not None and replaying:
                raise DataError(
                    f"no answer of {request.model} to this request (seat {ctx.seat}, sample "
                    f"{request.sample}, key {key[:12]}…) is on the tape",
                    where=str(tape.path),
                    fix="record it first",
                )
            return None
        record = self._replayed(request, key, ctx, paid)
        # Paid once, by the call it came from; booked again so that a decision that goes on after a
        # kill stands where it would have stood.
        ctx.budget.settle(0, record.cost_pico)
        records.append(record)
        if from_tape and self._sink is not None:
            await kept(self._sink, record)
        return paid.completion

    @staticmethod
    def _find(source: CompletionSource | None, key: str) -> Paid | None:
        if source is None:
            return None
        if isinstance(source, PaidSource):
            return source.recall(key)
        completion = source.lookup(key)
        return None if completion is None else Paid(completion)

    def _replayed(self, request: Request, key: str, ctx: CallContext, paid: Paid) -> CallRecord:
        """The original call's record, as far as its source knows it."""
        completion = paid.completion
        usage, cost, basis = completion.usage, paid.cost_pico, paid.price_basis
        if cost is None:
            usage, cost, basis = self._biller.bill(
                request, completion.served_model, usage, completion.text
            )
        return CallRecord(
            call_id=paid.call_id or new_id(),
            decision_id=ctx.decision_id,
            seat=ctx.seat,
            purpose=ctx.purpose,
            attempt=1,
            requested_model=request.model,
            key=key,
            started_at=time(),
            served_model=completion.served_model,
            usage=usage,
            cost_pico=cost,
            latency_s=completion.latency_s,
            request_id=completion.request_id,
            completion=completion,
            task_type=ctx.task_type,
            replayed=True,
            price_basis=basis,
        )


_PAUSING = frozenset({"rate_limited", "overloaded"})
"""Failures whose ``retry-after`` is about the provider and not about the one call."""
