"""What a seat returns: a ballot, or a failure that stays visible.

Money is kept in whole pico-dollars (1 USD = 10¹²), so that a parent's total is exactly the sum
of its children.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from consensus.errors import FailureClass

__all__ = [
    "PICO",
    "Answer",
    "Ballot",
    "ConfidenceSource",
    "Cost",
    "Failure",
    "Usage",
]

PICO = 10**12
"""Pico-dollars in a dollar."""

Answer: TypeAlias = str | float | tuple[str, ...] | dict[str, Any] | list[Any]
"""approve/choose/compare: an option, or all that a seat scored alike highest, as a tuple ·
rank: items, best first · score: a number ·
generate: text, or the object that the schema asked for."""

ConfidenceSource = Literal["stated", "token_probabilities", "scores"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Usage(_Frozen):
    """Tokens of one call or of several, in classes that do not overlap.

    ``input`` excludes what was read from or written to a prompt cache; ``reasoning`` is the part
    of ``output`` that the provider says was thinking (it is priced as output, never twice).
    """

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0

    @property
    def total_input(self) -> int:
        """All tokens of the prompt, cached or not."""
        return self.input + self.cache_read + self.cache_write + self.cache_write_1h

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input=self.input + other.input,
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            cache_write_1h=self.cache_write_1h + other.cache_write_1h,
            output=self.output + other.output,
            reasoning=self.reasoning + other.reasoning,
        )

    @staticmethod
    def total(usages: Iterable[Usage]) -> Usage:
        """The sum, made in one go."""
        fresh = read = write = hour = output = reasoning = 0
        for one in usages:
            fresh += one.input
            read += one.cache_read
            write += one.cache_write
            hour += one.cache_write_1h
            output += one.output
            reasoning += one.reasoning
        return Usage(
            input=fresh,
            cache_read=read,
            cache_write=write,
            cache_write_1h=hour,
            output=output,
            reasoning=reasoning,
        )


class Cost(_Frozen):
    """A price paid, exact in pico-dollars."""

    pico_usd: int = 0

    @property
    def usd(self) -> float:
        """US dollars: the nearest float to the exact sum."""
        return self.pico_usd / PICO

    def __add__(self, other: Cost) -> Cost:
        return Cost(pico_usd=self.pico_usd + other.pico_usd)

    @staticmethod
    def total(costs: Iterable[Cost]) -> Cost:
        """The exact sum."""
        return Cost(pico_usd=sum(cost.pico_usd for cost in costs))


class _FromSeat(_Frozen):
    """Who was asked, how, and what it took, retries and repairs included."""

    seat: int = Field(ge=0, description="place on the panel, from 0; unique within a decision")
    model: str = Field(description="the model that was asked")
    framing: str = Field(description="the framing's name")
    served_model: str | None = Field(default=None, description="the model that answered")
    order: tuple[int, ...] = Field(
        default=(), description="positions of the options or items as this seat saw them"
    )
    calls: tuple[str, ...] = Field(default=(), description="ids of its calls on the ledger")
    usage: Usage = Usage()
    cost: Cost = Cost()
    latency_s: float = 0.0


class Ballot(_FromSeat):
    """One seat's valid answer.

    ``distribution`` is over the task's options and sums to one; it is set only where a provider
    gave token probabilities. ``scores`` are over the task's options too, on whatever scale the seat
    was asked for, and are set only where it was asked for a score of each. ``confidence`` is the
    probability the seat gave its own answer, with its provenance; stated confidence counts only
    once calibrated.
    ``earlier`` are the seat's answers in a debate's rounds before this one. ``role`` tells a
    candidate of best-of-n from the vote of a judge among candidates.
    """

    answer: Answer
    confidence: float | None = Field(default=None, ge=0.0, le=1.0)
    confidence_source: ConfidenceSource | None = None
    distribution: dict[str, float] | None = None
    scores: dict[str, float] | None = None
    rationale: str = ""
    earlier: tuple[Answer, ...] = ()
    role: Literal["ballot", "candidate", "judge"] = "ballot"


NOT_NEEDED = "not needed any more"
"""How the message of a seat begins that a stopping rule cut off."""


class Failure(_FromSeat):
    """One seat without a ballot, with the class of what went wrong."""

    failure: FailureClass
    message: str = ""

    @property
    def not_needed(self) -> bool:
        """Whether nothing went wrong: a stopping rule cut it off once the others had decided."""
        return self.failure == "cancelled" and self.message.startswith(NOT_NEEDED)
