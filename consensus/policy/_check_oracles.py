"""Oracles that cannot be made, gates that could not act, waits that nobody has."""

from __future__ import annotations

import math

from consensus.errors import PolicyError, PriceError
from consensus.oracles import Oracle, Rubric
from consensus.oracles.rubric import same_model
from consensus.policy._checking import Findings, Prices
from consensus.policy._lines import KeyPath
from consensus.policy.findings import dotted, suggest
from consensus.policy.oracles import gate_name, oracle_of, scored_by, why_no_gate
from consensus.policy.resolve import Hop, Resolved
from consensus.policy.table import PolicyTable

__all__ = ["check_acting", "check_latency", "check_oracles", "live_graders"]


def check_oracles(table: PolicyTable, found: Findings) -> None:
    """Every declared oracle can be made: this loads the Python that the policy names."""
    for name in table.oracles:
        try:
            oracle_of(table, name)
        except PolicyError as error:
            message = error.message.removeprefix(f"oracles.{name}: ")
            found.add("error", "oracle", ("oracles", name), message, error.fix)


def check_acting(found: Findings, resolved: Resolved, hops: tuple[Hop, ...]) -> None:
    """What stands between a row and an action is there, and can speak."""
    row, table = resolved.row, found.table
    known = True
    for key in ("oracle", "gate"):
        name = getattr(row, key)
        if name is not None and name not in table.oracles:
            known = False
            fix = suggest(name, list(table.oracles)) or f"add [oracles.{name}]"
            path = resolved.key(key)
            found.add("error", "unknown-name", path, f'"{name}" is no oracle', fix)
    if not known or not _made(table, row.oracle, row.gate):
        return
    if row.gate is not None and (why := why_no_gate(oracle_of(table, row.gate))):
        found.add(
            "error",
            "gate",
            resolved.key("gate"),
            f'"{row.gate}" cannot be a gate: it {why}',
            "a json_schema, python or rubric oracle can",
        )
    if row.consequence == "irreversible" and gate_name(table, row) is None:
        found.add(
            "error",
            "no-gate",
            resolved.key("consequence"),
            "an irreversible row needs a gate between the decision and what it sets off",
            'add gate = "NAME" of an [oracles.NAME] that needs no label',
        )
    _check_graders(found, resolved, hops)
    _check_triggers(found, resolved, hops)


def _made(table: PolicyTable, *names: str | None) -> bool:
    """Whether these can be made; why one cannot is found where it is declared."""
    try:
        return all(oracle_of(table, name) is not None for name in names if name is not None)
    except PolicyError:
        return False


def _check_graders(found: Findings, resolved: Resolved, hops: tuple[Hop, ...]) -> None:
    for name, oracle, path in _live(found.table, resolved):
        if not isinstance(oracle, Rubric):
            continue
        for hop in hops:
            for model in (*hop.models, *hop.spec.fallbacks):
                if same_model(oracle.grader, model):
                    found.add(
                        "error",
                        "gate",
                        path,
                        f'"{name}" is graded by {oracle.grader}, which answers in "{hop.name}" '
                        "itself: nobody grades its own work",
                        f"another grader in [oracles.{name}]",
                    )


def _check_triggers(found: Findings, resolved: Resolved, hops: tuple[Hop, ...]) -> None:
    triggers, table = resolved.row.triggers, found.table
    if triggers is None:
        return
    path = resolved.key("triggers")
    judge = scored_by(table, resolved.row)
    if triggers.quality is not None and judge is None:
        found.add(
            "error",
            "gate",
            (*path, "quality"),
            "asks for a score, and the row has no oracle that can give one without a label",
            'oracle = "NAME" of such an [oracles.NAME]',
        )
    elif triggers.quality is not None and judge and not oracle_of(table, judge).graded:
        found.add(
            "warning",
            "gate",
            (*path, "quality"),
            f'"{judge}" says yes or no: any floor asks for yes',
            f'gate = "{judge}" says the same',
        )
    if len(hops) == 1 and resolved.path != ("defaults",):
        said = (*path, "on") if triggers.on else path
        found.add(
            "warning",
            "no-escalation",
            said,
            f"{dotted(resolved.path)} has nothing to send a task on to",
            'add escalate_to = ["frontier"]',
        )


