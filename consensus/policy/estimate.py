"""What a route would cost for a typical task: an estimate before anything is asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from consensus.ballots import PICO, Usage
from consensus.policy.oracles import grader_of, oracle_of
from consensus.policy.resolve import Hop
from consensus.policy.route import Route, expected_output
from consensus.policy.table import PolicyTable

__all__ = [
    "GRADE_TOKENS",
    "PROMPT_TOKENS",
    "Estimate",
    "HopEstimate",
    "PricesUsage",
    "estimate",
    "frontier_model",
]

PROMPT_TOKENS = 350
"""Tokens that the question's own wording adds to a task: system prompt, criteria, framing, form."""

GRADE_TOKENS = 150
"""Tokens of a grader's marks with a short reason."""

TYPICAL_INPUT = 800
"""Tokens of a task whose row expects no number."""


class Priced(Protocol):
    """A model's price."""

    def cost_pico(self, usage: Usage, *, batch: bool = False) -> int:
        """Pico-dollars of this usage."""
        ...


class PricesUsage(Protocol):
    """Where prices are looked up: a ``PriceBook``."""

    def price(self, model: str) -> Priced:
        """The price, or :class:`~consensus.errors.PriceError`."""
        ...


@dataclass(frozen=True, slots=True)
class HopEstimate:
    """One hop: seats by model, and dollars with no cache hit, retry or early stop.

    ``graders`` are the calls of models that judge what the seats said; they are in ``usd``.
    """

    hop: Hop
    seats: dict[str, int]
    usd: float
    graders: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Estimate:
    """A route's price for a typical task, in US dollars.

    Attributes:
        assumed: whether the token counts are this module's and not the row's.
        first_usd: the first choice alone.
        all_usd: the first choice and every escalation.
        frontier: the model of the comparison, or None.
        frontier_usd: one plain call of it.
    """

    input_tokens: int
    output_tokens: int
    assumed: bool
    hops: tuple[HopEstimate, ...]
    first_usd: float
    all_usd: float
    frontier: str | None
    frontier_usd: float | None

    @property
    def ratio(self) -> float | None:
        """The first choice over one frontier call."""
        return self.first_usd / self.frontier_usd if self.frontier_usd else None


def frontier_model(table: PolicyTable) -> str | None:
    """The first model of the tier called ``frontier``."""
    models: Sequence[str] = table.tiers.get("frontier", ())
    return models[0] if models else None


def estimate(table: PolicyTable, route: Route, prices: PricesUsage) -> Estimate:
    """Price a route at the row's expected lengths.

    Raises:
        PriceError: for a model without a known price.
    """
    row = route.row
    length = row.expected_input_tokens or TYPICAL_INPUT
    usage = Usage(input=length + PROMPT_TOKENS, output=expected_output(row, row.kind))
    hops = tuple(_hop(table, hop, usage, prices) for hop in route.hops)
    frontier = frontier_model(table)
    return Estimate(
        input_tokens=usage.input,
        output_tokens=usage.output,
        assumed=row.expected_input_tokens is None or row.expected_output_tokens is None,
        hops=hops,
        first_usd=hops[0].usd,
        all_usd=sum(hop.usd for hop in hops),
        frontier=frontier,
        frontier_usd=prices.price(frontier).cost_pico(usage) / PICO if frontier else None,
    )


def _hop(table: PolicyTable, hop: Hop, usage: Usage, prices: PricesUsage) -> HopEstimate:
    seats = Counter(hop.seat_models())
    pico = sum(count * prices.price(model).cost_pico(usage) for model, count in seats.items())
    graders: Counter[str] = Counter()
    for name in {check.oracle for check in hop.checks} | {hop.oracle} - {None}:
        model = grader_of(oracle_of(table, str(name)))
        if model is not None:
            # A candidate that was graded is not graded again before it acts.
            graders[model] += hop.seats if name == hop.oracle else 1
    graded = Usage(input=usage.input + usage.output, output=GRADE_TOKENS)
    pico += sum(count * prices.price(model).cost_pico(graded) for model, count in graders.items())
    return HopEstimate(hop, dict(seats), pico / PICO, dict(graders))
