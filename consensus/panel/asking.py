"""Putting a task to one seat: render, call, read; and once more where the answer cannot be read."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from consensus.ballots import NOT_NEEDED, Ballot, Cost, Failure, Usage
from consensus.errors import FailureClass, RunError, UnreadableError
from consensus.models.protocol import CallRecord, Completion, Part, Request, Turn
from consensus.panel.book import PromptBook
from consensus.panel.fencing import clean
from consensus.panel.parsing import Reading, read_ballot
from consensus.panel.rendering import answer_form, render
from consensus.panel.seats import Seat
from consensus.tasks import Generate, Task

if TYPE_CHECKING:
    from consensus.models.gateway import CallContext

__all__ = ["REPAIRABLE", "Caller", "Cut", "ask", "repair_request"]

REPAIRABLE: frozenset[FailureClass] = frozenset({"empty", "off_list", "schema", "unreadable"})
"""Answers that are worth asking for again. A refusal is an answer of its own kind, and a reply that
was cut off would be cut off again."""

MAX_QUOTED_CHARS = 4_000
"""As much of an unreadable reply as its repair shows to the model that wrote it."""


class Caller(Protocol):
    """What a seat needs of the gateway."""

    async def call(
        self, request: Request, ctx: CallContext
    ) -> tuple[Completion, tuple[CallRecord, ...]]:
        """One answered call and the records of its attempts; a failure has them as ``.calls``."""
        ...


class Cut:
    """Says of seats that are being cancelled that they are no longer needed, and why."""

    __slots__ = ("why",)

    def __init__(self) -> None:
        self.why: str | None = None


class _Tally:
    """What one seat has taken so far."""

    __slots__ = ("calls", "latency_s", "pico", "served", "usage")

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.usage: Usage | None = None
        self.pico = 0
        self.latency_s = 0.0
        self.served: str | None = None

    def add(self, records: Iterable[CallRecord]) -> None:
        for record in records:
            self.calls.append(record.call_id)
            self.usage = record.usage if self.usage is None else self.usage + record.usage
            self.pico += record.cost_pico
            self.latency_s += record.latency_s

    def fields(self, seat: Seat) -> dict[str, Any]:
        return {
            "seat": seat.index,
            "model": seat.model,
            "framing": seat.framing,
            "served_model": self.served,
            "order": seat.order,
            "calls": tuple(self.calls),
            "usage": self.usage or Usage(),
            "cost": Cost(pico_usd=self.pico),
            "latency_s": self.latency_s,
        }


async def ask(
    task: Task,
    seat: Seat,
    gateway: Caller,
    ctx: CallContext,
    book: PromptBook,
    *,
    request: Request | None = None,
    cut: Cut | None = None,
) -> Ballot | Failure:
    """Put a task to a seat. An answer that cannot be read is asked for once more.

    Usage, cost, latency (seconds, summed) and call ids cover every attempt.

    Args:
        task: what is asked.
        seat: who is asked, and how.
        gateway: makes the calls.
        ctx: for whom; its ``seat`` is set here, its ``purpose`` stands but for the repair.
        book: the prompts.
        request: what to send in place of the rendered task (a debate's second round, say); its
            answer is read in the same way.
        cut: once it says why, cancelling this gives a failure (``cancelled``) with what its calls
            have cost, instead of being raised.

    Returns:
        A ballot; or a failure with its class where the provider, a guard, the budget, the deadline
        or the answer itself did not allow one. Cancellation, and errors that are not of one seat's
        making, are raised.
    """
    tally = _Tally()
    first = request if request is not None else render(task, seat, book)
    own = ctx.at(seat.index)
    try:
        completion, records = await gateway.call(first, own)
        tally.add(records)
        tally.served = completion.served_model
        try:
            return _ballot(seat, read_ballot(task, seat, completion), tally)
        except UnreadableError as error:
            if error.failure not in REPAIRABLE or completion.choice_probabilities is not None:
                raise
            problem = error
        again = repair_request(task, seat, book, first, completion, problem)
        try:
            # The frontier's repair is part of its price, which stands apart from the panel's.
            paid_as = own if own.purpose == "frontier" else replace(own, purpose="repair")
            completion, records = await gateway.call(again, paid_as)
        except RunError as error:
            error.message = f"{problem.message}; its repair failed: {error.message}"
            raise
        tally.add(records)
        tally.served = completion.served_model
        return _ballot(seat, read_ballot(task, seat, completion), tally)
    except RunError as error:
        tally.add(error.calls)
        return Failure(**tally.fields(seat), failure=error.failure, message=error.message)
    except asyncio.CancelledError as error:
        running = asyncio.current_task()
        # Cancelled twice, somebody else wants it gone too.
        if cut is None or cut.why is None or running is None or running.uncancel() > 0:
            raise
        tally.add(getattr(error, "calls", ()))
        return Failure(
            **tally.fields(seat), failure="cancelled", message=f"{NOT_NEEDED}: {cut.why}"
        )


def repair_request(
    task: Task,
    seat: Seat,
    book: PromptBook,
    first: Request,
    completion: Completion,
    problem: UnreadableError,
) -> Request:
    """The same conversation, the reply that could not be read, and what was wrong with it.

    An empty reply cannot be a turn: what is said about it then ends the user's own turn.
    """
    form = "" if isinstance(task, Generate) else answer_form(task, seat, book)
    text = book.repair.render(problem=problem.message, form=form)
    quoted = clean(completion.text[:MAX_QUOTED_CHARS]).strip()
    if quoted:
        turns = (
            *first.turns,
            Turn("assistant", (Part(quoted),)),
            Turn("user", (Part(text),)),
        )
    else:
        last = first.turns[-1]
        turns = (*first.turns[:-1], Turn("user", (*last.parts, Part(text))))
    return replace(first, turns=turns)


def _ballot(seat: Seat, reading: Reading, tally: _Tally) -> Ballot:
    return Ballot(
        **tally.fields(seat),
        answer=reading.answer,
        confidence=reading.confidence,
        confidence_source=reading.confidence_source,
        distribution=reading.distribution,
        scores=reading.scores,
        rationale=reading.rationale,
    )