def _live(table: PolicyTable, resolved: Resolved) -> list[tuple[str, Oracle, KeyPath]]:
    """The oracles that the row's decisions ask, with the key that says so."""
    row, asked = resolved.row, dict[str, KeyPath]()
    gate, judge = gate_name(table, row), scored_by(table, row)
    if gate is not None:
        asked[gate] = resolved.key("gate" if gate == row.gate else "oracle")
    acts = row.triggers is not None and row.triggers.quality is not None
    acts = acts or resolved.orchestrator == "best_of_n"
    acts = acts or (row.cascade is not None and row.cascade.accept == "oracle")
    if judge is not None and acts:
        asked.setdefault(judge, resolved.key("oracle" if judge == row.oracle else "gate"))
    return [(name, oracle_of(table, name), path) for name, path in asked.items()]


def live_graders(
    table: PolicyTable, rows: list[Resolved], prices: Prices, found: Findings
) -> dict[str, KeyPath]:
    """The grading models that a decision can ask, and where they are named; each with a price."""
    named: dict[str, KeyPath] = {}
    for resolved in rows:
        if not {resolved.row.oracle, resolved.row.gate} - {None} <= table.oracles.keys():
            continue
        if not _made(table, resolved.row.oracle, resolved.row.gate):
            continue
        for name, oracle, _ in _live(table, resolved):
            if isinstance(oracle, Rubric):
                named.setdefault(oracle.grader, ("oracles", name, "grader"))
    for model, path in named.items():
        try:
            prices.price(model)
        except PriceError as error:
            found.add(
                "error",
                "no-price",
                path,
                f'model "{model}": {error.message}',
                f'check the name, or add [prices."{model}"] with input and output',
            )
    return named


def check_latency(found: Findings, resolved: Resolved, hops: tuple[Hop, ...]) -> None:
    """Whether the hops, one after the other, can be done in the time that the row's callers have.

    The sum of the steps' 95th percentiles is what a task that goes all the way may take; where the
    steps were not measured, the profile's own percentile of whole decisions is compared.
    """
    row = resolved.row
    steps = row.cascade.p95_s if row.cascade is not None else None
    if steps is not None and len(steps) != len(hops):
        found.add(
            "error",
            "cascade",
            (*resolved.key("cascade"), "p95_s"),
            f"{len(steps)} latencies for {len(hops)} hops",
            "one for each hop, escalations included",
        )
        return
    total = sum(steps) if steps is not None else None
    if total is not None and row.deadline_s is not None and total > row.deadline_s:
        found.add(
            "warning",
            "latency",
            resolved.key("deadline_s"),
            f"the hops may take {total:g} s one after the other (p95), longer than this deadline",
            f"deadline_s = {total:g}, or fewer hops",
        )
    ends = math.inf if row.deadline_s is None else row.deadline_s
    if row.hedge_after_s is not None and row.hedge_after_s >= ends:
        found.add(
            "warning",
            "latency",
            resolved.key("hedge_after_s"),
            f"no call is made a second time: its decision ends after {ends:g} s",
            "fewer seconds: about the 95th percentile of one call",
        )
    need = row.latency_need
    if need is None:
        return
    path = resolved.key("latency_need")
    profiled = row.profile.latency_p95_s if row.profile is not None else 0.0
    if total is not None and total > need.p95_s:
        found.add(
            "error",
            "latency",
            path,
            f"a task that needs every hop may take {total:g} s (p95 of the {len(hops)} hops "
            f"summed), and its caller has {need.p95_s:g} s",
            "fewer or faster hops: one stronger model asked at once",
        )
    elif total is None and profiled > need.p95_s:
        found.add(
            "error",
            "latency",
            path,
            f"the profile measured {profiled:g} s (p95), and the caller has {need.p95_s:g} s",
            "a faster route, or profile it again",
        )
    if need.interactive and len(hops) > 1:
        found.add(
            "warning",
            "latency",
            path,
            f"a person waits, and an escalated task waits for {len(hops)} hops in turn",
            "one stronger model asked at once",
        )
