"""From reviewed rows to a suite, whose labels are a person's.

Rows that nobody reviewed are left out; with ``trust_labels`` they come in with the label that the
model proposed, tagged ``unreviewed``, and the suite says so. Weights make the sample stand for the
traffic again: a case counts its stratum's share of the traffic over its share of the cases.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from consensus.benchmark.results import json_line, write_whole
from consensus.benchmark.suites import Suite, examine_suite
from consensus.benchmark.synthetic.batches import Asked
from consensus.benchmark.synthetic.sheet import Reviewed, review_counts
from consensus.benchmark.synthetic.sieve import as_case, case_row, defaults_of
from consensus.errors import DataError, SuiteError
from consensus.oracles import Oracle
from consensus.policy.audit.model import Audit
from consensus.policy.oracles import oracle_of
from consensus.policy.table import PolicyTable

__all__ = ["MARK", "Accepted", "accept"]

MARK = "synthetic"
"""The tag of every case that a model wrote."""

UNREVIEWED = "unreviewed"

SELF_SUFFICIENT = frozenset({"approve", "choose", "compare", "rank"})
"""Kinds for which a suite has a usual oracle."""


@dataclass(slots=True)
class Accepted:
    """A suite made of a sheet.

    Attributes:
        counts: rows used, dropped, unreviewed; of those used, confirmed, corrected and edited.
        notes: what a reader must know.
    """

    suite: Suite
    counts: Counter[str]
    notes: list[str] = field(default_factory=list)


def accept(
    rows: Sequence[Reviewed],
    folder: Path,
    *,
    audit: Audit,
    asked: Mapping[str, Asked],
    table: PolicyTable | None = None,
    name: str | None = None,
    trust_labels: bool = False,
    replace_suite: bool = False,
) -> Accepted:
    """Write a suite of the rows that hold.

    Args:
        rows: a sheet, read back.
        folder: the suite's.
        audit, asked: what the task types are.
        table: the policy whose oracles the audit names; their declarations and files are copied.
        name: of the suite; the folder's name otherwise.
        trust_labels: take rows that nobody reviewed, too.
        replace_suite: write over a suite that is there.

    Raises:
        DataError: no row holds; the folder is there already.
        SuiteError: a row is no case, with the sheet's line; a task type has no oracle.
    """
    if folder.exists() and not replace_suite:
        raise DataError(
            "is there already", where=str(folder), fix="name another --suite, or --force"
        )
    counts = review_counts(rows)
    used = [row for row in rows if row.verdict == "use" or (trust_labels and row.verdict is None)]
    if not used:
        raise DataError(
            f"no row is reviewed ({counts['unreviewed']} are not, {counts['drop']} are dropped)",
            where="--accept",
            fix='fill "verdict" with use or drop, or "label" with the right answer',
        )
    types = list(dict.fromkeys(row.candidate.task_type for row in used))
    weights = _weights(audit, used)
    lines = [_line(row, asked, audit, table, weights) for row in used]
    many = Counter(row.candidate.task_type for row in used)
    text = _suite_toml(name or _name(folder), many, audit, asked, table, counts, trust_labels)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        write_whole(part / "cases.jsonl", (json_line(line) for line in lines))
        write_whole(part / "suite.toml", [text])
        for type_name in types:
            _copy_files(audit.tasks[type_name].oracle, table, part)
        suite, problems = examine_suite(part)
        if suite is None:
            raise problems[0]
        if folder.exists():
            shutil.rmtree(folder)
        part.replace(folder)
    except OSError as error:
        raise DataError(f"cannot be written: {error.strerror}", where=str(folder)) from None
    finally:
        shutil.rmtree(part, ignore_errors=True)
    notes = []
    if counts["unreviewed"]:
        what = "taken with the proposed label" if trust_labels else "left out"
        notes.append(f"{counts['unreviewed']} rows are not reviewed: {what}")
    made, _ = examine_suite(folder)
    return Accepted(made or suite, counts, [*notes, *(made or suite).remarks()])


def _name(folder: Path) -> str:
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "-_.") else "-" for c in folder.name)
    return kept.strip("-_.") or "suite"


def _line(
    row: Reviewed,
    asked: Mapping[str, Asked],
    audit: Audit,
    table: PolicyTable | None,
    weights: Mapping[tuple[str, str, bool], float],
) -> dict[str, Any]:
    candidate = row.candidate
    own = asked[candidate.task_type]
    oracle = _oracle(audit.tasks[candidate.task_type].oracle, table)
    try:
        as_case(candidate, row.label, {candidate.task_type: defaults_of(own)}, oracle)
    except SuiteError as error:
        raise SuiteError(error.message, where=row.where, fix=error.fix) from None
    line = case_row(candidate, row.label)
    line["complexity"] = candidate.complexity
    line["weight"] = weights[candidate.task_type, candidate.category, candidate.adversarial]
    tags = [MARK]
    if candidate.category:
        tags.append(candidate.category)
    if candidate.adversarial:
        tags.append("adversarial")
    if row.edited:
        tags.append("edited")
    if row.verdict is None:
        tags.append(UNREVIEWED)
    line["tags"] = tags
    note = "; ".join(part for part in (candidate.why, row.comment) if part)
    if note:
        line["note"] = note
    return line


def _oracle(name: str, table: PolicyTable | None) -> Oracle | None:
    return oracle_of(table, name) if table is not None and name in table.oracles else None


def _weights(audit: Audit, used: Sequence[Reviewed]) -> dict[tuple[str, str, bool], float]:
    """Stratum → its share of the traffic over its share of the cases, within its task type.

    Strata without a case cannot be stood for; the others keep their proportions.
    """
    strata = Counter(
        (r.candidate.task_type, r.candidate.category, r.candidate.adversarial) for r in used
    )
    totals = Counter(r.candidate.task_type for r in used)
    shares: dict[tuple[str, str, bool], float] = {}
    for name, category, adversarial in strata:
        task = audit.tasks[name]
        part = task.categories.get(category)
        usual = 1 - task.adversarial_share
        share = (part.share if part is not None else 1.0) * (
            task.adversarial_share if adversarial else usual
        )
        shares[name, category, adversarial] = max(share, 1e-6)
    whole: Counter[str] = Counter()
    for (name, _, _), share in shares.items():
        whole[name] += share  # type: ignore[assignment] # a counter of shares
    return {
        key: round(shares[key] / whole[key[0]] * totals[key[0]] / count, 6)
        for key, count in strata.items()
    }


def _suite_toml(
    name: str,
    types: Mapping[str, int],
    audit: Audit,
    asked: Mapping[str, Asked],
    table: PolicyTable | None,
    counts: Counter[str],
    trusted: bool,
) -> str:
    import tomlkit

    document = tomlkit.document()
    document.add(tomlkit.comment("Cases that a model wrote and a person reviewed."))
    if trusted and counts["unreviewed"]:
        warning = f"{counts['unreviewed']} labels are a model's and nobody's: tag {UNREVIEWED}."
        document.add(tomlkit.comment(warning))
    document["version"] = 1
    document["name"] = name
    labels = f"{counts['use']} labels reviewed"
    if trusted and counts["unreviewed"]:
        labels += f", {counts['unreviewed']} unreviewed"
    document["description"] = f"Synthetic cases; {labels}."
    tables = tomlkit.table(is_super_table=True)
    volumes = {each: audit.tasks[each].monthly_volume for each in types}
    total = sum(volumes.values())
    for each in types:
        own, task = asked[each], audit.tasks[each]
        table_of = tomlkit.table()
        table_of["kind"] = own.kind
        if task.description:
            table_of["description"] = task.description
        for key, value in defaults_of(own).fields.items():
            table_of[key] = value
        table_of["complexity"] = task.complexity
        if total and volumes[each]:
            share = volumes[each] / total
            table_of["weight"] = round(share * sum(types.values()) / types[each], 6)
        declared = table.oracles.get(task.oracle) if table is not None else None
        if declared is not None:
            table_of["oracle"] = declared.model_dump(
                mode="json", by_alias=True, exclude_none=True, exclude_unset=True
            )
        elif own.kind not in SELF_SUFFICIENT:
            where = audit.place("tasks", each, "oracle")
            raise SuiteError(
                f"tasks.{each}: kind {own.kind} has no usual oracle, and the policy does not "
                f'declare "{task.oracle}"',
                where=str(where or audit.source),
                fix=f"add [oracles.{task.oracle or each}] to strategies/",
            )
        tables[each] = table_of
    document["types"] = tables
    return tomlkit.dumps(document)


def _copy_files(name: str, table: PolicyTable | None, folder: Path) -> None:
    """The file that an oracle names, with it: a suite is a folder that can be copied."""
    declared = table.oracles.get(name) if table is not None else None
    file = getattr(declared, "file", None)
    if table is None or not file:
        return
    place = table.place("oracles", name)
    source = (Path(place.file).parent if place is not None else Path()) / file
    target = folder / file
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
