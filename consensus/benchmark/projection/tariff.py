"""What one call of so many tokens costs, by class of token, at today's prices or at others'.

A projection deals in means, so tokens are floats here and money is floating dollars; what the
ledger keeps stays exact and is never recomputed from this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Protocol

from consensus.ballots import PICO, Usage
from consensus.models.prices import PriceBook
from consensus.policy.table import PolicyTable

__all__ = ["Parts", "Tariff", "Tokens", "tariff_of"]


class _InOut(Protocol):
    @property
    def input(self) -> float: ...

    @property
    def output(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Tokens:
    """Mean tokens in classes that do not overlap: ``output`` excludes ``reasoning``."""

    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0
    reasoning: float = 0.0

    @property
    def prompt(self) -> float:
        """All input, cached or not."""
        return self.input + self.cached

    @property
    def answer(self) -> float:
        """All output, reasoning included."""
        return self.output + self.reasoning

    def __mul__(self, factor: float) -> Tokens:
        return Tokens(*(getattr(self, one.name) * factor for one in fields(self)))

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


@dataclass(frozen=True, slots=True)
class Parts:
    """Dollars by class of token; ``other`` is what belongs to none (a fee for each request)."""

    input: float = 0.0
    cached: float = 0.0
    output: float = 0.0
    reasoning: float = 0.0
    other: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.input + self.cached + self.output + self.reasoning + self.other

    def __mul__(self, factor: float) -> Parts:
        return Parts(*(getattr(self, one.name) * factor for one in fields(self)))

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def stretched(self, on_input: float, on_output: float) -> float:
        """Dollars if input and output were so many times longer."""
        given = (self.input + self.cached) * on_input
        return given + (self.output + self.reasoning) * on_output + self.other

    def to_json(self) -> dict[str, float]:
        """By name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Tariff:
    """Prices, and how much of the input a cache is taken to serve.

    Attributes:
        book: the policy's and the price map's prices.
        listed: model → $ per million tokens in and out, over the book: a certificate's own.
        cached: share of every prompt that a cache serves; None: as it was measured. Writes to the
            cache are priced as plain input.
    """

    book: PriceBook
    listed: Mapping[str, _InOut] = field(default_factory=dict)
    cached: float | None = None

    def call(self, model: str, tokens: Tokens) -> Parts:
        """Dollars of one call.

        Raises:
            PriceError: the model has no known price.
        """
        if self.cached is not None:
            share = self.cached
            tokens = Tokens(
                tokens.prompt * (1 - share), tokens.prompt * share, tokens.output, tokens.reasoning
            )
        price = self.book.price(model)
        rates = price.rates(round(tokens.prompt))
        given, got = float(rates.input), float(rates.output)
        scale_in = scale_out = 1.0
        if (listed := self.listed.get(model)) is not None:
            scale_in = listed.input * PICO / 1e6 / given if given else 0.0
            scale_out = listed.output * PICO / 1e6 / got if got else 0.0
        return Parts(
            input=tokens.input * given * scale_in / PICO,
            cached=tokens.cached * float(rates.cache_read) * scale_in / PICO,
            output=tokens.output * got * scale_out / PICO,
            reasoning=tokens.reasoning * float(rates.reasoning) * scale_out / PICO,
            other=price.cost_pico(Usage()) / PICO,
        )


def tariff_of(
    table: PolicyTable,
    *,
    prices: Mapping[str, tuple[float, float]] | None = None,
    cached: float | None = None,
) -> Tariff:
    """Today's prices as the policy knows them, with some models' replaced.

    A replaced price keeps the model's own discount for cached input.
    """
    overrides: dict[str, Mapping[str, object]] = dict(table.price_overrides())
    today = PriceBook(overrides)
    for model, (given, got) in (prices or {}).items():
        discount = 1.0
        if today.knows(model):
            rates = today.price(model).rates()
            discount = float(rates.cache_read / rates.input) if rates.input else 1.0
        kept = {
            key: value
            for key, value in overrides.get(model, {}).items()
            if key.startswith(("supports_", "max_"))
        }
        overrides[model] = {**kept, "input": given, "output": got, "cache_read": given * discount}
    return Tariff(PriceBook(overrides), cached=cached)
