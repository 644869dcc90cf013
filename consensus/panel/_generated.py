"""A generated answer: a text, or an object that the task's JSON Schema accepts."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterator
from typing import Any

from consensus.ballots import Answer
from consensus.errors import UnreadableError
from consensus.panel._json import find_values, without_thinking
from consensus.tasks import Generate

__all__ = ["MAX_REFERENCES", "read_generated"]

MAX_REFERENCES = 20_000
"""References followed while one answer is checked: a schema that refers to itself many times over
is stopped here."""

MAX_DEPTH = 100
"""Lists and objects nested in one another; deeper ones no store can be relied on to hold."""

Check = Callable[[Any], bool]

_checks: dict[int, tuple[weakref.ref[Generate], Check]] = {}
MAX_CHECKS = 256


def read_generated(task: Generate, text: str, *, cut: bool) -> Answer:
    """The text itself, or the one value in it that the schema accepts.

    Raises:
        UnreadableError: ``empty``, ``truncated``, ``unreadable`` (no JSON, or several different
            values that fit), ``schema``.
    """
    if not text.strip():
        raise UnreadableError("the reply is empty", failure="truncated" if cut else "empty")
    if task.output_schema is None:
        if cut:
            raise UnreadableError("the text was cut off", failure="truncated")
        return _text(text)
    found = find_values(without_thinking(text), opening="{[")
    if not found.values or found.broken:
        raise UnreadableError(
            "the reply was cut off" if cut else "the reply holds no JSON value",
            failure="truncated" if cut else "unreadable",
        )
    check = _check_for(task)
    fitting: dict[str, Any] = {}
    for value in found.values:
        if _depth(value) <= MAX_DEPTH and check(value):
            fitting[json.dumps(value, sort_keys=True)] = value
    if not fitting:
        raise UnreadableError("the reply's JSON does not satisfy the schema", failure="schema")
    if len(fitting) > 1:
        raise UnreadableError("the reply holds several different answers", failure="unreadable")
    (key,) = fitting
    # Lone surrogates, which JSON can escape and nothing can store, are replaced.
    return _as_answer(json.loads(_text(json.dumps(fitting[key], ensure_ascii=False))))


def _depth(value: Any) -> int:
    """How deep lists and objects are nested, counted without recursion; stops past the limit."""
    level, depth = [value], 0
    while level and depth <= MAX_DEPTH:
        inner: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                inner.extend(item.values())
            elif isinstance(item, list):
                inner.extend(item)
        level, depth = inner, depth + 1
    return depth


def _as_answer(value: Any) -> Answer:
    """An object, list or text as it is; a number as a float; true, false and null as their JSON."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, int):
        try:
            return float(value)
        except OverflowError:
            raise UnreadableError("the number is too large to hold", failure="schema") from None
    return value  # type: ignore[no-any-return]


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _check_for(task: Generate) -> Check:
    key = id(task)
    found = _checks.get(key)
    if found is not None and found[0]() is task:
        return found[1]
    check = _compile(task.output_schema or {})
    while len(_checks) >= MAX_CHECKS:
        _checks.pop(next(iter(_checks)), None)
    _checks[key] = (weakref.ref(task), check)
    return check


def _compile(schema: dict[str, Any]) -> Check:
    """A validator that follows local references only, and only so many."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import ValidationError
    from jsonschema.validators import extend
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    left = 0

    def counted(keyword: str) -> Callable[..., Iterator[ValidationError]]:
        follow = Draft202012Validator.VALIDATORS[keyword]

        def validate(
            validator: Any, value: Any, instance: Any, whole: Any
        ) -> Iterator[ValidationError]:
            nonlocal left
            left -= 1
            if left < 0:
                yield ValidationError("too many references")
                return
            yield from follow(validator, value, instance, whole) or ()

        return validate

    follow = {keyword: counted(keyword) for keyword in ("$ref", "$dynamicRef")}
    bounded = extend(Draft202012Validator, follow)  # type: ignore[no-untyped-call]
    validator = bounded(schema, registry=Registry())

    def check(value: Any) -> bool:
        nonlocal left
        left = MAX_REFERENCES
        try:
            return next(validator.iter_errors(value), None) is None
        except (Unresolvable, RecursionError, ValueError, ArithmeticError):
            return False

    return check
