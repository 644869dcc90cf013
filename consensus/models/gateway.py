"""Every call of every model goes through here (design/calls.md).

In this order: an answer that is already paid for; else the window guard, the budget, the breaker,
the provider's queue, the client; then the bill and the record, which is on disk before the answer
is used. What fails and may be repeated is repeated; what is exhausted goes to the next fallback.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from consensus.errors import (
    BudgetError,
    ConsensusError,
    DataError,
    DeadlineError,
    FailureClass,
    GuardError,
    ProviderError,
)
from consensus.models import retry as retrying
from consensus.models._billing import Biller
from consensus.models.breaker import Breaker, BreakerSettings
from consensus.models.factory import ClientFactory, provider_of
from consensus.models.ids import new_id
from consensus.models.limits import Permit, ProviderLimits
from consensus.models.protocol import (
    Budget,
    CallRecord,
    CallSink,
    Completion,
    Deadline,
    Purpose,
    Request,
)
from consensus.models.retry import RetryPolicy
from consensus.models.tape import CompletionSource, Paid, PaidSource, Tape, canonical_request

if TYPE_CHECKING:
    from consensus.models.prices import ModelPrice, PriceBook

__all__ = ["SCHEMA_TOKENS", "CallContext", "Gateway"]

SCHEMA_TOKENS: Final = 640
"""Allowance for the instructions that providers add to a prompt that asks for a schema or a tool
(Anthropic documents 313–530 tokens)."""

TURN_TOKENS: Final = 16
"""Allowance for a chat template's marks around each turn."""

LONG_WAIT_S: Final = 10.0
"""An attempt that a deadline cut off counts against a model's health only from this wait on."""


@dataclass(slots=True)
class CallContext:
    """On whose behalf a call is made, and within what.

    Attributes:
        budget: shared by everything that must not pass one cap together.
        context_guard: the share of a model's window that input and reserved output may fill.
        fallbacks: models to ask, in order, when the request's own cannot answer.
        reuse: whether an answer that was paid for before may be given again.
    """

    decision_id: str
    seat: int
    purpose: Purpose
    task_type: str
    budget: Budget
    deadline: Deadline
    context_guard: float = 0.8
    fallbacks: tuple[str, ...] = ()
    reuse: bool = True


class _Lane:
    """Everything about one model that does not change from call to call."""

    __slots__ = ("breaker", "limits", "rates", "retry", "timeout_s", "unit_costs")

    def __init__(
        self, limits: ProviderLimits, breaker: Breaker, retry: RetryPolicy, timeout_s: float
    ) -> None:
        self.limits = limits
        self.breaker = breaker
        self.retry = retry
        self.timeout_s = timeout_s
        self.rates: object = None
        self.unit_costs = (0, 0, 0)

    def worst_pico(self, price: ModelPrice, tokens: int, output: int) -> int:
        """The most that a call can cost, from whole pico-dollars a token, rounded up."""
        rates = price.rates(tokens)
        if rates is not self.rates:
            self.rates = rates
            self.unit_costs = (
                math.ceil(max(rates.input, rates.cache_read, rates.cache_write)),
                math.ceil(max(rates.output, rates.reasoning)),
                price.worst_pico(0, 0),
            )
        a, b, c = self.unit_costs
        return a * tokens + b * output + c


class _Hop:
    """One model being asked: the request as it gets it, and what is known of its size."""

    __slots__ = ("bound", "counted", "key", "lane", "output", "price", "request")

    def __init__(self, request: Request, key: str, bound: int, lane: _Lane) -> None:
        self.request = request
        self.key = key
        self.lane = lane
        self.bound = bound  # input tokens, at most
        self.counted = False
        self.output = request.max_output_tokens
        self.price: ModelPrice


