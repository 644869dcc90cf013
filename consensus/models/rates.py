"""What a call costs: exact prices per token, by class, by length of the prompt, in batches or not.

Money is whole pico-dollars (1 USD = 10¹²) per call. Rates are exact fractions of the decimal
numbers that the price map or the policy writes (``1e-07`` $ a token is 100,000 pico-dollars, not
the float next to it), and a call's cost is rounded once, half to even.

Rules, all on the dear side where the map is silent, so that a cost is never understated:

- **Long prompts.** ``…_above_Nk_tokens``: once all input tokens together (fresh, read from and
  written to a cache) exceed N, *every* token of the call, output too, is charged at that tier, as
  Anthropic, OpenAI and Google bill. xAI's tiers start at N, not above it. ``tiered_pricing`` tables
  (Qwen and others) work the same way: one tier for the whole call. A class without a price of its
  own in a tier keeps the tier below's.
- **Caches.** No price for reads or for writes: the input price. No price for one-hour writes: the
  five-minute price, and in a tier never below that tier's five-minute price.
- **Batches.** No batch price: the standard one. Where a long-prompt tier or one-hour writes have
  none, the discount of the same class at normal length (of five-minute writes) is applied.
- **Thinking** is part of the output, and is charged as output unless the map has
  ``output_cost_per_reasoning_token``.
- **Off-peak prices** are ignored: the standard price is charged around the clock.
- **Zero.** A map entry whose input and output both cost nothing is taken as *no price known*,
  unless the model runs on the user's own machine (``ollama/…``, ``lemonade/…``): elsewhere a zero
  has always meant that nobody had filled it in. ``local/…`` and ``scripted/…`` cost zero because no
  money changes hands. A policy may declare any price, zero too.

Not covered, because a request of this library never asks for them: priority and flex tiers, fast
mode, surcharges for regional processing, web search, images and audio.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TypeAlias

from consensus.ballots import PICO, Usage

__all__ = ["POLICY_KEY", "ModelPrice", "Rates", "from_map", "from_policy", "no_money"]

_Class: TypeAlias = Literal[
    "input", "output", "cache_read", "cache_write", "cache_write_1h", "reasoning"
]
_Listed: TypeAlias = dict[tuple[_Class, int, bool], Fraction]  # class, above N tokens, batch

_MAP_NAMES: Mapping[str, _Class] = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
}
_MAP_KEY = re.compile(
    rf"({'|'.join(sorted(_MAP_NAMES, key=len, reverse=True))})"
    r"(?:_above_(\d+)(k?)_tokens)?(_batches)?"
)
POLICY_KEY = re.compile(
    r"(batch_)?(input|output|cache_read|cache_write_1h|cache_write|reasoning)(?:_above_(\d+)k)?"
)
"""A price in a policy's table."""

_FREE_TO_RUN = frozenset({"ollama", "lemonade"})


class Rates(NamedTuple):
    """Pico-dollars a token, exact, by class."""

    input: Fraction
    output: Fraction
    cache_read: Fraction
    cache_write: Fraction
    cache_write_1h: Fraction
    reasoning: Fraction


@dataclass(frozen=True, slots=True)
class _Card:
    """The rates above some length, as whole numbers over one denominator."""

    above: int
    rates: Rates
    scaled: tuple[int, int, int, int, int, int]
    per_request: int
    scale: int


