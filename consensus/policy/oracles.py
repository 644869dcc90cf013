"""``[oracles.NAME]`` of a policy: what an acceptable answer is, declared as a suite declares it.

A row names one as its ``oracle`` (what the answer must be, in profiles and certificates) and one as
its ``gate`` (what an outcome must pass before it acts). Files are named relative to the policy file
that declares the oracle, and must lie in its folder. A Python oracle is code that the user named in
his own policy, and the only code that a policy can run: an engine runs it, a check only parses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from consensus.errors import PolicyError, SuiteError
from consensus.oracles import Oracle, PythonOracle, Rubric, declare_oracle
from consensus.policy.findings import suggest
from consensus.policy.rows import TaskRow
from consensus.policy.table import PolicyTable

if TYPE_CHECKING:
    from consensus.policy.route import Route

__all__ = [
    "gate_name",
    "grader_of",
    "graders",
    "oracle_of",
    "prepare_oracles",
    "scored_by",
    "why_no_gate",
]


def oracle_of(table: PolicyTable, name: str) -> Oracle:
    """The oracle of this name, made once a table.

    Raises:
        PolicyError: there is none, or it cannot be made: with the place of its table, and of the
            file that it names.
    """
    found = table._oracles.get(name)
    if found is not None:
        return found
    declared = table.oracles.get(name)
    if declared is None:
        raise PolicyError(
            f'"{name}" is no oracle of this policy',
            where=table.source,
            fix=suggest(name, list(table.oracles)) or f"add [oracles.{name}]",
        )
    place = table.place("oracles", name)
    folder = Path(place.file).parent if place is not None else Path()
    cited = str(place) if place is not None else f"oracles.{name}"
    try:
        made = declare_oracle(declared, folder, where=cited)
    except SuiteError as error:
        at = "" if error.where in (None, cited) else f"{error.where}: "
        message = f"oracles.{name}: {at}{error.message}"
        raise PolicyError(message, where=cited, fix=error.fix) from error
    table._oracles[name] = made
    return made


def prepare_oracles(table: PolicyTable) -> None:
    """Run the Python that the policy's oracles name, before any decision needs it.

    Raises:
        PolicyError: it does not import; with the place of its table.
    """
    for name in table.oracles:
        oracle = oracle_of(table, name)
        if isinstance(oracle, PythonOracle):
            try:
                oracle.prepare()
            except SuiteError as error:
                raise PolicyError(
                    f"oracles.{name}: {error.where}: {error.message}",
                    where=str(table.place("oracles", name) or table.source),
                    fix=error.fix,
                ) from error


def why_no_gate(oracle: Oracle) -> str | None:
    """Why this oracle cannot stand before an action; None where it can.

    A decision has no label, so what compares with one can judge a suite's cases and nothing live.
    """
    if oracle.needs_reference:
        return f"compares with a label ({oracle.name}), and a decision has none"
    return None


def gate_name(table: PolicyTable, row: TaskRow) -> str | None:
    """What stands between a row's decisions and what they set off; None where nothing does.

    Its ``gate``; else its ``oracle``, where that is code that needs no label. A rubric costs a call
    for every decision, so it is a gate only where the row says ``gate``.
    """
    if row.gate is not None:
        return row.gate
    if row.oracle is None or row.oracle not in table.oracles:
        return None
    oracle = oracle_of(table, row.oracle)
    return None if isinstance(oracle, Rubric) or why_no_gate(oracle) else row.oracle


def scored_by(table: PolicyTable, row: TaskRow) -> str | None:
    """The oracle whose verdicts a cascade, best of n and a quality floor go by.

    The row's ``oracle`` where it needs no label, else its ``gate``; None where it has neither.
    """
    for name in (row.oracle, row.gate):
        if name is not None and name in table.oracles:
            oracle = oracle_of(table, name)
            if why_no_gate(oracle) is None:
                return name
    return None


def grader_of(oracle: Oracle) -> str | None:
    """The model that an oracle asks; None where it asks nobody."""
    return oracle.grader if isinstance(oracle, Rubric) else None


def graders(table: PolicyTable, way: Route) -> tuple[str, ...]:
    """The models that the oracles of a route's hops ask."""
    named: dict[str, None] = {}
    for hop in way.hops:
        named |= dict.fromkeys(check.oracle for check in hop.checks)
        if hop.oracle is not None:
            named[hop.oracle] = None
    asked = (grader_of(oracle_of(table, name)) for name in named)
    return tuple(dict.fromkeys(model for model in asked if model is not None))
