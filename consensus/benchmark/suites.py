"""Suites: labelled cases, and what an acceptable answer is (design/suites.md)."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from consensus.benchmark.cases import (
    Case,
    CaseDefaults,
    Complexity,
    check_reference,
    make_case,
    read_lines,
)
from consensus.errors import SuiteError
from consensus.oracles import Exact, Oracle, Ranking, declare_oracle
from consensus.policy._lines import LineIndex, index_lines
from consensus.strangers import parse_toml, read_bounded
from consensus.tasks import TYPE_PATTERN, Choose, Compare, Kind

__all__ = ["FORMAT", "MAX_PROBLEMS", "Suite", "TaskType", "examine_suite", "load_suite"]

FORMAT = 1

MAX_PROBLEMS = 50
"""So many problems are named; the rest is counted."""

FEW = 10
"""Fewer cases of a type than this are remarked upon: its rates say next to nothing."""

SKEWED = 0.8
"""One label in more than this share of a type's cases is remarked upon."""

MAX_TOML_BYTES = 4_000_000

Name = Annotated[str, StringConstraints(pattern=TYPE_PATTERN)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, populate_by_name=True
    )


class _TypeTable(_Strict):
    kind: Kind
    description: str = ""
    criteria: str | None = None
    options: list[str] | None = None
    scale: tuple[float, float] | None = None
    output_schema: dict[str, Any] | None = Field(default=None, alias="schema")
    system: str | None = None
    complexity: Complexity = "medium"
    weight: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    tags: list[str] = []
    oracle: dict[str, Any] | None = None


class _SuiteTable(_Strict):
    version: Literal[1]
    name: Name
    revision: str = ""
    description: str = ""
    oracle: dict[str, Any] | None = None
    types: dict[Name, _TypeTable] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class TaskType:
    """One task type of a suite: what its cases inherit, and its oracle."""

    name: str
    defaults: CaseDefaults
    oracle: Oracle
    description: str = ""


@dataclass(frozen=True, slots=True)
class Suite:
    """Cases with their oracles; everything in it was checked when it was read.

    Attributes:
        folder: where it was read from.
        revision: the author's own version.
        types: by name.
        cases: in the order of the file.
        sha256: hash of everything that can change a figure.
    """

    folder: Path
    name: str
    revision: str
    description: str
    types: Mapping[str, TaskType]
    cases: tuple[Case, ...]
    sha256: str

    def oracle(self, case: Case) -> Oracle:
        """What judges this case."""
        return self.types[case.type].oracle

    def counts(self) -> dict[str, Counter[str]]:
        """How many cases there are, by type, complexity, label (closed kinds) and tag."""
        return {
            "type": Counter(case.type for case in self.cases),
            "complexity": Counter(case.complexity for case in self.cases),
            "tag": Counter(tag for case in self.cases for tag in case.tags),
        }

    def remarks(self) -> list[str]:
        """What is allowed and may still spoil the figures."""
        found = []
        for name in self.types:
            cases = [case for case in self.cases if case.type == name]
            if len(cases) < FEW:
                found.append(f"{name} has {len(cases)} cases: fewer than {FEW} say next to nothing")
            found += _skews(name, cases)
        if not any("adversarial" in case.tags for case in self.cases):
            found.append('no case is tagged "adversarial": nothing tries to mislead the judge')
        return found


def load_suite(folder: str | Path) -> Suite:
    """Read a suite.

    Raises:
        SuiteError: the first thing that is wrong, with ``file:line`` and the fix.
    """
    suite, problems = examine_suite(folder)
    if suite is None:
        raise problems[0]
    return suite


def examine_suite(folder: str | Path) -> tuple[Suite | None, list[SuiteError]]:
    """Read a suite: the suite, or everything that is wrong with it (at most MAX_PROBLEMS)."""
    root = Path(folder)
    try:
        table, lines = _read_toml(root / "suite.toml")
    except SuiteError as error:
        return None, [error]
    problems: list[SuiteError] = []
    types = _types(table, lines, root, problems)
    if problems:
        return None, problems
    cases = _cases(root / "cases.jsonl", types, problems)
    if problems:
        return None, problems[:MAX_PROBLEMS] + _left_over(problems)
    return _suite(root, table, types, cases), []


def _left_over(problems: list[SuiteError]) -> list[SuiteError]:
    more = len(problems) - MAX_PROBLEMS
    return [SuiteError(f"and {more:,} further problems")] if more > 0 else []


def _read_toml(path: Path) -> tuple[_SuiteTable, LineIndex]:
    raw = read_bounded(path, MAX_TOML_BYTES, error=SuiteError)
    try:
        text = raw.decode("utf-8")
        data = parse_toml(raw)
    except UnicodeDecodeError as error:
        raise SuiteError(f"is not UTF-8 (byte {error.start})", where=str(path)) from None
    except ValueError as error:
        raise SuiteError(f"is not TOML: {error}", where=str(path)) from None
    lines = index_lines(text)
    try:
        return _SuiteTable.model_validate(data), lines
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        key = tuple(part for part in first["loc"] if part != "[key]")
        line = lines.line(key)
        where = f"{path}:{line}" if line else str(path)
        name = ".".join(map(str, key))
        fix = None
        if first["type"] == "extra_forbidden":
            known = _TypeTable if key[:1] == ("types",) else _SuiteTable
            fix = f"one of {', '.join(f.alias or n for n, f in known.model_fields.items())}"
        message = first["msg"].removeprefix("Value error, ")
        raise SuiteError(f'"{name}": {message}', where=where, fix=fix) from None


