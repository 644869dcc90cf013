"""One attempt at one model, with everything it takes given back on every path.

Between the moment at which a client returns an answer and the moment at which its record begins to
be kept, nothing is awaited: a paid answer cannot fall between the two.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final, NamedTuple

from consensus.ballots import Usage
from consensus.errors import ConsensusError, DeadlineError, FailureClass, ProviderError
from consensus.models._billing import Biller
from consensus.models._fitting import Fitting
from consensus.models._lanes import Hop
from consensus.models.breaker import Pass
from consensus.models.context import CallContext
from consensus.models.factory import ClientFactory
from consensus.models.ids import new_id
from consensus.models.limits import Permit
from consensus.models.placed import PlacedClient
from consensus.models.protocol import CallRecord, CallSink, Completion, ModelClient, Request
from consensus.models.purse import Hold, Purse
from consensus.models.tape import Paid, Tape

__all__ = ["Attempts", "kept"]

QUEUE_BYTES_PER_TOKEN: Final = 3
"""For the estimate with which a call stands in a provider's queue; its usage replaces it."""

LONG_WAIT_S: Final = 10.0
"""An attempt that a deadline cut off counts against a model's health only from this wait on."""


_NO_USAGE: Final = Usage()


class _Entry(NamedTuple):
    """What an attempt holds while it is under way."""

    reserved: int
    leave: Pass
    permit: Permit
    timeout_s: float
    hold: Hold | None

    def settle(self, ctx: CallContext, pico: int) -> None:
        """Give the reservations back and book what was spent."""
        ctx.budget.settle(self.reserved, pico)
        if self.hold is not None:
            self.hold.settle(pico)


