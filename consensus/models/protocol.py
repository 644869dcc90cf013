"""How a model is called: what goes in, what comes out, and who must be able to do it.

These are plain slotted dataclasses, not pydantic models: one of each is made for every call, and
our own time must vanish beside the model's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from consensus.ballots import PICO, Usage
from consensus.errors import BudgetError, DeadlineError, FailureClass

__all__ = [
    "BESIDE",
    "Budget",
    "CallRecord",
    "CallSink",
    "Completion",
    "Deadline",
    "ModelClient",
    "Part",
    "PriceBasis",
    "Purpose",
    "Request",
    "Turn",
]

Purpose = Literal[
    "ballot", "repair", "debate", "frontier", "shadow", "grade", "candidate", "classify"
]

BESIDE: frozenset[Purpose] = frozenset({"frontier", "shadow"})
"""Purposes of calls that stand beside a decision: their cost is not the decision's own."""

PriceBasis = Literal[
    "none", "served", "batch", "estimated_price", "estimated_usage", "estimated_price_and_usage"
]
"""What a call's cost rests on: nothing was billed; the served model's own price and the provider's
own count (``batch``: its price in batches); or an estimate of either, on the dear side, where one
of them is not known."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a turn. ``cache`` marks the end of a prefix that other calls share."""

    text: str
    cache: bool = False


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the conversation: shared material first, what differs last."""

    role: Literal["user", "assistant"]
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        """The parts, joined by a blank line: what a provider without part-wise content sees."""
        return "\n\n".join(part.text for part in self.parts)


@dataclass(frozen=True, slots=True)
class Request:
    """One call of one model.

    Attributes:
        model: as LiteLLM names it (``anthropic/…``, ``openai/…``, ``local/…``, ``scripted/…``).
        system: the system prompt; shared by a whole fan-out.
        turns: the conversation, ending with a user's turn.
        output_schema: a JSON Schema that the answer must satisfy; None for free text.
        choices: the words that a one-token ballot may answer with, in the order shown; the client
            returns their probabilities in ``Completion.choice_probabilities`` where it can.
        max_output_tokens: reserved for the answer; part of the window guard.
        temperature: None leaves the provider's default (newer Claude models take none).
        sample: which independent sample of the same request this is; part of the tape's key.
    """

    model: str
    system: str
    turns: tuple[Turn, ...]
    output_schema: dict[str, Any] | None = None
    choices: tuple[str, ...] = ()
    max_output_tokens: int = 1024
    temperature: float | None = None
    seed: int | None = None
    sample: int = 0

    def input_bytes(self) -> int:
        """UTF-8 bytes of all text that is sent: an upper bound on its tokens."""
        size = len(self.system.encode())
        for turn in self.turns:
            for part in turn.parts:
                size += len(part.text.encode()) + 2
        if self.output_schema is not None:
            import json

            size += len(json.dumps(self.output_schema).encode())
        return size


@dataclass(frozen=True, slots=True)
class Completion:
    """One model's answer, as it was served.

    ``served_model`` is what the provider says answered, in LiteLLM's naming with the provider's
    prefix; it is what is billed. ``usage`` is in disjoint classes. ``choice_probabilities`` has one
    number per ``Request.choices`` (normalised over them), or is None. ``coverage`` is the
    probability mass that the model put on those choices at all. ``batch`` is the provider's id of
    the batch that it came in, at the price of batches; a recorded answer does not know it any more.
    """

    text: str
    served_model: str
    usage: Usage
    finish: Literal["stop", "length", "refusal", "tool", "other"] = "stop"
    latency_s: float = 0.0
    request_id: str | None = None
    choice_probabilities: tuple[float, ...] | None = None
    coverage: float | None = None
    headers: dict[str, str] = field(default_factory=dict)
    batch: str | None = None


@runtime_checkable
class ModelClient(Protocol):
    """One way to reach models. One attempt per call: retrying is the gateway's business.

    Errors: every failure is a :class:`~consensus.errors.ProviderError` with its class, whether it
    may be retried, and the provider's own ``retry-after``.
    """

    async def complete(self, request: Request, *, timeout_s: float) -> Completion:
        """Send one request, once."""
        ...

    async def count_tokens(self, request: Request) -> int:
        """Tokens of the input by the model's own tokenizer, or a safe upper bound."""
        ...

    async def aclose(self) -> None:
        """Let go of connections, threads and memory."""
        ...


@dataclass(slots=True)
class CallRecord:
    """One attempt at one call, as the ledger keeps it.

    ``cost_pico`` is the price of the model *served*; ``key`` is the tape's content hash, with which
    a run that was killed finds the answers it has already paid for. ``price_basis`` says what the
    cost rests on. A ``replayed`` record is the original call's: same id, same cost, no new payment.
    """

    call_id: str
    decision_id: str
    seat: int
    purpose: Purpose
    attempt: int
    requested_model: str
    key: str
    started_at: float
    served_model: str | None = None
    usage: Usage = field(default_factory=Usage)
    cost_pico: int = 0
    latency_s: float = 0.0
    failure: FailureClass | None = None
    status: int | None = None
    request_id: str | None = None
    completion: Completion | None = None
    task_type: str = ""
    replayed: bool = False
    price_basis: PriceBasis = "none"


class CallSink(Protocol):
    """Where call records go. ``record`` returns once the record is durable."""

    async def record(self, call: CallRecord) -> None:
        """Keep one attempt; a paid answer is on disk before this returns."""
        ...


class Deadline:
    """A moment on the monotonic clock after which no call may start or go on."""

    __slots__ = ("at",)

    def __init__(self, seconds: float | None) -> None:
        self.at = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left; infinite without a deadline."""
        return float("inf") if self.at is None else self.at - time.monotonic()

    def check(self) -> None:
        """Raise :class:`DeadlineError` if no time is left."""
        if self.left() <= 0:
            raise DeadlineError("the deadline has passed")


class Budget:
    """A cap on money, in pico-dollars, with reservations for calls in flight.

    A call reserves its worst case before it starts and settles what it really cost afterwards, so
    concurrent calls cannot together pass the cap.
    """

    __slots__ = ("cap", "reserved", "spent")

    def __init__(self, cap_pico: int | None) -> None:
        self.cap = cap_pico
        self.spent = 0
        self.reserved = 0

    def reserve(self, pico: int) -> None:
        """Set money aside, or raise :class:`BudgetError`."""
        if self.cap is not None and self.spent + self.reserved + pico > self.cap:
            left = self.cap - self.spent - self.reserved
            raise BudgetError(
                f"the next call could cost ${pico / PICO:.6f}; ${max(left, 0) / PICO:.6f} is left "
                f"of ${self.cap / PICO:.6f}"
            )
        self.reserved += pico

    def settle(self, reserved_pico: int, actual_pico: int) -> None:
        """Give a reservation back and book what was spent."""
        self.reserved -= reserved_pico
        self.spent += actual_pico
