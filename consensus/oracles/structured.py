"""Oracles for structured output: schema validity, and accuracy field by field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from consensus.errors import SuiteError
from consensus.oracles.matching import Normalisation, normalise
from consensus.oracles.verdicts import (
    Json,
    Verdict,
    content_hash,
    finite,
    missing_reference,
    verdict,
)

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

__all__ = ["Fields", "JsonSchema", "as_object"]


def as_object(answer: Json) -> Json:
    """An answer as JSON: a text is parsed, anything else is taken as it is.

    Raises:
        ValueError: the text is not JSON.
    """
    if not isinstance(answer, str):
        return answer
    try:
        return json.loads(answer, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> Json:
    raise ValueError(f"{name} is not JSON")


@dataclass(frozen=True)
class JsonSchema:
    """Parses, and satisfies a JSON Schema (2020-12; local references only)."""

    schema: Mapping[str, Any]
    name: str = "json_schema"
    graded: bool = field(default=False, init=False)
    needs_reference: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        from jsonschema import Draft202012Validator, SchemaError

        try:
            Draft202012Validator.check_schema(dict(self.schema))
        except SchemaError as error:
            raise SuiteError(f"the oracle's schema is no JSON Schema: {error.message}") from None

    @cached_property
    def _validator(self) -> Validator:
        from jsonschema import Draft202012Validator
        from referencing import Registry

        # An empty registry resolves nothing: no schema can make us fetch a URL.
        return Draft202012Validator(dict(self.schema), registry=Registry())

    @property
    def sha256(self) -> str:
        """Content hash."""
        return content_hash("json_schema", 1, {"schema": dict(self.schema)})

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        from referencing.exceptions import Unresolvable

        try:
            value = as_object(answer)
        except ValueError:
            return verdict(False, "not JSON")
        try:
            error = next(self._validator.iter_errors(value), None)
        except Unresolvable as unresolved:
            raise SuiteError(
                f"the oracle's schema refers to {unresolved.ref!r}, which is not in it"
            ) from None
        if error is None:
            return verdict(True, "valid")
        where = ".".join(str(part) for part in error.absolute_path) or "the top"
        return verdict(False, f"violates {error.validator!r} at {where}")


@dataclass(frozen=True)
class Fields:
    """Share of the reference's fields that the answer has right.

    Args:
        fields: which top-level fields count, with weights; if empty, all of the reference's,
            equally.
        normalisation: applied to texts on both sides.
        tolerance: absolute tolerance for numbers.
        floor: share at which the answer is acceptable; 1.0 asks for every field.
    """

    fields: Mapping[str, float] = field(default_factory=dict)
    normalisation: tuple[Normalisation, ...] = ("unicode", "space", "case")
    tolerance: float = 0.0
    floor: float = 1.0
    name: str = "fields"
    graded: bool = field(default=True, init=False)
    needs_reference: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        if not 0 < self.floor <= 1:
            raise SuiteError(f"floor must lie in (0, 1], not {self.floor}")
        if any(not weight > 0 for weight in self.fields.values()):
            raise SuiteError("a field's weight must be above 0")

    @property
    def sha256(self) -> str:
        """Content hash."""
        settings = {
            "fields": dict(self.fields),
            "normalisation": sorted(self.normalisation),
            "tolerance": self.tolerance,
            "floor": self.floor,
        }
        return content_hash("fields", 1, settings)

    def judge(self, answer: Json, reference: Json = None) -> Verdict:
        """Judge one answer."""
        if not isinstance(reference, dict) or not reference:
            raise missing_reference(self.name)
        weights = dict(self.fields) or dict.fromkeys(reference, 1.0)
        unknown = [name for name in weights if name not in reference]
        if unknown:
            raise SuiteError(f"the reference has no field {unknown[0]!r}")
        try:
            given = as_object(answer)
        except ValueError:
            return Verdict(0.0, False, "not JSON")
        if not isinstance(given, dict):
            return Verdict(0.0, False, "not an object")
        wrong = [n for n in weights if n not in given or not self._equal(given[n], reference[n])]
        score = 1.0 - sum(weights[n] for n in wrong) / sum(weights.values())
        score = min(1.0, max(0.0, score))
        detail = f"wrong: {', '.join(wrong)}" if wrong else "every field right"
        return Verdict(score, score >= self.floor - 1e-12, detail)

    def _equal(self, given: Json, wanted: Json) -> bool:
        number = finite(wanted) if not isinstance(wanted, str) else None
        if number is not None:
            value = finite(given)
            return value is not None and abs(value - number) <= self.tolerance + 1e-12
        if isinstance(wanted, bool) or wanted is None:
            return given is wanted
        return bool(normalise(given, self.normalisation) == normalise(wanted, self.normalisation))