class Gateway:
    """The one way to a model.

    Args:
        clients: who reaches which provider.
        prices: of all models; a model without a price is never called.
        limits: by provider; a provider that is not named gets those of its settings.
        sink: where records go; an answer is used only after its record was kept.
        tape: answers recorded before. A :class:`Tape` is also written to, by its mode; any other
            source (a ledger) is only read.
        retry: for providers whose settings name no ``max_attempts`` of their own.
        paid: a second source of answers that are paid for, asked first.
        breaker: when breakers open; the cool-down comes from each provider's settings.
    """

    def __init__(
        self,
        clients: ClientFactory,
        prices: PriceBook,
        limits: Mapping[str, ProviderLimits] | None = None,
        sink: CallSink | None = None,
        tape: CompletionSource | None = None,
        retry: RetryPolicy | None = None,
        *,
        paid: CompletionSource | None = None,
        breaker: BreakerSettings | None = None,
    ) -> None:
        self.clients = clients
        self.prices = prices
        self._limits = dict(limits or {})
        self._sink = sink
        self._tape = tape if isinstance(tape, Tape) else None
        self._sources = [source for source in (paid, tape) if source is not None]
        self._retry = retry or RetryPolicy()
        self._breaker = breaker or BreakerSettings()
        self._lanes: dict[str, _Lane] = {}
        self._biller = Biller(prices)

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
        records: list[CallRecord] = []
        try:
            return await self._call(request, ctx, records), tuple(records)
        except ConsensusError as error:
            error.calls = tuple(records)
            raise

    async def aclose(self) -> None:
        """Close the clients. Tape and sink belong to whoever made them."""
        await self.clients.aclose()

    def breaker_states(self) -> dict[str, str]:
        """The state of every model's breaker so far."""
        return {model: lane.breaker.state for model, lane in self._lanes.items()}

    # -- a call over its models --------------------------------------------------------------------

    async def _call(
        self, request: Request, ctx: CallContext, records: list[CallRecord]
    ) -> Completion:
        canonical = canonical_request(request)
        key = sha256(canonical).hexdigest()
        if self._sources:
            found = self._recalled(request, key, ctx, records)
            if found is not None:
                return found
        ctx.deadline.check()
        try:
            return await self._ask(request, key, len(canonical), ctx, records)
        except (ProviderError, GuardError) as error:
            if not ctx.fallbacks:
                raise
            first = error
        for model in ctx.fallbacks:
            other = replace(request, model=model)
            canonical = canonical_request(other)
            key = sha256(canonical).hexdigest()
            try:
                return await self._ask(other, key, len(canonical), ctx, records)
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
    ) -> Completion:
        """Ask one model, as often as its policy allows."""
        lane = self._lanes.get(request.model) or self._lane(request.model)
        hop = _Hop(request, key, size, lane)
        hop.price = self.prices.price(request.model)
        await self._guard(hop, ctx)
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(hop, ctx, records, again=attempt > 1)
            except ProviderError as error:
                wish = error.retry_after_s
                if wish and error.failure in {"rate_limited", "overloaded"}:
                    lane.limits.pause(min(wish, lane.retry.max_wait_s))
                wait = lane.retry.delay(error, attempt, left_s=ctx.deadline.left())
                if wait is None:
                    raise
            await retrying.sleep(wait)
            ctx.deadline.check()

    async def _attempt(
        self, hop: _Hop, ctx: CallContext, records: list[CallRecord], *, again: bool
    ) -> Completion:
        """One attempt: everything it takes is given back, and its record is kept, on every path."""
        request, lane, budget = hop.request, hop.lane, ctx.budget
        client = self.clients.client(request.model)
        reserved = await self._reserve(hop, ctx)
        leave: int | None = None
        permit: Permit | None = None
        try:
            leave = lane.breaker.admit()
            permit = await lane.limits.admit(
                hop.bound // 3 + hop.output, within_s=ctx.deadline.left(), again=again
            )
            left = ctx.deadline.left()
            timeout_s = min(left, lane.timeout_s)
            if timeout_s <= 0:
                permit.unused()
                raise DeadlineError(f"{request.model}: the deadline passed in the queue")
        except BaseException:
            budget.settle(reserved, 0)
            if leave is not None:
                lane.breaker.abandon(leave)
            raise
        record = CallRecord(
            call_id=new_id(),
            decision_id=ctx.decision_id,
            seat=ctx.seat,
            purpose=ctx.purpose,
            attempt=len(records) + 1,
            requested_model=request.model,
            key=hop.key,
            started_at=time.time(),
            task_type=ctx.task_type,
        )
        started = time.perf_counter()
        completion: Completion | None = None
        error: BaseException
        try:
            async with asyncio.timeout(timeout_s):
                completion = await client.complete(request, timeout_s=timeout_s)
        except ProviderError as raised:
            error = raised
        except TimeoutError:
            error = ProviderError(
                f"{request.model}: no answer within {timeout_s:.3g} s",
                failure="timeout",
                retryable=True,
                model=request.model,
            )
        except asyncio.CancelledError as raised:
            error = raised
        except ConsensusError as raised:
            # Declared wrongly (a key, a package): nothing was sent.
            error = raised
        except Exception as raised:  # noqa: BLE001 - one client's bug must not end a whole panel
            error = ProviderError(
                f"{request.model}: the client failed with {type(raised).__name__}",
                failure="malformed_response",
                model=request.model,
            )
            error.__cause__ = raised
        record.latency_s = time.perf_counter() - started
        if completion is not None:
            # From here to the record nothing is awaited: a paid answer cannot fall between.
            completion = self._billed(record, request, completion)
            budget.settle(reserved, record.cost_pico)
            permit.done(record.usage.total_input + record.usage.output)
            lane.breaker.success(leave)
            records.append(record)
            if self._tape is not None and self._tape.writable:
                self._tape.keep(hop.key, _paid(record, completion))
            if self._sink is not None:
                await _kept(self._sink, record)
            return completion
        failure = self._failed(record, request, error)
        budget.settle(reserved, record.cost_pico)
        permit.done(_used(record, failure))
        if failure is None:
            lane.breaker.abandon(leave)
            raise error
        cut_short = failure == "timeout" and ctx.deadline.left() <= 0
        if cut_short:
            record.failure = "deadline"
            if timeout_s < min(lane.timeout_s, LONG_WAIT_S):
                lane.breaker.abandon(leave)
            else:
                lane.breaker.failure(leave, "timeout")
        else:
            lane.breaker.failure(leave, failure)
        records.append(record)
        if self._sink is not None:
            await _kept(self._sink, record)
        if cut_short:
            raise DeadlineError(f"{request.model}: the deadline passed before it answered")
        raise error

    # -- guards ------------------------------------------------------------------------------------

    async def _guard(self, hop: _Hop, ctx: CallContext) -> None:
        """The window guard: by bytes where they are proof enough, else by counting.

        A token is at least one byte, so a prompt whose bytes fit has tokens that fit.
        """
        request = hop.request
        window = self.prices.window(request.model)
        if window.known and request.max_output_tokens > window.max_output:
            raise GuardError(
                f"{request.model} writes at most {window.max_output:,} tokens; "
                f"{request.max_output_tokens:,} are asked for"
            )
        hop.output = self.prices.output_room(request.model, request.max_output_tokens)
        if request.output_schema is not None:
            hop.bound += SCHEMA_TOKENS
        room = ctx.context_guard * window.max_input - hop.output
        if hop.bound <= room:
            return
        hop.bound = min(hop.bound, _byte_bound(request))
        if hop.bound <= room:
            return
        tokens = await self._count(hop, ctx)
        if tokens is None or tokens > room:
            size = "an unknown number of" if tokens is None else f"{tokens:,}"
            raise GuardError(
                f"{request.model}: {size} tokens of input and {hop.output:,} reserved for output "
                f"do not fit {ctx.context_guard:.0%} of its window of {window.max_input:,}"
                + ("" if window.known else " (assumed: nobody declared it)")
            )

    async def _count(self, hop: _Hop, ctx: CallContext) -> int | None:
        """Tokens by the model's own tokenizer; None where they cannot be counted."""
        timeout_s = min(hop.lane.timeout_s, ctx.deadline.left())
        try:
            async with asyncio.timeout(timeout_s):
                tokens = await self.clients.client(hop.request.model).count_tokens(hop.request)
        except (ProviderError, TimeoutError):
            ctx.deadline.check()
            return None
        hop.bound = min(hop.bound, tokens)
        hop.counted = True
        return tokens

    async def _reserve(self, hop: _Hop, ctx: CallContext) -> int:
        """Set the worst case aside; count tokens only where bytes are too coarse a bound."""
        budget, lane = ctx.budget, hop.lane
        worst = lane.worst_pico(hop.price, hop.bound, hop.output)
        try:
            budget.reserve(worst)
        except BudgetError:
            if hop.counted or await self._count(hop, ctx) is None:
                raise
            worst = lane.worst_pico(hop.price, hop.bound, hop.output)
            budget.reserve(worst)
        return worst

    # -- answers that are there --------------------------------------------------------------------

    def _recalled(
        self, request: Request, key: str, ctx: CallContext, records: list[CallRecord]
    ) -> Completion | None:
        """The answer of an earlier call of this request, or of this decision's fallbacks."""
        replaying = self._tape is not None and not self._tape.writable
        paid = self._find(key, ctx)
        if paid is None:
            for model in ctx.fallbacks:
                other = replace(request, model=model)
                other_key = sha256(canonical_request(other)).hexdigest()
                paid = self._find(other_key, ctx)
                # Another decision's answer must not keep this one from asking its own model.
                if paid is not None and (replaying or paid.decision_id == ctx.decision_id):
                    request, key = other, other_key
                    break
                paid = None
        if paid is None:
            if replaying and self._tape is not None:
                raise DataError(
                    f"no answer of {request.model} to this request (seat {ctx.seat}, sample "
                    f"{request.sample}, key {key[:12]}…) is on the tape",
                    where=str(self._tape.path),
                    fix="record it first",
                )
            return None
        completion, cost, basis = paid.completion, paid.cost_pico, paid.price_basis
        usage = completion.usage
        if cost is None:
            usage, cost, basis = self._biller.bill(
                request, completion.served_model, usage, completion.text
            )
        # Paid once, by the call it came from; counted again here so that a decision that goes on
        # after a kill stands where it would have stood.
        ctx.budget.settle(0, cost)
        records.append(
            CallRecord(
                call_id=paid.call_id or new_id(),
                decision_id=ctx.decision_id,
                seat=ctx.seat,
                purpose=ctx.purpose,
                attempt=1,
                requested_model=request.model,
                key=key,
                started_at=time.time(),
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
        )
        return completion

    def _find(self, key: str, ctx: CallContext) -> Paid | None:
        for source in self._sources:
            if not ctx.reuse and source is not self._tape:
                continue
            if isinstance(source, PaidSource):
                paid = source.recall(key)
                if paid is not None:
                    return paid
            else:
                completion = source.lookup(key)
                if completion is not None:
                    return Paid(completion)
        return None

    # -- bills and records -------------------------------------------------------------------------

    def _billed(self, record: CallRecord, request: Request, completion: Completion) -> Completion:
        served = completion.served_model or request.model
        usage, record.cost_pico, record.price_basis = self._biller.bill(
            request, served, completion.usage, completion.text
        )
        if usage is not completion.usage or served != completion.served_model:
            completion = replace(completion, usage=usage, served_model=served)
        record.served_model = served
        record.usage = usage
        record.request_id = completion.request_id
        record.completion = completion
        return completion

    def _failed(
        self, record: CallRecord, request: Request, error: BaseException
    ) -> FailureClass | None:
        """Write a failure into its record; None where nothing was sent, and nothing is recorded."""
        if isinstance(error, asyncio.CancelledError):
            record.failure = "cancelled"
        elif isinstance(error, ProviderError):
            record.failure = error.failure
            record.status = error.status
            record.request_id = error.request_id
            record.served_model = error.served_model
            if error.usage is not None:
                record.usage, record.cost_pico, record.price_basis = self._biller.bill(
                    request, error.served_model or request.model, error.usage, ""
                )
        return record.failure

    def _lane(self, model: str) -> _Lane:
        provider = provider_of(model)
        settings = self.clients.settings(provider)
        limits = self._limits.get(provider)
        if limits is None:
            limits = self._limits[provider] = settings.limits(provider)
        retry = self._retry
        if settings.max_attempts is not None:
            retry = replace(retry, max_attempts=settings.max_attempts)
        breaker = Breaker(model, replace(self._breaker, cooldown_s=settings.cooldown_s))
        lane = self._lanes[model] = _Lane(limits, breaker, retry, settings.timeout_s)
        return lane


def _byte_bound(request: Request) -> int:
    """Input tokens at most: a token is at least one byte; templates and schemas add their own."""
    schema = 0 if request.output_schema is None else SCHEMA_TOKENS
    return request.input_bytes() + TURN_TOKENS * (len(request.turns) + 1) + schema


def _paid(record: CallRecord, completion: Completion) -> Paid:
    return Paid(
        completion, record.call_id, record.decision_id, record.cost_pico, record.price_basis
    )


def _used(record: CallRecord, failure: FailureClass | None) -> int | None:
    """Tokens that a failed attempt took from the provider's minute; None: perhaps all of them."""
    if record.price_basis != "none":
        return record.usage.total_input + record.usage.output
    return None if failure in {"timeout", "cancelled", "malformed_response"} else 0


async def _kept(sink: CallSink, record: CallRecord) -> None:
    """Keep a record to the end, whoever cancels meanwhile; then let the cancellation go on."""
    keeping = asyncio.ensure_future(sink.record(record))
    try:
        await asyncio.shield(keeping)
    except asyncio.CancelledError:
        while not keeping.done():
            try:
                await asyncio.wait((keeping,))
            except asyncio.CancelledError:
                continue
        if not keeping.cancelled():
            keeping.exception()  # seen: the cancellation says more
        raise