@dataclass(frozen=True, slots=True)
class ModelPrice:
    """The price of one model.

    Attributes:
        model: the name that was asked for.
        key: the map's key, or the name in the policy's ``[prices]``.
        source: ``map``, ``policy``, or ``declared`` (no money changes hands).
        deprecation_date: the day on which the provider stops serving it, where the map has it.
    """

    model: str
    key: str
    source: Literal["map", "policy", "declared"]
    deprecation_date: date | None
    _standard: tuple[_Card, ...] = field(repr=False)
    _batch: tuple[_Card, ...] = field(repr=False)
    _inclusive: bool = field(default=False, repr=False)

    def cost_pico(self, usage: Usage, *, batch: bool = False) -> int:
        """The cost of one call in whole pico-dollars. About 1 µs.

        Raises:
            ValueError: a count is negative, or more thinking than output is claimed.
        """
        fresh, read, write = usage.input, usage.cache_read, usage.cache_write
        hour, output, reasoning = usage.cache_write_1h, usage.output, usage.reasoning
        if min(fresh, read, write, hour, output, reasoning) < 0:
            raise ValueError(f"the usage of {self.model} holds a negative count of tokens")
        if reasoning > output:
            raise ValueError(f"the usage of {self.model} holds more thinking than output")
        card = self._card(fresh + read + write + hour, batch=batch)
        a, b, c, d, e, f = card.scaled
        amount = (
            a * fresh
            + b * (output - reasoning)
            + c * read
            + d * write
            + e * hour
            + f * reasoning
            + card.per_request
        )
        return amount if card.scale == 1 else round(Fraction(amount, card.scale))

    def worst_pico(self, input_tokens: int, output_tokens: int, *, batch: bool = False) -> int:
        """The most that so many tokens can cost, however the provider classes them."""
        rates = self.rates(input_tokens, batch=batch)
        card = self._card(input_tokens, batch=batch)
        dearest = max(rates.input, rates.cache_read, rates.cache_write)
        return math.ceil(
            dearest * input_tokens
            + max(rates.output, rates.reasoning) * output_tokens
            + Fraction(card.per_request, card.scale)
        )

    def rates(self, input_tokens: int = 0, *, batch: bool = False) -> Rates:
        """Pico-dollars a token for a prompt of this length."""
        return self._card(input_tokens, batch=batch).rates

    def per_million(self) -> dict[str, float]:
        """Dollars per million tokens, for people and for certificates.

        Keys as in a policy's ``[prices]``; tiers and batch prices only where they exist.
        """
        shown: dict[str, float] = {}
        for prefix, cards in (("", self._standard), ("batch_", self._batch)):
            if prefix and [c.rates for c in cards] == [c.rates for c in self._standard]:
                continue
            for card in cards:
                suffix = f"_above_{card.above / 1000:g}k" if card.above else ""
                for name, rate in zip(Rates._fields, card.rates, strict=True):
                    shown[f"{prefix}{name}{suffix}"] = float(rate * 1_000_000 / PICO)
        return shown

    def _card(self, total_input: int, *, batch: bool) -> _Card:
        cards = self._batch if batch else self._standard
        chosen = cards[0]
        for card in cards[1:]:
            if total_input > card.above or (self._inclusive and total_input == card.above):
                chosen = card
        return chosen


def no_money(model: str) -> ModelPrice:
    """The price of a model for which no money changes hands: a declared zero."""
    listed: _Listed = {("input", 0, False): Fraction(0), ("output", 0, False): Fraction(0)}
    cards = _cards(listed, batch=False, per_request=Fraction(0))
    return ModelPrice(model, model, "declared", None, cards, cards)


def from_policy(model: str, name: str, table: Mapping[str, Any]) -> ModelPrice:
    """The price that a policy's table declares; the table has been checked."""
    listed: _Listed = {}
    for key, value in table.items():
        match = POLICY_KEY.fullmatch(key)
        if match is not None:
            batch, class_, above = match.groups()
            rate = _exact(value) * PICO / 1_000_000
            listed[class_, int(above or 0) * 1000, bool(batch)] = rate  # type: ignore[index]
    per_request = _exact(table.get("per_request", 0)) * PICO
    return ModelPrice(
        model,
        name,
        "policy",
        None,
        _cards(listed, batch=False, per_request=per_request),
        _cards(listed, batch=True, per_request=per_request),
    )


