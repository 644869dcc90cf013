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
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from consensus.ballots import PICO, Usage
from consensus.errors import PriceError
from consensus.models.price_map import PriceMap, load_map, name_candidates
from consensus.models.windows import THINKING_ROOM, Window, thinks, window_of

__all__ = ["ModelPrice", "PriceBook", "Rates"]

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
_POLICY_KEY = re.compile(
    r"(batch_)?(input|output|cache_read|cache_write_1h|cache_write|reasoning)(?:_above_(\d+)k)?"
)
_POLICY_TOKENS = frozenset(
    {"max_input_tokens", "max_output_tokens", "prompt_cache_min_tokens", "thinking_room"}
)
_FREE_TO_RUN = frozenset({"ollama", "lemonade"})
_NO_MONEY = ("local/", "scripted/")
# A Claude that the map does not list yet is newer than the map: it behaves as the newest there.
_NEW_CLAUDE: Mapping[str, Any] = {
    "litellm_provider": "anthropic",
    "supports_adaptive_thinking": True,
    "supports_sampling_params": False,
    "supports_native_structured_output": True,
    "supports_forced_tool_use": False,
}
_POLICY_FIELDS = (
    "input, output, cache_read, cache_write, cache_write_1h, reasoning, each also with batch_ "
    "before it or _above_200k behind it; per_request; max_input_tokens, max_output_tokens, "
    "prompt_cache_min_tokens, thinking_room; supports_…"
)


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


class PriceBook:
    """Prices, windows and abilities of models: the policy's word first, then litellm's price map.

    The map is read at the first question that needs it. How a name finds its entry is told at
    :func:`consensus.models.price_map.name_candidates`; a policy's ``[prices]`` tables are found by
    the same names, before the map, so a table for ``openai/gpt-5.4`` also prices the dated model
    that serves it. A table with any price replaces the map's price of that model as a whole
    (``input`` and ``output`` are then required); one without only adds to it.

    Args:
        overrides: model → table: $ per million tokens, windows in tokens, ``supports_…`` flags.
        path: another price map than litellm's own.

    Raises:
        PriceError: a table with an unknown key, or a price that is no number from 0 up.
    """

    def __init__(
        self,
        overrides: Mapping[str, Mapping[str, object]] | None = None,
        *,
        path: Path | None = None,
    ) -> None:
        self._path = path
        self._overrides = {m: _checked(m, t) for m, t in (overrides or {}).items()}
        self._prices: dict[str, ModelPrice] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}

    @property
    def source(self) -> str:
        """The price map's file."""
        return str(self._map.path)

    @property
    def sha256(self) -> str:
        """Of the price map's bytes."""
        return self._map.sha256

    @property
    def date(self) -> date:
        """The price map's date: with an installed litellm, the day of its install (UTC)."""
        return self._map.date

    @property
    def litellm_version(self) -> str | None:
        """The version of litellm whose map is used; None for a map of the caller's own."""
        return self._map.litellm_version

    def price(self, model: str) -> ModelPrice:
        """The price of a model.

        Raises:
            PriceError: nobody declared one; names the model and the fix.
        """
        known = self._prices.get(model)
        if known is None:
            known = self._prices[model] = self._price(model)
        return known

    def knows(self, model: str) -> bool:
        """Whether a price is known."""
        try:
            self.price(model)
        except PriceError:
            return False
        return True

    def window(self, model: str) -> Window:
        """The model's window; a conservative one with ``known=False`` where nobody declared it."""
        return window_of(self._all_facts(model))

    def supports(self, model: str, feature: str) -> bool | None:
        """Whether a model has a feature of the map (``supports_…`` or without that prefix).

        None where neither the policy nor the map says anything.
        """
        facts = self._all_facts(model)
        value = facts.get(feature, facts.get(f"supports_{feature}"))
        return value if isinstance(value, bool) else None

    def fact(self, model: str, name: str) -> Any:
        """Any field of the model's entry (``prompt_cache_min_tokens``, ``mode`` …), or None."""
        return self._all_facts(model).get(name)

    def listed(self, model: str) -> bool:
        """Whether the price map has an entry for this model."""
        return not model.startswith(_NO_MONEY) and self._map.find(model) is not None

    def output_room(self, model: str, asked: int) -> int:
        """The output limit to send, and to reserve, for an answer of ``asked`` tokens.

        Room to think is added for models that think by default, up to what the model can write.
        """
        facts = self._all_facts(model)
        room = facts.get("thinking_room")
        if not isinstance(room, int):
            room = THINKING_ROOM if thinks(facts) else 0
        window = window_of(facts)
        return min(asked + room, window.max_output) if window.known else asked + room

    def declare(self, model: str, facts: Mapping[str, object]) -> None:
        """Add what a client learnt of a model (its real window, say); the policy's word stays."""
        merged = {**_checked(model, facts), **self._overrides.get(model, {})}
        self._overrides[model] = merged
        self._prices.clear()
        self._facts.clear()

    @property
    def _map(self) -> PriceMap:
        return load_map(self._path)

    def _override(self, model: str) -> tuple[str, Mapping[str, Any]] | None:
        for name in name_candidates(model):
            table = self._overrides.get(name)
            if table is not None:
                return name, table
        return None

    def _all_facts(self, model: str) -> Mapping[str, Any]:
        known = self._facts.get(model)
        if known is None:
            found = None if model.startswith(_NO_MONEY) else self._map.find(model)
            if found is not None:
                facts = dict(found[1])
            else:
                facts = dict(_NEW_CLAUDE) if model.startswith("anthropic/") else {}
            override = self._override(model)
            if override is not None:
                facts.update(override[1])
            known = self._facts[model] = facts
        return known

    def _price(self, model: str) -> ModelPrice:
        override = self._override(model)
        if override is not None and _prices_anything(override[1]):
            name, table = override
            return _from_policy(model, name, table)
        if model.startswith(_NO_MONEY):
            zero = {("input", 0, False): Fraction(0), ("output", 0, False): Fraction(0)}
            cards = _cards(zero, batch=False, per_request=Fraction(0))  # type: ignore[arg-type]
            return ModelPrice(model, model, "declared", None, cards, cards)
        found = self._map.find(model)
        price = None if found is None else _from_map(model, *found)
        if price is None:
            raise PriceError(
                "the price map lists this model without a usable price"
                if found is not None
                else "no price is known for this model",
                where=f'[prices."{model}"]',
                fix="add the table to the policy with input = … and output = …, "
                "in $ per million tokens",
            )
        return price