def _types(
    table: _SuiteTable, lines: LineIndex, root: Path, problems: list[SuiteError]
) -> dict[str, TaskType]:
    path = root / "suite.toml"
    common: Oracle | None = None
    if table.oracle is not None:
        common = _declare(table.oracle, root, path, ("oracle",), lines, problems)
    types = {}
    for name, given in table.types.items():
        key = ("types", name)
        if given.oracle is not None:
            oracle = _declare(given.oracle, root, path, (*key, "oracle"), lines, problems)
        elif table.oracle is not None:
            oracle = common
        else:
            oracle = _USUAL.get(given.kind)
            if oracle is None:
                problems.append(
                    SuiteError(
                        f'type "{name}" has no oracle, and kind {given.kind} has no usual one',
                        where=f"{path}:{lines.line(key)}",
                        fix=f"a table [types.{name}.oracle]",
                    )
                )
        if oracle is None:
            continue
        misplaced = _misplaced(given)
        if misplaced:
            problems.append(
                SuiteError(
                    f'"{misplaced}" is of no use to a {given.kind} task',
                    where=f"{path}:{lines.line((*key, misplaced))}",
                )
            )
            continue
        types[name] = TaskType(name, _defaults(given), oracle, given.description)
    return types


_USUAL: Mapping[Kind, Oracle] = {
    "approve": Exact(),
    "choose": Exact(),
    "compare": Exact(),
    "rank": Ranking(),
}

_SUPPLIES: Mapping[str, frozenset[Kind]] = {
    "criteria": frozenset({"approve", "choose", "compare", "rank", "score"}),
    "options": frozenset({"choose"}),
    "scale": frozenset({"score"}),
    "schema": frozenset({"generate"}),
    "system": frozenset({"generate"}),
}


def _misplaced(given: _TypeTable) -> str | None:
    for name, kinds in _SUPPLIES.items():
        value = given.output_schema if name == "schema" else getattr(given, name)
        if value is not None and given.kind not in kinds:
            return name
    return None


def _defaults(given: _TypeTable) -> CaseDefaults:
    fields = {
        "criteria": given.criteria,
        "options": given.options,
        "scale": given.scale,
        "schema": given.output_schema,
    }
    return CaseDefaults(
        given.kind,
        {name: value for name, value in fields.items() if value is not None},
        given.system,
        given.complexity,
        given.weight,
        tuple(given.tags),
    )


def _declare(
    data: Mapping[str, Any],
    root: Path,
    path: Path,
    key: tuple[str, ...],
    lines: LineIndex,
    problems: list[SuiteError],
) -> Oracle | None:
    where = f"{path}:{lines.line(key)}"
    try:
        return declare_oracle(dict(data), root, where=where)
    except SuiteError as error:
        cited = error.where or where
        if cited != where:  # a file that the oracle names: say who names it too
            error = SuiteError(f"the oracle at {where}: {error.message}", where=cited)
        problems.append(error)
        return None


def _cases(
    path: Path, types: Mapping[str, TaskType], problems: list[SuiteError]
) -> tuple[Case, ...]:
    defaults = {name: given.defaults for name, given in types.items()}
    cases: dict[str, Case] = {}
    try:
        for where, row in read_lines(path):
            try:
                if isinstance(row, SuiteError):
                    raise row
                case = make_case(row, defaults, where=where)
                if case.id in cases:
                    raise SuiteError(
                        f'the id "{case.id}" was given before, at {cases[case.id].where}',
                        where=where,
                        fix="give every case an id of its own",
                    )
                check_reference(case, types[case.type].oracle)
            except SuiteError as error:
                problems.append(error)
                continue
            cases[case.id] = case
    except SuiteError as error:
        problems.append(error)
    if not cases and not problems:
        problems.append(SuiteError("holds no case", where=str(path)))
    return tuple(cases.values())


def _suite(
    root: Path, table: _SuiteTable, types: Mapping[str, TaskType], cases: tuple[Case, ...]
) -> Suite:
    identity = {
        "format": FORMAT,
        "name": table.name,
        "oracles": {name: given.oracle.sha256 for name, given in sorted(types.items())},
        "cases": {case.id: case.identity() for case in sorted(cases, key=lambda c: c.id)},
    }
    text = json.dumps(identity, ensure_ascii=True, sort_keys=True, separators=(",", ":"))
    return Suite(
        root,
        table.name,
        table.revision,
        table.description,
        types,
        cases,
        hashlib.sha256(text.encode()).hexdigest(),
    )


def _skews(name: str, cases: list[Case]) -> list[str]:
    """One label, or one position of the right option, in nearly all of a type's cases."""
    found = []
    closed = [case for case in cases if case.task.options and isinstance(case.reference, str)]
    if len(closed) < FEW:
        return []
    label, times = Counter(case.reference for case in closed).most_common(1)[0]
    if times > SKEWED * len(closed):
        share = round(100 * times / len(closed))
        found.append(f'{share} % of the cases of {name} have the label "{label[:40]}"')
    elif isinstance(closed[0].task, Choose | Compare):
        places = Counter(case.task.options.index(case.reference) for case in closed)
        place, times = places.most_common(1)[0]
        if times > SKEWED * len(closed):
            found.append(
                f"the right option of {name} stands in position {place + 1} in "
                f"{round(100 * times / len(closed))} % of the cases"
            )
    return found