def from_map(model: str, key: str, entry: Mapping[str, Any]) -> ModelPrice | None:
    """The price in a map's entry; None if it has none that could be charged."""
    listed: _Listed = {}
    for name, value in entry.items():
        match = _MAP_KEY.fullmatch(name)
        if match is not None and isinstance(value, int | float):
            base, above, kilo, batch = match.groups()
            threshold = int(above or 0) * (1000 if kilo else 1)
            listed[_MAP_NAMES[base], threshold, bool(batch)] = _exact(value) * PICO
    hit = entry.get("input_cost_per_token_cache_hit")
    if isinstance(hit, int | float):
        listed.setdefault(("cache_read", 0, False), _exact(hit) * PICO)
    for tier in entry.get("tiered_pricing") or ():
        _read_tier(tier, listed)
    base = listed.get(("input", 0, False)), listed.get(("output", 0, False))
    if None in base:
        return None
    owner = str(entry.get("litellm_provider", ""))
    per_request = _exact(entry.get("input_cost_per_request") or 0) * PICO
    costs_nothing = not any(listed.values()) and not per_request
    if costs_nothing and (owner not in _FREE_TO_RUN or key.endswith("cloud")):
        return None
    return ModelPrice(
        model,
        key,
        "map",
        _date(entry.get("deprecation_date")),
        _cards(listed, batch=False, per_request=per_request),
        _cards(listed, batch=True, per_request=per_request),
        _inclusive=owner == "xai",
    )


def _read_tier(tier: Mapping[str, Any], listed: _Listed) -> None:
    """One row of a ``tiered_pricing`` table: it stands alone, so its gaps are its input price."""
    bounds, price = tier.get("range"), tier.get("input_cost_per_token")
    if not isinstance(bounds, list) or not bounds or not isinstance(price, int | float):
        return
    above, fresh = int(bounds[0]), _exact(price) * PICO
    rates: dict[_Class, Fraction] = {"input": fresh, "cache_read": fresh, "cache_write": fresh}
    for name, class_ in _MAP_NAMES.items():
        if isinstance(tier.get(name), int | float):
            rates[class_] = _exact(tier[name]) * PICO
    if "output" in rates:
        rates.setdefault("reasoning", rates["output"])
    for class_, rate in rates.items():
        listed[class_, above, False] = rate


def _cards(listed: _Listed, *, batch: bool, per_request: Fraction) -> tuple[_Card, ...]:
    thresholds = sorted({0} | {above for _, above, _ in listed})
    return tuple(_card(listed, above, batch=batch, per_request=per_request) for above in thresholds)


def _card(listed: _Listed, above: int, *, batch: bool, per_request: Fraction) -> _Card:
    def find(class_: _Class, *, in_batch: bool) -> tuple[int, Fraction] | None:
        places = [t for c, t, b in listed if c == class_ and b == in_batch and t <= above]
        return (max(places), listed[class_, max(places), in_batch]) if places else None

    def rate(class_: _Class) -> Fraction | None:
        standard = find(class_, in_batch=False)
        discounted = find(class_, in_batch=True) if batch else None
        if discounted is None:
            return None if standard is None else standard[1]
        place, price = discounted
        if standard is None or place >= standard[0]:
            return price
        base = listed.get((class_, place, False))
        return standard[1] * price / base if base else standard[1]

    fresh, output = rate("input"), rate("output")
    assert fresh is not None  # noqa: S101 - both are checked where the prices are read
    assert output is not None  # noqa: S101
    read, write, hour = rate("cache_read"), rate("cache_write"), rate("cache_write_1h")
    thinking = rate("reasoning")
    write = fresh if write is None else write
    if hour is not None and batch and find("cache_write_1h", in_batch=True) is None:
        full = _card(listed, above, batch=False, per_request=per_request).rates.cache_write
        hour = hour * write / full if full else hour
    rates = Rates(
        input=fresh,
        output=output,
        cache_read=fresh if read is None else read,
        cache_write=write,
        cache_write_1h=write if hour is None else max(hour, write) if above else hour,
        reasoning=output if thinking is None else thinking,
    )
    scale = math.lcm(*(r.denominator for r in rates), per_request.denominator)
    a, b, c, d, e, f = (int(r * scale) for r in rates)
    return _Card(above, rates, (a, b, c, d, e, f), int(per_request * scale), scale)


def _exact(value: object) -> Fraction:
    """The decimal number as it was written, not the binary float beside it."""
    return Fraction(Decimal(str(value)))


def _date(value: object) -> date | None:
    try:
        return date.fromisoformat(str(value))
    except ValueError:
        return None
