"""An instance of a JSON Schema, chosen by a hash: what a scripted model answers with.

It covers the schemas that this library asks for (objects of enums, bounded numbers, texts and
lists) and the common rest: ``$ref`` into the same document, ``anyOf``, ``oneOf``, ``allOf``,
``const``. It promises no instance of schemas built to have none that is easily found.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["Dice", "fill"]

_ABSENT = object()


class Dice:
    """Numbers that follow from a hash and from nothing else."""

    __slots__ = ("_state",)

    def __init__(self, seed_hex: str) -> None:
        self._state = int(seed_hex, 16)

    def roll(self, sides: int) -> int:
        """A number from 0 to ``sides`` - 1."""
        # A multiplicative congruential step over 128 bits; the high half is the result.
        self._state = (self._state * 0xDA942042E4DD58B5 + 0x9E3779B97F4A7C15) % (1 << 128)
        return (self._state >> 64) % sides


def fill(
    schema: Mapping[str, Any],
    dice: Dice,
    answer: object = None,
    named: Mapping[str, object] = MappingProxyType({}),
) -> tuple[Any, bool]:
    """An instance of the schema, and whether ``answer`` found a place in it.

    The answer goes to the first place, in the order of the schema, whose values it is one of: a
    closed set that holds it, then a list or a number where it is one, then free text. ``named``
    gives the values of properties by their names; ``confidence`` is never taken for the answer.
    """
    for fits in (_fits_closed, _fits_shape, _fits_text):
        filler = _Filler(schema, dice, answer, fits, named)
        value = filler.value(schema, 0)
        if answer is None or filler.placed:
            return value, filler.placed
    return value, False


def _fits_closed(schema: Mapping[str, Any], answer: object) -> Any:
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    for value in values:
        if value == answer or (isinstance(answer, str) and str(value) == answer):
            return value
    return _ABSENT


def _fits_shape(schema: Mapping[str, Any], answer: object) -> Any:
    kind = _kind(schema)
    if kind == "array" and isinstance(answer, list | tuple):
        return list(answer)
    if kind in {"number", "integer"} and "enum" not in schema:
        try:
            number = float(answer)  # type: ignore[arg-type] # what is no number is caught below
        except (TypeError, ValueError):
            return _ABSENT
        if math.isfinite(number):
            return int(number) if number.is_integer() else number
    if kind == "boolean" and isinstance(answer, bool):
        return answer
    return _ABSENT


def _fits_text(schema: Mapping[str, Any], answer: object) -> Any:
    if _kind(schema) == "string" and isinstance(answer, str) and "enum" not in schema:
        return answer
    return _ABSENT


def _kind(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind is None:
        for key, implied in (("properties", "object"), ("items", "array")):
            if key in schema:
                return implied
    return kind


class _Filler:
    def __init__(
        self,
        root: Mapping[str, Any],
        dice: Dice,
        answer: object,
        fits: Any,
        named: Mapping[str, object],
    ) -> None:
        self.root = root
        self.dice = dice
        self.answer = answer
        self.fits = fits
        self.named = named
        self.placed = False

    def value(self, schema: Any, depth: int, *, place: bool = True) -> Any:
        if not isinstance(schema, Mapping) or depth > 32:
            return None
        schema = self._resolved(schema)
        if place and self.answer is not None and not self.placed:
            found = self.fits(schema, self.answer)
            if found is not _ABSENT:
                self.placed = True
                return found
        if "const" in schema:
            return schema["const"]
        if values := schema.get("enum"):
            return values[self.dice.roll(len(values))]
        for key in ("anyOf", "oneOf"):
            if branches := schema.get(key):
                return self.value(branches[0], depth + 1)
        kind = _kind(schema)
        if kind == "object":
            return self._object(schema, depth)
        if kind == "array":
            return self._array(schema, depth)
        if kind in {"number", "integer"}:
            return self._number(schema, whole=kind == "integer")
        if kind == "boolean":
            return self.dice.roll(2) == 1
        if kind == "null":
            return None
        text = f"scripted {self.dice.roll(1_000_000):06d}"
        return text.ljust(schema.get("minLength", 0), ".")[: schema.get("maxLength", 10**6)]

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        for _ in range(32):
            reference = schema.get("$ref")
            if not isinstance(reference, str) or not reference.startswith("#"):
                break
            target: Any = self.root
            for step in reference.lstrip("#/").split("/") if reference != "#" else ():
                target = target.get(step.replace("~1", "/").replace("~0", "~"), {})
            schema = {**target, **{k: v for k, v in schema.items() if k != "$ref"}}
        if parts := schema.get("allOf"):
            merged = {k: v for k, v in schema.items() if k != "allOf"}
            for part in parts:
                for key, value in self._resolved(part).items():
                    both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
                    merged[key] = {**merged[key], **value} if both else value
            return merged
        return schema

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        properties = dict(schema.get("properties", {}))
        for name in schema.get("required", []):
            properties.setdefault(name, {"type": "string"})
        return {
            name: self.named[name]
            if name in self.named
            else self.value(inner, depth + 1, place=name != "confidence")
            for name, inner in properties.items()
        }

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        item = self._resolved(schema.get("items", {"type": "string"}))
        distinct = schema.get("uniqueItems", False) or "enum" in item
        if distinct and (pool := list(item.get("enum", []))):
            # All of a closed set once, in an order of the hash's: a ranking.
            least = schema.get("minItems", len(pool))
            most = schema.get("maxItems", max(least, len(pool)))
            whole = list(pool)
            shuffled = [pool.pop(self.dice.roll(len(pool))) for _ in range(len(pool))]
            if not schema.get("uniqueItems", False):
                shuffled += (whole * least)[: max(0, least - len(shuffled))]
            return shuffled[: min(most, max(least, len(shuffled)))]
        length = schema.get("minItems", min(1, schema.get("maxItems", 1)))
        return list(self._items(item, length, depth, unique=bool(schema.get("uniqueItems"))))

    def _items(
        self, item: Mapping[str, Any], length: int, depth: int, *, unique: bool
    ) -> Iterator[Any]:
        seen: set[str] = set()
        for index in range(length):
            value = self.value(item, depth + 1)
            spelt = json.dumps(value, sort_keys=True)
            if unique and spelt in seen and isinstance(value, str):
                mark = f" {index}"
                room = item.get("maxLength", 10**6) - len(mark)
                value = value[:room] + mark if room >= 0 else value
            seen.add(spelt)
            yield value

    def _number(self, schema: Mapping[str, Any], *, whole: bool) -> float:
        low = schema.get("minimum", schema.get("exclusiveMinimum", 0))
        high = schema.get("maximum", schema.get("exclusiveMaximum", low + 1 if not whole else 100))
        step = schema.get("multipleOf")
        if whole or step:
            unit = step or 1
            first = math.ceil(low / unit)
            if first * unit <= schema.get("exclusiveMinimum", -math.inf):
                first += 1
            last = max(first, math.floor(high / unit))
            if last * unit >= schema.get("exclusiveMaximum", math.inf):
                last = max(first, last - 1)
            value: float = (first + self.dice.roll(last - first + 1)) * unit
            return value
        # Strictly inside, so that exclusive bounds hold too.
        share: float = low + (high - low) * (1 + self.dice.roll(99)) / 100
        return share