class Attempts:
    """Makes attempts, bills them, and has their records kept."""

    def __init__(
        self,
        clients: ClientFactory,
        fitting: Fitting,
        biller: Biller,
        sink: CallSink | None,
        tape: Tape | None,
        purse: Purse | None = None,
    ) -> None:
        self._purse = purse
        self._clients = clients
        self._fitting = fitting
        self._biller = biller
        self._sink = sink
        self._survives = getattr(sink, "survives_cancellation", False)
        self._tape = tape if tape is not None and tape.writable else None

    async def make(
        self,
        hop: Hop,
        ctx: CallContext,
        records: list[CallRecord],
        *,
        again: bool,
        number: int | None = None,
    ) -> Completion:
        """One attempt. Its record is appended to ``records`` and kept before this returns.

        ``number`` is the attempt's; None: the next after those in ``records``.

        Raises:
            ProviderError: it failed, or the breaker refused it.
            BudgetError, DeadlineError: it could not begin, or (deadline) was cut off.
        """
        request = hop.request
        client = self._clients.client(request.model)
        entry = self._enter_at_once(hop, ctx) or await self._enter(hop, ctx, again=again)
        record = CallRecord(
            new_id(),
            ctx.decision_id,
            ctx.seat,
            ctx.purpose,
            number or len(records) + 1,
            request.model,
            hop.key,
            time.time(),
            usage=_NO_USAGE,
            task_type=ctx.task_type,
        )
        started = time.perf_counter()
        error: BaseException
        try:
            if getattr(client, "keeps_time", False):
                completion = await client.complete(request, timeout_s=entry.timeout_s)
            else:
                async with asyncio.timeout(entry.timeout_s):
                    completion = await _sent(client, request, ctx, hop.key, entry.timeout_s)
        except (ConsensusError, asyncio.CancelledError) as raised:
            error = raised
        except TimeoutError:
            error = ProviderError(
                f"{request.model}: no answer within {entry.timeout_s:.3g} s",
                failure="timeout",
                retryable=True,
                model=request.model,
                unbilled=isinstance(client, PlacedClient),  # its batch goes on, and is found again
            )
        except Exception as raised:  # noqa: BLE001 - one client's bug must not end a whole panel
            error = ProviderError(
                f"{request.model}: the client failed with {type(raised).__name__}",
                failure="malformed_response",
                model=request.model,
            )
            error.__cause__ = raised
        else:
            record.latency_s = time.perf_counter() - started
            return await self._answered(hop, ctx, records, record, entry, completion)
        record.latency_s = time.perf_counter() - started
        raise await self._failed(hop, ctx, records, record, entry, error)

    def _enter_at_once(self, hop: Hop, ctx: CallContext) -> _Entry | None:
        """As :meth:`_enter`, where nothing has to be waited for, counted or refused; else None."""
        if self._purse is not None:
            return None
        lane, left = hop.lane, ctx.deadline.left()
        leave = lane.breaker.closed()
        if leave is None or left <= 0:
            return None
        reserved = self._fitting.at_once(hop, ctx.budget)
        if reserved is None:
            return None
        permit = lane.limits.at_once(hop.bound // QUEUE_BYTES_PER_TOKEN + hop.output)
        if permit is None:
            ctx.budget.settle(reserved, 0)
            return None
        return _Entry(reserved, leave, permit, min(left, lane.timeout_s), None)

    async def _enter(self, hop: Hop, ctx: CallContext, *, again: bool) -> _Entry:
        """Breaker, queue, budget; what was taken is given back if one of them refuses.

        Money is set aside when the place in the queue is granted, not while waiting for it: what
        waits could otherwise use up a cap that it may never touch.
        """
        lane = hop.lane
        await self._fitting.check_budget(hop, ctx.budget, ctx.deadline)
        leave = lane.breaker.admit()
        permit: Permit | None = None
        try:
            permit = await lane.limits.admit(
                hop.bound // QUEUE_BYTES_PER_TOKEN + hop.output,
                within_s=ctx.deadline.left(),
                again=again,
            )
            reserved = await self._fitting.reserve(hop, ctx.budget, ctx.deadline)
            left = ctx.deadline.left()
            if left <= 0:
                ctx.budget.settle(reserved, 0)
                raise DeadlineError(f"{hop.request.model}: the deadline passed in the queue")
            hold = await self._hold(reserved, ctx) if self._purse is not None else None
        except BaseException:
            lane.breaker.abandon(leave)
            if permit is not None:
                permit.unused()
            raise
        return _Entry(reserved, leave, permit, min(left, lane.timeout_s), hold)

    async def _hold(self, reserved: int, ctx: CallContext) -> Hold | None:
        """Set the same money aside in the budget that processes share."""
        if self._purse is None or reserved == 0:
            return None
        try:
            return await self._purse.reserve(reserved)
        except BaseException:
            ctx.budget.settle(reserved, 0)
            raise

    async def _answered(
        self,
        hop: Hop,
        ctx: CallContext,
        records: list[CallRecord],
        record: CallRecord,
        entry: _Entry,
        completion: Completion,
    ) -> Completion:
        request = hop.request
        served = completion.served_model or request.model
        usage, record.cost_pico, record.price_basis = self._biller.bill(
            request, served, completion.usage, completion.text, batch=completion.batch is not None
        )
        if usage is not completion.usage or served != completion.served_model:
            completion = replace(completion, usage=usage, served_model=served)
        record.served_model = served
        record.usage = usage
        record.request_id = completion.request_id
        record.completion = completion
        entry.settle(ctx, record.cost_pico)
        entry.permit.done(usage.total_input + usage.output)
        hop.lane.breaker.success(entry.leave)
        hop.lane.note_output(usage.output)
        records.append(record)
        try:
            if self._tape is not None:
                self._tape.keep(hop.key, _paid(record, completion))
        finally:
            if self._survives:
                await self._sink.record(record)  # type: ignore[union-attr]
            elif self._sink is not None:
                await kept(self._sink, record)
        return completion

    async def _failed(
        self,
        hop: Hop,
        ctx: CallContext,
        records: list[CallRecord],
        record: CallRecord,
        entry: _Entry,
        error: BaseException,
    ) -> BaseException:
        """Give everything back, keep the record, and return what is to be raised."""
        lane = hop.lane
        if isinstance(error, asyncio.CancelledError):
            failure: FailureClass = "cancelled"
            placed = isinstance(self._clients.client(hop.request.model), PlacedClient)
            cut = not (placed or getattr(error, "unbilled", False))
        elif isinstance(error, ProviderError):
            failure = error.failure
            self._describe(record, hop.request, error)
            cut = _is_cut(error)
        else:
            # Declared wrongly (a key, a package): nothing was sent, so nothing is recorded.
            entry.settle(ctx, 0)
            entry.permit.unused()
            lane.breaker.abandon(entry.leave)
            return error
        if cut:
            self._estimate(record, hop)
        entry.settle(ctx, record.cost_pico)
        unsure = cut or failure == "timeout"
        entry.permit.done(None if unsure else record.usage.total_input + record.usage.output)
        counts_as = failure
        if failure == "timeout" and ctx.deadline.left() <= 0:
            failure = "deadline"
            error = DeadlineError(f"{hop.request.model}: the deadline passed before it answered")
            if entry.timeout_s < min(lane.timeout_s, LONG_WAIT_S):
                counts_as = failure
        lane.breaker.failure(entry.leave, counts_as)
        record.failure = failure
        records.append(record)
        if self._sink is not None:
            await kept(self._sink, record)
        return error

    def _estimate(self, record: CallRecord, hop: Hop) -> None:
        """What an answer that was cut off, or cannot be read, will be billed: it is not nothing.

        All of its input, and as much output as this model's answers have had here so far; before
        the first one, all that was reserved. Never more than was set aside for it.
        """
        output = hop.lane.usual_output(hop.output)
        usage, cost = self._biller.estimate(hop.request, hop.bound, output)
        if cost:
            record.usage, record.cost_pico = usage, cost
            record.price_basis = "estimated_usage"

    def _describe(self, record: CallRecord, request: Request, error: ProviderError) -> None:
        record.status = error.status
        record.request_id = error.request_id
        record.served_model = error.served_model
        if error.usage is not None:
            record.usage, record.cost_pico, record.price_basis = self._biller.bill(
                request, error.served_model or request.model, error.usage, ""
            )


async def _sent(
    client: ModelClient, request: Request, ctx: CallContext, key: str, timeout_s: float
) -> Completion:
    """One attempt; a client that must know for whom it is made is told."""
    if isinstance(client, PlacedClient):
        return await client.complete_for(request, ctx, key, timeout_s=timeout_s)
    return await client.complete(request, timeout_s=timeout_s)


def _paid(record: CallRecord, completion: Completion) -> Paid:
    return Paid(
        completion, record.call_id, record.decision_id, record.cost_pico, record.price_basis
    )


def _is_cut(error: ProviderError) -> bool:
    """Whether the provider may have answered, and bills what nobody has told us of.

    An error status is an answer, and providers bill none of these.
    """
    if error.usage is not None or error.unbilled:
        return False
    if error.failure == "malformed_response":
        return True
    return error.failure in {"timeout", "connection"} and error.status is None


async def kept(sink: CallSink, record: CallRecord) -> None:
    """Keep a record to the end, whoever cancels meanwhile; then let the cancellation go on.

    A sink whose ``record`` sees to that itself says so with ``survives_cancellation = True``, and
    saves a task a call.
    """
    if getattr(sink, "survives_cancellation", False):
        await sink.record(record)
        return
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
