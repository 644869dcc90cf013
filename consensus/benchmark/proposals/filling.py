"""What a row lacks, taken from what its cases were measured with and from the audit.

Only keys that the row does not have are given: who answers for it, how bad an error is, how long a
caller can wait (the audit's), the words that every measured case had in common (criteria, options,
scale, schema), and the oracle that judged, declared in the policy as the suite declares it. They go
in before anything is measured, because a gate or a criterion changes what the row does.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.benchmark.proposals.recording import Recording
from consensus.benchmark.suites import Suite
from consensus.errors import ConsensusError, SuiteError
from consensus.oracles import Oracle, PythonOracle
from consensus.policy.audit.model import AuditTask
from consensus.policy.oracles import oracle_of, why_no_gate
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable
from consensus.strangers import inside
from consensus.tasks import Generate

__all__ = ["ORACLE_FOLDER", "Filled", "fill"]

ORACLE_FOLDER = "oracles"
"""Beside the policy file that declares an oracle: its files, each oracle in a folder of its own."""

WORDS = ("criteria", "options", "scale", "schema")


@dataclass(frozen=True)
class Filled:
    """A table whose row has all that is known of its task type.

    Attributes:
        table: with the row and its oracle.
        keys: what the row in the file does not have, as TOML has it.
        oracles: tables of ``[oracles.NAME]`` that the policy does not have.
        files: what those name, relative to the file that declares them.
        notes: what was not taken over, and why.
    """

    table: PolicyTable
    keys: Mapping[str, Any] = field(default_factory=dict)
    oracles: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def fill(table: PolicyTable, recording: Recording, asked: AuditTask | None, folder: Path) -> Filled:
    """The policy with all that the audit and the run know of the recording's task type.

    Args:
        table: the policy in force; what its row says stays.
        recording: the task type's cases.
        asked: its audit, if there is one.
        folder: of the run, whose copy of the suite declares the oracle.
    """
    name = recording.task_type
    row = table.tasks.get(name)
    known: dict[str, Any] = {"kind": recording.kind}
    if asked is not None:
        known |= _of_audit(asked)
    known |= _words(recording)
    notes: list[str] = []
    oracles: dict[str, dict[str, Any]] = {}
    files: dict[str, str] = {}
    built: dict[str, Oracle] = {}
    wanted = row.oracle if row is not None and row.oracle is not None else None
    wanted = wanted or (asked.oracle if asked is not None else "") or None
    if wanted is not None and _name_it(table, wanted, recording, folder, notes):
        declared = _declared(recording, folder)
        if wanted not in table.oracles and declared is not None:
            oracles[wanted], files = _moved(declared, wanted, folder / "suite")
            suite, _ = _suite_of(recording)
            built[wanted] = suite.types[recording.stratum].oracle
        known["oracle"] = wanted
    gate = asked.gate if asked is not None else None
    if gate is not None and (row is None or row.gate is None):
        why = _no_gate(table, gate, built)
        if why is None:
            known["gate"] = gate
        else:
            notes.append(f'the audit\'s gate "{gate}" {why}')
    keys = {key: value for key, value in known.items() if not _has(row, key)}
    return Filled(
        _with(table, recording, row, keys, oracles, built), keys, oracles, files, tuple(notes)
    )


def _of_audit(asked: AuditTask) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if asked.description:
        found["description"] = asked.description
    if asked.owner:
        found["owner"] = asked.owner
    found["consequence"] = asked.consequence
    if asked.latency is not None:
        found["latency_need"] = {
            "p95_s": asked.latency.p95_s,
            **({"interactive": True} if asked.latency.interactive else {}),
        }
    return found


def _words(recording: Recording) -> dict[str, Any]:
    """What all cases of a suite have in common: a task that brings none was measured with it."""
    if recording.judge_with is None:
        return {}
    found: dict[str, Any] = {}
    for word in WORDS:
        first, *others = (_word(task, word) for task in recording.tasks)
        if first and all(other == first for other in others) and _fits_toml(first):
            found[word] = first
    return found


def _word(task: Any, word: str) -> Any:
    if word == "schema":
        return task.output_schema if isinstance(task, Generate) else None
    if word == "options" and task.kind != "choose":
        return None
    value = getattr(task, word, None)
    return list(value) if isinstance(value, tuple) else value


def _fits_toml(value: Any) -> bool:
    """TOML has no null, which a JSON Schema may hold."""
    if isinstance(value, dict):
        return all(map(_fits_toml, value.values()))
    if isinstance(value, list):
        return all(map(_fits_toml, value))
    return value is not None


def _has(row: TaskRow | None, key: str) -> bool:
    return row is not None and getattr(row, "output_schema" if key == "schema" else key) is not None


# -- oracles ---------------------------------------------------------------------------------------


def _name_it(
    table: PolicyTable, name: str, recording: Recording, folder: Path, notes: list[str]
) -> bool:
    """Whether the row may name this oracle: it is the one that judged, or can be declared."""
    if recording.judge_with is None or recording.stratum not in recording.judge_with[0].types:
        return name in table.oracles
    judged = recording.judge_with[0].types[recording.stratum].oracle
    if name not in table.oracles:
        if isinstance(judged, PythonOracle) and _labelled(recording):
            notes.append(
                f'the oracle "{name}" is a function, which judged with labels: named in the row it '
                "would stand before every decision as a gate, without one; declare it under "
                "[oracles] yourself if it can do that"
            )
            return False
        return _declared(recording, folder) is not None
    try:
        same = oracle_of(table, name).sha256 == judged.sha256
    except ConsensusError:
        same = False
    if not same:
        notes.append(
            f"{table.cite('oracles', name)} is not what judged this run ({judged.name}): the "
            "certificate will be dead at the first check, unless they are made one"
        )
    return True


def _labelled(recording: Recording) -> bool:
    _, cases = _suite_of(recording)
    return any(cases[case_id].reference is not None for case_id in recording.case_ids)


def _suite_of(recording: Recording) -> tuple[Suite, Mapping[str, Any]]:
    if recording.judge_with is None:
        raise AssertionError("a recording with a declared oracle has a suite")
    return recording.judge_with


def _declared(recording: Recording, folder: Path) -> dict[str, Any] | None:
    """The table that declares a task type's oracle; its kind's usual one where none does."""
    if recording.judge_with is None:
        return None
    try:
        data = tomllib.loads((folder / "suite" / "suite.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    given = data.get("types", {}).get(recording.stratum)
    if given is None:
        return None
    found = given.get("oracle") or data.get("oracle")
    if found is None:
        return {"kind": "ranking" if recording.kind == "rank" else "exact"}
    return dict(found) if _fits_toml(found) else None


def _moved(
    declared: Mapping[str, Any], name: str, folder: Path
) -> tuple[dict[str, Any], dict[str, str]]:
    """A declaration whose file lies beside the policy, and that file."""
    said = dict(declared)
    file = said.get("file")
    if not isinstance(file, str):
        return said, {}
    place = f"{ORACLE_FOLDER}/{name}/{Path(file).name}"
    said["file"] = place
    own = inside(folder, file, error=SuiteError)
    return said, {place: own.read_text(encoding="utf-8")}


def _no_gate(table: PolicyTable, name: str, built: Mapping[str, Oracle]) -> str | None:
    """Why a gate cannot be named; None where it can."""
    if name in built:
        return why_no_gate(built[name])
    if name not in table.oracles:
        return "is declared nowhere: add it to [oracles] of the policy"
    try:
        return why_no_gate(oracle_of(table, name))
    except ConsensusError as error:
        return f"cannot be made: {error}"


def _with(
    table: PolicyTable,
    recording: Recording,
    row: TaskRow | None,
    keys: Mapping[str, Any],
    oracles: Mapping[str, dict[str, Any]],
    built: Mapping[str, Oracle],
) -> PolicyTable:
    given = TaskRow.model_validate(dict(keys))
    fresh = (row or TaskRow()).model_copy(
        update={name: getattr(given, name) for name in given.model_fields_set}
    )
    fields: dict[str, Any] = {each: getattr(table, each) for each in PolicyTable.model_fields}
    fields["tasks"] = {**table.tasks, recording.task_type: fresh}
    fields["oracles"] = {**table.oracles, **oracles}
    made = PolicyTable(**fields).located(table._places, table.source)
    # Found by what they are: their files stand in the run's folder until the row is accepted.
    made._oracles.update({**table._oracles, **built})
    return made
