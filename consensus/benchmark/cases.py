"""The cases of a suite: one labelled task a line (design/suites.md)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from consensus.errors import SuiteError, TaskError
from consensus.oracles import Oracle, PythonOracle, Rubric
from consensus.strangers import numbered_lines
from consensus.tasks import MAX_TASK_BYTES, Kind, Rank, Score, Task, parse_task

__all__ = [
    "COMPLEXITIES",
    "Case",
    "Complexity",
    "best_answers",
    "check_reference",
    "make_case",
    "read_lines",
]

Complexity = Literal["low", "medium", "high"]
COMPLEXITIES: tuple[Complexity, ...] = get_args(Complexity)

MAX_LINE_BYTES = 6 * MAX_TASK_BYTES
"""The longest line that is read: every byte of a task may be escaped as ``\\u00XX``."""

MAX_CASES = 1_000_000

_FIELDS: Mapping[Kind, frozenset[str]] = {
    "approve": frozenset({"subject", "criteria"}),
    "choose": frozenset({"subject", "criteria", "options"}),
    "compare": frozenset({"subject", "criteria", "a", "b"}),
    "rank": frozenset({"subject", "criteria", "items"}),
    "score": frozenset({"subject", "criteria", "scale"}),
    "generate": frozenset({"messages", "prompt", "schema"}),
}
_OWN = frozenset(
    {"id", "type", "kind", "label", "reference", "complexity", "weight", "tags", "note"}
)


@dataclass(frozen=True, slots=True)
class Case:
    """One labelled task.

    Attributes:
        id: unique in its suite; also the task's id.
        task: what is asked.
        reference: what is right; None where the oracle needs none.
        complexity: how hard the author thinks it is.
        weight: how often such a case occurs, against the others (the type's weight times its own).
        tags: the author's words; ``adversarial`` says that the case tries to mislead.
        note: for the reader of the suite.
        where: ``file:line``.
    """

    id: str
    task: Task
    reference: Any = None
    complexity: Complexity = "medium"
    weight: float = 1.0
    tags: tuple[str, ...] = ()
    note: str = ""
    where: str = field(default="", compare=False)

    @property
    def type(self) -> str:
        """The task type."""
        return self.task.type

    def identity(self) -> dict[str, Any]:
        """Everything that can change a figure, as JSON values."""
        return {
            "task": self.task.model_dump(mode="json", by_alias=True),
            "reference": self.reference,
            "complexity": self.complexity,
            "weight": self.weight,
            "tags": sorted(self.tags),
        }


@dataclass(frozen=True, slots=True)
class CaseDefaults:
    """What a task type supplies to its cases."""

    kind: Kind
    fields: Mapping[str, Any] = field(default_factory=dict)
    system: str | None = None
    complexity: Complexity = "medium"
    weight: float = 1.0
    tags: tuple[str, ...] = ()


def read_lines(path: Path) -> Iterator[tuple[str, dict[str, Any] | SuiteError]]:
    """The objects of a JSONL file with their ``file:line``; what is none comes as its error.

    Raises:
        SuiteError: the file cannot be read, or holds more than a million lines.
    """
    for number, raw in numbered_lines(path, line=MAX_LINE_BYTES, error=SuiteError):
        where = f"{path}:{number}"
        if number > MAX_CASES:
            raise SuiteError(f"holds more than {MAX_CASES:,} lines", where=str(path))
        yield where, _object(raw, where, first=number == 1)


def _object(raw: bytes | None, where: str, *, first: bool) -> dict[str, Any] | SuiteError:
    if raw is None:
        return SuiteError(f"the line is longer than {MAX_LINE_BYTES:,} bytes", where=where)
    try:
        data = json.loads(
            raw.decode("utf-8-sig" if first else "utf-8"), parse_constant=_no_constant
        )
    except UnicodeDecodeError as error:
        return SuiteError(f"is not UTF-8 (byte {error.start})", where=where)
    except json.JSONDecodeError as error:
        return SuiteError(f"is not JSON: {error.msg} (column {error.colno})", where=where)
    except (ValueError, RecursionError) as error:
        return SuiteError(f"is not JSON: {error}", where=where)
    if not isinstance(data, dict):
        return SuiteError("a case is an object", where=where)
    return data


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is not a JSON value")


def make_case(row: Mapping[str, Any], types: Mapping[str, CaseDefaults], *, where: str) -> Case:
    """A case from its line.

    Raises:
        SuiteError: naming ``file:line``, the key and the fix.
    """
    case_id, type_name = row.get("id"), row.get("type")
    if not isinstance(case_id, str) or not case_id.strip() or len(case_id) > 512:
        raise SuiteError('a case needs an "id", a text of 1 to 512 characters', where=where)
    if not isinstance(type_name, str) or type_name not in types:
        raise SuiteError(
            f'"{case_id}" is of the unknown type {type_name!r}',
            where=where,
            fix=f"one of {', '.join(sorted(types))}, or a table [types.{type_name}] in suite.toml",
        )
    defaults = types[type_name]
    kind = row.get("kind", defaults.kind)
    if kind != defaults.kind:
        raise SuiteError(
            f'"{case_id}" says kind {kind!r}; type "{type_name}" is of kind {defaults.kind}',
            where=where,
        )
    unknown = set(row) - _OWN - _FIELDS[defaults.kind]
    if unknown:
        allowed = ", ".join(sorted(_FIELDS[defaults.kind]))
        raise SuiteError(
            f'"{case_id}" has the unknown key {min(unknown)!r}',
            where=where,
            fix=f"a {defaults.kind} task has {allowed}",
        )
    if "label" in row and "reference" in row:
        raise SuiteError(
            f'"{case_id}" has both "label" and "reference"', where=where, fix="give one"
        )
    return Case(
        case_id,
        _task(row, case_id, type_name, defaults, where),
        row.get("label", row.get("reference")),
        _complexity(row.get("complexity", defaults.complexity), case_id, where),
        defaults.weight * _weight(row.get("weight", 1), case_id, where),
        _tags(row.get("tags", ()), defaults.tags, case_id, where),
        _note(row.get("note", ""), case_id, where),
        where,
    )


def _task(
    row: Mapping[str, Any], case_id: str, type_name: str, defaults: CaseDefaults, where: str
) -> Task:
    given = {name: row[name] for name in row if name in _FIELDS[defaults.kind]}
    fields = {**defaults.fields, **given}
    if "prompt" in fields:
        if "messages" in fields:
            raise SuiteError(f'"{case_id}" has both "prompt" and "messages"', where=where)
        fields["messages"] = [{"role": "user", "content": fields.pop("prompt")}]
    messages = fields.get("messages")
    if defaults.system is not None and isinstance(messages, list) and messages:
        first = messages[0]
        if not (isinstance(first, dict) and first.get("role") == "system"):
            fields["messages"] = [{"role": "system", "content": defaults.system}, *messages]
    try:
        return parse_task({**fields, "kind": defaults.kind, "type": type_name, "id": case_id})
    except TaskError as error:
        raise SuiteError(f'"{case_id}": {error.message}', where=where, fix=error.fix) from None


def _complexity(value: object, case_id: str, where: str) -> Complexity:
    for known in COMPLEXITIES:
        if value == known:
            return known
    raise SuiteError(
        f'"{case_id}" has the complexity {value!r}', where=where, fix="low, medium or high"
    )


def _weight(value: object, case_id: str, where: str) -> float:
    good = isinstance(value, int | float) and not isinstance(value, bool)
    if not good or not math.isfinite(value) or value <= 0:  # type: ignore[arg-type, operator]
        raise SuiteError(f'the "weight" of "{case_id}" is no number above 0', where=where)
    return float(value)  # type: ignore[arg-type]


def _tags(value: object, inherited: Sequence[str], case_id: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(
        isinstance(tag, str) and tag for tag in value
    ):
        raise SuiteError(f'the "tags" of "{case_id}" are no list of words', where=where)
    return tuple(dict.fromkeys([*inherited, *value]))


def _note(value: object, case_id: str, where: str) -> str:
    if not isinstance(value, str):
        raise SuiteError(f'the "note" of "{case_id}" is no text', where=where)
    return value


def best_answers(task: Task, reference: Any) -> list[Any]:
    """The answers that a reference stands for: several with ``any_of``, tied ranks spread out."""
    if isinstance(reference, dict) and set(reference) == {"any_of"}:
        values = reference["any_of"]
        return list(values) if isinstance(values, list) else []
    if isinstance(task, Rank) and isinstance(reference, list):
        flat: list[Any] = []
        for item in reference:
            flat.extend(item) if isinstance(item, list) else flat.append(item)
        return [tuple(flat)]
    return [reference]


def check_reference(case: Case, oracle: Oracle) -> None:
    """Refuse a reference that is missing, of the wrong form, or not acceptable to its own oracle.

    Raises:
        SuiteError: naming ``file:line`` and what is wrong.
    """
    if case.reference is None:
        if oracle.needs_reference:
            raise SuiteError(
                f'"{case.id}" has no label, and its oracle ({oracle.name}) compares with one',
                where=case.where,
                fix='give the case a "label"',
            )
        return
    if isinstance(oracle, PythonOracle):
        return  # its reference may be whatever its function wants
    answers = best_answers(case.task, case.reference)
    if not answers:
        raise SuiteError(f'"{case.id}": "any_of" is no list of answers', where=case.where)
    for answer in answers:
        _check_form(case, answer)
        if isinstance(oracle, Rubric):
            continue
        try:
            accepted = oracle.judge(answer, case.reference).passed
        except SuiteError as error:
            raise SuiteError(f'"{case.id}": {error.message}', where=case.where) from None
        if not accepted:
            raise SuiteError(
                f'"{case.id}": its own label would not pass its oracle ({oracle.name})',
                where=case.where,
                fix="mend the label or the oracle",
            )


def _check_form(case: Case, answer: Any) -> None:
    task = case.task
    if isinstance(task, Rank):
        if not isinstance(answer, tuple) or sorted(map(str, answer)) != sorted(task.items):
            raise SuiteError(
                f'the label of "{case.id}" is no order of its items',
                where=case.where,
                fix="list every item once, best first; a list among them is a tie",
            )
    elif isinstance(task, Score):
        number = isinstance(answer, int | float) and not isinstance(answer, bool)
        if not number or not task.scale[0] <= answer <= task.scale[1]:
            raise SuiteError(
                f'the label of "{case.id}" is no number from {task.scale[0]:g} to '
                f"{task.scale[1]:g}",
                where=case.where,
            )
    elif task.options and answer not in task.options:
        shown = ", ".join(option[:40] for option in task.options[:8])
        raise SuiteError(
            f'the label of "{case.id}" is not one of its options', where=case.where, fix=shown
        )
