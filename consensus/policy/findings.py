"""What is wrong with a table: one finding a fault, with its place and its fix."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from consensus.errors import PolicyError, PriceError
from consensus.oracles import OracleDeclaration
from consensus.policy._lines import KeyPath
from consensus.policy.table import Place, PolicyTable

__all__ = [
    "Code",
    "Finding",
    "Level",
    "UnpricedError",
    "dotted",
    "from_validation",
    "nearest",
    "suggest",
]

Level = Literal["error", "warning"]

Code = Literal[
    "shape",  # not what the format says
    "unknown-name",
    "no-models",
    "no-price",
    "retired",
    "cycle",
    "cascade",
    "calibration",  # a file that is none, or not for this row
    "uncalibrated",
    "window",
    "window-unknown",
    "quorum",
    "agreement",
    "even-seats",
    "oracle",  # one that cannot be made
    "classifier",
    "gate",  # one that cannot do what the row asks of it
    "no-gate",
    "latency",
    "no-losses",
    "no-escalation",
    "kind",
    "no-defaults",
    "not-acted-on",
    # of a certificate
    "certificate",
    "uncertifiable",
    "price-changed",
    "shadow",
    # of what is watched
    "demoted",
    "alarms",
    # of an audit
    "empty",
    "owner",
    "oracle",
    "wrong-answer",
    "derived",
    "volume",
    "share",
    "adversarial",
    "floor",
    "suite",
    "not-audited",
]


class UnpricedError(PolicyError, PriceError):
    """The table can reach a model whose price is not known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault. ``file`` and ``line`` are None for a table made in Python."""

    level: Level
    code: Code
    key: str
    message: str
    fix: str | None = None
    file: str | None = None
    line: int | None = None

    @property
    def where(self) -> str | None:
        """``file:line``, as far as it is known."""
        if self.file is None:
            return None
        return f"{self.file}:{self.line}" if self.line is not None else self.file

    @classmethod
    def of(cls, error: PolicyError) -> Finding:
        """The fault of a text that could not be read at all."""
        file, _, line = (error.where or "").rpartition(":")
        known = line.isdigit()
        return cls(
            level="error",
            code="shape",
            key="",
            message=error.message,
            fix=error.fix,
            file=file if known else error.where,
            line=int(line) if known else None,
        )

    def __str__(self) -> str:
        """One line for people: place, level, key, message, fix."""
        where = f"{self.where}: " if self.where else ""
        key = f"{self.key}: " if self.key else ""
        fix = f" ({self.fix})" if self.fix else ""
        return f"{where}{self.level}: {key}{self.message}{fix}"

    def as_error(self, *, more: int = 0) -> PolicyError:
        """The finding as the error that refuses the table; ``more`` faults are only counted."""
        message = f"{self.key}: {self.message}" if self.key else self.message
        fixes = [self.fix] if self.fix else []
        if more:
            fixes.append(f"and {more} more: consensus policy check")
        kind = UnpricedError if self.code == "no-price" else PolicyError
        return kind(message, where=self.where, fix="; ".join(fixes) or None)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


_LONGEST_SHOWN = 80


def dotted(path: KeyPath) -> str:
    """A key path as TOML spells it, on one line and of readable length."""
    parts = []
    for part in path:
        text = str(part)
        if len(text) > _LONGEST_SHOWN:
            text = text[:_LONGEST_SHOWN] + "…"
        bare = text.replace("_", "").replace("-", "").isalnum() and text.isascii()
        parts.append(text if bare else json.dumps(text))
    return ".".join(parts)


def suggest(wrong: str, known: list[str]) -> str | None:
    """``did you mean "x"?``, else what is known, else None."""
    close = get_close_matches(wrong, known, n=1, cutoff=0.6)
    if close:
        return f'did you mean "{close[0]}"?'
    if known:
        shown = sorted(known)
        more = f" … ({len(shown)} in all)" if len(shown) > 12 else ""
        return f"known: {', '.join(shown[:12])}{more}"
    return None


def nearest(places: Mapping[KeyPath, Place], path: KeyPath) -> Place | None:
    """The place of a key, or of the nearest table around it."""
    for end in range(len(path), 0, -1):
        if path[:end] in places:
            return places[path[:end]]
    return None


_SECRET_WORDS = ("key", "secret", "token", "password", "auth")
_MESSAGES = {
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "string_type": "must be a string",
    "bool_type": "must be true or false",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
}


def from_validation(
    error: ValidationError,
    data: Mapping[str, Any],
    places: Mapping[KeyPath, Place],
    source: str,
    *,
    root: type[BaseModel] = PolicyTable,
) -> list[Finding]:
    """One finding for each thing that pydantic refused; values are never repeated.

    ``root`` is the model of the whole text, in which misspelt keys are looked up.
    """
    findings = []
    for item in error.errors(include_url=False, include_context=True):
        path = _untagged(tuple(part for part in item["loc"] if part != "[key]"))
        kind, message, fix = item["type"], item["msg"].removeprefix("Value error, "), None
        message = _MESSAGES.get(kind, message.removeprefix("Input ").strip())
        if kind == "extra_forbidden":
            name = str(path[-1])
            message = "is not a key of this table"
            if path[0] == "providers" and any(word in name.lower() for word in _SECRET_WORDS):
                message = "no key may stand in a policy file"
                fix = 'api_key_env = "NAME_OF_A_VARIABLE"'
            elif path[0] == "strategies" and name == "strategy":
                fix = 'a named strategy says orchestrator = "…"'
            else:
                fix = suggest(name, _keys_at(_tagged(path[:-1], data), root))
        elif kind == "missing":
            message = "is missing"
            fix = f"add {path[-1]} = …"
        elif kind == "literal_error":
            given = _value_at(data, path)
            options = _literal_options(item.get("ctx", {}).get("expected", ""))
            message = f"must be {item.get('ctx', {}).get('expected', 'another value')}"
            if isinstance(given, str) and options and path[0] != "providers":
                close = get_close_matches(given, options, n=1)
                fix = f'did you mean "{close[0]}"?' if close else None
        elif kind == "union_tag_not_found":
            message, fix = "has no kind", f"add kind = …, one of {', '.join(_oracle_kinds())}"
        elif kind == "union_tag_invalid":
            given = _value_at(data, (*path, "kind"))
            message = "is of no kind that is known"
            fix = suggest(str(given), _oracle_kinds())
        elif kind == "string_pattern_mismatch":
            message = (
                "must be a name: letters, digits, _ . -"
                if "[A-Za-z0-9]" in str(item.get("ctx", {}).get("pattern", ""))
                else "must hold no spaces"
            )
        place = nearest(places, path)
        findings.append(
            Finding(
                level="error",
                code="shape",
                key=dotted(path),
                message=message[:1].lower() + message[1:],
                fix=fix,
                file=place.file if place else source,
                line=place.line if place else None,
            )
        )
    return findings


def _untagged(path: KeyPath) -> KeyPath:
    """The path as the file has it: pydantic puts an oracle's kind between its name and its keys."""
    return (*path[:2], *path[3:]) if path[:1] == ("oracles",) and len(path) > 3 else path


