"""Whose price, window and abilities are meant by a model's name.

How a price is computed, and what fills its gaps, stands in :mod:`consensus.models.rates`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import cached_property
from pathlib import Path
from typing import Any

from consensus.errors import PriceError
from consensus.models.price_map import PriceMap, load_map, name_candidates
from consensus.models.rates import POLICY_KEY, ModelPrice, Rates, from_map, from_policy, no_money
from consensus.models.windows import THINKING_ROOM, Window, thinks, window_of

__all__ = ["ModelPrice", "PriceBook", "Rates"]

_POLICY_TOKENS = frozenset(
    {"max_input_tokens", "max_output_tokens", "prompt_cache_min_tokens", "thinking_room"}
)
_MOST_ROOMS = 4_096
_NO_MONEY = ("local/", "scripted/")
_FILE_HASH = re.compile(r"@[0-9a-f]{12}$")
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
        self._rooms: dict[tuple[str, int], int] = {}

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
        known = self._rooms.get((model, asked))
        if known is None:
            if len(self._rooms) >= _MOST_ROOMS:
                self._rooms.clear()
            known = self._rooms[model, asked] = _room(self._all_facts(model), asked)
        return known

    def declare(self, model: str, facts: Mapping[str, object]) -> None:
        """Add what a client learnt of a model (its real window, say); the policy's word stays."""
        merged = {**_checked(model, facts), **self._overrides.get(model, {})}
        self._overrides[model] = merged
        self._prices.clear()
        self._facts.clear()
        self._rooms.clear()

    def same_abilities(self, other: PriceBook) -> bool:
        """Whether both books say the same of every model, prices left aside.

        A client asks for nothing but abilities and windows, so it need not be made anew for another
        price.
        """
        return self._path == other._path and _abilities(self._overrides) == _abilities(
            other._overrides
        )

    @cached_property
    def _map(self) -> PriceMap:
        # Once a book: prices and facts are remembered too, and their hash must be that of theirs.
        return load_map(self._path)

    def _override(self, model: str) -> tuple[str, Mapping[str, Any]] | None:
        # A model on this machine is served with its file's hash: local/NAME@0123456789ab.
        bare = _FILE_HASH.sub("", model) if model.startswith("local/") else model
        for name in dict.fromkeys((*name_candidates(model), *name_candidates(bare))):
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
                facts = dict(_NEW_CLAUDE) if model.startswith("anthropic/") else _local(model)
            override = self._override(model)
            if override is not None:
                facts.update(override[1])
            known = self._facts[model] = facts
        return known

    def _price(self, model: str) -> ModelPrice:
        override = self._override(model)
        if override is not None and _prices_anything(override[1]):
            name, table = override
            return from_policy(model, name, table)
        if model.startswith(_NO_MONEY):
            return no_money(model)
        found = self._map.find(model)
        price = None if found is None else from_map(model, *found)
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


def _room(facts: Mapping[str, Any], asked: int) -> int:
    room = facts.get("thinking_room")
    if not isinstance(room, int):
        room = THINKING_ROOM if thinks(facts) else 0
    window = window_of(facts)
    return min(asked + room, window.max_output) if window.known else asked + room


def _abilities(overrides: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    told = {
        model: {
            key: value
            for key, value in table.items()
            if key.startswith("supports_") or key in _POLICY_TOKENS
        }
        for model, table in overrides.items()
    }
    return {model: table for model, table in told.items() if table}


def _prices_anything(table: Mapping[str, Any]) -> bool:
    return any(key == "per_request" or POLICY_KEY.fullmatch(key) for key in table)


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
        elif key != "per_request" and not POLICY_KEY.fullmatch(key):
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


def _local(model: str) -> dict[str, Any]:
    """What the catalogue of local models knows of a name: the window it was trained to read."""
    if not model.startswith("local/"):
        return {}
    from consensus.models._catalogue_manifest import window

    tokens = window(model)
    return {} if tokens is None else {"max_input_tokens": tokens, "max_output_tokens": tokens}