def _from_policy(model: str, name: str, table: Mapping[str, Any]) -> ModelPrice:
    listed: _Listed = {}
    for key, value in table.items():
        match = _POLICY_KEY.fullmatch(key)
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


def _from_map(model: str, key: str, entry: Mapping[str, Any]) -> ModelPrice | None:
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


def _prices_anything(table: Mapping[str, Any]) -> bool:
    return any(key == "per_request" or _POLICY_KEY.fullmatch(key) for key in table)


def _checked(model: str, table: Mapping[str, object]) -> dict[str, Any]:
    """A policy's table for one model, or a clear line of what is wrong with it."""
    where = f'[prices."{model}"]'
    for key, value in table.items():
        if key.startswith("supports_"):
            if not isinstance(value, bool):
                raise PriceError(f'"{key}" is true or false', where=where)
        elif key in _POLICY_TOKENS:
            if not isinstance(value, int) or isinstance(value, bool) or value < 0:
                raise PriceError(f'"{key}" is a whole number of tokens', where=where)
        elif key != "per_request" and not _POLICY_KEY.fullmatch(key):
            raise PriceError(f'unknown key "{key}"', where=where, fix=f"known: {_POLICY_FIELDS}")
        elif not _is_price(value):
            raise PriceError(f'"{key}" is a number of dollars from 0 up', where=where)
    if _prices_anything(table):
        for key in ("input", "output"):
            if key not in table:
                raise PriceError(
                    f'"{key}" is missing', where=where, fix=f"add {key} = …, $ per million tokens"
                )
    return dict(table)


def _is_price(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return False
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return False
    return number.is_finite() and number >= 0