def _tagged(path: KeyPath, data: Mapping[str, Any]) -> KeyPath:
    if path[:1] == ("oracles",) and len(path) == 2:
        return (*path, str(_value_at(data, (*path, "kind"))))
    return path


def _oracle_kinds() -> list[str]:
    return sorted(_kind_of(model) for model in _options_of(OracleDeclaration))


def _kind_of(model: type[BaseModel]) -> str:
    return str(get_args(model.model_fields["kind"].annotation)[0])


def _literal_options(expected: str) -> list[str]:
    return [part.strip("' ") for part in expected.replace(" or ", ", ").split(",") if part.strip()]


def _value_at(data: object, path: KeyPath) -> object:
    for part in path:
        try:
            data = data[part]  # type: ignore[index]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _keys_at(path: KeyPath, root: type[BaseModel]) -> list[str]:
    """The keys that the table at ``path`` may hold."""
    found: Any = root
    for part in path:
        found = _inside(found, part)
    model = _model_of(found)
    if model is None:
        return []
    return [field.alias or name for name, field in model.model_fields.items()]


def _inside(annotation: Any, part: str | int) -> Any:
    model = None if annotation == OracleDeclaration else _model_of(annotation)
    if model is not None:
        for name, field in model.model_fields.items():
            if part in (name, field.alias):
                return field.annotation
        return None
    if annotation == OracleDeclaration:
        return next((m for m in _options_of(annotation) if _kind_of(m) == part), None)
    for option in _options_of(annotation):
        arguments = get_args(option)
        if get_origin(option) is dict:
            return arguments[1]
        if get_origin(option) in (tuple, list) and arguments:
            return arguments[0]
    return None


def _options_of(annotation: Any) -> list[Any]:
    """An annotation without Annotated and None."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options_of(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [found for each in get_args(annotation) for found in _options_of(each)]
    return [annotation]


def _model_of(annotation: Any) -> type[BaseModel] | None:
    for option in _options_of(annotation):
        if isinstance(option, type) and issubclass(option, BaseModel):
            return option
    return None
